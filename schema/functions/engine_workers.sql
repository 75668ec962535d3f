-- Workers: registering, beating, taking over from the dead. Beats and takeovers never wait for a row lock.

-- A worker registers as its effective role, which must be its login: a function of somebody else that runs in a step's
-- session cannot register, and without the key that was registered nothing can be claimed. It serves its own role, or
-- everybody where the login is a service login; only_role makes that one role. The row's `login` is the role it serves,
-- where it does not serve all.
CREATE OR REPLACE VIEW df.ingress_workers WITH (security_barrier) AS
    SELECT NULL::regrole AS owner, NULL::text AS key_hash, NULL::text AS release, NULL::integer AS interpreter,
           NULL::text AS host, NULL::integer AS pid, NULL::integer AS slots, NULL::double precision AS lease_seconds,
           NULL::text AS only_role, NULL::bigint AS instance_id
    WHERE false;
ALTER VIEW df.ingress_workers ALTER COLUMN owner SET DEFAULT quote_ident(current_user)::regrole;

CREATE OR REPLACE FUNCTION df_engine.on_ingress_worker() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
DROP TRIGGER IF EXISTS on_ingress_worker ON df.ingress_workers;
CREATE TRIGGER on_ingress_worker INSTEAD OF INSERT ON df.ingress_workers
    FOR EACH ROW EXECUTE FUNCTION df_engine.on_ingress_worker();

-- A beat: the row's time moves, and the answer lists what is leased to the caller. Raises DF010 when the row is not there
-- any more: the worker registers anew.
CREATE OR REPLACE FUNCTION df_engine.beat_v1(_worker_id bigint, _key text, _draining boolean)
RETURNS TABLE (instance_id text, seq integer, token_hash bytea)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    _w df_engine.workers := df_engine.worker_of(_worker_id, _key);
BEGIN
    PERFORM df_engine.alive_v1(_worker_id, _key, _draining);
    RETURN QUERY SELECT t.instance_id, t.seq, t.token_hash FROM df_engine.tasks t WHERE t.worker_id = _worker_id;
END $$;

