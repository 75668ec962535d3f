-- Settings: rows that the owner of the schema changes with UPDATE df.settings SET value = ... WHERE name = ...

INSERT INTO df_engine.settings (name, value, default_value, kind, low, high, hidden, description)
SELECT s.name, s.value, s.value, s.kind, s.low, s.high, s.hidden, s.description
FROM (VALUES
    ('max_user_connections', '0', 'int', 0, 1000, false,
     'SQL steps that run at the same time; the others wait. 0: as many as the workers have slots'),
    ('execution_acquire_timeout', '0', 'seconds', 0, 3600, false,
     'How long a SQL step may wait for a slot before its node fails. 0: it waits'),
    ('max_new_transaction_starts', '2', 'int', 1, 1000, false,
     'Launches by df.start(..., transaction_mode => ''new'') at the same time'),
    ('new_transaction_start_timeout', '5', 'seconds', 1, 3600, false,
     'How long such a launch waits for its turn before df.start() raises'),
    ('new_transaction_dsn', '', 'text', NULL, NULL, false,
     'How such a launch connects: the name of a foreign server, or a connection string without user and dbname'),
    ('enable_superuser_instances', 'off', 'bool', NULL, NULL, true,
     'Whether superusers may start workflows; their steps have all of a superuser''s rights'),
    ('list_instances_max_limit', '1000', 'int', 1, 1000000, false,
     'The largest limit_count that df.list_instances() takes'),
    ('retention_days', '30', 'int', 0, 36500, false,
     'Days that an instance which has ended is kept. 0: none are kept'),
    ('retention_count', '10000', 'int', 0, 2147483647, false,
     'Ended instances that are kept at most, the newest; counted besides retention_days'),
    ('reconcile_interval', '60', 'seconds', 0, 86400, false,
     'Time between two looks for what can be cleared away. 0: never'),
    ('notify', 'on', 'bool', NULL, NULL, false,
     'Whether idle workers are woken by NOTIFY; without it they find work by asking'),
    ('max_result_bytes', '67108864', 'int', 1024, 1073741823, false,
     'The largest result of one step'),
    ('max_graph_nodes', '10000', 'int', 1000, 1000000, false,
     'The most nodes that a graph may have'),
    ('max_graph_bytes', '67108864', 'int', 1048576, 209715200, false,
     'The longest graph that df.start() takes'),
    ('max_payload_bytes', '16777216', 'int', 1024, 209715200, false,
     'The largest signal data, and the largest value of a variable'),
    ('hold_outbound', 'off', 'bool', NULL, NULL, false,
     'Whether HTTP steps and steps in other databases wait, as after a restore; perdure fence sets it'),
    ('http_enabled', 'on', 'bool', NULL, NULL, false,
     'Whether df.http() and df.http_multipart() can be built and run'),
    ('http_max_request_bytes', '16777216', 'int', 1024, 1073741823, false,
     'The largest body of an HTTP request'),
    ('http_max_response_bytes', '16777216', 'int', 1024, 1073741823, false,
     'The largest body of an HTTP response'),
    ('retry_total_seconds', '15', 'seconds', 0, 86400, false,
     'How long what is transient is tried again before the node fails. 0: once'),
    ('loop_floor_ms', '1000', 'int', 0, 3600000, false,
     'Shortest time of an iteration of a loop without a condition'),
    ('loop_max_iterations', '100000', 'int', 1, 2147483647, false,
     'Iterations after which a loop fails')
) AS s (name, value, kind, low, high, hidden, description)
ON CONFLICT (name) DO UPDATE SET
    default_value = excluded.default_value, kind = excluded.kind, low = excluded.low, high = excluded.high,
    hidden = excluded.hidden, description = excluded.description;

-- Whether the calling role may see and change everything: superuser, or a member of the schema's owner.
CREATE OR REPLACE FUNCTION df_engine.is_administrator() RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM pg_namespace n JOIN pg_roles r ON r.rolname = current_user
        WHERE n.nspname = 'df' AND (r.rolsuper OR pg_has_role(r.oid, n.nspowner, 'USAGE')));
END $$;

CREATE OR REPLACE VIEW df.settings WITH (security_barrier) AS
SELECT s.name, s.value, s.default_value, s.kind, s.low, s.high, s.hidden, s.description
FROM df_engine.settings s
WHERE NOT s.hidden OR df_engine.is_administrator();

