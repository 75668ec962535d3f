"""The worker's own code on a model of the engine: two processes, virtual time, crashes, late and lost messages.

A failure names its seed: ``PERDURE_SEED=<seed> PYTHONPATH=tests .venv/bin/python -m simulation.explore 1`` tells what
happened, step by step.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulation.explore import CHUNK, chunks, explore, logged, seldom_collected, summary, try_seed
from simulation.processes import uninstall
from simulation.schedule import Schedule, Violation
from simulation.tables import BARRIERS, RULES

SCHEDULES = int(os.environ.get("PERDURE_SCHEDULES", "4000"))
PARTS = 10
MOST_SEEDS = 5000


@pytest.fixture(autouse=True)
def virtual_world() -> Iterator[None]:
    """Time, chance and tokens are the tests' own for as long as a test runs."""
    yield
    uninstall()


@pytest.mark.parametrize("part", range(PARTS))
def test_nothing_is_lost_doubled_or_stuck(part: int) -> None:
    share = SCHEDULES // PARTS
    tried = explore(part * share, (part + 1) * share)
    assert not tried["violations"], tried["violations"][0]
    assert all(tried["counts"][what] for what in ("kill", "freeze", "lost before", "lost after", "lost late"))


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule not in BARRIERS])
def test_the_absence_of_a_rule_is_found(rule: str) -> None:
    """So that the schedules above are known to be able to fail."""
    with seldom_collected():
        for seed in range(MOST_SEEDS):
            try:
                try_seed(seed, frozenset({rule}))
            except Violation:
                return
    raise AssertionError(f"{MOST_SEEDS} schedules without the rule {rule!r}, and nothing went wrong")


def _told(seeds: int) -> list[list[str]]:
    return [Schedule(seed, trace=True).traced() for seed in range(seeds)]


def test_a_schedule_follows_from_its_seed() -> None:
    """Every message and every answer, in their order."""
    first = _told(40)
    assert all(first)
    assert first == _told(40)


@pytest.mark.parametrize("hashing", ["1", "2"])
def test_a_schedule_is_the_same_in_another_process(hashing: str) -> None:
    """Nothing hangs on the order of a set, on addresses or on what ran before."""
    program = "import json; from simulation.test_simulation import _told; print(json.dumps(_told(20)))"
    environment = {**os.environ, "PYTHONHASHSEED": hashing, "PYTHONPATH": os.pathsep.join(sys.path)}
    other = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(other.stdout) == _told(20)


def test_a_run_that_was_interrupted_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "log"
    done = {"first": 1, "until": 1 + CHUNK, "seconds": 2.0, "counts": {"schedules": CHUNK}, "violations": []}
    log.write_text(json.dumps(done) + "\n" + '{"first": 501, "unt')
    assert logged(log) == [done] == logged(log)
    assert list(chunks(2 * CHUNK + 7, 1, {(1, 1 + CHUNK)})) == [(501, 1001), (1001, 1008)]
    assert summary([done, done]) == "schedules 1,000; 4 s of processes, 250 a second; wrong: 0"
