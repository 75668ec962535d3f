"""df.start: transactions, sessions, databases, identity, checks (7; files 11, 14, 17, 51, 52, 55_start)."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from cluster import drop_database
from stage import SUPERUSER, Stage, as_superuser

OTHER = "perdure_stage_other"


@pytest.fixture
def other(stage: Stage) -> Iterator[str]:
    """Another database, without the schema."""
    drop_database(stage.database.cluster, OTHER)
    with stage.database.cluster.admin() as admin:
        admin.execute(f"CREATE DATABASE {OTHER}")
    with stage.database.cluster.admin(OTHER) as admin:
        admin.execute("GRANT ALL ON SCHEMA public TO PUBLIC")
    yield OTHER
    drop_database(stage.database.cluster, OTHER)


def test_a_start_in_a_do_block_that_commits_late(stage: Stage) -> None:
    stage.run("""
        CREATE TEMP TABLE _s (id TEXT);
        DO $$
        DECLARE i TEXT;
        BEGIN
            i := df.start('SELECT 5 AS v', 'late');
            INSERT INTO _s VALUES (i);
            IF df.status(i) <> 'pending' THEN RAISE EXCEPTION 'status %', df.status(i); END IF;
            IF (SELECT count(*) FROM df.nodes WHERE instance_id = i) <> 1 THEN RAISE EXCEPTION 'nodes'; END IF;
            PERFORM pg_sleep(0.5);
        END $$;
        SELECT 1/(df.await_instance(id, 30) = 'completed')::int FROM _s;
        SELECT 1/(df.result(id)::jsonb->'rows'->0->>'v' = '5')::int FROM _s;
    """)


def test_a_start_that_commits_very_late(stage: Stage) -> None:
    """The reference gives up after five seconds; here others may come and go meanwhile."""
    with psycopg.connect(stage.dsn()) as late:
        row = late.execute("SELECT df.start('SELECT 5 AS v', 'very late')").fetchone()
        for _ in range(3):
            stage.ended("'SELECT 1'")
    assert row is not None
    assert stage.run(f"SELECT df.await_instance('{row[0]}')") == "completed"


def test_what_is_rolled_back_never_runs(stage: Stage) -> None:
    stage.run("""
        DROP TABLE IF EXISTS playground.ran; CREATE TABLE playground.ran (what text);
        BEGIN;
        SELECT df.start('INSERT INTO playground.ran VALUES (''rollback'')', 'rolled-back') AS i \\gset
        SELECT 1/(count(*) = 1)::int FROM df.instances WHERE label = 'rolled-back';
        ROLLBACK;
        SELECT 1/(count(*) = 0)::int FROM df.instances WHERE label = 'rolled-back';
        SELECT 1/(df.status(:'i') IS NULL)::int;
        DO $$
        BEGIN
            BEGIN
                PERFORM df.start('INSERT INTO playground.ran VALUES (''exception'')', 'excepted');
                RAISE EXCEPTION 'stop';
            EXCEPTION WHEN OTHERS THEN
                IF SQLERRM <> 'stop' THEN RAISE; END IF;
            END;
            PERFORM df.start('INSERT INTO playground.ran VALUES (''kept'')', 'kept');
        END $$;
        DO $$ BEGIN
            PERFORM df.await_instance(id) FROM df.instances WHERE label = 'kept';
            IF (SELECT string_agg(what, ',') FROM playground.ran) <> 'kept' THEN RAISE EXCEPTION 'it ran'; END IF;
            IF EXISTS (SELECT FROM df.instances WHERE label = 'excepted') THEN RAISE EXCEPTION 'a row is left';
            END IF;
        END $$;
    """)


def test_transaction_mode(stage: Stage) -> None:
    for mode in ("'bogus'", "''", "NULL"):
        words = stage.refused(f"SELECT df.start('SELECT 1', transaction_mode => {mode})")
        assert "invalid transaction_mode" in words
        assert "expected 'caller' or 'new'" in words
    for call in (
        "'SELECT 1', 'l', NULL, 'CALLER'",
        "'SELECT 1', NULL, NULL, 'caller'",
        "'SELECT 1', 'l', NULL",
        "'SELECT 1', label => 'x'",
        "fut => 'SELECT 1', database => NULL",
        "'SELECT 1', transaction_mode => 'Caller'",
    ):
        assert len(stage.run(f"SELECT df.start({call})")) == 8
    shown = stage.run(
        """
        SELECT oidvectortypes(proargtypes) FROM pg_proc WHERE pronamespace = 'df'::regnamespace AND proname = 'start';
        SELECT has_function_privilege('df_e2e_user', 'df.start(text, text, text, text)', 'EXECUTE');
        """,
        SUPERUSER,
    )
    assert shown.splitlines() == ["text, text, text, text", "t"]


def test_another_database(stage: Stage, other: str) -> None:
    shown = stage.run(f"""
        SELECT df.target_database() = current_database();
        SELECT df.start('SELECT current_database() AS d' |=> 'a'
            ~> ('SELECT current_database() AS d' & 'SELECT $a AS d'), 'there', '{other}') AS i \\gset
        SELECT df.await_instance(:'i');
        SELECT jsonb_path_query_array(df.result(:'i')::jsonb, '$[*].rows[*].d');
        SELECT DISTINCT database FROM df.nodes WHERE instance_id = :'i';
        SELECT database FROM df.instances WHERE id = :'i';
        SELECT df.start('CREATE TABLE made_here (n int)'
            ~> 'INSERT INTO made_here VALUES (1)', database => '{other}') AS j \\gset
        SELECT df.await_instance(:'j');
        SELECT df.start('SELECT current_database() AS d', 'here', NULL) AS k \\gset
        SELECT df.await_instance(:'k');
        SELECT df.result(:'k')::jsonb->'rows'->0->>'d' = current_database(), (SELECT database IS NULL
            FROM df.instances WHERE id = :'k');
    """)
    assert shown.splitlines() == [
        "t",
        "completed",
        f'["{other}", "{other}"]',
        other,
        other,
        "completed",
        "completed",
        "t|t",
    ]
    with stage.database.cluster.admin(other) as admin:
        assert admin.execute("SELECT n FROM made_here").fetchall() == [(1,)]


def test_a_database_that_does_not_exist(stage: Stage) -> None:
    assert 'database "no_such_db" does not exist' in stage.refused("SELECT df.start('SELECT 1', 'x', 'no_such_db')")
    stage.run("""
        DO $$ BEGIN
            PERFORM df.start('SELECT 1', 'nowhere', 'no_such_db');
            RAISE EXCEPTION 'not refused';
        EXCEPTION WHEN OTHERS THEN
            IF SQLERRM NOT LIKE '%no_such_db%does not exist%' THEN RAISE; END IF;
        END $$;
        SELECT 1/(count(*) = 0)::int FROM df.instances WHERE label = 'nowhere';
    """)


@pytest.mark.parametrize("force", ["", " WITH (FORCE)"])
def test_a_database_that_is_dropped_under_a_loop(stage: Stage, other: str, force: str) -> None:
    """No session of the worker stands in the way of DROP DATABASE, and the workflow fails."""
    instance = stage.run(f"SELECT df.start(@> ('SELECT 1' ~> df.sleep(1)), 'dropped', '{other}')")
    stage.run(f"""
        DO $$ BEGIN
            FOR k IN 1..600 LOOP
                EXIT WHEN EXISTS (SELECT FROM df.nodes WHERE instance_id = '{instance}' AND node_type = 'SQL'
                    AND status = 'completed');
                COMMIT; PERFORM pg_sleep(0.02);
            END LOOP;
        END $$;
    """)
    stage.run(f"DROP DATABASE {other}{force}", SUPERUSER)
    assert stage.run(f"SELECT df.await_instance('{instance}', 60)") == "failed"
    said = stage.run(f"SELECT output FROM df.instance_info('{instance}')")
    assert "Failed to connect to database" in said
    assert "does not exist" in said


@as_superuser
def test_superusers_only_when_they_may(stage: Stage) -> None:
    """File 17: the words of the refusal; nobody else is concerned."""
    with stage.admin() as admin:
        admin.execute("UPDATE df.settings SET value = 'off' WHERE name = 'enable_superuser_instances'")
        try:
            words = stage.refused("SELECT df.start('SELECT 1', 'super')", SUPERUSER)
            assert "superuser instances are disabled" in words
            assert "pg_durable.enable_superuser_instances" in words
            stage.run("""
                DO $$ BEGIN
                    PERFORM df.start('SELECT 1', 'super');
                    RAISE EXCEPTION 'not refused';
                EXCEPTION WHEN OTHERS THEN
                    IF SQLERRM NOT LIKE '%superuser instances are disabled%' THEN RAISE; END IF;
                END $$;
                SELECT 1/(count(*) = 0)::int FROM df.instances WHERE label = 'super';
            """, SUPERUSER)  # fmt: skip
            assert stage.run("SELECT df.start('SELECT 1') AS i \\gset\nSELECT df.await_instance(:'i')") == "completed"
            shown = stage.run(
                """
                SET ROLE df_e2e_user;
                SELECT df.start('SELECT current_user AS u') AS i \\gset
                SELECT df.await_instance(:'i'), df.result(:'i')::jsonb->'rows'->0->>'u';
                """,
                SUPERUSER,
            )
            assert shown.startswith("completed")
            # Nobody but an administrator sees the switch, and nobody else can move it.
            assert stage.run("SELECT count(*) FROM df.settings WHERE name = 'enable_superuser_instances'") == "0"
            stage.run("""
                CREATE FUNCTION playground.as_superuser() RETURNS TEXT SECURITY DEFINER LANGUAGE plpgsql AS
                    'BEGIN RETURN df.start(''SELECT 1''); END';
                GRANT EXECUTE ON FUNCTION playground.as_superuser() TO PUBLIC;
            """, SUPERUSER)  # fmt: skip
            switch = "SET pg_durable.enable_superuser_instances = on;"
            assert "are disabled" in stage.refused(f"{switch} SELECT playground.as_superuser()")
            assert len(stage.run(f"{switch} SELECT playground.as_superuser()", SUPERUSER)) == 8
        finally:
            admin.execute("UPDATE df.settings SET value = 'on' WHERE name = 'enable_superuser_instances'")
    assert (
        stage.run("SELECT df.start('SELECT 1') AS i \\gset\nSELECT df.await_instance(:'i')", SUPERUSER) == "completed"
    )


def test_ids_and_labels(stage: Stage) -> None:
    shown = stage.run("""
        SELECT df.start('SELECT 1', 'it''s a "label" / 50%') AS i, df.start('SELECT 1') AS j \\gset
        SELECT :'i' ~ '^[0-9a-f]{8}$', :'i' <> :'j';
        SELECT label FROM df.instances WHERE id = :'i';
        SELECT label IS NULL FROM df.instances WHERE id = :'j';
        SELECT df.start('SELECT 1', 'it''s a "label" / 50%') AS k \\gset
        SELECT df.await_instance(:'i'), df.await_instance(:'j'), df.await_instance(:'k');
        SELECT count(*) >= 2 FROM df.instances WHERE label = 'it''s a "label" / 50%';
    """)
    assert shown.splitlines() == ["t|t", 'it\'s a "label" / 50%', "t", "completed|completed|completed", "t"]


def test_results_are_those_of_the_instance_asked_for(stage: Stage) -> None:
    """File 52: node ids may repeat between instances."""
    stage.run("""
        CREATE TEMP TABLE _s AS SELECT df.start('SELECT ' || g || ' AS n') AS id, g FROM generate_series(1, 3) g;
        DO $$
        DECLARE r RECORD;
        BEGIN
            FOR r IN SELECT * FROM _s LOOP
                PERFORM df.await_instance(r.id);
                IF (df.result(r.id)::jsonb->'rows'->0->>'n')::int <> r.g THEN RAISE EXCEPTION '% %', r,
                    df.result(r.id); END IF;
                IF (SELECT count(*) FROM df.nodes WHERE instance_id = r.id) <> 1 THEN RAISE EXCEPTION 'nodes'; END IF;
            END LOOP;
        END $$;
    """)


def test_a_helper_before_the_start_in_one_block(stage: Stage) -> None:
    """The reference falsely refuses plain text there."""
    stage.run("""
        DO $$
        DECLARE i TEXT;
        BEGIN
            PERFORM df.setvar('blk', 'v');
            i := df.start('SELECT ''{blk}'' AS v' ~> 'SELECT 2', 'block');
        END $$;
    """)


def test_a_dangling_condition_is_taken_and_fails(stage: Stage) -> None:
    stage.ended("'SELECT true' ?> 'SELECT 1'", "failed")
