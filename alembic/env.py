"""Where the migrations run: one transaction, one at a time, on the server of ``-x dsn=...`` or ``PERDURE_DSN``."""

from __future__ import annotations

import os
from typing import Any

import psycopg
from alembic import context
from alembic.operations import Operations
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine, pool

from perdure.schema import install

LOCK = "SELECT pg_catalog.pg_advisory_xact_lock(7163522934617)"  # a number of our own: two migrations take turns
CREATE_SCHEMA = f"CREATE SCHEMA IF NOT EXISTS {install.ENGINE_SCHEMA}"
OPTIONS: dict[str, Any] = {
    "version_table": install.VERSION_TABLE,
    "version_table_schema": install.ENGINE_SCHEMA,
    "target_metadata": None,
}

arguments = context.get_x_argument(as_dictionary=True)
settings = context.config.attributes
settings.setdefault("operators", arguments.get("operators") or os.environ.get("PERDURE_OPERATORS", "public"))


def server() -> str:
    """The connection string; raises ``CommandError`` where none is given."""
    dsn = settings.get("dsn") or arguments.get("dsn") or os.environ.get("PERDURE_DSN")
    if not dsn:
        raise CommandError("no server: set PERDURE_DSN or give -x dsn=postgresql://...")
    return str(dsn)


def prepare(connection: Connection) -> None:
    """Take the lock, and make the schema that alembic's own table stands in.

    First of all a search_path without schemas of users: an operator of theirs that fits better than PostgreSQL's own
    would run with the owner's rights.
    """
    connection.exec_driver_sql("SET LOCAL search_path = pg_catalog, pg_temp")
    connection.exec_driver_sql("SET LOCAL client_min_messages = warning")
    connection.exec_driver_sql(LOCK)
    # Asked first: CREATE SCHEMA IF NOT EXISTS wants the right to create even where there is nothing to do.
    if connection.exec_driver_sql(f"SELECT pg_catalog.to_regnamespace('{install.ENGINE_SCHEMA}')").scalar() is None:
        connection.exec_driver_sql(CREATE_SCHEMA)


def upgrading() -> bool:
    """Whether the command goes up to the newest revision: a program says so, alembic's own command line by its name."""
    command = getattr(context.config.cmd_opts, "cmd", None)
    named = command is not None and command[0].__name__ == "upgrade"
    return bool(settings.get("upgrading") or named) and context.get_context().get_current_heads() == tuple(
        context.script.get_heads()
    )


def clean_up(connection: Connection) -> None:
    """After the way down to nothing (the schema df has gone), leave nothing."""
    if connection.exec_driver_sql("SELECT pg_catalog.to_regnamespace('df')").scalar() is None:
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {install.ENGINE_SCHEMA}.{install.VERSION_TABLE}")
        connection.exec_driver_sql(f"DROP SCHEMA {install.ENGINE_SCHEMA}")


def run_online() -> None:
    """Migrate the server, all or nothing."""
    dsn = server()
    # Without hstore, for which the driver would look before there is a safe path.
    creator = lambda: psycopg.connect(dsn)  # noqa: E731
    engine = create_engine("postgresql+psycopg://", creator=creator, poolclass=pool.NullPool, use_native_hstore=False)
    with engine.begin() as connection:
        prepare(connection)
        context.configure(connection=connection, **OPTIONS)
        with context.begin_transaction():
            context.run_migrations()
            if upgrading():
                with Operations.context(context.get_context()):
                    install.refresh()
        clean_up(connection)


def run_offline() -> None:
    """Print the script."""
    context.configure(dialect_name="postgresql", literal_binds=True, **OPTIONS)
    with context.begin_transaction():
        context.execute(LOCK)
        context.execute(CREATE_SCHEMA)
        context.run_migrations()


if context.is_offline_mode():
    run_offline()
else:
    run_online()
