"""The shape of the repository: what would break somebody else's machine or blur who may know whom."""

from __future__ import annotations

import ast
import os
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure.schema import frozen, install

ROOT = Path(__file__).resolve().parents[2]
LINKS = {
    "eventstore": "eventstore",
    "orchestrator": "orchestrator",
    "activities": "activities",
    "schema": "schema",
    "migrations": "alembic",
}
CODE = ("src", "eventstore", "orchestrator", "activities", "schema", "alembic", "benchmarks")
IMPURE = {"asyncio", "random", "secrets", "socket", "subprocess", "threading", "time", "uuid", "os", "io", "logging"}


def python_files(*folders: str) -> Iterator[Path]:
    """Every source file in the folders, links not followed."""
    for folder in folders:
        for place, _, names in os.walk(ROOT / folder):
            yield from (Path(place) / name for name in sorted(names) if name.endswith(".py"))


def imported(file: Path) -> set[str]:
    """The modules that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("name", LINKS)
def test_sub_package_is_a_relative_link_to_the_real_folder(name):
    link = ROOT / "src" / "perdure" / name
    assert link.is_symlink()
    assert str(link.readlink()) == f"../../{LINKS[name]}"
    assert link.is_dir()


def test_alembic_folder_is_no_package():
    assert not list((ROOT / "alembic").rglob("__init__.py")), "`import alembic` would find our folder"


def test_package_init_files_hold_a_docstring_only():
    for file in python_files("src", "eventstore", "orchestrator", "activities", "schema"):
        if file.name == "__init__.py":
            body = ast.parse(file.read_text("utf-8")).body
            assert len(body) == 1 and isinstance(body[0], ast.Expr), file


def test_modules_are_named_for_a_concept():
    vague = {"utils.py", "helpers.py", "common.py", "types.py", "misc.py"}
    assert not [file for file in python_files(*CODE, "tests") if file.name in vague]


def test_functions_and_files_stay_short():
    for file in python_files(*CODE):
        text = file.read_text("utf-8")
        assert text.count("\n") <= 500, f"{file.relative_to(ROOT)} has more than 500 lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                assert lines <= 60, f"{file.relative_to(ROOT)}: {node.name} has {lines} lines"


def test_core_imports_the_standard_library_and_the_vocabulary_only():
    vocabulary = ("perdure.orchestrator", "perdure.eventstore")
    for file in python_files("orchestrator"):
        for name in imported(file):
            top = name.partition(".")[0]
            assert top not in IMPURE, f"{file.relative_to(ROOT)} imports {name}"
            known = top in sys.stdlib_module_names or top == "croniter" or name.startswith(vocabulary)
            assert known or name == "perdure", f"{file.relative_to(ROOT)} imports {name}"


def test_activities_and_core_do_not_know_each_other():
    assert not [f for f in python_files("orchestrator") if any(n.startswith("perdure.activities") for n in imported(f))]
    assert not [f for f in python_files("activities") if any(n.startswith("perdure.orchestrator") for n in imported(f))]


def test_every_file_of_functions_is_a_theme_and_every_theme_a_file():
    files = {file.stem for file in (ROOT / "schema" / "functions").glob("*.sql")}
    assert files == set(install.THEMES)
    assert len(install.THEMES) == len(set(install.THEMES))


def test_frozen_copies_of_the_open_revision_equal_the_living_sql():
    assert frozen.differences() == [], "run `make freeze`"


def test_frozen_check_notices_a_copy_that_differs(tmp_path):
    root = frozen.freeze_apart(tmp_path / "frozen")
    assert frozen.differences(root) == []
    (root / frozen.OPEN_REVISION / "tables.sql").write_text("-- changed", "utf-8")
    (root / frozen.OPEN_REVISION / "left_over.sql").write_text("-- a theme that is gone", "utf-8")
    assert frozen.differences(root) == ["left_over.sql", "tables.sql"]
    assert frozen.freeze(root) == ["left_over.sql", "tables.sql"]
    assert frozen.differences(root) == []


def test_the_one_token_that_is_replaced_stands_in_the_operators_only():
    for theme in (install.TABLES, *install.THEMES):
        tokens = set(re.findall(r"@\w+@", install.living(theme).read_text("utf-8")))
        assert tokens <= ({"@operators_schema@"} if theme == "operators" else set()), theme


def test_lock_has_names_versions_and_hashes_and_no_addresses():
    text = (ROOT / "requirements.lock").read_text("utf-8")
    assert "://" not in text and "index-url" not in text
    pins = re.findall(
        r"^([A-Za-z0-9._-]+)==\S+(?: ;[^\\]*)? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", text, re.MULTILINE
    )
    lines = [line for line in text.splitlines() if line and not line.startswith(("#", " "))]
    assert len(pins) == len(lines) > 20


def test_lock_covers_what_the_project_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    extras = project["project"]["optional-dependencies"].values()
    asked = [*project["project"]["dependencies"], *(name for extra in extras for name in extra)]
    asked += project["build-system"]["requires"]
    locked = set(re.findall(r"^([a-z0-9.-]+)==", (ROOT / "requirements.lock").read_text("utf-8"), re.MULTILINE))
    names = {re.split(r"[\[<>=~ ]", name)[0].lower() for name in asked}
    assert names <= locked


def test_ci_runs_the_bootstrap():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "bootstrap.py test" in script.read_text("utf-8")
