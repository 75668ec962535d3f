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
    RETURN CASE WHEN body IS NOT NULL THEN df."loop"(body) END;
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

-- Operators have no OR REPLACE.
DROP OPERATOR IF EXISTS @operators_schema@.~> (text, text);
DROP OPERATOR IF EXISTS @operators_schema@.|=> (text, text);
DROP OPERATOR IF EXISTS @operators_schema@.& (text, text);
DROP OPERATOR IF EXISTS @operators_schema@.| (text, text);
DROP OPERATOR IF EXISTS @operators_schema@.?> (text, text);
DROP OPERATOR IF EXISTS @operators_schema@.!> (text, text);
DROP OPERATOR IF EXISTS @operators_schema@.@> (NONE, text);

CREATE OPERATOR @operators_schema@.~> (LEFTARG = text, RIGHTARG = text, FUNCTION = df.seq);
CREATE OPERATOR @operators_schema@.|=> (LEFTARG = text, RIGHTARG = text, FUNCTION = df.as_op);
CREATE OPERATOR @operators_schema@.& (LEFTARG = text, RIGHTARG = text, FUNCTION = df."join");
CREATE OPERATOR @operators_schema@.| (LEFTARG = text, RIGHTARG = text, FUNCTION = df.race);
CREATE OPERATOR @operators_schema@.?> (LEFTARG = text, RIGHTARG = text, FUNCTION = df.if_then_op);
CREATE OPERATOR @operators_schema@.!> (LEFTARG = text, RIGHTARG = text, FUNCTION = df.if_else_op);
CREATE OPERATOR @operators_schema@.@> (RIGHTARG = text, FUNCTION = df.loop_prefix_op);
