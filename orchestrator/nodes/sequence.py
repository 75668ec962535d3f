"""THEN: left, then right; a failure or break of the left skips the right."""

from __future__ import annotations

from perdure.orchestrator.graph import Node
from perdure.orchestrator.nodes.base import Handler, Machine
from perdure.orchestrator.scopes import Scope
from perdure.orchestrator.values import Outcome, Value


class Then(Handler):
    """``left --value--> right --any--> end``; ``left --break or failure--> end``."""

    def enter(self, x: Machine, node: Node, scope: Scope) -> None:
        assert node.left is not None
        x.enter(node.left, scope)

    def child_done(self, x: Machine, node: Node, scope: Scope, child: Node, outcome: Outcome) -> None:
        if child is node.left and isinstance(outcome, Value):
            assert node.right is not None
            x.enter(node.right, scope)
        else:
            x.leave(node, scope, outcome)
