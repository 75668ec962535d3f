-- df.list_instances and its kin: what the reference shows, read from the history. Everything is filtered to the caller's
-- own workflows by the views. Unknown and hidden ids give no rows.

CREATE OR REPLACE FUNCTION df_engine.function_name() RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 'pg_durable::orchestration::execute-function-graph'::pg_catalog.text;

-- ---------------------------------------------------------------------------------------------------------- lists

CREATE OR REPLACE FUNCTION df_engine.check_limit(_limit integer) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _most integer;
BEGIN
    PERFORM df_engine.refuse_null('list_instances', 'limit_count', _limit IS NULL);
    IF _limit < 1 THEN
        RAISE EXCEPTION 'limit_count must be at least 1' USING ERRCODE = '22023';
    END IF;
    _most := df_engine.setting('list_instances_max_limit')::integer;
    IF _limit > _most THEN
        RAISE EXCEPTION 'limit_count must not exceed pg_durable.list_instances_max_limit (%)', _most USING ERRCODE = '22023',
            HINT = 'Read the next page with after_cursor.';
    END IF;
END $$;

-- Newest first, from after a place on. The conditions are put in only where they are asked for, so that each case gets the
-- plan that fits it: most workflows have completed, and are read in their order until there are enough; those that have not
-- are few, have an index of their own, and are sorted. The owner is named where the caller sees nobody else's, for the
-- index's sake.
CREATE OR REPLACE FUNCTION df_engine.listed(
    _status text, _label text, _after timestamptz, _after_id text, _limit integer
)
RETURNS TABLE (bucket smallint, instance_id text, label text, status text, created_at timestamptz, ended_at timestamptz,
               execution_id integer, head_seq integer)
LANGUAGE plpgsql STABLE ROWS 100 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY EXECUTE concat(
        'SELECT l.bucket, l.instance_id, l.label, l.status, l.created_at, l.ended_at, l.execution_id, l.head_seq FROM ',
        CASE WHEN coalesce(_status, 'completed') = 'completed' THEN 'df_engine.listed_instances l WHERE true'
             ELSE 'df_engine.visible_instances l WHERE l.status <> ''completed''' END,
        CASE WHEN _status IS NOT NULL THEN ' AND l.status = $1' END,
        CASE WHEN NOT df_engine.sees_all() THEN ' AND l.owner = (SELECT quote_ident(current_user)::regrole)' END,
        CASE WHEN _label IS NOT NULL THEN ' AND l.label = $2' END,
        CASE WHEN _after IS NOT NULL THEN ' AND l.created_at <= $3 AND (l.created_at < $3 OR l.instance_id > $4)' END,
        CASE WHEN _status <> 'completed' THEN ' ORDER BY l.created_at DESC, l.instance_id' END,
        ' LIMIT $5')
        USING _status, _label, _after, _after_id, _limit;
END $$;

