-- Turns, failures and completions that happen outside a step's own transaction: one call each, by a registered worker.

-- Raises unless the caller holds the key of this worker. The key never left the worker but for its hash.
--
-- Anybody may register a worker for their own workflows and call what follows in a transaction that stays open. So each
-- statement that locks a row names whom the worker serves in its WHERE: nobody's lock ever stands on a row of others.
CREATE OR REPLACE FUNCTION df_engine.worker_of(_worker_id bigint, _key text) RETURNS df_engine.workers
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _w df_engine.workers;
BEGIN
    SELECT * INTO _w FROM df_engine.workers w WHERE w.worker_id = _worker_id;
    IF NOT FOUND OR _w.key_hash IS DISTINCT FROM sha256(convert_to(_key, 'UTF8')) THEN -- NULL is no key
        RAISE EXCEPTION 'df: worker % is not registered', _worker_id USING ERRCODE = 'DF010';
    END IF;
    RETURN _w;
END $$;

CREATE OR REPLACE FUNCTION df_engine.serves(_w df_engine.workers, _owner regrole) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN (_w).serves_all OR (_w).login = _owner;

-- Apply one decided turn. The caller holds the instance's lock, and has compared token and head.
CREATE OR REPLACE FUNCTION df_engine.apply_turn(
    _i df_engine.instances, _worker_id bigint, _t df_engine.turn, _now timestamptz
) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _execution_id integer := _i.execution_id;
    _head integer := _i.head_seq + cardinality(_t.kinds);
    _ends boolean := _t.status IN ('completed', 'failed', 'cancelled');
    _lost boolean := false;
BEGIN
    INSERT INTO df_engine.history (bucket, instance_id, execution_id, seq, kind, payload, recorded_at)
        SELECT _i.bucket, _i.instance_id, _execution_id, _i.head_seq + e.ordinality, e.kind, e.payload, _now
        FROM unnest(_t.kinds, _t.payloads) WITH ORDINALITY AS e(kind, payload, ordinality);
    IF _ends OR _t.status = 'continued' THEN
        _lost := df_engine.clear_work(_i.bucket, _i.instance_id, _ends);
    ELSE
        IF cardinality(_t.dropped) > 0 THEN
            _lost := df_engine.drop_work(_i.bucket, _i.instance_id, _t.dropped);
        END IF;
        IF _t.one_seq IS NULL THEN
            DELETE FROM df_engine.tasks k WHERE k.bucket = _i.bucket AND k.instance_id = _i.instance_id AND k.seq = 0;
        END IF;
    END IF;
    IF _t.status = 'continued' THEN
        _execution_id := _execution_id + 1;
        _head := df_engine.begin_execution(_i, _execution_id, _t, _now);
    END IF;
    IF NOT _ends THEN
        PERFORM df_engine.schedule(_i, _execution_id, _worker_id, _t, _now, _head);
    END IF;
    UPDATE df_engine.instances SET
            execution_id = _execution_id, head_seq = _head, updated_at = _now,
            status = CASE WHEN _ends THEN _t.status WHEN status = 'cancelled' THEN status ELSE 'running' END,
            ended_at = CASE WHEN _ends THEN _now END
        WHERE bucket = _i.bucket AND instance_id = _i.instance_id;
    IF _lost THEN
        PERFORM df_engine.wake_holders();
    END IF;
    RETURN _head;
END $$;

-- Continue-as-new: the next execution's first event, and its first turn where that came with it. Its head.
CREATE OR REPLACE FUNCTION df_engine.begin_execution(
    _i df_engine.instances, _execution_id integer, _t df_engine.turn, _now timestamptz
) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO df_engine.history (bucket, instance_id, execution_id, seq, kind, payload, recorded_at)
        SELECT _i.bucket, _i.instance_id, _execution_id, e.ordinality, e.kind, e.payload, _now
        FROM unnest('ExecutionStarted'::text || _t.next_kinds, _t.next || _t.next_payloads)
             WITH ORDINALITY AS e(kind, payload, ordinality);
    IF coalesce(cardinality(_t.next_kinds), 0) = 0 THEN
        _i.execution_id := _execution_id;
        PERFORM df_engine.ensure_turn(_i, NULL, NULL, _now);
    END IF;
    RETURN 1 + coalesce(cardinality(_t.next_kinds), 0);
