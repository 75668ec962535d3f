"""Names, variables and what becomes of them in a step's text (5; files 04, 19, 20, 55_nonroot, 59)."""

from __future__ import annotations

import json

import pytest

from stage import Stage, as_superuser

pytestmark = as_superuser


def error(stage: Stage, workflow: str) -> str:
    """What a workflow that fails says of it, in the node's result and in the instance's output alike."""
    instance = stage.ended(workflow, "failed")
    said = stage.run(f"SELECT result::text FROM df.nodes WHERE instance_id = '{instance}'"
                     " AND status = 'failed' AND node_type <> 'THEN' LIMIT 1")  # fmt: skip
    assert json.loads(said) in stage.output(instance)
    return stage.output(instance)


def test_a_named_scalar(stage: Stage) -> None:
    assert stage.row("'SELECT 5 AS n' |=> 'x' ~> 'SELECT $x + 1 AS y, $x * 2 AS z'") == {"y": 6, "z": 10}
    assert stage.row("""'SELECT ''it''''s'' AS s' |=> 'x' ~> 'SELECT $x AS y, $x || ''!'' AS z'""") == {
        "y": "it's",
        "z": "it's!",
    }
    assert stage.row("df.as('SELECT true AS b', 'x') ~> 'SELECT $x AS y, NOT $x AS z'") == {"y": True, "z": False}


def test_types_of_substituted_values(stage: Stage) -> None:
    got = stage.row("""
        $q$SELECT 12.50::numeric AS num, '2024-06-15'::date AS d, '{"a": 1}'::jsonb AS j, -5 AS neg,
            1.5::float8 AS f$q$ |=> 'x'
        ~> $q$SELECT $x.num::numeric + 1 AS num, $x.d::date + 1 AS d, ($x.j::jsonb->>'a')::int AS j, $x.neg AS neg,
                     $x.neg::text AS neg_text, $x.f * 2 AS f$q$
    """)
    assert got == {"num": "13.50", "d": "2024-06-16", "j": 1, "neg": -5, "neg_text": "-5", "f": "3.0"}


def test_variables_in_text_and_in_the_place_of_a_table(stage: Stage) -> None:
    before = """
        DROP TABLE IF EXISTS playground.orders; CREATE TABLE playground.orders AS SELECT 7 AS id;
        SELECT df.clearvars(); SELECT df.setvar('tbl', 'playground.orders'); SELECT df.setvar('who', 'Ann');
        SELECT df.setvar('n', '3');
    """
    workflow = (
        """'SELECT id, ''{who}'' AS who, {n} + 1 AS n, ''{unknown}'' AS u, ''{sys_label}'' AS label FROM {tbl}'"""
    )
    found = stage.row(workflow, before=before)
    assert found == {"id": 7, "who": "Ann", "n": 4, "u": "{unknown}", "label": "my-label"}


def test_system_variables(stage: Stage) -> None:
    stage.run("""
        CREATE TEMP TABLE _s AS SELECT df.start('SELECT ''{sys_instance_id}'' AS id, ''{sys_label}'' AS label',
            'lab') AS a,
                                       df.start('SELECT ''{sys_label}'' AS label') AS b;
        SELECT df.await_instance(a), df.await_instance(b) FROM _s;
        DO $$
        BEGIN
            IF (SELECT df.result(a)::jsonb->'rows'->0 FROM _s) <> (SELECT jsonb_build_object('id', a, 'label',
                'lab') FROM _s) THEN
                RAISE EXCEPTION 'a';
            END IF;
            IF (SELECT df.result(b)::jsonb->'rows'->0->>'label' FROM _s) <> '' THEN RAISE EXCEPTION 'b'; END IF;
        END $$;
    """)


def test_variables_are_captured_at_the_start(stage: Stage) -> None:
    """Changing one afterwards changes nothing; those of an open transaction count."""
    before = "SELECT df.clearvars(); SELECT df.setvar('v', 'one');"
    shown = stage.run(
        before
        + """
        SELECT df.start(df.sleep(1) ~> 'SELECT ''{v}'' AS v') AS i \\gset
        SELECT df.setvar('v', 'two');
        SELECT df.await_instance(:'i');
        SELECT df.result(:'i')::jsonb->'rows'->0->>'v';
        BEGIN;
        SELECT df.setvar('v', 'three');
        SELECT df.start('SELECT ''{v}'' AS v') AS i \\gset
        COMMIT;
        SELECT df.await_instance(:'i');
        SELECT df.result(:'i')::jsonb->'rows'->0->>'v', df.getvar('v');
    """
    )
    assert shown.splitlines()[2:] == ["OK", "completed", "one", "OK", "completed", "three|three"]


def test_setting_variables_inside_a_workflow_is_refused(stage: Stage) -> None:
    for call in ("df.setvar('a', 'b')", "df.unsetvar('a')", "df.clearvars()"):
        words = error(stage, f"$q$SELECT {call}$q$")
        assert "cannot be called inside a workflow" in words
    assert "df.await_instance() cannot be called inside a workflow" in error(
        stage, "$q$SELECT df.await_instance('00000000')$q$"
    )
    before = "SELECT df.clearvars(); SELECT df.setvar('v', 'one');"
    assert stage.row("$q$SELECT df.getvar('v') AS v$q$", before=before) == {"v": "one"}


