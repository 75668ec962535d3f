"""Whose steps run as whom: logins, proxies, one worker a role, and roles that change, lose rights or go away."""

from __future__ import annotations

import functools
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest

from asking import value
from cluster import (
    OWNER,
    WORKER,
    Database,
    Workers,
    clean_environment,
)
from passwords import password_server
from perdure.cli import proxies
from perdure.server import Server
from waiting import ENDED, eventually_status, wait_until

ROLES = ("dfi_one", "dfi_two", "dfi_three", "dfx_dfi_group", "dfi_group")


@pytest.fixture
def roles(database: Database) -> Iterator[psycopg.Connection[Any]]:
    """Two ordinary roles and a group that cannot log in; a superuser's connection."""
    with database.admin() as admin:
        for role in ROLES[:3]:
            admin.execute(cast(Any, f"CREATE ROLE {role} LOGIN PASSWORD 'perdure'"))
        admin.execute("CREATE ROLE dfi_group NOLOGIN")
        for role in (*ROLES[:3], "dfi_group"):
            admin.execute("SELECT df.grant_usage(%s)", [role])
        admin.execute(
            "CREATE TABLE ran (n serial, label text, acting name, session name); GRANT ALL ON ran, ran_n_seq TO PUBLIC"
        )
        try:
            yield admin
        finally:
            admin.execute("RESET ROLE")
            for role in ROLES:
                if value(admin, "to_regrole(%s)", role) is not None:
                    admin.execute(cast(Any, f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}"))


NOTE = "INSERT INTO ran (label, acting, session) VALUES ('{}', current_user, session_user)"


def started(connection: psycopg.Connection[Any], label: str, *more: str) -> str:
    """A workflow that notes who runs its first step, and goes on."""
    graph = value(connection, "df.sql(%s)", NOTE.format(label))
    for step in more:
        graph = value(connection, "df.seq(%s, %s)", graph, step)
    return cast(str, value(connection, "df.start(%s)", graph))


def ran(admin: psycopg.Connection[Any], label: str) -> list[Any]:
    return admin.execute("SELECT acting, session FROM ran WHERE label = %s ORDER BY n", [label]).fetchall()


# ---------------------------------------------------------------------------------------------------------- workers


def test_a_worker_logged_in_as_a_role_serves_that_role_alone(database: Database, roles: Any, workers: Workers) -> None:
    workers.start(dsn=database.dsn("dfi_one"))
    with database.connect("dfi_one") as one, database.connect("dfi_two") as two:
        theirs = started(two, "two")
        mine = started(one, "one", "SELECT 1", "SELECT 2")
        assert eventually_status(one, mine, "completed") == "completed"
        assert ran(roles, "one") == [("dfi_one", "dfi_one")]
        assert value(two, "df.status(%s)", theirs) == "pending"
        reason = "(SELECT min(reason) FROM df.waiting(%s))"
        assert "no worker" in value(two, reason, theirs)
    workers.start(dsn=database.dsn("dfi_two"))
    with database.connect("dfi_two") as two:
        assert eventually_status(two, theirs, "completed") == "completed"
    assert ran(roles, "two") == [("dfi_two", "dfi_two")]


def test_only_role_makes_a_service_worker_serve_one_role(database: Database, roles: Any, workers: Workers) -> None:
    workers.start("--only-role", "dfi_one")
    with database.connect("dfi_one") as one, database.connect("dfi_two") as two:
        theirs = started(two, "two")
        assert eventually_status(one, started(one, "one"), "completed") == "completed"
        assert value(two, "df.status(%s)", theirs) == "pending"
    assert roles.execute("SELECT login::text, serves_all FROM df_engine.workers").fetchall() == [("dfi_one", False)]


def test_an_ordinary_login_cannot_serve_another_role(database: Database, roles: Any, workers: Workers) -> None:
    worker = workers.start("--only-role", "dfi_two", dsn=database.dsn("dfi_one"))
    assert wait_until(worker.process.poll, 60) != 0
    assert "may not serve the workflows of dfi_two" in worker.log


def test_the_service_login_owns_nothing(database: Database, roles: Any) -> None:
    roles.execute(cast(Any, f"SELECT df.grant_usage('{WORKER}')"))
    with database.connect(WORKER) as worker, pytest.raises(psycopg.Error) as caught:
        started(worker, "worker")
    assert "serves the workflows of other roles" in str(caught.value)


# ----------------------------------------------------------------------------------------------- roles that change


def _has_run(admin: psycopg.Connection[Any], label: str) -> bool:
    return len(ran(admin, label)) == 1


def test_after_two_roles_swap_names_each_runs_its_own_steps(database: Database, roles: Any, workers: Workers) -> None:
    """A session is kept by the role's oid; by its name, one role's steps would run on the other's session."""
    workers.start()
    oids = {role: value(roles, "%s::regrole::oid", role) for role in ROLES[:2]}
    note = (
        "INSERT INTO ran (label, acting, session) SELECT '{}', r.oid::text, current_user FROM pg_roles r"
        " WHERE rolname = session_user"
    )
    with database.connect("dfi_one") as one, database.connect("dfi_two") as two:
        for connection, label in ((one, "one"), (two, "two")):
            graph = value(
                connection,
                "df.sql(%s) ~> df.wait_for_signal('go') ~> df.sql(%s)",
                note.format(label),
                note.format(label),
            )
            first = cast(str, value(connection, "df.start(%s)", graph))
            wait_until(functools.partial(_has_run, roles, label))
            if connection is one:
                of_one = first
            else:
                of_two = first
        roles.execute("ALTER ROLE dfi_one RENAME TO dfi_three_x; ALTER ROLE dfi_two RENAME TO dfi_one")
        roles.execute("ALTER ROLE dfi_three_x RENAME TO dfi_two")
        try:
            for connection, instance in ((one, of_one), (two, of_two)):
                value(connection, "df.signal(%s, 'go')", instance)
                assert eventually_status(connection, instance, "completed") == "completed"
        finally:
            roles.execute("ALTER ROLE dfi_one RENAME TO dfi_three_x; ALTER ROLE dfi_two RENAME TO dfi_one")
            roles.execute("ALTER ROLE dfi_three_x RENAME TO dfi_two")
    assert ran(roles, "one") == [(str(oids["dfi_one"]), "dfi_one"), (str(oids["dfi_one"]), "dfi_two")]
    assert ran(roles, "two") == [(str(oids["dfi_two"]), "dfi_two"), (str(oids["dfi_two"]), "dfi_one")]


def test_a_role_made_anew_inherits_nothing(database: Database, roles: Any, workers: Workers) -> None:
    workers.start()
    with database.connect("dfi_three") as three:
        value(three, "df.setvar('mine', 'old')")
        old = cast(
            str,
            value(three, "df.start(df.sql('SELECT 1') ~> df.wait_for_signal('go') ~> df.sql(%s))", NOTE.format("old")),
        )
        wait_until(lambda: value(three, "(SELECT count(*) FROM df.waiting(%s) WHERE waits_for = 'signal')", old) == 1)
    roles.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'dfi_three'")
    roles.execute("DROP OWNED BY dfi_three CASCADE; DROP ROLE dfi_three")
    roles.execute("CREATE ROLE dfi_three LOGIN PASSWORD 'perdure'; SELECT df.grant_usage('dfi_three')")
    with database.connect("dfi_three") as three:
        assert value(three, "(SELECT count(*) FROM df.instances)") == 0
        assert value(three, "df.getvar('mine')") is None
        assert value(three, "df.status(%s)", old) is None
        with pytest.raises(psycopg.Error):
            value(three, "df.signal(%s, 'go')", old)
        assert eventually_status(three, started(three, "new"), "completed") == "completed"
    roles.execute("SELECT df.signal(%s, 'go')", [old])
    wait_until(lambda: value(roles, "df.status(%s)", old) == "failed")
    assert "submitted_by role no longer exists" in value(roles, "(SELECT error FROM df.instances WHERE id = %s)", old)
    assert ran(roles, "old") == []
    assert ran(roles, "new") == [("dfi_three", "dfi_three")]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("ALTER ROLE dfi_one NOLOGIN", "is not permitted to log in"),
        ("REVOKE CONNECT ON DATABASE {} FROM PUBLIC, dfi_one", "permission denied for database"),
    ],
    ids=["NOLOGIN", "no CONNECT"],
)
def test_a_right_that_is_lost_is_missed_in_the_next_step(
    database: Database, roles: Any, workers: Workers, change: str, words: str
) -> None:
    """Although the worker keeps sessions of the role: they are asked about."""
    workers.start()
    roles.execute(cast(Any, f"GRANT CONNECT ON DATABASE {database.name} TO {WORKER}, {OWNER}"))
    with database.connect("dfi_one") as one:
        instance = cast(
            str, value(one, "df.start(df.sql('SELECT 1') ~> df.sleep(2) ~> df.sql(%s))", NOTE.format("late"))
        )
        wait_until(lambda: value(one, "(SELECT count(*) FROM df.waiting(%s) WHERE waits_for = 'timer')", instance) == 1)
        roles.execute(cast(Any, change.format(database.name)))
        assert eventually_status(one, instance, ENDED) == "failed"
        error = value(one, "(SELECT error FROM df.instances WHERE id = %s)", instance)
    assert words in error
    assert error.startswith(f"Failed to connect to database '{database.name}' as 'dfi_one'")
    assert ran(roles, "late") == []


