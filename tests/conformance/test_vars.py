"""Variables: one set for each user, refused inside workflows, written only through the ingress view."""

from __future__ import annotations

import json

import pytest

from asking import Connection, refusal, refused, value, words
from cluster import Database


def rows(connection: Connection) -> list[tuple[str, ...]]:
    return connection.execute("SELECT name, value, owner::text FROM df.vars ORDER BY owner::text, name").fetchall()


def captured(database: Database, role: str) -> str:
    with database.admin() as admin:
        return str(value(admin, "df_engine.captured_vars(%s::text::regrole)", role))


def test_set_get_unset_clear(database: Database) -> None:
    with database.connect() as alice:
        assert value(alice, "df.getvar('a')") is None
        assert value(alice, "df.setvar('a', '1')") == "OK"
        assert value(alice, "df.setvar('a', '2')") == "OK"
        assert value(alice, "df.setvar('not an identifier!', '')") == "OK"
        assert value(alice, "df.getvar('a')") == "2"
        assert value(alice, "df.getvar('not an identifier!')") == ""
        assert rows(alice) == [("a", "2", "alice"), ("not an identifier!", "", "alice")]
        assert value(alice, "df.unsetvar('a')") == "OK"
        assert value(alice, "df.unsetvar('a')") == "OK"
        assert value(alice, "df.getvar('a')") is None
        assert value(alice, "df.clearvars()") == "OK"
        assert value(alice, "df.clearvars()") == "OK"
        assert rows(alice) == []


def test_null_arguments_do_nothing(database: Database) -> None:
    with database.connect() as alice:
        assert value(alice, "df.setvar('a', NULL)") is None
        assert value(alice, "df.setvar(NULL, 'b')") is None
        assert value(alice, "df.getvar(NULL)") is None
        assert value(alice, "df.unsetvar(NULL)") is None
        assert rows(alice) == []


def test_set_and_read_in_one_statement_and_rolled_back(database: Database) -> None:
    with database.connect(autocommit=False) as alice:
        row = alice.execute("SELECT df.setvar('a', '1'), df.getvar('a')").fetchone()
        assert row == ("OK", "1")
        alice.rollback()
        assert value(alice, "df.getvar('a')") is None


def test_each_user_has_a_set_of_their_own(database: Database) -> None:
    with database.connect() as alice, database.connect("bob") as bob, database.admin() as admin:
        alice.execute("SELECT df.setvar('k', 'of alice')")
        bob.execute("SELECT df.setvar('k', 'of bob')")
        assert value(alice, "df.getvar('k')") == "of alice"
        assert rows(bob) == [("k", "of bob", "bob")]
        assert rows(admin) == [("k", "of alice", "alice"), ("k", "of bob", "bob")]
        assert value(admin, "df.getvar('k')") is None
        admin.execute("SELECT df.setvar('k', 'of the superuser')")
        admin.execute("SELECT df.clearvars()")
        assert rows(admin) == [("k", "of alice", "alice"), ("k", "of bob", "bob")]
        bob.execute("SELECT df.clearvars()")
        assert value(alice, "df.getvar('k')") == "of alice"


def test_bypassrls_sees_all_and_a_member_of_the_owner_does_not(database: Database) -> None:
    with database.admin() as admin, database.connect() as alice:
        alice.execute("SELECT df.setvar('k', 'v')")
        admin.execute("BEGIN; CREATE ROLE auditor BYPASSRLS; CREATE ROLE friend IN ROLE alice;")
        admin.execute("SELECT df.grant_usage('auditor')")
        admin.execute("SET LOCAL ROLE auditor")
        assert rows(admin) == [("k", "v", "alice")]
        admin.execute("SET LOCAL ROLE friend")
        assert rows(admin) == []
        admin.execute("ROLLBACK")


def test_the_owner_is_the_effective_role(database: Database) -> None:
    with database.admin() as admin:
        admin.execute("SET ROLE bob")
        admin.execute("SELECT df.setvar('k', 'by set role')")
        admin.execute("RESET ROLE")
    with database.connect() as alice, database.connect("bob") as bob:
        assert value(bob, "df.getvar('k')") == "by set role"
        bob.execute("""
            CREATE FUNCTION public.as_bob() RETURNS text LANGUAGE sql SECURITY DEFINER
            AS $$ SELECT df.setvar('k', 'by definer') $$
        """)
        assert value(alice, "public.as_bob()") == "OK"
        assert value(alice, "df.getvar('k')") is None
        assert value(bob, "df.getvar('k')") == "by definer"


def test_roles_with_quotes_and_blanks(database: Database) -> None:
    name = 'Odd "role" name'
    with database.admin() as admin:
        admin.execute("BEGIN")
        admin.execute('CREATE ROLE "Odd ""role"" name"')
        admin.execute("SELECT df.grant_usage(%s)", [name])
        admin.execute('SET LOCAL ROLE "Odd ""role"" name"')
        admin.execute("SELECT df.setvar('k', 'v')")
        assert value(admin, "df.getvar('k')") == "v"
        admin.execute("ROLLBACK")


