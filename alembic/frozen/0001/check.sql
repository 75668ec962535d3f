-- df.check: what is wrong, in words and with the place. Nothing is wrong while the system runs: all of it is STABLE, so that
-- every question is answered from the one snapshot of the statement that calls df.check().
--
-- The parts take a bucket, or NULL for all, and one instance, or NULL: a small database is looked at as a whole, a large
-- one bucket by bucket. plan_cache_mode: each call gets the plan that fits its case. enable_nestloop: a barrier view cannot
-- be entered by key from a join, so every part of a query names bucket and instance and the parts are joined by hashing;
-- what the planner thinks of buckets and ids (that they are independent) would make it loop.

-- The shape of each execution: gapless, one beginning, one end and only at the end; head and status as the history says;
-- and the sentence on which "nothing gets stuck" rests: facts that no turn has looked at imply a turn task.
CREATE OR REPLACE FUNCTION df_engine.check_shape(_bucket smallint, _id text)
RETURNS TABLE (instance_id text, problem text, detail text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan
SET enable_nestloop = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH x AS MATERIALIZED (
        SELECT h.bucket, h.instance_id, h.execution_id, count(*) AS events, min(h.seq) AS first, max(h.seq) AS last,
               count(*) FILTER (WHERE h.kind = 'ExecutionStarted') AS starts,
               bool_or(h.kind = 'ExecutionStarted' AND h.seq = 1) AS begins,
               count(*) FILTER (WHERE h.kind IN ('ExecutionContinued', 'ExecutionCompleted', 'ExecutionFailed',
                                                 'ExecutionCancelled')) AS ends,
               max(h.seq) FILTER (WHERE h.kind IN ('ExecutionContinued', 'ExecutionCompleted', 'ExecutionFailed',
                                                   'ExecutionCancelled')) AS end_seq,
               max(h.kind) FILTER (WHERE h.kind IN ('ExecutionContinued', 'ExecutionCompleted', 'ExecutionFailed',
                                                    'ExecutionCancelled')) AS end_kind,
               max(h.seq) FILTER (WHERE h.kind = 'TurnTaken') AS turn,
               max(h.seq) FILTER (WHERE h.kind IN ('ActivityCompleted', 'ActivityFailed', 'TimerFired', 'SignalReceived',
                                                   'InstanceEnded', 'CancelRequested')) AS fact,
               bool_or(h.kind = 'CancelRequested') AS cancelled,
               min(h.seq) FILTER (WHERE json_typeof(df_engine.readable(h.payload)) <> 'object') AS unreadable
        FROM df_engine.visible_history h
        WHERE (_bucket IS NULL OR h.bucket = _bucket) AND (_id IS NULL OR h.instance_id = _id)
        GROUP BY h.bucket, h.instance_id, h.execution_id
    ), i AS MATERIALIZED (
        SELECT v.bucket, v.instance_id, v.status, v.execution_id, v.head_seq, v.ended_at
        FROM df_engine.visible_instances v
        WHERE (_bucket IS NULL OR v.bucket = _bucket) AND (_id IS NULL OR v.instance_id = _id)
    ), turns AS MATERIALIZED (
        SELECT v.bucket, v.instance_id, v.seq FROM df_engine.visible_tasks v
        WHERE v.seq = 0 AND (_bucket IS NULL OR v.bucket = _bucket) AND (_id IS NULL OR v.instance_id = _id)
    )
    SELECT x.instance_id, p.problem, format('execution %s: ', x.execution_id) || p.detail
    FROM x JOIN i ON i.bucket = x.bucket AND i.instance_id = x.instance_id
    LEFT JOIN turns t ON t.bucket = i.bucket AND t.instance_id = i.instance_id
    CROSS JOIN LATERAL (VALUES
        ('gap in the history', format('%s events from %s to %s', x.events, x.first, x.last),
         x.first <> 1 OR x.events <> x.last),
        ('history cannot be read', format('the payload of event %s is no JSON object', x.unreadable), x.unreadable IS NOT NULL),
        ('no beginning', format('%s events ExecutionStarted, or not the first', x.starts), x.starts <> 1 OR NOT x.begins),
        ('more than one end', format('%s events end it', x.ends), x.ends > 1),
        ('events after the end', format('%s is event %s of %s', x.end_kind, x.end_seq, x.last), x.end_seq <> x.last),
        ('old execution without its continuation', format('its end is %s', coalesce(x.end_kind, 'missing')),
         x.execution_id < i.execution_id AND x.end_kind IS DISTINCT FROM 'ExecutionContinued'),
        ('execution after the current one', format('the current one is %s', i.execution_id), x.execution_id > i.execution_id),
        ('head is not the last event', format('head %s, last event %s', i.head_seq, x.last),
         x.execution_id = i.execution_id AND x.last <> i.head_seq),
        ('status differs from the history', format('status %s (ended: %s), history: %s', i.status, i.ended_at IS NOT NULL,
                                                   coalesce(x.end_kind, 'not ended')),
         x.execution_id = i.execution_id AND i.status IS DISTINCT FROM CASE
             WHEN x.end_kind IS NOT NULL THEN lower(substr(x.end_kind, 10)) WHEN x.cancelled THEN 'cancelled'
             WHEN x.turn IS NULL AND x.execution_id = 1 THEN 'pending' ELSE 'running' END),
        ('end differs from the history', format('ended at %s, history: %s', i.ended_at, coalesce(x.end_kind, 'not ended')),
         x.execution_id = i.execution_id AND (i.ended_at IS NOT NULL) <> (x.end_kind IS NOT NULL)),
        ('stuck: facts without a turn', format('fact at %s, last turn at %s, no turn task', x.fact, x.turn),
         x.execution_id = i.execution_id AND i.ended_at IS NULL AND t.seq IS NULL
         AND (x.turn IS NULL OR x.fact > x.turn))
    ) AS p (problem, detail, wrong)
    WHERE p.wrong
    UNION ALL
    SELECT i.instance_id, 'no history', format('of the current execution %s', i.execution_id)
    FROM i WHERE NOT EXISTS (SELECT FROM x WHERE x.bucket = i.bucket AND x.instance_id = i.instance_id
                             AND x.execution_id = i.execution_id)
    UNION ALL
    SELECT x.instance_id, 'executions are missing', format('%s of those from %s to %s', count(*), min(x.execution_id), max(x.execution_id))
    FROM x GROUP BY x.instance_id
    HAVING count(*) <> max(x.execution_id) - min(x.execution_id) + 1
        OR min(x.execution_id) > greatest(1, max(x.execution_id) - 99);
END $$;

-- Steps, timers and waits for instances: each begun once, ended at most once, and open exactly while its row is there.
CREATE OR REPLACE FUNCTION df_engine.check_work(_bucket smallint, _id text)
RETURNS TABLE (instance_id text, problem text, detail text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan
SET enable_nestloop = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH e AS MATERIALIZED (
        SELECT h.bucket, h.instance_id, h.execution_id, h.seq, h.kind, h.recorded_at,
               (h.payload::json->>'of')::integer AS of, (h.payload::json->>'due')::timestamptz AS due,
               CASE WHEN h.kind IN ('ActivityScheduled', 'ActivityCompleted', 'ActivityFailed', 'ActivityCancelled') THEN 'step'
                    WHEN h.kind IN ('TimerSet', 'TimerFired', 'TimerCancelled') THEN 'timer' ELSE 'wait' END AS family,
               h.kind IN ('ActivityScheduled', 'TimerSet', 'InstanceAwaited') AS begins
        FROM df_engine.visible_history h
        WHERE (_bucket IS NULL OR h.bucket = _bucket) AND (_id IS NULL OR h.instance_id = _id)
          AND h.kind IN ('ActivityScheduled', 'ActivityCompleted', 'ActivityFailed', 'ActivityCancelled', 'TimerSet',
                         'TimerFired', 'TimerCancelled', 'InstanceAwaited', 'InstanceEnded')
    ), ends AS MATERIALIZED (
        -- A timer may fire before the turn that cancels it: then it has ended once, and the cancel found nothing to do.
        SELECT e.bucket, e.instance_id, e.execution_id, e.of AS seq, e.family,
               count(*) - ((min(e.seq) FILTER (WHERE e.kind = 'TimerFired')
                            < min(e.seq) FILTER (WHERE e.kind = 'TimerCancelled')) IS TRUE)::integer AS times,
               min(e.kind) AS kind,
               min(e.seq) AS end_seq, min(e.recorded_at) AS ended_at, string_agg(e.kind || ' at ' || e.seq, ', ' ORDER BY e.seq) AS words
        FROM e WHERE NOT e.begins GROUP BY 1, 2, 3, 4, 5
    ), open AS MATERIALIZED (
        SELECT b.bucket, b.instance_id, b.seq, b.family, b.due
        FROM e b
        JOIN df_engine.visible_instances i ON i.bucket = b.bucket AND i.instance_id = b.instance_id
             AND i.execution_id = b.execution_id AND i.ended_at IS NULL
             AND (_bucket IS NULL OR i.bucket = _bucket) AND (_id IS NULL OR i.instance_id = _id)
        LEFT JOIN ends n ON n.bucket = b.bucket AND n.instance_id = b.instance_id AND n.execution_id = b.execution_id
             AND n.seq = b.seq AND n.family = b.family
        WHERE b.begins AND n.seq IS NULL
    ), rows AS MATERIALIZED (
        SELECT t.bucket, t.instance_id, t.seq, 'step' AS family, NULL::timestamptz AS due
        FROM df_engine.visible_tasks t
        WHERE t.seq > 0 AND (_bucket IS NULL OR t.bucket = _bucket) AND (_id IS NULL OR t.instance_id = _id)
        UNION ALL
        SELECT t.bucket, t.instance_id, t.seq, 'timer', t.due_at FROM df_engine.visible_timers t
        WHERE (_bucket IS NULL OR t.bucket = _bucket) AND (_id IS NULL OR t.instance_id = _id)
        UNION ALL
        SELECT w.bucket, w.instance_id, w.seq, 'wait', NULL FROM df_engine.visible_waits w
        WHERE (_bucket IS NULL OR w.bucket = _bucket) AND (_id IS NULL OR w.instance_id = _id)
    )
    SELECT n.instance_id, n.family || ' ended more than once', format('execution %s, begun at %s: %s', n.execution_id, n.seq, n.words)
    FROM ends n WHERE n.times > 1
    UNION ALL
    SELECT n.instance_id, 'end of a ' || n.family || ' that never began', format('execution %s: %s', n.execution_id, n.words)
    FROM ends n LEFT JOIN e b ON b.bucket = n.bucket AND b.instance_id = n.instance_id AND b.execution_id = n.execution_id
         AND b.seq = n.seq AND b.begins AND b.family = n.family AND b.seq < n.end_seq
    WHERE b.seq IS NULL
    UNION ALL
    SELECT n.instance_id, 'timer fired early', format('execution %s: due at %s, fired at %s', n.execution_id, b.due, n.ended_at)
    FROM ends n JOIN e b ON b.bucket = n.bucket AND b.instance_id = n.instance_id AND b.execution_id = n.execution_id AND b.seq = n.seq
    WHERE n.kind = 'TimerFired' AND b.kind = 'TimerSet' AND n.ended_at < b.due
    UNION ALL
    SELECT coalesce(o.instance_id, r.instance_id),
           CASE WHEN r.seq IS NULL THEN o.family || ' lost' ELSE 'work that nothing waits for' END,
           CASE WHEN r.seq IS NULL THEN format('begun at %s, neither ended nor on its table', o.seq)
                ELSE format('a row for the %s begun at %s, which is not open', r.family, r.seq) END
    FROM open o
    FULL JOIN rows r ON r.bucket = o.bucket AND r.instance_id = o.instance_id AND r.seq = o.seq AND r.family = o.family
    WHERE (r.seq IS NULL AND o.family <> 'wait') OR o.seq IS NULL
    UNION ALL
    SELECT o.instance_id, 'timer moved', format('set at %s for %s, but its row says %s', o.seq, o.due, r.due)
    FROM open o JOIN rows r ON r.bucket = o.bucket AND r.instance_id = o.instance_id AND r.seq = o.seq AND r.family = o.family
    WHERE o.due <> r.due;
END $$;

-- Signals: received before they are consumed, consumed within one turn (it wakes every wait of the name), carried over whole
-- from one execution to the next. Results: there as long as something names them.
CREATE OR REPLACE FUNCTION df_engine.check_signals(_bucket smallint, _id text)
RETURNS TABLE (instance_id text, problem text, detail text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan
SET enable_nestloop = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH e AS MATERIALIZED (
        SELECT h.bucket, h.instance_id, h.execution_id, h.seq, h.kind, h.payload::json AS data
        FROM df_engine.visible_history h
        WHERE (_bucket IS NULL OR h.bucket = _bucket) AND (_id IS NULL OR h.instance_id = _id)
          AND h.kind IN ('ExecutionStarted', 'ExecutionContinued', 'SignalReceived', 'SignalConsumed')
    ), had AS MATERIALIZED (
        SELECT e.bucket, e.instance_id, e.execution_id, e.data->>'name' AS name, e.execution_id AS mx, e.seq AS ms
        FROM e WHERE e.kind = 'SignalReceived'
        UNION ALL
        SELECT e.bucket, e.instance_id, e.execution_id, s.value->>0, (s.value #>> '{1,0}')::integer, (s.value #>> '{1,1}')::integer
        FROM e CROSS JOIN LATERAL json_array_elements(e.data->'signals') s WHERE e.kind = 'ExecutionStarted'
    ), consumed AS MATERIALIZED (
        SELECT c.bucket, c.instance_id, c.execution_id, (c.data #>> '{message,0}')::integer AS mx,
               (c.data #>> '{message,1}')::integer AS ms, min(c.seq) AS first,
               count(DISTINCT (SELECT max(t.seq) FROM df_engine.visible_history t
                               WHERE t.bucket = c.bucket AND t.instance_id = c.instance_id AND t.execution_id = c.execution_id
                                 AND t.kind = 'TurnTaken' AND t.seq < c.seq)) AS turns
        FROM e c WHERE c.kind = 'SignalConsumed' GROUP BY 1, 2, 3, 4, 5
    ), carried AS MATERIALIZED (
        SELECT e.bucket, e.instance_id, e.execution_id, s.value->>0 AS name, (s.value #>> '{1,0}')::integer AS mx,
               (s.value #>> '{1,1}')::integer AS ms
        FROM e CROSS JOIN LATERAL json_array_elements(e.data->'signals') s WHERE e.kind = 'ExecutionContinued'
    ), left_over AS MATERIALIZED (
        SELECT h.bucket, h.instance_id, h.execution_id, h.name, h.mx, h.ms FROM had h
        JOIN e ON e.bucket = h.bucket AND e.instance_id = h.instance_id AND e.execution_id = h.execution_id
             AND e.kind = 'ExecutionContinued'
        WHERE NOT EXISTS (SELECT FROM consumed c WHERE c.bucket = h.bucket AND c.instance_id = h.instance_id
                          AND c.execution_id = h.execution_id AND c.mx = h.mx AND c.ms = h.ms)
    )
    SELECT c.instance_id, 'signal consumed more than once', format('execution %s: message [%s,%s] in %s turns', c.execution_id, c.mx, c.ms, c.turns)
    FROM consumed c WHERE c.turns > 1
    UNION ALL
    SELECT c.instance_id, 'signal consumed that was not there', format('execution %s: message [%s,%s] at %s', c.execution_id, c.mx, c.ms, c.first)
    FROM consumed c
    WHERE NOT EXISTS (SELECT FROM had h WHERE h.bucket = c.bucket AND h.instance_id = c.instance_id
                      AND h.execution_id = c.execution_id AND h.mx = c.mx AND h.ms = c.ms
                      AND (h.mx < c.execution_id OR h.ms < c.first))
    UNION ALL
    SELECT l.instance_id, 'signal lost', format('"%s" [%s,%s], not consumed, was not carried over from execution %s', l.name, l.mx, l.ms, l.execution_id)
    FROM (SELECT * FROM left_over EXCEPT SELECT * FROM carried) l
    UNION ALL
    SELECT l.instance_id, 'signal made up', format('"%s" [%s,%s] was carried over from execution %s', l.name, l.mx, l.ms, l.execution_id)
    FROM (SELECT * FROM carried EXCEPT SELECT * FROM left_over) l
    UNION ALL
    SELECT n.instance_id, 'continuation differs', format('execution %s did not begin with what %s left', n.execution_id, o.execution_id)
    FROM e n JOIN e o ON o.bucket = n.bucket AND o.instance_id = n.instance_id AND o.execution_id = n.execution_id - 1
         AND o.kind = 'ExecutionContinued'
    WHERE n.kind = 'ExecutionStarted'
      AND ((n.data->'names')::text IS DISTINCT FROM (o.data->'names')::text
           OR (n.data->'signals')::text IS DISTINCT FROM (o.data->'signals')::text)
    UNION ALL
    SELECT m.instance_id, 'result lost', format('[%s,%s], which execution %s names', m.rx, m.rs, m.execution_id)
    FROM (SELECT e.bucket, e.instance_id, e.execution_id, k.execution_id AS rx, k.seq AS rs
          FROM e JOIN df_engine.visible_instances i ON i.bucket = e.bucket AND i.instance_id = e.instance_id
               AND i.execution_id = e.execution_id AND i.ended_at IS NULL
               AND (_bucket IS NULL OR i.bucket = _bucket) AND (_id IS NULL OR i.instance_id = _id)
          CROSS JOIN LATERAL df_engine.rows_named(
              ARRAY(SELECT n.value->0 FROM json_each(e.data->'names') n)
              || ARRAY(SELECT s.value->1 FROM json_array_elements(e.data->'signals') s)) k
          WHERE e.kind = 'ExecutionStarted'
          UNION ALL
          SELECT h.bucket, h.instance_id, h.execution_id, h.execution_id,
                 CASE h.kind WHEN 'ActivityCompleted' THEN (h.payload::json->>'of')::integer ELSE h.seq END
          FROM df_engine.visible_instances i
          JOIN df_engine.visible_history h ON h.bucket = i.bucket AND h.instance_id = i.instance_id AND h.execution_id = i.execution_id
          WHERE (_bucket IS NULL OR i.bucket = _bucket) AND (_id IS NULL OR i.instance_id = _id)
            AND (_bucket IS NULL OR h.bucket = _bucket) AND (_id IS NULL OR h.instance_id = _id)
            AND (h.kind = 'SignalReceived' OR h.kind = 'ActivityCompleted' AND h.payload::json->>'empty' IS NULL)) m
    WHERE NOT EXISTS (SELECT FROM df_engine.visible_results r
                      WHERE (_bucket IS NULL OR r.bucket = _bucket) AND (_id IS NULL OR r.instance_id = _id)
                        AND r.bucket = m.bucket AND r.instance_id = m.instance_id AND r.execution_id = m.rx AND r.seq = m.rs);
END $$;

-- Every unfinished instance has a reason to be; tasks are as they must be; leases belong to workers that exist.
CREATE OR REPLACE FUNCTION df_engine.check_reasons(_bucket smallint, _id text)
RETURNS TABLE (instance_id text, problem text, detail text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan
SET enable_nestloop = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH i AS MATERIALIZED (
        SELECT v.bucket, v.instance_id, v.execution_id, v.graph LIKE '%"RACE"%' AS races, v.parked, v.interpreter, v.owner,
               EXISTS (SELECT FROM df_engine.visible_tasks t
                       WHERE t.bucket = v.bucket AND t.instance_id = v.instance_id AND t.seq = 0) AS has_turn,
               EXISTS (SELECT FROM df_engine.visible_tasks t
                       WHERE t.bucket = v.bucket AND t.instance_id = v.instance_id)
               OR EXISTS (SELECT FROM df_engine.visible_timers t
                          WHERE t.bucket = v.bucket AND t.instance_id = v.instance_id)
               OR EXISTS (SELECT FROM df_engine.visible_waits t
                          WHERE t.bucket = v.bucket AND t.instance_id = v.instance_id)
               OR EXISTS (SELECT FROM df_engine.visible_inbox t
                          WHERE t.bucket = v.bucket AND t.instance_id = v.instance_id) AS has_work
        FROM df_engine.visible_instances v
        WHERE (_bucket IS NULL OR v.bucket = _bucket) AND (_id IS NULL OR v.instance_id = _id)
          AND v.status IN ('pending', 'running', 'cancelled') AND v.ended_at IS NULL
    ), idle AS MATERIALIZED (
        SELECT i.*, CASE WHEN i.races THEN EXISTS (SELECT FROM df_engine.open_signals(i.bucket, i.instance_id))
            ELSE EXISTS (
                SELECT FROM df_engine.visible_history a
                WHERE a.bucket = i.bucket AND a.instance_id = i.instance_id AND a.execution_id = i.execution_id
                  AND a.kind = 'SignalAwaited' AND NOT EXISTS (
                      SELECT FROM df_engine.visible_history c
                      WHERE c.bucket = i.bucket AND c.instance_id = i.instance_id AND c.execution_id = i.execution_id
                        AND c.kind IN ('SignalConsumed', 'SignalTimedOut') AND (c.payload::json->>'of')::integer = a.seq)) END AS listens
        FROM i WHERE NOT i.has_work AND i.parked IS NULL
    )
    SELECT d.instance_id, 'stuck', 'no task, no timer, no wait, no signal awaited, not parked'
    FROM idle d WHERE NOT d.listens
    UNION ALL
    SELECT i.instance_id, 'signal not delivered', format('"%s" [%s,%s] is awaited at %s', u.name, u.execution_id, u.seq, o.seq)
    FROM i CROSS JOIN LATERAL df_engine.unconsumed(i.bucket, i.instance_id) u
    CROSS JOIN LATERAL df_engine.open_signals(i.bucket, i.instance_id) o
    WHERE NOT i.has_turn AND o.name = u.name
    UNION ALL
    SELECT i.instance_id, 'nobody can serve it', format('it needs interpreter %s, and no worker that is alive has it', i.interpreter)
    FROM i
    WHERE EXISTS (SELECT FROM df_engine.visible_workers w WHERE w.alive AND (w.serves_all OR w.login = i.owner))
      AND NOT EXISTS (SELECT FROM df_engine.visible_workers w
                      WHERE w.alive AND (w.serves_all OR w.login = i.owner) AND w.interpreter >= i.interpreter)
    UNION ALL
    SELECT t.instance_id, p.problem, format('task %s of execution %s: ', t.seq, t.execution_id) || p.detail
    FROM df_engine.visible_tasks t
    LEFT JOIN df_engine.visible_instances v ON v.bucket = t.bucket AND v.instance_id = t.instance_id
         AND (_bucket IS NULL OR v.bucket = _bucket) AND (_id IS NULL OR v.instance_id = _id)
    CROSS JOIN LATERAL (VALUES
        ('task without instance', 'there is none', v.instance_id IS NULL),
        ('task of an instance that has ended', format('it is %s', v.status), v.ended_at IS NOT NULL),
        ('task of another execution', format('the current one is %s', v.execution_id), t.execution_id <> v.execution_id),
        ('task of another role', format('%s instead of %s', t.owner, v.owner), t.owner <> v.owner),
        ('malformed task', format('lane %s, kind %s, attempt %s', t.lane, t.kind, t.attempt),
         (t.seq = 0) <> (t.lane = 'turn') OR (t.seq = 0) <> (t.kind = 'turn') OR t.lane NOT IN ('turn', 'sql', 'http')
         OR t.seq < 0 OR t.attempt < 1 OR (t.worker_id IS NULL) <> (t.leased_at IS NULL)),
        ('lease of a worker that does not exist', format('worker %s, since %s', t.worker_id, t.leased_at),
         t.leased_at < clock_timestamp() - interval '1 minute'
         AND NOT EXISTS (SELECT FROM df_engine.visible_workers w WHERE w.worker_id = t.worker_id))
    ) AS p (problem, detail, wrong)
    WHERE (_bucket IS NULL OR t.bucket = _bucket) AND (_id IS NULL OR t.instance_id = _id) AND p.wrong;
END $$;

-- Rows of instances that do not exist. For those who see everybody's rows: such rows have no owner to be asked for.
CREATE OR REPLACE VIEW df_engine.orphans WITH (security_barrier) AS
    SELECT o.bucket, o.instance_id, o.kind
    FROM (SELECT DISTINCT r.bucket, r.instance_id, 'history' AS kind FROM df_engine.history r WHERE r.seq = 1
          UNION ALL SELECT DISTINCT r.bucket, r.instance_id, 'result' FROM df_engine.results r
          UNION ALL SELECT r.bucket, r.instance_id, 'timer' FROM df_engine.timers r
          UNION ALL SELECT r.bucket, r.instance_id, 'wait' FROM df_engine.instance_waits r
          UNION ALL SELECT r.bucket, r.instance_id, 'start' FROM df_engine.starts r) o
    WHERE (SELECT df_engine.sees_all())
      AND NOT EXISTS (SELECT FROM df_engine.instances i WHERE i.bucket = o.bucket AND i.instance_id = o.instance_id)
    UNION ALL
    SELECT i.bucket, i.instance_id, 'instance without a start' FROM df_engine.instances i
    WHERE (SELECT df_engine.sees_all())
      AND NOT EXISTS (SELECT FROM df_engine.starts s WHERE s.bucket = i.bucket AND s.instance_id = i.instance_id);
GRANT SELECT ON df_engine.orphans TO PUBLIC;

-- One part; where a history cannot be read (a role's own worker may have written it), instance by instance, and it is said
-- of which.
CREATE OR REPLACE FUNCTION df_engine.check_part(_part text, _bucket smallint, _id text)
RETURNS TABLE (instance_id text, problem text, detail text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _one text;
BEGIN
    RETURN QUERY EXECUTE format('SELECT c.* FROM df_engine.%I($1, $2) c', _part) USING _bucket, _id;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    IF _id IS NOT NULL THEN
        RETURN QUERY SELECT _id, 'history cannot be read'::text, SQLERRM;
        RETURN;
    END IF;
    FOR _one IN SELECT i.instance_id FROM df_engine.visible_instances i WHERE _bucket IS NULL OR i.bucket = _bucket LOOP
        RETURN QUERY SELECT c.* FROM df_engine.check_part(_part, df_engine.bucket_of(_one), _one) c;
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION df_engine.check_all(_bucket smallint, _id text)
RETURNS TABLE (instance_id text, problem text, detail text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT c.* FROM unnest(ARRAY['check_shape', 'check_work', 'check_signals', 'check_reasons']) AS p (part)
        CROSS JOIN LATERAL df_engine.check_part(p.part, _bucket, _id) c;
END $$;

CREATE OR REPLACE FUNCTION df_engine.problems(_id text) RETURNS TABLE (instance_id text, problem text, detail text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF _id IS NOT NULL THEN
        IF _id ~ '^[0-9a-f]{8,32}$' THEN
            RETURN QUERY SELECT c.* FROM df_engine.check_all(df_engine.bucket_of(_id), _id) c;
        END IF;
        RETURN;
    END IF;
    RETURN QUERY SELECT o.instance_id, 'rows without instance', o.kind FROM df_engine.orphans o;
    IF (SELECT count(*) FROM (SELECT FROM df_engine.visible_instances LIMIT 5000) v) < 5000 THEN
        RETURN QUERY SELECT c.* FROM df_engine.check_all(NULL, NULL) c;
    ELSE
        FOR _bucket IN 0 .. 255 LOOP
            RETURN QUERY SELECT c.* FROM df_engine.check_all(_bucket::smallint, NULL) c;
        END LOOP;
    END IF;
END $$;

-- Problems of one workflow, or of all that the caller may see; no rows when all is well.
CREATE OR REPLACE FUNCTION df.check(instance_id text DEFAULT NULL) RETURNS TABLE (instance_id text, problem text, detail text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT p.* FROM df_engine.problems($1) p
$$;
