"""Values that somebody else wrote, put by name into alice's statements: they stay values, wherever they are put."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import psycopg
import pytest

from asking import value
from attacks.conftest import Report, Scene, some

pytestmark = pytest.mark.attacks

VALUES = [
    "'; DROP TABLE alice.canary; --",
    "x'); DELETE FROM alice.canary; --",
    "\\'; DROP TABLE alice.canary; --",
    "\\",
    "\\\\'",
    "$$; DROP TABLE alice.canary; $$",
    "$q$; DROP TABLE alice.canary; $q$",
    "*/ ; DROP TABLE alice.canary; /*",
    "\n; DROP TABLE alice.canary; --",
    '"; DROP TABLE alice.canary; --',
    "1; DROP TABLE alice.canary",
    "1) UNION SELECT s FROM alice.secret --",
    "$x.v",
    "{sys_label}",
    "$other",
    "E'\\''",
    "U&'\\0027'",
    "\u02bc; DROP TABLE alice.canary; --",
    "\u2019 OR 1=1",
    "\uff07; DROP TABLE alice.canary; --",
    "%27; DROP TABLE alice.canary",
    "null",
    "",
]
PLACES = {
    "bare": "SELECT $x.v AS out",
    "whole row": "SELECT $x AS out",
    "in quotes": "SELECT '$x.v' AS out",
    "within a text in quotes": "SELECT 'a $x.v b' AS out",
    "in an E string": "SELECT E'$x.v' AS out",
    "in a U& string": "SELECT U&'$x.v' AS out",
    "in dollar quotes": "SELECT $$ $x.v $$ AS out",
    "in tagged dollar quotes": "SELECT $q$ $x.v $q$ AS out",
    "in a quoted name": 'SELECT 1 AS "$x.v"',
    "in a comment": "SELECT 1 AS out -- $x.v\n",
    "in a block comment": "SELECT 1 AS out /* $x.v */",
    "in JSON text": "SELECT '{\"a\":\"$x.v\"}'::jsonb AS out",
    "with a cast": "SELECT $x.v::text AS out",
    "optional": "SELECT $x.v? AS out",
    "in LIKE": "SELECT 1 AS out WHERE 'x' LIKE $x.v",
    "in INSERT": "INSERT INTO alice.kept (v) VALUES ($x.v)",
    "all columns": "INSERT INTO alice.kept (v) SELECT v FROM $x.* AS r (v text)",
    "after a backslash": "SELECT '\\$x.v' AS out",
    "next to a word": "SELECT 'x'||$x.v AS out",
    "as a number": "SELECT 1 - $x.v AS out",
    "in a DO block": "DO $$ BEGIN PERFORM '$x.v'; END $$",
    "in a condition": "SELECT $x.v = '' AS out",
}  # fmt: skip
TYPES = {
    "text": "text", "json": "json", "jsonb": "jsonb", "text[]": "text[]", "bytea": "bytea", "xml": "text", "char": '"char"',
    "varchar": "varchar", "name": "name", "composite": "mallory.pair", "domain": "mallory.word", "enum": "mallory.mood",
}  # fmt: skip


@pytest.fixture(scope="module")
def prepared(scene: Scene) -> Iterator[None]:
    with scene.database.admin() as admin:
        admin.execute(
            "SET ROLE mallory; CREATE TABLE mallory.data (v text); GRANT ALL ON mallory.data TO alice;"
            "CREATE TYPE mallory.pair AS (a text, b text); CREATE DOMAIN mallory.word AS text;"
            "CREATE TYPE mallory.mood AS ENUM ('''; DROP TABLE alice.canary; --', 'fine');"
            "SET ROLE alice; CREATE TABLE alice.canary AS SELECT 1 AS n; CREATE TABLE alice.kept (v text)"
        )
    yield


def rendered(scene: Scene, source: str, statement: str) -> tuple[str, Any]:
    """Run ``source |=> x ~> statement`` as alice; how it ended, and the first value of the last result."""
    with scene.database.connect("alice") as alice:
        started = cast(str, value(alice, "df.start(df.sql(%s) |=> 'x' ~> df.sql(%s))", source, statement))
        seen = scene.end(alice, started)
        assert value(alice, "(SELECT count(*) FROM alice.canary)") == 1
        return seen, value(alice, "df.result(%s)::jsonb #> '{rows,0,out}'", started)


@pytest.mark.parametrize(
    "place",
    some(
        {name: name for name in PLACES},
        "bare",
        "in an E string",
        "in tagged dollar quotes",
        "in a quoted name",
        "in JSON text",
    ),
)
def test_a_hostile_value_stays_a_value(scene: Scene, prepared: None, report: Report, place: str) -> None:
    """$x.v with 23 hostile texts -> the same text, or the step fails; nothing is run."""
    outcomes: dict[str, int] = {}
    for text in VALUES:
        with scene.connect() as mallory:
            mallory.execute("DELETE FROM mallory.data")
            mallory.execute("INSERT INTO mallory.data VALUES (%s)", [text])
        seen, out = rendered(scene, "SELECT v FROM mallory.data", PLACES[place])
        if seen == "completed" and place in ("bare", "in quotes", "with a cast", "optional", "in an E string"):
            assert out == text, f"{place}: {text!r} became {out!r}"
        outcomes[seen.split(":")[0]] = outcomes.get(seen.split(":")[0], 0) + 1
    report(", ".join(f"{count} {outcome}" for outcome, count in outcomes.items()))


@pytest.mark.parametrize("kind", some({name: name for name in TYPES}, "json", "composite"))
def test_hostile_values_of_each_type(scene: Scene, prepared: None, report: Report, kind: str) -> None:
    """$x.v of a type with hostile contents -> a value; nothing is run."""
    literal = {
        "json": """'{"a''b\\"; DROP TABLE alice.canary; --": ["''; DROP TABLE alice.canary; --", "\\\\"]}'""",
        "jsonb": """'{"a''b\\"; DROP TABLE alice.canary; --": ["''; DROP TABLE alice.canary; --", "\\\\"]}'""",
        "text[]": """ARRAY['''; DROP TABLE alice.canary; --', '\\', '"', '{', NULL]""",
        "bytea": """'\\x273b2044524f50'""",
        "char": """''''""",
        "composite": """ROW('''; DROP TABLE alice.canary; --', '\\"')""",
    }.get(kind, """'''; DROP TABLE alice.canary; --'""")
    ended = []
    for place in ("SELECT $x.v AS out", "SELECT '$x.v' AS out", "SELECT $x AS out", "SELECT ('$x.v')::text AS out"):
        seen, _ = rendered(scene, f"SELECT {literal}::{TYPES[kind]} AS v", place)
        ended.append(seen[:60])
    report("; ".join(ended))


