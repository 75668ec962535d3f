"""Fixtures: one server a session, one migrated template, a fresh copy of it for each test that asks.

``database`` is a ``cluster.Database``; ``workers`` starts real worker processes; ``worker`` is one that runs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from cluster import (
    Cluster,
    Database,
    WorkerProcess,
    Workers,
    copy_template,
    drop_database,
    make_database,
    make_roles,
    make_template,
    numbered,
    running_cluster,
    workers_on,
)

# A run must not fail by chance: examples follow from the code alone. PERDURE_HYPOTHESIS=random explores; it prints how
# to repeat what it finds.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("random", deadline=None, print_blob=True)
settings.load_profile(os.environ.get("PERDURE_HYPOTHESIS", "repeatable"))

_names = numbered("perdure_test")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The server that the tests share."""
    with running_cluster() as running:
        yield running


@pytest.fixture(scope="session")
def template(cluster: Cluster) -> Iterator[str]:
    """The name of the migrated database that is copied for each test."""
    name = next(_names)
    try:
        make_template(cluster, name)
        yield name
    finally:
        drop_database(cluster, name)


@pytest.fixture
def database(cluster: Cluster, template: str) -> Iterator[Database]:
    """A fresh database with the schema, where alice and bob may use ``df``."""
    name = next(_names)
    try:
        yield copy_template(cluster, template, name)
    finally:
        drop_database(cluster, name)


@pytest.fixture
def empty_database(cluster: Cluster) -> Iterator[Database]:
    """A fresh database without the schema."""
    make_roles(cluster)
    name = next(_names)
    try:
        make_database(cluster, name)
        yield Database(cluster, name)
    finally:
        drop_database(cluster, name)


@pytest.fixture
def workers(database: Database, tmp_path: Path) -> Iterator[Workers]:
    """Starts workers on the test's database; all are ended with the test."""
    with workers_on(database, tmp_path) as started:
        yield started


@pytest.fixture
def worker(workers: Workers) -> WorkerProcess:
    """One running worker on the test's database."""
    return workers.start()
