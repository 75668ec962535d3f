-- Which HTTP requests may leave, by rules that an administrator sets.
--
-- The rules of df.http_policy are tried in the order of rule_no; the first whose host, network and ports all match
-- decides. Where none matches, public addresses are allowed and all others refused.
--
--   host     'api.example.org'  this name
--            '.example.org'     every name below it, not the name itself
--            '[ip]'             every address written in the URL in place of a name
--            '*' or NULL        everything
--   network  judged on the very address connected to. An allow rule WITHOUT a network covers public addresses only:
--            naming a host does not open the private network behind it. NULL in a deny rule: every address.
--   role_name  the rule concerns this role and those that inherit from it; NULL: everybody
--
--   INSERT INTO df.http_policy (action, network) VALUES ('allow', '127.0.0.0/8');
--   INSERT INTO df.http_policy (action, host) VALUES ('allow', '.example.org'), ('deny', '*');

CREATE OR REPLACE FUNCTION df_engine.http_rule_problem(rule df_engine.http_policy) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN CASE
        WHEN rule.host ~ E'^\\.?[0-9.]+$' OR rule.host ~ ':' THEN 'an address belongs in the column network'
        WHEN length(rule.host) > 253
            OR rule.host !~ E'^(\\*|\\[ip\\]|\\.?[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*)$'
            THEN 'host must be a name in ASCII, a suffix that begins with a dot, [ip] or *'
        WHEN rule.port_high < rule.port_low THEN 'port_high must not be below port_low'
    END;
END $$;

CREATE OR REPLACE FUNCTION df_engine.http_rule_checked() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
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

CREATE OR REPLACE TRIGGER http_rule_checked BEFORE INSERT OR UPDATE ON df_engine.http_policy
    FOR EACH ROW EXECUTE FUNCTION df_engine.http_rule_checked();

-- Written by the schema's owner. Others see it when they may send requests, and of it what concerns themselves.
CREATE OR REPLACE VIEW df.http_policy WITH (security_barrier) AS
    SELECT p.rule_no, p.role_name, p.action, p.host, p.network, p.port_low, p.port_high, p.note
    FROM df_engine.http_policy p
    WHERE df_engine.is_administrator()
       OR (coalesce(pg_catalog.has_function_privilege(
               pg_catalog.to_regprocedure('df.http(text,text,text,jsonb,integer)')::pg_catalog.oid, 'EXECUTE'), false)
           AND (p.role_name IS NULL OR EXISTS (
               SELECT FROM pg_catalog.pg_roles r
               WHERE r.rolname OPERATOR(pg_catalog.=) p.role_name AND pg_catalog.pg_has_role(r.oid, 'USAGE'))));

GRANT SELECT ON df.http_policy TO PUBLIC;

-- Whether a rule for role_name concerns a role: itself, or one that it inherits from. Superusers inherit from nobody
-- here, else every rule that denies something to some role would concern them.
CREATE OR REPLACE FUNCTION df_engine.http_rule_concerns(role_name text, _role regrole) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN role_name IS NULL OR EXISTS (
        SELECT FROM pg_roles r JOIN pg_roles me ON me.oid = _role
        WHERE r.rolname = role_name
          AND (r.oid = me.oid OR (NOT me.rolsuper AND pg_has_role(me.oid, r.oid, 'USAGE'))));
END $$;

-- Whether a role may call a function now; false where either is gone.
CREATE OR REPLACE FUNCTION df_engine.http_may_call(_role regrole, _signature text) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN coalesce(has_function_privilege(_role::oid, to_regprocedure(_signature)::oid, 'EXECUTE'), false)
       AND EXISTS (SELECT FROM pg_roles r WHERE r.oid = _role);
END $$;

CREATE OR REPLACE FUNCTION df_engine.http_rules(_role regrole) RETURNS json
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
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

-- Everything that a worker needs to judge the requests of one role. Worker-called: perdure.activities.egress.Policy
-- reads it. Made anew for each request, so that a REVOKE or a new rule acts on the next one.
CREATE OR REPLACE FUNCTION df_engine.http_policy_v1(_owner regrole) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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

REVOKE ALL ON FUNCTION df_engine.http_rule_problem(df_engine.http_policy), df_engine.http_rule_checked(),
    df_engine.http_rule_concerns(text, regrole), df_engine.http_may_call(regrole, text), df_engine.http_rules(regrole)
    FROM PUBLIC;
