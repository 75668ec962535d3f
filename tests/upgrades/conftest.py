"""Fixtures: releases that come after this one, and a database that this one has migrated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import OWNER, WORKER, Database, Workers, workers_on
from perdure.cli import migration
from upgrades.releases import Release, next_release


@pytest.fixture(scope="session")
def next_perdure(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """The next release, which keeps what this one's workers call."""
    return next_release(tmp_path_factory.mktemp("next"))


@pytest.fixture(scope="session")
def later_perdure(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """A release that has dropped a function which this one's workers call."""
    return next_release(tmp_path_factory.mktemp("later"), keeps_old_calls=False)


@pytest.fixture
def installed(empty_database: Database) -> Database:
    """A database that this release has migrated."""
    migration.run(empty_database.dsn(OWNER), "public")
    with empty_database.connect(OWNER) as owner:
        owner.execute("SELECT df.grant_usage('alice')")
        owner.execute(f"SELECT df.grant_worker('{WORKER}')")
    with empty_database.connect("alice") as alice:
        alice.execute("CREATE TABLE done (n integer)")
    return empty_database


@pytest.fixture
def fleet(installed: Database, tmp_path: Path) -> Iterator[Workers]:
    """Starts workers of any release on it; all are ended with the test."""
    with workers_on(installed, tmp_path) as running:
        yield running
