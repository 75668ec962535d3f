-- Nodes: the graph as rows, with what the history says of each. Nothing of it is stored.

-- The nodes of a graph, numbered in pre-order: node, left, right, condition, extra branches. Children by number; a graph
-- is what df.start() has checked.
CREATE OR REPLACE FUNCTION df_engine.graph_nodes(_graph text)
RETURNS TABLE (index integer, node_type text, query text, result_name text, left_index integer, right_index integer,
               condition_index integer, extra_indexes integer[])
LANGUAGE plpgsql IMMUTABLE ROWS 100 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH RECURSIVE walk (node, path) AS (
        SELECT _graph::jsonb, '{}'::integer[]
        UNION ALL
        SELECT c.node, w.path || c.place
        FROM walk w
        CROSS JOIN LATERAL (
            SELECT v.place, v.node
            FROM (VALUES (1, w.node->'left_node'), (2, w.node->'right_node'), (3, w.node->'condition_node')) AS v (place, node)
            WHERE jsonb_typeof(v.node) = 'object'
            UNION ALL
            SELECT 3 + e.ordinality::integer, e.value
            FROM jsonb_array_elements(CASE jsonb_typeof(w.node->'extra_nodes') WHEN 'array' THEN w.node->'extra_nodes' END)
                 WITH ORDINALITY e
        ) c
    ), numbered AS (
        SELECT w.path, (row_number() OVER (ORDER BY w.path) - 1)::integer AS index, w.node->>'node_type' AS node_type,
               w.node->>'query' AS query, w.node->>'result_name' AS result_name
        FROM walk w
    ), children AS (
        SELECT trim_array(n.path, 1) AS path,
               max(n.index) FILTER (WHERE n.path[cardinality(n.path)] = 1) AS l,
               max(n.index) FILTER (WHERE n.path[cardinality(n.path)] = 2) AS r,
               max(n.index) FILTER (WHERE n.path[cardinality(n.path)] = 3) AS c,
               array_agg(n.index ORDER BY n.index) FILTER (WHERE n.path[cardinality(n.path)] > 3) AS e
        FROM numbered n WHERE n.path <> '{}' GROUP BY 1
    )
    SELECT n.index, n.node_type, n.query, n.result_name, k.l, k.r, k.c, k.e
    FROM numbered n LEFT JOIN children k ON k.path = n.path
    ORDER BY n.index;
END $$;

-- A composite node's query as df.nodes shows it: with the ids of the children that have no column of their own.
CREATE OR REPLACE FUNCTION df_engine.shown_query(_query text, _condition_index integer, _extra_indexes integer[]) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _added text;
BEGIN
    IF _condition_index IS NOT NULL THEN
        _added := '"condition_node":"' || df_engine.node_id(_condition_index) || '"';
    ELSIF _extra_indexes IS NOT NULL THEN
        SELECT '"extra_nodes":[' || string_agg('"' || df_engine.node_id(e.index) || '"', ',' ORDER BY e.ordinality) || ']'
            INTO _added FROM unnest(_extra_indexes) WITH ORDINALITY AS e (index, ordinality);
    ELSE
        RETURN _query;
    END IF;
    IF coalesce(btrim(_query, E' \t\n\r'), '{}') ~ E'^\\{\\s*\\}$' THEN
        RETURN '{' || _added || '}';
    END IF;
    RETURN regexp_replace(btrim(_query, E' \t\n\r'), E'\\s*\\}$', '') || ',' || _added || '}';
END $$;

