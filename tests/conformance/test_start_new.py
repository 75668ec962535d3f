"""df.start(..., transaction_mode => 'new'): a start that stays when the caller rolls back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any, cast

import psycopg
import pytest
from psycopg import sql

from asking import Connection, refusal, value, words
from cluster import PASSWORD, Cluster, Database, WorkerProcess
from waiting import eventually_status, wait_until

NEW = "df.start(%s, %s, transaction_mode => 'new')"
SLOTS = 1346982470
CLASS_HELD = f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = {SLOTS}"


def place(database: Database) -> str:
    """Where the server is, as a connection string without user and database."""
    parts = psycopg.conninfo.conninfo_to_dict(database.admin_dsn)
    return psycopg.conninfo.make_conninfo("", host=parts["host"], port=parts.get("port", 5432))


@pytest.fixture
def dblink(database: Database) -> Iterator[Connection]:
    """The extension in a schema of its own, for alice through a function that asks for no password; a superuser."""
    with database.admin() as admin:
        admin.execute("CREATE SCHEMA ext; CREATE EXTENSION dblink SCHEMA ext; GRANT USAGE ON SCHEMA ext TO PUBLIC")
        admin.execute("GRANT EXECUTE ON FUNCTION ext.dblink_connect_u(text, text) TO alice")
        where = place(database) + (f" password={PASSWORD}" if database.cluster.with_password else "")
        admin.execute("UPDATE df.settings SET value = %s WHERE name = 'new_transaction_dsn'", [where])
        yield admin


@pytest.fixture
def alice(database: Database) -> Iterator[Connection]:
    with database.connect("alice") as connection:
        yield connection


def test_it_stays_when_the_caller_rolls_back(database: Database, dblink: Connection, worker: WorkerProcess) -> None:
    with database.connect("alice", autocommit=False) as alice:
        alice.execute("CREATE TABLE mine (n integer)")
        stays = value(alice, NEW, "SELECT 1", "stays")
        assert value(alice, "df.status(%s)", stays) is not None, "the caller sees it at once"
        goes = value(alice, "df.start('SELECT 2', 'goes')")
        alice.rollback()
        alice.autocommit = True
        assert eventually_status(alice, stays, "completed") == "completed"
        assert value(alice, "df.status(%s)", goes) is None
        assert value(alice, "to_regclass('mine')") is None
        found = alice.execute("SELECT label, submitted_by::text FROM df.instances").fetchall()
        assert found == [("stays", "alice")]
    assert value(dblink, f"({CLASS_HELD})") == 0


def test_the_mode_is_read_in_any_case_and_takes_a_database(database: Database, dblink: Connection, alice: Any) -> None:
    started = value(alice, "df.start('SELECT 1', 'l', %s, 'NeW')", database.name)
    assert value(alice, "label FROM df.instances WHERE id = %s", started) == "l"
    assert "does not exist" in words(refusal(alice, "df.start('SELECT 1', NULL, 'nowhere', 'new')"))


def test_texts_arrive_as_they_are(dblink: Connection, alice: Connection) -> None:
    label = "it's \\ a $label$ 'x' %s %% \n é"
    alice.execute("SET standard_conforming_strings = off; SET backslash_quote = on; SET escape_string_warning = off")
    started = value(alice, NEW, "SELECT 'it''s \\\\'", label)
    assert value(alice, "label FROM df.instances WHERE id = %s", started) == label


def test_errors_name_the_new_transaction_and_leave_no_slot(dblink: Connection, alice: Connection) -> None:
    error = refusal(alice, NEW, '{"node_type":"THEN"}', None)
    assert words(error).startswith("df.start() on new transaction failed: ")
    assert value(dblink, f"({CLASS_HELD})") == 0
    assert value(alice, "ext.dblink_get_connections()") is None
    assert value(alice, "count(*) FROM df.instances") == 0


def test_it_is_refused_inside_a_workflow(dblink: Connection, alice: Connection) -> None:
    alice.execute("SET df.in_workflow = 'true'")
    assert "cannot be called inside a workflow" in words(refusal(alice, NEW, "SELECT 1", None))


def test_a_role_without_login(database: Database, dblink: Connection) -> None:
    dblink.execute("CREATE ROLE dfn_nologin")
    try:
        dblink.execute("SELECT df.grant_usage('dfn_nologin'); SET ROLE dfn_nologin")
        assert "LOGIN" in words(refusal(dblink, NEW, "SELECT 1", None))
    finally:
        dblink.execute("RESET ROLE; DROP OWNED BY dfn_nologin; DROP ROLE dfn_nologin")


def test_without_the_extension_the_error_says_what_to_install(database: Database, alice: Connection) -> None:
    error = refusal(alice, NEW, "SELECT 1", None)
    assert "dblink" in words(error)
    assert "CREATE EXTENSION dblink" in (error.diag.message_hint or "")
    with database.admin() as admin:
        assert value(admin, f"({CLASS_HELD})") == 0


def test_a_place_where_nobody_answers(dblink: Connection, alice: Connection, database: Database) -> None:
    dblink.execute("UPDATE df.settings SET value = 'host=127.0.0.1 port=1' WHERE name = 'new_transaction_dsn'")
    error = refusal(alice, NEW, "SELECT 1", None)
    assert words(error).startswith(f"Failed to connect to database '{database.name}' as 'alice'")
    assert "new_transaction_dsn" in (error.diag.message_hint or "")
    assert value(dblink, f"({CLASS_HELD})") == 0


def test_a_role_that_gives_no_password_is_told_what_to_configure(dblink: Connection, database: Database) -> None:
    if database.cluster.with_password:
        pytest.skip("here the connection string holds one")
    with database.connect("bob") as bob:
        error = refusal(bob, NEW, "SELECT 1", None)
    assert words(error).startswith(f"Failed to connect to database '{database.name}' as 'bob': password")
    assert "user mapping" in (error.diag.message_hint or "")
    assert value(dblink, f"({CLASS_HELD})") == 0


def test_a_foreign_server_cannot_lead_to_another_role(dblink: Connection, database: Database) -> None:
    where = psycopg.conninfo.conninfo_to_dict(place(database))
    options = sql.SQL("OPTIONS (host {}, port {}, dbname {})").format(where["host"], str(where["port"]), database.name)
    dblink.execute(sql.SQL("CREATE SERVER again FOREIGN DATA WRAPPER dblink_fdw {}").format(options))
    mapping = sql.SQL("CREATE USER MAPPING FOR CURRENT_USER SERVER again OPTIONS (user 'bob', password {})")
    dblink.execute(mapping.format(PASSWORD))
    dblink.execute("UPDATE df.settings SET value = 'again' WHERE name = 'new_transaction_dsn'")
    assert '"bob"' in words(refusal(dblink, NEW, "SELECT 1", None))
    assert value(dblink, "count(*) FROM df.instances") == 0
    assert value(dblink, f"({CLASS_HELD})") == 0


def test_launches_wait_for_a_slot_and_then_say_so(dblink: Connection, alice: Connection, database: Database) -> None:
    dblink.execute("UPDATE df.settings SET value = '2' WHERE name = 'new_transaction_start_timeout'")
    with database.connect("bob") as bob:
        bob.execute(cast(Any, f"SELECT pg_advisory_lock({SLOTS}, 0), pg_advisory_lock({SLOTS}, 1)"))
        began = time.monotonic()
        said = words(refusal(alice, NEW, "SELECT 1", None))
        assert time.monotonic() - began >= 2
        assert "max_new_transaction_starts=2" in said
        assert "Timed out after 2s waiting for a launch slot" in said
        assert value(dblink, f"({CLASS_HELD})") == 2
        bob.execute("SELECT pg_advisory_unlock_all()")
    assert len(value(alice, NEW, "SELECT 1", None)) == 8


def test_a_cancelled_launch_leaves_no_slot(dblink: Connection, database: Database) -> None:
    with database.connect("bob") as bob, database.connect("alice") as alice:
        bob.execute(cast(Any, f"SELECT pg_advisory_lock({SLOTS}, 0), pg_advisory_lock({SLOTS}, 1)"))
        caught: list[psycopg.Error] = []

        def launch() -> None:
            try:
                alice.execute(cast(Any, f"SELECT {NEW}"), ["SELECT 1", None])
            except psycopg.Error as error:
                caught.append(error)

        thread = threading.Thread(target=launch)
        thread.start()
        waits = f"(SELECT wait_event FROM pg_stat_activity WHERE pid = {alice.info.backend_pid})"
        wait_until(lambda: value(dblink, waits) == "PgSleep")
        alice.cancel_safe()
        thread.join(10)
        assert [error.sqlstate for error in caught] == ["57014"]
        assert "launch hit" not in words(caught[0])
        assert value(dblink, f"({CLASS_HELD} AND pid = {alice.info.backend_pid})") == 0


def test_a_launch_gives_up_waiting_for_a_lock(dblink: Connection, alice: Connection, cluster: Cluster) -> None:
    """Its own limit is 30 s; the words are tried with a shorter one that the role brings along."""
    said = value(alice, "df_engine.launch_problem('55P03', 'canceling statement due to lock timeout', true)")
    assert "launch hit lock_timeout after 30000ms" in said
    said = value(alice, "df_engine.launch_problem('57014', 'canceling statement due to statement timeout', true)")
    assert "launch hit statement_timeout after 30000ms" in said
    assert value(alice, "df_engine.launch_problem('57014', 'x', false)") == "x"
