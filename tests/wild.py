"""Random graphs, and random but possible facts for them. Everything follows from the ``Random`` that is passed in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random

from graphs import (
    Envelope,
    break_,
    http,
    if_,
    if_rows,
    join,
    loop,
    race,
    schedule,
    signal,
    sleep,
    sql,
    then,
    wait_instance,
)
from perdure.eventstore import events as ev
from perdure.orchestrator.turn import Turn
from stories import LIMITS, Run

NAMES = ("n", "m", None, None)
SIGNALS = ("go", "stop")


def wild_graph(random: Random, size: int, in_loop: bool = False) -> Envelope:
    """A graph of about ``size`` nodes; loops in it have conditions, breaks or the floor."""
    if size <= 1:
        return _leaf(random, in_loop)
    share = random.randint(1, size - 1)
    name = random.choice(NAMES)

    def part(of: int, looping: bool = in_loop) -> Envelope:
        return wild_graph(random, of, looping)

    makers: list[Callable[[], Envelope]] = [
        lambda: then(part(share), part(size - share), name=name),
        lambda: then(part(share), part(size - share)),
        lambda: if_(part(max(1, size // 3)), part(max(1, size // 3)), part(max(1, size // 3)), name=name),
        lambda: join(part(share), part(size - share), name=name),
        lambda: join(*(part(max(1, size // 3)) for _ in range(3))),
        lambda: race(part(share), part(size - share), name=name),
        lambda: loop(part(size - 1, True), random.choice((None, _leaf(random, True), _leaf(random, True))), name=name),
        lambda: if_rows("n", part(share), part(size - share), name=name),
    ]
    return random.choice(makers)()


def _leaf(random: Random, in_loop: bool) -> Envelope:
    name = random.choice(NAMES)
    makers: list[Callable[[], Envelope]] = [
        lambda: sql("SELECT 1", name),
        lambda: sql("SELECT $n, $m", name),
        lambda: sql("INSERT INTO t VALUES ($n)", name),
        lambda: http(name=name),
        lambda: sleep(random.randint(0, 3), name),
        schedule,
        lambda: signal(random.choice(SIGNALS), random.choice((None, 2.0)), name),
        lambda: wait_instance(random.choice(("00c0ffee", "$n")), random.choice((None, 2.0)), name),
    ]
    if in_loop or random.random() < 0.05:
        makers += [lambda: break_("x", name), lambda: break_("$n", name)]
    return random.choice(makers)()


@dataclass
class Tables:
    """The engine's rows for one execution, as turns and facts make them."""

    steps: set[int] = field(default_factory=set)
    timers: dict[int, datetime] = field(default_factory=dict)
    awaited: set[int] = field(default_factory=set)

    def apply(self, turn: Turn) -> None:
        """What ``df_engine.apply_turn`` does with a turn."""
        for seq in turn.dropped:
            self.steps.discard(seq)
            self.timers.pop(seq, None)
            self.awaited.discard(seq)
        self.steps.update(activity.seq for activity in turn.activities)
        self.timers.update(turn.timers)
        self.awaited.update(turn.awaited)


class Wild:
    """Drives one execution with random facts that could happen to it, and keeps the engine's tables beside it."""

    def __init__(self, random: Random, size: int, cancels: bool = True) -> None:
        self.random = random
        self.cancels = cancels
        self.tables = Tables()
        self.run = Run(wild_graph(random, size), {**LIMITS, "max_iterations": 4})

    def turn(self) -> Turn:
        """Take a turn."""
        turn = self.run.turn()
        self.tables.apply(turn)
        return turn

    def go_on(self) -> None:
        """Begin the execution that continues this one."""
        self.run = self.run.next_run()
        self.tables = Tables()

    def happen(self) -> bool:
        """Let one thing happen; False when nothing can any more."""
        random, run = self.random, self.run
        run.now += timedelta(milliseconds=random.choice((0, 1, 700)))
        choices: list[Callable[[], None]] = [lambda: self._step(random.choice(sorted(self.tables.steps)))] * 4
        if not self.tables.steps:
            choices = []
        if self.tables.timers:
            choices.append(self._fire)
        if self.tables.awaited:
            choices.append(self._instance)
        if run.execution.awaiting or random.random() < 0.1:
            choices.append(lambda: run.fact(ev.SIGNAL_RECEIVED, {"name": random.choice(SIGNALS)}))
        if not choices:
            return False
        if self.cancels and random.random() < 0.01:
            run.fact(ev.CANCEL_REQUESTED, {"reason": "enough"})
        else:
            random.choice(choices)()
        return True

    def _step(self, seq: int) -> None:
        random = self.random
        if random.random() < 0.2:
            self.run.fact(ev.ACTIVITY_ATTEMPT_FAILED, {"of": seq, "failure": {"message": "again", "attempt": 1}})
            return
        self.tables.steps.discard(seq)
        if random.random() < 0.1:
            self.run.fact(ev.ACTIVITY_FAILED, {"of": seq, "failure": {"message": "boom", "attempt": 1}})
            return
        empty = random.random() < 0.2
        truth = not empty and random.random() < 0.5
        rows = None if empty else random.choice((None, 0, 3))
        self.run.fact(ev.ACTIVITY_COMPLETED, ev.activity_completed(seq, truth, rows, empty))

    def _fire(self) -> None:
        seq, due = min(self.tables.timers.items(), key=lambda item: (item[1], item[0]))
        del self.tables.timers[seq]
        self.run.now = max(self.run.now, due)
        self.run.fact(ev.TIMER_FIRED, {"of": seq})

    def _instance(self) -> None:
        seq = self.random.choice(sorted(self.tables.awaited))
        self.tables.awaited.discard(seq)
        error = {"error": "nobody"} if self.random.random() < 0.2 else {}
        self.run.fact(ev.INSTANCE_ENDED, {"of": seq, **error})
