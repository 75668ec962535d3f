"""HTTP and HTTP_MULTIPART: one request, sent by the worker."""

from __future__ import annotations

from perdure.orchestrator.graph import Node
from perdure.orchestrator.nodes.base import Handler, Machine
from perdure.orchestrator.scopes import Scope


class Http(Handler):
    """``enter -> ActivityScheduled(http) -> its outcome``."""

    def enter(self, x: Machine, node: Node, scope: Scope) -> None:
        x.schedule(node, scope, node.type.lower(), node.query)
