"""Truth of a raw result, as a condition of IF or LOOP judges it."""

from __future__ import annotations

import re

from perdure.orchestrator.jsontext import Json, Number
from perdure.orchestrator.rawresult import RowSet, Text, read

_ZERO = re.compile(r"[+-]?(?:0+(?:\.0*)?|\.0+)(?:[eE][+-]?[0-9]+)?")
_FALSE_WORDS = frozenset(("", "false", "f", "no"))


def is_true(raw: str) -> bool:
    """Whether a result counts as true.

    A row set is judged by the first column of its first row and is false without rows; anything else as a whole.
    Numbers are true unless zero, also when written as text; of other text only '', 'false', 'f' and 'no' are
    false; arrays and objects are true unless empty; null is never true.
    """
    result = read(raw)
    if isinstance(result, Text):
        return _value_is_true(result.text)
    if not isinstance(result, RowSet):
        return _value_is_true(result.value)
    if result.first is None:
        return False
    # A row without columns leaves the whole object to be judged, and that is not empty.
    return _value_is_true(next(iter(result.first.values()))) if result.first else True


def _value_is_true(value: Json) -> bool:
    if isinstance(value, Number):
        return _ZERO.fullmatch(value) is None
    if isinstance(value, str):
        word = value.strip().lower()
        return word not in _FALSE_WORDS and _ZERO.fullmatch(word) is None
    return bool(value)
