-- Names by which scripts written for pg_durable find out where they are and whether a worker is there.

CREATE OR REPLACE FUNCTION df.target_database() RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN pg_catalog.current_database()::pg_catalog.text;

-- The schema in which such scripts look for _worker_ready.
CREATE OR REPLACE FUNCTION df.duroxide_schema() RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 'df'::pg_catalog.text;

-- One row while a worker that serves everybody is alive.
CREATE OR REPLACE VIEW df._worker_ready WITH (security_barrier) AS
    SELECT true AS sentinel, 1 AS schema_version, min(w.started_at) AS initialized_at
    FROM df_engine.visible_workers w WHERE w.serves_all AND w.alive
    HAVING count(*) > 0;

-- The worker that was started last. For administrators.
CREATE OR REPLACE VIEW df._worker_epoch WITH (security_barrier) AS
    SELECT ('00000000-0000-4000-8000-' || lpad(to_hex(w.worker_id), 12, '0'))::uuid AS epoch_id, w.started_at,
           w.beat_at AS last_seen_at
    FROM df_engine.visible_workers w ORDER BY w.started_at DESC, w.worker_id DESC LIMIT 1;

GRANT SELECT ON df._worker_ready TO PUBLIC;

-- The release that installed this SQL. A release changes it.
CREATE OR REPLACE FUNCTION df.version() RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN '0.1.0 (built for schema revision ' || (SELECT max(v.version_num) FROM df_engine.alembic_version v) || ')';
END $$;

-- Nobody writes instances and nodes. Without a trigger the server would say that the views cannot be updated (55000) before
-- it looks at privileges; so everybody is told 42501: users by the server, superusers and the owner by this.
CREATE OR REPLACE FUNCTION df_engine.refuse_write() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'permission denied: df.% is derived from the history of the workflows and cannot be written', TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege', HINT = 'df.cancel(), df.signal() and df.start() are there for that.';
END $$;
DO $$
DECLARE
    _view text;
BEGIN
    FOREACH _view IN ARRAY ARRAY['instances', 'nodes'] LOOP
        EXECUTE format('DROP TRIGGER IF EXISTS refuse_write ON df.%I', _view);
        EXECUTE format('CREATE TRIGGER refuse_write INSTEAD OF INSERT OR UPDATE OR DELETE ON df.%I FOR EACH ROW '
                       'EXECUTE FUNCTION df_engine.refuse_write()', _view);
    END LOOP;
END $$;

REVOKE ALL ON FUNCTION df_engine.refuse_write() FROM PUBLIC;
