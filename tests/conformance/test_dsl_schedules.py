"""Schedules are judged when the step is built, by the same grammar as when it runs."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from asking import Connection, one_database, refusal, value, words
from cluster import Cluster, Database
from perdure.orchestrator.cron import CronError, validate


@pytest.fixture(scope="module")
def shared(cluster: Cluster, template: str) -> Iterator[Database]:
    """One database for the tests of this module."""
    with one_database(cluster, template) as database:
        yield database


@pytest.fixture
def alice(shared: Database) -> Iterator[Connection]:
    """An ordinary user."""
    with shared.connect() as connection:
        yield connection


GOOD = [
    "* * * * *",
    "0 9 * * 1-5",
    "*/15 0-23/2 1,15 * ?",
    "5/10 0 ? jan,FEB,March mon-fri",
    "0 0 1 1 0",
    "0 0 1 1 7",
    "0 0 * * tues,thurs,SAT",
    "0 0 * * fri-sun",
    "0 12 1 1 * 2030",
    "0 12 1 1 * 2030-2040/2",
    "@hourly",
    "@Daily",
    "@midnight",
    "@weekly",
    "@monthly",
    "@yearly",
    "@annually",
    "  0  0\t* * *  ",
    "0 0 29 2 *",
    "0 0 31 2 mon",
]
BAD = [
    "",
    "   ",
    "* * * *",
    "* * * * * * *",
    "60 * * * *",
    "* 24 * * *",
    "* * 0 * *",
    "* * 32 * *",
    "* * * 13 *",
    "* * * 0 *",
    "* * * * 8",
    "* * * * * 1969",
    "* * * * * 2101",
    "*/0 * * * *",
    "5-1 * * * *",
    "* * * * fri-mon",
    "* * * * L",
    "* * 15W * *",
    "* * * * 5#2",
    "? * * * *",
    "1,,2 * * * *",
    "*-5 * * * *",
    "-1 * * * *",
    "1.5 * * * *",
    "@reboot",
    "@",
    "a b c d e",
    "* * * mo *",
    "* * * * january",
    "0 0 30 2 *",
    "0 0 31 4,6,9,11 *",
    "0 0 29 2 * 2023",
    "* " * 600,
]


@pytest.mark.parametrize("expression", GOOD)
def test_good_expressions(alice: Connection, expression: str) -> None:
    validate(expression, None)
    assert value(alice, "df_engine.cron_problem(%s, NULL)", expression) is None


@pytest.mark.parametrize("expression", BAD)
def test_bad_expressions(alice: Connection, expression: str) -> None:
    with pytest.raises(CronError):
        validate(expression, None)
    message = words(refusal(alice, "df.wait_for_schedule(%s)", expression))
    assert message.startswith(f"Invalid cron expression '{expression[:1000]}': ")


def test_database_and_worker_agree_about_random_expressions(alice: Connection) -> None:
    chance = random.Random(20261128)
    accepted = 0
    for expression in [_expression(chance) for _ in range(1500)]:
        try:
            validate(expression, None)
            good = True
        except CronError:
            good = False
        problem = value(alice, "df_engine.cron_problem(%s, NULL)", expression)
        assert (problem is None) == good, (expression, problem)
        accepted += good
    assert 50 < accepted < 1400, accepted


MONTHS, DAYS = ("jan", "Dec", "june", "ju"), ("sun", "Mon", "tues", "s")
FIELDS = [(0, 59, ()), (0, 23, ()), (1, 31, ()), (1, 12, MONTHS), (0, 7, DAYS), (1970, 2100, ())]


def _expression(chance: random.Random) -> str:
    return " ".join(_field(chance, *FIELDS[min(i, 5)]) for i in range(chance.choice([5, 5, 5, 5, 6, 6, 4, 7])))


def _field(chance: random.Random, low: int, high: int, names: tuple[str, ...]) -> str:
    if chance.random() < 0.5:
        return chance.choice(["*", "*", "*", "?", "*/3", str(chance.randint(low, high))])
    return ",".join(_item(chance, low, high, names) for _ in range(chance.choice([1, 1, 1, 2])))


def _item(chance: random.Random, low: int, high: int, names: tuple[str, ...]) -> str:
    def word() -> str:
        return chance.choice([str(chance.randint(low, high)), str(chance.randint(low - 1, high + 1)), *names, "0", "x"])

    text = word()
    if chance.random() < 0.4:
        text += "-" + word()
    if chance.random() < 0.3:
        text += "/" + chance.choice(["0", "1", "2", "99", "x"])
    return text


@pytest.mark.parametrize(
    "zone",
    ["UTC", "Europe/Vienna", "America/New_York", "America/Argentina/Buenos_Aires", "America/Port_of_Spain", "Etc/GMT+5",
     "Asia/Kathmandu", "EST5EDT"],
)  # fmt: skip
def test_time_zones_that_there_are(alice: Connection, zone: str) -> None:
    validate("@daily", zone)
    assert value(alice, "df_engine.cron_problem('@daily', %s)", zone) is None


@pytest.mark.parametrize(
    "zone",
    ["", "Mars/Olympus", "europe/vienna", "EUROPE/VIENNA", "CEST", "utc+3", "Foo/Bar5", "<X>5", "America/New_york",
     "America/Port_Of_Spain", "+02:00", "5", "../etc/passwd", "/etc/localtime", "Europe/Vienna "],
)  # fmt: skip
def test_time_zones_that_there_are_not(alice: Connection, zone: str) -> None:
    assert words(refusal(alice, "df.wait_for_schedule('@daily', %s)", zone)) == f"Unknown time zone '{zone}'"
