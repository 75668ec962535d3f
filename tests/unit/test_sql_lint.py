"""The shipped SQL, read as text and as the catalogue of a migrated database: nothing in it can be led astray."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from asking import one_database
from cluster import OWNER, Cluster
from perdure.schema import install

FILES = sorted([install.SCHEMA / "tables.sql", *(install.SCHEMA / "functions").glob("*.sql")])
FIXED = "search_path=pg_catalog, pg_temp"

# Functions without a fixed search_path, and why that is safe: SECURITY INVOKER, every name in them qualified.
# SET would cost more than the function, or would hide from the user's statement what it must see.
WITHOUT_PATH = {
    "df.explain": "runs the user's expression, which must see the session's search_path",
    "df.if": "one expression of qualified names",
    "df.join": "one expression of qualified names",
    "df.join3": "one expression of qualified names",
    "df.race": "one expression of qualified names",
    "df.seq": "one expression of qualified names",
    "df.sql": "one expression of qualified names",
    "df_engine.is_identifier": "one expression of qualified names",
    "df_engine.leaf": "one expression of qualified names",
    "df_engine.pair": "one expression of qualified names",
    "df_engine.run_step_v1": "runs the user's statement, which must see the session's search_path",
    "df_engine.begin_step_v1": "before the user's statement; the session's search_path must stay",
    "df_engine.reset_session_v1": "resets the session, search_path included",
}
# A fixed path of another kind: these operators take envelopes apart with operators of df itself.
OTHER_PATHS = {
    "df.as_op": "search_path=pg_catalog, df, pg_temp",
    "df.loop_prefix_op": "search_path=pg_catalog, df, pg_temp",
}
# SECURITY DEFINER, callable by everybody in the schema; what each asks for is said in schema/functions/security.sql.
PUBLIC_DEFINERS = set(
    "alive_v1 autocommit_v1 beat_v1 block_v1 bodies_v1 claim_v1 commit_turns_v1 complete_v1 dead_sessions_v1 "
    "deregister_v1 fail_v1 finish_step_v1 finish_v1 forget_sessions_v1 hello_v1 http_policy_v1 idle_v1 load_v1 "
    "login_trouble_v1 observes park_v1 postpone_v1 prune_v1 reap_v1 release_v1 retake_v1 role_state_v1 "
    "secret_key_v1 secrets_v1 session_v1 setting".split()
)
# Of df, not for everybody: granted by name, or refusing all but the owner as well.
SENSITIVE = {"http", "http_multipart", "metrics", "grant_usage", "revoke_usage", "grant_worker", "revoke_worker",
             "enable_proxy", "disable_proxy", "grant_view", "revoke_view", "set_secret_key"}  # fmt: skip


@pytest.fixture(scope="module")
def catalogue(cluster: Cluster, template: str) -> Iterator[psycopg.Connection[Any]]:
    with one_database(cluster, template) as database, database.admin() as admin:
        yield admin


FUNCTIONS = """
    SELECT n.nspname || '.' || p.proname AS name, p.prosecdef AS definer,
           has_function_privilege('public', p.oid, 'EXECUTE') AS public,
           p.prosqlbody IS NOT NULL AS parsed, p.prorettype = 'trigger'::regtype AS trigger,
           coalesce((SELECT c FROM unnest(p.proconfig) c WHERE c LIKE 'search_path=%'), '') AS path,
           pg_get_userbyid(p.proowner) AS owner, p.prosrc AS source
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname IN ('df', 'df_engine')
"""


@pytest.fixture(scope="module")
def functions(catalogue: psycopg.Connection[Any]) -> list[Any]:
    with catalogue.cursor(row_factory=psycopg.rows.namedtuple_row) as cursor:
        return cursor.execute(FUNCTIONS).fetchall()


def test_every_function_has_a_fixed_search_path_or_a_reason_to_go_without(functions: list[Any]) -> None:
    open_paths = {f.name for f in functions if not f.parsed and f.path == ""}
    assert open_paths <= WITHOUT_PATH.keys()
    others = {f.name: f.path for f in functions if f.path not in ("", FIXED)}
    assert others.items() <= OTHER_PATHS.items()


def test_what_goes_without_has_no_more_rights_than_its_caller(functions: list[Any]) -> None:
    assert [f.name for f in functions if f.definer and (f.path != FIXED or f.parsed)] == []


def test_functions_with_the_owners_rights_are_for_everybody_only_where_meant(functions: list[Any]) -> None:
    found = {f.name.removeprefix("df_engine.") for f in functions if f.definer and f.public}
    assert found - PUBLIC_DEFINERS == set()
    assert [f.name for f in functions if f.name.startswith("df.") and f.definer] == []


def test_trigger_functions_can_be_attached_by_nobody(functions: list[Any]) -> None:
    """Else anybody could hang df_engine.on_ingress_start() on a view of their own, and name any owner."""
    assert [f.name for f in functions if f.trigger and f.public] == []


def test_sensitive_functions_are_for_nobody_by_default(functions: list[Any]) -> None:
    public = {f.name.removeprefix("df.") for f in functions if f.name.startswith("df.") and f.public}
    assert public & SENSITIVE == set()
    known = {f.name.removeprefix("df.") for f in functions}
    assert known >= SENSITIVE


def test_everything_belongs_to_the_schemas_owner(catalogue: psycopg.Connection[Any], functions: list[Any]) -> None:
    assert {f.owner for f in functions} == {OWNER}
    rows = catalogue.execute(
        "SELECT DISTINCT pg_get_userbyid(c.relowner) FROM pg_class c"
        " WHERE c.relnamespace IN ('df'::regnamespace, 'df_engine'::regnamespace)"
    ).fetchall()
    assert rows == [(OWNER,)]
    assert catalogue.execute(
        "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = %s", [OWNER]
    ).fetchone() == (False,)


def test_views_keep_leaky_functions_out(catalogue: psycopg.Connection[Any]) -> None:
    """A view that reads no table, or only the caller's settings, hides nothing."""
    rows = catalogue.execute(
        "SELECT c.oid::regclass::text FROM pg_class c"
        " WHERE c.relkind = 'v' AND c.relnamespace IN ('df'::regnamespace, 'df_engine'::regnamespace)"
        " AND NOT coalesce('security_barrier=true' = ANY (c.reloptions), false)"
        " AND EXISTS (SELECT FROM pg_rewrite w"
        "             JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid"
        "             WHERE w.ev_class = c.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> c.oid)"
    ).fetchall()
    assert rows == []


