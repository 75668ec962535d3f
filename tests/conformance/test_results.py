"""Results: their shapes, the types, and what df.result() answers (4; files 01, 21, 22_join_result_shape, 51)."""

from __future__ import annotations

from stage import SUPERUSER, Stage, as_superuser


def test_plain_text_and_df_sql_are_the_same_step(stage: Stage) -> None:
    assert stage.result("'SELECT 42 AS answer'") == {"rows": [{"answer": 42}], "row_count": 1}
    assert stage.result("df.sql('SELECT 42 AS answer')") == {"rows": [{"answer": 42}], "row_count": 1}


def test_reading_a_result_in_a_do_block(stage: Stage) -> None:
    """The reference's usual way: start in one statement, look in the next."""
    stage.run("""
        CREATE TEMP TABLE _state (instance_id TEXT);
        INSERT INTO _state SELECT df.start(df.sql('SELECT 42 AS answer') |=> 'a' ~> 'SELECT $a * 2 AS doubled',
            'twice');
        DO $$
        DECLARE
            inst_id TEXT;
            status TEXT;
            result TEXT;
            nodes INT;
        BEGIN
            SELECT instance_id INTO inst_id FROM _state;
            SELECT df.await_instance(inst_id, 30) INTO status;
            IF status != 'completed' THEN
                RAISE EXCEPTION 'TEST FAILED: expected completed, got %', status;
            END IF;
            SELECT df.result(inst_id) INTO result;
            IF result IS DISTINCT FROM '{"rows": [{"doubled": 84}], "row_count": 1}' THEN
                RAISE EXCEPTION 'TEST FAILED: result %', result;
            END IF;
            IF (df.result(inst_id)::jsonb->'rows'->0->>'doubled')::int <> 84 THEN
                RAISE EXCEPTION 'TEST FAILED: %', result;
            END IF;
            SELECT count(*) INTO nodes FROM df.nodes WHERE instance_id = inst_id AND nodes.status = 'completed';
            IF nodes <> 3 THEN
                RAISE EXCEPTION 'TEST FAILED: % completed nodes', nodes;
            END IF;
            RAISE NOTICE 'TEST PASSED';
        END $$;
        DROP TABLE _state;
    """)


def test_polling_the_status_until_it_is_terminal(stage: Stage) -> None:
    stage.run("""
        CREATE TEMP TABLE _t AS SELECT df.start(df.sleep(1) ~> 'SELECT 1') AS id, clock_timestamp() AS began;
        DO $$
        DECLARE
            s TEXT; attempts INT := 0; n INT;
        BEGIN
            IF (SELECT df.result(id) FROM _t) IS NOT NULL THEN RAISE EXCEPTION 'result before the end'; END IF;
            LOOP
                SELECT df.status(id) INTO s FROM _t;
                EXIT WHEN s IN ('completed', 'failed', 'cancelled') OR attempts > 600;
                IF s NOT IN ('pending', 'running') THEN RAISE EXCEPTION 'status %', s; END IF;
                PERFORM pg_sleep(0.1);
                attempts := attempts + 1;
            END LOOP;
            IF s IS DISTINCT FROM 'completed' THEN RAISE EXCEPTION 'TEST FAILED: %', s; END IF;
            SELECT count(*) INTO n FROM df.instances i, _t WHERE i.id = _t.id AND i.completed_at - _t.began >= '1 s';
            IF n <> 1 THEN RAISE EXCEPTION 'TEST FAILED: the sleep was too short'; END IF;
            IF (SELECT result FROM df.nodes, _t WHERE instance_id = _t.id AND node_type = 'SLEEP')
               IS DISTINCT FROM '{"slept": true, "seconds": 1}'::jsonb THEN RAISE EXCEPTION 'sleep result'; END IF;
        END $$;
    """)


def test_statements_without_rows(stage: Stage) -> None:
    empty = {"rows": [], "row_count": 0}
    stage.run("DROP TABLE IF EXISTS playground.r; CREATE TABLE playground.r (id int)")
    assert stage.result("'INSERT INTO playground.r VALUES (1), (2)'") == empty
    assert stage.result("'UPDATE playground.r SET id = id RETURNING id'")["row_count"] == 2
    assert stage.result("'DELETE FROM playground.r'") == empty
    assert stage.result("'SELECT * FROM playground.r'") == empty
    assert stage.result("'CREATE TABLE IF NOT EXISTS playground.r2 (id int)'") == empty


def test_sequences_and_branches(stage: Stage) -> None:
    assert stage.result("'SELECT 1 AS a' ~> 'SELECT 2 AS b'") == {"rows": [{"b": 2}], "row_count": 1}
    assert stage.result("df.seq('SELECT 1 AS a', 'SELECT 2 AS b')") == {"rows": [{"b": 2}], "row_count": 1}
    a, b, c = ({"rows": [{name: n}], "row_count": 1} for n, name in enumerate("abc", start=1))
    assert stage.result("'SELECT 1 AS a' & 'SELECT 2 AS b'") == [a, b]
    assert stage.result("('SELECT 1 AS a' & 'SELECT 2 AS b') & 'SELECT 3 AS c'") == [[a, b], c]
    assert stage.result("'SELECT 1 AS a' & ('SELECT 2 AS b' & 'SELECT 3 AS c')") == [a, [b, c]]
    assert stage.result("df.join3('SELECT 1 AS a', 'SELECT 2 AS b', 'SELECT 3 AS c')") == [a, b, c]
    assert stage.result("'SELECT 1 AS a' | (df.sleep(60) ~> 'SELECT 2 AS b')") == a
    assert stage.result("df.race(df.sleep(60), 'SELECT 2 AS b')") == b


