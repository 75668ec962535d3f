"""docs/compatibility.md and the catalogue say the same: functions with their arguments, columns, operators."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from asking import Connection, one_database
from cluster import Cluster

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "compatibility.md").read_text("utf-8")
_ROW = re.compile(r"^\| `(.+?)` \| (same|better|ours|left out) \|", re.MULTILINE)
ROWS = {found[1].replace("\\|", "|"): found[2] for found in _ROW.finditer(PAGE)}
HERE = {name for name, mark in ROWS.items() if mark != "left out"}


@pytest.fixture(scope="module")
def alice(cluster: Cluster, template: str) -> Iterator[Connection]:
    """An ordinary user; these tests only look."""
    with one_database(cluster, template) as database, database.connect() as connection:
        yield connection


def test_every_function_stands_on_the_page_with_its_arguments(alice: Connection) -> None:
    rows = alice.execute(
        "SELECT p.proname, coalesce(p.proargnames[1:p.pronargs], '{}') FROM pg_proc p"
        " WHERE p.pronamespace = 'df'::regnamespace"
    ).fetchall()
    functions = {f"df.{name}({', '.join(arguments)})" for name, arguments in rows}
    assert functions == {name for name in HERE if name.startswith("df.") and name.endswith(")")}


def test_what_is_left_out_is_not_there(alice: Connection) -> None:
    left_out = {name.removeprefix("df.").partition("(")[0] for name in ROWS.keys() - HERE if "(" in name}
    assert left_out
    found = alice.execute(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'df'::regnamespace AND proname = ANY (%s)", [list(left_out)]
    ).fetchall()
    assert found == []


def test_every_column_stands_on_the_page(alice: Connection) -> None:
    rows = alice.execute(
        "SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0"
        " WHERE c.relnamespace = 'df'::regnamespace AND c.relname IN ('instances', 'nodes', 'vars')"
    ).fetchall()
    columns = {f"df.{view}.{column}" for view, column in rows}
    assert columns == {name for name in HERE if name.startswith(("df.instances.", "df.nodes.", "df.vars."))}


def test_every_other_relation_is_named(alice: Connection) -> None:
    rows = alice.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'df'::regnamespace AND relkind IN ('r', 'v', 'm', 'S', 'p')"
    ).fetchall()
    names = {name for (name,) in rows if not name.startswith("ingress_")}
    assert {name for name in names if f"`df.{name}`" not in PAGE} == set()


def test_every_operator_stands_on_the_page(alice: Connection) -> None:
    rows = alice.execute(
        "SELECT o.oprname FROM pg_operator o JOIN pg_proc p ON p.oid = o.oprcode"
        " WHERE p.pronamespace = 'df'::regnamespace"
    ).fetchall()
    assert {name for (name,) in rows} == {name for name in HERE if not re.search(r"\w", name)}


def test_every_setting_stands_in_operations_with_default_and_range(alice: Connection) -> None:
    page = (DOCS / "operations.md").read_text("utf-8")
    rows = alice.execute(
        "SELECT name, default_value, coalesce(low::text, ''), coalesce(high::text, '') FROM df.settings"
    )
    missing = [row for row in rows.fetchall() if re.sub(" +", " ", "| `{}` | {} | {} | {} |".format(*row)) not in page]
    assert missing == []
