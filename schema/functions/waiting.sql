-- What the reference lacks: what a workflow waits for, its history, its steps with their times and attempts, and the signals
-- that nobody has consumed yet. Read with the caller's eyes; unknown and hidden ids give no rows.

-- The bucket of an instance that the caller may see, NULL for any other.
CREATE OR REPLACE FUNCTION df_engine.visible_bucket(_instance_id text) RETURNS smallint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF _instance_id !~ '^[0-9a-f]{8,32}$' THEN
        RETURN NULL;
    END IF;
    RETURN (SELECT i.bucket FROM df_engine.visible_instances i
            WHERE i.bucket = df_engine.bucket_of(_instance_id) AND i.instance_id = _instance_id);
END $$;

-- Every event in order. `node_id` is the node that the event is about; outcomes name what they are the outcome of ("of"),
-- and the node is that one's.
CREATE OR REPLACE FUNCTION df.history(instance_id text)
RETURNS TABLE (execution_id integer, seq integer, kind text, node_id text, payload json, recorded_at timestamptz)
LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    _id text := $1;
    _bucket smallint := df_engine.visible_bucket($1);
BEGIN
    RETURN QUERY
        WITH events AS MATERIALIZED (
            SELECT h.execution_id, h.seq, h.kind, df_engine.readable(h.payload) AS data, h.recorded_at
            FROM df_engine.visible_history h
            WHERE h.bucket = _bucket AND h.instance_id = _id
        )
        SELECT e.execution_id, e.seq, e.kind,
               df_engine.node_id(df_engine.readable_number(coalesce(e.data->>'node', o.data->>'node'))), e.data, e.recorded_at
        FROM events e
        LEFT JOIN events o ON o.execution_id = e.execution_id AND o.seq = df_engine.readable_number(e.data->>'of')
        ORDER BY e.execution_id, e.seq;
END $$;

-- Every step that was given out: when, how often it was tried, how it ended. `running_since` is there while it runs.
CREATE OR REPLACE FUNCTION df.steps(instance_id text)
RETURNS TABLE (execution_id integer, seq integer, node_id text, kind text, query text, result_name text, status text,
               attempts integer, scheduled_at timestamptz, running_since timestamptz, ended_at timestamptz,
               error text, error_sqlstate text, error_detail text, error_hint text, autocommit boolean)
LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    _id text := $1;
    _bucket smallint := df_engine.visible_bucket($1);
BEGIN
    RETURN QUERY
        WITH events AS MATERIALIZED (
            SELECT h.execution_id, h.seq, h.kind, h.payload::json AS data, h.recorded_at FROM df_engine.visible_history h
            WHERE h.bucket = _bucket AND h.instance_id = _id AND h.kind LIKE 'Activity%'
        ), outcomes AS (
            SELECT e.execution_id, (e.data->>'of')::integer AS seq,
                   max(e.kind) FILTER (WHERE e.kind IN ('ActivityCompleted', 'ActivityFailed', 'ActivityCancelled')) AS kind,
                   max(e.recorded_at) FILTER (WHERE e.kind IN ('ActivityCompleted', 'ActivityFailed', 'ActivityCancelled')) AS at,
                   count(*) FILTER (WHERE e.kind = 'ActivityAttemptFailed')::integer AS lost,
                   bool_or(e.kind = 'ActivityModeChanged') AS autocommit,
                   (array_agg(e.data->'failure' ORDER BY e.seq DESC) FILTER (WHERE e.data->'failure' IS NOT NULL))[1] AS failure
            FROM events e WHERE e.kind <> 'ActivityScheduled' GROUP BY 1, 2
        )
        SELECT s.execution_id, s.seq, df_engine.node_id(g.index), s.data->>'kind', g.query, g.result_name,
               CASE WHEN o.kind IS NOT NULL THEN lower(substr(o.kind, 9))
                    WHEN t.worker_id IS NOT NULL THEN 'running'
                    WHEN t.visible_at > statement_timestamp() THEN 'retrying'
                    WHEN t.seq IS NOT NULL THEN 'queued' ELSE 'cancelled' END,
               coalesce(o.lost, 0) + 1 - (t.seq IS NOT NULL AND t.worker_id IS NULL AND coalesce(o.lost, 0) > 0)::integer,
               s.recorded_at, t.leased_at, o.at, o.failure->>'message', o.failure->>'sqlstate', o.failure->>'detail',
               o.failure->>'hint', coalesce(o.autocommit, false)
        FROM df_engine.visible_instances i
        CROSS JOIN events s
        JOIN df_engine.graph_nodes(i.graph) g ON g.index = (s.data->>'node')::integer
        LEFT JOIN outcomes o ON o.execution_id = s.execution_id AND o.seq = s.seq
        LEFT JOIN df_engine.visible_tasks t ON t.bucket = i.bucket AND t.instance_id = i.instance_id
             AND t.execution_id = s.execution_id AND t.seq = s.seq
        WHERE i.bucket = _bucket AND i.instance_id = _id AND s.kind = 'ActivityScheduled'
        ORDER BY s.execution_id, s.seq;
