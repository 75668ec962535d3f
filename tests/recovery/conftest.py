"""Fixtures: one site with a primary for all tests of this folder, workers that are ended with their test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.nursery import Nursery, nursery
from cluster import Cluster, Database, copy_template
from perdure.server import Server
from recovery.servers import TEMPLATE, Site, site

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def place() -> Iterator[Site]:
    """A folder with servers, gone after the last test."""
    with site() as made:
        yield made


@pytest.fixture(scope="session")
def primary(place: Site) -> Server:
    """The server that is backed up and followed; it runs, and whoever stops it starts it again."""
    return place.primary()


@pytest.fixture
def shop(primary: Server) -> Database:
    """A fresh database of the primary."""
    return copy_template(Cluster(primary.dsn(), server=primary), TEMPLATE, f"shop_{next(_numbers)}")


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Nursery]:
    """Starts workers."""
    with nursery(tmp_path / "workers") as running:
        yield running
        for child in running.children[-5:]:  # shown where the test failed
            print(f"--- {child.log_path.name}\n{child.log[-5000:]}")
