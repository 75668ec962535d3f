"""Signals (6.9; files 07, 11, 23), and where we differ: none is lost, and they are sent when the sender commits."""

from __future__ import annotations

import json
from typing import Any

from stage import Stage, as_superuser

pytestmark = as_superuser

RESEND = """
    DO $$
    DECLARE i TEXT := (SELECT id FROM _s);
    BEGIN
        FOR k IN 1..300 LOOP
            EXIT WHEN df.status(i) NOT IN ('pending', 'running');
            PERFORM df.signal(i, '{name}', '{data}');
            COMMIT;
            PERFORM pg_sleep(0.1);
        END LOOP;
    END $$;
"""


def result(stage: Stage, workflow: str, sends: str) -> Any:
    """The result of a workflow that completes after these sends, which say :'i' for its id."""
    shown = stage.run(f"""
        SELECT df.start({workflow}) AS i \\gset
        {sends}
        SELECT df.await_instance(:'i', 60);
        SELECT df.result(:'i');
    """)
    return json.loads(shown.splitlines()[-1])


def test_wait_and_receive(stage: Stage) -> None:
    found = result(
        stage, "df.wait_for_signal('approval')", """SELECT df.signal(:'i', 'approval', '{"ok": true, "by": "Ann"}');"""
    )
    assert found == {"signal_name": "approval", "timed_out": False, "data": {"ok": True, "by": "Ann"}}


def test_resending_does_no_harm(stage: Stage) -> None:
    """The way of the reference's tests, which cannot know when the wait begins."""
    workflow = "df.wait_for_signal('go') |=> 'sig' ~> 'SELECT ($sig::jsonb->''data''->>''n'')::int AS n'"
    resend = RESEND.format(name="go", data='{"n": 7}')
    stage.run(f"""
        CREATE TEMP TABLE _s AS SELECT df.start({workflow}) AS id;
        {resend}
        DO $$ BEGIN
            IF (SELECT df.status(id) FROM _s) <> 'completed' THEN RAISE EXCEPTION 'not completed'; END IF;
            IF (SELECT df.result(id)::jsonb->'rows'->0->>'n' FROM _s) <> '7' THEN RAISE EXCEPTION 'payload'; END IF;
            IF (SELECT df.signal(id, 'go', '{{}}') FROM _s) <> 'OK' THEN RAISE EXCEPTION 'after the end'; END IF;
        END $$;
    """)


def test_timeout(stage: Stage) -> None:
    found = result(stage, "df.wait_for_signal('never', 1)", "")
    assert found == {"signal_name": "never", "timed_out": True, "data": None}
    row = result(
        stage,
        "df.wait_for_signal('never', 1) |=> 's'"
        " ~> ('SELECT $s.timed_out' ?> 'SELECT ''late'' AS v' !> 'SELECT 1 AS v')",
        "",
    )
    assert row["rows"] == [{"v": "late"}]


def test_payloads(stage: Stage) -> None:
    for sent, data in (
        ("'plain text'", "plain text"), ("'42'", 42), ("'\"s\"'", "s"), ("'[1, 2]'", [1, 2]), ("'{}'", {}),
        ("'null'", None), ("'true'", True), ("'{broken'", "{broken"),
    ):  # fmt: skip
        assert result(stage, "df.wait_for_signal('s')", f"SELECT df.signal(:'i', 's', {sent});")["data"] == data
    assert result(stage, "df.wait_for_signal('s')", "SELECT df.signal(:'i', 's');")["data"] == {}


def test_the_name_after_a_sequence(stage: Stage) -> None:
    """|=> names the THEN, whose value is the signal's."""
    then = "'SELECT $n AS n, $sig::jsonb->''data''->>''x'' AS x'"
    workflow = f"'SELECT 1 AS n' |=> 'n' ~> df.wait_for_signal('s') |=> 'sig' ~> {then}"
    assert result(stage, workflow, """SELECT df.signal(:'i', 's', '{"x": "y"}');""")["rows"] == [{"n": 1, "x": "y"}]


def test_the_query_tells_the_name(stage: Stage) -> None:
    shown = stage.run("""
        SELECT df.start(df.wait_for_signal('it''s', 600)) AS i \\gset
        SELECT query::jsonb->>'signal_name', query::jsonb->>'timeout_seconds' FROM df.nodes WHERE instance_id = :'i'
            AND node_type = 'SIGNAL';
        SELECT df.signal(:'i', 'it''s', '1');
        SELECT df.await_instance(:'i');
    """)
    assert shown.splitlines() == ["it's|600", "OK", "completed"]


def test_refusals(stage: Stage) -> None:
    for call, words in (
        ("df.signal('', 'x')", "Instance ID cannot be empty"),
        ("df.signal('00000000', '')", "Signal name cannot be empty"),
        ("df.signal('00000000', 'x')", "Instance not found or access denied: 00000000"),
        ("df.wait_for_signal('')", "Signal name cannot be empty"),
        ("df.wait_for_signal('x', 0)", "Timeout must be positive"),
        ("df.wait_for_signal('x', -1)", "Timeout must be positive"),
    ):
        assert words in stage.refused(f"SELECT {call}")


