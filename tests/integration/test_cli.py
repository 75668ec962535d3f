"""The command ``perdure`` as people run it: a process, its output, its exit code."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import click
import psycopg
import pytest

from cluster import OWNER, WORKER, Database, clean_environment
from perdure import binaries, embedded
from perdure.cli import target
from perdure.schema import migrate
from waiting import eventually_status, wait_until

ROOT = Path(__file__).resolve().parents[2]
BINARIES = os.environ.get("PERDURE_TEST_BINARIES") or str(binaries.find().folder)
COMMANDS = ("dev", "demo", "psql", "migrate", "worker", "status", "check", "version", "completion")


@pytest.fixture
def home() -> Iterator[Path]:
    """A place for an embedded server that the server's account can enter; stopped and removed at the end."""
    place = Path(tempfile.mkdtemp(prefix="perdure-test-"))
    account = binaries.server_account()
    if not account.is_me:
        os.chown(place, account.uid, account.gid)
    yield place
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERDURE_BINARIES", BINARIES)
        server = embedded.find(place).server
        server.stop()
        shutil.rmtree(server.socket_directory, ignore_errors=True)
    shutil.rmtree(place, ignore_errors=True)


def perdure(*arguments: str, seconds: float = 60, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "perdure", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        env=clean_environment({"PERDURE_HOME": "/nonexistent/perdure", "PERDURE_BINARIES": BINARIES, **environment}),
        check=False,
    )


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one sentence of a command that could not be carried out."""
    assert done.returncode not in (0, None), done.stdout
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("Error: "), done.stderr
    return lines[0]


def test_help_names_every_command_and_each_has_help():
    text = perdure("--help").stdout
    for command in COMMANDS:
        assert f"\n  {command} " in text
        assert "Usage:" in perdure(command, "--help").stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_completes_the_commands(shell):
    script = perdure("completion", shell)
    assert script.returncode == 0
    assert "_PERDURE_COMPLETE" in script.stdout


def test_version_names_release_and_revision():
    done = perdure("version")
    assert done.returncode == 0
    assert re.fullmatch(r"perdure \d+\.\d+\.\d+\S*, schema revision \d{4}, Python 3\.\d+\.\d+\n", done.stdout)


@pytest.mark.parametrize("command", ["migrate", "status", "worker", "psql"])
def test_without_any_server_the_ways_to_name_one_are_said(command):
    assert "--dsn, set PERDURE_DSN, or start the embedded one with `perdure dev`" in refusal(perdure(command))


@pytest.mark.parametrize("command", ["migrate", "status", "worker"])
def test_wrong_dsn_gives_one_sentence_without_the_password(cluster, command):
    assert "not a connection string" in refusal(perdure(command, "--dsn", "a=b"))
    nobody = refusal(perdure(command, "--dsn", "postgresql://me:geheim@127.0.0.1:1/shop"))
    assert "cannot connect to me@127.0.0.1:1/shop" in nobody
    assert "geheim" not in nobody
    assert "no_such_database" in refusal(perdure(command, "--dsn", cluster.dsn("no_such_database", None)))


def test_option_beats_environment(empty_database: Database):
    done = perdure("migrate", "--dsn", empty_database.dsn(OWNER), PERDURE_DSN="postgresql://127.0.0.1:1/x")
    assert done.returncode == 0, done.stderr
    assert "revision 0001 installed" in done.stdout
    again = perdure("migrate", PERDURE_DSN=empty_database.dsn(OWNER))
    assert again.returncode == 0
    assert "already at revision 0001" in again.stdout


def test_two_migrations_at_once_both_succeed(empty_database: Database):
    command = [sys.executable, "-m", "perdure", "migrate", "--dsn", empty_database.dsn(OWNER)]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=clean_environment()) for _ in range(2)]
    errors = [process.communicate(timeout=60)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    assert migrate.current(empty_database.dsn(OWNER)) == migrate.newest()


def test_script_for_a_dba_installs_the_same_through_psql(empty_database: Database, tmp_path: Path):
    script = tmp_path / "perdure.sql"
    script.write_text(perdure("migrate", "--sql").stdout, "utf-8")
    done = psql(empty_database.dsn(OWNER), "-q", "-f", str(script))
    assert done.returncode == 0, done.stderr
    assert migrate.current(empty_database.dsn(OWNER)) == migrate.newest()
    by_script = functions(empty_database)
    migrate.downgrade(empty_database.dsn(OWNER))
    assert functions(empty_database) == []
    migrate.upgrade(empty_database.dsn(OWNER))
    assert functions(empty_database) == by_script


def test_plain_alembic_goes_up_and_down_and_leaves_nothing(empty_database: Database):
    before = everything(empty_database)
    for arguments in (["upgrade", "head"], ["upgrade", "head"], ["downgrade", "base"]):
        done = subprocess.run(
            [sys.executable, "-m", "alembic", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            env=clean_environment({"PERDURE_DSN": empty_database.dsn(OWNER)}),
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert everything(empty_database) == before


def test_role_without_rights_is_told_which_are_missing(empty_database: Database):
    with empty_database.admin() as admin:
        admin.execute(f"REVOKE CREATE ON DATABASE {empty_database.name} FROM PUBLIC, alice")
    said = refusal(perdure("migrate", "--dsn", empty_database.dsn("alice")))
    assert "the role alice may not migrate" in said
    assert "it needs CREATE on the database" in said
    assert migrate.current(empty_database.dsn(OWNER)) is None


def test_operators_go_to_df_where_public_is_closed(empty_database: Database):
    with empty_database.admin() as admin:
        admin.execute("ALTER SCHEMA public OWNER TO CURRENT_USER")
        admin.execute(f"REVOKE ALL ON SCHEMA public FROM PUBLIC, {OWNER}")
    assert "--operators df" in refusal(perdure("migrate", "--dsn", empty_database.dsn(OWNER)))
    done = perdure("migrate", "--dsn", empty_database.dsn(OWNER), "--operators", "df")
    assert done.returncode == 0, done.stderr
    with empty_database.connect(OWNER) as connection:
        connection.execute("SET search_path = df")
        row = connection.execute("SELECT 'SELECT 1' ~> 'SELECT 2'").fetchone()
    assert row is not None and "THEN" in row[0]


def test_missing_older_and_newer_schema_are_told_apart(empty_database: Database):
    dsn = empty_database.dsn(OWNER)
    for command in ("status", "worker"):
        assert "has no perdure schema: run `perdure migrate` first" in refusal(perdure(command, "--dsn", dsn))
    migrate.upgrade(dsn)
    with empty_database.connect(OWNER) as connection:
        connection.execute("UPDATE df_engine.alembic_version SET version_num = '9999'")
    for command in ("status", "migrate"):
        assert "install the newer release" in refusal(perdure(command, "--dsn", empty_database.dsn(OWNER)))
    with pytest.raises(click.ClickException, match=r"revision 0001, older than 0002: run `perdure migrate`"):
        target.require_revision("0001", ("0002", "0001"))


@pytest.mark.parametrize(("number", "words"), [(130014, "PostgreSQL 13.14"), (90624, "PostgreSQL 9.624")])
def test_server_that_is_too_old_is_refused(number, words):
    with pytest.raises(click.ClickException, match=f"{words}, and perdure needs 14 or newer"):
        target.require_version(number)
    target.require_version(140000)


def test_worker_without_the_right_to_the_engine_is_told_who_can_give_it(database: Database):
    with database.admin() as admin:
        admin.execute("CREATE ROLE perdure_test_stranger LOGIN PASSWORD 'perdure'")
    try:
        said = refusal(perdure("worker", "--dsn", database.dsn("perdure_test_stranger")))
        assert "SELECT df.grant_worker('perdure_test_stranger')" in said
    finally:
        with database.admin() as admin:
            admin.execute("DROP ROLE perdure_test_stranger")


def test_worker_refuses_impossible_settings(database: Database):
    said = refusal(perdure("worker", "--dsn", database.dsn(WORKER), "--slots", "0"))
    assert "slots must be from 1 to 1000" in said


def test_status_counts_workflows_by_status(database: Database):
    empty = perdure("status", "--dsn", database.dsn(OWNER))
    assert empty.returncode == 0, empty.stderr
    assert "no workflows" in empty.stdout
    assert "no workers" in empty.stdout
    with database.connect("alice") as alice:
        alice.execute("SELECT df.start('SELECT 1')")
    text = perdure("status", "--dsn", database.dsn(OWNER)).stdout
    assert re.search(r"pending +1\n", text), text
    assert "steps and turns waiting: 1" in text


def test_psql_passes_its_arguments_on(database: Database):
    done = perdure("psql", "--dsn", database.dsn("alice"), "-Atc", "SELECT current_user")
    assert (done.returncode, done.stdout) == (0, "alice\n"), done.stderr


def test_dev_stops_cleanly_on_ctrl_c_and_goes_on_with_unfinished_work(home: Path):
    with RunningDev(home) as dev:
        dsn = dev.dsn
        with psycopg.connect(dsn, autocommit=True) as user:
            user.execute("CREATE TABLE effects (n integer)")
            steps = "'INSERT INTO effects VALUES (1)' ~> df.wait_for_signal('go') ~> 'INSERT INTO effects VALUES (2)'"
            row = user.execute(f"SELECT df.start({steps})").fetchone()
            assert row is not None
            wait_until(lambda: user.execute("SELECT FROM effects").fetchall(), 30, dev.text)
        assert "already runs" in refusal(perdure("dev", PERDURE_HOME=str(home)))
        status = perdure("status", PERDURE_HOME=str(home))
        assert "running" in status.stdout, status.stderr
        assert dev.interrupt() == 0, dev.text
    assert not answers(dsn)
    with RunningDev(home) as dev:
        with psycopg.connect(dsn, autocommit=True) as user:
            user.execute("SELECT df.signal(%s, 'go')", [row[0]])
            eventually_status(user, row[0], "completed", 30)
            assert user.execute("SELECT n FROM effects ORDER BY n").fetchall() == [(1,), (2,)]
        assert dev.interrupt(signal.SIGTERM) == 0, dev.text


def test_demo_shows_each_effect_exactly_once_and_cleans_up():
    done = perdure("demo", seconds=110)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "killed with SIGKILL" in done.stdout
    assert "each effect exactly once" in done.stdout
    place = re.search(r" in (\S+perdure-demo-\S+)", done.stdout)
    assert place is not None and not Path(place[1]).exists()


class RunningDev:
    """``perdure dev`` in a home, ready to use; killed at the end if it still runs."""

    def __init__(self, home: Path) -> None:
        self.log = home / "dev.log"
        environment = clean_environment({"PERDURE_HOME": str(home), "PERDURE_BINARIES": BINARIES})
        with self.log.open("wb") as log:
            command = [sys.executable, "-m", "perdure", "dev"]
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PERDURE_BINARIES", BINARIES)
            self.dsn = embedded.find(home).dsn()

    def __enter__(self) -> Self:
        wait_until(lambda: "worker started" in self.text or self.process.poll() is not None, 60, "dev to be ready")
        assert self.process.poll() is None, self.text
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.interrupt()

    @property
    def text(self) -> str:
        """What it has printed."""
        return self.log.read_text("utf-8", "replace")

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> int:
        """Send Ctrl-C and wait."""
        self.process.send_signal(number)
        try:
            return self.process.wait(45)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def answers(dsn: str) -> bool:
    """True if somebody accepts connections."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            psycopg.connect(dsn).close()
        except psycopg.OperationalError:
            return False
    return True


