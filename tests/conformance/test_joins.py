"""JOIN and RACE: who runs, who is awaited, who is stopped (6.4; files 01, 10, 20, 23, 63, 64)."""

from __future__ import annotations

import pytest

from stage import Stage, as_superuser

pytestmark = as_superuser


@pytest.fixture(autouse=True)
def table(stage: Stage) -> None:
    """A log that every test begins with empty."""
    stage.run("""
        DROP TABLE IF EXISTS playground.log;
        CREATE TABLE playground.log (n int GENERATED ALWAYS AS IDENTITY, what text,
            at timestamptz DEFAULT clock_timestamp());
    """)


def log(what: str) -> str:
    """A step that writes a line, as an SQL literal."""
    return f"$q$INSERT INTO playground.log (what) VALUES ('{what}')$q$"


def run(stage: Stage, workflow: str, status: str = "completed") -> tuple[str, str, str]:
    """Run a workflow to its end; its output, the lines of the log in order, its id."""
    instance = stage.ended(workflow, status)
    lines = stage.run("SELECT coalesce(string_agg(what, ' ' ORDER BY n), '-') FROM playground.log")
    return stage.output(instance), lines, instance


def test_branches_run_at_the_same_time(stage: Stage) -> None:
    stage.run(f"""
        CREATE TEMP TABLE _s AS SELECT df.start(df.join3('SELECT pg_sleep(1)', 'SELECT pg_sleep(1)',
            'SELECT pg_sleep(1)') ~> {log("x")}) AS id,
            clock_timestamp() AS began;
        DO $$ BEGIN
            IF (SELECT df.await_instance(id) FROM _s) <> 'completed' THEN RAISE EXCEPTION 'not completed'; END IF;
            IF (SELECT at - began FROM playground.log, _s) > '2.9 s' THEN RAISE EXCEPTION 'one after the other';
            END IF;
        END $$;
    """)


def test_more_branches_than_slots(stage: Stage) -> None:
    branches = " & ".join(f"('SELECT pg_sleep(0.05)' ~> {log(str(n))})" for n in range(12))
    _, lines, _ = run(stage, branches)
    assert sorted(lines.split(), key=int) == [str(n) for n in range(12)]


def test_all_branches_are_awaited_when_one_fails(stage: Stage) -> None:
    said, lines, instance = run(stage, f"'SELECT 1/0' & (df.sleep(1) ~> {log('sibling')})", "failed")
    assert said.startswith("JOIN branch 1 failed: ")
    assert "division by zero" in said
    assert lines == "sibling"
    shown = stage.run(f"""
        SELECT string_agg(status, ',' ORDER BY status) FROM df.nodes WHERE instance_id = '{instance}'
            AND node_type = 'SQL';
        SELECT result #>> '{{}}' LIKE 'JOIN branch 1 failed: %division by zero%' FROM df.nodes
            WHERE instance_id = '{instance}' AND node_type = 'JOIN';
    """)
    assert shown.splitlines() == ["completed,failed", "t"]


def test_the_first_failure_in_branch_order_counts(stage: Stage) -> None:
    said, _, _ = run(stage, "(df.sleep(1) ~> 'SELECT 1/0') & 'SELECT nonsense'", "failed")
    assert said.startswith("JOIN branch 1 failed: ")
    said, _, _ = run(stage, "df.join3('SELECT 1', 'SELECT 2', 'SELECT nonsense')", "failed")
    assert said.startswith("JOIN branch 3 failed: ")
    assert 'column "nonsense" does not exist' in said


def test_the_fast_branch_of_a_race_wins_and_the_slow_one_stops(stage: Stage) -> None:
    slow = f"(df.sleep(5) ~> {log('slow')})"
    for race in (f"{log('fast')} | {slow}", f"{slow} | {log('fast')}"):
        stage.run("TRUNCATE playground.log")
        instance = stage.run(f"SELECT df.start(({race}) ~> df.wait_for_signal('end'))")
        stage.run(f"""
            DO $$ BEGIN
                FOR k IN 1..600 LOOP
                    EXIT WHEN EXISTS (SELECT FROM df.nodes WHERE instance_id = '{instance}' AND node_type = 'SIGNAL'
                                      AND status = 'running');
                    COMMIT; PERFORM pg_sleep(0.02);
                END LOOP;
            END $$;
        """)
        stage.nothing_left(instance)  # the sleep of the slow branch is not waited for any more
        stage.run(
            f"SELECT df.signal('{instance}', 'end'); SELECT 1/(df.await_instance('{instance}') = 'completed')::int"
        )
        assert stage.run("SELECT string_agg(what, ' ') FROM playground.log") == "fast"
        shown = stage.run(f"""
            SELECT DISTINCT inferred_status FROM df.instance_nodes('{instance}')
                WHERE query LIKE '%slow%' OR query = '5';
            SELECT inferred_status FROM df.instance_nodes('{instance}') WHERE node_type = 'RACE';
        """)
        assert shown.splitlines() == ["skipped", "completed"]


