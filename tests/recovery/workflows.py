"""Workflows of alice, one at a time."""

from __future__ import annotations

from chaos.checks import history
from cluster import Database
from waiting import wait_until


def start(database: Database, graph: str, database_of_steps: str | None = None) -> str:
    """Start a workflow; ``graph`` is an SQL expression."""
    with database.connect("alice") as alice:
        row = alice.execute(f"SELECT df.start({graph}, 'one', %s)", [database_of_steps]).fetchone()
        assert row is not None
        return str(row[0])


def waits_for(database: Database, instance_id: str) -> list[tuple[str, str | None]]:
    """What a workflow waits for, and the reason if there is one."""
    with database.connect("alice") as alice:
        return alice.execute("SELECT waits_for, reason FROM df.waiting(%s)", [instance_id]).fetchall()


def until(database: Database, instance_id: str, what: str) -> None:
    """Returns when a workflow waits for this."""
    wait_until(lambda: what in [row[0] for row in waits_for(database, instance_id)], 60, what)


def has(database: Database, instance_id: str, status: str) -> None:
    """Returns when a workflow has this status."""
    with database.admin() as admin:
        found = "SELECT status FROM df.instances WHERE id = %s"
        try:
            wait_until(lambda: admin.execute(found, [instance_id]).fetchone() == (status,), 60, status)
        except AssertionError as late:
            raise AssertionError(history(admin, instance_id)) from late


def signals(database: Database, instance_id: str, name: str, text: str = "") -> None:
    """Send a signal."""
    with database.connect("alice") as alice:
        alice.execute("SELECT df.signal(%s, %s, %s)", [instance_id, name, text])