def test_join_result_is_an_array_of_objects(stage: Stage) -> None:
    """As the reference's own test looks: an element's ->>'a' is NULL, since the element is the whole row set."""
    stage.run("""
        CREATE TEMP TABLE _s AS SELECT df.start('SELECT 1 AS a' & 'SELECT 2 AS b') AS id;
        SELECT df.await_instance(id) FROM _s;
        DO $$
        DECLARE r JSONB;
        BEGIN
            SELECT df.result(id)::jsonb INTO r FROM _s;
            IF jsonb_typeof(r) <> 'array' OR jsonb_array_length(r) <> 2 THEN RAISE EXCEPTION 'not an array: %', r;
                END IF;
            IF jsonb_typeof(r->0) <> 'object' OR jsonb_typeof(r->1) <> 'object'
                THEN RAISE EXCEPTION 'not objects: %', r; END IF;
            IF (r->0->>'a')::int <> 1 THEN RAISE EXCEPTION 'a: %', r; END IF;
            IF r->0->'rows'->0->>'a' <> '1' THEN RAISE EXCEPTION 'a: %', r; END IF;
        END $$;
    """)


TYPES = """
    SELECT 42::int4 AS i4, 7::int2 AS i2, 9007199254740993::int8 AS i8, 1.5::float8 AS f8, 'NaN'::float8 AS nan,
           'Infinity'::float8 AS inf, 3.14::float4 AS f4, 123.450::numeric AS num, 1e-10::numeric AS tiny, true AS t,
               false AS f,
           'x'::text AS tx, 'y'::varchar(5) AS vc, 'z'::char(3) AS ch, 'n'::name AS nm,
           'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'::uuid AS u, '2024-06-15 14:30:00+02'::timestamptz AS tz,
           '2024-06-15 12:30:00.5'::timestamp AS ts, '2024-06-15'::date AS d, '{"k": [1, 2]}'::jsonb AS jb,
               '[1]'::json AS j,
           NULL::int AS ni, NULL::text AS nt, NULL::numeric AS nn, NULL::timestamptz AS ntz, NULL::jsonb AS nj
"""


def test_types(stage: Stage) -> None:
    row = stage.result(f"$q${TYPES}$q$")["rows"][0]
    assert (row["i4"], row["i2"], row["i8"], row["f8"]) == (42, 7, 9007199254740993, 1.5)
    assert (row["nan"], row["inf"], row["t"], row["f"]) == (None, None, True, False)
    assert (row["num"], type(row["tiny"]), float(row["tiny"])) == ("123.450", str, 1e-10)
    assert (row["tx"], row["vc"], row["ch"], row["nm"]) == ("x", "y", "z  ", "n")
    assert row["u"] == "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
    assert row["tz"] == "2024-06-15T12:30:00+00:00"
    assert row["ts"].startswith("2024-06-15T12:30:00.5")
    assert (row["d"], row["jb"], row["j"]) == ("2024-06-15", {"k": [1, 2]}, [1])
    assert all(row[name] is None for name in ("ni", "nt", "nn", "ntz", "nj"))


def test_types_as_the_reference_looks_at_them(stage: Stage) -> None:
    stage.run(f"""
        CREATE TEMP TABLE _s AS SELECT df.start($q${TYPES}$q$) AS id;
        SELECT df.await_instance(id) FROM _s;
        DO $$
        DECLARE r JSONB;
        BEGIN
            SELECT df.result(id)::jsonb->'rows'->0 INTO r FROM _s;
            IF jsonb_typeof(r->'i4') <> 'number' OR jsonb_typeof(r->'t') <> 'boolean'
                OR jsonb_typeof(r->'num') <> 'string'
               OR jsonb_typeof(r->'tz') <> 'string' OR jsonb_typeof(r->'jb') <> 'object'
                   OR jsonb_typeof(r->'u') <> 'string'
               OR jsonb_typeof(r->'nan') <> 'null' OR jsonb_typeof(r->'ni') <> 'null' THEN
                RAISE EXCEPTION 'types %', r;
            END IF;
            IF r->>'tz' NOT LIKE '2024-06-15T%' OR r->>'d' <> '2024-06-15' OR (r->>'num')::numeric <> 123.45 THEN
                RAISE EXCEPTION 'values %', r;
            END IF;
            IF NOT r ? 'nt' THEN RAISE EXCEPTION 'the key of a NULL is missing'; END IF;
        END $$;
    """)


