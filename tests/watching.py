"""Watching workflows: a database with a worker for a whole module of tests, and short ways to start and to wait."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from asking import Connection, one_database, value
from cluster import Cluster, Database, Workers
from waiting import ENDED, eventually_status, wait_until


@contextlib.contextmanager
def served(cluster: Cluster, template: str, folder: Path) -> Iterator[Database]:
    """A copy of the template with one worker."""
    with one_database(cluster, template) as database:
        workers = Workers(database, folder)
        workers.start()
        try:
            yield database
        finally:
            workers.stop()


def start(user: Connection, graph: str, label: str | None = None) -> str:
    """Start what a SQL expression builds; the id."""
    return str(value(user, f"df.start({graph}, %s)", label))


def ended(user: Connection, graph: str, label: str | None = None, status: str = "completed") -> str:
    """Start it and wait until it has ended with this status; the id."""
    instance = start(user, graph, label)
    eventually_status(user, instance, status)
    return instance


def until_ended(user: Connection, instance: str) -> str:
    """Wait until the engine has drawn the conclusion as well (a cancel shows in the status before); the status."""
    wait_until(lambda: value(user, "(SELECT ended_at FROM df.instances WHERE id = %s)", instance), 60)
    status = str(value(user, "df.status(%s)", instance))
    assert status in ENDED
    return status


def rows(user: Connection, statement: str, *parameters: object) -> list[Any]:
    """All rows of a statement."""
    return user.execute(statement, parameters or None).fetchall()