END $$;

CREATE OR REPLACE FUNCTION df_engine.drop_work(_bucket smallint, _instance_id text, _seqs integer[]) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _running boolean;
BEGIN
    WITH gone AS (DELETE FROM df_engine.tasks
                  WHERE bucket = _bucket AND instance_id = _instance_id AND seq = ANY (_seqs) AND seq > 0
                  RETURNING worker_id)
        SELECT coalesce(bool_or(worker_id IS NOT NULL), false) INTO _running FROM gone;
    DELETE FROM df_engine.timers WHERE bucket = _bucket AND instance_id = _instance_id AND seq = ANY (_seqs);
    DELETE FROM df_engine.instance_waits WHERE bucket = _bucket AND instance_id = _instance_id AND seq = ANY (_seqs);
    RETURN _running;
END $$;

CREATE OR REPLACE FUNCTION df_engine.schedule(
    _i df_engine.instances, _execution_id integer, _worker_id bigint, _t df_engine.turn, _now timestamptz, _head integer
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _first integer := CASE WHEN _t.status = 'continued' THEN 1 ELSE _i.head_seq + 1 END;
    _for_others boolean;
BEGIN
    IF _t.one_seq IS NOT NULL THEN
        PERFORM df_engine.check_seq(_t.one_seq, _first, _head);
        INSERT INTO df_engine.tasks AS k (bucket, instance_id, seq, execution_id, lane, kind, owner, database, queue,
                                     interpreter, input, queued_at, visible_at, worker_id, token_hash, leased_at)
            SELECT _i.bucket, _i.instance_id, 0, _execution_id, 'turn', 'turn', _i.owner, _i.database, _i.queue,
                   _i.interpreter, NULL, _now, _now, _worker_id, sha256(convert_to(_t.one_token, 'UTF8')), _now
            WHERE _t.status = 'continued';
        UPDATE df_engine.tasks k
            SET seq = _t.one_seq, execution_id = _execution_id, lane = _t.one_lane, kind = _t.one_kind,
                input = _t.one_input, attempt = 1, losses = 0, queued_at = _now, visible_at = _now, leased_at = _now,
                worker_id = _worker_id, token_hash = sha256(convert_to(_t.one_token, 'UTF8'))
            WHERE k.bucket = _i.bucket AND k.instance_id = _i.instance_id AND k.seq = 0;
    END IF;
    IF json_array_length(_t.activities) > 0 THEN
        PERFORM df_engine.check_seq(min(a.seq), _first, _head), df_engine.check_seq(max(a.seq), _first, _head)
            FROM json_to_recordset(_t.activities) AS a(seq integer);
        WITH asked AS (SELECT * FROM json_to_recordset(_t.activities)
                                AS a(seq integer, lane text, kind text, input text, token text)),
             added AS (
                INSERT INTO df_engine.tasks (bucket, instance_id, seq, execution_id, lane, kind, owner, database, queue,
                                             interpreter, input, queued_at, visible_at, worker_id, token_hash, leased_at)
                    SELECT _i.bucket, _i.instance_id, a.seq, _execution_id, a.lane, a.kind, _i.owner, _i.database,
                           _i.queue, _i.interpreter, a.input, _now, _now,
                           CASE WHEN a.token IS NOT NULL THEN _worker_id END, sha256(convert_to(a.token, 'UTF8')),
                           CASE WHEN a.token IS NOT NULL THEN _now END
                    FROM asked a
                    RETURNING worker_id)
            SELECT bool_or(worker_id IS NULL) INTO _for_others FROM added;
        IF _for_others THEN
            PERFORM df_engine.wake();
        END IF;
    END IF;
    IF json_array_length(_t.timers) > 0 THEN
        INSERT INTO df_engine.timers (bucket, instance_id, seq, execution_id, due_at)
            SELECT _i.bucket, _i.instance_id, a.seq, _execution_id, a.due
            FROM json_to_recordset(_t.timers) AS a(seq integer, due timestamptz);
    END IF;
    IF json_array_length(_t.waits) > 0 THEN
        INSERT INTO df_engine.instance_waits (bucket, instance_id, execution_id, seq, target_bucket, target_id)
            SELECT _i.bucket, _i.instance_id, _execution_id, a.seq,
                   CASE WHEN a.target ~ '^[0-9a-f]{8,32}$' THEN df_engine.bucket_of(a.target) ELSE 0 END, a.target
            FROM (SELECT w.seq, df_engine.wait_target(_i, w.target, w.ref) AS target
                  FROM json_to_recordset(_t.waits) AS w(seq integer, target text, ref json)) a;
    END IF;
END $$;

-- What is waited for: as it stands in the graph, or as a step computed it (a JSON string). It need be no id at all; then
-- nobody has it, and the error names it.
CREATE OR REPLACE FUNCTION df_engine.wait_target(_i df_engine.instances, _target text, _ref json) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF _target IS NULL THEN
        _target := df_engine.result_text(_i.bucket, _i.instance_id, _ref)::json #>> '{}';
    END IF;
    RETURN coalesce(left(_target, 200), '(null)');
END $$;

-- Commit decided turns of different instances together. Nobody is waited for: a locked instance answers "busy".
CREATE OR REPLACE FUNCTION df_engine.commit_turns_v1(_worker_id bigint, _key text, _turns json)
RETURNS TABLE (n bigint, outcome text, head integer, clock timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _w df_engine.workers := df_engine.worker_of(_worker_id, _key);
    _i df_engine.instances;
    _t df_engine.turn;
    _alone boolean := json_array_length(_turns) = 1;
BEGIN
    IF _alone THEN
        SET LOCAL lock_timeout = '200ms';
    END IF;
    n := -1;
    FOR _t IN SELECT * FROM json_populate_recordset(NULL::df_engine.turn, _turns) LOOP
        n := n + 1;
        clock := clock_timestamp();
        head := NULL;
        IF _alone THEN
            SELECT * INTO _i FROM df_engine.instances i
                WHERE i.bucket = _t.b AND i.instance_id = _t.i AND (_w.serves_all OR i.owner = _w.login)
                FOR NO KEY UPDATE;
        ELSE
            SELECT * INTO _i FROM df_engine.instances i
                WHERE i.bucket = _t.b AND i.instance_id = _t.i AND (_w.serves_all OR i.owner = _w.login)
                FOR NO KEY UPDATE SKIP LOCKED;
        END IF;
        IF NOT FOUND THEN
            outcome := 'busy';
        ELSIF NOT EXISTS (
                SELECT FROM df_engine.tasks k WHERE k.bucket = _t.b AND k.instance_id = _t.i
                    AND k.seq = 0 AND k.token_hash = sha256(convert_to(_t.t, 'UTF8'))) THEN
            outcome := 'lost';
        ELSIF _i.execution_id <> _t.x OR _i.head_seq <> _t.h THEN
            outcome := 'conflict';
        ELSE
            head := df_engine.apply_turn(_i, _worker_id, _t, clock);
            outcome := 'done';
        END IF;
        RETURN NEXT;
    END LOOP;
END $$;

-- A step outside its own transaction (HTTP, values, autocommit) completed.
CREATE OR REPLACE FUNCTION df_engine.complete_v1(
    _worker_id bigint, _key text, _bucket smallint, _instance_id text, _seq integer, _token text,
    _result text, _completed text, _turn_token text,
    OUT outcome text, OUT head integer, OUT clock timestamptz
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _w df_engine.workers := df_engine.worker_of(_worker_id, _key);
BEGIN
    SELECT f.outcome, f.head, f.clock INTO outcome, head, clock FROM df_engine.finish(
        _bucket, _instance_id, _seq, _token, _result, _completed, NULL, NULL, NULL, NULL,
        NULL, NULL, NULL, NULL, NULL, NULL, _turn_token, CASE WHEN NOT _w.serves_all THEN _w.login END) f;
END $$;

-- An attempt failed. With a delay (seconds) it is tried again then, and the attempt is noted; without, the step failed.
CREATE OR REPLACE FUNCTION df_engine.fail_v1(
    _worker_id bigint, _key text, _bucket smallint, _instance_id text, _seq integer, _token text,
    _failure text, _delay double precision, _counts boolean, _turn_token text,
    OUT outcome text, OUT head integer, OUT clock timestamptz
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s' AS $$
DECLARE
    _w df_engine.workers := df_engine.worker_of(_worker_id, _key);
    _i df_engine.instances;
    _payload text := '{"of":' || _seq || ',"failure":' || _failure || '}';
BEGIN
    clock := clock_timestamp();
    SELECT * INTO _i FROM df_engine.instances i
        WHERE i.bucket = _bucket AND i.instance_id = _instance_id AND (_w.serves_all OR i.owner = _w.login)
        FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        outcome := 'lost';
        RETURN;
    END IF;
    PERFORM FROM df_engine.tasks t WHERE t.bucket = _bucket AND t.instance_id = _instance_id AND t.seq = _seq
        AND t.seq > 0 AND t.token_hash = sha256(convert_to(_token, 'UTF8')) FOR UPDATE;
    IF NOT FOUND THEN
        outcome := 'lost';
    ELSIF _delay IS NULL THEN
        DELETE FROM df_engine.tasks t WHERE t.bucket = _bucket AND t.instance_id = _instance_id AND t.seq = _seq;
        head := df_engine.append_facts(_i, ARRAY['ActivityFailed'], ARRAY[_payload], clock);
        outcome := CASE WHEN df_engine.ensure_turn(_i, _worker_id, sha256(convert_to(_turn_token, 'UTF8')), clock)
                        THEN 'turn' ELSE 'noted' END;
    ELSE
        IF _counts THEN
            head := df_engine.append_facts(_i, ARRAY['ActivityAttemptFailed'], ARRAY[_payload], clock);
        END IF;
        UPDATE df_engine.tasks t SET worker_id = NULL, token_hash = NULL, leased_at = NULL,
                attempt = t.attempt + CASE WHEN _counts THEN 1 ELSE 0 END,
                first_failed_at = CASE WHEN _counts THEN coalesce(t.first_failed_at, clock) ELSE t.first_failed_at END,
                visible_at = clock + make_interval(secs => _delay)
            WHERE t.bucket = _bucket AND t.instance_id = _instance_id AND t.seq = _seq;
        outcome := 'again';
        PERFORM df_engine.wake();
    END IF;
END $$;

-- The server refused the statement inside a transaction: from now on it runs outside one. Noted before it runs.
CREATE OR REPLACE FUNCTION df_engine.autocommit_v1(
    _worker_id bigint, _key text, _bucket smallint, _instance_id text, _seq integer, _token text
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s' AS $$
DECLARE
    _w df_engine.workers := df_engine.worker_of(_worker_id, _key);
    _i df_engine.instances;
BEGIN
    SELECT * INTO _i FROM df_engine.instances i
        WHERE i.bucket = _bucket AND i.instance_id = _instance_id AND (_w.serves_all OR i.owner = _w.login)
        FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE df_engine.tasks t SET autocommit = true
        WHERE t.bucket = _bucket AND t.instance_id = _instance_id AND t.seq = _seq
          AND t.token_hash = sha256(convert_to(_token, 'UTF8'));
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM df_engine.append_facts(_i, ARRAY['ActivityModeChanged'],
                                   ARRAY['{"of":' || _seq || ',"autocommit":true}'], clock_timestamp());
    RETURN true;
END $$;

-- Unknown outcome: with the same token still there nothing was committed; a new token shuts the old message out.
CREATE OR REPLACE FUNCTION df_engine.retake_v1(
    _worker_id bigint, _key text, _bucket smallint, _instance_id text, _seq integer, _token text, _new_token text
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s' AS $$
DECLARE
    _w df_engine.workers := df_engine.worker_of(_worker_id, _key);
BEGIN
    PERFORM FROM df_engine.instances i
        WHERE i.bucket = _bucket AND i.instance_id = _instance_id AND (_w.serves_all OR i.owner = _w.login)
        FOR NO KEY UPDATE;
    UPDATE df_engine.tasks t SET token_hash = sha256(convert_to(_new_token, 'UTF8'))
        WHERE t.bucket = _bucket AND t.instance_id = _instance_id AND t.seq = _seq AND t.worker_id = _w.worker_id
          AND t.token_hash = sha256(convert_to(_token, 'UTF8'));
    RETURN FOUND;
END $$;

-- Nobody can go on with this instance as it is: it keeps its history, and its turn, and is not claimed until resumed.
CREATE OR REPLACE FUNCTION df_engine.park_v1(
    _worker_id bigint, _key text, _bucket smallint, _instance_id text, _reason text
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s' AS $$
DECLARE
    _w df_engine.workers := df_engine.worker_of(_worker_id, _key);
    _i df_engine.instances;
    _now timestamptz := clock_timestamp();
BEGIN
    SELECT * INTO _i FROM df_engine.instances i
        WHERE i.bucket = _bucket AND i.instance_id = _instance_id AND i.ended_at IS NULL
          AND (_w.serves_all OR i.owner = _w.login)
        FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN;
    ELSIF _i.status = 'cancelled' THEN
        -- It was cancelled: nobody has to be able to read it any more.
        PERFORM df_engine.append_facts(_i, ARRAY['ExecutionCancelled'],
                                       ARRAY[coalesce((SELECT h.payload FROM df_engine.history h
                                                       WHERE h.bucket = _bucket AND h.instance_id = _instance_id
                                                         AND h.execution_id = _i.execution_id AND h.kind = 'CancelRequested'
                                                       ORDER BY h.seq LIMIT 1), '{}')], _now);
        PERFORM df_engine.clear_work(_bucket, _instance_id, true);
        UPDATE df_engine.instances i SET ended_at = _now WHERE i.bucket = _bucket AND i.instance_id = _instance_id;
        PERFORM df_engine.wake_holders();
        RETURN;
    END IF;
    UPDATE df_engine.instances i SET parked = left(_reason, 4000), updated_at = _now
        WHERE i.bucket = _bucket AND i.instance_id = _instance_id;
    UPDATE df_engine.tasks t SET visible_at = 'infinity', worker_id = NULL, token_hash = NULL, leased_at = NULL
        WHERE t.bucket = _bucket AND t.instance_id = _instance_id AND t.seq = 0 AND t.worker_id = _w.worker_id;
END $$;

REVOKE ALL ON FUNCTION df_engine.worker_of(bigint, text),
    df_engine.apply_turn(df_engine.instances, bigint, df_engine.turn, timestamptz),
    df_engine.begin_execution(df_engine.instances, integer, df_engine.turn, timestamptz),
    df_engine.drop_work(smallint, text, integer[]),
    df_engine.schedule(df_engine.instances, integer, bigint, df_engine.turn, timestamptz, integer),
    df_engine.wait_target(df_engine.instances, text, json) FROM PUBLIC;
