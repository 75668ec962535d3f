"""Step sessions by (database, role). A session is never shared by two roles, and never goes back after an accident."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from perdure.activities.failures import ActivityError, Failure
from perdure.activities.sql import STEP_OPTIONS, StepSession, WrongRole
from perdure.eventstore.calls import CALLS
from perdure.eventstore.connections import Link, connect
from perdure.eventstore.engine import Engine
from perdure.eventstore.errors import NotRegistered
from perdure.settings import Settings

log = logging.getLogger("perdure")

IDLE_SECONDS = 60.0
REFUSED_SECONDS = 5.0
RECHECK_SECONDS = 1.0
# Refusals of the login itself: the administrator has to act, the step waits. Everything else is a failed attempt.
_LOGIN_REFUSED = ("28P01", "28000")


class RoleBlocked(Exception):
    """The worker cannot log in as this role; its steps wait."""


class Crowded(Exception):
    """The server, the database or the role has no connection free; the step waits for one, and that is no attempt."""


class Sessions:
    """Opens, lends and keeps step sessions. Safe for many threads."""

    def __init__(self, settings: Settings, engine: Engine, home: str) -> None:
        self._settings = settings
        self._engine = engine
        self.home = home
        self._free: dict[tuple[str, int], list[tuple[float, StepSession]]] = {}
        self._lock = threading.Lock()
        self._blocked: dict[int, float] = {}
        self._pooled = settings.pooled  # as told, then as the last connection was

    def blocked(self) -> list[int]:
        """Roles (oids) that cannot be logged in as, for now."""
        now = time.monotonic()
        with self._lock:
            self._blocked = {role: until for role, until in self._blocked.items() if until > now}
            return list(self._blocked)

    def borrow(self, owner: int, role: str, database: str | None) -> StepSession:
        """A session of this role. Raises ActivityError when it cannot have one, RoleBlocked when it has to wait."""
        while (session := self._kept((database or self.home, owner))) is not None:
            if self._still_good(session, role, database):
                return session
            self.drop(session)
        return self._open(owner, role, database)

    def _kept(self, key: tuple[str, int]) -> StepSession | None:
        with self._lock:
            kept = self._free.get(key)
            return kept.pop()[1] if kept else None

    def _still_good(self, session: StepSession, role: str, database: str | None) -> bool:
        """Whether a kept session may run another step of its role, which may have lost a right or its name meanwhile.

        Asked once a second at most. Raises ActivityError when the role may not log in any more.
        """
        if not session.usable:
            return False
        now = time.monotonic()
        if now < session.checked_at + RECHECK_SECONDS:
            return True
        try:
            state = self._state(session.owner, role, session.key[0], database)
        except ActivityError:
            self.drop(session)
            raise
        session.checked_at = now
        name, login = state["name"], state["proxy"] or state["name"]
        return login == session.login and session.role in ("none", name)

    def give(self, session: StepSession) -> None:
        """Bring a session back after its step.

        One in another database is closed: while it lasted, nobody could drop that database.
        """
        if not session.usable or session.key[0] != self.home:
            self.drop(session)
            return
        with self._lock:
            self._free.setdefault(session.key, []).append((time.monotonic(), session))

    def drop(self, session: StepSession) -> None:
        """Throw a session away."""
        session.close()
        self._forget(session)

    def prune(self) -> None:
        """Close what has not been used for a while."""
        limit = time.monotonic() - IDLE_SECONDS
        stale: list[StepSession] = []
        with self._lock:
            for key, kept in list(self._free.items()):
                stale += [session for used, session in kept if used < limit]
                self._free[key] = [(used, session) for used, session in kept if used >= limit]
                if not self._free[key]:
                    del self._free[key]
        for session in stale:
            self.drop(session)

    def _give_up_unused(self) -> None:
        """What this worker keeps unused may be what others wait for."""
        with self._lock:
            kept, self._free = self._free, {}
        for sessions in kept.values():
            for _, session in sessions:
                self.drop(session)

    def close(self) -> None:
        """Close every free session."""
        with self._lock:
            kept, self._free = self._free, {}
        for sessions in kept.values():
            for _, session in sessions:
                session.close()

    # -- opening --------------------------------------------------------------------------------------------------

    def _open(self, owner: int, role: str, database: str | None) -> StepSession:
        where = database or self.home
        state = self._state(owner, role, where, database)
        role = state["name"]  # as it is called now
        try:
            connection = self._connect(state["proxy"] or role, where)
        except psycopg.OperationalError as error:
            raise self._refused(owner, role, where, error) from None
        try:
            session = StepSession(connection, owner, role, where, state["proxy"])
        except (psycopg.Error, WrongRole) as error:
            connection.close()
            raise self._refused(owner, role, where, error) from None
        session.checked_at = time.monotonic()
        if where == self.home and not connection.pooled:  # a session of a pool is nobody's to end
            self._note(owner, session)
        self._unblock(owner)
        return session

    def _connect(self, login: str, database: str) -> Link:
        dsn = self._settings.dsn_for(login, database)
        if database != self.home and "{database}" not in (self._settings.role_dsn or "{database}"):
            dsn = make_conninfo(dsn, dbname=database)  # the one database that the template names is the home one
        watch = self._engine.connections.watch
        connection = connect(watch, dsn, "perdure:worker:workflow-sql", STEP_OPTIONS, self._pooled)
        self._pooled = connection.pooled
        connection.prepare_threshold = None  # a step may drop prepared statements
        return connection

    def _state(self, owner: int, role: str, where: str, database: str | None) -> dict[str, Any]:
        """Ask the catalogue first: what can never work fails in words that say why."""
        rows = self._engine.call("role_state", owner, database)
        failed = f"Failed to connect to database '{where}' as '{role}'"
        if not rows:
            raise ActivityError(Failure("submitted_by role no longer exists in pg_roles"))
        name, can_login, can_connect, exists, proxy, _ = rows[0]
        if name != role:
            role = name
        if not exists:
            raise ActivityError(Failure(f'{failed}: database "{where}" does not exist', sqlstate="3D000"))
        if not can_login and proxy is None:
            raise ActivityError(Failure(f'{failed}: role "{role}" is not permitted to log in', sqlstate="28000"))
        if not can_connect:
            raise ActivityError(Failure(f'{failed}: permission denied for database "{where}"', sqlstate="42501"))
        return {"name": role, "proxy": proxy}

    def _refused(self, owner: int, role: str, where: str, error: psycopg.Error | WrongRole) -> Exception:
        message = _last_words(error)
        words = f"Failed to connect to database '{where}' as '{role}': {message}"
        sqlstate = error.sqlstate if isinstance(error, psycopg.Error) else None
        if isinstance(error, WrongRole) or sqlstate in _LOGIN_REFUSED or _speaks_of_login(message):
            log.warning("cannot log in as a role; its steps wait", extra={"role": role, "reason": message})
            with self._lock:
                self._blocked[owner] = time.monotonic() + REFUSED_SECONDS
            self._engine.mine("block", owner, words)
            return RoleBlocked(words)
        if _speaks_of_crowds(message):
            log.info("no connection is free for a step; it waits", extra={"role": role, "reason": message})
            self._give_up_unused()
            return Crowded(words)
        return ActivityError(Failure(words, sqlstate=sqlstate or "08001", transient=True))

    def _unblock(self, owner: int) -> None:
        with self._lock:
            known = self._blocked.pop(owner, None)
        if known is not None:
            self._engine.mine("block", owner, None)

    def _note(self, owner: int, session: StepSession) -> None:
        """Written down, so that whoever takes over can end what this worker leaves running."""
        row = session.connection.execute(CALLS["own_backend"]).fetchone()
        if row is not None:
            self._engine.mine("session", owner, session.backend_pid, row[0])
            session.noted = True

    def _forget(self, session: StepSession) -> None:
        if session.noted:
            with suppress(psycopg.Error, NotRegistered):
                self._engine.mine("session", session.owner, session.backend_pid, None)


def _last_words(error: Exception) -> str:
    """What the server said last; libpq may add where it had the password from."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return next((line for line in reversed(lines) if "FATAL" in line), lines[-1])


def _speaks_of_login(message: str) -> bool:
    # libpq gives no SQLSTATE for a refused connection; these are the server's and libpq's own words.
    words = ("password authentication failed", "no password supplied", "no pg_hba.conf entry", "authentication failed")
    return any(word in message for word in words)


def _speaks_of_crowds(message: str) -> bool:
    words = ("too many connections for", "too many clients", "remaining connection slots")
    return any(word in message for word in words)
