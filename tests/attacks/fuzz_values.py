"""Values of each type put into statements by name, run by the server, and compared with what was put in.

A text has come back unchanged from every place, or rendering has refused it in words. A value of another type, cast back,
is the same value. Statements are sent by the simple protocol, which runs two where a value has made two of one.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import psycopg

from attacks.fuzz_input import PIECES, quoted
from perdure.orchestrator.substitution import SubstitutionError, render_sql, value_query

TEXTS = [*PIECES, "'; DROP TABLE alice.canary; --", "\\'; DROP TABLE alice.canary; --", "$q$; DROP TABLE alice.canary; $q$",
         "1; DROP TABLE alice.canary", "*/; DROP TABLE alice.canary; /*", "\n; DROP TABLE alice.canary; --", "''", "\\\\", "\\'",
         "U&'\\0027'", "\\0027", "$x.v", "$$", "{a}", "%27", "\u02bc", "\uff07", "\x00\x27".replace("\x00", ""), "\u8868", "\u5c3d", "ß"]  # fmt: skip


def hostile_text(chance: random.Random) -> str:
    """Pieces, characters of every plane, or both. No NUL and no surrogates: no text of the server has them."""
    count = chance.randrange(7)
    return "".join(chance.choice(TEXTS) if chance.random() < 0.7 else _character(chance) for _ in range(count))


def _character(chance: random.Random) -> str:
    code = chance.choice([chance.randrange(1, 128), chance.randrange(128, 0xD800), chance.randrange(0xE000, 0x110000)])
    return chr(code)


@dataclass(frozen=True, slots=True)
class Place:
    """A statement that uses ``$x.v``, and the text that its one value must be for a text put in."""

    statement: str
    expected: Callable[[str], str]
    either_strings: bool = False  # holds with standard_conforming_strings off as well
    may_refuse: bool = False


def _same(text: str) -> str:
    return text


PLACES = {
    "bare": Place("SELECT $x.v", _same, True),
    "in quotes": Place("SELECT '$x.v'", _same),
    "amid a text": Place("SELECT 'a $x.v''b'", lambda t: f"a {t}'b"),
    "in an E string": Place("SELECT E'$x.v\\n'", lambda t: t + "\n", True),
    "after a backslash in an E string": Place("SELECT E'\\\\$x.v'", lambda t: "\\" + t, True),
    "in a U& string": Place("SELECT U&'\\0061$x.v'", lambda t: "a" + t),
    "with a cast": Place("SELECT $x.v::text", _same, True),
    "optional": Place("SELECT $x.v?", _same, True),
    "the first column": Place("SELECT '$x'", _same),
    "next to operators": Place("SELECT 'x'||$x.v||'y'", lambda t: f"x{t}y", True),
    "next to words": Place("SELECT CASE WHEN true THEN$x.v ELSE$x.v END", _same, True),
    "as an argument": Place("SELECT concat($x.v,$x.v)", lambda t: t + t, True),
    "in a statement in dollar quotes": Place("SELECT mallory.told($q$SELECT $x.v$q$)", _same, may_refuse=True),
    "in a statement in a text": Place("SELECT mallory.told('SELECT ' || quote_literal('$x.v'))", _same),
    "all rows": Place("SELECT v FROM $x.*", _same, True),
    "rows as JSON": Place("SELECT '$x.*'::jsonb -> 0 ->> 'v'", _same),
    "in a variable": Place("{a}", _same, True),
    "after a line comment": Place("SELECT -- $x.v '\n $x.v", _same, True),
    "after a block comment": Place("SELECT /* ' $x.v /* \" */ */ $x.v", _same, True),
    "twice": Place("SELECT CASE WHEN $x.v='$x.v' THEN $x.v END", _same),
    "after a tab and a form feed": Place("SELECT\t\f$x.v\f", _same, True),
}  # fmt: skip
VARIABLES = {"a": "SELECT $x.v"}

# How a value of a type is made, and how what came back is made one again. `%s` is $x.v, in quotes or not.
TYPED: dict[str, tuple[Callable[[random.Random], str], str]] = {
    "boolean": (lambda c: c.choice(["true", "false"]), "$x.v::boolean"),
    "smallint": (lambda c: str(c.randint(-(2**15), 2**15 - 1)), "$x.v::smallint"),
    "integer": (lambda c: str(c.randint(-(2**31), 2**31 - 1)), "$x.v::integer"),
    "bigint": (lambda c: str(c.randint(-(2**63), 2**63 - 1)), "$x.v::bigint"),
    "numeric": (lambda c: c.choice([f"{c.randint(-(10**40), 10**40)}e{c.randint(-50, 50)}", "'NaN'", "0.000", "-0"]), "$x.v::numeric"),
    "double precision": (lambda c: repr(c.uniform(-1e300, 1e300) ** c.choice([1, 1, -1])), "$x.v::double precision"),
    "real": (lambda c: repr(c.uniform(-1e30, 1e30)), "$x.v::real"),
    "json": (lambda c: f"to_json({quoted(hostile_text(c))}::text)", "to_json($x.v::text)"),
    "jsonb": (lambda c: f"jsonb_build_object({quoted(hostile_text(c))}::text, jsonb_build_array({quoted(hostile_text(c))}::text, 1.50, NULL))",
              "$x.v::jsonb"),
    "jsonb in quotes": (lambda c: f"jsonb_build_object('k', {quoted(hostile_text(c))}::text)", "'$x.v'::jsonb"),
    "varchar": (lambda c: quoted(hostile_text(c)), "$x.v::varchar"),
    "character(9)": (lambda c: quoted(hostile_text(c)[:9]), "$x.v::character(9)"),
    "name": (lambda c: quoted(hostile_text(c)[:15]), "$x.v::name"),
    "\"char\"": (lambda c: quoted(c.choice("'\\\"$;-/*{}x")), "$x.v::\"char\""),
    "bytea": (lambda c: f"'\\x{c.randbytes(c.randrange(9)).hex()}'", "$x.v::bytea"),
    "uuid": (lambda c: f"'{c.randbytes(16).hex()}'", "$x.v::uuid"),
    "inet": (lambda c: f"'{c.randrange(256)}.{c.randrange(256)}.0.1/{c.randrange(33)}'", "$x.v::inet"),
    "date": (lambda c: c.choice(["'infinity'", "'4713-01-01 BC'", f"'2000-01-01'::date + {c.randint(-10**5, 10**5)}"]), "$x.v::date"),
    "timestamp": (lambda c: f"'2000-01-01'::timestamp + {c.randint(-10**9, 10**9)} * interval '1.001 s'", "$x.v::timestamp"),
    "timestamp with time zone": (lambda c: f"'2000-01-01Z'::timestamptz + {c.randint(-10**9, 10**9)} * interval '1.001 s'", "$x.v::timestamptz"),
    "interval": (lambda c: f"make_interval(years => {c.randint(-99, 99)}, days => {c.randint(-999, 999)}, secs => {c.uniform(-9, 9):.4f})", "$x.v::interval"),
    "bit varying": (lambda c: f"B'{c.randrange(1 << 20):b}'", "$x.v::bit varying"),
    "tsvector": (lambda c: f"to_tsvector('simple', {quoted(hostile_text(c))})", "$x.v::tsvector"),
    "int4range": (lambda c: f"int4range({c.randint(-9, 0)}, {c.randint(0, 9)})", "$x.v::int4range"),
    "text[]": (lambda c: f"ARRAY[{quoted(hostile_text(c))}, {quoted(hostile_text(c))}, NULL]::text[]",
               "ARRAY(SELECT jsonb_array_elements_text('$x.v'::jsonb))"),
    "integer[]": (lambda c: f"ARRAY[{c.randint(-9, 9)}, {c.randint(-9, 9)}]", "ARRAY(SELECT jsonb_array_elements_text($x.v::jsonb)::integer)"),
    "mallory.pair": (lambda c: f"ROW({quoted(hostile_text(c))}, {quoted(hostile_text(c))})::mallory.pair",
                     "jsonb_populate_record(NULL::mallory.pair, $x.v::jsonb)"),
    "mallory.word": (lambda c: quoted(hostile_text(c)), "$x.v::mallory.word"),
    "mallory.mood": (lambda c: quoted(c.choice(["a", "'; DROP TABLE alice.canary; --"])), "$x.v::mallory.mood"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sample:
    """A value of a type as an expression, and an expression of $x.v that must be that value."""

    kind: str
    value: str
    back: str

    def comparison(self, raw: str) -> str:
        """A statement that says whether what comes back is the value."""
        back = render_sql(self.back, {}, {"x": raw})
        if self.kind == "json":
            return f"SELECT ({back})::jsonb = to_jsonb({self.value} #>> '{{}}')"
        return f"SELECT {back} IS NOT DISTINCT FROM {self.value}"


def sample(chance: random.Random) -> Sample:
    """A value of any type of the table."""
    kind = chance.choice(list(TYPED))
    made, back = TYPED[kind]
    return Sample(kind, f"({made(chance)})::{kind.removesuffix(' in quotes')}", back)


def check_places(connection: psycopg.Connection[Any], text: str, raw: str, *, standard: bool = True) -> Counter[str]:
    """``text`` through every place, run by the server; what came of it."""
    outcomes: Counter[str] = Counter()
    for name, place in PLACES.items():
        if not standard and not place.either_strings:
            continue
        try:
            statement = render_sql(place.statement, VARIABLES, {"x": raw})
        except SubstitutionError:
            assert place.may_refuse, (name, text)
            outcomes["refused"] += 1
            continue
        assert only(connection, statement) == place.expected(text), (name, text, statement)
        outcomes["equal"] += 1
    return outcomes


def check_other_readers(connection: psycopg.Connection[Any], text: str, raw: str) -> None:
    """As the name of a column, and as a condition that is judged by itself."""
    if 0 < len(text.encode()) < 64:
        for form in ('SELECT 1 AS "$x.v"', 'SELECT 1 AS U&"$x.v"'):
            cursor = connection.execute(cast(Any, render_sql(form, {}, {"x": raw})))
            assert cursor.description is not None
            assert cursor.description[0].name == text
    assert only(connection, value_query("$x.v", {}, {"x": raw})) == text


def only(connection: psycopg.Connection[Any], statement: str) -> Any:
    """The one value of the one row of the one result."""
    cursor = connection.execute(cast(Any, statement))
    rows = cursor.fetchall()
    assert not cursor.nextset(), statement
    assert len(rows) == 1, statement
    return rows[0][0]
