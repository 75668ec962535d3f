"""Asking the database one thing: a value, or the error that it answers with."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any, cast

import psycopg
import pytest

from cluster import Cluster, Database, copy_template, drop_database, numbered

_names = numbered("perdure_asking")
Connection = psycopg.Connection[Any]


@contextlib.contextmanager
def one_database(cluster: Cluster, template: str) -> Iterator[Database]:
    """A copy of the template for all tests of a module: for those that leave nothing behind."""
    name = next(_names)
    try:
        yield copy_template(cluster, template, name)
    finally:
        drop_database(cluster, name)


def value(connection: Connection, expression: str, *parameters: object) -> Any:
    """The one value of ``SELECT <expression>``."""
    row = connection.execute(cast(Any, f"SELECT {expression}"), parameters or None).fetchone()
    assert row is not None
    return row[0]


def tree(connection: Connection, expression: str, *parameters: object) -> Any:
    """An envelope, in short: SQL nodes as their text, others as [type, children..., {what else they have}]."""
    return shortened(json.loads(value(connection, expression, *parameters)))


def shortened(node: dict[str, Any]) -> Any:
    """See ``tree``."""
    children = [node.get("left_node"), node.get("right_node"), node.get("condition_node"), *node.get("extra_nodes", [])]
    rest = {key: node[key] for key in ("query", "result_name") if key in node}
    if node["node_type"] == "SQL" and list(rest) == ["query"]:
        return node["query"]
    short = [node["node_type"], *(shortened(child) for child in children if child is not None)]
    return [*short, rest] if rest else short


def refusal(connection: Connection, expression: str, *parameters: object) -> psycopg.Error:
    """The error of ``SELECT <expression>``."""
    return refused(connection, f"SELECT {expression}", *parameters)


def refused(connection: Connection, statement: str, *parameters: object) -> psycopg.Error:
    """The error of a statement."""
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(cast(Any, statement), parameters or None)
    return caught.value


def words(error: psycopg.Error) -> str:
    """The server's message, without detail, hint and context."""
    return error.diag.message_primary or ""
