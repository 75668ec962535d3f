from __future__ import annotations

import pytest

from perdure.orchestrator import jsontext
from perdure.orchestrator.jsontext import JsonError, Number, compact, parse, parse_prefix

GOOD = [
    ("1", "1"),
    (" -0.0e+10 ", "-0.0e+10"),
    ("123456789012345678901234567890.123456789012345678901234567890",) * 2,
    ('{"b":1,"a":[true,false,null,{}],"b":2}', '{"b":2,"a":[true,false,null,{}]}'),
    ('[ 1 , "x y" ,\n[ ] ]', '[1,"x y",[]]'),
    (r'"\u00e9\n\"\\\/\u001f"', '"é\\n\\"\\\\/\\u001f"'),
    (r'"\ud83d\ude00"', '"😀"'),
    (r'["\ud800"]', r'["\ud800"]'),
    (r'{"\udc00":0}', r'{"\udc00":0}'),
    ('""', '""'),
]
BAD = [
    "",
    " ",
    "nul",
    "NaN",
    "[Infinity]",
    "-Infinity",
    "01",
    "1.",
    ".5",
    "+1",
    "1 2",
    "[1,]",
    "[1",
    "[1}",
    "{",
    "{1:2}",
    '{"a"}',
    '{"a":1,}',
    '{"a":1]',
    '"a\nb"',
    '"a',
    r'"\x"',
    r'"\u12"',
    "\ufeff1",
    "'a'",
    "]",
    "١",
]


def read_deep(text: str) -> jsontext.Json:
    """The slow parser alone, which steps in where the fast one runs out of stack."""
    value, end = jsontext._parse_deep(text, 0)
    if text[end:].strip(" \t\n\r"):
        raise JsonError("more")
    return value


@pytest.mark.parametrize("read", [parse, read_deep])
@pytest.mark.parametrize(("text", "printed"), GOOD)
def test_numbers_and_order_are_kept(read, text: str, printed: str) -> None:
    assert compact(read(text)) == printed


@pytest.mark.parametrize("read", [parse, read_deep])
@pytest.mark.parametrize("text", BAD)
def test_what_is_not_json_is_refused(read, text: str) -> None:
    with pytest.raises(JsonError):
        read(text)


def test_numbers_are_their_own_type() -> None:
    value = parse('[1, "1"]')
    assert isinstance(value, list)
    assert isinstance(value[0], Number)
    assert not isinstance(value[1], Number)


def test_very_long_numbers_and_deep_nesting_are_read_and_printed() -> None:
    digits = "9" * 100_000
    assert parse(digits) == digits
    for deep in ("[" * 20_000 + "1" + "]" * 20_000, '{"a":' * 20_000 + "null" + "}" * 20_000):
        assert compact(parse(deep)) == deep


def test_a_prefix_is_read_up_to_its_end() -> None:
    assert parse_prefix('xx{"a":1},more', 2) == ({"a": "1"}, 9)
