"""What must hold when a schedule is over, whatever happened in it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from perdure.eventstore import codec
from perdure.eventstore.events import Event
from perdure.orchestrator.execution import Execution
from perdure.orchestrator.graph import Graph, parse
from perdure.orchestrator.replay import replay
from simulation.store import Store

History = list[Event]
parsed = lru_cache(maxsize=8)(parse)  # a graph is immutable: workers and checks may share it


class Broken(AssertionError):
    """A promise that was not kept."""


@dataclass(slots=True)
class Promises:
    """Checks a store in which everything has ended. ``sent`` are the signals of each instance that were committed."""

    store: Store
    sent: dict[str, list[int]]
    cancelled: set[str]

    def check(self) -> None:
        """Raises Broken."""
        keys: set[str] = set()
        for instance_id in self.sent:
            keys |= self._instance(instance_id)
        for due, fired in self.store.fired:
            if fired < due:
                raise Broken(f"a timer due at {due} fired at {fired}")
        for key, times in self.store.effects.items():
            if times != 1:
                raise Broken(f"the effect of {key} is there {times} times")
            if key not in keys:
                raise Broken(f"the effect of {key} is there and its completion is not")

    def _instance(self, instance_id: str) -> set[str]:
        """Check an instance; the keys of its steps that completed."""
        i = self.store.instances[instance_id]
        if i.parked is not None:
            raise Broken(f"parked: {i.parked}")
        if (instance_id in self.cancelled) != (i.status == "cancelled"):
            raise Broken(f"{instance_id} is {i.status}; cancelled: {self.cancelled}")
        graph = parsed(i.graph)
        received: list[str] = []
        keys: set[str] = set()
        carried: list[str] | None = None
        for execution_id in range(1, i.execution_id + 1):
            events = self._events(instance_id, execution_id)
            if carried is not None and carried != _refs(events[0].data.get("signals", [])):
                raise Broken(f"signals {carried} did not go over to the next execution")
            self._check_events(events, last=execution_id == i.execution_id)
            keys |= self._check_steps(graph, instance_id, execution_id, events)
            fold = self._replayed(graph, instance_id, execution_id, events)
            received += [
                self.store.results[instance_id, execution_id, e.seq] for e in events if e.kind == "SignalReceived"
            ]
            carried = _refs((name, value.ref) for name, values in fold.mailbox.items() for value in values)
        self._check_signals(instance_id, [codec.decode(raw)["data"] for raw in received])
        for table in (self.store.tasks, self.store.timers, self.store.waits):
            if any(key[0] == instance_id for key in table):
                raise Broken(f"{instance_id} has ended and something is left to do")
        return keys

    def _events(self, instance_id: str, execution_id: int) -> History:
        written = self.store.history[instance_id, execution_id]
        data = codec.decode("[" + ",".join([payload for _, payload in written]) + "]")
        return [Event(n, kind, data[n - 1]) for n, (kind, _) in enumerate(written, start=1)]

    def _check_events(self, events: History, last: bool) -> None:
        ends = [e.seq for e in events if e.kind.startswith("Execution") and e.seq > 1]
        if ends != [len(events)] or (events[-1].kind == "ExecutionContinued") == last:
            raise Broken(f"ends at {ends} of {len(events)}")
        answered: set[tuple[str, int]] = set()
        for event in events:
            if event.kind == "ActivityFailed":
                raise Broken(f"a step failed that cannot fail: {event.data}")
            if event.kind in ("ActivityCompleted", "TimerFired", "SignalConsumed"):
                answer = (event.kind, event.data["of"])
                if answer in answered:
                    raise Broken(f"two {event.kind} of one event")
                answered.add(answer)

    def _check_steps(self, graph: Graph, instance_id: str, execution_id: int, events: History) -> set[str]:
        """A step that completed had its effect, one that was dropped has none after that; the keys of the former."""
        keys = set()
        for event in events:
            if event.kind not in ("ActivityCompleted", "ActivityCancelled"):
                continue
            of = event.data["of"]
            key = f"{instance_id}-{execution_id}-{of}"
            if event.kind == "ActivityCancelled":
                if self.store.effect_at.get(key, 0) > event.seq:
                    raise Broken(f"step {of} of {instance_id} took effect after it was dropped")
                continue
            keys.add(key)
            scheduled = events[of - 1].data
            wanted = scheduled.get("kind") == "sql" and "{sys_step_key}" in graph.nodes[scheduled["node"]].query
            if wanted and not self.store.effects[key]:
                raise Broken(f"step {of} of {instance_id} completed without its effect")
        return keys

    def _replayed(self, graph: Graph, instance_id: str, execution_id: int, events: History) -> Execution:
        variables = {"sys_instance_id": instance_id, "sys_label": ""}
        fold = Execution(graph, instance_id, execution_id, events[0].data, variables)
        try:
            replay(fold, events[1:])
        except Exception as error:
            raise Broken(f"{instance_id} does not replay: {error}") from error
        return fold

    def _check_signals(self, instance_id: str, received: list[int]) -> None:
        sent = self.sent[instance_id]
        if len(received) != len(set(received)) or not set(received) <= set(sent):
            raise Broken(f"signals received {received}, sent {sent}")
        lost = set(sent) - set(received) - self.store.unread
        if lost:
            raise Broken(f"signals {lost} are lost")
        if received != sorted(received) and self._overtaken(received):
            raise Broken(f"signals received in the order {received}")

    def _overtaken(self, received: list[int]) -> bool:
        """Whether messages of lower number had been there when a higher one was taken: then they came out of order."""
        return any(
            later < earlier and self.store.visible_since[later] < self.store.taken_at[earlier]
            for place, earlier in enumerate(received)
            for later in received[place + 1 :]
        )


def _refs(signals: Any) -> list[str]:
    """Names of signals with what they refer to, in an order of their own."""
    return sorted([codec.encode([name, ref]) for name, ref in signals])
