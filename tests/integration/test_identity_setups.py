"""The documented ways to serve several roles, from an empty server on, by an administrator who is no superuser."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
from click.testing import CliRunner

from asking import value
from cluster import Cluster, Database, Workers
from passwords import bare_server
from perdure.cli.main import perdure as command
from perdure.server import Server
from waiting import eventually_status, wait_until

SECONDS = 60
PEOPLE = ("alice", "bob")
LOGINS = (*PEOPLE, "perdure_owner", "perdure_worker", "dba")


@dataclass(frozen=True, slots=True)
class Shop:
    """A server that asks for passwords over TCP and for the account on the socket; each password is the role's name."""

    server: Server
    folder: Path

    @property
    def tcp(self) -> str:
        """Where it is."""
        return f"host=127.0.0.1 port={self.server.port}"

    def dsn(self, role: str, database: str = "shop") -> str:
        """A login over TCP."""
        return f"{self.tcp} user={role} password={role} dbname={database}"

    def connect(self, role: str) -> psycopg.Connection[Any]:
        """A session of the role, in autocommit."""
        return psycopg.connect(self.dsn(role), autocommit=True)

    def file(self, name: str, text: str) -> Path:
        """A file that only we can read."""
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)
        return path

    @contextmanager
    def worker(self, *arguments: str, dsn: str = "", env: dict[str, str] | None = None) -> Iterator[None]:
        """A worker while the block lasts."""
        started = Workers(Database(Cluster(self.server.dsn()), "shop"), self.folder)
        try:
            started.start(*arguments, dsn=dsn or self.dsn("perdure_worker"), env=env)
            yield
        finally:
            started.stop()
            print(started.started[0].log)

    def ran(self, role: str) -> list[str]:
        """Who ran a step that the role starts: current_user and session_user."""
        login = "postgres" if role == "clerk" else role
        dsn = self.server.dsn(database="shop") if role == "clerk" else self.dsn(login)
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(cast(Any, f"SET ROLE {role}"))
            instance = cast(str, value(connection, "df.start('SELECT current_user AS c, session_user AS s')"))
            assert eventually_status(connection, instance, "completed", SECONDS) == "completed"
            row = value(connection, "df.result(%s)::jsonb #> '{rows,0}'", instance)
            return [row["c"], row["s"]]


def perdure(*arguments: str) -> str:
    """What a command says; it must succeed."""
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    if os.environ.get("PERDURE_TEST_DSN"):
        pytest.skip("makes a server of its own")
    with bare_server() as server:
        made = Shop(server, tmp_path_factory.mktemp("shop"))
        _let_in(server)
        _set_up(made)
        yield made


def _let_in(server: Server) -> None:
    (server.data / "pg_hba.conf").write_text(
        "local all postgres trust\nlocal all all peer map=perdure\nhost all all 127.0.0.1/32 scram-sha-256\n"
    )
    account = getpass.getuser()
    (server.data / "pg_ident.conf").write_text("".join(f"perdure {account} {login}\n" for login in LOGINS))
    with psycopg.connect(server.dsn(), autocommit=True) as superuser:
        superuser.execute("SELECT pg_reload_conf(); CREATE ROLE dba LOGIN CREATEROLE CREATEDB PASSWORD 'dba'")
    wait_until(lambda: _answers(server), SECONDS)


def _answers(server: Server) -> bool:
    try:
        psycopg.connect(f"host=127.0.0.1 port={server.port} user=dba password=dba dbname=postgres").close()
    except psycopg.OperationalError:
        return False
    return True


def _set_up(shop: Shop) -> None:
    """As docs/operations.md says it: nobody here is a superuser."""
    with psycopg.connect(shop.dsn("dba", "postgres"), autocommit=True) as dba:
        dba.execute("CREATE DATABASE shop")
    printed = perdure("roles", "script", "--database", "shop")
    with shop.connect("dba") as dba:
        for statement in _statements(printed):
            dba.execute(cast(Any, statement))
        for role in ("perdure_owner", "perdure_worker"):
            dba.execute(cast(Any, f"ALTER ROLE {role} PASSWORD '{role}'"))
        for person in PEOPLE:
            dba.execute(cast(Any, f"CREATE ROLE {person} LOGIN PASSWORD '{person}' IN ROLE perdure_user"))
        dba.execute("CREATE ROLE clerk NOLOGIN IN ROLE perdure_user")
    perdure("migrate", "--dsn", shop.dsn("perdure_owner"))
    with shop.connect("perdure_owner") as owner:
        for line in printed.splitlines():
            if line.startswith("--   SELECT"):
                owner.execute(cast(Any, line.removeprefix("--")))


def _statements(script: str) -> list[str]:
    lines = [line.partition("--")[0] for line in script.splitlines()]
    return [statement for statement in "\n".join(lines).split(";") if statement.strip()]


