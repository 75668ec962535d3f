"""Fixtures of the chaos tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.nursery import Nursery, nursery


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Nursery]:
    """Starts workers; all are ended with the test, and their logs shown where it failed."""
    with nursery(tmp_path / "workers") as running:
        yield running
        for child in running.children[-5:]:
            print(f"--- {child.log_path.name}\n{child.log[-5000:]}")
