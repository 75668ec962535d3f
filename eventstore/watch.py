"""Answers that do not come: a network can forget a connection and tell nobody, and a thread would wait for ever.

A thread looks once a second at the calls under way. One that takes longer than it may has its socket shut down: the
call then fails as it does when a connection breaks, and whoever made it believes nothing, as always. Works whatever the
thread waits in, libpq included.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from weakref import WeakSet

import psycopg

LOOK_SECONDS = 1.0


class NoAnswer(psycopg.OperationalError):
    """The server did not answer in the time that a call may take; the connection was cut."""


class _Call:
    __slots__ = ("connection", "due", "late")

    def __init__(self, connection: psycopg.Connection[object], due: float) -> None:
        self.connection = connection
        self.due = due
        self.late = False


class Watch:
    """Connections, and the calls on them that must be answered in time. Safe for many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: set[_Call] = set()
        self._connections: WeakSet[psycopg.Connection[object]] = WeakSet()
        self._thread: threading.Thread | None = None

    def add(self, connection: psycopg.Connection[object]) -> None:
        """Know a connection, for ``cut_all``."""
        with self._lock:
            self._connections.add(connection)

    @contextlib.contextmanager
    def limit(self, connection: psycopg.Connection[object], seconds: float) -> Iterator[None]:
        """Whatever is called inside must be over in so many seconds, more or less one. Raises NoAnswer."""
        call = _Call(connection, time.monotonic() + seconds)
        with self._lock:
            self._calls.add(call)
            if self._thread is None:
                self._thread = threading.Thread(target=self._look, name="watch", daemon=True)
                self._thread.start()
        try:
            yield
        except psycopg.OperationalError as error:
            if call.late:
                raise NoAnswer(f"no answer in {seconds:.0f} s") from error
            raise
        finally:
            with self._lock:
                self._calls.discard(call)

    def _look(self) -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            now = time.monotonic()
            with self._lock:
                for call in self._calls:
                    if call.due < now and not call.late:
                        call.late = True
                        _cut(call.connection)

    def cut_all(self) -> int:
        """Shut down every connection that is known: nothing that was sent over them will be answered. How many."""
        with self._lock:
            return sum(_cut(connection) for connection in list(self._connections))


def _cut(connection: psycopg.Connection[object]) -> bool:
    """End both directions of the socket. Who waits for it is woken, and closes it; that is not done here."""
    with contextlib.suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as copy:
        copy.shutdown(socket.SHUT_RDWR)
        return True
    return False
