"""Combinators, operators, their precedence, and what they make of their operands."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any, cast

import pytest

from asking import Connection, one_database, refusal, refused, tree, value, words
from cluster import Cluster, Database

ONE, TWO = '{"node_type":"SQL","query":"SELECT 1"}', '{"node_type":"SQL","query":"SELECT 2"}'
ROWS = r'"query":"{\"condition_type\":\"result_has_rows\",\"result_name\":\"%s\"}"'


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


@pytest.mark.parametrize(
    ("expression", "envelope"),
    [
        ("df.seq('SELECT 1', 'SELECT 2')", f'{{"node_type":"THEN","left_node":{ONE},"right_node":{TWO}}}'),
        ("df.join('SELECT 1', 'SELECT 2')", f'{{"node_type":"JOIN","left_node":{ONE},"right_node":{TWO}}}'),
        ("df.race('SELECT 1', 'SELECT 2')", f'{{"node_type":"RACE","left_node":{ONE},"right_node":{TWO}}}'),
        (
            "df.join3('SELECT 1', 'SELECT 2', 'SELECT 1')",
            f'{{"node_type":"JOIN","left_node":{ONE},"right_node":{TWO},"extra_nodes":[{ONE}]}}',
        ),
        (
            "df.join('SELECT 1', 'SELECT 2', 'SELECT 1', 'SELECT 2')",
            f'{{"node_type":"JOIN","left_node":{ONE},"right_node":{TWO},"extra_nodes":[{ONE},{TWO}]}}',
        ),
        (
            "df.if(condition => 'SELECT 2', then_branch => 'SELECT 1', else_branch => 'SELECT 2')",
            f'{{"node_type":"IF","left_node":{ONE},"right_node":{TWO},"condition_node":{TWO}}}',
        ),
        (
            "df.if_rows('r', 'SELECT 1', 'SELECT 2')",
            f'{{"node_type":"IF","left_node":{ONE},"right_node":{TWO},{ROWS % "r"}}}',
        ),
        ("df.loop('SELECT 1')", f'{{"node_type":"LOOP","left_node":{ONE}}}'),
        ("df.loop('SELECT 1', 'SELECT 2')", f'{{"node_type":"LOOP","left_node":{ONE},"condition_node":{TWO}}}'),
        ("df.as('SELECT 1', 'x')", '{"node_type":"SQL","query":"SELECT 1","result_name":"x"}'),
        (
            "df.as(df.if_rows('not checked!', 'SELECT 1', 'SELECT 2'), '_a1')",
            f'{{"node_type":"IF","left_node":{ONE},"right_node":{TWO},{ROWS % "not checked!"},"result_name":"_a1"}}',
        ),
        ("df.seq('SELECT 1')", ONE),
    ],
)
def test_a_combinator_is_made_byte_for_byte(alice: Connection, expression: str, envelope: str) -> None:
    assert value(alice, expression) == envelope


def test_naming_again_replaces_the_name_and_keeps_those_of_children(alice: Connection) -> None:
    named = value(alice, "df.as(df.as(df.seq(df.as('a', 'inner'), df.as('b', 'last')), 'old'), 'new')")
    assert json.loads(named) == {
        "node_type": "THEN",
        "left_node": {"node_type": "SQL", "query": "a", "result_name": "inner"},
        "right_node": {"node_type": "SQL", "query": "b", "result_name": "last"},
        "result_name": "new",
    }
    assert named.count("result_name") == 3


@pytest.mark.parametrize(
    "written",
    [
        '{"result_name":"old","node_type":"SQL","query":"q"}',
        ' \n{ "node_type" : "SQL", "result_name" : "old", "query" : "q" }\t',
        '{"node_type":"SQL","result_name":"old","query":"q"}',
        '{"node_type":"SQL","query":"q"}',
        '{"node_type":"SQL","query":"q","result_name":null}',
    ],
)
def test_naming_an_envelope_written_by_hand(alice: Connection, written: str) -> None:
    named = value(alice, "df.as(%s, 'new')", written)
    assert json.loads(named) == {"node_type": "SQL", "query": "q", "result_name": "new"}
    assert named.count("result_name") == 1


def test_names_in_long_envelopes(alice: Connection) -> None:
    long = value(alice, "df.as(df.seq(repeat('x', 5000), 'y'), 'a')")
    assert long.endswith(',"result_name":"a"}')
    again = value(alice, "df.as(%s, 'b')", long)
    assert again == long[:-3] + 'b"}'


@pytest.mark.parametrize("name", ["bad-name", "1x", "a b", "é", "x\n", "$x", "a.b", 'q"', "ａ"])
def test_a_name_is_an_ascii_identifier(alice: Connection, name: str) -> None:
    message = words(refusal(alice, "df.as('SELECT 1', %s)", name))
    assert message.startswith("df.as:")
    assert "is not a valid identifier" in message


def test_a_name_is_not_empty(alice: Connection) -> None:
    assert "result name cannot be empty" in words(refusal(alice, "df.as('SELECT 1', '')"))


@pytest.mark.parametrize(
    "expression",
    [
        "df.seq(NULL, 'a')",
        "df.seq('a', NULL)",
        "df.seq(NULL, NULL)",
        "df.seq('a', 'b', NULL)",
        "df.join('a', NULL)",
        "df.join('a', 'b', NULL)",
        "df.join3('a', 'b', NULL)",
        "df.race(NULL, 'a')",
        "df.as('a', NULL)",
        "df.if('c', 't', NULL)",
        "df.if_rows(NULL, 't', 'e')",
        "NULL ~> 'a'::text",
        "'a' ~> NULL",
        "NULL & NULL",
        "NULL::text | 'a'",
        "NULL ?> 'a' !> 'b'",
    ],
)
def test_null_operands_give_null(alice: Connection, expression: str) -> None:
    assert value(alice, expression) is None


@pytest.mark.parametrize("expression", ["df.loop(NULL)", "df.loop(NULL, 'x')", "@> NULL::text"])
def test_a_loop_needs_a_body(alice: Connection, expression: str) -> None:
    assert "body must not be NULL" in words(refusal(alice, expression))


def test_the_two_argument_forms_stay_what_they_are(alice: Connection) -> None:
    assert value(alice, "df.seq('a', 'b') = df.seq(b => 'b', a => 'a')")
    assert value(alice, "df.join('a', 'b') = df.join(b => 'b', a => 'a')")
    assert value(alice, "df.seq(VARIADIC ARRAY['a', 'b']) = df.seq('a', 'b')")
    assert value(alice, "df.seq(%s, %s) = df.seq('a', 'b')", "a", "b")


def test_a_generated_chain_is_balanced_and_in_order(alice: Connection) -> None:
    built = json.loads(value(alice, "df.seq(VARIADIC array(SELECT i::text FROM generate_series(1, 1000) i))"))

    def leaves(node: dict[str, Any], depth: int = 0) -> Iterator[tuple[str, int]]:
        if node["node_type"] == "SQL":
            yield node["query"], depth
        else:
            yield from leaves(node["left_node"], depth + 1)
            yield from leaves(node["right_node"], depth + 1)

    found = list(leaves(built))
    assert [query for query, _ in found] == [str(i) for i in range(1, 1001)]
    assert max(depth for _, depth in found) == 10


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("df.seq(VARIADIC ARRAY[]::text[])", "df.seq() needs at least one step"),
        ("df.join(VARIADIC ARRAY['a'])", "df.join() needs at least two branches"),
    ],
)
def test_lists_that_are_too_short(alice: Connection, expression: str, message: str) -> None:
    assert words(refusal(alice, expression)) == message


# -------------------------------------------------------------------------------------------------------- operators


@pytest.mark.parametrize(
    ("written", "parsed"),
    [
        ("'a' |=> 'x' ~> 'b' & 'c'", ["JOIN", ["THEN", ["SQL", {"query": "a", "result_name": "x"}], "b"], "c"]),
        ("'a' ~> 'b' & 'c' ~> 'd'", ["THEN", ["JOIN", ["THEN", "a", "b"], "c"], "d"]),
        ("'a' & 'b' ~> 'c'", ["THEN", ["JOIN", "a", "b"], "c"]),
        ("'a' | 'b' & 'c'", ["JOIN", ["RACE", "a", "b"], "c"]),
        ("'a' ~> 'w' |=> 'd' ~> 'z'", ["THEN", ["THEN", "a", "w", {"result_name": "d"}], "z"]),
        ("'c' ?> 't' !> 'e' ~> 'n'", ["THEN", ["IF", "t", "e", "c"], "n"]),
        ("'p' ~> 'c' ?> 't' !> 'e'", ["IF", "t", "e", ["THEN", "p", "c"]]),
        ("@> 'a' ~> 'b'", ["THEN", ["LOOP", "a"], "b"]),
        ("@> ('a' ~> 'b') | 's'", ["RACE", ["LOOP", ["THEN", "a", "b"]], "s"]),
        ("'a' ~> @> 'b' ~> 'c'", ["THEN", ["THEN", "a", ["LOOP", "b"]], "c"]),
        ("'a' || 'b' ~> 'c'", ["THEN", "ab", "c"]),
        ("'a' ~> '5'::json::text", ["THEN", "a", "5"]),
        ("'a' ~> ('c' ?> ('t' ~> 'u') !> 'e')", ["THEN", "a", ["IF", ["THEN", "t", "u"], "e", "c"]]),
    ],
)
def test_operators_bind_equally_from_left_to_right(alice: Connection, written: str, parsed: Any) -> None:
    assert tree(alice, written) == parsed


def test_the_idiom_that_names_a_sequence(alice: Connection) -> None:
    built = tree(alice, "'x' |=> 'n' ~> df.wait_for_signal('s') |=> 'sig' ~> 'z'")
    assert built[1][-1] == {"result_name": "sig"}


def test_a_then_branch_needs_parentheses(alice: Connection) -> None:
    message = words(refusal(alice, "'c' ?> 't1' ~> 't2' !> 'e'"))
    assert message == "Invalid if-then-else: left side of !> must be a ?> expression"


def test_else_without_a_partial(alice: Connection) -> None:
    assert "invalid input syntax for type json" in words(refusal(alice, "'a' !> 'b'"))
    assert "left side of !> must be a ?> expression" in words(refusal(alice, "'5' !> 'b'"))


def test_the_partial_is_json_with_both_operands(alice: Connection) -> None:
    assert value(alice, "'c' ?> 't'") == '{"condition": "c", "_partial_if": true, "then_branch": "t"}'


def test_a_partial_that_holds_objects(alice: Connection) -> None:
    partial = f'{{"_partial_if":true,"condition":{ONE},"then_branch":{TWO}}}'
    assert tree(alice, "%s::text !> 'e'", partial) == ["IF", "SELECT 2", "e", "SELECT 1"]


@pytest.mark.parametrize(
    ("expression", "parsed"),
    [
        ("'1' & '2'", ["JOIN", "1", "2"]),
        ("'a'::varchar ~> 'b'::name", ["THEN", "a", "b"]),
        ("'a'::text | 'b'", ["RACE", "a", "b"]),
        ("5::text ~> 'x'", ["THEN", "5", "x"]),
        ("@> 'a'::varchar", ["LOOP", "a"]),
    ],
)
def test_what_is_no_text_yet_becomes_text(alice: Connection, expression: str, parsed: Any) -> None:
    assert tree(alice, expression) == parsed


def test_a_domain_over_text(alice: Connection) -> None:
    alice.execute("CREATE DOMAIN pg_temp.step AS text")
    assert tree(alice, "'a'::pg_temp.step & 'b'") == ["JOIN", "a", "b"]


def test_untyped_parameters_are_text(shared: Database) -> None:
    with shared.connect() as alice:
        alice.execute("PREPARE two AS SELECT $1 & $2")
        row = alice.execute("EXECUTE two('a', 'b')").fetchone()
        assert row is not None
        assert json.loads(row[0])["node_type"] == "JOIN"


def test_operators_of_other_types_are_left_alone(alice: Connection) -> None:
    assert value(alice, "6 & 3") == 2
    assert value(alice, "6 | 3") == 7
    assert value(alice, """'{"a": 1}'::jsonb @> '{}'""") is True
    assert "invalid input syntax for type integer" in words(refusal(alice, "'a' & 1"))
    assert refusal(alice, """'{}'::jsonb ~> 'x'""").sqlstate == "42883"


@pytest.mark.parametrize("written", ["'a'~>@>'b'", "'a' ~>-1"])
def test_adjacent_operators_need_a_blank(alice: Connection, written: str) -> None:
    assert "operator does not exist" in words(refusal(alice, written))


def test_the_functions_need_no_operators_and_no_search_path(shared: Database) -> None:
    with shared.connect() as alice:
        alice.execute("SET search_path = ''")
        assert "operator does not exist" in words(refusal(alice, "'a' ~> 'b'"))
        built = (
            "df.as(df.seq(df.join('a', 'b'), df.if('c', df.loop('d'), df.if_rows('r', 'e', df.race('f', 'g')))), 'n')"
        )
        assert tree(alice, built)[0] == "THEN"
        assert tree(alice, "df.if_else_op(df.if_then_op('c', 't'), 'e')") == ["IF", "t", "e", "c"]


TRAPS = """
    CREATE SCHEMA mine;
    CREATE FUNCTION mine.concat(text, text, text, text, text) RETURNS text LANGUAGE sql AS $$ SELECT 'trapped' $$;
    CREATE FUNCTION mine.to_json(text) RETURNS json LANGUAGE sql AS $$ SELECT '"trapped"'::json $$;
    CREATE FUNCTION mine.never(text, text) RETURNS boolean LANGUAGE sql AS $$ SELECT 1 / (length($1) * 0) > 0 $$;
    CREATE OPERATOR mine.~ (LEFTARG = text, RIGHTARG = text, FUNCTION = mine.never);
    CREATE OPERATOR mine.= (LEFTARG = text, RIGHTARG = text, FUNCTION = mine.never);
    SET search_path = mine, pg_catalog, public;