-- A beat that lists nothing: while an old snapshot is held, the list costs what is dead in the index.
CREATE OR REPLACE FUNCTION df_engine.alive_v1(_worker_id bigint, _key text, _draining boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _w df_engine.workers := df_engine.worker_of(_worker_id, _key);
BEGIN
    UPDATE df_engine.workers w SET beat_at = clock_timestamp(), draining = _draining
        WHERE w.worker_id = (SELECT k.worker_id FROM df_engine.workers k WHERE k.worker_id = _worker_id
                             FOR NO KEY UPDATE SKIP LOCKED);
END $$;

-- "Idle": whoever leaves work now will notify. Answers in how many seconds the next timer or retry is due.
CREATE OR REPLACE FUNCTION df_engine.idle_v1(_worker_id bigint, _key text, _idle boolean) RETURNS double precision
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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

-- Tasks of workers without a fresh beat (a missing row included) go back to the queue. An expired task whose row is
-- locked is skipped: its finish is committing. Tasks without a worker's row are looked for between the numbers of the
-- workers that there are: the living ones' part of the index may be full of dead entries while an old snapshot is held.
CREATE OR REPLACE FUNCTION df_engine.reap_v1(_worker_id bigint, _key text) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    _w df_engine.workers := df_engine.worker_of(_worker_id, _key);
    _dead bigint;
    _taken integer := 0;
    _n integer;
BEGIN
    FOR _dead IN SELECT w.worker_id FROM df_engine.workers w
                 WHERE w.beat_at <= clock_timestamp() - make_interval(secs => w.lease_seconds)
                 UNION
                 SELECT t.worker_id
                 FROM (SELECT lag(w.worker_id, 1, -1::bigint) OVER (ORDER BY w.worker_id) AS after, w.worker_id AS before
                       FROM (SELECT k.worker_id FROM df_engine.workers k
                             UNION ALL SELECT 9223372036854775807) w) gap
                 CROSS JOIN LATERAL (
                     SELECT k.worker_id FROM df_engine.tasks k
                     WHERE k.worker_id > gap.after AND k.worker_id < gap.before
                       AND (_w.serves_all OR k.owner = _w.login)
                     ORDER BY k.worker_id LIMIT 1000) t LOOP -- a limit, so that each gap is looked at by itself
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

-- Give tasks back to the queue (a drain, or a lease that no slot knows: its answer was lost on the way).
CREATE OR REPLACE FUNCTION df_engine.release_v1(_worker_id bigint, _key text, _hashes bytea[]) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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

-- Give turns back whose instances somebody has locked (a cancel in a transaction that stays open). Each time they wait
-- longer, so that however many there are, the turns of others come first.
CREATE OR REPLACE FUNCTION df_engine.postpone_v1(_worker_id bigint, _key text, _hashes bytea[]) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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

CREATE OR REPLACE FUNCTION df_engine.deregister_v1(_worker_id bigint, _key text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _w df_engine.workers := df_engine.worker_of(_worker_id, _key);
BEGIN
    PERFORM df_engine.release_v1(_worker_id, _key,
        ARRAY(SELECT t.token_hash FROM df_engine.tasks t WHERE t.worker_id = _worker_id));
    DELETE FROM df_engine.sessions s WHERE s.worker_id = _worker_id;
    DELETE FROM df_engine.role_blocks s WHERE s.worker_id = _worker_id;
    DELETE FROM df_engine.workers w WHERE w.worker_id = _worker_id;
END $$;

-- Sessions of steps, so that whoever takes over can end what a dead or frozen worker left running.
CREATE OR REPLACE FUNCTION df_engine.session_v1(
    _worker_id bigint, _key text, _owner oid, _backend_pid integer, _backend_start timestamptz
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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

CREATE OR REPLACE FUNCTION df_engine.dead_sessions_v1(_worker_id bigint, _key text)
RETURNS TABLE (worker_id bigint, owner_name text, backend_pid integer, backend_start timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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

CREATE OR REPLACE FUNCTION df_engine.forget_sessions_v1(_worker_id bigint, _key text, _dead bigint, _pids integer[])
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _w df_engine.workers := df_engine.worker_of(_worker_id, _key);
BEGIN
    DELETE FROM df_engine.sessions s WHERE s.worker_id = _dead AND s.backend_pid = ANY (_pids)
        AND df_engine.serves(_w, s.owner);
END $$;

-- Whether a role can be logged in as at all, asked before a login is tried; and why steps of a role have to wait.
CREATE OR REPLACE FUNCTION df_engine.role_state_v1(_owner oid, _database text)
RETURNS TABLE (owner_name text, can_login boolean, can_connect boolean, database_exists boolean, proxy text, is_super boolean)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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

-- Why a login was refused, as far as the catalogue tells; one row. The server's own words come in its language and without
-- a code. kind: "full" (others have to go first), "closed" (the database lets nobody in), "refused" (somebody has to change
-- something), NULL (nothing is known here: a password, pg_hba, the way to the server). Those that were there may have gone
-- since, so that a limit counts as reached when it nearly is.
CREATE OR REPLACE FUNCTION df_engine.login_trouble_v1(_worker_id bigint, _key text, _login text, _database text)
RETURNS TABLE (kind text, reason text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    _w df_engine.workers := df_engine.worker_of(_worker_id, _key);
    _reserved constant integer := current_setting('superuser_reserved_connections')::integer
                                  + coalesce(current_setting('reserved_connections', true)::integer, 0);
BEGIN
    RETURN QUERY
        WITH busy AS MATERIALIZED (
            SELECT a.usesysid, a.datid FROM pg_stat_activity a
            WHERE a.usesysid IS NOT NULL AND coalesce(a.backend_type, 'client backend') = 'client backend'
        ), limits AS (
            SELECT format('role %I', r.rolname) AS of_what, r.rolconnlimit AS most,
                   (SELECT count(*) FROM busy b WHERE b.usesysid = r.oid) AS taken
            FROM pg_roles r WHERE r.rolname = _login
            UNION ALL
            SELECT format('database %I', d.datname), d.datconnlimit, (SELECT count(*) FROM busy b WHERE b.datid = d.oid)
            FROM pg_database d WHERE d.datname = _database
            UNION ALL
            SELECT 'the server', current_setting('max_connections')::integer - _reserved, (SELECT count(*) FROM busy b)
        )
        SELECT t.kind, t.reason FROM (
            SELECT 1, 'closed'::text, format('database %I accepts no connections', d.datname)
            FROM pg_database d WHERE d.datname = _database AND NOT d.datallowconn
            UNION ALL
            SELECT 2, 'refused', format('%s may have no connections', l.of_what) FROM limits l WHERE l.most = 0
            UNION ALL
            SELECT 3, 'full', format('%s of %s connections of %s are taken', l.taken, l.most, l.of_what)
            FROM limits l WHERE l.most > 0 AND l.taken >= greatest(l.most - 1 - l.most / 10, 1)
            UNION ALL
            SELECT 4, 'refused', format('the password of role %I was valid until %s', r.rolname, r.rolvaliduntil)
            FROM pg_roles r WHERE r.rolname = _login AND r.rolvaliduntil <= clock_timestamp()
            UNION ALL
            SELECT 5, NULL, NULL
        ) AS t (rank, kind, reason) ORDER BY t.rank LIMIT 1;
END $$;

CREATE OR REPLACE FUNCTION df_engine.block_v1(_worker_id bigint, _key text, _owner oid, _reason text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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

-- What a worker has to know before it begins: settings that it obeys, and whether it is wanted at all.
CREATE OR REPLACE FUNCTION df_engine.hello_v1() RETURNS json
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN json_build_object(
        'max_result_bytes', df_engine.setting('max_result_bytes')::bigint,
        'max_user_connections', df_engine.setting('max_user_connections')::integer,
        'execution_acquire_timeout', df_engine.setting('execution_acquire_timeout')::integer,
        'reconcile_interval', df_engine.setting('reconcile_interval')::double precision,
        'retry_total_seconds', df_engine.setting('retry_total_seconds')::double precision,
        'hold_outbound', df_engine.setting('hold_outbound') = 'on',
        'service', EXISTS (SELECT FROM df_engine.service_logins s WHERE s.login = quote_ident(session_user)::regrole)
                   OR (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = session_user));
END $$;

REVOKE ALL ON FUNCTION df_engine.on_ingress_worker() FROM PUBLIC;
