"""Errors of the core."""

from __future__ import annotations

from typing import Any


class NondeterminismError(Exception):
    """A recorded event is not what the graph and this release would have produced. Park the instance; do not guess."""

    def __init__(self, seq: int, expected: tuple[str, Any], found: tuple[str, Any]) -> None:
        super().__init__(f"event {seq}: expected {expected[0]} {expected[1]}, found {found[0]} {found[1]}")
        self.seq = seq
        self.expected = expected
        self.found = found
