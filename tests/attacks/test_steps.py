"""What a step can do: it runs as its role, in a session of that role, and leaves nothing behind."""

from __future__ import annotations

from typing import Any, cast

import psycopg
import pytest

from asking import value
from attacks.conftest import Report, Scene, some

pytestmark = pytest.mark.attacks

GRAB = "SELECT mallory.grab('next step')"
TRIGGER = """
    CREATE TABLE IF NOT EXISTS mallory.bait (n integer);
    CREATE OR REPLACE FUNCTION mallory.{name}() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN {body} RETURN NULL; END $$;
    DROP TRIGGER IF EXISTS {name} ON mallory.bait;
    CREATE CONSTRAINT TRIGGER {name} AFTER INSERT ON mallory.bait DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION mallory.{name}();
"""
GRAB_AS = "PERFORM mallory.grab('{0}'); BEGIN EXECUTE 'SET ROLE alice'; EXCEPTION WHEN OTHERS THEN NULL; END; "

ONE_STATEMENT = {
    "RESET ROLE": "RESET ROLE",
    "SET ROLE NONE": "SET ROLE NONE",
    "SET ROLE alice": "SET ROLE alice",
    "SET ROLE to the worker": "SET ROLE perdure_worker",
    "SET SESSION AUTHORIZATION DEFAULT": "SET SESSION AUTHORIZATION DEFAULT",
    "SET SESSION AUTHORIZATION alice": "SET SESSION AUTHORIZATION alice",
    "set_config role in a SELECT": "SELECT set_config('role', 'none', false), mallory.grab(), set_config('role', 'alice', false), mallory.grab()",
    "DO block with SET ROLE": "DO $$ BEGIN PERFORM mallory.grab(); EXECUTE 'RESET ROLE'; PERFORM mallory.grab(); EXECUTE 'SET ROLE alice'; END $$",
    "RESET ALL": "RESET ALL",
    "DISCARD ALL": "DISCARD ALL",
    "COPY TO PROGRAM": "COPY mallory.log TO PROGRAM 'cat > /tmp/perdure-attack'",
    "COPY FROM a file": "COPY mallory.log (loot) FROM '/etc/passwd'",
    "COPY TO STDOUT": "COPY mallory.log TO STDOUT",
    "COPY FROM STDIN": "COPY mallory.log FROM STDIN",
    "pg_read_file": "SELECT pg_read_file('/etc/passwd')",
    "lo_import": "SELECT lo_import('/etc/passwd')",
    "session_replication_role": "SET session_replication_role = replica",
    "ALTER ROLE of the worker": "ALTER ROLE perdure_worker PASSWORD 'x'",
    "GRANT herself the owner": "GRANT perdure_owner TO mallory",
    "event trigger": "CREATE EVENT TRIGGER steal ON ddl_command_start EXECUTE FUNCTION mallory.bait()",
    "LOAD": "LOAD 'dblink'",
    "CREATE EXTENSION dblink": "CREATE EXTENSION dblink",
    "write the history": "INSERT INTO df_engine.history VALUES (0, 'x', 1, 1, 'x', '{}', now())",
    "read the leases": "SELECT * FROM df_engine.tasks",
    "become a proxy": "SELECT df.enable_proxy('mallory', 'alice')",
    "become an operator": "SELECT df.grant_view('mallory', true)",
    "become a worker of all": "SELECT df.grant_worker('mallory')",
    "CREATE FUNCTION in df": "CREATE FUNCTION df.steal() RETURNS void LANGUAGE sql AS ''",
    "replace an engine function": "CREATE OR REPLACE FUNCTION df_engine.finish_v1(text) RETURNS void LANGUAGE sql AS ''",
    "CREATE TABLE in df_engine": "CREATE TABLE df_engine.t (n integer)",
    "NOTIFY as the engine": "NOTIFY df_wake, 'leases'",
    "kill the worker's sessions": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'perdure:%' AND usename <> session_user",
}


@pytest.mark.parametrize("statement", list(ONE_STATEMENT.values()), ids=list(ONE_STATEMENT))
def test_one_statement_gains_nothing(scene: Scene, report: Report, statement: str) -> None:
    """A step tries -> refused or without effect, the next step is itself."""
    report(scene.run(statement, GRAB))


