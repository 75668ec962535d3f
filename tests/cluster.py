"""The PostgreSQL that the tests run on, and the databases and workers they get.

Order: ``PERDURE_TEST_DSN`` (a superuser's), the programs named by ``PERDURE_TEST_BINARIES``, a container where a Docker
engine answers within two seconds (``PERDURE_TEST_DOCKER=0`` skips it), else the embedded programs.
``PERDURE_TEST_FSYNC=off`` makes the server faster and careless.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from perdure import binaries
from perdure.schema import frozen, migrate
from perdure.server import Server
from waiting import wait_until

OWNER, WORKER, USERS = "perdure_owner", "perdure_worker", ("alice", "bob")
PASSWORD = "perdure"  # asked for only where the server was given to us
SERVER_OPTIONS = {"max_connections": "200", "max_wal_size": "2GB", "log_min_messages": "warning", "jit": "off"}

# Otherwise whoever may create schemas may create the extensions that are marked as trusted.
_NO_EXTENSIONS = """
    CREATE SCHEMA dba;
    CREATE FUNCTION dba.refuse_extensions() RETURNS event_trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
    BEGIN
        IF NOT (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = current_user) THEN
            RAISE EXCEPTION 'permission denied to create an extension' USING ERRCODE = '42501';
        END IF;
    END $$;
    CREATE EVENT TRIGGER refuse_extensions ON ddl_command_start WHEN TAG IN ('CREATE EXTENSION', 'ALTER EXTENSION')
        EXECUTE FUNCTION dba.refuse_extensions()
