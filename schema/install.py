"""Installing the SQL that is kept in files: what migrations call.

The living text is ``schema/tables.sql`` (run once) and ``schema/functions/<theme>.sql`` (replaceable). A migration
never reads it: it installs the copies frozen beside it, ``alembic/frozen/<revision>/<theme>.sql``, made by
``make freeze``. Files are sent as they are, in one message each; the one thing replaced is ``@operators_schema@``.
"""

from __future__ import annotations

from pathlib import Path

import psycopg
from alembic import context, op
from sqlalchemy.exc import DBAPIError

import perdure

# The order in which the themes are installed. A theme may use what stands before it.
THEMES: tuple[str, ...] = (
    "settings",
    "dsl",
    "cron",
    "validate",
    "http_builders",
    "operators",
    "vars",
    "proxies",
    "engine_append",
    "engine_steps",
    "engine_turns",
    "engine_claims",
    "engine_workers",
    "start",
    "start_new",
    "signals",
    "views",
    "nodes",
    "monitoring",
    "waiting",
    "explain",
    "retention",
    "check",
    "lifecycle",
    "compat",
    "http_policy",
    "secrets",
    "grants",
    "security",
)

TABLES = "tables"
SCHEMA = Path(perdure.__file__).parent / "schema"
FROZEN = Path(perdure.__file__).parent / "migrations" / "frozen"
OPERATOR_SCHEMAS = ("public", "df")
ENGINE_SCHEMA = "df_engine"
VERSION_TABLE = "alembic_version"

_OTHER_TABLES = (
    "the schema was installed from an earlier state of this revision, with other tables: save what you need, drop the "
    "schemas df and df_engine or the database, and migrate again"
)
_CANNOT_REPLACE = (
    "the schema was installed from an earlier state of this revision whose functions cannot be replaced in place: save "
    "what you need, drop the schemas df and df_engine or the database, and migrate again"
)
# What CREATE OR REPLACE has gone over has lost the mark; what keeps it is not in the SQL any more.
_ROUTINES = "pg_catalog.pg_proc p WHERE p.pronamespace IN ('df'::regnamespace, 'df_engine'::regnamespace)"
_MARK_OLD = f"""
DO $$ DECLARE _old regprocedure; BEGIN
    FOR _old IN SELECT p.oid FROM {_ROUTINES} LOOP
        EXECUTE pg_catalog.format('ALTER ROUTINE %s SET application_name = stale', _old);
    END LOOP;
END $$"""
_DROP_OLD = f"""
DO $$ DECLARE _old regprocedure; BEGIN
    FOR _old IN SELECT p.oid FROM {_ROUTINES} AND 'application_name=stale' = ANY (p.proconfig) LOOP
        EXECUTE pg_catalog.format('DROP ROUTINE %s', _old);
    END LOOP;
END $$"""
_WHERE_OPERATORS = """
SELECT n.nspname FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
WHERE o.oprname = '~>' AND o.oprcode = pg_catalog.to_regprocedure('df.seq(text,text)')
ORDER BY n.nspname DESC LIMIT 1"""

# Nothing that somebody else may have created in `public` can take part in the installation.
_SAFE_PATH = "SET LOCAL search_path = pg_catalog, pg_temp"


class InstallError(Exception):
    """The installation cannot go on; the message is one sentence for whoever started it."""


class OtherState(InstallError):
    """The database was made from an earlier state of the newest revision, and cannot be brought to the state of now."""


def living(theme: str) -> Path:
    """The file that people edit."""
    return SCHEMA / "tables.sql" if theme == TABLES else SCHEMA / "functions" / f"{theme}.sql"


def order(revision: str, root: Path = FROZEN) -> tuple[str, ...]:
    """The themes that a revision froze, in the order in which they are installed."""
    return tuple((root / revision / "order.txt").read_text("utf-8").split())


def install(revision: str) -> None:
    """Install everything that ``revision`` froze. Called once, by the first migration."""
    for theme in order(revision, _root()):
        replace(revision, theme)
    # Whoever may enter the schema may know its revision: a worker compares it with its own.
    _send("the version", f"GRANT SELECT ON {ENGINE_SCHEMA}.{VERSION_TABLE} TO PUBLIC;")


