-- Variables of a user: df.vars to read, df.setvar and its like to write. Writes go through an ingress view on which
-- users hold INSERT on named columns and nothing else; the owner column is not among them, its default is whoever
-- inserts (after SET ROLE and inside a SECURITY DEFINER function too). The view reads no table, so LOCK TABLE on it
-- reaches none.

-- The calling role as owner of a row.
CREATE OR REPLACE VIEW df.vars WITH (security_barrier) AS
SELECT v.name, v.value, v.owner
FROM df_engine.vars v
WHERE v.owner = quote_ident(current_user)::regrole
   OR (SELECT r.rolsuper OR r.rolbypassrls FROM pg_catalog.pg_roles r WHERE r.rolname = current_user);

CREATE OR REPLACE VIEW df.ingress_vars AS
SELECT NULL::text AS op, NULL::text AS name, NULL::text AS value, NULL::regrole AS owner WHERE false;
ALTER VIEW df.ingress_vars ALTER COLUMN owner SET DEFAULT pg_catalog.quote_ident(current_user)::regrole;

CREATE OR REPLACE FUNCTION df_engine.take_vars() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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

CREATE OR REPLACE FUNCTION df_engine.require_variable(name text, value text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
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

DROP TRIGGER IF EXISTS take_vars ON df.ingress_vars;
CREATE TRIGGER take_vars INSTEAD OF INSERT ON df.ingress_vars FOR EACH ROW EXECUTE FUNCTION df_engine.take_vars();

-- Steps must not change variables: the workflow has its own copy since its start.
CREATE OR REPLACE FUNCTION df_engine.refuse_in_workflow(function_name text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF current_setting('df.in_workflow', true) = 'true' THEN
        RAISE EXCEPTION '%() cannot be called inside a workflow. Call it before df.start().', function_name
            USING ERRCODE = 'DF105';
    END IF;
END $$;

CREATE OR REPLACE FUNCTION df.setvar(name text, value text) RETURNS text
LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM df_engine.refuse_in_workflow('df.setvar');
    INSERT INTO df.ingress_vars (op, name, value) VALUES ('set', setvar.name, setvar.value);
    PERFORM df_engine.mark_helper('df.setvar');
    RETURN 'OK';
END $$;

CREATE OR REPLACE FUNCTION df.getvar(name text) RETURNS text
LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (SELECT v.value FROM df.vars v WHERE v.owner = quote_ident(current_user)::regrole AND v.name = getvar.name);
END $$;

CREATE OR REPLACE FUNCTION df.unsetvar(name text) RETURNS text
LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM df_engine.refuse_in_workflow('df.unsetvar');
    INSERT INTO df.ingress_vars (op, name) VALUES ('unset', unsetvar.name);
    PERFORM df_engine.mark_helper('df.unsetvar');
    RETURN 'OK';
END $$;

CREATE OR REPLACE FUNCTION df.clearvars() RETURNS text
LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM df_engine.refuse_in_workflow('df.clearvars');
    INSERT INTO df.ingress_vars (op) VALUES ('clear');
    PERFORM df_engine.mark_helper('df.clearvars');
    RETURN 'OK';
END $$;

-- What a workflow of this owner takes with it: a JSON object as text, names in order, variables without value left out.
CREATE OR REPLACE FUNCTION df_engine.captured_vars(owner regrole) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (SELECT concat('{', string_agg(concat(to_json(v.name), ':', to_json(v.value)), ','
                                          ORDER BY v.name COLLATE "C"), '}')
            FROM df_engine.vars v WHERE v.owner = captured_vars.owner AND v.value IS NOT NULL);
END $$;

REVOKE EXECUTE ON FUNCTION df_engine.captured_vars(regrole), df_engine.take_vars(),
    df_engine.require_variable(text, text) FROM PUBLIC;
