"""Whole scenarios, as file 08 has them."""

from __future__ import annotations

from stage import Stage, as_superuser

pytestmark = as_superuser


def test_etl(stage: Stage) -> None:
    stage.run("""
        DROP TABLE IF EXISTS playground.raw, playground.clean, playground.log;
        CREATE TABLE playground.raw (id int, v text); CREATE TABLE playground.clean (id int, v int);
        CREATE TABLE playground.log (line text);
        CREATE TEMP TABLE _s AS SELECT df.start(
            'INSERT INTO playground.raw SELECT g, g::text FROM generate_series(1, 10) g'
            ~> 'INSERT INTO playground.clean SELECT id, v::int FROM playground.raw WHERE id % 2 = 0'
            ~> 'SELECT count(*) AS n FROM playground.clean' |=> 'loaded'
            ~> 'INSERT INTO playground.log VALUES (''loaded '' || $loaded) RETURNING line', 'etl') AS id;
        DO $$ BEGIN
            IF (SELECT df.await_instance(id) FROM _s) <> 'completed' THEN RAISE EXCEPTION 'not completed'; END IF;
            IF (SELECT line FROM playground.log) <> 'loaded 5' THEN RAISE EXCEPTION 'log'; END IF;
        END $$;
    """)


def test_join_then_log(stage: Stage) -> None:
    stage.run("""
        DROP TABLE IF EXISTS playground.counts; CREATE TABLE playground.counts (what text, n bigint);
        CREATE TEMP TABLE _s AS SELECT df.start(
            ('SELECT count(*) AS n FROM generate_series(1, 3)' |=> 'a') &
                ('SELECT count(*) AS n FROM generate_series(1, 4)' |=> 'b')
            ~> 'INSERT INTO playground.counts VALUES (''total'', $a + $b)') AS id;
        DO $$ BEGIN
            IF (SELECT df.await_instance(id) FROM _s) <> 'completed' THEN RAISE EXCEPTION 'not completed'; END IF;
            IF (SELECT n FROM playground.counts WHERE what = 'total') <> 7 THEN RAISE EXCEPTION 'total'; END IF;
        END $$;
    """)


def test_conditional_load(stage: Stage) -> None:
    stage.run("""
        DROP TABLE IF EXISTS playground.staging, playground.target;
        CREATE TABLE playground.staging AS SELECT g AS id FROM generate_series(1, 5) g;
        CREATE TABLE playground.target (id int);
        CREATE TEMP TABLE _s AS SELECT df.start(
            'SELECT id FROM playground.staging' |=> 'rows'
            ~> df.if_rows('rows', 'INSERT INTO playground.target SELECT id FROM $rows.*',
                'SELECT ''nothing to do'''), 'load') AS id;
        DO $$ BEGIN
            IF (SELECT df.await_instance(id) FROM _s) <> 'completed' THEN RAISE EXCEPTION 'not completed'; END IF;
            IF (SELECT count(*) FROM playground.target) <> 5 THEN RAISE EXCEPTION 'rows'; END IF;
        END $$;
    """)


def test_a_named_id_across_a_sleep(stage: Stage) -> None:
    stage.run("""
        DROP TABLE IF EXISTS playground.jobs; CREATE TABLE playground.jobs (id int GENERATED ALWAYS AS IDENTITY,
            state text);
        CREATE TEMP TABLE _s AS SELECT df.start(
            'INSERT INTO playground.jobs (state) VALUES (''begun'') RETURNING id' |=> 'job'
            ~> df.sleep(1) ~> 'UPDATE playground.jobs SET state = ''done'' WHERE id = $job RETURNING id, state') AS
                id;
        DO $$ BEGIN
            IF (SELECT df.await_instance(id) FROM _s) <> 'completed' THEN RAISE EXCEPTION 'not completed'; END IF;
            IF (SELECT string_agg(state, ',') FROM playground.jobs) <> 'done' THEN RAISE EXCEPTION 'state'; END IF;
            IF (SELECT df.result(id)::jsonb->'rows'->0->>'state' FROM _s) <> 'done' THEN RAISE EXCEPTION 'result';
                END IF;
        END $$;
    """)


def test_three_steps_in_order(stage: Stage) -> None:
    stage.run("""
        DROP TABLE IF EXISTS playground.steps; CREATE TABLE playground.steps (n int,
            at timestamptz DEFAULT clock_timestamp());
        CREATE TEMP TABLE _s AS SELECT df.start('INSERT INTO playground.steps VALUES (1)'
            ~> 'INSERT INTO playground.steps VALUES (2)'
                                                ~> 'INSERT INTO playground.steps VALUES (3)') AS id;
        DO $$ BEGIN
            IF (SELECT df.await_instance(id) FROM _s) <> 'completed' THEN RAISE EXCEPTION 'not completed'; END IF;
            IF (SELECT array_agg(n ORDER BY at) FROM playground.steps) <> '{1,2,3}' THEN RAISE EXCEPTION 'order';
                END IF;
        END $$;
    """)


def test_approval_with_a_deadline(stage: Stage) -> None:
    stage.run("""
        DROP TABLE IF EXISTS playground.orders; CREATE TABLE playground.orders (id int, state text);
        CREATE TEMP TABLE _s AS SELECT df.start(
            'INSERT INTO playground.orders VALUES (1, ''waiting'')' ~> df.wait_for_signal('approve', 60) |=> 'a'
            ~> ('SELECT NOT $a.timed_out AND ($a::jsonb->''data''->>''ok'')::bool' ?>
                'UPDATE playground.orders SET state = ''approved'''
                !> 'UPDATE playground.orders SET state = ''refused'''), 'order-1') AS id;
        SELECT df.signal(id, 'approve', '{"ok": true}') FROM _s;
        DO $$ BEGIN
            IF (SELECT df.await_instance(id) FROM _s) <> 'completed' THEN RAISE EXCEPTION 'not completed'; END IF;
            IF (SELECT state FROM playground.orders) <> 'approved' THEN RAISE EXCEPTION 'state'; END IF;
        END $$;
    """)


def test_exactly_what_psql_prints(stage: Stage) -> None:
    """The small regression scripts."""
    shown = stage.run("""
        SELECT df.start('SELECT 40 AS answer' |=> 'a' ~> 'SELECT $a + 2 AS answer') AS i \\gset
        SELECT df.await_instance(:'i');
        SELECT df.result(:'i')::jsonb->'rows'->0->'answer';
    """)
    assert shown == "completed\n42"
