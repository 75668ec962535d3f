"""Loops and breaks (6.5; files 03, 22_break, 55_nonroot to 65)."""

from __future__ import annotations

import itertools
import re

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


LOG = "INSERT INTO playground.log (what) VALUES ('{}')"
BREAK_AFTER = "('SELECT count(*) >= {} FROM playground.log WHERE what = ''{}''' ?> {} !> 'SELECT 0')"


def log(what: str) -> str:
    """A step that writes a line, as an SQL literal."""
    return "$q$" + LOG.format(what) + "$q$"


def break_after(count: int, what: str, value: str | None = None) -> str:
    """Break with a value once there are so many lines."""
    return BREAK_AFTER.format(count, what, "df.break()" if value is None else f"df.break('{value}')")


def run(stage: Stage, workflow: str, status: str = "completed") -> tuple[str, str, str]:
    """Run a workflow to its end; its result (or what went wrong), the lines of the log in order, its id."""
    instance = stage.ended(workflow, status)
    shown = stage.run(f"""
        SELECT coalesce(df.result('{instance}'), (SELECT output FROM df.instance_info('{instance}')));
        SELECT coalesce(string_agg(what, ' ' ORDER BY n), '-') FROM playground.log;
    """).splitlines()
    return shown[0], shown[1], instance


def statuses(stage: Stage, instance_id: str, column: str = "status") -> dict[str, str]:
    """What the nodes of an instance that are composite say: type to status."""
    rows = stage.run(f"SELECT node_type, {column} FROM df.instance_nodes('{instance_id}')").splitlines()
    return dict(row.split("|", 1) for row in rows)


def test_break_after_some_iterations(stage: Stage) -> None:
    result, lines, _ = run(stage, f"@> ({log('x')} ~> {break_after(3, 'x')})")
    assert (result, lines) == ("null", "x x x")


def test_function_form_and_prefix_form_are_the_same(stage: Stage) -> None:
    body = f"{log('x')} ~> {break_after(2, 'x')}"
    assert stage.run(f"SELECT df.loop({body}) = (@> ({body}));") == "t"
    assert run(stage, f"df.loop({body})")[1] == "x x"


def test_do_while(stage: Stage) -> None:
    """The condition is judged after each body; the result is the last body's."""
    result, lines, _ = run(
        stage,
        f"df.loop({log('x')} ~> 'SELECT count(*) AS c FROM playground.log', 'SELECT count(*) < 3 FROM playground.log')",
    )
    assert (result, lines) == ('{"rows": [{"c": 3}], "row_count": 1}', "x x x")
    assert run(stage, f"df.loop({log('y')}, 'SELECT false')")[1].endswith("x x x y")


def test_floor_of_one_second(stage: Stage) -> None:
    """Without a condition an iteration takes a second at least; the instance is running meanwhile."""
    instance = stage.run(f"SELECT df.start(@> ({log('tick')}), 'ticks')")
    stage.run(f"""
        DO $$ BEGIN
            FOR k IN 1..600 LOOP
                EXIT WHEN (SELECT count(*) >= 3 FROM playground.log);
                COMMIT; PERFORM pg_sleep(0.05);
            END LOOP;
        END $$;
        DO $$ BEGIN
            IF df.status('{instance}') <> 'running' THEN RAISE EXCEPTION 'status %', df.status('{instance}'); END IF;
            IF (SELECT status FROM df.nodes WHERE instance_id = '{instance}' AND node_type = 'LOOP') <> 'running' THEN
                RAISE EXCEPTION 'node'; END IF;
            IF df.cancel('{instance}', 'enough') <> 'Instance {instance} cancelled: enough' THEN
                RAISE EXCEPTION 'cancel'; END IF;
            IF df.status('{instance}') <> 'cancelled' THEN RAISE EXCEPTION 'not cancelled'; END IF;
        END $$;
        SELECT 1/(df.await_instance('{instance}') = 'cancelled')::int;
    """)
    stage.nothing_left(instance)
    times = [float(at) for at in stage.run("SELECT extract(epoch FROM at) FROM playground.log ORDER BY n").splitlines()]
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert min(pauses) > 0.95
    assert min(pauses) < 1.5


