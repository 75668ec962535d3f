"""What was installed, in short: a comment on the schema ``df_engine`` that says which state of the SQL it was.

Until a release one revision stays open, and its SQL changes under the same number. A database that was migrated before
such a change is recognised by this.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from perdure.schema import install

READ = "SELECT pg_catalog.obj_description(pg_catalog.to_regnamespace('df_engine')::pg_catalog.oid, 'pg_namespace')"
_FORM = re.compile(r"perdure: tables ([0-9a-f]{16}), functions ([0-9a-f]{16})")


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Sixteen hex digits each; equal where the SQL is."""

    tables: str
    functions: str

    def __str__(self) -> str:
        return f"perdure: tables {self.tables}, functions {self.functions}"


def read(comment: str | None) -> Fingerprint | None:
    """What the comment says, None where it says nothing."""
    found = _FORM.fullmatch(comment or "")
    return Fingerprint(*found.groups()) if found else None


def of_frozen(root: Path = install.FROZEN, upto: str | None = None) -> Fingerprint:
    """Of what the revisions below ``root`` install together: all tables, and the newest copy of each theme.

    ``upto`` leaves out the revisions that come after it.
    """
    tables = [folder / "tables.sql" for folder in _revisions(root, upto) if (folder / "tables.sql").is_file()]
    return _of(tables, themes(root, upto).values())


def of_living() -> Fingerprint:
    """Of what is being edited; after ``make freeze`` it is that of the frozen copies."""
    return _of([install.living(install.TABLES)], (install.living(theme) for theme in install.THEMES))


def themes(root: Path = install.FROZEN, upto: str | None = None) -> dict[str, Path]:
    """The newest copy of each theme below ``root``, in the order in which they are installed; no tables."""
    revisions = _revisions(root, upto)[::-1]
    newest_order = next(folder.name for folder in revisions if (folder / "order.txt").is_file())
    return {
        theme: next(folder / f"{theme}.sql" for folder in revisions if (folder / f"{theme}.sql").is_file())
        for theme in install.order(newest_order, root)
        if theme != install.TABLES
    }


def _revisions(root: Path, upto: str | None) -> list[Path]:
    """The folders of the frozen copies, oldest first."""
    folders = sorted(folder for folder in root.iterdir() if folder.is_dir())
    return [folder for folder in folders if upto is None or folder.name <= upto]


def _of(tables: Iterable[Path], functions: Iterable[Path]) -> Fingerprint:
    return Fingerprint(_digest(tables), _digest(functions))


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