# ---------------------------------------------------------------------------------------------------------- proxies


def test_a_group_role_runs_behind_a_proxy_login(database: Database, roles: Any, workers: Workers) -> None:
    roles.execute("SET ROLE dfi_group")
    with pytest.raises(psycopg.Error) as caught:
        started(roles, "early")
    assert "LOGIN" in str(caught.value)
    roles.execute("RESET ROLE; CREATE ROLE dfx_dfi_group LOGIN PASSWORD 'perdure' IN ROLE dfi_group")
    roles.execute("SELECT df.enable_proxy('dfx_dfi_group', 'dfi_group')")
    workers.start()
    roles.execute("SET ROLE dfi_group")
    child = "SELECT df.start(df.sql('{}'))".format(NOTE.format("child").replace("'", "''"))
    instance = started(
        roles, "group", "SET ROLE NONE", "SELECT 1", NOTE.format("group"), "VACUUM", NOTE.format("group"), child
    )
    assert eventually_status(roles, instance, "completed") == "completed"
    wait_until(lambda: ran(roles, "child") == [("dfi_group", "dfx_dfi_group")])
    roles.execute("RESET ROLE")
    assert ran(roles, "group") == [("dfi_group", "dfx_dfi_group")] * 3
    owners = roles.execute("SELECT DISTINCT submitted_by::text FROM df.instances").fetchall()
    assert owners == [("dfi_group",)]


