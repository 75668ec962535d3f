from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from perdure.orchestrator.cron import CronError, next_tick, validate


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def ticks(expr: str, timezone: str | None, after: str, count: int) -> list[str]:
    found, moment = [], at(after)
    for _ in range(count):
        later = next_tick(expr, timezone, moment)
        assert later > moment
        assert later.utcoffset() == timedelta(0)
        moment = later
        found.append(f"{moment:%Y-%m-%d %H:%M}")
    return found


@pytest.mark.parametrize(
    ("expr", "after", "expected"),
    [
        ("* * * * *", "2024-06-15 12:30:00", "2024-06-15 12:31"),
        ("* * * * *", "2024-06-15 12:30:59.999999", "2024-06-15 12:31"),
        ("*/15 * * * *", "2024-06-15 12:45", "2024-06-15 13:00"),
        ("5/20 * * * *", "2024-06-15 12:45", "2024-06-15 13:05"),
        ("10-20/5 8-17 * * *", "2024-06-15 17:20", "2024-06-16 08:10"),
        ("0,30 9 * * *", "2024-06-15 09:00", "2024-06-15 09:30"),
        # 15 June 2024 is a Saturday
        ("0 9 * * 1-5", "2024-06-15 00:00", "2024-06-17 09:00"),
        ("0 9 * * 0", "2024-06-15 00:00", "2024-06-16 09:00"),
        ("0 9 * * 7", "2024-06-15 00:00", "2024-06-16 09:00"),
        ("0 9 * * SUN", "2024-06-15 00:00", "2024-06-16 09:00"),
        ("0 9 * * tues,Thursday", "2024-06-15 00:00", "2024-06-18 09:00"),
        ("0 9 * * fri-sun", "2024-06-16 09:00", "2024-06-21 09:00"),
        ("0 9 * * 5-7", "2024-06-15 09:00", "2024-06-16 09:00"),
        ("0 0 1 jan *", "2024-06-15 00:00", "2025-01-01 00:00"),
        ("0 0 1 February-march *", "2024-06-15 00:00", "2025-02-01 00:00"),
        ("0 0 31 * *", "2024-06-15 00:00", "2024-07-31 00:00"),
        ("0 0 29 2 *", "2024-06-15 00:00", "2028-02-29 00:00"),
        ("0 0 29 2 *", "2096-03-01 00:00", "2104-02-29 00:00"),
        # either day counts if both are restricted
        ("0 0 20 * 1", "2024-06-15 00:00", "2024-06-17 00:00"),
        ("0 0 20 * 1", "2024-06-17 00:00", "2024-06-20 00:00"),
        ("0 0 30 2 1", "2024-06-15 00:00", "2025-02-03 00:00"),
        ("0 0 20 * 0-6", "2024-06-15 00:00", "2024-06-16 00:00"),
        ("0 0 1-31 * 1", "2024-06-15 00:00", "2024-06-16 00:00"),
        ("0 0 ? * 1", "2024-06-15 00:00", "2024-06-17 00:00"),
        ("0 0 20 * ?", "2024-06-15 00:00", "2024-06-20 00:00"),
        ("0 0 20 * */1", "2024-06-15 00:00", "2024-06-20 00:00"),
        # years
        ("0 0 1 1 * 2030", "2024-06-15 00:00", "2030-01-01 00:00"),
        ("0 0 1 1 * 2025-2099/2", "2025-01-01 00:00", "2027-01-01 00:00"),
        ("0 0 29 2 * 2027,2044", "2024-06-15 00:00", "2044-02-29 00:00"),
        ("* * * * * *", "2024-06-15 00:00", "2024-06-15 00:01"),
        # nicknames
        ("@hourly", "2024-06-15 12:30", "2024-06-15 13:00"),
        ("@daily", "2024-06-15 12:30", "2024-06-16 00:00"),
        ("@midnight", "2024-06-15 12:30", "2024-06-16 00:00"),
        ("@Weekly", "2024-06-15 12:30", "2024-06-16 00:00"),
        ("@monthly", "2024-06-15 12:30", "2024-07-01 00:00"),
        ("@yearly", "2024-06-15 12:30", "2025-01-01 00:00"),
        ("@annually", "2024-06-15 12:30", "2025-01-01 00:00"),
        ("  0   0 \t* * *  ", "2024-06-15 12:30", "2024-06-16 00:00"),
    ],
)
def test_the_next_tick_in_utc(expr: str, after: str, expected: str) -> None:
    validate(expr, None)
    assert ticks(expr, None, after, 1) == [expected]


def test_the_time_given_may_be_in_any_zone() -> None:
    after = datetime.fromisoformat("2024-06-15T12:30:00+05:30")
    assert next_tick("0 * * * *", None, after) == at("2024-06-15 08:00")


