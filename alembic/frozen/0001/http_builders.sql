-- df.http and df.http_multipart: checked when built as far as that can be judged then. Hosts and addresses are judged
-- by the worker, on the very address it connects to.

-- jsonb without the blanks that its own text form has.
CREATE OR REPLACE FUNCTION df_engine.compact_json(value jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
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

-- The reference drops headers that are not strings without a word, Authorization included.
CREATE OR REPLACE FUNCTION df_engine.headers_problem(headers jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
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

-- What both builders check, in the reference's order. `function_name` is http or http_multipart.
CREATE OR REPLACE FUNCTION df_engine.require_http(
    function_name text, url text, method text, methods text[], timeout_seconds integer
) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
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

CREATE OR REPLACE FUNCTION df_engine.require_headers(function_name text, headers jsonb) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _problem text := df_engine.headers_problem(headers);
BEGIN
    IF _problem IS NOT NULL THEN
        RAISE EXCEPTION 'df.%(): %', function_name, _problem USING ERRCODE = 'DF101';
    END IF;
END $$;

CREATE OR REPLACE FUNCTION df.http(
    url text, method text DEFAULT 'POST', body text DEFAULT NULL, headers jsonb DEFAULT NULL,
    timeout_seconds integer DEFAULT 30
) RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM df_engine.require_http('http', url, method, ARRAY['GET', 'POST', 'PUT', 'DELETE', 'PATCH'], timeout_seconds);
    PERFORM df_engine.require_headers('http', headers);
    RETURN df_engine.leaf('HTTP', concat(
        '{"url":', to_json(url), ',"method":', to_json(upper(method COLLATE "C")),
        ',"body":', coalesce(to_json(body)::text, 'null'),
        ',"headers":', coalesce(df_engine.compact_json(headers), 'null'), ',"timeout_seconds":', timeout_seconds, '}'));
END $$;

CREATE OR REPLACE FUNCTION df.http_multipart(
    url text, method text DEFAULT 'POST', parts jsonb DEFAULT NULL, headers jsonb DEFAULT NULL,
    timeout_seconds integer DEFAULT 30
) RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
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

REVOKE EXECUTE ON FUNCTION df.http(text, text, text, jsonb, integer) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION df.http_multipart(text, text, jsonb, jsonb, integer) FROM PUBLIC;
