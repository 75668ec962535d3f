"""``perdure migrate``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psycopg
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from perdure.cli.target import Refused, connected, one_line, refusals, require_revision
from perdure.schema import migrate
from perdure.schema.install import InstallError, OtherState

_RIGHTS = "it needs CREATE on the database, and on the schema public for the operators (or --operators df)"


def run(dsn: str, operators: str) -> str:
    """Migrate and say what was done. Raises ``Refused``."""
    with connected(dsn) as connection:
        name = connection.info.dbname
        role = connection.info.user
    with _explained_errors(role, name):
        before = migrate.current(dsn)
        if before is not None and before not in migrate.known():
            require_revision(before, migrate.known())
        made_from = migrate.noted(dsn)
        migrate.upgrade(dsn, operators=operators)
    after = migrate.newest()
    if before != after:
        return f"{name}: revision {after} installed"
    if made_from != migrate.noted(dsn):
        return f"{name}: at revision {after}, its functions brought up to date"
    return f"{name}: already at revision {after}"


@contextlib.contextmanager
def _explained_errors(role: str, name: str) -> Iterator[None]:
    """Turn what a migration raises into ``Refused``."""
    try:
        yield
    except DBAPIError as error:
        raise Refused(_explained(error.orig, role, name)) from error
    except psycopg.Error as error:
        raise Refused(_explained(error, role, name)) from error
    except OtherState as error:
        if isinstance(error.__cause__, psycopg.errors.InsufficientPrivilege):
            raise Refused(_explained(error.__cause__, role, name)) from error
        raise Refused(f"{name}: {one_line(error)}") from error
    except InstallError as error:
        raise Refused(_explained(error.__cause__ or error, role, name)) from error
    except CommandError as error:
        raise Refused(one_line(error)) from error


def down(dsn: str, revision: str) -> str:
    """Take the schema back to an older revision, and say so. Raises ``Refused``."""
    known = migrate.known()
    with connected(dsn) as connection, refusals():
        name, role = connection.info.dbname, connection.info.user
        before = migrate.current(dsn)
    if before is None or before not in known or revision not in known or known.index(revision) <= known.index(before):
        raise Refused(f"{name} is at revision {before or 'none'}: this perdure cannot take it down to {revision}")
    with _explained_errors(role, name):
        migrate.downgrade(dsn, revision)
    return f"{name}: down from revision {before} to {revision}"


def script(operators: str, since: str | None) -> str:
    """The script for a DBA: of everything, or of what came after the revision ``since``. Raises ``Refused``."""
    if since is not None and since not in migrate.known()[1:]:
        raise Refused(f"revision {since} is not older than {migrate.newest()}")
    return migrate.script(operators=operators, since=since or "base")


def _explained(error: BaseException | None, role: str, database: str) -> str:
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return f"the role {role} may not migrate {database} ({one_line(error)}): {_RIGHTS}"
    return f"the migration of {database} failed and changed nothing: {one_line(error) if error else 'no reason given'}"
