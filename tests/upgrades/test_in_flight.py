"""What was started under an earlier release finishes under this one, without a drain."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cluster import OWNER, Database, Workers, clean_environment
from perdure import binaries
from perdure.orchestrator.execution import HANDLERS
from upgrades.holding import Holding, holding
from upgrades.record import RELEASE, WORKFLOWS, send
from upgrades.releases import Release
from waiting import ENDED, eventually_status

pytestmark = pytest.mark.timeout(400)
RECORDED = sorted(Path(__file__).parent.glob("*/in_flight.sql.gz"))
OWN = Path(__file__).parent / RELEASE / "in_flight.sql.gz"
# What may be in the tables of the engine while nobody works, and what finds it there.
KINDS = {
    "a turn that nobody has": "tasks WHERE seq = 0 AND worker_id IS NULL AND visible_at < 'infinity'",
    "a step that nobody has": "tasks WHERE seq > 0 AND lane = 'sql' AND worker_id IS NULL AND attempt = 1",
    "a step of a worker that is gone": "tasks WHERE lane = 'sql' AND worker_id IS NOT NULL AND NOT autocommit",
    "a step outside a transaction": "tasks WHERE worker_id IS NOT NULL AND autocommit",
    "a step that is tried again": "tasks WHERE attempt > 1 AND first_failed_at IS NOT NULL",
    "a request under way": "tasks WHERE kind = 'http' AND worker_id IS NOT NULL",
    "a form under way": "tasks WHERE kind = 'http_multipart' AND worker_id IS NOT NULL",
    "a timer": "timers",
    "a signal that nobody has looked at": "inbox",
    "a wait for another workflow": "instance_waits",
    "a parked workflow": "instances WHERE parked IS NOT NULL AND ended_at IS NULL",
    "a cancelled workflow that no turn has ended": "instances WHERE status = 'cancelled' AND ended_at IS NULL",
    "a later execution": "instances WHERE execution_id > 1 AND ended_at IS NULL",
    "names carried over": 'history WHERE seq = 1 AND payload LIKE \'%"names":{"last"%\'',
    "a later round of a loop below the root": "history WHERE kind = 'LoopIterated'",
    "variables": "starts WHERE variables LIKE '%greeting%'",
    "a worker's row": "workers",
}
OPEN = "SELECT graph FROM df_engine.starts JOIN df_engine.instances USING (bucket, instance_id) WHERE ended_at IS NULL"


def restore(dump: Path, database: Database, url: str) -> dict[str, Any]:
    """Restore a recorded database, its requests turned to ``url``; what was noted with it. Skips on older servers."""
    with database.admin() as admin:
        if admin.info.server_version < 150000:
            pytest.skip("the dump was made on PostgreSQL 15")
    noted: dict[str, Any] = json.loads(dump.with_name("in_flight.json").read_text("utf-8"))
    text = gzip.decompress(dump.read_bytes()).replace(noted["url"].encode(), url.encode())
    command = [binaries.psql(), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database.admin_dsn]
    done = subprocess.run(command, input=text, check=False, capture_output=True, env=clean_environment())
    assert done.returncode == 0, done.stderr.decode()
    return noted


@pytest.mark.parametrize("dump", RECORDED, ids=lambda dump: dump.parent.name)
def test_work_in_flight_of_a_release_finishes_under_this_one(
    dump: Path, empty_database: Database, tmp_path: Path
) -> None:
    _finishes(dump, empty_database, Workers(empty_database, tmp_path), Release(None))


@pytest.mark.heavy
@pytest.mark.parametrize("dump", RECORDED, ids=lambda dump: dump.parent.name)
def test_work_in_flight_of_a_release_finishes_under_the_next(
    dump: Path, empty_database: Database, tmp_path: Path, next_perdure: Release
) -> None:
    """The simulated one: all its functions, tables and the interpreter are newer."""
    _finishes(dump, empty_database, Workers(empty_database, tmp_path), next_perdure)


def _finishes(dump: Path, database: Database, workers: Workers, release: Release) -> None:
    with holding(answers=True) as asked:
        noted = restore(dump, database, asked.url)
        migrated = release.perdure("migrate", "--dsn", database.dsn(OWNER))
        assert migrated.returncode == 0, migrated.stderr
        workflows = {name: WORKFLOWS[name] for name in noted["ids"]}
        try:
            _let_them_go(database, workflows, noted["ids"])
            workers.start(dsn=database.dsn("alice"), env=release.environment)
            _ended(database, workflows, noted["ids"])
        finally:
            workers.stop()
            print("".join(worker.log for worker in workers.started))
        _same_keys(asked, noted["keys"])


def _let_them_go(database: Database, workflows: dict[str, Any], ids: dict[str, str]) -> None:
    """Before a worker is there, so that signals are not later than time-outs, however long ago it was recorded."""
    with database.connect("alice") as alice:
        alice.execute("UPDATE gate SET is_open = true")
        for name, workflow in workflows.items():
            if not workflow.get("cancel"):
                send(alice, ids[name], workflow["signals"])
            if workflow.get("resume"):
                alice.execute("SELECT df.resume(%s)", [ids[name]])


def _ended(database: Database, workflows: dict[str, Any], ids: dict[str, str]) -> None:
    """Everything ends as it should, has done what it should, and nothing is left or wrong."""
    with database.connect("alice") as alice, database.admin() as admin:
        for name, workflow in workflows.items():
            end = workflow.get("ends", "completed")
            assert eventually_status(alice, ids[name], ENDED, 60) == end, name
        counted = dict(alice.execute("SELECT workflow, count(*)::int FROM effects GROUP BY 1").fetchall())
        wrong = {
            name: counted.get(name, 0)
            for name, workflow in workflows.items()
            if counted.get(name, 0) != workflow["effects"]
            and not (workflow.get("at_least") and counted.get(name, 0) > workflow["effects"])
        }
        assert wrong == {}
        assert admin.execute("SELECT * FROM df.check()").fetchall() == []
        assert admin.execute("SELECT * FROM df_engine.instances WHERE ended_at IS NULL").fetchall() == []


def _same_keys(asked: Holding, recorded: dict[str, str]) -> None:
    """A request that may have been sent before carries the key that it carried then."""
    assert {path.strip("/"): {key for key, _ in requests} for path, requests in asked.asked.items()} == {
        path: {key} for path, key in recorded.items()
    }


def test_recording_of_this_release_holds_every_kind_of_work(empty_database: Database) -> None:
    """Every kind of node is under way or still to come, and every table that work can be in holds some."""
    restore(OWN, empty_database, "http://127.0.0.1:1")
    with empty_database.admin() as admin:
        missing = [
            kind
            for kind, place in KINDS.items()
            if admin.execute(f"SELECT 1 FROM df_engine.{place} LIMIT 1".encode()).fetchone() is None
        ]
        graphs = "".join(row[0] for row in admin.execute(OPEN))
    assert missing == []
    assert set(HANDLERS) <= set(re.findall(r'"node_type"\s*:\s*"(\w+)"', graphs))
