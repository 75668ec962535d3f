"""Expressions of the DSL together with the tree that they must build, whatever texts stand in them (hypothesis)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from attacks.fuzz_input import PIECES
from perdure.orchestrator.graph import Graph, Node

Tree = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Built:
    """An expression with places for its parameters, and the tree of what it builds."""

    sql: str
    parameters: tuple[Any, ...]
    tree: Tree


def shape(graph: Graph) -> Tree:
    """A parsed graph as a tree of (type, name, query, children...)."""
    return _shape(graph.root)


def _shape(node: Node) -> Tree:
    children = [child for child in (node.left, node.right, node.condition, *node.extras) if child is not None]
    query = json.dumps(node.config, sort_keys=True) if node.config else node.query
    return (node.type, node.name, query, *(_shape(child) for child in children))


def leaf(kind: str, query: str | dict[str, Any]) -> Tree:
    """A node without children."""
    return (kind, None, query if isinstance(query, str) else json.dumps(query, sort_keys=True))


any_text = st.lists(st.sampled_from(PIECES), max_size=8).map("".join) | st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=20
)
filled = any_text.filter(bool)
# What begins with a brace may be an envelope, and is taken for one.
plain = any_text.filter(lambda text: not text.lstrip(" \t\n\r").startswith("{"))
seconds = st.integers(0, 3155760000) | st.sampled_from([0, 1, 3155760000])
timeouts = st.none() | st.integers(1, 2147483647)
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,70}", fullmatch=True)

leaves = st.one_of(
    any_text.map(lambda t: Built("df.sql(%s)", (t,), leaf("SQL", t))),
    plain.map(lambda t: Built("%s::text", (t,), leaf("SQL", t))),
    seconds.map(lambda n: Built("df.sleep(%s)", (n,), leaf("SLEEP", str(n)))),
    st.tuples(filled, timeouts).map(
        lambda g: Built("df.wait_for_signal(%s, %s::integer)", g, leaf("SIGNAL", {"signal_name": g[0], "timeout_seconds": g[1]}))
    ),
    st.tuples(filled, timeouts).map(
        lambda g: Built("df.wait_for_instance(%s, %s::integer)", g, leaf("WAIT_INSTANCE", {"instance_id": g[0], "timeout_seconds": g[1]}))
    ),
    (st.none() | any_text).map(lambda t: Built('df."break"(%s)', (t,), leaf("BREAK", {"break_value": t}))),
)  # fmt: skip


def combined(form: str, tree: Callable[..., Tree], *parts: Built) -> Built:
    """A combinator around expressions; ``form`` has one ``{}`` for each."""
    parameters = tuple(value for part in parts for value in part.parameters)
    return Built(form.format(*(part.sql for part in parts)), parameters, tree(*(part.tree for part in parts)))


def _two(kind: str) -> Callable[..., Tree]:
    return lambda a, b: (kind, None, "", a, b)


def _chain(*steps: Tree) -> Tree:
    """The balanced tree that a chain of steps becomes."""
    level = list(steps)
    while len(level) > 1:
        pairs = [(level[i : i + 2]) for i in range(0, len(level), 2)]
        level = [("THEN", None, "", *pair) if len(pair) == 2 else pair[0] for pair in pairs]
    return level[0]


def _named(tree: Tree, name: str) -> Tree:
    return (tree[0], name, *tree[2:])


def grown(inner: st.SearchStrategy[Built]) -> st.SearchStrategy[Built]:
    """Combinators of smaller expressions."""
    two = st.sampled_from(
        [("df.seq({}, {})", "THEN"), ("({} ~> {})", "THEN"), ('df."join"({}, {})', "JOIN"), ("({} & {})", "JOIN"),
         ("df.race({}, {})", "RACE"), ("({} | {})", "RACE")]
    )  # fmt: skip
    return st.one_of(
        st.tuples(two, inner, inner).map(lambda g: combined(g[0][0], _two(g[0][1]), g[1], g[2])),
        st.tuples(inner, inner, inner).map(lambda g: combined('df."if"({}, {}, {})', lambda c, a, b: ("IF", None, "", a, b, c), *g)),
        st.tuples(inner, inner, inner).map(lambda g: combined("({} ?> {} !> {})", lambda c, a, b: ("IF", None, "", a, b, c), *g)),
        st.tuples(inner, inner, inner).map(lambda g: combined("df.join3({}, {}, {})", lambda *t: ("JOIN", None, "", *t), *g)),
        st.lists(inner, min_size=2, max_size=6).map(
            lambda g: combined(f'df."join"(VARIADIC ARRAY[{", ".join(["{}"] * len(g))}])', lambda *t: ("JOIN", None, "", *t), *g)
        ),
        st.lists(inner, min_size=1, max_size=7).map(
            lambda g: combined(f"df.seq(VARIADIC ARRAY[{', '.join(['{}'] * len(g))}])", _chain, *g)
        ),
        inner.map(lambda g: combined('df."loop"({})', lambda a: ("LOOP", None, "", a), g)),
        inner.map(lambda g: combined("(@> {})", lambda a: ("LOOP", None, "", a), g)),
        st.tuples(inner, inner).map(lambda g: combined('df."loop"({}, {})', lambda a, c: ("LOOP", None, "", a, c), *g)),
        st.tuples(inner, names).map(lambda g: combined(f"df.\"as\"({{}}, '{g[1]}')", lambda t: _named(t, g[1]), g[0])),
        st.tuples(inner, names).map(lambda g: combined(f"({{}} |=> '{g[1]}')", lambda t: _named(t, g[1]), g[0])),
    )  # fmt: skip


expressions = st.recursive(leaves, grown, max_leaves=12)