def psql(dsn: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run psql, which stops at the first error."""
    command = [str(Path(BINARIES) / "psql"), "-X", "-v", "ON_ERROR_STOP=1", *arguments, "-d", dsn]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=clean_environment(), check=False)


def functions(database: Database) -> list[tuple[object, ...]]:
    """Every function of both schemas with its body."""
    with database.admin() as admin:
        return admin.execute(
            "SELECT oid::regprocedure::text, md5(pg_get_functiondef(oid)) FROM pg_proc"
            " WHERE pronamespace::regnamespace::text IN ('df', 'df_engine') AND prokind = 'f' ORDER BY 1"
        ).fetchall()


def everything(database: Database) -> list[tuple[object, ...]]:
    """What a database holds: schemas, and what is in the schema public."""
    with database.admin() as admin:
        return admin.execute("""
            SELECT 'schema', nspname::text FROM pg_namespace WHERE nspname !~ '^pg_'
            UNION ALL
            SELECT 'operator', oid::regoperator::text FROM pg_operator WHERE oprnamespace = 'public'::regnamespace
            UNION ALL
            SELECT 'function', oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace
            UNION ALL
            SELECT 'relation', oid::regclass::text FROM pg_class WHERE relnamespace = 'public'::regnamespace
            ORDER BY 1, 2
        """).fetchall()