@pytest.mark.parametrize(
    "expr",
    [
        "",
        "* * * *",
        "* * * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * 32 * *",
        "* * * 13 *",
        "* * * * 8",
        "* * * * * 1969",
        "* * * * * 2101",
        "*/0 * * * *",
        "5-1 * * * *",
        "* * * * 7-1",
        "1,, * * * *",
        "1- * * * *",
        "-1 * * * *",
        "*-5 * * * *",
        "1/2/3 * * * *",
        "* * L * *",
        "* * * * 1#2",
        "* * 15W * *",
        "H * * * *",
        "R * * * *",
        "? * * * *",
        "* * * ja *",
        "* * * * janu",
        "mon * * * *",
        "١ * * * *",
        "@reboot",
        "@every 5m",
        "0 0 30 2 *",
        "0 0 29 2 * 2023",
        "1" * 2000,
    ],
)
def test_a_bad_expression_is_refused(expr: str) -> None:
    with pytest.raises(CronError):
        validate(expr, None)


def test_the_message_names_expression_and_fault() -> None:
    with pytest.raises(CronError, match=r"Invalid cron expression '61 \* \* \* \*': 61 is out of the range 0 to 59"):
        validate("61 * * * *", None)


@pytest.mark.parametrize("timezone", ["Europe/Nowhere", "", "../etc/passwd", "CEST+1", "x" * 500, "a\x00b"])
def test_a_bad_time_zone_is_refused(timezone: str) -> None:
    with pytest.raises(CronError, match="Unknown time zone"):
        validate("* * * * *", timezone)


def test_an_expression_may_have_fired_for_the_last_time() -> None:
    validate("0 0 1 1 * 2024", None)
    with pytest.raises(CronError, match="fires at no time after 2024-01-01"):
        next_tick("0 0 1 1 * 2024", None, at("2024-01-01 00:00"))


# Vienna: 31 March 2024, 02:00 -> 03:00 at 01:00 UTC; 27 October 2024, 03:00 -> 02:00 at 01:00 UTC.


@pytest.mark.parametrize(
    ("expr", "after", "expected"),
    [
        # winter and summer
        ("0 9 * * 1-5", "2024-01-15 12:00", ["2024-01-16 08:00"]),
        ("0 9 * * 1-5", "2024-06-15 12:00", ["2024-06-17 07:00"]),
        # a time of day that is skipped fires once, when the clock jumps
        ("30 2 * * *", "2024-03-30 00:00", ["2024-03-30 01:30", "2024-03-31 01:00", "2024-04-01 00:30"]),
        ("0,20,40 2 * * *", "2024-03-31 00:59", ["2024-03-31 01:00", "2024-04-01 00:00"]),
        ("0 2,3 * * *", "2024-03-31 00:59", ["2024-03-31 01:00", "2024-04-01 00:00"]),
        ("0 3 * * *", "2024-03-31 00:59", ["2024-03-31 01:00", "2024-04-01 01:00"]),
        # one that comes twice fires the first time only
        ("30 2 * * *", "2024-10-26 12:00", ["2024-10-27 00:30", "2024-10-28 01:30"]),
        ("30 2 * * *", "2024-10-27 01:10", ["2024-10-28 01:30"]),
        ("0,30 2,3 * * *", "2024-10-27 00:00", ["2024-10-27 00:30", "2024-10-27 02:00"]),
        # a wild one follows the wall clock
        ("*/30 * * * *", "2024-03-31 00:00", ["2024-03-31 00:30", "2024-03-31 01:00", "2024-03-31 01:30"]),
        ("30 * * * *", "2024-03-31 00:00", ["2024-03-31 00:30", "2024-03-31 01:30"]),
        ("*/30 2 * * *", "2024-03-30 12:00", ["2024-04-01 00:00", "2024-04-01 00:30"]),
        ("30 * * * *", "2024-10-26 23:50", ["2024-10-27 00:30", "2024-10-27 01:30", "2024-10-27 02:30"]),
        (
            "*/20 2 * * *",
            "2024-10-26 23:50",
            [f"2024-10-27 {hour}:{minute}" for hour in ("00", "01") for minute in ("00", "20", "40")]
            + ["2024-10-28 01:00"],
        ),
        ("* * * * *", "2024-10-27 00:58", ["2024-10-27 00:59", "2024-10-27 01:00", "2024-10-27 01:01"]),
    ],
)
def test_clock_changes(expr: str, after: str, expected: list[str]) -> None:
    assert ticks(expr, "Europe/Vienna", after, len(expected)) == expected


def test_a_change_of_half_an_hour() -> None:
    # Lord Howe: 6 October 2024, 02:00 -> 02:30 at 15:30 UTC the day before; 7 April 2024, 02:00 -> 01:30 at 15:00.
    assert ticks("15 2 * * *", "Australia/Lord_Howe", "2024-10-05 12:00", 2) == ["2024-10-05 15:30", "2024-10-06 15:15"]
    assert ticks("45 1 * * *", "Australia/Lord_Howe", "2024-04-06 12:00", 2) == ["2024-04-06 14:45", "2024-04-07 15:15"]
    assert ticks("*/15 * * * *", "Australia/Lord_Howe", "2024-04-06 14:40", 4) == [
        "2024-04-06 14:45",
        "2024-04-06 15:00",
        "2024-04-06 15:15",
        "2024-04-06 15:30",
    ]


def test_a_day_that_a_country_left_out() -> None:
    # Samoa went from 29 to 31 December 2011, at 10:00 UTC on the 30th.
    assert ticks("0 12 * * *", "Pacific/Apia", "2011-12-29 23:00", 2) == ["2011-12-30 10:00", "2011-12-30 22:00"]
