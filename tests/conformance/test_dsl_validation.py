"""What df.start() accepts: the strict parse and the rules for graphs, with the words of each refusal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from asking import Connection, one_database, refusal, value, words
from cluster import Cluster, Database

TYPES = "SQL, THEN, IF, JOIN, LOOP, BREAK, RACE, SLEEP, WAIT_SCHEDULE, HTTP, HTTP_MULTIPART, SIGNAL, WAIT_INSTANCE"
LEAF: dict[str, Any] = {"node_type": "SQL", "query": "SELECT 1"}
PAIR = {"left_node": LEAF, "right_node": LEAF}


@pytest.fixture(scope="module")
def shared(cluster: Cluster, template: str) -> Iterator[Database]:
    """One database for the tests of this module."""
    with one_database(cluster, template) as database:
        yield database


@pytest.fixture
def alice(shared: Database) -> Iterator[Connection]:
    """An ordinary user."""
    with shared.connect() as connection:
        yield connection


def node(node_type: str, **members: Any) -> dict[str, Any]:
    return {"node_type": node_type, **members}


def configured(node_type: str, **config: Any) -> dict[str, Any]:
    return node(node_type, query=json.dumps(config))


def checked(alice: Connection, graph: Any) -> Any:
    """What df.start() would run."""
    return value(alice, "df_engine.checked_graph(%s)", graph if isinstance(graph, str) else json.dumps(graph))


def said(alice: Connection, graph: Any) -> str:
    """What df.start() answers to a graph that it refuses; df.start() itself is asked, as the user does."""
    text = graph if isinstance(graph, str) else json.dumps(graph)
    message = words(refusal(alice, "df.start(%s)", text))
    assert message == words(refusal(alice, "df_engine.checked_graph(%s)", text))
    return message


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1",
        "",
        '{"a": 1}',
        '["node_type"]',
        '{"node_type": 5}',
        "{broken",
        '{"_partial_if": true, "condition": "c", "then_branch": "t"}',
        '{"a": "\\u0000"}',
        "[" * 100_000,
    ],
)
def test_what_is_no_envelope_is_one_sql_node(alice: Connection, text: str) -> None:
    assert json.loads(checked(alice, text)) == {"node_type": "SQL", "query": text}


@pytest.mark.parametrize(
    "graph",
    [
        LEAF,
        node("SQL", query=""),
        node("SQL", query="x", result_name="_a1", left_node=None, extra_nodes=[], colour={"a": [1]}),
        node("THEN", **PAIR),
        node("RACE", **PAIR, result_name="r"),
        node("JOIN", **PAIR),
        node("JOIN", **PAIR, extra_nodes=[LEAF, LEAF, LEAF]),
        node("JOIN", **PAIR, query="{}", extra_nodes=[LEAF]),
        node("LOOP", left_node=LEAF),
        node("LOOP", left_node=LEAF, condition_node=LEAF, query='{"a":1}'),
        node("IF", **PAIR, condition_node=LEAF),
        node("IF", **PAIR, query='{"condition_type":"result_has_rows","result_name":"r"}'),
        node("SLEEP", query="0"),
        node("SLEEP", query="3155760000"),
        configured("BREAK", break_value=None),
        configured("BREAK", break_value="x"),
        configured("BREAK"),
        configured("SIGNAL", signal_name="x"),
        configured("SIGNAL", signal_name="x", timeout_seconds=2147483647),
        configured("WAIT_INSTANCE", instance_id="$child"),
        configured("WAIT_SCHEDULE", cron_expr="* * * * *"),
        configured("WAIT_SCHEDULE", cron_expr="@daily", timezone="Europe/Vienna"),
        configured("HTTP", url="gopher://x", method="head", body=None, headers={"a": "b"}, timeout_seconds=1),
        configured("HTTP_MULTIPART", url="https://x", method="POST", parts=[{}], headers=None),
    ],
)
def test_a_graph_in_order_is_taken_as_it_is(alice: Connection, graph: dict[str, Any]) -> None:
    text = json.dumps(graph)
    assert checked(alice, f" \n{text}\t") == text
    assert value(alice, "df_engine.graph_problem(%s)", text) is None


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (node("NOT_A_NODE"), f"Unknown node_type 'NOT_A_NODE'. Valid types: {TYPES}"),
        (node("sql", query="x"), f"Unknown node_type 'sql'. Valid types: {TYPES}"),
        (node("SQL", query=5), "Malformed Durofut JSON with node_type 'SQL': query must be a string"),
        (
            node("SQL", query="x", result_name=1),
            "Malformed Durofut JSON with node_type 'SQL': result_name must be a string",
        ),
        (
            node("IF", **PAIR, condition_node="a1b2c3d4"),
            "Malformed Durofut JSON with node_type 'IF': condition_node must be a Durofut JSON object",
        ),
        (
            node("LOOP", left_node=LEAF, condition_node=5),
            "Malformed Durofut JSON with node_type 'LOOP': condition_node must be a Durofut JSON object",
        ),
        (
            node("JOIN", **PAIR, extra_nodes=["a1b2c3d4"]),
            "Malformed Durofut JSON with node_type 'JOIN': extra_nodes entries must be Durofut JSON objects",
        ),
        (
            node("JOIN", **PAIR, extra_nodes=[[LEAF]]),
            "Malformed Durofut JSON with node_type 'JOIN': extra_nodes entries must be Durofut JSON objects",
        ),
        (
            node("THEN", left_node="SELECT 1", right_node=LEAF),
            "Malformed Durofut JSON with node_type 'THEN': Durofut children must be JSON objects",
        ),
        ('{"node_type":"SQL","query":"\\u0000"}', "Malformed Durofut JSON: unsupported Unicode escape sequence"),
        ('{"node_type":"SQL","query":"x","n":1e9999999}', "Malformed Durofut JSON: value overflows numeric format"),
        ('{"node_type":"SQL","query":"x"}x', "Malformed Durofut JSON: it begins as a step but is not valid JSON"),
        ('{"node_type":"SQL","query":"\\ud800"}', "Malformed Durofut JSON: it begins as a step but is not valid JSON"),
    ],
)
def test_the_strict_parse_of_the_root(alice: Connection, graph: Any, message: str) -> None:
    assert said(alice, graph) == f"Invalid durable function: {message}"


BAD_NODES = [
    (node("X"), "", f"Unknown node_type 'X'. Valid types: {TYPES}"),
    ({}, "", "failed to deserialize workflow step: missing field `node_type`"),
    ({"query": "x"}, "", "failed to deserialize workflow step: missing field `node_type`"),
    ({"node_type": 1}, "", "failed to deserialize workflow step: node_type must be a string"),
    (node("SQL", query=[]), "", "failed to deserialize workflow step: query must be a string"),
    (node("THEN", **PAIR, condition_node=LEAF), "", "condition_node is not valid for THEN nodes"),
    (node("SQL", query="x", condition_node=LEAF), "", "condition_node is not valid for SQL nodes"),
    (node("RACE", **PAIR, extra_nodes=[LEAF]), "", "extra_nodes is not valid for RACE nodes"),
    (node("IF", **PAIR, query='{"condition_node":"a1b2c3d4"}'), "",
     "condition_node in IF must be a first-class Durofut field, not embedded in query"),
    (node("LOOP", left_node=LEAF, query='{"condition_node":"a1b2c3d4"}'), "",
     "condition_node in LOOP must be a first-class Durofut field, not embedded in query"),
    (node("JOIN", **PAIR, query='{"extra_nodes":["a1b2c3d4"]}'), "",
     "extra_nodes in JOIN must be a first-class Durofut field, not embedded in query"),
    (node("IF", **PAIR, condition_node=LEAF, query="not json"), "", "query in IF must be valid JSON config"),
    (node("IF", **PAIR, condition_node=LEAF, query="[]"), "", "query in IF must be a JSON config object"),
    (node("JOIN", **PAIR, extra_nodes=[LEAF], query="5"), "", "query in JOIN must be a JSON config object"),
    (node("LOOP", left_node=LEAF, condition_node=LEAF, query=""), "", "query in LOOP must be valid JSON config"),
    # What the reference leaves to the constraints of its tables.
    (node("THEN", left_node=LEAF), "", "THEN requires right_node"),
    (node("RACE", right_node=LEAF), "", "RACE requires left_node"),
    (node("JOIN"), "", "JOIN requires left_node"),
    (node("LOOP"), "", "LOOP requires left_node"),
    (node("LOOP", **PAIR), "", "right_node is not valid for LOOP nodes"),
    (node("IF", left_node=LEAF, condition_node=LEAF), "", "IF requires right_node"),
    (node("IF", **PAIR), "", "IF requires condition_node, or a query that asks for result_has_rows"),
    (node("IF", **PAIR, query="{}"), "", "IF requires condition_node, or a query that asks for result_has_rows"),
    (node("IF", **PAIR, query='{"condition_type":"result_has_rows"}'), "",
     "query in IF: result_name must be a non-empty string"),
    (node("THEN", **PAIR, query="x"), "", "query is not valid for THEN nodes"),
    (node("SQL"), "", "SQL requires query"),
    (node("SLEEP"), "", "SLEEP requires query"),
    (node("SQL", query="x", left_node=LEAF), "", "left_node is not valid for SQL nodes"),
    (node("SLEEP", query="1", right_node=LEAF), "", "right_node is not valid for SLEEP nodes"),
    (node("SQL", query="x", result_name="bad-name"), "", "result_name 'bad-name' is not a valid identifier"),
    (node("SQL", query="x", result_name=""), "", "result_name '' is not a valid identifier"),
    # Configurations.
    (node("SLEEP", query="-1"), "", "query in SLEEP must be a whole number of seconds from 0 to 3155760000"),
    (node("SLEEP", query="1.5"), "", "query in SLEEP must be a whole number of seconds from 0 to 3155760000"),
    (node("SLEEP", query="3155760001"), "", "query in SLEEP must be a whole number of seconds from 0 to 3155760000"),
    (node("SIGNAL", query="x"), "", "query in SIGNAL must be valid JSON config"),
    (node("SIGNAL", query="[]"), "", "query in SIGNAL must be a JSON config object"),
    (configured("SIGNAL"), "", "query in SIGNAL: signal_name must be a non-empty string"),
    (configured("SIGNAL", signal_name=""), "", "query in SIGNAL: signal_name must be a non-empty string"),
    (configured("SIGNAL", signal_name="x", timeout_seconds=0), "",
     "query in SIGNAL: timeout_seconds must be a positive whole number"),
    (configured("SIGNAL", signal_name="x", timeout_seconds="5"), "",
     "query in SIGNAL: timeout_seconds must be a positive whole number"),
    (configured("SIGNAL", signal_name="x", timeout_seconds=1.5), "",
     "query in SIGNAL: timeout_seconds must be a positive whole number"),
    (configured("WAIT_INSTANCE", instance_id=""), "", "query in WAIT_INSTANCE: instance_id must be a non-empty string"),
    (configured("BREAK", break_value=5), "", "query in BREAK: break_value must be a string or null"),
    (configured("WAIT_SCHEDULE"), "", "query in WAIT_SCHEDULE: cron_expr must be a non-empty string"),
    (configured("WAIT_SCHEDULE", cron_expr="@daily", timezone=5), "",
     "query in WAIT_SCHEDULE: timezone must be a string or null"),
    (configured("WAIT_SCHEDULE", cron_expr="@daily", timezone="Mars"), "",
     "query in WAIT_SCHEDULE: Unknown time zone 'Mars'"),
    (configured("HTTP"), "", "query in HTTP: url must be a non-empty string"),
    (configured("HTTP", url="https://x", headers=[]), "",
     "query in HTTP: headers must be a JSON object of strings, not array"),
    (configured("HTTP", url="https://x", headers={"a": 1}), "",
     "query in HTTP: header 'a' must be a string, not number"),
    (configured("HTTP", url="https://x", body={}), "", "query in HTTP: body must be a string or null"),
    (configured("HTTP_MULTIPART", url="https://x"), "",
     "query in HTTP_MULTIPART: parts must be a JSON array of part objects"),
    # Below the node.
    (node("THEN", left_node=LEAF, right_node=node("X")), ".right", f"Unknown node_type 'X'. Valid types: {TYPES}"),
    (node("IF", **PAIR, condition_node={}), ".condition_node",
     "failed to deserialize workflow step: missing field `node_type`"),
    (node("LOOP", left_node=LEAF, condition_node=node("IF", **PAIR, condition_node="x")), ".condition_node",
     "failed to deserialize workflow step: condition_node must be a Durofut JSON object"),
    (node("JOIN", **PAIR, extra_nodes=[LEAF, node("SQL")]), ".extra_nodes[1]", "SQL requires query"),
    (node("IF", left_node=node("THEN", left_node=LEAF, right_node=node("X")), right_node=LEAF, condition_node=LEAF),
     ".left.right", f"Unknown node_type 'X'. Valid types: {TYPES}"),
]  # fmt: skip


@pytest.mark.parametrize(("bad", "below", "message"), BAD_NODES)
def test_a_bad_node_is_named_by_its_path(alice: Connection, bad: dict[str, Any], below: str, message: str) -> None:
    graph = node("THEN", left_node=LEAF, right_node=node("LOOP", left_node=LEAF, condition_node=bad))
    expected = f"Invalid durable function graph: root.right.condition_node{below}: {message}"
    assert said(alice, graph) == expected
    assert value(alice, "df_engine.graph_problem(%s)", json.dumps(graph)) == expected


def test_nodes_are_looked_at_in_pre_order(alice: Connection) -> None:
    def bad(name: str) -> dict[str, Any]:
        return node("SQL", query="x", result_name=name)

    graph = node("JOIN", left_node=LEAF, right_node=LEAF, extra_nodes=[bad("e 0"), bad("e 1")])
    assert "root.extra_nodes[0]: result_name 'e 0'" in said(alice, graph)
    graph = node("IF", left_node=LEAF, right_node=bad("r r"), condition_node=bad("c c"))
    assert "root.right: result_name 'r r'" in said(alice, graph)
    graph = node("IF", left_node=node("LOOP", left_node=bad("l l")), right_node=bad("r r"), condition_node=LEAF)
    assert "root.left.left: result_name 'l l'" in said(alice, graph)


def test_explain_names_an_unknown_root(alice: Connection) -> None:
    problem = value(alice, """df_engine.graph_problem('{"node_type":"NOT_A_NODE"}')""")
    assert problem.startswith("Invalid durable function graph: root: Unknown node_type 'NOT_A_NODE'")
    assert value(alice, "df_engine.graph_problem('SELECT 1')") is None


@pytest.mark.parametrize(
    "combinator", ["df.seq(s, 'x')", "df.seq('x', s)", "df.if(s, 'x', 'y')", "df.join3('x', 'y', s)"]
)
def test_256_levels_pass_and_257_do_not(alice: Connection, combinator: str) -> None:
    deep = (
        "(WITH RECURSIVE r AS (SELECT 0 AS depth, 'SELECT 1' AS s UNION ALL "
        f"SELECT depth + 1, {combinator} FROM r WHERE depth < %s) SELECT s FROM r ORDER BY depth DESC LIMIT 1)"
    )
    assert value(alice, f"df_engine.graph_problem({deep})", 256) is None
    graph = value(alice, deep, 257)
    assert "maximum nesting depth of 256" in said(alice, graph)
    assert "maximum nesting depth of 256" in value(alice, "df_engine.graph_problem(%s)", graph)


@pytest.mark.parametrize("depth", [600, 3000, 100_000])
def test_texts_nested_beyond_reason(alice: Connection, depth: int) -> None:
    graph = '{"node_type":"LOOP","left_node":' * depth + json.dumps(LEAF) + "}" * depth
    message = said(alice, graph)
    assert message.startswith("Invalid durable function graph: root")
    assert "maximum nesting depth of 256" in message
    assert value(alice, "df_engine.graph_problem(%s)", graph) == message


def test_10_000_nodes_pass_and_10_001_do_not(alice: Connection) -> None:
    def join(branches: int) -> Any:
        return node("JOIN", **PAIR, extra_nodes=[LEAF] * (branches - 2))

    assert checked(alice, join(9_999))
    assert said(alice, join(10_000)) == (
        "Invalid durable function graph: root.extra_nodes[9997]: graph exceeds the maximum node count of 10000"
    )


def test_the_node_limit_is_a_setting(database: Database) -> None:
    with database.connect("perdure_owner") as owner:
        owner.execute("UPDATE df.settings SET value = '12000' WHERE name = 'max_graph_nodes'")
    with database.connect() as alice:
        assert value(alice, "df_engine.graph_problem(df.seq(VARIADIC array_fill('x'::text, ARRAY[6000])))") is None
        assert "maximum node count of 12000" in said(
            alice, value(alice, "df.join(VARIADIC array_fill('x'::text, ARRAY[12000]))")
        )


def test_a_graph_that_is_too_long(database: Database) -> None:
    with database.connect("perdure_owner") as owner:
        owner.execute("UPDATE df.settings SET value = '1048576' WHERE name = 'max_graph_bytes'")
    with database.connect() as alice:
        assert "more than max_graph_bytes (1048576)" in said(alice, "x" * 1_048_577)
        assert checked(alice, "x" * 1_000_000)


def test_a_join_of_1002_branches(alice: Connection) -> None:
    assert value(alice, "df_engine.graph_problem(df.join(VARIADIC array_fill('x'::text, ARRAY[1002])))") is None