def test_no_table_of_the_engine_is_granted_to_anybody(catalogue: psycopg.Connection[Any]) -> None:
    rows = catalogue.execute(
        "SELECT c.oid::regclass::text, a.grantee::regrole::text, a.privilege_type FROM pg_class c"
        " CROSS JOIN LATERAL aclexplode(c.relacl) a"
        " WHERE c.relkind IN ('r', 'p', 'S') AND a.grantee <> c.relowner"
        " AND c.relnamespace IN ('df'::regnamespace, 'df_engine'::regnamespace) AND c.relname <> 'alembic_version'"
        " UNION ALL SELECT t.attrelid::regclass::text, t.attname, NULL"
        " FROM pg_attribute t JOIN pg_class c ON c.oid = t.attrelid"
        " WHERE t.attacl IS NOT NULL AND c.relkind IN ('r', 'p')"
        " AND c.relnamespace IN ('df'::regnamespace, 'df_engine'::regnamespace)"
    ).fetchall()
    assert rows == []


def test_views_can_be_read_only_and_ingress_views_only_by_the_column(catalogue: psycopg.Connection[Any]) -> None:
    rows = catalogue.execute(
        "SELECT c.relname, a.privilege_type FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a"
        " WHERE c.relkind = 'v' AND a.grantee <> c.relowner"
        " AND c.relnamespace IN ('df'::regnamespace, 'df_engine'::regnamespace)"
    ).fetchall()
    assert {privilege for _, privilege in rows} == {"SELECT"}
    assert [name for name, _ in rows if name.startswith("ingress_")] == []
    rows = catalogue.execute(
        "SELECT c.relname, t.attname, a.privilege_type FROM pg_attribute t JOIN pg_class c ON c.oid = t.attrelid"
        " CROSS JOIN LATERAL aclexplode(t.attacl) a"
        " WHERE c.relnamespace = 'df'::regnamespace AND a.grantee <> c.relowner"
    ).fetchall()
    assert rows
    assert [row for row in rows if row[1] == "owner"] == []
    assert {privilege for _, _, privilege in rows} == {"SELECT", "INSERT"}


