"""``perdure migrate`` while workers and users go on: nothing fails, and nobody waits for long.

``PERDURE_MIGRATIONS=50 PERDURE_RESTARTS=30 pytest tests/upgrades/test_migrating.py -s`` for longer; each run prints its
seed (PERDURE_SEED).
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click import ClickException

from chaos.load import Load, settle
from chaos.nursery import Child, Nursery, nursery
from cluster import OWNER, WORKER, Database, Workers, clean_environment
from migrations.test_catalogue import catalogue
from perdure.cli import migration
from perdure.schema import fingerprint, locks
from upgrades.clients import Clients
from upgrades.releases import NEW, OLD, Release, registered, upgraded
from waiting import eventually_status, wait_until

pytestmark = pytest.mark.timeout(400)
MIGRATIONS = int(os.environ.get("PERDURE_MIGRATIONS", "2"))
RESTARTS = int(os.environ.get("PERDURE_RESTARTS", "2"))
SEED = int(os.environ.get("PERDURE_SEED", "1"))
FLEET = ("--slots", "2", "--http-slots", "1", "--lease-seconds", "8", "--poll-seconds", "0.5")
NEXT: dict[str, Any] = {"slots": 2, "http_slots": 1, "lease_seconds": 8.0, "poll_seconds": 0.5}
MIGRATING = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted"


@pytest.fixture
def work(installed: Database) -> Iterator[Load]:
    """Mixed workflows all the time."""
    made = Load(installed, SEED)
    made.prepare()
    yield made
    made.stopping.set()


@pytest.fixture
def clients(installed: Database) -> Iterator[Clients]:
    """Users all the time."""
    made = Clients(installed, SEED)
    yield made
    made.stopping.set()


def work_goes_on(admin: Any) -> None:
    """Returns after something has been done from now on."""
    query = "SELECT count(*) FROM df_engine.history WHERE kind = 'ActivityCompleted'"
    before = admin.execute(query).fetchone()
    wait_until(lambda: admin.execute(query).fetchone() != before, 60, "work that goes on")


def failed_attempts(admin: Any) -> list[Any]:
    """Attempts that failed otherwise than the load's own steps do now and then."""
    query = "SELECT payload FROM df_engine.history WHERE kind = 'ActivityAttemptFailed' AND payload NOT LIKE %s"
    rows: list[Any] = admin.execute(query, ["%not now%"]).fetchall()
    return rows


def pretend_other_functions(admin: Any) -> None:
    """The database says of itself that its functions are of another state; all are created anew then."""
    made = fingerprint.of_frozen()
    admin.execute(f"COMMENT ON SCHEMA df_engine IS 'perdure: tables {made.tables}, functions {'0' * 16}'")


@pytest.mark.timeout(max(400, MIGRATIONS * 30))
def test_functions_are_created_anew_under_load(
    installed: Database, fleet: Workers, work: Load, clients: Clients
) -> None:
    """Every function, view and trigger, again and again, while workers run and users call them."""
    running = [registered(installed, fleet.start(*FLEET)) for _ in range(2)]
    work.begin()
    clients.begin()
    with installed.admin() as admin:
        for _ in range(MIGRATIONS):
            work_goes_on(admin)
            pretend_other_functions(admin)
            assert "its functions brought up to date" in migration.run(installed.dsn(OWNER), "public")
        work_goes_on(admin)
        work.end()
        print(f"{MIGRATIONS} migrations, seed {SEED}: {clients.end()}, {settle(installed, work)}")
        print(f"a user waited for {clients.slowest:.1f} s at most")
        assert failed_attempts(admin) == []
    assert all(worker.process.poll() is None for worker in running)


@pytest.fixture
def next_workers(next_perdure: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nursery]:
    """Starts workers of the next release, quickly."""
    monkeypatch.setenv("PYTHONPATH", next_perdure.environment["PYTHONPATH"])
    with nursery(tmp_path / "next") as running:
        monkeypatch.undo()
        yield running
        for child in running.children[-5:]:  # shown where the test failed
            print(f"--- {child.log_path.name}\n{child.log[-5000:]}")


