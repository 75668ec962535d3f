"""Which server a command talks to, and whether it can: every "no" is one sentence and a non-zero exit."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeVar

import click
import psycopg
from psycopg.conninfo import conninfo_to_dict

from perdure import embedded
from perdure.binaries import OLDEST, NoPostgres
from perdure.server import ServerError

Purpose = Literal["user", "worker", "owner"]
Command = TypeVar("Command", bound=Callable[..., Any])


# Whatever a worker calls carries a version in its name, so that a function of that name is the one it knows.
_VERSIONED = re.compile(r"df_engine\.(\w+_v\d+)\(")
_MISSING = """
SELECT w.name FROM pg_catalog.unnest(%s::pg_catalog.text[]) w (name) WHERE NOT EXISTS (
    SELECT FROM pg_catalog.pg_proc p WHERE p.proname OPERATOR(pg_catalog.=) w.name::pg_catalog.name
      AND p.pronamespace OPERATOR(pg_catalog.=) pg_catalog.to_regnamespace('df_engine')::pg_catalog.oid)"""


class Refused(click.ClickException):
    """The command cannot be carried out; the message is one sentence."""


def dsn_option(command: Command) -> Command:
    """``--dsn``, which every command takes."""
    help_text = "The server, as a URI or as key=value words; else PERDURE_DSN, else the embedded server if it runs."
    return click.option("--dsn", envvar="PERDURE_DSN", metavar="DSN", help=help_text)(command)


def resolve(dsn: str | None, purpose: Purpose) -> str:
    """The connection string: the given one, else the embedded server's for this purpose.

    Raises ``Refused`` where there is neither.
    """
    if dsn:
        return dsn
    with refusals():
        if not embedded.exists():
            raise Refused("no server: give --dsn, set PERDURE_DSN, or start the embedded one with `perdure dev`")
        found = embedded.find()
        if not found.server.answers():
            raise Refused("the embedded server is not running: start it with `perdure dev`, or give --dsn")
        roles = {"user": found.role, "worker": embedded.WORKER, "owner": embedded.OWNER}
        return found.dsn(roles[purpose])


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Turn what the servers and their programs say into ``Refused``."""
    try:
        yield
    except (NoPostgres, ServerError) as error:
        raise Refused(str(error)) from error
    except PermissionError as error:
        raise Refused(f"not allowed: {error.filename}: {error.strerror}") from error
    except psycopg.Error as error:
        raise Refused(one_line(error)) from error
    except Exception as error:
        if type(error).__module__.startswith(("sqlalchemy", "alembic", "perdure.schema")):  # slow to import for this
            raise Refused(one_line(error)) from error
        raise


@contextlib.contextmanager
def connected(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection in autocommit to a server that is new enough. Raises ``Refused``."""
    try:
        connection = psycopg.connect(dsn, autocommit=True, connect_timeout=10)
    except psycopg.ProgrammingError as error:
        raise Refused(f"the DSN is not a connection string: {one_line(error)}") from error
    except psycopg.OperationalError as error:
        raise Refused(f"cannot connect to {shown(dsn)}: {one_line(error)}") from error
    with connection:
        require_version(connection.info.server_version)
        yield connection


def require_version(number: int) -> None:
    """Refuse a server that is too old; ``number`` as in ``server_version_num``."""
    if number // 10000 < OLDEST:
        found = f"{number // 10000}.{number % 10000}"
        raise Refused(f"the server is PostgreSQL {found}, and perdure needs {OLDEST} or newer")


def require_schema(connection: psycopg.Connection[Any], *, worker: bool = False) -> None:
    """Refuse a database without the schema, or with an older or newer one than this release works on.

    A ``worker`` works on a newer one too, as long as every function that it calls is there.
    """
    from perdure.schema import migrate

    name, role = connection.info.dbname, connection.info.user
    if not _one(connection, "SELECT pg_catalog.to_regnamespace('df_engine') IS NOT NULL"):
        raise Refused(f"the database {name} has no perdure schema: run `perdure migrate` first")
    if not _one(connection, "SELECT pg_catalog.has_schema_privilege('df_engine', 'USAGE')"):
        raise Refused(
            f"the role {role} may not use df: the schema's owner can run SELECT df.grant_usage('{role}') for a user, "
            f"or SELECT df.grant_worker('{role}') for a login that serves all users and starts nothing itself"
        )
    with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
        newest = _one(connection, "SELECT max(version_num::text) FROM df_engine.alembic_version")
        if worker and newest is not None and newest not in migrate.known():
            _require_calls(connection, newest, migrate.newest())
            return
        require_revision(newest, migrate.known())
    _require_state(connection)


def _require_state(connection: psycopg.Connection[Any]) -> None:
    """Refuse tables of an earlier state of the revision that is open, and say so of functions."""
    from perdure.schema import fingerprint

    found = fingerprint.read(_one(connection, fingerprint.READ))
    ours = (fingerprint.of_frozen(), fingerprint.of_living())  # equal in every release
    if found in ours:
        return
    if found is None or found.tables not in [one.tables for one in ours]:
        raise Refused(
            f"the schema of {connection.info.dbname} was installed from an earlier state of its revision: "
            "run `perdure migrate`, which says what can be done"
        )
    click.echo(
        "Warning: the functions in the database are of another state than this perdure: run `perdure migrate`", err=True
    )


def _require_calls(connection: psycopg.Connection[Any], found: str, ours: str) -> None:
    """Refuse a newer schema that has dropped what this release calls; say so of one that has not."""
    from perdure.eventstore.calls import CALLS

    called = sorted({name for text in CALLS.values() for name in _VERSIONED.findall(text)})
    missing = [row[0] for row in connection.execute(_MISSING, [called])]
    if missing:
        raise Refused(
            f"the schema is at revision {found}, which no longer has {', '.join(missing)}, called by this perdure "
            f"(revision {ours}): install the newer release"
        )
    click.echo(
        f"Warning: the schema is at revision {found}, newer than this perdure ({ours}); it serves it still", err=True
    )


def require_revision(found: str | None, known: tuple[str, ...]) -> None:
    """Refuse a revision that is not the newest one known; ``known`` is newest first."""
    if found == known[0]:
        return
    if found is None or found in known:
        raise Refused(f"the schema is at revision {found or 'none'}, older than {known[0]}: run `perdure migrate`")
    raise Refused(
        f"the schema is at revision {found}, which this perdure (revision {known[0]}) does not know: "
        "install the newer release"
    )


def shown(dsn: str) -> str:
    """A connection string for people: no password."""
    parts = conninfo_to_dict(dsn)
    place = f"{parts.get('host') or 'the local socket'}" + (f":{parts['port']}" if parts.get("port") else "")
    who = f"{parts['user']}@" if parts.get("user") else ""
    return f"{who}{place}/{parts.get('dbname') or parts.get('user') or ''}"


def one_line(error: BaseException) -> str:
    """What an error says, on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _one(connection: psycopg.Connection[Any], statement: Any) -> Any:
    row = connection.execute(statement).fetchone()
    return None if row is None else row[0]
