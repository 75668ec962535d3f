"""The owner that every test's database is migrated and owned by: as little as an owner can be."""

from __future__ import annotations

import pytest

from asking import refused, value
from cluster import OWNER, Database
from perdure.schema import migrate

ATTRIBUTES = ("rolsuper", "rolbypassrls", "rolcreaterole", "rolcreatedb", "rolreplication")


def test_the_owner_has_no_attribute_and_belongs_to_nobody(database: Database) -> None:
    with database.admin() as admin:
        for attribute in ATTRIBUTES:
            assert not value(admin, f"{attribute} FROM pg_roles WHERE rolname = %s", OWNER), attribute
        assert value(admin, "count(*) FROM pg_auth_members WHERE member = %s::regrole", OWNER) == 0
        assert value(admin, "datdba::regrole::text FROM pg_database WHERE datname = %s", database.name) == OWNER
        for schema in ("df", "df_engine"):
            assert value(admin, "nspowner::regrole::text FROM pg_namespace WHERE nspname = %s", schema) == OWNER


def test_the_owner_cannot_create_extensions(database: Database) -> None:
    with database.connect(OWNER) as owner:
        for extension in ("citext", "dblink"):  # one that is marked as trusted, and one that is not
            if value(owner, "count(*) FROM pg_available_extensions WHERE name = %s", extension):
                assert refused(owner, f"CREATE EXTENSION {extension}").sqlstate == "42501"


def test_nothing_of_perdure_is_an_extension_or_another_role_s(database: Database) -> None:
    with database.admin() as admin:
        assert value(admin, "array_agg(extname::text) FROM pg_extension") == ["plpgsql"]
        owners = (
            "array_agg(DISTINCT {0}owner::regrole::text) FROM {1} WHERE {0}namespace::regnamespace::text LIKE 'df%'"
        )
        for prefix, catalogue in (("rel", "pg_class"), ("pro", "pg_proc"), ("typ", "pg_type"), ("opr", "pg_operator")):
            assert value(admin, owners.format(prefix, catalogue)) in ([OWNER], None), catalogue


@pytest.mark.parametrize("operators", ["public", "df"])
def test_such_an_owner_migrates_up_and_down(empty_database: Database, operators: str) -> None:
    migrate.upgrade(empty_database.dsn(OWNER), operators=operators)
    assert migrate.current(empty_database.dsn(OWNER)) == migrate.newest()
    migrate.downgrade(empty_database.dsn(OWNER))
    assert migrate.current(empty_database.dsn(OWNER)) is None
