"""A passfile of libpq's (``host:port:database:user:password``), one line a login, readable by its owner only."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class PassfileError(Exception):
    """The passfile cannot be used; the message is one sentence."""


def with_password(path: Path, login: str, password: str) -> None:
    """Write the password of a login, in place of the one that is there. Readers see the old file or the new one.

    Raises ``PassfileError``.
    """
    with _changing(path) as lines:
        lines[:] = [line for line in lines if not _is_of(line, login)]
        lines.append(f"*:*:*:{_escaped(login)}:{_escaped(password)}")


def without(path: Path, login: str) -> None:
    """Take a login out. Raises ``PassfileError``."""
    if path.exists():
        with _changing(path) as lines:
            lines[:] = [line for line in lines if not _is_of(line, login)]


@contextmanager
def _changing(path: Path) -> Iterator[list[str]]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with path.with_name(f".{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = path.stat() if path.exists() else None
            lines = path.read_text("utf-8").splitlines() if before else []
            yield lines
            fresh = path.with_name(f".{path.name}.new")
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
                os.fchmod(file.fileno(), 0o600)  # whatever was there before
                if before is not None:
                    os.fchown(file.fileno(), before.st_uid, before.st_gid)
                file.write("".join(f"{line}\n" for line in lines))
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
    except OSError as error:
        raise PassfileError(f"cannot write the passfile {path}: {error.strerror}") from error


def _is_of(line: str, login: str) -> bool:
    fields, current, escaped = [], "", False
    for character in line:
        if escaped or (character not in "\\:"):
            current, escaped = current + character, False
        elif character == "\\":
            escaped = True
        else:
            fields.append(current)
            current = ""
    return not line.startswith("#") and len(fields) >= 4 and fields[3] == login


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace(":", "\\:")
