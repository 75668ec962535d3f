"""Ticks against a clock that is looked at minute by minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.orchestrator.cron import next_tick

ZONES = ("Europe/Vienna", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kathmandu")
# Days around which at least one of the zones changes its clocks.
DAYS = [datetime(2024, *day, tzinfo=UTC) for day in ((3, 10), (3, 31), (4, 7), (4, 14), (10, 6), (10, 27), (11, 3))]

minutes = st.sets(st.integers(0, 59), min_size=1, max_size=3)
hours = st.sets(st.integers(0, 4), min_size=1, max_size=3)
moments = st.builds(
    lambda day, minute, second: day + timedelta(minutes=minute, seconds=second),
    st.sampled_from(DAYS),
    st.integers(-1500, 1500),
    st.integers(0, 59),
)


def text(numbers: set[int]) -> str:
    return ",".join(map(str, sorted(numbers)))


def shown(zone: ZoneInfo, moment: datetime) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=None)


def minutes_from(after: datetime):
    moment = after.replace(second=0)
    for _ in range(4 * 24 * 60):
        moment += timedelta(minutes=1)
        yield moment


@settings(max_examples=60, deadline=None)
@given(zone=st.sampled_from(ZONES), minute=minutes, after=moments)
def test_a_wild_hour_fires_whenever_the_clock_shows_a_fitting_time(zone: str, minute: set[int], after) -> None:
    clock = ZoneInfo(zone)
    expected = next(moment for moment in minutes_from(after) if shown(clock, moment).minute in minute)
    assert next_tick(f"{text(minute)} * * * *", zone, after) == expected


@settings(max_examples=60, deadline=None)
@given(zone=st.sampled_from(ZONES), hour=hours, after=moments)
def test_a_wild_minute_fires_whenever_the_clock_shows_a_fitting_time(zone: str, hour: set[int], after) -> None:
    clock = ZoneInfo(zone)
    expected = next(
        moment for moment in minutes_from(after) if (now := shown(clock, moment)).hour in hour and now.minute % 7 == 0
    )
    assert next_tick(f"*/7 {text(hour)} * * *", zone, after) == expected


@settings(max_examples=60, deadline=None)
@given(zone=st.sampled_from(ZONES), minute=minutes, hour=hours, after=moments)
def test_a_fixed_time_fires_when_the_clock_first_reaches_or_passes_it(zone: str, minute, hour, after) -> None:
    clock = ZoneInfo(zone)

    def fires(moment: datetime) -> bool:
        before, now = shown(clock, moment - timedelta(minutes=1)), shown(clock, moment)
        passed = before + timedelta(minutes=1)
        while passed <= now:
            first = passed.replace(tzinfo=clock, fold=0).astimezone(UTC)
            if passed.hour in hour and passed.minute in minute and first >= moment:
                return True
            passed += timedelta(minutes=1)
        return False

    expected = next(moment for moment in minutes_from(after) if fires(moment))
    assert next_tick(f"{text(minute)} {text(hour)} * * *", zone, after) == expected
