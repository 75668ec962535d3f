"""Why a login did not come about. Servers say it in any language, libpq gives no SQLSTATE: the catalogue is asked."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg

from perdure.activities.failures import ActivityError, Failure
from perdure.activities.sql import WrongRole
from perdure.eventstore.engine import Engine

log = logging.getLogger("perdure")

REFUSED_SECONDS = 5.0
SHOWN_SECONDS = 3.0  # a wait for a free connection that lasts longer is shown to whoever asks
# After the login: the session is another role's than it must be, or may not become the role.
_NOT_THE_ROLE = ("28P01", "28000", "42501")


class RoleBlocked(Exception):
    """The worker cannot log in as this role; its steps wait."""


class Crowded(Exception):
    """The server, the database or the role has no connection free; the step waits for one, and that is no attempt."""


def too_late(settings: Mapping[str, Any]) -> str:
    """The reference's words for a step that waited too long for one of ``max_user_connections``."""
    cap, wait = settings.get("max_user_connections"), settings.get("execution_acquire_timeout")
    return (
        f"pg_durable: connection limit reached (max_user_connections={cap}). "
        f"Timed out after {wait}s waiting for an available execution slot."
    )


@dataclass(frozen=True, slots=True)
class Login:
    """A login that was tried: ``name`` for the steps of ``role``, whose oid is ``owner``, in the database ``where``."""

    owner: int
    role: str
    name: str
    where: str
    is_home: bool

    @property
    def failed(self) -> str:
        """How the message of every failure begins."""
        return f"Failed to connect to database '{self.where}' as '{self.role}'"


class Refusals:
    """What is known of roles that this worker could not log in as. Safe for many threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._blocked: dict[int, float] = {}  # role: until when nothing of it is claimed
        self._waiting: dict[int, float] = {}  # role: since when its steps wait
        self._unexplained: set[int] = set()
        self._shown: set[int] = set()

    def blocked(self) -> list[int]:
        """Roles (oids) that cannot be logged in as, for now."""
        now = time.monotonic()
        with self._lock:
            self._blocked = {role: until for role, until in self._blocked.items() if until > now}
            return list(self._blocked)

    def cleared(self, owner: int) -> None:
        """A login as the role has come about."""
        with self._lock:
            for known in (self._blocked, self._waiting):
                known.pop(owner, None)
            self._unexplained.discard(owner)
            shown = owner in self._shown
            self._shown.discard(owner)
        if shown:
            self._engine.mine("block", owner, None)

    def served(self, owner: int) -> None:
        """A step of the role has a session, if not a new one: nobody waits for long."""
        if owner in self._waiting:
            self.cleared(owner)

    def of_login(self, login: Login, error: psycopg.Error) -> Exception:
        """What a refused connection means for the step: it waits, or it has failed.

        The engine not answering either is the server's trouble and not the step's: it waits. Raises NotRegistered.
        """
        words = f"{login.failed}: {last_words(error)}"
        try:
            kind, reason = self._engine.mine("login_trouble", login.name, login.where)[0]
        except psycopg.Error:
            return Crowded(words)
        if reason:
            words = f"{words} ({reason})"
        if kind == "full":
            return self._crowded(login, words)
        if kind == "closed" and not login.is_home:
            return ActivityError(Failure(words, sqlstate="55000"))
        if kind is None and not self._again(login.owner):
            return Crowded(words)  # once may be a network's hiccup, or a crowd that has gone
        return self._refused(login, words)

    def of_session(self, login: Login, error: psycopg.Error | WrongRole) -> Exception:
        """What it means that a session which was opened cannot be used."""
        words = f"{login.failed}: {last_words(error)}"
        sqlstate = error.sqlstate if isinstance(error, psycopg.Error) else None
        if isinstance(error, WrongRole) or sqlstate in _NOT_THE_ROLE:
            return self._refused(login, words)
        return ActivityError(Failure(words, sqlstate=sqlstate or "08001", transient=True))

    def _again(self, owner: int) -> bool:
        """Whether the last login as this role failed without an explanation too."""
        with self._lock:
            again = owner in self._unexplained
            self._unexplained.add(owner)
        return again

    def _refused(self, login: Login, words: str) -> RoleBlocked:
        log.warning("cannot log in as a role; its steps wait", extra={"role": login.role, "reason": words})
        if login.is_home:  # its steps in other databases must not keep back those at home
            with self._lock:
                self._blocked[login.owner] = time.monotonic() + REFUSED_SECONDS
        self._show(login.owner, words)
        return RoleBlocked(words)

    def _crowded(self, login: Login, words: str) -> Crowded:
        log.info("no connection is free for a step; it waits", extra={"role": login.role, "reason": words})
        now = time.monotonic()
        with self._lock:
            since = self._waiting.setdefault(login.owner, now)
        if now > since + SHOWN_SECONDS:
            self._show(login.owner, words)
        return Crowded(words)

    def _show(self, owner: int, words: str) -> None:
        with self._lock:
            self._shown.add(owner)
        self._engine.mine("block", owner, words)


def last_words(error: Exception) -> str:
    """What the server said last, in its language. libpq adds words of its own: where it got to, before, and after it
    where it had the password from."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    last = next((line for line in reversed(lines) if " failed: " in line or "FATAL" in line), lines[-1])
    return last.removeprefix("connection failed: ")
