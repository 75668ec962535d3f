-- The step transaction: the effects of a step and the event that records it, in one commit.
--
-- finish() never returns without the completion written: where the lease is over it raises, and the effects roll back
-- with it. It looks at no clock to judge a lease: the token decides.

CREATE OR REPLACE FUNCTION df_engine.finish(
    _bucket smallint, _instance_id text, _seq integer, _token text,
    _result text, _completed text,
    _execution_id integer, _head integer, _kinds text[], _payloads text[],
    _next_seq integer, _next_lane text, _next_kind text, _next_input text, _next_token text,
    _end_status text, _turn_token text, _login regrole,
    OUT outcome text, OUT head integer, OUT clock timestamptz
)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s' SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    _i df_engine.instances;
    _worker_id bigint;
    _decides boolean;
BEGIN
    clock := clock_timestamp();
    SELECT * INTO _i FROM df_engine.instances i
        WHERE i.bucket = _bucket AND i.instance_id = _instance_id FOR NO KEY UPDATE;
    IF NOT FOUND OR (_login IS NOT NULL AND _login <> _i.owner
                     AND NOT EXISTS (SELECT FROM df_engine.proxies p WHERE p.login = _login AND p.owner = _i.owner)) THEN
        RAISE EXCEPTION 'df: no such lease' USING ERRCODE = 'DF002';
    END IF;
    DELETE FROM df_engine.tasks t
        WHERE t.bucket = _bucket AND t.instance_id = _instance_id AND t.seq = _seq AND _seq > 0
          AND t.token_hash = sha256(convert_to(_token, 'UTF8'))
        RETURNING t.worker_id INTO _worker_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'df: no such lease' USING ERRCODE = 'DF002';
    END IF;
    _decides := _kinds IS NOT NULL AND _i.execution_id = _execution_id AND _i.head_seq = _head
                AND _i.status <> 'cancelled';
    IF _result IS NOT NULL THEN
        INSERT INTO df_engine.results (bucket, instance_id, execution_id, seq, body)
            VALUES (_bucket, _instance_id, _i.execution_id, _seq, _result);
    END IF;
    IF NOT _decides THEN
        head := df_engine.append_facts(_i, ARRAY['ActivityCompleted'], ARRAY[_completed], clock);
        outcome := CASE WHEN df_engine.ensure_turn(_i, _worker_id, sha256(convert_to(_turn_token, 'UTF8')), clock)
                        THEN 'turn' ELSE 'noted' END;
        RETURN;
    END IF;
    _payloads[1] := '{"now":"' || df_engine.iso(clock) || '"' || substr(_payloads[1], 12);
    head := _head + 1 + cardinality(_kinds);
    PERFORM df_engine.check_seq(_next_seq, _head + 2, head);
    INSERT INTO df_engine.history (bucket, instance_id, execution_id, seq, kind, payload, recorded_at)
        SELECT _bucket, _instance_id, _execution_id, _head + f.ordinality, f.kind, f.payload, clock
        FROM unnest('ActivityCompleted'::text || _kinds, _completed || _payloads)
             WITH ORDINALITY AS f(kind, payload, ordinality);
    outcome := 'done';
    IF _end_status IS NOT NULL THEN
        PERFORM df_engine.clear_work(_bucket, _instance_id, true);
        UPDATE df_engine.instances i SET head_seq = finish.head, updated_at = clock, status = _end_status, ended_at = clock
            WHERE i.bucket = _bucket AND i.instance_id = _instance_id;
        RETURN;
    END IF;
    UPDATE df_engine.instances i SET head_seq = finish.head, updated_at = clock
        WHERE i.bucket = _bucket AND i.instance_id = _instance_id;
    INSERT INTO df_engine.tasks (bucket, instance_id, seq, execution_id, lane, kind, owner, database, queue, interpreter,
                                 input, queued_at, visible_at, worker_id, token_hash, leased_at)
        VALUES (_bucket, _instance_id, _next_seq, _execution_id, _next_lane, _next_kind, _i.owner, _i.database, _i.queue,
                _i.interpreter, _next_input, clock, clock,
                CASE WHEN _next_token IS NOT NULL THEN _worker_id END,
                CASE WHEN _next_token IS NOT NULL THEN sha256(convert_to(_next_token, 'UTF8')) END,
                CASE WHEN _next_token IS NOT NULL THEN clock END);
    IF _next_token IS NULL THEN
        PERFORM df_engine.wake();
    END IF;
END $$;

