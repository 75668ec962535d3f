"""df.explain: dry runs by their exact drawing, live ones by their states."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from asking import Connection, refusal, value, words
from cluster import Cluster, Database
from waiting import eventually_status
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


def explained(user: Connection, text: str) -> str:
    """What df.explain says of a text."""
    return str(value(user, "df.explain(%s)", text))


def drawing(user: Connection, expression: str) -> str:
    """What df.explain draws of an expression given as an argument, without the padding."""
    return unpadded(str(value(user, f"df.explain({expression})")))


def unpadded(text: str) -> str:
    return "\n".join(line.rstrip(" ") for line in text.split("\n"))


DRAWINGS = {
    "'SELECT 1'": "SQL: SELECT 1",
    "'SELECT 1' |=> 'a'": "SQL: SELECT 1 |=> 'a'",
    "df.sleep(30)": "SLEEP 30s",
    "df.sleep(30) |=> 'z'": "SLEEP 30s |=> 'z'",
    "df.wait_for_schedule('*/5 * * * *')": "WAIT '*/5 * * * *'",
    "df.wait_for_schedule('0 9 * * 1-5', 'Europe/Vienna')": "WAIT '0 9 * * 1-5' (Europe/Vienna)",
    "df.wait_for_signal('go')": "SIGNAL 'go'",
    "df.wait_for_signal('go', 5) |=> 's'": "SIGNAL 'go' (5s) |=> 's'",
    "df.wait_for_instance('0123abcd', 9)": "WAIT INSTANCE '0123abcd' (9s)",
    "df.break()": "BREAK",
    "df.break('done')": "BREAK 'done'",
    "df.break('twenty-one characters')": "BREAK 'twenty-one charac...'",
    "'SELECT ''ÄÖÜ'', ' || repeat('ä', 60)": "SQL: SELECT 'ÄÖÜ', " + "ä" * 33 + "...",
    "df.sql(repeat('x', 50))": "SQL: " + "x" * 50,
    "df.sql(repeat('x', 51))": "SQL: " + "x" * 47 + "...",
    "E'SELECT 1\\n   FROM t'": "SQL: SELECT 1 FROM t",
    "df.loop('SELECT 1')": "LOOP (infinite)\n    ↻ body:\n      └─SQL: SELECT 1",
    "df.loop('SELECT 1', 'SELECT true') |=> 'l'": (
        "LOOP (while) |=> 'l'\n    ↻ body:\n      └─SQL: SELECT 1\n    ? while:\n      └─SQL: SELECT true"
    ),
    "'a' ~> 'b' ~> 'c'": "SQL: a\n→ SQL: b\n→ SQL: c",
    "('a' ~> ('b' ~> 'c')) |=> 's'": "SQL: a\n→ SQL: b\n→ SQL: c |=> 's'",
    "'SELECT 1' |=> 'a' ~> ('SELECT $a > 0' ?> 'SELECT ''yes''' !> 'SELECT ''no''')": (
        "SQL: SELECT 1 |=> 'a'\n→ IF\n    ? condition:\n      └─SQL: SELECT $a > 0\n    ✓ then:\n"
        "      └─SQL: SELECT 'yes'\n    ✗ else:\n      └─SQL: SELECT 'no'"
    ),
    "df.if_rows('r', 'y', 'n') |=> 'i'": "IF |=> 'i'\n    ✓ then:\n      └─SQL: y\n    ✗ else:\n      └─SQL: n",
    "df.join3('a', 'b' ~> 'c', 'd') |=> 'j'": (
        "JOIN (3) |=> 'j'\n    ║ branch 1:\n      ├─SQL: a\n    ║ branch 2:\n      ├─SQL: b\n      → SQL: c\n"
        "    ║ branch 3:\n      └─SQL: d"
    ),
    "df.join(df.race('a', 'b') |=> 'r', 'c')": (
        "JOIN (2)\n    ║ branch 1:\n      ├─RACE |=> 'r'\n      │   ║ branch 1:\n      │     ├─SQL: a\n"
        "      │   ║ branch 2:\n      │     └─SQL: b\n    ║ branch 2:\n      └─SQL: c"
    ),
}


@pytest.mark.parametrize("expression", DRAWINGS)
def test_the_drawing(alice: Connection, expression: str) -> None:
    assert drawing(alice, expression) == DRAWINGS[expression]


def test_http_steps(place: Database) -> None:
    with place.admin() as admin:
        admin.execute("SELECT df.grant_usage('alice', include_http => true)")
    with place.connect() as alice:
        url = "https://example.org/" + "p" * 30
        assert drawing(alice, f"df.http('{url}', 'get')") == f"HTTP GET {url[:37]}..."
        parts = """df.http_multipart('https://example.org/', parts => '[{"name":"a","value":"b"}]') |=> 'm'"""
        assert drawing(alice, parts) == "HTTP_MULTIPART POST https://example.org/ |=> 'm'"


def test_every_line_is_padded_to_the_longest_and_four_more(alice: Connection) -> None:
    lines = explained(alice, "'SELECT ''ä''' ~> 'SELECT 12345'").split("\n")
    assert len(lines) == 2 and {len(line) for line in lines} == {len("→ SQL: SELECT 12345") + 4}


@pytest.mark.parametrize(
    "text",
    ["'SELECT 1' ~> 'SELECT 2'", "  'SELECT 1' ~> 'SELECT 2' ;\n", "df.seq('SELECT 1', 'SELECT 2') -- so it goes"],
)
def test_text_with_operators_or_calls_is_evaluated(alice: Connection, text: str) -> None:
    assert unpadded(explained(alice, text)) == "SQL: SELECT 1\n→ SQL: SELECT 2"


def test_an_envelope_is_drawn_as_it_is(alice: Connection) -> None:
    envelope = value(alice, "df.race('SELECT 1', df.sleep(2))")
    assert explained(alice, envelope) == value(alice, "df.explain(df.race('SELECT 1', df.sleep(2)))")


@pytest.mark.parametrize(
    "text",
    ["SELECT 1", "insert into t values (1)", "WITH x AS (SELECT 1) SELECT * FROM x", "UPDATE\nt SET a = 1", "DO $$ $$",
     "SELECT * FROM t WHERE a @> '{}'", "SELECT * FROM df.instances"],
)  # fmt: skip
def test_plain_sql_is_one_step(alice: Connection, text: str) -> None:
    assert unpadded(explained(alice, text)) == "SQL: " + text.replace("\n", " ")


@pytest.mark.parametrize("text", ["", "hello", "selected words", "'a' & 'b'", "{}", "5"])
def test_what_cannot_be_explained(alice: Connection, text: str) -> None:
    assert explained(alice, text).startswith("Cannot explain input: ")


def test_problems_are_returned_as_text(alice: Connection) -> None:
    assert explained(alice, "df.seq(NULL, 'a')") == "Expression returned NULL"
    assert explained(alice, "df.version()").startswith("Failed to parse Durofut JSON: ")
    assert explained(alice, "deadbeef") == "Instance 'deadbeef' not found"
    unknown = explained(alice, '{"node_type": "NOT_A_NODE"}')
    assert unknown.startswith("Invalid durable function graph: root: Unknown node_type 'NOT_A_NODE'")
    half = explained(alice, '{"node_type": "THEN", "left_node": {"node_type": "SQL", "query": "a"}}')
    assert half.startswith("Invalid durable function graph: root: ")


def test_errors_of_the_expression_are_raised(alice: Connection) -> None:
    assert "df.nothing" in words(refusal(alice, "df.explain('df.nothing()')"))
    assert "must be non-negative" in words(refusal(alice, "df.explain('df.sleep(-1)')"))
    assert refusal(alice, "df.explain($$'a' ~> 'b'); CREATE TABLE t (); SELECT ('c'$$)").sqlstate == "25006"


def test_explaining_writes_nothing(alice: Connection) -> None:
    before = value(alice, "count(*) FROM df.instances")
    assert "read-only transaction" in words(refusal(alice, "df.explain($$df.start('SELECT 1')$$)"))
    with alice.transaction():
        explained(alice, "'a' ~> 'b'")
        alice.execute("CREATE TEMP TABLE can_still_write (a int)")
    assert value(alice, "count(*) FROM df.instances") == before
    assert value(alice, "current_setting('transaction_read_only')") == "off"


def test_the_expression_has_the_callers_rights_only(place: Database, alice: Connection) -> None:
    with place.connect("bob") as bob:
        bob.execute("CREATE TABLE bobs (a int)")
        bob.execute("INSERT INTO bobs VALUES (1)")
    error = refusal(alice, "df.explain($$(SELECT 'x' FROM bobs) ~> 'y'$$)")
    assert error.sqlstate == "42501"


def test_deep_graphs(alice: Connection) -> None:
    alice.execute("""
        CREATE FUNCTION pg_temp.chain(n int) RETURNS text LANGUAGE plpgsql AS $$
        DECLARE g text := 'SELECT 0';
        BEGIN FOR i IN 1..n LOOP g := df.seq(g, 'SELECT ' || i); END LOOP; RETURN g; END $$;
        CREATE FUNCTION pg_temp.nested(n int) RETURNS text LANGUAGE plpgsql AS $$
        DECLARE g text := 'SELECT 0';
        BEGIN FOR i IN 1..n LOOP g := df.if('SELECT true', 'SELECT 1', g); END LOOP; RETURN g; END $$""")
    assert str(value(alice, "df.explain(pg_temp.chain(129))")).count("→") == 129
    lines = str(value(alice, "df.explain(pg_temp.nested(129))")).split("\n")
    assert sum(line.strip().lstrip("└─") == "IF" for line in lines) == 129
    assert str(value(alice, "df.explain(pg_temp.nested(256))")).count("? condition:") == 256
    assert "maximum nesting depth of 256" in str(value(alice, "df.explain(pg_temp.chain(257))"))


def test_wide_graphs(alice: Connection) -> None:
    graph = """'{"node_type":"JOIN","left_node":{"node_type":"SQL","query":"a"},
               "right_node":{"node_type":"SQL","query":"b"},
               "extra_nodes":[' || string_agg('{"node_type":"SQL","query":"c"}', ',') || ']}'"""
    text = str(value(alice, f"df.explain({graph}) FROM generate_series(1, 3000)"))
    assert text.count("║ branch") == 3002 and "║ branch 3002:" in text


