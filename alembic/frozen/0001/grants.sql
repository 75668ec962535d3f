-- Who may do what. Installed last: it goes by the names of what is there.
--
--   users          df.grant_usage(role): both schemas, SELECT on the views, INSERT on the ingress views
--   administrators df.grant_usage(role, with_grant => true): the same with the right to pass it on, and df.metrics()
--   workers        df.grant_worker(role): the functions that workers call (df_engine.*_v1)
--
-- All are SECURITY INVOKER: whoever may not grant fails with 42501, and what was granted before is rolled back.

-- What users need. The ingress views hold no rows: SELECT on their columns is for INSERT ... RETURNING.
CREATE OR REPLACE FUNCTION df_engine.user_privileges() RETURNS TABLE (privilege text, object text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY
    SELECT 'USAGE'::text, format('SCHEMA %I', s.name) FROM (VALUES ('df'::name), ('df_engine')) AS s (name)
    UNION ALL
    SELECT 'SELECT', format('df.%I', c.relname)
    FROM pg_class c
    WHERE c.relnamespace = 'df'::regnamespace AND c.relkind = 'v'
      AND c.relname IN ('instances', 'nodes', 'vars', 'settings')
    UNION ALL
    SELECT format('%s (%s)', p.privilege, string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum)),
           format('df.%I', c.relname)
    FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attname <> 'owner'
    CROSS JOIN (VALUES ('INSERT'), ('SELECT')) AS p (privilege)
    WHERE c.relnamespace = 'df'::regnamespace AND c.relkind = 'v' AND starts_with(c.relname, 'ingress_')
    GROUP BY c.relname, p.privilege;
END $$;

-- Functions of df that not everybody may call, those that are there.
CREATE OR REPLACE FUNCTION df_engine.sensitive_functions(names text[]) RETURNS SETOF regprocedure
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY
    SELECT p.oid::regprocedure FROM pg_proc p
    WHERE p.pronamespace = 'df'::regnamespace AND p.proname = ANY (names) ORDER BY p.proname;
END $$;

-- Without the right to pass on, GRANT only warns when the grantor holds the privilege itself. Here it is an error.
CREATE OR REPLACE FUNCTION df_engine.require_grant_option(function regprocedure) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT has_function_privilege(function, 'EXECUTE WITH GRANT OPTION') THEN
        RAISE EXCEPTION 'permission denied: "%" may not grant EXECUTE on %', current_user, function
            USING ERRCODE = 'insufficient_privilege';
    END IF;
END $$;

