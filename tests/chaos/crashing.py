"""One scenario with one fault at one point: run it, let others finish it, check."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg

from chaos.checks import check_invariants, check_scenario, history, kinds
from chaos.nursery import Child, Nursery, nursery
from chaos.receiver import receiver
from chaos.scenarios import BY_NAME, TABLES, Scenario
from chaos.wire import Fault, Point, Proxy, proxied
from cluster import OWNER, WORKER, Cluster, Database, copy_template, drop_database
from waiting import status, wait_until

PATIENCE = 60.0
QUICK: dict[str, Any] = {"lease_seconds": 1.0, "poll_seconds": 0.5, "slots": 2, "http_slots": 1, "log_level": "warning"}


@dataclass(slots=True)
class Stage:
    """A database with the tables of the scenarios, used for one run after the other."""

    database: Database
    nursery: Nursery
    url: str
    patch: str | None = None
    clean: dict[str, tuple[list[Point], Counter[str]]] = field(default_factory=dict)

    def worker(self, proxy: Proxy | None = None) -> Child:
        """Start a worker, by way of a proxy if one is given."""
        dsn, role_dsn = self.database.dsn(WORKER), self.database.role_dsn
        if proxy is not None:
            dsn, role_dsn = proxy.dsn(dsn), proxy.dsn(role_dsn)
        return self.nursery.start(dsn, role_dsn, self.patch, **QUICK)


@contextlib.contextmanager
def stage(cluster: Cluster, template: str, name: str, folder: Path) -> Iterator[Stage]:
    """A stage that is gone afterwards."""
    database = copy_template(cluster, template, name)
    try:
        with database.connect("alice") as alice:
            alice.execute(TABLES)
        with database.admin() as admin:
            admin.execute(
                "INSERT INTO df.http_policy (action, network, note) VALUES ('allow', '127.0.0.1/32', 'chaos')"
            )
        with database.connect(OWNER) as owner:
            owner.execute("SELECT df.grant_usage('alice', include_http => true)")
        with nursery(folder) as children, receiver(database) as url:
            yield Stage(database, children, url)
    finally:
        drop_database(cluster, name)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run."""

    instance_id: str
    points: list[Point]
    happened: bool
    seconds: float


def run_scenario(at: Stage, scenario: Scenario, fault: Fault | None = None) -> Outcome:
    """Run a scenario, with or without a fault, and check everything. Raises AssertionError."""
    with proxied(at.database.dsn(WORKER)) as proxy, at.database.admin() as admin:
        first = at.worker(proxy)
        wait_until(lambda: _ready(admin), PATIENCE, f"a worker that is idle: {first.log}")
        proxy.arm(first.pid, fault)
        began = time.monotonic()
        with at.database.connect("alice") as alice, _rescue(at, fault) as others:
            expression = scenario.expression.replace("@URL@", at.url)
            row = alice.execute(f"SELECT df.start({expression})").fetchone()
            assert row is not None
            instance_id = str(row[0])
            try:
                if scenario.act is not None:
                    scenario.act(admin if scenario.by_superuser else alice, instance_id)
                wait_until(lambda: _ended(admin, instance_id), PATIENCE, "the end")
            except AssertionError as error:
                logs = "".join(child.log for child in [first, *others])
                raise AssertionError(f"{error}\n{history(admin, instance_id)}\n{logs}") from None
        seconds = time.monotonic() - began
        proxy.disarm()
        _check(at, admin, scenario, instance_id)
        if fault is not None and fault.held is not None:
            proxy.deliver_late()
            _check(at, admin, scenario, instance_id)
        for child in [first, *others]:
            child.kill()
        _forget_workers(admin)
        return Outcome(instance_id, list(proxy.seen), fault is not None and fault.happened.is_set(), seconds)


@contextlib.contextmanager
def _rescue(at: Stage, fault: Fault | None) -> Iterator[list[Child]]:
    """Start another worker as soon as the first has been killed."""
    others: list[Child] = []
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            if fault is not None and fault.happened.wait(0.01):
                others.append(at.worker())
                return

    watching = threading.Thread(target=watch, daemon=True)
    if fault is not None and fault.how.startswith("kill"):
        watching.start()
    try:
        yield others
    finally:
        over.set()
        if watching.is_alive():
            watching.join(PATIENCE)


