"""``df.wait_for_instance`` on what is no workflow of one's own: the error names what was given."""

from __future__ import annotations

import psycopg
import pytest

from cluster import Database, WorkerProcess
from waiting import eventually_status


def ended(connection: psycopg.Connection, expression: str) -> str:
    """The error of a workflow that must fail."""
    row = connection.execute(f"SELECT df.start({expression})").fetchone()
    assert row is not None
    eventually_status(connection, row[0], "failed")
    found = connection.execute("SELECT output FROM df.instance_info(%s)", row).fetchone()
    assert found is not None
    return str(found[0])


@pytest.mark.parametrize(
    ("expression", "named"),
    [
        ("df.wait_for_instance('nope')", "nope"),
        ("df.wait_for_instance('zzzzzzzz')", "zzzzzzzz"),
        ("df.wait_for_instance('0123abcd')", "0123abcd"),
        ("'SELECT ''it''''s'' AS id' |=> 'x' ~> df.wait_for_instance('$x.id')", "it's"),
        ("'SELECT NULL::text AS id' |=> 'x' ~> df.wait_for_instance('$x.id')", "(null)"),
    ],
)
def test_error_names_what_was_given(database: Database, worker: WorkerProcess, expression: str, named: str) -> None:
    with database.connect("alice") as alice:
        assert f"Instance not found or access denied: {named}" in ended(alice, expression)


def test_workflow_of_somebody_else_is_not_found(database: Database, worker: WorkerProcess) -> None:
    with database.connect("alice") as alice, database.connect("bob") as bob:
        row = bob.execute("SELECT df.start(df.wait_for_signal('never'))").fetchone()
        assert row is not None
        said = ended(alice, f"df.wait_for_instance('{row[0]}')")
        assert f"Instance not found or access denied: {row[0]}" in said
