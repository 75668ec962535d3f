"""Rows of a SQL result, in PostgreSQL's text format, as the raw text ``{"rows":[{..}],"row_count":N}``.

Columns stand in declared order; of columns with one name the last value counts, at the first one's place.

    bool, integers                      true / false, the number
    float4, float8                      the number, ``3.0`` for 3 so that it stays a fraction; NaN, Infinity: null
    numeric                             a string, every digit kept
    timestamptz                         a string, RFC 3339 in UTC: 2024-06-15T12:30:00+00:00
    timestamp                           a string: 2024-06-15T12:30:00
    json, jsonb                         themselves, without blanks
    void, NULL                          null
    other scalars of PostgreSQL's own   a string, the type's text: what to_json gives
    arrays, composites, enums, and
    whatever else has an unknown oid    as to_json gives it; only the server can say, see ``exotic_columns``
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from json.encoder import encode_basestring
from typing import TypeAlias

from perdure.activities.failures import ActivityError, Failure


@dataclass(frozen=True, slots=True)
class Column:
    """A result column as the server describes it; a domain has its base type's oid."""

    name: str
    type_oid: int


@dataclass(frozen=True, slots=True)
class Encoded:
    """A raw result. ``needs_check``: a JSON value in it may hold what jsonb refuses (``unsupported_unicode``)."""

    text: str
    row_count: int
    needs_check: bool


class ResultTooLarge(ActivityError):
    """The result passes the limit (bytes)."""

    def __init__(self, limit: int) -> None:
        super().__init__(Failure(message=f"result is larger than the limit of {limit} bytes", sqlstate="54000"))
        self.limit = limit


class NeedsServer(Exception):
    """A value of this column (index) has a text that only the server can turn into JSON."""

    def __init__(self, column: int) -> None:
        super().__init__(f"column {column} has to be converted by the server")
        self.column = column


def exotic_columns(columns: Sequence[Column]) -> list[int]:
    """The columns whose values the server has to give as to_json text, see ``as_json``."""
    return [index for index, column in enumerate(columns) if column.type_oid not in _CONVERTERS]


def encode_rows(
    columns: Sequence[Column],
    rows: Iterable[Sequence[bytes | None]],
    limit_bytes: int,
    as_json: AbstractSet[int] = frozenset(),
) -> Encoded:
    """All rows at once; raises as ``RowEncoder`` does."""
    encoder = RowEncoder(columns, limit_bytes, as_json)
    for row in rows:
        encoder.add(row)
    return Encoded(encoder.finish(), encoder.row_count, encoder.needs_check)


class RowEncoder:
    """Builds the raw text row by row.

    Values are bytes in UTF-8, as libpq gives them in text format. The columns in ``as_json`` come as to_json text.
    Raises ResultTooLarge as soon as the text passes ``limit_bytes``, NeedsServer for a date or time whose text is not
    ISO, ActivityError for bytes that are no UTF-8.
    """

    __slots__ = ("_columns", "_limit", "_plan", "_rows", "needs_check", "row_count", "size")

    def __init__(self, columns: Sequence[Column], limit_bytes: int, as_json: AbstractSet[int] = frozenset()) -> None:
        self._columns = columns
        self._limit = limit_bytes
        self._plan = _plan(columns, as_json)
        self._rows: list[str] = []
        self.size = len('{"rows":[],"row_count":0}')
        self.row_count = 0
        self.needs_check = False

    def add(self, row: Sequence[bytes | None]) -> None:
        """Take one more row."""
        parts = []
        for before, index, convert, is_json in self._plan:
            parts.append(before)
            value = row[index]
            if value is None:
                parts.append("null")
                continue
            if len(value) > self._limit:
                raise ResultTooLarge(self._limit)
            try:
                text = convert(value)
            except ValueError as error:
                raise self._refusal(index, error) from None
            if is_json and not self.needs_check and _may_be_refused(text):
                self.needs_check = True
            parts.append(text)
        text = "".join(parts) + "}" if parts else "{}"
        self.size += 1 + (len(text) if text.isascii() else len(text.encode()))
        if self.size > self._limit:
            raise ResultTooLarge(self._limit)
        self._rows.append(text)
        self.row_count += 1

    def finish(self) -> str:
        """The raw text of the rows taken so far."""
        return f'{{"rows":[{",".join(self._rows)}],"row_count":{self.row_count}}}'

    def _refusal(self, index: int, error: ValueError) -> Exception:
        if not isinstance(error, UnicodeDecodeError):
            return NeedsServer(index)
        name = self._columns[index].name
        return ActivityError(Failure(message=f"column '{name}' holds bytes that are not valid UTF-8", sqlstate="22021"))


