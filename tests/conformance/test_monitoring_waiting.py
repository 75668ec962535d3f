"""df.waiting, df.history, df.steps and df.signals: what the reference lacks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from asking import Connection, value
from cluster import OWNER, Cluster, Database, Workers
from waiting import eventually_status, wait_until
from watching import ended, rows, served, start, until_ended


@pytest.fixture(scope="module")
def place(cluster: Cluster, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """One database with one worker for the tests of this module."""
    with served(cluster, template, tmp_path_factory.mktemp("workers")) as database:
        yield database


@pytest.fixture
def alice(place: Database) -> Iterator[Connection]:
    """An ordinary user."""
    with place.connect() as connection:
        yield connection


def waits(user: Connection, instance: str) -> list[dict[str, Any]]:
    """``df.waiting`` as dicts."""
    cursor = user.execute("SELECT * FROM df.waiting(%s)", [instance])
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def until_waiting(user: Connection, instance: str, *kinds: str) -> list[dict[str, Any]]:
    """Wait until these are the things waited for, and return them in that order."""

    def reached() -> list[dict[str, Any]]:
        found = sorted(waits(user, instance), key=lambda wait: str(wait["waits_for"]))
        return found if [wait["waits_for"] for wait in found] == sorted(kinds) else []

    return wait_until(reached, 60, f"{instance} to wait for {kinds}")


def test_everything_that_can_be_waited_for_at_once(alice: Connection) -> None:
    target = start(alice, "df.wait_for_signal('only now')")
    branches = (
        "df.wait_for_signal('plain')",
        "df.wait_for_signal('timed', 600)",
        "df.sleep(500)",
        "df.wait_for_schedule('0 9 * * 1-5', 'Europe/Vienna')",
        f"df.wait_for_instance('{target}', 900)",
        "'SELECT pg_sleep(30)'",
    )
    graph = branches[0]
    for branch in branches[1:]:
        graph = f"df.join({graph}, {branch})"
    instance = start(alice, graph)
    found = until_waiting(alice, instance, "instance", "running", "schedule", "signal", "signal", "timer")
    by_name = {wait["signal_name"] or wait["waits_for"]: wait for wait in found}
    now = value(alice, "clock_timestamp()")
    assert by_name["plain"]["due_at"] is None
    assert timedelta(seconds=590) < by_name["timed"]["due_at"] - by_name["timed"]["since"] < timedelta(seconds=601)
    assert by_name["instance"]["target_id"] == target
    assert timedelta(seconds=850) < by_name["instance"]["due_at"] - now < timedelta(seconds=900)
    assert timedelta(seconds=450) < by_name["timer"]["due_at"] - now < timedelta(seconds=500)
    schedule = by_name["schedule"]
    assert (schedule["schedule"], schedule["timezone"]) == ("0 9 * * 1-5", "Europe/Vienna")
    assert schedule["due_at"] > now
    step = by_name["running"]
    assert step["attempt"] == 1 and step["worker_id"] and step["worker_host"] and step["worker_pid"]
    sleeping = "SELECT pid FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(30)' AND state = 'active'"
    (pid,) = wait_until(lambda: rows(alice, sleeping), 60)[0]
    assert [wait["backend_pids"] for wait in waits(alice, instance) if wait["waits_for"] == "running"] == [[pid]]
    nodes = dict(rows(alice, "SELECT id, node_type FROM df.nodes WHERE instance_id = %s", instance))
    kinds = {
        "signal": "SIGNAL",
        "timer": "SLEEP",
        "schedule": "WAIT_SCHEDULE",
        "instance": "WAIT_INSTANCE",
        "running": "SQL",
    }
    assert all(nodes[wait["node_id"]] == kinds[wait["waits_for"]] for wait in found)
    for one in (instance, target):
        value(alice, "df.cancel(%s)", one)
        until_ended(alice, one)
        assert waits(alice, one) == []


def test_a_wait_that_lost_its_race_is_not_shown(alice: Connection) -> None:
    instance = start(alice, "df.race(df.wait_for_signal('lost'), 'SELECT 1') ~> df.wait_for_signal('open')")
    (wait,) = until_waiting(alice, instance, "signal")
    assert wait["signal_name"] == "open"
    value(alice, "df.cancel(%s)", instance)


def test_the_pace_of_a_loop_without_condition(alice: Connection) -> None:
    instance = start(alice, "df.loop('SELECT 1')")
    (wait,) = until_waiting(alice, instance, "pace")
    assert timedelta(0) < wait["due_at"] - wait["since"] <= timedelta(seconds=1)
    value(alice, "df.cancel(%s)", instance)


def test_without_a_worker_the_reason_says_so(database: Database) -> None:
    with database.connect() as alice:
        instance = start(alice, "'SELECT 1'")
        (wait,) = waits(alice, instance)
        assert wait["waits_for"] == "turn" and wait["reason"] == "no worker that serves this workflow is alive"


def test_queued_while_all_slots_are_taken(database: Database, tmp_path: Path) -> None:
    workers = Workers(database, tmp_path)
    workers.start("--slots", "1")
    try:
        with database.connect() as alice:
            instance = start(alice, "df.join('SELECT pg_sleep(20)', 'SELECT pg_sleep(20)')")
            queued, running = until_waiting(alice, instance, "running", "queued")
            assert queued["since"] <= running["since"] and queued["reason"] is None and queued["worker_id"] is None
            states = rows(alice, "SELECT status, attempts, ended_at FROM df.steps(%s) ORDER BY status", instance)
            assert states == [("queued", 1, None), ("running", 1, None)]
            value(alice, "df.cancel(%s)", instance)
            until_ended(alice, instance)
            assert {row[0] for row in rows(alice, "SELECT status FROM df.steps(%s)", instance)} == {"cancelled"}
    finally:
        workers.stop()


def test_a_parked_instance_shows_why(alice: Connection, place: Database) -> None:
    instance = start(alice, "df.wait_for_signal('x')")
    until_waiting(alice, instance, "signal")
    with place.admin() as admin:
        admin.execute("UPDATE df_engine.instances SET parked = 'for a reason' WHERE instance_id = %s", [instance])
    assert ("parked", "for a reason") in [(wait["waits_for"], wait["reason"]) for wait in waits(alice, instance)]
    with place.admin() as admin:
        admin.execute("UPDATE df_engine.instances SET parked = NULL WHERE instance_id = %s", [instance])
    value(alice, "df.cancel(%s)", instance)


# --------------------------------------------------------------------------------------------- history and steps


def test_history_in_order_with_the_node_of_each_event(alice: Connection) -> None:
    instance = ended(alice, "'SELECT 1' ~> df.sleep(0)")
    events = rows(alice, "SELECT execution_id, seq, kind, node_id, recorded_at FROM df.history(%s)", instance)
    assert [row[1] for row in events] == list(range(1, len(events) + 1))
    assert events[0][2] == "ExecutionStarted" and events[-1][2] == "ExecutionCompleted"
    assert sorted(row[4] for row in events) == [row[4] for row in events]
    nodes = {
        row[0]: row[1] for row in rows(alice, "SELECT id, node_type FROM df.nodes WHERE instance_id = %s", instance)
    }
    types = {row[2]: nodes[row[3]] for row in events if row[3] is not None}
    assert types == {
        "ActivityScheduled": "SQL", "ActivityCompleted": "SQL", "TimerSet": "SLEEP", "TimerFired": "SLEEP",
    }  # fmt: skip


def test_steps_with_times_and_ends(alice: Connection) -> None:
    instance = ended(alice, "'SELECT pg_sleep(0.1)' |=> 'slow' ~> 'SELECT 1/0'", status="failed")
    slow, broken = rows(
        alice,
        "SELECT result_name, status, attempts, ended_at - scheduled_at, error, error_sqlstate, query FROM df.steps(%s)",
        instance,
    )
    assert slow[:3] == ("slow", "completed", 1) and timedelta(seconds=0.1) <= slow[3] < timedelta(seconds=5)
    assert broken[1] == "failed" and "division by zero" in broken[4] and broken[5] == "22012"
    assert broken[6] == "SELECT 1/0"


def test_attempts_of_a_step_that_was_tried_again(alice: Connection) -> None:
    alice.execute("CREATE SEQUENCE tries")
    raising = "IF nextval(''tries'') < 3 THEN RAISE EXCEPTION ''again'' USING ERRCODE = ''40001''; END IF"
    instance = ended(alice, f"'DO $x$ BEGIN {raising}; END $x$'")
    ((status, attempts, error, sqlstate),) = rows(
        alice, "SELECT status, attempts, error, error_sqlstate FROM df.steps(%s)", instance
    )
    assert (status, attempts, sqlstate) == ("completed", 3, "40001") and "again" in error
    assert value(alice, "count(*) FROM df.history(%s) WHERE kind = 'ActivityAttemptFailed'", instance) == 2


# ------------------------------------------------------------------------------------------------------- signals


def test_signals_that_nobody_has_consumed(alice: Connection) -> None:
    instance = start(alice, "df.wait_for_signal('wanted') ~> df.wait_for_signal('later')")
    until_waiting(alice, instance, "signal")
    value(alice, "df.signal(%s, 'surplus', '{\"b\": 1, \"a\": 2}')", instance)
    value(alice, "df.signal(%s, 'surplus', 'text')", instance)
    value(alice, "df.signal(%s, 'wanted', '5')", instance)
    wait_until(lambda: [w["signal_name"] for w in waits(alice, instance)] == ["later"], 60)
    query = "SELECT signal_name, data::text, state, sent_at IS NOT NULL FROM df.signals(%s)"
    assert rows(alice, query, instance) == [
        ("surplus", '{"b": 1, "a": 2}', "received", True),
        ("surplus", '"text"', "received", True),
    ]
    value(alice, "df.signal(%s, 'later')", instance)
    eventually_status(alice, instance, "completed")
    assert rows(alice, query, instance) == []


def test_signals_not_yet_noted_and_those_carried_over(database: Database, tmp_path: Path) -> None:
    with database.connect() as alice, database.connect(OWNER) as owner:
        alice.execute("CREATE TABLE rounds (n int)")
        instance = start(alice, "df.loop('INSERT INTO rounds VALUES (1)')")
        value(alice, "df.signal(%s, 'kept', '[1]')", instance)
        query = "SELECT signal_name, data::text, state FROM df.signals(%s)"
        assert rows(alice, query, instance) == [("kept", "[1]", "sent")]
        workers = Workers(database, tmp_path)
        workers.start()
        try:
            wait_until(lambda: value(alice, "count(*) FROM rounds") >= 3, 60)
            assert rows(alice, query, instance) == [("kept", "[1]", "received")]
            assert rows(owner, query, instance) == [("kept", "[1]", "received")]
            value(alice, "df.cancel(%s)", instance)
            until_ended(alice, instance)
        finally:
            workers.stop()