def test_a_proxy_works_in_other_databases(database: Database, roles: Any, workers: Workers) -> None:
    roles.execute("CREATE ROLE dfx_dfi_group LOGIN PASSWORD 'perdure' IN ROLE dfi_group")
    roles.execute("SELECT df.enable_proxy('dfx_dfi_group', 'dfi_group')")
    workers.start()
    roles.execute("SET ROLE dfi_group")
    instance = cast(str, value(roles, "df.start('SELECT current_user AS u, session_user AS s', NULL, 'postgres')"))
    assert eventually_status(roles, instance, "completed") == "completed"
    assert value(roles, "df.result(%s)::jsonb #>> '{rows,0,u}'", instance) == "dfi_group"


@pytest.mark.parametrize(
    ("login", "words"),
    [
        ("LOGIN", "not a member"),
        ("NOLOGIN IN ROLE dfi_group", "cannot log in"),
        ("LOGIN IN ROLE dfi_group, dfi_one", "member of other roles"),
        ("LOGIN CREATEROLE IN ROLE dfi_group", "attributes of its own"),
        ("LOGIN SUPERUSER IN ROLE dfi_group", "attributes of its own"),
        ("LOGIN BYPASSRLS IN ROLE dfi_group", "attributes of its own"),
    ],
)
def test_a_login_with_more_than_the_role_is_no_proxy(roles: Any, login: str, words: str) -> None:
    roles.execute(cast(Any, f"CREATE ROLE dfx_dfi_group {login}"))
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as caught:
        roles.execute("SELECT df.enable_proxy('dfx_dfi_group', 'dfi_group')")
    assert words in str(caught.value)


