"""A model of the engine's tables and functions: one Python method for each function that a worker calls.

Each method is one transaction, run at one moment. What a real server does in the meantime (other transactions, commits
that come late, answers that are lost) is the world's business. ``off`` names rules of the protocol that are switched
off, to see that their absence is found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from perdure.eventstore.engine import token_hash
from stories import BEGIN

LEASE = 2.0
RULES = (
    "finish: the task is there, under this token",
    "finish: decisions only at their head",
    "finish: the completion is in the step's commit",
    "finish: a completion is a fact, whatever the head",
    "turn: under its token",
    "turn: only at its head",
    "turn: what is dropped goes with it",
    "facts: a turn is there to look at them",
    "inbox: rows are taken one by one",
    "inbox: in the order of their ids",
    "inbox: a row goes with its fact",
    "timers: never early",
    "end: nothing is left to do",
    "continue: signals that nobody took go over",
    "cancel: a fact, under the lock",
    "claim: once a second without the mark",
    "leases: the dead one's tasks are taken over",
    "leases: unknown ones are given back",
    "cache: forgotten after an error",
)
KNOWN = frozenset(RULES)
# A second barrier: a turn at the right head is right whoever takes it, so that no schedule tells this rule's absence.
BARRIERS = frozenset({"turn: under its token"})


class Refused(Exception):
    """The engine raised. ``code`` is its SQLSTATE."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(slots=True)
class Instance:
    """The head of an instance."""

    graph: str
    execution_id: int = 1
    head: int = 1
    status: str = "pending"
    ended: bool = False
    parked: str | None = None
    locked: bool = False  # by a user's open transaction (df.cancel)


@dataclass(slots=True)
class Task:
    """A turn (seq 0) or a step."""

    instance_id: str
    seq: int
    execution_id: int
    task_no: int
    lane: str
    kind: str
    visible_at: float
    input: str | None = None
    attempt: int = 1
    losses: int = 0
    autocommit: bool = False
    first_failed_at: float | None = None
    worker_id: int | None = None
    token: bytes | None = None

    def lease(self, worker_id: int | None, token: bytes | None) -> None:
        """Give it to a worker, or to nobody."""
        self.worker_id, self.token = worker_id, token


@dataclass(slots=True)
class Message:
    """A row of the inbox, committed."""

    message_id: int
    instance_id: str
    name: str


@dataclass(slots=True)
class Tables:
    """The database, and what users do to it. ``now`` is the server's clock in seconds, set by the world."""

    off: frozenset[str] = frozenset()
    shuffle: Callable[[list[Any]], None] = lambda _rows: None
    now: float = 0.0
    instances: dict[str, Instance] = field(default_factory=dict)
    history: dict[tuple[str, int], list[tuple[str, str]]] = field(default_factory=dict)
    results: dict[tuple[str, int, int], str] = field(default_factory=dict)
    tasks: dict[tuple[str, int], Task] = field(default_factory=dict)
    timers: dict[tuple[str, int], tuple[float, int]] = field(default_factory=dict)
    waits: dict[tuple[str, int], tuple[str, int]] = field(default_factory=dict)
    inbox: list[Message] = field(default_factory=list)
    consumed_to: dict[str, int] = field(default_factory=dict)
    workers: dict[int, float] = field(default_factory=dict)
    effects: Counter[str] = field(default_factory=Counter)
    effect_at: dict[str, int] = field(default_factory=dict)
    fired: list[tuple[float, float]] = field(default_factory=list)
    unread: set[int] = field(default_factory=set)
    visible_since: dict[int, int] = field(default_factory=dict)
    taken_at: dict[int, int] = field(default_factory=dict)
    moment: int = 0
    numbers: int = 0

    def on(self, rule: str) -> bool:
        """Whether a rule is kept."""
        assert rule in KNOWN, rule
        return rule not in self.off

    def clock(self) -> datetime:
        """The server's clock."""
        return BEGIN + timedelta(seconds=self.now)

    def number(self) -> int:
        """From the identity that everything shares; taken when a transaction writes, not when it commits."""
        self.numbers += 1
        return self.numbers

    # -- inside ----------------------------------------------------------------------------------------------------

    def append(self, instance_id: str, kinds: list[str], payloads: list[str]) -> int:
        """Append at the head."""
        i = self.instances[instance_id]
        events = self.history.setdefault((instance_id, i.execution_id), [])
        if len(events) != i.head:
            raise Refused("23505")
        events.extend(zip(kinds, payloads, strict=True))
        i.head += len(kinds)
        return i.head

    def fact(self, instance_id: str, kind: str, payload: str) -> int:
        """Append a fact."""
        return self.append(instance_id, [kind], [payload])

    def ensure_turn(self, instance_id: str, worker_id: int | None = None, token: str | None = None) -> bool:
        """Make sure that there is a turn to take; true if it is new."""
        if (instance_id, 0) in self.tasks:
            return False
        if not self.on("facts: a turn is there to look at them"):
            return False
        i = self.instances[instance_id]
        task = Task(instance_id, 0, i.execution_id, self.number(), "turn", "turn", self.now)
        task.lease(worker_id, token_hash(token) if token else None)
        self.tasks[instance_id, 0] = task
        return True

    def clear_work(self, instance_id: str, ended: bool) -> None:
        """Nothing of this execution is left to do."""
        if not self.on("end: nothing is left to do"):
            self.tasks.pop((instance_id, 0), None)
            return
        for table in (self.tasks, self.timers, self.waits):
            for key in [key for key in table if key[0] == instance_id]:
                del table[key]
        if ended:
            self.unread.update(m.message_id for m in self.inbox if m.instance_id == instance_id)
            self.inbox = [m for m in self.inbox if m.instance_id != instance_id]

    def has_beaten(self, worker_id: int | None) -> bool:
        """Whether a worker has a fresh beat."""
        return worker_id in self.workers and self.workers[worker_id] > self.now - LEASE

    def known(self, worker_id: int) -> None:
        """Raises unless the worker has a row."""
        if worker_id not in self.workers:
            raise Refused("DF010")

    # -- users -----------------------------------------------------------------------------------------------------

    def start(self, instance_id: str, graph: str, task_no: int, started: str) -> None:
        """The commit of a df.start; its task number was taken when it was called."""
        self.instances[instance_id] = Instance(graph)
        self.history[instance_id, 1] = [("ExecutionStarted", started)]
        self.tasks[instance_id, 0] = Task(instance_id, 0, 1, task_no, "turn", "turn", self.now)

    def signal(self, message: Message) -> None:
        """The commit of a df.signal."""
        self.inbox.append(message)
        self.moment += 1
        self.visible_since[message.message_id] = self.moment

    def cancel(self, instance_id: str) -> None:
        """The commit of a df.cancel, which has held the lock since it was called."""
        i = self.instances[instance_id]
        i.locked = False
        if i.status in ("completed", "failed", "cancelled"):
            return
        i.status = "cancelled"
        if self.on("cancel: a fact, under the lock"):
            self.fact(instance_id, "CancelRequested", '{"reason":"enough"}')
            self.ensure_turn(instance_id)