def run_zombie(at: Stage) -> None:
    """A message of the first round, cut off and done again, arrives while the second runs the step of the same number.

    Raises AssertionError.
    """
    scenario = BY_NAME["zombie"]
    fault = Fault(Point("run_step", 1), "cut late")
    leased = """SELECT FROM df_engine.tasks t JOIN df_engine.instances i USING (bucket, instance_id)
        WHERE t.instance_id = %s AND t.seq = 3 AND t.execution_id = 2 AND t.worker_id IS NOT NULL"""
    with proxied(at.database.dsn(WORKER)) as proxy, at.database.admin() as admin:
        worker = at.worker(proxy)
        wait_until(lambda: _ready(admin), PATIENCE, f"a worker that is idle: {worker.log}")
        proxy.arm(worker.pid, fault)
        with at.database.connect("alice") as alice:
            row = alice.execute(f"SELECT df.start({scenario.expression})").fetchone()
        assert row is not None
        wait_until(lambda: admin.execute(leased, [row[0]]).fetchone() is not None, PATIENCE, "the second round")
        proxy.deliver_late()
        wait_until(lambda: _ended(admin, row[0]), PATIENCE, "the end")
        worker.kill()
        _forget_workers(admin)
        _check(at, admin, scenario, row[0])
        assert fault.held is not None, "the message was never held back"


def run_overtaken(at: Stage) -> None:
    """While the first turn is on its way to the server, a signal becomes a fact: the turn has to be decided again.

    Raises AssertionError.
    """
    scenario = replace(BY_NAME["sequence"], name="overtaken")
    fault = Fault(Point("commit_turns", 1), "delay")
    with proxied(at.database.dsn(WORKER)) as proxy, at.database.admin() as admin:
        worker = at.worker(proxy)
        wait_until(lambda: _ready(admin), PATIENCE, f"a worker that is idle: {worker.log}")
        proxy.arm(worker.pid, fault)
        with at.database.connect("alice") as alice:
            row = alice.execute(f"SELECT df.start({scenario.expression})").fetchone()
            assert row is not None and fault.happened.wait(PATIENCE)
            alice.execute("SELECT df.signal(%s, 'unasked', '{}')", row)
            assert admin.execute("SELECT df_engine.drain_inbox(200, NULL)").fetchone() == (1,)
        fault.go_on.set()
        wait_until(lambda: _ended(admin, row[0]), PATIENCE, "the end")
        worker.kill()
        _forget_workers(admin)
        _check(at, admin, scenario, row[0])


def _ready(admin: psycopg.Connection[Any]) -> bool:
    row = admin.execute("SELECT bool_or(idle) FROM df_engine.workers").fetchone()
    return bool(row and row[0])


def _ended(admin: psycopg.Connection[Any], instance_id: str) -> bool:
    row = admin.execute(
        "SELECT ended_at IS NOT NULL FROM df_engine.instances WHERE instance_id = %s", [instance_id]
    ).fetchone()
    return bool(row and row[0])


def _forget_workers(admin: psycopg.Connection[Any]) -> None:
    """Dead workers leave rows behind for ten leases; the next run must not see them."""
    admin.execute("DELETE FROM df_engine.sessions")
    admin.execute("DELETE FROM df_engine.workers")


def _check(at: Stage, admin: psycopg.Connection[Any], scenario: Scenario, instance_id: str) -> None:
    assert status(admin, instance_id) == scenario.status, history(admin, instance_id)
    check_scenario(admin, scenario, instance_id)
    check_invariants(admin, [instance_id])
    if scenario.name in at.clean:
        expected = at.clean[scenario.name][1]
        found = kinds(admin, instance_id, scenario.varies)
        assert found == expected, (
            f"{scenario.name}: {found - expected} too many, {expected - found} too few\n{history(admin, instance_id)}"
        )


def clean_run(at: Stage, scenario: Scenario) -> list[Point]:
    """Run without a fault: the points of the scenario, remembered with the number of its events."""
    outcome = run_scenario(at, scenario)
    with at.database.admin() as admin:
        at.clean[scenario.name] = (outcome.points, kinds(admin, outcome.instance_id, scenario.varies))
    return outcome.points
