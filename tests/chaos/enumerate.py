"""Every scenario, every point, every harm: ``PYTHONPATH=tests .venv/bin/python -m chaos.enumerate [scenario ...]``.

For each scenario a clean run tells its points; then one run for each point and harm. Prints a line for each failure and
the table that stands in docs/reliability.md. Exit code 1 if anything failed. ``PERDURE_AT_ONCE`` runs at the same time.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

from chaos.crashing import Stage, clean_run, run_scenario, stage
from chaos.scenarios import BY_NAME, SCENARIOS, Scenario
from chaos.wire import HOWS, Fault, Point
from cluster import Cluster, drop_database, make_template, numbered, running_cluster

# Opening a session: the same in every scenario, and harmed in the first one only unless everything is asked for.
OPENING = frozenset(
    {"marked", "role_state", "user", "become", "who_am_i", "commit", "own_backend", "session", "prepare", "register"}
)
MOST_CLAIMS = 6  # an idle worker claims again and again
AT_ONCE = int(os.environ.get("PERDURE_AT_ONCE", "4"))


@dataclass(slots=True)
class Tally:
    """What was tried in one scenario."""

    points: int = 0
    runs: int = 0
    unreached: int = 0
    failures: list[str] = field(default_factory=list)
    slowest: float = 0.0


@contextmanager
def stages(cluster: Cluster, template: str, prefix: str, most: int = AT_ONCE) -> Iterator[SimpleQueue[Stage]]:
    """Stages to be taken and given back."""
    free: SimpleQueue[Stage] = SimpleQueue()
    names = numbered(prefix)
    with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="perdure-crash-") as folder:
        clean: dict[str, tuple[list[Point], Counter[str]]] = {}
        for number in range(most):
            made = stack.enter_context(stage(cluster, template, next(names), Path(folder) / str(number)))
            made.clean = clean
            free.put(made)
        yield free


def points_of(free: SimpleQueue[Stage], scenario: Scenario, skipped: frozenset[str] = frozenset()) -> list[Point]:
    """The points of a scenario, found by a run without a fault."""
    at = free.get()
    try:
        points = clean_run(at, scenario)
    finally:
        free.put(at)
    return [p for p in points if p.name not in skipped and not (p.name == "claim" and p.number > MOST_CLAIMS)]


def try_points(free: SimpleQueue[Stage], scenario: Scenario, points: Iterable[Point], hows: Iterable[str]) -> Tally:
    """One run for each point and harm, several at a time."""
    tally = Tally()
    todo = [(point, how) for point in points for how in hows]
    tally.points, tally.runs = len({point for point, _ in todo}), len(todo)

    def one(point: Point, how: str) -> None:
        at = free.get()
        try:
            outcome = run_scenario(at, scenario, Fault(point, how))
            tally.unreached += not outcome.happened
            tally.slowest = max(tally.slowest, outcome.seconds)
        except Exception as error:  # noqa: BLE001 - every failure is told, none stops the others
            tally.failures.append(f"{scenario.name}: {how} {point}: {type(error).__name__}: {error}")
        finally:
            free.put(at)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(one, point, how) for point, how in todo]:
            done.result()
    return tally


def main(wanted: list[str]) -> int:
    """Try everything; print what was tried."""
    chosen = [BY_NAME[name] for name in wanted] or SCENARIOS
    failed = 0
    began = time.monotonic()
    with running_cluster() as cluster:
        template = next(numbered("perdure_crash_template"))
        make_template(cluster, template)
        try:
            with stages(cluster, template, "perdure_crash") as free:
                print("| scenario | points | runs | not reached | slowest | failed |\n|---|---|---|---|---|---|")
                for scenario in chosen:
                    tally = try_points(free, scenario, points_of(free, scenario), HOWS)
                    row = (
                        scenario.name,
                        tally.points,
                        tally.runs,
                        tally.unreached,
                        f"{tally.slowest:.1f} s",
                        len(tally.failures),
                    )
                    print("| " + " | ".join(map(str, row)) + " |", flush=True)
                    for failure in tally.failures:
                        print(failure, file=sys.stderr, flush=True)
                    failed += len(tally.failures)
        finally:
            drop_database(cluster, template)
    print(f"\n{time.monotonic() - began:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
