"""The cap on steps that run at the same time (10, 11; files 44, 45)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from stage import SUPERUSER, Stage, as_superuser


@contextlib.contextmanager
def limits(stage: Stage, connections: int, seconds: int) -> Iterator[None]:
    """These values of max_user_connections and execution_acquire_timeout, then the defaults again."""
    with stage.admin() as admin:
        change = "UPDATE df.settings SET value = %s WHERE name = %s"
        admin.execute(change, [str(connections), "max_user_connections"])
        admin.execute(change, [str(seconds), "execution_acquire_timeout"])
        try:
            yield
        finally:
            admin.execute("UPDATE df.settings SET value = default_value"
                          " WHERE name IN ('max_user_connections', 'execution_acquire_timeout')")  # fmt: skip


def test_steps_beyond_the_cap_wait_and_complete(stage: Stage) -> None:
    with limits(stage, 2, 30):
        stage.run("""
            DROP TABLE IF EXISTS playground.spans; CREATE TABLE playground.spans (a timestamptz, b timestamptz);
            CREATE OR REPLACE FUNCTION playground.span() RETURNS VOID LANGUAGE plpgsql AS $f$
            DECLARE a TIMESTAMPTZ := clock_timestamp();
            BEGIN PERFORM pg_sleep(0.4); INSERT INTO playground.spans VALUES (a, clock_timestamp()); END $f$;
            CREATE TEMP TABLE _s AS SELECT df.start('SELECT playground.span()', 'capped') AS id
                FROM generate_series(1, 6);
            DO $$
            DECLARE r RECORD; n INT;
            BEGIN
                FOR r IN SELECT id FROM _s LOOP
                    IF df.await_instance(r.id, 60) <> 'completed'
                        THEN RAISE EXCEPTION '%', (SELECT output FROM df.instance_info(r.id)); END IF;
                    IF df.result(r.id)::jsonb->'rows'->0 <> '{"span": null}' THEN RAISE EXCEPTION 'void: %',
                        df.result(r.id); END IF;
                END LOOP;
                SELECT max((SELECT count(*) FROM playground.spans o WHERE o.a <= s.a
                    AND o.b > s.a)) INTO n FROM playground.spans s;
                IF n > 2 THEN RAISE EXCEPTION '% at the same time', n; END IF;
            END $$;
        """)


def test_a_step_that_waits_too_long_fails(stage: Stage) -> None:
    with limits(stage, 1, 2):
        stage.run("""
            CREATE TEMP TABLE _s AS SELECT df.start('SELECT pg_sleep(60)', 'blocker') AS a;
            DO $$ BEGIN
                FOR k IN 1..600 LOOP
                    EXIT WHEN EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%'
                        AND state = 'active' AND pid <> pg_backend_pid());
                    COMMIT; PERFORM pg_sleep(0.02);
                END LOOP;
            END $$;
            CREATE TEMP TABLE _t AS SELECT df.start('SELECT 1', 'waiter') AS b;
            DO $$
            DECLARE said TEXT; node TEXT;
            BEGIN
                IF (SELECT df.await_instance(b, 30) FROM _t) <> 'failed' THEN RAISE EXCEPTION 'not failed'; END IF;
                SELECT output INTO said FROM _t, df.instance_info(b);
                SELECT result #>> '{}' INTO node FROM _t, df.nodes WHERE instance_id = b AND node_type = 'SQL';
                IF said NOT LIKE '%connection limit reached%' OR said NOT LIKE '%max_user_connections=1%'
                    OR said NOT LIKE '%Timed out after 2s%' THEN
                    RAISE EXCEPTION 'words: %', said; END IF;
                IF node IS DISTINCT FROM said THEN RAISE EXCEPTION 'node: %', node; END IF;
            END $$;
            SELECT df.cancel(a) FROM _s;
        """)


@as_superuser
def test_a_chain_keeps_within_the_cap(stage: Stage) -> None:
    with limits(stage, 1, 0):
        stage.run("""
            CREATE TEMP TABLE _s AS SELECT df.start('SELECT 1' ~> ('SELECT 2' & 'SELECT 3' & 'SELECT 4')
                ~> df.sleep(0) ~> 'SELECT 5') AS id
                FROM generate_series(1, 4);
            DO $$
            DECLARE r RECORD;
            BEGIN
                FOR r IN SELECT id FROM _s LOOP
                    IF df.await_instance(r.id, 60) <> 'completed' THEN RAISE EXCEPTION '%', r; END IF;
                END LOOP;
            END $$;
        """)


@as_superuser
def test_limits_of_the_servers_configuration(stage: Stage) -> None:
    """As pg_durable read them: a superuser's session, and so a superuser's worker, obeys them; nobody else's does."""
    database = stage.database.name
    asked = "SELECT df_engine.setting('max_user_connections'), df_engine.setting('execution_acquire_timeout')"
    try:
        stage.run(f"ALTER DATABASE {database} SET pg_durable.max_user_connections = 2", SUPERUSER)
        assert stage.run(asked, SUPERUSER) == "2|0"
        assert stage.run(asked) == "0|0"
    finally:
        stage.run(f"ALTER DATABASE {database} RESET pg_durable.max_user_connections", SUPERUSER)
    assert stage.run(asked, SUPERUSER) == "0|0"
