"""A database with two victims and one attacker, a real worker, and the table of what was tried.

``mallory`` is a user like any other. What she tries is done with her own login, in the steps of her own workflows, or in
objects that she owns. A breach is: code of hers that ran with rights which are not hers, a row of somebody else that she
read or changed, an engine that does not go on. ``make attacks`` prints every attack with what was expected and seen.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest

from asking import value
from cluster import Cluster, Database, Workers, copy_template, drop_database, numbered
from perdure.eventstore.engine import new_token
from waiting import ENDED, eventually_status

_names = numbered("perdure_attack")
ROWS: list[tuple[str, str, str]] = []
MALLORY = ("mallory", "mallet")  # mallet cannot log in; dfx_mallet stands in for her

SETUP = """
    CREATE SCHEMA alice AUTHORIZATION alice;
    CREATE SCHEMA mallory AUTHORIZATION mallory;
    GRANT CREATE ON SCHEMA public TO mallory;
    GRANT mallory TO mallet;
    SET ROLE alice;
    CREATE TABLE alice.secret (s text);
    INSERT INTO alice.secret VALUES ('alice-secret');
    CREATE TABLE alice.done (label text, by_whom name DEFAULT session_user, acting name DEFAULT current_user);
    SET ROLE mallory;
    GRANT USAGE ON SCHEMA mallory TO PUBLIC;
    CREATE TABLE mallory.log (at timestamptz DEFAULT clock_timestamp(), session name DEFAULT session_user,
                              acting name DEFAULT current_user, loot text, note text);
    GRANT INSERT ON mallory.log TO PUBLIC;
    -- What there is to get, tried with whatever rights the caller has now. An empty text is nothing.
    CREATE FUNCTION mallory.grab(note text DEFAULT '') RETURNS text LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
    DECLARE
        loot text := '';
    BEGIN
        BEGIN
            loot := loot || (SELECT 'SECRET ' FROM alice.secret LIMIT 1);
        EXCEPTION WHEN OTHERS THEN NULL; END;
        BEGIN
            loot := loot || (SELECT 'TOKENS ' FROM df_engine.tasks LIMIT 1);
        EXCEPTION WHEN OTHERS THEN NULL; END;
        BEGIN
            loot := loot || (SELECT 'WORKERS ' FROM df_engine.workers LIMIT 1);
        EXCEPTION WHEN OTHERS THEN NULL; END;
        BEGIN
            INSERT INTO df_engine.proxies VALUES ('mallory', 'alice');
            loot := loot || 'PROXY ';
        EXCEPTION WHEN OTHERS THEN NULL; END;
        BEGIN
            IF session_user NOT IN ('mallory', 'mallet', 'dfx_mallet')
               OR current_user NOT IN ('mallory', 'mallet', 'dfx_mallet') THEN
                loot := loot || 'IDENTITY ' || session_user || '/' || current_user;
            END IF;
        END;
        BEGIN
            INSERT INTO mallory.log (loot, note) VALUES (loot, note);
        EXCEPTION WHEN OTHERS THEN NULL; END;
        RETURN loot;
    END $$;
    RESET ROLE;
"""


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The table; to a file as well, as markdown, where PERDURE_ATTACK_TABLE names one."""
    if not ROWS:
        return
    lines = ["| attack | expected | seen |", "|---|---|---|", *(f"| {a} | {e} | {s} |" for a, e, s in ROWS)]
    if "attacks" in str(terminalreporter.config.getoption("markexpr")):
        terminalreporter.section("attacks")
        for line in lines:
            terminalreporter.write_line(line)
    target = os.environ.get("PERDURE_ATTACK_TABLE")
    if target:
        Path(target).write_text("\n".join(lines) + "\n", "utf-8")


