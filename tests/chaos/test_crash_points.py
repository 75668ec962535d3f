"""A worker that stops, or loses an answer, before and after each message that it sends: effects are there exactly once.

CI runs the points at which work is claimed, decided, done and recorded, for a few scenarios; the whole (each scenario,
each message, four harms) is ``pytest -m heavy tests/chaos/test_crash_points.py`` or ``python -m chaos.enumerate``.
"""

from __future__ import annotations

from collections.abc import Iterator
from queue import SimpleQueue

import pytest

from chaos.crashing import Stage, run_overtaken, run_zombie
from chaos.enumerate import OPENING, points_of, stages, try_points
from chaos.scenarios import BY_NAME, SCENARIOS
from chaos.wire import HOWS
from cluster import Cluster

WORK = {"commit_turns", "run_step", "complete", "fail", "begin_step", "finish"}


@pytest.fixture(scope="module")
def free(cluster: Cluster, template: str) -> Iterator[SimpleQueue[Stage]]:
    """Databases for runs at the same time."""
    with stages(cluster, template, "perdure_crash") as queue:
        yield queue


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["results", "join", "root loop"])
def test_no_crash_loses_or_doubles_anything(free: SimpleQueue[Stage], name: str) -> None:
    scenario = BY_NAME[name]
    points = [p for p in points_of(free, scenario, OPENING) if p.number <= 2]
    assert WORK & {part for point in points for part in point.name.split("+")}
    tally = try_points(free, scenario, points, HOWS)
    assert not tally.failures, "\n".join(tally.failures)
    assert tally.unreached < tally.runs / 4


@pytest.mark.timeout(300)
def test_a_late_message_cannot_finish_the_same_step_of_the_next_round(free: SimpleQueue[Stage]) -> None:
    at = free.get()
    try:
        run_zombie(at)
    finally:
        free.put(at)


@pytest.mark.timeout(300)
def test_a_turn_that_a_signal_overtakes_is_decided_again(free: SimpleQueue[Stage]) -> None:
    at = free.get()
    try:
        run_overtaken(at)
    finally:
        free.put(at)


@pytest.mark.heavy
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", [scenario.name for scenario in SCENARIOS])
def test_no_crash_at_any_message_loses_or_doubles_anything(free: SimpleQueue[Stage], name: str) -> None:
    scenario = BY_NAME[name]
    tally = try_points(free, scenario, points_of(free, scenario), HOWS)
    print(f"{name}: {tally.points} points, {tally.runs} runs, {tally.unreached} not reached")
    assert not tally.failures, "\n".join(tally.failures)
