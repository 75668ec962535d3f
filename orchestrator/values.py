"""What a node hands on: a value by reference, a break, or a failure. Bodies of results never enter the core."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from perdure.eventstore.events import Ref


@dataclass(frozen=True, slots=True)
class Value:
    """A result by reference, with what a decision may ask of it: its truth and its number of rows."""

    ref: Ref
    truth: bool = True
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class Broken:
    """``df.break`` on its way to the innermost loop."""

    value: Value


@dataclass(frozen=True, slots=True)
class Failed:
    """A failure on its way to the root; ``failure`` is a payload with at least ``message``."""

    failure: dict[str, Any]

    @property
    def message(self) -> str:
        """What users read."""
        return str(self.failure["message"])

    def within(self, prefix: str) -> Failed:
        """The same failure, told by a node further up."""
        return Failed({**self.failure, "message": prefix + self.message})


Outcome = Value | Broken | Failed

NULL = Value({"v": "null"}, truth=False)


def failed(message: str) -> Failed:
    """A failure that the interpreter itself found."""
    return Failed({"message": message})


def saved(value: Value) -> list[Any]:
    """A value as the next execution's first event carries it."""
    return [value.ref, value.truth, value.rows]


def restored(found: list[Any]) -> Value:
    """The value that was saved so."""
    return Value(found[0], bool(found[1]), found[2])
