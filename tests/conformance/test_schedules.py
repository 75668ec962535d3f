"""Sleeps and schedules (6.6, 6.8; files 01, 24)."""

from __future__ import annotations

import pytest

from stage import Stage, as_superuser

pytestmark = as_superuser


def test_a_sleep_is_never_too_short(stage: Stage) -> None:
    stage.run("""
        DROP TABLE IF EXISTS playground.ticks; CREATE TABLE playground.ticks (at timestamptz DEFAULT
            clock_timestamp());
        CREATE TEMP TABLE _s AS SELECT df.start('INSERT INTO playground.ticks DEFAULT VALUES' ~> df.sleep(2)
                                                ~> 'INSERT INTO playground.ticks DEFAULT VALUES') AS id;
        DO $$
        DECLARE d INTERVAL;
        BEGIN
            IF (SELECT df.await_instance(id) FROM _s) <> 'completed' THEN RAISE EXCEPTION 'not completed'; END IF;
            SELECT max(at) - min(at) INTO d FROM playground.ticks;
            IF d < '2 s' OR d > '15 s' THEN RAISE EXCEPTION 'slept %', d; END IF;
        END $$;
    """)


def test_no_time_at_all(stage: Stage) -> None:
    assert (
        stage.run("""
        SELECT df.start(df.sleep(0) ~> df.sleep(0)) AS i \\gset
        SELECT df.await_instance(:'i'); SELECT df.result(:'i');
    """)
        == 'completed\n{"slept": true, "seconds": 0}'
    )


def test_a_named_sleep(stage: Stage) -> None:
    """The reference ignores the name."""
    shown = stage.run("""
        SELECT df.start(df.sleep(0) |=> 'z' ~> 'SELECT $z.seconds AS s') AS i \\gset
        SELECT df.await_instance(:'i'); SELECT df.result(:'i')::jsonb->'rows';
    """)
    assert shown.splitlines() == ["completed", '[{"s": 0}]']


def test_the_tick_is_computed_at_run_time(stage: Stage) -> None:
    """Two waits in a row are due at successive minutes; looked at without waiting for them."""
    stage.run("""
        CREATE TEMP TABLE _s AS SELECT df.start(df.sleep(1) ~> df.wait_for_schedule('* * * * *') ~> 'SELECT 1',
            'tick') AS id;
        DO $$
        DECLARE due TIMESTAMPTZ; q TEXT;
        BEGIN
            FOR k IN 1..600 LOOP
                SELECT n.query INTO q FROM df.nodes n, _s WHERE n.instance_id = _s.id AND node_type = 'WAIT_SCHEDULE'
                    AND n.status = 'running';
                EXIT WHEN q IS NOT NULL;
                COMMIT; PERFORM pg_sleep(0.05);
            END LOOP;
            IF q::jsonb->>'cron_expr' IS DISTINCT FROM '* * * * *' THEN RAISE EXCEPTION 'query %', q; END IF;
            IF (SELECT df.status(id) FROM _s) <> 'running' THEN RAISE EXCEPTION 'status'; END IF;
            PERFORM df.cancel(id) FROM _s;
        END $$;
    """)


@pytest.mark.heavy
@pytest.mark.timeout(240)
def test_two_waits_fire_at_two_successive_minutes(stage: Stage) -> None:
    """File 24, as it is: up to two minutes."""
    stage.run("""
        DROP TABLE IF EXISTS playground.fired; CREATE TABLE playground.fired (at timestamptz DEFAULT
            clock_timestamp());
        CREATE TEMP TABLE _s AS SELECT df.start(
            df.wait_for_schedule('* * * * *') ~> 'INSERT INTO playground.fired DEFAULT VALUES'
            ~> df.wait_for_schedule('* * * * *') ~> 'INSERT INTO playground.fired DEFAULT VALUES') AS id;
        DO $$
        DECLARE a TIMESTAMPTZ; b TIMESTAMPTZ;
        BEGIN
            IF (SELECT df.await_instance(id, 150) FROM _s) <> 'completed' THEN RAISE EXCEPTION 'not completed';
            END IF;
            SELECT min(at), max(at) INTO a, b FROM playground.fired;
            IF date_trunc('minute', b) - date_trunc('minute', a) <> '1 minute' OR extract(second FROM a) > 5
                OR extract(second FROM b) > 5 THEN
                RAISE EXCEPTION '% %', a, b; END IF;
        END $$;
    """, seconds=200)  # fmt: skip


def test_bad_expressions_are_refused_when_the_function_is_called(stage: Stage) -> None:
    for expression in ("not a cron", "* * * *", "61 * * * *", "* * * * 9"):
        assert "Invalid cron expression" in stage.refused(f"SELECT df.wait_for_schedule('{expression}')")
    assert "Sleep duration must be non-negative" in stage.refused("SELECT df.sleep(-1)")
