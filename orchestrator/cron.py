"""When a cron expression fires next: five POSIX fields, an optional year, names, ``@hourly`` and the like.

Fields are ``minute hour day-of-month month day-of-week [year]``; 0 and 7 are Sunday; if both days are restricted a
day that fits either counts. Clock changes, as cron has always treated them:

* A time of day that the clock skips fires once, at the moment of the jump.
* A time of day that comes twice fires the first time only.
* An expression whose minute or hour is wild (``*``, ``*/5``) follows the wall clock instead: it fires whenever the
  clock shows a fitting time, so nothing in a skipped hour and twice in a doubled one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from croniter import croniter


class CronError(ValueError):
    """The expression or the time zone cannot be used, or the expression never fires (again)."""


def validate(expr: str, timezone: str | None) -> None:
    """Raise CronError unless the expression fires at some time and the time zone exists."""
    _zone(timezone)
    schedule = _parse(expr)
    first_year = min(schedule.years) if schedule.years is not None else 2000
    next(_wall_ticks(schedule, datetime(first_year, 1, 1, tzinfo=UTC) - timedelta(minutes=1)))


def next_tick(expr: str, timezone: str | None, after: datetime) -> datetime:
    """The first firing strictly after ``after`` (aware), in UTC. Raises CronError."""
    schedule, zone = _parse(expr), _zone(timezone)
    after = after.astimezone(UTC)
    find = _next_wild if schedule.wild else _next_fixed
    return find(schedule, zone, after)


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    question_mark: bool = False


_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31, question_mark=True),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 7, _DAYS, question_mark=True),
    _Field("year", 1970, 2100),
)
_NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_ELEMENT = re.compile(r"(?:(\*)|([0-9]{1,4}|[a-z]+)(?:-([0-9]{1,4}|[a-z]+))?)(?:/([0-9]{1,4}))?", re.ASCII)
_MAX_LENGTH = 1000


@dataclass(frozen=True, slots=True)
class _Schedule:
    """``text`` has five fields of plain numbers; ``years`` is None for any; ``wild`` follows the wall clock."""

    text: str
    years: frozenset[int] | None
    wild: bool


@lru_cache(maxsize=256)
def _parse(expr: str) -> _Schedule:
    try:
        return _parse_fields(expr)
    except CronError as error:
        raise CronError(f"Invalid cron expression '{expr[:_MAX_LENGTH]}': {error}") from None


def _parse_fields(expr: str) -> _Schedule:
    if len(expr) > _MAX_LENGTH:
        raise CronError(f"longer than {_MAX_LENGTH} characters")
    text = expr.strip().lower()
    if text.startswith("@") and text not in _NICKNAMES:
        raise CronError(f"unknown nickname, use one of {', '.join(_NICKNAMES)}")
    parts = _NICKNAMES.get(text, text).split()
    if len(parts) not in (5, 6):
        raise CronError(
            f"5 fields (minute hour day-of-month month day-of-week) or 6 (with a year) are needed, not {len(parts)}"
        )
    allowed = [_allowed(field, part) for field, part in zip(_FIELDS, parts, strict=False)]
    years = allowed[5] if len(parts) == 6 else None
    if len(allowed[2] or ()) == 31 or len(allowed[4] or ()) == 7:
        allowed[2] = allowed[4] = None  # every day, spelled out, or any other day: every day
    wild = parts[0].startswith("*") or parts[1].startswith("*")
    return _Schedule(" ".join(_numbers(numbers) for numbers in allowed[:5]), years, wild)


def _numbers(allowed: frozenset[int] | None) -> str:
    return "*" if allowed is None else ",".join(map(str, sorted(allowed)))


def _allowed(field: _Field, text: str) -> frozenset[int] | None:
    """The numbers that a field admits, None for all of them."""
    if text in ("*", "*/1") or (text == "?" and field.question_mark):
        return None
    numbers: set[int] = set()
    for element in text.split(","):
        numbers |= _element(field, element)
    return frozenset(0 if field.high == 7 and number == 7 else number for number in numbers)


def _element(field: _Field, text: str) -> set[int]:
    found = _ELEMENT.fullmatch(text)
    if found is None:
        raise CronError(f"'{text}' is not understood in the field {field.name}")
    star, low, high, step = found.groups()
    first = field.low if star else _number(field, low)
    last = field.high - (field.high == 7) if star or (high is None and step) else _number(field, high or low)
    if field.high == 7 and last == 0 < first:
        last = 7  # fri-sun
    if first > last:
        raise CronError(f"the range '{text}' in the field {field.name} runs backwards")
    if step and int(step) == 0:
        raise CronError(f"the step of '{text}' in the field {field.name} is 0")
    return set(range(first, last + 1, int(step or 1)))


def _number(field: _Field, text: str) -> int:
    if not text.isdigit():
        for index, name in enumerate(field.names):
            if len(text) >= 3 and name.startswith(text):
                return index + field.low
        raise CronError(f"'{text}' is not a name in the field {field.name}")
    if not field.low <= int(text) <= field.high:
        raise CronError(f"{text} is out of the range {field.low} to {field.high} of the field {field.name}")
    return int(text)


@lru_cache(maxsize=64)
def _zone(timezone: str | None) -> tzinfo:
    if timezone is None:
        return UTC
    try:
        return ZoneInfo(timezone)
    except (ValueError, OSError, LookupError):
        raise CronError(f"Unknown time zone '{timezone[:100]}'") from None


# Times on the wall are handled as if they were UTC: the zone comes in only when one is turned into an instant.


def _wall_ticks(schedule: _Schedule, after: datetime) -> Iterator[datetime]:
    """The fitting times on the wall after ``after``, in order. Raises CronError instead of ending."""
    start = after.replace(second=0, microsecond=0)
    while True:
        ticks = croniter(schedule.text, start, max_years_between_matches=50)
        try:
            tick = ticks.get_next(datetime)
            while schedule.years is None or tick.year in schedule.years:
                yield tick
                tick = ticks.get_next(datetime)
        except (ValueError, OverflowError):
            raise CronError(f"The cron expression fires at no time after {after:%Y-%m-%d %H:%M}") from None
        start = _before_year(schedule, tick.year, after)


def _before_year(schedule: _Schedule, year: int, after: datetime) -> datetime:
    assert schedule.years is not None
    later = min((other for other in schedule.years if other > year), default=None)
    if later is None:
        raise CronError(f"The cron expression fires at no time after {after:%Y-%m-%d %H:%M}")
    return datetime(later, 1, 1, tzinfo=UTC) - timedelta(minutes=1)


def _instant(wall: datetime, zone: tzinfo, fold: int) -> datetime:
    return wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)


def _wall(instant: datetime, zone: tzinfo) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=UTC, fold=0)


def _is_skipped(wall: datetime, zone: tzinfo) -> bool:
    return _wall(_instant(wall, zone, 0), zone) != wall


def _jump(wall: datetime, zone: tzinfo) -> datetime:
    """The instant at which the clock jumps over ``wall``."""
    # Of a skipped time, fold 0 reads with the offset before the jump (a later instant), fold 1 with the one behind it.
    early, late = _instant(wall, zone, 1), _instant(wall, zone, 0)
    before = early.astimezone(zone).utcoffset()
    while late - early > timedelta(seconds=1):
        middle = early + (late - early) // 2
        early, late = (middle, late) if middle.astimezone(zone).utcoffset() == before else (early, middle)
    return late.replace(microsecond=0)


def _next_fixed(schedule: _Schedule, zone: tzinfo, after: datetime) -> datetime:
    # In the second pass of a doubled hour the ticks found first belong to the first pass: they are over.
    for wall in _wall_ticks(schedule, _wall(after, zone)):
        instant = _jump(wall, zone) if _is_skipped(wall, zone) else _instant(wall, zone, 0)
        if instant > after:
            return instant
    raise AssertionError("ticks end with an error only")


def _next_wild(schedule: _Schedule, zone: tzinfo, after: datetime) -> datetime:
    wall = _wall(after, zone)
    first = _first_after(schedule, zone, wall, after)
    doubled = _instant(wall, zone, 1) - _instant(wall, zone, 0)
    if doubled <= timedelta(0):
        return first
    # The clock is within a doubled hour: if in its first pass, times before this one come once more.
    again = _first_again(schedule, zone, wall - doubled, after)
    return first if again is None else min(first, again)


def _first_after(schedule: _Schedule, zone: tzinfo, wall: datetime, after: datetime) -> datetime:
    for tick in _wall_ticks(schedule, wall):
        if not _is_skipped(tick, zone):
            for fold in (0, 1):
                instant = _instant(tick, zone, fold)
                if instant > after:
                    return instant
    raise AssertionError("ticks end with an error only")


def _first_again(schedule: _Schedule, zone: tzinfo, start: datetime, after: datetime) -> datetime | None:
    """The first tick of the second pass that is after ``after``, None if there is none in it."""
    for tick in _wall_ticks(schedule, start - timedelta(minutes=1)):
        instant = _instant(tick, zone, 1)
        if instant > after:
            return instant if instant > _instant(tick, zone, 0) else None
    raise AssertionError("ticks end with an error only")
