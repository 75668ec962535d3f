"""``perdure migrate``."""

from __future__ import annotations

import psycopg
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from perdure.cli.target import Refused, connected, one_line, require_revision
from perdure.schema import migrate
from perdure.schema.install import InstallError, OtherState

_RIGHTS = "it needs CREATE on the database, and on the schema public for the operators (or --operators df)"


def run(dsn: str, operators: str) -> str:
    """Migrate and say what was done. Raises ``Refused``."""
    with connected(dsn) as connection:
        name = connection.info.dbname
        role = connection.info.user
    try:
        before = migrate.current(dsn)
        if before is not None and before not in migrate.known():
            require_revision(before, migrate.known())
        made_from = migrate.noted(dsn)
        migrate.upgrade(dsn, operators=operators)
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
    after = migrate.newest()
    if before != after:
        return f"{name}: revision {after} installed"
    if made_from != migrate.noted(dsn):
        return f"{name}: at revision {after}, its functions brought up to date"
    return f"{name}: already at revision {after}"


def script(operators: str) -> str:
    """The script for a DBA."""
    return migrate.script(operators=operators)


def _explained(error: BaseException | None, role: str, database: str) -> str:
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return f"the role {role} may not migrate {database} ({one_line(error)}): {_RIGHTS}"
    return f"the migration of {database} failed and changed nothing: {one_line(error) if error else 'no reason given'}"
