"""A stage for scripts written as pg_durable's users write them: psql, a user, and a worker that is there.

Two kinds of place. ``superuser``: the schema is a superuser's and the worker logs in as one, as pg_durable's does,
    with
workflows of superusers allowed. ``service``: owner and worker are ordinary roles.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cluster import (
    OWNER,
    PASSWORD,
    WORKER,
    Cluster,
    Database,
    Workers,
    clean_environment,
    copy_template,
    drop_database,
    make_roles,
    numbered,
)
from perdure import binaries
from perdure.schema import frozen, migrate
from waiting import wait_until

USER = "df_e2e_user"
SUPERUSER = ""  # the role of the cluster's own DSN
_names = numbered("perdure_stage")
# For what does not depend on who the worker is.
as_superuser = pytest.mark.parametrize("stage", ["superuser"], indirect=True, scope="session")


class ScriptFailed(AssertionError):
    """psql stopped at an error; the message is what it said."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A database with a worker, and psql to talk to it."""

    database: Database
    workers: Workers
    superuser: bool

    def dsn(self, role: str = USER) -> str:
        """A connection string for a role, or for the superuser."""
        return self.database.dsn(role) if role else self.database.admin_dsn

    def run(self, script: str, role: str = USER, seconds: float = 90) -> str:
        """What a script prints, unaligned and without headings. Raises ``ScriptFailed`` at its first error."""
        done = self._psql(script, role, seconds)
        if done.returncode != 0:
            raise ScriptFailed(f"{done.stderr}\n{self.workers.started[-1].log[-3000:]}")
        return done.stdout.strip()

    def refused(self, script: str, role: str = USER, seconds: float = 90) -> str:
        """What psql says of the error in a script, SQLSTATE included."""
        done = self._psql(script, role, seconds)
        assert done.returncode != 0, f"no error, but {done.stdout!r}"
        return done.stderr

    def _psql(self, script: str, role: str, seconds: float) -> subprocess.CompletedProcess[str]:
        worker = self.workers.started[-1]
        assert worker.process.poll() is None, f"the worker has ended:\n{worker.log}"
        options = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose"]
        return subprocess.run(
            [binaries.psql(), *options, "-d", self.dsn(role), "-f", "-"],
            input=script,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            env=clean_environment(),
        )

    def ended(self, workflow: str, status: str = "completed", role: str = USER, before: str = "") -> str:
        """Start a workflow (an SQL expression) and wait for its end, which must be this one; its id."""
        return str(self._played(workflow, status, role, before)["id"])

    def result(self, workflow: str, role: str = USER, before: str = "") -> Any:
        """The result of a workflow that completes."""
        return self._played(workflow, "completed", role, before)["result"]

    def _played(self, workflow: str, status: str, role: str, before: str) -> dict[str, Any]:
        shown = self.run(
            f"""
            {before}
            SELECT df.start({workflow}, 'my-label') AS i \\gset
            SELECT df.await_instance(:'i', 60) AS s \\gset
            SELECT json_build_object('id', :'i', 'status', :'s', 'result', df.result(:'i')::json,
                                     'output', (SELECT output FROM df.instance_info(:'i')));
            """,
            role,
        )
        found: dict[str, Any] = json.loads(shown.splitlines()[-1])
        assert found["status"] == status, f"{found}\n{self.workers.started[-1].log[-3000:]}"
        return found

    def row(self, workflow: str, role: str = USER, before: str = "") -> dict[str, Any]:
        """The first row of the result of a workflow that completes."""
        found: dict[str, Any] = self.result(workflow, role, before)["rows"][0]
        return found

    def output(self, instance: str, role: str = USER) -> str:
        """What ``df.instance_info`` tells as the outcome."""
        return self.run(f"SELECT output FROM df.instance_info('{instance}')", role)

    def nothing_left(self, instance: str) -> None:
        """Wait until no step, timer or wait of an instance is left: nothing of it can happen any more."""
        left = (
            "SELECT (SELECT count(*) FROM df_engine.tasks WHERE instance_id = %(i)s)"
            " + (SELECT count(*) FROM df_engine.timers WHERE instance_id = %(i)s)"
        )
        with self.admin() as admin:
            wait_until(lambda: admin.execute(left, {"i": instance}).fetchone() == (0,), 30, "no work to be left")

    def is_ready(self) -> bool:
        """Whether a worker has registered, asked as set-up scripts do."""
        with self.admin() as admin:
            ready = admin.execute("SELECT schema_version >= 1 FROM df._worker_ready").fetchone()
        assert ready or self.workers.started[-1].process.poll() is None, self.workers.started[-1].log
        return ready is not None

    def admin(self) -> psycopg.Connection[Any]:
        """A superuser's connection in autocommit."""
        return self.database.admin()

    def make_role(self, name: str, *, grant: bool = True, options: str = "LOGIN") -> None:
        """A role that any worker of the tests can log in as; what is left of an earlier one goes first."""
        with self.admin() as admin:
            self.drop_role(name)
            role = sql.Identifier(name)
            admin.execute(sql.SQL(cast(Any, f"CREATE ROLE {{}} {options} PASSWORD {{}}")).format(role, PASSWORD))
            admin.execute(sql.SQL("GRANT CREATE, USAGE ON SCHEMA public, playground TO {}").format(role))
            if grant:
                admin.execute("SELECT df.grant_usage(%s, include_http => true)", [name])

    def drop_role(self, name: str) -> None:
        """Drop a role if it is there, with what it owns."""
        with self.admin() as admin:
            if admin.execute("SELECT FROM pg_roles WHERE rolname = %s", [name]).fetchone() is not None:
                admin.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
                admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@contextlib.contextmanager
