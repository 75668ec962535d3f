"""Running the migrations from a program: what ``perdure migrate`` and the tests call."""

from __future__ import annotations

import io
import os
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from perdure.schema import fingerprint, install
from perdure.schema.fingerprint import Fingerprint


def operators_from_environment() -> str:
    """The schema for the operators: ``PERDURE_OPERATORS``, else public."""
    return os.environ.get("PERDURE_OPERATORS", "public")


def upgrade(dsn: str, *, operators: str | None = None, revision: str = "head", frozen_root: Path | None = None) -> None:
    """Bring the database to ``revision`` in one transaction. Two at once wait for each other.

    Workers and users may go on meanwhile: they wait for a moment (``perdure.schema.locks``).

    Raises ``psycopg`` or ``sqlalchemy`` errors, ``alembic.util.CommandError`` for an unknown revision,
    ``InstallError``.
    """
    config = _config(dsn, operators, frozen_root)
    config.attributes["command"] = "upgrade"
    command.upgrade(config, revision)


def downgrade(dsn: str, revision: str = "base", *, frozen_root: Path | None = None) -> None:
    """Take the database back to ``revision``; ``base`` removes everything."""
    config = _config(dsn, None, frozen_root)
    config.attributes["command"] = "downgrade"
    command.downgrade(config, revision)


def script(*, operators: str | None = None, since: str = "base") -> str:
    """The SQL that ``upgrade`` would run on a database at revision ``since``: for whoever installs it by hand."""
    output = io.StringIO()
    config = _config("", operators, None, output)
    config.attributes["command"] = "upgrade"
    command.upgrade(config, f"{since}:head" if since != "base" else "head", sql=True)
    return output.getvalue()


def newest() -> str:
    """The revision that this release installs."""
    head = ScriptDirectory.from_config(_config("", None, None)).get_current_head()
    assert head is not None
    return head


def known() -> tuple[str, ...]:
    """Every revision that this release knows, newest first."""
    scripts = ScriptDirectory.from_config(_config("", None, None))
    return tuple(revision.revision for revision in scripts.walk_revisions())


def noted(dsn: str) -> Fingerprint | None:
    """Which state of the SQL the database was made from; None where that is not said."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(fingerprint.READ).fetchone()
    return fingerprint.read(None if row is None else row[0])


def current(dsn: str) -> str | None:
    """The revision of the database, None where nothing is installed."""
    creator = lambda: psycopg.connect(dsn)  # noqa: E731
    engine = create_engine("postgresql+psycopg://", creator=creator, poolclass=NullPool, use_native_hstore=False)
    with engine.connect() as connection:
        connection.exec_driver_sql("SET LOCAL search_path = pg_catalog, pg_temp")  # see env.py
        context = MigrationContext.configure(
            connection,
            opts={"version_table": install.VERSION_TABLE, "version_table_schema": install.ENGINE_SCHEMA},
        )
        return context.get_current_revision()


def _config(dsn: str, operators: str | None, frozen_root: Path | None, output: io.StringIO | None = None) -> Config:
    config = Config(output_buffer=output) if output is not None else Config()
    config.set_main_option("script_location", "perdure:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["dsn"] = dsn
    config.attributes["operators"] = operators or operators_from_environment()
    if frozen_root is not None:
        config.attributes["frozen_root"] = frozen_root
    return config
