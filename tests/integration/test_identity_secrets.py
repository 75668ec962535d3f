"""Secrets: sealed before they reach the server, opened for the moment of a request, written nowhere."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest

from asking import refusal, value, words
from cluster import OWNER, Database, Workers, clean_environment
from perdure import secrets
from servers.misbehaving import Server as Http
from servers.misbehaving import Talk
from waiting import ENDED, eventually_status

SECRET = 'tok-"é\\/&=% 1'


def perdure(*arguments: str, text: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "perdure", *arguments], input=text, capture_output=True, text=True,
                          timeout=60, env=clean_environment(more), check=False)  # fmt: skip


@pytest.fixture
def key(database: Database, tmp_path: Path) -> Path:
    """The workers' key file; the public key is in the database."""
    file = tmp_path / "keys" / "perdure.key"
    made = perdure("secret", "key", "--file", str(file), "--dsn", database.dsn(OWNER))
    assert made.returncode == 0, made.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text().strip() not in made.stdout
    return file


@pytest.fixture
def echo(database: Database) -> Iterator[Http]:
    """A server that sends back what it got, headers and body."""

    def answer(talk: Talk) -> None:
        got = talk.request
        talk.answer(
            200, json.dumps({"target": got.target, "headers": dict(got.headers), "body": got.body.decode()}).encode()
        )

    with Http(answer) as server, database.admin() as admin:
        admin.execute("INSERT INTO df.http_policy (action, network) VALUES ('allow', '127.0.0.1/32')")
        admin.execute(
            "SELECT df.grant_usage('alice', include_http => true), df.grant_usage('bob', include_http => true)"
        )
        yield server


def set_secret(database: Database, name: str, text: str = SECRET, role: str = "alice") -> None:
    done = perdure("secret", "set", name, "--as", role, "--dsn", database.dsn(role), text=text + "\n")
    assert done.returncode == 0, done.stderr
    assert text not in done.stdout


def everything(database: Database) -> str:
    """All that the database holds, as text."""
    with database.admin() as admin:
        tables = admin.execute(
            "SELECT c.oid::regclass::text FROM pg_class c WHERE c.relkind = 'r'"
            " AND c.relnamespace IN ('df'::regnamespace, 'df_engine'::regnamespace)"
        ).fetchall()
        return "\n".join(
            str(row) for (table,) in tables for row in admin.execute(cast(Any, f"SELECT t::text FROM {table} t"))
        )


def forms(text: str) -> tuple[str, ...]:
    return (
        text,
        json.dumps(text)[1:-1],
        json.dumps(text, ensure_ascii=False)[1:-1],
        text.encode().hex(),
        base64.b64encode(text.encode()).decode(),
    )


def test_a_secret_reaches_the_server_and_nothing_else(
    database: Database, workers: Workers, key: Path, echo: Http
) -> None:
    worker = workers.start("--log-level", "debug", env={"PERDURE_SECRET_KEY_FILE": str(key)})
    set_secret(database, "api.token")
    set_secret(database, "path", "p4th")
    with database.connect("alice") as alice:
        graph = (
            "'SELECT ''{secret:path}'' AS t' |=> 'r' ~> df.http(%s, 'POST', %s,"
            " jsonb_build_object('X-Token', 'Bearer {secret:path}'))"
        )
        started = cast(
            str,
            value(
                alice,
                f"df.start({graph})",
                echo.url("/{secret:path}?t={secret:path}"),
                '{"token":"{secret:api.token}","other":"$r.t"}',
            ),
        )
        assert eventually_status(alice, started, ENDED) == "completed", value(alice, "(SELECT error FROM df.instances)")
        got = echo.requests[-1]
        assert got.target == "/p4th?t=p4th"
        assert dict(got.headers)["x-token"] == "Bearer p4th"
        # In the template it is filled in; a value that looks like one is not.
        assert got.body.decode() == '{"token":"' + SECRET + '","other":"{secret:path}"}'
        result = value(alice, "df.result(%s)", started)
        assert "{secret:path}" in result and "{secret:api.token}" in result
        explained = value(alice, "df.explain(%s)", started)
        assert "{secret:path}" in explained
        assert alice.execute("SELECT name FROM df.list_secrets()").fetchall() == [("api.token",), ("path",)]
    kept = everything(database) + worker.log + explained + result
    for text in (*forms(SECRET), "p4th"):
        assert text not in kept


