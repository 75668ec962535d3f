-- What people see, derived from the history. Security-barrier views with the owner test in WHERE: a view over a table with
-- row security would show everybody's rows, and security_invoker does not exist on 14.
--
-- The test is written so that the usual case, one's own row, costs nothing more: the second arm is asked once a query, and
-- only when the first one has failed.

-- By id alone, as people ask; and what is under way or went wrong, among a million that went well.
CREATE INDEX IF NOT EXISTS starts_by_id ON df_engine.starts (instance_id);
CREATE INDEX IF NOT EXISTS instances_not_completed ON df_engine.instances (status, bucket, instance_id)
    WHERE status <> 'completed';

-- Whether the calling role sees everybody's rows: superusers, BYPASSRLS, whoever has the rights of the schema's owner, and
-- those to whom that one gave df.grant_view().
CREATE OR REPLACE FUNCTION df_engine.sees_all() RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM pg_namespace n JOIN pg_roles r ON r.rolname = current_user
        WHERE n.nspname = 'df' AND (r.rolsuper OR r.rolbypassrls OR pg_has_role(r.oid, n.nspowner, 'USAGE')))
        OR df_engine.observes(current_user, false);
END $$;

CREATE OR REPLACE VIEW df_engine.visible_instances WITH (security_barrier) AS
    SELECT i.bucket, i.instance_id, i.owner, s.label, i.status, s.database, s.created_at, i.updated_at, i.ended_at,
           i.execution_id, i.head_seq, i.parked, s.graph, s.variables, i.interpreter, i.queue
    FROM df_engine.instances i
    JOIN df_engine.starts s ON s.bucket = i.bucket AND s.instance_id = i.instance_id
    WHERE i.owner = quote_ident(current_user)::regrole
       OR (SELECT df_engine.sees_all());

CREATE OR REPLACE VIEW df_engine.visible_history WITH (security_barrier) AS
    SELECT h.bucket, h.instance_id, h.execution_id, h.seq, h.kind, h.payload, h.recorded_at
    FROM df_engine.history h
    JOIN df_engine.instances i ON i.bucket = h.bucket AND i.instance_id = h.instance_id
    WHERE i.owner = quote_ident(current_user)::regrole
       OR (SELECT df_engine.sees_all());

CREATE OR REPLACE VIEW df_engine.visible_results WITH (security_barrier) AS
    SELECT r.bucket, r.instance_id, r.execution_id, r.seq, r.body
    FROM df_engine.results r
    JOIN df_engine.instances i ON i.bucket = r.bucket AND i.instance_id = r.instance_id
    WHERE i.owner = quote_ident(current_user)::regrole
       OR (SELECT df_engine.sees_all());

-- Newest first within the barrier: ORDER BY from outside does not reach the index through it. LATERAL with a LIMIT, since
-- the planner thinks that bucket and id are independent, expects next to nothing of the join, and would do it all.
CREATE OR REPLACE VIEW df_engine.listed_instances WITH (security_barrier) AS
    SELECT s.bucket, s.instance_id, s.owner, s.label, i.status, s.created_at, i.ended_at, i.execution_id, i.head_seq
    FROM df_engine.starts s
    CROSS JOIN LATERAL (SELECT k.status, k.ended_at, k.execution_id, k.head_seq FROM df_engine.instances k
                        WHERE k.bucket = s.bucket AND k.instance_id = s.instance_id LIMIT 1) i
    WHERE s.owner = quote_ident(current_user)::regrole OR (SELECT df_engine.sees_all())
    ORDER BY s.created_at DESC, s.instance_id;

-- Work and waits. Tokens stay where they are.
CREATE OR REPLACE VIEW df_engine.visible_tasks WITH (security_barrier) AS
    SELECT t.bucket, t.instance_id, t.seq, t.execution_id, t.lane, t.kind, t.owner, t.attempt, t.losses, t.autocommit,
           t.queued_at, t.first_failed_at, t.visible_at, t.worker_id, t.leased_at, t.interpreter, t.queue
    FROM df_engine.tasks t
    WHERE t.owner = quote_ident(current_user)::regrole OR (SELECT df_engine.sees_all());

