from __future__ import annotations

import math

import pytest

from perdure.activities.retry import LONGEST_DELAY, next_delay
from perdure.activities.sqlstates import is_transient, sql_failure

ALMOST_ONE = math.nextafter(1.0, 0.0)


@pytest.mark.parametrize(
    ("attempt", "unit", "expected"),
    [
        (1, 0.0, 0.025),
        (1, ALMOST_ONE, 0.1),
        (2, ALMOST_ONE, 0.2),
        (3, ALMOST_ONE, 0.4),
        (3, 0.0, 0.1),
        (7, ALMOST_ONE, LONGEST_DELAY),
        (10**9, 0.5, LONGEST_DELAY * 0.625),
    ],
)
def test_delays_double_and_are_spread(attempt: int, unit: float, expected: float) -> None:
    assert next_delay(attempt, 0.0, 1000.0, unit, None) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("elapsed", "retry_after", "expected"),
    [
        (0.0, 3.0, 3.0),
        (0.0, 0.0, 0.0625),
        (0.0, -5.0, 0.0625),
        (0.0, math.nan, 0.0625),
        (0.0, 3600.0, 15.0),
        (10.0, math.inf, 5.0),
        (14.99, None, 0.01),
        (15.0, None, None),
        (15.0, 1.0, None),
        (99.0, None, None),
        (math.nan, None, None),
    ],
)
def test_the_servers_wish_is_kept_within_the_time_that_is_left(elapsed, retry_after, expected) -> None:
    found = next_delay(1, elapsed, 15.0, 0.5, retry_after)
    assert found == (expected if expected is None else pytest.approx(expected))


def test_attempts_end() -> None:
    elapsed, attempts = 0.0, 0
    while (delay := next_delay(attempts + 1, elapsed, 15.0, 0.0, None)) is not None:
        elapsed, attempts = elapsed + delay, attempts + 1
    assert elapsed == pytest.approx(15.0)
    assert attempts < 30


@pytest.mark.parametrize(
    "sqlstate",
    [None, "08000", "08003", "08006", "40001", "40P01", "53100", "53200", "53300", "57P01", "57P02", "57P03"],
)
def test_what_may_pass_is_transient(sqlstate: str | None) -> None:
    assert is_transient(sqlstate)


@pytest.mark.parametrize(
    "sqlstate",
    ["22012", "23505", "25001", "25006", "25P02", "42601", "08P01", "57014", "53400", "57P04", "55P03", "P0001", ""],
)
def test_what_will_fail_again_is_not(sqlstate: str) -> None:
    assert not is_transient(sqlstate)


def test_a_failure_keeps_the_servers_words() -> None:
    failure = sql_failure("22012", "division by zero", "d", "h")
    assert failure.message == "SQL execution failed: error returned from database: division by zero"
    assert failure.as_payload(1) == {
        "message": failure.message,
        "sqlstate": "22012",
        "detail": "d",
        "hint": "h",
        "attempt": 1,
    }
    assert not failure.transient
    assert sql_failure("40P01", "deadlock detected", None, None).transient