def unsupported_unicode(text: str) -> bool:
    """Whether a JSON text holds escapes that jsonb refuses: \\u0000, or half of a surrogate pair."""
    high_ends = -1
    for found in _ESCAPE.finditer(text):
        code = int(found[1], 16) if found[1] else -1
        if 0xDC00 <= code <= 0xDFFF and high_ends == found.start():
            high_ends = -1
            continue
        if high_ends >= 0 or code == 0 or 0xDC00 <= code <= 0xDFFF:
            return True
        high_ends = found.end() if 0xD800 <= code <= 0xDBFF else -1
    return high_ends >= 0


_Convert: TypeAlias = Callable[[bytes], str]

_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)
_REFUSABLE = re.compile(r"\\u(?:0000|[dD][89a-fA-F])|[0-9][eE][+-]?[0-9]{4}|(?<![0-9])[0-9]{16000}")
_JSON_STRING_OR_BLANKS = re.compile(r'("[^"\\]*(?:\\.[^"\\]*)*")|[ \t\n\r]+', re.DOTALL)
_BLANK = re.compile(r"[ \t\n\r]")


def _may_be_refused(json: str) -> bool:
    """Whether jsonb might refuse a text that json took: for its escapes, or for numbers past numeric's range."""
    return _REFUSABLE.search(json) is not None


def _as_is(value: bytes) -> str:
    return value.decode("ascii")


def _boolean(value: bytes) -> str:
    return "true" if value == b"t" else "false"


def _float(value: bytes) -> str:
    text = value.decode("ascii")
    if text.lstrip("-").isdigit():
        return text + ".0"
    return "null" if text[-1] in "Ny" else text  # NaN, Infinity, -Infinity


def _string(value: bytes) -> str:
    return encode_basestring(value.decode())


def _ascii_string(value: bytes) -> str:
    return f'"{value.decode("ascii")}"'


def _void(_value: bytes) -> str:
    return "null"


def _json(value: bytes) -> str:
    text = value.decode()
    if _BLANK.search(text) is None:
        return text
    return _JSON_STRING_OR_BLANKS.sub(lambda found: found[1] or "", text)


_DAY = r"[0-9]{4,}-[0-9]{2}-[0-9]{2}"
_DATE = re.compile(rf"{_DAY}( BC)?")
_TIMESTAMP = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[ T]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,6}))?"
    r"(?:([+-])([0-9]{2})(?::?([0-9]{2}))?(?::([0-9]{2}))?)?"
)
_UNUSUAL = re.compile(rf"-?infinity|[0-9]{{5,}}-[0-9].*|{_DAY}.* BC")


def _date(value: bytes) -> str:
    text = value.decode("ascii")
    if _DATE.fullmatch(text) is None and _UNUSUAL.fullmatch(text) is None:
        raise ValueError(text)
    return f'"{text}"'


def _timestamp(value: bytes) -> str:
    text = value.decode("ascii")
    found = _TIMESTAMP.fullmatch(text)
    if found is None or found[4] is not None:
        return _unusual(text)
    return f'"{found[1]}T{found[2]}{_fraction(found[3])}"'