def test_failures_tell_no_secret(database: Database, workers: Workers, key: Path, echo: Http) -> None:
    worker = workers.start("--log-level", "debug", env={"PERDURE_SECRET_KEY_FILE": str(key)})
    set_secret(database, "s", "very-secret-1")
    set_secret(database, "bad", "line\r\nX-Evil: 1")
    with database.connect("alice") as alice:
        for url, headers in (
            ("http://very.invalid/{secret:s}", {}), ("http://127.0.0.1:1/{secret:s}", {}), ("http://{secret:s}/", {}),
            ("{secret:s}://x/", {}), (echo.url("/"), {"X": "{secret:bad}"}), ("http://u:{secret:s}@127.0.0.1/", {}),
        ):  # fmt: skip
            started = cast(
                str, value(alice, "df.start(df.http(%s, 'GET', NULL, %s::jsonb, 3))", url, json.dumps(headers))
            )
            value(alice, "df.signal(%s, 'x')", started)
            with database.admin() as admin:
                admin.execute("UPDATE df.settings SET value = '1' WHERE name = 'retry_total_seconds'")
            assert eventually_status(alice, started, "failed", 30) == "failed"
            error = value(alice, "(SELECT error FROM df.instances WHERE id = %s)", started)
            assert "very-secret-1" not in error
            assert "X-Evil" not in error
    kept = everything(database) + worker.log
    assert "very-secret-1" not in kept
    assert "X-Evil" not in kept


def test_whose_secrets_and_which(database: Database, workers: Workers, key: Path, echo: Http) -> None:
    workers.start(env={"PERDURE_SECRET_KEY_FILE": str(key)})
    set_secret(database, "mine", "alices-secret")
    with database.connect("alice") as alice, database.connect("bob") as bob, database.admin() as admin:
        assert value(bob, "count(*) FROM df.list_secrets()") == 0
        for statement in ("SELECT * FROM df_engine.secrets", "SELECT sealed FROM df_engine.visible_secrets"):
            with pytest.raises(psycopg.Error):
                bob.execute(cast(Any, statement))
        assert failure(bob, echo.url("/{secret:mine}")) == "there is no secret 'mine' of role 'bob'"
        # What was sealed for alice is of no use to bob, wherever he has it from, nor to alice under another name.
        sealed = "sealed:" + base64.b64encode(value(admin, "sealed FROM df_engine.secrets")).decode()
        for connection, name in ((bob, "mine"), (alice, "other")):
            value(connection, "df.set_secret(%s, %s)", name, sealed)
            assert "another role or name" in failure(connection, echo.url(f"/{{secret:{name}}}"))
        assert echo.requests == []
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            bob.execute("INSERT INTO df.ingress_secrets (owner, op, name) VALUES ('alice', 'drop', 'mine')")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            value(bob, "df.set_secret_key(%s)", secrets.new_key()[1])
        value(alice, "df.drop_secret('mine')")
        assert failure(alice, echo.url("/{secret:mine}")) == "there is no secret 'mine' of role 'alice'"


def failure(connection: psycopg.Connection[Any], url: str) -> str:
    started = cast(str, value(connection, "df.start(df.http(%s, 'GET'))", url))
    assert eventually_status(connection, started, ENDED, 30) == "failed"
    return str(value(connection, "(SELECT error FROM df.instances WHERE id = %s)", started))