CREATE OR REPLACE VIEW df_engine.visible_timers WITH (security_barrier) AS
    SELECT t.bucket, t.instance_id, t.seq, t.execution_id, t.due_at
    FROM df_engine.timers t
    JOIN df_engine.instances i ON i.bucket = t.bucket AND i.instance_id = t.instance_id
    WHERE i.owner = quote_ident(current_user)::regrole OR (SELECT df_engine.sees_all());

CREATE OR REPLACE VIEW df_engine.visible_waits WITH (security_barrier) AS
    SELECT w.bucket, w.instance_id, w.execution_id, w.seq, w.target_bucket, w.target_id
    FROM df_engine.instance_waits w
    JOIN df_engine.instances i ON i.bucket = w.bucket AND i.instance_id = w.instance_id
    WHERE i.owner = quote_ident(current_user)::regrole OR (SELECT df_engine.sees_all());

CREATE OR REPLACE VIEW df_engine.visible_inbox WITH (security_barrier) AS
    SELECT m.bucket, m.instance_id, m.message_id, m.name, m.body, m.sent_at
    FROM df_engine.inbox m
    JOIN df_engine.instances i ON i.bucket = m.bucket AND i.instance_id = m.instance_id
    WHERE i.owner = quote_ident(current_user)::regrole OR (SELECT df_engine.sees_all());

-- Who serves the caller's steps, and on which backends: workers that hold one of them, or have a session of the role.
CREATE OR REPLACE VIEW df_engine.visible_sessions WITH (security_barrier) AS
    SELECT s.worker_id, s.owner, s.backend_pid, s.backend_start
    FROM df_engine.sessions s
    WHERE s.owner = quote_ident(current_user)::regrole OR (SELECT df_engine.sees_all());

CREATE OR REPLACE VIEW df_engine.visible_role_blocks WITH (security_barrier) AS
    SELECT b.worker_id, b.owner, b.reason, b.since
    FROM df_engine.role_blocks b
    WHERE b.owner = quote_ident(current_user)::regrole OR (SELECT df_engine.sees_all());

CREATE OR REPLACE VIEW df_engine.visible_workers WITH (security_barrier) AS
    SELECT w.worker_id, w.login, w.serves_all, w.release, w.interpreter, w.host, w.pid, w.slots, w.started_at, w.beat_at,
           w.idle, w.draining, w.beat_at > clock_timestamp() - make_interval(secs => w.lease_seconds) AS alive
    FROM df_engine.workers w
    WHERE w.serves_all OR w.login = quote_ident(current_user)::regrole OR (SELECT df_engine.sees_all());

-- Behind USAGE on the schema; each view shows the caller's own rows only.
GRANT SELECT ON df_engine.visible_instances, df_engine.visible_history, df_engine.visible_results,
    df_engine.listed_instances, df_engine.visible_tasks, df_engine.visible_timers, df_engine.visible_waits,
    df_engine.visible_inbox, df_engine.visible_sessions, df_engine.visible_role_blocks, df_engine.visible_workers TO PUBLIC;

-- As df_engine.result_text, with the caller's eyes.
CREATE OR REPLACE FUNCTION df_engine.visible_text(_bucket smallint, _instance_id text, _ref json) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _text text;
BEGIN
    IF _ref IS NULL THEN
        RETURN NULL;
    ELSIF json_typeof(_ref) = 'array' THEN
        SELECT r.body INTO _text FROM df_engine.visible_results r
            WHERE r.bucket = _bucket AND r.instance_id = _instance_id
              AND r.execution_id = (_ref->>0)::integer AND r.seq = (_ref->>1)::integer;
        RETURN coalesce(_text, '{"rows":[],"row_count":0}');
    ELSIF _ref->'j' IS NOT NULL THEN
        SELECT '[' || coalesce(string_agg(df_engine.visible_text(_bucket, _instance_id, j.value), ',' ORDER BY j.ordinality), '') || ']'
            INTO _text FROM json_array_elements(_ref->'j') WITH ORDINALITY j;
        RETURN _text;
    END IF;
    RETURN _ref->>'v';
END $$;

