-- Secrets for HTTP steps: {secret:name} in a url, a header or a body. The server holds them sealed: encrypted to a public
-- key whose private half only the workers have. Nothing here can open one, and no plain value ever comes here.
--
-- What is sealed names its role and itself, so that it is of no use under another role or another name.

CREATE OR REPLACE VIEW df.ingress_secrets WITH (security_barrier) AS
    SELECT NULL::regrole AS owner, NULL::text AS op, NULL::text AS name, NULL::text AS sealed WHERE false;
ALTER VIEW df.ingress_secrets ALTER COLUMN owner SET DEFAULT pg_catalog.quote_ident(current_user)::regrole;

CREATE OR REPLACE FUNCTION df_engine.on_ingress_secret() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
END $$;
DROP TRIGGER IF EXISTS on_ingress_secret ON df.ingress_secrets;
CREATE TRIGGER on_ingress_secret INSTEAD OF INSERT ON df.ingress_secrets
    FOR EACH ROW EXECUTE FUNCTION df_engine.on_ingress_secret();

-- Takes what `perdure secret seal` printed. A plain value is refused: it would stand in the server's log, in
-- pg_stat_activity and in the write-ahead log, whatever was done with it afterwards.
CREATE OR REPLACE FUNCTION df.set_secret(name text, value text) RETURNS text
LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF value !~ '^sealed:[A-Za-z0-9+/]{60,}={0,2}$' THEN
        RAISE EXCEPTION 'df.set_secret() takes a sealed value, not a plain one' USING ERRCODE = 'DF101',
            HINT = 'Run `perdure secret set NAME --as ROLE`, or pass on what `perdure secret seal NAME --as ROLE` prints.';
    END IF;
    INSERT INTO df.ingress_secrets (op, name, sealed) VALUES ('set', set_secret.name, set_secret.value);
    RETURN 'OK';
END $$;

CREATE OR REPLACE FUNCTION df.drop_secret(name text) RETURNS text
LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO df.ingress_secrets (op, name) VALUES ('drop', drop_secret.name);
    RETURN 'OK';
END $$;

-- Names only, for those who see the row's workflows too; no function and no view gives what is sealed to users.
CREATE OR REPLACE VIEW df_engine.visible_secrets WITH (security_barrier) AS
    SELECT s.owner, s.name, s.set_at FROM df_engine.secrets s WHERE s.owner = quote_ident(current_user)::regrole;
GRANT SELECT ON df_engine.visible_secrets TO PUBLIC;

CREATE OR REPLACE FUNCTION df.list_secrets() RETURNS TABLE (name text, set_at timestamptz)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT s.name, s.set_at FROM df_engine.visible_secrets s ORDER BY s.name;
END $$;

-- The public key to seal with, in base64: the newest. NULL where the administrator has made none.
CREATE OR REPLACE FUNCTION df_engine.secret_key_v1() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (SELECT encode(k.public_key, 'base64') FROM df_engine.secret_keys k ORDER BY k.key_no DESC LIMIT 1);
END $$;

-- For the schema's owner: from now on secrets are sealed with this key (32 bytes, base64).
CREATE OR REPLACE FUNCTION df.set_secret_key(public_key text) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM df_engine.require_administrator('set_secret_key');
    IF octet_length(decode(public_key, 'base64')) <> 32 THEN
        RAISE EXCEPTION 'a public key has 32 bytes' USING ERRCODE = 'DF101';
    END IF;
    DELETE FROM df_engine.secret_keys k WHERE k.public_key = decode(set_secret_key.public_key, 'base64');
    INSERT INTO df_engine.secret_keys (public_key, created_at)
        VALUES (decode(set_secret_key.public_key, 'base64'), clock_timestamp());
END $$;

-- What is sealed, for a worker that serves the role.
CREATE OR REPLACE FUNCTION df_engine.secrets_v1(_worker_id bigint, _key text, _owner oid, _names text[])
RETURNS TABLE (name text, sealed bytea)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    _w df_engine.workers := df_engine.worker_of(_worker_id, _key);
BEGIN
    RETURN QUERY SELECT s.name, s.sealed FROM df_engine.secrets s
        WHERE s.owner = _owner AND s.name = ANY (_names) AND df_engine.serves(_w, s.owner);
END $$;
