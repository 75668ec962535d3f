-- The log: the only ways in, and how results are read back. Nothing here is called by users.

CREATE OR REPLACE FUNCTION df_engine.bucket_of(_instance_id text) RETURNS smallint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ('x' || pg_catalog.substr(_instance_id, 1, 2))::pg_catalog.bit(8)::pg_catalog.int4::pg_catalog.int2;

-- The eight hex digits that people see for a node; the same arithmetic stands in orchestrator/graph.py.
CREATE OR REPLACE FUNCTION df_engine.node_id(_index integer) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN pg_catalog.lpad(pg_catalog.to_hex((_index::pg_catalog.int8 * 2654435761 + 1540483477) % 4294967296), 8, '0');

CREATE OR REPLACE FUNCTION df_engine.token_hash(_token text) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN pg_catalog.sha256(pg_catalog.convert_to(_token, 'UTF8'));

CREATE OR REPLACE FUNCTION df_engine.iso(_at timestamptz) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN pg_catalog.to_char(_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"');

-- History is append-only. Pruning whole executions is the one exception, and says so by a setting that only counts
-- for those who hold the privilege to delete at all.
CREATE OR REPLACE FUNCTION df_engine.history_is_append_only() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' AND pg_catalog.current_setting('df_engine.pruning', true) = 'on' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'df_engine.history is append-only: % refused', TG_OP USING ERRCODE = 'DF009';
END $$;
DROP TRIGGER IF EXISTS history_is_append_only ON df_engine.history;
CREATE TRIGGER history_is_append_only BEFORE UPDATE OR DELETE ON df_engine.history
    FOR EACH ROW EXECUTE FUNCTION df_engine.history_is_append_only();
DROP TRIGGER IF EXISTS history_no_truncate ON df_engine.history;
CREATE TRIGGER history_no_truncate BEFORE TRUNCATE ON df_engine.history
    FOR EACH STATEMENT EXECUTE FUNCTION df_engine.history_is_append_only();

-- The raw text that a reference stands for: [execution, seq] | {"v": raw} | {"j": [refs]}.
CREATE OR REPLACE FUNCTION df_engine.result_text(_bucket smallint, _instance_id text, _ref json) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _text text;
BEGIN
    IF _ref IS NULL THEN
        RETURN NULL;
    ELSIF json_typeof(_ref) = 'array' THEN
        SELECT r.body INTO _text FROM df_engine.results r
            WHERE r.bucket = _bucket AND r.instance_id = _instance_id
              AND r.execution_id = (_ref->>0)::integer AND r.seq = (_ref->>1)::integer;
        RETURN coalesce(_text, '{"rows":[],"row_count":0}');
    ELSIF _ref->'j' IS NOT NULL THEN
        SELECT '[' || coalesce(string_agg(df_engine.result_text(_bucket, _instance_id, j.value), ',' ORDER BY j.ordinality), '') || ']'
            INTO _text FROM json_array_elements(_ref->'j') WITH ORDINALITY j;
        RETURN _text;
    END IF;
    RETURN _ref->>'v';
END $$;

-- Make sure that the instance has a turn to take. True when the task is new; it is then leased to _worker_id, if given.
-- The caller holds the instance's lock.
CREATE OR REPLACE FUNCTION df_engine.ensure_turn(
    _i df_engine.instances, _worker_id bigint, _token_hash bytea, _now timestamptz
) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO df_engine.tasks (bucket, instance_id, seq, execution_id, lane, kind, owner, database, queue, interpreter,
                                 queued_at, visible_at, worker_id, token_hash, leased_at)
        VALUES (_i.bucket, _i.instance_id, 0, _i.execution_id, 'turn', 'turn', _i.owner, _i.database, _i.queue,
                _i.interpreter, _now, _now, _worker_id, _token_hash, CASE WHEN _worker_id IS NOT NULL THEN _now END)
        ON CONFLICT (bucket, instance_id, seq) DO NOTHING;
    RETURN FOUND;
END $$;

-- Append facts at the head, whatever anybody decided. The caller holds the instance's lock.
CREATE OR REPLACE FUNCTION df_engine.append_facts(
    _i df_engine.instances, _kinds text[], _payloads text[], _now timestamptz
) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO df_engine.history (bucket, instance_id, execution_id, seq, kind, payload, recorded_at)
        SELECT _i.bucket, _i.instance_id, _i.execution_id, _i.head_seq + f.ordinality, f.kind, f.payload, _now
        FROM unnest(_kinds, _payloads) WITH ORDINALITY AS f(kind, payload, ordinality);
    UPDATE df_engine.instances SET head_seq = _i.head_seq + cardinality(_kinds), updated_at = _now
        WHERE bucket = _i.bucket AND instance_id = _i.instance_id;
    RETURN _i.head_seq + cardinality(_kinds);
END $$;

-- Work belongs to an event of the turn that asks for it. A role's own session or worker might say otherwise, and results
-- would then stand where the engine's facts are to go.
CREATE OR REPLACE FUNCTION df_engine.check_seq(_seq integer, _first integer, _last integer) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF _seq NOT BETWEEN _first AND _last THEN
        RAISE EXCEPTION 'df: no event % in this turn (% to %)', _seq, _first, _last USING ERRCODE = 'DF011';
    END IF;
END $$;

-- The end of an instance: nothing of it is left to do. The caller holds the instance's lock and updates its row.
CREATE OR REPLACE FUNCTION df_engine.clear_work(_bucket smallint, _instance_id text, _ended boolean) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _running boolean;
BEGIN
    WITH gone AS (DELETE FROM df_engine.tasks WHERE bucket = _bucket AND instance_id = _instance_id
                  RETURNING seq, worker_id)
        SELECT coalesce(bool_or(seq > 0 AND worker_id IS NOT NULL), false) INTO _running FROM gone;
    DELETE FROM df_engine.timers WHERE bucket = _bucket AND instance_id = _instance_id;
    DELETE FROM df_engine.instance_waits WHERE bucket = _bucket AND instance_id = _instance_id;
    IF _ended THEN
        DELETE FROM df_engine.inbox WHERE bucket = _bucket AND instance_id = _instance_id;
    END IF;
    RETURN _running;
END $$;

-- Somebody may have to be woken: only when a worker says that it is idle, and only if notifications are on.
CREATE OR REPLACE FUNCTION df_engine.wake() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM df_engine.workers w
               WHERE w.idle AND w.beat_at > clock_timestamp() - make_interval(secs => w.lease_seconds))
       AND df_engine.setting('notify') = 'on' THEN
        PERFORM pg_notify('df_wake', '');
    END IF;
