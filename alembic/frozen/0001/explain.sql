-- df.explain: a workflow as a tree, dry (an envelope, an expression, plain SQL) or live (an instance with the state of its
-- nodes). Problems are returned as text; only what the expression itself raises is raised. Cut to characters.

-- What the input is: "instance", "envelope", "sql", "expression", or NULL for something else.
CREATE OR REPLACE FUNCTION df_engine.explain_kind(_input text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _json jsonb;
BEGIN
    IF _input ~ '^([0-9a-fA-F]{8}|[0-9a-f]{12}|[0-9a-f]{32})$' THEN
        RETURN 'instance';
    ELSIF df_engine.looks_like_json(_input) THEN
        _json := df_engine.parsed(_input, 'Failed to parse Durofut JSON');
        IF jsonb_typeof(_json) = 'object' AND jsonb_typeof(_json -> 'node_type') = 'string' THEN
            RETURN 'envelope';
        END IF;
    END IF;
    -- Before the markers, which SQL may well contain (@> is jsonb's own): no expression begins with one of these words.
    IF _input ~* E'^(select|insert|update|delete|with|create|alter|drop|call|do|truncate|grant|revoke|explain)\\s' THEN
        RETURN 'sql';
    ELSIF _input ~ E'~>|\\|=>|\\?>|!>|@>|df\\.' THEN
        RETURN 'expression';
    END IF;
    RETURN NULL;
END $$;

-- An expression is evaluated as the caller, with the caller's search_path (which is why this function has none of its own),
-- read-only, and rolled back: explaining writes nothing.
CREATE OR REPLACE FUNCTION df.explain(input text) RETURNS text
LANGUAGE plpgsql VOLATILE STRICT AS $$
DECLARE
    _input pg_catalog.text := pg_catalog.btrim(input, E' \t\n\r');
    _kind pg_catalog.text;
    _done pg_catalog.bool := false;
BEGIN
    BEGIN
        _kind := df_engine.explain_kind(_input);
    EXCEPTION WHEN SQLSTATE 'DF102' THEN
        RETURN SQLERRM;
    END;
    IF _kind OPERATOR(pg_catalog.=) 'expression' THEN
        BEGIN
            PERFORM pg_catalog.set_config('transaction_read_only', 'on', true);
            EXECUTE pg_catalog.concat('SELECT (', pg_catalog.regexp_replace(_input, E'[\\s;]+$', ''), E'\n)::pg_catalog.text')
                INTO _input;
            _done := true;
            RAISE EXCEPTION 'df.explain: evaluated' USING ERRCODE = 'DF120';
        EXCEPTION WHEN SQLSTATE 'DF120' THEN
            IF NOT _done THEN
                RAISE;
            END IF;
        END;
    END IF;
    RETURN df_engine.explained(_kind, _input);
END $$;

CREATE OR REPLACE FUNCTION df_engine.explained(_kind text, _input text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _problem text;
BEGIN
    IF _kind = 'instance' THEN
        RETURN df_engine.explained_instance(lower(_input));
    ELSIF _kind = 'sql' THEN
        RETURN df_engine.drawn(df_engine.leaf('SQL', _input), NULL);
    ELSIF _kind IS NULL THEN
        RETURN 'Cannot explain input: it is no instance id, no workflow, no expression with df.* calls or operators, and no '
            || 'SQL statement: ' || df_engine.cut(_input, 100);
    ELSIF _input IS NULL THEN
        RETURN 'Expression returned NULL';
    END IF;
    BEGIN
        IF df_engine.explain_kind(_input) IS DISTINCT FROM 'envelope' THEN
            RETURN 'Failed to parse Durofut JSON: the expression gave no workflow but ' || df_engine.cut(_input, 100);
        END IF;
    EXCEPTION WHEN SQLSTATE 'DF102' THEN
        RETURN SQLERRM;
    END;
    RETURN coalesce(df_engine.graph_problem(_input), df_engine.drawn(_input, NULL));
END $$;

CREATE OR REPLACE FUNCTION df_engine.explained_instance(_instance_id text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _i record;
    _output text;
BEGIN
    SELECT * INTO _i FROM df_engine.visible_instances v
        WHERE v.bucket = df_engine.bucket_of(_instance_id) AND v.instance_id = _instance_id;
    IF NOT FOUND THEN
        RETURN format('Instance ''%s'' not found', _instance_id);
    END IF;
    _output := df_engine.visible_outcome(_i.bucket, _i.instance_id, _i.execution_id, _i.head_seq, _i.status);
    RETURN concat(
        'Instance: ', _i.instance_id, ' (' || _i.label || ')', E'\n',
        'Status:   ', CASE _i.status WHEN 'completed' THEN '✓' WHEN 'running' THEN '⏳' WHEN 'pending' THEN '○' ELSE '✗' END,
        ' ', initcap(_i.status), E'\n',
        'Output:   ' || df_engine.cut(_output, 60) || E'\n',
        E'\n',
        df_engine.drawn(_i.graph, ARRAY(
            SELECT CASE WHEN _i.status = 'cancelled' AND n.inferred = 'running' THEN 'cancelled' ELSE n.inferred END
            FROM df_engine.inferred_nodes(_instance_id) n ORDER BY n.index)));
END $$;

-- At most _most characters of one line; the last three of them dots where something was cut off.
CREATE OR REPLACE FUNCTION df_engine.cut(_text text, _most integer) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _line text := regexp_replace(left(_text, _most * 20), E'\\s*[\\n\\r]\\s*', ' ', 'g');
BEGIN
    RETURN CASE WHEN char_length(_line) > _most THEN left(_line, _most - 3) || '...' ELSE _line END;
END $$;

-- One node in words, its name included. THEN has none: it is drawn as its items.
CREATE OR REPLACE FUNCTION df_engine.node_words(_type text, _query text, _branches integer, _has_condition boolean) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _config json;
BEGIN
    IF _type IN ('SIGNAL', 'WAIT_SCHEDULE', 'WAIT_INSTANCE', 'BREAK', 'HTTP', 'HTTP_MULTIPART') THEN
        _config := _query::json;
    END IF;
    RETURN CASE _type
        WHEN 'SQL' THEN 'SQL: ' || df_engine.cut(_query, 50)
        WHEN 'SLEEP' THEN 'SLEEP ' || _query || 's'
        WHEN 'WAIT_SCHEDULE' THEN concat('WAIT ''', _config->>'cron_expr', '''', ' (' || (_config->>'timezone') || ')')
        WHEN 'SIGNAL' THEN concat('SIGNAL ''', _config->>'signal_name', '''', ' (' || (_config->>'timeout_seconds') || 's)')
        WHEN 'WAIT_INSTANCE' THEN
            concat('WAIT INSTANCE ''', _config->>'instance_id', '''', ' (' || (_config->>'timeout_seconds') || 's)')
        WHEN 'LOOP' THEN CASE WHEN _has_condition THEN 'LOOP (while)' ELSE 'LOOP (infinite)' END
        WHEN 'BREAK' THEN concat('BREAK', ' ''' || df_engine.cut(_config->>'break_value', 20) || '''')
        WHEN 'JOIN' THEN format('JOIN (%s)', _branches)
        WHEN 'HTTP' THEN concat('HTTP ', coalesce(_config->>'method', 'POST'), ' ', df_engine.cut(_config->>'url', 40))
        WHEN 'HTTP_MULTIPART' THEN
            concat('HTTP_MULTIPART ', coalesce(_config->>'method', 'POST'), ' ', df_engine.cut(_config->>'url', 40))
        ELSE _type END;
END $$;

CREATE OR REPLACE FUNCTION df_engine.status_marker(_status text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN CASE _status WHEN 'completed' THEN ' ✓' WHEN 'failed' THEN ' ✗' WHEN 'cancelled' THEN ' ✗'
                        WHEN 'running' THEN ' ⏳' WHEN 'pending' THEN ' ○' WHEN 'skipped' THEN ' ⊘' ELSE '' END;
END $$;

-- For drawing: a node, and a place in the drawing. `names` are those of the sequences that end with the node.
DO $$
BEGIN
    IF to_regtype('df_engine.drawable') IS NULL THEN
        CREATE TYPE df_engine.drawable AS (
            index integer, node_type text, query text, result_name text, left_index integer, right_index integer,
            condition_index integer, extra_indexes integer[]);
        CREATE TYPE df_engine.drawing AS (index integer, prefix text, connector text, names text, in_sequence boolean);
    END IF;
END $$;

-- What is drawn below a node, in order. A sequence is flat: its items share a prefix, those after the first follow an arrow,
-- and its name goes to its last item, whose result it has.
CREATE OR REPLACE FUNCTION df_engine.sections(_n df_engine.drawable, _d df_engine.drawing) RETURNS df_engine.drawing[]
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _inner text := _d.prefix || CASE WHEN _d.connector = '├─' THEN '│   ' ELSE '    ' END;
    _branches integer[];
    _sections df_engine.drawing[] := '{}';
BEGIN
    IF _n.node_type = 'THEN' THEN
        RETURN ARRAY[
            (_n.left_index, _d.prefix, _d.connector, '', true)::df_engine.drawing,
            (_n.right_index, _d.prefix, '→ ', concat(' |=> ''' || _n.result_name || '''', _d.names), true)::df_engine.drawing];
    ELSIF _d.in_sequence THEN
        _inner := _d.prefix || '    ';
    END IF;
    IF _n.node_type = 'LOOP' THEN
        _sections := df_engine.section(_inner, '↻ body:', _n.left_index, '└─')
            || df_engine.section(_inner, '? while:', _n.condition_index, '└─');
    ELSIF _n.node_type = 'IF' THEN
        _sections := df_engine.section(_inner, '? condition:', _n.condition_index, '└─')
            || df_engine.section(_inner, '✓ then:', _n.left_index, '└─')
            || df_engine.section(_inner, '✗ else:', _n.right_index, '└─');
    ELSIF _n.node_type IN ('JOIN', 'RACE') THEN
        _branches := ARRAY[_n.left_index, _n.right_index] || coalesce(_n.extra_indexes, '{}');
        FOR _branch IN 1 .. cardinality(_branches) LOOP
            _sections := _sections || df_engine.section(
                _inner, format('║ branch %s:', _branch), _branches[_branch],
                CASE WHEN _branch = cardinality(_branches) THEN '└─' ELSE '├─' END);
        END LOOP;
    END IF;
    RETURN _sections;
END $$;

-- A head and the node below it; nothing without a node.
CREATE OR REPLACE FUNCTION df_engine.section(_prefix text, _head text, _index integer, _connector text)
RETURNS df_engine.drawing[]
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN CASE WHEN _index IS NOT NULL THEN ARRAY[
        (NULL, _prefix || _head, NULL, NULL, NULL)::df_engine.drawing,
        (_index, _prefix || '  ', _connector, '', false)::df_engine.drawing] END;
END $$;

-- The tree, every line padded to the longest and four more. _states are the nodes' states by number, NULL for a dry run.
-- What is still to be drawn is a stack of sections, each a node with its place (or, without a node, the line itself): graphs
-- may be deeper than the server's stack.
CREATE OR REPLACE FUNCTION df_engine.drawn(_graph text, _states text[]) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _nodes df_engine.drawable[] := ARRAY(
        SELECT (g.index, g.node_type, g.query, g.result_name, g.left_index, g.right_index, g.condition_index,
                g.extra_indexes)::df_engine.drawable
        FROM df_engine.graph_nodes(_graph) g ORDER BY g.index);
    _stack df_engine.drawing[] := ARRAY[(0, '', '', '', false)::df_engine.drawing];
    _top integer := 1;
    _n df_engine.drawable;
    _d df_engine.drawing;
    _next df_engine.drawing[];
    _lines text[] := '{}';
    _width integer;
BEGIN
    WHILE _top > 0 LOOP
        _d := _stack[_top];
        _top := _top - 1;
        IF _d.index IS NULL THEN
            _lines := _lines || _d.prefix;
            CONTINUE;
        END IF;
        _n := _nodes[_d.index + 1];
        IF _n.node_type <> 'THEN' THEN
            _lines := _lines || concat(
                _d.prefix, _d.connector,
                df_engine.node_words(_n.node_type, _n.query, 2 + coalesce(cardinality(_n.extra_indexes), 0),
                                     _n.condition_index IS NOT NULL),
                ' |=> ''' || _n.result_name || '''', _d.names, df_engine.status_marker(_states[_n.index + 1]));
        END IF;
        _next := df_engine.sections(_n, _d);
        FOR _section IN REVERSE coalesce(cardinality(_next), 0) .. 1 LOOP
            _top := _top + 1;
            _stack[_top] := _next[_section];
        END LOOP;
    END LOOP;
    SELECT max(char_length(l)) + 4 INTO _width FROM unnest(_lines) l;
    RETURN (SELECT string_agg(rpad(l.line, _width), E'\n' ORDER BY l.ordinality)
            FROM unnest(_lines) WITH ORDINALITY AS l (line, ordinality));
END $$;
