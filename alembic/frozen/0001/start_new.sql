-- df.start(..., transaction_mode => 'new'): the start runs in a transaction of its own, on a second session that logs in
-- as the calling role, so that it stays when the caller rolls back. The session is opened by the extension dblink, with
-- the caller's rights.
--
-- Who connects where: the setting new_transaction_dsn, the name of a foreign server (with a user mapping, which is how
-- roles that are not superusers get their password in) or a connection string; else the server's own address or socket.

-- Where dblink is installed, quoted; NULL where it is not.
CREATE OR REPLACE FUNCTION df_engine.dblink_schema() RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
            WHERE e.extname = 'dblink');
END $$;

-- A value as it stands in a connection string.
CREATE OR REPLACE FUNCTION df_engine.conninfo_quoted(_value text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN concat('''', replace(replace(_value, E'\\', E'\\\\'), '''', E'\\'''), '''');
END $$;

-- Where this server can be reached from itself. The directory of its socket is shown to some roles only.
CREATE OR REPLACE FUNCTION df_engine.own_host() RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _sockets text := (SELECT s.setting FROM pg_settings s WHERE s.name = 'unix_socket_directories');
BEGIN
    RETURN coalesce(host(inet_server_addr()), nullif(btrim(split_part(_sockets, ',', 1), ' "'), ''),
                    CASE WHEN current_setting('listen_addresses') <> '' THEN 'localhost' END);
END $$;

-- What dblink_connect is given: a connection string for this role and database, or the name of a foreign server.
CREATE OR REPLACE FUNCTION df_engine.new_transaction_dsn(_role text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
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

-- One of the cluster's places for launches, waited for as long as the setting says. Advisory locks of two keys: the
-- class is the reference's (0x50474446). Anybody can take them; whoever does keeps others from this mode, and from
-- nothing else.
CREATE OR REPLACE FUNCTION df_engine.take_launch_slot() RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
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

-- Opens the second session; raises in the reference's words, with what dblink said and what to do about it.
CREATE OR REPLACE FUNCTION df_engine.open_launch(_dblink text, _name text, _role text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- The launch itself. The second session must be the caller's own role in this very database: a foreign server may lead
-- anywhere. Times out by itself; the statement is one that autocommits.
CREATE OR REPLACE FUNCTION df_engine.launch(_dblink text, _name text, _role text, _fut text, _label text, _database text)
RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- Why a launch failed, in the reference's words. What the second session said has its name in the context.
CREATE OR REPLACE FUNCTION df_engine.launch_problem(_sqlstate text, _message text, _there boolean) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN CASE
        WHEN NOT _there OR starts_with(_message, 'df.start() on new transaction failed') THEN _message
        WHEN _sqlstate = '55P03' THEN 'df.start() on new transaction: launch hit lock_timeout after 30000ms: ' || _message
        WHEN _sqlstate = '57014' THEN 'df.start() on new transaction: launch hit statement_timeout after 30000ms: ' || _message
        ELSE 'df.start() on new transaction failed: ' || _message END;
END $$;

CREATE OR REPLACE FUNCTION df_engine.start_new(fut text, label text, database text) RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
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

CREATE OR REPLACE FUNCTION df_engine.end_launch(_dblink text, _name text, _slot integer, _cancelled boolean) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;