@pytest.mark.parametrize("call", ["df.setvar('a', 'b')", "df.unsetvar('a')", "df.clearvars()"])
def test_changes_are_refused_inside_a_workflow(database: Database, call: str) -> None:
    with database.connect() as alice:
        alice.execute("SELECT df.setvar('a', '1')")
        alice.execute("SET df.in_workflow = 'true'")
        name = call.partition("(")[0]
        assert words(refusal(alice, call)).startswith(f"{name}() cannot be called inside a workflow")
        assert value(alice, "df.getvar('a')") == "1"
        alice.execute("SET df.in_workflow = 'false'")
        assert value(alice, call) == "OK"


def test_what_a_workflow_takes_with_it(database: Database) -> None:
    with database.connect() as alice, database.connect("bob") as bob:
        bob.execute("SELECT df.setvar('k', 'of bob')")
        assert captured(database, "alice") == "{}"
        alice.execute(
            """SELECT df.setvar('b', E'quote " back\\\\ line\\n é'), df.setvar('a', '1'), df.setvar('B', '')"""
        )
        alice.execute("INSERT INTO df.ingress_vars (op, name) VALUES ('set', 'nothing')")
        taken = captured(database, "alice")
        assert taken == r'{"B":"","a":"1","b":"quote \" back\\ line\n é"}'
        assert json.loads(taken)["b"] == 'quote " back\\ line\n é'


def test_what_the_caller_has_not_yet_committed_is_taken(database: Database) -> None:
    with database.connect(autocommit=False) as alice, database.admin() as admin:
        alice.execute("SELECT df.setvar('a', 'mine')")
        started = value(alice, "df.start('SELECT 1')")
        alice.commit()
        assert (
            value(admin, "(SELECT variables FROM df_engine.starts WHERE instance_id = %s)", started) == '{"a":"mine"}'
        )


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO df.ingress_vars (op, name, value, owner) VALUES ('set', 'k', 'v', 'bob')",
        "INSERT INTO df.ingress_vars VALUES ('set', 'k', 'v', 'bob')",
        "INSERT INTO df.vars (name, value, owner) VALUES ('k', 'v', 'bob')",
        "UPDATE df.vars SET value = 'x'",
        "DELETE FROM df.vars",
        "SELECT FROM df.vars FOR UPDATE",
        "INSERT INTO df_engine.vars VALUES ('bob', 'k', 'v')",
        "SELECT * FROM df_engine.vars",
        "SELECT df_engine.captured_vars('bob')",
        "SELECT df_engine.require_variable('a', 'b')",
        "CREATE TRIGGER t INSTEAD OF INSERT ON df.ingress_vars FOR EACH ROW EXECUTE FUNCTION df_engine.take_vars()",
    ],
)
def test_there_is_no_other_way_in(database: Database, statement: str) -> None:
    with database.connect() as alice:
        assert refused(alice, statement).sqlstate == "42501"
    assert captured(database, "bob") == "{}"


@pytest.mark.parametrize("relation", ["df.vars", "df.ingress_vars", "df_engine.vars"])
@pytest.mark.parametrize("mode", ["ROW EXCLUSIVE", "SHARE", "EXCLUSIVE", "ACCESS EXCLUSIVE"])
def test_users_cannot_lock_others_out(database: Database, relation: str, mode: str) -> None:
    with database.connect(autocommit=False) as alice:
        assert refused(alice, f"LOCK TABLE {relation} IN {mode} MODE").sqlstate == "42501"


def test_a_condition_of_the_caller_never_sees_rows_of_others(database: Database) -> None:
    with database.connect() as alice, database.connect("bob") as bob:
        bob.execute("SELECT df.setvar('secret', 'of bob')")
        alice.execute("""
            CREATE FUNCTION pg_temp.tell(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS
            $$ BEGIN RAISE EXCEPTION 'seen: %', $1; END $$
        """)
        assert alice.execute("SELECT name FROM df.vars WHERE pg_temp.tell(value)").fetchall() == []


@pytest.mark.parametrize(
    ("insert", "message"),
    [
        ("(op, name) VALUES ('grant', 'x')", 'op must be set, unset or clear, not "grant"'),
        ("(name) VALUES ('x')", "op must be set, unset or clear"),
        ("(op, value) VALUES ('set', 'x')", "the name of a variable must not be NULL"),
        ("(op, name) VALUES ('set', repeat('x', 1025))", "must not be longer than 1024 bytes"),
    ],
)
def test_rows_that_say_nothing_are_refused(database: Database, insert: str, message: str) -> None:
    with database.connect() as alice:
        assert message in words(refused(alice, f"INSERT INTO df.ingress_vars {insert}"))


def test_a_value_that_is_too_large(database: Database) -> None:
    with database.connect("perdure_owner") as owner, database.connect() as alice:
        owner.execute("UPDATE df.settings SET value = '2000' WHERE name = 'max_payload_bytes'")
        assert value(alice, "df.setvar('a', repeat('x', 2000))") == "OK"
        assert "more than max_payload_bytes (2000)" in words(refusal(alice, "df.setvar('a', repeat('x', 2001))"))
