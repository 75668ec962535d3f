"""What a worker remembers of instances between turns: folds, checked by their head, and small results.

An entry is taken out while it is used, so that no two threads ever hold the same fold; it comes back only after an
acknowledged commit. Whatever goes wrong, the entry is dropped and the history is folded again.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from perdure.eventstore import codec
from perdure.eventstore.engine import Claimed, Engine, Loaded
from perdure.orchestrator.errors import NondeterminismError
from perdure.orchestrator.execution import Execution
from perdure.orchestrator.graph import Graph, parse
from perdure.orchestrator.replay import replay

ENTRIES = 2000
BODIES_BYTES = 1 << 20


class Entry:
    """An instance in memory: its fold, and the results that its steps may look at.

    ``born`` is the generation of the database (``Connections.generation``) that it was read in.
    """

    __slots__ = ("_bodies", "_size", "born", "database", "execution", "instance_id", "label", "owner_name", "variables")

    def __init__(
        self, execution: Execution, label: str | None, database: str | None, owner_name: str, born: int
    ) -> None:
        self.execution = execution
        self.born = born
        self.instance_id = execution.instance_id
        self.variables = execution.variables
        self.label = label
        self.database = database
        self.owner_name = owner_name
        self._bodies: OrderedDict[tuple[int, int], str] = OrderedDict()
        self._size = 0

    def keep(self, execution_id: int, seq: int, body: str) -> None:
        """Remember a result, as long as there is room for it."""
        if len(body) > BODIES_BYTES // 4:
            return
        self._bodies[execution_id, seq] = body
        self._size += len(body)
        while self._size > BODIES_BYTES:
            self._size -= len(self._bodies.popitem(last=False)[1])

    def body(self, execution_id: int, seq: int) -> str | None:
        """A remembered result."""
        return self._bodies.get((execution_id, seq))


def system_variables(variables: str | None, instance_id: str, label: str | None) -> dict[str, str]:
    """The captured variables, and those of the system, which win."""
    captured: dict[str, str] = json.loads(variables) if variables else {}
    return {**captured, "sys_instance_id": instance_id, "sys_label": label or ""}


def resolve(engine: Engine, instance_id: str, names: dict[str, Any], entry: Entry | None) -> dict[str, str]:
    """The raw results behind references; those not remembered are fetched, all in one call."""
    found: dict[str, str] = {}
    missing: dict[str, Any] = {}
    for name, ref in names.items():
        body = _known(ref, entry)
        if body is None:
            missing[name] = ref
        else:
            found[name] = body
    if missing:
        bodies = engine.bodies(instance_id, list(missing.values()))
        found.update(zip(missing, bodies, strict=True))
    return found


def _known(ref: Any, entry: Entry | None) -> str | None:
    if isinstance(ref, dict):
        if "v" in ref:
            return str(ref["v"])
        parts = [_known(part, entry) for part in ref["j"]]
        return None if None in parts else "[" + ",".join(part for part in parts if part is not None) + "]"
    return entry.body(ref[0], ref[1]) if entry is not None else None


class Instances:
    """The entries of one worker, least recently used first to go; none of an earlier ``generation`` of the database."""

    def __init__(self, generation: Callable[[], int] = lambda: 0) -> None:
        self.generation = generation
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._lock = threading.Lock()
        self._graphs: OrderedDict[str, Graph] = OrderedDict()

    def take(self, instance_id: str) -> Entry | None:
        """Take an entry out; whoever took it is the only one to use it."""
        with self._lock:
            entry = self._entries.pop(instance_id, None)
        return entry if entry is not None and entry.born == self.generation() else None

    def at(self, instance_id: str, execution_id: int, head: int) -> Entry | None:
        """Take an entry out, if it is at this head and waits for one thing only: what is claimed now."""
        with self._lock:
            entry = self._entries.get(instance_id)
            if entry is None or _position(entry) != (execution_id, head) or entry.born != self.generation():
                return None
            if len(entry.execution.waits) != 1:
                return None
            return self._entries.pop(instance_id)

    def put(self, entry: Entry) -> None:
        """Bring an entry back after an acknowledged commit."""
        if entry.execution.status != "running" or entry.born != self.generation():
            return
        with self._lock:
            other = self._entries.get(entry.instance_id)
            if other is not None and _position(other) > _position(entry):
                return
            self._entries[entry.instance_id] = entry
            self._entries.move_to_end(entry.instance_id)
            if len(self._entries) > ENTRIES:
                self._entries.popitem(last=False)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()

    def graph(self, text: str) -> Graph:
        """The parsed graph; many instances share a text. Raises GraphError."""
        if len(text) > 65536:
            return parse(text)
        with self._lock:
            graph = self._graphs.get(text)
        if graph is None:
            graph = parse(text)
            with self._lock:
                self._graphs[text] = graph
                if len(self._graphs) > 500:
                    self._graphs.popitem(last=False)
        return graph

    def fresh(self, claimed: Claimed) -> Entry:
        """An entry for an instance that has only just been started; everything came with the claim."""
        assert claimed.graph is not None and claimed.started is not None
        variables = system_variables(claimed.variables, claimed.instance_id, claimed.label)
        started = codec.decode(claimed.started)
        execution = Execution(self.graph(claimed.graph), claimed.instance_id, 1, started, variables)
        return Entry(execution, claimed.label, claimed.database, claimed.owner_name, self.generation())

    def updated(self, entry: Entry | None, loaded: Loaded, born: int = 0) -> Entry:
        """The entry brought to the loaded head, or a new one folded from the history, ``born`` when it was asked for.

        Raises NondeterminismError and GraphError: the instance has to be parked.
        """
        events = codec.decode_events(loaded.events)
        if entry is None or entry.execution.execution_id != loaded.execution_id:
            graph = entry.execution.graph if entry is not None else self.graph(loaded.graph or "")
            variables = system_variables(loaded.variables, loaded.instance_id, loaded.label)
            execution = Execution(graph, loaded.instance_id, loaded.execution_id, events[0].data, variables)
            entry = Entry(execution, loaded.label, loaded.database, loaded.owner_name, born)
            events = events[1:]
        replay(entry.execution, events)
        if entry.execution.head != loaded.head_seq:
            found = ("head", entry.execution.head)
            raise NondeterminismError(entry.execution.head, ("head", loaded.head_seq), found)
        return entry


def _position(entry: Entry) -> tuple[int, int]:
    return entry.execution.execution_id, entry.execution.head
