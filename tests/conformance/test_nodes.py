"""df.nodes and df.instance_nodes: the graph as rows, what the history says of each, and what it means."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from asking import Connection, value
from cluster import Cluster, Database
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


def nodes(user: Connection, instance: str) -> list[dict[str, Any]]:
    """``df.instance_nodes`` as dicts."""
    cursor = user.execute("SELECT * FROM df.instance_nodes(%s)", [instance])
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def inferred(user: Connection, instance: str) -> dict[str, str]:
    """Type, or the text of SQL nodes, to inferred status."""
    return {
        node["query"] if node["node_type"] == "SQL" else node["node_type"]: node["inferred_status"]
        for node in nodes(user, instance)
    }


def stamp(node: dict[str, Any]) -> str:
    return str(json.loads(node["status_details"])["execution_id"])


# ------------------------------------------------------------------------------------------------------ the graph


def test_nodes_are_rows_with_their_children_by_id(alice: Connection) -> None:
    graph = """df.seq(df.as('SELECT 1 AS n', 'first'),
                      df.if('SELECT true', df.join3('SELECT 2', 'SELECT 3', 'SELECT 4'),
                            df.loop('SELECT 5', 'SELECT false')))"""
    instance = ended(alice, graph)
    found = {
        row[0]: row[1:]
        for row in rows(
            alice,
            "SELECT id, node_type, query, result_name, left_node, right_node FROM df.nodes WHERE instance_id = %s",
            instance,
        )
    }
    root = value(alice, "(SELECT root_node FROM df.instances WHERE id = %s)", instance)
    assert all(re.fullmatch("[0-9a-f]{8}", node) for node in found) and len(found) == 11
    first, branch = found[root][3:]
    assert found[root][:3] == ("THEN", None, None)
    assert found[first] == ("SQL", "SELECT 1 AS n", "first", None, None)
    kind, query, _, join, loop = found[branch]
    assert (kind, found[json.loads(query)["condition_node"]][1]) == ("IF", "SELECT true")
    (third,) = json.loads(found[join][1])["extra_nodes"]
    assert [found[node][1] for node in (*found[join][3:], third)] == ["SELECT 2", "SELECT 3", "SELECT 4"]
    assert found[loop][0] == "LOOP" and found[loop][4] is None
    assert found[json.loads(found[loop][1])["condition_node"]][1] == "SELECT false"


def test_configuration_is_kept_as_it_was_written(alice: Connection) -> None:
    graph = """'SELECT 1' |=> 'x' ~> df.if_rows('x', df.wait_for_signal('s', 7), df.wait_for_schedule('0 9 * * *'))"""
    instance = start(alice, graph)
    queries = dict(rows(alice, "SELECT node_type, query FROM df.nodes WHERE instance_id = %s", instance))
    value(alice, "df.cancel(%s)", instance)
    assert json.loads(queries["IF"]) == {"condition_type": "result_has_rows", "result_name": "x"}
    assert json.loads(queries["SIGNAL"]) == {"signal_name": "s", "timeout_seconds": 7}
    assert json.loads(queries["WAIT_SCHEDULE"])["cron_expr"] == "0 9 * * *"


def test_two_instances_may_share_node_ids(alice: Connection) -> None:
    one, two = ended(alice, "'SELECT 1 AS a'"), ended(alice, "'SELECT 2 AS a'")
    assert value(alice, "df.result(%s)", one) == '{"rows": [{"a": 1}], "row_count": 1}'
    assert value(alice, "df.result(%s)", two) == '{"rows": [{"a": 2}], "row_count": 1}'
    counted = rows(
        alice, "SELECT instance_id, count(*) FROM df.nodes WHERE instance_id IN (%s, %s) GROUP BY 1", one, two
    )
    assert dict(counted) == {one: 1, two: 1}


def test_results_and_errors_of_nodes(alice: Connection) -> None:
    instance = ended(alice, "df.seq('SELECT 1 AS b, 2 AS a', df.seq('SELECT 1/0', 'SELECT 3'))", status="failed")
    found = rows(
        alice,
        "SELECT query, status, result::text, error, updated_at >= created_at FROM df.nodes"
        " WHERE instance_id = %s AND node_type = 'SQL' ORDER BY query",
        instance,
    )
    by_query = {row[0]: row[1:] for row in found}
    assert by_query["SELECT 1 AS b, 2 AS a"] == (
        "completed",
        '{"rows": [{"a": 2, "b": 1}], "row_count": 1}',
        None,
        True,
    )
    status, result, error, _ = by_query["SELECT 1/0"]
    assert status == "failed" and "division by zero" in error and json.loads(result) == error
    assert by_query["SELECT 3"] == ("pending", None, None, True)


def test_who_submitted_and_where(alice: Connection) -> None:
    instance = ended(alice, "'SELECT 1'")
    assert rows(alice, "SELECT submitted_by::text, database FROM df.nodes WHERE instance_id = %s", instance) == [
        ("alice", None)
    ]
    assert value(alice, "(SELECT submitted_by::text FROM df.instances WHERE id = %s)", instance) == "alice"


def test_pending_until_a_worker_has_seen_it(place: Database) -> None:
    with place.connect(autocommit=False) as alice:
        instance = start(alice, "'SELECT 1' ~> 'SELECT 2'")
        assert (
            rows(alice, "SELECT status, status_details FROM df.nodes WHERE instance_id = %s", instance)
            == [("pending", None)] * 3
        )
        assert set(inferred(alice, instance).values()) == {"pending"}
        alice.rollback()


def test_two_argument_form_has_no_inference(alice: Connection) -> None:
    instance = ended(alice, "'SELECT 1' ~> 'SELECT 2'")
    found = rows(alice, "SELECT * FROM df.instance_nodes(%s, 5)", instance)
    assert [row[0] for row in found] == [1, 1, 1]
    assert Counter(row[2] for row in found) == {"SQL": 2, "THEN": 1}
    assert {row[7] for row in found} == {"completed"}


# ---------------------------------------------------------------------------------------------------- inference


def test_a_clean_sequence_skips_nothing(alice: Connection) -> None:
    for node in nodes(alice, ended(alice, "'SELECT 1' ~> 'SELECT 2' ~> 'SELECT 3'")):
        assert node["inferred_status"] == node["status"] == "completed"
        assert node["inferred_status_from_ancestor_id"] is None


def test_the_untaken_arm_is_skipped(alice: Connection) -> None:
    instance = ended(alice, "df.if('SELECT true', 'SELECT 1', 'SELECT 2')")
    (skipped,) = [node for node in nodes(alice, instance) if node["inferred_status"] == "skipped"]
    assert (skipped["query"], skipped["status"]) == ("SELECT 2", "pending")
    root = value(alice, "(SELECT root_node FROM df.instances WHERE id = %s)", instance)
    assert skipped["inferred_status_from_ancestor_id"] == root


def test_right_of_a_failure_is_skipped(alice: Connection) -> None:
    instance = ended(alice, "'SELECT 1/0' ~> 'SELECT 2'", status="failed")
    assert inferred(alice, instance) == {"THEN": "failed", "SELECT 1/0": "failed", "SELECT 2": "skipped"}


def test_after_a_loop_with_a_branch(alice: Connection) -> None:
    alice.execute("CREATE TABLE IF NOT EXISTS turns (n int)")
    body = "df.if('SELECT count(*) >= 3 FROM turns', df.break('done'), 'SELECT 999')"
    instance = ended(alice, f"'SELECT 0' ~> df.loop('INSERT INTO turns VALUES (1)' ~> {body}) ~> 'SELECT 7'")
    found = inferred(alice, instance)
    assert found["SELECT 999"] == "skipped" and found["LOOP"] == "completed"
    assert not {"running", "pending"} & set(found.values())
    loop = next(node for node in nodes(alice, instance) if node["node_type"] == "LOOP")
    assert re.fullmatch(rf"{instance}::1::{loop['node_id']}::3", stamp(loop))


def test_an_arm_of_an_earlier_iteration(alice: Connection) -> None:
    alice.execute("CREATE TABLE IF NOT EXISTS arms (n int)")
    choice = "df.if('SELECT count(*) = 1 FROM arms', 'SELECT 111', 'SELECT 222')"
    loop = f"df.loop('INSERT INTO arms VALUES (1)' ~> {choice}, 'SELECT count(*) < 2 FROM arms')"
    instance = ended(alice, f"'SELECT 0' ~> {loop} ~> 'SELECT 7'")
    found = inferred(alice, instance)
    assert (found["SELECT 111"], found["SELECT 222"]) == ("skipped", "completed")
    first = next(node for node in nodes(alice, instance) if node["query"] == "SELECT 111")
    assert first["status"] == "completed" and stamp(first).endswith("::1")


def test_nested_loops_leave_nothing_open(alice: Connection) -> None:
    alice.execute("CREATE TABLE IF NOT EXISTS inner_rounds (n int); CREATE TABLE IF NOT EXISTS outer_rounds (n int)")
    inner = "df.loop('INSERT INTO inner_rounds VALUES (1)', 'SELECT count(*) %% 2 = 1 FROM inner_rounds')"
    again = "'SELECT count(*) < 3 FROM outer_rounds'"
    instance = ended(alice, f"'SELECT 1' ~> df.loop({inner} ~> 'INSERT INTO outer_rounds VALUES (1)', {again})")
    assert not {"running", "pending"} & {node["inferred_status"] for node in nodes(alice, instance)}
    assert value(alice, "count(*) FROM inner_rounds") == 6


def test_a_loop_that_lost_a_race(alice: Connection) -> None:
    instance = ended(alice, "df.race(df.loop('SELECT 5'), 'SELECT 1')")
    loop = next(node for node in nodes(alice, instance) if node["node_type"] == "LOOP")
    assert (loop["status"], loop["inferred_status"]) == ("failed", "failed")
    assert re.fullmatch(rf"{instance}::1::[0-9a-f]{{8}}::1", stamp(loop))
    assert "LOOP (infinite) ✗" in value(alice, "df.explain(%s)", instance)


def test_scopes_of_a_race_of_a_loop(alice: Connection) -> None:
    instance = ended(alice, "df.race(df.loop('SELECT pg_sleep(0.01)', 'SELECT false'), df.sleep(60))")
    scopes = {stamp(node).rsplit("::", 1)[0] for node in nodes(alice, instance)}
    assert len(scopes) == 3 and instance in scopes


def test_a_failing_loop_branch_fails_and_its_sibling_finishes(alice: Connection) -> None:
    instance = ended(alice, "df.join(df.loop('SELECT 1/0'), 'SELECT pg_sleep(0.2)')", status="failed")
    found = {node["node_type"] + (node["query"] or "")[:15]: node["inferred_status"] for node in nodes(alice, instance)}
    assert found == {"JOIN": "failed", "LOOP": "failed", "SQLSELECT 1/0": "failed", "SQLSELECT pg_sleep": "completed"}
    assert "division by zero" in value(alice, "(SELECT error FROM df.instances WHERE id = %s)", instance)


def test_what_a_running_instance_waits_for(alice: Connection) -> None:
    instance = start(alice, "df.race(df.wait_for_signal('go'), df.wait_for_schedule('0 0 1 1 *')) ~> 'SELECT 2'")
    query = "SELECT node_type FROM df.instance_nodes(%s) WHERE inferred_status = 'running' ORDER BY node_type"
    wait_until(lambda: len(rows(alice, query, instance)) == 4, 60)
    assert [row[0] for row in rows(alice, query, instance)] == ["RACE", "SIGNAL", "THEN", "WAIT_SCHEDULE"]
    value(alice, "df.signal(%s, 'go')", instance)
    eventually_status(alice, instance, "completed")
    assert inferred(alice, instance)["WAIT_SCHEDULE"] == "skipped"


def test_a_cancelled_instance_keeps_its_running_nodes(alice: Connection) -> None:
    instance = start(alice, "df.wait_for_signal('never') ~> 'SELECT 1'")
    eventually_status(alice, instance, "running")
    value(alice, "df.cancel(%s)", instance)
    until_ended(alice, instance)
    assert inferred(alice, instance) == {"THEN": "running", "SIGNAL": "running", "SELECT 1": "pending"}
    assert "⏳" not in value(alice, "df.explain(%s)", instance)


def test_statuses_of_a_loop_at_the_root_are_those_of_its_iteration(alice: Connection) -> None:
    alice.execute("CREATE TABLE IF NOT EXISTS root_rounds (n int)")
    instance = ended(alice, "df.loop('INSERT INTO root_rounds VALUES (1)', 'SELECT count(*) < 3 FROM root_rounds')")
    for node in nodes(alice, instance):
        assert (node["inferred_status"], stamp(node)) == ("completed", f"{instance}::3")