def running_stage(
    cluster: Cluster, template: str, kind: str, folder: Path, *arguments: str, **settings: str
) -> Iterator[Stage]:
    """A place of this kind with one worker; ``settings`` as in ``df.settings``."""
    name = next(_names)
    make_roles(cluster)
    try:
        database = (
            _superusers_database(cluster, name) if kind == "superuser" else copy_template(cluster, template, name)
        )
        stage = Stage(database, Workers(database, folder), kind == "superuser")
        _furnish(stage, {"enable_superuser_instances": "on", **settings})
        dsn = database.admin_dsn if stage.superuser else database.dsn(WORKER)
        roles = ("--role-dsn", _role_dsn(database, folder)) if cluster.with_password or not stage.superuser else ()
        stage.workers.start(*roles, *arguments, dsn=dsn)
        try:
            wait_until(stage.is_ready, 30, "a worker to be there")
            yield stage
        finally:
            stage.workers.stop()
    finally:
        drop_database(cluster, name)


def _role_dsn(database: Database, folder: Path) -> str:
    """How to log in as any role, the superuser included, whose password is not that of the tests' roles."""
    if not database.cluster.with_password:
        return database.role_dsn
    own = conninfo_to_dict(database.admin_dsn)
    passwords = folder / "passwords"
    passwords.write_text(f"*:*:*:{own.get('user')}:{own.get('password')}\n*:*:*:*:{PASSWORD}\n", "utf-8")
    passwords.chmod(0o600)
    parts = {**conninfo_to_dict(database.role_dsn), "passfile": str(passwords)}
    parts.pop("password", None)
    return make_conninfo("", **cast(dict[str, Any], parts))


def _superusers_database(cluster: Cluster, name: str) -> Database:
    with cluster.admin() as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    with tempfile.TemporaryDirectory() as folder:
        migrate.upgrade(cluster.dsn(name), operators="public", frozen_root=frozen.freeze_apart(Path(folder)))
    return Database(cluster, name)


def _furnish(stage: Stage, settings: dict[str, str]) -> None:
    """What the reference's set-up file makes: the user with HTTP, a playground, dblink."""
    with stage.admin() as admin:
        for name, value in settings.items():
            admin.execute("UPDATE df.settings SET value = %s WHERE name = %s", [value, name])
        if admin.execute("SELECT FROM pg_roles WHERE rolname = %s", [USER]).fetchone() is None:
            admin.execute(cast(Any, f"CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'"))
        admin.execute("CREATE SCHEMA IF NOT EXISTS playground")
        admin.execute(cast(Any, f"GRANT ALL ON SCHEMA playground, public TO {USER}"))
        if not stage.superuser:
            admin.execute(cast(Any, f"GRANT USAGE ON SCHEMA playground TO {OWNER}"))
        admin.execute("CREATE EXTENSION IF NOT EXISTS dblink")
        admin.execute("SELECT df.grant_usage(%s, include_http => true)", [USER])
