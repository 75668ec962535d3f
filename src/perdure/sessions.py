"""Step sessions by (database, role). A session is never shared by two roles, and never goes back after an accident."""

from __future__ import annotations

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
from perdure.refusals import Crowded, Login, Refusals, last_words
from perdure.settings import Settings

IDLE_SECONDS = 60.0
RECHECK_SECONDS = 1.0


class Sessions:
    """Opens, lends and keeps step sessions. Safe for many threads."""

    def __init__(self, settings: Settings, engine: Engine, home: str) -> None:
        self._settings = settings
        self._engine = engine
        self.home = home
        self._free: dict[tuple[str, int], list[tuple[float, StepSession]]] = {}
        self._lock = threading.Lock()
        self._refusals = Refusals(engine)
        self._pooled = settings.pooled  # as told, then as the last connection was

    def blocked(self) -> list[int]:
        """Roles (oids) that cannot be logged in as, for now."""
        return self._refusals.blocked()

    def borrow(self, owner: int, role: str, database: str | None) -> StepSession:
        """A session of this role.

        Raises ActivityError when it cannot have one, RoleBlocked and Crowded when it has to wait.
        """
        while (session := self._kept((database or self.home, owner))) is not None:
            if self._still_good(session, role, database):
                self._refusals.served(owner)
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
        login = Login(owner, role, state["proxy"] or role, where, where == self.home)
        connection = self._logged_in(login, database)
        try:
            session = StepSession(connection, owner, role, where, state["proxy"])
        except (psycopg.Error, WrongRole) as error:
            connection.close()
            raise self._refusals.of_session(login, error) from None
        session.checked_at = time.monotonic()
        if login.is_home and not connection.pooled:  # a session of a pool is nobody's to end
            self._note(owner, session)
        self._refusals.cleared(owner)
        return session

    def _logged_in(self, login: Login, database: str | None) -> Link:
        try:
            return self._connect(login.name, login.where)
        except psycopg.OperationalError as error:
            if error.sqlstate is not None:  # the login was there, and then something happened
                raise self._refusals.of_session(login, error) from None
            try:
                self._state(login.owner, login.role, login.where, database)  # it may have changed meanwhile
            except psycopg.Error:
                raise Crowded(f"{login.failed}: {last_words(error)}") from None
            refusal = self._refusals.of_login(login, error)
            if isinstance(refusal, Crowded):
                self._give_up_unused()
            raise refusal from None

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