def test_from_another_session(stage: Stage) -> None:
    instance = stage.run("SELECT df.start(df.wait_for_signal('x') |=> 's' ~> 'SELECT $s::jsonb->>''data'' AS d')")
    assert stage.run(f"SELECT df.signal('{instance}', 'x', 'hello')") == "OK"
    assert (
        stage.run(f"SELECT df.await_instance('{instance}'); SELECT df.result('{instance}')::jsonb->'rows'->0->>'d'")
        == "completed\nhello"
    )


def test_a_signal_before_the_wait_is_kept(stage: Stage) -> None:
    found = result(stage, "df.sleep(1) ~> df.wait_for_signal('early')", "SELECT df.signal(:'i', 'early', '1');")
    assert found["data"] == 1


def test_signals_of_a_transaction_that_rolls_back_are_not_sent(stage: Stage) -> None:
    found = result(stage, "df.wait_for_signal('s')", """
        BEGIN; SELECT df.signal(:'i', 's', '"rolled back"'); ROLLBACK;
        BEGIN; SELECT df.signal(:'i', 's', '"committed"'); COMMIT;
    """)  # fmt: skip
    assert found["data"] == "committed"


def test_two_waits_one_after_the_other_take_two_signals(stage: Stage) -> None:
    waits = "df.wait_for_signal('s') |=> 'a' ~> df.wait_for_signal('s') |=> 'b'"
    both = "'SELECT $a::jsonb->>''data'' AS a, $b::jsonb->>''data'' AS b'"
    found = result(stage, f"{waits} ~> {both}", "SELECT df.signal(:'i', 's', '1'), df.signal(:'i', 's', '2');")
    assert found["rows"] == [{"a": "1", "b": "2"}]


def test_one_signal_wakes_every_wait_of_that_name(stage: Stage) -> None:
    shown = stage.run("""
        SELECT df.start(df.wait_for_signal('s') & df.wait_for_signal('s') & (df.wait_for_signal('s') | df.sleep(60)))
            AS i \\gset
        DO $$ BEGIN
            FOR k IN 1..600 LOOP
                EXIT WHEN (SELECT count(*) FROM df.nodes WHERE node_type = 'SIGNAL' AND status = 'running'
                           AND instance_id = (SELECT id FROM df.instances ORDER BY created_at DESC LIMIT 1)) = 3;
                COMMIT; PERFORM pg_sleep(0.02);
            END LOOP; END $$;
        SELECT df.signal(:'i', 's', '1');
        SELECT df.await_instance(:'i');
        SELECT jsonb_path_query_array(df.result(:'i')::jsonb, 'strict $.**.data');
    """)
    assert shown.splitlines() == ["OK", "completed", "[1, 1, 1]"]


def test_a_signal_decides_a_race(stage: Stage) -> None:
    """File 23: the signal reaches its branch; the loser's later steps never run."""
    instance = stage.run("""
        DROP TABLE IF EXISTS playground.lost; CREATE TABLE playground.lost (n int);
        SELECT df.start((df.wait_for_signal('approve') |=> 'sig' ~> 'SELECT ''approved'' AS v')
                        | (df.sleep(5) ~> 'INSERT INTO playground.lost VALUES (1) RETURNING ''late'' AS v'));
    """)
    shown = stage.run(f"""
        DO $$ BEGIN
            FOR k IN 1..600 LOOP
                EXIT WHEN (SELECT count(*) = 2 FROM df.nodes WHERE instance_id = '{instance}' AND status = 'running'
                           AND node_type IN ('SIGNAL', 'SLEEP'));
                COMMIT; PERFORM pg_sleep(0.02);
            END LOOP;
        END $$;
        SELECT df.signal('{instance}', 'approve', '{{"by": "Ann"}}');
        SELECT df.await_instance('{instance}');
        SELECT df.result('{instance}')::jsonb->'rows'->0->>'v';
        SELECT status FROM df.nodes WHERE instance_id = '{instance}' AND query LIKE 'INSERT%';
        SELECT count(*) FROM playground.lost;
    """)
    assert shown.splitlines() == ["OK", "completed", "approved", "pending", "0"]
    stage.nothing_left(instance)


def test_a_signal_in_a_loop(stage: Stage) -> None:
    shown = stage.run("""
        DROP TABLE IF EXISTS playground.got; CREATE TABLE playground.got (n text);
        SELECT df.start(@> (df.wait_for_signal('item') |=> 's' ~>
            'INSERT INTO playground.got VALUES ($s::jsonb->>''data'')'
                            ~> ('SELECT $s::jsonb->>''data'' = ''end''' ?> df.break('ended') !> 'SELECT 1'))) AS i
                                \\gset
        SELECT df.signal(:'i', 'item', '1'), df.signal(:'i', 'item', '2'), df.signal(:'i', 'item', 'end');
        SELECT df.await_instance(:'i');
        SELECT string_agg(n, ' ') FROM playground.got;
        SELECT df.result(:'i');
    """)
    assert shown.splitlines()[1:] == ["completed", "1 2 end", '"ended"']
