-- The strict reading of a graph: what df.start() accepts, and the words in which it refuses.
--
-- A node is looked at three times: are its fields of the right JSON types (fields_problem), does it have what its kind
-- needs and nothing else (node_problem), is its configuration usable (config_problem). The tree is walked with a stack
-- of its own, pre-order, so that neither depth nor breadth reaches the server's stack limit.
-- A function named ..._problem returns words, or NULL when all is well.

CREATE OR REPLACE FUNCTION df_engine.is_node_type(node_type text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN node_type IN ('SQL', 'THEN', 'IF', 'JOIN', 'LOOP', 'BREAK', 'RACE', 'SLEEP', 'WAIT_SCHEDULE', 'HTTP',
                         'HTTP_MULTIPART', 'SIGNAL', 'WAIT_INSTANCE');
END $$;

CREATE OR REPLACE FUNCTION df_engine.unknown_type_problem(node_type text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN format('Unknown node_type ''%s''. Valid types: SQL, THEN, IF, JOIN, LOOP, BREAK, RACE, SLEEP, WAIT_SCHEDULE, '
                  'HTTP, HTTP_MULTIPART, SIGNAL, WAIT_INSTANCE', node_type);
END $$;

-- JSON of a text, NULL if it is not JSON. Raises "<prefix>: ..." for a text that has a node_type and is JSON, but none
-- that can be stored or read back: \u0000, numbers without end, more than 600 levels (256 nodes need 513).
CREATE OR REPLACE FUNCTION df_engine.parsed(value text, prefix text) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _json jsonb;
    _why text;
BEGIN
    _json := value::jsonb;
    IF octet_length(value) <= 1200 OR NOT jsonb_path_exists(_json, 'strict $.**{600}') THEN
        RETURN _json;
    END IF;
    RAISE statement_too_complex;
EXCEPTION
    WHEN invalid_text_representation THEN
        RETURN NULL;
    WHEN statement_too_complex OR program_limit_exceeded OR untranslatable_character OR numeric_value_out_of_range THEN
        _why := CASE SQLSTATE
            WHEN '54001' THEN 'Invalid durable function graph: root: graph exceeds the maximum nesting depth of 256'
            ELSE format('%s: %s', prefix, SQLERRM) END;
        IF strpos(value, '"node_type"') > 0 THEN
            RAISE EXCEPTION '%', _why USING ERRCODE = 'DF102';
        END IF;
        RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION df_engine.fields_problem(node jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _extra jsonb := node -> 'extra_nodes';
BEGIN
    RETURN CASE
        WHEN node -> 'node_type' IS NULL THEN 'missing field `node_type`'
        WHEN jsonb_typeof(node -> 'node_type') <> 'string' THEN 'node_type must be a string'
        WHEN jsonb_typeof(node -> 'query') NOT IN ('string', 'null') THEN 'query must be a string'
        WHEN jsonb_typeof(node -> 'result_name') NOT IN ('string', 'null') THEN 'result_name must be a string'
        WHEN jsonb_typeof(node -> 'left_node') NOT IN ('object', 'null')
            OR jsonb_typeof(node -> 'right_node') NOT IN ('object', 'null') THEN 'Durofut children must be JSON objects'
        WHEN jsonb_typeof(node -> 'condition_node') NOT IN ('object', 'null')
            THEN 'condition_node must be a Durofut JSON object'
        WHEN _extra IS NULL OR jsonb_typeof(_extra) = 'null' THEN NULL
        WHEN jsonb_typeof(_extra) <> 'array' THEN 'extra_nodes must be an array of Durofut JSON objects'
        WHEN jsonb_path_exists(_extra, 'strict $[*] ? (@.type() <> "object")')
            THEN 'extra_nodes entries must be Durofut JSON objects'
    END;
END $$;

-- Rules that the reference checks come first, in its words; then what it leaves to the constraints of its tables.
-- `node` has passed fields_problem.
CREATE OR REPLACE FUNCTION df_engine.node_problem(node jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _type text := node ->> 'node_type';
    _query text := node ->> 'query';
    _name text := node ->> 'result_name';
    _left boolean := (jsonb_typeof(node -> 'left_node') = 'object') IS TRUE;
    _right boolean := (jsonb_typeof(node -> 'right_node') = 'object') IS TRUE;
    _condition boolean := (jsonb_typeof(node -> 'condition_node') = 'object') IS TRUE;
    _extra boolean := (jsonb_typeof(node -> 'extra_nodes') = 'array' AND node -> 'extra_nodes' <> '[]') IS TRUE;
    _composite boolean := _type IN ('THEN', 'IF', 'JOIN', 'RACE', 'LOOP');
    _problem text;
BEGIN
    IF NOT df_engine.is_node_type(_type) THEN
        RETURN df_engine.unknown_type_problem(_type);
    ELSIF _condition AND _type NOT IN ('IF', 'LOOP') THEN
        RETURN format('condition_node is not valid for %s nodes', _type);
    ELSIF _extra AND _type <> 'JOIN' THEN
        RETURN format('extra_nodes is not valid for %s nodes', _type);
    ELSIF _composite AND _query IS NOT NULL THEN
        _problem := df_engine.composite_query_problem(_type, _query, _condition);
    END IF;
    RETURN CASE
        WHEN _problem IS NOT NULL THEN _problem
        WHEN _composite AND NOT _left THEN format('%s requires left_node', _type)
        WHEN _composite AND _type <> 'LOOP' AND NOT _right THEN format('%s requires right_node', _type)
        WHEN _left AND NOT _composite THEN format('left_node is not valid for %s nodes', _type)
        WHEN _right AND (_type = 'LOOP' OR NOT _composite) THEN format('right_node is not valid for %s nodes', _type)
        WHEN _query IS NULL AND NOT _composite THEN format('%s requires query', _type)
        WHEN _query IS NULL AND _type = 'IF' AND NOT _condition
            THEN 'IF requires condition_node, or a query that asks for result_has_rows'
        WHEN NOT df_engine.is_identifier(_name) THEN format('result_name ''%s'' is not a valid identifier', _name)
        WHEN _type <> 'SQL' AND NOT _composite THEN df_engine.config_problem(_type, _query)
    END;
END $$;

-- The query of IF, LOOP and JOIN is configuration; the only one there is says result_has_rows.
CREATE OR REPLACE FUNCTION df_engine.composite_query_problem(node_type text, query text, has_condition boolean)
RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _config jsonb := df_engine.parsed(query, node_type);
    _member text := CASE node_type WHEN 'JOIN' THEN 'extra_nodes' ELSE 'condition_node' END;
BEGIN
    RETURN CASE
        WHEN node_type IN ('THEN', 'RACE') THEN format('query is not valid for %s nodes', node_type)
        WHEN _config IS NULL THEN format('query in %s must be valid JSON config', node_type)
        WHEN jsonb_typeof(_config) <> 'object' THEN format('query in %s must be a JSON config object', node_type)
        WHEN _config ? _member
            THEN format('%s in %s must be a first-class Durofut field, not embedded in query', _member, node_type)
        WHEN node_type <> 'IF' OR has_condition THEN NULL
        WHEN _config ->> 'condition_type' IS DISTINCT FROM 'result_has_rows'
            THEN 'IF requires condition_node, or a query that asks for result_has_rows'
        WHEN NOT df_engine.is_filled(_config -> 'result_name') THEN 'query in IF: result_name must be a non-empty string'
    END;
END $$;

-- Configuration of leaves other than SQL. Contents that only the moment of running can judge (hosts, methods, parts)
-- are left to it.
CREATE OR REPLACE FUNCTION df_engine.config_problem(node_type text, query text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _config jsonb;
    _problem text;
BEGIN
    IF node_type = 'SLEEP' THEN
        -- A hundred years of 365.25 days.
        RETURN CASE WHEN query !~ '^[0-9]{1,10}$' OR query::bigint > 3155760000
            THEN 'query in SLEEP must be a whole number of seconds from 0 to 3155760000' END;
    END IF;
    _config := df_engine.parsed(query, node_type);
    IF _config IS NULL THEN
        RETURN format('query in %s must be valid JSON config', node_type);
    ELSIF jsonb_typeof(_config) <> 'object' THEN
        RETURN format('query in %s must be a JSON config object', node_type);
    END IF;
    _problem := CASE
        WHEN node_type = 'BREAK' THEN
            CASE WHEN jsonb_typeof(_config -> 'break_value') NOT IN ('string', 'null')
                THEN 'break_value must be a string or null' END
        WHEN NOT df_engine.is_timeout(_config -> 'timeout_seconds') THEN 'timeout_seconds must be a positive whole number'
        WHEN node_type = 'SIGNAL' THEN
            CASE WHEN NOT df_engine.is_filled(_config -> 'signal_name') THEN 'signal_name must be a non-empty string' END
        WHEN node_type = 'WAIT_INSTANCE' THEN
            CASE WHEN NOT df_engine.is_filled(_config -> 'instance_id') THEN 'instance_id must be a non-empty string' END
        WHEN node_type = 'WAIT_SCHEDULE' THEN df_engine.schedule_config_problem(_config)
        ELSE df_engine.http_config_problem(node_type, _config)
    END;
    RETURN format('query in %s: ', node_type) || _problem;
END $$;

CREATE OR REPLACE FUNCTION df_engine.is_filled(value jsonb) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (jsonb_typeof(value) = 'string' AND value <> '""') IS TRUE;
END $$;

CREATE OR REPLACE FUNCTION df_engine.is_timeout(value jsonb) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN CASE coalesce(jsonb_typeof(value), 'null')
        WHEN 'null' THEN true
        WHEN 'number' THEN value::numeric BETWEEN 1 AND 2147483647 AND value::numeric = trunc(value::numeric)
        ELSE false END;
END $$;

CREATE OR REPLACE FUNCTION df_engine.schedule_config_problem(config jsonb) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT df_engine.is_filled(config -> 'cron_expr') THEN
        RETURN 'cron_expr must be a non-empty string';
    ELSIF jsonb_typeof(config -> 'timezone') NOT IN ('string', 'null') THEN
        RETURN 'timezone must be a string or null';
    END IF;
    RETURN df_engine.cron_problem(config ->> 'cron_expr', config ->> 'timezone');
END $$;

CREATE OR REPLACE FUNCTION df_engine.http_config_problem(node_type text, config jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN CASE
        WHEN NOT df_engine.is_filled(config -> 'url') THEN 'url must be a non-empty string'
        WHEN jsonb_typeof(config -> 'method') NOT IN ('string', 'null') THEN 'method must be a string'
        WHEN jsonb_typeof(config -> 'body') NOT IN ('string', 'null') THEN 'body must be a string or null'
        WHEN node_type = 'HTTP_MULTIPART' AND (jsonb_typeof(config -> 'parts') = 'array') IS NOT TRUE
            THEN 'parts must be a JSON array of part objects'
        ELSE df_engine.headers_problem(config -> 'headers')
    END;
END $$;

-- ------------------------------------------------------------------------------------------------------ the walk

-- "<path>: <words>" for the first node, pre-order, that is not in order. The nodes still to be visited are a stack.
CREATE OR REPLACE FUNCTION df_engine.tree_problem(root jsonb, max_nodes integer) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _nodes jsonb[] := ARRAY[root];
    _paths text[] := ARRAY['root'];
    _depths integer[] := ARRAY[0];
    _top integer := 1;
    _seen integer := 0;
    _node jsonb;
    _path text;
    _depth integer;
    _problem text;
    _member text;
    _extra jsonb;
BEGIN
    WHILE _top > 0 LOOP
        _node := _nodes[_top];
        _path := _paths[_top];
        _depth := _depths[_top];
        _top := _top - 1;
        _seen := _seen + 1;
        _problem := CASE
            WHEN _depth > 256 THEN 'graph exceeds the maximum nesting depth of 256'
            WHEN _seen > max_nodes THEN format('graph exceeds the maximum node count of %s', max_nodes)
            ELSE coalesce('failed to deserialize workflow step: ' || df_engine.fields_problem(_node),
                          df_engine.node_problem(_node)) END;
        IF _problem IS NOT NULL THEN
            RETURN format('%s: %s', _path, _problem);
        ELSIF _node ? 'left_node' THEN
            -- Branches beyond the limit need not be put on the stack: those before them will exceed it.
            _extra := coalesce(nullif(_node -> 'extra_nodes', 'null'), '[]');
            FOR _i IN REVERSE least(jsonb_array_length(_extra), max_nodes - _seen + 1) - 1 .. 0 LOOP
                _top := _top + 1;
                _nodes[_top] := _extra -> _i;
                _paths[_top] := format('%s.extra_nodes[%s]', _path, _i);
                _depths[_top] := _depth + 1;
            END LOOP;
            FOREACH _member IN ARRAY ARRAY['condition_node', 'right_node', 'left_node'] LOOP
                CONTINUE WHEN coalesce(jsonb_typeof(_node -> _member), 'null') = 'null';
                _top := _top + 1;
                _nodes[_top] := _node -> _member;
                _paths[_top] := format('%s.%s', _path, CASE _member
                    WHEN 'left_node' THEN 'left' WHEN 'right_node' THEN 'right' ELSE _member END);
                _depths[_top] := _depth + 1;
            END LOOP;
        END IF;
    END LOOP;
    RETURN NULL;
END $$;

-- The limits are settings that cannot be set below what is not worth asking for.
CREATE OR REPLACE FUNCTION df_engine.max_graph_nodes(graph text) RETURNS integer
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- The shortest node, `{"node_type":"SQL","query":""}`, has 30 bytes.
    RETURN CASE WHEN octet_length(graph) < 30000 THEN 1000 ELSE df_engine.setting('max_graph_nodes')::integer END;
END $$;

CREATE OR REPLACE FUNCTION df_engine.refuse_size(graph text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF octet_length(graph) > 1048576 AND octet_length(graph) > df_engine.setting('max_graph_bytes')::bigint THEN
        RAISE EXCEPTION 'Invalid durable function: the graph has % bytes, more than max_graph_bytes (%)',
            octet_length(graph), df_engine.setting('max_graph_bytes') USING ERRCODE = 'DF102';
    END IF;
END $$;

-- What df.start() will run, as an envelope: `fut` itself, or a SQL node when it is plain text. Raises what df.start()
-- is to raise.
CREATE OR REPLACE FUNCTION df_engine.checked_graph(fut text) RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _node jsonb;
    _problem text;
BEGIN
    IF fut IS NULL THEN
        RAISE EXCEPTION 'Invalid durable function: it is NULL (an operator with a NULL operand is NULL)'
            USING ERRCODE = 'DF102';
    END IF;
    PERFORM df_engine.refuse_size(fut);
    IF NOT df_engine.looks_like_json(fut) THEN
        RETURN df_engine.wrap(fut);
    END IF;
    _node := df_engine.parsed(fut, 'Invalid durable function: Malformed Durofut JSON');
    IF _node IS NULL AND starts_with(fut, '{"node_type":"') THEN
        RAISE EXCEPTION 'Invalid durable function: Malformed Durofut JSON: it begins as a step but is not valid JSON'
            USING ERRCODE = 'DF102',
                  HINT = '|| and ~> bind equally, from left to right: put parentheses around built strings.';
    ELSIF (jsonb_typeof(_node) = 'object' AND jsonb_typeof(_node -> 'node_type') = 'string') IS NOT TRUE THEN
        RETURN df_engine.leaf('SQL', fut);
    END IF;
    _problem := df_engine.strict_problem(_node, df_engine.max_graph_nodes(fut));
    IF _problem IS NOT NULL THEN
        RAISE EXCEPTION '%', _problem USING ERRCODE = 'DF102';
    END IF;
    RETURN btrim(fut, E' \t\n\r');
END $$;

-- What df.start() says about an object with a node_type.
CREATE OR REPLACE FUNCTION df_engine.strict_problem(root jsonb, max_nodes integer) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _type text := root ->> 'node_type';
BEGIN
    IF NOT df_engine.is_node_type(_type) THEN
        RETURN 'Invalid durable function: ' || df_engine.unknown_type_problem(_type);
    END IF;
    RETURN coalesce(
        format('Invalid durable function: Malformed Durofut JSON with node_type ''%s'': ', _type)
            || df_engine.fields_problem(root),
        'Invalid durable function graph: ' || df_engine.tree_problem(root, max_nodes));
END $$;

-- For df.explain(), which returns it: "Invalid durable function graph: <path>: <words>", NULL for a graph in order and
-- for text that is no envelope.
CREATE OR REPLACE FUNCTION df_engine.graph_problem(graph text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _node jsonb;
BEGIN
    IF df_engine.looks_like_json(graph) THEN
        _node := df_engine.parsed(graph, 'Failed to parse Durofut JSON');
    END IF;
    IF (jsonb_typeof(_node) = 'object' AND jsonb_typeof(_node -> 'node_type') = 'string') IS NOT TRUE THEN
        RETURN NULL;
    END IF;
    RETURN 'Invalid durable function graph: ' || df_engine.tree_problem(_node, df_engine.max_graph_nodes(graph));
EXCEPTION WHEN SQLSTATE 'DF102' THEN
    RETURN SQLERRM;
END $$;
