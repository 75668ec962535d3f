-- Schedules. The grammar, equal to the one in orchestrator/cron.py:
--
--   expression  five fields, blanks between them: minute hour day-of-month month day-of-week; a sixth is the year;
--               or one of @hourly @daily @midnight @weekly @monthly @yearly @annually; 1000 characters at most
--   field       items separated by commas; or "?" alone, in day-of-month and day-of-week, the same as "*"
--   item        *  */s  n  n/s (from n to the end)  a-b  a-b/s
--   numbers     minute 0-59, hour 0-23, day 1-31, month 1-12, day of week 0-7 (0 and 7 are Sunday), year 1970-2100;
--               s is 1 or more; 4 digits at most
--   names       months and days of the week, whole or their first letters, three at least, in any case
--
-- Ranges do not wrap around, but may end in a Sunday (fri-sun, 5-0); there is no L, W and #. An expression that fits no
-- day of any year (30 February) is refused.

-- Why a schedule cannot be used, NULL when it can. `timezone` NULL means UTC.
CREATE OR REPLACE FUNCTION df_engine.cron_problem(expr text, timezone text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _names constant text[] := ARRAY['minute', 'hour', 'day of month', 'month', 'day of week', 'year'];
    _expr text := lower(btrim(left(expr, 1001), E' \t\n\r\f\v') COLLATE "C");
    _fields text[] := regexp_split_to_array(_expr, E'[ \t\n\r\f\v]+');
    _problem text;
BEGIN
    IF length(expr) > 1000 THEN
        _problem := 'longer than 1000 characters';
    ELSIF _expr LIKE '@%' THEN
        IF _expr NOT IN ('@hourly', '@daily', '@midnight', '@weekly', '@monthly', '@yearly', '@annually') THEN
            _problem := 'unknown nickname, use one of @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually';
        END IF;
    ELSIF _expr = '' OR cardinality(_fields) NOT IN (5, 6) THEN
        _problem := format('5 fields (minute hour day-of-month month day-of-week) or 6 (with a year) are needed, not %s',
                           CASE _expr WHEN '' THEN 0 ELSE cardinality(_fields) END);
    ELSE
        FOR _i IN 1..cardinality(_fields) LOOP
            _problem := coalesce(_problem, df_engine.cron_field_problem(_fields[_i], _names[_i]));
        END LOOP;
        _problem := coalesce(_problem, df_engine.cron_never_problem(_fields[3], _fields[4], _fields[5], _fields[6]));
    END IF;
    RETURN coalesce(format('Invalid cron expression ''%s'': ', left(expr, 1000)) || _problem,
                    df_engine.timezone_problem(timezone));
END $$;

CREATE OR REPLACE FUNCTION df_engine.cron_field_problem(field text, name text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _item text;
    _problem text;
BEGIN
    IF field = '*' OR (field = '?' AND name IN ('day of month', 'day of week')) THEN
        RETURN NULL;
    END IF;
    FOREACH _item IN ARRAY string_to_array(field, ',') LOOP
        _problem := (df_engine.cron_item(_item, name)).problem;
        IF _problem IS NOT NULL THEN
            RETURN format('%s in the field %s', _problem, name);
        END IF;
    END LOOP;
    RETURN NULL;
END $$;

-- The numbers that one item stands for, or why it stands for none. A range that ends in a Sunday ends in 7.
CREATE OR REPLACE FUNCTION df_engine.cron_item(
    item text, name text, OUT first integer, OUT last integer, OUT step integer, OUT problem text
) LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _parts text[] := regexp_match(item, '^(?:([*])|([0-9]{1,4}|[a-z]+)(?:-([0-9]{1,4}|[a-z]+))?)(?:/([0-9]{1,4}))?$');
    _low integer := CASE name WHEN 'day of month' THEN 1 WHEN 'month' THEN 1 WHEN 'year' THEN 1970 ELSE 0 END;
    _high integer := CASE name WHEN 'minute' THEN 59 WHEN 'hour' THEN 23 WHEN 'day of month' THEN 31 WHEN 'month' THEN 12
                     WHEN 'day of week' THEN 7 ELSE 2100 END;
BEGIN
    first := _low;
    last := CASE _high WHEN 7 THEN 6 ELSE _high END;
    step := coalesce(_parts[4]::integer, 1);
    IF _parts IS NULL THEN
        problem := format('''%s'' is not understood', item);
        RETURN;
    ELSIF _parts[1] IS NULL THEN
        first := df_engine.cron_value(_parts[2], name);
        last := CASE WHEN _parts[3] IS NOT NULL THEN df_engine.cron_value(_parts[3], name)
                     WHEN _parts[4] IS NULL THEN first ELSE last END;
        last := CASE WHEN _high = 7 AND last = 0 AND first > 0 THEN 7 ELSE last END;
    END IF;
    problem := CASE
        WHEN first IS NULL THEN format('''%s'' is not a name', _parts[2])
        WHEN last IS NULL THEN format('''%s'' is not a name', _parts[3])
        WHEN first NOT BETWEEN _low AND _high THEN format('%s is out of the range %s to %s', first, _low, _high)
        WHEN last NOT BETWEEN _low AND _high THEN format('%s is out of the range %s to %s', last, _low, _high)
        WHEN first > last THEN format('the range ''%s'' runs backwards', item)
        WHEN step < 1 THEN format('the step of ''%s'' is 0', item) END;
END $$;

-- A number or a name as a number; NULL for what is no name in this field.
CREATE OR REPLACE FUNCTION df_engine.cron_value(word text, field_name text) RETURNS integer
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _names text[] := CASE field_name
        WHEN 'month' THEN ARRAY['january', 'february', 'march', 'april', 'may', 'june', 'july', 'august', 'september',
                                'october', 'november', 'december']
        WHEN 'day of week' THEN ARRAY['sunday', 'monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday'] END;
BEGIN
    IF word ~ '^[0-9]+$' THEN
        RETURN word::integer;
    ELSIF length(word) >= 3 THEN
        RETURN (SELECT n.at - (field_name = 'day of week')::integer
                FROM unnest(_names) WITH ORDINALITY AS n (name, at) WHERE starts_with(n.name, word));
    END IF;
    RETURN NULL;
END $$;

-- The numbers of a field whose items are in order.
CREATE OR REPLACE FUNCTION df_engine.cron_numbers(field text, name text) RETURNS integer[]
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (
        SELECT array_agg(n)
        FROM unnest(string_to_array(replace(field, '?', '*'), ',')) AS i (item),
             df_engine.cron_item(i.item, cron_numbers.name) AS c,
             generate_series(c.first, c.last, c.step) AS n);
END $$;

-- An expression whose days never come. A day of the week comes every week, whatever the other day is.
CREATE OR REPLACE FUNCTION df_engine.cron_never_problem(day_of_month text, month text, day_of_week text, year text)
RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF day_of_month IN ('*', '?') OR day_of_week NOT IN ('*', '?', '*/1') OR EXISTS (
        SELECT FROM unnest(df_engine.cron_numbers(day_of_month, 'day of month')) AS d,
                    unnest(df_engine.cron_numbers(month, 'month')) AS m
        WHERE d <= CASE WHEN m = 2 THEN 28 WHEN m IN (4, 6, 9, 11) THEN 30 ELSE 31 END
           OR (d = 29 AND m = 2 AND EXISTS (
               SELECT FROM unnest(df_engine.cron_numbers(coalesce(year, '*'), 'year')) AS y
               WHERE y % 4 = 0 AND (y % 100 <> 0 OR y % 400 = 0)))) THEN
        RETURN NULL;
    END IF;
    RETURN 'it fires at no time';
END $$;

-- Reading all of pg_timezone_names takes some 50 ms. A name written as those of places are (Europe/Vienna,
-- America/New_York) is known if the server can use it: without digits it cannot be a POSIX rule, with a slash it cannot
-- be an abbreviation. Small words in names (Port_of_Spain) are spelt otherwise than the pattern, so take the long way.
CREATE OR REPLACE FUNCTION df_engine.timezone_problem(timezone text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _problem text := format('Unknown time zone ''%s''', timezone);
BEGIN
    IF timezone IS NULL OR timezone = 'UTC' THEN
        RETURN NULL;
    END IF;
    PERFORM timezone(timezone, clock_timestamp());
    IF timezone ~ '^[A-Z][a-z]+(/[A-Z][a-z]+(_[A-Z][a-z]+)*)+$' AND timezone !~ '_(Of|Es|Au)_|/Es_' THEN
        RETURN NULL;
    ELSIF timezone ~ '^[A-Za-z]' AND timezone !~ '^(posix|right)/' AND timezone NOT IN ('localtime', 'posixrules', 'Factory')
        AND EXISTS (SELECT FROM pg_timezone_names z WHERE z.name = timezone_problem.timezone) THEN
        RETURN NULL;
    END IF;
    RETURN _problem;
EXCEPTION WHEN invalid_parameter_value OR invalid_datetime_format OR invalid_text_representation THEN
    RETURN _problem;
END $$;

-- Raises "Invalid cron expression ..." or "Unknown time zone ...".
CREATE OR REPLACE FUNCTION df_engine.require_schedule(cron_expr text, timezone text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _problem text := df_engine.cron_problem(cron_expr, timezone);
BEGIN
    IF _problem IS NOT NULL THEN
        RAISE EXCEPTION '%', _problem USING ERRCODE = 'DF101';
    END IF;
END $$;
