from __future__ import annotations

import json

import pytest

from perdure.activities.encode import (
    Column,
    NeedsServer,
    ResultTooLarge,
    RowEncoder,
    encode_rows,
    exotic_columns,
    unsupported_unicode,
)
from perdure.activities.failures import ActivityError

BOOL, INT8, INT2, INT4, TEXT, JSON, FLOAT4, FLOAT8 = 16, 20, 21, 23, 25, 114, 700, 701
BPCHAR, DATE, TIMESTAMP, TIMESTAMPTZ, NUMERIC, VOID, UUID, JSONB = 1042, 1082, 1114, 1184, 1700, 2278, 2950, 3802
INT4_ARRAY, BYTEA, INTERVAL, INT4RANGE, ENUM = 1007, 17, 1186, 3904, 16400
LIMIT = 1 << 20


def encoded(type_oid: int, text: str | None, **options) -> str:
    """The value as it stands in the raw text."""
    row = [None if text is None else text.encode()]
    raw = encode_rows([Column("c", type_oid)], [row], LIMIT, **options).text
    head, tail = '{"rows":[{"c":', '}],"row_count":1}'
    assert raw.startswith(head)
    assert raw.endswith(tail)
    return raw[len(head) : -len(tail)]


@pytest.mark.parametrize(
    ("type_oid", "text", "expected"),
    [
        (BOOL, "t", "true"),
        (BOOL, "f", "false"),
        (INT2, "-7", "-7"),
        (INT4, "0", "0"),
        (INT8, "9223372036854775807", "9223372036854775807"),
        (FLOAT8, "0.1", "0.1"),
        (FLOAT8, "3", "3.0"),
        (FLOAT8, "-0", "-0.0"),
        (FLOAT8, "1e+300", "1e+300"),
        (FLOAT8, "NaN", "null"),
        (FLOAT8, "Infinity", "null"),
        (FLOAT4, "-Infinity", "null"),
        (FLOAT4, "3.14", "3.14"),
        (NUMERIC, "12345678901234567890.1234567890", '"12345678901234567890.1234567890"'),
        (NUMERIC, "NaN", '"NaN"'),
        (TEXT, 'é "x" \\ \n \x01 \x7f 😀', '"é \\"x\\" \\\\ \\n \\u0001 \x7f 😀"'),
        (TEXT, "", '""'),
        (BPCHAR, "ab  ", '"ab  "'),
        (UUID, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", '"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"'),
        (DATE, "2024-06-15", '"2024-06-15"'),
        (DATE, "infinity", '"infinity"'),
        (DATE, "0044-03-15 BC", '"0044-03-15 BC"'),
        (DATE, "12024-06-15", '"12024-06-15"'),
        (TIMESTAMP, "2024-06-15 12:30:00", '"2024-06-15T12:30:00"'),
        (TIMESTAMP, "2024-06-15 12:30:00.5", '"2024-06-15T12:30:00.500"'),
        (TIMESTAMP, "2024-06-15 12:30:00.123456", '"2024-06-15T12:30:00.123456"'),
        (TIMESTAMP, "2024-06-15 12:30:00.1234", '"2024-06-15T12:30:00.123400"'),
        (TIMESTAMP, "-infinity", '"-infinity"'),
        (TIMESTAMPTZ, "2024-06-15 12:30:00+00", '"2024-06-15T12:30:00+00:00"'),
        (TIMESTAMPTZ, "2024-06-15 14:30:00.25+02", '"2024-06-15T12:30:00.250+00:00"'),
        (TIMESTAMPTZ, "2024-06-15 00:15:00+05:45", '"2024-06-14T18:30:00+00:00"'),
        (TIMESTAMPTZ, "2024-12-31 22:00:00-03", '"2025-01-01T01:00:00+00:00"'),
        (TIMESTAMPTZ, "1890-01-01 00:00:00-00:25:21", '"1890-01-01T00:25:21+00:00"'),
        (TIMESTAMPTZ, "0044-03-15 12:00:00+00 BC", '"0044-03-15 12:00:00+00 BC"'),
        (TIMESTAMPTZ, "0001-01-01 00:00:00+02", '"0001-01-01 00:00:00+02"'),
        (TIMESTAMPTZ, "10000-01-01 00:00:00+00", '"10000-01-01 00:00:00+00"'),
        (TIMESTAMPTZ, "infinity", '"infinity"'),
        (JSONB, '{"b": [1, 2.50], "a": "x: , y\\" z"}', '{"b":[1,2.50],"a":"x: , y\\" z"}'),
        (JSON, '{\n "b" : 1E400,\t"b":\r2 }', '{"b":1E400,"b":2}'),
        (JSON, '"\\\\" ', '"\\\\"'),
        (VOID, "", "null"),
        (BYTEA, "\\x00ff", '"\\\\x00ff"'),
        (INTERVAL, "1 day 02:00:00", '"1 day 02:00:00"'),
        (INT4RANGE, "[1,5)", '"[1,5)"'),
    ],
)
def test_values_by_type(type_oid: int, text: str, expected: str) -> None:
    assert encoded(type_oid, text) == expected
    json.loads(expected)
    assert encoded(type_oid, None) == "null"


@pytest.mark.parametrize(
    ("type_oid", "text", "expected"),
    [
        (INT4_ARRAY, "[1,2,null]", "[1,2,null]"),
        (ENUM, '"happy"', '"happy"'),
        (16401, '{"a":1,"b":"x y"}', '{"a":1,"b":"x y"}'),
        (TIMESTAMPTZ, '"2024-06-15T14:30:00.1+02:00"', '"2024-06-15T12:30:00.100+00:00"'),
        (TIMESTAMP, '"2024-06-15T14:30:00"', '"2024-06-15T14:30:00"'),
        (DATE, '"2024-06-15"', '"2024-06-15"'),
        (TIMESTAMPTZ, '"infinity"', '"infinity"'),
    ],
)
def test_values_that_the_server_has_converted(type_oid: int, text: str, expected: str) -> None:
    assert encoded(type_oid, text, as_json={0}) == expected


def test_columns_that_only_the_server_can_convert_are_named() -> None:
    types = [INT4, INT4_ARRAY, TEXT, ENUM, BYTEA, 2249]
    assert exotic_columns([Column("c", type_oid) for type_oid in types]) == [1, 3, 5]
    with pytest.raises(ValueError, match="1007"):
        RowEncoder([Column("c", INT4_ARRAY)], LIMIT)


def test_columns_keep_their_order_and_of_equal_names_the_last_counts_at_the_first_place() -> None:
    columns = [Column("z", INT4), Column("a", INT4), Column("?column?", TEXT), Column("z", TEXT), Column('q"', BOOL)]
    raw = encode_rows(columns, [(b"1", b"2", b"3", b"4", b"t"), (b"1", None, None, None, None)], LIMIT)
    assert raw.text == (
        '{"rows":[{"z":"4","a":2,"?column?":"3","q\\"":true},{"z":null,"a":null,"?column?":null,"q\\"":null}],'
        '"row_count":2}'
    )
    assert raw.row_count == 2
    assert not raw.needs_check


def test_no_rows_and_no_columns() -> None:
    assert encode_rows([Column("a", INT4)], [], LIMIT).text == '{"rows":[],"row_count":0}'
    assert encode_rows([], [(), ()], LIMIT).text == '{"rows":[{},{}],"row_count":2}'


@pytest.mark.parametrize(
    ("type_oid", "text"),
    [
        (TIMESTAMPTZ, "15/06/2024 12:30:00 CEST"),
        (TIMESTAMPTZ, "Sat 15 Jun 12:30:00 2024 UTC"),
        (TIMESTAMPTZ, "2024-06-15 12:30:00"),
        (TIMESTAMP, "06-15-2024 12:30:00"),
        (TIMESTAMP, "15.06.2024 12:30:00"),
        (DATE, "15.06.2024"),
        (DATE, "06/15/2024"),
        (DATE, "03-15-0044 BC"),
    ],
)
def test_a_date_that_is_not_iso_is_left_to_the_server(type_oid: int, text: str) -> None:
    encoder = RowEncoder([Column("a", INT4), Column("b", type_oid)], LIMIT)
    with pytest.raises(NeedsServer) as caught:
        encoder.add((b"1", text.encode()))
    assert caught.value.column == 1


def test_the_limit_is_noticed_at_the_row_that_passes_it() -> None:
    row = (b"x" * 10,)
    size = len(encode_rows([Column("a", TEXT)], [row] * 3, LIMIT).text)
    assert encode_rows([Column("a", TEXT)], [row] * 3, size + 1).row_count == 3
    encoder = RowEncoder([Column("a", TEXT)], size - 1)
    encoder.add(row)
    encoder.add(row)
    with pytest.raises(ResultTooLarge, match=f"limit of {size - 1} bytes") as caught:
        encoder.add(row)
    assert caught.value.limit == size - 1


def test_the_limit_counts_bytes_and_looks_at_values_before_converting_them() -> None:
    with pytest.raises(ResultTooLarge):
        encode_rows([Column("a", TEXT)], [("é" * 60).encode().split(b"\n")], 120)
    with pytest.raises(ResultTooLarge):
        encode_rows([Column("a", INT4)], [(b"not a number" * 100,)], 120)


def test_bytes_that_are_not_utf8_are_a_failure_that_names_the_column() -> None:
    with pytest.raises(ActivityError, match="column 'a' holds bytes that are not valid UTF-8") as caught:
        encode_rows([Column("a", TEXT)], [(b"\xff",)], LIMIT)
    assert not caught.value.failure.transient


@pytest.mark.parametrize(
    ("type_oid", "text", "expected"),
    [
        (JSON, '"\\u0000"', True),
        (JSON, '"\\ud800"', True),
        (JSON, "1e999999", True),
        (JSON, "9" * 20_000, True),
        (JSON, "9" * 15_000, False),
        (JSON, '"\\u00e9 \\n"', False),
        (JSON, '"2e1000s"', True),
        (TEXT, "\\u0000", False),
    ],
)
def test_only_json_columns_can_bring_what_jsonb_refuses(type_oid: int, text: str, expected: bool) -> None:
    assert encode_rows([Column("a", type_oid)], [(text.encode(),)], LIMIT).needs_check is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r'"\u0000"', True),
        (r'"\\u0000"', False),
        (r'"\\\u0000"', True),
        (r'"\u0001"', False),
        (r'"\ud83d\ude00"', False),
        (r'"\uD83D\uDE00\ud83d\ude00"', False),
        (r'"\ud83d"', True),
        (r'"\ud83d x"', True),
        (r'"\ud83dx\ude00"', True),
        (r'"\ud83d\ud83d\ude00"', True),
        (r'"\ude00"', True),
        (r'"\ude00\ud83d"', True),
        (r'"\ud83d\n"', True),
        ('"plain"', False),
    ],
)
def test_escapes_that_jsonb_refuses(text: str, expected: bool) -> None:
    assert unsupported_unicode(text) is expected
