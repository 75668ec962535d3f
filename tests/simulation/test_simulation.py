"""The worker's own code on a model of the engine: two processes, virtual time, crashes, late and lost messages.

A failure names its seed: ``PERDURE_SEED=<seed> PYTHONPATH=tests .venv/bin/python -m simulation.explore 1`` tells what
happened, step by step.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

import pytest

from simulation.explore import Violation, try_seed
from simulation.processes import uninstall
from simulation.store import BARRIERS, RULES

SCHEDULES = int(os.environ.get("PERDURE_SCHEDULES", "2000"))
PARTS = 10
MOST_SEEDS = 3000


@pytest.fixture(autouse=True)
def virtual_world() -> Iterator[None]:
    """Time, chance and tokens are the tests' own for as long as a test runs."""
    yield
    uninstall()


@pytest.mark.parametrize("part", range(PARTS))
def test_nothing_is_lost_doubled_or_stuck(part: int) -> None:
    counts: Counter[str] = Counter()
    for seed in range(part, SCHEDULES, PARTS):
        counts += try_seed(seed)
    assert min(counts[what] for what in ("kill", "freeze", "lost before", "lost after", "lost late")) > 0


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule not in BARRIERS])
def test_the_absence_of_a_rule_is_found(rule: str) -> None:
    """So that the schedules above are known to be able to fail."""
    for seed in range(MOST_SEEDS):
        try:
            try_seed(seed, frozenset({rule}))
        except Violation:
            return
    raise AssertionError(f"{MOST_SEEDS} schedules without the rule {rule!r}, and nothing went wrong")


def test_a_schedule_follows_from_its_seed() -> None:
    assert all(try_seed(seed) == try_seed(seed) for seed in range(30))
