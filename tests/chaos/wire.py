"""A proxy that reads what a worker says to the server, message by message, and harms the one that it is told to.

It listens on a Unix socket and forwards to the server. A *unit* is what the server answers as a whole: a simple query,
or everything up to a Sync. It has the names of its statements in ``eventstore/calls.sql`` (``claim``, ``finish`` ...),
or ``user`` for a step's own; a point is a name and how often it had come: ``finish 2``.

How a point may be harmed (the worker is killed, or only its connection is cut):

kill after    the server has answered; nobody reads the answer, and the worker is gone
cut after     the server has answered; the connection is closed instead (a lost acknowledgement)
kill late     the worker is gone before the server reads the unit; it arrives when everything is over
cut late      the connection is closed before the server reads the unit; it arrives when everything is over

Apart from these, ``delay`` harms nobody: the unit waits for ``go_on``, and so does the worker for its answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import struct
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from perdure.eventstore.calls import CALLS

HOWS = ("kill after", "cut after", "kill late", "cut late")
# What a worker says all the time, whatever it does: no points of a workflow.
ROUTINE = frozenset({"beat", "reap", "idle", "dead_sessions", "listen", "hello"})
_PLACEHOLDER = re.compile(r"%s|%\(\w+\)s|\$\d+")
_NAMES = {_PLACEHOLDER.sub("?", text): name for name, text in CALLS.items()}
_CANCEL = 80877102


def name_of(statement: str) -> str:
    """The name that a statement has in ``eventstore/calls.sql``; anything else is a user's (or the driver's)."""
    return _NAMES.get(_PLACEHOLDER.sub("?", statement), "user")


@dataclass(frozen=True, slots=True)
class Point:
    """One unit of a run: its name, and its number among those of that name, from 1."""

    name: str
    number: int

    def __str__(self) -> str:
        return f"{self.name} {self.number}"


@dataclass(slots=True)
class Fault:
    """What to do to which unit, and whether it happened."""

    point: Point
    how: str
    happened: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    held: tuple[Link, bytes] | None = None


class Proxy:
    """Runs in a thread of its own. ``arm`` begins the counting; ``dsn`` is where the worker connects."""

    def __init__(self, dsn: str) -> None:
        parts = conninfo_to_dict(dsn)
        self._host, self._port = str(parts.get("host") or ""), int(str(parts.get("port") or 5432))
        self.folder = Path(tempfile.mkdtemp(prefix="perdure-wire-"))
        self.loop = asyncio.new_event_loop()
        self.seen: list[Point] = []
        self.fault: Fault | None = None
        self.victim: int | None = None
        self._armed = False
        self._counts: Counter[str] = Counter()
        self._links: set[Link] = set()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self._call(self._serve()).result(10)

    def dsn(self, dsn: str) -> str:
        """The same connection string, by way of the proxy."""
        return make_conninfo(dsn, host=str(self.folder), port=5432, sslmode="disable", gssencmode="disable")

    def _call(self, coroutine: Any) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    async def _serve(self) -> None:
        self._server = await asyncio.start_unix_server(self._accept, str(self.folder / ".s.PGSQL.5432"))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(self, reader, writer)
        self._links.add(link)
        try:
            await link.run()
        except (OSError, EOFError, asyncio.CancelledError):
            pass  # either end is gone, which is what this proxy is for
        finally:
            self._links.discard(link)
            link.close()

    async def upstream(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the server."""
        if self._host.startswith("/"):
            return await asyncio.open_unix_connection(f"{self._host}/.s.PGSQL.{self._port}")
        return await asyncio.open_connection(self._host or "127.0.0.1", self._port)

    # -- faults ----------------------------------------------------------------------------------------------------

    def arm(self, victim: int, fault: Fault | None = None) -> None:
        """Count from now on, and do ``fault`` to the worker whose process id is given."""
        self.victim, self.fault = victim, fault
        self._counts.clear()
        self.seen.clear()
        self._armed = True

    def disarm(self) -> None:
        """Count no more."""
        self._armed = False

    def judge(self, names: list[str]) -> str | None:
        """Count a unit; how it is to be harmed, if it is."""
        if not self._armed or not names or any(name in ROUTINE for name in names):
            return None
        name = "+".join(names)
        self._counts[name] += 1
        point = Point(name, self._counts[name])
        self.seen.append(point)
        fault = self.fault
        if fault is None or fault.happened.is_set() or fault.point != point:
            return None
        return fault.how

    def kill(self) -> None:
        """End the worker as a power cut would."""
        assert self.victim is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.victim, signal.SIGKILL)

    def deliver_late(self) -> None:
        """Send what was held back; returns when the server has answered or the connection is gone."""
        if self.fault is not None and self.fault.held is not None:
            link, data = self.fault.held
            self._call(link.deliver(data)).result(30)

    # -- trouble for every connection ------------------------------------------------------------------------------

    def cut(self) -> int:
        """Close every connection now; how many there were."""
        return int(self._call(self._cut()).result(10))

    async def _cut(self) -> int:
        links = list(self._links)
        for link in links:
            link.close()
        return len(links)

    async def _end(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def freeze(self, frozen: bool) -> None:
        """Forward nothing and close nothing, as a network does that has forgotten the connections; or go on."""
        for link in list(self._links):
            self.loop.call_soon_threadsafe(link.freeze, frozen)

    def close(self) -> None:
        """Stop."""
        self.cut()
        self._call(self._end()).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)
        self.loop.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Link:
    """One connection of the worker, with the server's end of it."""

    def __init__(self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.proxy = proxy
        self.reader, self.writer = reader, writer
        self.server: asyncio.StreamWriter | None = None
        self.statements: dict[bytes, str] = {}
        self.names: list[str] = []
        self.unit = b""
        self.silent = False  # answers are not given to the worker
        self.keep = False  # the server's end stays open although the worker is gone
        self.ready = asyncio.Event()
        self.thawed = asyncio.Event()
        self.thawed.set()

    async def run(self) -> None:
        """Forward until one side ends."""
        server_reader, self.server = await self.proxy.upstream()
        answers = asyncio.create_task(self._answers(server_reader))
        try:
            await self._startup()
            while True:
                await self._message()
        finally:
            if not self.keep:
                answers.cancel()

    async def _startup(self) -> None:
        (length,) = struct.unpack("!i", head := await self.reader.readexactly(4))
        body = await self.reader.readexactly(length - 4)
        assert self.server is not None
        self.server.write(head + body)
        if struct.unpack("!i", body[:4])[0] == _CANCEL:
            await self.server.drain()
            raise EOFError

    async def _message(self) -> None:
        kind = await self.reader.readexactly(1)
        (length,) = struct.unpack("!i", head := await self.reader.readexactly(4))
        body = await self.reader.readexactly(length - 4)
        await self.thawed.wait()
        self.unit += kind + head + body
        self._note(kind, body)
        if kind in (b"Q", b"S"):
            names, unit = self.names, self.unit
            self.names, self.unit = [], b""
            await self._unit(names, unit)
        elif kind in (b"H", b"p", b"X", b"d", b"c", b"f"):
            await self._forward(self.unit)
            self.unit = b""

    def _note(self, kind: bytes, body: bytes) -> None:
        if kind == b"Q":
            self.names.append(name_of(body[:-1].decode("utf-8", "replace")))
        elif kind == b"P":
            name, _, rest = body.partition(b"\0")
            self.statements[name] = name_of(rest.partition(b"\0")[0].decode("utf-8", "replace"))
            if name:
                self.names.append("prepare")
        elif kind == b"B":
            statement = body.split(b"\0", 2)[1]
            if self.names and self.names[-1] == "prepare":
                self.names.pop()
            self.names.append(self.statements.get(statement, "unknown"))

    async def _forward(self, data: bytes) -> None:
        assert self.server is not None
        self.server.write(data)
        await self.server.drain()

    async def _unit(self, names: list[str], unit: bytes) -> None:
        how = self.proxy.judge(names)
        if how is None:
            await self._forward(unit)
            return
        fault = self.proxy.fault
        assert fault is not None
        fault.happened.set()
        if how == "delay":
            await asyncio.to_thread(fault.go_on.wait, 60)
            await self._forward(unit)
            return
        self.silent = True
        if how.endswith("late"):
            self.keep = True
            fault.held = (self, unit)
        else:
            self.ready.clear()
            await self._forward(unit)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.ready.wait(), 20)
        if how.startswith("kill"):
            self.proxy.kill()
        self.writer.close()
        raise EOFError

    async def deliver(self, unit: bytes) -> None:
        """Send a unit that was held back, and wait for its answer."""
        self.ready.clear()
        with contextlib.suppress(OSError, TimeoutError):
            await self._forward(unit)
            await asyncio.wait_for(self.ready.wait(), 20)
        self.keep = False
        self.close()

    async def _answers(self, reader: asyncio.StreamReader) -> None:
        """Forward answers; ``ready`` is set at each ReadyForQuery, and when the server hangs up."""
        rest = b""
        try:
            while data := await reader.read(65536):
                await self.thawed.wait()
                rest = self._look_for_ready(rest + data)
                if not self.silent:
                    self.writer.write(data)
                    await self.writer.drain()
        except OSError:
            pass  # either end is gone
        finally:
            self.ready.set()
            if not self.silent:
                self.writer.close()

    def _look_for_ready(self, data: bytes) -> bytes:
        """Step over whole messages; what is left of the last one."""
        place = 0
        while place + 5 <= len(data):
            (length,) = struct.unpack_from("!i", data, place + 1)
            if place + 1 + length > len(data):
                break
            if data[place : place + 1] == b"Z":
                self.ready.set()
            place += 1 + length
        return data[place:]

    def freeze(self, frozen: bool) -> None:
        """Forward nothing, or go on."""
        (self.thawed.clear if frozen else self.thawed.set)()

    def close(self) -> None:
        """Close both ends, but for a server's end that is kept."""
        self.writer.close()
        if self.server is not None and not self.keep:
            self.server.close()


@contextlib.contextmanager
def proxied(dsn: str) -> Iterator[Proxy]:
    """A proxy to the server of a connection string."""
    proxy = Proxy(dsn)
    try:
        yield proxy
    finally:
        proxy.close()
