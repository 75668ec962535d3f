"""What migrations install is what the living SQL says, object by object."""

from __future__ import annotations

from typing import Any

from cluster import OWNER, Database
from perdure.schema import migrate

CATALOGUE = """
SELECT 'function', p.oid::regprocedure::text, pg_get_functiondef(p.oid)
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname IN ('df', 'df_engine')
UNION ALL
SELECT 'column', a.attrelid::regclass || '.' || a.attname,
       format_type(a.atttypid, a.atttypmod) || a.attnotnull || coalesce(pg_get_expr(d.adbin, d.adrelid), '')
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE n.nspname IN ('df', 'df_engine') AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT 'index', i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid)
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname IN ('df', 'df_engine')
UNION ALL
SELECT 'view', c.oid::regclass::text, pg_get_viewdef(c.oid) || coalesce(c.reloptions::text, '')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname IN ('df', 'df_engine') AND c.relkind = 'v'
UNION ALL
SELECT 'trigger', t.tgrelid::regclass || '.' || t.tgname, pg_get_triggerdef(t.oid)
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname IN ('df', 'df_engine') AND NOT t.tgisinternal
UNION ALL
SELECT 'setting', s.name, s::text FROM df_engine.settings s
"""


def catalogue(connection: Any) -> dict[tuple[str, str], str]:
    """Every object of the engine with its definition; alembic's own table left out."""
    rows = connection.execute(CATALOGUE).fetchall()
    return {(kind, name): text for kind, name, text in rows if "alembic_version" not in name}


def test_a_migrated_database_equals_one_made_from_the_living_sql(database: Database, empty_database: Database) -> None:
    migrate.upgrade(empty_database.dsn(OWNER))
    with database.admin() as living, empty_database.admin() as migrated:
        expected, found = catalogue(living), catalogue(migrated)
    assert len(expected) > 100
    assert {name: text for name, text in found.items() if expected.get(name) != text} == {}
    assert expected.keys() - found.keys() == set()


def test_down_leaves_nothing_and_up_again_is_the_same(empty_database: Database) -> None:
    migrate.upgrade(empty_database.dsn(OWNER))
    with empty_database.admin() as connection:
        before = catalogue(connection)
    migrate.downgrade(empty_database.dsn(OWNER))
    with empty_database.admin() as connection:
        left = connection.execute("SELECT count(*) FROM pg_namespace WHERE nspname IN ('df', 'df_engine')").fetchone()
        operators = connection.execute("SELECT count(*) FROM pg_operator WHERE oprname = '~>'").fetchone()
    assert (left, operators) == ((0,), (0,))
    migrate.upgrade(empty_database.dsn(OWNER))
    with empty_database.admin() as connection:
        assert catalogue(connection) == before