@dataclass
class Scene:
    """One database with its worker, shared by the attacks of a module."""

    database: Database
    workers: Workers
    checks: bool = True
    open: list[psycopg.Connection[Any]] = field(default_factory=list)

    def connect(self, role: str = "mallory", **options: Any) -> psycopg.Connection[Any]:
        """A connection, closed at the end of the test."""
        connection = self.database.connect(role, **options)
        self.open.append(connection)
        return connection

    def admin(self) -> psycopg.Connection[Any]:
        connection = self.database.admin()
        self.open.append(connection)
        return connection

    def close(self) -> None:
        for connection in self.open:
            with contextlib.suppress(psycopg.Error):
                connection.close()
        self.open.clear()

    def run(self, *steps: str, role: str = "mallory", seconds: float = 25) -> str:
        """Run statements as steps of a workflow of this role; how it ended, with its error."""
        with self.as_role(role) as connection:
            started = self.start(connection, *steps)
            return self.end(connection, started, seconds)

    @contextlib.contextmanager
    def as_role(self, role: str) -> Iterator[psycopg.Connection[Any]]:
        """A session of the role, which may have no login of its own."""
        if role == "mallet":
            with self.database.admin() as connection:
                connection.execute("SET ROLE mallet")
                yield connection
        else:
            usual = "-c statement_timeout=0 -c default_transaction_read_only=off -c search_path=public"
            with self.database.connect(role, options=usual) as connection:
                yield connection

    def start(self, connection: psycopg.Connection[Any], *steps: str) -> str:
        graph = value(connection, "df.sql(%s)", steps[0])
        for step in steps[1:]:
            graph = value(connection, "df.seq(%s, %s)", graph, step)
        return cast(str, value(connection, "df.start(%s)", graph))

    def end(self, connection: psycopg.Connection[Any], started: str, seconds: float = 25) -> str:
        status = eventually_status(connection, started, ENDED, seconds)
        error = value(connection, "(SELECT error FROM df.instances WHERE id = %s)", started)
        return status if error is None else f"{status}: {error}"

    def loot(self) -> list[Any]:
        """What mallory got; empty."""
        with self.database.admin() as admin:
            return admin.execute("SELECT loot, session, acting, note FROM mallory.log WHERE loot <> ''").fetchall()

    def healthy(self) -> None:
        """The engine goes on: alice's workflow is done as alice, at once, and everybody's rows agree."""
        with self.database.connect("alice") as alice:
            label = new_token()
            started = self.start(alice, f"INSERT INTO alice.done (label) VALUES ('{label}')")
            assert eventually_status(alice, started, "completed", 60) == "completed"
            done = alice.execute("SELECT by_whom, acting FROM alice.done WHERE label = %s", [label]).fetchall()
            assert done == [("alice", "alice")]
            assert alice.execute("SELECT s FROM alice.secret").fetchall() == [("alice-secret",)]
        assert all(worker.process.poll() is None for worker in self.workers.started), "a worker has ended"


@pytest.fixture(scope="module")
def scene(cluster: Cluster, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    name = next(_names)
    database = copy_template(cluster, template, name)
    workers = Workers(database, tmp_path_factory.mktemp("workers"))
    try:
        _make_roles(database)
        workers.start("--lease-seconds", "2", "--poll-seconds", "0.3")
        yield Scene(database, workers)
    finally:
        workers.stop()
        for worker in workers.started:
            print(f"--- {worker.log_path.name} (exit code {worker.process.returncode})\n{worker.log[-6000:]}")
        _drop_roles(database)
        drop_database(cluster, name)


def _make_roles(database: Database) -> None:
    with database.admin() as admin:
        for role in (*MALLORY, "dfx_mallet"):
            admin.execute(cast(Any, f"DROP ROLE IF EXISTS {role}"))
        admin.execute("CREATE ROLE mallory LOGIN PASSWORD 'perdure'; CREATE ROLE mallet NOLOGIN")
        admin.execute("CREATE ROLE dfx_mallet LOGIN PASSWORD 'perdure' IN ROLE mallet")
        admin.execute(
            "SELECT df.grant_usage('mallory'), df.grant_usage('mallet'), df.enable_proxy('dfx_mallet', 'mallet')"
        )
        admin.execute("UPDATE df.settings SET value = '2' WHERE name = 'retry_total_seconds'")
        admin.execute(cast(Any, SETUP))


def _drop_roles(database: Database) -> None:
    with database.admin() as admin:
        admin.execute("DELETE FROM df_engine.workers")
        for role in ("dfx_mallet", "mallet", "mallory"):
            admin.execute(cast(Any, f"DROP OWNED BY {role} CASCADE"))
        admin.execute("DROP ROLE dfx_mallet; DROP ROLE mallet; DROP ROLE mallory")


@pytest.fixture(autouse=True)
def nothing_was_gained(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each attack: no loot, and the engine goes on."""
    if "scene" not in request.fixturenames:
        yield
        return
    scene: Scene = request.getfixturevalue("scene")
    yield
    scene.close()
    assert scene.loot() == []
    scene.healthy()


Report = Callable[[str], None]


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Report:
    """Writes a row of the table: the attack is the test's docstring, or its parameter's id after it."""
    lines = (request.node.function.__doc__ or request.node.name).strip().splitlines()
    attack, _, expected = lines[0].partition(" -> ")
    which = request.node.callspec.id if hasattr(request.node, "callspec") else ""

    def write(seen: str) -> None:
        cells = [f"{attack.rstrip('.')}{': ' + which if which else ''}", expected.rstrip("."), seen]
        ROWS.append(cast(Any, tuple(" ".join(cell.replace("|", "\\|").split())[:160] for cell in cells)))

    return write


def some(attacks: Mapping[str, Any], *kept: str) -> list[Any]:
    """Parameters from attacks by name; in the short run, only those that are kept."""
    assert set(kept) <= attacks.keys()
    return [
        pytest.param(attack, id=name, marks=() if name in kept else pytest.mark.heavy)
        for name, attack in attacks.items()
    ]
