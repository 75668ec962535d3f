"""df.settings: who sees what, who changes what, and what a value must be."""

from __future__ import annotations

import pytest

from asking import refusal, refused, value, words
from cluster import Database

KNOWN = {
    "max_user_connections": "0",
    "execution_acquire_timeout": "0",
    "max_new_transaction_starts": "2",
    "new_transaction_start_timeout": "5",
    "list_instances_max_limit": "1000",
    "retention_days": "30",
    "retention_count": "10000",
    "notify": "on",
    "max_result_bytes": "67108864",
    "max_graph_nodes": "10000",
    "http_enabled": "on",
    "retry_total_seconds": "15",
    "loop_floor_ms": "1000",
    "loop_max_iterations": "100000",
}


def test_every_setting_has_a_default_that_is_in_range_and_a_description(database: Database) -> None:
    with database.connect() as alice:
        rows = alice.execute(
            "SELECT name, value, default_value, kind, low, high, description FROM df.settings"
        ).fetchall()
        defaults = {name: default for name, _, default, *_ in rows}
        assert KNOWN.items() <= defaults.items()
        for name, current, default, kind, low, high, description in rows:
            assert current == default, name
            assert description, name
            assert kind in ("bool", "text") or low <= int(default) <= high, name
            assert value(alice, "df_engine.setting(%s)", name) == default


def test_the_hidden_setting_is_for_administrators(database: Database) -> None:
    hidden = "(SELECT value FROM df.settings WHERE name = 'enable_superuser_instances')"
    with database.connect() as alice, database.connect("perdure_owner") as owner, database.admin() as admin:
        assert value(alice, hidden) is None
        assert value(owner, hidden) == "off"
        assert value(admin, hidden) == "off"


@pytest.mark.parametrize(
    ("name", "given", "stored"),
    [
        ("max_user_connections", " 10 ", "10"),
        ("retention_days", "0036", "36"),
        ("notify", "FALSE", "off"),
        ("notify", "1", "on"),
        ("enable_superuser_instances", "on", "on"),
    ],
)
def test_the_owner_changes_values(database: Database, name: str, given: str, stored: str) -> None:
    with database.connect("perdure_owner") as owner:
        done = owner.execute("UPDATE df.settings SET value = %s WHERE name = %s", [given, name])
        assert done.rowcount == 1
        assert value(owner, "df_engine.setting(%s)", name) == stored


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("max_user_connections", "1001", 'setting "max_user_connections" must be between 0 and 1000, not 1001'),
        ("max_user_connections", "-1", 'setting "max_user_connections" must be a whole number, not "-1"'),
        ("max_user_connections", "many", 'setting "max_user_connections" must be a whole number, not "many"'),
        ("max_user_connections", "9" * 30, f'setting "max_user_connections" must be a whole number, not "{"9" * 30}"'),
        (
            "execution_acquire_timeout",
            "5s",
            'setting "execution_acquire_timeout" must be a whole number of seconds, not "5s"',
        ),
        ("max_graph_nodes", "10", 'setting "max_graph_nodes" must be between 1000 and 1000000, not 10'),
        ("notify", "maybe", 'setting "notify" must be on or off, not "maybe"'),
        ("notify", None, 'setting "notify" must not be NULL; its default is on'),
    ],
)
def test_values_out_of_range_are_refused(database: Database, name: str, given: str | None, message: str) -> None:
    with database.connect("perdure_owner") as owner:
        error = refused(owner, "UPDATE df.settings SET value = %s WHERE name = %s", given, name)
        assert words(error) == message
        assert value(owner, "(SELECT value = default_value FROM df.settings WHERE name = %s)", name)


def test_nothing_but_the_value_can_be_changed(database: Database) -> None:
    with database.connect("perdure_owner") as owner:
        for column, new in [
            ("name", "'x'"),
            ("high", "5"),
            ("default_value", "'7'"),
            ("kind", "'text'"),
            ("hidden", "true"),
        ]:
            error = refused(owner, f"UPDATE df.settings SET {column} = {new} WHERE name = 'retention_days'")
            assert words(error) == "only the value of a setting can be changed"
        insert = (
            "INSERT INTO df.settings (name, value, default_value, kind, description) VALUES ('x', '1', '1', 'int', 'x')"
        )
        for statement in (insert, "DELETE FROM df.settings"):
            assert words(refused(owner, statement)) == "only the value of a setting can be changed"


def test_users_change_nothing(database: Database) -> None:
    with database.connect() as alice:
        assert refused(alice, "UPDATE df.settings SET value = '1'").sqlstate == "42501"
        assert refused(alice, "UPDATE df_engine.settings SET value = '1'").sqlstate == "42501"
        assert refused(alice, "SELECT * FROM df_engine.settings").sqlstate == "42501"
        assert refused(alice, "DELETE FROM df.settings").sqlstate in ("42501", "55000")


def test_an_unknown_setting(database: Database) -> None:
    with database.connect() as alice:
        assert words(refusal(alice, "df_engine.setting('nothing')")) == 'there is no setting "nothing"'


def test_the_session_value_of_the_list_limit_counts_for_superusers_only(database: Database) -> None:
    asked = "df_engine.setting('list_instances_max_limit')"
    with database.connect() as alice, database.admin() as admin:
        for connection, expected in [(alice, "1000"), (admin, "3")]:
            connection.execute("SET pg_durable.list_instances_max_limit = 3")
            assert value(connection, asked) == expected
        admin.execute("SET ROLE alice")
        assert value(admin, asked) == "3", "the session is still a superuser's"
        admin.execute("RESET ROLE")
        admin.execute("SET pg_durable.list_instances_max_limit = 0")
        assert "must be between 1 and 1000000" in words(refusal(admin, asked))
        admin.execute("RESET pg_durable.list_instances_max_limit")
        assert value(admin, asked) == "1000"
