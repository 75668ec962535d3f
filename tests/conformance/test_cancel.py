"""df.cancel and the three status calls (6.10; files 03, 11, 22_cancel_status_consistency)."""

from __future__ import annotations

from stage import SUPERUSER, Stage, as_superuser

AGREE = """
    CREATE OR REPLACE FUNCTION pg_temp.agree(i TEXT, wanted TEXT) RETURNS VOID LANGUAGE plpgsql AS $f$
    DECLARE a TEXT; b TEXT; c TEXT; d TEXT;
    BEGIN
        SELECT df.status(i) INTO a;
        SELECT status INTO b FROM df.instance_info(i);
        SELECT status INTO c FROM df.list_instances(NULL, 1000) WHERE instance_id = i;
        SELECT status INTO d FROM df.instances WHERE id = i;
        IF (a, b, c, d) IS DISTINCT FROM (wanted, wanted, wanted, wanted) THEN
            RAISE EXCEPTION 'wanted %, status % info % list % table %', wanted, a, b, c, d;
        END IF;
    END $f$;
"""


def test_status_calls_agree_at_once(stage: Stage) -> None:
    """Before it has begun, while it sleeps, in a running statement, and after the end."""
    stage.run(AGREE + """
        CREATE TEMP TABLE _s AS SELECT df.start(df.sleep(600)) AS a, df.start('SELECT pg_sleep(60)') AS b,
            df.start('SELECT 1') AS c,
                                       df.start('SELECT 1/0') AS d;
        DO $$ BEGIN
            PERFORM df.await_instance(c), df.await_instance(d) FROM _s;
            FOR k IN 1..600 LOOP
                EXIT WHEN (SELECT df.status(a) = 'running' AND df.status(b) = 'running' FROM _s);
                COMMIT; PERFORM pg_sleep(0.02);
            END LOOP;
        END $$;
        DO $$
        DECLARE s RECORD;
        BEGIN
            SELECT * INTO s FROM _s;
            IF df.cancel(s.a) <> format('Instance %s cancelled: Cancelled by user', s.a)
                THEN RAISE EXCEPTION 'words'; END IF;
            PERFORM pg_temp.agree(s.a, 'cancelled');
            IF df.cancel(s.b, 'no more') <> format('Instance %s cancelled: no more', s.b)
                THEN RAISE EXCEPTION 'words'; END IF;
            PERFORM pg_temp.agree(s.b, 'cancelled');
            PERFORM df.cancel(s.c, 'too late');
            PERFORM pg_temp.agree(s.c, 'completed');
            PERFORM df.cancel(s.d, 'too late');
            PERFORM pg_temp.agree(s.d, 'failed');
        END $$;
        DO $$
        DECLARE s RECORD; o TEXT;
        BEGIN
            SELECT * INTO s FROM _s;
            PERFORM pg_temp.agree(s.a, 'cancelled'), pg_temp.agree(s.b, 'cancelled'), pg_temp.agree(s.c, 'completed');
            FOR k IN 1..600 LOOP
                SELECT output INTO o FROM df.instance_info(s.b);
                EXIT WHEN o IS NOT NULL;
                PERFORM pg_sleep(0.02);
            END LOOP;
            IF o <> 'canceled: no more' THEN RAISE EXCEPTION 'output %', o; END IF;
            IF EXISTS (SELECT FROM df.instances WHERE id IN (s.a, s.b, s.d)
                AND completed_at IS NOT NULL) THEN RAISE EXCEPTION 'completed_at'; END IF;
        END $$;
    """)  # fmt: skip


def test_cancel_straight_after_the_start(stage: Stage) -> None:
    stage.run(AGREE + """
        CREATE TEMP TABLE _s AS SELECT df.start('SELECT 1' ~> df.sleep(600)) AS a;
        SELECT df.cancel(a) FROM _s;
        SELECT pg_temp.agree(a, 'cancelled') FROM _s;
        SELECT df.await_instance(a) FROM _s;
        BEGIN;
        CREATE TEMP TABLE _t AS SELECT df.start('SELECT 1') AS a;
        SELECT df.cancel(a) FROM _t;
        COMMIT;
        SELECT pg_temp.agree(a, 'cancelled') FROM _t;
    """)  # fmt: skip


def test_cancel_twice_changes_nothing(stage: Stage) -> None:
    stage.run("""
        CREATE TEMP TABLE _s AS SELECT df.start(df.sleep(600)) AS a;
        SELECT df.cancel(a, 'first') FROM _s;
        CREATE TEMP TABLE _u AS SELECT updated_at FROM df.instances, _s WHERE id = a;
        SELECT 1/(df.cancel(a, 'second') = format('Instance %s cancelled: second', a))::int FROM _s;
        SELECT 1/(df.status(a) = 'cancelled')::int FROM _s;
    """)


