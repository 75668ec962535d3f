"""Schedules by the thousand: ``PYTHONPATH=tests .venv/bin/python -m simulation.explore 1000000 [first seed] [log]``.

A seed gives the workflows, what users do, every interleaving and every fault. ``PERDURE_SEED=n`` with ``1`` schedule
repeats one and prints what happened. With a log (a file of one JSON object a line) a run that was interrupted goes on
where it ended. ``PERDURE_AT_ONCE`` says how many processes.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from simulation.processes import install
from simulation.schedule import Schedule, Violation

CHUNK = 500

Done = dict[str, Any]  # a line of the log: first, until, seconds, counts, violations


def try_seed(seed: int, off: frozenset[str] = frozenset()) -> Counter[str]:
    """Run one schedule. Raises Violation."""
    install()
    return Schedule(seed, off).run()


@contextmanager
def seldom_collected() -> Iterator[None]:
    """A schedule's actors refer to each other; looking for such garbage once in a while is a quarter faster."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
        gc.collect()


def explore(first: int, until: int) -> Done:
    """Run the schedules of these seeds (the last one excluded), and tell which of them went wrong."""
    began = time.monotonic()
    counts: Counter[str] = Counter()
    violations: list[str] = []
    with seldom_collected():
        for seed in range(first, until):
            try:
                counts += try_seed(seed)
            except Violation as violation:
                violations.append(str(violation))
            counts["schedules"] += 1
    seconds = round(time.monotonic() - began, 2)
    return {"first": first, "until": until, "seconds": seconds, "counts": counts, "violations": violations}


def _explore(bounds: tuple[int, int]) -> Done:
    return explore(*bounds)


def chunks(many: int, first: int, known: set[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The seeds that are left to try, in pieces."""
    for seed in range(first, first + many, CHUNK):
        bounds = (seed, min(seed + CHUNK, first + many))
        if bounds not in known:
            yield bounds


def logged(log: Path | None) -> list[Done]:
    """What an earlier run has done. A line that was being written when the run ended is taken out."""
    if log is None or not log.exists():
        return []
    text = log.read_text()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        log.write_text(whole)
    return [json.loads(line) for line in whole.splitlines()]


def run(many: int, first: int, log: Path | None) -> list[Done]:
    """Try these seeds; each piece goes to the log at once."""
    done = logged(log)
    left = list(chunks(many, first, {(piece["first"], piece["until"]) for piece in done}))
    with multiprocessing.get_context("spawn").Pool(int(os.environ.get("PERDURE_AT_ONCE", "2"))) as pool:
        for piece in pool.imap_unordered(_explore, left):
            done.append(piece)
            if log is not None:
                with log.open("a") as file:
                    file.write(json.dumps(piece) + "\n")
            if piece["violations"]:
                print(piece["violations"][0], flush=True)
    return [piece for piece in done if first <= piece["first"] < first + many]


def summary(done: list[Done]) -> str:
    """The counts of all pieces, and the rate of one process."""
    total: Counter[str] = Counter()
    for piece in done:
        total.update(piece["counts"])
    seconds = sum(piece["seconds"] for piece in done)
    wrong = sum(len(piece["violations"]) for piece in done)
    counts = ", ".join(f"{name} {number:,}" for name, number in sorted(total.items()))
    rate = total["schedules"] / max(seconds, 0.01)
    return f"{counts}; {seconds:.0f} s of processes, {rate:.0f} a second; wrong: {wrong}"


def main(arguments: list[str]) -> int:
    """Explore; print the counts and what went wrong."""
    many = int(arguments[0]) if arguments else 1000
    first = int(arguments[1]) if len(arguments) > 1 else int(os.environ.get("PERDURE_SEED", "1"))
    if many == 1:
        print(*Schedule(first, trace=True).traced(), sep="\n")
        return 0
    done = run(many, first, Path(arguments[2]) if len(arguments) > 2 else None)
    print(summary(done))
    return 1 if any(piece["violations"] for piece in done) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