def test_a_race_is_decided_by_a_failure_too(stage: Stage) -> None:
    said, _, _ = run(stage, "'SELECT 1/0' | df.sleep(60)", "failed")
    assert said.startswith("RACE left branch failed: ")
    assert "division by zero" in said
    said, _, _ = run(stage, "df.sleep(60) | 'SELECT 1/0'", "failed")
    assert said.startswith("RACE right branch failed: ")


def test_a_running_statement_of_the_loser_is_stopped(stage: Stage) -> None:
    """At once, and nothing of it stays; the reference gives it ten seconds."""
    stage.run("""
        CREATE TEMP TABLE _s AS SELECT df.start((df.sleep(1) ~> 'SELECT ''won'' AS v')
            | 'WITH w AS (INSERT INTO playground.log (what) VALUES (''lost'') RETURNING n)
               SELECT pg_sleep(8), n FROM w') AS id;
        DO $$
        BEGIN
            IF (SELECT df.await_instance(id) FROM _s) <> 'completed' THEN RAISE EXCEPTION 'not completed'; END IF;
            IF (SELECT df.result(id)::jsonb->'rows'->0->>'v' FROM _s) <> 'won' THEN RAISE EXCEPTION 'result'; END IF;
        END $$;
        DO $$
        BEGIN
            FOR k IN 1..600 LOOP
                EXIT WHEN NOT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE '%pg_sleep(8)%'
                                      AND state = 'active' AND pid <> pg_backend_pid());
                PERFORM pg_sleep(0.01); COMMIT;
            END LOOP;
            IF EXISTS (SELECT FROM playground.log) THEN RAISE EXCEPTION 'it stayed'; END IF;
        END $$;
    """)


def test_a_timeout_is_a_race_with_a_sleep(stage: Stage) -> None:
    output, _, _ = run(
        stage, "('SELECT pg_sleep(60)' ~> 'SELECT ''done'' AS v') | (df.sleep(1) ~> 'SELECT ''late'' AS v')"
    )
    assert output == '{"rows":[{"v":"late"}],"row_count":1}'


def test_joins_and_races_nest(stage: Stage) -> None:
    race = f"((df.sleep(60) ~> {log('never')}) | 'SELECT 3 AS c')"
    output, _, _ = run(stage, f"('SELECT 1 AS a' & ({race} & 'SELECT 2 AS b')) | df.sleep(60)")
    assert (
        output
        == '[{"rows":[{"a":1}],"row_count":1},[{"rows":[{"c":3}],"row_count":1},{"rows":[{"b":2}],"row_count":1}]]'
    )


def test_extra_branches_by_hand(stage: Stage) -> None:
    branch = '{{"node_type":"SQL","query":"SELECT {} AS n"}}'
    five = [branch.format(n) for n in range(1, 6)]
    envelope = (
        f'{{"node_type":"JOIN","left_node":{five[0]},"right_node":{five[1]},"extra_nodes":[{",".join(five[2:])}]}}'
    )
    output, _, instance = run(stage, f"'{envelope}'")
    assert output == "[" + ",".join(f'{{"rows":[{{"n":{n}}}],"row_count":1}}' for n in range(1, 6)) + "]"
    assert (
        stage.run(f"""
        SELECT count(*) FROM df.nodes j, jsonb_array_elements_text(j.query::jsonb->'extra_nodes') e, df.nodes c
        WHERE j.instance_id = '{instance}' AND j.node_type = 'JOIN' AND c.instance_id = j.instance_id AND c.id = e
    """)
        == "3"
    )


def test_five_workflows_at_once(stage: Stage) -> None:
    """File 10."""
    stage.run("""
        CREATE TEMP TABLE _s AS SELECT df.start('SELECT pg_sleep(0.5)'
            ~> ('SELECT ' || g || ' AS n'), 'wf' || g) AS id
            FROM generate_series(1, 5) g;
        DO $$
        DECLARE r RECORD;
        BEGIN
            FOR r IN SELECT id FROM _s LOOP
                IF df.await_instance(r.id, 60) <> 'completed' THEN RAISE EXCEPTION '% is not completed', r.id; END IF;
            END LOOP;
        END $$;
    """)