def test_a_terminal_row_is_unchanged(stage: Stage) -> None:
    stage.run("""
        CREATE TEMP TABLE _s AS SELECT df.start('SELECT 7 AS x') AS a;
        SELECT df.await_instance(a) FROM _s;
        CREATE TEMP TABLE _u AS SELECT i.* FROM df.instances i, _s WHERE id = a;
        SELECT df.cancel(a, 'late') FROM _s;
        DO $$ BEGIN
            IF (SELECT u FROM _u u) IS DISTINCT FROM (SELECT i::text::_u FROM df.instances i, _s WHERE id = a) THEN
                RAISE EXCEPTION 'changed'; END IF;
            IF (SELECT df.result(a)::jsonb->'rows'->0->>'x' FROM _s) <> '7' THEN RAISE EXCEPTION 'result'; END IF;
        END $$;
    """)


def test_nothing_of_a_cancelled_workflow_goes_on(stage: Stage) -> None:
    """A running statement is stopped and leaves nothing; nothing follows it."""
    stage.run("""
        DROP TABLE IF EXISTS playground.went; CREATE TABLE playground.went (what text);
        CREATE TEMP TABLE _s AS SELECT df.start(
            'WITH w AS (INSERT INTO playground.went VALUES (''running'') RETURNING 1) SELECT pg_sleep(7.5) FROM w'
            ~> 'INSERT INTO playground.went VALUES (''next'')') AS a;
        DO $$ BEGIN
            FOR k IN 1..600 LOOP
                EXIT WHEN EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE '%pg_sleep(7.5)%'
                    AND pid <> pg_backend_pid() AND state = 'active');
                COMMIT; PERFORM pg_sleep(0.02);
            END LOOP;
        END $$;
        SELECT df.cancel(a) FROM _s;
        DO $$
        DECLARE since TIMESTAMPTZ := clock_timestamp();
        BEGIN
            FOR k IN 1..600 LOOP
                EXIT WHEN NOT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE '%pg_sleep(7.5)%'
                    AND pid <> pg_backend_pid() AND state = 'active');
                COMMIT; PERFORM pg_sleep(0.02);
            END LOOP;
            IF clock_timestamp() - since > '5 s' THEN RAISE EXCEPTION 'it ran on for %', clock_timestamp() - since;
                END IF;
            IF EXISTS (SELECT FROM playground.went) THEN RAISE EXCEPTION 'something stayed'; END IF;
        END $$;
    """)


def test_from_another_session_and_by_others(stage: Stage) -> None:
    stage.make_role("df_cancel_other")
    instance = stage.run("SELECT df.start(df.sleep(600), 'mine')")
    for missing in (instance, "ffffffff", "nonsense", ""):
        assert f"Instance not found or access denied: {missing}" in stage.refused(
            f"SELECT df.cancel('{missing}')", "df_cancel_other"
        )
    assert stage.run(f"SELECT df.status('{instance}')") in ("pending", "running")
    assert stage.run(f"SELECT df.cancel('{instance}', 'by me')") == f"Instance {instance} cancelled: by me"
    assert stage.run(f"SELECT df.status('{instance}')") == "cancelled"
    assert stage.run(f"SELECT df.status('{instance}') IS NULL", "df_cancel_other") == "t"
    second = stage.run("SELECT df.start(df.sleep(600), 'mine')")
    assert stage.run(f"SELECT df.cancel('{second}')", SUPERUSER).endswith("cancelled: Cancelled by user")
    stage.drop_role("df_cancel_other")


def test_await_raises_when_it_takes_too_long(stage: Stage) -> None:
    instance = stage.run("SELECT df.start(df.sleep(600))")
    assert f"Timeout after 1s waiting for instance {instance} (status: running)" in stage.refused(
        f"SELECT df.await_instance('{instance}', 1)"
    )
    assert "Timeout must be positive" in stage.refused(f"SELECT df.await_instance('{instance}', 0)")
    assert "Instance not found: ffffffff" in stage.refused("SELECT df.await_instance('ffffffff')")
    stage.run(f"SELECT df.cancel('{instance}')")
    assert stage.run(f"SELECT df.await_instance('{instance}')") == "cancelled"


@as_superuser
def test_a_loop_in_all_branches(stage: Stage) -> None:
    instance = stage.run("SELECT df.start((@> (df.sleep(1) ~> 'SELECT 1')) & (@> ('SELECT 2' ~> df.sleep(1))))")
    stage.run(f"SELECT df.cancel('{instance}', 'all')")
    assert (
        stage.run(f"SELECT df.await_instance('{instance}'); SELECT output FROM df.instance_info('{instance}')")
        == "cancelled\ncanceled: all"
    )