def test_installing_undoes_careless_default_privileges(cluster: Cluster, tmp_path: Path) -> None:
    """What the database grants by default on new objects of the owner does not open the engine."""
    from cluster import drop_database, make_database, make_roles, numbered
    from perdure.schema import frozen, migrate

    make_roles(cluster)
    name = next(numbered("perdure_defaults"))
    try:
        make_database(cluster, name)
        with psycopg.connect(cluster.dsn(name, OWNER), autocommit=True) as owner:
            owner.execute("ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC, alice")
            owner.execute("ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC")
        migrate.upgrade(cluster.dsn(name, OWNER), operators="public", frozen_root=frozen.freeze_apart(tmp_path))
        with psycopg.connect(cluster.dsn(name, OWNER), autocommit=True) as owner:
            owner.execute("SELECT df.grant_usage('alice')")
        with psycopg.connect(cluster.dsn(name, "alice"), autocommit=True) as alice:
            found = alice.execute(
                "SELECT c.relname FROM pg_class c WHERE c.relkind IN ('r', 'p')"
                " AND c.relnamespace = 'df_engine'::regnamespace AND c.relname <> 'alembic_version'"
                " AND has_table_privilege(c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')"
            ).fetchall()
            assert found == []
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                alice.execute("INSERT INTO df.ingress_starts (owner, graph) VALUES ('bob', df.sql('SELECT 1'))")
            assert alice.execute("SELECT df.start('SELECT 1' ~> 'SELECT 2')").fetchone() is not None
    finally:
        drop_database(cluster, name)


# ------------------------------------------------------------------------------------------------------------- as text

# What may stand unqualified in a body without a fixed path: PL/pgSQL's and SQL's own words that look like calls.
_WORDS = set(
    "coalesce nullif greatest least exists values in any all and or not if when case over cast row array".split()
)


def body_of(text: str, name: str) -> str:
    schema, _, bare = name.partition(".")
    found = re.search(
        rf"CREATE OR REPLACE FUNCTION {schema}\.\"?{bare}\b\"?\(.*?(?:AS \$\$(.*?)\$\$|RETURN (.*?);\n)",
        text,
        re.DOTALL,
    )
    assert found is not None, name
    return found.group(1) or found.group(2)


@pytest.mark.parametrize("name", sorted(WITHOUT_PATH))
def test_calls_in_functions_without_a_path_are_qualified(name: str) -> None:
    text = "\n".join(path.read_text("utf-8") for path in FILES)
    body = re.sub(r"--[^\n]*|'(?:[^']|'')*'|OPERATOR\(pg_catalog\.[^)]*\)", "", body_of(text, name))
    calls = {found.group(1).lower() for found in re.finditer(r"(?<![\w.])(\w+)\s*\(", body)}
    assert calls - _WORDS == set()


@pytest.mark.parametrize("name", ["df_engine.run_step_v1", "df_engine.begin_step_v1", "df_engine.reset_session_v1"])
def test_operators_in_what_runs_around_steps_are_qualified(name: str) -> None:
    text = "\n".join(path.read_text("utf-8") for path in FILES)
    body = re.sub(r"--[^\n]*|'(?:[^']|'')*'|OPERATOR\(pg_catalog\.[^)]*\)|:=|::|ERRCODE =", "", body_of(text, name))
    assert re.findall(r"[<>=~|+*/-]+", body) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: Path(path).stem)
def test_no_plain_string_depends_on_standard_conforming_strings(path: Path) -> None:
    text = re.sub(r"--[^\n]*", "", path.read_text("utf-8"))
    plain = re.findall(r"(?<![eE\w'])'((?:[^']|'')*)'", text)
    # Within a function with a fixed path the strings are still the caller's to read: only regular expressions remain.
    assert [string for string in plain if re.search(r"\\'|\\\\", string)] == []


def test_workers_lock_only_what_they_serve() -> None:
    """Anybody may register a worker and call its functions in a transaction that stays open."""
    for path in FILES:
        for found in re.finditer(
            r"FUNCTION df_engine\.(\w+_v1)\b.*?AS \$\$(.*?)\$\$", path.read_text("utf-8"), re.DOTALL
        ):
            for statement in re.split(r";\n", found.group(2)):
                if re.search(r"FOR (NO KEY )?UPDATE", statement):
                    limited = re.search(
                        r"_w\.serves_all|worker_id = _worker_id|worker_id = _w\.worker_id|t\.token_hash", statement
                    )
                    assert limited is not None, f"{found.group(1)} may lock rows of others: {statement.strip()}"
