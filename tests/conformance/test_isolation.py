"""Who a step runs as, and who sees what (7, 9; files 13, 15, 49)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stage import SUPERUSER, Stage

ONE, TWO = "df_iso_one", "df_iso_two"
WHO = "SELECT current_user::text AS u, session_user::text AS s"
AS_ONE = {"u": ONE, "s": ONE}


@pytest.fixture
def two(stage: Stage) -> Iterator[None]:
    """Two users, each with a table of their own."""
    for role in (ONE, TWO):
        stage.make_role(role)
        stage.run(f"CREATE TABLE playground.{role} (n int); INSERT INTO playground.{role} VALUES (1)", role)
    yield
    for role in (ONE, TWO):
        stage.drop_role(role)


def test_a_step_has_its_submitters_rights_only(stage: Stage, two: None) -> None:
    assert stage.row(f"'SELECT n FROM playground.{ONE}'", ONE) == {"n": 1}
    shown = stage.run(f"""
        SELECT df.start('SELECT n FROM playground.{ONE}') AS i \\gset
        SELECT df.await_instance(:'i'); SELECT output FROM df.instance_info(:'i');
    """, TWO)  # fmt: skip
    assert shown.startswith("failed\n")
    assert f"permission denied for table {ONE}" in shown
    assert stage.row(f"'{WHO}'", ONE) == AS_ONE
    assert stage.row("'SELECT rolsuper AS x FROM pg_roles WHERE rolname = current_user'", ONE) == {"x": False}


def test_resetting_the_role_gains_nothing(stage: Stage, two: None) -> None:
    for statement in (
        "RESET ROLE",
        "RESET SESSION AUTHORIZATION",
        "SET SESSION AUTHORIZATION DEFAULT",
        "SET ROLE NONE",
    ):
        assert stage.row(f"'{statement}' ~> '{WHO}'", ONE) == AS_ONE
    for statement in ("SET ROLE postgres", "SET SESSION AUTHORIZATION postgres", f"SET ROLE {TWO}"):
        with pytest.raises(AssertionError):
            stage.row(f"'{statement}'", ONE)


def test_set_role_and_session_authorization_count(stage: Stage, two: None) -> None:
    for switch in (f"SET ROLE {ONE};", f"SET SESSION AUTHORIZATION {ONE};"):
        assert stage.row(f"'{WHO}'", SUPERUSER, switch) == AS_ONE
    shown = stage.run(f"""
        SET ROLE {ONE};
        SELECT df.start('SELECT 1', 'as-one') AS i \\gset
        SELECT submitted_by::text FROM df.instances WHERE id = :'i';
        SELECT DISTINCT submitted_by::text FROM df.nodes WHERE instance_id = :'i';
        RESET ROLE;
        SELECT submitted_by::text FROM df.instances WHERE id = :'i';
    """, SUPERUSER)  # fmt: skip
    assert shown.splitlines() == [ONE, ONE, ONE]


def test_membership_runs_as_the_role_that_was_set(stage: Stage, two: None) -> None:
    stage.run(f"GRANT {ONE} TO {TWO}", SUPERUSER)
    assert stage.row(f"'{WHO}'", TWO, f"SET ROLE {ONE};") == AS_ONE
    # ... but does not show what belongs to the other role.
    instance = stage.run("SELECT df.start('SELECT 1')", ONE)
    assert stage.run(f"SELECT count(*) FROM df.instances WHERE id = '{instance}'", TWO) == "0"
    assert stage.run(f"SET ROLE {ONE}; SELECT count(*) FROM df.instances WHERE id = '{instance}'", TWO) == "1"


def test_a_definer_function_starts_as_its_owner(stage: Stage, two: None) -> None:
    stage.run(f"""
        CREATE FUNCTION playground.launch() RETURNS TEXT LANGUAGE plpgsql SECURITY DEFINER AS $f$
        BEGIN RETURN df.start('{WHO}', 'definer'); END $f$;
        GRANT EXECUTE ON FUNCTION playground.launch() TO {TWO};
    """, ONE)  # fmt: skip
    instance = stage.run("SELECT playground.launch()", TWO)
    assert stage.run(f"SELECT df.status('{instance}') IS NULL", TWO) == "t"
    shown = stage.run(
        f"SELECT df.await_instance('{instance}'); SELECT df.result('{instance}')::jsonb->'rows'->0->>'u'", ONE
    )
    assert shown == f"completed\n{ONE}"


def test_a_role_that_cannot_log_in_is_refused(stage: Stage) -> None:
    stage.make_role("df_iso_nologin", options="NOLOGIN")
    try:
        words = stage.refused("SET ROLE df_iso_nologin; SELECT df.start('SELECT 1')", SUPERUSER)
        assert 'current_user "df_iso_nologin" does not have LOGIN privilege' in words
        stage.run("""
            SET ROLE df_iso_nologin;
            DO $$ BEGIN
                PERFORM df.start('SELECT 1', 'nologin');
                RAISE EXCEPTION 'not refused';
            EXCEPTION WHEN OTHERS THEN
                IF SQLERRM NOT LIKE '%LOGIN%' THEN RAISE; END IF;
            END $$;
            RESET ROLE;
            SELECT 1/(count(*) = 0)::int FROM df.instances WHERE label = 'nologin';
        """, SUPERUSER)  # fmt: skip
    finally:
        stage.drop_role("df_iso_nologin")


@pytest.mark.parametrize("loss", ["DROP OWNED BY {0}; DROP ROLE {0}", "ALTER ROLE {0} NOLOGIN"])
def test_a_role_that_is_dropped_or_locked_out_in_the_middle(stage: Stage, loss: str) -> None:
    stage.make_role("df_iso_lost")
    instance = stage.run("SELECT df.start('SELECT 1' ~> df.sleep(2) ~> 'SELECT 2', 'lost')", "df_iso_lost")
    stage.run(f"""
        DO $$ BEGIN
            FOR k IN 1..600 LOOP
                EXIT WHEN EXISTS (SELECT FROM df.nodes WHERE instance_id = '{instance}' AND node_type = 'SLEEP'
                    AND status = 'running');
                COMMIT; PERFORM pg_sleep(0.02);
            END LOOP;
        END $$;
        {loss.format("df_iso_lost")};
        SELECT 1/(df.await_instance('{instance}', 60) = 'failed')::int;
    """, SUPERUSER)  # fmt: skip
    said = stage.run(f"SELECT output FROM df.instance_info('{instance}')", SUPERUSER)
    assert "no longer exists" in said or "Failed to connect to database" in said
    assert stage.run(f"SELECT submitted_by IS NOT NULL FROM df.instances WHERE id = '{instance}'", SUPERUSER) == "t"
    stage.drop_role("df_iso_lost")


def test_a_successor_of_a_dropped_role_inherits_nothing(stage: Stage) -> None:
    stage.make_role("df_iso_again")
    instance = stage.run(
        "SELECT df.start('SELECT 1') AS i \\gset\nSELECT df.await_instance(:'i') AS s \\gset\nSELECT :'i'",
        "df_iso_again",
    )
    stage.make_role("df_iso_again")
    assert stage.run("SELECT count(*) FROM df.instances", "df_iso_again") == "0"
    assert stage.run(f"SELECT df.status('{instance}') IS NULL", "df_iso_again") == "t"
    stage.drop_role("df_iso_again")


@pytest.mark.parametrize(
    "role",
    [
        "Mixed Case",
        "with space",
        'with"quote',
        "with'apostrophe",
        "UPPER",
        "ümlaut",
        "user",
        "a-b.c",
        "back\\slash",
        "$dollar",
    ],
)
def test_role_names_that_need_quotes(stage: Stage, role: str) -> None:
    stage.make_role(role)
    try:
        shown = stage.run("""
            SELECT df.setvar('v', 'x'), df.getvar('v');
            SELECT df.start('SELECT current_user::text AS u, ''{v}'' AS v', 'quoted') AS i \\gset
            SELECT df.await_instance(:'i');
            SELECT df.result(:'i')::jsonb->'rows'->0->>'u' = current_user, df.result(:'i')::jsonb->'rows'->0->>'v';
            SELECT submitted_by::text = quote_ident(current_user) FROM df.instances WHERE id = :'i';
            SELECT count(*) = 1 FROM df.list_instances() WHERE label = 'quoted';
            SELECT df.start(df.sleep(600)) AS j \\gset
            SELECT df.signal(:'j', 'x'), df.cancel(:'j') LIKE 'Instance % cancelled%';
            SELECT count(*) FROM df.vars;
        """, role)  # fmt: skip
        assert shown.splitlines() == ["OK|x", "completed", "t|x", "t", "t", "OK|t", "1"]
    finally:
        stage.drop_role(role)


def test_rows_of_others_are_not_seen_anywhere(stage: Stage, two: None) -> None:
    """File 15: tables, monitoring, control."""
    one = stage.run("SELECT df.start('SELECT 1' ~> df.wait_for_signal('x'), 'of-one')", ONE)
    other = stage.run("SELECT df.start('SELECT 2', 'of-two')", TWO)
    stage.run(f"SELECT df.await_instance('{other}')", TWO)
    shown = stage.run(f"""
        SELECT string_agg(label, ','), count(*) FROM df.instances;
        SELECT count(DISTINCT instance_id) FROM df.nodes;
        SELECT string_agg(label, ',') FROM df.list_instances();
        SELECT string_agg(label, ',') FROM df.list_instances(NULL, 100, NULL);
        SELECT (SELECT count(*) FROM df.instance_info('{one}')), (SELECT count(*) FROM df.instance_nodes('{one}')),
               (SELECT count(*) FROM df.instance_executions('{one}')), df.status('{one}') IS NULL,
                   df.result('{one}') IS NULL;
        SELECT df.explain('{one}');
    """, TWO)  # fmt: skip
    lines = shown.splitlines()
    assert lines[:5] == ["of-two|1", "1", "of-two", "of-two", "0|0|0|t|t"]
    assert "not found" in lines[5]
    for call in (f"df.cancel('{one}')", f"df.signal('{one}', 'x')"):
        words = stage.refused(f"SELECT {call}", TWO)
        assert "not found or access denied" in words
        stage.run(f"""
            DO $$ BEGIN
                PERFORM {call}; RAISE EXCEPTION 'allowed';
            EXCEPTION WHEN OTHERS THEN IF SQLERRM NOT LIKE '%not found or access denied%' THEN RAISE; END IF;
            END $$;
        """, TWO)  # fmt: skip
    assert "Instance not found" in stage.refused(f"SELECT df.await_instance('{one}')", TWO)
    assert stage.run(f"SELECT df.status('{one}')", ONE) in ("running", "pending")
    shown = stage.run(
        f"SELECT count(*) FROM df.instances WHERE id IN ('{one}', '{other}'); SELECT df.status('{one}') IS NOT NULL",
        SUPERUSER,
    )
    assert shown == "2\nt"
    assert stage.run(f"SELECT df.signal('{one}', 'x'); SELECT df.await_instance('{one}')", ONE) == "OK\ncompleted"


INSERT_INSTANCE = (
    "INSERT INTO df.instances (id, label, root_node, status) VALUES ('aaaaaaaa', 'w', 'bbbbbbbb', 'failed')"
)
INSERT_NODE = (
    "INSERT INTO df.nodes (id, instance_id, node_type, query) VALUES ('aaaaaaaa', 'bbbbbbbb', 'SQL', 'SELECT 1')"
)


@pytest.mark.parametrize(
    "statement",
    [
        INSERT_INSTANCE,
        INSERT_NODE,
        "UPDATE df.instances SET submitted_by = 'postgres'::regrole WHERE label = 'w'",
        "UPDATE df.instances SET status = 'failed'",
        "UPDATE df.nodes SET submitted_by = 'postgres'::regrole",
        "DELETE FROM df.instances WHERE label = 'w'",
        "DELETE FROM df.nodes",
    ],
)
@pytest.mark.parametrize("role", ["df_e2e_user", SUPERUSER])
def test_writes_are_refused_with_42501(stage: Stage, statement: str, role: str) -> None:
    """The reference lets users update the status of their own rows and insert rows by hand; here nobody can."""
    stage.run("SELECT df.start('SELECT 1', 'w') AS i \\gset\nSELECT df.await_instance(:'i')", role)
    stage.run(
        f"""
        DO $do$ BEGIN
            {statement};
            RAISE EXCEPTION 'allowed';
        EXCEPTION WHEN insufficient_privilege THEN NULL;
        END $do$;
        SELECT 1/(count(*) > 0 AND bool_and(status = 'completed'))::int FROM df.instances WHERE label = 'w';
        """,
        role,
    )


def test_variables_are_each_users_own(stage: Stage, two: None) -> None:
    for role in (ONE, TWO):
        stage.run(f"SELECT df.setvar('shared', 'of-{role}')", role)
    assert stage.run("SELECT df.getvar('shared'), count(*) FROM df.vars", ONE) == f"of-{ONE}|1"
    assert stage.row("'SELECT ''{shared}'' AS v'", TWO) == {"v": f"of-{TWO}"}
    assert (
        stage.run(
            f"SELECT count(*) FROM df.vars WHERE name = 'shared' AND owner::text IN ('{ONE}', '{TWO}')", SUPERUSER
        )
        == "2"
    )
    stage.run("SELECT df.unsetvar('shared')", SUPERUSER)
    assert stage.run("SELECT df.getvar('shared') IS NULL", SUPERUSER) == "t"
    assert stage.run("SELECT df.clearvars(); SELECT count(*) FROM df.vars", ONE) == "OK\n0"
    assert stage.run("SELECT df.getvar('shared')", TWO) == f"of-{TWO}"


def test_without_a_grant(stage: Stage) -> None:
    stage.make_role("df_iso_none", grant=False)
    try:
        for call in ("df.sql('SELECT 1')", "df.start('SELECT 1')", "df.setvar('a', 'b')", "df.list_instances()"):
            stage.run(f"""
                DO $$ BEGIN
                    PERFORM {call}; RAISE EXCEPTION 'allowed';
                EXCEPTION WHEN insufficient_privilege THEN NULL;
                END $$;
            """, "df_iso_none")  # fmt: skip
    finally:
        stage.drop_role("df_iso_none")


def test_operators_work_without_a_grant_failing_clearly(stage: Stage) -> None:
    stage.make_role("df_iso_none", grant=False)
    try:
        assert "permission denied" in stage.refused("SELECT 'SELECT 1' ~> 'SELECT 2'", "df_iso_none")
    finally:
        stage.drop_role("df_iso_none")
