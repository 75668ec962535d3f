"""The rules for shipped SQL: nothing of ours breaks one, and each finds the bad example that it is there for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

import sqlrules
from asking import one_database
from cluster import OWNER, Cluster
from perdure.eventstore import calls
from perdure.schema import install
from unit import test_sql_lint as older

FILES = sorted([install.SCHEMA / "tables.sql", *(install.SCHEMA / "functions").glob("*.sql")])


@pytest.fixture(scope="module")
def owner(cluster: Cluster, template: str) -> Iterator[psycopg.Connection[Any]]:
    with one_database(cluster, template) as database, database.connect(OWNER) as connection:
        yield connection


def catalogue_problems(connection: psycopg.Connection[Any]) -> list[str]:
    found = sqlrules.functions(connection)
    return [*sqlrules.definer_problems(found), *sqlrules.open_path_problems(found),
            *sqlrules.public_problems(found, older.PUBLIC_DEFINERS)]  # fmt: skip


def test_the_catalogue_keeps_the_rules(owner: psycopg.Connection[Any]) -> None:
    assert len(sqlrules.functions(owner)) > 200
    assert catalogue_problems(owner) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: Path(path).stem)
def test_the_texts_keep_the_rules(path: Path) -> None:
    text = path.read_text("utf-8")
    assert [*sqlrules.dynamic_problems(text), *sqlrules.backslash_problems(text)] == []


def test_what_workers_send_is_qualified() -> None:
    """It runs in sessions of users too, whose path may be anything."""
    statements = {name: text for name, text in calls.CALLS.items() if not text.startswith("SET ")}
    assert len(statements) > 30
    found = {name: list(sqlrules.unqualified(text.replace("%s", ""))) for name, text in statements.items()}
    assert {name: problems for name, problems in found.items() if problems} == {}


# ------------------------------------------------------------------------------------------------- each finds something

BODY = "RETURNS text LANGUAGE plpgsql {} AS $f$ BEGIN RETURN 'x'; END $f$"
BAD_FUNCTIONS = {
    "definer without a path": ("df_engine.bad() " + BODY.format("SECURITY DEFINER"), "SECURITY DEFINER with the path ''"),
    "definer without pg_temp": (
        "df_engine.bad() " + BODY.format("SECURITY DEFINER SET search_path = pg_catalog"), "with the path 'search_path=pg_catalog'",
    ),
    "definer with pg_temp first": (
        "df_engine.bad() " + BODY.format("SECURITY DEFINER SET search_path = pg_temp, pg_catalog"), "with the path 'search_path=pg_temp",
    ),
    "definer with public": (
        "df_engine.bad() " + BODY.format("SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp"), "is SECURITY DEFINER",
    ),
    "definer for everybody": (
        "df_engine.bad() " + BODY.format("SECURITY DEFINER SET search_path = pg_catalog, pg_temp"), "can be called by everybody",
    ),
    "trigger for everybody": (
        "df_engine.bad() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $f$ BEGIN RETURN NEW; END $f$",
        "can be called by everybody",
    ),
    "an unqualified call": ("df_engine.bad() RETURNS text LANGUAGE sql AS $f$ SELECT upper('x') $f$", "the call of upper"),
    "an unqualified operator": (
        "df_engine.bad(a text) RETURNS text LANGUAGE plpgsql AS $f$ BEGIN RETURN a || 'x'; END $f$", "the operator ||",
    ),
    "an unqualified type": (
        "df_engine.bad(a text) RETURNS text LANGUAGE plpgsql AS $f$ BEGIN RETURN a::varchar; END $f$", "the type varchar",
    ),
    "an unqualified declaration": (
        "df_engine.bad() RETURNS text LANGUAGE plpgsql AS $f$ DECLARE _x text; BEGIN RETURN _x; END $f$", "the type text",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("function", "words"), list(BAD_FUNCTIONS.values()), ids=list(BAD_FUNCTIONS))
def test_a_bad_function_is_found(owner: psycopg.Connection[Any], function: str, words: str) -> None:
    owner.execute("BEGIN")
    try:
        owner.execute(f"CREATE FUNCTION {function}; GRANT EXECUTE ON FUNCTION df_engine.bad TO PUBLIC".encode())
        assert any(words in problem and "df_engine.bad" in problem for problem in catalogue_problems(owner))
    finally:
        owner.execute("ROLLBACK")


BAD_TEXTS = {
    "concatenation": "EXECUTE 'SELECT * FROM ' || _name;",
    "concatenation in format": "EXECUTE format('SELECT %I' || _more, _name);",
    "%s of an argument": "EXECUTE format('DROP TABLE %s', _name) INTO _x;",
    "%s of an expression": "EXECUTE format('SELECT %I %s', _a, lower(_b)) USING 1;",
    "%s after a constant": "EXECUTE format('SELECT %s', 'x' || _name);",
    "concat": "EXECUTE concat('SELECT ', _name);",
    "a variable": "FOR r IN EXECUTE _query LOOP",
    "%s by its place": "EXECUTE format('SELECT %2$s', _a, _b);",
}


@pytest.mark.parametrize("text", list(BAD_TEXTS.values()), ids=list(BAD_TEXTS))
def test_dynamic_sql_that_is_put_together_is_found(text: str) -> None:
    assert list(sqlrules.dynamic_problems(text)) != []


def test_dynamic_sql_of_constants_and_identifiers_is_fine() -> None:
    text = """EXECUTE 'RESET ALL'; EXECUTE format('DROP TABLE %I.%I', _a, lower(_b)) INTO _c; -- EXECUTE _x;
        EXECUTE FUNCTION f(); GRANT EXECUTE ON FUNCTION f TO x; RAISE 'no EXECUTE here %', _x;"""
    assert list(sqlrules.dynamic_problems(text)) == []


def test_a_backslash_in_a_plain_string_is_found() -> None:
    assert list(sqlrules.backslash_problems("SELECT x ~ '\\d' -- '\\s'\n, E'\\d'")) == [
        "the plain string '\\d' holds a backslash"
    ]


# ------------------------------------------------------------------------------------------ the older tests can fail too

OLDER: dict[str, tuple[str, Any]] = {
    "a function without a path": (
        "CREATE FUNCTION df_engine.bad() " + BODY.format(""), older.test_every_function_has_a_fixed_search_path_or_a_reason_to_go_without,
    ),
    "another path": (
        "CREATE FUNCTION df.bad() " + BODY.format("SET search_path = public"),
        older.test_every_function_has_a_fixed_search_path_or_a_reason_to_go_without,
    ),
    "a definer without a path": (
        "CREATE FUNCTION df_engine.bad() " + BODY.format("SECURITY DEFINER"), older.test_what_goes_without_has_no_more_rights_than_its_caller,
    ),
    "a definer for everybody": (
        "CREATE FUNCTION df_engine.bad() " + BODY.format("SECURITY DEFINER SET search_path = pg_catalog, pg_temp"),
        older.test_functions_with_the_owners_rights_are_for_everybody_only_where_meant,
    ),
    "a definer in df": (
        "CREATE FUNCTION df.bad() " + BODY.format("SECURITY DEFINER SET search_path = pg_catalog, pg_temp"),
        older.test_functions_with_the_owners_rights_are_for_everybody_only_where_meant,
    ),
    "a trigger for everybody": (
        "CREATE FUNCTION df_engine.bad() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN RETURN NEW; END $f$",
        older.test_trigger_functions_can_be_attached_by_nobody,
    ),
    "df.http for everybody": (
        "GRANT EXECUTE ON FUNCTION df.http(text, text, text, jsonb, integer) TO PUBLIC", older.test_sensitive_functions_are_for_nobody_by_default,
    ),
    "df.grant_usage for everybody": (
        "DO $d$ BEGIN EXECUTE (SELECT 'GRANT EXECUTE ON FUNCTION ' || oid::regprocedure || ' TO PUBLIC' FROM pg_proc WHERE proname = 'grant_usage' AND pronamespace = 'df'::regnamespace LIMIT 1); END $d$",
        older.test_sensitive_functions_are_for_nobody_by_default,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("statement", "test"), list(OLDER.values()), ids=list(OLDER))
def test_the_older_tests_find_what_they_are_for(owner: psycopg.Connection[Any], statement: str, test: Any) -> None:
    owner.execute("BEGIN")
    try:
        owner.execute(statement.encode())
        if "FUNCTION df_engine.bad" in statement or "FUNCTION df.bad" in statement:
            schema = re.search(r"df\w*(?=\.bad)", statement)
            assert schema is not None
            owner.execute(f"GRANT EXECUTE ON FUNCTION {schema[0]}.bad TO PUBLIC".encode())
        with owner.cursor(row_factory=psycopg.rows.namedtuple_row) as cursor:
            found = cursor.execute(older.FUNCTIONS).fetchall()
        with pytest.raises(AssertionError):
            test(found)
    finally:
        owner.execute("ROLLBACK")


OLDER_RELATIONS = {
    "a view without a barrier": (
        "CREATE VIEW df.bad AS SELECT * FROM df_engine.instances WHERE true", older.test_views_keep_leaky_functions_out,
    ),
    "a table granted": ("GRANT SELECT ON df_engine.tasks TO PUBLIC", older.test_no_table_of_the_engine_is_granted_to_anybody),
    "a column granted": (
        "GRANT SELECT (instance_id) ON df_engine.tasks TO PUBLIC", older.test_no_table_of_the_engine_is_granted_to_anybody,
    ),
    "an owner column granted": (
        "GRANT INSERT (owner) ON df.ingress_starts TO PUBLIC", older.test_views_can_be_read_only_and_ingress_views_only_by_the_column,
    ),
    "an ingress view granted": (
        "GRANT INSERT ON df.ingress_starts TO PUBLIC", older.test_views_can_be_read_only_and_ingress_views_only_by_the_column,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("statement", "test"), list(OLDER_RELATIONS.values()), ids=list(OLDER_RELATIONS))
def test_the_older_tests_find_relations_too(owner: psycopg.Connection[Any], statement: str, test: Any) -> None:
    owner.execute("BEGIN")
    try:
        owner.execute(statement.encode())
        with pytest.raises(AssertionError):
            test(owner)
    finally:
        owner.execute("ROLLBACK")
