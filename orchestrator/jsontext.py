"""JSON texts that keep every digit and every key in its place.

Numbers never pass through a float: they are read as ``Number``, the very characters of the text, and printed so.
Objects keep the order of their keys. Nesting is limited by memory only, whatever the depth of the call stack,
so that a warm worker and a cold replay read the same text alike. Time is linear in the length of the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from json import decoder
from json.encoder import encode_basestring
from typing import NoReturn, TypeAlias


class Number(str):
    """A JSON number as it was written. Test for it before testing for ``str``."""

    __slots__ = ()


Json: TypeAlias = "bool | Number | str | list[Json] | dict[str, Json] | None"


class JsonError(ValueError):
    """The text is not JSON."""


def parse(text: str) -> Json:
    """The value of a JSON text; of equal keys the last one counts, at the first one's place. Raises ``JsonError``."""
    value, end = parse_prefix(text, _skip_blanks(text, 0))
    if _skip_blanks(text, end) != len(text):
        raise JsonError(f"more text after the JSON value at character {end}")
    return value


def parse_prefix(text: str, start: int) -> tuple[Json, int]:
    """The JSON value that begins at ``start``, and where it ends. Raises ``JsonError``."""
    try:
        return _DECODER.raw_decode(text, start)
    except RecursionError:
        return _parse_deep(text, start)
    except ValueError as error:
        raise JsonError(str(error)) from None


def compact(value: Json) -> str:
    """The value as JSON without blanks; characters outside ASCII stay themselves, lone surrogates are escaped."""
    if isinstance(value, (str, bool)) or value is None:
        return _escape_surrogates(_scalar(value))
    out: list[str] = []
    todo: list[Json | _Piece] = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, _Piece):
            out.append(item)
        elif isinstance(item, dict):
            todo.extend(reversed(_object_pieces(item)))
        elif isinstance(item, list):
            todo.extend(reversed(_array_pieces(item)))
        else:
            out.append(_scalar(item))
    return _escape_surrogates("".join(out))


class _Piece(str):
    """Text that is JSON already: brackets, commas, keys."""

    __slots__ = ()


_BLANKS = re.compile(r"[ \t\n\r]*")
_SURROGATE = re.compile("[\ud800-\udfff]")
_DEEP_TOKEN = re.compile(
    r"""[ \t\n\r]*(?:(?P<mark>[\[\]{},:])|(?P<string>")"""
    r"""|(?P<number>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)|(?P<word>true|false|null))"""
)
_scan_string: Callable[[str, int, bool], tuple[str, int]] = vars(decoder)["scanstring"]
_WORDS: dict[str, Json] = {"true": True, "false": False, "null": None}


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


_DECODER = json.JSONDecoder(parse_float=Number, parse_int=Number, parse_constant=_refuse_constant)


def _skip_blanks(text: str, start: int) -> int:
    found = _BLANKS.match(text, start)
    assert found is not None
    return found.end()


def _scalar(value: Json) -> str:
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, str):
        return encode_basestring(value)
    if value is None:
        return "null"
    return "true" if value else "false"


def _escape_surrogates(text: str) -> str:
    if text.isascii():
        return text
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _object_pieces(item: dict[str, Json]) -> list[Json | _Piece]:
    pieces: list[Json | _Piece] = []
    before = "{"
    for key, member in item.items():
        pieces.append(_Piece(f"{before}{encode_basestring(key)}:"))
        pieces.append(member)
        before = ","
    pieces.append(_Piece("}" if pieces else "{}"))
    return pieces


def _array_pieces(item: list[Json]) -> list[Json | _Piece]:
    pieces: list[Json | _Piece] = []
    before = "["
    for member in item:
        pieces.append(_Piece(before))
        pieces.append(member)
        before = ","
    pieces.append(_Piece("]" if pieces else "[]"))
    return pieces


class _Deep:
    """A parser that keeps its containers on a list of its own instead of the call stack."""

    __slots__ = ("keys", "open", "pos", "text")

    def __init__(self, text: str, start: int) -> None:
        self.text = text
        self.pos = start
        self.open: list[list[Json] | dict[str, Json]] = []
        self.keys: list[str] = []

    def run(self) -> Json:
        while True:
            value, whole = self._begin()
            while whole:
                if not self.open:
                    return value
                value, whole = self._add(value)

    def _token(self) -> tuple[str, str]:
        found = _DEEP_TOKEN.match(self.text, self.pos)
        if found is None or found.lastgroup is None:
            raise JsonError(f"not JSON at character {self.pos}")
        if found.lastgroup == "string":
            try:
                text, self.pos = _scan_string(self.text, found.end(), True)
            except ValueError as error:
                raise JsonError(str(error)) from None
            return "string", text
        self.pos = found.end()
        return found.lastgroup, found[found.lastgroup]

    def _begin(self) -> tuple[Json, bool]:
        """The next value, and whether it is whole; a container with members is opened and not whole."""
        kind, text = self._token()
        if kind == "string":
            return text, True
        if kind == "number":
            return Number(text), True
        if kind == "word":
            return _WORDS[text], True
        if text not in "[{":
            raise JsonError(f"unexpected {text} before character {self.pos}")
        return self._open(text)

    def _open(self, bracket: str) -> tuple[Json, bool]:
        empty: list[Json] | dict[str, Json] = [] if bracket == "[" else {}
        after = _skip_blanks(self.text, self.pos)
        if self.text[after : after + 1] == ("]" if bracket == "[" else "}"):
            self.pos = after + 1
            return empty, True
        self.open.append(empty)
        if bracket == "{":
            self._key()
        return empty, False

    def _key(self) -> None:
        kind, key = self._token()
        if kind != "string" or self._token() != ("mark", ":"):
            raise JsonError(f"a key and a colon are missing before character {self.pos}")
        self.keys.append(key)

    def _add(self, value: Json) -> tuple[Json, bool]:
        """Put a whole value into the innermost container; answer that container and whether it is whole now."""
        inner = self.open[-1]
        if isinstance(inner, dict):
            inner[self.keys.pop()] = value
        else:
            inner.append(value)
        mark = self._token()
        if mark == ("mark", ","):
            if isinstance(inner, dict):
                self._key()
            return inner, False
        if mark != ("mark", "}" if isinstance(inner, dict) else "]"):
            raise JsonError(f"a comma or the end is missing before character {self.pos}")
        return self.open.pop(), True


def _parse_deep(text: str, start: int) -> tuple[Json, int]:
    parser = _Deep(text, start)
    value = parser.run()
    return value, parser.pos