CREATE OR REPLACE FUNCTION df_engine.grant_functions(names text[], role_name text, suffix text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _function regprocedure;
BEGIN
    FOR _function IN SELECT * FROM df_engine.sensitive_functions(names) LOOP
        PERFORM df_engine.require_grant_option(_function);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I%s', _function, role_name, suffix);
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION df.grant_usage(p_role text, include_http boolean DEFAULT false, with_grant boolean DEFAULT false)
RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _suffix text := CASE WHEN with_grant THEN ' WITH GRANT OPTION' ELSE '' END;
    _granted record;
BEGIN
    PERFORM df_engine.refuse_null('grant_usage', 'p_role', p_role IS NULL);
    IF NOT has_schema_privilege('df', 'USAGE WITH GRANT OPTION') THEN
        RAISE EXCEPTION 'permission denied: "%" may not grant the use of schema df', current_user
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF include_http THEN
        PERFORM df_engine.grant_functions(ARRAY['http', 'http_multipart'], p_role, _suffix);
    END IF;
    IF with_grant THEN
        PERFORM df_engine.grant_functions(ARRAY['grant_usage', 'revoke_usage', 'metrics'], p_role, _suffix);
    END IF;
    FOR _granted IN SELECT * FROM df_engine.user_privileges() LOOP
        EXECUTE format('GRANT %s ON %s TO %I%s', _granted.privilege, _granted.object, p_role, _suffix);
    END LOOP;
    RAISE NOTICE 'granted the use of df to "%" (HTTP: %, with grant option: %)', p_role, include_http, with_grant;
END $$;

-- Takes back what the caller granted, and what was passed on from it. The sensitive functions are left alone where the
-- caller has no right to them.
CREATE OR REPLACE FUNCTION df.revoke_usage(p_role text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _granted record;
    _function regprocedure;
BEGIN
    PERFORM df_engine.refuse_null('revoke_usage', 'p_role', p_role IS NULL);
    FOR _function IN SELECT * FROM df_engine.sensitive_functions(
            ARRAY['http', 'http_multipart', 'grant_usage', 'revoke_usage', 'metrics']) LOOP
        BEGIN
            EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM %I CASCADE', _function, p_role);
        EXCEPTION WHEN insufficient_privilege THEN
            NULL;
        END;
    END LOOP;
    -- The schemas last: without them the names above could not be found.
    FOR _granted IN SELECT * FROM df_engine.user_privileges() u ORDER BY u.object LIKE 'SCHEMA %' LOOP
        EXECUTE format('REVOKE %s ON %s FROM %I CASCADE', _granted.privilege, _granted.object, p_role);
    END LOOP;
    RAISE NOTICE 'revoked the use of df from "%"', p_role;
END $$;

-- ---------------------------------------------------------------------------------------------------- workers

CREATE OR REPLACE FUNCTION df_engine.require_administrator(function_name text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT df_engine.is_administrator() THEN
        RAISE EXCEPTION 'permission denied: df.%() is for the owner of schema df', function_name
            USING ERRCODE = 'insufficient_privilege';
    END IF;
END $$;

-- What a worker's login needs.
CREATE OR REPLACE FUNCTION df_engine.worker_privileges() RETURNS TABLE (privilege text, object text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY
    SELECT 'USAGE'::text, format('SCHEMA %I', s.name) FROM (VALUES ('df'::name), ('df_engine')) AS s (name)
    UNION ALL
    SELECT 'EXECUTE', format('FUNCTION %s', p.oid::regprocedure)
    FROM pg_proc p WHERE p.pronamespace = 'df_engine'::regnamespace AND right(p.proname, 3) = '_v1'
    UNION ALL
    SELECT u.privilege, u.object FROM df_engine.user_privileges() u WHERE u.object = 'df.ingress_workers';
END $$;

-- Lets a login claim and finish the work of every role. Such a login never owns workflows.
CREATE OR REPLACE FUNCTION df.grant_worker(p_role text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _granted record;
BEGIN
    PERFORM df_engine.refuse_null('grant_worker', 'p_role', p_role IS NULL);
    PERFORM df_engine.require_administrator('grant_worker');
    FOR _granted IN SELECT * FROM df_engine.worker_privileges() LOOP
        EXECUTE format('GRANT %s ON %s TO %I', _granted.privilege, _granted.object, p_role);
    END LOOP;
    INSERT INTO df_engine.service_logins (login) VALUES (quote_ident(p_role)::regrole) ON CONFLICT DO NOTHING;
    RAISE NOTICE '"%" may serve as a worker', p_role;
END $$;

CREATE OR REPLACE FUNCTION df.revoke_worker(p_role text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _granted record;
BEGIN
    PERFORM df_engine.refuse_null('revoke_worker', 'p_role', p_role IS NULL);
    PERFORM df_engine.require_administrator('revoke_worker');
    FOR _granted IN SELECT * FROM df_engine.worker_privileges() LOOP
        EXECUTE format('REVOKE %s ON %s FROM %I CASCADE', _granted.privilege, _granted.object, p_role);
    END LOOP;
    DELETE FROM df_engine.service_logins l WHERE l.login = quote_ident(p_role)::regrole;
    RAISE NOTICE '"%" no longer serves as a worker', p_role;
END $$;

-- Everybody may call the functions of df (USAGE on the schema is the gate), whatever the default privileges of the
-- database say; the sensitive ones, only those they are granted to.
DO $$
DECLARE
    _sensitive constant text[] := ARRAY['http', 'http_multipart', 'metrics', 'grant_usage', 'revoke_usage',
                                        'grant_worker', 'revoke_worker', 'enable_proxy', 'disable_proxy', 'grant_view',
                                        'revoke_view', 'set_secret_key'];
    _function record;
BEGIN
    FOR _function IN
        SELECT p.oid::regprocedure AS name, p.proname = ANY (_sensitive) AS is_sensitive
        FROM pg_catalog.pg_proc p WHERE p.pronamespace = 'df'::regnamespace
    LOOP
        EXECUTE format(CASE WHEN _function.is_sensitive THEN 'REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC'
                            ELSE 'GRANT EXECUTE ON FUNCTION %s TO PUBLIC' END, _function.name);
    END LOOP;
END $$;

REVOKE EXECUTE ON FUNCTION df_engine.worker_privileges() FROM PUBLIC;