-- The value as it is stored, or a clear refusal.
CREATE OR REPLACE FUNCTION df_engine.checked_setting(setting df_engine.settings, value text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _value text := btrim(value);
BEGIN
    IF _value IS NULL THEN
        RAISE EXCEPTION 'setting "%" must not be NULL; its default is %', setting.name, setting.default_value
            USING ERRCODE = 'DF104';
    ELSIF setting.kind = 'text' THEN
        RETURN value;
    ELSIF setting.kind = 'bool' THEN
        IF lower(_value COLLATE "C") NOT IN ('on', 'off', 'true', 'false', 'yes', 'no', '1', '0') THEN
            RAISE EXCEPTION 'setting "%" must be on or off, not "%"', setting.name, value USING ERRCODE = 'DF104';
        END IF;
        RETURN CASE WHEN _value::boolean THEN 'on' ELSE 'off' END;
    ELSIF _value !~ '^[0-9]{1,18}$' THEN
        RAISE EXCEPTION 'setting "%" must be a whole number%, not "%"', setting.name,
            CASE setting.kind WHEN 'seconds' THEN ' of seconds' ELSE '' END, value USING ERRCODE = 'DF104';
    ELSIF _value::bigint NOT BETWEEN setting.low AND setting.high THEN
        RAISE EXCEPTION 'setting "%" must be between % and %, not %', setting.name, setting.low, setting.high, _value
            USING ERRCODE = 'DF104';
    END IF;
    RETURN _value::bigint::text;
END $$;

CREATE OR REPLACE FUNCTION df_engine.change_setting() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _setting df_engine.settings;
BEGIN
    IF TG_OP <> 'UPDATE'
        OR (NEW.name, NEW.default_value, NEW.kind) IS DISTINCT FROM (OLD.name, OLD.default_value, OLD.kind)
        OR (NEW.low, NEW.high, NEW.hidden, NEW.description)
            IS DISTINCT FROM (OLD.low, OLD.high, OLD.hidden, OLD.description) THEN
        RAISE EXCEPTION 'only the value of a setting can be changed' USING ERRCODE = 'DF104';
    END IF;
    SELECT * INTO STRICT _setting FROM df_engine.settings s WHERE s.name = OLD.name;
    UPDATE df_engine.settings s SET value = df_engine.checked_setting(_setting, NEW.value) WHERE s.name = OLD.name;
    RETURN NEW;
END $$;

DROP TRIGGER IF EXISTS change_setting ON df.settings;
CREATE TRIGGER change_setting INSTEAD OF INSERT OR UPDATE OR DELETE ON df.settings
    FOR EACH ROW EXECUTE FUNCTION df_engine.change_setting();

-- Whether the session's login may ask what concerns a role alone: itself, its proxy, logins that serve everybody, and
-- administrators.
CREATE OR REPLACE FUNCTION df_engine.may_ask_about(_owner regrole) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _login regrole := quote_ident(session_user)::regrole;
BEGIN
    RETURN _login = _owner OR EXISTS (SELECT FROM df_engine.service_logins s WHERE s.login = _login)
        OR EXISTS (SELECT FROM df_engine.proxies p WHERE p.login = _login AND p.owner = _owner)
        OR EXISTS (SELECT FROM pg_roles r JOIN pg_namespace n ON n.nspname = 'df'
                   WHERE r.oid = _login AND (r.rolsuper OR pg_has_role(r.oid, n.nspowner, 'USAGE')));
END $$;

-- The value of a setting, as text. Runs as the owner, so that functions of users can ask; it gives away no more than the
-- calls themselves do. Where the session is a superuser's, pg_durable.<name> counts before it, be it from SET or from the
-- server's configuration, which may still say what it said to pg_durable; anybody else could have set it.
CREATE OR REPLACE FUNCTION df_engine.setting(name text) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _value text;
    _session text;
BEGIN
    _session := current_setting('pg_durable.' || name, true);
    IF _session <> '' AND (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = session_user) THEN
        RETURN (SELECT df_engine.checked_setting(s, _session) FROM df_engine.settings s WHERE s.name = setting.name);
    END IF;
    SELECT s.value INTO _value FROM df_engine.settings s WHERE s.name = setting.name;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no setting "%"', name USING ERRCODE = 'DF104';
    END IF;
    RETURN _value;
END $$;

REVOKE EXECUTE ON FUNCTION df_engine.checked_setting(df_engine.settings, text), df_engine.change_setting(),
    df_engine.may_ask_about(regrole) FROM PUBLIC;
