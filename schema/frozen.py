"""Freezing the living SQL beside the revision that is open: ``python -m perdure.schema.frozen [--check]``.

Until a release one revision stays open, and its copies follow the living files. After it they never change again, and
the next change of a theme opens a new revision.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from perdure.schema import install

OPEN_REVISION = "0001"


def wanted() -> dict[str, str]:
    """The files of the open revision as they should be: name to text."""
    themes = (install.TABLES, *install.THEMES)
    files = {f"{theme}.sql": install.living(theme).read_text("utf-8") for theme in themes}
    return {"order.txt": "".join(f"{theme}\n" for theme in themes), **files}


def found(root: Path) -> dict[str, str]:
    """The files of the open revision as they are below ``root``: name to text."""
    folder = root / OPEN_REVISION
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return {file.name: file.read_text("utf-8") for file in files}


def differences(root: Path = install.FROZEN) -> list[str]:
    """The names of the files whose frozen copy is not the living text, in order."""
    want, have = wanted(), found(root)
    return sorted(name for name in want.keys() | have.keys() if want.get(name) != have.get(name))


def freeze(root: Path = install.FROZEN) -> list[str]:
    """Make the copies of the open revision equal to the living text; answers the names that changed."""
    changed = differences(root)
    folder, want = root / OPEN_REVISION, wanted()
    folder.mkdir(parents=True, exist_ok=True)
    for name in changed:
        if name not in want:
            (folder / name).unlink()
            continue
        fresh = folder / f".{name}.new"
        fresh.write_text(want[name], "utf-8")
        fresh.replace(folder / name)  # in one go: somebody may be installing from here
    return changed


def freeze_apart(root: Path) -> Path:
    """Copy the frozen revisions to ``root`` and freeze the living text there: tests install what is being edited."""
    shutil.copytree(install.FROZEN, root, dirs_exist_ok=True)
    freeze(root)
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Freeze, or with ``--check`` say what differs. Answers the exit code."""
    parser = argparse.ArgumentParser(prog="python -m perdure.schema.frozen", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, fail when a copy differs")
    check = parser.parse_args(arguments).check
    names = differences() if check else freeze()
    if check and names:
        print(f"revision {OPEN_REVISION} differs from the living SQL (run `make freeze`): {', '.join(names)}")
        return 1
    print(f"revision {OPEN_REVISION}: " + (f"froze {', '.join(names)}" if names else "equal to the living SQL"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
