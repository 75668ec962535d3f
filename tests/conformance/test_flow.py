"""Conditionals, malformed envelopes and whole graphs (files 02, 09 and the small regression scripts)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stage import Stage, as_superuser

pytestmark = as_superuser


def value(stage: Stage, workflow: str) -> str:
    """The value v of the first row of a workflow that completes, as text."""
    return str(stage.row(workflow)["v"])


@pytest.mark.parametrize(
    ("condition", "truth"),
    [
        ("SELECT true", True), ("SELECT false", False), ("SELECT 1", True), ("SELECT 0", False),
        ("SELECT 0.1::numeric", True), ("SELECT NULL::boolean", False), ("SELECT 1 WHERE false", False),
        ("SELECT ''no''", False), ("SELECT ''off''", True),
        ("SELECT ''''", False), ("SELECT count(*) > 3 FROM generate_series(1, 4)", True),
    ],
)  # fmt: skip
def test_condition(stage: Stage, condition: str, truth: bool) -> None:
    expected = "yes" if truth else "no"
    assert value(stage, f"'{condition}' ?> 'SELECT ''yes'' AS v' !> 'SELECT ''no'' AS v'") == expected
    assert value(stage, f"df.if('{condition}', 'SELECT ''yes'' AS v', 'SELECT ''no'' AS v')") == expected


def test_the_other_branch_never_runs(stage: Stage) -> None:
    stage.run("""
        DROP TABLE IF EXISTS playground.taken; CREATE TABLE playground.taken (what text);
        CREATE TEMP TABLE _s AS SELECT df.start(
            'SELECT 5 > 3' ?> 'INSERT INTO playground.taken VALUES (''then'')' !>
                'INSERT INTO playground.taken VALUES (''else'')') AS id;
        SELECT df.await_instance(id) FROM _s;
        DO $$
        DECLARE n INT;
        BEGIN
            IF (SELECT string_agg(what, ',') FROM playground.taken) <> 'then' THEN RAISE EXCEPTION 'both ran'; END IF;
            SELECT count(*) INTO n FROM df.nodes, _s WHERE instance_id = _s.id AND status = 'pending'
                AND query LIKE '%else%';
            IF n <> 1 THEN RAISE EXCEPTION 'the other branch is not pending'; END IF;
            SELECT count(*) INTO n FROM _s, df.instance_nodes(_s.id) WHERE inferred_status = 'skipped'
                AND inferred_status_from_ancestor_id IS NOT NULL;
            IF n <> 1 THEN RAISE EXCEPTION '% skipped', n; END IF;
        END $$;
    """)


def test_if_rows(stage: Stage) -> None:
    some = "'SELECT 1 AS id, ''Ann'' AS name' |=> 'found'"
    none = "'SELECT 1 AS id, ''Ann'' AS name WHERE false' |=> 'found'"
    branches = "df.if_rows('found', 'SELECT $found.name AS v', 'SELECT ''nobody'' AS v')"
    assert value(stage, f"{some} ~> {branches}") == "Ann"
    assert value(stage, f"{none} ~> {branches}") == "nobody"


def test_if_rows_on_what_is_no_row_set(stage: Stage) -> None:
    shown = stage.run("""
        SELECT df.start('SELECT 1' ~> df.if_rows('missing', 'SELECT 1', 'SELECT 2')) AS a,
               df.start(('SELECT 1' & 'SELECT 2') |=> 'j' ~> df.if_rows('j', 'SELECT 1', 'SELECT 2')) AS b \\gset
        SELECT df.await_instance(:'a'), df.await_instance(:'b');
        SELECT output FROM df.instance_info(:'a');
        SELECT output FROM df.instance_info(:'b');
    """).splitlines()
    assert shown[0] == "failed|failed"
    assert "df.if_rows: result 'missing' not found" in shown[1]
    assert "is not a SQL result (missing row_count)" in shown[2]


def test_conditions_nest_and_follow(stage: Stage) -> None:
    nested = "'SELECT true' ?> ('SELECT false' ?> 'SELECT 1 AS v' !> 'SELECT 2 AS v') !> 'SELECT 3 AS v'"
    assert value(stage, nested) == "2"
    assert (
        value(stage, "'SELECT 5 AS n' |=> 'n' ~> ('SELECT $n > 3' ?> 'SELECT ''big'' AS v' !> 'SELECT ''small'' AS v')")
        == "big"
    )
    assert value(stage, f"({nested}) |=> 'r' ~> 'SELECT $r * 10 AS v'") == "20"


def test_a_bare_reference_is_judged_as_its_value(stage: Stage) -> None:
    assert value(stage, "'SELECT 0 AS n' |=> 'n' ~> ('$n' ?> 'SELECT 1 AS v' !> 'SELECT 2 AS v')") == "2"
    assert value(stage, "'SELECT true AS done' |=> 'b' ~> ('$b.done' ?> 'SELECT 1 AS v' !> 'SELECT 2 AS v')") == "1"


SQL_1, SQL_2, SQL_TRUE = ({"node_type": "SQL", "query": f"SELECT {what}"} for what in ("1", "2", "true"))
ARMS = {"left_node": SQL_1, "right_node": SQL_2}
MALFORMED = [
    ({"node_type": "IF", **ARMS, "condition_node": "abcd1234"}, "condition_node must be a Durofut JSON object"),
    ({"node_type": "LOOP", "left_node": SQL_1, "condition_node": 42}, "condition_node must be a Durofut JSON object"),
    ({"node_type": "JOIN", **ARMS, "extra_nodes": ["abcd1234"]}, "extra_nodes entries must be Durofut JSON objects"),
    ({"node_type": "IF", **ARMS, "query": '{"condition_node":"abcd1234"}'},
     "condition_node in IF must be a first-class Durofut field, not embedded in query"),
    ({"node_type": "IF", **ARMS, "query": "not json", "condition_node": SQL_TRUE},
     "query in IF must be valid JSON config"),
    ({"node_type": "IF", **ARMS, "query": "[1]", "condition_node": SQL_TRUE},
     "query in IF must be a JSON config object"),
    ({"node_type": "IF", **ARMS, "condition_node": {"node_type": "SQL", "query": 5}}, "condition_node"),
]  # fmt: skip


@pytest.mark.parametrize(("envelope", "expected"), MALFORMED)
def test_malformed_envelopes_are_refused_and_leave_nothing(
    stage: Stage, envelope: dict[str, Any], expected: str
) -> None:
    stage.run(f"""
        DO $do$
        DECLARE before INT; after INT;
        BEGIN
            SELECT count(*) INTO before FROM df.instances;
            BEGIN
                PERFORM df.start($e${json.dumps(envelope)}$e$, 'malformed');
                RAISE EXCEPTION 'TEST FAILED: it was taken';
            EXCEPTION WHEN OTHERS THEN
                IF SQLERRM LIKE 'TEST FAILED%' THEN RAISE; END IF;
                IF SQLERRM NOT LIKE '%{expected}%' THEN RAISE EXCEPTION 'TEST FAILED: %', SQLERRM; END IF;
            END;
            SELECT count(*) INTO after FROM df.instances;
            IF before <> after OR EXISTS (SELECT FROM df.instances WHERE label = 'malformed')
                THEN RAISE EXCEPTION 'rows are left'; END IF;
        END $do$;
    """)


def test_an_envelope_can_be_kept_and_started_again(stage: Stage) -> None:
    stage.run("""
        CREATE TEMP TABLE _e AS SELECT 'SELECT 1 AS a' |=> 'x' ~> 'SELECT $x + 1 AS b' AS e;
        DO $$ BEGIN
            IF (SELECT e FROM _e) IS DISTINCT FROM ('SELECT 1 AS a' |=> 'x'
                ~> 'SELECT $x + 1 AS b') THEN RAISE EXCEPTION 'not equal'; END IF;
        END $$;
        CREATE TEMP TABLE _s AS SELECT df.start(e) AS id FROM _e, generate_series(1, 3);
        DO $$
        DECLARE r RECORD;
        BEGIN
            FOR r IN SELECT id FROM _s LOOP
                IF df.await_instance(r.id) <> 'completed' OR df.result(r.id)::jsonb->'rows'->0->>'b' <> '2' THEN
                    RAISE EXCEPTION '%', r; END IF;
            END LOOP;
            IF (SELECT count(DISTINCT id) FROM _s) <> 3 THEN RAISE EXCEPTION 'ids'; END IF;
        END $$;
    """)


def test_a_hand_written_envelope(stage: Stage) -> None:
    first = {"node_type": "SQL", "query": "SELECT 1 AS a", "result_name": "x"}
    second = {"node_type": "SQL", "query": "SELECT $x AS v"}
    envelope = json.dumps({"comment": "mine", "node_type": "THEN", "left_node": first, "right_node": second})
    assert value(stage, f"'{envelope}'") == "1"


def test_two_hundred_steps(stage: Stage) -> None:
    stage.run("""
        DO $$
        DECLARE f TEXT := 'SELECT 1 AS n';
        BEGIN
            FOR k IN 2..200 LOOP f := df.seq(f, 'SELECT ' || k || ' AS n'); END LOOP;
            CREATE TEMP TABLE _s AS SELECT df.start(f, 'long') AS id;
        END $$;
        DO $$
        DECLARE s TEXT; n INT;
        BEGIN
            SELECT df.await_instance(id, 60) INTO s FROM _s;
            IF s <> 'completed' THEN RAISE EXCEPTION '%', s; END IF;
            SELECT count(*) INTO n FROM df.nodes, _s WHERE instance_id = _s.id;
            IF n <> 399 THEN RAISE EXCEPTION '% nodes', n; END IF;
            SELECT count(*) INTO n FROM df.nodes, _s WHERE instance_id = _s.id AND status <> 'completed';
            IF n <> 0 THEN RAISE EXCEPTION '% nodes are not completed', n; END IF;
            IF (SELECT df.result(id)::jsonb->'rows'->0->>'n' FROM _s) <> '200' THEN RAISE EXCEPTION 'result'; END IF;
        END $$;
    """)


def test_a_thousand_branches_can_be_started_and_seen(stage: Stage) -> None:
    stage.run("""
        DO $$
        DECLARE f TEXT; i TEXT; n INT;
        BEGIN
            SELECT '{"node_type":"JOIN","left_node":' || df.sql('SELECT 0') || ',"right_node":' || df.sql('SELECT 0')
                || ',"extra_nodes":[' || string_agg(df.sql('SELECT ' || g), ',') || ']}' INTO f
                    FROM generate_series(1, 999) g;
            i := df.start(f, 'wide');
            SELECT count(*) INTO n FROM df.nodes WHERE instance_id = i;
            IF n <> 1002 THEN RAISE EXCEPTION '% nodes', n; END IF;
            PERFORM df.cancel(i);
        END $$;
    """)


@pytest.mark.parametrize(
    "shape", ["df.seq(f, 'SELECT 1')", "df.seq('SELECT 1', f)", "df.if(f, 'SELECT 1', 'SELECT 0')"]
)
def test_deep_graphs_run(stage: Stage, shape: str) -> None:
    stage.run(f"""
        DO $$
        DECLARE f TEXT := 'SELECT 1';
        BEGIN
            FOR k IN 1..140 LOOP f := {shape}; END LOOP;
            CREATE TEMP TABLE _s AS SELECT df.start(f) AS id;
        END $$;
        DO $$ BEGIN IF (SELECT df.await_instance(id, 60) FROM _s) <> 'completed'
            THEN RAISE EXCEPTION 'not completed'; END IF; END $$;
    """)


def test_a_failure_skips_what_follows_and_reaches_the_instance(stage: Stage) -> None:
    stage.run("""
        DROP TABLE IF EXISTS playground.after; CREATE TABLE playground.after (n int);
        CREATE TEMP TABLE _s AS SELECT df.start('SELECT 1' ~> 'SELECT * FROM no_such_table'
            ~> 'INSERT INTO playground.after VALUES (1)') AS id;
        DO $$
        DECLARE t TEXT;
        BEGIN
            IF (SELECT df.await_instance(id) FROM _s) <> 'failed' THEN RAISE EXCEPTION 'not failed'; END IF;
            IF EXISTS (SELECT FROM playground.after) THEN RAISE EXCEPTION 'it went on'; END IF;
            SELECT n.result #>> '{}' INTO t FROM df.nodes n, _s WHERE n.instance_id = _s.id AND n.status = 'failed'
                AND n.node_type = 'SQL';
            IF t NOT LIKE 'SQL execution failed: %relation "no_such_table" does not exist%'
                THEN RAISE EXCEPTION 'words %', t; END IF;
        END $$;
    """)


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SELECT 1; SELECT 2", "cannot insert multiple commands into a prepared statement"),
        ("COPY (SELECT 1) TO STDOUT", "COPY"),
        ("not sql at all", "syntax error"),
    ],
)  # fmt: skip
def test_what_a_step_cannot_be(stage: Stage, statement: str, expected: str) -> None:
    shown = stage.run(f"""
        SELECT df.start(df.sql('{statement}')) AS i \\gset
        SELECT df.await_instance(:'i');
        SELECT status, output FROM df.instance_info(:'i');
    """)
    assert "failed" in shown
    assert expected in shown


def test_nothing_carries_over_between_steps(stage: Stage) -> None:
    shown = stage.run("""
        SELECT df.start('CREATE TEMP TABLE here AS SELECT 1' ~> 'SELECT set_config(''my.x'', ''1'', false)'
            ~> 'SELECT pg_advisory_lock(4711)'
                        ~> 'SELECT to_regclass(''here'') IS NULL
                            AND coalesce(current_setting(''my.x'', true), '''') = ''''
                            AND NOT EXISTS (SELECT FROM pg_locks WHERE locktype = ''advisory''
                                AND objid = 4711) AS v') AS i \\gset
        SELECT df.await_instance(:'i');
        SELECT df.result(:'i')::jsonb->'rows'->0->>'v';
    """)
    assert shown.splitlines() == ["completed", "true"]


def test_statements_that_cannot_stand_in_a_transaction(stage: Stage) -> None:
    stage.run("""
        DROP TABLE IF EXISTS playground.vac; CREATE TABLE playground.vac (n int);
        CREATE OR REPLACE PROCEDURE playground.commits() LANGUAGE plpgsql AS $p$
            BEGIN INSERT INTO playground.vac VALUES (1); COMMIT; INSERT INTO playground.vac VALUES (2); COMMIT;
            END $p$;
        CREATE TEMP TABLE _s AS SELECT df.start('VACUUM playground.vac' ~> 'CALL playground.commits()'
            ~> 'CREATE INDEX CONCURRENTLY ON playground.vac (n)' ~> 'SELECT count(*) AS n FROM playground.vac') AS id;
        DO $$
        DECLARE s TEXT;
        BEGIN
            FOR k IN 1..600 LOOP  -- CREATE INDEX CONCURRENTLY waits for snapshots, and await_instance holds one
                s := (SELECT df.status(id) FROM _s);
                EXIT WHEN s NOT IN ('pending', 'running');
                COMMIT;
                PERFORM pg_sleep(0.05);
                COMMIT;
            END LOOP;
            IF s <> 'completed' THEN RAISE EXCEPTION 'not completed: %', (SELECT output FROM _s,
                df.instance_info(id)); END IF;
            IF (SELECT df.result(id)::jsonb->'rows'->0->>'n' FROM _s) <> '2' THEN RAISE EXCEPTION 'n'; END IF;
        END $$;
    """)


def test_a_step_may_start_workflows(stage: Stage) -> None:
    stage.run("""
        CREATE TEMP TABLE _s AS SELECT df.start('SELECT df.start(''SELECT 5 AS v'', ''child'') AS id') AS id;
        DO $$
        DECLARE child TEXT;
        BEGIN
            IF (SELECT df.await_instance(id) FROM _s) <> 'completed' THEN RAISE EXCEPTION 'parent'; END IF;
            SELECT df.result(id)::jsonb->'rows'->0->>'id' INTO child FROM _s;
            IF df.await_instance(child) <> 'completed'
                OR df.result(child)::jsonb->'rows'->0->>'v' <> '5' THEN RAISE EXCEPTION 'child'; END IF;
        END $$;
    """)
