"""A restore to an instant brings back data and workflows of that instant, and workers go on with them.

``PERDURE_RESTORES=10 pytest tests/recovery -k restore_to -s`` for more of them, each with a seed of its own.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from chaos.checks import check_invariants
from chaos.crashing import QUICK
from chaos.nursery import Child, Nursery
from chaos.scenarios import effect, effects
from chaos.wire import Proxy, proxied
from cluster import WORKER, Cluster, Database
from perdure.server import Server
from pooler import PROGRAM, Pooler, running_pooler
from recovery.servers import Site, archived, database_of, leads_to, mark
from recovery.traffic import Traffic, done, missing, settle
from recovery.workflows import has, signals, start, until
from waiting import wait_until

SEED = int(os.environ.get("PERDURE_SEED", "1"))
RESTORES = int(os.environ.get("PERDURE_RESTORES", "1"))
# Effects of steps that committed, without the event that says so; the other direction is counted at the end.
UNRECORDED = """
    SELECT e.* FROM effects e WHERE e.key LIKE e.instance || '-%' AND NOT EXISTS (
        SELECT FROM df_engine.history h WHERE h.instance_id = e.instance AND h.kind = 'ActivityCompleted'
        AND format('%s-%s-%s', h.instance_id, h.execution_id, h.payload::json->>'of') = e.key)
"""
GATE = 4711  # an advisory lock: a step that is slow for as long as somebody else has it
SLOW = effect("slow").replace("VALUES (", "SELECT ").removesuffix(")$w$") + f" FROM pg_advisory_xact_lock({GATE})$w$"
# What a signal says is what the step after it writes down.
SAID = "$w$INSERT INTO effects (instance, step, key) VALUES ('{sys_instance_id}', $x.data, '{sys_step_key}')$w$"
LISTENS = f"df.wait_for_signal('x') |=> 'x' ~> df.wait_for_signal('y') ~> {SAID}"


@dataclass(frozen=True, slots=True)
class Instant:
    """Workflows that were at known places at the instant, by where that was."""

    running: str
    waiting: str
    sleeping: str
    unclaimed: str


def worker(children: Nursery, database: Database, proxy: Proxy) -> Child:
    """A worker that reaches the server by an address that may come to mean another server."""
    return children.start(proxy.dsn(database.dsn(WORKER)), proxy.dsn(database.role_dsn), **QUICK)


def registered(database: Database, child: Child) -> bool:
    """Whether the database knows a worker."""
    with database.admin() as admin:
        return admin.execute("SELECT FROM df_engine.workers WHERE pid = %s", [child.pid]).fetchone() is not None


@contextlib.contextmanager
def pooled(database: Database, proxy: Proxy) -> Iterator[Pooler | None]:
    """A pooler in front of the address; None where it is not installed."""
    if PROGRAM is None:
        yield None
        return
    proxy.folder.chmod(0o755)  # the pooler runs as the server's account
    next(proxy.folder.iterdir()).chmod(0o777)
    with running_pooler(Cluster(proxy.dsn(database.admin_dsn))) as running:
        yield running


def instant(database: Database, server: Server, workers: list[Child], name: str) -> Instant:
    """Bring workflows to known places, and name the instant. Workers are frozen for it, so that one is unclaimed."""
    waiting = start(database, f"{effect('a')} ~> df.wait_for_signal('go') ~> {effect('z')}")
    until(database, waiting, "signal")
    with database.admin() as admin:
        admin.execute("SELECT pg_advisory_lock(%s)", [GATE])
        running = start(database, f"{effect('a')} ~> {SLOW} ~> {effect('z')}")
        wait_until(lambda: effects(admin, running) == {"a": 1}, 60, "the step before the slow one")
        until(database, running, "running")
        sleeping = start(database, f"{effect('a')} ~> df.sleep(8) ~> {effect('z')}")
        until(database, sleeping, "timer")
        for child in workers:
            child.send(signal.SIGSTOP)
        unclaimed = start(database, effect("z"))
        mark(server, name)
    for child in workers:
        child.send(signal.SIGCONT)
    return Instant(running, waiting, sleeping, unclaimed)


def check_instant(admin: psycopg.Connection[Any], then: Instant) -> None:
    """Data and workflows are of one instant, and it is the right one."""
    assert admin.execute(UNRECORDED).fetchall() == []
    assert effects(admin, then.running) == effects(admin, then.waiting) == effects(admin, then.sleeping) == {"a": 1}
    assert effects(admin, then.unclaimed) == {}
    pending = "SELECT status, head_seq FROM df_engine.instances WHERE instance_id = %s"
    assert admin.execute(pending, [then.unclaimed]).fetchone() == ("pending", 1)
    check_invariants(admin, [row[0] for row in admin.execute("SELECT instance_id FROM df_engine.instances")])


def end_all(database: Database, then: Instant) -> None:
    """Give the workflows what they wait for, and see them end with each effect there once."""
    signals(database, then.waiting, "go")
    for instance_id in (then.running, then.waiting, then.sleeping, then.unclaimed):
        has(database, instance_id, "completed")
    with database.admin() as admin:
        assert effects(admin, then.running) == {"a": 1, "slow": 1, "z": 1}
        assert effects(admin, then.waiting) == effects(admin, then.sleeping) == {"a": 1, "z": 1}
        assert effects(admin, then.unclaimed) == {"z": 1}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(SEED, SEED + RESTORES))
def test_restore_to_an_instant_under_load(
    place: Site, primary: Server, shop: Database, children: Nursery, seed: int
) -> None:
    """Workers that were alive then live on: the address leads them to the restored server, and they go on there.

    One of them is connected to a pooler (where one is installed), and may not even see a connection break; one came
    after the instant.
    """
    database = shop
    load = Traffic(database, seed)
    load.prepare()
    with proxied(database.dsn(WORKER)) as proxy, pooled(database, proxy) as pooler:
        workers = [worker(children, database, proxy) for _ in range(2)]
        if pooler is not None:
            workers.append(children.start(pooler.dsn(shop.name, WORKER), pooler.dsn(shop.name, "{role}"), **QUICK))
        listener = start(database, LISTENS)
        load.begin()
        wait_until(lambda: done(database) > 30, 60, "work before the backup")
        backup = place.backup(primary, f"backup{seed}")
        wait_until(lambda: done(database) > 100, 60, "work after the backup")
        until(database, listener, "signal")
        then = instant(database, primary, workers, f"instant {seed}")
        workers.append(worker(children, database, proxy))
        wait_until(lambda: registered(database, workers[-1]), 60, "a worker that came after the instant")
        before = done(database)
        signals(database, listener, "x", "old")
        end_all(database, then)
        wait_until(lambda: done(database) > before + 100, 60, "work after the instant")
        load.end()
        archived(primary)
        proxy.cut()

        server = place.restored(backup, f"restored{seed}", {"recovery_target_name": f"instant {seed}"})
        load.database = database = database_of(server, shop.name)
        with database.admin() as admin:
            check_instant(admin, then)
        lost, kept = len(missing(load)), done(database)
        leads_to(proxy, server)
        signals(database, listener, "x", "new")
        signals(database, listener, "y")
        end_all(database, then)
        has(database, listener, "completed")
        ends = settle(database)
        print(f"seed {seed}: {lost} starts undone, {done(database) - kept} steps done since: {ends}")
        with database.admin() as admin:
            assert effects(admin, listener) == {"new": 1}
            assert admin.execute(UNRECORDED).fetchall() == []
        assert lost > 0
        assert all(child.alive for child in workers)
    server.kill()