CREATE OR REPLACE FUNCTION df.list_instances(status_filter text DEFAULT NULL, limit_count integer DEFAULT 100)
RETURNS TABLE (instance_id text, label text, function_name text, status text, execution_count bigint, output text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM df_engine.check_limit(limit_count);
    RETURN QUERY
        SELECT l.instance_id, l.label, df_engine.function_name(), l.status, l.execution_id::bigint,
               df_engine.visible_outcome(l.bucket, l.instance_id, l.execution_id, l.head_seq, l.status)
        FROM df_engine.listed(status_filter, NULL, NULL, NULL, limit_count) l
        ORDER BY l.created_at DESC, l.instance_id;
END $$;

-- A cursor is hex of v1|<created_at, UTC>|<id>.
CREATE OR REPLACE FUNCTION df_engine.cursor_text(_created_at timestamptz, _instance_id text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN encode(convert_to('v1|' || to_char(_created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00"') || '|'
                             || _instance_id, 'UTF8'), 'hex');
END $$;

CREATE OR REPLACE FUNCTION df_engine.cursor_place(_cursor text, OUT created_at timestamptz, OUT instance_id text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _parts text[];
BEGIN
    IF _cursor IS NULL THEN
        RETURN;
    ELSIF length(_cursor) <= 512 AND _cursor ~ '^([0-9a-fA-F]{2})+$' THEN
        _parts := regexp_match(convert_from(decode(_cursor, 'hex'), 'UTF8'),
            E'^v1\\|(\\d{4,6}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{1,6}[+-]\\d\\d(?::?\\d\\d)?)\\|([^|]+)$');
        created_at := _parts[1]::timestamptz;
        instance_id := _parts[2];
    END IF;
    IF instance_id IS NULL THEN
        RAISE data_exception;
    END IF;
EXCEPTION WHEN data_exception THEN
    RAISE EXCEPTION 'df.list_instances: invalid after_cursor' USING ERRCODE = '22023',
        HINT = 'Pass next_cursor of the page before, as it is.';
END $$;

-- One row more than asked for is read: whether there is a next page.
CREATE OR REPLACE FUNCTION df.list_instances(
    status_filter text, limit_count integer, label_filter text, after_cursor text DEFAULT NULL
)
RETURNS TABLE (instance_id text, label text, function_name text, status text, execution_count bigint, output text,
               created_at timestamptz, completed_at timestamptz, next_cursor text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    _after record;
BEGIN
    PERFORM df_engine.check_limit(limit_count);
    SELECT * INTO _after FROM df_engine.cursor_place(after_cursor);
    RETURN QUERY
        WITH page AS (
            SELECT l.*, row_number() OVER (ORDER BY l.created_at DESC, l.instance_id) AS place, count(*) OVER () AS found
            FROM df_engine.listed(status_filter, label_filter, _after.created_at, _after.instance_id, limit_count + 1) l
        )
        SELECT p.instance_id, p.label, df_engine.function_name(), p.status, p.execution_id::bigint,
               df_engine.visible_outcome(p.bucket, p.instance_id, p.execution_id, p.head_seq, p.status), p.created_at,
               CASE WHEN p.status = 'completed' THEN p.ended_at END,
               CASE WHEN p.found > limit_count THEN
                   (SELECT df_engine.cursor_text(e.created_at, e.instance_id) FROM page e WHERE e.place = limit_count) END
        FROM page p
        WHERE p.place <= limit_count
        ORDER BY p.place;
END $$;

-- ----------------------------------------------------------------------------------------------------- one instance

CREATE OR REPLACE FUNCTION df_engine.info(_instance_id text)
RETURNS TABLE (instance_id text, label text, function_name text, function_version text, current_execution_id bigint,
               status text, output text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF _instance_id !~ '^[0-9a-f]{8,32}$' THEN
        RETURN;
    END IF;
    RETURN QUERY
        SELECT i.instance_id, i.label, df_engine.function_name(), i.interpreter || '.0.0', i.execution_id::bigint, i.status,
               df_engine.visible_outcome(i.bucket, i.instance_id, i.execution_id, i.head_seq, i.status)
        FROM df_engine.visible_instances i
        WHERE i.bucket = df_engine.bucket_of(_instance_id) AND i.instance_id = _instance_id;
END $$;

-- In SQL, since a parameter and a column have the same name.
CREATE OR REPLACE FUNCTION df.instance_info(instance_id text)
RETURNS TABLE (instance_id text, label text, function_name text, function_version text, current_execution_id bigint,
               status text, output text)
LANGUAGE sql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
    SELECT i.* FROM df_engine.info($1) i
$$;

-- Executions: one, or one per iteration of a loop at the root. The status words are those of the reference's engine, which
-- has none for cancelled. Old iterations may have been cleared away.
CREATE OR REPLACE FUNCTION df.instance_executions(instance_id text, limit_count integer DEFAULT 5)
RETURNS TABLE (execution_id bigint, status text, event_count bigint, duration_ms bigint, output text)
LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF limit_count < 1 THEN
        RAISE EXCEPTION 'limit_count must be at least 1' USING ERRCODE = '22023';
    ELSIF $1 !~ '^[0-9a-f]{8,32}$' THEN
        RETURN;
    END IF;
    RETURN QUERY
        SELECT x.execution_id::bigint,
               CASE l.kind WHEN 'ExecutionCompleted' THEN 'Completed' WHEN 'ExecutionContinued' THEN 'ContinuedAsNew'
                    WHEN 'ExecutionFailed' THEN 'Failed' WHEN 'ExecutionCancelled' THEN 'Failed' ELSE 'Running' END,
               l.seq::bigint,
               CASE WHEN l.kind LIKE 'Execution%' AND l.seq > 1
                    THEN (extract(epoch FROM l.recorded_at - f.recorded_at) * 1000)::bigint ELSE 0 END,
               CASE l.kind WHEN 'ExecutionCompleted' THEN df_engine.visible_text(i.bucket, i.instance_id, l.payload::json->'result')
                    WHEN 'ExecutionFailed' THEN l.payload::json #>> '{failure,message}'
                    WHEN 'ExecutionCancelled' THEN 'canceled: ' || (l.payload::json->>'reason') END
        FROM df_engine.visible_instances i
        CROSS JOIN LATERAL generate_series(i.execution_id, greatest(1, i.execution_id - least(limit_count, 10000) + 1), -1)
             AS x (execution_id)
        CROSS JOIN LATERAL (
            SELECT h.seq, h.kind, h.payload, h.recorded_at FROM df_engine.visible_history h
            WHERE h.bucket = i.bucket AND h.instance_id = i.instance_id AND h.execution_id = x.execution_id
            ORDER BY h.seq DESC LIMIT 1) l
        CROSS JOIN LATERAL (
            SELECT h.recorded_at FROM df_engine.visible_history h
            WHERE h.bucket = i.bucket AND h.instance_id = i.instance_id AND h.execution_id = x.execution_id AND h.seq = 1) f
        WHERE i.bucket = df_engine.bucket_of($1) AND i.instance_id = $1
        ORDER BY x.execution_id DESC;
END $$;

CREATE OR REPLACE FUNCTION df.instance_nodes(instance_id_param text)
RETURNS TABLE (node_id text, node_type text, query text, result_name text, left_node text, right_node text, status text,
               result text, status_details text, inferred_status text, inferred_status_from_ancestor_id text,
               updated_at timestamptz)
LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    _bucket smallint := df_engine.visible_bucket(instance_id_param);
BEGIN
    RETURN QUERY
        SELECT df_engine.node_id(n.index), n.node_type, df_engine.shown_query(n.query, n.condition_index, n.extra_indexes),
               n.result_name, df_engine.node_id(n.left_index), df_engine.node_id(n.right_index), n.status,
               df_engine.node_result(i.bucket, i.instance_id, n.status, n.detail)::text,
               CASE WHEN n.stamp IS NOT NULL THEN jsonb_build_object('execution_id', n.stamp)::text END,
               n.inferred, df_engine.node_id(n.inferred_from), coalesce(n.marked_at, i.created_at)
        FROM df_engine.inferred_nodes(instance_id_param) n
        JOIN df_engine.visible_instances i
          ON i.bucket = _bucket AND i.instance_id = instance_id_param
        ORDER BY n.index;
END $$;

CREATE OR REPLACE FUNCTION df.instance_nodes(instance_id_param text, _last_n_executions integer)
RETURNS TABLE (execution_id bigint, node_id text, node_type text, query text, result_name text, left_node text,
               right_node text, status text, result text, updated_at timestamptz)
LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT 1::bigint, n.node_id, n.node_type, n.query, n.result_name, n.left_node, n.right_node, n.status, n.result,
               n.updated_at
        FROM df.instance_nodes(instance_id_param) n;
END $$;

-- ---------------------------------------------------------------------------------------------------------- metrics

-- Everybody's, for whoever may call df.metrics(): the view asks for the caller's privilege. A large history is estimated.
CREATE OR REPLACE VIEW df_engine.all_counts WITH (security_barrier) AS
    SELECT count(*) AS total, count(*) FILTER (WHERE i.status IN ('pending', 'running')) AS running,
           count(*) FILTER (WHERE i.status = 'completed') AS completed,
           count(*) FILTER (WHERE i.status IN ('failed', 'cancelled')) AS failed,
           coalesce(sum(i.execution_id), 0)::bigint AS executions,
           (SELECT CASE WHEN c.reltuples > 1000000 THEN c.reltuples::bigint
                        ELSE (SELECT count(*) FROM df_engine.history) END
            FROM pg_catalog.pg_class c WHERE c.oid = 'df_engine.history'::regclass) AS events
    FROM df_engine.instances i
    WHERE has_function_privilege(current_user, 'df.metrics()', 'EXECUTE');
GRANT SELECT ON df_engine.all_counts TO PUBLIC;

-- Cancelled workflows count as failed ones, as the reference's engine has it: the three add up.
CREATE OR REPLACE FUNCTION df.metrics()
RETURNS TABLE (total_instances bigint, running_instances bigint, completed_instances bigint, failed_instances bigint,
               total_executions bigint, total_events bigint)
LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT c.total, c.running, c.completed, c.failed, c.executions, c.events FROM df_engine.all_counts c;
END $$;