def _timestamptz(value: bytes) -> str:
    text = value.decode("ascii")
    found = _TIMESTAMP.fullmatch(text)
    if found is None or found[4] is None:
        return _unusual(text)
    day, time, fraction, sign, hours, minutes, seconds = found.groups()
    offset = timedelta(hours=int(hours), minutes=int(minutes or 0), seconds=int(seconds or 0))
    if offset:
        zone = timezone(-offset if sign == "-" else offset)
        try:
            moment = datetime.fromisoformat(f"{day} {time}").replace(tzinfo=zone).astimezone(UTC)
        except OverflowError:
            return f'"{text}"'  # in UTC it falls out of the years 1 to 9999
        day, time = moment.date().isoformat(), moment.time().isoformat()
    return f'"{day}T{time}{_fraction(fraction)}+00:00"'


def _unusual(text: str) -> str:
    """Infinity, years BC or past 9999: the server's own text. Raises ValueError for what is not ISO at all."""
    if _UNUSUAL.fullmatch(text) is None:
        raise ValueError(text)
    return f'"{text}"'


def _fraction(digits: str | None) -> str:
    if not digits or not digits.strip("0"):
        return ""
    full = digits.ljust(6, "0")
    return "." + (full[:3] if full.endswith("000") else full)


def _server_time(convert: _Convert) -> _Convert:
    """For a date or time that comes as to_json text: the same form as without the server, where that is possible."""

    def converted(value: bytes) -> str:
        try:
            return convert(value.strip(b'"'))
        except ValueError:
            return value.decode()

    return converted


_STRING_TYPES = (
    # "char" name text unknown bpchar varchar, bytea, xml, jsonpath, refcursor
    *(18, 19, 25, 705, 1042, 1043, 17, 142, 4072, 1790),
    # oid tid xid cid xid8, reg*, pg_lsn, snapshots
    *(26, 27, 28, 29, 5069, 24, 2202, 2203, 2204, 2205, 2206, 3734, 3769, 4089, 4096, 4191, 3220, 2970, 5038),
    # time interval timetz, money, bit varbit, inet cidr macaddr macaddr8
    *(1083, 1186, 1266, 790, 1560, 1562, 869, 650, 829, 774),
    # point lseg path box polygon line circle, tsvector tsquery, aclitem
    *(600, 601, 602, 603, 604, 628, 718, 3614, 3615, 1033),
    # ranges and multiranges
    *(3904, 3906, 3908, 3910, 3912, 3926, 4451, 4532, 4533, 4534, 4535, 4536),
)
_JSON_TYPES = frozenset((114, 3802))
_TIMES: dict[int, _Convert] = {1082: _date, 1114: _timestamp, 1184: _timestamptz}
_CONVERTERS: dict[int, _Convert] = {
    16: _boolean,
    20: _as_is,
    21: _as_is,
    23: _as_is,
    114: _json,
    700: _float,
    701: _float,
    1700: _ascii_string,
    2278: _void,
    2950: _ascii_string,
    3802: _json,
    **_TIMES,
    **dict.fromkeys(_STRING_TYPES, _string),
}


def _plan(columns: Sequence[Column], as_json: AbstractSet[int]) -> list[tuple[str, int, _Convert, bool]]:
    """For each key: the text before its value, the column to take, its converter, whether it brings JSON along."""
    last = {column.name: index for index, column in enumerate(columns)}
    plan: list[tuple[str, int, _Convert, bool]] = []
    for name, index in last.items():
        convert, is_json = _converter(columns[index].type_oid, index in as_json)
        plan.append((f"{',' if plan else '{'}{encode_basestring(name)}:", index, convert, is_json))
    return plan


def _converter(type_oid: int, as_json: bool) -> tuple[_Convert, bool]:
    if as_json and type_oid in _TIMES:
        return _server_time(_TIMES[type_oid]), False
    if as_json or type_oid in _JSON_TYPES:
        return _json, True
    if type_oid not in _CONVERTERS:
        raise ValueError(f"the server has to convert type {type_oid}")
    return _CONVERTERS[type_oid], False
