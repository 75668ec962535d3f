"""Lists, information and executions, as an ordinary role sees them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from asking import Connection, refusal, value, words
from cluster import OWNER, Cluster, Database
from waiting import eventually_status
from watching import ended, served, start, until_ended

NAME = "pg_durable::orchestration::execute-function-graph"


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


@pytest.fixture
def bob(place: Database) -> Iterator[Connection]:
    """Another one."""
    with place.connect("bob") as connection:
        yield connection


def listed(user: Connection, *parameters: object) -> list[Any]:
    marks = ", ".join(["%s"] * len(parameters))
    return user.execute(f"SELECT * FROM df.list_instances({marks})", parameters or None).fetchall()


def info(user: Connection, instance: str) -> Any:
    return user.execute("SELECT * FROM df.instance_info(%s)", [instance]).fetchone()


def test_a_completed_workflow_is_listed_with_its_raw_result(alice: Connection) -> None:
    instance = ended(alice, "'SELECT 2 AS b, 1 AS a'", "listed once")
    rows = [row for row in listed(alice) if row[0] == instance]
    assert rows == [(instance, "listed once", NAME, "completed", 1, '{"rows":[{"b":2,"a":1}],"row_count":1}')]
    assert info(alice, instance) == (instance, "listed once", NAME, "1.0.0", 1, "completed", rows[0][5])


def test_output_of_failed_running_and_cancelled_workflows(alice: Connection) -> None:
    failed = ended(alice, "'SELECT 1/0'", status="failed")
    waiting = start(alice, "df.wait_for_signal('never')")
    eventually_status(alice, waiting, "running")
    assert "division by zero" in info(alice, failed)[6]
    assert info(alice, waiting)[5:] == ("running", None)
    value(alice, "df.cancel(%s, 'no more')", waiting)
    assert info(alice, waiting)[5:] == ("cancelled", "canceled: no more")
    until_ended(alice, waiting)
    assert info(alice, waiting)[5:] == ("cancelled", "canceled: no more")


def test_list_info_and_table_agree(alice: Connection) -> None:
    for row in listed(alice):
        found = info(alice, row[0])
        assert found is not None
        assert (found[0], found[1], found[2], found[4]) == (row[0], row[1], row[2], row[4])


def test_columns_are_those_of_the_reference(alice: Connection) -> None:
    def columns(call: str) -> list[str]:
        description = alice.execute(f"SELECT * FROM {call} LIMIT 0").description
        return [column.name for column in description or ()]

    basic = ["instance_id", "label", "function_name", "status", "execution_count", "output"]
    assert columns("df.list_instances()") == basic
    assert columns("df.list_instances(limit_count => 5)") == basic
    paged = [*basic, "created_at", "completed_at", "next_cursor"]
    assert columns("df.list_instances(NULL, 5, NULL)") == paged
    assert columns("df.list_instances(status_filter => NULL, limit_count => 5, label_filter => 'x')") == paged
    assert columns("df.instance_info('x')") == [
        "instance_id", "label", "function_name", "function_version", "current_execution_id", "status", "output",
    ]  # fmt: skip
    assert columns("df.instance_executions('x')") == ["execution_id", "status", "event_count", "duration_ms", "output"]
    assert columns("df.instance_nodes('x', 3)") == [
        "execution_id", "node_id", "node_type", "query", "result_name", "left_node", "right_node", "status", "result",
        "updated_at",
    ]  # fmt: skip
    assert columns("df.instances")[:9] == [
        "id", "label", "root_node", "status", "submitted_by", "database", "created_at", "updated_at", "completed_at",
    ]  # fmt: skip
    assert columns("df.nodes")[:15] == [
        "id", "instance_id", "node_type", "query", "result_name", "left_node", "right_node", "status", "result",
        "error", "submitted_by", "database", "created_at", "updated_at", "status_details",
    ]  # fmt: skip


def test_newest_first_and_filters(alice: Connection) -> None:
    first = ended(alice, "'SELECT 1'", "filtered")
    second = ended(alice, "'SELECT 1/0'", "filtered", "failed")
    assert [row[0] for row in listed(alice, None, 10, "filtered")] == [second, first]
    assert [row[0] for row in listed(alice, "failed", 10, "filtered")] == [second]
    assert listed(alice, "no such status", 10, "filtered") == []
    assert listed(alice, "COMPLETED") == []
    assert [row[0] for row in listed(alice, None, 2)] == [second, first]


def test_times_of_the_paged_list(alice: Connection) -> None:
    instance = ended(alice, "'SELECT 1'", "times")
    failed = ended(alice, "'SELECT 1/0'", "times", "failed")
    rows = {row[0]: row for row in listed(alice, None, 5, "times")}
    assert rows[instance][6] <= rows[instance][7]
    assert rows[failed][7] is None
    times = alice.execute("SELECT completed_at, ended_at FROM df.instances WHERE id = %s", [failed]).fetchone()
    assert times is not None and times[0] is None and times[1] is not None


def test_pages_hold_every_row_once_ties_included(alice: Connection) -> None:
    alice.execute("SELECT df.start('SELECT 1', 'pages') FROM generate_series(1, 3)")
    with alice.transaction():
        alice.execute("SELECT df.start('SELECT 1', 'pages') FROM generate_series(1, 2)")
    seen: list[str] = []
    cursors: list[str | None] = [None]
    while True:
        page = listed(alice, None, 2, "pages", cursors[-1])
        seen += [row[0] for row in page]
        assert len({row[8] for row in page}) == 1
        if page[0][8] is None:
            break
        cursors.append(page[0][8])
    assert [len(cursors), len(seen), len(set(seen))] == [3, 5, 5]
    assert seen == [row[0] for row in listed(alice, None, 100, "pages")]


def test_a_cursor_is_hex_of_version_time_and_id_in_any_time_zone(alice: Connection) -> None:
    alice.execute("SELECT df.start('SELECT 1', 'zone') FROM generate_series(1, 2)")
    alice.execute("SET TIME ZONE 'Asia/Kolkata'")
    row = listed(alice, None, 1, "zone")[0]
    version, at, instance = bytes.fromhex(row[8]).decode().split("|")
    assert (version, instance) == ("v1", row[0])
    assert at == value(
        alice, "to_char(%s::timestamptz AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US') || '+00'", row[6]
    )
    assert len(listed(alice, None, 5, "zone", row[8])) == 1


@pytest.mark.parametrize(
    "cursor",
    [
        "zz", "abc", "", "00" * 257, "ff",
        b"v1|not-a-timestamp|abc".hex(),
        b"v2|2026-01-01T00:00:00.000000+00|abc".hex(),
        b"v1|2026-01-01T00:00:00.000000+00|".hex(),
        b"v1||abc".hex(),
        b"v1|2026-13-01T00:00:00.000000+00|abc".hex(),
    ],
)  # fmt: skip
def test_bad_cursors_are_refused(alice: Connection, cursor: str) -> None:
    error = refusal(alice, "count(*) FROM df.list_instances(NULL, 5, NULL, %s)", cursor)
    assert "df.list_instances: invalid after_cursor" in words(error)


def test_limits(alice: Connection, place: Database) -> None:
    for arguments in ("NULL, 0", "NULL, -1", "NULL, 0, NULL"):
        error = refusal(alice, f"count(*) FROM df.list_instances({arguments})")
        assert words(error) == "limit_count must be at least 1"
    assert "list_instances_max_limit (1000)" in words(refusal(alice, "count(*) FROM df.list_instances(NULL, 1001)"))
    value(alice, "count(*) FROM df.list_instances(NULL, 1000)")
    with place.connect(OWNER) as owner:
        owner.execute("UPDATE df.settings SET value = '3' WHERE name = 'list_instances_max_limit'")
        try:
            error = refusal(alice, "count(*) FROM df.list_instances(NULL, 4, NULL)")
            assert "list_instances_max_limit (3)" in words(error)
            assert len(listed(alice, None, 3)) == 3
        finally:
            owner.execute("UPDATE df.settings SET value = default_value WHERE name = 'list_instances_max_limit'")


def test_nobody_sees_the_workflows_of_others(alice: Connection, bob: Connection) -> None:
    instance = ended(alice, "'SELECT 1'", "hidden")
    assert listed(bob, None, 100, "hidden") == []
    assert info(bob, instance) is None
    for call in ("instance_executions", "instance_nodes", "history", "steps", "waiting", "signals", "check"):
        assert bob.execute(f"SELECT * FROM df.{call}(%s)", [instance]).fetchall() == []
    assert bob.execute("SELECT * FROM df.instances WHERE id = %s", [instance]).fetchall() == []
    assert bob.execute("SELECT * FROM df.nodes WHERE instance_id = %s", [instance]).fetchall() == []
    assert value(bob, "df.explain(%s)", instance) == f"Instance '{instance}' not found"


def test_a_function_in_where_does_not_see_hidden_rows(alice: Connection, bob: Connection, place: Database) -> None:
    ended(alice, "'SELECT 1'", "secret label")
    bob.execute("""CREATE FUNCTION pg_temp.leak(seen text) RETURNS boolean COST 0.0000001 LANGUAGE plpgsql AS
                   $$ BEGIN RAISE NOTICE 'saw %', seen; RETURN true; END $$""")
    heard: list[str] = []
    bob.add_notice_handler(lambda notice: heard.append(notice.message_primary or ""))
    for relation, column in (
        ("df.instances", "label"),
        ("df.nodes", "query"),
        ("df_engine.visible_history", "payload"),
    ):
        bob.execute(f"SELECT count(*) FROM {relation} WHERE pg_temp.leak({column})")
    assert [line for line in heard if "secret" in line or "TurnTaken" in line] == []
    assert value(bob, "count(*) FROM df_engine.visible_history h JOIN df.instances i ON i.id = h.instance_id") == value(
        bob, "count(*) FROM df_engine.visible_history"
    )


def test_the_schemas_owner_and_superusers_see_all(alice: Connection, place: Database) -> None:
    instance = ended(alice, "'SELECT 1'", "for all eyes")
    with place.connect(OWNER) as owner, place.admin() as admin:
        for eyes in (owner, admin):
            assert info(eyes, instance)[0] == instance
            assert instance in [row[0] for row in listed(eyes, None, 10, "for all eyes")]


def test_unknown_and_impossible_ids_give_no_rows(alice: Connection) -> None:
    for instance in ("00000000", "", "x", "no such id", "0" * 200, "ÄÖÜ"):
        assert info(alice, instance) is None
        for call in ("instance_executions", "instance_nodes", "history", "steps", "waiting", "signals", "check"):
            assert alice.execute(f"SELECT * FROM df.{call}(%s)", [instance]).fetchall() == []


def test_executions_of_a_single_one(alice: Connection) -> None:
    instance = ended(alice, "'SELECT 1 AS a' ~> 'SELECT pg_sleep(0.05)'")
    ((number, status, events, took, output),) = executions(alice, instance)
    assert (number, status) == (1, "Completed")
    assert events == value(alice, "count(*) FROM df.history(%s)", instance)
    assert took >= 50
    assert output.startswith('{"rows":[{"pg_sleep":')
    failed = ended(alice, "'SELECT 1/0'", status="failed")
    assert executions(alice, failed)[0][1] == "Failed" and "division" in executions(alice, failed)[0][4]


def executions(user: Connection, instance: str, *limit: int) -> list[Any]:
    marks = ", %s" * len(limit)
    return user.execute(
        f"SELECT * FROM df.instance_executions(%s{marks})",
        [instance, *limit],
    ).fetchall()


def test_executions_of_a_loop_newest_first(alice: Connection) -> None:
    alice.execute("CREATE TABLE IF NOT EXISTS rounds (n int)")
    instance = ended(alice, "df.loop('INSERT INTO rounds VALUES (1)', 'SELECT count(*) < 8 FROM rounds')")
    rows = executions(alice, instance)
    assert [row[0] for row in rows] == [8, 7, 6, 5, 4]
    assert [row[1] for row in rows] == ["Completed"] + ["ContinuedAsNew"] * 4
    assert [row[0] for row in executions(alice, instance, 2)] == [8, 7]
    assert len(executions(alice, instance, 100000)) == 8
    assert info(alice, instance)[4] == 8
    assert "limit_count" in words(refusal(alice, "count(*) FROM df.instance_executions(%s, 0)", instance))


def test_error_columns_of_the_table(alice: Connection) -> None:
    block = (
        "'DO $x$ BEGIN RAISE EXCEPTION ''words'' USING ERRCODE = ''P1234'', DETAIL = ''more'', HINT = ''try''; END $x$'"
    )
    instance = ended(alice, block, status="failed")
    row = alice.execute(
        "SELECT error, error_sqlstate, error_detail, error_hint, error_attempt, completed_at FROM df.instances"
        " WHERE id = %s",
        [instance],
    ).fetchone()
    assert row is not None and "words" in row[0]
    assert row[1:] == ("P1234", "more", "try", 1, None)
    node = alice.execute(
        "SELECT error, error_sqlstate, error_detail, error_hint, error_attempt, result #>> '{}' FROM df.nodes"
        " WHERE instance_id = %s",
        [instance],
    ).fetchone()
    assert node == (*row[:5], row[0])


def test_metrics_count_everybody(alice: Connection, bob: Connection, place: Database) -> None:
    assert refusal(alice, "total_instances FROM df.metrics()").sqlstate == "42501"
    before = metrics(place)
    ended(alice, "'SELECT 1'")
    ended(bob, "'SELECT 1/0'", status="failed")
    waiting = start(bob, "df.wait_for_signal('metrics')")
    eventually_status(bob, waiting, "running")
    after = metrics(place)
    value(bob, "df.cancel(%s)", waiting)
    assert [after[n] - before[n] for n in range(5)] == [3, 1, 1, 1, 3]
    assert after[5] >= before[5] + 11


def metrics(place: Database) -> Any:
    with place.connect(OWNER) as owner:
        return owner.execute("SELECT * FROM df.metrics()").fetchone()


def test_metrics_need_no_more_than_execute(place: Database, bob: Connection) -> None:
    with place.connect(OWNER) as owner:
        owner.execute("GRANT EXECUTE ON FUNCTION df.metrics() TO bob")
        try:
            assert value(bob, "total_instances FROM df.metrics()") == metrics(place)[0] > 0
        finally:
            owner.execute("REVOKE EXECUTE ON FUNCTION df.metrics() FROM bob")
    assert value(bob, "total FROM df_engine.all_counts") == 0
