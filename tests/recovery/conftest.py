"""Fixtures: one site with a primary for all tests of this folder, workers that are ended with their test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.nursery import Nursery, nursery
from perdure.server import Server
from recovery.servers import Site, site


@pytest.fixture(scope="module")
def place() -> Iterator[Site]:
    """A folder with servers, gone after the last test of the module."""
    with site() as made:
        yield made


@pytest.fixture(scope="module")
def primary(place: Site) -> Server:
    """The server that is backed up; it runs."""
    return place.primary()


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Nursery]:
    """Starts workers."""
    with nursery(tmp_path / "workers") as running:
        yield running
        for child in running.children[-5:]:  # shown where the test failed
            print(f"--- {child.log_path.name}\n{child.log[-5000:]}")