@pytest.mark.heavy
@pytest.mark.timeout(max(400, RESTARTS * 60))
def test_rolling_upgrade_under_load(
    installed: Database,
    fleet: Workers,
    work: Load,
    clients: Clients,
    next_perdure: Release,
    next_workers: Nursery,
) -> None:
    """Migrate (twice at once), then put a new worker in the place of each old one, and of those again and again."""
    old = [registered(installed, fleet.start(*FLEET)) for _ in range(2)]
    work.begin()
    clients.begin()
    with installed.admin() as admin:
        work_goes_on(admin)
        _migrate_twice_at_once(next_perdure, installed)
        new: list[Child] = []
        for _ in range(RESTARTS):
            new.append(registered(installed, next_workers.start(installed.dsn(WORKER), installed.role_dsn, **NEXT)))
            work_goes_on(admin)
            if old:
                assert old.pop(0).terminate(60) == 0
            else:
                _restart(new.pop(0))
        work.end()
        print(f"{RESTARTS} restarts, seed {SEED}: {clients.end()}, {settle(installed, work)}")
        print(f"a user waited for {clients.slowest:.1f} s at most")
        assert failed_attempts(admin) == []
        begun = "SELECT interpreter, count(*) FROM df_engine.instances GROUP BY 1 ORDER BY 1"
        print(f"workflows by interpreter: {dict(admin.execute(begun).fetchall())}")


def _restart(worker: Child) -> None:
    worker.send(signal.SIGTERM)
    worker.gone(60)
    assert worker.log.rstrip().endswith("worker stopped"), worker.log


def _migrate_twice_at_once(release: Release, database: Database) -> None:
    command = [sys.executable, "-m", "perdure", "migrate", "--dsn", database.dsn(OWNER)]
    environment = clean_environment(release.environment)
    both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said


def test_two_migrations_at_once_install_once(installed: Database, next_perdure: Release) -> None:
    _migrate_twice_at_once(next_perdure, installed)
    with installed.admin() as admin:
        assert admin.execute("SELECT version_num FROM df_engine.alembic_version").fetchall() == [(NEW,)]


def test_open_transaction_holds_up_the_migration_and_nobody_else(installed: Database, next_perdure: Release) -> None:
    """While a transaction that has started a workflow stays open, the migration tries; others start theirs."""
    with installed.connect("alice", autocommit=False) as opened, installed.admin() as admin:
        row = opened.execute("SELECT df.start('SELECT 1')").fetchone()
        assert row is not None
        command = [sys.executable, "-m", "perdure", "migrate", "--dsn", installed.dsn(OWNER)]
        migrating = subprocess.Popen(command, env=clean_environment(next_perdure.environment))
        wait_until(lambda: admin.execute(MIGRATING).fetchone(), 60, "a migration that has begun")
        with installed.connect("alice") as alice:
            for _ in range(20):
                alice.execute("SELECT df.start('SELECT 1')")
        assert migrating.poll() is None
        assert admin.execute("SELECT version_num FROM df_engine.alembic_version").fetchone() == (OLD,)
        opened.commit()
        assert migrating.wait(60) == 0
        assert admin.execute("SELECT interpreter FROM df_engine.instances WHERE instance_id = %s", row).fetchone() == (
            1,
        )


def test_migration_gives_up_and_names_who_is_in_the_way(installed: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "PATIENCE", 0.5)
    with installed.connect("alice", autocommit=False) as opened, installed.admin() as admin:
        opened.execute("SELECT df.start('SELECT 1')")
        pretend_other_functions(admin)
        before = catalogue(admin)
        with pytest.raises(ClickException) as refused:
            migration.run(installed.dsn(OWNER), "public")
        assert re.search(rf"process {opened.info.backend_pid} of alice.*migrate again", str(refused.value))
        assert catalogue(admin) == before
        opened.rollback()
        assert "brought up to date" in migration.run(installed.dsn(OWNER), "public")


def test_step_that_takes_long_does_not_hold_up_a_migration(
    installed: Database, fleet: Workers, next_perdure: Release
) -> None:
    """Both forms of a step; each goes on after the migration and is done once."""
    registered(installed, fleet.start(*FLEET))
    steps = (
        "'INSERT INTO done SELECT 1 FROM pg_advisory_xact_lock(4711)' & 'SELECT pg_advisory_xact_lock(4711) IS NULL'"
    )
    blocked = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted"
    with installed.admin() as admin, installed.connect("alice") as alice:
        with admin.transaction():
            admin.execute("SELECT pg_advisory_xact_lock(4711)")
            row = alice.execute(f"SELECT df.start({steps})").fetchone()
            assert row is not None
            wait_until(lambda: alice.execute(blocked).fetchone() == (2,), 60, "both steps to run")
            upgraded(next_perdure, installed)
            assert alice.execute(blocked).fetchone() == (2,)
        eventually_status(alice, row[0], "completed", 60)
        assert alice.execute("SELECT count(*) FROM done").fetchone() == (1,)
        assert failed_attempts(admin) == []
