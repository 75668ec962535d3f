"""Where claims begin, and how often the marks are ignored."""

from __future__ import annotations

from typing import Any

from perdure.eventstore.engine import Claimed
from perdure.marks import LONGEST, TIMES, Marks
from perdure.pace import Pace

TURNS = {"turn": 2}


def task(number: int, lane: str = "turn") -> Claimed:
    """A claimed task of which only the number matters."""
    values: dict[str, Any] = dict.fromkeys(Claimed._fields)
    return Claimed(**{**values, "lane": lane, "task_no": number})


def settled(*numbers: int) -> Marks:
    """Marks of a worker that has seen these numbers, seconds ago."""
    marks = Marks()
    marks.claimed(0.0, 0.0, True, {"turn": 1000}, [task(number) for number in numbers])
    for second in (1.5, 3.0, 4.5):
        marks.claimed(second, second, True, {"turn": 1000}, [])
    return marks


def test_what_is_cheap_is_done_at_once_and_what_is_dear_takes_a_small_share_of_the_time() -> None:
    pace = Pace(times=20, longest=10)
    assert pace.until(5.0) == 0
    pace.took(5.0, 5.125)
    assert pace.until(5.125) == 2.5
    assert pace.until(7.7) == 0
    pace.took(10.0, 13.0)
    assert pace.until(13.0) == 10


def test_a_new_worker_begins_at_the_first_number() -> None:
    assert Marks().lowest(("turn", "sql")) == 0


def test_a_mark_follows_what_was_seen_a_while_ago() -> None:
    marks = Marks()
    marks.claimed(0.0, 0.0, True, TURNS, [task(100)])
    assert marks.lowest(TURNS) == 0  # a start with a lower number may be about to commit
    marks.claimed(0.5, 0.5, False, TURNS, [])
    assert marks.lowest(TURNS) == 0
    for second in (1.1, 2.2, 3.3, 4.4):
        marks.claimed(second, second, False, TURNS, [])
    assert marks.lowest(TURNS) == 100


def test_a_mark_does_not_pass_what_a_full_batch_left_behind() -> None:
    marks = settled(100)
    marks.claimed(5.0, 5.0, True, TURNS, [task(7), task(9)])  # retries, far below
    assert marks.lowest(TURNS) == 9
    marks.claimed(5.1, 5.1, False, TURNS, [task(11)])
    assert marks.lowest(TURNS) == 100


def test_a_lane_that_was_not_asked_for_keeps_its_mark() -> None:
    marks = settled(100)
    assert marks.lowest(("turn",)) == 100
    assert marks.lowest(("turn", "sql")) == 0
    marks.claimed(5.0, 5.0, False, {"turn": 2, "sql": 2}, [task(120, "sql")])
    assert marks.lowest(("turn", "sql")) == 100


def test_every_claim_ignores_the_marks_while_that_is_cheap_and_some_always_do() -> None:
    marks = Marks()
    marks.claimed(10.0, 10.0, True, TURNS, [])
    assert marks.until_full(10.0) == 0
    marks.claimed(11.0, 11.1, True, TURNS, [])
    assert abs(marks.until_full(11.1) - TIMES * 0.1) < 0.001
    marks.claimed(12.0, 12.5, False, TURNS, [])
    assert marks.until_full(15.2) == 0  # what another claim took is its own affair
    marks.claimed(20.0, 29.0, True, TURNS, [])
    assert marks.until_full(29.0) == LONGEST