def test_a_member_that_may_not_set_the_role_is_no_proxy(roles: Any) -> None:
    if roles.info.server_version < 160000:
        pytest.skip("every member may set the role before PostgreSQL 16")
    roles.execute("CREATE ROLE dfx_dfi_group LOGIN; GRANT dfi_group TO dfx_dfi_group WITH SET FALSE")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="WITH SET FALSE"):
        roles.execute("SELECT df.enable_proxy('dfx_dfi_group', 'dfi_group')")


def test_a_proxy_whose_membership_changes_is_waited_for(database: Database, roles: Any, workers: Workers) -> None:
    if roles.info.server_version < 160000:
        pytest.skip("every member may set the role before PostgreSQL 16")
    roles.execute("CREATE ROLE dfx_dfi_group LOGIN PASSWORD 'perdure' IN ROLE dfi_group")
    roles.execute(
        "SELECT df.enable_proxy('dfx_dfi_group', 'dfi_group'); REVOKE SET OPTION FOR dfi_group FROM dfx_dfi_group"
    )
    workers.start()
    roles.execute("SET ROLE dfi_group")
    instance = started(roles, "later")
    reason = "(SELECT min(reason) FROM df.waiting(%s))"
    wait_until(lambda: "permission denied to set role" in (value(roles, reason, instance) or ""), 60)
    roles.execute("RESET ROLE; GRANT dfi_group TO dfx_dfi_group WITH SET TRUE")
    assert eventually_status(roles, instance, "completed", 60) == "completed"
    assert ran(roles, "later") == [("dfi_group", "dfx_dfi_group")]


def test_whoever_cannot_enable_proxies_is_told_why(database: Database, roles: Any, tmp_path: Path) -> None:
    roles.execute("ALTER ROLE dfi_one CREATEROLE")
    passfile = ("--passfile", str(tmp_path / "passfile"))
    refused = perdure("roles", "enable", "dfi_group", *passfile, "--dsn", database.dsn("dfi_one"))
    assert "dfi_one is not a member of perdure_owner, the owner of schema df" in refused.stderr
    refused = perdure("roles", "enable", "dfi_group", *passfile, "--dsn", database.dsn(OWNER))
    assert "this takes CREATEROLE, ADMIN on dfi_group, and the owner of schema df" in refused.stderr
    roles.execute(cast(Any, f"GRANT {OWNER} TO dfi_one"))  # on 16 and newer it still has no ADMIN on the group
    refused = perdure("roles", "enable", "dfi_group", *passfile, "--dsn", database.dsn("dfi_one"))
    if roles.info.server_version >= 160000:
        assert "ADMIN on dfi_group" in refused.stderr
        roles.execute("GRANT dfi_group TO dfi_one WITH ADMIN TRUE, INHERIT FALSE, SET FALSE")
        refused = perdure("roles", "enable", "dfi_group", *passfile, "--dsn", database.dsn("dfi_one"))
    assert refused.returncode == 0, refused.stderr
    assert value(roles, "rolcanlogin FROM pg_roles WHERE rolname = 'dfx_dfi_group'")
    roles.execute("DROP OWNED BY dfx_dfi_group; DROP ROLE dfx_dfi_group")