@pytest.mark.parametrize(
    ("value", "expected"),
    [("'done'", '"done"'), ("'42'", "42"), ("""'{"b": 1, "a": [true]}'""", '{"a": [true], "b": 1}'), ("", "null"),
     ("NULL", "null"), ("'null'", "null"), ("'it''s'", '"it\'s"')],
)  # fmt: skip
def test_break_value(stage: Stage, value: str, expected: str) -> None:
    assert run(stage, f"@> ({log('x')} ~> df.break({value}))")[0] == expected


def test_break_value_is_substituted(stage: Stage) -> None:
    """As the guide of the reference says, and its source does not do."""
    stage.run("SELECT df.setvar('who', 'Ann')")
    assert run(stage, "@> ('SELECT 7 AS n' |=> 'r' ~> df.break('$r'))")[0] == "7"
    assert run(stage, "@> ('SELECT 7 AS n' |=> 'r' ~> df.break('{who} got $r.n'))")[0] == '"Ann got 7"'


def test_a_named_loop_result_is_a_json_literal(stage: Stage) -> None:
    loop = f"""(@> ({log("x")} ~> df.break('{{"count": 5}}'))) |=> 'r'"""
    assert (
        run(stage, loop + " ~> 'SELECT ($r::jsonb->>''count'')::int + 1 AS v'")[0]
        == '{"rows": [{"v": 6}], "row_count": 1}'
    )


def test_break_through_join_race_and_if(stage: Stage) -> None:
    for inner in (
        "('SELECT 1' & df.break('nested-done'))",
        "(df.break('nested-done') & 'SELECT 1')",
        "(df.break('nested-done') | df.sleep(60))",
        "(df.sleep(60) | ('SELECT 1' ~> df.break('nested-done')))",
        "('SELECT true' ?> df.break('nested-done') !> 'SELECT 1')",
        "('SELECT 1' & ('SELECT true' ?> (df.break('nested-done') | df.sleep(60)) !> 'SELECT 1'))",
    ):
        result, lines, _ = run(stage, f"@> ({log('x')} ~> {inner} ~> {log('never')})")
        assert result == '"nested-done"', inner
        assert "never" not in lines


def test_break_in_a_losing_branch_does_not_count(stage: Stage) -> None:
    body = f"{log('x')} ~> ('SELECT 1' | (df.sleep(60) ~> df.break('lost'))) ~> {break_after(2, 'x', 'ok')}"
    result, lines, _ = run(stage, f"@> ({body})")
    assert (result, lines) == ('"ok"', "x x")


def test_break_outside_of_a_loop_fails(stage: Stage) -> None:
    for workflow in (
        "df.break()",
        "'SELECT 1' ~> df.break('x')",
        "'SELECT 1' & df.break('x')",
        "'SELECT true' ?> df.break() !> 'SELECT 1'",
    ):
        assert "df.break() was called outside of a loop" in run(stage, workflow, "failed")[0]


@pytest.mark.parametrize("prefix", ["", "'SELECT 0' ~> "])
def test_break_in_a_while_condition(stage: Stage, prefix: str) -> None:
    condition = "'SELECT count(*) >= 2 FROM playground.log' ?> df.break('from-condition') !> 'SELECT true'"
    result, lines, _ = run(stage, f"{prefix}df.loop({log('x')}, {condition})")
    assert (result, lines) == ('"from-condition"', "x x")


