"""Old worker and new schema, new worker and old schema: it works, or refuses in a sentence and touches nothing.

The next release is simulated (``upgrades.releases``); each release is run by its own command.
"""

from __future__ import annotations

import json
import subprocess

import pytest

from cluster import OWNER, WORKER, Database, Workers, clean_environment
from migrations.test_catalogue import catalogue
from perdure import binaries
from perdure.cli import migration
from perdure.schema import migrate
from upgrades.releases import NEW, OLD, Release, registered, this_release, upgraded
from waiting import eventually_status, wait_until

pytestmark = pytest.mark.timeout(400)  # each test starts several processes, and the machine may be busy
WAITS = "SELECT df.start('SELECT 1' ~> df.wait_for_signal('go') ~> 'INSERT INTO done VALUES (1)')"
TURNS = "SELECT payload FROM df_engine.history WHERE instance_id = %s AND kind = 'TurnTaken' ORDER BY seq"
TASKS = "SELECT worker_id, interpreter FROM df_engine.tasks WHERE instance_id = %s"
QUICK = ("--poll-seconds", "0.5", "--slots", "2", "--http-slots", "1")


def started(database: Database) -> str:
    with database.connect("alice") as alice:
        row = alice.execute(WAITS).fetchone()
    assert row is not None
    return str(row[0])


def waits(database: Database, instance_id: str) -> None:
    """Until a worker has brought it to its signal."""
    query = "SELECT 1 FROM df_engine.history WHERE instance_id = %s AND kind = 'SignalAwaited'"
    with database.admin() as admin:
        wait_until(lambda: admin.execute(query, [instance_id]).fetchone(), 60, "a workflow that waits")


def finished(database: Database, instance_id: str) -> None:
    with database.connect("alice") as alice:
        alice.execute("SELECT df.signal(%s, 'go')", [instance_id])
        eventually_status(alice, instance_id, "completed", 60)


def readings(database: Database, instance_id: str) -> set[int]:
    """The interpreters by which the turns of an instance were decided, as far as they leave a trace."""
    with database.admin() as admin:
        turns = [json.loads(row[0])["marks"] for row in admin.execute(TURNS, [instance_id])]
    return {2 if [-2, "r", None] in marks else 1 for marks in turns}


def untouched(database: Database, instance_id: str) -> None:
    """Nobody has taken anything of it up; and it is said why."""
    with database.admin() as admin:
        head = "SELECT head_seq, parked FROM df_engine.instances WHERE instance_id = %s"
        assert admin.execute(head, [instance_id]).fetchone() == (1, None)
        assert admin.execute(TASKS, [instance_id]).fetchall() == [(None, 2)]
        problems = admin.execute("SELECT problem, detail FROM df.check(%s)", [instance_id]).fetchall()
        assert problems == [("nobody can serve it", "it needs interpreter 2, and no worker that is alive has it")]
    with database.connect("alice") as alice:
        reasons = alice.execute("SELECT reason FROM df.waiting(%s)", [instance_id]).fetchall()
        assert reasons == [("no worker that serves this workflow is alive",)]


def well(database: Database) -> None:
    with database.admin() as admin:
        assert admin.execute("SELECT * FROM df.check()").fetchall() == []


@pytest.mark.parametrize("running", [True, False], ids=["ran already", "starts on it"])
def test_old_worker_on_the_new_schema_serves_what_it_can_read(
    installed: Database, fleet: Workers, next_perdure: Release, running: bool
) -> None:
    """It finishes what began before, and leaves alone what begins by rules that it does not know."""
    old = registered(installed, fleet.start(*QUICK))
    before, too = started(installed), started(installed)
    waits(installed, before)
    waits(installed, too)
    if not running:
        assert old.terminate(60) == 0
    upgraded(next_perdure, installed)
    if not running:
        old = registered(installed, fleet.start(*QUICK))
        assert f"the schema is at revision {NEW}, newer than this perdure ({OLD}); it serves it still" in old.log
    after = started(installed)
    finished(installed, before)  # the old worker has claimed since the new instance is there
    untouched(installed, after)
    registered(installed, fleet.start(*QUICK, env=next_perdure.environment))
    waits(installed, after)
    finished(installed, after)
    assert old.terminate(60) == 0
    finished(installed, too)
    assert readings(installed, before) == readings(installed, too) == {1}
    assert readings(installed, after) == {2}
    well(installed)


