"""A line between a worker and the server that may be slow, give bytes one by one, or break within a message."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from random import Random

from chaos.wire import Proxy

SINGLE = 100  # so many bytes of what came together go one by one, the rest in pieces of any length up to this


class Line(Proxy):
    """A proxy that understands nothing of what it forwards; what it is told holds for every connection.

    ``delay`` (seconds) is how long a byte is under way; ``crumbs``: a few bytes at a time.
    """

    def __init__(self, dsn: str, seed: int) -> None:
        self.dice = Random(seed)
        self.delay = 0.0
        self.crumbs = False
        self.to_break: str | None = None
        self.broken = threading.Event()
        self.breaks = 0
        super().__init__(dsn)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await self.upstream()
        both = (writer, server_writer)
        ways = [
            asyncio.create_task(self._way("question", reader, server_writer, both)),
            asyncio.create_task(self._way("answer", server_reader, writer, both)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            pass  # the end of the test
        finally:
            for task in ways:
                task.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in both:
                end.close()

    async def _way(
        self,
        direction: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        both: tuple[asyncio.StreamWriter, ...],
    ) -> None:
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        delivering = asyncio.create_task(self._deliver(under_way, writer))
        try:
            while data := await reader.read(65536):
                if self._breaks(direction, data):
                    writer.write(data[: self.dice.randint(1, len(data) - 1)])
                    await writer.drain()
                    for end in both:
                        end.close()
                    return
                under_way.put_nowait((self.loop.time() + self.delay, data))
            under_way.put_nowait((0.0, b""))
            await delivering
        except OSError:
            pass  # the other end is gone
        finally:
            delivering.cancel()

    async def _deliver(self, under_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        while True:
            due, data = await under_way.get()
            if not data:
                return
            await asyncio.sleep(max(0.0, due - self.loop.time()))
            for piece in self._pieces(data) if self.crumbs else [data]:
                writer.write(piece)
                await writer.drain()
                if self.crumbs:
                    await asyncio.sleep(0)

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        place = 0
        while place < len(data):
            length = 1 if place < SINGLE else self.dice.randint(1, SINGLE)
            yield data[place : place + length]
            place += length

    def _breaks(self, direction: str, data: bytes) -> bool:
        if self.to_break != direction or len(data) < 2:
            return False
        self.to_break = None
        self.breaks += 1
        self.broken.set()
        return True

    def break_next(self, direction: str, seconds: float) -> None:
        """Break the connection that is used next within its next ``question`` or ``answer``; returns when it has.

        Raises AssertionError where nothing is said for so long.
        """
        self.broken.clear()
        self.to_break = direction
        assert self.broken.wait(seconds), f"no {direction} in {seconds} s"


@contextlib.contextmanager
def line(dsn: str, seed: int) -> Iterator[Line]:
    """A line to the server of a connection string."""
    made = Line(dsn, seed)
    try:
        yield made
    finally:
        made.close()
