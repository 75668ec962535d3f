"""The keeper: beats, takes over from the dead, compares leases. It never waits for a step."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import psycopg

from perdure.backlog import Backlog
from perdure.eventstore.calls import CALLS
from perdure.eventstore.connections import CONTROL_OPTIONS, Link, connect
from perdure.eventstore.engine import Engine
from perdure.eventstore.errors import NotRegistered
from perdure.eventstore.watch import NoAnswer
from perdure.pace import Pace
from perdure.registry import Registry, Running
from perdure.sessions import Sessions
from perdure.settings import Settings

log = logging.getLogger("perdure")

LEAST_SILENCE = 5.0
TIMES, LIST_LONGEST, REAP_LONGEST = 40.0, 20.0, 10.0


@dataclass(frozen=True, slots=True)
class Signals:
    """What the threads of a worker tell each other."""

    stopping: threading.Event = field(default_factory=threading.Event)
    wakeup: threading.Event = field(default_factory=threading.Event)
    compare: threading.Event = field(default_factory=threading.Event)
    claiming: threading.Event = field(default_factory=threading.Event)


class Keeper:
    """Keeps the worker's leases alive, and the dead ones' work moving."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        registry: Registry,
        sessions: Sessions,
        backlog: Backlog,
        signals: Signals,
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._registry = registry
        self._sessions = sessions
        self._backlog = backlog
        self._signals = signals
        self._watch = engine.connections.watch
        self._listing = Pace(TIMES, LIST_LONGEST)
        self._reaping = Pace(TIMES, REAP_LONGEST)
        self._wanted = False

    def run(self) -> None:
        """Beat until the process ends."""
        interval = max(self._settings.lease_seconds / 4, 0.25)
        connection: Link | None = None
        suspects: set[bytes] = set()
        beats = 0
        while True:
            self._signals.compare.wait(min(interval, self._until_wanted()))
            self._wanted = self._wanted or self._signals.compare.is_set()
            self._signals.compare.clear()
            try:
                if connection is None or connection.closed:
                    connection = self._connect()
                suspects = self._compare(connection, suspects)
                self._release_aged(connection)
                beats += 1
                if self._reap(connection):
                    self._signals.wakeup.set()
                    beats = 0
                if beats % 8 == 0:
                    self._end_dead_sessions(connection)
                self._sessions.prune()
            except NotRegistered:
                self._signals.wakeup.set()
            except NoAnswer:
                # The leases are over, or nearly, and what the steps wait for will not come either.
                log.warning("the server is silent; every connection is cut", extra={"count": self._watch.cut_all()})
            except (psycopg.Error, OSError) as error:
                log.warning("beat failed", extra={"reason": str(error).strip()})
                if connection is not None:
                    connection.close()
                time.sleep(0.1)

    def _until_wanted(self) -> float:
        """When somebody wants the leases compared: in how many seconds that may be done."""
        return max(self._listing.until(time.monotonic()), 0.01) if self._wanted else self._settings.lease_seconds

    def _compare(self, connection: Link, suspects: set[bytes]) -> set[bytes]:
        """Beat, and compare leases unless that took long a moment ago: while an old snapshot is held, it may."""
        began = time.monotonic()
        if self._listing.until(began) > 0:
            self._ask(connection, "alive", self._signals.stopping.is_set())
            return suspects
        suspects = self._beat(connection, suspects)
        self._listing.took(began, time.monotonic())
        self._wanted = False
        return suspects

    def _reap(self, connection: Link) -> bool:
        """Take over from the dead, as seldom as it is dear; true when something was taken."""
        began = time.monotonic()
        if self._reaping.until(began) > 0:
            return False
        taken = bool(self._ask(connection, "reap")[0][0])
        self._reaping.took(began, time.monotonic())
        return taken

    def _ask(self, connection: Link, name: str, *arguments: Any) -> list[Any]:
        """A call that is answered before the leases are over. Raises NoAnswer if not."""
        with self._watch.limit(connection, max(self._settings.lease_seconds, LEAST_SILENCE)):
            return self._engine.mine(name, *arguments, connection=connection)

    def _connect(self) -> Link:
        """Past the pooler where there is a way: beats must not queue behind the steps."""
        settings, pooled = self._settings, self._engine.connections.pooled
        if pooled and settings.listen_dsn is not None:
            return connect(self._watch, settings.listen_dsn, "perdure:worker:keeper", CONTROL_OPTIONS)
        return connect(self._watch, settings.dsn, "perdure:worker:keeper", CONTROL_OPTIONS, pooled)

    def _beat(self, connection: Link, suspects: set[bytes]) -> set[bytes]:
        """Beat, stop steps whose lease is gone, and give back leases that nobody here knows (twice in a row)."""
        before = self._registry.snapshot()
        held = self._registry.known()
        before_waiting = self._backlog.waiting()
        rows = self._ask(connection, "beat", self._signals.stopping.is_set())
        leased = {bytes(row[2]): int(row[1]) for row in rows}
        now = self._registry.snapshot()
        for digest, running in before.items():
            if digest in now and digest not in leased and not running.cancelled.is_set():
                self._stop_if_lost(connection, digest, running)
        known = before.keys() | before_waiting | self._backlog.waiting() | held | self._registry.known()
        unknown = {digest for digest in leased if digest not in known}
        lost = unknown & suspects
        if lost and not self._signals.claiming.is_set():
            log.warning("giving back leases that no slot knows", extra={"count": len(lost)})
            self._ask(connection, "release", list(lost))
        return unknown - lost

    def _stop_if_lost(self, connection: Link, digest: bytes, running: Running) -> None:
        """Ask once more: a retake may have changed the token between the two looks."""
        rows = self._ask(connection, "beat", self._signals.stopping.is_set())
        if digest not in {bytes(row[2]) for row in rows} and digest in self._registry.snapshot():
            running.stop()

    def _release_aged(self, connection: Link) -> None:
        """Steps that wait for a slot here while others may be free go back to the queue."""
        aged = self._backlog.give_up_aged()
        if aged:
            self._ask(connection, "release", aged)

    def _end_dead_sessions(self, connection: Link) -> None:
        """End the step sessions of dead or frozen workers, by a login of the same role."""
        rows = self._ask(connection, "dead_sessions")
        by_role: dict[tuple[int, str], list[Any]] = {}
        for worker_id, role, pid, began in rows:
            by_role.setdefault((worker_id, role), []).append((pid, began))
        for (worker_id, role), sessions in by_role.items():
            try:
                dsn = self._settings.dsn_for(role, self._sessions.home)
                with connect(self._watch, dsn, "perdure:worker:keeper", {}) as own:
                    for pid, began in sessions:
                        own.execute(CALLS["end_backend"], (pid, began))
            except psycopg.Error as error:
                log.warning("cannot end a dead worker's sessions", extra={"role": role, "reason": str(error).strip()})
            self._ask(connection, "forget_sessions", worker_id, [pid for pid, _ in sessions])
