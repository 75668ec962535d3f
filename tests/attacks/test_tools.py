"""What lies in wait for those who administer: objects of users in a schema of theirs too, met by migrations and commands."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest

from asking import value
from attacks.conftest import Report
from cluster import OWNER, Database, clean_environment
from perdure.schema import frozen, migrate

pytestmark = pytest.mark.attacks

TRAP = """
    CREATE TABLE public.caught (who name, what text); GRANT ALL ON public.caught TO PUBLIC;
    CREATE FUNCTION public.trap(text) RETURNS boolean LANGUAGE plpgsql AS $$
    BEGIN INSERT INTO public.caught VALUES (current_user, $1); RETURN true; END $$;
"""
TYPES = (
    "name",
    "varchar",
    "text",
    "char",
    "oid",
    "int4",
    "int8",
    "int2",
    "regclass",
    "bool",
    "timestamptz",
    "bytea",
    "unknown",
)


def lay_traps(alice: psycopg.Connection[Any]) -> int:
    """Operators and functions in public that fit better than those of pg_catalog, where there is none that fits exactly."""
    alice.execute(TRAP)
    laid = 0
    for sign in ("=", "<>", "<", ">", "~", "~~", "||"):
        for left in TYPES:
            for right in TYPES:
                known = "FROM pg_operator WHERE oprname = %s AND oprleft = %s::regtype AND oprright = %s::regtype"
                if "unknown" in (left, right) or value(alice, f"(SELECT count(*) {known})", sign, left, right):
                    continue
                name = f"t{laid}"
                alice.execute(cast(Any, f"""
                    CREATE FUNCTION public.{name}({left}, {right}) RETURNS boolean LANGUAGE plpgsql AS
                    $$ BEGIN PERFORM public.trap('{left} {sign} {right}'); RETURN true; END $$;
                    CREATE OPERATOR public.{sign} (FUNCTION = public.{name}, LEFTARG = {left}, RIGHTARG = {right})"""))  # fmt: skip
                laid += 1
    for name in (
        "lower",
        "upper",
        "length",
        "quote_ident",
        "coalesce_",
        "concat",
        "max",
        "min",
        "count",
        "string_agg",
        "format",
    ):
        if name in ("max", "min", "count"):
            alice.execute(cast(Any, f"""
                CREATE FUNCTION public.s_{name}(varchar, varchar) RETURNS varchar LANGUAGE plpgsql AS
                $$ BEGIN PERFORM public.trap('{name}'); RETURN $2; END $$;
                CREATE AGGREGATE public.{name}(varchar) (SFUNC = public.s_{name}, STYPE = varchar)"""))  # fmt: skip
        else:
            alice.execute(cast(Any, f"""
                CREATE FUNCTION public.{name}(varchar) RETURNS varchar LANGUAGE plpgsql AS
                $$ BEGIN PERFORM public.trap('{name}'); RETURN $1; END $$"""))  # fmt: skip
    return laid


@pytest.fixture
def trapped(empty_database: Database) -> Iterator[Database]:
    with empty_database.connect("alice") as alice:
        lay_traps(alice)
    yield empty_database


def perdure(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "perdure", *arguments], capture_output=True, text=True, timeout=60,
                          env=clean_environment(), check=False)  # fmt: skip


def test_migrations_and_commands_run_nothing_of_others(trapped: Database, report: Report, tmp_path: Path) -> None:
    """Operators, functions and aggregates of a user's in public, while the owner migrates, asks for status and checks -> not run."""
    dsn = trapped.dsn(OWNER)
    root = frozen.freeze_apart(tmp_path)
    migrate.upgrade(dsn, operators="public", frozen_root=root)
    migrate.upgrade(dsn, operators="public", frozen_root=root)
    assert migrate.current(dsn) is not None
    with trapped.connect(OWNER) as owner:
        owner.execute("SELECT df.grant_usage('alice'), df.grant_worker('perdure_worker')")
    with trapped.connect("alice") as alice:
        value(alice, "df.start('SELECT 1' ~> 'SELECT 2')")
    for command in (["status"], ["check"], ["roles", "list"], ["secret", "list"], ["migrate"]):
        done = perdure(*command, "--dsn", dsn)
        assert done.returncode in (0, 1), done.stderr
        assert "Traceback" not in done.stderr
    with trapped.admin() as admin:
        caught = admin.execute("SELECT DISTINCT who::text, what FROM public.caught WHERE who <> 'alice'").fetchall()
    assert caught == []
    migrate.downgrade(dsn, frozen_root=root)
    with trapped.admin() as admin:
        assert admin.execute("SELECT DISTINCT who::text, what FROM public.caught WHERE who <> 'alice'").fetchall() == []
    report("none run as the owner")