@pytest.mark.parametrize("statement", list(ONE_STATEMENT.values())[:8], ids=list(ONE_STATEMENT)[:8])
def test_a_proxied_role_gains_nothing(scene: Scene, report: Report, statement: str) -> None:
    """A step behind a proxy login tries -> it stays itself, or the proxy, which is nobody else."""
    report(scene.run(statement, GRAB, role="mallet"))
    with scene.admin() as admin:
        acted = admin.execute(
            "SELECT DISTINCT session, acting FROM mallory.log WHERE session = 'dfx_mallet'"
        ).fetchall()
        assert set(acted) <= {("dfx_mallet", "mallet"), ("dfx_mallet", "dfx_mallet")}


AT_COMMIT = {
    "deferred trigger": ("mallory.t1", GRAB_AS.format("deferred")),
    "deferred trigger that defers again": (
        "mallory.t2",
        GRAB_AS.format("deferred 2") + "IF NEW.n < 3 THEN EXECUTE 'SET CONSTRAINTS ALL DEFERRED';"
        " INSERT INTO mallory.bait VALUES (NEW.n + 1); END IF;",
    ),
    "deferred trigger that declares a held cursor": (
        "mallory.t3",
        "EXECUTE 'DECLARE c' || txid_current() || ' CURSOR WITH HOLD FOR SELECT mallory.grab(''held'')';",
    ),
    "deferred trigger that changes the session": (
        "mallory.t4",
        "PERFORM set_config('role', 'none', false), set_config('search_path', 'mallory', false),"
        " set_config('statement_timeout', '1', false), set_config('default_transaction_isolation', 'serializable', false),"
        " set_config('default_transaction_read_only', 'on', false), set_config('client_encoding', 'LATIN1', false);"
        + GRAB_AS.format("session"),
    ),
    "deferred trigger that raises": ("mallory.t5", GRAB_AS.format("raise") + "RAISE EXCEPTION 'at commit';"),
    "deferred trigger that replaces prepared statements": (
        "mallory.t6",
        "EXECUTE 'DEALLOCATE ALL'; EXECUTE 'PREPARE perdure_run_step AS SELECT mallory.grab(''prepared''), ''done 3 now''';",
    ),
}


@pytest.mark.parametrize("role", ["mallory", "mallet"])
@pytest.mark.parametrize(("name", "body"), list(AT_COMMIT.values()), ids=list(AT_COMMIT))
def test_code_that_runs_at_commit_gains_nothing(scene: Scene, report: Report, role: str, name: str, body: str) -> None:
    """Code at COMMIT -> runs as the role, and the engine goes on."""
    with scene.connect() as mallory:
        mallory.execute(cast(Any, TRIGGER.format(name=name.split(".")[1], body=body)))
        mallory.execute("GRANT INSERT ON mallory.bait TO mallet")
        try:
            seen = scene.run("INSERT INTO mallory.bait VALUES (1)", GRAB, "SELECT 'é' AS e", role=role)
            again = scene.run("INSERT INTO mallory.log (note) VALUES ('é')", GRAB, role=role)
        finally:
            mallory.execute(cast(Any, f"DROP TRIGGER {name.split('.')[1]} ON mallory.bait"))
    report(f"{seen}; afterwards {again}")
    assert again == "completed", "an earlier step spoiled a later workflow"


TRANSACTIONS = {
    "COMMIT": "COMMIT",
    "COMMIT AND CHAIN": "COMMIT AND CHAIN",
    "ROLLBACK": "ROLLBACK",
    "ROLLBACK AND CHAIN": "ROLLBACK AND CHAIN",
    "PREPARE TRANSACTION": "PREPARE TRANSACTION 'mallory'",
    "two statements": "SELECT 1; COMMIT",
    "BEGIN": "BEGIN",
    "SET TRANSACTION READ ONLY": "SET TRANSACTION READ ONLY",
    "SET TRANSACTION SERIALIZABLE": "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "SET SESSION CHARACTERISTICS": "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY",
    "SAVEPOINT": "SAVEPOINT s",
    "procedure that commits": "CALL mallory.commits()",
    "DO that commits": "DO $$ BEGIN INSERT INTO mallory.log (note) VALUES ('do'); COMMIT; PERFORM mallory.grab(); END $$",
    "LISTEN": "LISTEN df_wake",
    "DECLARE WITH HOLD": "DECLARE held CURSOR WITH HOLD FOR SELECT mallory.grab('held') FROM generate_series(1, 3)",
    "terminate the own backend": "SELECT pg_terminate_backend(pg_backend_pid())",
    "cancel itself": "SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(1)",
}