def test_prefix_once_body_n_times_suffix_once(stage: Stage) -> None:
    workflow = f"""
        {log("before")} ~> 'SELECT 10 AS n' |=> 'start'
        ~> (@> ({log("body")} ~> 'SELECT $start + count(*) AS n FROM playground.log' |=> 'inner' ~> {
        break_after(3, "body", "out")
    }))
        ~> {log("after")} ~> 'SELECT $inner AS i, $start AS s'
    """
    result, lines, instance = run(stage, workflow)
    assert lines == "before body body body after"
    assert result == '{"rows": [{"i": 14, "s": 10}], "row_count": 1}'
    shown = stage.run(f"""
        SELECT string_agg(DISTINCT status || ' ' || inferred_status, ',') FROM df.instance_nodes('{instance}')
            WHERE inferred_status NOT IN ('skipped');
        SELECT count(*) FROM df.instance_nodes('{instance}') WHERE inferred_status IN ('pending', 'running');
        SELECT current_execution_id FROM df.instance_info('{instance}');
    """)
    assert shown.splitlines() == ["completed completed", "0", "1"]


def test_iterations_of_a_root_loop_are_executions(stage: Stage) -> None:
    _, lines, instance = run(stage, f"@> ({log('x')} ~> {break_after(3, 'x')})")
    assert lines == "x x x"
    shown = stage.run(f"""
        SELECT current_execution_id FROM df.instance_info('{instance}');
        SELECT string_agg(execution_id || ' ' || status, ',' ORDER BY execution_id)
            FROM df.instance_executions('{instance}', 10);
    """)
    assert shown.splitlines() == ["3", "1 ContinuedAsNew,2 ContinuedAsNew,3 Completed"]


def test_names_are_kept_from_one_iteration_to_the_next(stage: Stage) -> None:
    """In a root loop too, which the reference forgets."""
    choice = "('SELECT count(*) = 1 FROM playground.log' ?> ('SELECT 5 AS n' |=> 'kept') !> 'SELECT $kept AS n')"
    body = f"{log('x')} ~> {choice} |=> 'last'"
    for prefix in ("", "'SELECT 0' ~> "):
        stage.run("TRUNCATE playground.log")
        result, _, _ = run(
            stage, f"{prefix}df.loop({body} ~> 'SELECT $last AS n', 'SELECT count(*) % 2 = 1 FROM playground.log')"
        )
        assert result == '{"rows": [{"n": 5}], "row_count": 1}'


def test_join_and_race_inside_of_a_loop(stage: Stage) -> None:
    body = f"({log('a')} & {log('b')}) ~> ({log('fast')} | (df.sleep(60) ~> {log('slow')})) ~> 'SELECT 1'"
    for prefix in ("", "'SELECT 0' ~> "):
        stage.run("TRUNCATE playground.log")
        _, lines, instance = run(
            stage, f"{prefix}df.loop({body}, 'SELECT count(*) < 2 FROM playground.log WHERE what = ''fast''')"
        )
        assert sorted(lines.split()) == ["a", "a", "b", "b", "fast", "fast"]
        assert statuses(stage, instance)["LOOP"] == "completed"


def test_branches_begin_anew_in_every_iteration(stage: Stage) -> None:
    join = f"({log('l')} |=> 'x' & ('SELECT count(*) AS c FROM playground.log' |=> 'count'))"
    body = f"{join} ~> 'SELECT $count AS c' ~> {break_after(3, 'l')}"
    assert run(stage, f"@> ({body})")[1] == "l l l"


def test_loops_as_branches(stage: Stage) -> None:
    """Each branch that is a loop is one scope, not two: exactly three scopes for race(loop, x)."""
    loop = f"(@> ({log('x')} ~> {break_after(2, 'x', 'left')}))"
    result, lines, instance = run(stage, f"{loop} | df.sleep(60)")
    assert (result, lines) == ('"left"', "x x")
    stamps = stage.run(
        f"SELECT DISTINCT status_details->>'execution_id' FROM df.nodes WHERE instance_id = '{instance}'"
    ).splitlines()
    scopes = {stamp.rpartition("::")[0] for stamp in stamps}
    assert len(scopes) == 3
    assert all(re.fullmatch(rf"{instance}(::\d+::[0-9a-f]{{8}})*::\d+", stamp) for stamp in stamps)
    assert {stamp.count("::") for stamp in stamps} == {1, 3}
    loops = stage.run(
        f"SELECT status_details->>'execution_id' FROM df.nodes WHERE instance_id = '{instance}' AND node_type = 'LOOP'"
    )
    assert re.fullmatch(rf"{instance}::1::[0-9a-f]{{8}}::2", loops)


