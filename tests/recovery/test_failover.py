"""The primary is killed under load and its synchronous standby promoted: workers go over by themselves.

``PERDURE_FAILOVERS=20 pytest tests/recovery -k failover -s`` for more of them; each run prints its seed (PERDURE_SEED).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner
from psycopg.conninfo import conninfo_to_dict

from chaos.nursery import Child, Nursery
from chaos.wire import proxied
from cluster import WORKER, Database
from perdure.cli.fence import fence
from perdure.eventstore.connections import opening_seconds
from perdure.server import Server
from recovery.servers import (
    Site,
    alone,
    database_of,
    database_of_either,
    leads_to,
    promote,
    synchronous,
)
from recovery.traffic import Traffic, done, missing, probe, settle
from waiting import wait_until

SEED = int(os.environ.get("PERDURE_SEED", "1"))
FAILOVERS = int(os.environ.get("PERDURE_FAILOVERS", "1"))
OPTIONS: dict[str, Any] = {"slots": 2, "poll_seconds": 0.5, "log_level": "warning"}
SOON = 15.0  # seconds from the promotion to the end of a new workflow


@pytest.fixture
def lost_primary(primary: Server) -> Iterator[Server]:
    """The primary, for a test that kills it: started again afterwards."""
    yield primary
    primary.kill()
    primary.start()
    alone(primary)


def waits_at(standby: Database, children: Nursery) -> Child:
    """A worker that was led to a standby: it says so, and waits."""
    child = children.start(standby.dsn(WORKER), standby.role_dsn, **OPTIONS)
    wait_until(lambda: "standby" in child.log, 60, "words of the worker at the standby")
    told = CliRunner().invoke(fence, ["on", "--dsn", standby.admin_dsn])
    assert told.exit_code == 1 and "promote it first" in told.output
    return child


def goes_on(database: Database, count: int) -> None:
    """Returns when so many steps have been completed."""
    wait_until(lambda: done(database) >= count, 60, f"{count} steps")


def alone_with(database: Database, child: Child, all_of_them: list[Child]) -> float:
    """How many seconds a new workflow takes when only this worker is there to run it."""
    with database.admin() as admin:
        fresh = "SELECT FROM df_engine.workers WHERE pid = %s AND clock_timestamp() - beat_at < interval '8 seconds'"
        wait_until(lambda: admin.execute(fresh, [child.pid]).fetchone() is not None, 60, "the worker's beat")
    others = [other for other in all_of_them if other is not child]
    for other in others:
        other.send(signal.SIGSTOP)
    try:
        return probe(database)
    finally:
        for other in others:
            other.send(signal.SIGCONT)


def test_one_silent_host_of_several_does_not_keep_the_others_waiting() -> None:
    two, one = "host=a,b port=1,2", "host=a port=1"
    assert opening_seconds(conninfo_to_dict(two)) <= 3 < opening_seconds(conninfo_to_dict(one))


@pytest.mark.timeout(max(300, FAILOVERS * 100))
def test_failover_to_a_synchronous_standby(
    place: Site, lost_primary: Server, shop: Database, children: Nursery
) -> None:
    """One worker names all servers, one has an address that leads elsewhere later, one waits at the standby."""
    servers = [lost_primary, *(place.server(f"standby{number}") for number in range(FAILOVERS))]
    database = database_of_either(shop.name, *servers)
    load = Traffic(database, SEED)
    load.prepare()
    with proxied(shop.dsn(WORKER)) as proxy:
        workers = [
            children.start(database.dsn(WORKER), database.role_dsn, **OPTIONS),
            children.start(proxy.dsn(shop.dsn(WORKER)), proxy.dsn(shop.role_dsn), **OPTIONS),
        ]
        load.begin()
        for number in range(FAILOVERS):
            old, new = servers[number], place.standby(servers[number], f"standby{number}")
            synchronous(old, f"standby{number}")
            early = waits_at(database_of(new, shop.name), children)
            goes_on(database, done(database) + 50)
            old.kill()
            since = promote(new)
            leads_to(proxy, new)
            probe(database)
            taken = time.monotonic() - since
            print(f"failover {number + 1}: a new workflow ended {taken:.1f} s after the promotion")
            assert taken < SOON
            for child in [*workers, early]:
                print(f"one worker alone: {alone_with(database, child, [*workers, early]):.1f} s")
            early.kill()
        load.end()
        ends = settle(database)
        print(f"{FAILOVERS} failovers, seed {SEED}: {ends}")
        assert missing(load) == set()
        assert all(child.alive for child in workers)
    new.kill()
