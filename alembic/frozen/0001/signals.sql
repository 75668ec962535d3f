-- df.signal and df.cancel. A signal is one durable row: whether anybody waits is not asked. A cancel alone takes the
-- instance's lock in the caller's transaction, so that no completion can overtake it.

CREATE OR REPLACE VIEW df.ingress_signals WITH (security_barrier) AS
    SELECT NULL::regrole AS owner, NULL::text AS instance_id, NULL::text AS name, NULL::text AS data WHERE false;
ALTER VIEW df.ingress_signals ALTER COLUMN owner SET DEFAULT quote_ident(current_user)::regrole;

CREATE OR REPLACE VIEW df.ingress_cancels WITH (security_barrier) AS
    SELECT NULL::regrole AS owner, NULL::text AS instance_id, NULL::text AS reason, NULL::text AS outcome WHERE false;
ALTER VIEW df.ingress_cancels ALTER COLUMN owner SET DEFAULT quote_ident(current_user)::regrole;

CREATE OR REPLACE FUNCTION df_engine.is_admin(_role regrole) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN (SELECT r.rolsuper OR r.rolbypassrls OR df_engine.observes(r.rolname, true)
        FROM pg_catalog.pg_roles r WHERE r.oid = _role);

CREATE OR REPLACE FUNCTION df_engine.on_ingress_signal() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _ended timestamptz;
    _bucket smallint;
    _body text;
BEGIN
    IF coalesce(NEW.instance_id, '') = '' THEN
        RAISE EXCEPTION 'Instance ID cannot be empty' USING ERRCODE = '22023';
    ELSIF coalesce(NEW.name, '') = '' THEN
        RAISE EXCEPTION 'Signal name cannot be empty' USING ERRCODE = '22023';
    END IF;
    IF NEW.instance_id ~ '^[0-9a-f]{8,32}$' THEN
        SELECT i.bucket, i.ended_at INTO _bucket, _ended FROM df_engine.instances i
            WHERE i.bucket = df_engine.bucket_of(NEW.instance_id) AND i.instance_id = NEW.instance_id
              AND (i.owner = NEW.owner OR df_engine.is_admin(NEW.owner));
    END IF;
    IF _bucket IS NULL THEN
        RAISE EXCEPTION 'Instance not found or access denied: %', NEW.instance_id USING ERRCODE = 'P0002';
    ELSIF _ended IS NULL THEN
        _body := df_engine.signal_body(NEW.data);
        INSERT INTO df_engine.inbox (bucket, instance_id, name, body, sent_at)
            VALUES (_bucket, NEW.instance_id, NEW.name, _body, clock_timestamp());
    END IF;
    RETURN NEW;
END $$;
DROP TRIGGER IF EXISTS on_ingress_signal ON df.ingress_signals;
CREATE TRIGGER on_ingress_signal INSTEAD OF INSERT ON df.ingress_signals
    FOR EACH ROW EXECUTE FUNCTION df_engine.on_ingress_signal();

