"""What a turn decides."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from perdure.eventstore.events import Payload
from perdure.orchestrator.graph import Node


@dataclass(slots=True)
class Activity:
    """A step to run: where its outcome belongs, its template, and the results that the template looks at.

    ``join`` names the JOIN for which its success is one branch less and nothing else (see ``awaited_by``).
    """

    seq: int
    node: Node
    kind: str
    text: str
    names: dict[str, Any]
    join: str | None = None


@dataclass(slots=True)
class Turn:
    """What a turn decided. It is committed whole or not at all."""

    events: list[tuple[str, Payload]] = field(default_factory=list)
    activities: list[Activity] = field(default_factory=list)
    timers: dict[int, datetime] = field(default_factory=dict)
    awaited: dict[int, Payload] = field(default_factory=dict)
    dropped: list[int] = field(default_factory=list)
    status: str = "running"
    next_started: Payload | None = None
