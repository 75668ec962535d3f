"""Every file under ``examples/`` does what its last lines say, run through psql as an ordinary role."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cluster import Database, WorkerProcess, Workers, clean_environment
from perdure import binaries

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.sql"))
NAMES = [path.stem for path in EXAMPLES]
MARKER = "-- Expected:"


def psql(database: Database, path: Path, role: str = "alice") -> str:
    """What psql prints for a file. An error in the file fails the test with psql's words."""
    done = subprocess.run(
        [binaries.psql(), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database.dsn(role), "-f", str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=clean_environment(),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def expected(path: Path) -> str:
    """The table that stands as a comment at the end of a file."""
    _, marker, comment = path.read_text("utf-8").partition(MARKER)
    assert marker, f"{path.name} does not say what it shows"
    lines = [line.removeprefix("--").removeprefix("   ").rstrip() for line in comment.splitlines()]
    return "\n".join(lines).strip("\n")


def last_table(output: str) -> str:
    """The last table that psql printed."""
    tables = [table for table in output.rstrip("\n").split("\n\n") if table]
    return "\n".join(line.rstrip() for line in tables[-1].splitlines())


def test_there_is_an_example_for_each_thing_promised() -> None:
    assert len(EXAMPLES) >= 10


@pytest.mark.parametrize("path", EXAMPLES, ids=NAMES)
def test_example_shows_what_it_says(path: Path, database: Database, worker: WorkerProcess) -> None:
    assert last_table(psql(database, path)) == expected(path)


@pytest.mark.parametrize("path", EXAMPLES[:1], ids=NAMES[:1])
def test_example_can_be_run_again_and_by_somebody_else(path: Path, database: Database, worker: WorkerProcess) -> None:
    outputs = [psql(database, path, role) for role in ("alice", "alice", "bob")]
    assert {last_table(output) for output in outputs} == {expected(path)}


def test_a_review_survives_the_end_of_every_worker(database: Database, workers: Workers, tmp_path: Path) -> None:
    """The restart that the example invites to: the worker is killed while the document waits."""
    source = next(path for path in EXAMPLES if "document_review" in path.stem)
    begin, found, end = source.read_text("utf-8").partition("-- Restart whatever you like here.\n")
    assert found
    first, second = tmp_path / "first.sql", tmp_path / "second.sql"
    first.write_text(begin + WAIT_FOR_REVIEW, "utf-8")
    second.write_text("SELECT id FROM df.instances WHERE label = 'document review' \\gset\n" + end, "utf-8")
    early = workers.start()
    psql(database, first)
    early.kill()
    workers.start()
    assert last_table(psql(database, second)) == expected(source)


WAIT_FOR_REVIEW = """
DO $$
BEGIN
    FOR _try IN 1..600 LOOP
        EXIT WHEN (SELECT state FROM review_documents) = 'in review';
        COMMIT;
        PERFORM pg_sleep(0.05);
    END LOOP;
END $$;
"""
