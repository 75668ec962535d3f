"""Settings: where they come from, and how a worker logs in as other roles."""

from __future__ import annotations

import pytest
from psycopg.conninfo import conninfo_to_dict

from perdure import settings
from perdure.settings import Settings, SettingsError


def test_command_line_beats_environment_beats_default():
    environment = {"PERDURE_DSN": "dbname=a", "PERDURE_SLOTS": "7", "PERDURE_LEASE_SECONDS": "2.5"}
    chosen = settings.from_environment(environment, dsn="dbname=b", slots=None)
    assert (chosen.dsn, chosen.slots, chosen.lease_seconds, chosen.poll_seconds) == ("dbname=b", 7, 2.5, 1.0)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "no server"),
        ({"PERDURE_DSN": "dbname=a", "PERDURE_SLOTS": "many"}, "PERDURE_SLOTS must be a number, not 'many'"),
        ({"PERDURE_DSN": "dbname=a", "PERDURE_SLOTS": "0"}, "slots must be from 1 to 1000, not 0"),
        ({"PERDURE_DSN": "dbname=a", "PERDURE_LOG_LEVEL": "loud"}, "log_level"),
        ({"PERDURE_DSN": "dbname=a", "PERDURE_POOLED": "perhaps"}, "PERDURE_POOLED must be on or off, not 'perhaps'"),
    ],
)
def test_impossible_value_is_named(environment, words):
    with pytest.raises(SettingsError, match=words):
        settings.from_environment(environment)


@pytest.mark.parametrize(("text", "pooled"), [("on", True), ("1", True), ("False", False), ("", False)])
def test_switch_is_read_in_the_usual_words(text, pooled):
    assert settings.from_environment({"PERDURE_DSN": "dbname=a", "PERDURE_POOLED": text}).pooled is pooled


def test_other_role_gets_no_password_of_the_workers_login():
    chosen = Settings("postgresql://engine:secret@db:6000/shop?sslmode=require")
    parts = conninfo_to_dict(chosen.dsn_for("alice", "books"))
    assert parts == {"user": "alice", "host": "db", "port": "6000", "dbname": "books", "sslmode": "require"}
    assert conninfo_to_dict(chosen.dsn_for("engine", "shop"))["password"] == "secret"


def test_template_fills_role_and_database_in_every_part():
    chosen = Settings("dbname=a", role_dsn="host=db user={role} dbname={database} passfile=/etc/pass/{role}.{database}")
    parts = conninfo_to_dict(chosen.dsn_for("alice", "books"))
    assert (parts["user"], parts["dbname"], parts["passfile"]) == ("alice", "books", "/etc/pass/alice.books")


def test_template_as_uri_and_without_role_says_the_rest_itself():
    assert conninfo_to_dict(Settings("dbname=a", role_dsn="postgresql://db:6000").dsn_for("alice", "books")) == {
        "user": "alice",
        "host": "db",
        "port": "6000",
        "dbname": "books",
    }


@pytest.mark.parametrize("role", ["it's", "a b", "x host=evil", "{database}", "{role}", "ä", "a\\b"])
def test_name_of_a_role_cannot_break_out_of_the_template(role):
    chosen = Settings("dbname=a", role_dsn="host=db user={role} dbname={database}")
    parts = conninfo_to_dict(chosen.dsn_for(role, "books"))
    assert parts == {"host": "db", "user": role, "dbname": "books"}
