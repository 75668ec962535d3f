"""What a worker holds leases for, so that a beat can compare it with what the engine says is leased to the worker."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from perdure.activities.sql import StepSession
from perdure.eventstore.engine import token_hash


class Running:
    """A step under way in this worker: how to recognise its lease, and how to stop it."""

    __slots__ = ("_lock", "_session", "cancelled", "hash")

    def __init__(self, token_hash: bytes) -> None:
        self.hash = token_hash
        self._lock = threading.Lock()
        self._session: StepSession | None = None
        self.cancelled = threading.Event()

    def use(self, session: StepSession | None) -> bool:
        """The session that the step runs in from now on; False when the step is not to run any more.

        Under the lock that ``stop`` takes: a cancel request never reaches a session that has gone on to another step.
        """
        with self._lock:
            self._session = session
            return not self.cancelled.is_set()

    def stop(self) -> None:
        """The lease is over: nothing of the step shall take effect."""
        with self._lock:
            self.cancelled.set()
            if self._session is not None:
                self._session.cancel()


class Registry:
    """Steps under way and turns in hand, by the hash of their token. Safe for many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[bytes, Running] = {}
        self._held: set[bytes] = set()

    def begin(self, token: str) -> Running:
        """A step begins."""
        running = Running(token_hash(token))
        with self._lock:
            self._running[running.hash] = running
        return running

    def end(self, running: Running) -> None:
        """It is over."""
        with self._lock:
            self._running.pop(running.hash, None)

    def hold(self, tokens: Iterable[str]) -> None:
        """Turns are kept under these tokens, until they are taken."""
        with self._lock:
            self._held |= {token_hash(token) for token in tokens}

    @contextmanager
    def holding(self, tokens: Iterable[str]) -> Iterator[None]:
        """Turns are being taken under these tokens."""
        hashes = {token_hash(token) for token in tokens}
        with self._lock:
            self._held |= hashes
        try:
            yield
        finally:
            with self._lock:
                self._held -= hashes

    def snapshot(self) -> dict[bytes, Running]:
        """The steps under way now."""
        with self._lock:
            return dict(self._running)

    def known(self) -> set[bytes]:
        """Every lease that somebody here is using."""
        with self._lock:
            return self._running.keys() | self._held

    def stop_all(self) -> None:
        """Every lease is over."""
        for running in self.snapshot().values():
            running.stop()
