"""IF: a condition, then exactly one branch. ``df.if_rows`` asks a named result instead of running a condition."""

from __future__ import annotations

from perdure.orchestrator.graph import Node
from perdure.orchestrator.nodes.base import Handler, Machine
from perdure.orchestrator.scopes import Scope
from perdure.orchestrator.values import Outcome, Value, failed


class If(Handler):
    """``condition --true--> left``, ``condition --false--> right``, branch ``--any--> end``."""

    def enter(self, x: Machine, node: Node, scope: Scope) -> None:
        if node.condition is not None:
            x.enter(node.condition, scope)
            return
        name = str(node.config.get("result_name"))
        value = scope.names.get(name)
        if value is None:
            x.leave(node, scope, failed(f"df.if_rows: result '{name}' not found"))
        elif value.rows is None:
            x.leave(node, scope, failed(f"df.if_rows: result '{name}' is not a SQL result (missing row_count)"))
        else:
            self._take(x, node, scope, value.rows > 0)

    def child_done(self, x: Machine, node: Node, scope: Scope, child: Node, outcome: Outcome) -> None:
        if child is node.condition and isinstance(outcome, Value):
            self._take(x, node, scope, outcome.truth)
        else:
            x.leave(node, scope, outcome)

    def _take(self, x: Machine, node: Node, scope: Scope, truth: bool) -> None:
        branch = node.left if truth else node.right
        assert branch is not None
        x.enter(branch, scope)