@pytest.mark.parametrize(
    "statement",
    some(TRANSACTIONS, "COMMIT AND CHAIN", "PREPARE TRANSACTION", "SET TRANSACTION READ ONLY", "DO that commits"),
)
def test_transaction_control_breaks_nothing(scene: Scene, report: Report, statement: str) -> None:
    """A step with transaction control -> it fails or has no effect on the engine, later steps are not touched."""
    with scene.connect() as mallory:
        mallory.execute("CREATE OR REPLACE PROCEDURE mallory.commits() LANGUAGE plpgsql AS $$ BEGIN"
                        " INSERT INTO mallory.log (note) VALUES ('call'); COMMIT; PERFORM mallory.grab(); END $$")  # fmt: skip
    seen = scene.run(statement, GRAB)
    again = scene.run("INSERT INTO mallory.log (note) VALUES ('after')", "SELECT 1")
    report(f"{seen}; afterwards {again}")
    assert again == "completed"


LEFTOVERS = """SELECT current_setting('search_path') AS p, current_setting('work_mem') AS m, current_user AS u,
    (SELECT count(*) FROM pg_prepared_statements WHERE from_sql) AS s,
    (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()) AS l,
    to_regclass('pg_temp.left_over') AS t,
    (SELECT count(*) FROM pg_cursors WHERE name = 'left_over') AS h, current_setting('client_encoding') AS e,
    current_setting('standard_conforming_strings') AS q, current_setting('statement_timeout') AS o,
    nullif(current_setting('mallory.x', true), '') AS x, (SELECT count(*) FROM mallory.nothing()) AS n"""
LEAVE = """DO $$ BEGIN
    PERFORM set_config('search_path', 'mallory', false), set_config('work_mem', '9MB', false),
            set_config('statement_timeout', '77777', false), set_config('mallory.x', 'kept', false),
            set_config('standard_conforming_strings', 'off', false), pg_advisory_lock(77);
    EXECUTE 'PREPARE left_over AS SELECT 1'; EXECUTE 'LISTEN left_over'; EXECUTE 'CREATE TEMP TABLE left_over (n int)';
    EXECUTE 'DECLARE left_over CURSOR WITH HOLD FOR SELECT 1';
    EXECUTE 'SET ROLE NONE';
END $$"""


@pytest.mark.parametrize("role", ["mallory", "mallet"])
def test_nothing_of_a_step_is_left_for_the_next(scene: Scene, report: Report, role: str) -> None:
    """Leftovers of an earlier step -> none: settings, role, statements, locks, channels, tables, cursors."""
    with scene.connect() as mallory:
        mallory.execute("CREATE OR REPLACE FUNCTION mallory.nothing() RETURNS SETOF integer LANGUAGE sql AS"
                        " 'SELECT 1 WHERE false'")  # fmt: skip
    with scene.as_role(role) as connection:
        first = scene.start(connection, LEFTOVERS)
        assert scene.end(connection, first) == "completed"
        clean = value(connection, "df.result(%s)", first)
        for _ in range(3):
            assert scene.run(LEAVE, role=role) == "completed"
            started = scene.start(connection, LEFTOVERS)
            assert scene.end(connection, started) == "completed"
            assert value(connection, "df.result(%s)", started) == clean
    report("none")


