"""Every file under ``examples/`` does what its last lines say, run through psql as an ordinary role."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from asking import one_database
from cluster import Cluster, Database, Workers, clean_environment, make_template, own_server
from perdure import binaries

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.sql"))
NAMES = [path.stem for path in EXAMPLES]
REVIEW = next(path for path in EXAMPLES if "document_review" in path.stem)
MARKER = "-- Expected:"
UNTIL_IN_REVIEW = """
DO $$
BEGIN
    FOR _try IN 1..600 LOOP
        EXIT WHEN (SELECT state FROM review_documents) = 'in review';
        COMMIT;
        PERFORM pg_sleep(0.05);
    END LOOP;
END $$;
"""


@pytest.fixture(scope="module")
def served(cluster: Cluster, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """One database with one worker for all examples; each makes tables of its own."""
    with one_database(cluster, template) as database:
        workers = Workers(database, tmp_path_factory.mktemp("examples"))
        workers.start()
        try:
            yield database
        finally:
            workers.stop()
            print(workers.started[0].log)


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
def test_example_shows_what_it_says(path: Path, served: Database) -> None:
    assert last_table(psql(served, path)) == expected(path)


def test_example_can_be_run_again_and_by_somebody_else(served: Database) -> None:
    outputs = [psql(served, EXAMPLES[0], role) for role in ("alice", "alice", "bob")]
    assert {last_table(output) for output in outputs} == {expected(EXAMPLES[0])}


def test_a_review_survives_the_end_of_the_server_and_of_every_worker(tmp_path: Path) -> None:
    """The restart that the example invites to: worker and PostgreSQL are killed while the document waits."""
    begin, found, end = REVIEW.read_text("utf-8").partition("-- Restart whatever you like here.\n")
    assert found
    first, second = tmp_path / "first.sql", tmp_path / "second.sql"
    first.write_text(begin + UNTIL_IN_REVIEW, "utf-8")
    second.write_text("SELECT id FROM df.instances WHERE label = 'document review' \\gset\n" + end, "utf-8")
    with own_server() as server:
        cluster = Cluster(server.dsn(), server=server)
        make_template(cluster, "review")
        database = Database(cluster, "review")
        workers = Workers(database, tmp_path)
        try:
            early = workers.start()
            psql(database, first)
            early.kill()
            server.kill()
            server.start()
            workers.start()
            assert last_table(psql(database, second)) == expected(REVIEW)
        finally:
            workers.stop()
