"""Schedules by the thousand: ``PYTHONPATH=tests .venv/bin/python -m simulation.explore 1000000 [first seed]``.

A seed gives the workflows, what users do, every interleaving and every fault. ``PERDURE_SEED=n`` with ``1`` schedule
repeats one and prints what happened.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import psycopg

from graphs import Envelope, break_, if_, join, loop, race, signal, sleep, sql, then, wait_instance
from perdure.eventstore import codec
from perdure.eventstore.events import Event
from perdure.orchestrator.execution import Execution
from perdure.orchestrator.graph import parse
from perdure.orchestrator.replay import replay
from simulation.processes import Process, install
from simulation.store import Message, Store
from simulation.world import Actor, Ask, World

STARTED = '{"interpreter":1,"floor_ms":100,"max_iterations":3}'
MOST_STEPS = 6000
PATIENCE = 400.0  # virtual seconds after the last fault
SIGNALS = ("go", "stop")


class Violation(AssertionError):
    """A promise was broken. The message begins with the seed."""


def small_graph(random: Random, size: int, in_loop: bool = False) -> Envelope:
    """A graph that comes to its end whatever happens."""
    if size <= 1:
        return _leaf(random, in_loop)
    share = random.randint(1, size - 1)

    def part(of: int, looping: bool = in_loop) -> Envelope:
        return small_graph(random, of, looping)

    name = random.choice(("n", None))
    makers: list[Callable[[], Envelope]] = [
        lambda: then(part(share), part(size - share), name=name),
        lambda: then(part(share), part(size - share), name=name),
        lambda: if_(_coin(), part(share), part(size - share), name=name),
        lambda: join(part(share), part(size - share), name=name),
        lambda: race(part(share), part(size - share), name=name),
        lambda: loop(part(size - 1, True), _coin(), name=name),
    ]
    return random.choice(makers)()


def _coin() -> Envelope:
    return sql("SELECT 'key:{sys_step_key}' coin")


def _leaf(random: Random, in_loop: bool) -> Envelope:
    name = random.choice(("n", None))
    makers: list[Callable[[], Envelope]] = [
        lambda: sql("INSERT INTO t VALUES ('key:{sys_step_key}')", name),
        lambda: sql("INSERT INTO t VALUES ('key:{sys_step_key}')", name),
        lambda: sql("SELECT 'key:{sys_step_key}'", name),
        lambda: sql("SELECT 'key:{sys_step_key}', $n?", name),
        lambda: sql("SELECT 'key:{sys_step_key}' flaky", name),
        lambda: sql("VACUUM", name),
        lambda: sleep(random.choice((0, 1)), name),
        lambda: signal(random.choice(SIGNALS), 1.5, name),
        lambda: wait_instance(random.choice(("0000000a", "0000000b", "ffffffff")), 1.5, name),
    ]
    if in_loop:
        makers += [lambda: break_("x"), lambda: break_("$n?")]
    return random.choice(makers)()


class Schedule:
    """One seed's run."""

    def __init__(self, seed: int, off: frozenset[str] = frozenset(), trace: bool = False) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.store = Store(off, Random(seed).shuffle)
        self.world = World(seed, self.store)
        self.world.trace = [] if trace else None
        self.faults = self.random.choice((0, 1, 2, 3, 5, 8))
        self.processes: list[Process] = []
        self.ids = ["0000000a", "0000000b"][: self.random.randint(1, 2)]
        self.pending: list[Callable[[], None]] = []
        self.sent: dict[str, list[int]] = {instance_id: [] for instance_id in self.ids}
        self.cancelled: set[str] = set()
        self.counts: Counter[str] = Counter()

    # -- users -----------------------------------------------------------------------------------------------------

    def _begin_users(self) -> None:
        """Transactions that take their numbers now and commit whenever the scheduler says."""
        for instance_id in self.ids:
            graph = json.dumps(small_graph(self.random, self.random.randint(1, 6)))
            task_no = self.store.number()
            self.pending.append(lambda i=instance_id, g=graph, n=task_no: self.store.start(i, g, n, STARTED))  # type: ignore[misc]
        for _ in range(self.random.randint(0, 4)):
            self.pending.append(self._signal_begins)
        if self.random.random() < 0.15:
            self.pending.append(self._cancel_begins)

    def _target(self) -> str | None:
        return self.random.choice([i for i in self.ids if i in self.store.instances] or [None])

    def _signal_begins(self) -> None:
        target = self._target()
        if target is None:
            self.pending.append(self._signal_begins)
            return
        if self.store.instances[target].ended:
            return
        message = Message(self.store.number(), target, self.random.choice(SIGNALS))
        self.pending.append(lambda: self._signal_commits(message))

    def _signal_commits(self, message: Message) -> None:
        self.world.note("user", "signal", message)
        self.store.signal(message)
        self.sent[message.instance_id].append(message.message_id)

    def _cancel_begins(self) -> None:
        target = self._target()
        if target is None:
            self.pending.append(self._cancel_begins)
        elif not self.store.instances[target].locked:
            self.store.instances[target].locked = True
            self.pending.append(lambda: self._cancel_commits(target))

    def _cancel_commits(self, target: str) -> None:
        self.world.note("user", "cancel", target)
        if self.store.instances[target].status in ("pending", "running"):
            self.cancelled.add(target)
        self.store.cancel(target)

    # -- the scheduler ---------------------------------------------------------------------------------------------

    def run(self) -> Counter[str]:
        """Run to the end and check. Raises Violation."""
        self._begin_users()
        for number in range(2):
            self.processes.append(Process(self.world, number))
        try:
            self._loop()
            self._check()
        finally:
            self.world.end_all()
        return self.counts

    def _loop(self) -> None:
        last_fault = 0.0
        for _ in range(MOST_STEPS):
            for actor in self.world.actors:
                if actor.crash is not None:
                    raise self._violation(f"{actor.name} ended with {actor.crash!r}") from actor.crash
            if self._over():
                return
            before = self.faults
            self._step()
            if self.faults != before:
                last_fault = self.world.now
            if self.world.now > last_fault + PATIENCE and not self.faults:
                break
        raise self._violation("stuck")

    def _over(self) -> bool:
        if self.pending or self.world.late or self.store.inbox:
            return False
        return len(self.store.instances) == len(self.ids) and all(i.ended for i in self.store.instances.values())

    def _step(self) -> None:
        random, world = self.random, self.world
        if self.faults and random.random() < 0.02:
            self._process_fault()
        choices: list[Callable[[], None]] = []
        for actor in world.actors:
            if actor.over or not self._awake(actor):
                continue
            if actor.ask is not None and not actor.ask.done and not actor.killed:
                choices.append(lambda a=actor: self._deliver(a))  # type: ignore[misc]
            elif actor.ready():
                choices.append(actor.resume)
        if world.late and random.random() < 0.1:
            choices.append(self._deliver_late)
        if self.pending and (random.random() < 0.2 or not choices):
            choices.append(self._user)
        if choices:
            random.choice(choices)()
            world.now += random.choice((0.0, 0.0, 0.001, 0.01, 0.05))
        else:
            self._wait()
        self.store.now = world.now
        if not any(p.alive and p.frozen_until <= world.now for p in self.processes) or (
            random.random() < 0.02 and sum(p.alive for p in self.processes) < 2
        ):
            self.processes.append(Process(world, len(self.processes)))
            self.processes = [p for p in self.processes if p.alive or not all(a.over for a in p.actors)]

    def _awake(self, actor: Actor) -> bool:
        return bool(actor.process.frozen_until <= self.world.now)

    def _wait(self) -> None:
        """Nothing can happen now: go to the next moment at which something can."""
        times = [a.until for a in self.world.actors if not a.over and a.until is not None and self._awake(a)]
        times += [p.frozen_until for p in self.processes if p.alive and p.frozen_until > self.world.now]
        if self.world.late:
            times.append(self.world.now + 0.5)
        self.world.now = max(min(times, default=self.world.now + 1.0), self.world.now + 0.0005)

    def _user(self) -> None:
        self.pending.pop(self.random.randrange(len(self.pending)))()

    def _deliver_late(self) -> None:
        late = self.world.late.pop(self.random.randrange(len(self.world.late)))
        late.execute()
        self.world.note("late message:", late.error or late.answer)

    def _deliver(self, actor: Actor) -> None:
        """A message reaches the server, or not; its answer reaches the worker, or not."""
        ask = actor.ask
        assert ask is not None
        if self.faults and self.random.random() < 0.04:
            self.faults -= 1
            fate = self.random.choice(("before", "after", "late", "late"))
            self.counts[f"lost {fate}"] += 1
            self.world.note(actor.name, "loses its connection:", fate)
            if fate == "after":
                ask.execute()
            elif fate == "late":
                self.world.late.append(Ask(ask.what))
            ask.done, ask.answer, ask.error = True, None, psycopg.OperationalError("lost")
            return
        ask.execute()
        self.world.note(actor.name, "->", ask.error or str(ask.answer)[:200])

    def _process_fault(self) -> None:
        alive = [p for p in self.processes if p.alive and p.frozen_until <= self.world.now]
        if not alive:
            return
        self.faults -= 1
        victim = self.random.choice(alive)
        kind = self.random.choice(("kill", "kill", "freeze"))
        self.counts[kind] += 1
        self.world.note(kind, victim.number)
        if kind == "freeze":
            victim.frozen_until = self.world.now + self.random.uniform(0.1, 6.0)
            return
        for actor in victim.actors:
            if actor.ask is not None and not actor.ask.done and self.random.random() < 0.5:
                self.world.late.append(Ask(actor.ask.what))
        victim.kill()

    # -- what must hold --------------------------------------------------------------------------------------------

    def _violation(self, words: str) -> Violation:
        lines = [f"seed {self.seed}: {words}"]
        for (instance_id, execution_id), events in self.store.history.items():
            lines.append(f"--- {instance_id} {execution_id} {self.store.instances[instance_id]}")
            lines += [f"{n:3} {kind} {payload}" for n, (kind, payload) in enumerate(events, start=1)]
        lines += [str(task) for task in self.store.tasks.values()]
        lines += [f"timers {self.store.timers} waits {self.store.waits} inbox {self.store.inbox} now {self.store.now}"]
        return Violation("\n".join(lines + (self.world.trace or [])))

    def _check(self) -> None:
        for instance_id in self.ids:
            self._check_instance(instance_id)
        for due, fired in self.store.fired:
            if fired < due:
                raise self._violation(f"a timer due at {due} fired at {fired}")
        keys = {f"{i}-{e}-{n}" for (i, e), events in self.store.history.items() for n in self._completed(events)}
        for key, times in self.store.effects.items():
            if times != 1:
                raise self._violation(f"the effect of {key} is there {times} times")
            if key not in keys:
                raise self._violation(f"the effect of {key} is there and its completion is not")

    def _completed(self, events: list[tuple[str, str]]) -> list[int]:
        return [codec.decode(payload)["of"] for kind, payload in events if kind == "ActivityCompleted"]

    def _check_instance(self, instance_id: str) -> None:
        i = self.store.instances[instance_id]
        if i.parked is not None:
            raise self._violation(f"parked: {i.parked}")
        if (instance_id in self.cancelled) != (i.status == "cancelled"):
            raise self._violation(f"{instance_id} is {i.status}; cancelled: {self.cancelled}")
        graph = parse(i.graph)
        received: list[str] = []
        for execution_id in range(1, i.execution_id + 1):
            events = self.store.history[instance_id, execution_id]
            self._check_events(events, last=execution_id == i.execution_id)
            self._check_steps(graph, instance_id, execution_id, events)
            fold = self._replayed(graph, instance_id, execution_id, events)
            received += [r for n, (k, _) in enumerate(events, 1) if k == "SignalReceived"
                         for r in [self.store.results[instance_id, execution_id, n]]]  # fmt: skip
            if execution_id < i.execution_id:
                self._check_carried(fold, codec.decode(self.store.history[instance_id, execution_id + 1][0][1]))
        self._check_signals(instance_id, [codec.decode(raw)["data"] for raw in received])
        for table in (self.store.tasks, self.store.timers, self.store.waits):
            if any(key[0] == instance_id for key in table):
                raise self._violation(f"{instance_id} has ended and something is left to do")

    def _check_events(self, events: list[tuple[str, str]], last: bool) -> None:
        ends = [n for n, (kind, _) in enumerate(events, start=1) if kind.startswith("Execution") and n > 1]
        if ends != [len(events)] or (events[-1][0] == "ExecutionContinued") == last:
            raise self._violation(f"ends at {ends} of {len(events)}")
        failures = [payload for kind, payload in events if kind == "ActivityFailed"]
        if failures:
            raise self._violation(f"a step failed that cannot fail: {failures}")
        for kind in ("ActivityCompleted", "TimerFired", "SignalConsumed"):
            of = [codec.decode(payload)["of"] for k, payload in events if k == kind]
            if len(of) != len(set(of)):
                raise self._violation(f"two {kind} of one event")

    def _check_steps(self, graph: Any, instance_id: str, execution_id: int, events: list[tuple[str, str]]) -> None:
        """A step that completed had its effect."""
        for of in self._completed(events):
            scheduled = codec.decode(events[of - 1][1])
            node = graph.nodes[scheduled["node"]]
            wanted = "{sys_step_key}" in node.query and scheduled["kind"] == "sql"
            if wanted and not self.store.effects[f"{instance_id}-{execution_id}-{of}"]:
                raise self._violation(f"step {of} of {instance_id} completed without its effect")
        dropped = [(n, codec.decode(p)["of"]) for n, (k, p) in enumerate(events, 1) if k == "ActivityCancelled"]
        for at, of in dropped:
            if self.store.effect_at.get(f"{instance_id}-{execution_id}-{of}", 0) > at:
                raise self._violation(f"step {of} of {instance_id} took effect after it was dropped")

    def _replayed(self, graph: Any, instance_id: str, execution_id: int, events: list[tuple[str, str]]) -> Execution:
        history = [Event(n, kind, codec.decode(payload)) for n, (kind, payload) in enumerate(events, start=1)]
        variables = {"sys_instance_id": instance_id, "sys_label": ""}
        fold = Execution(graph, instance_id, execution_id, history[0].data, variables)
        try:
            replay(fold, history[1:])
        except Exception as error:
            raise self._violation(f"{instance_id} does not replay: {error}") from error
        return fold

    def _check_carried(self, fold: Execution, started: dict[str, Any]) -> None:
        left = sorted(codec.encode([name, v.ref]) for name, values in fold.mailbox.items() for v in values)
        if left != sorted(codec.encode(pair) for pair in started.get("signals", [])):
            raise self._violation(f"signals {left} did not go over to the next execution")

    def _check_signals(self, instance_id: str, received: list[int]) -> None:
        sent = self.sent[instance_id]
        if len(received) != len(set(received)) or not set(received) <= set(sent):
            raise self._violation(f"signals received {received}, sent {sent}")
        lost = set(sent) - set(received) - self.store.unread
        if lost:
            raise self._violation(f"signals {lost} are lost")
        if received != sorted(received) and self.in_order(received):
            raise self._violation(f"signals received in the order {received}")

    def in_order(self, received: list[int]) -> bool:
        """Whether messages of lower number had been there when a higher one was taken: then they came out of order."""
        return any(
            later < earlier and self.store.visible_since[later] < self.store.taken_at[earlier]
            for place, earlier in enumerate(received)
            for later in received[place + 1 :]
        )

    def traced(self) -> list[str]:
        """Run; what happened."""
        install()
        try:
            self.run()
        except Violation as violation:
            return [str(violation)]
        return self.world.trace or []


