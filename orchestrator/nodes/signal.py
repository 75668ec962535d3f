"""SIGNAL and WAIT_INSTANCE: waits for something from outside, with an optional time-out."""

from __future__ import annotations

import json
from typing import Any

from perdure.orchestrator.graph import Node
from perdure.orchestrator.nodes.base import Handler, Machine, Wait, may_refer
from perdure.orchestrator.scopes import Scope
from perdure.orchestrator.values import Value, failed


def timed_out(name: str) -> Value:
    """The result of a signal wait whose time is over."""
    return Value({"v": f'{{"signal_name":{json.dumps(name, ensure_ascii=False)},"timed_out":true,"data":null}}'})


class Signal(Handler):
    """``enter -> SignalAwaited -> SignalConsumed or SignalTimedOut``. Both in one turn: the signal."""

    def enter(self, x: Machine, node: Node, scope: Scope) -> None:
        name = str(node.config.get("signal_name") or "")
        timeout = node.config.get("timeout_seconds")
        if not name:
            x.leave(node, scope, failed("Signal name cannot be empty"))
        else:
            x.await_signal(node, scope, name, None if timeout is None else float(timeout))


class WaitInstance(Handler):
    """``enter -> InstanceAwaited -> InstanceEnded, or the time-out``. An id with references is rendered first."""

    def enter(self, x: Machine, node: Node, scope: Scope) -> None:
        target = str(node.config.get("instance_id") or "")
        if may_refer(target):
            x.schedule(node, scope, "value", target)
        else:
            self._await(x, node, scope, {"instance": target})

    def completed(self, x: Machine, wait: Wait, value: Value) -> None:
        if wait.kind == "activity":
            self._await(x, wait.node, wait.scope, {"ref": value.ref})
        else:
            x.leave(wait.node, wait.scope, value)

    def _await(self, x: Machine, node: Node, scope: Scope, target: dict[str, Any]) -> None:
        timeout = node.config.get("timeout_seconds")
        x.await_instance(node, scope, target, None if timeout is None else float(timeout))
