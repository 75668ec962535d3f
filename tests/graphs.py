"""Graphs as data, for tests of the core: ``then(sql("a"), join(sql("b"), sleep(3)))``. No database is needed."""

from __future__ import annotations

import json
from typing import Any

from perdure.orchestrator.graph import Graph, parse

Envelope = dict[str, Any]


def _node(kind: str, name: str | None = None, query: Any = None, **children: Any) -> Envelope:
    node: Envelope = {"node_type": kind}
    if query is not None:
        node["query"] = query if isinstance(query, str) else json.dumps(query)
    if name is not None:
        node["result_name"] = name
    return {**node, **{key: child for key, child in children.items() if child is not None}}


def sql(query: str = "SELECT 1", name: str | None = None) -> Envelope:
    """A SQL step."""
    return _node("SQL", name, query)


def http(url: str = "https://example.com/", name: str | None = None) -> Envelope:
    """An HTTP step."""
    return _node("HTTP", name, {"url": url, "method": "GET"})


def then(left: Envelope, right: Envelope, *more: Envelope, name: str | None = None) -> Envelope:
    """``left ~> right ~> ...``; the name belongs to the last THEN."""
    if not more:
        return _node("THEN", name, left_node=left, right_node=right)
    return then(then(left, right), *more, name=name)


def if_(condition: Envelope, yes: Envelope, no: Envelope, name: str | None = None) -> Envelope:
    """A conditional."""
    return _node("IF", name, left_node=yes, right_node=no, condition_node=condition)


def if_rows(result: str, yes: Envelope, no: Envelope, name: str | None = None) -> Envelope:
    """A conditional on the rows of a named result."""
    return _node("IF", name, {"if_rows": True, "result_name": result}, left_node=yes, right_node=no)


def join(left: Envelope, right: Envelope, *more: Envelope, name: str | None = None) -> Envelope:
    """All branches."""
    return _node("JOIN", name, left_node=left, right_node=right, extra_nodes=list(more) or None)


def race(left: Envelope, right: Envelope, name: str | None = None) -> Envelope:
    """The first branch to end."""
    return _node("RACE", name, left_node=left, right_node=right)


def loop(body: Envelope, condition: Envelope | None = None, name: str | None = None) -> Envelope:
    """A loop, with a condition or without end."""
    return _node("LOOP", name, left_node=body, condition_node=condition)


def break_(value: str | None = None, name: str | None = None) -> Envelope:
    """A break out of the innermost loop."""
    return _node("BREAK", name, {} if value is None else {"break_value": value})


def sleep(seconds: int = 5, name: str | None = None) -> Envelope:
    """A durable timer."""
    return _node("SLEEP", name, str(seconds))


def schedule(cron: str = "*/5 * * * *", timezone: str | None = None) -> Envelope:
    """A timer for the next tick."""
    return _node("WAIT_SCHEDULE", None, {"cron_expr": cron, **({"timezone": timezone} if timezone else {})})


def signal(name: str = "go", timeout: float | None = None, keep: str | None = None) -> Envelope:
    """A wait for a signal, its result kept as ``keep``."""
    config: dict[str, Any] = {"signal_name": name}
    return _node("SIGNAL", keep, config if timeout is None else {**config, "timeout_seconds": timeout})


def wait_instance(instance: str = "00c0ffee", timeout: float | None = None, name: str | None = None) -> Envelope:
    """A wait for another instance's end."""
    config: dict[str, Any] = {"instance_id": instance}
    return _node("WAIT_INSTANCE", name, config if timeout is None else {**config, "timeout_seconds": timeout})


def graph(envelope: Envelope) -> Graph:
    """The graph as the engine parses it."""
    return parse(json.dumps(envelope))