"""


def test_functions_and_operators_of_the_caller_are_never_called(database: Database) -> None:
    with database.admin() as admin:
        admin.execute(cast(Any, f"GRANT CREATE ON DATABASE {database.name} TO alice"))
    with database.connect() as alice:
        alice.execute(cast(Any, TRAPS))
        assert value(alice, "to_json('x'::text)::text") == '"trapped"'
        assert tree(alice, "df.as(df.seq('a', df.join3('b', 'c', df.wait_for_signal('s'))), 'x')")[0] == "THEN"
        assert value(alice, "df.setvar('a', 'b')") == "OK"
        assert value(alice, "df.getvar('a')") == "b"
        assert value(alice, "df_engine.checked_graph(df.seq('a', df.sleep(1)))").startswith('{"node_type":"THEN"')


# ----------------------------------------------------------------------------------------------------- the operands


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1",
        "",
        '{"a": 1}',
        "{not json",
        '{"node_type": 5}',
        '{"node_type":"NOT_A_NODE","query":"x"}',
        '["node_type"]',
        '{"_partial_if": true, "condition": "c", "then_branch": "t"}',
        '{"a":"\\u0000"}',
        '{"node_type":"SQL","query":"x"} trailing',
    ],
)
def test_what_is_no_envelope_is_sql(alice: Connection, text: str) -> None:
    assert json.loads(value(alice, "df.seq(%s, 'b')", text))["left_node"] == {"node_type": "SQL", "query": text}


@pytest.mark.parametrize(
    "envelope",
    [
        '{"node_type":"SQL","query":"x"}',
        '{ "query" : "x",\n "node_type" : "SQL", "colour": [1, {"a": 2}] }',
        '{"node_type":"WAIT_INSTANCE","query":"{\\"instance_id\\":\\"a\\"}"}',
        '{"node_type":"THEN"}',
        '{"node_type":"SQL","query":null,"left_node":null}',
    ],
)
def test_an_envelope_is_used_as_it_is(alice: Connection, envelope: str) -> None:
    assert value(alice, "df.loop(%s)", f" \t\n{envelope}\n") == f'{{"node_type":"LOOP","left_node":{envelope}}}'


@pytest.mark.parametrize(
    ("envelope", "message"),
    [
        ('{"node_type":"SQL","query":5}', "query must be a string"),
        ('{"node_type":"SQL","query":"x","result_name":[]}', "result_name must be a string"),
        ('{"node_type":"THEN","left_node":"SELECT 1"}', "Durofut children must be JSON objects"),
        ('{"node_type":"THEN","right_node":[]}', "Durofut children must be JSON objects"),
        ('{"node_type":"IF","condition_node":"a1b2c3d4"}', "condition_node must be a Durofut JSON object"),
        ('{"node_type":"JOIN","extra_nodes":["a1b2c3d4"]}', "extra_nodes entries must be Durofut JSON objects"),
        ('{"node_type":"JOIN","extra_nodes":{}}', "extra_nodes must be an array"),
        ('{"node_type":"SQL","query":"\\u0000"}', "unsupported Unicode escape sequence"),
    ],
)
@pytest.mark.parametrize("call", ["df.seq(%s, 'b')", "df.as(%s, 'n')", "'a' & %s", "df.loop('a', %s)"])
def test_a_badly_formed_envelope_is_refused(alice: Connection, call: str, envelope: str, message: str) -> None:
    said = words(refusal(alice, call, envelope))
    assert said.startswith("Invalid Durofut JSON: failed to deserialize workflow step: ")
    assert message in said


def test_a_chain_of_a_thousand_operators_is_quick(alice: Connection) -> None:
    chain = " ~> ".join(f"'SELECT {i}'" for i in range(1000))
    value(alice, chain)
    started = time.monotonic()
    built = value(alice, chain)
    took = time.monotonic() - started
    assert built.count('"THEN"') == 999
    assert took < 2, f"{took:.3f} s"


# ---------------------------------------------------------------------------------------------------- setup helpers

MICROSECONDS = "(extract(epoch FROM statement_timestamp()) * 1000000)::bigint - 946684800000000"


@pytest.mark.parametrize(
    ("call", "helper"),
    [
        ("df.seq(df.setvar('a', 'b'), 'x')", "df.setvar"),
        ("df.unsetvar('a') ~> 'x'", "df.unsetvar"),
        ("df.clearvars() & 'x'", "df.clearvars"),
        ("df.as(df.setvar('a', 'b'), 'x')", "df.setvar"),
        ("'c' ?> df.setvar('a', 'b') !> 'e'", "df.setvar"),
        ("df.seq('x', df.setvar('a', 'b'), 'y')", "df.setvar"),
        ("df_engine.checked_graph(df.setvar('a', 'b'))", "df.setvar"),
    ],
)
def test_a_setup_helper_is_no_step(alice: Connection, call: str, helper: str) -> None:
    message = f"{helper} cannot be used as a workflow step. Call {helper} before df.start()."
    assert words(refusal(alice, call)) == message


@pytest.mark.parametrize(
    ("helper", "returned"),
    [("df.setvar", "OK"), ("df.unsetvar", "OK"), ("df.clearvars", "OK"), ("df.await_instance", "completed")],
)
def test_the_mark_of_a_helper_is_name_and_start_of_statement(alice: Connection, helper: str, returned: str) -> None:
    mark = f"set_config('df.non_future_helper', '{helper}' || E'\\n' || ({MICROSECONDS}), true)"
    said = words(refused(alice, f"DO $$ BEGIN PERFORM {mark}; PERFORM df.seq('{returned}', 'x'); END $$"))
    assert said == f"{helper} cannot be used as a workflow step. Call {helper} before df.start()."
    alice.execute(f"DO $$ BEGIN PERFORM {mark}; PERFORM df.seq('SELECT 1', 'x'); END $$")


def test_helpers_in_the_same_block_raise_no_false_alarm(alice: Connection) -> None:
    alice.execute("""
        DO $$ BEGIN
            PERFORM df.setvar('a', 'b');
            PERFORM df.seq('SELECT 1', 'SELECT 2');
            PERFORM df_engine.checked_graph('SELECT 1');
            PERFORM df.clearvars();
        END $$
    """)


def test_a_helper_in_an_earlier_statement_is_forgotten(alice: Connection) -> None:
    with alice.transaction():
        alice.execute("SELECT df.setvar('a', 'b')")
        assert tree(alice, "'OK' ~> 'x'") == ["THEN", "OK", "x"]
        alice.execute("SELECT df.clearvars()")


def test_settings_of_the_callers_session_change_nothing(database: Database) -> None:
    calls = [
        "df.as(df.as(df.seq(repeat('x', 5000), 'y'), 'a'), 'b')",
        "df.as(df.as('SELECT 1', 'a'), 'b')",
        "df.wait_for_schedule('*/5 9-17 ? jan-mar FRI-sun')",
        'df.seq(chr(9) || \'{"node_type":"SQL","query":"x"}\', \'y\')',
        "df_engine.checked_graph(df.join3('a', 'b', df.wait_for_signal(chr(92) || 's')))",
    ]
    with database.connect() as alice:
        usual = [value(alice, call) for call in calls]
    with database.connect() as alice:
        alice.execute("SET standard_conforming_strings = off; SET quote_all_identifiers = on; SET search_path = ''")
        assert [value(alice, call) for call in calls] == usual
        assert value(alice, "df.setvar('a', 'b')") == "OK"
        assert value(alice, "df.getvar('a')") == "b"