POISON = {
    "search_path": "search_path = mallory, pg_temp, pg_catalog",
    "role": "role = 'none'",
    "role of somebody else": "role = 'alice'",
    "statement_timeout": "statement_timeout = '1ms'",
    "lock_timeout": "lock_timeout = '1ms'",
    "isolation": "default_transaction_isolation = 'serializable'",
    "read only": "default_transaction_read_only = on",
    "deferrable": "default_transaction_deferrable = on",
    "strings": "standard_conforming_strings = off",
    "encoding": "client_encoding = 'LATIN1'",
    "messages": "client_min_messages = 'debug5'",
    "date style": "datestyle = 'German'",
    "interval style": "intervalstyle = 'sql_standard'",
    "byte format": "bytea_output = 'escape'",
    "float digits": "extra_float_digits = -15",
    "in_workflow": "df.in_workflow = 'false'",
    "parameters in errors": "log_parameter_max_length_on_error = -1",
    "no plain scans": "plan_cache_mode = 'force_custom_plan'",
    "transform null": "transform_null_equals = on",
    "row security": "row_security = off",
    "check bodies": "check_function_bodies = off",
    "idle in transaction": "idle_in_transaction_session_timeout = '1ms'",
    "temp tables": "temp_tablespaces = 'nowhere'",
}


@pytest.mark.parametrize(
    "setting", some(POISON, "search_path", "role of somebody else", "isolation", "encoding", "strings")
)
def test_defaults_of_the_role_poison_nothing(scene: Scene, report: Report, setting: str) -> None:
    """ALTER ROLE mallory SET -> her own steps at most, and she stays herself."""
    with scene.connect() as mallory:
        try:
            mallory.execute(cast(Any, f"ALTER ROLE mallory SET {setting}"))
        except psycopg.Error as error:
            report(f"refused: {error}")
            return
        fresh = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'mallory' AND pid <> pg_backend_pid()"
        try:
            mallory.execute(fresh)  # the worker's sessions log in anew
            seen = scene.run(
                "INSERT INTO mallory.log (note) VALUES ('é')", GRAB, "SELECT 1.5::float8 AS f, '1.2.2020'::text AS t"
            )
        finally:
            with scene.admin() as admin:
                admin.execute("ALTER ROLE mallory RESET ALL")
                admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'mallory'")
    report(seen)


def test_session_replication_role_cannot_be_set_for_a_role(scene: Scene, report: Report) -> None:
    """ALTER ROLE mallory SET session_replication_role -> refused."""
    with scene.connect() as mallory, pytest.raises(Exception) as caught:
        mallory.execute("ALTER ROLE mallory SET session_replication_role = replica")
    report(str(caught.value).splitlines()[0])


SHADOWS = """
    CREATE OR REPLACE FUNCTION mallory.{name}({arguments}) RETURNS {returns} LANGUAGE plpgsql AS $$
    BEGIN PERFORM mallory.grab('shadow {name}'); RETURN {result}; END $$
"""
SHADOWED = [
    ("current_setting", "text", "text", "'x'"), ("set_config", "text, text, boolean", "text", "'x'"),
    ("pg_advisory_unlock_all", "", "void", ""), ("format", "text, text", "text", "'SELECT 1'"),
    ("pg_current_xact_id", "", "text", "'1'"), ("sha256", "bytea", "bytea", "'x'"),
    ("convert_to", "text, text", "bytea", "'x'"), ("quote_ident", "text", "text", "'alice'"),
    ("clock_timestamp", "", "timestamptz", "'2000-01-01'"), ("to_json", "text", "json", "'{}'"),
    ("lower", "text", "text", "'caller'"), ("coalesced", "text", "text", "'x'"),
    ("has_schema_privilege", "text, text", "boolean", "true"), ("pg_has_role", "oid, oid, text", "boolean", "true"),
    ("gen_random_uuid", "", "uuid", "'00000000-0000-0000-0000-000000000000'"),
]  # fmt: skip


