"""What a worker holds: leased steps, and turns that it has the token of."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from perdure.eventstore import codec
from perdure.eventstore.engine import Claimed
from perdure.eventstore.events import Event
from perdure.instances import Entry, system_variables
from perdure.orchestrator.turn import Activity


class Fact(NamedTuple):
    """A completion that this worker wrote: the event, the raw result, and the server's clock then."""

    event: Event
    raw: str
    clock: datetime


@dataclass(slots=True)
class Lease:
    """A step that this worker may run: the right to it, what to run, and the fold when it is at hand.

    ``join`` is the same for the branches of a JOIN for which a success is one branch less and nothing else.
    """

    bucket: int
    instance_id: str
    execution_id: int
    seq: int
    token: str
    owner: int
    owner_name: str
    database: str | None
    kind: str
    text: str
    names: dict[str, Any]
    label: str | None
    variables: Any
    attempt: int = 1
    autocommit: bool = False
    failing_for: float | None = None
    overdue: bool = False
    capped: bool = False
    entry: Entry | None = None
    taken_at: float = 0.0
    join: str | None = None

    def failing(self) -> float:
        """Seconds since the first failed attempt: the server's clock up to the claim, then how long it has taken."""
        return 0.0 if self.failing_for is None else self.failing_for + time.monotonic() - self.taken_at


class Following(NamedTuple):
    """A step that a turn asks for and that stays with the worker, under this token."""

    activity: Activity
    token: str


@dataclass(slots=True)
class Pending:
    """A turn that this worker holds the token of."""

    bucket: int
    instance_id: str
    token: str
    owner: int
    capped: bool = False
    entry: Entry | None = None
    now: datetime | None = None
    claimed: Claimed | None = None
    message: dict[str, Any] = field(default_factory=dict)
    following: list[Following] = field(default_factory=list)
    facts: dict[int, Fact] = field(default_factory=dict)
    timers: list[datetime] = field(default_factory=list)
    locked: int = 0


def lane_of(kind: str) -> str:
    """Which slots run this kind of activity."""
    return "http" if kind.startswith("http") else "sql"


def activity_input(activity: Activity) -> str:
    """What any worker needs to run the step without folding the instance."""
    asked: dict[str, Any] = {"query": activity.text, "names": activity.names}
    if activity.join is not None:
        asked["join"] = activity.join
    return codec.encode(asked)


def encoded(events: list[tuple[str, dict[str, Any]]]) -> tuple[list[str], list[str]]:
    """The kinds of events, and their payloads as JSON text."""
    return [kind for kind, _ in events], [codec.encode(data) for _, data in events]


def pending_of(task: Claimed) -> Pending:
    """A claimed turn."""
    return Pending(
        task.bucket,
        task.instance_id,
        task.token,
        task.owner,
        task.capped,
        claimed=task if task.graph is not None else None,
    )


def lease_of(task: Claimed) -> Lease:
    """A claimed step: everything that it needs came with the claim."""
    asked = codec.decode(task.input or "{}")
    began = task.first_failed_at
    return Lease(
        bucket=task.bucket,
        instance_id=task.instance_id,
        execution_id=task.execution_id,
        seq=task.seq,
        token=task.token,
        owner=task.owner,
        owner_name=task.owner_name,
        database=task.database,
        kind=task.kind,
        text=str(asked.get("query", "")),
        names=dict(asked.get("names") or {}),
        label=task.label,
        variables=system_variables(task.variables, task.instance_id, task.label),
        attempt=task.attempt,
        autocommit=task.autocommit,
        failing_for=None if began is None else (task.clock - began).total_seconds(),
        taken_at=time.monotonic(),
        overdue=task.overdue,
        capped=task.capped,
        join=join if isinstance(join := asked.get("join"), str) else None,
    )


def spread(leases: list[Lease]) -> list[Lease]:
    """First steps of all instances, then second ones, and so on: branches of one wait for each other's commits."""
    before: Counter[str] = Counter()
    places = []
    for lease in leases:
        places.append(before[lease.instance_id])
        before[lease.instance_id] += 1
    return [lease for _, lease in sorted(zip(places, leases, strict=True), key=lambda pair: pair[0])]
