"""Workers and servers that die, freeze or lose each other under a load of mixed workflows: nothing lost or doubled.

``PERDURE_KILLS=1000 pytest tests/chaos/test_kills.py -k kills`` for longer; each run prints its seed (PERDURE_SEED).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from chaos.crashing import QUICK
from chaos.load import Load, probe, settle
from chaos.nursery import Child, Nursery, nursery
from chaos.wire import proxied
from cluster import WORKER, Cluster, Database, Workers, copy_template, drop_database, make_template, own_server
from perdure.server import Server
from waiting import wait_until

KILLS = int(os.environ.get("PERDURE_KILLS", "15"))
SERVER_KILLS = int(os.environ.get("PERDURE_SERVER_KILLS", "1"))
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


@pytest.mark.timeout(max(300, KILLS * 3))
def test_random_kills_of_workers(database: Database, load: Load, children: Nursery) -> None:
    random = Random(SEED)
    workers = [start(children, database) for _ in range(3)]
    load.begin()
    for number in range(KILLS):
        _work_goes_on(database, number)
        time.sleep(random.uniform(0, 0.3))  # the moment is the point of it; nothing is waited for
        victim = random.randrange(len(workers))
        workers[victim].kill()
        workers[victim] = start(children, database)
    load.end()
    ends = settle(database, load)
    print(f"{KILLS} kills, seed {SEED}: {ends}")
    assert ends["completed"] > KILLS


def _work_goes_on(database: Database, number: int) -> None:
    """Every kill but the first comes after something was done since the one before."""
    with database.admin() as admin:
        query = "SELECT count(*) FROM df_engine.history WHERE kind = 'ActivityCompleted'"
        before = admin.execute(query).fetchone()
        wait_until(lambda: admin.execute(query).fetchone() != before, 60, f"work after {number} kills")


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
        _work_goes_on(database, 0)
        proxy.freeze(True)
        taken = probe(database, 30)
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