def test_shadowed_functions_types_and_operators_are_not_used(scene: Scene, report: Report) -> None:
    """Functions, operators, types and temporary tables named like those of the engine -> never called with other rights."""
    with scene.connect() as mallory:
        for name, arguments, returns, result in SHADOWED:
            mallory.execute(cast(Any, SHADOWS.format(name=name, arguments=arguments, returns=returns, result=result)))
        mallory.execute("CREATE FUNCTION mallory.same(text, text) RETURNS boolean LANGUAGE plpgsql AS"
                        " $$ BEGIN PERFORM mallory.grab('operator'); RETURN true; END $$")  # fmt: skip
        for operator in ("=", "<>", "||", "~"):
            mallory.execute(
                cast(
                    Any,
                    f"CREATE OPERATOR mallory.{operator} (FUNCTION = mallory.same, LEFTARG = text, RIGHTARG = text)",
                )
            )
        mallory.execute("CREATE FUNCTION mallory.fine(pg_catalog.text) RETURNS boolean LANGUAGE plpgsql AS"
                        " $$ BEGIN PERFORM mallory.grab('domain'); RETURN true; END $$")  # fmt: skip
        mallory.execute("CREATE DOMAIN mallory.text AS pg_catalog.text CHECK (mallory.fine(VALUE))")
        mallory.execute("SET search_path = mallory, pg_temp, pg_catalog")
        for table in ("instances", "tasks", "history", "starts", "settings", "workers", "pg_roles", "pg_proc"):
            mallory.execute(cast(Any, f"CREATE TEMP TABLE {table} AS SELECT 'alice'::pg_catalog.text AS owner, 1 AS n"))
        started = value(mallory, "df.start(df.sql('SELECT 1'), 'shadowed')")
        for call in ("df.status(%s)", "df.result(%s)", "df.signal(%s, 's')", "(SELECT count(*) FROM df.instance_nodes(%s))",
                     "df.explain(%s)", "df.cancel(%s)", "(SELECT count(*) FROM df.history(%s))"):  # fmt: skip
            value(mallory, call, started)
        owner = mallory.execute(
            "SELECT i.submitted_by::pg_catalog.text FROM df.instances i WHERE i.label OPERATOR(pg_catalog.=) 'shadowed'"
        )
        assert owner.fetchall() == [("mallory",)]
        mallory.execute("ALTER ROLE mallory SET search_path = mallory, pg_temp, pg_catalog")
        mallory.execute("SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity a WHERE"
                        " a.usename OPERATOR(pg_catalog.=) 'mallory' AND a.pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid()")  # fmt: skip
    try:
        seen = scene.run("INSERT INTO mallory.log (note) VALUES ('x')", GRAB, "CREATE TEMP TABLE instances AS SELECT 1")
    finally:
        with scene.admin() as admin:
            admin.execute("ALTER ROLE mallory RESET ALL")
            for name, *_ in SHADOWED:
                admin.execute(cast(Any, f"DROP ROUTINE mallory.{name}"))
            admin.execute("DROP FUNCTION mallory.same, mallory.fine CASCADE")
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'mallory'")
    report(f"called only as mallory; {seen}")


HOSTILE_RESULTS = {
    "deeply nested json": "SELECT (repeat('[', 5000) || repeat(']', 5000))::json AS j",
    "nested beyond jsonb": "SELECT repeat('[', 100000) || repeat(']', 100000) AS j",
    "hostile column names": """SELECT 1 AS "a'; DROP TABLE alice.secret; --", 2 AS "\\\\", 3 AS "\n\t", 4 AS "{x}$y" """,
    "the same column name twice": "SELECT 1 AS a, 2 AS a, 3 AS a",
    "no columns": "SELECT",
    "changed encoding": "SELECT set_config('client_encoding', 'LATIN1', false), 'é'",
    "control characters": "SELECT E'\\x01\\x02\\x1b[31m' AS c, chr(8238) AS r",
    "infinity and NaN": "SELECT 'NaN'::float8 AS n, '-Infinity'::float8 AS i, 'infinity'::timestamptz AS t, 'NaN'::numeric AS m",
    "1600 columns": "SELECT " + ", ".join(f"{n} AS c{n}" for n in range(1600)),
    "a row of its own type": "SELECT l FROM mallory.log l LIMIT 1",
    "a huge number": "SELECT repeat('9', 100000)::numeric AS n",
    "zero byte escape": """SELECT '{"a":"\\u0000"}'::json AS j""",
    "lone surrogate": """SELECT '{"a":"\\ud800"}'::json AS j""",
}


@pytest.mark.parametrize(
    "statement", some(HOSTILE_RESULTS, "deeply nested json", "hostile column names", "changed encoding")
)
def test_hostile_results_end_the_step_at_most(scene: Scene, report: Report, statement: str) -> None:
    """A result made to upset the worker -> the step ends one way or the other, the worker goes on."""
    report(scene.run(f"{statement}", "SELECT 1"))
