"""Workers whose wall clock is hours off, under a load of mixed workflows: only the server's clock counts."""

from __future__ import annotations

import os
import re
from datetime import datetime
from typing import Any

import psycopg
import pytest

from chaos.clocks import HOURS
from chaos.faults import flows, registered, start, work_goes_on
from chaos.load import Load, settle
from chaos.nursery import Child, Nursery
from cluster import Database
from waiting import eventually_status, wait_until

SEED = int(os.environ.get("PERDURE_SEED", "1"))
SLACK = 60.0  # seconds: a busy machine, not a clock that is hours off
DUES = """SELECT extract(epoch FROM (payload::json->>'due')::timestamptz - recorded_at)::float8
    FROM df_engine.history WHERE instance_id = ANY (%s) AND kind = 'TimerSet'"""
LATEST = """SELECT max(extract(epoch FROM f.recorded_at - (s.payload::json->>'due')::timestamptz))::float8
    FROM df_engine.history f JOIN df_engine.history s ON s.instance_id = f.instance_id
    AND s.execution_id = f.execution_id AND s.seq = (f.payload::json->>'of')::integer
    WHERE f.kind = 'TimerFired' AND s.kind = 'TimerSet'"""
RETRIED = """SELECT max(extract(epoch FROM n.recorded_at - f.recorded_at))::float8 FROM df_engine.history f
    JOIN df_engine.history n ON n.instance_id = f.instance_id AND n.execution_id = f.execution_id
    AND n.payload::json->>'of' = f.payload::json->>'of'
    WHERE f.kind = 'ActivityAttemptFailed' AND n.kind IN ('ActivityCompleted', 'ActivityFailed')"""


def begin(bob: psycopg.Connection[Any], expression: str) -> list[str]:
    """Many of them, so that every worker decides some."""
    return [str(row[0]) for _ in range(12) for row in bob.execute(f"SELECT df.start({expression}, 'probe')")]


def hours_off(worker: Child) -> float:
    """How far off the time is that a worker wrote into the first line of its log."""
    found = re.match(r"(\S+ [\d:]+)", worker.log)
    assert found is not None, worker.log
    return (datetime.fromisoformat(found[1]) - datetime.now()).total_seconds() / 3600  # noqa: DTZ005 - as logged


def seconds(admin: psycopg.Connection[Any], query: str, *arguments: Any) -> list[float]:
    return [float(row[0]) for row in admin.execute(query, arguments)]


def timers_of(admin: psycopg.Connection[Any], ids: list[str]) -> list[float]:
    """In how many seconds each timer was to fire when it was written down, by the server's clock."""
    wait_until(lambda: len(seconds(admin, DUES, ids)) == len(ids), 60, "timers to be set")
    return seconds(admin, DUES, ids)


@pytest.mark.timeout(300)
def test_workers_wall_clocks_are_hours_off(database: Database, children: Nursery) -> None:
    """One is right and dies, one ahead, one behind, one jumps all the time; they share the work."""
    load = Load(database, SEED)
    load.prepare()
    right = start(children, database)
    off = [
        start(children, database, f"chaos.clocks:{how}", lease_seconds=30, log_level="info")
        for how in ("ahead", "behind", "jumping")
    ]
    for worker in (right, *off):
        registered(database, worker)
    wait_until(lambda: all(worker.log for worker in off), 60, "logs")
    assert hours_off(off[0]) > HOURS - 1, "the clock is not off: this test shows nothing"
    assert hours_off(off[1]) < 1 - HOURS, "the clock is not off: this test shows nothing"
    load.begin()
    with database.connect("bob") as bob, database.admin() as admin:
        long = begin(bob, "df.sleep(3600)")
        never = begin(bob, "df.wait_for_signal('never', 3600)")
        scheduled = begin(bob, "df.wait_for_schedule('* * * * *') ~> 'SELECT 1'")
        work_goes_on(database, 200)
        right.kill()
        taken = flows(database)
        for ids, least, most in ((long, 3590.0, 3610.0), (never, 3590.0, 3610.0), (scheduled, -1.0, 61.0)):
            dues = timers_of(admin, ids)
            assert all(least <= due <= most for due in dues), dues
        load.end()
        for instance_id in (*long, *never):  # nobody whose clock is ahead has let them go
            eventually_status(bob, instance_id, "running")
        for instance_id in (*long, *never, *scheduled):
            bob.execute("SELECT df.cancel(%s, 'the end of the test')", [instance_id])
        ends = settle(database, load)
        late, retried = seconds(admin, LATEST), seconds(admin, RETRIED)
        print(f"latest timer {late[0]:.1f} s, slowest retry {retried[0]:.1f} s, new after {taken:.1f} s: {ends}")
        assert late[0] < SLACK
        assert retried[0] < SLACK
    for worker in off:
        assert worker.alive
        assert "taken for dead" not in worker.log
