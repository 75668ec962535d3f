-- Retention: workflows that ended long ago, and old iterations of loops at the root, are cleared away in small batches.
-- Nobody is waited for and nobody who works has to wait: rows that are locked are left for the next time.

-- References to rows of results below a reference: [execution, seq] itself, what {"j": [...]} lists, nothing for {"v": ...}.
CREATE OR REPLACE FUNCTION df_engine.rows_named(_refs json[]) RETURNS TABLE (execution_id integer, seq integer)
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY
        WITH RECURSIVE refs AS (
            SELECT u.ref FROM unnest(_refs) AS u (ref)
            UNION ALL
            SELECT e.value FROM refs r
            CROSS JOIN LATERAL json_array_elements(CASE WHEN json_typeof(r.ref) = 'object' THEN r.ref->'j' END) e
        )
        SELECT (r.ref->>0)::integer, (r.ref->>1)::integer FROM refs r WHERE json_typeof(r.ref) = 'array';
END $$;

-- Which ended workflows may go: those that ended no later than this place in the order of (ended_at, instance_id), which is
-- what df_engine.instances_ended is sorted by.
CREATE OR REPLACE FUNCTION df_engine.retention_bound(OUT ended_at timestamptz, OUT instance_id text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _by_age timestamptz := clock_timestamp() - make_interval(days => df_engine.setting('retention_days')::integer);
BEGIN
    SELECT i.ended_at, i.instance_id INTO ended_at, instance_id
        FROM df_engine.instances i WHERE i.ended_at IS NOT NULL
        ORDER BY i.ended_at DESC, i.instance_id DESC
        OFFSET df_engine.setting('retention_count')::bigint LIMIT 1;
    IF ended_at IS NULL OR ended_at < _by_age THEN
        ended_at := _by_age;
        instance_id := '';
    END IF;
END $$;

-- Clears away at most _most ended workflows, oldest first, with everything that belongs to them, and no more than some tens
-- of thousands of rows unless one has as many; how many rows that were, whether there may be more to go, when the last of
-- them ended, and how long they were looked for. One that somebody waits for stays until the wait has seen its end.
CREATE OR REPLACE FUNCTION df_engine.prune_batch(
    _most integer, _owner regrole, _floor timestamptz, OUT rows bigint, OUT more boolean, OUT last timestamptz, OUT took interval
)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _bound record;
    _buckets smallint[];
    _ids text[];
    _table text;
    _n bigint;
    _began timestamptz := clock_timestamp();
BEGIN
    SELECT * INTO _bound FROM df_engine.retention_bound();
    SELECT array_agg(g.bucket) FILTER (WHERE g.before < 50000), array_agg(g.instance_id) FILTER (WHERE g.before < 50000),
           count(*) = _most OR coalesce(bool_or(g.before >= 50000), false), max(g.ended_at) FILTER (WHERE g.before < 50000)
        INTO _buckets, _ids, more, last
        FROM (SELECT l.bucket, l.instance_id, l.ended_at, sum(l.head_seq) OVER (ORDER BY l.ended_at, l.instance_id) - l.head_seq AS before
              FROM (SELECT i.bucket, i.instance_id, i.ended_at, i.head_seq
                    FROM df_engine.instances i
                    WHERE i.ended_at >= _floor AND (i.ended_at, i.instance_id) <= (_bound.ended_at, _bound.instance_id)
                      AND (_owner IS NULL OR i.owner = _owner)
                      AND NOT EXISTS (SELECT FROM df_engine.instance_waits w
                                      WHERE w.target_bucket = i.bucket AND w.target_id = i.instance_id)
                    ORDER BY i.ended_at, i.instance_id LIMIT _most FOR UPDATE SKIP LOCKED) l) g;
    took := clock_timestamp() - _began;
    rows := 0;
    IF _ids IS NULL THEN
        RETURN;
    END IF;
    PERFORM set_config('df_engine.pruning', 'on', true);
    -- The instance last: what is left over after an error could be found by it. By the key of each: for a table that is nearly
    -- empty the planner would read all of its index, dead entries included, and those may be millions.
    FOREACH _table IN ARRAY ARRAY['tasks', 'timers', 'instance_waits', 'inbox', 'results', 'history', 'starts', 'instances'] LOOP
        EXECUTE format('DELETE FROM df_engine.%1$I t WHERE t.ctid = ANY (ARRAY(
                            SELECT k.ctid FROM unnest($1, $2) AS g (bucket, instance_id)
                            CROSS JOIN LATERAL (SELECT n.ctid FROM df_engine.%1$I n
                                                WHERE n.bucket = g.bucket AND n.instance_id = g.instance_id OFFSET 0) k))',
                       _table) USING _buckets, _ids;
        GET DIAGNOSTICS _n = ROW_COUNT;
        rows := rows + _n;
    END LOOP;
    PERFORM set_config('df_engine.pruning', 'off', true);
END $$;

CREATE OR REPLACE FUNCTION df_engine.prune_ended(_most integer, _owner regrole) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (SELECT b.rows FROM df_engine.prune_batch(_most, _owner, '-infinity') b);
END $$;

-- Old iterations of loops at the root: all but the last 100 executions of what still runs. Results that the current
-- execution began with stay: what later ones name came from there, or is younger.
CREATE OR REPLACE FUNCTION df_engine.prune_iterations(_most integer, _owner regrole) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _c record;
    _rows bigint := 0;
