"""Where the migrations run: one transaction, one at a time, on the server of ``-x dsn=...`` or ``PERDURE_DSN``."""

from __future__ import annotations

import os
from typing import Any

import psycopg
from alembic import context
from alembic.operations import Operations
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine, pool

from perdure.schema import install, locks

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


def changing() -> str | None:
    """``upgrade`` or ``downgrade``: a program says so, alembic's command line by its name. None: it only looks."""
    command = getattr(context.config.cmd_opts, "cmd", None)
    named = settings.get("command") or (command[0].__name__ if command is not None else None)
    return str(named) if named in ("upgrade", "downgrade") else None


def revision_of_database() -> str | None:
    """Where the database is, as far as the transaction has come; None where nothing is installed."""
    return next(iter(context.get_context().get_current_heads()), None)


def change(connection: Connection, direction: str) -> None:
    """Run the migrations, and write down what the database holds then.

    A database that an earlier state of its revision made has all its functions installed anew, or is refused. Where
    nothing is to be done no lock is taken.
    """
    before = revision_of_database()
    known = before in {script.revision for script in context.script.walk_revisions()}
    as_frozen = True
    if before is not None and known:
        with Operations.context(context.get_context()):
            as_frozen = direction == "downgrade" or install.is_as_frozen(before)
            install.keep_operators()
        if direction == "downgrade" or not as_frozen or before not in context.script.get_heads():
            locks.take(connection)
    context.run_migrations()
    after = revision_of_database()
    if after is None or (before is not None and not known) or (as_frozen and after == before):
        return
    with Operations.context(context.get_context()):
        if not as_frozen:
            install.refresh(after)
        install.note(after)


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
            direction = changing()
            if direction is None:
                context.run_migrations()
            else:
                change(connection, direction)
        clean_up(connection)


def run_offline() -> None:
    """Print the script."""
    context.configure(dialect_name="postgresql", literal_binds=True, **OPTIONS)
    with context.begin_transaction():
        context.execute(LOCK)
        context.execute(CREATE_SCHEMA)
        context.get_context().impl.static_output(locks.SCRIPT)
        context.run_migrations()
        after = context.get_revision_argument()
        if changing() and isinstance(after, str):
            with Operations.context(context.get_context()):
                install.note(after)


if context.is_offline_mode():
    run_offline()
else:
    run_online()