def test_two_loops_in_a_join(stage: Stage) -> None:
    left = f"(@> ({log('l')} ~> {break_after(2, 'l', '1')}))"
    right = f"df.loop({log('r')}, 'SELECT count(*) < 3 FROM playground.log WHERE what = ''r''')"
    result, lines, instance = run(stage, f"{left} & {right}")
    assert result.startswith("[1, ")
    assert sorted(lines.split()) == ["l", "l", "r", "r", "r"]
    assert (
        stage.run(
            f"SELECT DISTINCT status FROM df.nodes WHERE instance_id = '{instance}' AND node_type IN ('LOOP', 'JOIN')"
        )
        == "completed"
    )


def test_names_of_branches_and_variables_in_two_iterations(stage: Stage) -> None:
    stage.run("SELECT df.setvar('v', 'V')")
    body = """('SELECT ''a'' || count(*) AS t FROM playground.log' |=> 'l' & ('SELECT ''{v}'' AS t' |=> 'r'))
               ~> 'INSERT INTO playground.log (what) VALUES ($l || $r)'"""
    for prefix in ("", "'SELECT 0' ~> "):
        stage.run("TRUNCATE playground.log")
        assert run(stage, f"{prefix}df.loop({body}, 'SELECT count(*) < 2 FROM playground.log')")[1] == "a0V a1V"


def test_nested_loops(stage: Stage) -> None:
    """1.1 1.2 2.1 2.2 3.1 3.2; the outer name is seen inside; nothing is pending afterwards."""
    stage.run("DROP TABLE IF EXISTS playground.c; CREATE TABLE playground.c AS SELECT 0 AS o, 0 AS i")
    workflow = """
        df.loop(
            'UPDATE playground.c SET o = o + 1, i = 0 RETURNING o' |=> 'outer'
            ~> df.loop('UPDATE playground.c SET i = i + 1 RETURNING i' |=> 'inner'
                       ~> 'INSERT INTO playground.log (what) VALUES ($outer || ''.'' || $inner)',
                       'SELECT i < 2 FROM playground.c'),
            'SELECT o < 3 FROM playground.c')
    """
    for prefix in ("", "'SELECT 0' ~> "):
        stage.run("TRUNCATE playground.log; UPDATE playground.c SET o = 0")
        _, lines, instance = run(stage, prefix + workflow)
        assert lines == "1.1 1.2 2.1 2.2 3.1 3.2"
        assert stage.run(f"SELECT DISTINCT inferred_status FROM df.instance_nodes('{instance}')") == "completed"
        assert (
            stage.run(f"SELECT count(*) FROM df.nodes WHERE instance_id = '{instance}' AND status <> 'completed'")
            == "0"
        )


def test_break_ends_the_innermost_loop_only(stage: Stage) -> None:
    inner = f"(@> ({log('in')} ~> df.break('inner')))"
    result, lines, _ = run(
        stage, f"df.loop({log('out')} ~> {inner}, 'SELECT count(*) < 2 FROM playground.log WHERE what = ''out''')"
    )
    assert (result, lines) == ('"inner"', "out in out in")


def test_a_losing_loop_is_failed_with_its_stamp(stage: Stage) -> None:
    """The instance completes; the loop's node is failed, stamped with the scope of the branch."""
    _, _, instance = run(stage, f"(@> ({log('x')} ~> df.sleep(60))) | (df.sleep(1) ~> 'SELECT 1 AS won')")
    shown = stage.run(f"""
        SELECT n.status, n.inferred_status, n.result LIKE '%Loop branch cancelled after losing RACE%',
            n.status_details::jsonb->>'execution_id'
        FROM df.instance_nodes('{instance}') n WHERE node_type = 'LOOP';
        SELECT df.status('{instance}'), df.explain('{instance}') ~ 'LOOP.*(running|pending)';
        SELECT count(*) FROM df.instance_nodes('{instance}') WHERE inferred_status = 'running';
    """).splitlines()
    status, inferred, words, stamp = shown[0].split("|")
    assert (status, inferred, words) == ("failed", "failed", "t")
    assert re.fullmatch(rf"{instance}::1::[0-9a-f]{{8}}::1", stamp)
    assert shown[1:] == ["completed|f", "0"]


