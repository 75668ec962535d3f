"""Who may use df, who may pass it on, and who serves as a worker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest

from asking import Connection, refusal, refused, value
from cluster import Cluster, Database

ROLES = ("carol", "dave", "erin")
HTTP = "df.http(text,text,text,jsonb,integer)"
MULTIPART = "df.http_multipart(text,text,jsonb,jsonb,integer)"
GRANT = "df.grant_usage(text,boolean,boolean)"
REVOKE = "df.revoke_usage(text)"
METRICS = "df.metrics()"


@pytest.fixture(autouse=True)
def roles(cluster: Cluster, database: Database) -> Iterator[None]:
    """Users who have been granted nothing yet."""
    with cluster.admin() as admin:
        for role in ROLES:
            admin.execute(cast(Any, f"CREATE ROLE {role} LOGIN PASSWORD 'perdure'"))
    yield
    with database.admin() as admin:
        for role in ROLES:
            admin.execute(cast(Any, f"DROP OWNED BY {role}; DROP ROLE {role}"))


@pytest.fixture
def owner(database: Database) -> Iterator[Connection]:
    """The owner of the schema, no superuser."""
    with database.connect("perdure_owner") as connection:
        yield connection


def may(database: Database, role: str, function: str, privilege: str = "EXECUTE") -> bool:
    with database.admin() as admin:
        return bool(value(admin, "has_function_privilege(%s::text, %s::text, %s::text)", role, function, privilege))


def exists(database: Database, function: str) -> bool:
    with database.admin() as admin:
        return value(admin, "to_regprocedure(%s)", function) is not None


def test_without_a_grant_nothing_can_be_called(database: Database) -> None:
    with database.connect("carol") as carol:
        for call in ("df.sql('SELECT 1')", "df.start('SELECT 1')", "df.setvar('a', 'b')", "df.seq('a', 'b')"):
            assert refusal(carol, call).sqlstate == "42501"
        assert refused(carol, "SELECT * FROM df.vars").sqlstate == "42501"


def test_a_plain_grant(database: Database, owner: Connection) -> None:
    notices: list[str] = []
    owner.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    owner.execute("SELECT df.grant_usage('carol')")
    assert any("carol" in notice for notice in notices)
    with database.connect("carol") as carol:
        assert value(carol, "'SELECT 1' ~> 'SELECT 2'").startswith('{"node_type":"THEN"')
        started = value(carol, "df.start('SELECT 1')")
        assert value(carol, "df.status(%s)", started) == "pending"
        assert value(carol, "df.signal(%s, 'x')", started) == "OK"
        assert value(carol, "df.cancel(%s)", started).startswith(f"Instance {started} cancelled")
        assert value(carol, "df.setvar('a', 'b')") == "OK"
        for view in ("instances", "nodes", "vars", "settings"):
            if value(carol, "to_regclass(%s)", f"df.{view}") is not None:
                carol.execute(cast(Any, f"SELECT count(*) FROM df.{view}"))
        for call in ("df.http('https://x')", "df.http_multipart('https://x', parts => '[{}]')",
                     "df.grant_usage('dave')", "df.revoke_usage('alice')", "df.grant_worker('carol')"):  # fmt: skip
            assert refusal(carol, call).sqlstate == "42501"
    for function in (HTTP, MULTIPART, GRANT, REVOKE):
        assert not may(database, "carol", function)


def test_a_grant_is_additive_and_can_be_repeated(database: Database, owner: Connection) -> None:
    owner.execute("SELECT df.grant_usage('carol', include_http => true)")
    owner.execute("SELECT df.grant_usage('carol')")
    assert may(database, "carol", HTTP)


def test_http_is_granted_on_request(database: Database, owner: Connection) -> None:
    owner.execute("SELECT df.grant_usage('carol', include_http => true)")
    assert may(database, "carol", HTTP)
    assert may(database, "carol", MULTIPART)
    assert not may(database, "carol", HTTP, "EXECUTE WITH GRANT OPTION")
    assert not may(database, "carol", GRANT)
    with database.connect("carol") as carol:
        assert value(carol, "df.http('https://x')").startswith('{"node_type":"HTTP"')


def test_an_administrator_grants_and_makes_further_administrators(database: Database, owner: Connection) -> None:
    owner.execute("SELECT df.grant_usage('carol', with_grant => true)")
    for function in (GRANT, REVOKE, METRICS):
        if exists(database, function):
            assert may(database, "carol", function, "EXECUTE WITH GRANT OPTION"), function
    assert not may(database, "carol", HTTP)
    with database.connect("carol") as carol:
        carol.execute("SELECT df.grant_usage('dave', with_grant => true)")
    with database.connect("dave") as dave:
        dave.execute("SELECT df.grant_usage('erin')")
    with database.connect("erin") as erin:
        assert value(erin, "df.setvar('a', 'b')") == "OK"
        assert value(erin, "df.start('SELECT 1')")


@pytest.mark.parametrize("has_http", [False, True])
def test_an_administrator_without_grant_option_on_http_grants_nothing(
    database: Database, owner: Connection, has_http: bool
) -> None:
    owner.execute("SELECT df.grant_usage('carol', with_grant => true)")
    if has_http:
        owner.execute("SELECT df.grant_usage('carol', include_http => true)")
    with database.connect("carol") as carol:
        assert refusal(carol, "df.grant_usage('dave', include_http => true)").sqlstate == "42501"
    with database.connect("dave") as dave:
        assert refusal(dave, "df.sql('x')").sqlstate == "42501"


def test_an_administrator_with_http_passes_it_on(database: Database, owner: Connection) -> None:
    owner.execute("SELECT df.grant_usage('carol', include_http => true, with_grant => true)")
    with database.connect("carol") as carol:
        carol.execute("SELECT df.grant_usage('dave', include_http => true)")
    assert may(database, "dave", HTTP)


@pytest.mark.parametrize("with_usage", [False, True])
def test_the_helper_alone_gives_no_power(database: Database, owner: Connection, with_usage: bool) -> None:
    owner.execute("SELECT df.grant_usage('carol')" if with_usage else "GRANT USAGE ON SCHEMA df, df_engine TO carol")
    owner.execute("GRANT EXECUTE ON FUNCTION df.grant_usage(text, boolean, boolean), df.revoke_usage(text) TO carol")
    with database.connect("carol") as carol:
        assert refusal(carol, "df.grant_usage('dave')").sqlstate == "42501"
    with database.connect("dave") as dave:
        assert refusal(dave, "df.sql('x')").sqlstate == "42501"


def test_revoking_takes_back_everything_and_what_was_passed_on(database: Database, owner: Connection) -> None:
    owner.execute("SELECT df.grant_usage('carol', include_http => true, with_grant => true)")
    with database.connect("carol") as carol:
        carol.execute("SELECT df.grant_usage('dave', include_http => true)")
    owner.execute("SELECT df.revoke_usage('carol')")
    for role in ("carol", "dave"):
        with database.connect(role) as connection:
            assert refusal(connection, "df.sql('x')").sqlstate == "42501"
        assert not may(database, role, HTTP)
    with database.admin() as admin:
        left = """(SELECT count(*) FROM pg_class c, aclexplode(c.relacl) a
                   WHERE c.relnamespace = 'df'::regnamespace AND a.grantee = ANY (%s::text[]::regrole[]))"""
        assert value(admin, left, ["carol", "dave"]) == 0
        columns = """(SELECT count(*) FROM pg_attribute t JOIN pg_class c ON c.oid = t.attrelid, aclexplode(t.attacl) a
                      WHERE c.relnamespace = 'df'::regnamespace AND a.grantee = ANY (%s::text[]::regrole[]))"""
        assert value(admin, columns, ["carol", "dave"]) == 0


def test_an_administrator_revokes_what_they_granted_and_not_what_others_did(
    database: Database, owner: Connection
) -> None:
    owner.execute("SELECT df.grant_usage('carol', with_grant => true)")
    owner.execute("SELECT df.grant_usage('erin')")
    with database.connect("carol") as carol:
        carol.execute("SELECT df.grant_usage('dave')")
        carol.execute("SELECT df.revoke_usage('dave')")
        carol.execute("SELECT df.revoke_usage('erin')")
        carol.execute("SELECT df.revoke_usage('carol')")
        assert value(carol, "df.setvar('a', 'b')") == "OK"
    with database.connect("dave") as dave, database.connect("erin") as erin:
        assert refusal(dave, "df.sql('x')").sqlstate == "42501"
        assert value(erin, "df.sql('x')") is not None


def test_public_in_lower_case_is_everybody(database: Database, owner: Connection) -> None:
    owner.execute("SELECT df.grant_usage('public')")
    with database.connect("carol") as carol:
        assert value(carol, "df.setvar('a', 'b')") == "OK"
    owner.execute("SELECT df.revoke_usage('public')")
    with database.connect("carol") as carol:
        assert refusal(carol, "df.sql('x')").sqlstate == "42501"
    assert refusal(owner, "df.grant_usage('PUBLIC')").sqlstate == "42704"


@pytest.mark.parametrize("call", ["df.grant_usage(NULL)", "df.revoke_usage(NULL)", "df.grant_worker(NULL)"])
def test_a_role_must_be_named(owner: Connection, call: str) -> None:
    assert "p_role must not be NULL" in str(refusal(owner, call))


def test_a_role_that_does_not_exist(owner: Connection) -> None:
    for call in (
        "df.grant_usage('nobody at all')",
        "df.revoke_usage('nobody at all')",
        "df.grant_worker('nobody at all')",
    ):
        assert refusal(owner, call).sqlstate == "42704"


def test_metrics_by_an_explicit_grant(database: Database, owner: Connection) -> None:
    if not exists(database, METRICS):
        pytest.skip("df.metrics() is not there yet")
    owner.execute("SELECT df.grant_usage('carol')")
    with database.connect("carol") as carol:
        assert refused(carol, "SELECT * FROM df.metrics()").sqlstate == "42501"
        owner.execute("GRANT EXECUTE ON FUNCTION df.metrics() TO carol")
        carol.execute("SELECT * FROM df.metrics()")


def test_users_hold_insert_on_named_columns_of_ingress_views_and_never_on_owner(database: Database) -> None:
    with database.admin() as admin:
        views = [row[0] for row in admin.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'df'::regnamespace AND relname LIKE 'ingress%'"
        )]  # fmt: skip
        assert {"ingress_starts", "ingress_signals", "ingress_cancels", "ingress_vars"} <= set(views)
        for view in views:
            held = "has_column_privilege('alice', %s::text::regclass, %s::text, 'INSERT')"
            assert not value(admin, held, f"df.{view}", "owner"), view
            assert not value(
                admin, "has_table_privilege('alice', %s::text::regclass, 'INSERT, UPDATE, DELETE')", f"df.{view}"
            )


@pytest.mark.parametrize("relation", ["df.instances", "df.nodes", "df.vars", "df.settings", "df_engine.history"])
@pytest.mark.parametrize(
    "statement", ["INSERT INTO {} DEFAULT VALUES", "DELETE FROM {}", "TRUNCATE {}", "DROP TABLE {}"]
)
def test_nothing_is_writable_by_users(database: Database, relation: str, statement: str) -> None:
    with database.connect() as alice:
        if value(alice, "to_regclass(%s)", relation) is None:
            pytest.skip(f"{relation} is not there yet")
        # 55000 and 42809: views that cannot be written to, whoever asks.
        assert refused(alice, statement.format(relation)).sqlstate in ("42501", "55000", "42809")


def test_users_make_nothing_in_the_schemas(database: Database) -> None:
    with database.connect() as alice:
        for schema in ("df", "df_engine"):
            assert refused(alice, f"CREATE TABLE {schema}.mine ()").sqlstate == "42501"


# ------------------------------------------------------------------------------------------------------- workers


def test_a_worker_is_made_and_unmade_by_the_owner(database: Database, owner: Connection) -> None:
    calls = (
        "(SELECT count(*) FROM pg_proc WHERE pronamespace = 'df_engine'::regnamespace AND proname LIKE '%%\\_v1' {})"
    )
    granted = calls.format("AND EXISTS (SELECT FROM aclexplode(proacl) a WHERE a.grantee = %s::text::regrole)")
    owner.execute("SELECT df.grant_worker('carol')")
    assert value(owner, granted, "carol") == value(owner, calls.format("AND %s::text <> ''"), "x") > 0
    assert value(owner, "EXISTS (SELECT FROM df_engine.service_logins WHERE login = 'carol'::regrole)")
    with database.connect("carol") as carol:
        assert refusal(carol, "df.start('SELECT 1')").sqlstate == "42501"
    owner.execute("SELECT df.revoke_worker('carol')")
    assert value(owner, granted, "carol") == 0
    assert not value(owner, "EXISTS (SELECT FROM df_engine.service_logins WHERE login = 'carol'::regrole)")


def test_only_the_owner_makes_workers(database: Database, owner: Connection) -> None:
    owner.execute("SELECT df.grant_usage('carol', with_grant => true)")
    owner.execute("GRANT EXECUTE ON FUNCTION df.grant_worker(text), df.revoke_worker(text) TO carol")
    with database.connect("carol") as carol:
        assert refusal(carol, "df.grant_worker('carol')").sqlstate == "42501"
        assert refusal(carol, "df.revoke_worker('perdure_worker')").sqlstate == "42501"


# ------------------------------------------------------------------------------------------- functions of the engine

MINE = ("captured_vars", "take_vars", "require_variable", "checked_setting", "change_setting", "worker_privileges")


@pytest.mark.parametrize("name", MINE)
def test_functions_that_act_for_the_owner_are_not_for_users(database: Database, name: str) -> None:
    with database.admin() as admin:
        allowed = """(SELECT bool_or(has_function_privilege('alice', oid, 'EXECUTE')) FROM pg_proc
                      WHERE pronamespace = 'df_engine'::regnamespace AND proname = %s)"""
        assert value(admin, allowed, name) is False


def test_default_privileges_of_the_database_do_not_shut_users_out(database: Database) -> None:
    with database.admin() as admin:
        acl = """(SELECT count(*) FROM pg_proc p WHERE p.pronamespace = 'df'::regnamespace
                  AND NOT EXISTS (SELECT FROM aclexplode(p.proacl) a WHERE a.grantee = 0)
                  AND p.proname <> ALL (ARRAY['http', 'http_multipart', 'metrics', 'grant_usage', 'revoke_usage',
                                              'grant_worker', 'revoke_worker', 'enable_proxy',
                                        'disable_proxy', 'grant_view', 'revoke_view', 'set_secret_key'])
                  AND p.proacl IS NOT NULL)"""
        assert value(admin, acl) == 0