def test_one_role_for_all(shop: Shop) -> None:
    with shop.worker(dsn=shop.dsn("alice")):
        assert shop.ran("alice") == ["alice", "alice"]


def test_one_role_for_everything_owns_the_database_as_well(shop: Shop) -> None:
    with psycopg.connect(shop.server.dsn(), autocommit=True) as superuser:
        superuser.execute("CREATE ROLE solo LOGIN PASSWORD 'solo'")
        superuser.execute("CREATE DATABASE solo OWNER solo")
    perdure("migrate", "--dsn", shop.dsn("solo", "solo"), "--operators", "df")
    with shop.worker(dsn=shop.dsn("solo", "solo")), psycopg.connect(shop.dsn("solo", "solo"), autocommit=True) as solo:
        instance = cast(str, value(solo, "df.start('SELECT 1')"))
        assert eventually_status(solo, instance, "completed", SECONDS) == "completed"


def test_a_template_and_a_passfile(shop: Shop) -> None:
    passfile = shop.file("pass", "".join(f"*:*:*:{login}:{login}\n" for login in LOGINS))
    template = f"{shop.tcp} user={{role}} dbname={{database}} passfile={passfile}"
    with shop.worker("--role-dsn", template, dsn=f"{shop.tcp} user=perdure_worker dbname=shop passfile={passfile}"):
        for person in PEOPLE:
            assert shop.ran(person) == [person, person]


def test_a_service_file(shop: Shop) -> None:
    services = [f"[{login}]\nhost=127.0.0.1\nport={shop.server.port}\npassword={login}\n" for login in LOGINS]
    env = {"PGSERVICEFILE": str(shop.file("services", "".join(services)))}
    template = "service={role} user={role} dbname={database}"
    with shop.worker("--role-dsn", template, dsn="service=perdure_worker user=perdure_worker dbname=shop", env=env):
        for person in PEOPLE:
            assert shop.ran(person) == [person, person]


def test_peer(shop: Shop) -> None:
    """The server's ident map lets the worker's account log in as these roles."""
    socket = f"host={shop.server.socket_directory} port={shop.server.port}"
    if not os.access(shop.server.socket_directory, os.X_OK):
        pytest.skip("the server's socket is not for this account")
    template = f"{socket} user={{role}} dbname={{database}}"
    with shop.worker("--role-dsn", template, dsn=f"{socket} user=perdure_worker dbname=shop"):
        for person in PEOPLE:
            assert shop.ran(person) == [person, person]


def test_proxy_logins_by_an_administrator_who_is_no_superuser(shop: Shop) -> None:
    passfile = shop.folder / "proxies"
    enable = ("--passfile", str(passfile), "--dsn", shop.dsn("dba"))
    refused = CliRunner().invoke(command, ["roles", "enable", "clerk", *enable])
    assert "dba is not a member of perdure_owner, the owner of schema df" in refused.output
    with shop.connect("dba") as dba:
        dba.execute("GRANT perdure_owner TO dba")
    assert "dfx_clerk was made" in perdure("roles", "enable", "clerk", *enable)
    assert "dfx_alice was made" in perdure("roles", "enable", "alice", *enable)  # whose password is her own business
    first = passfile.read_text()
    assert "clerk  dfx_clerk" in perdure("roles", "list", "--dsn", shop.dsn("perdure_owner"))
    with shop.worker("--role-dsn", shop.tcp, "--passfile", str(passfile)):
        assert shop.ran("clerk") == ["clerk", "dfx_clerk"]
        assert shop.ran("alice") == ["alice", "dfx_alice"]
        assert "dfx_clerk has a new password" in perdure("roles", "enable", "clerk", *enable)
        assert passfile.read_text() != first
        with psycopg.connect(shop.server.dsn(), autocommit=True) as superuser:
            superuser.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'dfx_clerk'")
        assert shop.ran("clerk") == ["clerk", "dfx_clerk"]
    for role in ("clerk", "alice"):
        perdure("roles", "disable", role, *enable)
    assert passfile.read_text() == ""
    with shop.connect("perdure_owner") as owner:
        assert value(owner, "count(*) FROM pg_roles WHERE starts_with(rolname, 'dfx_')") == 0


def test_a_worker_for_each_role(shop: Shop) -> None:
    template = f"{shop.tcp} user={{role}} password={{role}}"
    with shop.worker("--role-dsn", template, "--only-role", "bob"), shop.connect("alice") as alice:
        assert shop.ran("bob") == ["bob", "bob"]
        instance = cast(str, value(alice, "df.start('SELECT 1')"))
        assert shop.ran("bob") == ["bob", "bob"]
        assert value(alice, "df.status(%s)", instance) == "pending"
        reason = value(alice, "(SELECT min(reason) FROM df.waiting(%s))", instance)
        assert reason == "no worker that serves this workflow is alive"
        value(alice, "df.cancel(%s)", instance)
