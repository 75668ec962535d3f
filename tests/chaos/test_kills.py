"""Workers and servers that die, freeze or lose each other under a load of mixed workflows: nothing lost or doubled.

``PERDURE_KILLS=1000 pytest tests/chaos/test_kills.py -s -k random`` for longer; each run prints its seed.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest

from chaos.crashing import QUICK
from chaos.load import Load, probe, settle, wrong_end
from chaos.nursery import Child, Nursery, nursery
from chaos.receiver import receiver
from chaos.scenarios import BY_NAME
from chaos.wire import proxied
from cluster import WORKER, Cluster, Database, Workers, copy_template, drop_database, make_template, own_server
from perdure.server import Server
from waiting import wait_until

KILLS = int(os.environ.get("PERDURE_KILLS", "15"))
SERVER_KILLS = int(os.environ.get("PERDURE_SERVER_KILLS", "1"))
KILLERS, WORKERS = 3, 3  # workers for each killer
GAP = 0.1  # seconds that a killer lets pass on average, besides what it waits for
SEED = int(os.environ.get("PERDURE_SEED", "1"))


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Nursery]:
    with nursery(tmp_path / "workers") as running:
        yield running
        for child in running.children[-5:]:  # shown where the test failed
            print(f"--- {child.log_path.name}\n{child.log[-5000:]}")


@pytest.fixture
def load(database: Database) -> Load:
    made = Load(database, SEED)
    made.prepare()
    return made


def start(children: Nursery, database: Database, **more: Any) -> Child:
    return children.start(database.dsn(WORKER), database.role_dsn, **{**QUICK, "log_level": "error", **more})


@pytest.mark.parametrize(
    ("status", "promised", "effects", "wrong"),
    [
        ("completed", None, {"a": (1, 1), "b": (1, 1), "c": (1, 1)}, False),
        ("cancelled", "cancelled", {"a": (1, 1)}, False),
        ("completed", "completed", {"a": (1, 1), "b": (1, 1), "c": (1, 1)}, False),
        ("completed", None, {"a": (1, 1), "c": (1, 1)}, True),  # lost
        ("completed", None, {"a": (2, 1), "b": (1, 1), "c": (1, 1)}, True),  # doubled, by one step
        ("completed", None, {"a": (2, 2), "b": (1, 1), "c": (1, 1)}, True),  # doubled, by two
        ("cancelled", "cancelled", {"a": (2, 2)}, True),
        ("cancelled", None, {"a": (1, 1)}, True),  # by nobody
        ("completed", "cancelled", {"a": (1, 1), "b": (1, 1), "c": (1, 1)}, True),  # went on after its end
        ("failed", None, {"a": (1, 1)}, True),
        ("completed", None, {"a": (1, 1), "b": (1, 1), "c": (1, 1), "d": (1, 1)}, True),
    ],
)
def test_the_count_can_fail(
    status: str, promised: str | None, effects: dict[str, tuple[int, int]], wrong: bool
) -> None:
    assert bool(wrong_end(BY_NAME["sequence"], status, promised, effects)) == wrong


@dataclass(slots=True)
class Killing:
    """Several at it at once, each with workers of its own. It counts kills, and those of workers that held work."""

    database: Database
    load: Load
    children: Nursery
    wanted: int
    kills: int = 0
    holding: int = 0
    held: int = 0
    began: float = field(default_factory=time.monotonic)
    trouble: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        """Until as many as wanted have been killed. Raises AssertionError with the first thing that went wrong."""
        killers = [threading.Thread(target=self._guarded, args=(n,), daemon=True) for n in range(KILLERS)]
        for killer in killers:
            killer.start()
        for killer in killers:
            killer.join()
        assert not self.trouble, self.trouble

    def _guarded(self, number: int) -> None:
        try:
            self._kill_on(Random(SEED * KILLERS + number))
        except Exception as error:  # noqa: BLE001 - told in the test's own thread
            self.trouble.append(repr(error))

    def _kill_on(self, random: Random) -> None:
        with self.database.admin() as admin:
            workers = [self._start() for _ in range(WORKERS)]
            while self.kills < self.wanted and not self.trouble:
                _something_done(admin, f"after {self.kills} kills", self.load)
                time.sleep(random.uniform(0, 2 * GAP))  # the moment is the point of it; nothing is waited for
                victim = workers.pop(random.randrange(len(workers)))
                victim.kill()
                self._count(_leases_of(admin, victim.pid))
                workers.append(self._start())

    def _start(self) -> Child:
        with self.lock:
            return start(self.children, self.database)

    def _count(self, leases: int) -> None:
        with self.lock:
            self.kills += 1
            self.holding += leases > 0
            self.held += leases
            if self.kills % 1000 == 0:
                print(self, flush=True)

    def __str__(self) -> str:
        return (
            f"{self.kills} kills in {time.monotonic() - self.began:.0f} s, {self.holding} of workers that held work"
            f" ({self.held} leases); {len(self.load.started)} workflows, {len(self.load.cancelled)} cancelled"
        )


@pytest.mark.timeout(max(300, KILLS * 3))
def test_random_kills_of_workers(database: Database, children: Nursery) -> None:
    """Any worker of several, at any moment: while it starts, decides, runs a step, commits or waits."""
    with receiver(database) as url:
        load = Load(database, SEED, at_once=48, url=url)
        load.prepare()
        killing = Killing(database, load, children, KILLS)
        load.begin()
        killing.run()
        load.end()
        ends = settle(database, load, 120)
    print(f"seed {SEED}: {killing}: {ends}")
    assert ends["completed"] > KILLS
    assert killing.holding > 0


def _work_goes_on(database: Database, number: int) -> None:
    with database.admin() as admin:
        _something_done(admin, f"after {number} faults")


def _something_done(admin: Any, when: str, load: Load | None = None) -> None:
    """Every fault but the first comes after a step took effect since the one before."""
    query = "SELECT max(at) FROM effects"
    before = admin.execute(query).fetchone()
    failed = load.trouble if load is not None else []
    wait_until(lambda: failed or admin.execute(query).fetchone() != before, 60, f"work {when}")
    assert not failed, failed


@pytest.mark.timeout(300)
def test_frozen_worker_comes_back(database: Database, load: Load, children: Nursery) -> None:
    """Stopped beyond its lease, others take its work over; going on, it takes nothing back and does no harm."""
    frozen, _ = (start(children, database) for _ in range(2))
    load.begin()
    for number in range(3):
        _work_goes_on(database, number)
        frozen.send(signal.SIGSTOP)
        with database.admin() as admin:
            wait_until(lambda: _leases_of(admin, frozen.pid) == 0, 60, "the frozen worker's leases to be taken over")
        assert probe(database) < 15
        frozen.send(signal.SIGCONT)
        assert probe(database) < 15
    load.end()
    print(settle(database, load))
    assert frozen.alive


def _registered(database: Database, pid: int) -> None:
    """A worker that has a row has installed its signal handlers too."""
    with database.admin() as admin:
        query = "SELECT FROM df_engine.workers WHERE pid = %s"
        wait_until(lambda: admin.execute(query, [pid]).fetchone() is not None, 60, f"worker {pid} to register")


def _beating(database: Database) -> None:
    """The only worker has the connection that it beats on."""
    query = """SELECT FROM pg_stat_activity WHERE datname = current_database()
        AND application_name = 'perdure:worker:keeper' AND query LIKE '%beat_v1%'"""
    with database.admin() as admin:
        wait_until(lambda: admin.execute(query).fetchone() is not None, 60, "a worker that beats")


def _leases_of(admin: Any, pid: int) -> int:
    query = "SELECT count(*) FROM df_engine.tasks t JOIN df_engine.workers w USING (worker_id) WHERE w.pid = %s"
    row = admin.execute(query, [pid]).fetchone()
    return int(row[0])


@pytest.mark.timeout(300)
def test_rolling_restart(database: Database, load: Load, workers: Workers) -> None:
    """SIGTERM and a new worker, one after the other: each ends by itself and in peace, and nothing is tried twice."""
    options = ("--slots", "2", "--lease-seconds", "8", "--poll-seconds", "0.5")
    running = [workers.start(*options) for _ in range(2)]
    load.begin()
    for number in range(4):
        _registered(database, running[0].pid)
        _work_goes_on(database, number)
        assert running.pop(0).terminate(40) == 0
        running.append(workers.start(*options))
    load.end()
    print(settle(database, load))
    with database.admin() as admin:
        attempts = "SELECT count(*) FROM df_engine.history WHERE kind = 'ActivityAttemptFailed' AND payload NOT LIKE %s"
        assert admin.execute(attempts, ["%not now%"]).fetchone() == (0,)


@pytest.mark.timeout(300)
def test_cut_connections(database: Database, load: Load, children: Nursery) -> None:
    """Every connection of the only worker is closed, again and again."""
    with proxied(database.dsn(WORKER)) as proxy:
        worker = children.start(proxy.dsn(database.dsn(WORKER)), proxy.dsn(database.role_dsn), **QUICK)
        load.begin()
        for number in range(max(5, KILLS // 3)):
            _work_goes_on(database, number)
            proxy.cut()
        assert probe(database) < 15
        load.end()
        print(settle(database, load))
        assert worker.alive


@pytest.mark.timeout(300)
def test_forgotten_connections(database: Database, load: Load, children: Nursery) -> None:
    """The network has forgotten the only worker's connections: nothing arrives, nothing is refused, nobody is told."""
    with proxied(database.dsn(WORKER)) as proxy:
        worker = children.start(proxy.dsn(database.dsn(WORKER)), proxy.dsn(database.role_dsn), **QUICK)
        load.begin()
        _beating(database)  # the connection for that is to be among those that are forgotten
        _work_goes_on(database, 0)
        proxy.freeze(True)
        taken = probe(database, 60)
        load.end()
        ends = settle(database, load)
        print(f"going on after {taken:.1f} s: {ends}")
        assert worker.alive


