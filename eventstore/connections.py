"""Connections of a worker, straight to the server or through a pooler that gives each transaction any session.

A pooler is recognised by itself: it refuses the startup parameter ``options``, or swallows it. Behind one nothing is
kept in a session: no settings, no prepared statements, no LISTEN.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from perdure.eventstore.calls import CALLS
from perdure.eventstore.watch import Watch

CONTROL_OPTIONS = {
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "search_path": "pg_catalog,pg_temp",
    "statement_timeout": "60s",
    "idle_in_transaction_session_timeout": "60s",
    "idle_session_timeout": "0",
    "lock_timeout": "0",
    "datestyle": "ISO",
    "timezone": "UTC",
}
# A peer that is not there any more is noticed within 20 s by either side; the server then ends what the session did.
NOTICE_LOSS = {
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "3",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "15000",
}
_NOTICE_LOSS = {"keepalives_idle": 10, "keepalives_interval": 3, "keepalives_count": 3, "tcp_user_timeout": 15000}
OPENING_SECONDS = 10
_MARK = "df.direct"  # is set in every session that took the options
_REFUSED = "unsupported startup parameter"


class Link(psycopg.Connection[Any]):
    """An autocommit connection. ``pooled``: each transaction may run in another session of the server.

    ``server`` is when the server was started that it leads, or led last, to: another one, or one that was restored,
    has another time.
    """

    pooled = False
    server = 0.0


def connect(watch: Watch, dsn: str, name: str, options: dict[str, str], pooled: bool = False) -> Link:
    """A connection whose session settings beat the role's and the database's defaults, where it is not ``pooled``.

    With ``pooled`` no session setting is asked for; without, whether it is so is found out. ``watch`` knows the
    connection from its first moment. Raises psycopg.OperationalError, of a standby too.
    """
    parts: dict[str, Any] = {"connect_timeout": OPENING_SECONDS, **_NOTICE_LOSS, **conninfo_to_dict(dsn)}
    parts.update(application_name=name, client_encoding="UTF8")
    if pooled:
        return _through_pooler(watch, parts)
    flags = " ".join(_flag(key, value) for key, value in {**NOTICE_LOSS, **options, _MARK: "on"}.items())
    try:
        link = _opened(watch, {**parts, "options": f"{parts.get('options') or ''} {flags}".strip()})
    except psycopg.OperationalError as error:
        if _REFUSED not in str(error):
            raise
        return _through_pooler(watch, parts)
    with watch.limit(link, OPENING_SECONDS):
        if options is CONTROL_OPTIONS and link.info.server_version >= 170000:
            link.execute(CALLS["no_transaction_timeout"])  # as an option, older servers would refuse it
        row = link.execute(CALLS["marked"], (_MARK,)).fetchone()
    if row is not None and row[0] == "on":
        return _of_primary(link, row)
    link.close()
    return _through_pooler(watch, parts)


def _flag(name: str, value: str) -> str:
    return "-c " + f"{name}={value}".replace("\\", "\\\\").replace(" ", "\\ ")


def _through_pooler(watch: Watch, parts: dict[str, Any]) -> Link:
    link = _opened(watch, {key: value for key, value in parts.items() if key != "options"})
    link.pooled = True
    link.prepare_threshold = None
    with watch.limit(link, OPENING_SECONDS):
        row = link.execute(CALLS["pooled_session"]).fetchone()
    return _of_primary(link, row)


def _of_primary(link: Link, row: Any) -> Link:
    """The connection, knowing its server. A standby is left: the next attempt may be led to the primary."""
    _, standby, link.server = row
    if standby:
        link.close()
        raise psycopg.OperationalError("the server is a standby: it takes no writes until it is promoted")
    return link


def _opened(watch: Watch, parts: dict[str, Any]) -> Link:
    link = Link.connect(make_conninfo("", **parts), autocommit=True)
    watch.add(link)
    link.add_notice_handler(_ignore)
    return link


def _ignore(_notice: psycopg.errors.Diagnostic) -> None:
    """Users' statements may say what they like."""


def fetch(link: Link, statement: str, arguments: Sequence[Any]) -> list[Any]:
    """Every row of a statement that is a transaction of its own, under READ COMMITTED whatever the defaults are."""
    if not link.pooled:
        return link.execute(statement, arguments).fetchall()
    try:
        with link.pipeline():
            link.execute(CALLS["begin"])
            link.execute(CALLS["limit_time"])
            server = link.execute(CALLS["server_started"])
            cursor = link.execute(statement, arguments)
            link.execute(CALLS["commit"])
        (link.server,) = server.fetchone() or (0.0,)
        return cursor.fetchall()
    except psycopg.Error:
        with suppress(psycopg.Error):
            link.rollback()
        raise


class Connections:
    """Control connections, handed out one thread at a time; broken ones are thrown away.

    ``generation`` goes up whenever the database may have gone back to an earlier state than the one that answered
    last: after a restore, or on a standby that had not everything yet. What was read before may not be true any more.
    """

    def __init__(self, dsn: str, most: int, pooled: bool = False) -> None:
        self._dsn = dsn
        self._free: list[Link] = []
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(most)
        self.prepare = True
        self.watch = Watch()
        self.pooled = pooled  # as told, then as the last connection was
        self.generation = 0
        self._server: float | None = None

    def open(self) -> Link:
        """A new control connection. Raises psycopg.OperationalError."""
        link = connect(self.watch, self._dsn, "perdure:worker:control", CONTROL_OPTIONS, self.pooled)
        self.pooled = link.pooled
        link.prepare_threshold = 2 if self.prepare and not link.pooled else None
        self._answered(link)
        return link

    @contextmanager
    def borrow(self) -> Iterator[Link]:
        """A connection for one call."""
        with self._slots:
            with self._lock:
                link = self._free.pop() if self._free else None
            if link is None or link.closed:
                link = self.open()
            try:
                yield link
            except BaseException as error:
                if isinstance(error, psycopg.Error) and not link.broken and not link.closed:
                    self._give(link)
                else:
                    link.close()
                    self._lost()
                raise
            self._give(link)

    def _give(self, link: Link) -> None:
        self._answered(link)
        with self._lock:
            self._free.append(link)

    def _answered(self, link: Link) -> None:
        with self._lock:
            self.generation += self._server not in (None, link.server)
            self._server = link.server

    def _lost(self) -> None:
        """A server that lost a session may have lost commits that did not wait for its disk."""
        with self._lock:
            self.generation += 1

    def close(self) -> None:
        """Close what is free."""
        with self._lock:
            free, self._free = self._free, []
        for link in free:
            link.close()
