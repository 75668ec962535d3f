"""SLEEP and WAIT_SCHEDULE: durable timers, measured from the turn that set them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from perdure.orchestrator.cron import CronError, next_tick
from perdure.orchestrator.graph import Node
from perdure.orchestrator.nodes.base import Handler, Machine, Wait
from perdure.orchestrator.scopes import Scope
from perdure.orchestrator.values import Value, failed

FAR = datetime(9999, 1, 1, tzinfo=UTC)


def after(now: datetime, seconds: float) -> datetime:
    """``seconds`` past ``now``, at most the year 9999."""
    return FAR if seconds >= (FAR - now).total_seconds() else now + timedelta(seconds=seconds)


class Sleep(Handler):
    """``enter -> TimerSet -> TimerFired``."""

    def enter(self, x: Machine, node: Node, scope: Scope) -> None:
        try:
            seconds = int(node.query)
        except ValueError:
            x.leave(node, scope, failed(f"Invalid sleep duration: {node.query[:100]!r}"))
            return
        x.set_timer(node, scope, after(x.now, max(seconds, 0)), "timer")

    def fired(self, x: Machine, wait: Wait) -> None:
        raw = f'{{"slept": true, "seconds": {int(wait.node.query)}}}'
        x.leave(wait.node, wait.scope, Value({"v": raw}))


class Schedule(Handler):
    """``enter -> TimerSet for the next tick strictly after now -> TimerFired``."""

    def enter(self, x: Machine, node: Node, scope: Scope) -> None:
        try:
            due = next_tick(str(node.config.get("cron_expr")), node.config.get("timezone"), x.now)
        except CronError as error:
            x.leave(node, scope, failed(str(error)))
            return
        x.set_timer(node, scope, due, "timer")

    def fired(self, x: Machine, wait: Wait) -> None:
        x.leave(wait.node, wait.scope, Value({"v": '{"scheduled": true}'}))
