from __future__ import annotations

import json

import pytest

from perdure.orchestrator.truth import is_true

TRUE = ["true", "1", "-1", "0.1", "1e-400", '"true"', '"T"', '" yes "', '"off"', '"n"', '"0.10"', '"nan"', '"x"', "[0]"]
TRUE += ['{"a":null}']
FALSE = ["false", "0", "-0.0", "0e5", '""', '"  "', '"False"', '"f"', '"NO"', '"0"', '" 0.00 "', '"-0"', '"+.0e9"']
FALSE += ["null", "[]", "{}"]


@pytest.mark.parametrize("value", TRUE)
def test_true_values(value: str) -> None:
    assert is_true(value)
    assert is_true(f'{{"rows":[{{"a":{value},"b":false}}],"row_count":1}}')


@pytest.mark.parametrize("value", FALSE)
def test_false_values(value: str) -> None:
    assert not is_true(value)
    assert not is_true(f'{{"rows":[{{"a":{value},"b":true}},{{"a":true,"b":true}}],"row_count":2}}')


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ('{"rows":[],"row_count":0}', False),
        ('{"rows": [], "row_count": 0}', False),
        ('{"row_count":1,"rows":[{"a":0}]}', False),
        ('{"rows":[{}],"row_count":1}', True),
        ('{"rows":[0],"row_count":1}', True),
        ('{"rows":5}', True),
        ('{"slept": true, "seconds": 0}', True),
        ("text", True),
        ("no", False),
        (" 0 ", False),
        ("", False),
        ("NaN", True),
    ],
)
def test_whole_results(raw: str, expected: bool) -> None:
    assert is_true(raw) is expected


def test_only_the_first_row_of_a_large_result_is_read() -> None:
    large = json.dumps({"rows": [{"a": 0}] + [{"a": "x" * 1000}] * 10_000, "row_count": 10_001}, separators=(",", ":"))
    assert not is_true(large)


def test_depth_does_not_matter() -> None:
    assert is_true("[" * 30_000 + "]" * 30_000)
