-- The seven operators, in the schema that the installation chose, and the functions behind four of them.
-- Nothing in df relies on them: whoever sets a search_path without that schema uses the function forms.
--
-- All seven share one precedence, left associative; the prefix operator binds first.

CREATE OR REPLACE FUNCTION df.as_op(fut text, name text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, df, pg_temp AS $$
BEGIN
    RETURN df."as"(fut, name);
END $$;

CREATE OR REPLACE FUNCTION df.loop_prefix_op(body text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, df, pg_temp AS $$
BEGIN
    RETURN df."loop"(body);
END $$;

-- `?>` gives a partial, which only `!>` can complete.
CREATE OR REPLACE FUNCTION df.if_then_op(condition text, then_branch text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN jsonb_build_object('_partial_if', true, 'condition', condition, 'then_branch', then_branch)::text;
END $$;

-- Partials whose operands are objects instead of strings were made by older versions of the reference.
CREATE OR REPLACE FUNCTION df.if_else_op(partial_if text, else_branch text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _partial json := partial_if::json;
BEGIN
    IF json_typeof(_partial) <> 'object' OR _partial -> '_partial_if' IS NULL THEN
        RAISE EXCEPTION 'Invalid if-then-else: left side of !> must be a ?> expression' USING
            ERRCODE = 'DF101', HINT = 'Operators bind equally, from left to right: put parentheses around the then branch.';
    END IF;
    RETURN df."if"(_partial ->> 'condition', _partial ->> 'then_branch', else_branch);
END $$;

-- Operators have no OR REPLACE, and dropping one fails where somebody's view uses it: ours stay as they are, and an
-- operator of somebody else's under the same name stops the installation.
DO $$
DECLARE
    _operator record;
BEGIN
    FOR _operator IN SELECT * FROM (VALUES
        ('~>', 'text', 'df.seq'), ('|=>', 'text', 'df.as_op'), ('&', 'text', 'df."join"'), ('|', 'text', 'df.race'),
        ('?>', 'text', 'df.if_then_op'), ('!>', 'text', 'df.if_else_op'), ('@>', NULL, 'df.loop_prefix_op')
    ) AS o (name, left_type, function_name) LOOP
        CONTINUE WHEN EXISTS (
            SELECT FROM pg_catalog.pg_operator p
            WHERE p.oprname = _operator.name AND p.oprnamespace = '@operators_schema@'::regnamespace
              AND p.oprright = 'text'::regtype AND p.oprleft = coalesce(_operator.left_type::regtype::oid, 0)
              AND p.oprcode = format('%s(%stext)', _operator.function_name, _operator.left_type || ',')::regprocedure);
        EXECUTE format('CREATE OPERATOR %I.%s (%s RIGHTARG = text, FUNCTION = %s)',
            '@operators_schema@', _operator.name, 'LEFTARG = ' || _operator.left_type || ',', _operator.function_name);
    END LOOP;
END $$;
