"""The embedded server: PostgreSQL with Perdure in it, for one person on one machine, made when first asked for.

It lives in one directory: ``PERDURE_HOME``, else ``/var/lib/perdure`` for root, else ``~/.local/state/perdure`` (the
XDG state directory). It has a database ``perdure`` with three logins besides the superuser ``postgres``:

    perdure_owner    owns the database and the schema; migrates
    perdure_worker   the worker's own login: claims and records, never runs a user's statement
    <your name>      an ordinary role for psql (``app`` where you are root or postgres)

Everybody who reaches its socket is trusted, and the directory of the socket can be entered by its owner only.
"""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from perdure import binaries
from perdure.server import Server, prepare_home

DATABASE = "perdure"
OWNER = "perdure_owner"
WORKER = "perdure_worker"
OPTIONS = {"max_connections": "200", "log_min_messages": "warning"}
_RESERVED = {"root", "postgres", "public", "none", OWNER, WORKER}


@dataclass(frozen=True, slots=True)
class Embedded:
    """An embedded server and the name of its ordinary role."""

    server: Server
    role: str

    def dsn(self, role: str | None = None) -> str:
        """A connection string to the database ``perdure``; without a role, for the ordinary one."""
        return self.server.dsn(role or self.role, DATABASE)

    def up(self) -> None:
        """Start the server if it does not run, make what is missing and migrate. Doing it again changes nothing.

        Raises ``ServerError``, and what the migration raises.
        """
        self.server.start()
        self._make_roles()
        self._make_database()
        self._install()

    def psql(self) -> str:
        """The line that opens psql as the ordinary role."""
        program = shutil.which("psql") or self.server.binaries.program("psql")
        place = f"-h {shlex.quote(str(self.server.socket_directory))}"
        port = "" if self.server.port == 5432 else f" -p {self.server.port}"
        name = "psql" if shutil.which("psql") else shlex.quote(program)
        return f"{name} {place}{port} -U {shlex.quote(self.role)} {DATABASE}"

    def _make_roles(self) -> None:
        with _connected(self.server.dsn()) as admin:
            for role in (OWNER, WORKER, self.role):
                if admin.execute("SELECT FROM pg_roles WHERE rolname = %s", [role]).fetchone() is None:
                    admin.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
                if self.server.tcp:
                    command = sql.SQL("ALTER ROLE {} PASSWORD {}")
                    admin.execute(command.format(sql.Identifier(role), self.server.password))

    def _make_database(self) -> None:
        with _connected(self.server.dsn()) as admin:
            if admin.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE]).fetchone() is None:
                command = sql.SQL("CREATE DATABASE {} OWNER {}")
                admin.execute(command.format(sql.Identifier(DATABASE), sql.Identifier(OWNER)))
        with _connected(self.server.dsn(database=DATABASE)) as admin:
            for role in (OWNER, self.role):
                admin.execute(sql.SQL("GRANT CREATE, USAGE ON SCHEMA public TO {}").format(sql.Identifier(role)))

    def _install(self) -> None:
        from perdure.schema import migrate  # slow to import, and not needed to find the server

        migrate.upgrade(self.dsn(OWNER), operators="public")
        with _connected(self.dsn(OWNER)) as owner:
            if _has_function(owner, "grant_usage"):
                owner.execute("SELECT df.grant_usage(%s, include_http => true)", [self.role])
            if _has_function(owner, "grant_worker"):
                owner.execute("SELECT df.grant_worker(%s)", [WORKER])
            if _one(owner, "SELECT to_regclass('df.settings') IS NOT NULL"):
                owner.execute("UPDATE df.settings SET value = 'on' WHERE name = 'enable_superuser_instances'")


def home() -> Path:
    """The directory of the embedded server, which may not exist yet."""
    named = os.environ.get("PERDURE_HOME")
    if named:
        return Path(named).expanduser().absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/perdure")
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "perdure"


def find(place: Path | None = None, *, tcp: bool = False) -> Embedded:
    """The embedded server in ``place`` (else ``home()``), started or not.

    Raises ``NoPostgres`` where this machine has no PostgreSQL, ``ServerError`` where the place cannot be used.
    """
    place = place or home()
    account = binaries.server_account()
    prepare_home(place, account)
    programs = binaries.reachable(binaries.find(), account, place / "programs")
    return Embedded(Server(place, programs, account, tcp=tcp, options=OPTIONS), ordinary_role())


def exists(place: Path | None = None) -> bool:
    """True where an embedded server has been made."""
    return ((place or home()) / "data" / "PG_VERSION").is_file()


def ordinary_role() -> str:
    """The name of whoever calls; ``app`` where that is a name with more rights or a reserved one."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        return "app"
    return "app" if name.lower() in _RESERVED or name.lower().startswith("pg_") else name


def _connected(dsn: str) -> psycopg.Connection[Any]:
    return psycopg.connect(dsn, autocommit=True)


def _has_function(connection: psycopg.Connection[Any], name: str) -> bool:
    known = "SELECT EXISTS (SELECT FROM pg_proc WHERE proname = %s AND pronamespace = to_regnamespace('df'))"
    return bool(_one(connection, known, name))


def _one(connection: psycopg.Connection[Any], statement: Any, *values: Any) -> Any:
    row = connection.execute(statement, values).fetchone()
    return None if row is None else row[0]
