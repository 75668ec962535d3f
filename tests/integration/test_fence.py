"""Outbound steps wait behind the fence, and go on when it is opened."""

from __future__ import annotations

import subprocess
import sys

from cluster import OWNER, Database, WorkerProcess, clean_environment
from waiting import eventually_status


def fence(database: Database, what: str) -> str:
    command = [sys.executable, "-m", "perdure", "fence", what, "--dsn", database.dsn(OWNER)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=clean_environment())
    return done.stdout


def test_outbound_steps_wait_behind_the_fence_and_others_do_not(database: Database, worker: WorkerProcess) -> None:
    assert "are held; 0" in fence(database, "on")
    with database.admin() as admin:
        admin.execute("SELECT df.grant_usage('alice', include_http => true)")
    with database.connect("alice") as alice:
        outbound, other, inside = (
            str(alice.execute(f"SELECT df.start({graph})").fetchone()[0])  # type: ignore[index]
            for graph in ("df.http('http://127.0.0.1:1/')", "'SELECT 1', database => 'postgres'", "'SELECT 2'")
        )
        eventually_status(alice, inside, "completed", 60)
        for instance in (outbound, other):
            eventually_status(alice, instance, "running", 60)
        assert "are held; 2" in fence(database, "status")
        assert "not held" in fence(database, "off")
        eventually_status(alice, outbound, "failed", 60)
        eventually_status(alice, other, "completed", 60)
    assert worker.process.poll() is None
