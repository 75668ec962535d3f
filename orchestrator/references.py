"""``$name`` references: finding them in a text, and the values that they stand for."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass

from perdure.orchestrator import rawresult
from perdure.orchestrator.jsontext import Json, compact
from perdure.orchestrator.rawresult import RowSet, Text

# Result names are ASCII identifiers. Taking the longest run of identifier characters is the same as trying the
# stored names longest first: a name that ends in the middle of a run never matches. Columns may have any letters.
_REFERENCE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)(?:(\.\*)|\.([^\W\d]\w*)(\?)?|(\?)?)")
_NAME = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")


class SubstitutionError(Exception):
    """A text could not be rendered; the message is meant for the user."""


@dataclass(frozen=True, slots=True)
class Reference:
    """``$name``, ``$name.column`` or ``$name.*`` (``all_rows``); ``optional`` is the question mark."""

    name: str
    column: str | None
    optional: bool
    all_rows: bool
    end: int

    def __str__(self) -> str:
        return f"${self.name}.*" if self.all_rows else f"${self.name}" + (f".{self.column}" if self.column else "")


def match_any(text: str, pos: int) -> Reference | None:
    """The reference that begins at ``pos``, whether or not a result has its name."""
    found = _REFERENCE.match(text, pos)
    if found is None:
        return None
    name, all_rows, column, column_mark, mark = found.groups()
    return Reference(name, column, bool(column_mark or mark), bool(all_rows), found.end())


def match(text: str, pos: int, names: Container[str]) -> Reference | None:
    """The reference to one of ``names`` that begins at ``pos``."""
    found = match_any(text, pos)
    return found if found is not None and found.name in names else None


def names_in(text: str, names: Container[str]) -> list[str]:
    """The names that stand behind a ``$`` anywhere in the text, in order of first appearance."""
    return list(dict.fromkeys(found[1] for found in _NAME.finditer(text) if found[1] in names))


class Values:
    """The stored results as references see them; each is read once."""

    __slots__ = ("_raw", "_read")

    def __init__(self, results: Mapping[str, str]) -> None:
        self._raw = results
        self._read: dict[str, rawresult.Result] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._raw

    def scalar(self, ref: Reference) -> Json:
        """The value of ``$name`` or ``$name.column``; None only for an optional one. Raises SubstitutionError."""
        value, missing = self._field(ref) if ref.column else self._bare(ref)
        if value is None and not ref.optional:
            raise SubstitutionError(f"{ref} {missing} — use {ref}? to put NULL in its place")
        return value

    def whole(self, ref: Reference) -> Json | Text:
        """Like ``scalar``, but a bare name of a result without rows gives the JSON value and not its text."""
        result = self._result(ref.name)
        if ref.column is None and not isinstance(result, RowSet):
            return result if isinstance(result, Text) else result.value
        return self.scalar(ref)

    def rows(self, ref: Reference) -> list[Json]:
        """All rows, for ``$name.*``. Raises SubstitutionError if the result has none of that kind."""
        found = rawresult.rows(self._raw[ref.name])
        if found is None:
            raise SubstitutionError(f"{ref}: invalid result format: the result of '{ref.name}' is not a row set")
        return found

    def _result(self, name: str) -> rawresult.Result:
        if name not in self._read:
            self._read[name] = rawresult.read(self._raw[name])
        return self._read[name]

    def _bare(self, ref: Reference) -> tuple[Json, str]:
        """The value and, if it is None, what to say about it."""
        result = self._result(ref.name)
        if not isinstance(result, RowSet):
            return self._raw[ref.name], ""
        if result.first is None:
            return None, "has no rows"
        return next(iter(result.first.values()), None), "is NULL" if result.first else "has no columns"

    def _field(self, ref: Reference) -> tuple[Json, str]:
        result = self._result(ref.name)
        if isinstance(result, Text):
            raise SubstitutionError(f"{ref}: result is not valid JSON")
        fields = result.first if isinstance(result, RowSet) else result.value
        if fields is None and isinstance(result, RowSet):
            return None, "has no rows"
        if not isinstance(fields, dict):
            raise SubstitutionError(f"{ref}: result is neither a row set nor a JSON object")
        assert ref.column is not None
        if ref.column not in fields and not ref.optional:
            raise SubstitutionError(f"{ref}: result has no field '{ref.column}' (available: {', '.join(fields)})")
        return fields.get(ref.column), "is NULL"


def plain(value: Json) -> str:
    """The value as bare text: strings as they are, NULL as those four letters, arrays and objects as JSON."""
    if value is None:
        return "NULL"
    return value if isinstance(value, str) else compact(value)
