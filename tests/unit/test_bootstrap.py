"""The bootstrap says what is wrong before it does anything."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

BOOTSTRAP = Path(__file__).resolve().parents[2] / "bootstrap.py"


def run(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_without_a_command_the_usage_is_shown():
    done = run(BOOTSTRAP)
    assert done.returncode == 2
    assert "bootstrap.py demo" in done.stdout and "bootstrap.py test" in done.stdout


def test_checkout_without_links_is_named_and_nothing_is_made(tmp_path):
    shutil.copy(BOOTSTRAP, tmp_path)
    package = tmp_path / "src" / "perdure"
    package.mkdir(parents=True)
    (package / "eventstore").write_text("../../eventstore", "utf-8")
    done = run(tmp_path / "bootstrap.py", "install")
    assert done.returncode == 1
    assert "src/perdure/eventstore is not a link to a folder" in done.stderr
    assert "core.symlinks" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_foreign_folder_of_that_name_is_left_alone(tmp_path):
    shutil.copy(BOOTSTRAP, tmp_path)
    for name in ("eventstore", "orchestrator", "activities", "schema", "migrations"):
        (tmp_path / "src" / "perdure" / name).mkdir(parents=True)
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).write_text("", "utf-8")
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "mine").write_text("kept", "utf-8")
    done = run(tmp_path / "bootstrap.py", "install")
    assert done.returncode == 1
    assert "is no virtual environment" in done.stderr
    assert (tmp_path / ".venv" / "mine").read_text("utf-8") == "kept"


def test_standard_library_only_and_readable_by_an_old_python():
    tree = ast.parse(BOOTSTRAP.read_text("utf-8"), feature_version=(3, 8))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names