"""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running server: the superuser's connection string, and whether roles need a password.

    ``server`` is there where the server is ours, and may be stopped and started by a test that owns it.
    """

    admin_dsn: str
    with_password: bool = False
    server: Server | None = None

    def dsn(self, database: str, role: str | None = None) -> str:
        """A connection string for a role; without one, the superuser's."""
        parts = cast(dict[str, Any], conninfo_to_dict(self.admin_dsn, dbname=database))
        if role is not None:
            parts.pop("password", None)
            parts["user"] = role
            if self.with_password:
                parts["password"] = PASSWORD
        return make_conninfo("", **parts)

    def admin(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """A superuser's connection in autocommit."""
        return psycopg.connect(self.dsn(database), autocommit=True)


@dataclass(frozen=True, slots=True)
class Database:
    """A fresh database with the schema installed."""

    cluster: Cluster
    name: str

    def dsn(self, role: str = "alice") -> str:
        """A connection string for a role: alice, bob, perdure_owner, perdure_worker or one that the test made."""
        return self.cluster.dsn(self.name, role)

    @property
    def admin_dsn(self) -> str:
        """The superuser's connection string."""
        return self.cluster.dsn(self.name)

    @property
    def role_dsn(self) -> str:
        """The template by which a worker logs in as other roles."""
        return self.cluster.dsn(self.name, "{role}")

    def connect(self, role: str = "alice", *, autocommit: bool = True, **options: Any) -> psycopg.Connection[Any]:
        """A connection as ``role``; the caller closes it (``with``)."""
        return psycopg.connect(self.dsn(role), autocommit=autocommit, **options)

    def admin(self) -> psycopg.Connection[Any]:
        """A superuser's connection in autocommit."""
        return self.cluster.admin(self.name)


@dataclass(slots=True)
class WorkerProcess:
    """A real ``perdure worker``."""

    process: subprocess.Popen[bytes]
    log_path: Path

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self.log_path.read_text("utf-8", "replace")

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait(10)

    def terminate(self, seconds: float = 15) -> int:
        """Ask it to finish what it holds and go; answers its exit code."""
        self.process.terminate()
        return self.process.wait(seconds)

    def freeze(self) -> None:
        """Stop its clock: it is alive and does nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)


@dataclass(slots=True)
class Workers:
    """Starts workers on one database and ends those that are left: ``start()``, ``start("--slots", "2")``."""

    database: Database
    folder: Path
    started: list[WorkerProcess] = field(default_factory=list)

    def start(self, *arguments: str, dsn: str | None = None, env: dict[str, str] | None = None) -> WorkerProcess:
        """Start a worker as the worker's login, with more arguments and environment if given."""
        log_path = self.folder / f"worker-{len(self.started)}.log"
        command = [sys.executable, "-m", "perdure", "worker", "--dsn", dsn or self.database.dsn(WORKER)]
        if dsn is None:
            command += ["--role-dsn", self.database.role_dsn]
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                [*command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=clean_environment(env),
            )
        worker = WorkerProcess(process, log_path)
        self.started.append(worker)
        return worker

    def stop(self) -> None:
        """End every worker that still runs."""
        running = [worker for worker in self.started if worker.process.poll() is None]
        for worker in running:
            worker.thaw()
            worker.process.terminate()
        for worker in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.process.wait(5)
            worker.kill()


@contextlib.contextmanager
def workers_on(database: Database, folder: Path) -> Iterator[Workers]:
    """Starts workers on a database, and ends all of them; what they wrote is shown by pytest where a test failed."""
    started = Workers(database, folder)
    try:
        yield started
    finally:
        started.stop()
        for worker in started.started:
            print(f"--- {worker.log_path.name} (exit code {worker.process.returncode})\n{worker.log}")


def clean_environment(more: dict[str, str] | None = None) -> dict[str, str]:
    """The environment for programs under test: ours without what would point them to another server."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "PERDURE_"))}
    return {**kept, "PYTHONUNBUFFERED": "1", **(more or {})}


@contextlib.contextmanager
def running_cluster() -> Iterator[Cluster]:
    """The server for a session of tests, in the order said at the head of this module."""
    given = os.environ.get("PERDURE_TEST_DSN")
    if given:
        yield Cluster(given, with_password=True)
    elif not os.environ.get("PERDURE_TEST_BINARIES") and _docker_answers():
        with _container() as dsn:
            yield Cluster(dsn, with_password=True)
    else:
        with own_server() as server:
            yield Cluster(server.dsn(), server=server)


@contextlib.contextmanager
def own_server(**options: str) -> Iterator[Server]:
    """A server of our own in a temporary directory: gone at the end, with its data."""
    home = Path(tempfile.mkdtemp(prefix="perdure-test-"))
    account = binaries.server_account()
    if not account.is_me:
        os.chown(home, account.uid, account.gid)
    found = binaries.find(os.environ.get("PERDURE_TEST_BINARIES"))
    programs = binaries.reachable(found, account, home / "programs")
    durable = os.environ.get("PERDURE_TEST_FSYNC") != "off"
    server = Server(home, programs, account, durable=durable, options={**SERVER_OPTIONS, **options})
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(server.socket_directory, ignore_errors=True)
        shutil.rmtree(home, ignore_errors=True)


def make_template(cluster: Cluster, name: str) -> None:
    """A database owned by an ordinary role, migrated by it to the SQL as it is being edited, with two users."""
    make_roles(cluster)
    make_database(cluster, name)
    with tempfile.TemporaryDirectory() as folder:
        migrate.upgrade(cluster.dsn(name, OWNER), operators="public", frozen_root=frozen.freeze_apart(Path(folder)))
    with psycopg.connect(cluster.dsn(name, OWNER), autocommit=True) as owner:
        for user in USERS:
            _call_if_there(owner, "df.grant_usage", user, f"SELECT df.grant_usage('{user}')")
        _call_if_there(owner, "df.grant_worker", WORKER, f"SELECT df.grant_worker('{WORKER}')")


def make_roles(cluster: Cluster) -> None:
    """The roles of the tests, none of them a superuser; those that are there stay."""
    with cluster.admin() as admin:
        for role in (OWNER, WORKER, *USERS):
            if admin.execute("SELECT FROM pg_roles WHERE rolname = %s", [role]).fetchone() is None:
                statement = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role), PASSWORD)
                admin.execute(statement)


def make_database(cluster: Cluster, name: str) -> None:
    """An empty database owned by the tests' owner, where the users may make tables, as they may on PostgreSQL 14.

    Its owner is as little as an owner can be: nobody but a superuser can create extensions there.
    """
    with cluster.admin() as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(OWNER)))
    with cluster.admin(name) as admin:
        admin.execute(f"GRANT CREATE ON SCHEMA public TO {OWNER}, {', '.join(USERS)}")
        admin.execute(_NO_EXTENSIONS)


def drop_database(cluster: Cluster, name: str) -> None:
    """Drop a database and end whoever is connected."""
    with cluster.admin() as admin:
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def numbered(prefix: str) -> Iterator[str]:
    """Names of databases that no other session of tests on the same server has."""
    return (f"{prefix}_{os.getpid()}_{number}" for number in itertools.count(1))


def copy_template(cluster: Cluster, template: str, name: str) -> Database:
    """A copy of the template; waits for sessions on the template to go."""

    def copied() -> bool:
        try:
            with cluster.admin() as admin:
                names = sql.Identifier(name), sql.Identifier(template), sql.Identifier(OWNER)
                admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(*names))
        except psycopg.errors.ObjectInUse:
            return False
        return True

    wait_until(copied, 30)
    return Database(cluster, name)


def _call_if_there(connection: psycopg.Connection[Any], function: str, _role: str, statement: str) -> None:
    schema, _, name = function.partition(".")
    known = "SELECT FROM pg_proc WHERE proname = %s AND pronamespace = to_regnamespace(%s)"
    if connection.execute(known, [name, schema]).fetchone() is not None:
        connection.execute(cast(Any, statement))


def _docker_answers() -> bool:
    if os.environ.get("PERDURE_TEST_DOCKER") == "0" or shutil.which("docker") is None:
        return False
    try:
        answer = subprocess.run(["docker", "info"], capture_output=True, timeout=2, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0


@contextlib.contextmanager
def _container() -> Iterator[str]:
    from testcontainers.postgres import PostgresContainer

    image = os.environ.get("PERDURE_TEST_IMAGE", "postgres:17")
    with PostgresContainer(image, driver=None).with_command("postgres -c max_connections=200") as container:
        yield container.get_connection_url()