def test_a_proxy_that_becomes_a_member_of_more_is_not_used(database: Database, roles: Any, workers: Workers) -> None:
    roles.execute("CREATE ROLE dfx_dfi_group LOGIN PASSWORD 'perdure' IN ROLE dfi_group")
    roles.execute("SELECT df.enable_proxy('dfx_dfi_group', 'dfi_group'); GRANT dfi_one TO dfx_dfi_group")
    workers.start()
    roles.execute("SET ROLE dfi_group")
    instance = started(roles, "more")
    assert eventually_status(roles, instance, ENDED) == "failed"
    roles.execute("RESET ROLE")
    assert ran(roles, "more") == []


def test_a_proxy_cannot_own_workflows_or_be_changed_by_users(database: Database, roles: Any) -> None:
    roles.execute("CREATE ROLE dfx_dfi_group LOGIN PASSWORD 'perdure' IN ROLE dfi_group")
    roles.execute("SELECT df.enable_proxy('dfx_dfi_group', 'dfi_group')")
    with database.connect("dfx_dfi_group") as proxy, pytest.raises(psycopg.Error) as caught:
        started(proxy, "proxy")
    assert "serves the workflows of other roles" in str(caught.value)
    with database.connect("dfi_one") as one:
        for call in (
            "df.enable_proxy('dfi_one', 'dfi_two')",
            "df.disable_proxy('dfx_dfi_group')",
            "df.grant_view('dfi_one')",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                value(one, call)


# ------------------------------------------------------------------------------------------------ viewers, operators


def test_viewers_see_everything_and_operators_act(database: Database, roles: Any) -> None:
    with database.connect(OWNER) as owner:
        owner.execute("SELECT df.grant_view('dfi_two'), df.grant_view('dfi_three', operate => true)")
    with (
        database.connect("dfi_one") as one,
        database.connect("dfi_two") as viewer,
        database.connect("dfi_three") as operator,
    ):
        instance = cast(str, value(one, "df.start(df.wait_for_signal('go'))"))
        for observer in (viewer, operator):
            assert value(observer, "df.status(%s)", instance) == "pending"
            assert value(observer, "(SELECT total_instances FROM df.metrics())") == 1
        for call in ("df.cancel(%s)", "df.signal(%s, 'go')"):
            with pytest.raises(psycopg.Error, match="not found or access denied"):
                value(viewer, call, instance)
        assert value(operator, "df.signal(%s, 'go')", instance) == "OK"
        assert "cancelled" in value(operator, "df.cancel(%s)", instance)
        with database.connect(OWNER) as owner:
            owner.execute("SELECT df.revoke_view('dfi_two')")
        assert value(viewer, "df.status(%s)", instance) is None


# ------------------------------------------------------------------------------- a server that asks for passwords


@pytest.fixture(scope="module")
def scram() -> Iterator[tuple[Server, Database]]:
    """A server that asks for passwords over TCP, and a migrated database in it."""
    if os.environ.get("PERDURE_TEST_DSN"):
        pytest.skip("makes a server of its own")
    with password_server() as made:
        yield made


def perdure(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "perdure", *arguments], capture_output=True, text=True, timeout=60,
                          env=clean_environment(), check=False)  # fmt: skip