END $$;

-- Signals that were sent and not consumed, oldest first: "sent" until the engine has noted them, then "received".
CREATE OR REPLACE FUNCTION df.signals(instance_id text)
RETURNS TABLE (signal_name text, data json, state text, sent_at timestamptz)
LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    _id text := $1;
    _bucket smallint := df_engine.visible_bucket($1);
BEGIN
    RETURN QUERY
        SELECT u.name, (r.body::json)->'data', 'received'::text, h.recorded_at
        FROM df_engine.unconsumed(_bucket, _id) u
        LEFT JOIN df_engine.visible_results r ON r.bucket = _bucket AND r.instance_id = _id
             AND r.execution_id = u.execution_id AND r.seq = u.seq
        LEFT JOIN df_engine.visible_history h ON h.bucket = _bucket AND h.instance_id = _id
             AND h.execution_id = u.execution_id AND h.seq = u.seq
        ORDER BY u.execution_id, u.seq;
    RETURN QUERY
        SELECT m.name, m.body::json, 'sent'::text, m.sent_at FROM df_engine.visible_inbox m
        WHERE m.bucket = _bucket AND m.instance_id = _id ORDER BY m.message_id;
END $$;

-- Messages of the current execution that no wait has consumed, by the event that received them: its own, and those that
-- were carried over from the execution before.
CREATE OR REPLACE FUNCTION df_engine.unconsumed(_bucket smallint, _instance_id text)
RETURNS TABLE (name text, execution_id integer, seq integer)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        WITH events AS MATERIALIZED (
            SELECT h.execution_id, h.seq, h.kind, h.payload::json AS data
            FROM df_engine.visible_instances i
            JOIN df_engine.visible_history h ON h.bucket = i.bucket AND h.instance_id = i.instance_id
                 AND h.execution_id = i.execution_id
            WHERE i.bucket = _bucket AND i.instance_id = _instance_id AND i.ended_at IS NULL
              AND h.kind IN ('ExecutionStarted', 'SignalReceived', 'SignalConsumed')
        )
        SELECT m.name, m.execution_id, m.seq
        FROM (SELECT e.data->>'name' AS name, e.execution_id, e.seq FROM events e WHERE e.kind = 'SignalReceived'
              UNION ALL
              SELECT c.value->>0, (c.value #>> '{1,0}')::integer, (c.value #>> '{1,1}')::integer
              FROM events e CROSS JOIN LATERAL json_array_elements(e.data->'signals') c
              WHERE e.kind = 'ExecutionStarted') m
        WHERE NOT EXISTS (SELECT FROM events e
                          WHERE e.kind = 'SignalConsumed' AND (e.data #>> '{message,0}')::integer = m.execution_id
                            AND (e.data #>> '{message,1}')::integer = m.seq)
        ORDER BY m.execution_id, m.seq;
END $$;

-- Waits for signals that are open: nodes whose inferred status says so, by the event that began the wait. A branch that lost
-- a race left its wait behind without an event of its own.
CREATE OR REPLACE FUNCTION df_engine.open_signals(_bucket smallint, _instance_id text)
RETURNS TABLE (seq integer, index integer, name text, since timestamptz)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT DISTINCT ON (n.index) a.seq, n.index, a.data->>'name', a.recorded_at
        FROM (SELECT h.seq, h.payload::json AS data, h.recorded_at
              FROM df_engine.visible_instances i
              JOIN df_engine.visible_history h ON h.bucket = i.bucket AND h.instance_id = i.instance_id
                   AND h.execution_id = i.execution_id
              WHERE i.bucket = _bucket AND i.instance_id = _instance_id AND h.kind = 'SignalAwaited') a
        JOIN df_engine.inferred_nodes(_instance_id) n
          ON n.index = (a.data->>'node')::integer AND n.inferred = 'running' AND n.node_type = 'SIGNAL'
        ORDER BY n.index, a.seq DESC;
END $$;

-- Everything that keeps an unfinished instance: tasks, timers, waits, each with the node it belongs to (NULL for turns).
CREATE OR REPLACE FUNCTION df_engine.kept_by(_bucket smallint, _instance_id text)
RETURNS TABLE (index integer, waits_for text, name text, due_at timestamptz, since timestamptz, attempt integer,
               worker_id bigint, reason text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        WITH i AS (
            SELECT * FROM df_engine.visible_instances v
            WHERE v.bucket = _bucket AND v.instance_id = _instance_id AND v.ended_at IS NULL
        ), begun AS MATERIALIZED (
            SELECT h.seq, (h.payload::json->>'node')::integer AS index, h.recorded_at
            FROM i JOIN df_engine.visible_history h ON h.bucket = i.bucket AND h.instance_id = i.instance_id
                 AND h.execution_id = i.execution_id AND h.kind IN ('ActivityScheduled', 'TimerSet', 'InstanceAwaited')
        ), timers AS MATERIALIZED (
            SELECT t.seq, b.index, t.due_at, b.recorded_at FROM i
            JOIN df_engine.visible_timers t ON t.bucket = i.bucket AND t.instance_id = i.instance_id
            JOIN begun b ON b.seq = t.seq
        ), signals AS MATERIALIZED (
            SELECT o.* FROM i CROSS JOIN LATERAL df_engine.open_signals(i.bucket, i.instance_id) o
        ), waits AS MATERIALIZED (
            SELECT w.seq, b.index, w.target_id, b.recorded_at FROM i
            JOIN df_engine.visible_waits w ON w.bucket = i.bucket AND w.instance_id = i.instance_id
            JOIN begun b ON b.seq = w.seq
        )
        SELECT NULL::integer, 'parked'::text, NULL::text, NULL::timestamptz, i.updated_at, NULL::integer, NULL::bigint, i.parked
        FROM i WHERE i.parked IS NOT NULL
        UNION ALL
        SELECT b.index,
               CASE WHEN t.seq = 0 THEN 'turn' WHEN t.worker_id IS NOT NULL THEN 'running'
                    WHEN t.visible_at > statement_timestamp() THEN 'retry' ELSE 'queued' END,
               NULL, CASE WHEN t.worker_id IS NULL AND t.visible_at > statement_timestamp() THEN t.visible_at END,
               coalesce(t.leased_at, t.queued_at), t.attempt, t.worker_id,
               CASE WHEN t.worker_id IS NULL THEN
                   coalesce(CASE WHEN t.seq > 0 AND (t.lane = 'http' OR i.database IS NOT NULL)
                                      AND df_engine.setting('hold_outbound') = 'on'
                            THEN 'outbound steps are held: perdure fence off lets them go' END,
                            (SELECT min(k.reason) FROM df_engine.visible_role_blocks k WHERE k.owner = i.owner),
                            CASE WHEN NOT EXISTS (
                                SELECT FROM df_engine.visible_workers w
                                WHERE w.alive AND (w.serves_all OR w.login = i.owner) AND w.interpreter >= i.interpreter)
                            THEN 'no worker that serves this workflow is alive' END) END
        FROM i JOIN df_engine.visible_tasks t ON t.bucket = i.bucket AND t.instance_id = i.instance_id
        LEFT JOIN begun b ON b.seq = t.seq
        WHERE i.parked IS NULL OR t.seq > 0
        UNION ALL
        SELECT s.index, 'signal', s.name, t.due_at, s.since, NULL, NULL, NULL
        FROM signals s LEFT JOIN timers t ON t.seq = s.seq + 1 AND t.index = s.index
        UNION ALL
        SELECT w.index, 'instance', w.target_id, t.due_at, w.recorded_at, NULL, NULL, NULL
        FROM waits w LEFT JOIN timers t ON t.seq = w.seq + 1 AND t.index = w.index
        UNION ALL
        SELECT t.index, 'timer', NULL, t.due_at, t.recorded_at, NULL, NULL, NULL
        FROM timers t
        WHERE (t.seq - 1, t.index) NOT IN (SELECT s.seq, s.index FROM signals s UNION ALL SELECT w.seq, w.index FROM waits w);
END $$;

-- What a workflow waits for, a row for each thing:
--
--   signal    a signal of that name; due_at is its time-out
--   timer     df.sleep; schedule: df.wait_for_schedule; pace: the shortest time of an iteration
--   instance  another workflow's end; due_at is the time-out
--   running   a step that a worker runs: since when, on which host and process, on which of these backends
--   queued    a step that a worker may take; retry: after a failed attempt, not before due_at
--   turn      a decision, after something has happened
--   parked    an administrator; the reason is why
CREATE OR REPLACE FUNCTION df.waiting(instance_id text)
RETURNS TABLE (node_id text, waits_for text, signal_name text, target_id text, schedule text, timezone text,
               due_at timestamptz, since timestamptz, attempt integer, worker_id bigint, worker_host text,
               worker_pid integer, backend_pids integer[], reason text)
LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    _id text := $1;
    _bucket smallint := df_engine.visible_bucket($1);
BEGIN
    RETURN QUERY
        SELECT df_engine.node_id(k.index),
               CASE WHEN k.waits_for <> 'timer' THEN k.waits_for WHEN g.node_type = 'WAIT_SCHEDULE' THEN 'schedule'
                    WHEN g.node_type = 'LOOP' THEN 'pace' ELSE 'timer' END,
               CASE k.waits_for WHEN 'signal' THEN k.name END, CASE k.waits_for WHEN 'instance' THEN k.name END,
               CASE WHEN g.node_type = 'WAIT_SCHEDULE' THEN g.query::json->>'cron_expr' END,
               CASE WHEN g.node_type = 'WAIT_SCHEDULE' THEN g.query::json->>'timezone' END,
               k.due_at, k.since, k.attempt, k.worker_id, w.host, w.pid,
               (SELECT array_agg(s.backend_pid ORDER BY s.backend_pid) FROM df_engine.visible_sessions s
                LEFT JOIN pg_stat_activity a ON a.pid = s.backend_pid
                WHERE s.worker_id = k.worker_id AND s.owner = i.owner AND k.waits_for = 'running'
                  AND a.state IS DISTINCT FROM 'idle'),
               k.reason
        FROM df_engine.visible_instances i
        CROSS JOIN LATERAL df_engine.kept_by(i.bucket, i.instance_id) k
        LEFT JOIN df_engine.graph_nodes(i.graph) g ON g.index = k.index
        LEFT JOIN df_engine.visible_workers w ON w.worker_id = k.worker_id
        WHERE i.bucket = _bucket AND i.instance_id = _id
        ORDER BY k.index, k.since;
END $$;