def test_setvar_refused_as_the_reference_looks_for_it(stage: Stage) -> None:
    stage.run("""
        CREATE TEMP TABLE _s AS SELECT df.start('SELECT df.setvar(''x'', ''y'')') AS id;
        SELECT df.await_instance(id) FROM _s;
        DO $$
        DECLARE t TEXT;
        BEGIN
            SELECT n.result::text INTO t FROM df.nodes n, _s WHERE n.instance_id = _s.id AND n.node_type = 'SQL';
            IF t IS NULL OR t NOT LIKE '%cannot be called inside a workflow%' THEN RAISE EXCEPTION 'result %', t;
                END IF;
            IF (SELECT df.getvar('x')) IS NOT NULL THEN RAISE EXCEPTION 'it was set'; END IF;
        END $$;
    """)


def test_dot_access(stage: Stage) -> None:
    first = """'SELECT 1 AS id, ''Ann'' AS name, NULL::text AS nothing' |=> 'u'"""
    assert stage.row(first + " ~> 'SELECT $u.id + 1 AS a, $u.name AS b, $u.nothing? AS c, $u AS d'") == {
        "a": 2,
        "b": "Ann",
        "c": None,
        "d": 1,
    }
    assert "is NULL" in error(stage, first + " ~> 'SELECT $u.nothing'")
    assert stage.row(first + " ~> 'SELECT ''$1'' AS a, ''$unknown'' AS b, ''$user_id'' AS c'") == {
        "a": "$1",
        "b": "$unknown",
        "c": "$user_id",
    }
    assert stage.row("'SELECT 1 AS a, 2 AS b UNION ALL SELECT 3, 4' |=> 'm' ~> 'SELECT $m.b AS x'") == {"x": 2}


def test_bare_name_takes_the_first_declared_column(stage: Stage) -> None:
    assert stage.row("'SELECT 1 AS zzz, 2 AS a' |=> 'x' ~> 'SELECT $x AS y'") == {"y": 1}


def test_no_rows_strict_and_with_question_mark(stage: Stage) -> None:
    none = "'SELECT 1 AS id WHERE false' |=> 'x'"
    assert "$x has no rows" in error(stage, none + " ~> 'SELECT $x'")
    assert "has no rows" in error(stage, none + " ~> 'SELECT $x.id'")
    assert stage.row(none + " ~> 'SELECT $x? AS a, $x.id? AS b, $x? IS NULL AS c'") == {
        "a": None,
        "b": None,
        "c": True,
    }
    null = "'SELECT NULL::int AS id' |=> 'x'"
    assert "$x is NULL" in error(stage, null + " ~> 'SELECT $x'")
    assert stage.row(null + " ~> 'SELECT $x? AS a, coalesce($x?, 9) AS b'") == {"a": None, "b": 9}


def test_row_sets(stage: Stage) -> None:
    ids = "'SELECT g AS id, ''n'' || g AS name FROM generate_series(1, 3) g' |=> 'ids'"
    found = stage.row(ids + " ~> 'SELECT count(*) AS n, sum(id) AS s, max(name) AS m FROM $ids.*'")
    assert found == {"n": 3, "s": 6, "m": "n3"}
    assert stage.row(
        ids + " ~> 'SELECT count(*) AS n FROM generate_series(1, 10) g WHERE g IN (SELECT id FROM $ids.*)'"
    ) == {"n": 3}
    assert stage.row(ids + " ~> 'SELECT ids.name FROM $ids.* WHERE ids.id = 2'") == {"name": "n2"}
    none = "'SELECT 1 AS id WHERE false' |=> 'none'"
    assert stage.row(none + " ~> 'SELECT count(*) AS n FROM $none.*'") == {"n": 0}


def test_names_are_validated(stage: Stage) -> None:
    for name in ("1x", "a-b", "a b", "a.b", "ä"):
        words = stage.refused(f"SELECT df.as('SELECT 1', '{name}')")
        assert "df.as:" in words
        assert "is not a valid identifier" in words
    assert "result name cannot be empty" in stage.refused("SELECT df.as('SELECT 1', '')")
    stage.run("""
        DO $$
        BEGIN
            PERFORM df.start('SELECT 1' |=> 'bad-name');
            RAISE EXCEPTION 'not refused';
        EXCEPTION WHEN OTHERS THEN
            IF SQLERRM NOT LIKE 'df.as:%' OR SQLERRM NOT LIKE '%is not a valid identifier%'
                THEN RAISE EXCEPTION 'words: %', SQLERRM; END IF;
        END $$;
    """)


def test_a_later_name_overwrites(stage: Stage) -> None:
    assert stage.row(
        "'SELECT 1 AS a' |=> 'x' ~> 'SELECT $x + 1 AS a' |=> 'x' ~> 'SELECT $x + 1 AS a' |=> 'x' ~> 'SELECT $x AS y'",
    ) == {"y": 3}


