-- Who stands in for whom, and who may look at everything. For the owner of schema df.
--
--   proxy     a login that is a member of one role and of nothing else: a worker logs in as it and sets that role, which is
--             how roles without LOGIN, or whose password nobody knows, have their steps run
--   viewer    sees everybody's workflows and changes nothing
--   operator  a viewer who may also cancel, resume and signal them
--
-- None of them needs to be a superuser, to bypass row security, or to own anything.

-- Raises unless this login can stand in for this role without gaining or giving anything else.
CREATE OR REPLACE FUNCTION df_engine.check_proxy(_login regrole, _owner regrole) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
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
        WHEN current_setting('server_version_num')::integer >= 160000 AND NOT pg_has_role(_login, _owner, 'SET')
            THEN format('it is a member of %s WITH SET FALSE', _owner)
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

-- From now on workers run the steps of `owner` on sessions that log in as `login` and set the role.
CREATE OR REPLACE FUNCTION df.enable_proxy(login text, owner text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
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

CREATE OR REPLACE FUNCTION df.disable_proxy(login text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM df_engine.require_administrator('disable_proxy');
    PERFORM df_engine.refuse_null('disable_proxy', 'login', login IS NULL);
    DELETE FROM df_engine.proxies p WHERE p.login = to_regrole(quote_ident(disable_proxy.login));
    IF NOT FOUND THEN
        RAISE EXCEPTION '"%" stands in for nobody', login USING ERRCODE = '42704';
    END IF;
    RAISE NOTICE '"%" no longer stands in for anybody', login;
END $$;

-- The proxy of a role, as long as it is a member of that role alone; NULL where there is none.
CREATE OR REPLACE FUNCTION df_engine.proxy_of(_owner regrole) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (SELECT l.rolname FROM df_engine.proxies p JOIN pg_roles l ON l.oid = p.login
            WHERE p.owner = _owner AND NOT l.rolsuper
              AND NOT EXISTS (SELECT FROM pg_auth_members m WHERE m.member = p.login AND m.roleid <> p.owner)
            ORDER BY p.login LIMIT 1);
END $$;

-- ------------------------------------------------------------------------------------------------ viewers, operators

-- Lets a role see everybody's workflows, and with `operate` cancel, resume and signal them.
CREATE OR REPLACE FUNCTION df.grant_view(p_role text, operate boolean DEFAULT false) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
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

CREATE OR REPLACE FUNCTION df.revoke_view(p_role text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM df_engine.require_administrator('revoke_view');
    PERFORM df_engine.refuse_null('revoke_view', 'p_role', p_role IS NULL);
    DELETE FROM df_engine.observers o WHERE o.role = to_regrole(quote_ident(p_role));
    RAISE NOTICE '"%" sees its own workflows only', p_role;
END $$;

-- Whether a role (by name) sees everybody's workflows, or with _operates may act on them. Members of viewers are viewers.
CREATE OR REPLACE FUNCTION df_engine.observes(_role name, _operates boolean) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN EXISTS (SELECT FROM df_engine.observers o JOIN pg_roles r ON r.oid = o.role
                   WHERE (o.operates OR NOT _operates) AND pg_has_role(_role, o.role, 'USAGE'));
END $$;

REVOKE ALL ON FUNCTION df_engine.check_proxy(regrole, regrole), df_engine.proxy_of(regrole) FROM PUBLIC;