def test_types_that_the_reference_refuses_are_kept(stage: Stage) -> None:
    """There a bytea fails the node after its statement has committed; here it is what to_json makes of it."""
    query = r"SELECT '\x01ff'::bytea AS b, ARRAY[1, 2] AS a, '1 day'::interval AS i, '10.0.0.1'::inet AS n"
    row = stage.result(f"$q${query}$q$")["rows"][0]
    assert row == {"b": "\\x01ff", "a": [1, 2], "i": "1 day", "n": "10.0.0.1"}


def test_void(stage: Stage) -> None:
    assert stage.result("'SELECT pg_sleep(0)'") == {"rows": [{"pg_sleep": None}], "row_count": 1}


def test_nobody_gets_a_result_before_the_end_or_after_a_failure(stage: Stage) -> None:
    shown = stage.run("""
        SELECT df.start('SELECT 1 AS x' ~> 'SELECT 1/0') AS i, df.start(df.sleep(600)) AS j \\gset
        SELECT df.await_instance(:'i');
        SELECT df.result(:'i') IS NULL, df.result(:'j') IS NULL, df.result('ffffffff') IS NULL,
            df.result(NULL) IS NULL;
        SELECT df.status(:'i'), df.status('ffffffff') IS NULL, df.status('nonsense') IS NULL, df.status('') IS NULL;
        SELECT count(*), bool_and(result::text LIKE '%division by zero%') FROM df.nodes WHERE instance_id = :'i'
            AND status = 'failed';
        SELECT output LIKE '%division by zero%', status FROM df.instance_info(:'i');
        SELECT completed_at IS NULL FROM df.instances WHERE id = :'i';
        SELECT df.cancel(:'j') LIKE 'Instance % cancelled: Cancelled by user';
        SELECT df.result(:'j') IS NULL;
    """)
    assert shown.splitlines() == [
        "failed", "t|t|t|t", "failed|t|t|t", "2|t", "t|failed", "t", "t", "t",
    ]  # fmt: skip


def test_rows_of_nodes_and_instances(stage: Stage) -> None:
    """What file 51 reads: all nodes completed, ids of the documented shape, the root's row, the exact result."""
    stage.run("""
        CREATE TEMP TABLE _s AS SELECT df.start(('SELECT 1 AS a' & 'SELECT 2 AS b') ~> 'SELECT 3 AS c', 'pk') AS id;
        SELECT df.await_instance(id) FROM _s;
        DO $$
        DECLARE i df.instances; n INT; r TEXT;
        BEGIN
            SELECT x.* INTO i FROM df.instances x, _s WHERE x.id = _s.id;
            IF i.id !~ '^[0-9a-f]{8}$' OR i.root_node !~ '^[0-9a-f]{8}$' OR i.label <> 'pk' OR i.database IS NOT NULL
               OR i.submitted_by::text <> current_user OR i.completed_at < i.created_at
                   OR i.status <> 'completed' THEN
                RAISE EXCEPTION 'instance %', i;
            END IF;
            SELECT count(*) INTO n FROM df.nodes WHERE instance_id = i.id AND status = 'completed'
                AND id ~ '^[0-9a-f]{8}$'
                AND submitted_by = i.submitted_by AND status_details->>'execution_id' LIKE i.id || '::%';
            IF n <> 5 THEN RAISE EXCEPTION '% nodes', n; END IF;
            SELECT count(*) INTO n FROM df.nodes p JOIN df.nodes c ON c.instance_id = p.instance_id
                AND c.id IN (p.left_node, p.right_node)
                WHERE p.instance_id = i.id;
            IF n <> 4 THEN RAISE EXCEPTION '% links', n; END IF;
            SELECT df.result(i.id) INTO r;
            IF r <> '{"rows": [{"c": 3}], "row_count": 1}' THEN RAISE EXCEPTION 'result %', r; END IF;
            IF (SELECT result::text FROM df.nodes WHERE instance_id = i.id
                AND id = i.root_node) <> r THEN RAISE EXCEPTION 'root'; END IF;
            IF (SELECT count(*) FROM df.nodes n JOIN pg_roles g ON g.oid = n.submitted_by::oid
                WHERE instance_id = i.id) <> 5 THEN
                RAISE EXCEPTION 'owner';
            END IF;
        END $$;
    """)


def test_columns_have_the_documented_types(stage: Stage) -> None:
    shown = stage.run("""
        SELECT attrelid::regclass, string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', '
            ORDER BY attnum)
        FROM pg_attribute WHERE attrelid IN ('df.instances'::regclass, 'df.nodes'::regclass) AND attnum BETWEEN 1
            AND 13 GROUP BY 1 ORDER BY 1
    """)
    assert (
        "submitted_by regrole, database text, created_at timestamp with time zone, updated_at timestamp with time zone"
        in shown
    )
    assert "result jsonb" in shown


@as_superuser
def test_a_superuser_gets_results_too(stage: Stage) -> None:
    who = "'SELECT current_user AS who, session_user AS login, rolsuper FROM pg_roles WHERE rolname = current_user'"
    row = stage.row(who, SUPERUSER)
    assert row["who"] == row["login"]
    assert row["rolsuper"] is True
