-- Constructors and combinators: text in, one JSON object a node out, children embedded.
--
-- Nothing here reads or writes a table. Text is concatenated and never rebuilt from jsonb, which costs 40 times more
-- in a chain of a thousand operators and loses the order of keys. Order of keys: node_type, left_node, right_node,
-- condition_node, extra_nodes, query, result_name; no blanks; strings as to_json(text) writes them.
--
-- Bodies of one line use qualified names only and do without SET, which would cost more than the line. No plain string
-- holds a backslash: what it means is up to the caller's standard_conforming_strings.
-- Errors: DF101 argument, DF102 malformed envelope or graph, DF103 setup helper used as a step.

-- What `helper` returned is not a step: remember that it ran in this statement. The format is the reference's.
CREATE OR REPLACE FUNCTION df_engine.mark_helper(helper text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM set_config('df.non_future_helper', helper || E'\n' || df_engine.statement_micros(), true);
END $$;

-- Start of the client's statement, microseconds since 2000-01-01 UTC.
CREATE OR REPLACE FUNCTION df_engine.statement_micros() RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (extract(epoch FROM statement_timestamp()) * 1000000)::bigint - 946684800000000;
END $$;

-- Raises if `operand`, plain text, is what a setup helper returned in this same statement. Comparing the text as well
-- as the time lets a DO block set a variable and start plain SQL afterwards.
CREATE OR REPLACE FUNCTION df_engine.refuse_helper(operand text, mark text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _helper text := split_part(mark, E'\n', 1);
    _returns text[] := CASE
        WHEN _helper IN ('df.setvar', 'df.unsetvar', 'df.clearvars') THEN ARRAY['OK']
        WHEN _helper IN ('df.await_instance', 'df.wait_for_completion') THEN ARRAY['completed', 'failed', 'cancelled']
        ELSE ARRAY[]::text[] END;
BEGIN
    IF operand = ANY (_returns) AND split_part(mark, E'\n', 2) = df_engine.statement_micros()::text THEN
        RAISE EXCEPTION '% cannot be used as a workflow step. Call % before df.start().', _helper, _helper
            USING ERRCODE = 'DF103';
    END IF;
END $$;

-- The first character that is no blank is an opening brace. ltrim() on the whole text would cost more than parsing it.
CREATE OR REPLACE FUNCTION df_engine.looks_like_json(operand text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF operand LIKE '{%' THEN
        RETURN true;
    ELSIF left(operand, 1) NOT IN (' ', E'\t', E'\n', E'\r') THEN
        RETURN false;
    END IF;
    RETURN ltrim(operand, E' \t\n\r') LIKE '{%';
END $$;

-- The lenient rule of every combinator: an envelope stays as it is, everything else becomes a SQL node.
-- Text over 4 kB that begins as our own does is not parsed again at every operator (that would make long chains
-- quadratic in parsing); df.start() parses all of it, strictly.
CREATE OR REPLACE FUNCTION df_engine.wrap(operand text) RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _mark text;
BEGIN
    IF df_engine.looks_like_json(operand) THEN
        IF octet_length(operand) > 4096 AND starts_with(operand, '{"node_type":"') AND df_engine.tail(operand, 1) = '}' THEN
            RETURN operand;
        ELSIF df_engine.is_envelope(operand) THEN
            RETURN btrim(operand, E' \t\n\r');
        END IF;
    ELSE
        _mark := current_setting('df.non_future_helper', true);
        IF _mark <> '' THEN
            PERFORM df_engine.refuse_helper(operand, _mark);
        END IF;
    END IF;
    RETURN concat('{"node_type":"SQL","query":', to_json(operand), '}');
END $$;

-- Whether the lenient rule takes `operand` for an envelope: false for other JSON and for unknown node types.
-- Raises for an object with a node_type whose other fields are badly formed.
CREATE OR REPLACE FUNCTION df_engine.is_envelope(operand text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _node jsonb := df_engine.parsed(operand, 'Invalid Durofut JSON: failed to deserialize workflow step');
    _problem text;
BEGIN
    IF (jsonb_typeof(_node) = 'object' AND jsonb_typeof(_node -> 'node_type') = 'string') IS NOT TRUE THEN
        RETURN false;
    END IF;
    _problem := df_engine.fields_problem(_node);
    IF _problem IS NOT NULL THEN
        RAISE EXCEPTION 'Invalid Durofut JSON: failed to deserialize workflow step: %', _problem USING ERRCODE = 'DF102';
    END IF;
    RETURN df_engine.is_node_type(_node ->> 'node_type');
END $$;

-- The last bytes of a text, those beyond ASCII escaped. right() counts characters from the start: slow in long texts.
CREATE OR REPLACE FUNCTION df_engine.tail(value text, bytes integer) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _bytes bytea := convert_to(value, getdatabaseencoding());
BEGIN
    RETURN encode(substring(_bytes FROM greatest(length(_bytes) - bytes, 0) + 1), 'escape');
END $$;

-- An object without its closing brace. left(node, -1) would be ten times slower, and for the same reason.
CREATE OR REPLACE FUNCTION df_engine.opened(node text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _bytes bytea := convert_to(node, getdatabaseencoding());
BEGIN
    RETURN convert_from(substring(_bytes FROM 1 FOR length(_bytes) - 1), getdatabaseencoding());
END $$;

-- A combinator's or a leaf's argument that must not be NULL, in functions that are not strict.
CREATE OR REPLACE FUNCTION df_engine.refuse_null(function_name text, argument text, is_null boolean) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF is_null THEN
        RAISE EXCEPTION 'df.%(): % must not be NULL', function_name, argument USING ERRCODE = 'DF101';
    END IF;
END $$;

-- A leaf whose query is configuration: the JSON text, written as a JSON string.
CREATE OR REPLACE FUNCTION df_engine.leaf(node_type text, query text) RETURNS text
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN pg_catalog.concat('{"node_type":"', node_type, '","query":', pg_catalog.to_json(query), '}');
END $$;

-- ---------------------------------------------------------------------------------------------- leaf constructors

CREATE OR REPLACE FUNCTION df."sql"(query text) RETURNS text
LANGUAGE plpgsql VOLATILE STRICT AS $$
BEGIN
    RETURN df_engine.leaf('SQL', query);
END $$;

CREATE OR REPLACE FUNCTION df.sleep(seconds bigint) RETURNS text
LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF seconds < 0 THEN
        RAISE EXCEPTION 'Sleep duration must be non-negative'
            USING ERRCODE = 'DF101', DETAIL = format('seconds: %s', seconds);
    END IF;
    RETURN df_engine.leaf('SLEEP', seconds::text);
END $$;

CREATE OR REPLACE FUNCTION df.wait_for_schedule(cron_expr text) RETURNS text
LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM df_engine.require_schedule(cron_expr, NULL);
    RETURN df_engine.leaf('WAIT_SCHEDULE', concat('{"cron_expr":', to_json(cron_expr), '}'));
END $$;

CREATE OR REPLACE FUNCTION df.wait_for_schedule(cron_expr text, timezone text) RETURNS text
LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM df_engine.require_schedule(cron_expr, timezone);
    RETURN df_engine.leaf(
        'WAIT_SCHEDULE', concat('{"cron_expr":', to_json(cron_expr), ',"timezone":', to_json(timezone), '}'));
END $$;

CREATE OR REPLACE FUNCTION df_engine.require_positive_timeout(timeout_seconds integer) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF timeout_seconds <= 0 THEN
        RAISE EXCEPTION 'Timeout must be positive'
            USING ERRCODE = 'DF101', DETAIL = format('timeout_seconds: %s', timeout_seconds);
    END IF;
END $$;

CREATE OR REPLACE FUNCTION df.wait_for_signal(name text, timeout_seconds integer DEFAULT NULL) RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM df_engine.refuse_null('wait_for_signal', 'name', name IS NULL);
    IF name = '' THEN
        RAISE EXCEPTION 'Signal name cannot be empty' USING ERRCODE = 'DF101';
    END IF;
    PERFORM df_engine.require_positive_timeout(timeout_seconds);
    RETURN df_engine.leaf('SIGNAL', concat(
        '{"signal_name":', to_json(name), ',"timeout_seconds":', coalesce(timeout_seconds::text, 'null'), '}'));
END $$;

-- A step that waits for another workflow of the same owner and yields its status and result.
CREATE OR REPLACE FUNCTION df.wait_for_instance(instance_id text, timeout_seconds integer DEFAULT NULL) RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM df_engine.refuse_null('wait_for_instance', 'instance_id', instance_id IS NULL);
    IF instance_id = '' THEN
        RAISE EXCEPTION 'Instance ID cannot be empty' USING ERRCODE = 'DF101';
    END IF;
    PERFORM df_engine.require_positive_timeout(timeout_seconds);
    RETURN df_engine.leaf('WAIT_INSTANCE', concat(
        '{"instance_id":', to_json(instance_id), ',"timeout_seconds":', coalesce(timeout_seconds::text, 'null'), '}'));
END $$;

CREATE OR REPLACE FUNCTION df."break"(value text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN df_engine.leaf('BREAK', concat('{"break_value":', coalesce(to_json(value)::text, 'null'), '}'));
END $$;

-- --------------------------------------------------------------------------------------------------- combinators

CREATE OR REPLACE FUNCTION df_engine.pair(node_type text, left_node text, right_node text) RETURNS text
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN pg_catalog.concat('{"node_type":"', node_type, '","left_node":', left_node, ',"right_node":', right_node, '}');
END $$;

CREATE OR REPLACE FUNCTION df.seq(a text, b text) RETURNS text
LANGUAGE plpgsql VOLATILE STRICT AS $$
BEGIN
    RETURN df_engine.pair('THEN', df_engine.wrap(a), df_engine.wrap(b));
END $$;

-- A balanced tree of THEN nodes: a chain of n steps is log2(n) deep, so that generated chains pass the depth limit.
CREATE OR REPLACE FUNCTION df.seq(VARIADIC steps text[]) RETURNS text
LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _nodes text[] := df_engine.wrapped(steps);
    _pairs text[];
BEGIN
    IF cardinality(steps) = 0 THEN
        RAISE EXCEPTION 'df.seq() needs at least one step' USING ERRCODE = 'DF101';
    END IF;
    WHILE cardinality(_nodes) > 1 LOOP
        _pairs := ARRAY[]::text[];
        FOR _i IN 1..cardinality(_nodes) BY 2 LOOP
            _pairs := _pairs || CASE WHEN _i = cardinality(_nodes) THEN _nodes[_i]
                ELSE df_engine.pair('THEN', _nodes[_i], _nodes[_i + 1]) END;
        END LOOP;
        _nodes := _pairs;
    END LOOP;
    RETURN _nodes[1];
END $$;

-- Every operand wrapped; NULL if one of them is NULL, as a strict function would have it.
CREATE OR REPLACE FUNCTION df_engine.wrapped(operands text[]) RETURNS text[]
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _operand text;
    _nodes text[] := ARRAY[]::text[];
BEGIN
    FOREACH _operand IN ARRAY operands LOOP
        IF _operand IS NULL THEN
            RETURN NULL;
        END IF;
        _nodes := _nodes || df_engine.wrap(_operand);
    END LOOP;
    RETURN _nodes;
END $$;

CREATE OR REPLACE FUNCTION df."join"(a text, b text) RETURNS text
LANGUAGE plpgsql VOLATILE STRICT AS $$
BEGIN
    RETURN df_engine.pair('JOIN', df_engine.wrap(a), df_engine.wrap(b));
END $$;

CREATE OR REPLACE FUNCTION df.join3(a text, b text, c text) RETURNS text
LANGUAGE plpgsql VOLATILE STRICT AS $$
BEGIN
    RETURN pg_catalog.concat('{"node_type":"JOIN","left_node":', df_engine.wrap(a), ',"right_node":', df_engine.wrap(b),
                             ',"extra_nodes":[', df_engine.wrap(c), ']}');
END $$;

-- Any number of branches, two or more.
CREATE OR REPLACE FUNCTION df."join"(VARIADIC branches text[]) RETURNS text
LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _nodes text[] := df_engine.wrapped(branches);
BEGIN
    IF cardinality(branches) < 2 THEN
        RAISE EXCEPTION 'df.join() needs at least two branches' USING ERRCODE = 'DF101';
    ELSIF _nodes IS NULL THEN
        RETURN NULL;
    ELSIF cardinality(_nodes) = 2 THEN
        RETURN df_engine.pair('JOIN', _nodes[1], _nodes[2]);
    END IF;
    RETURN concat('{"node_type":"JOIN","left_node":', _nodes[1], ',"right_node":', _nodes[2],
                  ',"extra_nodes":[', array_to_string(_nodes[3:], ','), ']}');
END $$;

CREATE OR REPLACE FUNCTION df.race(a text, b text) RETURNS text
LANGUAGE plpgsql VOLATILE STRICT AS $$
BEGIN
    RETURN df_engine.pair('RACE', df_engine.wrap(a), df_engine.wrap(b));
END $$;

CREATE OR REPLACE FUNCTION df."if"(condition text, then_branch text, else_branch text) RETURNS text
LANGUAGE plpgsql VOLATILE STRICT AS $$
BEGIN
    RETURN pg_catalog.concat('{"node_type":"IF","left_node":', df_engine.wrap(then_branch),
                             ',"right_node":', df_engine.wrap(else_branch),
                             ',"condition_node":', df_engine.wrap(condition), '}');
END $$;

CREATE OR REPLACE FUNCTION df.if_rows(result_name text, then_branch text, else_branch text) RETURNS text
LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _config text := concat('{"condition_type":"result_has_rows","result_name":', to_json(result_name), '}');
BEGIN
    RETURN concat('{"node_type":"IF","left_node":', df_engine.wrap(then_branch),
                  ',"right_node":', df_engine.wrap(else_branch), ',"query":', to_json(_config), '}');
END $$;

CREATE OR REPLACE FUNCTION df."loop"(body text, condition text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _body text := df_engine.wrap(body);
BEGIN
    PERFORM df_engine.refuse_null('loop', 'body', body IS NULL);
    IF condition IS NULL THEN
        RETURN concat('{"node_type":"LOOP","left_node":', _body, '}');
    END IF;
    RETURN concat('{"node_type":"LOOP","left_node":', _body, ',"condition_node":', df_engine.wrap(condition), '}');
END $$;

CREATE OR REPLACE FUNCTION df."as"(fut text, name text) RETURNS text
LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _node text := df_engine.wrap(fut);
BEGIN
    IF name = '' THEN
        RAISE EXCEPTION 'df.as: result name cannot be empty' USING ERRCODE = 'DF101';
    ELSIF NOT df_engine.is_identifier(name) THEN
        RAISE EXCEPTION 'df.as: result name ''%'' is not a valid identifier (letters, digits and underscores, '
            'not beginning with a digit)', name USING ERRCODE = 'DF101';
    END IF;
    RETURN concat(df_engine.opened(df_engine.without_name(_node)), ',"result_name":"', name, '"}');
END $$;

-- ASCII letters, digits and underscores, not beginning with a digit.
CREATE OR REPLACE FUNCTION df_engine.is_identifier(name text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN name OPERATOR(pg_catalog.~) '^[A-Za-z_][A-Za-z0-9_]*$' COLLATE "C";
END $$;

-- An envelope without its own result_name; those of its children stay. Our own texts have it last, where cutting is
-- cheap; those written by hand may have it anywhere, and are put together again from their members as they stand.
CREATE OR REPLACE FUNCTION df_engine.without_name(node text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _at_end constant text := ',"result_name":"[A-Za-z_][A-Za-z0-9_]*"[}]$';
BEGIN
    IF df_engine.tail(node, 512) ~ _at_end THEN
        RETURN regexp_replace(node, _at_end, '}');
    ELSIF octet_length(node) > 4096 AND starts_with(node, '{"node_type":"') THEN
        RETURN node;
    ELSIF strpos(node, '"result_name"') = 0 OR (node::json -> 'result_name') IS NULL THEN
        RETURN node;
    END IF;
    RETURN (SELECT concat('{', string_agg(concat(to_json(m.key), ':', m.value), ',' ORDER BY m.at), '}')
            FROM json_each(node::json) WITH ORDINALITY AS m (key, value, at) WHERE m.key <> 'result_name');
END $$;
