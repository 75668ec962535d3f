-- Claims: facts first (messages, timers, ended instances), then tasks. A claim never waits for a lock.

-- The three below take what is the owner's, or everybody's with NULL: whoever serves one role must not lock others' rows,
-- and its transaction may stay open. Instances that somebody has locked are left; where a window held nothing but those,
-- a larger one is looked at, so that nobody's locks keep others' messages and timers back.

-- While somebody holds an old snapshot, every message and timer that ever was since is still in the index, dead. A scan that
-- took long leaves in its session where the next ones may begin, for some twenty times as long: what commits late below that
-- is found when the hint is over. NULL when there is no hint.
CREATE OR REPLACE FUNCTION df_engine.floor_of(_scan text, _owner regrole) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _hint text[] := string_to_array(current_setting('df_engine.floor_' || _scan, true), ' ');
BEGIN
    IF _hint[1]::double precision > extract(epoch FROM clock_timestamp()) AND _hint[2] = coalesce(_owner::oid::text, '') THEN
        RETURN _hint[3];
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION df_engine.keep_floor(_scan text, _owner regrole, _took interval, _floor text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF _took > interval '0.005 seconds' THEN
        PERFORM set_config('df_engine.floor_' || _scan,
            extract(epoch FROM clock_timestamp() + least(_took * 20, interval '5 seconds')) || ' '
            || coalesce(_owner::oid::text, '') || ' ' || _floor, false);
    END IF;
END $$;

-- Messages become facts, in id order, instance by instance; the row itself was the work item.
CREATE OR REPLACE FUNCTION df_engine.drain_inbox(_most integer, _owner regrole) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _c record;
    _n integer;
    _looked integer;
    _drained integer := 0;
    _locked boolean := false;
    _floor bigint := df_engine.floor_of('inbox', _owner);
    _began timestamptz := clock_timestamp();
    _scanned timestamptz;
    _first bigint;
BEGIN
    SELECT q.last_value INTO _first FROM df_engine.inbox_message_id_seq q;
    LOOP
        _looked := 0;
        FOR _c IN SELECT m.bucket, m.instance_id, count(*)::integer AS messages, min(m.message_id) AS first
                  FROM (SELECT k.bucket, k.instance_id, k.message_id FROM df_engine.inbox k
                        WHERE k.message_id >= coalesce(_floor, 0) AND (_owner IS NULL OR EXISTS (
                            SELECT FROM df_engine.instances i
                            WHERE i.bucket = k.bucket AND i.instance_id = k.instance_id AND i.owner = _owner))
                        ORDER BY k.message_id LIMIT _most) m
                  GROUP BY m.bucket, m.instance_id LOOP
            _scanned := coalesce(_scanned, clock_timestamp());
            _first := least(_first, _c.first);
            _looked := _looked + _c.messages;
            _n := df_engine.drain_instance(_c.bucket, _c.instance_id);
            _drained := _drained + coalesce(_n, 0);
            _locked := _locked OR _n IS NULL;
        END LOOP;
        EXIT WHEN _drained > 0 OR NOT _locked OR _looked < _most;
        _most := _most * 10;
    END LOOP;
    IF _floor IS NULL THEN
        PERFORM df_engine.keep_floor('inbox', _owner, coalesce(_scanned, clock_timestamp()) - _began, _first::text);
    END IF;
    RETURN _drained;
END $$;

-- How many messages became facts; NULL when somebody has the instance locked.
CREATE OR REPLACE FUNCTION df_engine.drain_instance(_bucket smallint, _instance_id text) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _i df_engine.instances;
    _now timestamptz;
    _payloads text[];
    _bodies text[];
BEGIN
    SELECT * INTO _i FROM df_engine.instances i
        WHERE i.bucket = _bucket AND i.instance_id = _instance_id FOR NO KEY UPDATE SKIP LOCKED;
    IF NOT FOUND OR _i.ended_at IS NOT NULL THEN
        DELETE FROM df_engine.inbox m WHERE m.bucket = _bucket AND m.instance_id = _instance_id
            AND (_i.ended_at IS NOT NULL OR NOT EXISTS (
                SELECT FROM df_engine.instances i WHERE i.bucket = _bucket AND i.instance_id = _instance_id));
        RETURN CASE WHEN FOUND THEN 0 END;
    END IF;
    _now := clock_timestamp();
    WITH taken AS (
        DELETE FROM df_engine.inbox m
            WHERE m.message_id = ANY (ARRAY(SELECT k.message_id FROM df_engine.inbox k
                                            WHERE k.bucket = _bucket AND k.instance_id = _instance_id
                                            ORDER BY k.message_id LIMIT 1000 FOR UPDATE SKIP LOCKED))
            RETURNING m.message_id, m.name, m.body)
        SELECT array_agg('{"name":' || to_json(t.name) || '}' ORDER BY t.message_id),
               array_agg('{"signal_name":' || to_json(t.name) || ',"timed_out":false,"data":' || t.body || '}'
                         ORDER BY t.message_id)
        INTO _payloads, _bodies FROM taken t;
    IF _payloads IS NULL THEN
        RETURN 0;
    END IF;
    INSERT INTO df_engine.results (bucket, instance_id, execution_id, seq, body)
        SELECT _bucket, _instance_id, _i.execution_id, _i.head_seq + b.ordinality, b.body
        FROM unnest(_bodies) WITH ORDINALITY AS b(body, ordinality);
    PERFORM df_engine.append_facts(_i, array_fill('SignalReceived'::text, ARRAY[cardinality(_payloads)]), _payloads, _now);
    PERFORM df_engine.ensure_turn(_i, NULL, NULL, _now);
    RETURN cardinality(_payloads);
END $$;

CREATE OR REPLACE FUNCTION df_engine.fire_timers(_most integer, _owner regrole) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _c record;
    _now timestamptz := clock_timestamp();
    _n integer;
    _looked integer;
    _fired integer := 0;
    _locked boolean := false;
    _hint text := df_engine.floor_of('timers', _owner);
    _floor timestamptz := coalesce(to_timestamp(_hint::double precision), '-infinity');
    _scanned timestamptz;
    _first timestamptz := _now;
BEGIN
    LOOP
        _looked := 0;
        FOR _c IN SELECT d.bucket, d.instance_id, count(*)::integer AS timers, min(d.due_at) AS first
                  FROM (SELECT t.bucket, t.instance_id, t.due_at FROM df_engine.timers t
                        WHERE t.due_at >= _floor AND t.due_at <= _now AND (_owner IS NULL OR EXISTS (
                            SELECT FROM df_engine.instances i
                            WHERE i.bucket = t.bucket AND i.instance_id = t.instance_id AND i.owner = _owner))
                        ORDER BY t.due_at LIMIT _most) d
                  GROUP BY d.bucket, d.instance_id LOOP
            _scanned := coalesce(_scanned, clock_timestamp());
            _first := least(_first, _c.first);
            _looked := _looked + _c.timers;
            _n := df_engine.fire_instance(_c.bucket, _c.instance_id, _now);
            _fired := _fired + coalesce(_n, 0);
            _locked := _locked OR _n IS NULL;
        END LOOP;
        EXIT WHEN _fired > 0 OR NOT _locked OR _looked < _most;
        _most := _most * 10;
    END LOOP;
    IF _hint IS NULL THEN
        PERFORM df_engine.keep_floor('timers', _owner, coalesce(_scanned, clock_timestamp()) - _now,
                                     extract(epoch FROM _first - interval '1 second')::text);
    END IF;
    RETURN _fired;
END $$;

-- How many timers of an instance fired; NULL when somebody has it locked. Timers of an execution that is over just go.
CREATE OR REPLACE FUNCTION df_engine.fire_instance(_bucket smallint, _instance_id text, _now timestamptz) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _i df_engine.instances;
    _payloads text[];
BEGIN
    SELECT * INTO _i FROM df_engine.instances i
        WHERE i.bucket = _bucket AND i.instance_id = _instance_id FOR NO KEY UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        DELETE FROM df_engine.timers t WHERE t.bucket = _bucket AND t.instance_id = _instance_id AND NOT EXISTS (
            SELECT FROM df_engine.instances i WHERE i.bucket = _bucket AND i.instance_id = _instance_id);
        RETURN CASE WHEN FOUND THEN 0 END;
    END IF;
    WITH taken AS (DELETE FROM df_engine.timers t
                   WHERE t.bucket = _bucket AND t.instance_id = _instance_id AND t.due_at <= _now
                   RETURNING t.seq, t.due_at, t.execution_id)
        SELECT array_agg('{"of":' || t.seq || '}' ORDER BY t.due_at, t.seq) INTO _payloads FROM taken t
        WHERE t.execution_id = _i.execution_id AND _i.ended_at IS NULL;
    IF _payloads IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM df_engine.append_facts(_i, array_fill('TimerFired'::text, ARRAY[cardinality(_payloads)]), _payloads, _now);
    PERFORM df_engine.ensure_turn(_i, NULL, NULL, _now);
    RETURN cardinality(_payloads);
END $$;

-- Instances that wait for another one's end. Only one's own instances can be waited for.
CREATE OR REPLACE FUNCTION df_engine.end_instance_waits(_most integer, _owner regrole) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _c record;
    _n integer;
    _looked integer;
    _ended integer := 0;
    _locked boolean := false;
BEGIN
    LOOP
        _looked := 0;
        FOR _c IN SELECT w.bucket, w.instance_id, w.seq
                  FROM df_engine.instance_waits w
                  JOIN df_engine.instances o ON o.bucket = w.bucket AND o.instance_id = w.instance_id
                  LEFT JOIN df_engine.instances t ON t.bucket = w.target_bucket AND t.instance_id = w.target_id
                  WHERE (t.instance_id IS NULL OR t.ended_at IS NOT NULL OR t.owner <> o.owner)
                    AND (_owner IS NULL OR o.owner = _owner)
                  LIMIT _most LOOP
            _looked := _looked + 1;
            _n := df_engine.end_wait(_c.bucket, _c.instance_id, _c.seq);
            _ended := _ended + coalesce(_n, 0);
            _locked := _locked OR _n IS NULL;
        END LOOP;
        EXIT WHEN _ended > 0 OR NOT _locked OR _looked < _most;
        _most := _most * 10;
    END LOOP;
    RETURN _ended;
END $$;

-- The end of one wait becomes a fact; 1, or 0 when the wait has gone, or NULL when somebody has the instance locked.
CREATE OR REPLACE FUNCTION df_engine.end_wait(_bucket smallint, _instance_id text, _seq integer) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _i df_engine.instances;
    _w df_engine.instance_waits;
    _status text;
    _payload text := '{"of":' || _seq;
BEGIN
    SELECT * INTO _i FROM df_engine.instances i
        WHERE i.bucket = _bucket AND i.instance_id = _instance_id FOR NO KEY UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    DELETE FROM df_engine.instance_waits w
        WHERE w.bucket = _bucket AND w.instance_id = _instance_id AND w.seq = _seq RETURNING * INTO _w;
    IF NOT FOUND OR _i.execution_id <> _w.execution_id OR _i.ended_at IS NOT NULL THEN
        RETURN 0;
    END IF;
    SELECT t.status INTO _status FROM df_engine.instances t
        WHERE t.bucket = _w.target_bucket AND t.instance_id = _w.target_id AND t.owner = _i.owner;
    IF FOUND THEN
        INSERT INTO df_engine.results (bucket, instance_id, execution_id, seq, body)
            VALUES (_bucket, _instance_id, _i.execution_id, _i.head_seq + 1,
                    '{"status":' || to_json(_status) || ',"timed_out":false,"result":'
                    || coalesce(df_engine.instance_result(_w.target_bucket, _w.target_id), 'null') || '}');
    ELSE
        _payload := _payload || ',"error":' || to_json('Instance not found or access denied: ' || _w.target_id);
    END IF;
    PERFORM df_engine.append_facts(_i, ARRAY['InstanceEnded'], ARRAY[_payload || '}'], clock_timestamp());
    PERFORM df_engine.ensure_turn(_i, NULL, NULL, clock_timestamp());
    RETURN 1;
END $$;

-- The raw result of a completed instance, NULL for any other, and for one whose worker wrote what nobody can read.
CREATE OR REPLACE FUNCTION df_engine.instance_result(_bucket smallint, _instance_id text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _payload text;
BEGIN
    SELECT h.payload INTO _payload
        FROM df_engine.instances i JOIN df_engine.history h
          ON h.bucket = i.bucket AND h.instance_id = i.instance_id AND h.execution_id = i.execution_id AND h.seq = i.head_seq
        WHERE i.bucket = _bucket AND i.instance_id = _instance_id AND h.kind = 'ExecutionCompleted';
    RETURN df_engine.result_text(_bucket, _instance_id, _payload::json->'result');
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN NULL;
END $$;

-- How many SQL steps may begin now, given the cap on all workers' steps together; NULL when there is none.
CREATE OR REPLACE FUNCTION df_engine.free_connections(_serves_all boolean) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _cap integer := df_engine.setting('max_user_connections')::integer;
    _busy integer;
BEGIN
    IF coalesce(_cap, 0) = 0 THEN
        RETURN NULL;
    END IF;
    -- One claim at a time counts; the next that comes meanwhile finds nothing and polls again. A role's own worker takes no
    -- lock that it could keep.
    IF _serves_all THEN
        PERFORM FROM df_engine.settings s WHERE s.name = 'max_user_connections' FOR NO KEY UPDATE SKIP LOCKED;
        IF NOT FOUND THEN
            RETURN 0;
        END IF;
    END IF;
    SELECT count(*) INTO _busy FROM df_engine.tasks t WHERE t.worker_id IS NOT NULL AND t.lane = 'sql';
    RETURN greatest(_cap - _busy, 0);
END $$;

-- The mark is a hint from the caller: rows below it are likely dead and not looked at. Once a second a worker claims
-- without it (_full), so that a start that commits late is found.
CREATE OR REPLACE FUNCTION df_engine.claim_v1(
    _worker_id bigint, _key text, _turns integer, _steps integer, _http integer, _mark bigint, _full boolean, _except oid[]
) RETURNS TABLE (lane text, kind text, bucket smallint, instance_id text, seq integer, execution_id integer, token text,
                 task_no bigint, owner oid, owner_name text, database text, attempt integer, autocommit boolean,
                 input text, first_failed_at timestamptz, overdue boolean, head_execution integer, head_seq integer,
                 status text, capped boolean, clock timestamptz, graph text, variables text, label text, started text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    _w df_engine.workers := df_engine.worker_of(_worker_id, _key);
    _what text;
    _limit integer;
    _free integer;
    _late timestamptz;
    _t df_engine.tasks;
    _owner regrole := CASE WHEN NOT _w.serves_all THEN _w.login END;
    -- After a restore: what reaches outside this database (HTTP, other databases) waits until an operator says so.
    _held boolean := df_engine.setting('hold_outbound') = 'on';
BEGIN
    PERFORM df_engine.drain_inbox(200, _owner), df_engine.fire_timers(200, _owner);
    IF _full THEN
        PERFORM df_engine.end_instance_waits(200, _owner);
        _mark := 0;
    END IF;
    IF _steps > 0 THEN
        _free := df_engine.free_connections(_w.serves_all);
    END IF;
    IF df_engine.setting('execution_acquire_timeout')::double precision > 0 THEN
        _late := clock_timestamp() - make_interval(
            secs => df_engine.setting('execution_acquire_timeout')::double precision);
    END IF;
    IF _held THEN
        _http := 0;
    END IF;
    capped := _free IS NOT NULL OR _held;
    FOREACH _what IN ARRAY ARRAY['turn', 'sql', 'http', 'late'] LOOP
        _limit := CASE _what WHEN 'turn' THEN _turns WHEN 'sql' THEN least(_steps, _free) WHEN 'http' THEN _http
                             ELSE CASE WHEN _late IS NOT NULL THEN 100 ELSE 0 END END;
        CONTINUE WHEN _limit <= 0;
        overdue := _what = 'late';
        FOR _t IN SELECT * FROM df_engine.tasks t
                  WHERE t.worker_id IS NULL AND t.lane = CASE _what WHEN 'late' THEN 'sql' ELSE _what END
                    AND t.task_no >= _mark AND t.visible_at <= clock_timestamp() AND t.interpreter <= _w.interpreter
                    AND (_w.serves_all OR t.owner = _w.login) AND t.owner::oid <> ALL (_except)
                    AND (NOT overdue OR t.queued_at < _late)
                    AND (NOT _held OR t.database IS NULL OR t.seq = 0)
                  ORDER BY t.task_no LIMIT _limit FOR UPDATE SKIP LOCKED LOOP
            token := replace(gen_random_uuid()::text, '-', '');
            clock := clock_timestamp();
            UPDATE df_engine.tasks k SET worker_id = _w.worker_id, leased_at = clock,
                    token_hash = sha256(convert_to(token, 'UTF8'))
                WHERE k.bucket = _t.bucket AND k.instance_id = _t.instance_id AND k.seq = _t.seq;
            -- After the lock, by a statement of its own: the head as it is now.
            SELECT i.execution_id, i.head_seq, i.status, s.label, s.variables,
                   CASE WHEN i.head_seq = 1 AND i.execution_id = 1 AND _t.seq = 0 THEN s.graph END,
                   r.rolname
                INTO head_execution, head_seq, status, label, variables, graph, owner_name
                FROM df_engine.instances i
                JOIN df_engine.starts s ON s.bucket = i.bucket AND s.instance_id = i.instance_id
                LEFT JOIN pg_roles r ON r.oid = i.owner
                WHERE i.bucket = _t.bucket AND i.instance_id = _t.instance_id;
            started := NULL;
            IF graph IS NOT NULL THEN
                SELECT h.payload INTO started FROM df_engine.history h
                    WHERE h.bucket = _t.bucket AND h.instance_id = _t.instance_id AND h.execution_id = 1 AND h.seq = 1;
            END IF;
            lane := _t.lane;
            kind := _t.kind;
            bucket := _t.bucket;
            instance_id := _t.instance_id;
            seq := _t.seq;
            execution_id := _t.execution_id;
            task_no := _t.task_no;
            owner := _t.owner::oid;
            database := _t.database;
            attempt := _t.attempt;
            autocommit := _t.autocommit;
            input := _t.input;
            first_failed_at := _t.first_failed_at;
            RETURN NEXT;
        END LOOP;
    END LOOP;
END $$;

-- What a worker needs to fold instances, each as of one snapshot: [[instance_id, execution known, seq known]].
CREATE OR REPLACE FUNCTION df_engine.load_v1(_worker_id bigint, _key text, _wanted json)
RETURNS TABLE (instance_id text, execution_id integer, head_seq integer, status text, graph text, variables text,
               label text, database text, owner_name text, events text, clock timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    _w df_engine.workers := df_engine.worker_of(_worker_id, _key);
BEGIN
    RETURN QUERY
        SELECT i.instance_id, i.execution_id, i.head_seq, i.status,
               CASE WHEN (w.value->>1)::integer = 0 THEN s.graph END, s.variables, s.label, i.database,
               (SELECT r.rolname::text FROM pg_roles r WHERE r.oid = i.owner),
               (SELECT coalesce('[' || string_agg('[' || h.seq || ',"' || h.kind || '",' || h.payload || ']', ',' ORDER BY h.seq)
                                || ']', '[]')
                FROM df_engine.history h
                WHERE h.bucket = i.bucket AND h.instance_id = i.instance_id AND h.execution_id = i.execution_id
                  AND h.seq > CASE WHEN (w.value->>1)::integer = i.execution_id THEN (w.value->>2)::integer ELSE 0 END),
               clock_timestamp()
        FROM json_array_elements(_wanted) w
        JOIN df_engine.instances i ON i.bucket = df_engine.bucket_of(w.value->>0) AND i.instance_id = w.value->>0
        JOIN df_engine.starts s ON s.bucket = i.bucket AND s.instance_id = i.instance_id
        WHERE df_engine.serves(_w, i.owner);
END $$;

-- Bodies of results, in the order asked for; only while they fit into _most bytes together.
CREATE OR REPLACE FUNCTION df_engine.bodies_v1(_worker_id bigint, _key text, _instance_id text, _refs json)
RETURNS TABLE (body text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _w df_engine.workers := df_engine.worker_of(_worker_id, _key);
BEGIN
    RETURN QUERY
        SELECT df_engine.result_text(i.bucket, i.instance_id, r.value)
        FROM json_array_elements(_refs) WITH ORDINALITY r
        JOIN df_engine.instances i ON i.bucket = df_engine.bucket_of(_instance_id) AND i.instance_id = _instance_id
        WHERE df_engine.serves(_w, i.owner)
        ORDER BY r.ordinality;
END $$;

REVOKE ALL ON FUNCTION df_engine.floor_of(text, regrole), df_engine.keep_floor(text, regrole, interval, text),
    df_engine.drain_inbox(integer, regrole), df_engine.drain_instance(smallint, text),
    df_engine.fire_timers(integer, regrole), df_engine.fire_instance(smallint, text, timestamptz),
    df_engine.end_instance_waits(integer, regrole), df_engine.end_wait(smallint, text, integer),
    df_engine.instance_result(smallint, text), df_engine.free_connections(boolean)
    FROM PUBLIC;