END $$;

-- Workers whose running steps may have been dropped compare their leases at once.
CREATE OR REPLACE FUNCTION df_engine.wake_holders() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF df_engine.setting('notify') = 'on' THEN
        PERFORM pg_notify('df_wake', 'leases');
    END IF;
END $$;

CREATE OR REPLACE FUNCTION df_engine.wake_trigger() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM df_engine.wake();
    RETURN NULL;
END $$;
DROP TRIGGER IF EXISTS wake ON df_engine.starts;
CREATE CONSTRAINT TRIGGER wake AFTER INSERT ON df_engine.starts DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION df_engine.wake_trigger();
DROP TRIGGER IF EXISTS wake ON df_engine.inbox;
CREATE CONSTRAINT TRIGGER wake AFTER INSERT ON df_engine.inbox DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION df_engine.wake_trigger();

REVOKE ALL ON FUNCTION df_engine.token_hash(text), df_engine.history_is_append_only(),
    df_engine.result_text(smallint, text, json), df_engine.ensure_turn(df_engine.instances, bigint, bytea, timestamptz),
    df_engine.append_facts(df_engine.instances, text[], text[], timestamptz),
    df_engine.check_seq(integer, integer, integer), df_engine.clear_work(smallint, text, boolean), df_engine.wake(), df_engine.wake_holders(),
    df_engine.wake_trigger() FROM PUBLIC;
