"""JOIN: all branches, all awaited. RACE: the first branch to end decides, also by failing."""

from __future__ import annotations

from typing import Any

from perdure.eventstore.events import BRANCH_CLOSED, BRANCH_OPENED
from perdure.orchestrator.graph import Node
from perdure.orchestrator.nodes.base import Handler, Machine
from perdure.orchestrator.scopes import Scope
from perdure.orchestrator.values import Broken, Failed, Outcome, Value


def _open(x: Machine, node: Node, scope: Scope) -> None:
    x.emit(BRANCH_OPENED, {"node": node.index, "branches": len(node.branches)})
    scopes = [scope.open(root, node, number) for number, root in enumerate(node.branches)]
    for branch in scopes:
        x.enter(branch.root, branch)


class Join(Handler):
    """``open -> wait for every branch -> first failure or break in branch order, else the array of results``."""

    def enter(self, x: Machine, node: Node, scope: Scope) -> None:
        scope.local[node.index] = {}
        _open(x, node, scope)

    def branch_done(self, x: Machine, node: Node, scope: Scope, branch: Scope, outcome: Outcome) -> None:
        ended: dict[int, tuple[Outcome, dict[str, Value]]] = scope.local[node.index]
        ended[branch.branch] = (outcome, branch.names)
        if len(ended) < len(node.branches):
            return
        del scope.local[node.index]
        x.emit(BRANCH_CLOSED, {"node": node.index})
        before = dict(scope.names)  # what a branch did not set itself must not undo what another one set
        for number in range(len(node.branches)):
            names = ended[number][1]
            scope.names.update({name: value for name, value in names.items() if before.get(name) is not value})
        x.leave(node, scope, self._result([ended[number][0] for number in range(len(node.branches))]))

    def _result(self, outcomes: list[Outcome]) -> Outcome:
        refs: list[Any] = []
        for number, outcome in enumerate(outcomes, start=1):
            match outcome:
                case Failed():
                    return outcome.within(f"JOIN branch {number} failed: ")
                case Broken():
                    return outcome
                case Value():
                    refs.append(outcome.ref)
        return Value({"j": refs})


class Race(Handler):
    """``open -> a branch ends -> its outcome; the other is abandoned``. Both ready in one turn: left wins."""

    def enter(self, x: Machine, node: Node, scope: Scope) -> None:
        scope.local[node.index] = {}
        _open(x, node, scope)

    def branch_done(self, x: Machine, node: Node, scope: Scope, branch: Scope, outcome: Outcome) -> None:
        ended = scope.local[node.index]
        if not ended:
            x.defer_race(node, scope)
        ended[branch.branch] = (outcome, branch.names)

    def decided(self, x: Machine, node: Node, scope: Scope) -> None:
        ended: dict[int, tuple[Outcome, dict[str, Value]]] = scope.local.pop(node.index)
        winner = min(ended)
        outcome, names = ended[winner]
        x.emit(BRANCH_CLOSED, {"node": node.index, "winner": winner})
        for number, root in enumerate(node.branches):
            loser = scope.children.get(root.index)
            if number not in ended and loser is not None:
                x.abandon(loser)
        scope.names.update(names)
        if isinstance(outcome, Failed):
            outcome = outcome.within(f"RACE {('left', 'right')[winner] if winner < 2 else winner + 1} branch failed: ")
        x.leave(node, scope, outcome)