-- Form (a): the user's statement ran in this transaction already; finish and COMMIT follow in one message. A statement
-- that ended the transaction and began another is seen by the transaction id.
CREATE OR REPLACE FUNCTION df_engine.finish_v1(
    _xid text, _bucket smallint, _instance_id text, _seq integer, _token text, _result text, _completed text,
    _execution_id integer, _head integer, _kinds text[], _payloads text[],
    _next_seq integer, _next_lane text, _next_kind text, _next_input text, _next_token text,
    _end_status text, _turn_token text
) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF pg_current_xact_id_if_assigned()::text IS DISTINCT FROM _xid THEN
        RAISE EXCEPTION 'df: the step ended its own transaction; what it committed before stays committed'
            USING ERRCODE = 'DF001';
    END IF;
    EXECUTE 'RESET statement_timeout'; -- the next step's first message would begin under it
    RETURN df_engine.finish_step(_bucket, _instance_id, _seq, _token, _result, _completed, _execution_id, _head,
        _kinds, _payloads, _next_seq, _next_lane, _next_kind, _next_input, _next_token, _end_status, _turn_token);
END $$;

-- Form (b): one message. The statement returns no rows, runs by EXECUTE as the submitting role, and commits with its
-- completion when this call does. SECURITY INVOKER, and without a search_path of its own: the statement must see the
-- session's. Everything else in it is qualified. Answers "outcome head clock", a scalar: a row would cost a tuplestore.
CREATE OR REPLACE FUNCTION df_engine.run_step_v1(
    _role text, _statement text, _bucket smallint, _instance_id text, _seq integer, _token text, _completed text,
    _execution_id integer, _head integer, _kinds text[], _payloads text[],
    _next_seq integer, _next_lane text, _next_kind text, _next_input text, _next_token text,
    _end_status text, _turn_token text
) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    _timeout pg_catalog.text;
BEGIN
    IF pg_catalog.current_setting('transaction_isolation') OPERATOR(pg_catalog.<>) 'read committed'
       OR pg_catalog.current_setting('transaction_read_only') OPERATOR(pg_catalog.<>) 'off' THEN
        -- An earlier step changed the session's defaults. Nothing has run; the worker cleans the session and asks again.
        RAISE EXCEPTION 'df: the session is not clean' USING ERRCODE = 'DF003';
    END IF;
    PERFORM df_engine.reset_session_v1(_role);
    _timeout := pg_catalog.current_setting('statement_timeout');
    EXECUTE _statement;
    IF pg_catalog.current_setting('statement_timeout') OPERATOR(pg_catalog.<>) _timeout THEN
        EXECUTE 'RESET statement_timeout'; -- the next step would begin under it
    END IF;
    RETURN df_engine.finish_step_v1(
        _bucket, _instance_id, _seq, _token, _completed, _execution_id, _head, _kinds, _payloads,
        _next_seq, _next_lane, _next_kind, _next_input, _next_token, _end_status, _turn_token);
END $$;

-- The common case is one conditional update of the instance, which locks and compares at once: under READ COMMITTED a
-- row that changed meanwhile is compared again as it is now. Everything else goes through finish().
CREATE OR REPLACE FUNCTION df_engine.finish_step(
    _bucket smallint, _instance_id text, _seq integer, _token text, _result text, _completed text,
    _execution_id integer, _head integer, _kinds text[], _payloads text[],
    _next_seq integer, _next_lane text, _next_kind text, _next_input text, _next_token text,
    _end_status text, _turn_token text
) RETURNS text
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s' SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    _clock timestamptz := clock_timestamp();
    _login regrole := quote_ident(session_user)::regrole;
    _owner regrole;
    _outcome text;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'df: a step must not change the isolation level' USING ERRCODE = 'DF001';
    END IF;
    IF _next_seq NOT BETWEEN _head + 2 AND _head + 1 + cardinality(_kinds) THEN
        PERFORM df_engine.check_seq(_next_seq, _head + 2, _head + 1 + cardinality(_kinds));
    END IF;
    IF _next_token IS NOT NULL OR _end_status IS NOT NULL THEN
        UPDATE df_engine.instances i
            SET head_seq = _head + 1 + cardinality(_kinds), updated_at = _clock, status = coalesce(_end_status, i.status),
                ended_at = CASE WHEN _end_status IS NOT NULL THEN _clock END
            WHERE i.bucket = _bucket AND i.instance_id = _instance_id AND i.execution_id = _execution_id
              AND i.head_seq = _head AND i.status = 'running'
            RETURNING i.owner INTO _owner;
    END IF;
    IF _owner IS NULL THEN
        SELECT f.outcome || ' ' || f.head || ' ' || df_engine.iso(f.clock) INTO _outcome FROM df_engine.finish(
            _bucket, _instance_id, _seq, _token, _result, _completed, _execution_id, _head, _kinds, _payloads,
            _next_seq, _next_lane, _next_kind, _next_input, _next_token, _end_status, _turn_token, _login) f;
        RETURN _outcome;
    END IF;
    IF _end_status IS NULL THEN
        UPDATE df_engine.tasks t
            SET seq = _next_seq, lane = _next_lane, kind = _next_kind, input = _next_input, attempt = 1, losses = 0,
                autocommit = false, first_failed_at = NULL, queued_at = _clock, leased_at = _clock,
                token_hash = sha256(convert_to(_next_token, 'UTF8'))
            WHERE t.bucket = _bucket AND t.instance_id = _instance_id AND t.seq = _seq AND _seq > 0
              AND t.token_hash = sha256(convert_to(_token, 'UTF8'));
    ELSE
        DELETE FROM df_engine.tasks t
            WHERE t.bucket = _bucket AND t.instance_id = _instance_id AND t.seq = _seq AND _seq > 0
              AND t.token_hash = sha256(convert_to(_token, 'UTF8'));
    END IF;
    IF NOT FOUND OR (_login <> _owner AND NOT EXISTS (
            SELECT FROM df_engine.proxies p WHERE p.login = _login AND p.owner = _owner)) THEN
        RAISE EXCEPTION 'df: no such lease' USING ERRCODE = 'DF002';
    END IF;
    IF _end_status IS NOT NULL THEN
        DELETE FROM df_engine.inbox m WHERE m.bucket = _bucket AND m.instance_id = _instance_id;
    END IF;
    IF _result IS NOT NULL THEN
        INSERT INTO df_engine.results (bucket, instance_id, execution_id, seq, body)
            VALUES (_bucket, _instance_id, _execution_id, _seq, _result);
    END IF;
    _payloads[1] := '{"now":"' || df_engine.iso(_clock) || '"' || substr(_payloads[1], 12);
    INSERT INTO df_engine.history (bucket, instance_id, execution_id, seq, kind, payload, recorded_at)
        SELECT _bucket, _instance_id, _execution_id, _head + f.ordinality, f.kind, f.payload, _clock
        FROM unnest('ActivityCompleted'::text || _kinds, _completed || _payloads)
             WITH ORDINALITY AS f(kind, payload, ordinality);
    RETURN 'done ' || (_head + 1 + cardinality(_kinds)) || ' ' || df_engine.iso(_clock);