-- The last mark of each node in one execution; nodes without one are pending. A mark is
-- [index, "r"|"c"|"f", stamp or null for the root's scope, a result's reference or a failure].
CREATE OR REPLACE FUNCTION df_engine.marks(_bucket smallint, _instance_id text, _execution_id integer)
RETURNS TABLE (index integer, status text, stamp text, detail json, marked_at timestamptz)
LANGUAGE plpgsql STABLE ROWS 100 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT DISTINCT ON (m.index) m.index,
           CASE m.value->>1 WHEN 'r' THEN 'running' WHEN 'c' THEN 'completed' ELSE 'failed' END,
           _instance_id || coalesce(m.value->>2, '::' || _execution_id), m.value->3, m.recorded_at
    FROM (SELECT (e.value->>0)::integer AS index, e.value, h.seq, h.recorded_at
          FROM df_engine.visible_history h
          CROSS JOIN LATERAL json_array_elements(h.payload::json->'marks') e
          WHERE h.bucket = _bucket AND h.instance_id = _instance_id AND h.execution_id = _execution_id
            AND h.kind = 'TurnTaken') m
    ORDER BY m.index, m.seq DESC;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN;  -- a role's own worker wrote what nobody can read: no node of this workflow has a state
END $$;

-- A node's result as df.nodes shows it: what it gave, or the words of its failure.
CREATE OR REPLACE FUNCTION df_engine.node_result(_bucket smallint, _instance_id text, _status text, _detail json) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN CASE _status WHEN 'completed' THEN df_engine.visible_text(_bucket, _instance_id, _detail)::jsonb
                        WHEN 'failed' THEN to_jsonb(_detail->>'message') END;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN NULL;
END $$;

-- One instance's nodes; `detail` is what `result` and `error` are made of.
CREATE OR REPLACE FUNCTION df_engine.nodes_of(_bucket smallint, _instance_id text, _execution_id integer, _graph text)
RETURNS TABLE (index integer, node_type text, query text, result_name text, left_index integer, right_index integer,
               condition_index integer, extra_indexes integer[], status text, stamp text, detail json, marked_at timestamptz)
LANGUAGE plpgsql STABLE ROWS 100 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT g.index, g.node_type, g.query, g.result_name, g.left_index, g.right_index, g.condition_index, g.extra_indexes,
           coalesce(m.status, 'pending'), m.stamp, m.detail, m.marked_at
    FROM df_engine.graph_nodes(_graph) g
    LEFT JOIN df_engine.marks(_bucket, _instance_id, _execution_id) m ON m.index = g.index
    ORDER BY g.index;
END $$;

CREATE OR REPLACE VIEW df.nodes WITH (security_barrier) AS
    SELECT df_engine.node_id(n.index) AS id, i.instance_id, n.node_type,
           df_engine.shown_query(n.query, n.condition_index, n.extra_indexes) AS query, n.result_name,
           df_engine.node_id(n.left_index) AS left_node, df_engine.node_id(n.right_index) AS right_node, n.status,
           df_engine.node_result(i.bucket, i.instance_id, n.status, n.detail) AS result,
           CASE n.status WHEN 'failed' THEN n.detail->>'message' END AS error,
           i.owner AS submitted_by, s.database, s.created_at, coalesce(n.marked_at, s.created_at) AS updated_at,
           CASE WHEN n.stamp IS NOT NULL THEN jsonb_build_object('execution_id', n.stamp) END AS status_details,
           CASE n.status WHEN 'failed' THEN n.detail->>'sqlstate' END AS error_sqlstate,
           CASE n.status WHEN 'failed' THEN n.detail->>'detail' END AS error_detail,
           CASE n.status WHEN 'failed' THEN n.detail->>'hint' END AS error_hint,
           CASE n.status WHEN 'failed' THEN df_engine.readable_number(n.detail->>'attempt') END AS error_attempt
    FROM df_engine.starts s
    JOIN df_engine.instances i ON i.bucket = s.bucket AND i.instance_id = s.instance_id
    CROSS JOIN LATERAL df_engine.nodes_of(i.bucket, i.instance_id, i.execution_id, s.graph) n
    WHERE i.owner = quote_ident(current_user)::regrole OR (SELECT df_engine.sees_all());

-- What a stamp says, level by level from the root: <scope>::<generation>.
CREATE OR REPLACE FUNCTION df_engine.stamp_levels(_stamp text) RETURNS TABLE (scope text, generation integer)
LANGUAGE plpgsql IMMUTABLE ROWS 3 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _parts text[] := string_to_array(_stamp, '::');
BEGIN
    FOR _level IN 1 .. cardinality(_parts) / 2 LOOP
        scope := array_to_string(_parts[1:2 * _level - 1], '::');
        generation := _parts[2 * _level]::integer;
        RETURN NEXT;
    END LOOP;
