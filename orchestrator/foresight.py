"""Looking ahead: what can be known of the turn after a step before the step has run."""

from __future__ import annotations

from perdure.orchestrator.execution import STEPS, Execution
from perdure.orchestrator.graph import Node
from perdure.orchestrator.scopes import Scope


def foreseeable(execution: Execution, seq: int, truth: bool) -> bool:
    """Whether the turn after a success of activity ``seq`` needs no clock and leaves at most one step to do.

    Such a turn can be decided before the step's commit and travel with it.
    """
    wait = execution.waits.get(seq)
    if wait is None or len(execution.waits) != 1 or execution.facts or wait.node.type not in STEPS:
        return False
    node, scope = wait.node, wait.scope
    while node.parent is not None:
        parent = node.parent
        if parent.type == "THEN" and node is parent.left:
            return _begins_with_step(parent.right)
        if parent.type == "IF" and node is parent.condition:
            return _begins_with_step(parent.left if truth else parent.right)
        if parent.type == "LOOP" and scope.root is parent:
            if node is parent.left or truth:
                return _goes_round(parent, scope, node)
            if scope.parent is not None and scope.host is not parent:
                return False  # a branch of a JOIN or RACE ends
            truth = scope.local[parent.index].truth
            scope = scope.parent or scope
        elif parent.type not in ("THEN", "IF"):
            return False
        node = parent
    return True


def _goes_round(loop: Node, scope: Scope, node: Node) -> bool:
    if loop.condition is None:
        return False
    if node is loop.left:
        return _begins_with_step(loop.condition)
    return scope.parent is not None and _begins_with_step(loop.left)


def _begins_with_step(node: Node | None) -> bool:
    while node is not None:
        if node.type == "THEN":
            node = node.left
        elif node.type == "IF" and node.condition is not None:
            node = node.condition
        else:
            return node.type in STEPS
    return False
