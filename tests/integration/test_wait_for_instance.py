"""``df.wait_for_instance`` on what is no workflow of one's own: the error names what was given."""

from __future__ import annotations

import psycopg

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


GIVEN = {
    "df.wait_for_instance('nope')": "nope",
    "df.wait_for_instance('zzzzzzzz')": "zzzzzzzz",
    "df.wait_for_instance('0123abcd')": "0123abcd",
    "'SELECT ''it''''s'' AS id' |=> 'x' ~> df.wait_for_instance('$x.id')": "it's",
}


def test_error_names_what_was_given(database: Database, worker: WorkerProcess) -> None:
    with database.connect("alice") as alice, database.connect("bob") as bob:
        for expression, named in GIVEN.items():
            assert f"Instance not found or access denied: {named}" in ended(alice, expression)
        row = bob.execute("SELECT df.start(df.wait_for_signal('never'))").fetchone()
        assert row is not None
        said = ended(alice, f"df.wait_for_instance('{row[0]}')")
        assert f"Instance not found or access denied: {row[0]}" in said
