"""Users who start, signal, look and cancel all the time, and to whom nothing may fail."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from random import Random
from typing import Any

import psycopg

from cluster import Database
from waiting import wait_until

# The label is one that the chaos tests' load does not take for its own.
ENDED = "SELECT count(*) FROM df.instances WHERE label = 'probe' AND ended_at IS NULL"
RESULTS = "SELECT status, count(*) FROM df.instances WHERE label = 'probe' GROUP BY 1"
STEP = "$$INSERT INTO done SELECT ($s::jsonb->'data'->>'n')::int$$"
START = f"SELECT df.start(df.wait_for_signal('go') |=> 's' ~> {STEP}, 'probe')"


@dataclass(slots=True)
class Clients:
    """One session that does one thing after the other, from a thread of its own; every error is remembered."""

    database: Database
    seed: int
    started: int = 0
    cancelled: int = 0
    slowest: float = 0.0  # seconds that the longest round of calls has taken
    trouble: list[str] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def begin(self) -> None:
        """Go on from now."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> dict[str, int]:
        """Stop, wait for the end of everything that was started, and answer how it ended. Raises AssertionError."""
        self.stopping.set()
        assert self._thread is not None
        self._thread.join(60)
        assert not self._thread.is_alive()
        assert self.trouble == []
        with self.database.connect("alice") as alice:
            wait_until(lambda: alice.execute(ENDED).fetchone() == (0,), 60, "the ends of all workflows of the clients")
            ends = dict(alice.execute(RESULTS).fetchall())
            done = alice.execute("SELECT count(*), count(DISTINCT n) FROM done").fetchone()
        expected = self.started - self.cancelled
        wanted = {"completed": expected, "cancelled": self.cancelled}
        assert ends == {status: count for status, count in wanted.items() if count}, (ends, wanted)
        assert done == (expected, expected), (done, expected)
        return ends

    def _run(self) -> None:
        random = Random(self.seed)
        with self.database.connect("alice") as alice:
            while not self.stopping.wait(0.05):
                began = time.monotonic()
                try:
                    self._round(alice, random)
                    self.slowest = max(self.slowest, time.monotonic() - began)
                except (psycopg.Error, AssertionError) as error:
                    self.trouble.append(repr(error))

    def _round(self, alice: psycopg.Connection[Any], random: Random) -> None:
        row = alice.execute(START).fetchone()
        assert row is not None
        self.started += 1
        if random.random() < 0.1:
            alice.execute("SELECT df.cancel(%s, 'by a client')", [row[0]])
            self.cancelled += 1
        else:
            alice.execute("SELECT df.signal(%s, 'go', %s)", [row[0], f'{{"n": {self.started}}}'])
        assert alice.execute("SELECT df.status(%s)", [row[0]]).fetchone() is not None