def test_a_plain_value_is_refused(database: Database, key: Path) -> None:
    with database.connect("alice") as alice:
        error = refusal(alice, "df.set_secret('a', 'plain')")
        assert "sealed value" in words(error)
        assert "perdure secret set" in (error.diag.message_hint or "")
        for name in ("", "1a", "a b", "a'b", "x" * 101):
            sealed = perdure("secret", "seal", "x", "--dsn", database.dsn("alice"), text="v").stdout.strip()
            assert "name of a secret" in words(refusal(alice, "df.set_secret(%s, %s)", name, sealed))
        assert "there is no secret" in words(refusal(alice, "df.drop_secret('nothing')"))
        assert value(alice, "count(*) FROM df.list_secrets()") == 0


def test_without_a_key(database: Database, workers: Workers, echo: Http, tmp_path: Path) -> None:
    refused = perdure("secret", "set", "a", "--dsn", database.dsn("alice"), text="v")
    assert refused.returncode == 1
    assert "perdure secret key" in refused.stderr
    file = tmp_path / "key"
    assert perdure("secret", "key", "--file", str(file), "--dsn", database.dsn(OWNER)).returncode == 0
    set_secret(database, "a", "value-a")
    workers.start()
    with database.admin() as admin, database.connect("alice") as alice:
        admin.execute("UPDATE df.settings SET value = '1' WHERE name = 'retry_total_seconds'")
        assert "no key for secrets" in failure(alice, echo.url("/{secret:a}"))


def test_keys_are_changed_without_losing_what_was_sealed(
    database: Database, workers: Workers, key: Path, echo: Http
) -> None:
    set_secret(database, "old", "old-value")
    assert perdure("secret", "key", "--file", str(key), "--dsn", database.dsn(OWNER)).returncode == 0
    assert len(key.read_text().split()) == 2
    set_secret(database, "new", "new-value")
    workers.start(env={"PERDURE_SECRET_KEY_FILE": str(key)})
    with database.connect("alice") as alice:
        started = cast(str, value(alice, "df.start(df.http(%s, 'GET'))", echo.url("/{secret:old}/{secret:new}")))
        assert eventually_status(alice, started, "completed") == "completed"
    assert echo.requests[-1].target == "/old-value/new-value"
    listed = perdure("secret", "list", "--dsn", database.dsn("alice"))
    assert "old" in listed.stdout and "new" in listed.stdout
    assert perdure("secret", "drop", "old", "--dsn", database.dsn("alice")).returncode == 0


def test_a_key_that_others_can_read_is_refused(database: Database, workers: Workers, key: Path) -> None:
    key.chmod(0o644)
    worker = workers.start(env={"PERDURE_SECRET_KEY_FILE": str(key)})
    assert worker.process.wait(20) == 1
    assert "can be read by others" in worker.log


# ----------------------------------------------------------------------------------------------------- without a server


def test_what_was_sealed_can_be_opened_by_its_key_alone() -> None:
    (private, public), (other, _) = secrets.new_key(), secrets.new_key()
    sealed = base64.b64decode(secrets.seal(public, "alice", "n", SECRET).removeprefix("sealed:"))
    assert secrets.opened((other, private), "alice", "n", sealed) == SECRET
    for keys, role, name in (((other,), "alice", "n"), ((private,), "bob", "n"), ((private,), "alice", "m")):
        with pytest.raises(secrets.SecretError):
            secrets.opened(keys, role, name, sealed)
    with pytest.raises(secrets.SecretError):
        secrets.opened((private,), "alice", "n", sealed[:-1] + b"x")
    assert secrets.public_of(private) == public


def test_values_are_put_into_the_template_only() -> None:
    vault = secrets.Vault({"a": "A{secret:b}$x", "b": "B"})
    fill = vault.filled(lambda text: text.replace("$x", "{secret:b}"))
    assert fill("1{secret:a}2$x3{secret:b}") == "1A{secret:b}$x2{secret:b}3B"
    assert "B" not in repr(vault).replace("Vault", "")
    assert secrets.mentioned("{secret:a}{secret:b}{secret:a} {secret}") == ["a", "b"]
    assert secrets.Vault({"k": 'x"yz'}).hidden('{"a":"x\\"yz"} x"yz') == '{"a":"{secret:k}"} {secret:k}'
