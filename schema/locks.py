"""The locks of a migration: all of them at once, or none.

A migration that took each lock when its statement needs it would hold the first ones while it waits for a transaction
that somebody leaves open, and everybody else would wait behind it; and with a transaction that takes the same locks in
another order it would meet in a deadlock. So all are asked for first, for a moment, and given back if one is not to be
had.
"""

from __future__ import annotations

import itertools
import random
import time

import psycopg
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from perdure.schema.install import InstallError

PATIENCE = 60.0  # seconds until the migration gives up
# Short, since others queue behind what waits. The long one lasts beyond deadlock_timeout, after which the server makes
# an autovacuum give way.
_WAITS = ("400ms", "400ms", "400ms", "1500ms")
_PAUSE = (0.2, 1.0)  # seconds between two tries, in which everybody else goes on

# Views cannot be locked by LOCK without all that they look at, the server's own catalogue included. To give one to the
# owner that it has takes the lock and changes nothing. Views first: that is where sessions of users come in.
_TAKE = """
DO $$ DECLARE _r record; BEGIN
    FOR _r IN SELECT c.oid::pg_catalog.regclass AS name, c.relkind, pg_catalog.pg_get_userbyid(c.relowner) AS owner
              FROM pg_catalog.pg_class c
              WHERE c.relnamespace IN (pg_catalog.to_regnamespace('df'), pg_catalog.to_regnamespace('df_engine'))
                AND c.relkind IN ('r', 'p', 'v') AND c.relname <> 'alembic_version'
              ORDER BY c.relkind <> 'v', c.relname LOOP
        IF _r.relkind = 'v' THEN
            EXECUTE pg_catalog.format('ALTER VIEW %s OWNER TO %I', _r.name, _r.owner);
        ELSE
            EXECUTE pg_catalog.format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', _r.name);
        END IF;
    END LOOP;
END $$"""
# For whoever runs a script by hand: once, and everything stops where the locks are not to be had.
SCRIPT = f"SET LOCAL statement_timeout = '1500ms';\n{_TAKE};\nSET LOCAL statement_timeout TO DEFAULT;\n"
_HOLDERS = """
SELECT DISTINCT l.pid, coalesce(a.usename, '?') FROM pg_catalog.pg_locks l
JOIN pg_catalog.pg_class c ON c.oid = l.relation
LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE l.granted AND l.pid <> pg_catalog.pg_backend_pid()
  AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
  AND c.relnamespace IN (pg_catalog.to_regnamespace('df'), pg_catalog.to_regnamespace('df_engine'))"""


class Busy(InstallError):
    """Somebody's transaction stands in the way for too long; nothing was changed."""


def take(connection: Connection) -> None:
    """Lock every table and view of the engine until the end of the transaction.

    Tries for ``PATIENCE`` seconds; sessions of others wait for 1.5 s at most for each try. Raises ``Busy``.
    """
    until = time.monotonic() + PATIENCE
    held_throughout: set[tuple[int, str]] | None = None
    for wait in itertools.cycle(_WAITS):
        if _taken(connection, wait):
            return
        holders = {(int(pid), str(user)) for pid, user in connection.exec_driver_sql(_HOLDERS)}
        held_throughout = holders if held_throughout is None else held_throughout & holders
        if time.monotonic() > until:
            raise Busy(_sentence(held_throughout))
        time.sleep(random.uniform(*_PAUSE))


def _taken(connection: Connection, wait: str) -> bool:
    """Whether all locks were to be had within this time; if not, none is kept."""
    before = connection.exec_driver_sql("SHOW statement_timeout").scalar()
    attempt = connection.begin_nested()
    try:
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{wait}'")
        connection.exec_driver_sql(_TAKE, execution_options={"no_parameters": True})
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{before}'")
    except DBAPIError as error:
        attempt.rollback()
        if isinstance(error.orig, (psycopg.errors.QueryCanceled, psycopg.errors.DeadlockDetected)):
            return False
        raise
    attempt.commit()
    return True


def _sentence(holders: set[tuple[int, str]]) -> str:
    who = ", ".join(f"process {pid} of {user}" for pid, user in sorted(holders)) or "others, in turn"
    return (
        f"transactions that are open kept their locks for {PATIENCE:.0f} s ({who}): end them or wait for their end, "
        "and migrate again"
    )
