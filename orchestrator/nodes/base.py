"""What a kind of node may ask of the execution that runs it, and what it has to answer."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from perdure.eventstore.events import Payload
from perdure.orchestrator.graph import Node
from perdure.orchestrator.scopes import Scope
from perdure.orchestrator.values import Outcome, Value

_REFERENCE = re.compile(r"\$[^\W\d]|\{[A-Za-z_][A-Za-z0-9_]*\}")


def may_refer(text: str) -> bool:
    """Whether rendering ``text`` could change it: it holds ``$name`` or ``{name}``."""
    return _REFERENCE.search(text) is not None


class Wait(NamedTuple):
    """Something that an execution waits for, by the sequence number of the event that began it."""

    kind: str
    node: Node
    scope: Scope
    other: int = 0


class Machine(Protocol):
    """The execution as its nodes see it. Every method is deterministic; ``now`` was recorded before it is read."""

    limits: dict[str, Any]

    @property
    def now(self) -> datetime: ...
    def emit(self, kind: str, data: Payload) -> int: ...
    def enter(self, node: Node, scope: Scope) -> None: ...
    def leave(self, node: Node, scope: Scope, outcome: Outcome) -> None: ...
    def pass_up(self, node: Node, scope: Scope, outcome: Outcome) -> None: ...
    def mark(self, node: Node, scope: Scope, status: str, detail: Any = None) -> None: ...
    def wait(self, seq: int, wait: Wait) -> None: ...
    def schedule(self, node: Node, scope: Scope, kind: str, text: str) -> None: ...
    def set_timer(self, node: Node, scope: Scope, due: datetime, kind: str, other: int = 0) -> int: ...
    def cancel_timer(self, seq: int) -> None: ...
    def abandon(self, scope: Scope) -> None: ...
    def defer_race(self, node: Node, scope: Scope) -> None: ...
    def continue_as_new(self) -> None: ...
    def yield_turn(self) -> bool: ...
    def await_signal(self, node: Node, scope: Scope, name: str, timeout: float | None) -> None: ...
    def await_instance(self, node: Node, scope: Scope, target: Payload, timeout: float | None) -> None: ...


class Handler:
    """One kind of node. What a kind never gets is an error of the engine, not of the user."""

    def enter(self, x: Machine, node: Node, scope: Scope) -> None:
        """Begin the node."""
        raise NotImplementedError(node.type)

    def child_done(self, x: Machine, node: Node, scope: Scope, child: Node, outcome: Outcome) -> None:
        """A child in the same scope came to its end."""
        raise NotImplementedError(node.type)

    def branch_done(self, x: Machine, node: Node, scope: Scope, branch: Scope, outcome: Outcome) -> None:
        """A scope that this node opened came to its end."""
        raise NotImplementedError(node.type)

    def decided(self, x: Machine, node: Node, scope: Scope) -> None:
        """Every node that was ready has advanced: decide what had to wait for that (RACE)."""
        raise NotImplementedError(node.type)

    def fired(self, x: Machine, wait: Wait) -> None:
        """A timer of this node fired."""
        raise NotImplementedError(wait.node.type)

    def completed(self, x: Machine, wait: Wait, value: Value) -> None:
        """An activity of this node completed."""
        x.leave(wait.node, wait.scope, value)
