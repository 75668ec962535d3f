"""The graph of an instance: parsed once, immutable, nodes numbered in pre-order.

Pre-order is node, left, right, condition, extra branches in order. An event names a node by that number; people see
the eight hex digits of ``node_id``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

NODE_TYPES = "SQL THEN IF JOIN LOOP BREAK RACE SLEEP WAIT_SCHEDULE HTTP HTTP_MULTIPART SIGNAL WAIT_INSTANCE".split()


class GraphError(Exception):
    """The text is not a graph that this release can run."""


def node_id(index: int) -> str:
    """Eight hex digits for the node with this pre-order number; one-to-one for fewer than 2**32 nodes.

    The same arithmetic stands in ``df_engine.node_id``. Multiplication by an odd constant (Knuth's multiplicative
    hash) is a bijection modulo 2**32.
    """
    return f"{(index * 2654435761 + 1540483477) % 4294967296:08x}"


class Node:
    """One element of the graph. ``children`` are in the order in which nodes are numbered."""

    __slots__ = ("condition", "config", "extras", "id", "index", "left", "name", "parent", "query", "right", "type")

    def __init__(self, index: int, source: dict[str, Any], parent: Node | None) -> None:
        self.index = index
        self.id = node_id(index)
        self.parent = parent
        self.type: str = source.get("node_type", "")
        self.query: str = source.get("query") or ""
        self.name: str | None = source.get("result_name")
        self.config: dict[str, Any] = {}
        self.left: Node | None = None
        self.right: Node | None = None
        self.condition: Node | None = None
        self.extras: list[Node] = []

    @property
    def branches(self) -> list[Node]:
        """The parallel branches of a JOIN or RACE, in order."""
        return [node for node in (self.left, self.right) if node is not None] + self.extras


class Graph:
    """Nodes by number; ``root`` is number 0."""

    __slots__ = ("nodes",)

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes

    @property
    def root(self) -> Node:
        """The node that the instance runs."""
        return self.nodes[0]


def parse(text: str) -> Graph:
    """Parse an envelope. Raises GraphError when it has no node that could be run."""
    try:
        source = json.loads(text, parse_int=_whole_number)
    except (ValueError, RecursionError) as error:
        raise GraphError(f"the graph is not valid JSON: {error}") from None
    nodes: list[Node] = []
    pending: list[tuple[Any, Node | None, str]] = [(source, None, "")]
    while pending:
        item, parent, place = pending.pop()
        if not isinstance(item, dict) or item.get("node_type") not in NODE_TYPES:
            raise GraphError(f"node {len(nodes)}: not a known node")
        _check_fields(item, len(nodes))
        node = Node(len(nodes), item, parent)
        node.config = _config(node)
        nodes.append(node)
        if parent is not None:
            _attach(parent, node, place)
        pending.extend((child, node, name) for child, name in reversed(list(_children(item))))
    for node in nodes:
        _check(node)
    return Graph(nodes)


def _whole_number(digits: str) -> int | float:
    """jsonb takes numbers of any length, ``int`` no text of more than 4,300 digits. None that long has a meaning."""
    return int(digits) if len(digits) < 1000 else float(digits)


def _check_fields(item: dict[str, Any], index: int) -> None:
    for field in ("query", "result_name"):
        if not isinstance(item.get(field), str | None):
            raise GraphError(f"node {index}: {field} is not a string")
    if not isinstance(item.get("extra_nodes"), list | None):
        raise GraphError(f"node {index}: extra_nodes is not an array")


def _children(item: dict[str, Any]) -> Iterator[tuple[Any, str]]:
    for place in ("left_node", "right_node", "condition_node"):
        if item.get(place) is not None:
            yield item[place], place
    for extra in item.get("extra_nodes") or ():
        yield extra, "extra_nodes"


def _attach(parent: Node, node: Node, place: str) -> None:
    if place == "left_node":
        parent.left = node
    elif place == "right_node":
        parent.right = node
    elif place == "condition_node":
        parent.condition = node
    else:
        parent.extras.append(node)


def _config(node: Node) -> dict[str, Any]:
    """The node's query as an object, where its type keeps settings there."""
    if node.type in ("SQL", "SLEEP", "HTTP", "HTTP_MULTIPART") or not node.query:
        return {}
    try:
        config = json.loads(node.query, parse_int=_whole_number)
    except (ValueError, RecursionError):
        raise GraphError(f"node {node.index} ({node.type}): query is not valid JSON") from None
    if not isinstance(config, dict):
        raise GraphError(f"node {node.index} ({node.type}): query is not a JSON object")
    return config


def _check(node: Node) -> None:
    """Refuse what could not be run; ``df.start`` has checked the same in SQL with better words."""
    needs_both = node.type in ("THEN", "JOIN", "RACE") or node.type == "IF"
    if needs_both and (node.left is None or node.right is None):
        raise GraphError(f"node {node.index} ({node.type}): left_node and right_node are required")
    if node.type == "LOOP" and node.left is None:
        raise GraphError(f"node {node.index} (LOOP): left_node is required")
    if node.type == "IF" and node.condition is None and "result_name" not in node.config:
        raise GraphError(f"node {node.index} (IF): condition_node is required")