def _stop_immediately(server: Server, _admin: Any) -> None:
    os.kill(_postmaster(server), signal.SIGQUIT)


def _kill_postmaster(server: Server, _admin: Any) -> None:
    server.kill()


def _kill_backend(server: Server, admin: Any) -> None:
    """kill -9 of a backend: the server ends every session and recovers by itself."""
    query = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'perdure:worker:workflow-sql' LIMIT 1"
    found = wait_until(lambda: admin.execute(query).fetchone(), 30, "a step session")
    os.kill(found[0], signal.SIGKILL)


def _terminate_all(_server: Server, admin: Any) -> None:
    admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'perdure:%'")


def _restart(server: Server, _admin: Any) -> None:
    server.stop()


FAULTS: list[Callable[[Server, Any], None]] = [
    _stop_immediately,
    _kill_postmaster,
    _kill_backend,
    _terminate_all,
    _restart,
]


def _postmaster(server: Server) -> int:
    return int((server.data / "postmaster.pid").read_text("utf-8").splitlines()[0])


@pytest.mark.timeout(max(300, SERVER_KILLS * 100))
def test_server_dies(children: Nursery) -> None:
    """The server stops at once, is killed, loses a backend, ends all sessions, restarts; and work flows within 15 s."""
    with own_server() as server:
        cluster = Cluster(server.dsn(), server=server)
        make_template(cluster, "template_of_chaos")
        database = copy_template(cluster, "template_of_chaos", "chaos")
        load = Load(database, SEED)
        load.prepare()
        workers = [start(children, database) for _ in range(2)]
        load.begin()
        slowest = 0.0
        for number in range(SERVER_KILLS):
            for fault in FAULTS:
                _work_goes_on(database, number)
                with cluster.admin("chaos") as admin:
                    fault(server, admin)
                wait_until(lambda: _startable(server), 60, "the server to start")
                taken = probe(database)
                slowest = max(slowest, taken)
                print(f"{fault.__name__}: a new workflow ended after {taken:.1f} s")
        load.end()
        ends = settle(database, load)
        print(f"{SERVER_KILLS * len(FAULTS)} faults, slowest {slowest:.1f} s: {ends}")
        assert all(worker.alive for worker in workers)
        drop_database(cluster, "chaos")


def _startable(server: Server) -> bool:
    """Start the server where it is down; false while what is left of the old one is in the way."""
    try:
        server.start()
    except Exception:  # noqa: BLE001 - asked again until the deadline
        return False
    return server.answers()
