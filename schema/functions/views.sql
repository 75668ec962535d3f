-- What people see, derived from the history. Security-barrier views with the owner test in WHERE: a view over a table with
-- row security would show everybody's rows, and security_invoker does not exist on 14.

CREATE OR REPLACE VIEW df_engine.visible_instances WITH (security_barrier) AS
    SELECT i.bucket, i.instance_id, i.owner, s.label, i.status, s.database, s.created_at, i.updated_at, i.ended_at,
           i.execution_id, i.head_seq, i.parked, s.graph, s.variables
    FROM df_engine.instances i
    JOIN df_engine.starts s ON s.bucket = i.bucket AND s.instance_id = i.instance_id
    WHERE i.owner = quote_ident(current_user)::regrole
       OR (SELECT r.rolsuper OR r.rolbypassrls FROM pg_catalog.pg_roles r WHERE r.rolname = current_user);

CREATE OR REPLACE VIEW df_engine.visible_history WITH (security_barrier) AS
    SELECT h.bucket, h.instance_id, h.execution_id, h.seq, h.kind, h.payload, h.recorded_at
    FROM df_engine.history h
    JOIN df_engine.instances i ON i.bucket = h.bucket AND i.instance_id = h.instance_id
    WHERE i.owner = quote_ident(current_user)::regrole
       OR (SELECT r.rolsuper OR r.rolbypassrls FROM pg_catalog.pg_roles r WHERE r.rolname = current_user);

CREATE OR REPLACE VIEW df_engine.visible_results WITH (security_barrier) AS
    SELECT r.bucket, r.instance_id, r.execution_id, r.seq, r.body
    FROM df_engine.results r
    JOIN df_engine.instances i ON i.bucket = r.bucket AND i.instance_id = r.instance_id
    WHERE i.owner = quote_ident(current_user)::regrole
       OR (SELECT p.rolsuper OR p.rolbypassrls FROM pg_catalog.pg_roles p WHERE p.rolname = current_user);

-- Behind USAGE on the schema; each view shows the caller's own rows only.
GRANT SELECT ON df_engine.visible_instances, df_engine.visible_history, df_engine.visible_results TO PUBLIC;

-- As df_engine.result_text, with the caller's eyes.
CREATE OR REPLACE FUNCTION df_engine.visible_text(_bucket smallint, _instance_id text, _ref json) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
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

-- The raw result of a completed instance that the caller may see; NULL for any other.
CREATE OR REPLACE FUNCTION df_engine.visible_output(_instance_id text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

CREATE OR REPLACE VIEW df.instances WITH (security_barrier) AS
    SELECT i.instance_id AS id, s.label, df_engine.node_id(0) AS root_node, i.status, i.owner AS submitted_by,
           s.database, s.created_at, i.updated_at,
           CASE WHEN i.status = 'completed' THEN i.ended_at END AS completed_at,
           i.ended_at, i.execution_id, i.parked
    FROM df_engine.instances i
    JOIN df_engine.starts s ON s.bucket = i.bucket AND s.instance_id = i.instance_id
    WHERE i.owner = quote_ident(current_user)::regrole
       OR (SELECT r.rolsuper OR r.rolbypassrls FROM pg_catalog.pg_roles r WHERE r.rolname = current_user);