@pytest.mark.heavy
def test_mixed_fleet_shares_the_work_of_both(installed: Database, fleet: Workers, next_perdure: Release) -> None:
    """Old and new workers side by side: each instance is decided by the rules it began under, whoever decides."""
    registered(installed, fleet.start(*QUICK))
    before = [started(installed) for _ in range(5)]
    upgraded(next_perdure, installed)
    registered(installed, fleet.start(*QUICK, env=next_perdure.environment))
    after = [started(installed) for _ in range(5)]
    for instance_id in before + after:
        finished(installed, instance_id)
    assert [readings(installed, instance_id) for instance_id in before] == [{1}] * 5
    assert [readings(installed, instance_id) for instance_id in after] == [{2}] * 5
    with installed.connect("alice") as alice:
        assert alice.execute("SELECT count(*) FROM done").fetchone() == (10,)
    well(installed)


def test_new_worker_refuses_the_old_schema_and_touches_nothing(installed: Database, next_perdure: Release) -> None:
    instance_id = started(installed)
    with installed.admin() as admin:
        before = catalogue(admin), admin.execute("SELECT * FROM df_engine.tasks").fetchall()
        for command in ("worker", "status"):
            login = WORKER if command == "worker" else OWNER
            done = next_perdure.perdure(command, "--dsn", installed.dsn(login))
            assert done.returncode == 1
            assert f"the schema is at revision {OLD}, older than {NEW}: run `perdure migrate`" in done.stderr
        assert (catalogue(admin), admin.execute("SELECT * FROM df_engine.tasks").fetchall()) == before
        assert admin.execute("SELECT count(*) FROM df_engine.workers").fetchone() == (0,)
    assert readings(installed, instance_id) == set()


def test_old_worker_refuses_a_schema_that_has_dropped_its_calls(
    installed: Database, fleet: Workers, later_perdure: Release
) -> None:
    """One that starts says so and ends; one that runs goes on asking, and harms nothing; a new one has the work."""
    old = registered(installed, fleet.start(*QUICK))
    instance_id = started(installed)
    waits(installed, instance_id)
    upgraded(later_perdure, installed)
    refused = this_release("worker", "--dsn", installed.dsn(WORKER))
    assert refused.returncode == 1
    assert f"the schema is at revision {NEW}, which no longer has claim_v1" in refused.stderr
    assert "install the newer release" in refused.stderr
    wait_until(lambda: "function df_engine.claim_v1" in old.log, 60, "an old worker that says what it misses")
    with installed.connect("alice") as alice:
        alice.execute("SELECT df.signal(%s, 'go')", [instance_id])
        registered(installed, fleet.start(*QUICK, env=later_perdure.environment))
        eventually_status(alice, instance_id, "completed", 60)
        assert alice.execute("SELECT count(*) FROM done").fetchone() == (1,)
    assert old.process.poll() is None
    well(installed)


def test_old_command_does_not_migrate_a_newer_schema(installed: Database, next_perdure: Release) -> None:
    upgraded(next_perdure, installed)
    with installed.admin() as admin:
        before = catalogue(admin)
        for command in ("migrate", "check"):
            done = this_release(command, "--dsn", installed.dsn(OWNER))
            assert done.returncode == 1
            assert f"the schema is at revision {NEW}" in done.stderr and "install the newer release" in done.stderr
        assert catalogue(admin) == before