def try_seed(seed: int, off: frozenset[str] = frozenset(), trace: bool = False) -> Counter[str]:
    """Run one schedule. Raises Violation."""
    install()
    return Schedule(seed, off, trace).run()


def _range(bounds: tuple[int, int]) -> tuple[Counter[str], str | None]:
    counts: Counter[str] = Counter()
    for seed in range(*bounds):
        try:
            counts += try_seed(seed)
            counts["schedules"] += 1
        except Violation as violation:
            return counts, str(violation)
    return counts, None


def main(arguments: list[str]) -> int:
    """Explore; print the counts, and the first violation if there is one."""
    many = int(arguments[0]) if arguments else 1000
    first = int(arguments[1]) if len(arguments) > 1 else int(os.environ.get("PERDURE_SEED", "1"))
    began = time.monotonic()
    if many == 1:
        print(*Schedule(first, trace=True).traced(), sep="\n")
        return 0
    pieces = [(seed, min(seed + 500, first + many)) for seed in range(first, first + many, 500)]
    total: Counter[str] = Counter()
    with multiprocessing.get_context("spawn").Pool(int(os.environ.get("PERDURE_AT_ONCE", "2"))) as pool:
        for counts, violation in pool.imap_unordered(_range, pieces):
            total += counts
            if violation is not None:
                print(violation)
                return 1
    print(f"{dict(total)} in {time.monotonic() - began:.0f} s, no violation")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