BEGIN
    FOR _c IN SELECT i.bucket, i.instance_id, o.execution_id AS oldest, i.execution_id - 100 AS newest
              FROM df_engine.instances i
              CROSS JOIN LATERAL (
                  SELECT h.execution_id FROM df_engine.history h
                  WHERE h.bucket = i.bucket AND h.instance_id = i.instance_id
                  ORDER BY h.execution_id LIMIT 1) o
              WHERE i.status IN ('pending', 'running') AND i.execution_id > 100 AND o.execution_id <= i.execution_id - 100
                AND (_owner IS NULL OR i.owner = _owner) LOOP
        -- Held against other workers that prune. Nothing else ever locks these rows.
        PERFORM FROM df_engine.starts s
            WHERE s.bucket = _c.bucket AND s.instance_id = _c.instance_id FOR UPDATE SKIP LOCKED;
        IF FOUND THEN
            _rows := _rows + df_engine.prune_executions(_c.bucket, _c.instance_id, _c.oldest,
                                                        least(_c.newest, _c.oldest + 1000));
        END IF;
        EXIT WHEN _rows >= _most;
    END LOOP;
    RETURN _rows;
END $$;

CREATE OR REPLACE FUNCTION df_engine.prune_executions(
    _bucket smallint, _instance_id text, _oldest integer, _newest integer
) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _started text;
    _n bigint;
    _rows bigint;
BEGIN
    SELECT h.payload INTO _started
        FROM df_engine.instances i
        JOIN df_engine.history h ON h.bucket = i.bucket AND h.instance_id = i.instance_id
             AND h.execution_id = i.execution_id AND h.seq = 1
        WHERE i.bucket = _bucket AND i.instance_id = _instance_id;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    PERFORM set_config('df_engine.pruning', 'on', true);
    DELETE FROM df_engine.history h
        WHERE h.bucket = _bucket AND h.instance_id = _instance_id AND h.execution_id BETWEEN _oldest AND _newest;
    GET DIAGNOSTICS _rows = ROW_COUNT;
    PERFORM set_config('df_engine.pruning', 'off', true);
    RETURN _rows + df_engine.prune_results(_bucket, _instance_id, _newest, _started);
END $$;

-- From the beginning: what was named before may have been let go since. Where a role's own worker wrote what cannot be
-- read, the results stay.
CREATE OR REPLACE FUNCTION df_engine.prune_results(
    _bucket smallint, _instance_id text, _newest integer, _started text
) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _refs json[];
    _n bigint;
BEGIN
    _refs := ARRAY(SELECT n.value->0 FROM json_each(_started::json->'names') n)
        || ARRAY(SELECT s.value->1 FROM json_array_elements(_started::json->'signals') s);
    DELETE FROM df_engine.results r
        WHERE r.bucket = _bucket AND r.instance_id = _instance_id AND r.execution_id <= _newest
          AND NOT EXISTS (SELECT FROM df_engine.rows_named(_refs) k WHERE k.execution_id = r.execution_id AND k.seq = r.seq);
    GET DIAGNOSTICS _n = ROW_COUNT;
    RETURN _n;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN 0;
END $$;

-- One batch, as a worker asks for it now and then, and again while the answer is not 0: how many rows went, if there may be
-- more to go. Where workflows end all the time there is always one more, and what little there is waits for the next time:
-- each look goes through all that was cleared away since the last vacuum, and while an old snapshot is held nothing is.
CREATE OR REPLACE FUNCTION df_engine.prune_v1(_worker_id bigint, _key text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _w df_engine.workers := df_engine.worker_of(_worker_id, _key);
    _owner regrole := CASE WHEN NOT _w.serves_all THEN _w.login END;
    _most constant integer := 20000;
    _batch record;
    _rows bigint;
    _hint text := df_engine.floor_of('ended', _owner);
BEGIN
    SELECT * INTO _batch
        FROM df_engine.prune_batch(1000, _owner, coalesce(to_timestamp(_hint::double precision), '-infinity'));
    IF _batch.more THEN
        IF _hint IS NULL THEN
            PERFORM df_engine.keep_floor('ended', _owner, _batch.took,
                                         extract(epoch FROM _batch.last - interval '1 second')::text);
        END IF;
        RETURN _batch.rows;
    END IF;
    _rows := df_engine.prune_iterations(_most, _owner);
    RETURN CASE WHEN _rows >= _most THEN _rows ELSE 0 END;
END $$;

-- The same by hand, for the schema's owner: at most max_instances ended workflows. Answers how many rows went.
CREATE OR REPLACE FUNCTION df.prune(max_instances integer DEFAULT 10000) RETURNS bigint
LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _n bigint;
    _rows bigint := 0;
BEGIN
    IF NOT df_engine.is_administrator() THEN
        RAISE EXCEPTION 'permission denied: df.prune() is for the owner of schema df' USING ERRCODE = 'insufficient_privilege';
    END IF;
    FOR _batch IN 1 .. (greatest(max_instances, 0) + 199) / 200 LOOP
        _n := df_engine.prune_ended(least(200, max_instances - (_batch - 1) * 200), NULL);
        EXIT WHEN _n = 0;
        _rows := _rows + _n;
    END LOOP;
    LOOP
        _n := df_engine.prune_iterations(20000, NULL);
        EXIT WHEN _n = 0;
        _rows := _rows + _n;
    END LOOP;
    RETURN _rows;
END $$;

REVOKE ALL ON FUNCTION df_engine.retention_bound(), df_engine.prune_batch(integer, regrole, timestamptz),
    df_engine.prune_ended(integer, regrole),
    df_engine.prune_iterations(integer, regrole), df_engine.prune_results(smallint, text, integer, text),
    df_engine.prune_executions(smallint, text, integer, integer) FROM PUBLIC;