-- JSON stays the JSON that it is, anything else becomes a JSON string. What jsonb could not hold is refused here.
CREATE OR REPLACE FUNCTION df_engine.signal_body(_data text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF _data IS NULL THEN
        RETURN 'null';
    END IF;
    BEGIN
        PERFORM _data::json;
    EXCEPTION WHEN others THEN
        RETURN to_json(_data)::text;
    END;
    PERFORM _data::jsonb;
    RETURN _data;
END $$;

CREATE OR REPLACE FUNCTION df.signal(instance_id text, signal_name text, signal_data text DEFAULT '{}') RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF instance_id IS NULL OR signal_name IS NULL THEN
        RETURN NULL;
    END IF;
    INSERT INTO df.ingress_signals (instance_id, name, data) VALUES (instance_id, signal_name, signal_data);
    RETURN 'OK';
END $$;

CREATE OR REPLACE FUNCTION df_engine.on_ingress_cancel() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _i df_engine.instances;
    _now timestamptz;
BEGIN
    IF NEW.instance_id ~ '^[0-9a-f]{8,32}$' THEN
        PERFORM FROM df_engine.starts s
            WHERE s.bucket = df_engine.bucket_of(NEW.instance_id) AND s.instance_id = NEW.instance_id
              AND (s.owner = NEW.owner OR df_engine.is_admin(NEW.owner));
        IF FOUND THEN
            SELECT * INTO _i FROM df_engine.instances i
                WHERE i.bucket = df_engine.bucket_of(NEW.instance_id) AND i.instance_id = NEW.instance_id
                FOR NO KEY UPDATE;
        END IF;
    END IF;
    IF _i.instance_id IS NULL THEN
        RAISE EXCEPTION 'Instance not found or access denied: %', NEW.instance_id USING ERRCODE = 'P0002';
    END IF;
    NEW.outcome := format('Instance %s cancelled: %s', NEW.instance_id, NEW.reason);
    IF _i.status IN ('completed', 'failed', 'cancelled') THEN
        RETURN NEW;
    END IF;
    _now := clock_timestamp();
    PERFORM df_engine.append_facts(_i, ARRAY['CancelRequested'],
                                   ARRAY['{"reason":' || to_json(coalesce(NEW.reason, '')) || '}'], _now);
    UPDATE df_engine.instances i SET status = 'cancelled', parked = NULL
        WHERE i.bucket = _i.bucket AND i.instance_id = _i.instance_id;
    IF NOT df_engine.ensure_turn(_i, NULL, NULL, _now) THEN
        UPDATE df_engine.tasks t SET visible_at = _now
            WHERE t.bucket = _i.bucket AND t.instance_id = _i.instance_id AND t.seq = 0 AND t.visible_at > _now;
    END IF;
    PERFORM df_engine.wake_holders();
    RETURN NEW;
END $$;
DROP TRIGGER IF EXISTS on_ingress_cancel ON df.ingress_cancels;
CREATE TRIGGER on_ingress_cancel INSTEAD OF INSERT ON df.ingress_cancels
    FOR EACH ROW EXECUTE FUNCTION df_engine.on_ingress_cancel();

CREATE OR REPLACE FUNCTION df.cancel(instance_id text, reason text DEFAULT 'Cancelled by user') RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _outcome text;
BEGIN
    IF instance_id IS NULL THEN
        RETURN NULL;
    END IF;
    INSERT INTO df.ingress_cancels (instance_id, reason) VALUES (instance_id, coalesce(reason, 'Cancelled by user'))
        RETURNING outcome INTO _outcome;
    RETURN _outcome;
END $$;

-- A parked instance goes on: its turn is claimed again, by a release that can read it or after what was in the way is gone.
CREATE OR REPLACE VIEW df.ingress_resumes WITH (security_barrier) AS
    SELECT NULL::regrole AS owner, NULL::text AS instance_id WHERE false;
ALTER VIEW df.ingress_resumes ALTER COLUMN owner SET DEFAULT quote_ident(current_user)::regrole;

CREATE OR REPLACE FUNCTION df_engine.on_ingress_resume() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _i df_engine.instances;
    _now timestamptz := clock_timestamp();
BEGIN
    IF NEW.instance_id ~ '^[0-9a-f]{8,32}$' THEN
        SELECT * INTO _i FROM df_engine.instances i
            WHERE i.bucket = df_engine.bucket_of(NEW.instance_id) AND i.instance_id = NEW.instance_id
              AND (i.owner = NEW.owner OR df_engine.is_admin(NEW.owner)) FOR NO KEY UPDATE;
    END IF;
    IF _i.instance_id IS NULL THEN
        RAISE EXCEPTION 'Instance not found or access denied: %', NEW.instance_id USING ERRCODE = 'P0002';
    ELSIF _i.ended_at IS NOT NULL THEN
        RAISE EXCEPTION 'Instance % has ended (%)', NEW.instance_id, _i.status USING ERRCODE = '55000';
    END IF;
    UPDATE df_engine.instances i SET parked = NULL, updated_at = _now
        WHERE i.bucket = _i.bucket AND i.instance_id = _i.instance_id;
    IF NOT df_engine.ensure_turn(_i, NULL, NULL, _now) THEN
        UPDATE df_engine.tasks t SET visible_at = _now
            WHERE t.bucket = _i.bucket AND t.instance_id = _i.instance_id AND t.seq = 0 AND t.visible_at > _now;
    END IF;
    PERFORM df_engine.wake();
    RETURN NEW;
END $$;
DROP TRIGGER IF EXISTS on_ingress_resume ON df.ingress_resumes;
CREATE TRIGGER on_ingress_resume INSTEAD OF INSERT ON df.ingress_resumes
    FOR EACH ROW EXECUTE FUNCTION df_engine.on_ingress_resume();

CREATE OR REPLACE FUNCTION df.resume(instance_id text) RETURNS text
LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO df.ingress_resumes (instance_id) VALUES (instance_id);
    RETURN format('Instance %s resumed', instance_id);
END $$;

REVOKE ALL ON FUNCTION df_engine.on_ingress_resume() FROM PUBLIC;
REVOKE ALL ON FUNCTION df_engine.is_admin(regrole), df_engine.on_ingress_signal(), df_engine.on_ingress_cancel() FROM PUBLIC;