def test_workers_go_back_to_the_old_release_without_the_schema(
    installed: Database, fleet: Workers, next_perdure: Release
) -> None:
    """The way back: old workers on the schema of the new release. What began under new rules waits for new workers."""
    upgraded(next_perdure, installed)
    new = registered(installed, fleet.start(*QUICK, env=next_perdure.environment))
    ended, begun = started(installed), started(installed)
    waits(installed, begun)
    finished(installed, ended)
    assert new.terminate(60) == 0
    registered(installed, fleet.start(*QUICK))
    with installed.connect("alice") as alice:
        assert alice.execute("SELECT df.status(%s)", [ended]).fetchone() == ("completed",)
        alice.execute("SELECT df.signal(%s, 'go')", [begun])
    with installed.admin() as admin:
        # The old worker makes a fact of the signal, as anybody would, and leaves the turn to others.
        fact = "SELECT 1 FROM df_engine.history WHERE instance_id = %s AND kind = 'SignalReceived'"
        wait_until(lambda: admin.execute(fact, [begun]).fetchone(), 60, "the signal to be there")
        assert admin.execute(TASKS, [begun]).fetchall() == [(None, 2)]
    registered(installed, fleet.start(*QUICK, env=next_perdure.environment))
    with installed.connect("alice") as alice:
        eventually_status(alice, begun, "completed", 60)
    assert readings(installed, begun) == {2}
    well(installed)


@pytest.mark.heavy
def test_schema_of_the_new_release_goes_down_and_up_again(
    installed: Database, fleet: Workers, next_perdure: Release
) -> None:
    """The new release takes the schema back, with the workers of the old one running; these notice nothing."""
    old = registered(installed, fleet.start(*QUICK))
    with installed.admin() as admin:
        was = catalogue(admin)
    first, second = started(installed), started(installed)
    waits(installed, first)
    upgraded(next_perdure, installed)
    down = next_perdure.perdure("migrate", "--down-to", OLD, "--dsn", installed.dsn(OWNER))
    assert down.returncode == 0, down.stderr
    assert f"down from revision {NEW} to {OLD}" in down.stdout
    with installed.admin() as admin:
        assert catalogue(admin) == was
    assert migrate.current(installed.dsn(OWNER)) == OLD
    assert "already at revision" in migration.run(installed.dsn(OWNER), "public")
    finished(installed, first)
    assert "Warning" not in registered(installed, fleet.start(*QUICK)).log
    upgraded(next_perdure, installed)
    finished(installed, second)
    assert old.process.poll() is None
    well(installed)


def test_state_that_no_release_made_is_named(installed: Database) -> None:
    """The comment that tells from which SQL a database was made is gone, or another: said, and nothing touched."""
    with installed.admin() as admin:
        for comment in ("NULL", "'perdure: tables 0123456789abcdef, functions 0123456789abcdef'"):
            admin.execute(f"COMMENT ON SCHEMA df_engine IS {comment}")
            before = catalogue(admin)
            for command, words in (
                ("worker", "was installed from an earlier state of its revision: run `perdure migrate`"),
                ("migrate", "with other tables: save what you need"),
            ):
                login = WORKER if command == "worker" else OWNER
                done = this_release(command, "--dsn", installed.dsn(login))
                assert done.returncode == 1 and words in done.stderr, done.stderr
            assert catalogue(admin) == before
        assert admin.execute("SELECT count(*) FROM df_engine.workers").fetchone() == (0,)


@pytest.mark.heavy
def test_script_of_what_is_new_does_what_the_command_does(
    installed: Database, fleet: Workers, next_perdure: Release
) -> None:
    """psql runs it while a worker works, and a new worker finds nothing missing."""
    registered(installed, fleet.start(*QUICK))
    instance_id = started(installed)
    waits(installed, instance_id)
    script = next_perdure.perdure("migrate", "--sql", "--since", OLD)
    assert script.returncode == 0, script.stderr
    command = [binaries.psql(), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", installed.dsn(OWNER)]
    done = subprocess.run(
        command, input=script.stdout, capture_output=True, text=True, env=clean_environment(), check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in registered(installed, fleet.start(*QUICK, env=next_perdure.environment)).log
    finished(installed, instance_id)
    well(installed)


def test_what_cannot_be_done_with_revisions_is_said(installed: Database) -> None:
    dsn = installed.dsn(OWNER)
    for arguments, words in (
        (("--sql", "--since", OLD), f"revision {OLD} is not older than {OLD}"),
        (("--down-to", "0000", "--dsn", dsn), f"at revision {OLD}: this perdure cannot take it down to 0000"),
        (("--down-to", "base", "--dsn", dsn), "cannot take it down to base"),
    ):
        done = this_release("migrate", *arguments)
        assert done.returncode == 1 and words in done.stderr, done.stderr
    assert migrate.current(dsn) == OLD