def replace(revision: str, theme: str) -> None:
    """Install one theme as ``revision`` froze it."""
    _send(theme, (_root() / revision / f"{theme}.sql").read_text("utf-8"))


def note(revision: str) -> None:
    """Write down on the schema what is installed now: everything up to ``revision``."""
    from perdure.schema import fingerprint

    _send("the fingerprint", f"COMMENT ON SCHEMA {ENGINE_SCHEMA} IS '{fingerprint.of_frozen(_root(), revision)}';")


def is_as_frozen(revision: str) -> bool:
    """Whether the database, which is at ``revision``, was made from the copies frozen up to it.

    Raises ``OtherState`` where already the tables are others.
    """
    from perdure.schema import fingerprint

    found = fingerprint.read(op.get_bind().exec_driver_sql(fingerprint.READ).scalar())
    wanted = fingerprint.of_frozen(_root(), revision)
    if found is None or found.tables != wanted.tables:
        raise OtherState(_OTHER_TABLES)
    return found == wanted


def keep_operators() -> None:
    """From now on operators go to the schema in which the database has them already."""
    context.config.attributes["operators"] = op.get_bind().exec_driver_sql(_WHERE_OPERATORS).scalar() or "public"


def refresh(revision: str) -> None:
    """Install every theme anew as it was frozen up to ``revision``, and drop the functions that are not in them.

    For a database that an earlier state of an open revision made. Raises ``OtherState`` where that cannot be done,
    ``InstallError`` where it could not be done this time.
    """
    from perdure.schema import fingerprint

    try:
        _send("the old functions", _MARK_OLD)
        for theme, file in fingerprint.themes(_root(), revision).items():
            _send(theme, file.read_text("utf-8"))
        _send("the old functions", _DROP_OLD)
    except InstallError as error:
        if isinstance(error.__cause__, psycopg.OperationalError):  # a lost connection, a deadlock, a time-out
            raise
        raise OtherState(f"{_CANNOT_REPLACE} ({error})") from error.__cause__


def restore(revision: str, theme: str) -> None:
    """Install the newest copy of a theme that is older than ``revision``: the way down.

    Raises ``InstallError`` when there is none.
    """
    root = _root()
    older = sorted(folder.name for folder in root.iterdir() if folder.name < revision)
    for earlier in reversed(older):
        if (root / earlier / f"{theme}.sql").is_file():
            return replace(earlier, theme)
    raise InstallError(f"no copy of {theme} is older than revision {revision}")


def uninstall() -> None:
    """Drop both schemas and the operators in public, but leave alembic's own table where alembic expects it.

    The operators go with the functions that they call.
    """
    text = f"""
        CREATE SCHEMA df_leaving;
        ALTER TABLE {ENGINE_SCHEMA}.{VERSION_TABLE} SET SCHEMA df_leaving;
        DROP SCHEMA df, {ENGINE_SCHEMA} CASCADE;
        CREATE SCHEMA {ENGINE_SCHEMA};
        ALTER TABLE df_leaving.{VERSION_TABLE} SET SCHEMA {ENGINE_SCHEMA};
        DROP SCHEMA df_leaving;
    """
    _send("the way down", text)


def _root() -> Path:
    """Where the frozen copies are: beside the migrations, or where a test has put some."""
    return Path(context.config.attributes.get("frozen_root", FROZEN))


def _operators_schema() -> str:
    chosen = str(context.config.attributes.get("operators", "public"))
    if chosen not in OPERATOR_SCHEMAS:
        raise InstallError(f"operators go to the schema public or df, not {chosen!r}")
    return chosen


def _send(theme: str, text: str) -> None:
    """Run a whole file in one message, its ``:x``, ``%`` and ``;`` untouched; offline, print it.

    Raises ``InstallError``, caused by what the server said.
    """
    text = text.replace("@operators_schema@", _operators_schema())
    migration = op.get_context()
    if migration.as_sql:
        migration.impl.static_output(f"{_SAFE_PATH};\n\n{text.rstrip()}\n")
        return
    connection = op.get_bind()
    connection.exec_driver_sql(_SAFE_PATH)
    try:
        connection.exec_driver_sql(text, execution_options={"no_parameters": True})
    except DBAPIError as error:  # which would print the whole file
        raise InstallError(f"{theme}: {error.orig}") from error.orig
