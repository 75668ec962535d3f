-- df.start: the caller's transaction writes one ingress row; a definer trigger takes the owner from it and writes the
-- rest. Users hold INSERT on the view's columns but never on `owner`, whose default is the effective role: that is right
-- after SET ROLE and inside SECURITY DEFINER wrappers, and cannot be forged.

CREATE OR REPLACE VIEW df.ingress_starts WITH (security_barrier) AS
    SELECT NULL::regrole AS owner, NULL::text AS instance_id, NULL::text AS graph, NULL::text AS label,
           NULL::text AS database
    WHERE false;
ALTER VIEW df.ingress_starts ALTER COLUMN owner SET DEFAULT quote_ident(current_user)::regrole;

-- Who may own an instance. Raises in the reference's words.
CREATE OR REPLACE FUNCTION df_engine.check_owner(_owner regrole) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _r pg_catalog.pg_roles;
BEGIN
    SELECT * INTO _r FROM pg_roles r WHERE r.oid = _owner;
    IF NOT _r.rolcanlogin AND NOT EXISTS (SELECT FROM df_engine.proxies p WHERE p.owner = _owner) THEN
        RAISE EXCEPTION 'current_user "%" does not have LOGIN privilege. Steps run on a connection logged in as the role that started the workflow', _r.rolname
            USING ERRCODE = '42501', HINT = format('ALTER ROLE %I LOGIN, or start the workflow as a role that can log in.', _r.rolname);
    ELSIF _r.rolsuper THEN
        IF df_engine.setting('enable_superuser_instances') <> 'on' THEN
            RAISE EXCEPTION 'pg_durable: superuser instances are disabled. "%" is a superuser; start the workflow as an ordinary role, or let an administrator set pg_durable.enable_superuser_instances', _r.rolname
                USING ERRCODE = '42501',
                      HINT = 'UPDATE df.settings SET value = ''on'' WHERE name = ''enable_superuser_instances'';';
        END IF;
    ELSIF EXISTS (SELECT FROM df_engine.service_logins s WHERE s.login = _owner)
          OR EXISTS (SELECT FROM df_engine.proxies p WHERE p.login = _owner) THEN
        RAISE EXCEPTION 'role "%" serves the workflows of other roles and cannot own any', _r.rolname
            USING ERRCODE = '42501';
    END IF;
END $$;

-- Said at the start already: a worker that is alive has found that it cannot log in as this role.
CREATE OR REPLACE FUNCTION df_engine.warn_of_blocks(_owner regrole) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _reason text;
BEGIN
    SELECT b.reason INTO _reason FROM df_engine.role_blocks b JOIN df_engine.workers w ON w.worker_id = b.worker_id
        WHERE b.owner = _owner AND w.beat_at > clock_timestamp() - make_interval(secs => w.lease_seconds) LIMIT 1;
    IF FOUND THEN
        RAISE WARNING 'a worker cannot log in as %, and its steps wait until one can: %', _owner, _reason;
    END IF;
END $$;

-- A free id: eight hex digits, longer when the short ones get scarce.
CREATE OR REPLACE FUNCTION df_engine.new_id() RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _id text;
BEGIN
    FOR _try IN 0..31 LOOP
        _id := substr(replace(gen_random_uuid()::text, '-', ''), 1, CASE WHEN _try < 3 THEN 8 ELSE 12 END);
        IF NOT EXISTS (SELECT FROM df_engine.starts s WHERE s.bucket = df_engine.bucket_of(_id) AND s.instance_id = _id) THEN
            RETURN _id;
        END IF;
    END LOOP;
    RETURN replace(gen_random_uuid()::text, '-', '');
END $$;

CREATE OR REPLACE FUNCTION df_engine.on_ingress_start() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _now timestamptz := clock_timestamp();
    _graph text;
    _i df_engine.instances;
BEGIN
    _graph := df_engine.checked_graph(NEW.graph);
    IF NEW.database IS NOT NULL AND NOT EXISTS (SELECT FROM pg_database d WHERE d.datname = NEW.database) THEN
        RAISE EXCEPTION 'database "%" does not exist', NEW.database USING ERRCODE = '3D000';
    END IF;
    PERFORM df_engine.check_owner(NEW.owner);
    PERFORM df_engine.warn_of_blocks(NEW.owner);
    NEW.instance_id := df_engine.new_id();
    _i.bucket := df_engine.bucket_of(NEW.instance_id);
    _i.instance_id := NEW.instance_id;
    _i.owner := NEW.owner;
    _i.database := nullif(NEW.database, current_database());
    _i.queue := 'default';
    _i.interpreter := 1;
    _i.execution_id := 1;
    INSERT INTO df_engine.starts (bucket, instance_id, owner, database, label, graph, variables, created_at)
        VALUES (_i.bucket, _i.instance_id, _i.owner, NEW.database, NEW.label, _graph,
                coalesce(df_engine.captured_vars(NEW.owner), '{}'), _now);
    INSERT INTO df_engine.instances (bucket, instance_id, owner, database, interpreter, head_seq, updated_at)
        VALUES (_i.bucket, _i.instance_id, _i.owner, _i.database, _i.interpreter, 1, _now);
    INSERT INTO df_engine.history (bucket, instance_id, execution_id, seq, kind, payload, recorded_at)
        VALUES (_i.bucket, _i.instance_id, 1, 1, 'ExecutionStarted',
                '{"interpreter":1,"floor_ms":' || df_engine.setting('loop_floor_ms') || ',"max_iterations":'
                || df_engine.setting('loop_max_iterations') || '}', _now);
    PERFORM df_engine.ensure_turn(_i, NULL, NULL, _now);
    RETURN NEW;
END $$;
DROP TRIGGER IF EXISTS on_ingress_start ON df.ingress_starts;
CREATE TRIGGER on_ingress_start INSTEAD OF INSERT ON df.ingress_starts
    FOR EACH ROW EXECUTE FUNCTION df_engine.on_ingress_start();

CREATE OR REPLACE FUNCTION df.start(
    fut text, label text DEFAULT NULL, database text DEFAULT NULL, transaction_mode text DEFAULT 'caller'
) RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _id text;
BEGIN
    IF lower(transaction_mode) = 'new' THEN
        RETURN df_engine.start_new(fut, label, database);
    ELSIF lower(transaction_mode) IS DISTINCT FROM 'caller' THEN
        RAISE EXCEPTION 'invalid transaction_mode "%" for df.start(): expected ''caller'' or ''new''', transaction_mode
            USING ERRCODE = '22023';
    ELSIF fut IS NULL THEN
        RAISE EXCEPTION 'df.start: fut must not be NULL' USING ERRCODE = '22004',
            HINT = 'An operator with a NULL operand gives NULL; look for one in the expression.';
    END IF;
    INSERT INTO df.ingress_starts (graph, label, database) VALUES (fut, label, database)
        RETURNING instance_id INTO _id;
    RETURN _id;
END $$;

REVOKE ALL ON FUNCTION df_engine.check_owner(regrole), df_engine.warn_of_blocks(regrole), df_engine.new_id(), df_engine.on_ingress_start() FROM PUBLIC;
