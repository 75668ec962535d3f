"""LOOP and BREAK.

A loop runs in a scope whose root it is: the execution itself when it is the graph's root (each iteration is then an
execution), the branch when it is one, else a scope that it opens. A loop without a condition takes at least the
floor per iteration, so that nobody writes a busy loop by accident; with a condition it runs at full speed.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta

from perdure.eventstore.events import LOOP_ITERATED
from perdure.orchestrator.graph import Node
from perdure.orchestrator.nodes.base import Handler, Machine, Wait, may_refer
from perdure.orchestrator.scopes import Scope
from perdure.orchestrator.truth import is_true
from perdure.orchestrator.values import NULL, Broken, Failed, Outcome, Value, failed


class Loop(Handler):
    """``body -> condition? -> body ...``; ends by a false condition, a break, a failure or the maximum."""

    def enter(self, x: Machine, node: Node, scope: Scope) -> None:
        if scope.root is not node:
            scope = scope.open(node, node, 0)
            x.mark(node, scope, "r")
        self._begin(x, node, scope)

    def _begin(self, x: Machine, node: Node, scope: Scope) -> None:
        assert node.left is not None
        scope.local[node.index] = x.now if node.condition is None else None
        x.enter(node.left, scope)

    def child_done(self, x: Machine, node: Node, scope: Scope, child: Node, outcome: Outcome) -> None:
        match outcome:
            case Failed():
                self._fail(x, node, scope, outcome)
            case Broken():
                x.leave(node, scope, outcome.value)
            case Value() if child is node.condition:
                self._judged(x, node, scope, outcome.truth)
            case Value() if node.condition is not None:
                scope.local[node.index] = outcome
                x.enter(node.condition, scope)
            case Value():
                self._pace(x, node, scope)

    def _fail(self, x: Machine, node: Node, scope: Scope, outcome: Failed) -> None:
        hosted = scope.host is node
        x.leave(node, scope, outcome.within("Loop sub-orchestration failed: ") if hosted else outcome)

    def _judged(self, x: Machine, node: Node, scope: Scope, again: bool) -> None:
        if not again:
            x.leave(node, scope, scope.local.pop(node.index))
        elif x.yield_turn():
            self._iterate(x, node, scope)
        else:
            x.set_timer(node, scope, x.now, "floor")

    def _pace(self, x: Machine, node: Node, scope: Scope) -> None:
        began: datetime = scope.local[node.index]
        due = began + timedelta(milliseconds=int(x.limits["floor_ms"]))
        if due > x.now or not x.yield_turn():
            x.set_timer(node, scope, due, "floor")
        else:
            self._iterate(x, node, scope)

    def fired(self, x: Machine, wait: Wait) -> None:
        self._iterate(x, wait.node, wait.scope)

    def _iterate(self, x: Machine, node: Node, scope: Scope) -> None:
        most = int(x.limits["max_iterations"])
        if scope.generation >= most:
            reason = (
                f"Loop exceeded maximum iteration count of {most}. Use df.break() or a condition to end it earlier."
            )
            self._fail(x, node, scope, failed(reason))
        elif scope.parent is None:
            x.continue_as_new()
        else:
            scope.generation += 1
            x.emit(LOOP_ITERATED, {"node": node.index, "generation": scope.generation})
            x.mark(node, scope, "r")
            self._begin(x, node, scope)

    def branch_done(self, x: Machine, node: Node, scope: Scope, branch: Scope, outcome: Outcome) -> None:
        scope.names.update(branch.names)
        x.pass_up(node, scope, outcome)


class Break(Handler):
    """``enter -> break``, by way of an activity when the value refers to results or variables."""

    def enter(self, x: Machine, node: Node, scope: Scope) -> None:
        text = node.config.get("break_value")
        if text is None:
            self._break(x, node, scope, NULL)
        elif may_refer(str(text)):
            x.schedule(node, scope, "value", str(text))
        else:
            raw = break_value(str(text))
            self._break(x, node, scope, Value({"v": raw}, truth=is_true(raw)))

    def completed(self, x: Machine, wait: Wait, value: Value) -> None:
        self._break(x, wait.node, wait.scope, value)

    def _break(self, x: Machine, node: Node, scope: Scope, value: Value) -> None:
        if node.name:
            scope.names[node.name] = value
        x.mark(node, scope, "c", value.ref)
        x.pass_up(node, scope, Broken(value))


def break_value(text: str) -> str:
    """The raw result of a break: JSON stays as it is, other text becomes a JSON string."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return json.dumps(text, ensure_ascii=False)
    return text
