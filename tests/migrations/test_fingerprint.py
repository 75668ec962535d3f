"""A database that an earlier state of the open revision made is noticed, and brought up to date where it can be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click import ClickException

from cluster import OWNER, Database
from migrations.test_catalogue import catalogue
from perdure.cli import migration, target
from perdure.schema import fingerprint, frozen, install, migrate

EARLIER = (
    "\nCREATE OR REPLACE FUNCTION df_engine.gone_v1() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN 1; END $$;\n"
)


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """Frozen copies to change."""
    return frozen.freeze_apart(tmp_path / "frozen")


def change(root: Path, theme: str, old: str, new: str) -> None:
    file = root / frozen.OPEN_REVISION / f"{theme}.sql"
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), "utf-8")


def comment(connection: Any) -> str | None:
    found: tuple[str | None] = connection.execute(fingerprint.READ).fetchone()
    return found[0]


def test_frozen_and_living_have_one_fingerprint(earlier: Path) -> None:
    assert fingerprint.of_frozen(earlier) == fingerprint.of_living()
    assert fingerprint.read(str(fingerprint.of_living())) == fingerprint.of_living()
    assert fingerprint.read("somebody's own words") is None


@pytest.mark.parametrize("operators", ["public", "df"])
def test_functions_are_replaced_and_those_that_went_are_dropped(
    empty_database: Database, database: Database, earlier: Path, tmp_path: Path, operators: str
) -> None:
    now = frozen.freeze_apart(tmp_path / "now")
    change(earlier, "compat", "\n", EARLIER)
    change(earlier, "settings", "The largest result of one step", "The largest result")
    dsn = empty_database.dsn(OWNER)
    migrate.upgrade(dsn, operators=operators, frozen_root=earlier)
    with empty_database.admin() as admin:
        was = comment(admin)
        admin.execute("UPDATE df.settings SET value = '4096' WHERE name = 'max_result_bytes'")
        admin.execute("SELECT df.grant_usage('alice')")
    migrate.upgrade(dsn, frozen_root=now)
    with empty_database.admin() as admin, database.admin() as fresh:
        assert comment(admin) == str(fingerprint.of_frozen(now)) != was
        kept = admin.execute("SELECT value FROM df.settings WHERE name = 'max_result_bytes'").fetchone()
        assert kept == ("4096",)
        admin.execute("UPDATE df.settings SET value = default_value WHERE name = 'max_result_bytes'")
        assert catalogue(admin) == catalogue(fresh)
        places = admin.execute(
            "SELECT DISTINCT oprnamespace::regnamespace::text FROM pg_operator WHERE oprname = '|=>'"
        )
        assert places.fetchall() == [(operators,)]
    with empty_database.connect("alice") as alice:
        assert alice.execute("SELECT df.start(df.seq('SELECT 1', 'SELECT 2')) IS NOT NULL").fetchone() == (True,)


def test_upgrade_of_the_newest_state_changes_nothing(database: Database, tmp_path: Path) -> None:
    with database.admin() as admin:
        before = admin.execute("SELECT sum(xmin::text::bigint) FROM pg_proc").fetchone()
        migrate.upgrade(database.dsn(OWNER), frozen_root=frozen.freeze_apart(tmp_path))
        assert admin.execute("SELECT sum(xmin::text::bigint) FROM pg_proc").fetchone() == before


@pytest.mark.parametrize("how", ["other tables", "no fingerprint", "function in use", "other result"])
def test_what_cannot_be_brought_up_to_date_is_said_and_left(
    empty_database: Database, earlier: Path, tmp_path: Path, how: str
) -> None:
    now = frozen.freeze_apart(tmp_path / "now")
    if how == "other tables":
        change(earlier, "tables", "description text NOT NULL", "description text")
    change(earlier, "compat", "\n", EARLIER)
    if how == "other result":
        change(now, "compat", "\n", EARLIER.replace("RETURNS text", "RETURNS integer"))
    dsn = empty_database.dsn(OWNER)
    migrate.upgrade(dsn, frozen_root=earlier)
    with empty_database.admin() as admin:
        if how == "no fingerprint":
            admin.execute("COMMENT ON SCHEMA df_engine IS NULL")
        if how == "function in use":
            admin.execute("CREATE VIEW public.uses AS SELECT df_engine.gone_v1()")
        before = catalogue(admin), comment(admin)
        with pytest.raises(install.OtherState, match="installed from an earlier state"):
            migrate.upgrade(dsn, frozen_root=now)
        assert (catalogue(admin), comment(admin)) == before


def test_commands_say_it(empty_database: Database, earlier: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dsn = empty_database.dsn(OWNER)
    assert "revision 0001 installed" in migration.run(dsn, "public")
    assert "already at revision" in migration.run(dsn, "public")
    with empty_database.admin() as admin:
        admin.execute("COMMENT ON SCHEMA df_engine IS 'perdure: tables {}, functions {}'".format(
            fingerprint.of_frozen().tables, "0" * 16))  # fmt: skip
        target.require_schema(admin)
        assert "run `perdure migrate`" in capsys.readouterr().err
        assert "its functions brought up to date" in migration.run(dsn, "public")
        target.require_schema(admin)
        assert capsys.readouterr().err == ""
        admin.execute("COMMENT ON SCHEMA df_engine IS NULL")
        with pytest.raises(ClickException, match="an earlier state of its revision"):
            target.require_schema(admin)
        with pytest.raises(ClickException, match="with other tables"):
            migration.run(dsn, "public")


IN_THE_WAY = """
CREATE FUNCTION public.in_the_way() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'somebody was in the way' USING ERRCODE = '40P01';
END $$;
CREATE EVENT TRIGGER in_the_way ON ddl_command_start WHEN TAG IN ('CREATE FUNCTION')
    EXECUTE FUNCTION public.in_the_way()
"""


def test_what_passes_by_itself_is_no_reason_to_drop_anything(empty_database: Database) -> None:
    """A deadlock says nothing about the state of the schema: nobody is told to begin anew."""
    dsn = empty_database.dsn(OWNER)
    migration.run(dsn, "public")
    with empty_database.admin() as admin:
        made = fingerprint.of_frozen()
        admin.execute(f"COMMENT ON SCHEMA df_engine IS 'perdure: tables {made.tables}, functions {'0' * 16}'")
        admin.execute(IN_THE_WAY.encode())
        before = catalogue(admin)
        with pytest.raises(ClickException) as refused:
            migration.run(dsn, "public")
        assert "failed and changed nothing: somebody was in the way" in str(refused.value)
        assert "drop" not in str(refused.value)
        assert catalogue(admin) == before
        admin.execute("DROP EVENT TRIGGER in_the_way")
        assert "brought up to date" in migration.run(dsn, "public")