def test_a_name_on_a_sequence_and_on_a_condition(stage: Stage) -> None:
    assert stage.row("('SELECT 1 AS a' ~> 'SELECT 2 AS a') |=> 'x' ~> 'SELECT $x AS y'") == {"y": 2}
    assert stage.row("(('SELECT true' ?> 'SELECT 10 AS a' !> 'SELECT 20 AS a') |=> 'x') ~> 'SELECT $x + 1 AS y'") == {
        "y": 11
    }


def test_variables_and_label_in_every_branch(stage: Stage) -> None:
    before = "SELECT df.clearvars(); SELECT df.setvar('v', 'val');"
    both = "'SELECT ''{v}'' AS v, ''{sys_label}'' AS l' & 'SELECT ''{v}-2'' AS v, ''{sys_label}'' AS l'"
    got = stage.row(
        f"({both}) |=> 'j' ~> $q$SELECT jsonb_path_query_array($j::jsonb, '$[*].rows[0].*') AS a$q$", before=before
    )
    assert sorted(got["a"]) == ["my-label", "my-label", "val", "val-2"]
    race = "(df.sleep(60) ~> 'SELECT 1') | 'SELECT ''{v}'' AS v, ''{sys_label}'' AS l'"
    assert stage.row(race, before=before) == {"v": "val", "l": "my-label"}


def test_names_from_branches_after_a_join(stage: Stage) -> None:
    join = "(('SELECT 1 AS a' |=> 'left') & ('SELECT 2 AS b' |=> 'right'))"
    assert stage.row(join + " ~> 'SELECT $left + $right AS s'") == {"s": 3}
    got = stage.row(
        join
        + " |=> 'both' ~> $q$SELECT jsonb_array_length($both::jsonb) AS n, $both::jsonb->1->'rows'->0->>'b' AS b$q$",
    )
    assert got == {"n": 2, "b": "2"}


def test_a_branch_does_not_undo_what_its_sibling_named(stage: Stage) -> None:
    """Each branch begins with a copy of all names; only those that it set itself come back from it."""
    first = "('SELECT $x + 1 AS a' |=> 'x')"
    second = "('SELECT $x + 10 AS a' |=> 'y')"
    for join in (f"({first} & {second})", f"({second} & {first})"):
        assert stage.row(f"'SELECT 1 AS a' |=> 'x' ~> {join} ~> 'SELECT $x AS x, $y AS y'") == {"x": 2, "y": 11}


def test_the_winner_of_a_race_leaves_its_names(stage: Stage) -> None:
    race = "(('SELECT 7 AS a' |=> 'w') | (df.sleep(60) ~> 'SELECT 8 AS a' |=> 'l'))"
    assert stage.row(race + " ~> 'SELECT $w AS w, ''$l'' AS l'") == {"w": 7, "l": "$l"}


def test_a_siblings_name_is_not_seen(stage: Stage) -> None:
    words = error(stage, "('SELECT 1 AS a' |=> 'x') & (df.sleep(1) ~> 'SELECT $x')")
    assert "syntax error" in words or "there is no parameter" in words


def test_signal_payload_is_reached_by_a_cast(stage: Stage) -> None:
    stage.run("""
        SELECT df.start(df.wait_for_signal('go') |=> 'sig' ~>
            'SELECT $sig::jsonb->''data''->>''who'' AS who, $sig.timed_out AS t') AS i \\gset
        SELECT df.signal(:'i', 'go', '{"who": "Ann"}');
        SELECT df.await_instance(:'i');
        SELECT 1/(df.result(:'i')::jsonb->'rows'->0 = '{"who": "Ann", "t": false}')::int;
    """)


def test_quotes_and_backslashes_survive(stage: Stage) -> None:
    text = r"a'b\c" "d$e{f}"
    quoted = text.replace("'", "''")
    assert stage.row(f"$q$SELECT '{quoted}' AS t$q$ |=> 'x' ~> 'SELECT $x AS t'") == {"t": text}


def test_inserted_text_is_not_rescanned(stage: Stage) -> None:
    before = (
        "SELECT df.clearvars(); SELECT df.setvar('a', '{b}'); SELECT df.setvar('b', 'B'); SELECT df.setvar('r', '$x');"
    )
    assert stage.row("'SELECT 1 AS x' |=> 'x' ~> $q$SELECT '{a}' AS a, {r} + 1 AS r$q$", before=before) == {
        "a": "{b}",
        "r": 2,
    }
    assert stage.row("$q$SELECT '$y' AS x$q$ |=> 'x' ~> 'SELECT 2 AS y' |=> 'y' ~> 'SELECT $x AS x'") == {"x": "$y"}


def test_a_failing_script_is_noticed(stage: Stage) -> None:
    """The helpers of this file can fail."""
    with pytest.raises(AssertionError):
        stage.row("'SELECT 1/0'")
    with pytest.raises(AssertionError):
        error(stage, "'SELECT 1'")
