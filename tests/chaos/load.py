"""A load of mixed workflows that goes on while things are broken, and the count at the end."""

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
from waiting import wait_until

MIX = (
    "sequence",
    "results",
    "if",
    "if_rows",
    "join",
    "race",
    "root loop",
    "loop",
    "sleep",
    "signals",
    "instance",
    "retry",
)
AT_ONCE = 24
PATIENCE = 60.0


@dataclass(slots=True)
class Load:
    """Keeps about ``AT_ONCE`` workflows going from a thread of its own, until it is told to stop."""

    database: Database
    seed: int
    started: dict[str, Scenario] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    trouble: list[str] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def prepare(self) -> None:
        """The tables; and no step gives up because the server was away for long."""
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
        self.stopping.set()
        assert self._thread is not None
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        assert not self.trouble, self.trouble

    def _run(self) -> None:
        random = Random(self.seed)
        while not self.stopping.is_set():
            try:
                with self.database.connect("alice", connect_timeout=5) as alice:
                    while not self.stopping.is_set():
                        self._more(alice, random)
            except psycopg.OperationalError:
                time.sleep(0.05)  # the server is away: that is what the test is about
            except Exception as error:  # noqa: BLE001 - told at the end, in the test's own thread
                self.trouble.append(repr(error))
                return

    def _more(self, alice: psycopg.Connection[Any], random: Random) -> None:
        row = alice.execute("SELECT count(*) FROM df.instances WHERE status IN ('pending', 'running')").fetchone()
        assert row is not None
        for _ in range(AT_ONCE - int(row[0])):
            scenario = BY_NAME[random.choice(MIX)]
            self._start(alice, scenario)
            if random.random() < 0.05:
                cancelled = random.choice(list(self.started))
                alice.execute("SELECT df.cancel(%s, 'by the load')", [cancelled])
                self.cancelled.add(cancelled)
        self.stopping.wait(0.02)

    def _start(self, alice: psycopg.Connection[Any], scenario: Scenario) -> None:
        """Start and signal in one transaction: when its end is not known, the label tells whether it is there."""
        with alice.transaction():
            row = alice.execute(f"SELECT df.start({scenario.expression}, '{scenario.name}')").fetchone()
            assert row is not None
            if scenario.act is not None:
                scenario.act(alice, row[0])
        self.started[row[0]] = scenario


def probe(database: Database, seconds: float = 15.0) -> float:
    """How long a new workflow takes to its end from now; raises AssertionError when it is longer than ``seconds``."""
    began = time.monotonic()

    def started() -> str | None:
        try:
            with database.connect("alice", connect_timeout=5) as alice:
                row = alice.execute("SELECT df.start($$SELECT 1$$ ~> $$SELECT 2$$, 'probe')").fetchone()
                return None if row is None else str(row[0])
        except psycopg.OperationalError:
            return None

    found = wait_until(started, seconds, "a server that takes a workflow")
    with database.connect("alice") as alice:
        row = "SELECT status FROM df.instances WHERE id = %s"
        wait_until(
            lambda: alice.execute(row, [found]).fetchone() == ("completed",),
            max(seconds - (time.monotonic() - began), 1),
        )
    return time.monotonic() - began


def settle(database: Database, load: Load, seconds: float = PATIENCE) -> dict[str, int]:
    """Wait until everything has ended, then check everything; how many ended how."""
    with database.admin() as admin:
        # A start whose answer was lost is not in the list of the load; what it started is found by its label.
        rows = admin.execute("SELECT id, label FROM df.instances WHERE label <> 'probe'").fetchall()
        known = {instance_id: BY_NAME[label] for instance_id, label in rows}
        missing = set(load.started) - set(known)
        assert not missing, f"lost: {missing}"
        undone = "SELECT instance_id FROM df_engine.instances WHERE ended_at IS NULL"

        def over() -> bool:
            return admin.execute(undone).fetchone() is None

        try:
            wait_until(over, seconds, "everything to end")
        except AssertionError:
            stuck = [row[0] for row in admin.execute(undone)]
            raise AssertionError(f"{len(stuck)} stuck\n" + "\n".join(history(admin, i) for i in stuck[:5])) from None
        check_invariants(admin, [row[0] for row in admin.execute("SELECT id FROM df.instances")])
        ends: dict[str, int] = {}
        for instance_id, scenario in known.items():
            (status,) = admin.execute("SELECT status FROM df.instances WHERE id = %s", [instance_id]).fetchone() or (
                "?",
            )
            ends[status] = ends.get(status, 0) + 1
            if status == "cancelled":
                check_scenario(admin, scenario, instance_id, at_most=True)
            else:
                assert status == scenario.status, history(admin, instance_id)
                check_scenario(admin, scenario, instance_id)
        return ends
