"""Record a database with work of every kind in flight, for this release.

    python -m tests.upgrades.record --dsn postgresql://superuser@.../postgres

Makes a database, starts the workflows of ``workflows.json``, lets a worker bring each to where it waits, kills it, and
dumps the database to ``<release>/in_flight.sql`` with the ids beside it. Kept for ever: the test restores it under the
code of the day and lets that finish everything. Use the oldest server that is at hand: dumps restore on newer ones.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psycopg

import perdure  # noqa: F401  the package must be installed
from perdure.schema import migrate

HERE = Path(__file__).parent
RELEASE = "0.1.0"
OWNER, ROLE = "perdure_owner", "alice"
SCHEMA = """
CREATE TABLE public.effects (workflow text, step int);
GRANT ALL ON public.effects TO alice
"""
# By name: the graph, the signals that let it end, and how many effects it has then.
WORKFLOWS: dict[str, dict[str, Any]] = json.loads((HERE / "workflows.json").read_text("utf-8"))


def record(dsn: str) -> None:
    """Make, fill, kill, dump."""
    admin = psycopg.connect(dsn, autocommit=True)
    admin.execute("DROP DATABASE IF EXISTS perdure_recording WITH (FORCE)")
    for role in (OWNER, ROLE):
        if not admin.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone():
            admin.execute(f"CREATE ROLE {role} LOGIN")
    admin.execute(f"CREATE DATABASE perdure_recording OWNER {OWNER}")
    parts = psycopg.conninfo.conninfo_to_dict(dsn) | {"dbname": "perdure_recording"}

    def as_role(role: str) -> str:
        return psycopg.conninfo.make_conninfo("", **{**parts, "user": role})

    migrate.upgrade(as_role(OWNER))
    with psycopg.connect(as_role(OWNER), autocommit=True) as owner:
        owner.execute(f"SELECT df.grant_usage('{ROLE}')")
    with psycopg.connect(psycopg.conninfo.make_conninfo("", **parts), autocommit=True) as connection:
        connection.execute(SCHEMA)
    ids = _start_and_kill(as_role(ROLE))
    folder = HERE / RELEASE
    folder.mkdir(exist_ok=True)
    dump = subprocess.run(
        ["pg_dump", "--dbname", psycopg.conninfo.make_conninfo("", **parts)], check=True, capture_output=True, text=True
    )
    (folder / "in_flight.sql").write_text(dump.stdout, "utf-8")
    (folder / "in_flight.json").write_text(json.dumps(ids, indent=2) + "\n", "utf-8")
    admin.execute("DROP DATABASE perdure_recording WITH (FORCE)")


def _start_and_kill(dsn: str) -> dict[str, str]:
    worker = subprocess.Popen([sys.executable, "-m", "perdure", "worker", "--dsn", dsn])
    try:
        with psycopg.connect(dsn, autocommit=True) as connection:
            ids = {name: _start(connection, w["graph"]) for name, w in WORKFLOWS.items() if name != "queued"}
            for name, instance in ids.items():
                _wait(connection, instance, name)
            worker.kill()
            worker.wait()
            ids["queued"] = _start(connection, WORKFLOWS["queued"]["graph"])
            return ids
    finally:
        worker.kill()


def _start(connection: psycopg.Connection[Any], graph: str) -> str:
    row = connection.execute(f"SELECT df.start({graph})").fetchone()
    assert row is not None
    return str(row[0])


def _wait(connection: psycopg.Connection[Any], instance: str, name: str) -> None:
    """Until something of it waits for a signal or a time."""
    deadline = time.monotonic() + 30
    while not connection.execute(
        "SELECT 1 FROM df.nodes WHERE instance_id = %s AND status = 'running' AND node_type IN ('SIGNAL', 'SLEEP')",
        (instance,),
    ).fetchone():
        assert time.monotonic() < deadline, name
        time.sleep(0.05)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dsn", required=True)
    record(parser.parse_args().dsn)
