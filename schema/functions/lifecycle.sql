-- df.status, df.result, df.await_instance and kin: short reads over the views, with the caller's rights.

CREATE OR REPLACE FUNCTION df.status(instance_id text) RETURNS text
LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (SELECT i.status FROM df.instances i WHERE i.id = status.instance_id);
END $$;

-- The root's result as jsonb text, for completed instances only.
CREATE OR REPLACE FUNCTION df.result(instance_id text) RETURNS text
LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN df_engine.visible_output(instance_id)::jsonb::text;
END $$;

CREATE OR REPLACE FUNCTION df.await_instance(instance_id text, timeout_seconds integer DEFAULT 30) RETURNS text
LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _until timestamptz := clock_timestamp() + make_interval(secs => timeout_seconds);
    _pause double precision := 0.002;
    _status text;
BEGIN
    IF current_setting('df.in_workflow', true) = 'true' THEN
        RAISE EXCEPTION 'df.await_instance() cannot be called inside a workflow step: it would hold the step''s connection'
            USING ERRCODE = '55000', HINT = 'Use df.wait_for_instance(id) as a step of its own.';
    ELSIF timeout_seconds <= 0 THEN
        RAISE EXCEPTION 'Timeout must be positive' USING ERRCODE = '22023';
    END IF;
    LOOP
        _status := df.status(instance_id);
        IF _status IS NULL THEN
            RAISE EXCEPTION 'Instance not found: %', instance_id USING ERRCODE = 'P0002';
        ELSIF _status IN ('completed', 'failed', 'cancelled') THEN
            PERFORM df_engine.mark_helper('df.await_instance');
            RETURN _status;
        ELSIF clock_timestamp() >= _until THEN
            RAISE EXCEPTION 'Timeout after %s waiting for instance % (status: %)', timeout_seconds, instance_id, _status
                USING ERRCODE = '57014';
        END IF;
        PERFORM pg_sleep(least(_pause, greatest(extract(epoch FROM _until - clock_timestamp()), 0)));
        _pause := least(_pause * 1.5, 0.1);
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION df.wait_for_completion(instance_id text, timeout_seconds integer DEFAULT 30) RETURNS text
LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE WARNING 'df.wait_for_completion() is deprecated; use df.await_instance() instead';
    RETURN df.await_instance(instance_id, timeout_seconds);
END $$;

CREATE OR REPLACE FUNCTION df.run(instance_id text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN CASE WHEN instance_id IS NULL THEN 'Triggered run for all pending instances'
                ELSE 'Triggered run for instance: ' || instance_id END;
END $$;
