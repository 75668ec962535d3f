"""One seed's schedule: what users do, which of the actors goes on, what is lost, who dies."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import psycopg

from simulation.processes import Process, install
from simulation.promises import Broken, Promises
from simulation.store import Store
from simulation.tables import Message
from simulation.workflows import SIGNALS, small_graph
from simulation.world import Actor, Ask, World

STARTED = '{"interpreter":1,"floor_ms":100,"max_iterations":3}'
MOST_STEPS = 6000
PATIENCE = 400.0  # virtual seconds after the last fault
PAUSES = (0.0, 0.0, 0.001, 0.01, 0.05)  # virtual seconds after something happened


class Violation(AssertionError):
    """A promise was broken. The message begins with the seed."""


class Schedule:
    """One seed's run."""

    def __init__(self, seed: int, off: frozenset[str] = frozenset(), trace: bool = False) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.store = Store(off, self.random.shuffle)
        self.world = World(self.random, self.store)
        self.world.trace = [] if trace else None
        self.faults = self.random.choice((0, 1, 2, 3, 5, 8))
        self.processes: list[Process] = []
        self.ids = ["0000000a", "0000000b"][: self.random.randint(1, 2)]
        self.pending: list[Callable[[], None]] = []
        self.sent: dict[str, list[int]] = {instance_id: [] for instance_id in self.ids}
        self.cancelled: set[str] = set()
        self.harmed = False  # a process is gone or frozen
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
        self.processes = [Process(self.world, 0), Process(self.world, 1)]
        try:
            self._loop()
            Promises(self.store, self.sent, self.cancelled).check()
        except Violation:
            raise
        except Exception as error:
            words = str(error) if isinstance(error, Broken) else f"the model stopped: {error!r}"
            raise self._violation(words) from error
        finally:
            self.world.end(self.world.actors)
        self.counts["messages"] = self.world.answered
        self.counts["events"] = sum(map(len, self.store.history.values()))
        return self.counts

    def _loop(self) -> None:
        last_fault = 0.0
        for _ in range(MOST_STEPS):
            if not self.pending and self._over():
                return
            before = self.faults
            self._step()
            if self.faults != before:
                last_fault = self.world.now
            if self.world.now > last_fault + PATIENCE and not self.faults:
                break
        raise self._violation("stuck")

    def _over(self) -> bool:
        for instance_id in self.ids:
            if not self.store.instances[instance_id].ended:
                return False
        return not self.world.late and not self.store.inbox

    def _step(self) -> None:
        """Whatever may happen next has the same chance; then a little time goes by."""
        random, world = self.random.random, self.world
        if self.faults and random() < 0.02:
            self._process_fault()
        now = world.now
        choices: list[Any] = [a for a in world.actors if a.until <= now or a.event.flag]
        if self.harmed:
            choices = [a for a in choices if a.process.frozen_until <= now]
        if world.late and random() < 0.1:
            choices.append(self._deliver_late)
        if self.pending and (random() < 0.2 or not choices):
            choices.append(self._user)
        if choices:
            chosen = choices[int(random() * len(choices))]
            if type(chosen) is not Actor:
                chosen()
            elif chosen.ask is not None and not chosen.ask.done:
                self._deliver(chosen, chosen.ask)
            else:
                self._resume(chosen)
            world.now += PAUSES[int(random() * len(PAUSES))]
        else:
            self._wait()
        self.store.now = world.now
        if self.harmed and self._short_of_workers():
            self.processes.append(Process(world, world.started))

    def _short_of_workers(self) -> bool:
        """Whether somebody starts another worker: nobody serves, or by chance while only one is there."""
        now = self.world.now
        serving = [p for p in self.processes if p.frozen_until <= now]
        self.harmed = len(serving) < max(2, len(self.processes))
        return not serving or (len(self.processes) < 2 and self.random.random() < 0.02)

    def _resume(self, actor: Actor) -> None:
        actor.resume()
        if actor.over:
            self.world.actors.remove(actor)
            if actor.crash is not None:
                raise self._violation(f"{actor.name} ended with {actor.crash!r}") from actor.crash

    def _wait(self) -> None:
        """Nothing can happen now: go to the next moment at which something can."""
        now = self.world.now
        times = [a.until for a in self.world.actors if a.process.frozen_until <= now]
        times += [p.frozen_until for p in self.processes if p.frozen_until > now]
        if self.world.late:
            times.append(now + 0.5)
        self.world.now = max(min(times, default=now + 1.0), now + 0.0005)

    def _user(self) -> None:
        self.pending.pop(self.random.randrange(len(self.pending)))()

    def _deliver_late(self) -> None:
        late = self.world.late.pop(self.random.randrange(len(self.world.late)))
        late.execute()
        if self.world.trace is not None:
            self.world.note("late message:", late.error or late.answer)

    def _deliver(self, actor: Actor, ask: Ask) -> None:
        """A message reaches the server, or not; its answer reaches the worker, or not."""
        if self.faults and self.random.random() < 0.04:
            self._lose(actor, ask)
            return
        ask.execute()
        self.world.answered += 1
        if self.world.trace is not None:
            self.world.note(actor.name, "->", ask.error or str(ask.answer)[:200])

    def _lose(self, actor: Actor, ask: Ask) -> None:
        """The connection is lost: before the message, after it, or so that the message arrives much later."""
        self.faults -= 1
        fate = self.random.choice(("before", "after", "late", "late"))
        self.counts[f"lost {fate}"] += 1
        self.world.note(actor.name, "loses its connection:", fate)
        if fate == "after":
            ask.execute()
        elif fate == "late":
            self.world.late.append(Ask(ask.what))
        ask.done, ask.answer, ask.error = True, None, psycopg.OperationalError("lost")

    def _process_fault(self) -> None:
        alive = [p for p in self.processes if p.frozen_until <= self.world.now]
        if not alive:
            return
        self.faults -= 1
        self.harmed = True
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
        self.processes.remove(victim)
        victim.kill()

    def _violation(self, words: str) -> Violation:
        lines = [f"seed {self.seed}: {words}"]
        for (instance_id, execution_id), events in self.store.history.items():
            lines.append(f"--- {instance_id} {execution_id} {self.store.instances[instance_id]}")
            lines += [f"{n:3} {kind} {payload}" for n, (kind, payload) in enumerate(events, start=1)]
        lines += [str(task) for task in self.store.tasks.values()]
        lines += [f"timers {self.store.timers} waits {self.store.waits} inbox {self.store.inbox} now {self.store.now}"]
        return Violation("\n".join(lines + (self.world.trace or [])))

    def traced(self) -> list[str]:
        """Run; what happened, step by step."""
        install()
        try:
            self.run()
        except Violation as violation:
            return [str(violation)]
        return self.world.trace or []
