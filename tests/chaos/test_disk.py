"""A full disk under a load of mixed workflows: steps wait for space, and work goes on by itself when there is some."""

from __future__ import annotations

import os
from contextlib import suppress

import psycopg
import pytest

from chaos.disk import Disk, database_on_small_disk, server_on_small_disk
from chaos.faults import flows, prepared, start, startable, work_goes_on
from chaos.load import Load, settle
from chaos.nursery import Child, Nursery
from cluster import Database
from perdure.server import Server
from waiting import eventually_status, wait_until

SEED = int(os.environ.get("PERDURE_SEED", "1"))
NO_SPACE = "No space left on device"
BULK = "$w$INSERT INTO bulk SELECT '{sys_instance_id}', repeat('0123456789', 1000) FROM generate_series(1, 4)$w$"


def begin_bulk(database: Database, count: int) -> list[str]:
    """Workflows whose steps need room; counted apart from the load's."""
    with database.connect("alice") as alice:
        alice.execute("CREATE TABLE bulk (instance text, filling text)")
        alice.execute("ALTER TABLE bulk ALTER filling SET STORAGE EXTERNAL")
        chain = " ~> ".join([BULK] * 10)
        return [str(row[0]) for _ in range(count) for row in alice.execute(f"SELECT df.start({chain}, 'probe')")]


def check_bulk(database: Database, ids: list[str]) -> None:
    """Each of their steps has been done once."""
    with database.connect("alice") as alice:
        for instance_id in ids:
            eventually_status(alice, instance_id, "completed", 60)
        rows = alice.execute("SELECT instance, count(*) FROM bulk GROUP BY 1").fetchall()
        assert dict(rows) == dict.fromkeys(ids, 40)


def kept_full(disk: Disk, workers: list[Child], times: int, server: Server) -> bool:
    """Take what others have freed; whether every worker has said so often that there is no space, or the server died.

    It dies when its log goes on to the next file just then.
    """
    disk.fill()
    return all(worker.log.count(NO_SPACE) >= times for worker in workers) or gone(server)


def gone(server: Server) -> bool:
    """Whether the server has ended by itself."""
    return not (server.data / "postmaster.pid").exists()


def fill_for_a_while(disk: Disk, database: Database, load: Load, children: Nursery) -> list[Child]:
    """Fill the disk under a load until every worker tells of it, one that began meanwhile too; they who are left."""
    load.prepare()
    workers = [start(children, database) for _ in range(2)]
    load.begin()
    work_goes_on(database, 50)
    bulk = begin_bulk(database, 12)
    server = database.cluster.server
    assert server is not None
    wait_until(lambda: kept_full(disk, workers, 4, server), 120, "workers that tell of a full disk")
    workers.pop(0).kill()
    workers.append(start(children, database))
    wait_until(lambda: kept_full(disk, workers, 8, server), 120, "a worker that began meanwhile to tell of it too")
    disk.free()
    wait_until(lambda: startable(server), 60, "the server to start, where it has panicked")
    taken = flows(database)
    load.end()
    ends = settle(database, load)
    check_bulk(database, bulk)
    print(f"a new workflow ended after {taken:.1f} s: {ends}")
    return workers


@pytest.mark.timeout(300)
def test_full_disk_of_a_database(database: Database, children: Nursery) -> None:
    """Steps and the engine's own calls fail with 53100."""
    with database_on_small_disk(database, 48) as disk:
        workers = fill_for_a_while(disk, database, Load(database, SEED), children)
        assert all(worker.alive for worker in workers)


@pytest.mark.heavy
@pytest.mark.timeout(300)
def test_full_disk_of_everything(children: Nursery) -> None:
    """Data and log on one disk."""
    with server_on_small_disk(256, wal_only=False) as (server, disk):
        database = prepared(server)
        workers = fill_for_a_while(disk, database, Load(database, SEED), children)
        assert all(worker.alive for worker in workers)


def write_more(database: Database) -> None:
    """Go on to the next piece of the log, where the server is there."""
    with suppress(psycopg.Error), database.admin() as admin:
        admin.execute("SELECT pg_logical_emit_message(true, 'chaos', 'more'), pg_switch_wal()")


def panics(server: Server) -> int:
    """How often the server has said that it cannot go on."""
    return server.log.read_text("utf-8", "replace").count("PANIC")


@pytest.mark.heavy
@pytest.mark.timeout(300)
def test_full_disk_of_the_log(children: Nursery) -> None:
    """Nothing can be logged: the server panics until it does not even start, there is space, and somebody starts it."""
    with server_on_small_disk(128, wal_only=True) as (server, disk):
        database = prepared(server)
        load = Load(database, SEED)
        load.prepare()
        workers = [start(children, database) for _ in range(2)]
        load.begin()
        work_goes_on(database, 50)
        before = panics(server)

        def is_gone() -> bool:
            disk.fill()
            write_more(database)
            return panics(server) > before and gone(server)

        wait_until(is_gone, 120, "a server that has given up")
        disk.free()
        wait_until(lambda: startable(server), 60, "the server to start")
        taken = flows(database)
        load.end()
        ends = settle(database, load)
        print(f"a new workflow ended after {taken:.1f} s and {panics(server) - before} panics: {ends}")
        assert all(worker.alive for worker in workers)
