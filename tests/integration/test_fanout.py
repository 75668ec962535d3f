"""Branches of a JOIN that share a turn: what has ended is seen while the others run, and the end is not missed."""

from __future__ import annotations

from asking import value
from cluster import Database, Workers
from waiting import eventually_status, wait_until

LOCK = 4711
STATUSES = "(SELECT array_agg(status ORDER BY query) FROM df.nodes WHERE instance_id = %s AND node_type = 'SQL')"


def test_what_has_ended_is_seen_while_another_branch_runs(database: Database, workers: Workers) -> None:
    workers.start("--slots", "4")
    with database.connect() as alice, database.connect() as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        slow = f"$q$SELECT 'z' FROM pg_advisory_lock_shared({LOCK})$q$"
        instance_id = value(alice, f"df.start($q$SELECT 'a'$q$ & $q$SELECT 'b'$q$ & {slow})")
        wait_until(lambda: value(alice, STATUSES, instance_id) == ["completed", "completed", "running"], 60)
        holder.execute("SELECT pg_advisory_unlock_all()")
        eventually_status(alice, instance_id, "completed", 60)
        turns = "(SELECT count(*) FROM df.history(%s) WHERE kind = 'TurnTaken')"
        assert value(alice, turns, instance_id) <= 5
        assert alice.execute("SELECT * FROM df.check()").fetchall() == []


def test_the_last_branch_ends_the_join_whatever_became_of_the_others(database: Database, workers: Workers) -> None:
    workers.start("--slots", "2")
    with database.connect() as alice:
        started = [
            value(alice, "df.start(df.join3('SELECT 1', 'SELECT 1/0', 'SELECT 3'))"),
            value(alice, "df.start(('SELECT 1' ~> 'SELECT 2') & ('SELECT 3' & 'SELECT 4'))"),
            value(alice, "df.start(('SELECT 1' & 'SELECT 2') | 'SELECT pg_sleep(600)')"),
            value(alice, "df.start(df.loop('SELECT 1' & 'SELECT 2', 'SELECT count(*) < 0 FROM pg_class'))"),
        ]
        assert [eventually_status(alice, i, {"completed", "failed"}, 60) for i in started] == [
            "failed",
            "completed",
            "completed",
            "completed",
        ]
        assert alice.execute("SELECT * FROM df.check()").fetchall() == []
