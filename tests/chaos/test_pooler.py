"""A pgbouncer in transaction mode that is killed, restarted or paused while all workers go through it, under load."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import psycopg
import pytest

from chaos.crashing import QUICK
from chaos.faults import flows, registered, work_goes_on
from chaos.load import Load, settle
from chaos.nursery import Child, Nursery
from chaos.receiver import receiver
from cluster import OWNER, WORKER, Cluster, Database
from pooler import PROGRAM, Pooler, running_pooler
from waiting import wait_until

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="pgbouncer is not installed")

SEED = int(os.environ.get("PERDURE_SEED", "1"))
ROUNDS = int(os.environ.get("PERDURE_POOLER_FAULTS", "1"))


def killed(pooler: Pooler, _workers: list[Child]) -> None:
    """As by a crash."""
    pooler.kill()
    pooler.start()


def restarted(pooler: Pooler, _workers: list[Child]) -> None:
    """As by whoever looks after it: it lets transactions end, and goes."""
    assert pooler.process is not None
    pooler.process.send_signal(signal.SIGINT)
    pooler.process.wait(60)
    pooler.start()


def away(pooler: Pooler, workers: list[Child]) -> None:
    """Not there, until every worker has noticed."""
    pooler.kill()
    said = [worker.log.count("claim failed") for worker in workers]
    wait_until(lambda: _all_said(workers, "claim failed", said), 60, "workers that tell of it")
    pooler.start()


def paused(pooler: Pooler, workers: list[Child]) -> None:
    """PAUSE: everybody is connected, and nobody is answered, beyond the workers' leases and their patience."""
    said = [worker.log.count("silent") for worker in workers]
    with psycopg.connect(pooler.dsn("pgbouncer", OWNER), autocommit=True) as console:
        console.execute("PAUSE")
        wait_until(lambda: _all_said(workers, "silent", said), 60, "workers that tell of it")
        console.execute("RESUME")


def _all_said(workers: list[Child], words: str, before: list[int]) -> bool:
    return all(worker.log.count(words) > n for worker, n in zip(workers, before, strict=True))


Fault = Callable[[Pooler, list[Child]], None]
HEAVY = pytest.mark.heavy


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param([killed, restarted], id="comes back at once"),
        pytest.param([away, paused], id="stays away", marks=HEAVY),
    ],
)
@pytest.mark.timeout(max(300, ROUNDS * 120))
def test_pooler_dies_or_pauses(cluster: Cluster, database: Database, children: Nursery, faults: list[Fault]) -> None:
    slowest: dict[str, float] = {}
    with running_pooler(cluster, admin_users=OWNER) as pooler, receiver(database) as url:
        load = Load(database, SEED, url=url)
        load.prepare()
        dsn, role_dsn = pooler.dsn(database.name, WORKER), pooler.dsn(database.name, "{role}")
        workers = [children.start(dsn, role_dsn, **QUICK) for _ in range(2)]
        for worker in workers:
            registered(database, worker)
        load.begin()
        for _ in range(ROUNDS):
            for fault in faults:
                work_goes_on(database, 20)
                began = time.monotonic()
                fault(pooler, workers)
                over = time.monotonic()
                taken = flows(database)
                slowest[fault.__name__] = max(taken, slowest.get(fault.__name__, 0.0))
                print(f"{fault.__name__} for {over - began:.1f} s: a new workflow ended after {taken:.1f} s")
        load.end()
        ends = settle(database, load)
        print(f"{ROUNDS} of each, slowest in s {slowest}: {ends}")
        assert all(worker.alive for worker in workers)
