"""SQL: one statement, run as the submitting role."""

from __future__ import annotations

from perdure.orchestrator.graph import Node
from perdure.orchestrator.nodes.base import Handler, Machine
from perdure.orchestrator.scopes import Scope


class Sql(Handler):
    """``enter -> ActivityScheduled(sql) -> its outcome``."""

    def enter(self, x: Machine, node: Node, scope: Scope) -> None:
        x.schedule(node, scope, "sql", node.query)