def test_proxy_logins_by_command_from_making_to_dropping(scram: tuple[Server, Database], tmp_path: Path) -> None:
    server, database = scram
    passfile = tmp_path / "secrets" / "passfile"
    admin_dsn = database.admin_dsn
    tcp = f"host=127.0.0.1 port={server.port}"
    workers = Workers(database, tmp_path)
    worker_dsn = f"{tcp} user={WORKER} password=perdure dbname=shop"
    try:
        with database.admin() as admin:
            admin.execute("CREATE ROLE clerk NOLOGIN; SELECT df.grant_usage('clerk')")
            made = perdure("roles", "enable", "clerk", "--passfile", str(passfile), "--dsn", admin_dsn)
            assert made.returncode == 0, made.stderr
            assert stat.S_IMODE(passfile.stat().st_mode) == 0o600
            password = passfile.read_text().strip().rsplit(":", 1)[1]
            assert passfile.read_text() == f"*:*:*:dfx_clerk:{password}\n"
            assert password not in made.stdout + server.log.read_text("utf-8", "replace")
            workers.start("--passfile", str(passfile), "--role-dsn", tcp, dsn=worker_dsn)
            admin.execute("SET ROLE clerk")
            instance = cast(str, value(admin, "df.start('SELECT current_user AS u')"))
            assert eventually_status(admin, instance, "completed") == "completed"
            assert value(admin, "df.result(%s)::jsonb #>> '{rows,0,u}'", instance) == "clerk"
            # Rotation: the next session logs in with the new password.
            admin.execute("RESET ROLE")
            again = perdure("roles", "enable", "clerk", "--passfile", str(passfile), "--dsn", admin_dsn)
            assert "has a new password" in again.stdout, again.stderr
            assert passfile.read_text().count("dfx_clerk") == 1
            assert password not in passfile.read_text()
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'dfx_clerk'")
            admin.execute("SET ROLE clerk")
            instance = cast(str, value(admin, "df.start('SELECT 2')"))
            assert eventually_status(admin, instance, "completed") == "completed"
            # A password that is wrong: the step waits, and says so, until the password is right again.
            admin.execute("RESET ROLE; ALTER ROLE dfx_clerk PASSWORD 'changed by hand'")
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'dfx_clerk'")
            admin.execute("SET ROLE clerk")
            instance = cast(str, value(admin, "df.start('SELECT 3')"))
            reason = "(SELECT min(reason) FROM df.waiting(%s))"
            wait_until(lambda: "password authentication failed" in (value(admin, reason, instance) or ""), 60)
            assert value(admin, "df.status(%s)", instance) == "running"
            admin.execute("RESET ROLE")
            assert perdure("roles", "enable", "clerk", "--passfile", str(passfile), "--dsn", admin_dsn).returncode == 0
            admin.execute("SET ROLE clerk")
            assert eventually_status(admin, instance, "completed") == "completed"
            admin.execute("RESET ROLE")
            assert "clerk  dfx_clerk" in perdure("roles", "list", "--dsn", admin_dsn).stdout
            gone = perdure("roles", "disable", "clerk", "--passfile", str(passfile), "--dsn", admin_dsn)
            assert gone.returncode == 0, gone.stderr
            assert passfile.read_text() == ""
            assert value(admin, "to_regrole('dfx_clerk')") is None
    finally:
        workers.stop()
        for worker in workers.started:
            print(worker.log)


def test_credentials_by_role_from_a_passfile(scram: tuple[Server, Database], tmp_path: Path) -> None:
    server, database = scram
    passfile = tmp_path / "passfile"
    passfile.write_text("*:*:*:alice:perdure\n*:*:*:perdure_worker:perdure\n")
    passfile.chmod(0o600)
    workers = Workers(database, tmp_path)
    try:
        tcp = f"host=127.0.0.1 port={server.port}"
        mine = f"{tcp} user={WORKER} dbname=shop passfile={passfile}"
        workers.start("--passfile", str(passfile), "--role-dsn", tcp, dsn=mine)
        with database.connect("alice") as alice, database.connect("bob") as bob:
            assert eventually_status(alice, cast(str, value(alice, "df.start('SELECT 1')")), "completed") == "completed"
            waits = cast(
                str, value(bob, "df.start('SELECT 1')")
            )  # for bob there is no password: nothing runs as another
            reason = "(SELECT min(reason) FROM df.waiting(%s))"
            wait_until(lambda: "no password supplied" in (value(bob, reason, waits) or ""), 60)
            assert value(bob, "df.status(%s)", waits) == "running"
            warnings: list[str] = []
            bob.add_notice_handler(lambda notice: warnings.append(notice.message_primary or ""))
            again = value(bob, "df.start('SELECT 1')")
            assert any("cannot log in as bob" in warning for warning in warnings)
            for instance in (waits, again):
                value(bob, "df.cancel(%s)", instance)
    finally:
        workers.stop()
        for worker in workers.started:
            print(worker.log)


