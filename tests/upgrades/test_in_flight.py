"""What was started under an earlier release finishes under this one, without a drain."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cluster import OWNER, Database, Workers, clean_environment
from perdure import binaries
from waiting import ENDED, eventually_status, wait_until

WORKFLOWS = json.loads((Path(__file__).parent / "workflows.json").read_text("utf-8"))
RECORDED = sorted(Path(__file__).parent.glob("*/in_flight.sql"))


@pytest.mark.parametrize("dump", RECORDED, ids=lambda dump: dump.parent.name)
def test_work_in_flight_of_a_release_finishes_under_this_one(
    dump: Path, empty_database: Database, tmp_path: Path
) -> None:
    database = empty_database
    with database.admin() as admin:
        version = admin.info.server_version
    if version < 150000:
        pytest.skip("the dump was made on PostgreSQL 15")
    command = [binaries.psql(), "-X", "-q", "-d", database.admin_dsn, "-f", str(dump)]
    subprocess.run(command, check=True, capture_output=True, env=clean_environment())
    migrated = [sys.executable, "-m", "perdure", "migrate", "--dsn", database.dsn(OWNER)]
    subprocess.run(migrated, check=True, capture_output=True, env=clean_environment())
    ids: dict[str, str] = json.loads(dump.with_suffix(".json").read_text("utf-8"))
    workers = Workers(database, tmp_path)
    try:
        workers.start(dsn=database.dsn("alice"))
        _let_them_end(database, ids)
    finally:
        workers.stop()


def _let_them_end(database: Database, ids: dict[str, str]) -> None:
    with database.connect("alice") as alice:
        for name, instance in ids.items():
            for signal in WORKFLOWS[name]["signals"]:
                alice.execute("SELECT df.signal(%s, %s, '{\"n\": 7}')", (instance, signal))
        for name, instance in ids.items():
            assert eventually_status(alice, instance, ENDED, 60) == "completed", name
        counted = dict(alice.execute("SELECT workflow, count(*)::int FROM effects GROUP BY 1").fetchall())
        problems = wait_until(lambda: [alice.execute("SELECT * FROM df.check()").fetchall()], 10)[0]
    assert counted == {name: workflow["effects"] for name, workflow in WORKFLOWS.items()}
    assert problems == []
