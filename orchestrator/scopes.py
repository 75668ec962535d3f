"""Scopes: where names live. The root, each branch of a JOIN or RACE, and each loop below the root has one."""

from __future__ import annotations

from typing import Any

from perdure.orchestrator.graph import Node
from perdure.orchestrator.values import Value


class Scope:
    """A running part of an execution with names of its own.

    ``path`` is the scope as ``df.nodes.status_details`` shows it, without the instance id it begins with. ``waits``
    holds the sequence numbers of what the scope waits for; ``local`` the state of its composite nodes.
    """

    __slots__ = (
        "branch",
        "children",
        "generation",
        "host",
        "live",
        "local",
        "names",
        "parent",
        "path",
        "root",
        "waits",
    )

    def __init__(self, root: Node, parent: Scope | None, host: Node | None, branch: int, path: str) -> None:
        self.root = root
        self.parent = parent
        self.host = host
        self.branch = branch
        self.path = path
        self.generation = 1
        self.live = True
        self.names: dict[str, Value] = dict(parent.names) if parent else {}
        self.children: dict[int, Scope] = {}
        self.waits: dict[int, None] = {}
        self.local: dict[int, Any] = {}

    @property
    def stamp(self) -> str:
        """``<scope>::<generation>``, without the instance id."""
        return f"{self.path}::{self.generation}"

    def open(self, root: Node, host: Node, branch: int) -> Scope:
        """A scope below this one for the branch (or loop) that begins at ``root``."""
        child = Scope(root, self, host, branch, f"{self.stamp}::{root.id}")
        self.children[root.index] = child
        return child

    def close(self) -> None:
        """Take the scope out of its parent; nothing more happens in it."""
        self.live = False
        if self.parent is not None:
            self.parent.children.pop(self.root.index, None)


def awaited_by(node: Node, scope: Scope) -> str | None:
    """The JOIN for which a success of this SQL or HTTP step is one branch less, and nothing else; None without one.

    Of JOINs in JOINs the outermost one: while one of its branches runs, no success of the others leaves work to do.
    It is named by its node and the scope and generation that it runs in.
    """
    found: str | None = None
    while _ends(node, scope) and scope.host is not None and scope.host.type == "JOIN" and scope.parent is not None:
        node, scope = scope.host, scope.parent
        found = f"{node.index}{scope.stamp}"
    return found


def _ends(node: Node, scope: Scope) -> bool:
    """Whether a success of the node is the end of its scope's root: it is that, or the last of a sequence that is."""
    while node is not scope.root:
        parent = node.parent
        if parent is None or parent.type != "THEN" or node is not parent.right:
            return False
        node = parent
    return True
