"""Reading a step's raw result text: is it a row set, what is its first row, how many rows has it.

The engine writes a row set as ``{"rows":[...],"row_count":N}``. A text of that form is read only as far as its
first row, so that a condition or a scalar taken from a result of many megabytes costs no more than from a small one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

from perdure.orchestrator.jsontext import Json, JsonError, Number, parse, parse_prefix

_HEAD = '{"rows":['
_TAIL = re.compile(r'\],"row_count":([0-9]{1,19})\}\Z')
_TAIL_LENGTH = 40


@dataclass(frozen=True, slots=True)
class RowSet:
    """A result with rows; ``first`` is None when there are none."""

    first: dict[str, Json] | None


@dataclass(frozen=True, slots=True)
class Value:
    """A result that is JSON without rows."""

    value: Json


@dataclass(frozen=True, slots=True)
class Text:
    """A result that is not JSON."""

    text: str


Result: TypeAlias = RowSet | Value | Text


def read(raw: str) -> Result:
    """What the raw text is. An object whose ``rows`` is an array of objects, or empty, is a row set."""
    if _tail(raw) is not None:
        row_set = _read_first(raw)
        if row_set is not None:
            return row_set
    try:
        value = parse(raw)
    except JsonError:
        return Text(raw)
    return _classify(value)


def rows(raw: str) -> list[Json] | None:
    """All rows of a row set, None if the text is none."""
    try:
        value = parse(raw)
    except JsonError:
        return None
    if isinstance(value, dict) and isinstance(_classify(value), RowSet):
        found = value["rows"]
        assert isinstance(found, list)
        return found
    return None


def row_count(raw: str) -> int | None:
    """``row_count`` of a SQL result; None if the text is not one."""
    tail = _tail(raw)
    if tail is not None:
        return int(tail[1])
    try:
        value = parse(raw)
    except JsonError:
        return None
    count = value.get("row_count") if isinstance(value, dict) else None
    return int(count) if isinstance(count, Number) and re.fullmatch("-?[0-9]{1,19}", count) else None


def _tail(raw: str) -> re.Match[str] | None:
    return _TAIL.search(raw, max(0, len(raw) - _TAIL_LENGTH)) if raw.startswith(_HEAD) else None


def _read_first(raw: str) -> RowSet | None:
    """The row set of a text with the engine's own head and tail, or None if its first row is not an object."""
    start = len(_HEAD)
    if raw[start] == "]":
        return RowSet(None)
    if raw[start] != "{":
        return None
    try:
        first, _ = parse_prefix(raw, start)
    except JsonError:
        return None
    return RowSet(first) if isinstance(first, dict) else None


def _classify(value: Json) -> Result:
    if isinstance(value, dict):
        found = value.get("rows")
        if isinstance(found, list):
            if not found:
                return RowSet(None)
            if isinstance(found[0], dict):
                return RowSet(found[0])
    return Value(value)
