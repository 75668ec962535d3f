"""``perdure http test``: what it says, and its exit code."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from cluster import OWNER, WORKER, Database, clean_environment
from servers.misbehaving import Server, Talk


@pytest.fixture
def server() -> Iterator[Server]:
    def handler(talk: Talk) -> None:
        talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")

    with Server(handler) as running:
        yield running


def http_test(database: Database, *arguments: str, login: str = OWNER) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "perdure", "http", "test", *arguments, "--dsn", database.dsn(login)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        env=clean_environment(),
        check=False,
    )


def allow(database: Database, *statements: str) -> None:
    with database.connect(OWNER) as owner:
        for statement in statements:
            owner.execute(statement)


GRANT = "SELECT df.grant_usage('alice', include_http => true)"
OPEN = "INSERT INTO df.http_policy (action, network) VALUES ('allow', '127.0.0.0/8')"


def test_role_without_the_grant_is_told_so(database: Database) -> None:
    done = http_test(database, "https://8.8.8.8/", "--as", "alice")
    assert done.returncode == 1, done
    assert done.stdout.splitlines()[0] == "role: alice"
    assert "Blocked: role 'alice' does not have EXECUTE privilege on df.http()" in done.stdout


def test_public_address_is_allowed_and_private_refused(database: Database) -> None:
    allow(database, GRANT)
    done = http_test(database, "https://8.8.8.8/x", "--as", "alice")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "Allowed: connects to 8.8.8.8"), done
    done = http_test(database, "http://10.0.0.5/", "--as", "alice")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith("Blocked: ") and "10.0.0.5: refused" in done.stdout


@pytest.mark.parametrize("login", [OWNER, WORKER, "alice"])
def test_sends_if_asked_to(database: Database, server: Server, login: str) -> None:
    allow(database, GRANT, OPEN)
    done = http_test(database, server.url("/a"), "--as", "alice", login=login)
    assert (done.returncode, server.connections) == (0, 0), done
    done = http_test(database, server.url("/a"), "--as", "alice", "--send", login=login)
    assert done.returncode == 0, done
    assert done.stdout.splitlines()[-1].startswith("Answered: status 200 after ")
    assert len(server.requests) == 1


def test_blocked_request_is_not_sent(database: Database, server: Server) -> None:
    allow(database, GRANT)
    done = http_test(database, server.url("/a"), "--as", "alice", "--send")
    assert (done.returncode, server.connections) == (1, 0), done


def test_refusals(database: Database) -> None:
    done = http_test(database, "http://a.example/", "--as", "nobody_here")
    assert (done.returncode, done.stderr.strip()) == (1, "Error: there is no role nobody_here")
    done = http_test(database, "http://a.example/", "--as", "bob", login="alice")
    assert done.returncode == 1
    assert done.stderr.strip() == "Error: alice may not ask about bob: log in as bob, or as an administrator"
    assert http_test(database, "http://a.example/").returncode == 2