NAMES = [
    "a'b",
    'a"b',
    "a\\b",
    "a;b",
    "v; DROP TABLE alice.canary",
    "$x",
    "{sys_label}",
    "'; DROP TABLE alice.canary; --",
    "é",
    " ",
]


def test_hostile_names_of_columns(scene: Scene, prepared: None, report: Report) -> None:
    """Columns of hostile names, by $x, $x.* and $x.name -> values, or the step fails."""
    outcomes: dict[str, int] = {}
    for name in NAMES:
        source = psycopg.sql.SQL("SELECT 'it''s' AS {}").format(psycopg.sql.Identifier(name)).as_string(None)
        for statement in (
            "SELECT $x AS out",
            "SELECT * FROM $x.* AS r",
            f"SELECT $x.{name} AS out",
            f"SELECT '$x.{name}' AS out",
        ):
            seen, _ = rendered(scene, source, statement)
            outcomes[seen.split(":")[0]] = outcomes.get(seen.split(":")[0], 0) + 1
    report(", ".join(f"{count} {outcome}" for outcome, count in outcomes.items()))


def test_strings_that_an_own_setting_reads_differently(scene: Scene, prepared: None, report: Report) -> None:
    """Hostile values while alice's role has standard_conforming_strings off and backslash_quote on -> values."""
    with scene.database.admin() as admin, scene.database.connect("alice") as alice:
        alice.execute("ALTER ROLE alice SET standard_conforming_strings = off")
        alice.execute("ALTER ROLE alice SET backslash_quote = on")
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'alice' AND application_name LIKE 'perdure:%'"
        )
        try:
            for text in VALUES[:6]:
                with scene.connect() as mallory:
                    mallory.execute("DELETE FROM mallory.data")
                    mallory.execute("INSERT INTO mallory.data VALUES (%s)", [text])
                for statement in ("SELECT $x.v AS out", "SELECT '$x.v' AS out"):
                    seen, out = rendered(scene, "SELECT v FROM mallory.data", statement)
                    assert (seen, out) == ("completed", text)
        finally:
            admin.execute("ALTER ROLE alice RESET ALL")
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'alice' AND application_name LIKE 'perdure:%'"
            )
    report("the same texts")


def test_signals_and_labels_in_statements(scene: Scene, prepared: None, report: Report) -> None:
    """Data of a signal and the label by {sys_label} in a statement -> the data stays a value."""
    with scene.database.connect("alice") as alice:
        for text in VALUES[:12]:
            graph = value(alice, "df.wait_for_signal('s') |=> 'x' ~> df.sql('SELECT $x.data AS out')")
            started = cast(str, value(alice, "df.start(%s)", graph))
            value(alice, "df.signal(%s, 's', to_json(%s::text)::text)", started, text)
            assert scene.end(alice, started) == "completed"
            assert value(alice, "df.result(%s)::jsonb #>> '{rows,0,out}'", started) == text
            assert value(alice, "(SELECT count(*) FROM alice.canary)") == 1
    report("12 of 12 the same text")
