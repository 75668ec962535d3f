"""What tests of faults have in common: workers under a load, a server of their own, and that work goes on."""

from __future__ import annotations

import os
from typing import Any

import psycopg

from chaos.crashing import QUICK
from chaos.load import probe
from chaos.nursery import Child, Nursery
from cluster import WORKER, Cluster, Database, copy_template, make_template
from perdure.server import Server
from waiting import wait_until

# Seconds after which work has to flow again. The promise is 15; where many other jobs run on the machine, that is too
# short for a test that must not fail by chance.
RECOVERY = float(os.environ.get("PERDURE_RECOVERY", "30"))


def flows(database: Database) -> float:
    """How long a new workflow takes from now. Raises AssertionError when it is too long."""
    return probe(database, RECOVERY)


def start(children: Nursery, database: Database, patch: str | None = None, **more: Any) -> Child:
    """A worker on this database, straight to the server."""
    return children.start(database.dsn(WORKER), database.role_dsn, patch, **{**QUICK, **more})


def registered(database: Database, worker: Child) -> None:
    """Wait until a worker has its row: from then on it survives whatever comes."""
    with database.admin() as admin:
        query = "SELECT FROM df_engine.workers WHERE pid = %s"
        wait_until(lambda: admin.execute(query, [worker.pid]).fetchone() is not None, 60, f"a worker: {worker.log}")


def work_goes_on(database: Database, steps: int = 1) -> None:
    """Wait until so many more steps have ended."""
    with database.admin() as admin:
        before = _ended(admin)
        wait_until(lambda: _ended(admin) >= before + steps, 60, "steps to end")


def _ended(admin: psycopg.Connection[Any]) -> int:
    row = admin.execute("SELECT count(*) FROM df_engine.history WHERE kind = 'ActivityCompleted'").fetchone()
    assert row is not None
    return int(row[0])


def failed_attempts(database: Database) -> list[str]:
    """What the history says of attempts that failed, but for those that the load's workflows fail on purpose."""
    with database.admin() as admin:
        query = "SELECT payload FROM df_engine.history WHERE kind = 'ActivityAttemptFailed' AND payload NOT LIKE %s"
        return [str(payload) for (payload,) in admin.execute(query, ["%not now%"])]


def prepared(server: Server) -> Database:
    """A database with the schema on a server that the test has made."""
    cluster = Cluster(server.dsn(), server=server)
    make_template(cluster, "template_of_chaos")
    return copy_template(cluster, "template_of_chaos", "chaos")


def startable(server: Server) -> bool:
    """Start the server where it is down, as whoever looks after it would; false while something is in the way."""
    try:
        server.start()
    except Exception:  # noqa: BLE001 - asked again until the deadline
        return False
    return server.answers()