END $$;

CREATE OR REPLACE FUNCTION df_engine.finish_step_v1(
    _bucket smallint, _instance_id text, _seq integer, _token text, _completed text,
    _execution_id integer, _head integer, _kinds text[], _payloads text[],
    _next_seq integer, _next_lane text, _next_kind text, _next_input text, _next_token text,
    _end_status text, _turn_token text
) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN df_engine.finish_step(_bucket, _instance_id, _seq, _token, NULL, _completed, _execution_id, _head,
        _kinds, _payloads, _next_seq, _next_lane, _next_kind, _next_input, _next_token, _end_status, _turn_token);
END $$;

-- Nothing of an earlier step is left in the session: the parts of DISCARD ALL that can stand in a transaction.
-- Statements that the driver prepared stay (they are not the user's), which is why this is no DEALLOCATE ALL.
CREATE OR REPLACE FUNCTION df_engine.reset_session_v1(_role text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    _name pg_catalog.text;
BEGIN
    EXECUTE 'CLOSE ALL; UNLISTEN *; RESET ALL; DISCARD TEMP; DISCARD SEQUENCES';
    IF pg_catalog.current_setting('role') OPERATOR(pg_catalog.<>) _role THEN
        PERFORM pg_catalog.set_config('role', _role, false);
    END IF;
    PERFORM pg_catalog.pg_advisory_unlock_all();
    FOR _name IN SELECT p.name FROM pg_catalog.pg_prepared_statements p WHERE p.from_sql LOOP
        EXECUTE pg_catalog.format('DEALLOCATE %I', _name);
    END LOOP;
    IF COALESCE(pg_catalog.current_setting('df.in_workflow', true), '') OPERATOR(pg_catalog.<>) 'true' THEN
        -- Through a pooler a session begins with nobody's settings: those of a step hold for its transaction.
        PERFORM pg_catalog.set_config('df.in_workflow', 'true', true),
            pg_catalog.set_config('standard_conforming_strings', 'on', true),
            pg_catalog.set_config('client_connection_check_interval', '2s', true),
            pg_catalog.set_config('client_encoding', 'UTF8', false);
    END IF;
END $$;

-- Form (a) begins: a clean session, and the transaction id that finish will compare. Asking for it is also the first
-- query, after which the isolation level cannot be changed any more.
CREATE OR REPLACE FUNCTION df_engine.begin_step_v1(_role text) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM df_engine.reset_session_v1(_role);
    RETURN pg_catalog.pg_current_xact_id()::pg_catalog.text;
END $$;

REVOKE ALL ON FUNCTION df_engine.finish_step(smallint, text, integer, text, text, text, integer, integer, text[], text[],
    integer, text, text, text, text, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION df_engine.finish(smallint, text, integer, text, text, text, integer, integer, text[], text[],
    integer, text, text, text, text, text, text, regrole) FROM PUBLIC;