-- The raw result of a completed instance that the caller may see; NULL for any other.
CREATE OR REPLACE FUNCTION df_engine.visible_output(_instance_id text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _bucket smallint;
    _payload text;
BEGIN
    IF _instance_id !~ '^[0-9a-f]{8,32}$' THEN
        RETURN NULL;
    END IF;
    SELECT h.bucket, h.payload INTO _bucket, _payload
        FROM df_engine.visible_instances i
        JOIN df_engine.visible_history h ON h.bucket = i.bucket AND h.instance_id = i.instance_id
             AND h.execution_id = i.execution_id AND h.seq = i.head_seq
        WHERE i.bucket = df_engine.bucket_of(_instance_id) AND i.instance_id = _instance_id AND i.status = 'completed';
    RETURN df_engine.visible_text(_bucket, _instance_id, _payload::json->'result');
END $$;

-- A payload as JSON; where somebody's own worker wrote what is none, or what text cannot hold, the text as a JSON string.
-- What lists everybody's workflows must not fail on one of them.
CREATE OR REPLACE FUNCTION df_engine.readable(_payload text) RETURNS json
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF strpos(_payload, E'\\u') > 0 THEN
        PERFORM _payload::jsonb; -- refuses \u0000 and halves of surrogate pairs, at which #>> would raise
    END IF;
    RETURN _payload::json;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN to_json(_payload);
END $$;

CREATE OR REPLACE FUNCTION df_engine.readable_number(_text text) RETURNS integer
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN CASE WHEN _text ~ '^[0-9]{1,9}$' THEN _text::integer END;
END $$;

-- Text that people are shown for a workflow that has ended: its raw result, its error, or why it was cancelled.
-- NULL while it runs.
CREATE OR REPLACE FUNCTION df_engine.visible_outcome(
    _bucket smallint, _instance_id text, _execution_id integer, _head_seq integer, _status text
) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _kind text;
    _payload text;
BEGIN
    IF _status IN ('pending', 'running') THEN
        RETURN NULL;
    END IF;
    SELECT h.kind, h.payload INTO _kind, _payload FROM df_engine.visible_history h
        WHERE h.bucket = _bucket AND h.instance_id = _instance_id AND h.execution_id = _execution_id
          AND (h.seq = _head_seq OR h.kind = 'CancelRequested')
        ORDER BY h.seq DESC LIMIT 1;
    RETURN CASE _kind
        WHEN 'ExecutionCompleted' THEN df_engine.visible_text(_bucket, _instance_id, _payload::json->'result')
        WHEN 'ExecutionFailed' THEN _payload::json #>> '{failure,message}'
        WHEN 'ExecutionCancelled' THEN 'canceled: ' || (_payload::json->>'reason')
        WHEN 'CancelRequested' THEN 'canceled: ' || (_payload::json->>'reason') END;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN NULL;
END $$;

-- The columns of the reference first. The error is that of the whole workflow.
CREATE OR REPLACE VIEW df.instances WITH (security_barrier) AS
    SELECT i.instance_id AS id, s.label, df_engine.node_id(0) AS root_node, i.status, i.owner AS submitted_by,
           s.database, s.created_at, i.updated_at,
           CASE WHEN i.status = 'completed' THEN i.ended_at END AS completed_at,
           i.ended_at, i.execution_id, i.parked,
           df_engine.readable(e.payload) #>> '{failure,message}' AS error,
           df_engine.readable(e.payload) #>> '{failure,sqlstate}' AS error_sqlstate,
           df_engine.readable(e.payload) #>> '{failure,detail}' AS error_detail,
           df_engine.readable(e.payload) #>> '{failure,hint}' AS error_hint,
           df_engine.readable_number(df_engine.readable(e.payload) #>> '{failure,attempt}') AS error_attempt
    FROM df_engine.instances i
    JOIN df_engine.starts s ON s.bucket = i.bucket AND s.instance_id = i.instance_id
    LEFT JOIN df_engine.history e ON i.status = 'failed' AND e.bucket = i.bucket AND e.instance_id = i.instance_id
         AND e.execution_id = i.execution_id AND e.seq = i.head_seq
    WHERE i.owner = quote_ident(current_user)::regrole OR (SELECT df_engine.sees_all());
