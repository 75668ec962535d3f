"""Mixed workflows that go on while servers are lost and come back, and the count at the end."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from random import Random
from typing import Any

import psycopg

from chaos.checks import check_invariants, check_scenario, history
from chaos.scenarios import BY_NAME, TABLES, Scenario
from cluster import OWNER, Database
from recovery.workflows import has
from waiting import wait_until

MIX = ("sequence", "results", "if", "if_rows", "join", "race", "root loop", "loop", "sleep", "signals", "retry")
AT_ONCE = 16


@dataclass(slots=True)
class Traffic:
    """Keeps some workflows going from a thread of its own. ``started``: those whose start was acknowledged."""

    database: Database
    seed: int
    started: dict[str, Scenario] = field(default_factory=dict)
    trouble: list[str] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def prepare(self) -> None:
        """The tables; and no step gives up because a server was away for long."""
        with self.database.connect("alice") as alice:
            alice.execute(TABLES)
        with self.database.connect(OWNER) as owner:
            owner.execute("UPDATE df.settings SET value = '3600' WHERE name = 'retry_total_seconds'")

    def begin(self) -> None:
        """Start workflows from now on."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Start no more."""
        self._stopping.set()
        assert self._thread is not None
        self._thread.join(60)
        assert not self._thread.is_alive()
        assert not self.trouble, self.trouble

    def _run(self) -> None:
        random = Random(self.seed)
        while not self._stopping.is_set():
            try:
                with self.database.connect("alice", connect_timeout=5) as alice:
                    while not self._stopping.wait(0.02):
                        self._more(alice, random)
            except (psycopg.OperationalError, psycopg.errors.ReadOnlySqlTransaction):
                time.sleep(0.05)  # the server is away: that is what the test is about
            except Exception as error:  # noqa: BLE001 - told at the end, in the test's own thread
                self.trouble.append(repr(error))
                return

    def _more(self, alice: psycopg.Connection[Any], random: Random) -> None:
        row = alice.execute("SELECT count(*) FROM df.instances WHERE status IN ('pending', 'running')").fetchone()
        assert row is not None
        for _ in range(AT_ONCE - int(row[0])):
            scenario = BY_NAME[random.choice(MIX)]
            with alice.transaction():
                row = alice.execute(f"SELECT df.start({scenario.expression}, '{scenario.name}')").fetchone()
                assert row is not None
                if scenario.act is not None:
                    scenario.act(alice, row[0])
            self.started[row[0]] = scenario


def done(database: Database) -> int:
    """How many steps have been completed."""
    with database.admin() as admin:
        row = admin.execute("SELECT count(*) FROM df_engine.history WHERE kind = 'ActivityCompleted'").fetchone()
        assert row is not None
        return int(row[0])


def missing(traffic: Traffic) -> set[str]:
    """What was acknowledged and is not there."""
    with traffic.database.admin() as admin:
        return traffic.started.keys() - {row[0] for row in admin.execute("SELECT id FROM df.instances")}


def settle(database: Database) -> dict[str, int]:
    """Wait until the load's workflows have ended, and check everything that is there; how many of each kind."""
    with database.admin() as admin:
        undone = "SELECT id FROM df.instances WHERE label = ANY (%s) AND status IN ('pending', 'running')"
        try:
            wait_until(lambda: admin.execute(undone, [list(MIX)]).fetchone() is None, 90, "everything to end")
        except AssertionError:
            stuck = [history(admin, row[0]) for row in admin.execute(undone, [list(MIX)]).fetchall()[:5]]
            raise AssertionError("\n".join(stuck)) from None
        check_invariants(admin, [row[0] for row in admin.execute("SELECT id FROM df.instances")])
        ends: dict[str, int] = {}
        for instance_id, label, status in admin.execute("SELECT id, label, status FROM df.instances").fetchall():
            if label in MIX:
                assert status == BY_NAME[label].status, history(admin, instance_id)
                check_scenario(admin, BY_NAME[label], instance_id)
                ends[label] = ends.get(label, 0) + 1
        return ends


def probe(database: Database) -> float:
    """How many seconds a new workflow takes from now to its end. Asks again while no server takes it."""
    began = time.monotonic()

    def started() -> str | None:
        try:
            with database.connect("alice", connect_timeout=5) as alice:
                row = alice.execute("SELECT df.start($$SELECT 1$$ ~> $$SELECT 2$$, 'probe')").fetchone()
                return None if row is None else str(row[0])
        except (psycopg.OperationalError, psycopg.errors.ReadOnlySqlTransaction):
            return None

    has(database, str(wait_until(started, 60, "a server that takes a workflow")), "completed")
    return time.monotonic() - began