# ------------------------------------------------------------------------------------------------------------ live


def test_a_completed_workflow(alice: Connection) -> None:
    instance = ended(alice, "df.if('SELECT false', 'SELECT 1', 'SELECT 2') |=> 'x' ~> 'SELECT 3 AS three'", "my label")
    assert unpadded(explained(alice, f" {instance}\n")) == (
        f"Instance: {instance} (my label)\n"
        "Status:   ✓ Completed\n"
        'Output:   {"rows":[{"three":3}],"row_count":1}\n'
        "\n"
        "IF |=> 'x' ✓\n"
        "    ? condition:\n"
        "      └─SQL: SELECT false ✓\n"
        "    ✓ then:\n"
        "      └─SQL: SELECT 1 ⊘\n"
        "    ✗ else:\n"
        "      └─SQL: SELECT 2 ✓\n"
        "→ SQL: SELECT 3 AS three ✓"
    )


def test_a_failed_workflow_and_its_long_output(alice: Connection) -> None:
    instance = ended(alice, "'SELECT 1/0' ~> 'SELECT 2'", status="failed")
    lines = unpadded(explained(alice, instance)).split("\n")
    assert lines[:2] == [f"Instance: {instance}", "Status:   ✗ Failed"]
    assert lines[2].startswith("Output:   SQL execution failed:") and lines[2].endswith("...")
    assert len(lines[2]) == len("Output:   ") + 60
    assert lines[4:] == ["SQL: SELECT 1/0 ✗", "→ SQL: SELECT 2 ⊘"]


def test_a_running_workflow_says_what_runs(alice: Connection) -> None:
    instance = start(alice, "'SELECT 1' ~> df.wait_for_signal('go') ~> 'SELECT 2'")
    eventually_status(alice, instance, "running")
    while "SIGNAL 'go' ⏳" not in (text := explained(alice, instance)):
        assert "✗" not in text
    assert "Status:   ⏳ Running" in text and "Output:" not in text and "SELECT 2 ○" in text
    value(alice, "df.cancel(%s, 'enough')", instance)
    until_ended(alice, instance)
    text = explained(alice, instance)
    assert "Status:   ✗ Cancelled" in text and "Output:   canceled: enough" in text
    assert "SIGNAL 'go' ✗" in text


def test_a_pending_workflow(place: Database) -> None:
    with place.connect(autocommit=False) as alice:
        instance = start(alice, "'SELECT 1'")
        assert unpadded(explained(alice, instance)).split("\n")[1:] == ["Status:   ○ Pending", "", "SQL: SELECT 1 ○"]
        alice.rollback()
        assert rows(alice, "SELECT FROM df.instances WHERE id = %s", instance) == []
