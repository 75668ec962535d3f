"""No connection is free for a while, and limits of time that administrators set: work waits, and is not disturbed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from chaos.faults import failed_attempts, flows, prepared, registered, start, work_goes_on
from chaos.load import Load, settle
from chaos.nursery import Child, Nursery
from cluster import WORKER, Cluster, Database, own_server
from perdure.activities.sql import STEP_OPTIONS
from perdure.eventstore.connections import CONTROL_OPTIONS, connect
from perdure.eventstore.watch import Watch
from waiting import wait_until

SEED = int(os.environ.get("PERDURE_SEED", "1"))
REFUSED = ("too many connections", "too many clients", "remaining connection slots")
OURS = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'perdure:%' AND datname = current_database()"


@dataclass(slots=True)
class Crowd:
    """Others, who take every connection that is free and do nothing with it."""

    database: Database
    taken: list[psycopg.Connection[Any]] = field(default_factory=list)

    def take(self) -> None:
        """Take what is free."""
        with suppress(psycopg.OperationalError):
            while True:
                self.taken.append(self.database.connect("bob"))

    def go(self) -> None:
        """Give everything back."""
        while self.taken:
            self.taken.pop().close()


@contextmanager
def crowd(database: Database) -> Iterator[Crowd]:
    others = Crowd(database)
    try:
        yield others
    finally:
        others.go()


def left(database: Database, others: Crowd) -> int:
    """End the sessions of all workers and take their places; how many they still have."""
    with database.admin() as admin:
        admin.execute(f"SELECT pg_terminate_backend(pid) FROM ({OURS}) AS ours")
        others.take()
        return len(admin.execute(OURS).fetchall())


def refused(worker: Child) -> int:
    """How often a worker has told that there is no connection for it."""
    return sum(worker.log.count(words) for words in REFUSED)


def starve(database: Database, children: Nursery) -> None:
    """Workers under a load lose every connection to a crowd; one dies and another begins while nothing is free."""
    load = Load(database, SEED)
    load.prepare()
    dying, staying = (start(children, database) for _ in range(2))
    load.begin()
    work_goes_on(database, 50)
    with crowd(database) as others:
        wait_until(lambda: left(database, others) == 0, 60, "all connections to be taken")
        dying.kill()
        fresh = start(children, database)
        for worker in (staying, fresh):
            wait_until(lambda: refused(worker) >= 4, 60, "a worker that tells why it waits")  # noqa: B023 - at once
    taken = flows(database)
    registered(database, fresh)
    load.end()
    ends = settle(database, load)
    print(f"a new workflow ended after {taken:.1f} s: {ends}")
    assert staying.alive
    assert fresh.alive


@pytest.mark.timeout(300)
def test_database_has_no_connection_free(database: Database, children: Nursery) -> None:
    name = sql.Identifier(database.name)
    limit = sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}")
    with database.admin() as admin:
        admin.execute(limit.format(name, 40))
    starve(database, children)


@pytest.mark.heavy
@pytest.mark.timeout(300)
def test_server_has_no_connection_free(children: Nursery) -> None:
    with own_server(max_connections="40") as server:
        starve(prepared(server), children)


# Whoever sets these wants to be rid of sessions that were forgotten; the worker's are not.
LIMITS = {
    "idle sessions": ("DATABASE {database}", {"idle_session_timeout": "50ms"}),
    "idle in a transaction": ("DATABASE {database}", {"idle_in_transaction_session_timeout": "1ms"}),
    "the worker's calls": (
        "ROLE {worker} IN DATABASE {database}",
        {"statement_timeout": "1ms", "lock_timeout": "1ms"},
    ),
}
NEVER = ("idle_session_timeout", "idle_in_transaction_session_timeout")


def undisturbed(database: Database) -> Database:
    """The same database for the load's own connections, which none of the limits is about."""
    options = " ".join(f"-c {name}=0" for name in NEVER)
    cluster = database.cluster
    return Database(Cluster(make_conninfo(cluster.admin_dsn, options=options), cluster.with_password), database.name)


def limit(database: Database, which: str) -> None:
    """Set the limits."""
    target, settings = LIMITS[which]
    names = {"database": sql.Identifier(database.name), "worker": sql.Identifier(WORKER)}
    place = sql.SQL(target).format(**names)
    with database.admin() as admin:
        for name, value in settings.items():
            admin.execute(sql.SQL("ALTER {} SET {} = {}").format(place, sql.Identifier(name), value))


@pytest.mark.parametrize("which", LIMITS)
@pytest.mark.timeout(240)
def test_limits_of_time_disturb_no_step(database: Database, children: Nursery, which: str) -> None:
    """No attempt fails and no call: the worker's sessions are excepted, whatever defaults they are given."""
    calm = undisturbed(database)
    load = Load(calm, SEED)
    load.prepare()
    limit(database, which)
    worker = start(children, database)
    load.begin()
    work_goes_on(calm, 100)
    load.end()
    print(settle(calm, load))
    assert failed_attempts(calm) == []
    assert worker.alive
    assert "timeout" not in worker.log, worker.log


def test_a_limit_of_transactions_does_not_reach_the_workers_calls(database: Database) -> None:
    """Older servers know no such limit, and refuse a session that speaks of it."""
    with database.admin() as admin:
        if admin.info.server_version < 170000:
            pytest.skip("the server knows no transaction_timeout")
        admin.execute(sql.SQL("ALTER DATABASE {} SET transaction_timeout = '1s'").format(sql.Identifier(database.name)))
    with connect(Watch(), database.dsn(WORKER), "perdure:test", CONTROL_OPTIONS) as link:
        assert link.execute("SHOW transaction_timeout").fetchone() == ("0",)
    with connect(Watch(), database.dsn("alice"), "perdure:test", STEP_OPTIONS) as link:
        assert link.execute("SHOW transaction_timeout").fetchone() == ("1s",)  # her steps are hers