END $$;

-- The nodes of an instance that the caller may see, with what their statuses mean together: a node that is done in an
-- earlier iteration only, or whose turn will never come, says so. In pre-order; parents come before their children.
--
-- A is the nearest ancestor that has ended in the newest iteration, G the ancestor with the highest generation so far.
CREATE OR REPLACE FUNCTION df_engine.inferred_nodes(_instance_id text)
RETURNS TABLE (index integer, node_type text, query text, result_name text, left_index integer, right_index integer,
               condition_index integer, extra_indexes integer[], status text, stamp text, detail json, marked_at timestamptz,
               inferred text, inferred_from integer)
LANGUAGE plpgsql STABLE ROWS 100 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _n record;
    _ended integer[];
    _latest integer[];
    _latest_generation integer[];
    _own integer;
    _child integer;
BEGIN
    IF _instance_id !~ '^[0-9a-f]{8,32}$' THEN
        RETURN;
    END IF;
    FOR _n IN
        WITH nodes AS (
            SELECT n.* FROM df_engine.visible_instances i
            CROSS JOIN LATERAL df_engine.nodes_of(i.bucket, i.instance_id, i.execution_id, i.graph) n
            WHERE i.bucket = df_engine.bucket_of(_instance_id) AND i.instance_id = _instance_id
        ), levels AS (
            SELECT s.stamp, l.scope, l.generation, max(l.generation) OVER (PARTITION BY l.scope) AS newest
            FROM (SELECT DISTINCT n.stamp FROM nodes n WHERE n.stamp IS NOT NULL) s
            CROSS JOIN LATERAL df_engine.stamp_levels(s.stamp) l
        ), stamps AS (
            SELECT l.stamp, bool_or(l.generation < l.newest) AS superseded FROM levels l GROUP BY l.stamp
        )
        SELECT n.*, coalesce(t.superseded, false) AS superseded,
               coalesce(substring(n.stamp FROM E'::(\\d+)$')::integer, 0) AS generation
        FROM nodes n LEFT JOIN stamps t ON t.stamp = n.stamp
        ORDER BY n.index
    LOOP
        _own := _n.index + 1;
        inferred_from := NULL;
        IF _n.status NOT IN ('completed', 'failed') THEN
            inferred_from := _ended[_own];
            inferred := CASE WHEN inferred_from IS NOT NULL THEN 'skipped' ELSE _n.status END;
        ELSIF NOT _n.superseded THEN
            inferred := _n.status;
            _ended[_own] := _n.index;
        ELSE
            inferred := CASE WHEN _ended[_own] IS NOT NULL THEN 'skipped' ELSE 'pending' END;
            inferred_from := coalesce(_ended[_own], _latest[_own]);
        END IF;
        IF _n.generation >= coalesce(_latest_generation[_own], 0) THEN
            _latest[_own] := _n.index;
            _latest_generation[_own] := _n.generation;
        END IF;
        FOREACH _child IN ARRAY array_remove(ARRAY[_n.left_index, _n.right_index, _n.condition_index], NULL)
                                || coalesce(_n.extra_indexes, '{}') LOOP
            _ended[_child + 1] := _ended[_own];
            _latest[_child + 1] := _latest[_own];
            _latest_generation[_child + 1] := _latest_generation[_own];
        END LOOP;
        index := _n.index;
        node_type := _n.node_type;
        query := _n.query;
        result_name := _n.result_name;
        left_index := _n.left_index;
        right_index := _n.right_index;
        condition_index := _n.condition_index;
        extra_indexes := _n.extra_indexes;
        status := _n.status;
        stamp := _n.stamp;
        detail := _n.detail;
        marked_at := _n.marked_at;
        RETURN NEXT;
    END LOOP;
END $$;
