--
-- PostgreSQL database dump
--

\restrict Wkff1e1sQUdq1mUvhODTxwgvXae4PlzeUDYFRpWJiUzdXrK78eekC3LMMxRhttE

-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)
-- Dumped by pg_dump version 15.18 (Debian 15.18-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: df; Type: SCHEMA; Schema: -; Owner: perdure_owner
--

CREATE SCHEMA df;


ALTER SCHEMA df OWNER TO perdure_owner;

--
-- Name: df_engine; Type: SCHEMA; Schema: -; Owner: perdure_owner
--

CREATE SCHEMA df_engine;


ALTER SCHEMA df_engine OWNER TO perdure_owner;

--
-- Name: SCHEMA df_engine; Type: COMMENT; Schema: -; Owner: perdure_owner
--

COMMENT ON SCHEMA df_engine IS 'perdure: tables b05dce26228ca614, functions 9c75c814ebed05a2';


--
-- Name: drawable; Type: TYPE; Schema: df_engine; Owner: perdure_owner
--

CREATE TYPE df_engine.drawable AS (
	index integer,
	node_type text,
	query text,
	result_name text,
	left_index integer,
	right_index integer,
	condition_index integer,
	extra_indexes integer[]
);


ALTER TYPE df_engine.drawable OWNER TO perdure_owner;

--
-- Name: drawing; Type: TYPE; Schema: df_engine; Owner: perdure_owner
--

CREATE TYPE df_engine.drawing AS (
	index integer,
	prefix text,
	connector text,
	names text,
	in_sequence boolean
);


ALTER TYPE df_engine.drawing OWNER TO perdure_owner;

--
-- Name: turn; Type: TYPE; Schema: df_engine; Owner: perdure_owner
--

CREATE TYPE df_engine.turn AS (
	b smallint,
	i text,
	t text,
	x integer,
	h integer,
	kinds text[],
	payloads text[],
	status text,
	one_seq integer,
	one_lane text,
	one_kind text,
	one_input text,
	one_token text,
	activities json,
	timers json,
	waits json,
	dropped integer[],
	next text,
	next_kinds text[],
	next_payloads text[]
);


ALTER TYPE df_engine.turn OWNER TO perdure_owner;

--
-- Name: as(text, text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df."as"(fut text, name text) RETURNS text
    LANGUAGE plpgsql STRICT
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _node text := df_engine.wrap(fut);
BEGIN
    IF name = '' THEN
        RAISE EXCEPTION 'df.as: result name cannot be empty' USING ERRCODE = 'DF101';
    ELSIF NOT df_engine.is_identifier(name) THEN
        RAISE EXCEPTION 'df.as: result name ''%'' is not a valid identifier (letters, digits and underscores, '
            'not beginning with a digit)', name USING ERRCODE = 'DF101';
    END IF;
    RETURN concat(df_engine.opened(df_engine.without_name(_node)), ',"result_name":"', name, '"}');
END $$;


ALTER FUNCTION df."as"(fut text, name text) OWNER TO perdure_owner;

--
-- Name: as_op(text, text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.as_op(fut text, name text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'df', 'pg_temp'
    AS $$
BEGIN
    RETURN df."as"(fut, name);
END $$;


ALTER FUNCTION df.as_op(fut text, name text) OWNER TO perdure_owner;

--
-- Name: await_instance(text, integer); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.await_instance(instance_id text, timeout_seconds integer DEFAULT 30) RETURNS text
    LANGUAGE plpgsql STRICT
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


ALTER FUNCTION df.await_instance(instance_id text, timeout_seconds integer) OWNER TO perdure_owner;

--
-- Name: break(text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.break(value text DEFAULT NULL::text) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN df_engine.leaf('BREAK', concat('{"break_value":', coalesce(to_json(value)::text, 'null'), '}'));
END $$;


ALTER FUNCTION df.break(value text) OWNER TO perdure_owner;

--
-- Name: cancel(text, text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.cancel(instance_id text, reason text DEFAULT 'Cancelled by user'::text) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


ALTER FUNCTION df.cancel(instance_id text, reason text) OWNER TO perdure_owner;

--
-- Name: check(text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df."check"(instance_id text DEFAULT NULL::text) RETURNS TABLE(instance_id text, problem text, detail text)
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
    SELECT p.* FROM df_engine.problems($1) p
$_$;


ALTER FUNCTION df."check"(instance_id text) OWNER TO perdure_owner;

--
-- Name: clearvars(); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.clearvars() RETURNS text
    LANGUAGE plpgsql STRICT
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    PERFORM df_engine.refuse_in_workflow('df.clearvars');
    INSERT INTO df.ingress_vars (op) VALUES ('clear');
    PERFORM df_engine.mark_helper('df.clearvars');
    RETURN 'OK';
END $$;


ALTER FUNCTION df.clearvars() OWNER TO perdure_owner;

--
-- Name: disable_proxy(text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.disable_proxy(login text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    PERFORM df_engine.require_administrator('disable_proxy');
    PERFORM df_engine.refuse_null('disable_proxy', 'login', login IS NULL);
    DELETE FROM df_engine.proxies p WHERE p.login = to_regrole(quote_ident(disable_proxy.login));
    IF NOT FOUND THEN
        RAISE EXCEPTION '"%" stands in for nobody', login USING ERRCODE = '42704';
    END IF;
    RAISE NOTICE '"%" no longer stands in for anybody', login;
END $$;


ALTER FUNCTION df.disable_proxy(login text) OWNER TO perdure_owner;

--
-- Name: drop_secret(text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.drop_secret(name text) RETURNS text
    LANGUAGE plpgsql STRICT
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    INSERT INTO df.ingress_secrets (op, name) VALUES ('drop', drop_secret.name);
    RETURN 'OK';
END $$;


ALTER FUNCTION df.drop_secret(name text) OWNER TO perdure_owner;

--
-- Name: duroxide_schema(); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.duroxide_schema() RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 'df'::text;


ALTER FUNCTION df.duroxide_schema() OWNER TO perdure_owner;

--
-- Name: enable_proxy(text, text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.enable_proxy(login text, owner text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _login regrole;
    _owner regrole;
BEGIN
    PERFORM df_engine.require_administrator('enable_proxy');
    PERFORM df_engine.refuse_null('enable_proxy', 'login', login IS NULL);
    PERFORM df_engine.refuse_null('enable_proxy', 'owner', owner IS NULL);
    _login := quote_ident(login)::regrole;
    _owner := quote_ident(owner)::regrole;
    PERFORM df_engine.check_proxy(_login, _owner);
    DELETE FROM df_engine.proxies p WHERE p.owner = _owner OR p.login = _login;
    INSERT INTO df_engine.proxies (login, owner) VALUES (_login, _owner);
    RAISE NOTICE '"%" stands in for "%"', login, owner;
END $$;


ALTER FUNCTION df.enable_proxy(login text, owner text) OWNER TO perdure_owner;

--
-- Name: explain(text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.explain(input text) RETURNS text
    LANGUAGE plpgsql STRICT
    AS $_$
DECLARE
    _input text := pg_catalog.btrim(input, E' \t\n\r');
    _kind text;
    _done boolean := false;
BEGIN
    BEGIN
        _kind := df_engine.explain_kind(_input);
    EXCEPTION WHEN SQLSTATE 'DF102' THEN
        RETURN SQLERRM;
    END;
    IF _kind OPERATOR(pg_catalog.=) 'expression' THEN
        BEGIN
            PERFORM pg_catalog.set_config('transaction_read_only', 'on', true);
            EXECUTE pg_catalog.concat('SELECT (', pg_catalog.regexp_replace(_input, '[\s;]+$', ''), E'\n)::pg_catalog.text')
                INTO _input;
            _done := true;
            RAISE EXCEPTION 'df.explain: evaluated' USING ERRCODE = 'DF120';
        EXCEPTION WHEN SQLSTATE 'DF120' THEN
            IF NOT _done THEN
                RAISE;
            END IF;
        END;
    END IF;
    RETURN df_engine.explained(_kind, _input);
END $_$;


ALTER FUNCTION df.explain(input text) OWNER TO perdure_owner;

--
-- Name: getvar(text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.getvar(name text) RETURNS text
    LANGUAGE plpgsql STRICT
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN (SELECT v.value FROM df.vars v WHERE v.owner = quote_ident(current_user)::regrole AND v.name = getvar.name);
END $$;


ALTER FUNCTION df.getvar(name text) OWNER TO perdure_owner;

--
-- Name: grant_usage(text, boolean, boolean); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.grant_usage(p_role text, include_http boolean DEFAULT false, with_grant boolean DEFAULT false) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


ALTER FUNCTION df.grant_usage(p_role text, include_http boolean, with_grant boolean) OWNER TO perdure_owner;

--
-- Name: grant_view(text, boolean); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.grant_view(p_role text, operate boolean DEFAULT false) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    PERFORM df_engine.require_administrator('grant_view');
    PERFORM df_engine.refuse_null('grant_view', 'p_role', p_role IS NULL);
    IF operate THEN
        PERFORM df.grant_usage(p_role);
    ELSE
        EXECUTE format('GRANT USAGE ON SCHEMA df, df_engine TO %I', p_role);
        EXECUTE format('GRANT SELECT ON df.instances, df.nodes, df.settings TO %I', p_role);
    END IF;
    EXECUTE format('GRANT EXECUTE ON FUNCTION df.metrics() TO %I', p_role);
    INSERT INTO df_engine.observers (role, operates) VALUES (quote_ident(p_role)::regrole, operate)
        ON CONFLICT (role) DO UPDATE SET operates = EXCLUDED.operates;
    RAISE NOTICE '"%" may see everybody''s workflows (and act on them: %)', p_role, operate;
END $$;


ALTER FUNCTION df.grant_view(p_role text, operate boolean) OWNER TO perdure_owner;

--
-- Name: grant_worker(text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.grant_worker(p_role text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


ALTER FUNCTION df.grant_worker(p_role text) OWNER TO perdure_owner;

--
-- Name: history(text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.history(instance_id text) RETURNS TABLE(execution_id integer, seq integer, kind text, node_id text, payload json, recorded_at timestamp with time zone)
    LANGUAGE plpgsql STABLE STRICT
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
#variable_conflict use_column
DECLARE
    _id text := $1;
    _bucket smallint := df_engine.visible_bucket($1);
BEGIN
    RETURN QUERY
        WITH events AS MATERIALIZED (
            SELECT h.execution_id, h.seq, h.kind, df_engine.readable(h.payload) AS data, h.recorded_at
            FROM df_engine.visible_history h
            WHERE h.bucket = _bucket AND h.instance_id = _id
        )
        SELECT e.execution_id, e.seq, e.kind,
               df_engine.node_id(df_engine.readable_number(coalesce(e.data->>'node', o.data->>'node'))), e.data, e.recorded_at
        FROM events e
        LEFT JOIN events o ON o.execution_id = e.execution_id AND o.seq = df_engine.readable_number(e.data->>'of')
        ORDER BY e.execution_id, e.seq;
END $_$;


ALTER FUNCTION df.history(instance_id text) OWNER TO perdure_owner;

--
-- Name: http(text, text, text, jsonb, integer); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.http(url text, method text DEFAULT 'POST'::text, body text DEFAULT NULL::text, headers jsonb DEFAULT NULL::jsonb, timeout_seconds integer DEFAULT 30) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    PERFORM df_engine.require_http('http', url, method, ARRAY['GET', 'POST', 'PUT', 'DELETE', 'PATCH'], timeout_seconds);
    PERFORM df_engine.require_headers('http', headers);
    RETURN df_engine.leaf('HTTP', concat(
        '{"url":', to_json(url), ',"method":', to_json(upper(method COLLATE "C")),
        ',"body":', coalesce(to_json(body)::text, 'null'),
        ',"headers":', coalesce(df_engine.compact_json(headers), 'null'), ',"timeout_seconds":', timeout_seconds, '}'));
END $$;


ALTER FUNCTION df.http(url text, method text, body text, headers jsonb, timeout_seconds integer) OWNER TO perdure_owner;

--
-- Name: http_multipart(text, text, jsonb, jsonb, integer); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.http_multipart(url text, method text DEFAULT 'POST'::text, parts jsonb DEFAULT NULL::jsonb, headers jsonb DEFAULT NULL::jsonb, timeout_seconds integer DEFAULT 30) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    PERFORM df_engine.require_http('http_multipart', url, method, ARRAY['POST', 'PUT', 'PATCH'], timeout_seconds);
    IF parts IS NULL THEN
        RAISE EXCEPTION 'parts is required and cannot be NULL' USING ERRCODE = 'DF101';
    ELSIF jsonb_typeof(parts) <> 'array' THEN
        RAISE EXCEPTION 'parts must be a JSON array of part objects' USING ERRCODE = 'DF101';
    ELSIF parts = '[]' THEN
        RAISE EXCEPTION 'parts must contain at least one part' USING ERRCODE = 'DF101';
    END IF;
    PERFORM df_engine.require_headers('http_multipart', headers);
    RETURN df_engine.leaf('HTTP_MULTIPART', concat(
        '{"url":', to_json(url), ',"method":', to_json(upper(method COLLATE "C")), ',"parts":', df_engine.compact_json(parts),
        ',"headers":', coalesce(df_engine.compact_json(headers), 'null'), ',"timeout_seconds":', timeout_seconds, '}'));
END $$;


ALTER FUNCTION df.http_multipart(url text, method text, parts jsonb, headers jsonb, timeout_seconds integer) OWNER TO perdure_owner;

--
-- Name: if(text, text, text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.if(condition text, then_branch text, else_branch text) RETURNS text
    LANGUAGE plpgsql STRICT
    AS $$
BEGIN
    RETURN pg_catalog.concat('{"node_type":"IF","left_node":', df_engine.wrap(then_branch),
                             ',"right_node":', df_engine.wrap(else_branch),
                             ',"condition_node":', df_engine.wrap(condition), '}');
END $$;


ALTER FUNCTION df.if(condition text, then_branch text, else_branch text) OWNER TO perdure_owner;

--
-- Name: if_else_op(text, text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.if_else_op(partial_if text, else_branch text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _partial json := partial_if::json;
BEGIN
    IF json_typeof(_partial) <> 'object' OR _partial -> '_partial_if' IS NULL THEN
        RAISE EXCEPTION 'Invalid if-then-else: left side of !> must be a ?> expression' USING
            ERRCODE = 'DF101', HINT = 'Operators bind equally, from left to right: put parentheses around the then branch.';
    END IF;
    RETURN df."if"(_partial ->> 'condition', _partial ->> 'then_branch', else_branch);
END $$;


ALTER FUNCTION df.if_else_op(partial_if text, else_branch text) OWNER TO perdure_owner;

--
-- Name: if_rows(text, text, text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.if_rows(result_name text, then_branch text, else_branch text) RETURNS text
    LANGUAGE plpgsql STRICT
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _config text := concat('{"condition_type":"result_has_rows","result_name":', to_json(result_name), '}');
BEGIN
    RETURN concat('{"node_type":"IF","left_node":', df_engine.wrap(then_branch),
                  ',"right_node":', df_engine.wrap(else_branch), ',"query":', to_json(_config), '}');
END $$;


ALTER FUNCTION df.if_rows(result_name text, then_branch text, else_branch text) OWNER TO perdure_owner;

--
-- Name: if_then_op(text, text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.if_then_op(condition text, then_branch text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN jsonb_build_object('_partial_if', true, 'condition', condition, 'then_branch', then_branch)::text;
END $$;


ALTER FUNCTION df.if_then_op(condition text, then_branch text) OWNER TO perdure_owner;

--
-- Name: instance_executions(text, integer); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.instance_executions(instance_id text, limit_count integer DEFAULT 5) RETURNS TABLE(execution_id bigint, status text, event_count bigint, duration_ms bigint, output text)
    LANGUAGE plpgsql STRICT
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
#variable_conflict use_column
BEGIN
    IF limit_count < 1 THEN
        RAISE EXCEPTION 'limit_count must be at least 1' USING ERRCODE = '22023';
    ELSIF $1 !~ '^[0-9a-f]{8,32}$' THEN
        RETURN;
    END IF;
    RETURN QUERY
        SELECT x.execution_id::bigint,
               CASE l.kind WHEN 'ExecutionCompleted' THEN 'Completed' WHEN 'ExecutionContinued' THEN 'ContinuedAsNew'
                    WHEN 'ExecutionFailed' THEN 'Failed' WHEN 'ExecutionCancelled' THEN 'Failed' ELSE 'Running' END,
               l.seq::bigint,
               CASE WHEN l.kind LIKE 'Execution%' AND l.seq > 1
                    THEN (extract(epoch FROM l.recorded_at - f.recorded_at) * 1000)::bigint ELSE 0 END,
               CASE l.kind WHEN 'ExecutionCompleted' THEN df_engine.visible_text(i.bucket, i.instance_id, l.payload::json->'result')
                    WHEN 'ExecutionFailed' THEN l.payload::json #>> '{failure,message}'
                    WHEN 'ExecutionCancelled' THEN 'canceled: ' || (l.payload::json->>'reason') END
        FROM df_engine.visible_instances i
        CROSS JOIN LATERAL generate_series(i.execution_id, greatest(1, i.execution_id - least(limit_count, 10000) + 1), -1)
             AS x (execution_id)
        CROSS JOIN LATERAL (
            SELECT h.seq, h.kind, h.payload, h.recorded_at FROM df_engine.visible_history h
            WHERE h.bucket = i.bucket AND h.instance_id = i.instance_id AND h.execution_id = x.execution_id
            ORDER BY h.seq DESC LIMIT 1) l
        CROSS JOIN LATERAL (
            SELECT h.recorded_at FROM df_engine.visible_history h
            WHERE h.bucket = i.bucket AND h.instance_id = i.instance_id AND h.execution_id = x.execution_id AND h.seq = 1) f
        WHERE i.bucket = df_engine.bucket_of($1) AND i.instance_id = $1
        ORDER BY x.execution_id DESC;
END $_$;


ALTER FUNCTION df.instance_executions(instance_id text, limit_count integer) OWNER TO perdure_owner;

--
-- Name: instance_info(text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.instance_info(instance_id text) RETURNS TABLE(instance_id text, label text, function_name text, function_version text, current_execution_id bigint, status text, output text)
    LANGUAGE sql STRICT
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
    SELECT i.* FROM df_engine.info($1) i
$_$;


ALTER FUNCTION df.instance_info(instance_id text) OWNER TO perdure_owner;

--
-- Name: instance_nodes(text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.instance_nodes(instance_id_param text) RETURNS TABLE(node_id text, node_type text, query text, result_name text, left_node text, right_node text, status text, result text, status_details text, inferred_status text, inferred_status_from_ancestor_id text, updated_at timestamp with time zone)
    LANGUAGE plpgsql STRICT
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE
    _bucket smallint := df_engine.visible_bucket(instance_id_param);
BEGIN
    RETURN QUERY
        SELECT df_engine.node_id(n.index), n.node_type, df_engine.shown_query(n.query, n.condition_index, n.extra_indexes),
               n.result_name, df_engine.node_id(n.left_index), df_engine.node_id(n.right_index), n.status,
               df_engine.node_result(i.bucket, i.instance_id, n.status, n.detail)::text,
               CASE WHEN n.stamp IS NOT NULL THEN jsonb_build_object('execution_id', n.stamp)::text END,
               n.inferred, df_engine.node_id(n.inferred_from), coalesce(n.marked_at, i.created_at)
        FROM df_engine.inferred_nodes(instance_id_param) n
        JOIN df_engine.visible_instances i
          ON i.bucket = _bucket AND i.instance_id = instance_id_param
        ORDER BY n.index;
END $$;


ALTER FUNCTION df.instance_nodes(instance_id_param text) OWNER TO perdure_owner;

--
-- Name: instance_nodes(text, integer); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.instance_nodes(instance_id_param text, _last_n_executions integer) RETURNS TABLE(execution_id bigint, node_id text, node_type text, query text, result_name text, left_node text, right_node text, status text, result text, updated_at timestamp with time zone)
    LANGUAGE plpgsql STRICT
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT 1::bigint, n.node_id, n.node_type, n.query, n.result_name, n.left_node, n.right_node, n.status, n.result,
               n.updated_at
        FROM df.instance_nodes(instance_id_param) n;
END $$;


ALTER FUNCTION df.instance_nodes(instance_id_param text, _last_n_executions integer) OWNER TO perdure_owner;

--
-- Name: join(text[]); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df."join"(VARIADIC branches text[]) RETURNS text
    LANGUAGE plpgsql STRICT
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _nodes text[] := df_engine.wrapped(branches);
BEGIN
    IF cardinality(branches) < 2 THEN
        RAISE EXCEPTION 'df.join() needs at least two branches' USING ERRCODE = 'DF101';
    ELSIF _nodes IS NULL THEN
        RETURN NULL;
    ELSIF cardinality(_nodes) = 2 THEN
        RETURN df_engine.pair('JOIN', _nodes[1], _nodes[2]);
    END IF;
    RETURN concat('{"node_type":"JOIN","left_node":', _nodes[1], ',"right_node":', _nodes[2],
                  ',"extra_nodes":[', array_to_string(_nodes[3:], ','), ']}');
END $$;


ALTER FUNCTION df."join"(VARIADIC branches text[]) OWNER TO perdure_owner;

--
-- Name: join(text, text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df."join"(a text, b text) RETURNS text
    LANGUAGE plpgsql STRICT
    AS $$
BEGIN
    RETURN df_engine.pair('JOIN', df_engine.wrap(a), df_engine.wrap(b));
END $$;


ALTER FUNCTION df."join"(a text, b text) OWNER TO perdure_owner;

--
-- Name: join3(text, text, text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.join3(a text, b text, c text) RETURNS text
    LANGUAGE plpgsql STRICT
    AS $$
BEGIN
    RETURN pg_catalog.concat('{"node_type":"JOIN","left_node":', df_engine.wrap(a), ',"right_node":', df_engine.wrap(b),
                             ',"extra_nodes":[', df_engine.wrap(c), ']}');
END $$;


ALTER FUNCTION df.join3(a text, b text, c text) OWNER TO perdure_owner;

--
-- Name: list_instances(text, integer); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.list_instances(status_filter text DEFAULT NULL::text, limit_count integer DEFAULT 100) RETURNS TABLE(instance_id text, label text, function_name text, status text, execution_count bigint, output text)
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
BEGIN
    PERFORM df_engine.check_limit(limit_count);
    RETURN QUERY
        SELECT l.instance_id, l.label, df_engine.function_name(), l.status, l.execution_id::bigint,
               df_engine.visible_outcome(l.bucket, l.instance_id, l.execution_id, l.head_seq, l.status)
        FROM df_engine.listed(status_filter, NULL, NULL, NULL, limit_count) l
        ORDER BY l.created_at DESC, l.instance_id;
END $$;


ALTER FUNCTION df.list_instances(status_filter text, limit_count integer) OWNER TO perdure_owner;

--
-- Name: list_instances(text, integer, text, text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.list_instances(status_filter text, limit_count integer, label_filter text, after_cursor text DEFAULT NULL::text) RETURNS TABLE(instance_id text, label text, function_name text, status text, execution_count bigint, output text, created_at timestamp with time zone, completed_at timestamp with time zone, next_cursor text)
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE
    _after record;
BEGIN
    PERFORM df_engine.check_limit(limit_count);
    SELECT * INTO _after FROM df_engine.cursor_place(after_cursor);
    RETURN QUERY
        WITH page AS (
            SELECT l.*, row_number() OVER (ORDER BY l.created_at DESC, l.instance_id) AS place, count(*) OVER () AS found
            FROM df_engine.listed(status_filter, label_filter, _after.created_at, _after.instance_id, limit_count + 1) l
        )
        SELECT p.instance_id, p.label, df_engine.function_name(), p.status, p.execution_id::bigint,
               df_engine.visible_outcome(p.bucket, p.instance_id, p.execution_id, p.head_seq, p.status), p.created_at,
               CASE WHEN p.status = 'completed' THEN p.ended_at END,
               CASE WHEN p.found > limit_count THEN
                   (SELECT df_engine.cursor_text(e.created_at, e.instance_id) FROM page e WHERE e.place = limit_count) END
        FROM page p
        WHERE p.place <= limit_count
        ORDER BY p.place;
END $$;


ALTER FUNCTION df.list_instances(status_filter text, limit_count integer, label_filter text, after_cursor text) OWNER TO perdure_owner;

--
-- Name: list_secrets(); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.list_secrets() RETURNS TABLE(name text, set_at timestamp with time zone)
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN QUERY SELECT s.name, s.set_at FROM df_engine.visible_secrets s ORDER BY s.name;
END $$;


ALTER FUNCTION df.list_secrets() OWNER TO perdure_owner;

--
-- Name: loop(text, text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.loop(body text, condition text DEFAULT NULL::text) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _body text := df_engine.wrap(body);
BEGIN
    PERFORM df_engine.refuse_null('loop', 'body', body IS NULL);
    IF condition IS NULL THEN
        RETURN concat('{"node_type":"LOOP","left_node":', _body, '}');
    END IF;
    RETURN concat('{"node_type":"LOOP","left_node":', _body, ',"condition_node":', df_engine.wrap(condition), '}');
END $$;


ALTER FUNCTION df.loop(body text, condition text) OWNER TO perdure_owner;

--
-- Name: loop_prefix_op(text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.loop_prefix_op(body text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'df', 'pg_temp'
    AS $$
BEGIN
    RETURN df."loop"(body);
END $$;


ALTER FUNCTION df.loop_prefix_op(body text) OWNER TO perdure_owner;

--
-- Name: metrics(); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.metrics() RETURNS TABLE(total_instances bigint, running_instances bigint, completed_instances bigint, failed_instances bigint, total_executions bigint, total_events bigint)
    LANGUAGE plpgsql STRICT
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN QUERY SELECT c.total, c.running, c.completed, c.failed, c.executions, c.events FROM df_engine.all_counts c;
END $$;


ALTER FUNCTION df.metrics() OWNER TO perdure_owner;

--
-- Name: prune(integer); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.prune(max_instances integer DEFAULT 10000) RETURNS bigint
    LANGUAGE plpgsql STRICT
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


ALTER FUNCTION df.prune(max_instances integer) OWNER TO perdure_owner;

--
-- Name: race(text, text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.race(a text, b text) RETURNS text
    LANGUAGE plpgsql STRICT
    AS $$
BEGIN
    RETURN df_engine.pair('RACE', df_engine.wrap(a), df_engine.wrap(b));
END $$;


ALTER FUNCTION df.race(a text, b text) OWNER TO perdure_owner;

--
-- Name: result(text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.result(instance_id text) RETURNS text
    LANGUAGE plpgsql STRICT
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN df_engine.visible_output(instance_id)::jsonb::text;
END $$;


ALTER FUNCTION df.result(instance_id text) OWNER TO perdure_owner;

--
-- Name: resume(text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.resume(instance_id text) RETURNS text
    LANGUAGE plpgsql STRICT
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    INSERT INTO df.ingress_resumes (instance_id) VALUES (instance_id);
    RETURN format('Instance %s resumed', instance_id);
END $$;


ALTER FUNCTION df.resume(instance_id text) OWNER TO perdure_owner;

--
-- Name: revoke_usage(text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.revoke_usage(p_role text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


ALTER FUNCTION df.revoke_usage(p_role text) OWNER TO perdure_owner;

--
-- Name: revoke_view(text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.revoke_view(p_role text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    PERFORM df_engine.require_administrator('revoke_view');
    PERFORM df_engine.refuse_null('revoke_view', 'p_role', p_role IS NULL);
    DELETE FROM df_engine.observers o WHERE o.role = to_regrole(quote_ident(p_role));
    RAISE NOTICE '"%" sees its own workflows only', p_role;
END $$;


ALTER FUNCTION df.revoke_view(p_role text) OWNER TO perdure_owner;

--
-- Name: revoke_worker(text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.revoke_worker(p_role text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


ALTER FUNCTION df.revoke_worker(p_role text) OWNER TO perdure_owner;

--
-- Name: run(text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.run(instance_id text DEFAULT NULL::text) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN CASE WHEN instance_id IS NULL THEN 'Triggered run for all pending instances'
                ELSE 'Triggered run for instance: ' || instance_id END;
END $$;


ALTER FUNCTION df.run(instance_id text) OWNER TO perdure_owner;

--
-- Name: seq(text[]); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.seq(VARIADIC steps text[]) RETURNS text
    LANGUAGE plpgsql STRICT
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _nodes text[] := df_engine.wrapped(steps);
    _pairs text[];
BEGIN
    IF cardinality(steps) = 0 THEN
        RAISE EXCEPTION 'df.seq() needs at least one step' USING ERRCODE = 'DF101';
    END IF;
    WHILE cardinality(_nodes) > 1 LOOP
        _pairs := ARRAY[]::text[];
        FOR _i IN 1..cardinality(_nodes) BY 2 LOOP
            _pairs := _pairs || CASE WHEN _i = cardinality(_nodes) THEN _nodes[_i]
                ELSE df_engine.pair('THEN', _nodes[_i], _nodes[_i + 1]) END;
        END LOOP;
        _nodes := _pairs;
    END LOOP;
    RETURN _nodes[1];
END $$;


ALTER FUNCTION df.seq(VARIADIC steps text[]) OWNER TO perdure_owner;

--
-- Name: seq(text, text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.seq(a text, b text) RETURNS text
    LANGUAGE plpgsql STRICT
    AS $$
BEGIN
    RETURN df_engine.pair('THEN', df_engine.wrap(a), df_engine.wrap(b));
END $$;


ALTER FUNCTION df.seq(a text, b text) OWNER TO perdure_owner;

--
-- Name: set_secret(text, text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.set_secret(name text, value text) RETURNS text
    LANGUAGE plpgsql STRICT
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
BEGIN
    IF value !~ '^sealed:[A-Za-z0-9+/]{60,}={0,2}$' THEN
        RAISE EXCEPTION 'df.set_secret() takes a sealed value, not a plain one' USING ERRCODE = 'DF101',
            HINT = 'Run `perdure secret set NAME --as ROLE`, or pass on what `perdure secret seal NAME --as ROLE` prints.';
    END IF;
    INSERT INTO df.ingress_secrets (op, name, sealed) VALUES ('set', set_secret.name, set_secret.value);
    RETURN 'OK';
END $_$;


ALTER FUNCTION df.set_secret(name text, value text) OWNER TO perdure_owner;

--
-- Name: set_secret_key(text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.set_secret_key(public_key text) RETURNS void
    LANGUAGE plpgsql STRICT
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    PERFORM df_engine.require_administrator('set_secret_key');
    IF octet_length(decode(public_key, 'base64')) <> 32 THEN
        RAISE EXCEPTION 'a public key has 32 bytes' USING ERRCODE = 'DF101';
    END IF;
    DELETE FROM df_engine.secret_keys k WHERE k.public_key = decode(set_secret_key.public_key, 'base64');
    INSERT INTO df_engine.secret_keys (public_key, created_at)
        VALUES (decode(set_secret_key.public_key, 'base64'), clock_timestamp());
END $$;


ALTER FUNCTION df.set_secret_key(public_key text) OWNER TO perdure_owner;

--
-- Name: setvar(text, text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.setvar(name text, value text) RETURNS text
    LANGUAGE plpgsql STRICT
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    PERFORM df_engine.refuse_in_workflow('df.setvar');
    INSERT INTO df.ingress_vars (op, name, value) VALUES ('set', setvar.name, setvar.value);
    PERFORM df_engine.mark_helper('df.setvar');
    RETURN 'OK';
END $$;


ALTER FUNCTION df.setvar(name text, value text) OWNER TO perdure_owner;

--
-- Name: signal(text, text, text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.signal(instance_id text, signal_name text, signal_data text DEFAULT '{}'::text) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF instance_id IS NULL OR signal_name IS NULL THEN
        RETURN NULL;
    END IF;
    INSERT INTO df.ingress_signals (instance_id, name, data) VALUES (instance_id, signal_name, signal_data);
    RETURN 'OK';
END $$;


ALTER FUNCTION df.signal(instance_id text, signal_name text, signal_data text) OWNER TO perdure_owner;

--
-- Name: signals(text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.signals(instance_id text) RETURNS TABLE(signal_name text, data json, state text, sent_at timestamp with time zone)
    LANGUAGE plpgsql STABLE STRICT
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
#variable_conflict use_column
DECLARE
    _id text := $1;
    _bucket smallint := df_engine.visible_bucket($1);
BEGIN
    RETURN QUERY
        SELECT u.name, (r.body::json)->'data', 'received'::text, h.recorded_at
        FROM df_engine.unconsumed(_bucket, _id) u
        LEFT JOIN df_engine.visible_results r ON r.bucket = _bucket AND r.instance_id = _id
             AND r.execution_id = u.execution_id AND r.seq = u.seq
        LEFT JOIN df_engine.visible_history h ON h.bucket = _bucket AND h.instance_id = _id
             AND h.execution_id = u.execution_id AND h.seq = u.seq
        ORDER BY u.execution_id, u.seq;
    RETURN QUERY
        SELECT m.name, m.body::json, 'sent'::text, m.sent_at FROM df_engine.visible_inbox m
        WHERE m.bucket = _bucket AND m.instance_id = _id ORDER BY m.message_id;
END $_$;


ALTER FUNCTION df.signals(instance_id text) OWNER TO perdure_owner;

--
-- Name: sleep(bigint); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.sleep(seconds bigint) RETURNS text
    LANGUAGE plpgsql STRICT
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF seconds < 0 THEN
        RAISE EXCEPTION 'Sleep duration must be non-negative'
            USING ERRCODE = 'DF101', DETAIL = format('seconds: %s', seconds);
    END IF;
    RETURN df_engine.leaf('SLEEP', seconds::text);
END $$;


ALTER FUNCTION df.sleep(seconds bigint) OWNER TO perdure_owner;

--
-- Name: sql(text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.sql(query text) RETURNS text
    LANGUAGE plpgsql STRICT
    AS $$
BEGIN
    RETURN df_engine.leaf('SQL', query);
END $$;


ALTER FUNCTION df.sql(query text) OWNER TO perdure_owner;

--
-- Name: start(text, text, text, text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.start(fut text, label text DEFAULT NULL::text, database text DEFAULT NULL::text, transaction_mode text DEFAULT 'caller'::text) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


ALTER FUNCTION df.start(fut text, label text, database text, transaction_mode text) OWNER TO perdure_owner;

--
-- Name: status(text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.status(instance_id text) RETURNS text
    LANGUAGE plpgsql STRICT
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN (SELECT i.status FROM df.instances i WHERE i.id = status.instance_id);
END $$;


ALTER FUNCTION df.status(instance_id text) OWNER TO perdure_owner;

--
-- Name: steps(text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.steps(instance_id text) RETURNS TABLE(execution_id integer, seq integer, node_id text, kind text, query text, result_name text, status text, attempts integer, scheduled_at timestamp with time zone, running_since timestamp with time zone, ended_at timestamp with time zone, error text, error_sqlstate text, error_detail text, error_hint text, autocommit boolean)
    LANGUAGE plpgsql STABLE STRICT
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
#variable_conflict use_column
DECLARE
    _id text := $1;
    _bucket smallint := df_engine.visible_bucket($1);
BEGIN
    RETURN QUERY
        WITH events AS MATERIALIZED (
            SELECT h.execution_id, h.seq, h.kind, h.payload::json AS data, h.recorded_at FROM df_engine.visible_history h
            WHERE h.bucket = _bucket AND h.instance_id = _id AND h.kind LIKE 'Activity%'
        ), outcomes AS (
            SELECT e.execution_id, (e.data->>'of')::integer AS seq,
                   max(e.kind) FILTER (WHERE e.kind IN ('ActivityCompleted', 'ActivityFailed', 'ActivityCancelled')) AS kind,
                   max(e.recorded_at) FILTER (WHERE e.kind IN ('ActivityCompleted', 'ActivityFailed', 'ActivityCancelled')) AS at,
                   count(*) FILTER (WHERE e.kind = 'ActivityAttemptFailed')::integer AS lost,
                   bool_or(e.kind = 'ActivityModeChanged') AS autocommit,
                   (array_agg(e.data->'failure' ORDER BY e.seq DESC) FILTER (WHERE e.data->'failure' IS NOT NULL))[1] AS failure
            FROM events e WHERE e.kind <> 'ActivityScheduled' GROUP BY 1, 2
        )
        SELECT s.execution_id, s.seq, df_engine.node_id(g.index), s.data->>'kind', g.query, g.result_name,
               CASE WHEN o.kind IS NOT NULL THEN lower(substr(o.kind, 9))
                    WHEN t.worker_id IS NOT NULL THEN 'running'
                    WHEN t.visible_at > statement_timestamp() THEN 'retrying'
                    WHEN t.seq IS NOT NULL THEN 'queued' ELSE 'cancelled' END,
               coalesce(o.lost, 0) + 1 - (t.seq IS NOT NULL AND t.worker_id IS NULL AND coalesce(o.lost, 0) > 0)::integer,
               s.recorded_at, t.leased_at, o.at, o.failure->>'message', o.failure->>'sqlstate', o.failure->>'detail',
               o.failure->>'hint', coalesce(o.autocommit, false)
        FROM df_engine.visible_instances i
        CROSS JOIN events s
        JOIN df_engine.graph_nodes(i.graph) g ON g.index = (s.data->>'node')::integer
        LEFT JOIN outcomes o ON o.execution_id = s.execution_id AND o.seq = s.seq
        LEFT JOIN df_engine.visible_tasks t ON t.bucket = i.bucket AND t.instance_id = i.instance_id
             AND t.execution_id = s.execution_id AND t.seq = s.seq
        WHERE i.bucket = _bucket AND i.instance_id = _id AND s.kind = 'ActivityScheduled'
        ORDER BY s.execution_id, s.seq;
END $_$;


ALTER FUNCTION df.steps(instance_id text) OWNER TO perdure_owner;

--
-- Name: target_database(); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.target_database() RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN (current_database())::text;


ALTER FUNCTION df.target_database() OWNER TO perdure_owner;

--
-- Name: unsetvar(text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.unsetvar(name text) RETURNS text
    LANGUAGE plpgsql STRICT
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    PERFORM df_engine.refuse_in_workflow('df.unsetvar');
    INSERT INTO df.ingress_vars (op, name) VALUES ('unset', unsetvar.name);
    PERFORM df_engine.mark_helper('df.unsetvar');
    RETURN 'OK';
END $$;


ALTER FUNCTION df.unsetvar(name text) OWNER TO perdure_owner;

--
-- Name: version(); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.version() RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN '0.1.0 (built for schema revision ' || (SELECT max(v.version_num) FROM df_engine.alembic_version v) || ')';
END $$;


ALTER FUNCTION df.version() OWNER TO perdure_owner;

--
-- Name: wait_for_completion(text, integer); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.wait_for_completion(instance_id text, timeout_seconds integer DEFAULT 30) RETURNS text
    LANGUAGE plpgsql STRICT
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RAISE WARNING 'df.wait_for_completion() is deprecated; use df.await_instance() instead';
    RETURN df.await_instance(instance_id, timeout_seconds);
END $$;


ALTER FUNCTION df.wait_for_completion(instance_id text, timeout_seconds integer) OWNER TO perdure_owner;

--
-- Name: wait_for_instance(text, integer); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.wait_for_instance(instance_id text, timeout_seconds integer DEFAULT NULL::integer) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    PERFORM df_engine.refuse_null('wait_for_instance', 'instance_id', instance_id IS NULL);
    IF instance_id = '' THEN
        RAISE EXCEPTION 'Instance ID cannot be empty' USING ERRCODE = 'DF101';
    END IF;
    PERFORM df_engine.require_positive_timeout(timeout_seconds);
    RETURN df_engine.leaf('WAIT_INSTANCE', concat(
        '{"instance_id":', to_json(instance_id), ',"timeout_seconds":', coalesce(timeout_seconds::text, 'null'), '}'));
END $$;


ALTER FUNCTION df.wait_for_instance(instance_id text, timeout_seconds integer) OWNER TO perdure_owner;

--
-- Name: wait_for_schedule(text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.wait_for_schedule(cron_expr text) RETURNS text
    LANGUAGE plpgsql STRICT
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    PERFORM df_engine.require_schedule(cron_expr, NULL);
    RETURN df_engine.leaf('WAIT_SCHEDULE', concat('{"cron_expr":', to_json(cron_expr), '}'));
END $$;


ALTER FUNCTION df.wait_for_schedule(cron_expr text) OWNER TO perdure_owner;

--
-- Name: wait_for_schedule(text, text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.wait_for_schedule(cron_expr text, timezone text) RETURNS text
    LANGUAGE plpgsql STRICT
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    PERFORM df_engine.require_schedule(cron_expr, timezone);
    RETURN df_engine.leaf(
        'WAIT_SCHEDULE', concat('{"cron_expr":', to_json(cron_expr), ',"timezone":', to_json(timezone), '}'));
END $$;


ALTER FUNCTION df.wait_for_schedule(cron_expr text, timezone text) OWNER TO perdure_owner;

--
-- Name: wait_for_signal(text, integer); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.wait_for_signal(name text, timeout_seconds integer DEFAULT NULL::integer) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    PERFORM df_engine.refuse_null('wait_for_signal', 'name', name IS NULL);
    IF name = '' THEN
        RAISE EXCEPTION 'Signal name cannot be empty' USING ERRCODE = 'DF101';
    END IF;
    PERFORM df_engine.require_positive_timeout(timeout_seconds);
    RETURN df_engine.leaf('SIGNAL', concat(
        '{"signal_name":', to_json(name), ',"timeout_seconds":', coalesce(timeout_seconds::text, 'null'), '}'));
END $$;


ALTER FUNCTION df.wait_for_signal(name text, timeout_seconds integer) OWNER TO perdure_owner;

--
-- Name: waiting(text); Type: FUNCTION; Schema: df; Owner: perdure_owner
--

CREATE FUNCTION df.waiting(instance_id text) RETURNS TABLE(node_id text, waits_for text, signal_name text, target_id text, schedule text, timezone text, due_at timestamp with time zone, since timestamp with time zone, attempt integer, worker_id bigint, worker_host text, worker_pid integer, backend_pids integer[], reason text)
    LANGUAGE plpgsql STABLE STRICT
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
#variable_conflict use_column
DECLARE
    _id text := $1;
    _bucket smallint := df_engine.visible_bucket($1);
BEGIN
    RETURN QUERY
        SELECT df_engine.node_id(k.index),
               CASE WHEN k.waits_for <> 'timer' THEN k.waits_for WHEN g.node_type = 'WAIT_SCHEDULE' THEN 'schedule'
                    WHEN g.node_type = 'LOOP' THEN 'pace' ELSE 'timer' END,
               CASE k.waits_for WHEN 'signal' THEN k.name END, CASE k.waits_for WHEN 'instance' THEN k.name END,
               CASE WHEN g.node_type = 'WAIT_SCHEDULE' THEN g.query::json->>'cron_expr' END,
               CASE WHEN g.node_type = 'WAIT_SCHEDULE' THEN g.query::json->>'timezone' END,
               k.due_at, k.since, k.attempt, k.worker_id, w.host, w.pid,
               (SELECT array_agg(s.backend_pid ORDER BY s.backend_pid) FROM df_engine.visible_sessions s
                LEFT JOIN pg_stat_activity a ON a.pid = s.backend_pid
                WHERE s.worker_id = k.worker_id AND s.owner = i.owner AND k.waits_for = 'running'
                  AND a.state IS DISTINCT FROM 'idle'),
               k.reason
        FROM df_engine.visible_instances i
        CROSS JOIN LATERAL df_engine.kept_by(i.bucket, i.instance_id) k
        LEFT JOIN df_engine.graph_nodes(i.graph) g ON g.index = k.index
        LEFT JOIN df_engine.visible_workers w ON w.worker_id = k.worker_id
        WHERE i.bucket = _bucket AND i.instance_id = _id
        ORDER BY k.index, k.since;
END $_$;


ALTER FUNCTION df.waiting(instance_id text) OWNER TO perdure_owner;

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: instances; Type: TABLE; Schema: df_engine; Owner: perdure_owner
--

CREATE TABLE df_engine.instances (
    bucket smallint NOT NULL,
    instance_id text NOT NULL,
    owner regrole NOT NULL,
    database text,
    queue text DEFAULT 'default'::text NOT NULL,
    interpreter smallint NOT NULL,
    status text DEFAULT 'pending'::text NOT NULL,
    execution_id integer DEFAULT 1 NOT NULL,
    head_seq integer DEFAULT 0 NOT NULL,
    parked text,
    updated_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone
)
WITH (fillfactor='60', autovacuum_vacuum_scale_factor='0.05');


ALTER TABLE df_engine.instances OWNER TO perdure_owner;

--
-- Name: append_facts(df_engine.instances, text[], text[], timestamp with time zone); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.append_facts(_i df_engine.instances, _kinds text[], _payloads text[], _now timestamp with time zone) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    INSERT INTO df_engine.history (bucket, instance_id, execution_id, seq, kind, payload, recorded_at)
        SELECT _i.bucket, _i.instance_id, _i.execution_id, _i.head_seq + f.ordinality, f.kind, f.payload, _now
        FROM unnest(_kinds, _payloads) WITH ORDINALITY AS f(kind, payload, ordinality);
    UPDATE df_engine.instances SET head_seq = _i.head_seq + cardinality(_kinds), updated_at = _now
        WHERE bucket = _i.bucket AND instance_id = _i.instance_id;
    RETURN _i.head_seq + cardinality(_kinds);
END $$;


ALTER FUNCTION df_engine.append_facts(_i df_engine.instances, _kinds text[], _payloads text[], _now timestamp with time zone) OWNER TO perdure_owner;

--
-- Name: apply_turn(df_engine.instances, bigint, df_engine.turn, timestamp with time zone); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.apply_turn(_i df_engine.instances, _worker_id bigint, _t df_engine.turn, _now timestamp with time zone) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


ALTER FUNCTION df_engine.apply_turn(_i df_engine.instances, _worker_id bigint, _t df_engine.turn, _now timestamp with time zone) OWNER TO perdure_owner;

--
-- Name: autocommit_v1(bigint, text, smallint, text, integer, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.autocommit_v1(_worker_id bigint, _key text, _bucket smallint, _instance_id text, _seq integer, _token text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '5s'
    AS $$
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


ALTER FUNCTION df_engine.autocommit_v1(_worker_id bigint, _key text, _bucket smallint, _instance_id text, _seq integer, _token text) OWNER TO perdure_owner;

--
-- Name: beat_v1(bigint, text, boolean); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.beat_v1(_worker_id bigint, _key text, _draining boolean) RETURNS TABLE(instance_id text, seq integer, token_hash bytea)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE
    _w df_engine.workers := df_engine.worker_of(_worker_id, _key);
BEGIN
    UPDATE df_engine.workers w SET beat_at = clock_timestamp(), draining = _draining
        WHERE w.worker_id = (SELECT k.worker_id FROM df_engine.workers k WHERE k.worker_id = _worker_id
                             FOR NO KEY UPDATE SKIP LOCKED);
    RETURN QUERY SELECT t.instance_id, t.seq, t.token_hash FROM df_engine.tasks t WHERE t.worker_id = _worker_id;
END $$;


ALTER FUNCTION df_engine.beat_v1(_worker_id bigint, _key text, _draining boolean) OWNER TO perdure_owner;

--
-- Name: begin_execution(df_engine.instances, integer, df_engine.turn, timestamp with time zone); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.begin_execution(_i df_engine.instances, _execution_id integer, _t df_engine.turn, _now timestamp with time zone) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


ALTER FUNCTION df_engine.begin_execution(_i df_engine.instances, _execution_id integer, _t df_engine.turn, _now timestamp with time zone) OWNER TO perdure_owner;

--
-- Name: begin_step_v1(text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.begin_step_v1(_role text) RETURNS text
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM df_engine.reset_session_v1(_role);
    RETURN pg_catalog.pg_current_xact_id()::pg_catalog.text;
END $$;


ALTER FUNCTION df_engine.begin_step_v1(_role text) OWNER TO perdure_owner;

--
-- Name: block_v1(bigint, text, oid, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.block_v1(_worker_id bigint, _key text, _owner oid, _reason text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _w df_engine.workers := df_engine.worker_of(_worker_id, _key);
BEGIN
    IF _reason IS NULL THEN
        DELETE FROM df_engine.role_blocks b WHERE b.worker_id = _worker_id AND b.owner = _owner::regrole;
    ELSIF df_engine.serves(_w, _owner::regrole) THEN
        INSERT INTO df_engine.role_blocks (worker_id, owner, reason, since)
            VALUES (_worker_id, _owner::regrole, left(_reason, 1000), clock_timestamp())
            ON CONFLICT (worker_id, owner) DO UPDATE SET reason = EXCLUDED.reason;
    END IF;
END $$;


ALTER FUNCTION df_engine.block_v1(_worker_id bigint, _key text, _owner oid, _reason text) OWNER TO perdure_owner;

--
-- Name: bodies_v1(bigint, text, text, json); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.bodies_v1(_worker_id bigint, _key text, _instance_id text, _refs json) RETURNS TABLE(body text)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


ALTER FUNCTION df_engine.bodies_v1(_worker_id bigint, _key text, _instance_id text, _refs json) OWNER TO perdure_owner;

--
-- Name: bucket_of(text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.bucket_of(_instance_id text) RETURNS smallint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (((('x'::text || substr(_instance_id, 1, 2)))::bit(8))::integer)::smallint;


ALTER FUNCTION df_engine.bucket_of(_instance_id text) OWNER TO perdure_owner;

--
-- Name: captured_vars(regrole); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.captured_vars(owner regrole) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN (SELECT concat('{', string_agg(concat(to_json(v.name), ':', to_json(v.value)), ','
                                          ORDER BY v.name COLLATE "C"), '}')
            FROM df_engine.vars v WHERE v.owner = captured_vars.owner AND v.value IS NOT NULL);
END $$;


ALTER FUNCTION df_engine.captured_vars(owner regrole) OWNER TO perdure_owner;

--
-- Name: change_setting(); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.change_setting() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


ALTER FUNCTION df_engine.change_setting() OWNER TO perdure_owner;

--
-- Name: check_all(smallint, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.check_all(_bucket smallint, _id text) RETURNS TABLE(instance_id text, problem text, detail text)
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN QUERY SELECT c.* FROM unnest(ARRAY['check_shape', 'check_work', 'check_signals', 'check_reasons']) AS p (part)
        CROSS JOIN LATERAL df_engine.check_part(p.part, _bucket, _id) c;
END $$;


ALTER FUNCTION df_engine.check_all(_bucket smallint, _id text) OWNER TO perdure_owner;

--
-- Name: check_limit(integer); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.check_limit(_limit integer) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _most integer;
BEGIN
    PERFORM df_engine.refuse_null('list_instances', 'limit_count', _limit IS NULL);
    IF _limit < 1 THEN
        RAISE EXCEPTION 'limit_count must be at least 1' USING ERRCODE = '22023';
    END IF;
    _most := df_engine.setting('list_instances_max_limit')::integer;
    IF _limit > _most THEN
        RAISE EXCEPTION 'limit_count must not exceed pg_durable.list_instances_max_limit (%)', _most USING ERRCODE = '22023',
            HINT = 'Read the next page with after_cursor.';
    END IF;
END $$;


ALTER FUNCTION df_engine.check_limit(_limit integer) OWNER TO perdure_owner;

--
-- Name: check_owner(regrole); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.check_owner(_owner regrole) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


ALTER FUNCTION df_engine.check_owner(_owner regrole) OWNER TO perdure_owner;

--
-- Name: check_part(text, smallint, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.check_part(_part text, _bucket smallint, _id text) RETURNS TABLE(instance_id text, problem text, detail text)
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
    _one text;
BEGIN
    RETURN QUERY EXECUTE format('SELECT c.* FROM df_engine.%I($1, $2) c', _part) USING _bucket, _id;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    IF _id IS NOT NULL THEN
        RETURN QUERY SELECT _id, 'history cannot be read'::text, SQLERRM;
        RETURN;
    END IF;
    FOR _one IN SELECT i.instance_id FROM df_engine.visible_instances i WHERE _bucket IS NULL OR i.bucket = _bucket LOOP
        RETURN QUERY SELECT c.* FROM df_engine.check_part(_part, df_engine.bucket_of(_one), _one) c;
    END LOOP;
END $_$;


ALTER FUNCTION df_engine.check_part(_part text, _bucket smallint, _id text) OWNER TO perdure_owner;

--
-- Name: check_proxy(regrole, regrole); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.check_proxy(_login regrole, _owner regrole) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _l pg_roles;
    _problem text;
BEGIN
    SELECT * INTO _l FROM pg_roles r WHERE r.oid = _login;
    _problem := CASE
        WHEN NOT _l.rolcanlogin THEN 'it cannot log in'
        WHEN _l.rolsuper OR _l.rolbypassrls OR _l.rolcreaterole OR _l.rolcreatedb OR _l.rolreplication
            THEN 'it has attributes of its own'
        WHEN NOT EXISTS (SELECT FROM pg_auth_members m WHERE m.member = _login AND m.roleid = _owner)
            THEN format('it is not a member of %s', _owner)
        WHEN EXISTS (SELECT FROM pg_auth_members m WHERE m.member = _login AND (m.roleid <> _owner OR m.admin_option))
            THEN format('it is a member of other roles than %s, or may give that one away', _owner)
        WHEN (SELECT r.rolsuper FROM pg_roles r WHERE r.oid = _owner) THEN format('%s is a superuser', _owner)
        WHEN EXISTS (SELECT FROM df_engine.service_logins s WHERE s.login IN (_login, _owner))
            THEN 'one of the two serves everybody''s workflows'
        WHEN EXISTS (SELECT FROM df_engine.proxies p WHERE p.login = _owner) THEN format('%s is a proxy itself', _owner)
        WHEN EXISTS (SELECT FROM df_engine.instances i WHERE i.owner = _login AND i.ended_at IS NULL)
            THEN 'it has workflows of its own' END;
    IF _problem IS NOT NULL THEN
        RAISE EXCEPTION 'login % cannot stand in for %: %', _login, _owner, _problem USING ERRCODE = '42501',
            HINT = 'CREATE ROLE dfx_somebody LOGIN PASSWORD ... IN ROLE somebody';
    END IF;
END $$;


ALTER FUNCTION df_engine.check_proxy(_login regrole, _owner regrole) OWNER TO perdure_owner;

--
-- Name: check_reasons(smallint, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.check_reasons(_bucket smallint, _id text) RETURNS TABLE(instance_id text, problem text, detail text)
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_custom_plan'
    SET enable_nestloop TO 'off'
    AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH i AS MATERIALIZED (
        SELECT v.bucket, v.instance_id, v.execution_id, v.graph LIKE '%"RACE"%' AS races, v.parked, v.interpreter, v.owner,
               EXISTS (SELECT FROM df_engine.visible_tasks t
                       WHERE t.bucket = v.bucket AND t.instance_id = v.instance_id AND t.seq = 0) AS has_turn,
               EXISTS (SELECT FROM df_engine.visible_tasks t
                       WHERE t.bucket = v.bucket AND t.instance_id = v.instance_id)
               OR EXISTS (SELECT FROM df_engine.visible_timers t
                          WHERE t.bucket = v.bucket AND t.instance_id = v.instance_id)
               OR EXISTS (SELECT FROM df_engine.visible_waits t
                          WHERE t.bucket = v.bucket AND t.instance_id = v.instance_id)
               OR EXISTS (SELECT FROM df_engine.visible_inbox t
                          WHERE t.bucket = v.bucket AND t.instance_id = v.instance_id) AS has_work
        FROM df_engine.visible_instances v
        WHERE (_bucket IS NULL OR v.bucket = _bucket) AND (_id IS NULL OR v.instance_id = _id)
          AND v.status IN ('pending', 'running', 'cancelled') AND v.ended_at IS NULL
    ), idle AS MATERIALIZED (
        SELECT i.*, CASE WHEN i.races THEN EXISTS (SELECT FROM df_engine.open_signals(i.bucket, i.instance_id))
            ELSE EXISTS (
                SELECT FROM df_engine.visible_history a
                WHERE a.bucket = i.bucket AND a.instance_id = i.instance_id AND a.execution_id = i.execution_id
                  AND a.kind = 'SignalAwaited' AND NOT EXISTS (
                      SELECT FROM df_engine.visible_history c
                      WHERE c.bucket = i.bucket AND c.instance_id = i.instance_id AND c.execution_id = i.execution_id
                        AND c.kind IN ('SignalConsumed', 'SignalTimedOut') AND (c.payload::json->>'of')::integer = a.seq)) END AS listens
        FROM i WHERE NOT i.has_work AND i.parked IS NULL
    )
    SELECT d.instance_id, 'stuck', 'no task, no timer, no wait, no signal awaited, not parked'
    FROM idle d WHERE NOT d.listens
    UNION ALL
    SELECT i.instance_id, 'signal not delivered', format('"%s" [%s,%s] is awaited at %s', u.name, u.execution_id, u.seq, o.seq)
    FROM i CROSS JOIN LATERAL df_engine.unconsumed(i.bucket, i.instance_id) u
    CROSS JOIN LATERAL df_engine.open_signals(i.bucket, i.instance_id) o
    WHERE NOT i.has_turn AND o.name = u.name
    UNION ALL
    SELECT i.instance_id, 'nobody can serve it', format('it needs interpreter %s, and no worker that is alive has it', i.interpreter)
    FROM i
    WHERE EXISTS (SELECT FROM df_engine.visible_workers w WHERE w.alive AND (w.serves_all OR w.login = i.owner))
      AND NOT EXISTS (SELECT FROM df_engine.visible_workers w
                      WHERE w.alive AND (w.serves_all OR w.login = i.owner) AND w.interpreter >= i.interpreter)
    UNION ALL
    SELECT t.instance_id, p.problem, format('task %s of execution %s: ', t.seq, t.execution_id) || p.detail
    FROM df_engine.visible_tasks t
    LEFT JOIN df_engine.visible_instances v ON v.bucket = t.bucket AND v.instance_id = t.instance_id
         AND (_bucket IS NULL OR v.bucket = _bucket) AND (_id IS NULL OR v.instance_id = _id)
    CROSS JOIN LATERAL (VALUES
        ('task without instance', 'there is none', v.instance_id IS NULL),
        ('task of an instance that has ended', format('it is %s', v.status), v.ended_at IS NOT NULL),
        ('task of another execution', format('the current one is %s', v.execution_id), t.execution_id <> v.execution_id),
        ('task of another role', format('%s instead of %s', t.owner, v.owner), t.owner <> v.owner),
        ('malformed task', format('lane %s, kind %s, attempt %s', t.lane, t.kind, t.attempt),
         (t.seq = 0) <> (t.lane = 'turn') OR (t.seq = 0) <> (t.kind = 'turn') OR t.lane NOT IN ('turn', 'sql', 'http')
         OR t.seq < 0 OR t.attempt < 1 OR (t.worker_id IS NULL) <> (t.leased_at IS NULL)),
        ('lease of a worker that does not exist', format('worker %s, since %s', t.worker_id, t.leased_at),
         t.leased_at < clock_timestamp() - interval '1 minute'
         AND NOT EXISTS (SELECT FROM df_engine.visible_workers w WHERE w.worker_id = t.worker_id))
    ) AS p (problem, detail, wrong)
    WHERE (_bucket IS NULL OR t.bucket = _bucket) AND (_id IS NULL OR t.instance_id = _id) AND p.wrong;
END $$;


ALTER FUNCTION df_engine.check_reasons(_bucket smallint, _id text) OWNER TO perdure_owner;

--
-- Name: check_seq(integer, integer, integer); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.check_seq(_seq integer, _first integer, _last integer) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF _seq NOT BETWEEN _first AND _last THEN
        RAISE EXCEPTION 'df: no event % in this turn (% to %)', _seq, _first, _last USING ERRCODE = 'DF011';
    END IF;
END $$;


ALTER FUNCTION df_engine.check_seq(_seq integer, _first integer, _last integer) OWNER TO perdure_owner;

--
-- Name: check_shape(smallint, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.check_shape(_bucket smallint, _id text) RETURNS TABLE(instance_id text, problem text, detail text)
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_custom_plan'
    SET enable_nestloop TO 'off'
    AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH x AS MATERIALIZED (
        SELECT h.bucket, h.instance_id, h.execution_id, count(*) AS events, min(h.seq) AS first, max(h.seq) AS last,
               count(*) FILTER (WHERE h.kind = 'ExecutionStarted') AS starts,
               bool_or(h.kind = 'ExecutionStarted' AND h.seq = 1) AS begins,
               count(*) FILTER (WHERE h.kind IN ('ExecutionContinued', 'ExecutionCompleted', 'ExecutionFailed',
                                                 'ExecutionCancelled')) AS ends,
               max(h.seq) FILTER (WHERE h.kind IN ('ExecutionContinued', 'ExecutionCompleted', 'ExecutionFailed',
                                                   'ExecutionCancelled')) AS end_seq,
               max(h.kind) FILTER (WHERE h.kind IN ('ExecutionContinued', 'ExecutionCompleted', 'ExecutionFailed',
                                                    'ExecutionCancelled')) AS end_kind,
               max(h.seq) FILTER (WHERE h.kind = 'TurnTaken') AS turn,
               max(h.seq) FILTER (WHERE h.kind IN ('ActivityCompleted', 'ActivityFailed', 'TimerFired', 'SignalReceived',
                                                   'InstanceEnded', 'CancelRequested')) AS fact,
               bool_or(h.kind = 'CancelRequested') AS cancelled,
               min(h.seq) FILTER (WHERE json_typeof(df_engine.readable(h.payload)) <> 'object') AS unreadable
        FROM df_engine.visible_history h
        WHERE (_bucket IS NULL OR h.bucket = _bucket) AND (_id IS NULL OR h.instance_id = _id)
        GROUP BY h.bucket, h.instance_id, h.execution_id
    ), i AS MATERIALIZED (
        SELECT v.bucket, v.instance_id, v.status, v.execution_id, v.head_seq, v.ended_at
        FROM df_engine.visible_instances v
        WHERE (_bucket IS NULL OR v.bucket = _bucket) AND (_id IS NULL OR v.instance_id = _id)
    ), turns AS MATERIALIZED (
        SELECT v.bucket, v.instance_id, v.seq FROM df_engine.visible_tasks v
        WHERE v.seq = 0 AND (_bucket IS NULL OR v.bucket = _bucket) AND (_id IS NULL OR v.instance_id = _id)
    )
    SELECT x.instance_id, p.problem, format('execution %s: ', x.execution_id) || p.detail
    FROM x JOIN i ON i.bucket = x.bucket AND i.instance_id = x.instance_id
    LEFT JOIN turns t ON t.bucket = i.bucket AND t.instance_id = i.instance_id
    CROSS JOIN LATERAL (VALUES
        ('gap in the history', format('%s events from %s to %s', x.events, x.first, x.last),
         x.first <> 1 OR x.events <> x.last),
        ('history cannot be read', format('the payload of event %s is no JSON object', x.unreadable), x.unreadable IS NOT NULL),
        ('no beginning', format('%s events ExecutionStarted, or not the first', x.starts), x.starts <> 1 OR NOT x.begins),
        ('more than one end', format('%s events end it', x.ends), x.ends > 1),
        ('events after the end', format('%s is event %s of %s', x.end_kind, x.end_seq, x.last), x.end_seq <> x.last),
        ('old execution without its continuation', format('its end is %s', coalesce(x.end_kind, 'missing')),
         x.execution_id < i.execution_id AND x.end_kind IS DISTINCT FROM 'ExecutionContinued'),
        ('execution after the current one', format('the current one is %s', i.execution_id), x.execution_id > i.execution_id),
        ('head is not the last event', format('head %s, last event %s', i.head_seq, x.last),
         x.execution_id = i.execution_id AND x.last <> i.head_seq),
        ('status differs from the history', format('status %s (ended: %s), history: %s', i.status, i.ended_at IS NOT NULL,
                                                   coalesce(x.end_kind, 'not ended')),
         x.execution_id = i.execution_id AND i.status IS DISTINCT FROM CASE
             WHEN x.end_kind IS NOT NULL THEN lower(substr(x.end_kind, 10)) WHEN x.cancelled THEN 'cancelled'
             WHEN x.turn IS NULL AND x.execution_id = 1 THEN 'pending' ELSE 'running' END),
        ('end differs from the history', format('ended at %s, history: %s', i.ended_at, coalesce(x.end_kind, 'not ended')),
         x.execution_id = i.execution_id AND (i.ended_at IS NOT NULL) <> (x.end_kind IS NOT NULL)),
        ('stuck: facts without a turn', format('fact at %s, last turn at %s, no turn task', x.fact, x.turn),
         x.execution_id = i.execution_id AND i.ended_at IS NULL AND t.seq IS NULL
         AND (x.turn IS NULL OR x.fact > x.turn))
    ) AS p (problem, detail, wrong)
    WHERE p.wrong
    UNION ALL
    SELECT i.instance_id, 'no history', format('of the current execution %s', i.execution_id)
    FROM i WHERE NOT EXISTS (SELECT FROM x WHERE x.bucket = i.bucket AND x.instance_id = i.instance_id
                             AND x.execution_id = i.execution_id)
    UNION ALL
    SELECT x.instance_id, 'executions are missing', format('%s of those from %s to %s', count(*), min(x.execution_id), max(x.execution_id))
    FROM x GROUP BY x.instance_id
    HAVING count(*) <> max(x.execution_id) - min(x.execution_id) + 1
        OR min(x.execution_id) > greatest(1, max(x.execution_id) - 99);
END $$;


ALTER FUNCTION df_engine.check_shape(_bucket smallint, _id text) OWNER TO perdure_owner;

--
-- Name: check_signals(smallint, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.check_signals(_bucket smallint, _id text) RETURNS TABLE(instance_id text, problem text, detail text)
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_custom_plan'
    SET enable_nestloop TO 'off'
    AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH e AS MATERIALIZED (
        SELECT h.bucket, h.instance_id, h.execution_id, h.seq, h.kind, h.payload::json AS data
        FROM df_engine.visible_history h
        WHERE (_bucket IS NULL OR h.bucket = _bucket) AND (_id IS NULL OR h.instance_id = _id)
          AND h.kind IN ('ExecutionStarted', 'ExecutionContinued', 'SignalReceived', 'SignalConsumed')
    ), had AS MATERIALIZED (
        SELECT e.bucket, e.instance_id, e.execution_id, e.data->>'name' AS name, e.execution_id AS mx, e.seq AS ms
        FROM e WHERE e.kind = 'SignalReceived'
        UNION ALL
        SELECT e.bucket, e.instance_id, e.execution_id, s.value->>0, (s.value #>> '{1,0}')::integer, (s.value #>> '{1,1}')::integer
        FROM e CROSS JOIN LATERAL json_array_elements(e.data->'signals') s WHERE e.kind = 'ExecutionStarted'
    ), consumed AS MATERIALIZED (
        SELECT c.bucket, c.instance_id, c.execution_id, (c.data #>> '{message,0}')::integer AS mx,
               (c.data #>> '{message,1}')::integer AS ms, min(c.seq) AS first,
               count(DISTINCT (SELECT max(t.seq) FROM df_engine.visible_history t
                               WHERE t.bucket = c.bucket AND t.instance_id = c.instance_id AND t.execution_id = c.execution_id
                                 AND t.kind = 'TurnTaken' AND t.seq < c.seq)) AS turns
        FROM e c WHERE c.kind = 'SignalConsumed' GROUP BY 1, 2, 3, 4, 5
    ), carried AS MATERIALIZED (
        SELECT e.bucket, e.instance_id, e.execution_id, s.value->>0 AS name, (s.value #>> '{1,0}')::integer AS mx,
               (s.value #>> '{1,1}')::integer AS ms
        FROM e CROSS JOIN LATERAL json_array_elements(e.data->'signals') s WHERE e.kind = 'ExecutionContinued'
    ), left_over AS MATERIALIZED (
        SELECT h.bucket, h.instance_id, h.execution_id, h.name, h.mx, h.ms FROM had h
        JOIN e ON e.bucket = h.bucket AND e.instance_id = h.instance_id AND e.execution_id = h.execution_id
             AND e.kind = 'ExecutionContinued'
        WHERE NOT EXISTS (SELECT FROM consumed c WHERE c.bucket = h.bucket AND c.instance_id = h.instance_id
                          AND c.execution_id = h.execution_id AND c.mx = h.mx AND c.ms = h.ms)
    )
    SELECT c.instance_id, 'signal consumed more than once', format('execution %s: message [%s,%s] in %s turns', c.execution_id, c.mx, c.ms, c.turns)
    FROM consumed c WHERE c.turns > 1
    UNION ALL
    SELECT c.instance_id, 'signal consumed that was not there', format('execution %s: message [%s,%s] at %s', c.execution_id, c.mx, c.ms, c.first)
    FROM consumed c
    WHERE NOT EXISTS (SELECT FROM had h WHERE h.bucket = c.bucket AND h.instance_id = c.instance_id
                      AND h.execution_id = c.execution_id AND h.mx = c.mx AND h.ms = c.ms
                      AND (h.mx < c.execution_id OR h.ms < c.first))
    UNION ALL
    SELECT l.instance_id, 'signal lost', format('"%s" [%s,%s], not consumed, was not carried over from execution %s', l.name, l.mx, l.ms, l.execution_id)
    FROM (SELECT * FROM left_over EXCEPT SELECT * FROM carried) l
    UNION ALL
    SELECT l.instance_id, 'signal made up', format('"%s" [%s,%s] was carried over from execution %s', l.name, l.mx, l.ms, l.execution_id)
    FROM (SELECT * FROM carried EXCEPT SELECT * FROM left_over) l
    UNION ALL
    SELECT n.instance_id, 'continuation differs', format('execution %s did not begin with what %s left', n.execution_id, o.execution_id)
    FROM e n JOIN e o ON o.bucket = n.bucket AND o.instance_id = n.instance_id AND o.execution_id = n.execution_id - 1
         AND o.kind = 'ExecutionContinued'
    WHERE n.kind = 'ExecutionStarted'
      AND ((n.data->'names')::text IS DISTINCT FROM (o.data->'names')::text
           OR (n.data->'signals')::text IS DISTINCT FROM (o.data->'signals')::text)
    UNION ALL
    SELECT m.instance_id, 'result lost', format('[%s,%s], which execution %s names', m.rx, m.rs, m.execution_id)
    FROM (SELECT e.bucket, e.instance_id, e.execution_id, k.execution_id AS rx, k.seq AS rs
          FROM e JOIN df_engine.visible_instances i ON i.bucket = e.bucket AND i.instance_id = e.instance_id
               AND i.execution_id = e.execution_id AND i.ended_at IS NULL
               AND (_bucket IS NULL OR i.bucket = _bucket) AND (_id IS NULL OR i.instance_id = _id)
          CROSS JOIN LATERAL df_engine.rows_named(
              ARRAY(SELECT n.value->0 FROM json_each(e.data->'names') n)
              || ARRAY(SELECT s.value->1 FROM json_array_elements(e.data->'signals') s)) k
          WHERE e.kind = 'ExecutionStarted'
          UNION ALL
          SELECT h.bucket, h.instance_id, h.execution_id, h.execution_id,
                 CASE h.kind WHEN 'ActivityCompleted' THEN (h.payload::json->>'of')::integer ELSE h.seq END
          FROM df_engine.visible_instances i
          JOIN df_engine.visible_history h ON h.bucket = i.bucket AND h.instance_id = i.instance_id AND h.execution_id = i.execution_id
          WHERE (_bucket IS NULL OR i.bucket = _bucket) AND (_id IS NULL OR i.instance_id = _id)
            AND (_bucket IS NULL OR h.bucket = _bucket) AND (_id IS NULL OR h.instance_id = _id)
            AND (h.kind = 'SignalReceived' OR h.kind = 'ActivityCompleted' AND h.payload::json->>'empty' IS NULL)) m
    WHERE NOT EXISTS (SELECT FROM df_engine.visible_results r
                      WHERE (_bucket IS NULL OR r.bucket = _bucket) AND (_id IS NULL OR r.instance_id = _id)
                        AND r.bucket = m.bucket AND r.instance_id = m.instance_id AND r.execution_id = m.rx AND r.seq = m.rs);
END $$;


ALTER FUNCTION df_engine.check_signals(_bucket smallint, _id text) OWNER TO perdure_owner;

--
-- Name: check_work(smallint, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.check_work(_bucket smallint, _id text) RETURNS TABLE(instance_id text, problem text, detail text)
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_custom_plan'
    SET enable_nestloop TO 'off'
    AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH e AS MATERIALIZED (
        SELECT h.bucket, h.instance_id, h.execution_id, h.seq, h.kind, h.recorded_at,
               (h.payload::json->>'of')::integer AS of, (h.payload::json->>'due')::timestamptz AS due,
               CASE WHEN h.kind IN ('ActivityScheduled', 'ActivityCompleted', 'ActivityFailed', 'ActivityCancelled') THEN 'step'
                    WHEN h.kind IN ('TimerSet', 'TimerFired', 'TimerCancelled') THEN 'timer' ELSE 'wait' END AS family,
               h.kind IN ('ActivityScheduled', 'TimerSet', 'InstanceAwaited') AS begins
        FROM df_engine.visible_history h
        WHERE (_bucket IS NULL OR h.bucket = _bucket) AND (_id IS NULL OR h.instance_id = _id)
          AND h.kind IN ('ActivityScheduled', 'ActivityCompleted', 'ActivityFailed', 'ActivityCancelled', 'TimerSet',
                         'TimerFired', 'TimerCancelled', 'InstanceAwaited', 'InstanceEnded')
    ), ends AS MATERIALIZED (
        SELECT e.bucket, e.instance_id, e.execution_id, e.of AS seq, e.family, count(*) AS times, min(e.kind) AS kind,
               min(e.seq) AS end_seq, min(e.recorded_at) AS ended_at, string_agg(e.kind || ' at ' || e.seq, ', ' ORDER BY e.seq) AS words
        FROM e WHERE NOT e.begins GROUP BY 1, 2, 3, 4, 5
    ), open AS MATERIALIZED (
        SELECT b.bucket, b.instance_id, b.seq, b.family, b.due
        FROM e b
        JOIN df_engine.visible_instances i ON i.bucket = b.bucket AND i.instance_id = b.instance_id
             AND i.execution_id = b.execution_id AND i.ended_at IS NULL
             AND (_bucket IS NULL OR i.bucket = _bucket) AND (_id IS NULL OR i.instance_id = _id)
        LEFT JOIN ends n ON n.bucket = b.bucket AND n.instance_id = b.instance_id AND n.execution_id = b.execution_id
             AND n.seq = b.seq AND n.family = b.family
        WHERE b.begins AND n.seq IS NULL
    ), rows AS MATERIALIZED (
        SELECT t.bucket, t.instance_id, t.seq, 'step' AS family, NULL::timestamptz AS due
        FROM df_engine.visible_tasks t
        WHERE t.seq > 0 AND (_bucket IS NULL OR t.bucket = _bucket) AND (_id IS NULL OR t.instance_id = _id)
        UNION ALL
        SELECT t.bucket, t.instance_id, t.seq, 'timer', t.due_at FROM df_engine.visible_timers t
        WHERE (_bucket IS NULL OR t.bucket = _bucket) AND (_id IS NULL OR t.instance_id = _id)
        UNION ALL
        SELECT w.bucket, w.instance_id, w.seq, 'wait', NULL FROM df_engine.visible_waits w
        WHERE (_bucket IS NULL OR w.bucket = _bucket) AND (_id IS NULL OR w.instance_id = _id)
    )
    SELECT n.instance_id, n.family || ' ended more than once', format('execution %s, begun at %s: %s', n.execution_id, n.seq, n.words)
    FROM ends n WHERE n.times > 1
    UNION ALL
    SELECT n.instance_id, 'end of a ' || n.family || ' that never began', format('execution %s: %s', n.execution_id, n.words)
    FROM ends n LEFT JOIN e b ON b.bucket = n.bucket AND b.instance_id = n.instance_id AND b.execution_id = n.execution_id
         AND b.seq = n.seq AND b.begins AND b.family = n.family AND b.seq < n.end_seq
    WHERE b.seq IS NULL
    UNION ALL
    SELECT n.instance_id, 'timer fired early', format('execution %s: due at %s, fired at %s', n.execution_id, b.due, n.ended_at)
    FROM ends n JOIN e b ON b.bucket = n.bucket AND b.instance_id = n.instance_id AND b.execution_id = n.execution_id AND b.seq = n.seq
    WHERE n.kind = 'TimerFired' AND b.kind = 'TimerSet' AND n.ended_at < b.due
    UNION ALL
    SELECT coalesce(o.instance_id, r.instance_id),
           CASE WHEN r.seq IS NULL THEN o.family || ' lost' ELSE 'work that nothing waits for' END,
           CASE WHEN r.seq IS NULL THEN format('begun at %s, neither ended nor on its table', o.seq)
                ELSE format('a row for the %s begun at %s, which is not open', r.family, r.seq) END
    FROM open o
    FULL JOIN rows r ON r.bucket = o.bucket AND r.instance_id = o.instance_id AND r.seq = o.seq AND r.family = o.family
    WHERE (r.seq IS NULL AND o.family <> 'wait') OR o.seq IS NULL
    UNION ALL
    SELECT o.instance_id, 'timer moved', format('set at %s for %s, but its row says %s', o.seq, o.due, r.due)
    FROM open o JOIN rows r ON r.bucket = o.bucket AND r.instance_id = o.instance_id AND r.seq = o.seq AND r.family = o.family
    WHERE o.due <> r.due;
END $$;


ALTER FUNCTION df_engine.check_work(_bucket smallint, _id text) OWNER TO perdure_owner;

--
-- Name: checked_graph(text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.checked_graph(fut text) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _node jsonb;
    _problem text;
BEGIN
    IF fut IS NULL THEN
        RAISE EXCEPTION 'Invalid durable function: it is NULL (an operator with a NULL operand is NULL)'
            USING ERRCODE = 'DF102';
    END IF;
    PERFORM df_engine.refuse_size(fut);
    IF NOT df_engine.looks_like_json(fut) THEN
        RETURN df_engine.wrap(fut);
    END IF;
    _node := df_engine.parsed(fut, 'Invalid durable function: Malformed Durofut JSON');
    IF _node IS NULL AND starts_with(fut, '{"node_type":"') THEN
        RAISE EXCEPTION 'Invalid durable function: Malformed Durofut JSON: it begins as a step but is not valid JSON'
            USING ERRCODE = 'DF102',
                  HINT = '|| and ~> bind equally, from left to right: put parentheses around built strings.';
    ELSIF (jsonb_typeof(_node) = 'object' AND jsonb_typeof(_node -> 'node_type') = 'string') IS NOT TRUE THEN
        RETURN df_engine.leaf('SQL', fut);
    END IF;
    _problem := df_engine.strict_problem(_node, df_engine.max_graph_nodes(fut));
    IF _problem IS NOT NULL THEN
        RAISE EXCEPTION '%', _problem USING ERRCODE = 'DF102';
    END IF;
    RETURN btrim(fut, E' \t\n\r');
END $$;


ALTER FUNCTION df_engine.checked_graph(fut text) OWNER TO perdure_owner;

--
-- Name: settings; Type: TABLE; Schema: df_engine; Owner: perdure_owner
--

CREATE TABLE df_engine.settings (
    name text NOT NULL,
    value text NOT NULL,
    default_value text NOT NULL,
    kind text NOT NULL,
    low numeric,
    high numeric,
    hidden boolean DEFAULT false NOT NULL,
    description text NOT NULL,
    CONSTRAINT settings_kind_check CHECK ((kind = ANY (ARRAY['int'::text, 'bool'::text, 'text'::text, 'seconds'::text])))
);


ALTER TABLE df_engine.settings OWNER TO perdure_owner;

--
-- Name: checked_setting(df_engine.settings, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.checked_setting(setting df_engine.settings, value text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
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
END $_$;


ALTER FUNCTION df_engine.checked_setting(setting df_engine.settings, value text) OWNER TO perdure_owner;

--
-- Name: claim_v1(bigint, text, integer, integer, integer, bigint, boolean, oid[]); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.claim_v1(_worker_id bigint, _key text, _turns integer, _steps integer, _http integer, _mark bigint, _full boolean, _except oid[]) RETURNS TABLE(lane text, kind text, bucket smallint, instance_id text, seq integer, execution_id integer, token text, task_no bigint, owner oid, owner_name text, database text, attempt integer, autocommit boolean, input text, first_failed_at timestamp with time zone, overdue boolean, head_execution integer, head_seq integer, status text, capped boolean, clock timestamp with time zone, graph text, variables text, label text, started text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    AS $$
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


ALTER FUNCTION df_engine.claim_v1(_worker_id bigint, _key text, _turns integer, _steps integer, _http integer, _mark bigint, _full boolean, _except oid[]) OWNER TO perdure_owner;

--
-- Name: clear_work(smallint, text, boolean); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.clear_work(_bucket smallint, _instance_id text, _ended boolean) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


ALTER FUNCTION df_engine.clear_work(_bucket smallint, _instance_id text, _ended boolean) OWNER TO perdure_owner;

--
-- Name: commit_turns_v1(bigint, text, json); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.commit_turns_v1(_worker_id bigint, _key text, _turns json) RETURNS TABLE(n bigint, outcome text, head integer, clock timestamp with time zone)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


ALTER FUNCTION df_engine.commit_turns_v1(_worker_id bigint, _key text, _turns json) OWNER TO perdure_owner;

--
-- Name: compact_json(jsonb); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.compact_json(value jsonb) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN CASE jsonb_typeof(value)
        WHEN 'object' THEN (
            SELECT concat('{', string_agg(concat(to_json(m.key), ':', df_engine.compact_json(m.value)), ',' ORDER BY m.at),
                          '}')
            FROM jsonb_each(value) WITH ORDINALITY AS m (key, value, at))
        WHEN 'array' THEN (
            SELECT concat('[', string_agg(df_engine.compact_json(e.value), ',' ORDER BY e.at), ']')
            FROM jsonb_array_elements(value) WITH ORDINALITY AS e (value, at))
        ELSE value::text END;
END $$;


ALTER FUNCTION df_engine.compact_json(value jsonb) OWNER TO perdure_owner;

--
-- Name: complete_v1(bigint, text, smallint, text, integer, text, text, text, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.complete_v1(_worker_id bigint, _key text, _bucket smallint, _instance_id text, _seq integer, _token text, _result text, _completed text, _turn_token text, OUT outcome text, OUT head integer, OUT clock timestamp with time zone) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _w df_engine.workers := df_engine.worker_of(_worker_id, _key);
BEGIN
    SELECT f.outcome, f.head, f.clock INTO outcome, head, clock FROM df_engine.finish(
        _bucket, _instance_id, _seq, _token, _result, _completed, NULL, NULL, NULL, NULL,
        NULL, NULL, NULL, NULL, NULL, NULL, _turn_token, CASE WHEN NOT _w.serves_all THEN _w.login END) f;
END $$;


ALTER FUNCTION df_engine.complete_v1(_worker_id bigint, _key text, _bucket smallint, _instance_id text, _seq integer, _token text, _result text, _completed text, _turn_token text, OUT outcome text, OUT head integer, OUT clock timestamp with time zone) OWNER TO perdure_owner;

--
-- Name: composite_query_problem(text, text, boolean); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.composite_query_problem(node_type text, query text, has_condition boolean) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _config jsonb := df_engine.parsed(query, node_type);
    _member text := CASE node_type WHEN 'JOIN' THEN 'extra_nodes' ELSE 'condition_node' END;
BEGIN
    RETURN CASE
        WHEN node_type IN ('THEN', 'RACE') THEN format('query is not valid for %s nodes', node_type)
        WHEN _config IS NULL THEN format('query in %s must be valid JSON config', node_type)
        WHEN jsonb_typeof(_config) <> 'object' THEN format('query in %s must be a JSON config object', node_type)
        WHEN _config ? _member
            THEN format('%s in %s must be a first-class Durofut field, not embedded in query', _member, node_type)
        WHEN node_type <> 'IF' OR has_condition THEN NULL
        WHEN _config ->> 'condition_type' IS DISTINCT FROM 'result_has_rows'
            THEN 'IF requires condition_node, or a query that asks for result_has_rows'
        WHEN NOT df_engine.is_filled(_config -> 'result_name') THEN 'query in IF: result_name must be a non-empty string'
    END;
END $$;


ALTER FUNCTION df_engine.composite_query_problem(node_type text, query text, has_condition boolean) OWNER TO perdure_owner;

--
-- Name: config_problem(text, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.config_problem(node_type text, query text) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
    _config jsonb;
    _problem text;
BEGIN
    IF node_type = 'SLEEP' THEN
        -- A hundred years of 365.25 days.
        RETURN CASE WHEN query !~ '^[0-9]{1,10}$' OR query::bigint > 3155760000
            THEN 'query in SLEEP must be a whole number of seconds from 0 to 3155760000' END;
    END IF;
    _config := df_engine.parsed(query, node_type);
    IF _config IS NULL THEN
        RETURN format('query in %s must be valid JSON config', node_type);
    ELSIF jsonb_typeof(_config) <> 'object' THEN
        RETURN format('query in %s must be a JSON config object', node_type);
    END IF;
    _problem := CASE
        WHEN node_type = 'BREAK' THEN
            CASE WHEN jsonb_typeof(_config -> 'break_value') NOT IN ('string', 'null')
                THEN 'break_value must be a string or null' END
        WHEN NOT df_engine.is_timeout(_config -> 'timeout_seconds') THEN 'timeout_seconds must be a positive whole number'
        WHEN node_type = 'SIGNAL' THEN
            CASE WHEN NOT df_engine.is_filled(_config -> 'signal_name') THEN 'signal_name must be a non-empty string' END
        WHEN node_type = 'WAIT_INSTANCE' THEN
            CASE WHEN NOT df_engine.is_filled(_config -> 'instance_id') THEN 'instance_id must be a non-empty string' END
        WHEN node_type = 'WAIT_SCHEDULE' THEN df_engine.schedule_config_problem(_config)
        ELSE df_engine.http_config_problem(node_type, _config)
    END;
    RETURN format('query in %s: ', node_type) || _problem;
END $_$;


ALTER FUNCTION df_engine.config_problem(node_type text, query text) OWNER TO perdure_owner;

--
-- Name: conninfo_quoted(text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.conninfo_quoted(_value text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN concat('''', replace(replace(_value, E'\\', E'\\\\'), '''', E'\\'''), '''');
END $$;


ALTER FUNCTION df_engine.conninfo_quoted(_value text) OWNER TO perdure_owner;

--
-- Name: cron_field_problem(text, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.cron_field_problem(field text, name text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _item text;
    _problem text;
BEGIN
    IF field = '*' OR (field = '?' AND name IN ('day of month', 'day of week')) THEN
        RETURN NULL;
    END IF;
    FOREACH _item IN ARRAY string_to_array(field, ',') LOOP
        _problem := (df_engine.cron_item(_item, name)).problem;
        IF _problem IS NOT NULL THEN
            RETURN format('%s in the field %s', _problem, name);
        END IF;
    END LOOP;
    RETURN NULL;
END $$;


ALTER FUNCTION df_engine.cron_field_problem(field text, name text) OWNER TO perdure_owner;

--
-- Name: cron_item(text, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.cron_item(item text, name text, OUT first integer, OUT last integer, OUT step integer, OUT problem text) RETURNS record
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
    _parts text[] := regexp_match(item, '^(?:([*])|([0-9]{1,4}|[a-z]+)(?:-([0-9]{1,4}|[a-z]+))?)(?:/([0-9]{1,4}))?$');
    _low integer := CASE name WHEN 'day of month' THEN 1 WHEN 'month' THEN 1 WHEN 'year' THEN 1970 ELSE 0 END;
    _high integer := CASE name WHEN 'minute' THEN 59 WHEN 'hour' THEN 23 WHEN 'day of month' THEN 31 WHEN 'month' THEN 12
                     WHEN 'day of week' THEN 7 ELSE 2100 END;
BEGIN
    first := _low;
    last := CASE _high WHEN 7 THEN 6 ELSE _high END;
    step := coalesce(_parts[4]::integer, 1);
    IF _parts IS NULL THEN
        problem := format('''%s'' is not understood', item);
        RETURN;
    ELSIF _parts[1] IS NULL THEN
        first := df_engine.cron_value(_parts[2], name);
        last := CASE WHEN _parts[3] IS NOT NULL THEN df_engine.cron_value(_parts[3], name)
                     WHEN _parts[4] IS NULL THEN first ELSE last END;
        last := CASE WHEN _high = 7 AND last = 0 AND first > 0 THEN 7 ELSE last END;
    END IF;
    problem := CASE
        WHEN first IS NULL THEN format('''%s'' is not a name', _parts[2])
        WHEN last IS NULL THEN format('''%s'' is not a name', _parts[3])
        WHEN first NOT BETWEEN _low AND _high THEN format('%s is out of the range %s to %s', first, _low, _high)
        WHEN last NOT BETWEEN _low AND _high THEN format('%s is out of the range %s to %s', last, _low, _high)
        WHEN first > last THEN format('the range ''%s'' runs backwards', item)
        WHEN step < 1 THEN format('the step of ''%s'' is 0', item) END;
END $_$;


ALTER FUNCTION df_engine.cron_item(item text, name text, OUT first integer, OUT last integer, OUT step integer, OUT problem text) OWNER TO perdure_owner;

--
-- Name: cron_never_problem(text, text, text, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.cron_never_problem(day_of_month text, month text, day_of_week text, year text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF day_of_month IN ('*', '?') OR day_of_week NOT IN ('*', '?', '*/1') OR EXISTS (
        SELECT FROM unnest(df_engine.cron_numbers(day_of_month, 'day of month')) AS d,
                    unnest(df_engine.cron_numbers(month, 'month')) AS m
        WHERE d <= CASE WHEN m = 2 THEN 28 WHEN m IN (4, 6, 9, 11) THEN 30 ELSE 31 END
           OR (d = 29 AND m = 2 AND EXISTS (
               SELECT FROM unnest(df_engine.cron_numbers(coalesce(year, '*'), 'year')) AS y
               WHERE y % 4 = 0 AND (y % 100 <> 0 OR y % 400 = 0)))) THEN
        RETURN NULL;
    END IF;
    RETURN 'it fires at no time';
END $$;


ALTER FUNCTION df_engine.cron_never_problem(day_of_month text, month text, day_of_week text, year text) OWNER TO perdure_owner;

--
-- Name: cron_numbers(text, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.cron_numbers(field text, name text) RETURNS integer[]
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN (
        SELECT array_agg(n)
        FROM unnest(string_to_array(replace(field, '?', '*'), ',')) AS i (item),
             df_engine.cron_item(i.item, cron_numbers.name) AS c,
             generate_series(c.first, c.last, c.step) AS n);
END $$;


ALTER FUNCTION df_engine.cron_numbers(field text, name text) OWNER TO perdure_owner;

--
-- Name: cron_problem(text, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.cron_problem(expr text, timezone text) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _names constant text[] := ARRAY['minute', 'hour', 'day of month', 'month', 'day of week', 'year'];
    _expr text := lower(btrim(left(expr, 1001), E' \t\n\r\f\v') COLLATE "C");
    _fields text[] := regexp_split_to_array(_expr, E'[ \t\n\r\f\v]+');
    _problem text;
BEGIN
    IF length(expr) > 1000 THEN
        _problem := 'longer than 1000 characters';
    ELSIF _expr LIKE '@%' THEN
        IF _expr NOT IN ('@hourly', '@daily', '@midnight', '@weekly', '@monthly', '@yearly', '@annually') THEN
            _problem := 'unknown nickname, use one of @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually';
        END IF;
    ELSIF _expr = '' OR cardinality(_fields) NOT IN (5, 6) THEN
        _problem := format('5 fields (minute hour day-of-month month day-of-week) or 6 (with a year) are needed, not %s',
                           CASE _expr WHEN '' THEN 0 ELSE cardinality(_fields) END);
    ELSE
        FOR _i IN 1..cardinality(_fields) LOOP
            _problem := coalesce(_problem, df_engine.cron_field_problem(_fields[_i], _names[_i]));
        END LOOP;
        _problem := coalesce(_problem, df_engine.cron_never_problem(_fields[3], _fields[4], _fields[5], _fields[6]));
    END IF;
    RETURN coalesce(format('Invalid cron expression ''%s'': ', left(expr, 1000)) || _problem,
                    df_engine.timezone_problem(timezone));
END $$;


ALTER FUNCTION df_engine.cron_problem(expr text, timezone text) OWNER TO perdure_owner;

--
-- Name: cron_value(text, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.cron_value(word text, field_name text) RETURNS integer
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
    _names text[] := CASE field_name
        WHEN 'month' THEN ARRAY['january', 'february', 'march', 'april', 'may', 'june', 'july', 'august', 'september',
                                'october', 'november', 'december']
        WHEN 'day of week' THEN ARRAY['sunday', 'monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday'] END;
BEGIN
    IF word ~ '^[0-9]+$' THEN
        RETURN word::integer;
    ELSIF length(word) >= 3 THEN
        RETURN (SELECT n.at - (field_name = 'day of week')::integer
                FROM unnest(_names) WITH ORDINALITY AS n (name, at) WHERE starts_with(n.name, word));
    END IF;
    RETURN NULL;
END $_$;


ALTER FUNCTION df_engine.cron_value(word text, field_name text) OWNER TO perdure_owner;

--
-- Name: cursor_place(text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.cursor_place(_cursor text, OUT created_at timestamp with time zone, OUT instance_id text) RETURNS record
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
    _parts text[];
BEGIN
    IF _cursor IS NULL THEN
        RETURN;
    ELSIF length(_cursor) <= 512 AND _cursor ~ '^([0-9a-fA-F]{2})+$' THEN
        _parts := regexp_match(convert_from(decode(_cursor, 'hex'), 'UTF8'),
            '^v1\|(\d{4,6}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,6}[+-]\d\d(?::?\d\d)?)\|([^|]+)$');
        created_at := _parts[1]::timestamptz;
        instance_id := _parts[2];
    END IF;
    IF instance_id IS NULL THEN
        RAISE data_exception;
    END IF;
EXCEPTION WHEN data_exception THEN
    RAISE EXCEPTION 'df.list_instances: invalid after_cursor' USING ERRCODE = '22023',
        HINT = 'Pass next_cursor of the page before, as it is.';
END $_$;


ALTER FUNCTION df_engine.cursor_place(_cursor text, OUT created_at timestamp with time zone, OUT instance_id text) OWNER TO perdure_owner;

--
-- Name: cursor_text(timestamp with time zone, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.cursor_text(_created_at timestamp with time zone, _instance_id text) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN encode(convert_to('v1|' || to_char(_created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00"') || '|'
                             || _instance_id, 'UTF8'), 'hex');
END $$;


ALTER FUNCTION df_engine.cursor_text(_created_at timestamp with time zone, _instance_id text) OWNER TO perdure_owner;

--
-- Name: cut(text, integer); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.cut(_text text, _most integer) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _line text := regexp_replace(left(_text, _most * 20), '\s*[\n\r]\s*', ' ', 'g');
BEGIN
    RETURN CASE WHEN char_length(_line) > _most THEN left(_line, _most - 3) || '...' ELSE _line END;
END $$;


ALTER FUNCTION df_engine.cut(_text text, _most integer) OWNER TO perdure_owner;

--
-- Name: dblink_schema(); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.dblink_schema() RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN (SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
            WHERE e.extname = 'dblink');
END $$;


ALTER FUNCTION df_engine.dblink_schema() OWNER TO perdure_owner;

--
-- Name: dead_sessions_v1(bigint, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.dead_sessions_v1(_worker_id bigint, _key text) RETURNS TABLE(worker_id bigint, owner_name text, backend_pid integer, backend_start timestamp with time zone)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE
    _w df_engine.workers := df_engine.worker_of(_worker_id, _key);
BEGIN
    RETURN QUERY
        SELECT s.worker_id, coalesce(x.rolname, r.rolname)::text, s.backend_pid, s.backend_start
        FROM df_engine.sessions s JOIN pg_roles r ON r.oid = s.owner
        LEFT JOIN df_engine.proxies p ON p.owner = s.owner
        LEFT JOIN pg_roles x ON x.oid = p.login
        WHERE df_engine.serves(_w, s.owner) AND NOT EXISTS (
            SELECT FROM df_engine.workers w WHERE w.worker_id = s.worker_id
              AND w.beat_at > clock_timestamp() - make_interval(secs => w.lease_seconds));
END $$;


ALTER FUNCTION df_engine.dead_sessions_v1(_worker_id bigint, _key text) OWNER TO perdure_owner;

--
-- Name: deregister_v1(bigint, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.deregister_v1(_worker_id bigint, _key text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _w df_engine.workers := df_engine.worker_of(_worker_id, _key);
BEGIN
    PERFORM df_engine.release_v1(_worker_id, _key,
        ARRAY(SELECT t.token_hash FROM df_engine.tasks t WHERE t.worker_id = _worker_id));
    DELETE FROM df_engine.sessions s WHERE s.worker_id = _worker_id;
    DELETE FROM df_engine.role_blocks s WHERE s.worker_id = _worker_id;
    DELETE FROM df_engine.workers w WHERE w.worker_id = _worker_id;
END $$;


ALTER FUNCTION df_engine.deregister_v1(_worker_id bigint, _key text) OWNER TO perdure_owner;

--
-- Name: drain_inbox(integer, regrole); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.drain_inbox(_most integer, _owner regrole) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _c record;
    _n integer;
    _looked integer;
    _drained integer := 0;
    _locked boolean := false;
BEGIN
    LOOP
        _looked := 0;
        FOR _c IN SELECT m.bucket, m.instance_id, count(*)::integer AS messages
                  FROM (SELECT k.bucket, k.instance_id FROM df_engine.inbox k
                        WHERE _owner IS NULL OR EXISTS (
                            SELECT FROM df_engine.instances i
                            WHERE i.bucket = k.bucket AND i.instance_id = k.instance_id AND i.owner = _owner)
                        ORDER BY k.message_id LIMIT _most) m
                  GROUP BY m.bucket, m.instance_id LOOP
            _looked := _looked + _c.messages;
            _n := df_engine.drain_instance(_c.bucket, _c.instance_id);
            _drained := _drained + coalesce(_n, 0);
            _locked := _locked OR _n IS NULL;
        END LOOP;
        EXIT WHEN _drained > 0 OR NOT _locked OR _looked < _most;
        _most := _most * 10;
    END LOOP;
    RETURN _drained;
END $$;


ALTER FUNCTION df_engine.drain_inbox(_most integer, _owner regrole) OWNER TO perdure_owner;

--
-- Name: drain_instance(smallint, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.drain_instance(_bucket smallint, _instance_id text) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


ALTER FUNCTION df_engine.drain_instance(_bucket smallint, _instance_id text) OWNER TO perdure_owner;

--
-- Name: drawn(text, text[]); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.drawn(_graph text, _states text[]) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _nodes df_engine.drawable[] := ARRAY(
        SELECT (g.index, g.node_type, g.query, g.result_name, g.left_index, g.right_index, g.condition_index,
                g.extra_indexes)::df_engine.drawable
        FROM df_engine.graph_nodes(_graph) g ORDER BY g.index);
    _stack df_engine.drawing[] := ARRAY[(0, '', '', '', false)::df_engine.drawing];
    _top integer := 1;
    _n df_engine.drawable;
    _d df_engine.drawing;
    _next df_engine.drawing[];
    _lines text[] := '{}';
    _width integer;
BEGIN
    WHILE _top > 0 LOOP
        _d := _stack[_top];
        _top := _top - 1;
        IF _d.index IS NULL THEN
            _lines := _lines || _d.prefix;
            CONTINUE;
        END IF;
        _n := _nodes[_d.index + 1];
        IF _n.node_type <> 'THEN' THEN
            _lines := _lines || concat(
                _d.prefix, _d.connector,
                df_engine.node_words(_n.node_type, _n.query, 2 + coalesce(cardinality(_n.extra_indexes), 0),
                                     _n.condition_index IS NOT NULL),
                ' |=> ''' || _n.result_name || '''', _d.names, df_engine.status_marker(_states[_n.index + 1]));
        END IF;
        _next := df_engine.sections(_n, _d);
        FOR _section IN REVERSE coalesce(cardinality(_next), 0) .. 1 LOOP
            _top := _top + 1;
            _stack[_top] := _next[_section];
        END LOOP;
    END LOOP;
    SELECT max(char_length(l)) + 4 INTO _width FROM unnest(_lines) l;
    RETURN (SELECT string_agg(rpad(l.line, _width), E'\n' ORDER BY l.ordinality)
            FROM unnest(_lines) WITH ORDINALITY AS l (line, ordinality));
END $$;


ALTER FUNCTION df_engine.drawn(_graph text, _states text[]) OWNER TO perdure_owner;

--
-- Name: drop_work(smallint, text, integer[]); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.drop_work(_bucket smallint, _instance_id text, _seqs integer[]) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


ALTER FUNCTION df_engine.drop_work(_bucket smallint, _instance_id text, _seqs integer[]) OWNER TO perdure_owner;

--
-- Name: end_instance_waits(integer, regrole); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.end_instance_waits(_most integer, _owner regrole) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


ALTER FUNCTION df_engine.end_instance_waits(_most integer, _owner regrole) OWNER TO perdure_owner;

--
-- Name: end_launch(text, text, integer, boolean); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.end_launch(_dblink text, _name text, _slot integer, _cancelled boolean) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
    _open text[];
BEGIN
    EXECUTE format('SELECT %s.dblink_get_connections()', _dblink) INTO _open;
    IF _name = ANY (_open) THEN
        EXECUTE format('SELECT %s.dblink_disconnect($1)', _dblink) USING _name;
    END IF;
    IF _slot IS NOT NULL THEN
        PERFORM pg_advisory_unlock(1346982470, _slot);
    ELSIF _cancelled THEN -- perhaps between the lock and knowing of it
        PERFORM pg_advisory_unlock(l.classid::integer, l.objid::integer) FROM pg_locks l
            WHERE l.locktype = 'advisory' AND l.pid = pg_backend_pid() AND l.classid = 1346982470 AND l.objsubid = 2;
    END IF;
END $_$;


ALTER FUNCTION df_engine.end_launch(_dblink text, _name text, _slot integer, _cancelled boolean) OWNER TO perdure_owner;

--
-- Name: end_wait(smallint, text, integer); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.end_wait(_bucket smallint, _instance_id text, _seq integer) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


ALTER FUNCTION df_engine.end_wait(_bucket smallint, _instance_id text, _seq integer) OWNER TO perdure_owner;

--
-- Name: ensure_turn(df_engine.instances, bigint, bytea, timestamp with time zone); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.ensure_turn(_i df_engine.instances, _worker_id bigint, _token_hash bytea, _now timestamp with time zone) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    INSERT INTO df_engine.tasks (bucket, instance_id, seq, execution_id, lane, kind, owner, database, queue, interpreter,
                                 queued_at, visible_at, worker_id, token_hash, leased_at)
        VALUES (_i.bucket, _i.instance_id, 0, _i.execution_id, 'turn', 'turn', _i.owner, _i.database, _i.queue,
                _i.interpreter, _now, _now, _worker_id, _token_hash, CASE WHEN _worker_id IS NOT NULL THEN _now END)
        ON CONFLICT (bucket, instance_id, seq) DO NOTHING;
    RETURN FOUND;
END $$;


ALTER FUNCTION df_engine.ensure_turn(_i df_engine.instances, _worker_id bigint, _token_hash bytea, _now timestamp with time zone) OWNER TO perdure_owner;

--
-- Name: explain_kind(text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.explain_kind(_input text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
    _json jsonb;
BEGIN
    IF _input ~ '^([0-9a-fA-F]{8}|[0-9a-f]{12}|[0-9a-f]{32})$' THEN
        RETURN 'instance';
    ELSIF df_engine.looks_like_json(_input) THEN
        _json := df_engine.parsed(_input, 'Failed to parse Durofut JSON');
        IF jsonb_typeof(_json) = 'object' AND jsonb_typeof(_json -> 'node_type') = 'string' THEN
            RETURN 'envelope';
        END IF;
    END IF;
    -- Before the markers, which SQL may well contain (@> is jsonb's own): no expression begins with one of these words.
    IF _input ~* '^(select|insert|update|delete|with|create|alter|drop|call|do|truncate|grant|revoke|explain)\s' THEN
        RETURN 'sql';
    ELSIF _input ~ '~>|\|=>|\?>|!>|@>|df\.' THEN
        RETURN 'expression';
    END IF;
    RETURN NULL;
END $_$;


ALTER FUNCTION df_engine.explain_kind(_input text) OWNER TO perdure_owner;

--
-- Name: explained(text, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.explained(_kind text, _input text) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _problem text;
BEGIN
    IF _kind = 'instance' THEN
        RETURN df_engine.explained_instance(lower(_input));
    ELSIF _kind = 'sql' THEN
        RETURN df_engine.drawn(df_engine.leaf('SQL', _input), NULL);
    ELSIF _kind IS NULL THEN
        RETURN 'Cannot explain input: it is no instance id, no workflow, no expression with df.* calls or operators, and no '
            || 'SQL statement: ' || df_engine.cut(_input, 100);
    ELSIF _input IS NULL THEN
        RETURN 'Expression returned NULL';
    END IF;
    BEGIN
        IF df_engine.explain_kind(_input) IS DISTINCT FROM 'envelope' THEN
            RETURN 'Failed to parse Durofut JSON: the expression gave no workflow but ' || df_engine.cut(_input, 100);
        END IF;
    EXCEPTION WHEN SQLSTATE 'DF102' THEN
        RETURN SQLERRM;
    END;
    RETURN coalesce(df_engine.graph_problem(_input), df_engine.drawn(_input, NULL));
END $$;


ALTER FUNCTION df_engine.explained(_kind text, _input text) OWNER TO perdure_owner;

--
-- Name: explained_instance(text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.explained_instance(_instance_id text) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _i record;
    _output text;
BEGIN
    SELECT * INTO _i FROM df_engine.visible_instances v
        WHERE v.bucket = df_engine.bucket_of(_instance_id) AND v.instance_id = _instance_id;
    IF NOT FOUND THEN
        RETURN format('Instance ''%s'' not found', _instance_id);
    END IF;
    _output := df_engine.visible_outcome(_i.bucket, _i.instance_id, _i.execution_id, _i.head_seq, _i.status);
    RETURN concat(
        'Instance: ', _i.instance_id, ' (' || _i.label || ')', E'\n',
        'Status:   ', CASE _i.status WHEN 'completed' THEN '✓' WHEN 'running' THEN '⏳' WHEN 'pending' THEN '○' ELSE '✗' END,
        ' ', initcap(_i.status), E'\n',
        'Output:   ' || df_engine.cut(_output, 60) || E'\n',
        E'\n',
        df_engine.drawn(_i.graph, ARRAY(
            SELECT CASE WHEN _i.status = 'cancelled' AND n.inferred = 'running' THEN 'cancelled' ELSE n.inferred END
            FROM df_engine.inferred_nodes(_instance_id) n ORDER BY n.index)));
END $$;


ALTER FUNCTION df_engine.explained_instance(_instance_id text) OWNER TO perdure_owner;

--
-- Name: fail_v1(bigint, text, smallint, text, integer, text, text, double precision, boolean, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.fail_v1(_worker_id bigint, _key text, _bucket smallint, _instance_id text, _seq integer, _token text, _failure text, _delay double precision, _counts boolean, _turn_token text, OUT outcome text, OUT head integer, OUT clock timestamp with time zone) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '5s'
    AS $$
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


ALTER FUNCTION df_engine.fail_v1(_worker_id bigint, _key text, _bucket smallint, _instance_id text, _seq integer, _token text, _failure text, _delay double precision, _counts boolean, _turn_token text, OUT outcome text, OUT head integer, OUT clock timestamp with time zone) OWNER TO perdure_owner;

--
-- Name: fields_problem(jsonb); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.fields_problem(node jsonb) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
    _extra jsonb := node -> 'extra_nodes';
BEGIN
    RETURN CASE
        WHEN node -> 'node_type' IS NULL THEN 'missing field `node_type`'
        WHEN jsonb_typeof(node -> 'node_type') <> 'string' THEN 'node_type must be a string'
        WHEN jsonb_typeof(node -> 'query') NOT IN ('string', 'null') THEN 'query must be a string'
        WHEN jsonb_typeof(node -> 'result_name') NOT IN ('string', 'null') THEN 'result_name must be a string'
        WHEN jsonb_typeof(node -> 'left_node') NOT IN ('object', 'null')
            OR jsonb_typeof(node -> 'right_node') NOT IN ('object', 'null') THEN 'Durofut children must be JSON objects'
        WHEN jsonb_typeof(node -> 'condition_node') NOT IN ('object', 'null')
            THEN 'condition_node must be a Durofut JSON object'
        WHEN _extra IS NULL OR jsonb_typeof(_extra) = 'null' THEN NULL
        WHEN jsonb_typeof(_extra) <> 'array' THEN 'extra_nodes must be an array of Durofut JSON objects'
        WHEN jsonb_path_exists(_extra, 'strict $[*] ? (@.type() <> "object")')
            THEN 'extra_nodes entries must be Durofut JSON objects'
    END;
END $_$;


ALTER FUNCTION df_engine.fields_problem(node jsonb) OWNER TO perdure_owner;

--
-- Name: finish(smallint, text, integer, text, text, text, integer, integer, text[], text[], integer, text, text, text, text, text, text, regrole); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.finish(_bucket smallint, _instance_id text, _seq integer, _token text, _result text, _completed text, _execution_id integer, _head integer, _kinds text[], _payloads text[], _next_seq integer, _next_lane text, _next_kind text, _next_input text, _next_token text, _end_status text, _turn_token text, _login regrole, OUT outcome text, OUT head integer, OUT clock timestamp with time zone) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '1s'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
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


ALTER FUNCTION df_engine.finish(_bucket smallint, _instance_id text, _seq integer, _token text, _result text, _completed text, _execution_id integer, _head integer, _kinds text[], _payloads text[], _next_seq integer, _next_lane text, _next_kind text, _next_input text, _next_token text, _end_status text, _turn_token text, _login regrole, OUT outcome text, OUT head integer, OUT clock timestamp with time zone) OWNER TO perdure_owner;

--
-- Name: finish_step(smallint, text, integer, text, text, text, integer, integer, text[], text[], integer, text, text, text, text, text, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.finish_step(_bucket smallint, _instance_id text, _seq integer, _token text, _result text, _completed text, _execution_id integer, _head integer, _kinds text[], _payloads text[], _next_seq integer, _next_lane text, _next_kind text, _next_input text, _next_token text, _end_status text, _turn_token text) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '1s'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
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


ALTER FUNCTION df_engine.finish_step(_bucket smallint, _instance_id text, _seq integer, _token text, _result text, _completed text, _execution_id integer, _head integer, _kinds text[], _payloads text[], _next_seq integer, _next_lane text, _next_kind text, _next_input text, _next_token text, _end_status text, _turn_token text) OWNER TO perdure_owner;

--
-- Name: finish_step_v1(smallint, text, integer, text, text, integer, integer, text[], text[], integer, text, text, text, text, text, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.finish_step_v1(_bucket smallint, _instance_id text, _seq integer, _token text, _completed text, _execution_id integer, _head integer, _kinds text[], _payloads text[], _next_seq integer, _next_lane text, _next_kind text, _next_input text, _next_token text, _end_status text, _turn_token text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN df_engine.finish_step(_bucket, _instance_id, _seq, _token, NULL, _completed, _execution_id, _head,
        _kinds, _payloads, _next_seq, _next_lane, _next_kind, _next_input, _next_token, _end_status, _turn_token);
END $$;


ALTER FUNCTION df_engine.finish_step_v1(_bucket smallint, _instance_id text, _seq integer, _token text, _completed text, _execution_id integer, _head integer, _kinds text[], _payloads text[], _next_seq integer, _next_lane text, _next_kind text, _next_input text, _next_token text, _end_status text, _turn_token text) OWNER TO perdure_owner;

--
-- Name: finish_v1(text, smallint, text, integer, text, text, text, integer, integer, text[], text[], integer, text, text, text, text, text, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.finish_v1(_xid text, _bucket smallint, _instance_id text, _seq integer, _token text, _result text, _completed text, _execution_id integer, _head integer, _kinds text[], _payloads text[], _next_seq integer, _next_lane text, _next_kind text, _next_input text, _next_token text, _end_status text, _turn_token text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF pg_current_xact_id_if_assigned()::text IS DISTINCT FROM _xid THEN
        RAISE EXCEPTION 'df: the step ended its own transaction; what it committed before stays committed'
            USING ERRCODE = 'DF001';
    END IF;
    EXECUTE 'RESET statement_timeout'; -- the next step's first message would begin under it
    RETURN df_engine.finish_step(_bucket, _instance_id, _seq, _token, _result, _completed, _execution_id, _head,
        _kinds, _payloads, _next_seq, _next_lane, _next_kind, _next_input, _next_token, _end_status, _turn_token);
END $$;


ALTER FUNCTION df_engine.finish_v1(_xid text, _bucket smallint, _instance_id text, _seq integer, _token text, _result text, _completed text, _execution_id integer, _head integer, _kinds text[], _payloads text[], _next_seq integer, _next_lane text, _next_kind text, _next_input text, _next_token text, _end_status text, _turn_token text) OWNER TO perdure_owner;

--
-- Name: fire_instance(smallint, text, timestamp with time zone); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.fire_instance(_bucket smallint, _instance_id text, _now timestamp with time zone) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


ALTER FUNCTION df_engine.fire_instance(_bucket smallint, _instance_id text, _now timestamp with time zone) OWNER TO perdure_owner;

--
-- Name: fire_timers(integer, regrole); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.fire_timers(_most integer, _owner regrole) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _c record;
    _now timestamptz := clock_timestamp();
    _n integer;
    _looked integer;
    _fired integer := 0;
    _locked boolean := false;
BEGIN
    LOOP
        _looked := 0;
        FOR _c IN SELECT d.bucket, d.instance_id, count(*)::integer AS timers
                  FROM (SELECT t.bucket, t.instance_id FROM df_engine.timers t
                        WHERE t.due_at <= _now AND (_owner IS NULL OR EXISTS (
                            SELECT FROM df_engine.instances i
                            WHERE i.bucket = t.bucket AND i.instance_id = t.instance_id AND i.owner = _owner))
                        ORDER BY t.due_at LIMIT _most) d
                  GROUP BY d.bucket, d.instance_id LOOP
            _looked := _looked + _c.timers;
            _n := df_engine.fire_instance(_c.bucket, _c.instance_id, _now);
            _fired := _fired + coalesce(_n, 0);
            _locked := _locked OR _n IS NULL;
        END LOOP;
        EXIT WHEN _fired > 0 OR NOT _locked OR _looked < _most;
        _most := _most * 10;
    END LOOP;
    RETURN _fired;
END $$;


ALTER FUNCTION df_engine.fire_timers(_most integer, _owner regrole) OWNER TO perdure_owner;

--
-- Name: forget_sessions_v1(bigint, text, bigint, integer[]); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.forget_sessions_v1(_worker_id bigint, _key text, _dead bigint, _pids integer[]) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _w df_engine.workers := df_engine.worker_of(_worker_id, _key);
BEGIN
    DELETE FROM df_engine.sessions s WHERE s.worker_id = _dead AND s.backend_pid = ANY (_pids)
        AND df_engine.serves(_w, s.owner);
END $$;


ALTER FUNCTION df_engine.forget_sessions_v1(_worker_id bigint, _key text, _dead bigint, _pids integer[]) OWNER TO perdure_owner;

--
-- Name: free_connections(boolean); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.free_connections(_serves_all boolean) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


ALTER FUNCTION df_engine.free_connections(_serves_all boolean) OWNER TO perdure_owner;

--
-- Name: function_name(); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.function_name() RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 'pg_durable::orchestration::execute-function-graph'::text;


ALTER FUNCTION df_engine.function_name() OWNER TO perdure_owner;

--
-- Name: grant_functions(text[], text, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.grant_functions(names text[], role_name text, suffix text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _function regprocedure;
BEGIN
    FOR _function IN SELECT * FROM df_engine.sensitive_functions(names) LOOP
        PERFORM df_engine.require_grant_option(_function);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I%s', _function, role_name, suffix);
    END LOOP;
END $$;


ALTER FUNCTION df_engine.grant_functions(names text[], role_name text, suffix text) OWNER TO perdure_owner;

--
-- Name: graph_nodes(text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.graph_nodes(_graph text) RETURNS TABLE(index integer, node_type text, query text, result_name text, left_index integer, right_index integer, condition_index integer, extra_indexes integer[])
    LANGUAGE plpgsql IMMUTABLE ROWS 100
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH RECURSIVE walk (node, path) AS (
        SELECT _graph::jsonb, '{}'::integer[]
        UNION ALL
        SELECT c.node, w.path || c.place
        FROM walk w
        CROSS JOIN LATERAL (
            SELECT v.place, v.node
            FROM (VALUES (1, w.node->'left_node'), (2, w.node->'right_node'), (3, w.node->'condition_node')) AS v (place, node)
            WHERE jsonb_typeof(v.node) = 'object'
            UNION ALL
            SELECT 3 + e.ordinality::integer, e.value
            FROM jsonb_array_elements(CASE jsonb_typeof(w.node->'extra_nodes') WHEN 'array' THEN w.node->'extra_nodes' END)
                 WITH ORDINALITY e
        ) c
    ), numbered AS (
        SELECT w.path, (row_number() OVER (ORDER BY w.path) - 1)::integer AS index, w.node->>'node_type' AS node_type,
               w.node->>'query' AS query, w.node->>'result_name' AS result_name
        FROM walk w
    ), children AS (
        SELECT trim_array(n.path, 1) AS path,
               max(n.index) FILTER (WHERE n.path[cardinality(n.path)] = 1) AS l,
               max(n.index) FILTER (WHERE n.path[cardinality(n.path)] = 2) AS r,
               max(n.index) FILTER (WHERE n.path[cardinality(n.path)] = 3) AS c,
               array_agg(n.index ORDER BY n.index) FILTER (WHERE n.path[cardinality(n.path)] > 3) AS e
        FROM numbered n WHERE n.path <> '{}' GROUP BY 1
    )
    SELECT n.index, n.node_type, n.query, n.result_name, k.l, k.r, k.c, k.e
    FROM numbered n LEFT JOIN children k ON k.path = n.path
    ORDER BY n.index;
END $$;


ALTER FUNCTION df_engine.graph_nodes(_graph text) OWNER TO perdure_owner;

--
-- Name: graph_problem(text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.graph_problem(graph text) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _node jsonb;
BEGIN
    IF df_engine.looks_like_json(graph) THEN
        _node := df_engine.parsed(graph, 'Failed to parse Durofut JSON');
    END IF;
    IF (jsonb_typeof(_node) = 'object' AND jsonb_typeof(_node -> 'node_type') = 'string') IS NOT TRUE THEN
        RETURN NULL;
    END IF;
    RETURN 'Invalid durable function graph: ' || df_engine.tree_problem(_node, df_engine.max_graph_nodes(graph));
EXCEPTION WHEN SQLSTATE 'DF102' THEN
    RETURN SQLERRM;
END $$;


ALTER FUNCTION df_engine.graph_problem(graph text) OWNER TO perdure_owner;

--
-- Name: headers_problem(jsonb); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.headers_problem(headers jsonb) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _name text;
BEGIN
    IF coalesce(jsonb_typeof(headers), 'null') = 'null' THEN
        RETURN NULL;
    ELSIF jsonb_typeof(headers) <> 'object' THEN
        RETURN 'headers must be a JSON object of strings, not ' || jsonb_typeof(headers);
    END IF;
    SELECT h.key INTO _name FROM jsonb_each(headers) AS h WHERE jsonb_typeof(h.value) <> 'string' LIMIT 1;
    RETURN format('header ''%s'' must be a string, not ', _name) || jsonb_typeof(headers -> _name);
END $$;


ALTER FUNCTION df_engine.headers_problem(headers jsonb) OWNER TO perdure_owner;

--
-- Name: hello_v1(); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.hello_v1() RETURNS json
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN json_build_object(
        'max_result_bytes', df_engine.setting('max_result_bytes')::bigint,
        'max_user_connections', df_engine.setting('max_user_connections')::integer,
        'execution_acquire_timeout', df_engine.setting('execution_acquire_timeout')::integer,
        'reconcile_interval', df_engine.setting('reconcile_interval')::double precision,
        'retry_total_seconds', df_engine.setting('retry_total_seconds')::double precision,
        'service', EXISTS (SELECT FROM df_engine.service_logins s WHERE s.login = quote_ident(session_user)::regrole)
                   OR (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = session_user));
END $$;


ALTER FUNCTION df_engine.hello_v1() OWNER TO perdure_owner;

--
-- Name: history_is_append_only(); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.history_is_append_only() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF TG_OP = 'DELETE' AND pg_catalog.current_setting('df_engine.pruning', true) = 'on' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'df_engine.history is append-only: % refused', TG_OP USING ERRCODE = 'DF009';
END $$;


ALTER FUNCTION df_engine.history_is_append_only() OWNER TO perdure_owner;

--
-- Name: http_config_problem(text, jsonb); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.http_config_problem(node_type text, config jsonb) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN CASE
        WHEN NOT df_engine.is_filled(config -> 'url') THEN 'url must be a non-empty string'
        WHEN jsonb_typeof(config -> 'method') NOT IN ('string', 'null') THEN 'method must be a string'
        WHEN jsonb_typeof(config -> 'body') NOT IN ('string', 'null') THEN 'body must be a string or null'
        WHEN node_type = 'HTTP_MULTIPART' AND (jsonb_typeof(config -> 'parts') = 'array') IS NOT TRUE
            THEN 'parts must be a JSON array of part objects'
        ELSE df_engine.headers_problem(config -> 'headers')
    END;
END $$;


ALTER FUNCTION df_engine.http_config_problem(node_type text, config jsonb) OWNER TO perdure_owner;

--
-- Name: http_may_call(regrole, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.http_may_call(_role regrole, _signature text) RETURNS boolean
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN coalesce(has_function_privilege(_role::oid, to_regprocedure(_signature)::oid, 'EXECUTE'), false)
       AND EXISTS (SELECT FROM pg_roles r WHERE r.oid = _role);
END $$;


ALTER FUNCTION df_engine.http_may_call(_role regrole, _signature text) OWNER TO perdure_owner;

--
-- Name: http_policy_v1(regrole); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.http_policy_v1(_owner regrole) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF NOT df_engine.may_ask_about(_owner) THEN
        RAISE EXCEPTION 'permission denied: "%" does not serve this role', session_user USING ERRCODE = '42501';
    END IF;
    RETURN json_build_object(
        'role', (SELECT r.rolname FROM pg_roles r WHERE r.oid = _owner),
        'enabled', df_engine.setting('http_enabled')::boolean,
        'may_http', df_engine.http_may_call(_owner, 'df.http(text,text,text,jsonb,integer)'),
        'may_multipart', df_engine.http_may_call(_owner, 'df.http_multipart(text,text,jsonb,jsonb,integer)'),
        'limits', json_build_object(
            'max_request_bytes', df_engine.setting('http_max_request_bytes')::bigint,
            'max_response_bytes', df_engine.setting('http_max_response_bytes')::bigint),
        'rules', df_engine.http_rules(_owner));
END $$;


ALTER FUNCTION df_engine.http_policy_v1(_owner regrole) OWNER TO perdure_owner;

--
-- Name: http_rule_checked(); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.http_rule_checked() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _problem text;
BEGIN
    NEW.host := rtrim(lower(NEW.host), '.');
    NEW.port_low := coalesce(NEW.port_low, NEW.port_high);
    NEW.port_high := coalesce(NEW.port_high, NEW.port_low);
    _problem := df_engine.http_rule_problem(NEW);
    IF _problem IS NOT NULL THEN
        RAISE EXCEPTION 'Invalid http_policy rule for host %: %', coalesce(quote_literal(NEW.host), 'NULL'), _problem
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;


ALTER FUNCTION df_engine.http_rule_checked() OWNER TO perdure_owner;

--
-- Name: http_rule_concerns(text, regrole); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.http_rule_concerns(role_name text, _role regrole) RETURNS boolean
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN role_name IS NULL OR EXISTS (
        SELECT FROM pg_roles r JOIN pg_roles me ON me.oid = _role
        WHERE r.rolname = role_name
          AND (r.oid = me.oid OR (NOT me.rolsuper AND pg_has_role(me.oid, r.oid, 'USAGE'))));
END $$;


ALTER FUNCTION df_engine.http_rule_concerns(role_name text, _role regrole) OWNER TO perdure_owner;

--
-- Name: http_policy; Type: TABLE; Schema: df_engine; Owner: perdure_owner
--

CREATE TABLE df_engine.http_policy (
    rule_no integer NOT NULL,
    role_name text,
    action text NOT NULL,
    host text,
    network cidr,
    port_low integer,
    port_high integer,
    note text,
    CONSTRAINT http_policy_action_check CHECK ((action = ANY (ARRAY['allow'::text, 'deny'::text]))),
    CONSTRAINT http_policy_port_high_check CHECK (((port_high >= 1) AND (port_high <= 65535))),
    CONSTRAINT http_policy_port_low_check CHECK (((port_low >= 1) AND (port_low <= 65535)))
);


ALTER TABLE df_engine.http_policy OWNER TO perdure_owner;

--
-- Name: http_rule_problem(df_engine.http_policy); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.http_rule_problem(rule df_engine.http_policy) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
BEGIN
    RETURN CASE
        WHEN rule.host ~ '^\.?[0-9.]+$' OR rule.host ~ ':' THEN 'an address belongs in the column network'
        WHEN length(rule.host) > 253
            OR rule.host !~ '^(\*|\[ip\]|\.?[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*)$'
            THEN 'host must be a name in ASCII, a suffix that begins with a dot, [ip] or *'
        WHEN rule.port_high < rule.port_low THEN 'port_high must not be below port_low'
    END;
END $_$;


ALTER FUNCTION df_engine.http_rule_problem(rule df_engine.http_policy) OWNER TO perdure_owner;

--
-- Name: http_rules(regrole); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.http_rules(_role regrole) RETURNS json
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN (
        SELECT coalesce(
            json_agg(json_build_object(
                'rule_no', p.rule_no, 'action', p.action, 'host', p.host, 'network', p.network,
                'port_low', p.port_low, 'port_high', p.port_high) ORDER BY p.rule_no),
            '[]'::json)
        FROM df_engine.http_policy p
        WHERE df_engine.http_rule_concerns(p.role_name, _role));
END $$;


ALTER FUNCTION df_engine.http_rules(_role regrole) OWNER TO perdure_owner;

--
-- Name: idle_v1(bigint, text, boolean); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.idle_v1(_worker_id bigint, _key text, _idle boolean) RETURNS double precision
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _w df_engine.workers := df_engine.worker_of(_worker_id, _key);
    _next timestamptz;
BEGIN
    UPDATE df_engine.workers w SET idle = _idle, beat_at = clock_timestamp() WHERE w.worker_id = _worker_id;
    -- What was due a while ago is locked by somebody, or it would have gone: the next poll looks again.
    IF _idle AND _w.serves_all THEN
        SELECT least((SELECT min(t.due_at) FROM df_engine.timers t
                      WHERE t.due_at > clock_timestamp() - interval '0.2 seconds'),
                     (SELECT min(t.visible_at)
                      FROM (SELECT visible_at FROM df_engine.tasks WHERE worker_id IS NULL
                            ORDER BY lane, task_no LIMIT 500) t
                      WHERE t.visible_at > clock_timestamp())) INTO _next;
    ELSIF _idle THEN
        SELECT least((SELECT min(t.due_at) FROM df_engine.timers t
                      JOIN df_engine.instances i ON i.bucket = t.bucket AND i.instance_id = t.instance_id
                      WHERE t.due_at > clock_timestamp() - interval '0.2 seconds' AND i.owner = _w.login),
                     (SELECT min(t.visible_at)
                      FROM (SELECT visible_at, owner FROM df_engine.tasks WHERE worker_id IS NULL
                            ORDER BY lane, task_no LIMIT 500) t
                      WHERE t.visible_at > clock_timestamp() AND t.owner = _w.login)) INTO _next;
    END IF;
    RETURN CASE WHEN isfinite(_next) THEN extract(epoch FROM _next - clock_timestamp())::double precision END;
END $$;


ALTER FUNCTION df_engine.idle_v1(_worker_id bigint, _key text, _idle boolean) OWNER TO perdure_owner;

--
-- Name: inferred_nodes(text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.inferred_nodes(_instance_id text) RETURNS TABLE(index integer, node_type text, query text, result_name text, left_index integer, right_index integer, condition_index integer, extra_indexes integer[], status text, stamp text, detail json, marked_at timestamp with time zone, inferred text, inferred_from integer)
    LANGUAGE plpgsql STABLE ROWS 100
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
    _n record;
    _ended integer[];
    _latest integer[];
    _latest_generation integer[];
    _own integer;
    _child integer;
BEGIN
    IF _instance_id !~ '^[0-9a-f]{8,32}$' THEN
        RETURN;
    END IF;
    FOR _n IN
        WITH nodes AS (
            SELECT n.* FROM df_engine.visible_instances i
            CROSS JOIN LATERAL df_engine.nodes_of(i.bucket, i.instance_id, i.execution_id, i.graph) n
            WHERE i.bucket = df_engine.bucket_of(_instance_id) AND i.instance_id = _instance_id
        ), levels AS (
            SELECT s.stamp, l.scope, l.generation, max(l.generation) OVER (PARTITION BY l.scope) AS newest
            FROM (SELECT DISTINCT n.stamp FROM nodes n WHERE n.stamp IS NOT NULL) s
            CROSS JOIN LATERAL df_engine.stamp_levels(s.stamp) l
        ), stamps AS (
            SELECT l.stamp, bool_or(l.generation < l.newest) AS superseded FROM levels l GROUP BY l.stamp
        )
        SELECT n.*, coalesce(t.superseded, false) AS superseded,
               coalesce(substring(n.stamp FROM '::(\d+)$')::integer, 0) AS generation
        FROM nodes n LEFT JOIN stamps t ON t.stamp = n.stamp
        ORDER BY n.index
    LOOP
        _own := _n.index + 1;
        inferred_from := NULL;
        IF _n.status NOT IN ('completed', 'failed') THEN
            inferred_from := _ended[_own];
            inferred := CASE WHEN inferred_from IS NOT NULL THEN 'skipped' ELSE _n.status END;
        ELSIF NOT _n.superseded THEN
            inferred := _n.status;
            _ended[_own] := _n.index;
        ELSE
            inferred := CASE WHEN _ended[_own] IS NOT NULL THEN 'skipped' ELSE 'pending' END;
            inferred_from := coalesce(_ended[_own], _latest[_own]);
        END IF;
        IF _n.generation >= coalesce(_latest_generation[_own], 0) THEN
            _latest[_own] := _n.index;
            _latest_generation[_own] := _n.generation;
        END IF;
        FOREACH _child IN ARRAY array_remove(ARRAY[_n.left_index, _n.right_index, _n.condition_index], NULL)
                                || coalesce(_n.extra_indexes, '{}') LOOP
            _ended[_child + 1] := _ended[_own];
            _latest[_child + 1] := _latest[_own];
            _latest_generation[_child + 1] := _latest_generation[_own];
        END LOOP;
        index := _n.index;
        node_type := _n.node_type;
        query := _n.query;
        result_name := _n.result_name;
        left_index := _n.left_index;
        right_index := _n.right_index;
        condition_index := _n.condition_index;
        extra_indexes := _n.extra_indexes;
        status := _n.status;
        stamp := _n.stamp;
        detail := _n.detail;
        marked_at := _n.marked_at;
        RETURN NEXT;
    END LOOP;
END $_$;


ALTER FUNCTION df_engine.inferred_nodes(_instance_id text) OWNER TO perdure_owner;

--
-- Name: info(text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.info(_instance_id text) RETURNS TABLE(instance_id text, label text, function_name text, function_version text, current_execution_id bigint, status text, output text)
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
#variable_conflict use_column
BEGIN
    IF _instance_id !~ '^[0-9a-f]{8,32}$' THEN
        RETURN;
    END IF;
    RETURN QUERY
        SELECT i.instance_id, i.label, df_engine.function_name(), i.interpreter || '.0.0', i.execution_id::bigint, i.status,
               df_engine.visible_outcome(i.bucket, i.instance_id, i.execution_id, i.head_seq, i.status)
        FROM df_engine.visible_instances i
        WHERE i.bucket = df_engine.bucket_of(_instance_id) AND i.instance_id = _instance_id;
END $_$;


ALTER FUNCTION df_engine.info(_instance_id text) OWNER TO perdure_owner;

--
-- Name: instance_result(smallint, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.instance_result(_bucket smallint, _instance_id text) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


ALTER FUNCTION df_engine.instance_result(_bucket smallint, _instance_id text) OWNER TO perdure_owner;

--
-- Name: observes(name, boolean); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.observes(_role name, _operates boolean) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN EXISTS (SELECT FROM df_engine.observers o JOIN pg_roles r ON r.oid = o.role
                   WHERE (o.operates OR NOT _operates) AND pg_has_role(_role, o.role, 'USAGE'));
END $$;


ALTER FUNCTION df_engine.observes(_role name, _operates boolean) OWNER TO perdure_owner;

--
-- Name: is_admin(regrole); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.is_admin(_role regrole) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN (SELECT (r.rolsuper OR r.rolbypassrls OR df_engine.observes(r.rolname, true)) FROM pg_roles r WHERE (r.oid = (is_admin._role)::oid));


ALTER FUNCTION df_engine.is_admin(_role regrole) OWNER TO perdure_owner;

--
-- Name: is_administrator(); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.is_administrator() RETURNS boolean
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM pg_namespace n JOIN pg_roles r ON r.rolname = current_user
        WHERE n.nspname = 'df' AND (r.rolsuper OR pg_has_role(r.oid, n.nspowner, 'USAGE')));
END $$;


ALTER FUNCTION df_engine.is_administrator() OWNER TO perdure_owner;

--
-- Name: is_envelope(text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.is_envelope(operand text) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _node jsonb := df_engine.parsed(operand, 'Invalid Durofut JSON: failed to deserialize workflow step');
    _problem text;
BEGIN
    IF (jsonb_typeof(_node) = 'object' AND jsonb_typeof(_node -> 'node_type') = 'string') IS NOT TRUE THEN
        RETURN false;
    END IF;
    _problem := df_engine.fields_problem(_node);
    IF _problem IS NOT NULL THEN
        RAISE EXCEPTION 'Invalid Durofut JSON: failed to deserialize workflow step: %', _problem USING ERRCODE = 'DF102';
    END IF;
    RETURN df_engine.is_node_type(_node ->> 'node_type');
END $$;


ALTER FUNCTION df_engine.is_envelope(operand text) OWNER TO perdure_owner;

--
-- Name: is_filled(jsonb); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.is_filled(value jsonb) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN (jsonb_typeof(value) = 'string' AND value <> '""') IS TRUE;
END $$;


ALTER FUNCTION df_engine.is_filled(value jsonb) OWNER TO perdure_owner;

--
-- Name: is_identifier(text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.is_identifier(name text) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE
    AS $_$
BEGIN
    RETURN name OPERATOR(pg_catalog.~) '^[A-Za-z_][A-Za-z0-9_]*$' COLLATE "C";
END $_$;


ALTER FUNCTION df_engine.is_identifier(name text) OWNER TO perdure_owner;

--
-- Name: is_node_type(text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.is_node_type(node_type text) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN node_type IN ('SQL', 'THEN', 'IF', 'JOIN', 'LOOP', 'BREAK', 'RACE', 'SLEEP', 'WAIT_SCHEDULE', 'HTTP',
                         'HTTP_MULTIPART', 'SIGNAL', 'WAIT_INSTANCE');
END $$;


ALTER FUNCTION df_engine.is_node_type(node_type text) OWNER TO perdure_owner;

--
-- Name: is_timeout(jsonb); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.is_timeout(value jsonb) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN CASE coalesce(jsonb_typeof(value), 'null')
        WHEN 'null' THEN true
        WHEN 'number' THEN value::numeric BETWEEN 1 AND 2147483647 AND value::numeric = trunc(value::numeric)
        ELSE false END;
END $$;


ALTER FUNCTION df_engine.is_timeout(value jsonb) OWNER TO perdure_owner;

--
-- Name: iso(timestamp with time zone); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.iso(_at timestamp with time zone) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN to_char((_at AT TIME ZONE 'UTC'::text), 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'::text);


ALTER FUNCTION df_engine.iso(_at timestamp with time zone) OWNER TO perdure_owner;

--
-- Name: kept_by(smallint, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.kept_by(_bucket smallint, _instance_id text) RETURNS TABLE(index integer, waits_for text, name text, due_at timestamp with time zone, since timestamp with time zone, attempt integer, worker_id bigint, reason text)
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        WITH i AS (
            SELECT * FROM df_engine.visible_instances v
            WHERE v.bucket = _bucket AND v.instance_id = _instance_id AND v.ended_at IS NULL
        ), begun AS MATERIALIZED (
            SELECT h.seq, (h.payload::json->>'node')::integer AS index, h.recorded_at
            FROM i JOIN df_engine.visible_history h ON h.bucket = i.bucket AND h.instance_id = i.instance_id
                 AND h.execution_id = i.execution_id AND h.kind IN ('ActivityScheduled', 'TimerSet', 'InstanceAwaited')
        ), timers AS MATERIALIZED (
            SELECT t.seq, b.index, t.due_at, b.recorded_at FROM i
            JOIN df_engine.visible_timers t ON t.bucket = i.bucket AND t.instance_id = i.instance_id
            JOIN begun b ON b.seq = t.seq
        ), signals AS MATERIALIZED (
            SELECT o.* FROM i CROSS JOIN LATERAL df_engine.open_signals(i.bucket, i.instance_id) o
        ), waits AS MATERIALIZED (
            SELECT w.seq, b.index, w.target_id, b.recorded_at FROM i
            JOIN df_engine.visible_waits w ON w.bucket = i.bucket AND w.instance_id = i.instance_id
            JOIN begun b ON b.seq = w.seq
        )
        SELECT NULL::integer, 'parked'::text, NULL::text, NULL::timestamptz, i.updated_at, NULL::integer, NULL::bigint, i.parked
        FROM i WHERE i.parked IS NOT NULL
        UNION ALL
        SELECT b.index,
               CASE WHEN t.seq = 0 THEN 'turn' WHEN t.worker_id IS NOT NULL THEN 'running'
                    WHEN t.visible_at > statement_timestamp() THEN 'retry' ELSE 'queued' END,
               NULL, CASE WHEN t.worker_id IS NULL AND t.visible_at > statement_timestamp() THEN t.visible_at END,
               coalesce(t.leased_at, t.queued_at), t.attempt, t.worker_id,
               CASE WHEN t.worker_id IS NULL THEN
                   coalesce((SELECT min(k.reason) FROM df_engine.visible_role_blocks k WHERE k.owner = i.owner),
                            CASE WHEN NOT EXISTS (
                                SELECT FROM df_engine.visible_workers w
                                WHERE w.alive AND (w.serves_all OR w.login = i.owner) AND w.interpreter >= i.interpreter)
                            THEN 'no worker that serves this workflow is alive' END) END
        FROM i JOIN df_engine.visible_tasks t ON t.bucket = i.bucket AND t.instance_id = i.instance_id
        LEFT JOIN begun b ON b.seq = t.seq
        WHERE i.parked IS NULL OR t.seq > 0
        UNION ALL
        SELECT s.index, 'signal', s.name, t.due_at, s.since, NULL, NULL, NULL
        FROM signals s LEFT JOIN timers t ON t.seq = s.seq + 1 AND t.index = s.index
        UNION ALL
        SELECT w.index, 'instance', w.target_id, t.due_at, w.recorded_at, NULL, NULL, NULL
        FROM waits w LEFT JOIN timers t ON t.seq = w.seq + 1 AND t.index = w.index
        UNION ALL
        SELECT t.index, 'timer', NULL, t.due_at, t.recorded_at, NULL, NULL, NULL
        FROM timers t
        WHERE (t.seq - 1, t.index) NOT IN (SELECT s.seq, s.index FROM signals s UNION ALL SELECT w.seq, w.index FROM waits w);
END $$;


ALTER FUNCTION df_engine.kept_by(_bucket smallint, _instance_id text) OWNER TO perdure_owner;

--
-- Name: launch(text, text, text, text, text, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.launch(_dblink text, _name text, _role text, _fut text, _label text, _database text) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
    _there record;
    _id text;
BEGIN
    EXECUTE format('SELECT %s.dblink_exec($1, $2)', _dblink)
        USING _name, 'SET search_path = pg_catalog, pg_temp'::text;
    EXECUTE format('SELECT %s.dblink_exec($1, $2)', _dblink)
        USING _name, 'SET lock_timeout = 30000; SET statement_timeout = 30000; SET df.in_workflow = ''''; '
                     'SET default_transaction_read_only = off; SET client_min_messages = error'::text;
    EXECUTE format('SELECT * FROM %s.dblink($1, $2) AS t (role text, started text)', _dblink) INTO _there
        USING _name, 'SELECT current_user::text, pg_postmaster_start_time()::timestamptz AT TIME ZONE ''UTC'' '
                     '|| '' '' || current_database()'::text;
    IF _there.role <> _role OR _there.started <> (pg_postmaster_start_time() AT TIME ZONE 'UTC') || ' ' || current_database() THEN
        RAISE EXCEPTION 'df.start() on new transaction failed: the second session is "%" in another place or under another name than "%" here',
            _there.role, _role USING ERRCODE = '42501', HINT = 'Look at new_transaction_dsn in df.settings.';
    END IF;
    EXECUTE format('SELECT * FROM %s.dblink($1, $2) AS t (id text)', _dblink) INTO _id
        USING _name, format('SELECT df.start(%L, %L, %L)', _fut, _label, _database);
    RETURN _id;
END $_$;


ALTER FUNCTION df_engine.launch(_dblink text, _name text, _role text, _fut text, _label text, _database text) OWNER TO perdure_owner;

--
-- Name: launch_problem(text, text, boolean); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.launch_problem(_sqlstate text, _message text, _there boolean) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN CASE
        WHEN NOT _there OR starts_with(_message, 'df.start() on new transaction failed') THEN _message
        WHEN _sqlstate = '55P03' THEN 'df.start() on new transaction: launch hit lock_timeout after 30000ms: ' || _message
        WHEN _sqlstate = '57014' THEN 'df.start() on new transaction: launch hit statement_timeout after 30000ms: ' || _message
        ELSE 'df.start() on new transaction failed: ' || _message END;
END $$;


ALTER FUNCTION df_engine.launch_problem(_sqlstate text, _message text, _there boolean) OWNER TO perdure_owner;

--
-- Name: leaf(text, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.leaf(node_type text, query text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    AS $$
BEGIN
    RETURN pg_catalog.concat('{"node_type":"', node_type, '","query":', pg_catalog.to_json(query), '}');
END $$;


ALTER FUNCTION df_engine.leaf(node_type text, query text) OWNER TO perdure_owner;

--
-- Name: listed(text, text, timestamp with time zone, text, integer); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.listed(_status text, _label text, _after timestamp with time zone, _after_id text, _limit integer) RETURNS TABLE(bucket smallint, instance_id text, label text, status text, created_at timestamp with time zone, ended_at timestamp with time zone, execution_id integer, head_seq integer)
    LANGUAGE plpgsql STABLE ROWS 100
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
BEGIN
    RETURN QUERY EXECUTE concat(
        'SELECT l.bucket, l.instance_id, l.label, l.status, l.created_at, l.ended_at, l.execution_id, l.head_seq FROM ',
        CASE WHEN coalesce(_status, 'completed') = 'completed' THEN 'df_engine.listed_instances l WHERE true'
             ELSE 'df_engine.visible_instances l WHERE l.status <> ''completed''' END,
        CASE WHEN _status IS NOT NULL THEN ' AND l.status = $1' END,
        CASE WHEN NOT df_engine.sees_all() THEN ' AND l.owner = (SELECT quote_ident(current_user)::regrole)' END,
        CASE WHEN _label IS NOT NULL THEN ' AND l.label = $2' END,
        CASE WHEN _after IS NOT NULL THEN ' AND l.created_at <= $3 AND (l.created_at < $3 OR l.instance_id > $4)' END,
        CASE WHEN _status <> 'completed' THEN ' ORDER BY l.created_at DESC, l.instance_id' END,
        ' LIMIT $5')
        USING _status, _label, _after, _after_id, _limit;
END $_$;


ALTER FUNCTION df_engine.listed(_status text, _label text, _after timestamp with time zone, _after_id text, _limit integer) OWNER TO perdure_owner;

--
-- Name: load_v1(bigint, text, json); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.load_v1(_worker_id bigint, _key text, _wanted json) RETURNS TABLE(instance_id text, execution_id integer, head_seq integer, status text, graph text, variables text, label text, database text, owner_name text, events text, clock timestamp with time zone)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


ALTER FUNCTION df_engine.load_v1(_worker_id bigint, _key text, _wanted json) OWNER TO perdure_owner;

--
-- Name: looks_like_json(text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.looks_like_json(operand text) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF operand LIKE '{%' THEN
        RETURN true;
    ELSIF left(operand, 1) NOT IN (' ', E'\t', E'\n', E'\r') THEN
        RETURN false;
    END IF;
    RETURN ltrim(operand, E' \t\n\r') LIKE '{%';
END $$;


ALTER FUNCTION df_engine.looks_like_json(operand text) OWNER TO perdure_owner;

--
-- Name: mark_helper(text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.mark_helper(helper text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    PERFORM set_config('df.non_future_helper', helper || E'\n' || df_engine.statement_micros(), true);
END $$;


ALTER FUNCTION df_engine.mark_helper(helper text) OWNER TO perdure_owner;

--
-- Name: marks(smallint, text, integer); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.marks(_bucket smallint, _instance_id text, _execution_id integer) RETURNS TABLE(index integer, status text, stamp text, detail json, marked_at timestamp with time zone)
    LANGUAGE plpgsql STABLE ROWS 100
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT DISTINCT ON (m.index) m.index,
           CASE m.value->>1 WHEN 'r' THEN 'running' WHEN 'c' THEN 'completed' ELSE 'failed' END,
           _instance_id || coalesce(m.value->>2, '::' || _execution_id), m.value->3, m.recorded_at
    FROM (SELECT (e.value->>0)::integer AS index, e.value, h.seq, h.recorded_at
          FROM df_engine.visible_history h
          CROSS JOIN LATERAL json_array_elements(h.payload::json->'marks') e
          WHERE h.bucket = _bucket AND h.instance_id = _instance_id AND h.execution_id = _execution_id
            AND h.kind = 'TurnTaken') m
    ORDER BY m.index, m.seq DESC;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN;  -- a role's own worker wrote what nobody can read: no node of this workflow has a state
END $$;


ALTER FUNCTION df_engine.marks(_bucket smallint, _instance_id text, _execution_id integer) OWNER TO perdure_owner;

--
-- Name: max_graph_nodes(text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.max_graph_nodes(graph text) RETURNS integer
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    -- The shortest node, `{"node_type":"SQL","query":""}`, has 30 bytes.
    RETURN CASE WHEN octet_length(graph) < 30000 THEN 1000 ELSE df_engine.setting('max_graph_nodes')::integer END;
END $$;


ALTER FUNCTION df_engine.max_graph_nodes(graph text) OWNER TO perdure_owner;

--
-- Name: may_ask_about(regrole); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.may_ask_about(_owner regrole) RETURNS boolean
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _login regrole := quote_ident(session_user)::regrole;
BEGIN
    RETURN _login = _owner OR EXISTS (SELECT FROM df_engine.service_logins s WHERE s.login = _login)
        OR EXISTS (SELECT FROM df_engine.proxies p WHERE p.login = _login AND p.owner = _owner)
        OR EXISTS (SELECT FROM pg_roles r JOIN pg_namespace n ON n.nspname = 'df'
                   WHERE r.oid = _login AND (r.rolsuper OR pg_has_role(r.oid, n.nspowner, 'USAGE')));
END $$;


ALTER FUNCTION df_engine.may_ask_about(_owner regrole) OWNER TO perdure_owner;

--
-- Name: new_id(); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.new_id() RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


ALTER FUNCTION df_engine.new_id() OWNER TO perdure_owner;

--
-- Name: new_transaction_dsn(text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.new_transaction_dsn(_role text) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _dsn text := btrim(df_engine.setting('new_transaction_dsn'));
    _host text;
BEGIN
    IF EXISTS (SELECT FROM pg_foreign_server s WHERE s.srvname = _dsn) THEN
        RETURN _dsn;
    ELSIF _dsn = '' THEN
        _host := df_engine.own_host();
        _dsn := concat('port=', current_setting('port'), ' host=' || df_engine.conninfo_quoted(_host));
    END IF;
    RETURN concat(_dsn, ' application_name=''perdure:backend:new-transaction'' connect_timeout=30 user=',
                  df_engine.conninfo_quoted(_role), ' dbname=', df_engine.conninfo_quoted(current_database()));
END $$;


ALTER FUNCTION df_engine.new_transaction_dsn(_role text) OWNER TO perdure_owner;

--
-- Name: node_id(integer); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.node_id(_index integer) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN lpad(to_hex(((((_index)::bigint * '2654435761'::bigint) + 1540483477) % '4294967296'::bigint)), 8, '0'::text);


ALTER FUNCTION df_engine.node_id(_index integer) OWNER TO perdure_owner;

--
-- Name: node_problem(jsonb); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.node_problem(node jsonb) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _type text := node ->> 'node_type';
    _query text := node ->> 'query';
    _name text := node ->> 'result_name';
    _left boolean := (jsonb_typeof(node -> 'left_node') = 'object') IS TRUE;
    _right boolean := (jsonb_typeof(node -> 'right_node') = 'object') IS TRUE;
    _condition boolean := (jsonb_typeof(node -> 'condition_node') = 'object') IS TRUE;
    _extra boolean := (jsonb_typeof(node -> 'extra_nodes') = 'array' AND node -> 'extra_nodes' <> '[]') IS TRUE;
    _composite boolean := _type IN ('THEN', 'IF', 'JOIN', 'RACE', 'LOOP');
    _problem text;
BEGIN
    IF NOT df_engine.is_node_type(_type) THEN
        RETURN df_engine.unknown_type_problem(_type);
    ELSIF _condition AND _type NOT IN ('IF', 'LOOP') THEN
        RETURN format('condition_node is not valid for %s nodes', _type);
    ELSIF _extra AND _type <> 'JOIN' THEN
        RETURN format('extra_nodes is not valid for %s nodes', _type);
    ELSIF _composite AND _query IS NOT NULL THEN
        _problem := df_engine.composite_query_problem(_type, _query, _condition);
    END IF;
    RETURN CASE
        WHEN _problem IS NOT NULL THEN _problem
        WHEN _composite AND NOT _left THEN format('%s requires left_node', _type)
        WHEN _composite AND _type <> 'LOOP' AND NOT _right THEN format('%s requires right_node', _type)
        WHEN _left AND NOT _composite THEN format('left_node is not valid for %s nodes', _type)
        WHEN _right AND (_type = 'LOOP' OR NOT _composite) THEN format('right_node is not valid for %s nodes', _type)
        WHEN _query IS NULL AND NOT _composite THEN format('%s requires query', _type)
        WHEN _query IS NULL AND _type = 'IF' AND NOT _condition
            THEN 'IF requires condition_node, or a query that asks for result_has_rows'
        WHEN NOT df_engine.is_identifier(_name) THEN format('result_name ''%s'' is not a valid identifier', _name)
        WHEN _type <> 'SQL' AND NOT _composite THEN df_engine.config_problem(_type, _query)
    END;
END $$;


ALTER FUNCTION df_engine.node_problem(node jsonb) OWNER TO perdure_owner;

--
-- Name: node_result(smallint, text, text, json); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.node_result(_bucket smallint, _instance_id text, _status text, _detail json) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN CASE _status WHEN 'completed' THEN df_engine.visible_text(_bucket, _instance_id, _detail)::jsonb
                        WHEN 'failed' THEN to_jsonb(_detail->>'message') END;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN NULL;
END $$;


ALTER FUNCTION df_engine.node_result(_bucket smallint, _instance_id text, _status text, _detail json) OWNER TO perdure_owner;

--
-- Name: node_words(text, text, integer, boolean); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.node_words(_type text, _query text, _branches integer, _has_condition boolean) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _config json;
BEGIN
    IF _type IN ('SIGNAL', 'WAIT_SCHEDULE', 'WAIT_INSTANCE', 'BREAK', 'HTTP', 'HTTP_MULTIPART') THEN
        _config := _query::json;
    END IF;
    RETURN CASE _type
        WHEN 'SQL' THEN 'SQL: ' || df_engine.cut(_query, 50)
        WHEN 'SLEEP' THEN 'SLEEP ' || _query || 's'
        WHEN 'WAIT_SCHEDULE' THEN concat('WAIT ''', _config->>'cron_expr', '''', ' (' || (_config->>'timezone') || ')')
        WHEN 'SIGNAL' THEN concat('SIGNAL ''', _config->>'signal_name', '''', ' (' || (_config->>'timeout_seconds') || 's)')
        WHEN 'WAIT_INSTANCE' THEN
            concat('WAIT INSTANCE ''', _config->>'instance_id', '''', ' (' || (_config->>'timeout_seconds') || 's)')
        WHEN 'LOOP' THEN CASE WHEN _has_condition THEN 'LOOP (while)' ELSE 'LOOP (infinite)' END
        WHEN 'BREAK' THEN concat('BREAK', ' ''' || df_engine.cut(_config->>'break_value', 20) || '''')
        WHEN 'JOIN' THEN format('JOIN (%s)', _branches)
        WHEN 'HTTP' THEN concat('HTTP ', coalesce(_config->>'method', 'POST'), ' ', df_engine.cut(_config->>'url', 40))
        WHEN 'HTTP_MULTIPART' THEN
            concat('HTTP_MULTIPART ', coalesce(_config->>'method', 'POST'), ' ', df_engine.cut(_config->>'url', 40))
        ELSE _type END;
END $$;


ALTER FUNCTION df_engine.node_words(_type text, _query text, _branches integer, _has_condition boolean) OWNER TO perdure_owner;

--
-- Name: nodes_of(smallint, text, integer, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.nodes_of(_bucket smallint, _instance_id text, _execution_id integer, _graph text) RETURNS TABLE(index integer, node_type text, query text, result_name text, left_index integer, right_index integer, condition_index integer, extra_indexes integer[], status text, stamp text, detail json, marked_at timestamp with time zone)
    LANGUAGE plpgsql STABLE ROWS 100
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT g.index, g.node_type, g.query, g.result_name, g.left_index, g.right_index, g.condition_index, g.extra_indexes,
           coalesce(m.status, 'pending'), m.stamp, m.detail, m.marked_at
    FROM df_engine.graph_nodes(_graph) g
    LEFT JOIN df_engine.marks(_bucket, _instance_id, _execution_id) m ON m.index = g.index
    ORDER BY g.index;
END $$;


ALTER FUNCTION df_engine.nodes_of(_bucket smallint, _instance_id text, _execution_id integer, _graph text) OWNER TO perdure_owner;

--
-- Name: on_ingress_cancel(); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.on_ingress_cancel() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
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
END $_$;


ALTER FUNCTION df_engine.on_ingress_cancel() OWNER TO perdure_owner;

--
-- Name: on_ingress_resume(); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.on_ingress_resume() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
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
END $_$;


ALTER FUNCTION df_engine.on_ingress_resume() OWNER TO perdure_owner;

--
-- Name: on_ingress_secret(); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.on_ingress_secret() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
BEGIN
    IF (NEW.name ~ '^[A-Za-z_][A-Za-z0-9_.-]{0,99}$') IS NOT TRUE THEN
        RAISE EXCEPTION 'the name of a secret is made of letters, digits and _ . -, begins with a letter or _, and has at most 100 characters'
            USING ERRCODE = 'DF101';
    ELSIF NEW.op = 'drop' THEN
        DELETE FROM df_engine.secrets s WHERE s.owner = NEW.owner AND s.name = NEW.name;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'there is no secret "%"', NEW.name USING ERRCODE = '42704';
        END IF;
    ELSIF NEW.op = 'set' THEN
        IF octet_length(NEW.sealed) > 100000 THEN
            RAISE EXCEPTION 'secret "%" is longer than 100000 bytes', NEW.name USING ERRCODE = 'DF101';
        END IF;
        INSERT INTO df_engine.secrets (owner, name, sealed, set_at)
            VALUES (NEW.owner, NEW.name, decode(substr(NEW.sealed, 8), 'base64'), clock_timestamp())
            ON CONFLICT (owner, name) DO UPDATE SET sealed = EXCLUDED.sealed, set_at = EXCLUDED.set_at;
    ELSE
        RAISE EXCEPTION 'df.ingress_secrets: op must be set or drop' USING ERRCODE = 'DF101';
    END IF;
    RETURN NEW;
END $_$;


ALTER FUNCTION df_engine.on_ingress_secret() OWNER TO perdure_owner;

--
-- Name: on_ingress_signal(); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.on_ingress_signal() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
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
END $_$;


ALTER FUNCTION df_engine.on_ingress_signal() OWNER TO perdure_owner;

--
-- Name: on_ingress_start(); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.on_ingress_start() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


ALTER FUNCTION df_engine.on_ingress_start() OWNER TO perdure_owner;

--
-- Name: on_ingress_worker(); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.on_ingress_worker() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _service boolean;
    _served regrole := NEW.owner;
BEGIN
    IF NEW.owner IS DISTINCT FROM quote_ident(session_user)::regrole THEN
        RAISE EXCEPTION 'df: a worker registers as the role that it logged in as (% is not %)', NEW.owner, session_user
            USING ERRCODE = '42501';
    END IF;
    _service := EXISTS (SELECT FROM df_engine.service_logins s WHERE s.login = NEW.owner)
                OR (SELECT r.rolsuper FROM pg_roles r WHERE r.oid = NEW.owner);
    IF NEW.only_role IS NOT NULL THEN
        _served := to_regrole(quote_ident(NEW.only_role));
        IF _served IS NULL THEN
            RAISE EXCEPTION 'role "%" does not exist', NEW.only_role USING ERRCODE = '42704';
        ELSIF NOT _service AND _served <> NEW.owner AND NOT EXISTS (
                SELECT FROM df_engine.proxies p WHERE p.login = NEW.owner AND p.owner = _served) THEN
            RAISE EXCEPTION 'df: % may not serve the workflows of %', session_user, NEW.only_role USING ERRCODE = '42501',
                HINT = 'Log in as that role, as its proxy login, or as a login that was given df.grant_worker().';
        END IF;
        _service := false;
    ELSIF NOT _service AND (SELECT count(*) FROM df_engine.workers w WHERE w.login = NEW.owner) >= 1000 THEN
        RAISE EXCEPTION 'df: % has 1000 workers registered already', session_user USING ERRCODE = '53400';
    END IF;
    INSERT INTO df_engine.workers (login, serves_all, key_hash, release, interpreter, host, pid, slots, lease_seconds,
                                   started_at, beat_at)
        VALUES (_served, _service, decode(NEW.key_hash, 'hex'), left(NEW.release, 100), NEW.interpreter, left(NEW.host, 200), NEW.pid,
                NEW.slots, NEW.lease_seconds, clock_timestamp(), clock_timestamp())
        RETURNING worker_id INTO NEW.instance_id;
    RETURN NEW;
END $$;


ALTER FUNCTION df_engine.on_ingress_worker() OWNER TO perdure_owner;

--
-- Name: open_launch(text, text, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.open_launch(_dblink text, _name text, _role text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
    _unchecked regprocedure := to_regprocedure(_dblink || '.dblink_connect_u(text,text)');
    _dsn text := df_engine.new_transaction_dsn(_role);
    _connect text := 'dblink_connect';
    _detail text;
BEGIN
    -- The other function runs as its owner, and would look for that one's user mapping.
    IF has_function_privilege(_unchecked, 'EXECUTE') AND strpos(_dsn, 'user=') > 0 THEN
        _connect := 'dblink_connect_u';
    END IF;
    EXECUTE format('SELECT %s.%I($1, $2)', _dblink, _connect) USING _name, _dsn;
EXCEPTION WHEN others THEN
    GET STACKED DIAGNOSTICS _detail = PG_EXCEPTION_DETAIL;
    RAISE EXCEPTION 'Failed to connect to database ''%'' as ''%'': %', current_database(), _role, SQLERRM
        USING ERRCODE = SQLSTATE, DETAIL = coalesce(_detail, ''),
              HINT = 'transaction_mode => ''new'' opens a second session by dblink, which asks roles that are not superusers '
                     'for a password: an administrator sets new_transaction_dsn in df.settings to a foreign server of '
                     'dblink_fdw that has a user mapping with a password for the role.';
END $_$;


ALTER FUNCTION df_engine.open_launch(_dblink text, _name text, _role text) OWNER TO perdure_owner;

--
-- Name: open_signals(smallint, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.open_signals(_bucket smallint, _instance_id text) RETURNS TABLE(seq integer, index integer, name text, since timestamp with time zone)
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT DISTINCT ON (n.index) a.seq, n.index, a.data->>'name', a.recorded_at
        FROM (SELECT h.seq, h.payload::json AS data, h.recorded_at
              FROM df_engine.visible_instances i
              JOIN df_engine.visible_history h ON h.bucket = i.bucket AND h.instance_id = i.instance_id
                   AND h.execution_id = i.execution_id
              WHERE i.bucket = _bucket AND i.instance_id = _instance_id AND h.kind = 'SignalAwaited') a
        JOIN df_engine.inferred_nodes(_instance_id) n
          ON n.index = (a.data->>'node')::integer AND n.inferred = 'running' AND n.node_type = 'SIGNAL'
        ORDER BY n.index, a.seq DESC;
END $$;


ALTER FUNCTION df_engine.open_signals(_bucket smallint, _instance_id text) OWNER TO perdure_owner;

--
-- Name: opened(text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.opened(node text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _bytes bytea := convert_to(node, getdatabaseencoding());
BEGIN
    RETURN convert_from(substring(_bytes FROM 1 FOR length(_bytes) - 1), getdatabaseencoding());
END $$;


ALTER FUNCTION df_engine.opened(node text) OWNER TO perdure_owner;

--
-- Name: own_host(); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.own_host() RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _sockets text := (SELECT s.setting FROM pg_settings s WHERE s.name = 'unix_socket_directories');
BEGIN
    RETURN coalesce(host(inet_server_addr()), nullif(btrim(split_part(_sockets, ',', 1), ' "'), ''),
                    CASE WHEN current_setting('listen_addresses') <> '' THEN 'localhost' END);
END $$;


ALTER FUNCTION df_engine.own_host() OWNER TO perdure_owner;

--
-- Name: pair(text, text, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.pair(node_type text, left_node text, right_node text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    AS $$
BEGIN
    RETURN pg_catalog.concat('{"node_type":"', node_type, '","left_node":', left_node, ',"right_node":', right_node, '}');
END $$;


ALTER FUNCTION df_engine.pair(node_type text, left_node text, right_node text) OWNER TO perdure_owner;

--
-- Name: park_v1(bigint, text, smallint, text, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.park_v1(_worker_id bigint, _key text, _bucket smallint, _instance_id text, _reason text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '5s'
    AS $$
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


ALTER FUNCTION df_engine.park_v1(_worker_id bigint, _key text, _bucket smallint, _instance_id text, _reason text) OWNER TO perdure_owner;

--
-- Name: parsed(text, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.parsed(value text, prefix text) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
    _json jsonb;
    _why text;
BEGIN
    _json := value::jsonb;
    IF octet_length(value) <= 1200 OR NOT jsonb_path_exists(_json, 'strict $.**{600}') THEN
        RETURN _json;
    END IF;
    RAISE statement_too_complex;
EXCEPTION
    WHEN invalid_text_representation THEN
        RETURN NULL;
    WHEN statement_too_complex OR program_limit_exceeded OR untranslatable_character OR numeric_value_out_of_range THEN
        _why := CASE SQLSTATE
            WHEN '54001' THEN 'Invalid durable function graph: root: graph exceeds the maximum nesting depth of 256'
            ELSE format('%s: %s', prefix, SQLERRM) END;
        IF strpos(value, '"node_type"') > 0 THEN
            RAISE EXCEPTION '%', _why USING ERRCODE = 'DF102';
        END IF;
        RETURN NULL;
END $_$;


ALTER FUNCTION df_engine.parsed(value text, prefix text) OWNER TO perdure_owner;

--
-- Name: postpone_v1(bigint, text, bytea[]); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.postpone_v1(_worker_id bigint, _key text, _hashes bytea[]) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _w df_engine.workers := df_engine.worker_of(_worker_id, _key);
    _n integer;
BEGIN
    WITH free AS (
        SELECT t.bucket, t.instance_id, t.seq FROM df_engine.tasks t
            WHERE t.worker_id = _worker_id AND t.token_hash = ANY (_hashes) FOR UPDATE SKIP LOCKED)
    UPDATE df_engine.tasks t SET worker_id = NULL, token_hash = NULL, leased_at = NULL, losses = t.losses + 1,
            visible_at = clock_timestamp() + make_interval(secs => least(10, 0.1 * 2 ^ least(t.losses, 10)))
        FROM free WHERE t.bucket = free.bucket AND t.instance_id = free.instance_id AND t.seq = free.seq;
    GET DIAGNOSTICS _n = ROW_COUNT;
    RETURN _n;
END $$;


ALTER FUNCTION df_engine.postpone_v1(_worker_id bigint, _key text, _hashes bytea[]) OWNER TO perdure_owner;

--
-- Name: problems(text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.problems(_id text) RETURNS TABLE(instance_id text, problem text, detail text)
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
BEGIN
    IF _id IS NOT NULL THEN
        IF _id ~ '^[0-9a-f]{8,32}$' THEN
            RETURN QUERY SELECT c.* FROM df_engine.check_all(df_engine.bucket_of(_id), _id) c;
        END IF;
        RETURN;
    END IF;
    RETURN QUERY SELECT o.instance_id, 'rows without instance', o.kind FROM df_engine.orphans o;
    IF (SELECT count(*) FROM (SELECT FROM df_engine.visible_instances LIMIT 5000) v) < 5000 THEN
        RETURN QUERY SELECT c.* FROM df_engine.check_all(NULL, NULL) c;
    ELSE
        FOR _bucket IN 0 .. 255 LOOP
            RETURN QUERY SELECT c.* FROM df_engine.check_all(_bucket::smallint, NULL) c;
        END LOOP;
    END IF;
END $_$;


ALTER FUNCTION df_engine.problems(_id text) OWNER TO perdure_owner;

--
-- Name: proxy_of(regrole); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.proxy_of(_owner regrole) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN (SELECT l.rolname FROM df_engine.proxies p JOIN pg_roles l ON l.oid = p.login
            WHERE p.owner = _owner AND NOT l.rolsuper
              AND NOT EXISTS (SELECT FROM pg_auth_members m WHERE m.member = p.login AND m.roleid <> p.owner)
            ORDER BY p.login LIMIT 1);
END $$;


ALTER FUNCTION df_engine.proxy_of(_owner regrole) OWNER TO perdure_owner;

--
-- Name: prune_ended(integer, regrole); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.prune_ended(_most integer, _owner regrole) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
    _bound record;
    _buckets smallint[];
    _ids text[];
    _table text;
    _n bigint;
    _rows bigint := 0;
BEGIN
    SELECT * INTO _bound FROM df_engine.retention_bound();
    SELECT array_agg(g.bucket), array_agg(g.instance_id) INTO _buckets, _ids
        FROM (SELECT i.bucket, i.instance_id
              FROM df_engine.instances i
              WHERE i.ended_at IS NOT NULL AND (i.ended_at, i.instance_id) <= (_bound.ended_at, _bound.instance_id)
                AND (_owner IS NULL OR i.owner = _owner)
                AND NOT EXISTS (SELECT FROM df_engine.instance_waits w
                                WHERE w.target_bucket = i.bucket AND w.target_id = i.instance_id)
              ORDER BY i.ended_at, i.instance_id LIMIT _most FOR UPDATE SKIP LOCKED) g;
    IF _ids IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM set_config('df_engine.pruning', 'on', true);
    -- The instance last: what is left over after an error could be found by it.
    FOREACH _table IN ARRAY ARRAY['tasks', 'timers', 'instance_waits', 'inbox', 'results', 'history', 'starts', 'instances'] LOOP
        EXECUTE format('DELETE FROM df_engine.%I t USING unnest($1, $2) AS g (bucket, instance_id)
                        WHERE t.bucket = g.bucket AND t.instance_id = g.instance_id', _table) USING _buckets, _ids;
        GET DIAGNOSTICS _n = ROW_COUNT;
        _rows := _rows + _n;
    END LOOP;
    PERFORM set_config('df_engine.pruning', 'off', true);
    RETURN _rows;
END $_$;


ALTER FUNCTION df_engine.prune_ended(_most integer, _owner regrole) OWNER TO perdure_owner;

--
-- Name: prune_executions(smallint, text, integer, integer); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.prune_executions(_bucket smallint, _instance_id text, _oldest integer, _newest integer) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


ALTER FUNCTION df_engine.prune_executions(_bucket smallint, _instance_id text, _oldest integer, _newest integer) OWNER TO perdure_owner;

--
-- Name: prune_iterations(integer, regrole); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.prune_iterations(_most integer, _owner regrole) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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
                AND (_owner IS NULL OR i.owner = _owner)
              LIMIT 100 LOOP
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


ALTER FUNCTION df_engine.prune_iterations(_most integer, _owner regrole) OWNER TO perdure_owner;

--
-- Name: prune_results(smallint, text, integer, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.prune_results(_bucket smallint, _instance_id text, _newest integer, _started text) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


ALTER FUNCTION df_engine.prune_results(_bucket smallint, _instance_id text, _newest integer, _started text) OWNER TO perdure_owner;

--
-- Name: prune_v1(bigint, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.prune_v1(_worker_id bigint, _key text) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _w df_engine.workers := df_engine.worker_of(_worker_id, _key);
BEGIN
    RETURN df_engine.prune_ended(200, CASE WHEN NOT _w.serves_all THEN _w.login END)
        + df_engine.prune_iterations(20000, CASE WHEN NOT _w.serves_all THEN _w.login END);
END $$;


ALTER FUNCTION df_engine.prune_v1(_worker_id bigint, _key text) OWNER TO perdure_owner;

--
-- Name: readable(text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.readable(_payload text) RETURNS json
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF strpos(_payload, E'\\u') > 0 THEN
        PERFORM _payload::jsonb; -- refuses \u0000 and halves of surrogate pairs, at which #>> would raise
    END IF;
    RETURN _payload::json;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN to_json(_payload);
END $$;


ALTER FUNCTION df_engine.readable(_payload text) OWNER TO perdure_owner;

--
-- Name: readable_number(text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.readable_number(_text text) RETURNS integer
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
BEGIN
    RETURN CASE WHEN _text ~ '^[0-9]{1,9}$' THEN _text::integer END;
END $_$;


ALTER FUNCTION df_engine.readable_number(_text text) OWNER TO perdure_owner;

--
-- Name: reap_v1(bigint, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.reap_v1(_worker_id bigint, _key text) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _w df_engine.workers := df_engine.worker_of(_worker_id, _key);
    _dead bigint;
    _taken integer := 0;
    _n integer;
BEGIN
    FOR _dead IN SELECT DISTINCT t.worker_id FROM df_engine.tasks t
                 WHERE t.worker_id IS NOT NULL AND (_w.serves_all OR t.owner = _w.login) AND NOT EXISTS (
                     SELECT FROM df_engine.workers w WHERE w.worker_id = t.worker_id
                       AND w.beat_at > clock_timestamp() - make_interval(secs => w.lease_seconds)) LOOP
        WITH free AS (
            SELECT t.bucket, t.instance_id, t.seq FROM df_engine.tasks t
                WHERE t.worker_id = _dead AND (_w.serves_all OR t.owner = _w.login) LIMIT 1000 FOR UPDATE SKIP LOCKED)
        UPDATE df_engine.tasks t
            SET worker_id = NULL, token_hash = NULL, leased_at = NULL, losses = t.losses + 1,
                visible_at = CASE WHEN t.losses < 3 THEN t.visible_at
                                  ELSE clock_timestamp() + make_interval(secs => least(300, 2 ^ least(t.losses - 2, 9))) END
            FROM free WHERE t.bucket = free.bucket AND t.instance_id = free.instance_id AND t.seq = free.seq;
        GET DIAGNOSTICS _n = ROW_COUNT;
        _taken := _taken + _n;
    END LOOP;
    DELETE FROM df_engine.workers w WHERE w.worker_id = ANY (ARRAY(
        SELECT k.worker_id FROM df_engine.workers k
            WHERE k.beat_at < clock_timestamp() - make_interval(secs => k.lease_seconds * 10)
              AND (_w.serves_all OR k.login = _w.login)
              -- A scalar subquery, so that no plan ever reads all tasks for it.
              AND (SELECT t.seq FROM df_engine.tasks t WHERE t.worker_id = k.worker_id LIMIT 1) IS NULL
            LIMIT 100 FOR UPDATE SKIP LOCKED));
    DELETE FROM df_engine.sessions s WHERE (s.worker_id, s.backend_pid) IN (
        SELECT k.worker_id, k.backend_pid FROM df_engine.sessions k
            WHERE (_w.serves_all OR k.owner = _w.login)
              AND NOT EXISTS (SELECT FROM df_engine.workers w WHERE w.worker_id = k.worker_id)
            FOR UPDATE SKIP LOCKED);
    DELETE FROM df_engine.role_blocks s WHERE (s.worker_id, s.owner) IN (
        SELECT k.worker_id, k.owner FROM df_engine.role_blocks k
            WHERE (_w.serves_all OR k.owner = _w.login)
              AND NOT EXISTS (SELECT FROM df_engine.workers w WHERE w.worker_id = k.worker_id)
            FOR UPDATE SKIP LOCKED);
    IF _taken > 0 THEN
        PERFORM df_engine.wake();
    END IF;
    RETURN _taken;
END $$;


ALTER FUNCTION df_engine.reap_v1(_worker_id bigint, _key text) OWNER TO perdure_owner;

--
-- Name: refuse_helper(text, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.refuse_helper(operand text, mark text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _helper text := split_part(mark, E'\n', 1);
    _returns text[] := CASE
        WHEN _helper IN ('df.setvar', 'df.unsetvar', 'df.clearvars') THEN ARRAY['OK']
        WHEN _helper IN ('df.await_instance', 'df.wait_for_completion') THEN ARRAY['completed', 'failed', 'cancelled']
        ELSE ARRAY[]::text[] END;
BEGIN
    IF operand = ANY (_returns) AND split_part(mark, E'\n', 2) = df_engine.statement_micros()::text THEN
        RAISE EXCEPTION '% cannot be used as a workflow step. Call % before df.start().', _helper, _helper
            USING ERRCODE = 'DF103';
    END IF;
END $$;


ALTER FUNCTION df_engine.refuse_helper(operand text, mark text) OWNER TO perdure_owner;

--
-- Name: refuse_in_workflow(text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.refuse_in_workflow(function_name text) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF current_setting('df.in_workflow', true) = 'true' THEN
        RAISE EXCEPTION '%() cannot be called inside a workflow. Call it before df.start().', function_name
            USING ERRCODE = 'DF105';
    END IF;
END $$;


ALTER FUNCTION df_engine.refuse_in_workflow(function_name text) OWNER TO perdure_owner;

--
-- Name: refuse_null(text, text, boolean); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.refuse_null(function_name text, argument text, is_null boolean) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF is_null THEN
        RAISE EXCEPTION 'df.%(): % must not be NULL', function_name, argument USING ERRCODE = 'DF101';
    END IF;
END $$;


ALTER FUNCTION df_engine.refuse_null(function_name text, argument text, is_null boolean) OWNER TO perdure_owner;

--
-- Name: refuse_size(text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.refuse_size(graph text) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF octet_length(graph) > 1048576 AND octet_length(graph) > df_engine.setting('max_graph_bytes')::bigint THEN
        RAISE EXCEPTION 'Invalid durable function: the graph has % bytes, more than max_graph_bytes (%)',
            octet_length(graph), df_engine.setting('max_graph_bytes') USING ERRCODE = 'DF102';
    END IF;
END $$;


ALTER FUNCTION df_engine.refuse_size(graph text) OWNER TO perdure_owner;

--
-- Name: refuse_write(); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.refuse_write() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RAISE EXCEPTION 'permission denied: df.% is derived from the history of the workflows and cannot be written', TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege', HINT = 'df.cancel(), df.signal() and df.start() are there for that.';
END $$;


ALTER FUNCTION df_engine.refuse_write() OWNER TO perdure_owner;

--
-- Name: release_v1(bigint, text, bytea[]); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.release_v1(_worker_id bigint, _key text, _hashes bytea[]) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _w df_engine.workers := df_engine.worker_of(_worker_id, _key);
    _n integer;
BEGIN
    WITH free AS (
        SELECT t.bucket, t.instance_id, t.seq FROM df_engine.tasks t
            WHERE t.worker_id = _worker_id AND t.token_hash = ANY (_hashes) FOR UPDATE SKIP LOCKED)
    UPDATE df_engine.tasks t SET worker_id = NULL, token_hash = NULL, leased_at = NULL
        FROM free WHERE t.bucket = free.bucket AND t.instance_id = free.instance_id AND t.seq = free.seq;
    GET DIAGNOSTICS _n = ROW_COUNT;
    PERFORM df_engine.wake();
    RETURN _n;
END $$;


ALTER FUNCTION df_engine.release_v1(_worker_id bigint, _key text, _hashes bytea[]) OWNER TO perdure_owner;

--
-- Name: require_administrator(text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.require_administrator(function_name text) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF NOT df_engine.is_administrator() THEN
        RAISE EXCEPTION 'permission denied: df.%() is for the owner of schema df', function_name
            USING ERRCODE = 'insufficient_privilege';
    END IF;
END $$;


ALTER FUNCTION df_engine.require_administrator(function_name text) OWNER TO perdure_owner;

--
-- Name: require_grant_option(regprocedure); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.require_grant_option(function regprocedure) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF NOT has_function_privilege(function, 'EXECUTE WITH GRANT OPTION') THEN
        RAISE EXCEPTION 'permission denied: "%" may not grant EXECUTE on %', current_user, function
            USING ERRCODE = 'insufficient_privilege';
    END IF;
END $$;


ALTER FUNCTION df_engine.require_grant_option(function regprocedure) OWNER TO perdure_owner;

--
-- Name: require_headers(text, jsonb); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.require_headers(function_name text, headers jsonb) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _problem text := df_engine.headers_problem(headers);
BEGIN
    IF _problem IS NOT NULL THEN
        RAISE EXCEPTION 'df.%(): %', function_name, _problem USING ERRCODE = 'DF101';
    END IF;
END $$;


ALTER FUNCTION df_engine.require_headers(function_name text, headers jsonb) OWNER TO perdure_owner;

--
-- Name: require_http(text, text, text, text[], integer); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.require_http(function_name text, url text, method text, methods text[], timeout_seconds integer) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _scheme text := split_part(url, '://', 1);
BEGIN
    IF df_engine.setting('http_enabled')::boolean IS NOT TRUE THEN
        RAISE EXCEPTION 'df.%() is disabled', function_name
            USING ERRCODE = 'DF101', HINT = 'See http_enabled in df.settings.';
    END IF;
    PERFORM df_engine.refuse_null(function_name, 'url', url IS NULL);
    PERFORM df_engine.refuse_null(function_name, 'method', method IS NULL);
    PERFORM df_engine.refuse_null(function_name, 'timeout_seconds', timeout_seconds IS NULL);
    IF strpos(url, '{') = 0 AND lower(_scheme COLLATE "C") NOT IN ('http', 'https') THEN
        RAISE EXCEPTION 'Blocked: unsupported URL scheme ''%''. Only http and https are allowed.', _scheme
            USING ERRCODE = 'DF101';
    ELSIF upper(method COLLATE "C") <> ALL (methods) THEN
        RAISE EXCEPTION 'Invalid HTTP method%: ''%''. Must be one of %',
            CASE function_name WHEN 'http_multipart' THEN ' for multipart' ELSE '' END, method, array_to_string(methods, ', ')
            USING ERRCODE = 'DF101';
    END IF;
    PERFORM df_engine.require_positive_timeout(timeout_seconds);
END $$;


ALTER FUNCTION df_engine.require_http(function_name text, url text, method text, methods text[], timeout_seconds integer) OWNER TO perdure_owner;

--
-- Name: require_positive_timeout(integer); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.require_positive_timeout(timeout_seconds integer) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF timeout_seconds <= 0 THEN
        RAISE EXCEPTION 'Timeout must be positive'
            USING ERRCODE = 'DF101', DETAIL = format('timeout_seconds: %s', timeout_seconds);
    END IF;
END $$;


ALTER FUNCTION df_engine.require_positive_timeout(timeout_seconds integer) OWNER TO perdure_owner;

--
-- Name: require_schedule(text, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.require_schedule(cron_expr text, timezone text) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _problem text := df_engine.cron_problem(cron_expr, timezone);
BEGIN
    IF _problem IS NOT NULL THEN
        RAISE EXCEPTION '%', _problem USING ERRCODE = 'DF101';
    END IF;
END $$;


ALTER FUNCTION df_engine.require_schedule(cron_expr text, timezone text) OWNER TO perdure_owner;

--
-- Name: require_variable(text, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.require_variable(name text, value text) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF name IS NULL THEN
        RAISE EXCEPTION 'the name of a variable must not be NULL' USING ERRCODE = 'DF101';
    ELSIF octet_length(name) > 1024 THEN
        RAISE EXCEPTION 'the name of a variable must not be longer than 1024 bytes' USING ERRCODE = 'DF101';
    ELSIF octet_length(value) > 1024 AND octet_length(value) > df_engine.setting('max_payload_bytes')::bigint THEN
        RAISE EXCEPTION 'variable "%" has % bytes, more than max_payload_bytes (%)',
            name, octet_length(value), df_engine.setting('max_payload_bytes') USING ERRCODE = 'DF101';
    END IF;
END $$;


ALTER FUNCTION df_engine.require_variable(name text, value text) OWNER TO perdure_owner;

--
-- Name: reset_session_v1(text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.reset_session_v1(_role text) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
    _name text;
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


ALTER FUNCTION df_engine.reset_session_v1(_role text) OWNER TO perdure_owner;

--
-- Name: result_text(smallint, text, json); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.result_text(_bucket smallint, _instance_id text, _ref json) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


ALTER FUNCTION df_engine.result_text(_bucket smallint, _instance_id text, _ref json) OWNER TO perdure_owner;

--
-- Name: retake_v1(bigint, text, smallint, text, integer, text, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.retake_v1(_worker_id bigint, _key text, _bucket smallint, _instance_id text, _seq integer, _token text, _new_token text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '5s'
    AS $$
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


ALTER FUNCTION df_engine.retake_v1(_worker_id bigint, _key text, _bucket smallint, _instance_id text, _seq integer, _token text, _new_token text) OWNER TO perdure_owner;

--
-- Name: retention_bound(); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.retention_bound(OUT ended_at timestamp with time zone, OUT instance_id text) RETURNS record
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


ALTER FUNCTION df_engine.retention_bound(OUT ended_at timestamp with time zone, OUT instance_id text) OWNER TO perdure_owner;

--
-- Name: role_state_v1(oid, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.role_state_v1(_owner oid, _database text) RETURNS TABLE(owner_name text, can_login boolean, can_connect boolean, database_exists boolean, proxy text, is_super boolean)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _db text := coalesce(_database, current_database());
    _exists boolean := EXISTS (SELECT FROM pg_database d WHERE d.datname = _db);
BEGIN
    RETURN QUERY
        SELECT r.rolname::text, r.rolcanlogin,
               CASE WHEN _exists THEN has_database_privilege(r.oid, _db, 'CONNECT') ELSE false END, _exists,
               df_engine.proxy_of(r.oid::regrole), r.rolsuper
        FROM pg_roles r WHERE r.oid = _owner;
END $$;


ALTER FUNCTION df_engine.role_state_v1(_owner oid, _database text) OWNER TO perdure_owner;

--
-- Name: rows_named(json[]); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.rows_named(_refs json[]) RETURNS TABLE(execution_id integer, seq integer)
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


ALTER FUNCTION df_engine.rows_named(_refs json[]) OWNER TO perdure_owner;

--
-- Name: run_step_v1(text, text, smallint, text, integer, text, text, integer, integer, text[], text[], integer, text, text, text, text, text, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.run_step_v1(_role text, _statement text, _bucket smallint, _instance_id text, _seq integer, _token text, _completed text, _execution_id integer, _head integer, _kinds text[], _payloads text[], _next_seq integer, _next_lane text, _next_kind text, _next_input text, _next_token text, _end_status text, _turn_token text) RETURNS text
    LANGUAGE plpgsql
    AS $$
DECLARE
    _timeout text;
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


ALTER FUNCTION df_engine.run_step_v1(_role text, _statement text, _bucket smallint, _instance_id text, _seq integer, _token text, _completed text, _execution_id integer, _head integer, _kinds text[], _payloads text[], _next_seq integer, _next_lane text, _next_kind text, _next_input text, _next_token text, _end_status text, _turn_token text) OWNER TO perdure_owner;

--
-- Name: schedule(df_engine.instances, integer, bigint, df_engine.turn, timestamp with time zone, integer); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.schedule(_i df_engine.instances, _execution_id integer, _worker_id bigint, _t df_engine.turn, _now timestamp with time zone, _head integer) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
    _first integer := CASE WHEN _t.status = 'continued' THEN 1 ELSE _i.head_seq + 1 END;
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
        INSERT INTO df_engine.tasks (bucket, instance_id, seq, execution_id, lane, kind, owner, database, queue,
                                     interpreter, input, queued_at, visible_at)
            SELECT _i.bucket, _i.instance_id, a.seq, _execution_id, a.lane, a.kind, _i.owner, _i.database, _i.queue,
                   _i.interpreter, a.input, _now, _now
            FROM json_to_recordset(_t.activities) AS a(seq integer, lane text, kind text, input text);
        PERFORM df_engine.wake();
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
END $_$;


ALTER FUNCTION df_engine.schedule(_i df_engine.instances, _execution_id integer, _worker_id bigint, _t df_engine.turn, _now timestamp with time zone, _head integer) OWNER TO perdure_owner;

--
-- Name: schedule_config_problem(jsonb); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.schedule_config_problem(config jsonb) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF NOT df_engine.is_filled(config -> 'cron_expr') THEN
        RETURN 'cron_expr must be a non-empty string';
    ELSIF jsonb_typeof(config -> 'timezone') NOT IN ('string', 'null') THEN
        RETURN 'timezone must be a string or null';
    END IF;
    RETURN df_engine.cron_problem(config ->> 'cron_expr', config ->> 'timezone');
END $$;


ALTER FUNCTION df_engine.schedule_config_problem(config jsonb) OWNER TO perdure_owner;

--
-- Name: secret_key_v1(); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.secret_key_v1() RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN (SELECT encode(k.public_key, 'base64') FROM df_engine.secret_keys k ORDER BY k.key_no DESC LIMIT 1);
END $$;


ALTER FUNCTION df_engine.secret_key_v1() OWNER TO perdure_owner;

--
-- Name: secrets_v1(bigint, text, oid, text[]); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.secrets_v1(_worker_id bigint, _key text, _owner oid, _names text[]) RETURNS TABLE(name text, sealed bytea)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE
    _w df_engine.workers := df_engine.worker_of(_worker_id, _key);
BEGIN
    RETURN QUERY SELECT s.name, s.sealed FROM df_engine.secrets s
        WHERE s.owner = _owner AND s.name = ANY (_names) AND df_engine.serves(_w, s.owner);
END $$;


ALTER FUNCTION df_engine.secrets_v1(_worker_id bigint, _key text, _owner oid, _names text[]) OWNER TO perdure_owner;

--
-- Name: section(text, text, integer, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.section(_prefix text, _head text, _index integer, _connector text) RETURNS df_engine.drawing[]
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN CASE WHEN _index IS NOT NULL THEN ARRAY[
        (NULL, _prefix || _head, NULL, NULL, NULL)::df_engine.drawing,
        (_index, _prefix || '  ', _connector, '', false)::df_engine.drawing] END;
END $$;


ALTER FUNCTION df_engine.section(_prefix text, _head text, _index integer, _connector text) OWNER TO perdure_owner;

--
-- Name: sections(df_engine.drawable, df_engine.drawing); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.sections(_n df_engine.drawable, _d df_engine.drawing) RETURNS df_engine.drawing[]
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _inner text := _d.prefix || CASE WHEN _d.connector = '├─' THEN '│   ' ELSE '    ' END;
    _branches integer[];
    _sections df_engine.drawing[] := '{}';
BEGIN
    IF _n.node_type = 'THEN' THEN
        RETURN ARRAY[
            (_n.left_index, _d.prefix, _d.connector, '', true)::df_engine.drawing,
            (_n.right_index, _d.prefix, '→ ', concat(' |=> ''' || _n.result_name || '''', _d.names), true)::df_engine.drawing];
    ELSIF _d.in_sequence THEN
        _inner := _d.prefix || '    ';
    END IF;
    IF _n.node_type = 'LOOP' THEN
        _sections := df_engine.section(_inner, '↻ body:', _n.left_index, '└─')
            || df_engine.section(_inner, '? while:', _n.condition_index, '└─');
    ELSIF _n.node_type = 'IF' THEN
        _sections := df_engine.section(_inner, '? condition:', _n.condition_index, '└─')
            || df_engine.section(_inner, '✓ then:', _n.left_index, '└─')
            || df_engine.section(_inner, '✗ else:', _n.right_index, '└─');
    ELSIF _n.node_type IN ('JOIN', 'RACE') THEN
        _branches := ARRAY[_n.left_index, _n.right_index] || coalesce(_n.extra_indexes, '{}');
        FOR _branch IN 1 .. cardinality(_branches) LOOP
            _sections := _sections || df_engine.section(
                _inner, format('║ branch %s:', _branch), _branches[_branch],
                CASE WHEN _branch = cardinality(_branches) THEN '└─' ELSE '├─' END);
        END LOOP;
    END IF;
    RETURN _sections;
END $$;


ALTER FUNCTION df_engine.sections(_n df_engine.drawable, _d df_engine.drawing) OWNER TO perdure_owner;

--
-- Name: sees_all(); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.sees_all() RETURNS boolean
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM pg_namespace n JOIN pg_roles r ON r.rolname = current_user
        WHERE n.nspname = 'df' AND (r.rolsuper OR r.rolbypassrls OR pg_has_role(r.oid, n.nspowner, 'USAGE')))
        OR df_engine.observes(current_user, false);
END $$;


ALTER FUNCTION df_engine.sees_all() OWNER TO perdure_owner;

--
-- Name: sensitive_functions(text[]); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.sensitive_functions(names text[]) RETURNS SETOF regprocedure
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN QUERY
    SELECT p.oid::regprocedure FROM pg_proc p
    WHERE p.pronamespace = 'df'::regnamespace AND p.proname = ANY (names) ORDER BY p.proname;
END $$;


ALTER FUNCTION df_engine.sensitive_functions(names text[]) OWNER TO perdure_owner;

--
-- Name: workers; Type: TABLE; Schema: df_engine; Owner: perdure_owner
--

CREATE TABLE df_engine.workers (
    worker_id bigint NOT NULL,
    login regrole NOT NULL,
    serves_all boolean NOT NULL,
    key_hash bytea NOT NULL,
    release text NOT NULL,
    interpreter smallint NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    slots integer NOT NULL,
    lease_seconds double precision NOT NULL,
    started_at timestamp with time zone NOT NULL,
    beat_at timestamp with time zone NOT NULL,
    idle boolean DEFAULT false NOT NULL,
    draining boolean DEFAULT false NOT NULL,
    CONSTRAINT workers_lease_seconds_check CHECK (((lease_seconds >= (1)::double precision) AND (lease_seconds <= (3600)::double precision)))
)
WITH (fillfactor='30', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='100');


ALTER TABLE df_engine.workers OWNER TO perdure_owner;

--
-- Name: serves(df_engine.workers, regrole); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.serves(_w df_engine.workers, _owner regrole) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    RETURN ((_w).serves_all OR (((_w).login)::oid = (_owner)::oid));


ALTER FUNCTION df_engine.serves(_w df_engine.workers, _owner regrole) OWNER TO perdure_owner;

--
-- Name: session_v1(bigint, text, oid, integer, timestamp with time zone); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.session_v1(_worker_id bigint, _key text, _owner oid, _backend_pid integer, _backend_start timestamp with time zone) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _w df_engine.workers := df_engine.worker_of(_worker_id, _key);
BEGIN
    IF _backend_start IS NULL THEN
        DELETE FROM df_engine.sessions s WHERE s.worker_id = _worker_id AND s.backend_pid = _backend_pid;
    ELSIF df_engine.serves(_w, _owner::regrole) THEN -- others would end that backend as its owner
        INSERT INTO df_engine.sessions (worker_id, owner, backend_pid, backend_start)
            VALUES (_worker_id, _owner::regrole, _backend_pid, _backend_start)
            ON CONFLICT (worker_id, backend_pid) DO UPDATE SET owner = EXCLUDED.owner, backend_start = EXCLUDED.backend_start;
    END IF;
END $$;


ALTER FUNCTION df_engine.session_v1(_worker_id bigint, _key text, _owner oid, _backend_pid integer, _backend_start timestamp with time zone) OWNER TO perdure_owner;

--
-- Name: setting(text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.setting(name text) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


ALTER FUNCTION df_engine.setting(name text) OWNER TO perdure_owner;

--
-- Name: shown_query(text, integer, integer[]); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.shown_query(_query text, _condition_index integer, _extra_indexes integer[]) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
    _added text;
BEGIN
    IF _condition_index IS NOT NULL THEN
        _added := '"condition_node":"' || df_engine.node_id(_condition_index) || '"';
    ELSIF _extra_indexes IS NOT NULL THEN
        SELECT '"extra_nodes":[' || string_agg('"' || df_engine.node_id(e.index) || '"', ',' ORDER BY e.ordinality) || ']'
            INTO _added FROM unnest(_extra_indexes) WITH ORDINALITY AS e (index, ordinality);
    ELSE
        RETURN _query;
    END IF;
    IF coalesce(btrim(_query, E' \t\n\r'), '{}') ~ '^\{\s*\}$' THEN
        RETURN '{' || _added || '}';
    END IF;
    RETURN regexp_replace(btrim(_query, E' \t\n\r'), '\s*\}$', '') || ',' || _added || '}';
END $_$;


ALTER FUNCTION df_engine.shown_query(_query text, _condition_index integer, _extra_indexes integer[]) OWNER TO perdure_owner;

--
-- Name: signal_body(text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.signal_body(_data text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


ALTER FUNCTION df_engine.signal_body(_data text) OWNER TO perdure_owner;

--
-- Name: stamp_levels(text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.stamp_levels(_stamp text) RETURNS TABLE(scope text, generation integer)
    LANGUAGE plpgsql IMMUTABLE ROWS 3
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _parts text[] := string_to_array(_stamp, '::');
BEGIN
    FOR _level IN 1 .. cardinality(_parts) / 2 LOOP
        scope := array_to_string(_parts[1:2 * _level - 1], '::');
        generation := _parts[2 * _level]::integer;
        RETURN NEXT;
    END LOOP;
END $$;


ALTER FUNCTION df_engine.stamp_levels(_stamp text) OWNER TO perdure_owner;

--
-- Name: start_new(text, text, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.start_new(fut text, label text, database text) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _role text := current_user;
    _dblink text := df_engine.dblink_schema();
    _name text := 'perdure_start_' || pg_backend_pid();
    _slot integer;
    _id text;
    _message text;
    _state text;
    _detail text;
    _hint text;
    _context text;
BEGIN
    IF current_setting('df.in_workflow', true) = 'true' THEN
        RAISE EXCEPTION 'df.start() with transaction_mode => ''new'' cannot be called inside a workflow'
            USING ERRCODE = '55000', HINT = 'Leave transaction_mode away: the step''s own transaction starts the workflow.';
    ELSIF NOT (SELECT r.rolcanlogin FROM pg_roles r WHERE r.rolname = current_user) THEN
        RAISE EXCEPTION 'current_user "%" does not have LOGIN privilege. The new transaction runs on a session logged in as the role that calls df.start()',
            _role USING ERRCODE = '42501';
    ELSIF fut IS NULL THEN
        RAISE EXCEPTION 'df.start: fut must not be NULL' USING ERRCODE = '22004',
            HINT = 'An operator with a NULL operand gives NULL; look for one in the expression.';
    ELSIF _dblink IS NULL THEN
        RAISE EXCEPTION 'df.start() with transaction_mode => ''new'' needs the extension dblink, which is not installed in database "%"',
            current_database() USING ERRCODE = '0A000',
            HINT = 'A superuser (or the platform) can run CREATE EXTENSION dblink; it comes with PostgreSQL''s contrib modules.';
    END IF;
    -- Whatever happens from here on, cancelling included, the slot is given back and the session closed.
    BEGIN
        _slot := df_engine.take_launch_slot();
        PERFORM df_engine.open_launch(_dblink, _name, _role);
        _id := df_engine.launch(_dblink, _name, _role, fut, label, database);
    EXCEPTION WHEN query_canceled OR assert_failure OR others THEN
        GET STACKED DIAGNOSTICS _message = MESSAGE_TEXT, _state = RETURNED_SQLSTATE, _detail = PG_EXCEPTION_DETAIL,
                                _hint = PG_EXCEPTION_HINT, _context = PG_EXCEPTION_CONTEXT;
        PERFORM df_engine.end_launch(_dblink, _name, _slot, _state = '57014');
        RAISE EXCEPTION USING MESSAGE = df_engine.launch_problem(_state, _message, strpos(_context, _name) > 0),
            ERRCODE = _state, DETAIL = coalesce(_detail, ''), HINT = coalesce(_hint, '');
    END;
    PERFORM df_engine.end_launch(_dblink, _name, _slot, false);
    RETURN _id;
END $$;


ALTER FUNCTION df_engine.start_new(fut text, label text, database text) OWNER TO perdure_owner;

--
-- Name: statement_micros(); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.statement_micros() RETURNS bigint
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN (extract(epoch FROM statement_timestamp()) * 1000000)::bigint - 946684800000000;
END $$;


ALTER FUNCTION df_engine.statement_micros() OWNER TO perdure_owner;

--
-- Name: status_marker(text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.status_marker(_status text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN CASE _status WHEN 'completed' THEN ' ✓' WHEN 'failed' THEN ' ✗' WHEN 'cancelled' THEN ' ✗'
                        WHEN 'running' THEN ' ⏳' WHEN 'pending' THEN ' ○' WHEN 'skipped' THEN ' ⊘' ELSE '' END;
END $$;


ALTER FUNCTION df_engine.status_marker(_status text) OWNER TO perdure_owner;

--
-- Name: strict_problem(jsonb, integer); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.strict_problem(root jsonb, max_nodes integer) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _type text := root ->> 'node_type';
BEGIN
    IF NOT df_engine.is_node_type(_type) THEN
        RETURN 'Invalid durable function: ' || df_engine.unknown_type_problem(_type);
    END IF;
    RETURN coalesce(
        format('Invalid durable function: Malformed Durofut JSON with node_type ''%s'': ', _type)
            || df_engine.fields_problem(root),
        'Invalid durable function graph: ' || df_engine.tree_problem(root, max_nodes));
END $$;


ALTER FUNCTION df_engine.strict_problem(root jsonb, max_nodes integer) OWNER TO perdure_owner;

--
-- Name: tail(text, integer); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.tail(value text, bytes integer) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _bytes bytea := convert_to(value, getdatabaseencoding());
BEGIN
    RETURN encode(substring(_bytes FROM greatest(length(_bytes) - bytes, 0) + 1), 'escape');
END $$;


ALTER FUNCTION df_engine.tail(value text, bytes integer) OWNER TO perdure_owner;

--
-- Name: take_launch_slot(); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.take_launch_slot() RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _slots integer := df_engine.setting('max_new_transaction_starts')::integer;
    _seconds integer := df_engine.setting('new_transaction_start_timeout')::integer;
    _until timestamptz := clock_timestamp() + make_interval(secs => _seconds);
BEGIN
    LOOP
        FOR _slot IN 0 .. _slots - 1 LOOP
            IF pg_try_advisory_lock(1346982470, _slot) THEN
                RETURN _slot;
            END IF;
        END LOOP;
        IF clock_timestamp() >= _until THEN
            RAISE EXCEPTION 'df.start(): launch limit for new transactions reached (max_new_transaction_starts=%). Timed out after %s waiting for a launch slot.',
                _slots, _seconds USING ERRCODE = '53300',
                HINT = 'Try again, or let an administrator raise max_new_transaction_starts in df.settings.';
        END IF;
        PERFORM pg_sleep(least(0.1, greatest(extract(epoch FROM _until - clock_timestamp()), 0.001)));
    END LOOP;
END $$;


ALTER FUNCTION df_engine.take_launch_slot() OWNER TO perdure_owner;

--
-- Name: take_vars(); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.take_vars() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF NEW.op = 'set' THEN
        PERFORM df_engine.require_variable(NEW.name, NEW.value);
        INSERT INTO df_engine.vars AS v (owner, name, value) VALUES (NEW.owner, NEW.name, NEW.value)
        ON CONFLICT ON CONSTRAINT vars_pkey DO UPDATE SET value = excluded.value;
    ELSIF NEW.op = 'unset' THEN
        DELETE FROM df_engine.vars v WHERE v.owner = NEW.owner AND v.name = NEW.name;
    ELSIF NEW.op = 'clear' THEN
        DELETE FROM df_engine.vars v WHERE v.owner = NEW.owner;
    ELSE
        RAISE EXCEPTION 'df.ingress_vars: op must be set, unset or clear, not "%"', NEW.op USING ERRCODE = 'DF101';
    END IF;
    RETURN NEW;
END $$;


ALTER FUNCTION df_engine.take_vars() OWNER TO perdure_owner;

--
-- Name: timezone_problem(text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.timezone_problem(timezone text) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
    _problem text := format('Unknown time zone ''%s''', timezone);
BEGIN
    IF timezone IS NULL OR timezone = 'UTC' THEN
        RETURN NULL;
    END IF;
    PERFORM timezone(timezone, clock_timestamp());
    IF timezone ~ '^[A-Z][a-z]+(/[A-Z][a-z]+(_[A-Z][a-z]+)*)+$' AND timezone !~ '_(Of|Es|Au)_|/Es_' THEN
        RETURN NULL;
    ELSIF timezone ~ '^[A-Za-z]' AND timezone !~ '^(posix|right)/' AND timezone NOT IN ('localtime', 'posixrules', 'Factory')
        AND EXISTS (SELECT FROM pg_timezone_names z WHERE z.name = timezone_problem.timezone) THEN
        RETURN NULL;
    END IF;
    RETURN _problem;
EXCEPTION WHEN invalid_parameter_value OR invalid_datetime_format OR invalid_text_representation THEN
    RETURN _problem;
END $_$;


ALTER FUNCTION df_engine.timezone_problem(timezone text) OWNER TO perdure_owner;

--
-- Name: token_hash(text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.token_hash(_token text) RETURNS bytea
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN sha256(convert_to(_token, 'UTF8'::name));


ALTER FUNCTION df_engine.token_hash(_token text) OWNER TO perdure_owner;

--
-- Name: tree_problem(jsonb, integer); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.tree_problem(root jsonb, max_nodes integer) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _nodes jsonb[] := ARRAY[root];
    _paths text[] := ARRAY['root'];
    _depths integer[] := ARRAY[0];
    _top integer := 1;
    _seen integer := 0;
    _node jsonb;
    _path text;
    _depth integer;
    _problem text;
    _member text;
    _extra jsonb;
BEGIN
    WHILE _top > 0 LOOP
        _node := _nodes[_top];
        _path := _paths[_top];
        _depth := _depths[_top];
        _top := _top - 1;
        _seen := _seen + 1;
        _problem := CASE
            WHEN _depth > 256 THEN 'graph exceeds the maximum nesting depth of 256'
            WHEN _seen > max_nodes THEN format('graph exceeds the maximum node count of %s', max_nodes)
            ELSE coalesce('failed to deserialize workflow step: ' || df_engine.fields_problem(_node),
                          df_engine.node_problem(_node)) END;
        IF _problem IS NOT NULL THEN
            RETURN format('%s: %s', _path, _problem);
        ELSIF _node ? 'left_node' THEN
            -- Branches beyond the limit need not be put on the stack: those before them will exceed it.
            _extra := coalesce(nullif(_node -> 'extra_nodes', 'null'), '[]');
            FOR _i IN REVERSE least(jsonb_array_length(_extra), max_nodes - _seen + 1) - 1 .. 0 LOOP
                _top := _top + 1;
                _nodes[_top] := _extra -> _i;
                _paths[_top] := format('%s.extra_nodes[%s]', _path, _i);
                _depths[_top] := _depth + 1;
            END LOOP;
            FOREACH _member IN ARRAY ARRAY['condition_node', 'right_node', 'left_node'] LOOP
                CONTINUE WHEN coalesce(jsonb_typeof(_node -> _member), 'null') = 'null';
                _top := _top + 1;
                _nodes[_top] := _node -> _member;
                _paths[_top] := format('%s.%s', _path, CASE _member
                    WHEN 'left_node' THEN 'left' WHEN 'right_node' THEN 'right' ELSE _member END);
                _depths[_top] := _depth + 1;
            END LOOP;
        END IF;
    END LOOP;
    RETURN NULL;
END $$;


ALTER FUNCTION df_engine.tree_problem(root jsonb, max_nodes integer) OWNER TO perdure_owner;

--
-- Name: unconsumed(smallint, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.unconsumed(_bucket smallint, _instance_id text) RETURNS TABLE(name text, execution_id integer, seq integer)
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        WITH events AS MATERIALIZED (
            SELECT h.execution_id, h.seq, h.kind, h.payload::json AS data
            FROM df_engine.visible_instances i
            JOIN df_engine.visible_history h ON h.bucket = i.bucket AND h.instance_id = i.instance_id
                 AND h.execution_id = i.execution_id
            WHERE i.bucket = _bucket AND i.instance_id = _instance_id AND i.ended_at IS NULL
              AND h.kind IN ('ExecutionStarted', 'SignalReceived', 'SignalConsumed')
        )
        SELECT m.name, m.execution_id, m.seq
        FROM (SELECT e.data->>'name' AS name, e.execution_id, e.seq FROM events e WHERE e.kind = 'SignalReceived'
              UNION ALL
              SELECT c.value->>0, (c.value #>> '{1,0}')::integer, (c.value #>> '{1,1}')::integer
              FROM events e CROSS JOIN LATERAL json_array_elements(e.data->'signals') c
              WHERE e.kind = 'ExecutionStarted') m
        WHERE NOT EXISTS (SELECT FROM events e
                          WHERE e.kind = 'SignalConsumed' AND (e.data #>> '{message,0}')::integer = m.execution_id
                            AND (e.data #>> '{message,1}')::integer = m.seq)
        ORDER BY m.execution_id, m.seq;
END $$;


ALTER FUNCTION df_engine.unconsumed(_bucket smallint, _instance_id text) OWNER TO perdure_owner;

--
-- Name: unknown_type_problem(text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.unknown_type_problem(node_type text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN format('Unknown node_type ''%s''. Valid types: SQL, THEN, IF, JOIN, LOOP, BREAK, RACE, SLEEP, WAIT_SCHEDULE, '
                  'HTTP, HTTP_MULTIPART, SIGNAL, WAIT_INSTANCE', node_type);
END $$;


ALTER FUNCTION df_engine.unknown_type_problem(node_type text) OWNER TO perdure_owner;

--
-- Name: user_privileges(); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.user_privileges() RETURNS TABLE(privilege text, object text)
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


ALTER FUNCTION df_engine.user_privileges() OWNER TO perdure_owner;

--
-- Name: visible_bucket(text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.visible_bucket(_instance_id text) RETURNS smallint
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
BEGIN
    IF _instance_id !~ '^[0-9a-f]{8,32}$' THEN
        RETURN NULL;
    END IF;
    RETURN (SELECT i.bucket FROM df_engine.visible_instances i
            WHERE i.bucket = df_engine.bucket_of(_instance_id) AND i.instance_id = _instance_id);
END $_$;


ALTER FUNCTION df_engine.visible_bucket(_instance_id text) OWNER TO perdure_owner;

--
-- Name: visible_outcome(smallint, text, integer, integer, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.visible_outcome(_bucket smallint, _instance_id text, _execution_id integer, _head_seq integer, _status text) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _kind text;
    _payload text;
BEGIN
    IF _status IN ('pending', 'running') THEN
        RETURN NULL;
    END IF;
    SELECT h.kind, h.payload INTO _kind, _payload FROM df_engine.visible_history h
        WHERE h.bucket = _bucket AND h.instance_id = _instance_id AND h.execution_id = _execution_id
          AND (h.seq = _head_seq OR h.kind = 'CancelRequested')
        ORDER BY h.seq DESC LIMIT 1;
    RETURN CASE _kind
        WHEN 'ExecutionCompleted' THEN df_engine.visible_text(_bucket, _instance_id, _payload::json->'result')
        WHEN 'ExecutionFailed' THEN _payload::json #>> '{failure,message}'
        WHEN 'ExecutionCancelled' THEN 'canceled: ' || (_payload::json->>'reason')
        WHEN 'CancelRequested' THEN 'canceled: ' || (_payload::json->>'reason') END;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN NULL;
END $$;


ALTER FUNCTION df_engine.visible_outcome(_bucket smallint, _instance_id text, _execution_id integer, _head_seq integer, _status text) OWNER TO perdure_owner;

--
-- Name: visible_output(text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.visible_output(_instance_id text) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
    _bucket smallint;
    _payload text;
BEGIN
    IF _instance_id !~ '^[0-9a-f]{8,32}$' THEN
        RETURN NULL;
    END IF;
    SELECT h.bucket, h.payload INTO _bucket, _payload
        FROM df_engine.visible_instances i
        JOIN df_engine.visible_history h ON h.bucket = i.bucket AND h.instance_id = i.instance_id
             AND h.execution_id = i.execution_id AND h.seq = i.head_seq
        WHERE i.bucket = df_engine.bucket_of(_instance_id) AND i.instance_id = _instance_id AND i.status = 'completed';
    RETURN df_engine.visible_text(_bucket, _instance_id, _payload::json->'result');
END $_$;


ALTER FUNCTION df_engine.visible_output(_instance_id text) OWNER TO perdure_owner;

--
-- Name: visible_text(smallint, text, json); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.visible_text(_bucket smallint, _instance_id text, _ref json) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _text text;
BEGIN
    IF _ref IS NULL THEN
        RETURN NULL;
    ELSIF json_typeof(_ref) = 'array' THEN
        SELECT r.body INTO _text FROM df_engine.visible_results r
            WHERE r.bucket = _bucket AND r.instance_id = _instance_id
              AND r.execution_id = (_ref->>0)::integer AND r.seq = (_ref->>1)::integer;
        RETURN coalesce(_text, '{"rows":[],"row_count":0}');
    ELSIF _ref->'j' IS NOT NULL THEN
        SELECT '[' || coalesce(string_agg(df_engine.visible_text(_bucket, _instance_id, j.value), ',' ORDER BY j.ordinality), '') || ']'
            INTO _text FROM json_array_elements(_ref->'j') WITH ORDINALITY j;
        RETURN _text;
    END IF;
    RETURN _ref->>'v';
END $$;


ALTER FUNCTION df_engine.visible_text(_bucket smallint, _instance_id text, _ref json) OWNER TO perdure_owner;

--
-- Name: wait_target(df_engine.instances, text, json); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.wait_target(_i df_engine.instances, _target text, _ref json) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF _target IS NULL THEN
        _target := df_engine.result_text(_i.bucket, _i.instance_id, _ref)::json #>> '{}';
    END IF;
    RETURN coalesce(left(_target, 200), '(null)');
END $$;


ALTER FUNCTION df_engine.wait_target(_i df_engine.instances, _target text, _ref json) OWNER TO perdure_owner;

--
-- Name: wake(); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.wake() RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF EXISTS (SELECT FROM df_engine.workers w
               WHERE w.idle AND w.beat_at > clock_timestamp() - make_interval(secs => w.lease_seconds))
       AND df_engine.setting('notify') = 'on' THEN
        PERFORM pg_notify('df_wake', '');
    END IF;
END $$;


ALTER FUNCTION df_engine.wake() OWNER TO perdure_owner;

--
-- Name: wake_holders(); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.wake_holders() RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF df_engine.setting('notify') = 'on' THEN
        PERFORM pg_notify('df_wake', 'leases');
    END IF;
END $$;


ALTER FUNCTION df_engine.wake_holders() OWNER TO perdure_owner;

--
-- Name: wake_trigger(); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.wake_trigger() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    PERFORM df_engine.wake();
    RETURN NULL;
END $$;


ALTER FUNCTION df_engine.wake_trigger() OWNER TO perdure_owner;

--
-- Name: warn_of_blocks(regrole); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.warn_of_blocks(_owner regrole) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _reason text;
BEGIN
    SELECT b.reason INTO _reason FROM df_engine.role_blocks b JOIN df_engine.workers w ON w.worker_id = b.worker_id
        WHERE b.owner = _owner AND w.beat_at > clock_timestamp() - make_interval(secs => w.lease_seconds) LIMIT 1;
    IF FOUND THEN
        RAISE WARNING 'a worker cannot log in as %, and its steps wait until one can: %', _owner, _reason;
    END IF;
END $$;


ALTER FUNCTION df_engine.warn_of_blocks(_owner regrole) OWNER TO perdure_owner;

--
-- Name: without_name(text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.without_name(node text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
    _at_end constant text := ',"result_name":"[A-Za-z_][A-Za-z0-9_]*"[}]$';
BEGIN
    IF df_engine.tail(node, 512) ~ _at_end THEN
        RETURN regexp_replace(node, _at_end, '}');
    ELSIF octet_length(node) > 4096 AND starts_with(node, '{"node_type":"') THEN
        RETURN node;
    ELSIF strpos(node, '"result_name"') = 0 OR (node::json -> 'result_name') IS NULL THEN
        RETURN node;
    END IF;
    RETURN (SELECT concat('{', string_agg(concat(to_json(m.key), ':', m.value), ',' ORDER BY m.at), '}')
            FROM json_each(node::json) WITH ORDINALITY AS m (key, value, at) WHERE m.key <> 'result_name');
END $_$;


ALTER FUNCTION df_engine.without_name(node text) OWNER TO perdure_owner;

--
-- Name: worker_of(bigint, text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.worker_of(_worker_id bigint, _key text) RETURNS df_engine.workers
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _w df_engine.workers;
BEGIN
    SELECT * INTO _w FROM df_engine.workers w WHERE w.worker_id = _worker_id;
    IF NOT FOUND OR _w.key_hash IS DISTINCT FROM sha256(convert_to(_key, 'UTF8')) THEN -- NULL is no key
        RAISE EXCEPTION 'df: worker % is not registered', _worker_id USING ERRCODE = 'DF010';
    END IF;
    RETURN _w;
END $$;


ALTER FUNCTION df_engine.worker_of(_worker_id bigint, _key text) OWNER TO perdure_owner;

--
-- Name: worker_privileges(); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.worker_privileges() RETURNS TABLE(privilege text, object text)
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN QUERY
    SELECT 'USAGE'::text, format('SCHEMA %I', s.name) FROM (VALUES ('df'::name), ('df_engine')) AS s (name)
    UNION ALL
    SELECT 'EXECUTE', format('FUNCTION %s', p.oid::regprocedure)
    FROM pg_proc p WHERE p.pronamespace = 'df_engine'::regnamespace AND right(p.proname, 3) = '_v1'
    UNION ALL
    SELECT u.privilege, u.object FROM df_engine.user_privileges() u WHERE u.object = 'df.ingress_workers';
END $$;


ALTER FUNCTION df_engine.worker_privileges() OWNER TO perdure_owner;

--
-- Name: wrap(text); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.wrap(operand text) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _mark text;
BEGIN
    IF df_engine.looks_like_json(operand) THEN
        IF octet_length(operand) > 4096 AND starts_with(operand, '{"node_type":"') AND df_engine.tail(operand, 1) = '}' THEN
            RETURN operand;
        ELSIF df_engine.is_envelope(operand) THEN
            RETURN btrim(operand, E' \t\n\r');
        END IF;
    ELSE
        _mark := current_setting('df.non_future_helper', true);
        IF _mark <> '' THEN
            PERFORM df_engine.refuse_helper(operand, _mark);
        END IF;
    END IF;
    RETURN concat('{"node_type":"SQL","query":', to_json(operand), '}');
END $$;


ALTER FUNCTION df_engine.wrap(operand text) OWNER TO perdure_owner;

--
-- Name: wrapped(text[]); Type: FUNCTION; Schema: df_engine; Owner: perdure_owner
--

CREATE FUNCTION df_engine.wrapped(operands text[]) RETURNS text[]
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    _operand text;
    _nodes text[] := ARRAY[]::text[];
BEGIN
    FOREACH _operand IN ARRAY operands LOOP
        IF _operand IS NULL THEN
            RETURN NULL;
        END IF;
        _nodes := _nodes || df_engine.wrap(_operand);
    END LOOP;
    RETURN _nodes;
END $$;


ALTER FUNCTION df_engine.wrapped(operands text[]) OWNER TO perdure_owner;

--
-- Name: !>; Type: OPERATOR; Schema: public; Owner: perdure_owner
--

CREATE OPERATOR public.!> (
    FUNCTION = df.if_else_op,
    LEFTARG = text,
    RIGHTARG = text
);


ALTER OPERATOR public.!> (text, text) OWNER TO perdure_owner;

--
-- Name: &; Type: OPERATOR; Schema: public; Owner: perdure_owner
--

CREATE OPERATOR public.& (
    FUNCTION = df."join",
    LEFTARG = text,
    RIGHTARG = text
);


ALTER OPERATOR public.& (text, text) OWNER TO perdure_owner;

--
-- Name: ?>; Type: OPERATOR; Schema: public; Owner: perdure_owner
--

CREATE OPERATOR public.?> (
    FUNCTION = df.if_then_op,
    LEFTARG = text,
    RIGHTARG = text
);


ALTER OPERATOR public.?> (text, text) OWNER TO perdure_owner;

--
-- Name: @>; Type: OPERATOR; Schema: public; Owner: perdure_owner
--

CREATE OPERATOR public.@> (
    FUNCTION = df.loop_prefix_op,
    RIGHTARG = text
);


ALTER OPERATOR public.@> (NONE, text) OWNER TO perdure_owner;

--
-- Name: |; Type: OPERATOR; Schema: public; Owner: perdure_owner
--

CREATE OPERATOR public.| (
    FUNCTION = df.race,
    LEFTARG = text,
    RIGHTARG = text
);


ALTER OPERATOR public.| (text, text) OWNER TO perdure_owner;

--
-- Name: |=>; Type: OPERATOR; Schema: public; Owner: perdure_owner
--

CREATE OPERATOR public.|=> (
    FUNCTION = df.as_op,
    LEFTARG = text,
    RIGHTARG = text
);


ALTER OPERATOR public.|=> (text, text) OWNER TO perdure_owner;

--
-- Name: ~>; Type: OPERATOR; Schema: public; Owner: perdure_owner
--

CREATE OPERATOR public.~> (
    FUNCTION = df.seq,
    LEFTARG = text,
    RIGHTARG = text
);


ALTER OPERATOR public.~> (text, text) OWNER TO perdure_owner;

--
-- Name: visible_workers; Type: VIEW; Schema: df_engine; Owner: perdure_owner
--

CREATE VIEW df_engine.visible_workers WITH (security_barrier='true') AS
 SELECT w.worker_id,
    w.login,
    w.serves_all,
    w.release,
    w.interpreter,
    w.host,
    w.pid,
    w.slots,
    w.started_at,
    w.beat_at,
    w.idle,
    w.draining,
    (w.beat_at > (clock_timestamp() - make_interval(secs => w.lease_seconds))) AS alive
   FROM df_engine.workers w
  WHERE (w.serves_all OR ((w.login)::oid = ((quote_ident((CURRENT_USER)::text))::regrole)::oid) OR ( SELECT df_engine.sees_all() AS sees_all));


ALTER TABLE df_engine.visible_workers OWNER TO perdure_owner;

--
-- Name: _worker_epoch; Type: VIEW; Schema: df; Owner: perdure_owner
--

CREATE VIEW df._worker_epoch WITH (security_barrier='true') AS
 SELECT (('00000000-0000-4000-8000-'::text || lpad(to_hex(w.worker_id), 12, '0'::text)))::uuid AS epoch_id,
    w.started_at,
    w.beat_at AS last_seen_at
   FROM df_engine.visible_workers w
  ORDER BY w.started_at DESC, w.worker_id DESC
 LIMIT 1;


ALTER TABLE df._worker_epoch OWNER TO perdure_owner;

--
-- Name: _worker_ready; Type: VIEW; Schema: df; Owner: perdure_owner
--

CREATE VIEW df._worker_ready WITH (security_barrier='true') AS
 SELECT true AS sentinel,
    1 AS schema_version,
    min(w.started_at) AS initialized_at
   FROM df_engine.visible_workers w
  WHERE (w.serves_all AND w.alive)
 HAVING (count(*) > 0);


ALTER TABLE df._worker_ready OWNER TO perdure_owner;

--
-- Name: http_policy; Type: VIEW; Schema: df; Owner: perdure_owner
--

CREATE VIEW df.http_policy WITH (security_barrier='true') AS
 SELECT p.rule_no,
    p.role_name,
    p.action,
    p.host,
    p.network,
    p.port_low,
    p.port_high,
    p.note
   FROM df_engine.http_policy p
  WHERE (df_engine.is_administrator() OR (COALESCE(has_function_privilege((to_regprocedure('df.http(text,text,text,jsonb,integer)'::text))::oid, 'EXECUTE'::text), false) AND ((p.role_name IS NULL) OR (EXISTS ( SELECT
           FROM pg_roles r
          WHERE ((r.rolname = p.role_name) AND pg_has_role(r.oid, 'USAGE'::text)))))));


ALTER TABLE df.http_policy OWNER TO perdure_owner;

--
-- Name: ingress_cancels; Type: VIEW; Schema: df; Owner: perdure_owner
--

CREATE VIEW df.ingress_cancels WITH (security_barrier='true') AS
 SELECT NULL::regrole AS owner,
    NULL::text AS instance_id,
    NULL::text AS reason,
    NULL::text AS outcome
  WHERE false;


ALTER TABLE df.ingress_cancels OWNER TO perdure_owner;

--
-- Name: ingress_resumes; Type: VIEW; Schema: df; Owner: perdure_owner
--

CREATE VIEW df.ingress_resumes WITH (security_barrier='true') AS
 SELECT NULL::regrole AS owner,
    NULL::text AS instance_id
  WHERE false;


ALTER TABLE df.ingress_resumes OWNER TO perdure_owner;

--
-- Name: ingress_secrets; Type: VIEW; Schema: df; Owner: perdure_owner
--

CREATE VIEW df.ingress_secrets WITH (security_barrier='true') AS
 SELECT NULL::regrole AS owner,
    NULL::text AS op,
    NULL::text AS name,
    NULL::text AS sealed
  WHERE false;


ALTER TABLE df.ingress_secrets OWNER TO perdure_owner;

--
-- Name: ingress_signals; Type: VIEW; Schema: df; Owner: perdure_owner
--

CREATE VIEW df.ingress_signals WITH (security_barrier='true') AS
 SELECT NULL::regrole AS owner,
    NULL::text AS instance_id,
    NULL::text AS name,
    NULL::text AS data
  WHERE false;


ALTER TABLE df.ingress_signals OWNER TO perdure_owner;

--
-- Name: ingress_starts; Type: VIEW; Schema: df; Owner: perdure_owner
--

CREATE VIEW df.ingress_starts WITH (security_barrier='true') AS
 SELECT NULL::regrole AS owner,
    NULL::text AS instance_id,
    NULL::text AS graph,
    NULL::text AS label,
    NULL::text AS database
  WHERE false;


ALTER TABLE df.ingress_starts OWNER TO perdure_owner;

--
-- Name: ingress_vars; Type: VIEW; Schema: df; Owner: perdure_owner
--

CREATE VIEW df.ingress_vars AS
 SELECT NULL::text AS op,
    NULL::text AS name,
    NULL::text AS value,
    NULL::regrole AS owner
  WHERE false;


ALTER TABLE df.ingress_vars OWNER TO perdure_owner;

--
-- Name: ingress_workers; Type: VIEW; Schema: df; Owner: perdure_owner
--

CREATE VIEW df.ingress_workers WITH (security_barrier='true') AS
 SELECT NULL::regrole AS owner,
    NULL::text AS key_hash,
    NULL::text AS release,
    NULL::integer AS interpreter,
    NULL::text AS host,
    NULL::integer AS pid,
    NULL::integer AS slots,
    NULL::double precision AS lease_seconds,
    NULL::text AS only_role,
    NULL::bigint AS instance_id
  WHERE false;


ALTER TABLE df.ingress_workers OWNER TO perdure_owner;

--
-- Name: history; Type: TABLE; Schema: df_engine; Owner: perdure_owner
--

CREATE TABLE df_engine.history (
    bucket smallint NOT NULL,
    instance_id text NOT NULL,
    execution_id integer NOT NULL,
    seq integer NOT NULL,
    kind text NOT NULL,
    payload text NOT NULL,
    recorded_at timestamp with time zone NOT NULL
);


ALTER TABLE df_engine.history OWNER TO perdure_owner;

--
-- Name: starts; Type: TABLE; Schema: df_engine; Owner: perdure_owner
--

CREATE TABLE df_engine.starts (
    bucket smallint NOT NULL,
    instance_id text NOT NULL,
    owner regrole NOT NULL,
    database text,
    label text,
    graph text NOT NULL,
    variables text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT starts_instance_id_check CHECK ((instance_id ~ '^[0-9a-f]{8,32}$'::text))
);


ALTER TABLE df_engine.starts OWNER TO perdure_owner;

--
-- Name: instances; Type: VIEW; Schema: df; Owner: perdure_owner
--

CREATE VIEW df.instances WITH (security_barrier='true') AS
 SELECT i.instance_id AS id,
    s.label,
    df_engine.node_id(0) AS root_node,
    i.status,
    i.owner AS submitted_by,
    s.database,
    s.created_at,
    i.updated_at,
        CASE
            WHEN (i.status = 'completed'::text) THEN i.ended_at
            ELSE NULL::timestamp with time zone
        END AS completed_at,
    i.ended_at,
    i.execution_id,
    i.parked,
    (df_engine.readable(e.payload) #>> '{failure,message}'::text[]) AS error,
    (df_engine.readable(e.payload) #>> '{failure,sqlstate}'::text[]) AS error_sqlstate,
    (df_engine.readable(e.payload) #>> '{failure,detail}'::text[]) AS error_detail,
    (df_engine.readable(e.payload) #>> '{failure,hint}'::text[]) AS error_hint,
    df_engine.readable_number((df_engine.readable(e.payload) #>> '{failure,attempt}'::text[])) AS error_attempt
   FROM ((df_engine.instances i
     JOIN df_engine.starts s ON (((s.bucket = i.bucket) AND (s.instance_id = i.instance_id))))
     LEFT JOIN df_engine.history e ON (((i.status = 'failed'::text) AND (e.bucket = i.bucket) AND (e.instance_id = i.instance_id) AND (e.execution_id = i.execution_id) AND (e.seq = i.head_seq))))
  WHERE (((i.owner)::oid = ((quote_ident((CURRENT_USER)::text))::regrole)::oid) OR ( SELECT df_engine.sees_all() AS sees_all));


ALTER TABLE df.instances OWNER TO perdure_owner;

--
-- Name: nodes; Type: VIEW; Schema: df; Owner: perdure_owner
--

CREATE VIEW df.nodes WITH (security_barrier='true') AS
 SELECT df_engine.node_id(n.index) AS id,
    i.instance_id,
    n.node_type,
    df_engine.shown_query(n.query, n.condition_index, n.extra_indexes) AS query,
    n.result_name,
    df_engine.node_id(n.left_index) AS left_node,
    df_engine.node_id(n.right_index) AS right_node,
    n.status,
    df_engine.node_result(i.bucket, i.instance_id, n.status, n.detail) AS result,
        CASE n.status
            WHEN 'failed'::text THEN (n.detail ->> 'message'::text)
            ELSE NULL::text
        END AS error,
    i.owner AS submitted_by,
    s.database,
    s.created_at,
    COALESCE(n.marked_at, s.created_at) AS updated_at,
        CASE
            WHEN (n.stamp IS NOT NULL) THEN jsonb_build_object('execution_id', n.stamp)
            ELSE NULL::jsonb
        END AS status_details,
        CASE n.status
            WHEN 'failed'::text THEN (n.detail ->> 'sqlstate'::text)
            ELSE NULL::text
        END AS error_sqlstate,
        CASE n.status
            WHEN 'failed'::text THEN (n.detail ->> 'detail'::text)
            ELSE NULL::text
        END AS error_detail,
        CASE n.status
            WHEN 'failed'::text THEN (n.detail ->> 'hint'::text)
            ELSE NULL::text
        END AS error_hint,
        CASE n.status
            WHEN 'failed'::text THEN df_engine.readable_number((n.detail ->> 'attempt'::text))
            ELSE NULL::integer
        END AS error_attempt
   FROM ((df_engine.starts s
     JOIN df_engine.instances i ON (((i.bucket = s.bucket) AND (i.instance_id = s.instance_id))))
     CROSS JOIN LATERAL df_engine.nodes_of(i.bucket, i.instance_id, i.execution_id, s.graph) n(index, node_type, query, result_name, left_index, right_index, condition_index, extra_indexes, status, stamp, detail, marked_at))
  WHERE (((i.owner)::oid = ((quote_ident((CURRENT_USER)::text))::regrole)::oid) OR ( SELECT df_engine.sees_all() AS sees_all));


ALTER TABLE df.nodes OWNER TO perdure_owner;

--
-- Name: settings; Type: VIEW; Schema: df; Owner: perdure_owner
--

CREATE VIEW df.settings WITH (security_barrier='true') AS
 SELECT s.name,
    s.value,
    s.default_value,
    s.kind,
    s.low,
    s.high,
    s.hidden,
    s.description
   FROM df_engine.settings s
  WHERE ((NOT s.hidden) OR df_engine.is_administrator());


ALTER TABLE df.settings OWNER TO perdure_owner;

--
-- Name: vars; Type: TABLE; Schema: df_engine; Owner: perdure_owner
--

CREATE TABLE df_engine.vars (
    owner regrole NOT NULL,
    name text NOT NULL,
    value text
);


ALTER TABLE df_engine.vars OWNER TO perdure_owner;

--
-- Name: vars; Type: VIEW; Schema: df; Owner: perdure_owner
--

CREATE VIEW df.vars WITH (security_barrier='true') AS
 SELECT v.name,
    v.value,
    v.owner
   FROM df_engine.vars v
  WHERE (((v.owner)::oid = ((quote_ident((CURRENT_USER)::text))::regrole)::oid) OR ( SELECT (r.rolsuper OR r.rolbypassrls)
           FROM pg_roles r
          WHERE (r.rolname = CURRENT_USER)));


ALTER TABLE df.vars OWNER TO perdure_owner;

--
-- Name: alembic_version; Type: TABLE; Schema: df_engine; Owner: perdure_owner
--

CREATE TABLE df_engine.alembic_version (
    version_num character varying(32) NOT NULL
);


ALTER TABLE df_engine.alembic_version OWNER TO perdure_owner;

--
-- Name: all_counts; Type: VIEW; Schema: df_engine; Owner: perdure_owner
--

CREATE VIEW df_engine.all_counts WITH (security_barrier='true') AS
 SELECT count(*) AS total,
    count(*) FILTER (WHERE (i.status = ANY (ARRAY['pending'::text, 'running'::text]))) AS running,
    count(*) FILTER (WHERE (i.status = 'completed'::text)) AS completed,
    count(*) FILTER (WHERE (i.status = ANY (ARRAY['failed'::text, 'cancelled'::text]))) AS failed,
    COALESCE(sum(i.execution_id), (0)::bigint) AS executions,
    ( SELECT
                CASE
                    WHEN (c.reltuples > (1000000)::double precision) THEN (c.reltuples)::bigint
                    ELSE ( SELECT count(*) AS count
                       FROM df_engine.history)
                END AS count
           FROM pg_class c
          WHERE (c.oid = ('df_engine.history'::regclass)::oid)) AS events
   FROM df_engine.instances i
  WHERE has_function_privilege(CURRENT_USER, 'df.metrics()'::text, 'EXECUTE'::text);


ALTER TABLE df_engine.all_counts OWNER TO perdure_owner;

--
-- Name: http_policy_rule_no_seq; Type: SEQUENCE; Schema: df_engine; Owner: perdure_owner
--

ALTER TABLE df_engine.http_policy ALTER COLUMN rule_no ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME df_engine.http_policy_rule_no_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: inbox; Type: TABLE; Schema: df_engine; Owner: perdure_owner
--

CREATE TABLE df_engine.inbox (
    bucket smallint NOT NULL,
    instance_id text NOT NULL,
    message_id bigint NOT NULL,
    name text NOT NULL,
    body text NOT NULL,
    sent_at timestamp with time zone NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='500');


ALTER TABLE df_engine.inbox OWNER TO perdure_owner;

--
-- Name: inbox_message_id_seq; Type: SEQUENCE; Schema: df_engine; Owner: perdure_owner
--

ALTER TABLE df_engine.inbox ALTER COLUMN message_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME df_engine.inbox_message_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: instance_waits; Type: TABLE; Schema: df_engine; Owner: perdure_owner
--

CREATE TABLE df_engine.instance_waits (
    bucket smallint NOT NULL,
    instance_id text NOT NULL,
    execution_id integer NOT NULL,
    seq integer NOT NULL,
    target_bucket smallint NOT NULL,
    target_id text NOT NULL
);


ALTER TABLE df_engine.instance_waits OWNER TO perdure_owner;

--
-- Name: listed_instances; Type: VIEW; Schema: df_engine; Owner: perdure_owner
--

CREATE VIEW df_engine.listed_instances WITH (security_barrier='true') AS
 SELECT s.bucket,
    s.instance_id,
    s.owner,
    s.label,
    i.status,
    s.created_at,
    i.ended_at,
    i.execution_id,
    i.head_seq
   FROM (df_engine.starts s
     CROSS JOIN LATERAL ( SELECT k.status,
            k.ended_at,
            k.execution_id,
            k.head_seq
           FROM df_engine.instances k
          WHERE ((k.bucket = s.bucket) AND (k.instance_id = s.instance_id))
         LIMIT 1) i)
  WHERE (((s.owner)::oid = ((quote_ident((CURRENT_USER)::text))::regrole)::oid) OR ( SELECT df_engine.sees_all() AS sees_all))
  ORDER BY s.created_at DESC, s.instance_id;


ALTER TABLE df_engine.listed_instances OWNER TO perdure_owner;

--
-- Name: observers; Type: TABLE; Schema: df_engine; Owner: perdure_owner
--

CREATE TABLE df_engine.observers (
    role regrole NOT NULL,
    operates boolean NOT NULL
);


ALTER TABLE df_engine.observers OWNER TO perdure_owner;

--
-- Name: results; Type: TABLE; Schema: df_engine; Owner: perdure_owner
--

CREATE TABLE df_engine.results (
    bucket smallint NOT NULL,
    instance_id text NOT NULL,
    execution_id integer NOT NULL,
    seq integer NOT NULL,
    body text NOT NULL
);


ALTER TABLE df_engine.results OWNER TO perdure_owner;

--
-- Name: timers; Type: TABLE; Schema: df_engine; Owner: perdure_owner
--

CREATE TABLE df_engine.timers (
    bucket smallint NOT NULL,
    instance_id text NOT NULL,
    seq integer NOT NULL,
    execution_id integer NOT NULL,
    due_at timestamp with time zone NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='500');


ALTER TABLE df_engine.timers OWNER TO perdure_owner;

--
-- Name: orphans; Type: VIEW; Schema: df_engine; Owner: perdure_owner
--

CREATE VIEW df_engine.orphans WITH (security_barrier='true') AS
 SELECT o.bucket,
    o.instance_id,
    o.kind
   FROM ( SELECT DISTINCT r.bucket,
            r.instance_id,
            'history'::text AS kind
           FROM df_engine.history r
          WHERE (r.seq = 1)
        UNION ALL
         SELECT DISTINCT r.bucket,
            r.instance_id,
            'result'::text
           FROM df_engine.results r
        UNION ALL
         SELECT r.bucket,
            r.instance_id,
            'timer'::text
           FROM df_engine.timers r
        UNION ALL
         SELECT r.bucket,
            r.instance_id,
            'wait'::text
           FROM df_engine.instance_waits r
        UNION ALL
         SELECT r.bucket,
            r.instance_id,
            'start'::text
           FROM df_engine.starts r) o
  WHERE (( SELECT df_engine.sees_all() AS sees_all) AND (NOT (EXISTS ( SELECT
           FROM df_engine.instances i
          WHERE ((i.bucket = o.bucket) AND (i.instance_id = o.instance_id))))))
UNION ALL
 SELECT i.bucket,
    i.instance_id,
    'instance without a start'::text AS kind
   FROM df_engine.instances i
  WHERE (( SELECT df_engine.sees_all() AS sees_all) AND (NOT (EXISTS ( SELECT
           FROM df_engine.starts s
          WHERE ((s.bucket = i.bucket) AND (s.instance_id = i.instance_id))))));


ALTER TABLE df_engine.orphans OWNER TO perdure_owner;

--
-- Name: proxies; Type: TABLE; Schema: df_engine; Owner: perdure_owner
--

CREATE TABLE df_engine.proxies (
    login regrole NOT NULL,
    owner regrole NOT NULL
);


ALTER TABLE df_engine.proxies OWNER TO perdure_owner;

--
-- Name: role_blocks; Type: TABLE; Schema: df_engine; Owner: perdure_owner
--

CREATE TABLE df_engine.role_blocks (
    worker_id bigint NOT NULL,
    owner regrole NOT NULL,
    reason text NOT NULL,
    since timestamp with time zone NOT NULL
);


ALTER TABLE df_engine.role_blocks OWNER TO perdure_owner;

--
-- Name: secret_keys; Type: TABLE; Schema: df_engine; Owner: perdure_owner
--

CREATE TABLE df_engine.secret_keys (
    key_no integer NOT NULL,
    public_key bytea NOT NULL,
    created_at timestamp with time zone NOT NULL
);


ALTER TABLE df_engine.secret_keys OWNER TO perdure_owner;

--
-- Name: secret_keys_key_no_seq; Type: SEQUENCE; Schema: df_engine; Owner: perdure_owner
--

ALTER TABLE df_engine.secret_keys ALTER COLUMN key_no ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME df_engine.secret_keys_key_no_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: secrets; Type: TABLE; Schema: df_engine; Owner: perdure_owner
--

CREATE TABLE df_engine.secrets (
    owner regrole NOT NULL,
    name text NOT NULL,
    sealed bytea NOT NULL,
    set_at timestamp with time zone NOT NULL
);


ALTER TABLE df_engine.secrets OWNER TO perdure_owner;

--
-- Name: service_logins; Type: TABLE; Schema: df_engine; Owner: perdure_owner
--

CREATE TABLE df_engine.service_logins (
    login regrole NOT NULL
);


ALTER TABLE df_engine.service_logins OWNER TO perdure_owner;

--
-- Name: sessions; Type: TABLE; Schema: df_engine; Owner: perdure_owner
--

CREATE TABLE df_engine.sessions (
    worker_id bigint NOT NULL,
    owner regrole NOT NULL,
    backend_pid integer NOT NULL,
    backend_start timestamp with time zone NOT NULL
);


ALTER TABLE df_engine.sessions OWNER TO perdure_owner;

--
-- Name: tasks; Type: TABLE; Schema: df_engine; Owner: perdure_owner
--

CREATE TABLE df_engine.tasks (
    bucket smallint NOT NULL,
    instance_id text NOT NULL,
    seq integer NOT NULL,
    execution_id integer NOT NULL,
    task_no bigint NOT NULL,
    lane text NOT NULL,
    kind text NOT NULL,
    owner regrole NOT NULL,
    database text,
    queue text NOT NULL,
    interpreter smallint NOT NULL,
    input text,
    attempt integer DEFAULT 1 NOT NULL,
    losses integer DEFAULT 0 NOT NULL,
    autocommit boolean DEFAULT false NOT NULL,
    queued_at timestamp with time zone NOT NULL,
    first_failed_at timestamp with time zone,
    visible_at timestamp with time zone NOT NULL,
    worker_id bigint,
    token_hash bytea,
    leased_at timestamp with time zone
)
WITH (fillfactor='70', autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='500');


ALTER TABLE df_engine.tasks OWNER TO perdure_owner;

--
-- Name: tasks_task_no_seq; Type: SEQUENCE; Schema: df_engine; Owner: perdure_owner
--

ALTER TABLE df_engine.tasks ALTER COLUMN task_no ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME df_engine.tasks_task_no_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: visible_history; Type: VIEW; Schema: df_engine; Owner: perdure_owner
--

CREATE VIEW df_engine.visible_history WITH (security_barrier='true') AS
 SELECT h.bucket,
    h.instance_id,
    h.execution_id,
    h.seq,
    h.kind,
    h.payload,
    h.recorded_at
   FROM (df_engine.history h
     JOIN df_engine.instances i ON (((i.bucket = h.bucket) AND (i.instance_id = h.instance_id))))
  WHERE (((i.owner)::oid = ((quote_ident((CURRENT_USER)::text))::regrole)::oid) OR ( SELECT df_engine.sees_all() AS sees_all));


ALTER TABLE df_engine.visible_history OWNER TO perdure_owner;

--
-- Name: visible_inbox; Type: VIEW; Schema: df_engine; Owner: perdure_owner
--

CREATE VIEW df_engine.visible_inbox WITH (security_barrier='true') AS
 SELECT m.bucket,
    m.instance_id,
    m.message_id,
    m.name,
    m.body,
    m.sent_at
   FROM (df_engine.inbox m
     JOIN df_engine.instances i ON (((i.bucket = m.bucket) AND (i.instance_id = m.instance_id))))
  WHERE (((i.owner)::oid = ((quote_ident((CURRENT_USER)::text))::regrole)::oid) OR ( SELECT df_engine.sees_all() AS sees_all));


ALTER TABLE df_engine.visible_inbox OWNER TO perdure_owner;

--
-- Name: visible_instances; Type: VIEW; Schema: df_engine; Owner: perdure_owner
--

CREATE VIEW df_engine.visible_instances WITH (security_barrier='true') AS
 SELECT i.bucket,
    i.instance_id,
    i.owner,
    s.label,
    i.status,
    s.database,
    s.created_at,
    i.updated_at,
    i.ended_at,
    i.execution_id,
    i.head_seq,
    i.parked,
    s.graph,
    s.variables,
    i.interpreter,
    i.queue
   FROM (df_engine.instances i
     JOIN df_engine.starts s ON (((s.bucket = i.bucket) AND (s.instance_id = i.instance_id))))
  WHERE (((i.owner)::oid = ((quote_ident((CURRENT_USER)::text))::regrole)::oid) OR ( SELECT df_engine.sees_all() AS sees_all));


ALTER TABLE df_engine.visible_instances OWNER TO perdure_owner;

--
-- Name: visible_results; Type: VIEW; Schema: df_engine; Owner: perdure_owner
--

CREATE VIEW df_engine.visible_results WITH (security_barrier='true') AS
 SELECT r.bucket,
    r.instance_id,
    r.execution_id,
    r.seq,
    r.body
   FROM (df_engine.results r
     JOIN df_engine.instances i ON (((i.bucket = r.bucket) AND (i.instance_id = r.instance_id))))
  WHERE (((i.owner)::oid = ((quote_ident((CURRENT_USER)::text))::regrole)::oid) OR ( SELECT df_engine.sees_all() AS sees_all));


ALTER TABLE df_engine.visible_results OWNER TO perdure_owner;

--
-- Name: visible_role_blocks; Type: VIEW; Schema: df_engine; Owner: perdure_owner
--

CREATE VIEW df_engine.visible_role_blocks WITH (security_barrier='true') AS
 SELECT b.worker_id,
    b.owner,
    b.reason,
    b.since
   FROM df_engine.role_blocks b
  WHERE (((b.owner)::oid = ((quote_ident((CURRENT_USER)::text))::regrole)::oid) OR ( SELECT df_engine.sees_all() AS sees_all));


ALTER TABLE df_engine.visible_role_blocks OWNER TO perdure_owner;

--
-- Name: visible_secrets; Type: VIEW; Schema: df_engine; Owner: perdure_owner
--

CREATE VIEW df_engine.visible_secrets WITH (security_barrier='true') AS
 SELECT s.owner,
    s.name,
    s.set_at
   FROM df_engine.secrets s
  WHERE ((s.owner)::oid = ((quote_ident((CURRENT_USER)::text))::regrole)::oid);


ALTER TABLE df_engine.visible_secrets OWNER TO perdure_owner;

--
-- Name: visible_sessions; Type: VIEW; Schema: df_engine; Owner: perdure_owner
--

CREATE VIEW df_engine.visible_sessions WITH (security_barrier='true') AS
 SELECT s.worker_id,
    s.owner,
    s.backend_pid,
    s.backend_start
   FROM df_engine.sessions s
  WHERE (((s.owner)::oid = ((quote_ident((CURRENT_USER)::text))::regrole)::oid) OR ( SELECT df_engine.sees_all() AS sees_all));


ALTER TABLE df_engine.visible_sessions OWNER TO perdure_owner;

--
-- Name: visible_tasks; Type: VIEW; Schema: df_engine; Owner: perdure_owner
--

CREATE VIEW df_engine.visible_tasks WITH (security_barrier='true') AS
 SELECT t.bucket,
    t.instance_id,
    t.seq,
    t.execution_id,
    t.lane,
    t.kind,
    t.owner,
    t.attempt,
    t.losses,
    t.autocommit,
    t.queued_at,
    t.first_failed_at,
    t.visible_at,
    t.worker_id,
    t.leased_at,
    t.interpreter,
    t.queue
   FROM df_engine.tasks t
  WHERE (((t.owner)::oid = ((quote_ident((CURRENT_USER)::text))::regrole)::oid) OR ( SELECT df_engine.sees_all() AS sees_all));


ALTER TABLE df_engine.visible_tasks OWNER TO perdure_owner;

--
-- Name: visible_timers; Type: VIEW; Schema: df_engine; Owner: perdure_owner
--

CREATE VIEW df_engine.visible_timers WITH (security_barrier='true') AS
 SELECT t.bucket,
    t.instance_id,
    t.seq,
    t.execution_id,
    t.due_at
   FROM (df_engine.timers t
     JOIN df_engine.instances i ON (((i.bucket = t.bucket) AND (i.instance_id = t.instance_id))))
  WHERE (((i.owner)::oid = ((quote_ident((CURRENT_USER)::text))::regrole)::oid) OR ( SELECT df_engine.sees_all() AS sees_all));


ALTER TABLE df_engine.visible_timers OWNER TO perdure_owner;

--
-- Name: visible_waits; Type: VIEW; Schema: df_engine; Owner: perdure_owner
--

CREATE VIEW df_engine.visible_waits WITH (security_barrier='true') AS
 SELECT w.bucket,
    w.instance_id,
    w.execution_id,
    w.seq,
    w.target_bucket,
    w.target_id
   FROM (df_engine.instance_waits w
     JOIN df_engine.instances i ON (((i.bucket = w.bucket) AND (i.instance_id = w.instance_id))))
  WHERE (((i.owner)::oid = ((quote_ident((CURRENT_USER)::text))::regrole)::oid) OR ( SELECT df_engine.sees_all() AS sees_all));


ALTER TABLE df_engine.visible_waits OWNER TO perdure_owner;

--
-- Name: workers_worker_id_seq; Type: SEQUENCE; Schema: df_engine; Owner: perdure_owner
--

ALTER TABLE df_engine.workers ALTER COLUMN worker_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME df_engine.workers_worker_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: effects; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.effects (
    workflow text,
    step integer
);


ALTER TABLE public.effects OWNER TO postgres;

--
-- Name: ingress_cancels owner; Type: DEFAULT; Schema: df; Owner: perdure_owner
--

ALTER TABLE ONLY df.ingress_cancels ALTER COLUMN owner SET DEFAULT (quote_ident((CURRENT_USER)::text))::regrole;


--
-- Name: ingress_resumes owner; Type: DEFAULT; Schema: df; Owner: perdure_owner
--

ALTER TABLE ONLY df.ingress_resumes ALTER COLUMN owner SET DEFAULT (quote_ident((CURRENT_USER)::text))::regrole;


--
-- Name: ingress_secrets owner; Type: DEFAULT; Schema: df; Owner: perdure_owner
--

ALTER TABLE ONLY df.ingress_secrets ALTER COLUMN owner SET DEFAULT (quote_ident((CURRENT_USER)::text))::regrole;


--
-- Name: ingress_signals owner; Type: DEFAULT; Schema: df; Owner: perdure_owner
--

ALTER TABLE ONLY df.ingress_signals ALTER COLUMN owner SET DEFAULT (quote_ident((CURRENT_USER)::text))::regrole;


--
-- Name: ingress_starts owner; Type: DEFAULT; Schema: df; Owner: perdure_owner
--

ALTER TABLE ONLY df.ingress_starts ALTER COLUMN owner SET DEFAULT (quote_ident((CURRENT_USER)::text))::regrole;


--
-- Name: ingress_vars owner; Type: DEFAULT; Schema: df; Owner: perdure_owner
--

ALTER TABLE ONLY df.ingress_vars ALTER COLUMN owner SET DEFAULT (quote_ident((CURRENT_USER)::text))::regrole;


--
-- Name: ingress_workers owner; Type: DEFAULT; Schema: df; Owner: perdure_owner
--

ALTER TABLE ONLY df.ingress_workers ALTER COLUMN owner SET DEFAULT (quote_ident((CURRENT_USER)::text))::regrole;


--
-- Data for Name: alembic_version; Type: TABLE DATA; Schema: df_engine; Owner: perdure_owner
--

COPY df_engine.alembic_version (version_num) FROM stdin;
0001
\.


--
-- Data for Name: history; Type: TABLE DATA; Schema: df_engine; Owner: perdure_owner
--

COPY df_engine.history (bucket, instance_id, execution_id, seq, kind, payload, recorded_at) FROM stdin;
194	c28bd287	1	1	ExecutionStarted	{"interpreter":1,"floor_ms":1000,"max_iterations":100000}	2026-11-28 04:55:52.489498+00
24	18a8bd5f	1	1	ExecutionStarted	{"interpreter":1,"floor_ms":1000,"max_iterations":100000}	2026-11-28 04:55:52.514477+00
253	fde5c460	1	1	ExecutionStarted	{"interpreter":1,"floor_ms":1000,"max_iterations":100000}	2026-11-28 04:55:52.52464+00
196	c44c47da	1	1	ExecutionStarted	{"interpreter":1,"floor_ms":1000,"max_iterations":100000}	2026-11-28 04:55:52.527982+00
19	13b58704	1	1	ExecutionStarted	{"interpreter":1,"floor_ms":1000,"max_iterations":100000}	2026-11-28 04:55:52.536621+00
34	225e9e54	1	1	ExecutionStarted	{"interpreter":1,"floor_ms":1000,"max_iterations":100000}	2026-11-28 04:55:52.544308+00
122	7a6da402	1	1	ExecutionStarted	{"interpreter":1,"floor_ms":1000,"max_iterations":100000}	2026-11-28 04:55:52.553123+00
194	c28bd287	1	2	TurnTaken	{"now":"2026-11-28T04:55:54.037440+00:00","marks":[[0,"r"],[1,"r"],[2,"r"]]}	2026-11-28 04:55:54.054852+00
194	c28bd287	1	3	ActivityScheduled	{"node":2,"kind":"sql"}	2026-11-28 04:55:54.054852+00
24	18a8bd5f	1	2	TurnTaken	{"now":"2026-11-28T04:55:54.039167+00:00","marks":[[0,"r"],[1,"r"],[2,"r"]]}	2026-11-28 04:55:54.057275+00
24	18a8bd5f	1	3	ActivityScheduled	{"node":2,"kind":"sql"}	2026-11-28 04:55:54.057275+00
253	fde5c460	1	2	TurnTaken	{"now":"2026-11-28T04:55:54.044750+00:00","marks":[[0,"r"],[1,"r"],[2,"r","::1::9840dcf7::1"],[5,"r","::1::72e74a0a::1"],[4,"r","::1::9840dcf7::1::d4afd059::1"],[3,"r","::1::9840dcf7::1::367856a8::1"],[6,"r","::1::72e74a0a::1"]]}	2026-11-28 04:55:54.05782+00
253	fde5c460	1	3	BranchOpened	{"node":1,"branches":2}	2026-11-28 04:55:54.05782+00
253	fde5c460	1	4	BranchOpened	{"node":2,"branches":2}	2026-11-28 04:55:54.05782+00
253	fde5c460	1	5	ActivityScheduled	{"node":3,"kind":"sql"}	2026-11-28 04:55:54.05782+00
253	fde5c460	1	6	SignalAwaited	{"node":4,"name":"go"}	2026-11-28 04:55:54.05782+00
253	fde5c460	1	7	ActivityScheduled	{"node":6,"kind":"sql"}	2026-11-28 04:55:54.05782+00
196	c44c47da	1	2	TurnTaken	{"now":"2026-11-28T04:55:54.045292+00:00","marks":[[0,"r"],[1,"r"],[2,"r","::1::9840dcf7::1"],[3,"r","::1::367856a8::1"]]}	2026-11-28 04:55:54.059122+00
196	c44c47da	1	3	BranchOpened	{"node":1,"branches":2}	2026-11-28 04:55:54.059122+00
196	c44c47da	1	4	SignalAwaited	{"node":2,"name":"go"}	2026-11-28 04:55:54.059122+00
196	c44c47da	1	5	TimerSet	{"node":3,"due":"2026-11-28T05:55:54.045292+00:00"}	2026-11-28 04:55:54.059122+00
19	13b58704	1	2	TurnTaken	{"now":"2026-11-28T04:55:54.045769+00:00","marks":[[0,"r"],[1,"r"]]}	2026-11-28 04:55:54.059942+00
19	13b58704	1	3	ActivityScheduled	{"node":1,"kind":"sql"}	2026-11-28 04:55:54.059942+00
34	225e9e54	1	2	TurnTaken	{"now":"2026-11-28T04:55:54.046326+00:00","marks":[[0,"r"],[1,"r"],[2,"r"]]}	2026-11-28 04:55:54.060422+00
34	225e9e54	1	3	ActivityScheduled	{"node":2,"kind":"sql"}	2026-11-28 04:55:54.060422+00
122	7a6da402	1	2	TurnTaken	{"now":"2026-11-28T04:55:54.046778+00:00","marks":[[0,"r"],[1,"r"]]}	2026-11-28 04:55:54.060866+00
122	7a6da402	1	3	SignalAwaited	{"node":1,"name":"go"}	2026-11-28 04:55:54.060866+00
122	7a6da402	1	4	TimerSet	{"node":1,"due":"2026-11-28T05:55:54.046778+00:00"}	2026-11-28 04:55:54.060866+00
19	13b58704	1	4	ActivityCompleted	{"of":3,"true":true,"rows":1}	2026-11-28 04:55:54.139064+00
24	18a8bd5f	1	4	ActivityCompleted	{"of":3,"true":false,"rows":0,"empty":true}	2026-11-28 04:55:54.152025+00
194	c28bd287	1	4	ActivityCompleted	{"of":3,"true":false,"rows":0,"empty":true}	2026-11-28 04:55:54.151459+00
19	13b58704	1	5	TurnTaken	{"now":"2026-11-28T04:55:54.139064+00:00","marks":[[1,"c",null,[1,3]],[2,"r","::1::9840dcf7::1"],[3,"r","::1::9840dcf7::1"],[4,"r","::1::9840dcf7::1"]]}	2026-11-28 04:55:54.161708+00
19	13b58704	1	6	ActivityScheduled	{"node":4,"kind":"sql","names":{"n":[1,3]}}	2026-11-28 04:55:54.161708+00
34	225e9e54	1	4	ActivityCompleted	{"of":3,"true":false,"rows":0,"empty":true}	2026-11-28 04:55:54.151144+00
24	18a8bd5f	1	5	TurnTaken	{"now":"2026-11-28T04:55:54.152025+00:00","marks":[[2,"c",null,{"v":"{\\"rows\\":[],\\"row_count\\":0}"}],[3,"r"]]}	2026-11-28 04:55:54.165867+00
24	18a8bd5f	1	6	TimerSet	{"node":3,"due":"2026-11-28T04:55:59.152025+00:00"}	2026-11-28 04:55:54.165867+00
19	13b58704	1	7	ActivityCompleted	{"of":6,"true":false,"rows":0,"empty":true}	2026-11-28 04:55:54.184517+00
194	c28bd287	1	5	TurnTaken	{"now":"2026-11-28T04:55:54.151459+00:00","marks":[[2,"c",null,{"v":"{\\"rows\\":[],\\"row_count\\":0}"}],[3,"r"]]}	2026-11-28 04:55:54.187934+00
194	c28bd287	1	6	SignalAwaited	{"node":3,"name":"go"}	2026-11-28 04:55:54.187934+00
34	225e9e54	1	5	TurnTaken	{"now":"2026-11-28T04:55:54.151144+00:00","marks":[[2,"c",null,{"v":"{\\"rows\\":[],\\"row_count\\":0}"}],[3,"r"]]}	2026-11-28 04:55:54.18645+00
34	225e9e54	1	6	SignalAwaited	{"node":3,"name":"go"}	2026-11-28 04:55:54.18645+00
253	fde5c460	1	8	ActivityCompleted	{"of":5,"true":true,"rows":1}	2026-11-28 04:55:54.206792+00
19	13b58704	1	8	TurnTaken	{"now":"2026-11-28T04:55:54.184517+00:00","marks":[[4,"c","::1::9840dcf7::1",{"v":"{\\"rows\\":[],\\"row_count\\":0}"}],[5,"r","::1::9840dcf7::1"]]}	2026-11-28 04:55:54.212655+00
19	13b58704	1	9	SignalAwaited	{"node":5,"name":"go"}	2026-11-28 04:55:54.212655+00
253	fde5c460	1	9	ActivityCompleted	{"of":7,"true":true,"rows":1}	2026-11-28 04:55:54.224201+00
253	fde5c460	1	10	TurnTaken	{"now":"2026-11-28T04:55:54.244435+00:00","marks":[[3,"c","::1::9840dcf7::1::367856a8::1",[1,5]],[6,"c","::1::72e74a0a::1",[1,7]],[7,"r","::1::72e74a0a::1"]]}	2026-11-28 04:55:54.24802+00
253	fde5c460	1	11	TimerSet	{"node":7,"due":"2026-11-28T04:55:58.244435+00:00"}	2026-11-28 04:55:54.24802+00
90	5a25b433	1	1	ExecutionStarted	{"interpreter":1,"floor_ms":1000,"max_iterations":100000}	2026-11-28 04:55:54.296206+00
\.


--
-- Data for Name: http_policy; Type: TABLE DATA; Schema: df_engine; Owner: perdure_owner
--

COPY df_engine.http_policy (rule_no, role_name, action, host, network, port_low, port_high, note) FROM stdin;
\.


--
-- Data for Name: inbox; Type: TABLE DATA; Schema: df_engine; Owner: perdure_owner
--

COPY df_engine.inbox (bucket, instance_id, message_id, name, body, sent_at) FROM stdin;
\.


--
-- Data for Name: instance_waits; Type: TABLE DATA; Schema: df_engine; Owner: perdure_owner
--

COPY df_engine.instance_waits (bucket, instance_id, execution_id, seq, target_bucket, target_id) FROM stdin;
\.


--
-- Data for Name: instances; Type: TABLE DATA; Schema: df_engine; Owner: perdure_owner
--

COPY df_engine.instances (bucket, instance_id, owner, database, queue, interpreter, status, execution_id, head_seq, parked, updated_at, ended_at) FROM stdin;
196	c44c47da	alice	\N	default	1	running	1	5	\N	2026-11-28 04:55:54.059122+00	\N
122	7a6da402	alice	\N	default	1	running	1	4	\N	2026-11-28 04:55:54.060866+00	\N
24	18a8bd5f	alice	\N	default	1	running	1	6	\N	2026-11-28 04:55:54.165867+00	\N
194	c28bd287	alice	\N	default	1	running	1	6	\N	2026-11-28 04:55:54.187934+00	\N
34	225e9e54	alice	\N	default	1	running	1	6	\N	2026-11-28 04:55:54.18645+00	\N
19	13b58704	alice	\N	default	1	running	1	9	\N	2026-11-28 04:55:54.212655+00	\N
253	fde5c460	alice	\N	default	1	running	1	11	\N	2026-11-28 04:55:54.24802+00	\N
90	5a25b433	alice	\N	default	1	pending	1	1	\N	2026-11-28 04:55:54.296206+00	\N
\.


--
-- Data for Name: observers; Type: TABLE DATA; Schema: df_engine; Owner: perdure_owner
--

COPY df_engine.observers (role, operates) FROM stdin;
\.


--
-- Data for Name: proxies; Type: TABLE DATA; Schema: df_engine; Owner: perdure_owner
--

COPY df_engine.proxies (login, owner) FROM stdin;
\.


--
-- Data for Name: results; Type: TABLE DATA; Schema: df_engine; Owner: perdure_owner
--

COPY df_engine.results (bucket, instance_id, execution_id, seq, body) FROM stdin;
19	13b58704	1	3	{"rows":[{"n":1}],"row_count":1}
253	fde5c460	1	5	{"rows":[{"?column?":1}],"row_count":1}
253	fde5c460	1	7	{"rows":[{"?column?":2}],"row_count":1}
\.


--
-- Data for Name: role_blocks; Type: TABLE DATA; Schema: df_engine; Owner: perdure_owner
--

COPY df_engine.role_blocks (worker_id, owner, reason, since) FROM stdin;
\.


--
-- Data for Name: secret_keys; Type: TABLE DATA; Schema: df_engine; Owner: perdure_owner
--

COPY df_engine.secret_keys (key_no, public_key, created_at) FROM stdin;
\.


--
-- Data for Name: secrets; Type: TABLE DATA; Schema: df_engine; Owner: perdure_owner
--

COPY df_engine.secrets (owner, name, sealed, set_at) FROM stdin;
\.


--
-- Data for Name: service_logins; Type: TABLE DATA; Schema: df_engine; Owner: perdure_owner
--

COPY df_engine.service_logins (login) FROM stdin;
\.


--
-- Data for Name: sessions; Type: TABLE DATA; Schema: df_engine; Owner: perdure_owner
--

COPY df_engine.sessions (worker_id, owner, backend_pid, backend_start) FROM stdin;
1	alice	1100	2026-11-28 04:55:54.082735+00
1	alice	1102	2026-11-28 04:55:54.103992+00
1	alice	1103	2026-11-28 04:55:54.107889+00
1	alice	1101	2026-11-28 04:55:54.094201+00
\.


--
-- Data for Name: settings; Type: TABLE DATA; Schema: df_engine; Owner: perdure_owner
--

COPY df_engine.settings (name, value, default_value, kind, low, high, hidden, description) FROM stdin;
max_user_connections	0	0	int	0	1000	f	SQL steps that run at the same time; the others wait. 0: as many as the workers have slots
execution_acquire_timeout	0	0	seconds	0	3600	f	How long a SQL step may wait for a slot before its node fails. 0: it waits
max_new_transaction_starts	2	2	int	1	1000	f	Launches by df.start(..., transaction_mode => 'new') at the same time
new_transaction_start_timeout	5	5	seconds	1	3600	f	How long such a launch waits for its turn before df.start() raises
new_transaction_dsn			text	\N	\N	f	How such a launch connects: the name of a foreign server, or a connection string without user and dbname
enable_superuser_instances	off	off	bool	\N	\N	t	Whether superusers may start workflows; their steps have all of a superuser's rights
list_instances_max_limit	1000	1000	int	1	1000000	f	The largest limit_count that df.list_instances() takes
retention_days	30	30	int	0	36500	f	Days that an instance which has ended is kept. 0: none are kept
retention_count	10000	10000	int	0	2147483647	f	Ended instances that are kept at most, the newest; counted besides retention_days
reconcile_interval	60	60	seconds	0	86400	f	Time between two looks for what can be cleared away. 0: never
notify	on	on	bool	\N	\N	f	Whether idle workers are woken by NOTIFY; without it they find work by asking
max_result_bytes	67108864	67108864	int	1024	1073741823	f	The largest result of one step
max_graph_nodes	10000	10000	int	1000	1000000	f	The most nodes that a graph may have
max_graph_bytes	67108864	67108864	int	1048576	209715200	f	The longest graph that df.start() takes
max_payload_bytes	16777216	16777216	int	1024	209715200	f	The largest signal data, and the largest value of a variable
hold_outbound	off	off	bool	\N	\N	f	Whether HTTP steps and steps in other databases wait, as after a restore; perdure fence sets it
http_enabled	on	on	bool	\N	\N	f	Whether df.http() and df.http_multipart() can be built and run
http_max_request_bytes	16777216	16777216	int	1024	1073741823	f	The largest body of an HTTP request
http_max_response_bytes	16777216	16777216	int	1024	1073741823	f	The largest body of an HTTP response
retry_total_seconds	15	15	seconds	0	86400	f	How long what is transient is tried again before the node fails. 0: once
loop_floor_ms	1000	1000	int	0	3600000	f	Shortest time of an iteration of a loop without a condition
loop_max_iterations	100000	100000	int	1	2147483647	f	Iterations after which a loop fails
\.


--
-- Data for Name: starts; Type: TABLE DATA; Schema: df_engine; Owner: perdure_owner
--

COPY df_engine.starts (bucket, instance_id, owner, database, label, graph, variables, created_at) FROM stdin;
194	c28bd287	alice	\N	\N	{"node_type":"THEN","left_node":{"node_type":"THEN","left_node":{"node_type":"SQL","query":"INSERT INTO effects VALUES ('signal', 1)"},"right_node":{"node_type":"SIGNAL","query":"{\\"signal_name\\":\\"go\\",\\"timeout_seconds\\":null}"},"result_name":"s"},"right_node":{"node_type":"SQL","query":"INSERT INTO effects SELECT 'signal', ($s::jsonb->'data'->>'n')::int"}}	{}	2026-11-28 04:55:52.489498+00
24	18a8bd5f	alice	\N	\N	{"node_type":"THEN","left_node":{"node_type":"THEN","left_node":{"node_type":"SQL","query":"INSERT INTO effects VALUES ('sleep', 1)"},"right_node":{"node_type":"SLEEP","query":"5"}},"right_node":{"node_type":"SQL","query":"INSERT INTO effects VALUES ('sleep', 2)"}}	{}	2026-11-28 04:55:52.514477+00
253	fde5c460	alice	\N	\N	{"node_type":"THEN","left_node":{"node_type":"JOIN","left_node":{"node_type":"JOIN","left_node":{"node_type":"SQL","query":"SELECT 1"},"right_node":{"node_type":"SIGNAL","query":"{\\"signal_name\\":\\"go\\",\\"timeout_seconds\\":null}"}},"right_node":{"node_type":"THEN","left_node":{"node_type":"SQL","query":"SELECT 2"},"right_node":{"node_type":"SLEEP","query":"4"}}},"right_node":{"node_type":"SQL","query":"INSERT INTO effects VALUES ('join', 1)"}}	{}	2026-11-28 04:55:52.52464+00
196	c44c47da	alice	\N	\N	{"node_type":"THEN","left_node":{"node_type":"RACE","left_node":{"node_type":"SIGNAL","query":"{\\"signal_name\\":\\"go\\",\\"timeout_seconds\\":null}"},"right_node":{"node_type":"SLEEP","query":"3600"}},"right_node":{"node_type":"SQL","query":"INSERT INTO effects VALUES ('race', 1)"}}	{}	2026-11-28 04:55:52.527982+00
19	13b58704	alice	\N	\N	{"node_type":"THEN","left_node":{"node_type":"SQL","query":"SELECT 1 AS n","result_name":"n"},"right_node":{"node_type":"LOOP","left_node":{"node_type":"THEN","left_node":{"node_type":"SQL","query":"INSERT INTO effects VALUES ('loop', $n)"},"right_node":{"node_type":"SIGNAL","query":"{\\"signal_name\\":\\"go\\",\\"timeout_seconds\\":null}"}},"condition_node":{"node_type":"SQL","query":"SELECT count(*) < 3 FROM effects WHERE workflow = 'loop'"}}}	{}	2026-11-28 04:55:52.536621+00
34	225e9e54	alice	\N	\N	{"node_type":"LOOP","left_node":{"node_type":"THEN","left_node":{"node_type":"SQL","query":"INSERT INTO effects VALUES ('root loop', 1)"},"right_node":{"node_type":"SIGNAL","query":"{\\"signal_name\\":\\"go\\",\\"timeout_seconds\\":null}"}},"condition_node":{"node_type":"SQL","query":"SELECT count(*) < 3 FROM effects WHERE workflow = 'root loop'"}}	{}	2026-11-28 04:55:52.544308+00
122	7a6da402	alice	\N	\N	{"node_type":"THEN","left_node":{"node_type":"SIGNAL","query":"{\\"signal_name\\":\\"go\\",\\"timeout_seconds\\":3600}","result_name":"s"},"right_node":{"node_type":"IF","left_node":{"node_type":"SQL","query":"SELECT 1"},"right_node":{"node_type":"SQL","query":"INSERT INTO effects VALUES ('condition', 1)"},"condition_node":{"node_type":"SQL","query":"$s.timed_out"}}}	{}	2026-11-28 04:55:52.553123+00
90	5a25b433	alice	\N	\N	{"node_type":"SQL","query":"INSERT INTO effects VALUES ('queued', 1)"}	{}	2026-11-28 04:55:54.296206+00
\.


--
-- Data for Name: tasks; Type: TABLE DATA; Schema: df_engine; Owner: perdure_owner
--

COPY df_engine.tasks (bucket, instance_id, seq, execution_id, task_no, lane, kind, owner, database, queue, interpreter, input, attempt, losses, autocommit, queued_at, first_failed_at, visible_at, worker_id, token_hash, leased_at) FROM stdin;
90	5a25b433	0	1	17	turn	turn	alice	\N	default	1	\N	1	0	f	2026-11-28 04:55:54.296206+00	\N	2026-11-28 04:55:54.296206+00	\N	\N	\N
\.


--
-- Data for Name: timers; Type: TABLE DATA; Schema: df_engine; Owner: perdure_owner
--

COPY df_engine.timers (bucket, instance_id, seq, execution_id, due_at) FROM stdin;
196	c44c47da	5	1	2026-11-28 05:55:54.045292+00
122	7a6da402	4	1	2026-11-28 05:55:54.046778+00
24	18a8bd5f	6	1	2026-11-28 04:55:59.152025+00
253	fde5c460	11	1	2026-11-28 04:55:58.244435+00
\.


--
-- Data for Name: vars; Type: TABLE DATA; Schema: df_engine; Owner: perdure_owner
--

COPY df_engine.vars (owner, name, value) FROM stdin;
\.


--
-- Data for Name: workers; Type: TABLE DATA; Schema: df_engine; Owner: perdure_owner
--

COPY df_engine.workers (worker_id, login, serves_all, key_hash, release, interpreter, host, pid, slots, lease_seconds, started_at, beat_at, idle, draining) FROM stdin;
1	alice	f	\\x2ae644120b88732272c317d035b3ace7392d9784d6409e889a83135088c01e91	0.1.0	1	vm	1057	4	8	2026-11-28 04:55:54.006345+00	2026-11-28 04:55:54.216085+00	t	f
\.


--
-- Data for Name: effects; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.effects (workflow, step) FROM stdin;
sleep	1
root loop	1
signal	1
loop	1
\.


--
-- Name: http_policy_rule_no_seq; Type: SEQUENCE SET; Schema: df_engine; Owner: perdure_owner
--

SELECT pg_catalog.setval('df_engine.http_policy_rule_no_seq', 1, false);


--
-- Name: inbox_message_id_seq; Type: SEQUENCE SET; Schema: df_engine; Owner: perdure_owner
--

SELECT pg_catalog.setval('df_engine.inbox_message_id_seq', 1, false);


--
-- Name: secret_keys_key_no_seq; Type: SEQUENCE SET; Schema: df_engine; Owner: perdure_owner
--

SELECT pg_catalog.setval('df_engine.secret_keys_key_no_seq', 1, false);


--
-- Name: tasks_task_no_seq; Type: SEQUENCE SET; Schema: df_engine; Owner: perdure_owner
--

SELECT pg_catalog.setval('df_engine.tasks_task_no_seq', 17, true);


--
-- Name: workers_worker_id_seq; Type: SEQUENCE SET; Schema: df_engine; Owner: perdure_owner
--

SELECT pg_catalog.setval('df_engine.workers_worker_id_seq', 1, true);


--
-- Name: alembic_version alembic_version_pkc; Type: CONSTRAINT; Schema: df_engine; Owner: perdure_owner
--

ALTER TABLE ONLY df_engine.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);


--
-- Name: history history_pkey; Type: CONSTRAINT; Schema: df_engine; Owner: perdure_owner
--

ALTER TABLE ONLY df_engine.history
    ADD CONSTRAINT history_pkey PRIMARY KEY (bucket, instance_id, execution_id, seq);


--
-- Name: http_policy http_policy_pkey; Type: CONSTRAINT; Schema: df_engine; Owner: perdure_owner
--

ALTER TABLE ONLY df_engine.http_policy
    ADD CONSTRAINT http_policy_pkey PRIMARY KEY (rule_no);


--
-- Name: instance_waits instance_waits_pkey; Type: CONSTRAINT; Schema: df_engine; Owner: perdure_owner
--

ALTER TABLE ONLY df_engine.instance_waits
    ADD CONSTRAINT instance_waits_pkey PRIMARY KEY (bucket, instance_id, seq);


--
-- Name: instances instances_pkey; Type: CONSTRAINT; Schema: df_engine; Owner: perdure_owner
--

ALTER TABLE ONLY df_engine.instances
    ADD CONSTRAINT instances_pkey PRIMARY KEY (bucket, instance_id);


--
-- Name: observers observers_pkey; Type: CONSTRAINT; Schema: df_engine; Owner: perdure_owner
--

ALTER TABLE ONLY df_engine.observers
    ADD CONSTRAINT observers_pkey PRIMARY KEY (role);


--
-- Name: proxies proxies_pkey; Type: CONSTRAINT; Schema: df_engine; Owner: perdure_owner
--

ALTER TABLE ONLY df_engine.proxies
    ADD CONSTRAINT proxies_pkey PRIMARY KEY (login);


--
-- Name: results results_pkey; Type: CONSTRAINT; Schema: df_engine; Owner: perdure_owner
--

ALTER TABLE ONLY df_engine.results
    ADD CONSTRAINT results_pkey PRIMARY KEY (bucket, instance_id, execution_id, seq);


--
-- Name: role_blocks role_blocks_pkey; Type: CONSTRAINT; Schema: df_engine; Owner: perdure_owner
--

ALTER TABLE ONLY df_engine.role_blocks
    ADD CONSTRAINT role_blocks_pkey PRIMARY KEY (worker_id, owner);


--
-- Name: secret_keys secret_keys_pkey; Type: CONSTRAINT; Schema: df_engine; Owner: perdure_owner
--

ALTER TABLE ONLY df_engine.secret_keys
    ADD CONSTRAINT secret_keys_pkey PRIMARY KEY (key_no);


--
-- Name: secret_keys secret_keys_public_key_key; Type: CONSTRAINT; Schema: df_engine; Owner: perdure_owner
--

ALTER TABLE ONLY df_engine.secret_keys
    ADD CONSTRAINT secret_keys_public_key_key UNIQUE (public_key);


--
-- Name: secrets secrets_pkey; Type: CONSTRAINT; Schema: df_engine; Owner: perdure_owner
--

ALTER TABLE ONLY df_engine.secrets
    ADD CONSTRAINT secrets_pkey PRIMARY KEY (owner, name);


--
-- Name: service_logins service_logins_pkey; Type: CONSTRAINT; Schema: df_engine; Owner: perdure_owner
--

ALTER TABLE ONLY df_engine.service_logins
    ADD CONSTRAINT service_logins_pkey PRIMARY KEY (login);


--
-- Name: sessions sessions_pkey; Type: CONSTRAINT; Schema: df_engine; Owner: perdure_owner
--

ALTER TABLE ONLY df_engine.sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (worker_id, backend_pid);


--
-- Name: settings settings_pkey; Type: CONSTRAINT; Schema: df_engine; Owner: perdure_owner
--

ALTER TABLE ONLY df_engine.settings
    ADD CONSTRAINT settings_pkey PRIMARY KEY (name);


--
-- Name: starts starts_pkey; Type: CONSTRAINT; Schema: df_engine; Owner: perdure_owner
--

ALTER TABLE ONLY df_engine.starts
    ADD CONSTRAINT starts_pkey PRIMARY KEY (bucket, instance_id);


--
-- Name: tasks tasks_pkey; Type: CONSTRAINT; Schema: df_engine; Owner: perdure_owner
--

ALTER TABLE ONLY df_engine.tasks
    ADD CONSTRAINT tasks_pkey PRIMARY KEY (bucket, instance_id, seq);


--
-- Name: timers timers_pkey; Type: CONSTRAINT; Schema: df_engine; Owner: perdure_owner
--

ALTER TABLE ONLY df_engine.timers
    ADD CONSTRAINT timers_pkey PRIMARY KEY (bucket, instance_id, seq);


--
-- Name: vars vars_pkey; Type: CONSTRAINT; Schema: df_engine; Owner: perdure_owner
--

ALTER TABLE ONLY df_engine.vars
    ADD CONSTRAINT vars_pkey PRIMARY KEY (owner, name);


--
-- Name: workers workers_key_hash_key; Type: CONSTRAINT; Schema: df_engine; Owner: perdure_owner
--

ALTER TABLE ONLY df_engine.workers
    ADD CONSTRAINT workers_key_hash_key UNIQUE (key_hash);


--
-- Name: workers workers_pkey; Type: CONSTRAINT; Schema: df_engine; Owner: perdure_owner
--

ALTER TABLE ONLY df_engine.workers
    ADD CONSTRAINT workers_pkey PRIMARY KEY (worker_id);


--
-- Name: inbox_of; Type: INDEX; Schema: df_engine; Owner: perdure_owner
--

CREATE INDEX inbox_of ON df_engine.inbox USING btree (bucket, instance_id, message_id);


--
-- Name: inbox_order; Type: INDEX; Schema: df_engine; Owner: perdure_owner
--

CREATE INDEX inbox_order ON df_engine.inbox USING btree (message_id);


--
-- Name: instance_waits_target; Type: INDEX; Schema: df_engine; Owner: perdure_owner
--

CREATE INDEX instance_waits_target ON df_engine.instance_waits USING btree (target_bucket, target_id);


--
-- Name: instances_ended; Type: INDEX; Schema: df_engine; Owner: perdure_owner
--

CREATE INDEX instances_ended ON df_engine.instances USING btree (ended_at, instance_id) WHERE (ended_at IS NOT NULL);


--
-- Name: instances_not_completed; Type: INDEX; Schema: df_engine; Owner: perdure_owner
--

CREATE INDEX instances_not_completed ON df_engine.instances USING btree (status, bucket, instance_id) WHERE (status <> 'completed'::text);


--
-- Name: starts_by_id; Type: INDEX; Schema: df_engine; Owner: perdure_owner
--

CREATE INDEX starts_by_id ON df_engine.starts USING btree (instance_id);


--
-- Name: starts_by_label; Type: INDEX; Schema: df_engine; Owner: perdure_owner
--

CREATE INDEX starts_by_label ON df_engine.starts USING btree (label, created_at DESC, instance_id) WHERE (label IS NOT NULL);


--
-- Name: starts_by_owner; Type: INDEX; Schema: df_engine; Owner: perdure_owner
--

CREATE INDEX starts_by_owner ON df_engine.starts USING btree (owner, created_at DESC, instance_id);


--
-- Name: starts_by_time; Type: INDEX; Schema: df_engine; Owner: perdure_owner
--

CREATE INDEX starts_by_time ON df_engine.starts USING btree (created_at DESC, instance_id);


--
-- Name: tasks_leased; Type: INDEX; Schema: df_engine; Owner: perdure_owner
--

CREATE INDEX tasks_leased ON df_engine.tasks USING btree (worker_id) WHERE (worker_id IS NOT NULL);


--
-- Name: tasks_ready; Type: INDEX; Schema: df_engine; Owner: perdure_owner
--

CREATE INDEX tasks_ready ON df_engine.tasks USING btree (lane, task_no) WHERE (worker_id IS NULL);


--
-- Name: timers_due; Type: INDEX; Schema: df_engine; Owner: perdure_owner
--

CREATE INDEX timers_due ON df_engine.timers USING btree (due_at);


--
-- Name: settings change_setting; Type: TRIGGER; Schema: df; Owner: perdure_owner
--

CREATE TRIGGER change_setting INSTEAD OF INSERT OR DELETE OR UPDATE ON df.settings FOR EACH ROW EXECUTE FUNCTION df_engine.change_setting();


--
-- Name: ingress_cancels on_ingress_cancel; Type: TRIGGER; Schema: df; Owner: perdure_owner
--

CREATE TRIGGER on_ingress_cancel INSTEAD OF INSERT ON df.ingress_cancels FOR EACH ROW EXECUTE FUNCTION df_engine.on_ingress_cancel();


--
-- Name: ingress_resumes on_ingress_resume; Type: TRIGGER; Schema: df; Owner: perdure_owner
--

CREATE TRIGGER on_ingress_resume INSTEAD OF INSERT ON df.ingress_resumes FOR EACH ROW EXECUTE FUNCTION df_engine.on_ingress_resume();


--
-- Name: ingress_secrets on_ingress_secret; Type: TRIGGER; Schema: df; Owner: perdure_owner
--

CREATE TRIGGER on_ingress_secret INSTEAD OF INSERT ON df.ingress_secrets FOR EACH ROW EXECUTE FUNCTION df_engine.on_ingress_secret();


--
-- Name: ingress_signals on_ingress_signal; Type: TRIGGER; Schema: df; Owner: perdure_owner
--

CREATE TRIGGER on_ingress_signal INSTEAD OF INSERT ON df.ingress_signals FOR EACH ROW EXECUTE FUNCTION df_engine.on_ingress_signal();


--
-- Name: ingress_starts on_ingress_start; Type: TRIGGER; Schema: df; Owner: perdure_owner
--

CREATE TRIGGER on_ingress_start INSTEAD OF INSERT ON df.ingress_starts FOR EACH ROW EXECUTE FUNCTION df_engine.on_ingress_start();


--
-- Name: ingress_workers on_ingress_worker; Type: TRIGGER; Schema: df; Owner: perdure_owner
--

CREATE TRIGGER on_ingress_worker INSTEAD OF INSERT ON df.ingress_workers FOR EACH ROW EXECUTE FUNCTION df_engine.on_ingress_worker();


--
-- Name: instances refuse_write; Type: TRIGGER; Schema: df; Owner: perdure_owner
--

CREATE TRIGGER refuse_write INSTEAD OF INSERT OR DELETE OR UPDATE ON df.instances FOR EACH ROW EXECUTE FUNCTION df_engine.refuse_write();


--
-- Name: nodes refuse_write; Type: TRIGGER; Schema: df; Owner: perdure_owner
--

CREATE TRIGGER refuse_write INSTEAD OF INSERT OR DELETE OR UPDATE ON df.nodes FOR EACH ROW EXECUTE FUNCTION df_engine.refuse_write();


--
-- Name: ingress_vars take_vars; Type: TRIGGER; Schema: df; Owner: perdure_owner
--

CREATE TRIGGER take_vars INSTEAD OF INSERT ON df.ingress_vars FOR EACH ROW EXECUTE FUNCTION df_engine.take_vars();


--
-- Name: history history_is_append_only; Type: TRIGGER; Schema: df_engine; Owner: perdure_owner
--

CREATE TRIGGER history_is_append_only BEFORE DELETE OR UPDATE ON df_engine.history FOR EACH ROW EXECUTE FUNCTION df_engine.history_is_append_only();


--
-- Name: history history_no_truncate; Type: TRIGGER; Schema: df_engine; Owner: perdure_owner
--

CREATE TRIGGER history_no_truncate BEFORE TRUNCATE ON df_engine.history FOR EACH STATEMENT EXECUTE FUNCTION df_engine.history_is_append_only();


--
-- Name: http_policy http_rule_checked; Type: TRIGGER; Schema: df_engine; Owner: perdure_owner
--

CREATE TRIGGER http_rule_checked BEFORE INSERT OR UPDATE ON df_engine.http_policy FOR EACH ROW EXECUTE FUNCTION df_engine.http_rule_checked();


--
-- Name: inbox wake; Type: TRIGGER; Schema: df_engine; Owner: perdure_owner
--

CREATE CONSTRAINT TRIGGER wake AFTER INSERT ON df_engine.inbox DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION df_engine.wake_trigger();


--
-- Name: starts wake; Type: TRIGGER; Schema: df_engine; Owner: perdure_owner
--

CREATE CONSTRAINT TRIGGER wake AFTER INSERT ON df_engine.starts DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION df_engine.wake_trigger();


--
-- Name: SCHEMA df; Type: ACL; Schema: -; Owner: perdure_owner
--

GRANT USAGE ON SCHEMA df TO alice;


--
-- Name: SCHEMA df_engine; Type: ACL; Schema: -; Owner: perdure_owner
--

GRANT USAGE ON SCHEMA df_engine TO alice;


--
-- Name: FUNCTION disable_proxy(login text); Type: ACL; Schema: df; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df.disable_proxy(login text) FROM PUBLIC;


--
-- Name: FUNCTION enable_proxy(login text, owner text); Type: ACL; Schema: df; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df.enable_proxy(login text, owner text) FROM PUBLIC;


--
-- Name: FUNCTION grant_usage(p_role text, include_http boolean, with_grant boolean); Type: ACL; Schema: df; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df.grant_usage(p_role text, include_http boolean, with_grant boolean) FROM PUBLIC;


--
-- Name: FUNCTION grant_view(p_role text, operate boolean); Type: ACL; Schema: df; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df.grant_view(p_role text, operate boolean) FROM PUBLIC;


--
-- Name: FUNCTION grant_worker(p_role text); Type: ACL; Schema: df; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df.grant_worker(p_role text) FROM PUBLIC;


--
-- Name: FUNCTION http(url text, method text, body text, headers jsonb, timeout_seconds integer); Type: ACL; Schema: df; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df.http(url text, method text, body text, headers jsonb, timeout_seconds integer) FROM PUBLIC;


--
-- Name: FUNCTION http_multipart(url text, method text, parts jsonb, headers jsonb, timeout_seconds integer); Type: ACL; Schema: df; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df.http_multipart(url text, method text, parts jsonb, headers jsonb, timeout_seconds integer) FROM PUBLIC;


--
-- Name: FUNCTION metrics(); Type: ACL; Schema: df; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df.metrics() FROM PUBLIC;


--
-- Name: FUNCTION revoke_usage(p_role text); Type: ACL; Schema: df; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df.revoke_usage(p_role text) FROM PUBLIC;


--
-- Name: FUNCTION revoke_view(p_role text); Type: ACL; Schema: df; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df.revoke_view(p_role text) FROM PUBLIC;


--
-- Name: FUNCTION revoke_worker(p_role text); Type: ACL; Schema: df; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df.revoke_worker(p_role text) FROM PUBLIC;


--
-- Name: FUNCTION set_secret_key(public_key text); Type: ACL; Schema: df; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df.set_secret_key(public_key text) FROM PUBLIC;


--
-- Name: FUNCTION append_facts(_i df_engine.instances, _kinds text[], _payloads text[], _now timestamp with time zone); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.append_facts(_i df_engine.instances, _kinds text[], _payloads text[], _now timestamp with time zone) FROM PUBLIC;


--
-- Name: FUNCTION apply_turn(_i df_engine.instances, _worker_id bigint, _t df_engine.turn, _now timestamp with time zone); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.apply_turn(_i df_engine.instances, _worker_id bigint, _t df_engine.turn, _now timestamp with time zone) FROM PUBLIC;


--
-- Name: FUNCTION begin_execution(_i df_engine.instances, _execution_id integer, _t df_engine.turn, _now timestamp with time zone); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.begin_execution(_i df_engine.instances, _execution_id integer, _t df_engine.turn, _now timestamp with time zone) FROM PUBLIC;


--
-- Name: FUNCTION captured_vars(owner regrole); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.captured_vars(owner regrole) FROM PUBLIC;


--
-- Name: FUNCTION change_setting(); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.change_setting() FROM PUBLIC;


--
-- Name: FUNCTION check_owner(_owner regrole); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.check_owner(_owner regrole) FROM PUBLIC;


--
-- Name: FUNCTION check_proxy(_login regrole, _owner regrole); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.check_proxy(_login regrole, _owner regrole) FROM PUBLIC;


--
-- Name: FUNCTION check_seq(_seq integer, _first integer, _last integer); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.check_seq(_seq integer, _first integer, _last integer) FROM PUBLIC;


--
-- Name: FUNCTION checked_setting(setting df_engine.settings, value text); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.checked_setting(setting df_engine.settings, value text) FROM PUBLIC;


--
-- Name: FUNCTION clear_work(_bucket smallint, _instance_id text, _ended boolean); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.clear_work(_bucket smallint, _instance_id text, _ended boolean) FROM PUBLIC;


--
-- Name: FUNCTION drain_inbox(_most integer, _owner regrole); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.drain_inbox(_most integer, _owner regrole) FROM PUBLIC;


--
-- Name: FUNCTION drain_instance(_bucket smallint, _instance_id text); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.drain_instance(_bucket smallint, _instance_id text) FROM PUBLIC;


--
-- Name: FUNCTION drop_work(_bucket smallint, _instance_id text, _seqs integer[]); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.drop_work(_bucket smallint, _instance_id text, _seqs integer[]) FROM PUBLIC;


--
-- Name: FUNCTION end_instance_waits(_most integer, _owner regrole); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.end_instance_waits(_most integer, _owner regrole) FROM PUBLIC;


--
-- Name: FUNCTION end_wait(_bucket smallint, _instance_id text, _seq integer); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.end_wait(_bucket smallint, _instance_id text, _seq integer) FROM PUBLIC;


--
-- Name: FUNCTION ensure_turn(_i df_engine.instances, _worker_id bigint, _token_hash bytea, _now timestamp with time zone); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.ensure_turn(_i df_engine.instances, _worker_id bigint, _token_hash bytea, _now timestamp with time zone) FROM PUBLIC;


--
-- Name: FUNCTION finish(_bucket smallint, _instance_id text, _seq integer, _token text, _result text, _completed text, _execution_id integer, _head integer, _kinds text[], _payloads text[], _next_seq integer, _next_lane text, _next_kind text, _next_input text, _next_token text, _end_status text, _turn_token text, _login regrole, OUT outcome text, OUT head integer, OUT clock timestamp with time zone); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.finish(_bucket smallint, _instance_id text, _seq integer, _token text, _result text, _completed text, _execution_id integer, _head integer, _kinds text[], _payloads text[], _next_seq integer, _next_lane text, _next_kind text, _next_input text, _next_token text, _end_status text, _turn_token text, _login regrole, OUT outcome text, OUT head integer, OUT clock timestamp with time zone) FROM PUBLIC;


--
-- Name: FUNCTION finish_step(_bucket smallint, _instance_id text, _seq integer, _token text, _result text, _completed text, _execution_id integer, _head integer, _kinds text[], _payloads text[], _next_seq integer, _next_lane text, _next_kind text, _next_input text, _next_token text, _end_status text, _turn_token text); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.finish_step(_bucket smallint, _instance_id text, _seq integer, _token text, _result text, _completed text, _execution_id integer, _head integer, _kinds text[], _payloads text[], _next_seq integer, _next_lane text, _next_kind text, _next_input text, _next_token text, _end_status text, _turn_token text) FROM PUBLIC;


--
-- Name: FUNCTION fire_instance(_bucket smallint, _instance_id text, _now timestamp with time zone); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.fire_instance(_bucket smallint, _instance_id text, _now timestamp with time zone) FROM PUBLIC;


--
-- Name: FUNCTION fire_timers(_most integer, _owner regrole); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.fire_timers(_most integer, _owner regrole) FROM PUBLIC;


--
-- Name: FUNCTION free_connections(_serves_all boolean); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.free_connections(_serves_all boolean) FROM PUBLIC;


--
-- Name: FUNCTION history_is_append_only(); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.history_is_append_only() FROM PUBLIC;


--
-- Name: FUNCTION http_may_call(_role regrole, _signature text); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.http_may_call(_role regrole, _signature text) FROM PUBLIC;


--
-- Name: FUNCTION http_rule_checked(); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.http_rule_checked() FROM PUBLIC;


--
-- Name: FUNCTION http_rule_concerns(role_name text, _role regrole); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.http_rule_concerns(role_name text, _role regrole) FROM PUBLIC;


--
-- Name: FUNCTION http_rule_problem(rule df_engine.http_policy); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.http_rule_problem(rule df_engine.http_policy) FROM PUBLIC;


--
-- Name: FUNCTION http_rules(_role regrole); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.http_rules(_role regrole) FROM PUBLIC;


--
-- Name: FUNCTION instance_result(_bucket smallint, _instance_id text); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.instance_result(_bucket smallint, _instance_id text) FROM PUBLIC;


--
-- Name: FUNCTION is_admin(_role regrole); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.is_admin(_role regrole) FROM PUBLIC;


--
-- Name: FUNCTION may_ask_about(_owner regrole); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.may_ask_about(_owner regrole) FROM PUBLIC;


--
-- Name: FUNCTION new_id(); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.new_id() FROM PUBLIC;


--
-- Name: FUNCTION on_ingress_cancel(); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.on_ingress_cancel() FROM PUBLIC;


--
-- Name: FUNCTION on_ingress_resume(); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.on_ingress_resume() FROM PUBLIC;


--
-- Name: FUNCTION on_ingress_secret(); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.on_ingress_secret() FROM PUBLIC;


--
-- Name: FUNCTION on_ingress_signal(); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.on_ingress_signal() FROM PUBLIC;


--
-- Name: FUNCTION on_ingress_start(); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.on_ingress_start() FROM PUBLIC;


--
-- Name: FUNCTION on_ingress_worker(); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.on_ingress_worker() FROM PUBLIC;


--
-- Name: FUNCTION proxy_of(_owner regrole); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.proxy_of(_owner regrole) FROM PUBLIC;


--
-- Name: FUNCTION prune_ended(_most integer, _owner regrole); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.prune_ended(_most integer, _owner regrole) FROM PUBLIC;


--
-- Name: FUNCTION prune_executions(_bucket smallint, _instance_id text, _oldest integer, _newest integer); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.prune_executions(_bucket smallint, _instance_id text, _oldest integer, _newest integer) FROM PUBLIC;


--
-- Name: FUNCTION prune_iterations(_most integer, _owner regrole); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.prune_iterations(_most integer, _owner regrole) FROM PUBLIC;


--
-- Name: FUNCTION prune_results(_bucket smallint, _instance_id text, _newest integer, _started text); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.prune_results(_bucket smallint, _instance_id text, _newest integer, _started text) FROM PUBLIC;


--
-- Name: FUNCTION refuse_write(); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.refuse_write() FROM PUBLIC;


--
-- Name: FUNCTION require_variable(name text, value text); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.require_variable(name text, value text) FROM PUBLIC;


--
-- Name: FUNCTION result_text(_bucket smallint, _instance_id text, _ref json); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.result_text(_bucket smallint, _instance_id text, _ref json) FROM PUBLIC;


--
-- Name: FUNCTION retention_bound(OUT ended_at timestamp with time zone, OUT instance_id text); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.retention_bound(OUT ended_at timestamp with time zone, OUT instance_id text) FROM PUBLIC;


--
-- Name: FUNCTION schedule(_i df_engine.instances, _execution_id integer, _worker_id bigint, _t df_engine.turn, _now timestamp with time zone, _head integer); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.schedule(_i df_engine.instances, _execution_id integer, _worker_id bigint, _t df_engine.turn, _now timestamp with time zone, _head integer) FROM PUBLIC;


--
-- Name: FUNCTION take_vars(); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.take_vars() FROM PUBLIC;


--
-- Name: FUNCTION token_hash(_token text); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.token_hash(_token text) FROM PUBLIC;


--
-- Name: FUNCTION wait_target(_i df_engine.instances, _target text, _ref json); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.wait_target(_i df_engine.instances, _target text, _ref json) FROM PUBLIC;


--
-- Name: FUNCTION wake(); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.wake() FROM PUBLIC;


--
-- Name: FUNCTION wake_holders(); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.wake_holders() FROM PUBLIC;


--
-- Name: FUNCTION wake_trigger(); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.wake_trigger() FROM PUBLIC;


--
-- Name: FUNCTION warn_of_blocks(_owner regrole); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.warn_of_blocks(_owner regrole) FROM PUBLIC;


--
-- Name: FUNCTION worker_of(_worker_id bigint, _key text); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.worker_of(_worker_id bigint, _key text) FROM PUBLIC;


--
-- Name: FUNCTION worker_privileges(); Type: ACL; Schema: df_engine; Owner: perdure_owner
--

REVOKE ALL ON FUNCTION df_engine.worker_privileges() FROM PUBLIC;


--
-- Name: TABLE visible_workers; Type: ACL; Schema: df_engine; Owner: perdure_owner
--

GRANT SELECT ON TABLE df_engine.visible_workers TO PUBLIC;


--
-- Name: TABLE _worker_ready; Type: ACL; Schema: df; Owner: perdure_owner
--

GRANT SELECT ON TABLE df._worker_ready TO PUBLIC;


--
-- Name: TABLE http_policy; Type: ACL; Schema: df; Owner: perdure_owner
--

GRANT SELECT ON TABLE df.http_policy TO PUBLIC;


--
-- Name: COLUMN ingress_cancels.instance_id; Type: ACL; Schema: df; Owner: perdure_owner
--

GRANT SELECT(instance_id),INSERT(instance_id) ON TABLE df.ingress_cancels TO alice;


--
-- Name: COLUMN ingress_cancels.reason; Type: ACL; Schema: df; Owner: perdure_owner
--

GRANT SELECT(reason),INSERT(reason) ON TABLE df.ingress_cancels TO alice;


--
-- Name: COLUMN ingress_cancels.outcome; Type: ACL; Schema: df; Owner: perdure_owner
--

GRANT SELECT(outcome),INSERT(outcome) ON TABLE df.ingress_cancels TO alice;


--
-- Name: COLUMN ingress_resumes.instance_id; Type: ACL; Schema: df; Owner: perdure_owner
--

GRANT SELECT(instance_id),INSERT(instance_id) ON TABLE df.ingress_resumes TO alice;


--
-- Name: COLUMN ingress_secrets.op; Type: ACL; Schema: df; Owner: perdure_owner
--

GRANT SELECT(op),INSERT(op) ON TABLE df.ingress_secrets TO alice;


--
-- Name: COLUMN ingress_secrets.name; Type: ACL; Schema: df; Owner: perdure_owner
--

GRANT SELECT(name),INSERT(name) ON TABLE df.ingress_secrets TO alice;


--
-- Name: COLUMN ingress_secrets.sealed; Type: ACL; Schema: df; Owner: perdure_owner
--

GRANT SELECT(sealed),INSERT(sealed) ON TABLE df.ingress_secrets TO alice;


--
-- Name: COLUMN ingress_signals.instance_id; Type: ACL; Schema: df; Owner: perdure_owner
--

GRANT SELECT(instance_id),INSERT(instance_id) ON TABLE df.ingress_signals TO alice;


--
-- Name: COLUMN ingress_signals.name; Type: ACL; Schema: df; Owner: perdure_owner
--

GRANT SELECT(name),INSERT(name) ON TABLE df.ingress_signals TO alice;


--
-- Name: COLUMN ingress_signals.data; Type: ACL; Schema: df; Owner: perdure_owner
--

GRANT SELECT(data),INSERT(data) ON TABLE df.ingress_signals TO alice;


--
-- Name: COLUMN ingress_starts.instance_id; Type: ACL; Schema: df; Owner: perdure_owner
--

GRANT SELECT(instance_id),INSERT(instance_id) ON TABLE df.ingress_starts TO alice;


--
-- Name: COLUMN ingress_starts.graph; Type: ACL; Schema: df; Owner: perdure_owner
--

GRANT SELECT(graph),INSERT(graph) ON TABLE df.ingress_starts TO alice;


--
-- Name: COLUMN ingress_starts.label; Type: ACL; Schema: df; Owner: perdure_owner
--

GRANT SELECT(label),INSERT(label) ON TABLE df.ingress_starts TO alice;


--
-- Name: COLUMN ingress_starts.database; Type: ACL; Schema: df; Owner: perdure_owner
--

GRANT SELECT(database),INSERT(database) ON TABLE df.ingress_starts TO alice;


--
-- Name: COLUMN ingress_vars.op; Type: ACL; Schema: df; Owner: perdure_owner
--

GRANT SELECT(op),INSERT(op) ON TABLE df.ingress_vars TO alice;


--
-- Name: COLUMN ingress_vars.name; Type: ACL; Schema: df; Owner: perdure_owner
--

GRANT SELECT(name),INSERT(name) ON TABLE df.ingress_vars TO alice;


--
-- Name: COLUMN ingress_vars.value; Type: ACL; Schema: df; Owner: perdure_owner
--

GRANT SELECT(value),INSERT(value) ON TABLE df.ingress_vars TO alice;


--
-- Name: COLUMN ingress_workers.key_hash; Type: ACL; Schema: df; Owner: perdure_owner
--

GRANT SELECT(key_hash),INSERT(key_hash) ON TABLE df.ingress_workers TO alice;


--
-- Name: COLUMN ingress_workers.release; Type: ACL; Schema: df; Owner: perdure_owner
--

GRANT SELECT(release),INSERT(release) ON TABLE df.ingress_workers TO alice;


--
-- Name: COLUMN ingress_workers.interpreter; Type: ACL; Schema: df; Owner: perdure_owner
--

GRANT SELECT(interpreter),INSERT(interpreter) ON TABLE df.ingress_workers TO alice;


--
-- Name: COLUMN ingress_workers.host; Type: ACL; Schema: df; Owner: perdure_owner
--

GRANT SELECT(host),INSERT(host) ON TABLE df.ingress_workers TO alice;


--
-- Name: COLUMN ingress_workers.pid; Type: ACL; Schema: df; Owner: perdure_owner
--

GRANT SELECT(pid),INSERT(pid) ON TABLE df.ingress_workers TO alice;


--
-- Name: COLUMN ingress_workers.slots; Type: ACL; Schema: df; Owner: perdure_owner
--

GRANT SELECT(slots),INSERT(slots) ON TABLE df.ingress_workers TO alice;


--
-- Name: COLUMN ingress_workers.lease_seconds; Type: ACL; Schema: df; Owner: perdure_owner
--

GRANT SELECT(lease_seconds),INSERT(lease_seconds) ON TABLE df.ingress_workers TO alice;


--
-- Name: COLUMN ingress_workers.only_role; Type: ACL; Schema: df; Owner: perdure_owner
--

GRANT SELECT(only_role),INSERT(only_role) ON TABLE df.ingress_workers TO alice;


--
-- Name: COLUMN ingress_workers.instance_id; Type: ACL; Schema: df; Owner: perdure_owner
--

GRANT SELECT(instance_id),INSERT(instance_id) ON TABLE df.ingress_workers TO alice;


--
-- Name: TABLE instances; Type: ACL; Schema: df; Owner: perdure_owner
--

GRANT SELECT ON TABLE df.instances TO alice;


--
-- Name: TABLE nodes; Type: ACL; Schema: df; Owner: perdure_owner
--

GRANT SELECT ON TABLE df.nodes TO alice;


--
-- Name: TABLE settings; Type: ACL; Schema: df; Owner: perdure_owner
--

GRANT SELECT ON TABLE df.settings TO alice;


--
-- Name: TABLE vars; Type: ACL; Schema: df; Owner: perdure_owner
--

GRANT SELECT ON TABLE df.vars TO alice;


--
-- Name: TABLE alembic_version; Type: ACL; Schema: df_engine; Owner: perdure_owner
--

GRANT SELECT ON TABLE df_engine.alembic_version TO PUBLIC;


--
-- Name: TABLE all_counts; Type: ACL; Schema: df_engine; Owner: perdure_owner
--

GRANT SELECT ON TABLE df_engine.all_counts TO PUBLIC;


--
-- Name: TABLE listed_instances; Type: ACL; Schema: df_engine; Owner: perdure_owner
--

GRANT SELECT ON TABLE df_engine.listed_instances TO PUBLIC;


--
-- Name: TABLE orphans; Type: ACL; Schema: df_engine; Owner: perdure_owner
--

GRANT SELECT ON TABLE df_engine.orphans TO PUBLIC;


--
-- Name: TABLE visible_history; Type: ACL; Schema: df_engine; Owner: perdure_owner
--

GRANT SELECT ON TABLE df_engine.visible_history TO PUBLIC;


--
-- Name: TABLE visible_inbox; Type: ACL; Schema: df_engine; Owner: perdure_owner
--

GRANT SELECT ON TABLE df_engine.visible_inbox TO PUBLIC;


--
-- Name: TABLE visible_instances; Type: ACL; Schema: df_engine; Owner: perdure_owner
--

GRANT SELECT ON TABLE df_engine.visible_instances TO PUBLIC;


--
-- Name: TABLE visible_results; Type: ACL; Schema: df_engine; Owner: perdure_owner
--

GRANT SELECT ON TABLE df_engine.visible_results TO PUBLIC;


--
-- Name: TABLE visible_role_blocks; Type: ACL; Schema: df_engine; Owner: perdure_owner
--

GRANT SELECT ON TABLE df_engine.visible_role_blocks TO PUBLIC;


--
-- Name: TABLE visible_secrets; Type: ACL; Schema: df_engine; Owner: perdure_owner
--

GRANT SELECT ON TABLE df_engine.visible_secrets TO PUBLIC;


--
-- Name: TABLE visible_sessions; Type: ACL; Schema: df_engine; Owner: perdure_owner
--

GRANT SELECT ON TABLE df_engine.visible_sessions TO PUBLIC;


--
-- Name: TABLE visible_tasks; Type: ACL; Schema: df_engine; Owner: perdure_owner
--

GRANT SELECT ON TABLE df_engine.visible_tasks TO PUBLIC;


--
-- Name: TABLE visible_timers; Type: ACL; Schema: df_engine; Owner: perdure_owner
--

GRANT SELECT ON TABLE df_engine.visible_timers TO PUBLIC;


--
-- Name: TABLE visible_waits; Type: ACL; Schema: df_engine; Owner: perdure_owner
--

GRANT SELECT ON TABLE df_engine.visible_waits TO PUBLIC;


--
-- Name: TABLE effects; Type: ACL; Schema: public; Owner: postgres
--

GRANT ALL ON TABLE public.effects TO alice;


--
-- PostgreSQL database dump complete
--

\unrestrict Wkff1e1sQUdq1mUvhODTxwgvXae4PlzeUDYFRpWJiUzdXrK78eekC3LMMxRhttE