def test_a_failing_loop_branch_fails_the_instance_and_its_sibling_finishes(stage: Stage) -> None:
    loop = f"(@> ({log('x')} ~> 'SELECT 1/0'))"
    said, lines, instance = run(stage, f"{loop} & (df.sleep(1) ~> {log('sibling')})", "failed")
    assert "JOIN branch 1 failed: " in said
    assert "division by zero" in said
    assert lines == "x sibling"
    assert (
        stage.run(f"SELECT status, inferred_status FROM df.instance_nodes('{instance}') WHERE node_type = 'LOOP'")
        == "failed|failed"
    )


def test_a_failing_loop_in_a_sequence(stage: Stage) -> None:
    said, lines, instance = run(stage, f"{log('before')} ~> (@> ('SELECT 1/0')) ~> {log('after')}", "failed")
    assert "Loop sub-orchestration failed: " in said
    assert "division by zero" in said
    assert lines == "before"
    assert stage.run(f"SELECT status FROM df.nodes WHERE instance_id = '{instance}' AND node_type = 'LOOP'") == "failed"


def test_a_failing_root_loop(stage: Stage) -> None:
    said, _, instance = run(
        stage, f"@> ({log('x')} ~> ('SELECT count(*) < 2 FROM playground.log' ?> 'SELECT 1' !> 'SELECT 1/0'))", "failed"
    )
    assert "division by zero" in said
    assert stage.run(f"SELECT current_execution_id FROM df.instance_info('{instance}')") == "2"


def test_the_role_is_removed_in_the_middle_of_a_loop(stage: Stage) -> None:
    """The loop's node ends failed, not pending (file 61)."""
    for workflow in (
        f"'SELECT 1' ~> (@> ({log('x')} ~> df.sleep(1)))",
        f"(@> ({log('x')} ~> df.sleep(1))) & 'SELECT 1'",
    ):
        stage.make_role("df_loop_user")
        stage.run("TRUNCATE playground.log; GRANT INSERT ON playground.log TO df_loop_user;")
        instance = stage.run(f"SELECT df.start({workflow}, 'goes')", "df_loop_user")
        stage.run("""
            DO $$ BEGIN
                FOR k IN 1..600 LOOP EXIT WHEN EXISTS (SELECT FROM playground.log); COMMIT; PERFORM pg_sleep(0.05);
                    END LOOP;
            END $$;
        """)
        stage.drop_role("df_loop_user")
        stage.run(f"SELECT 1/(df.await_instance('{instance}', 60) = 'failed')::int", "")
        shown = stage.run(
            f"SELECT status, inferred_status FROM df.instance_nodes('{instance}') WHERE node_type = 'LOOP'", ""
        )
        assert shown == "failed|failed"


def test_an_untaken_arm_in_a_loop_is_skipped(stage: Stage) -> None:
    """File 53: after a finished loop the arm is skipped, the loop completed, nothing running."""
    _, _, instance = run(
        stage, f"'SELECT 0' ~> (@> ({log('x')} ~> ('SELECT true' ?> df.break('ok') !> 'SELECT 999'))) ~> 'SELECT 1'"
    )
    shown = stage.run(f"""
        SELECT inferred_status FROM df.instance_nodes('{instance}') WHERE query = 'SELECT 999';
        SELECT inferred_status FROM df.instance_nodes('{instance}') WHERE node_type = 'LOOP';
        SELECT count(*) FROM df.instance_nodes('{instance}') WHERE inferred_status = 'running';
    """)
    assert shown.splitlines() == ["skipped", "completed", "0"]