def test_starting_in_a_new_transaction_with_a_user_mapping(scram: tuple[Server, Database]) -> None:
    """How roles that are not superusers get their password into dblink."""
    server, database = scram
    with database.admin() as admin:
        admin.execute("CREATE EXTENSION dblink; CREATE SERVER again FOREIGN DATA WRAPPER dblink_fdw OPTIONS "
                      f"(host '127.0.0.1', port '{server.port}', dbname 'shop');"
                      "GRANT USAGE ON FOREIGN SERVER again TO alice;"
                      "CREATE USER MAPPING FOR alice SERVER again OPTIONS (user 'alice', password 'perdure');"
                      "UPDATE df.settings SET value = 'again' WHERE name = 'new_transaction_dsn'")  # fmt: skip
    with database.connect("alice", autocommit=False) as alice:
        instance = value(alice, "df.start('SELECT 1', transaction_mode => 'new')")
        alice.rollback()
        assert value(alice, "df.status(%s)", instance) is not None
    with database.connect("bob") as bob, pytest.raises(psycopg.Error, match="Failed to connect"):
        value(bob, "df.start('SELECT 1', transaction_mode => 'new')")


# ------------------------------------------------------------------------------------------------------- small things


def test_names_of_proxy_logins_fit() -> None:
    assert proxies.login_of("alice") == "dfx_alice"
    long = "é" * 31
    assert len(proxies.login_of(long).encode()) <= 63
    assert proxies.login_of(long) != proxies.login_of(long[:-1] + "e")


def test_the_script_for_a_dba_runs_as_it_is_printed(database: Database) -> None:
    text = proxies.script(database.name, ('we"ird', "alice"))
    assert 'CREATE ROLE "dfx_we""ird" LOGIN' in text
    names = ("perdure_viewer", "perdure_operator", "perdure_administrator", "perdure_user")
    with database.admin() as admin:
        statements = text.replace("CREATE ROLE perdure_owner LOGIN;", "").replace(
            "CREATE ROLE perdure_worker LOGIN;", ""
        )
        try:
            admin.execute(cast(Any, statements[: statements.index("\n-- A proxy login")]))
            assert value(admin, "count(*) FROM pg_roles WHERE rolname = ANY (%s)", list(names)) == 4
            assert (
                value(
                    admin, "count(*) FROM pg_roles WHERE rolname = ANY (%s) AND (rolsuper OR rolbypassrls)", list(names)
                )
                == 0
            )
        finally:
            for name in names:
                admin.execute(cast(Any, f"DROP OWNED BY {name}; DROP ROLE {name}"))


def test_the_passfile_keeps_other_lines(tmp_path: Path) -> None:
    from perdure.passfile import with_password, without

    path = tmp_path / "passfile"
    path.write_text("# mine\nhost:1:db:user:pass\\:word\n*:*:*:a\\:b:old\n")
    with_password(path, "a:b", "n:e\\w")
    assert path.read_text() == "# mine\nhost:1:db:user:pass\\:word\n*:*:*:a\\:b:n\\:e\\\\w\n"
    without(path, "a:b")
    assert path.read_text() == "# mine\nhost:1:db:user:pass\\:word\n"
