-- Schedules. The grammar, equal to the one in orchestrator/cron.py:
--
--   expression  five fields, blanks between them: minute hour day-of-month month day-of-week; a sixth is the year;
--               or one of @hourly @daily @midnight @weekly @monthly @yearly @annually
--   field       items separated by commas; or "?" alone, in day-of-month and day-of-week, the same as "*"
--   item        *  */s  n  n/s (from n to the end)  a-b  a-b/s
--   numbers     minute 0-59, hour 0-23, day 1-31, month 1-12, day of week 0-7 (0 and 7 are Sunday), year 1970-2100;
--               s is 1 or more
--   names       months and days of the week, three letters or whole, in any case; also tues, wednes, thur, thurs
--
-- Ranges do not wrap around (fri-mon is refused); there is no L, W and #.

-- Why a schedule cannot be used, NULL when it can. `timezone` NULL means UTC.
CREATE OR REPLACE FUNCTION df_engine.cron_problem(expr text, timezone text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _names constant text[] := ARRAY['minute', 'hour', 'day of month', 'month', 'day of week', 'year'];
    _low constant integer[] := ARRAY[0, 0, 1, 1, 0, 1970];
    _high constant integer[] := ARRAY[59, 23, 31, 12, 7, 2100];
    _expr text := lower(btrim(expr, E' \t'));
    _fields text[] := regexp_split_to_array(_expr, '[ \t]+');
    _problem text;
BEGIN
    IF _expr LIKE '@%' THEN
        IF _expr NOT IN ('@hourly', '@daily', '@midnight', '@weekly', '@monthly', '@yearly', '@annually') THEN
            _problem := format('unknown schedule %s', _expr);
        END IF;
    ELSIF _expr = '' OR cardinality(_fields) NOT IN (5, 6) THEN
        _problem := format('expected 5 fields (minute hour day-of-month month day-of-week) or a sixth for the year, found %s',
                           CASE _expr WHEN '' THEN 0 ELSE cardinality(_fields) END);
    ELSE
        FOR _i IN 1..cardinality(_fields) LOOP
            _problem := coalesce(_problem, df_engine.cron_field_problem(_fields[_i], _names[_i], _low[_i], _high[_i]));
        END LOOP;
    END IF;
    RETURN coalesce(format('Invalid cron expression ''%s'': ', expr) || _problem, df_engine.timezone_problem(timezone));
END $$;

CREATE OR REPLACE FUNCTION df_engine.cron_field_problem(field text, name text, low integer, high integer) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _item text;
    _problem text;
BEGIN
    IF field = '?' AND name IN ('day of month', 'day of week') THEN
        RETURN NULL;
    END IF;
    FOREACH _item IN ARRAY string_to_array(field, ',') LOOP
        _problem := df_engine.cron_item_problem(_item, name, low, high);
        IF _problem IS NOT NULL THEN
            RETURN format('%s ''%s'': %s', name, field, _problem);
        END IF;
    END LOOP;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION df_engine.cron_item_problem(item text, name text, low integer, high integer) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _parts text[] := regexp_match(item, '^(\*|[0-9]{1,4}|[a-z]+)(?:-([0-9]{1,4}|[a-z]+))?(?:/([0-9]{1,4}))?$');
    _from integer := df_engine.cron_value(_parts[1], name);
    _to integer := df_engine.cron_value(_parts[2], name);
BEGIN
    RETURN CASE
        WHEN _parts IS NULL OR (_parts[1] = '*' AND _parts[2] IS NOT NULL) THEN format('''%s'' is not understood', item)
        WHEN _parts[1] <> '*' AND _from IS NULL THEN format('''%s'' is no name for it', _parts[1])
        WHEN _parts[2] IS NOT NULL AND _to IS NULL THEN format('''%s'' is no name for it', _parts[2])
        WHEN _from NOT BETWEEN low AND high THEN format('%s is not in %s-%s', _from, low, high)
        WHEN _to NOT BETWEEN low AND high THEN format('%s is not in %s-%s', _to, low, high)
        WHEN _from > _to THEN format('the range %s-%s runs backwards', _parts[1], _parts[2])
        WHEN _parts[3]::integer < 1 THEN 'a step must be at least 1'
    END;
END $$;

-- A number or a name as a number; NULL for "*" and for what is no name in this field.
CREATE OR REPLACE FUNCTION df_engine.cron_value(word text, field_name text) RETURNS integer
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF word ~ '^[0-9]+$' THEN
        RETURN word::integer;
    ELSIF field_name = 'month' THEN
        RETURN CASE
            WHEN word IN ('jan', 'january') THEN 1 WHEN word IN ('feb', 'february') THEN 2
            WHEN word IN ('mar', 'march') THEN 3 WHEN word IN ('apr', 'april') THEN 4 WHEN word = 'may' THEN 5
            WHEN word IN ('jun', 'june') THEN 6 WHEN word IN ('jul', 'july') THEN 7
            WHEN word IN ('aug', 'august') THEN 8 WHEN word IN ('sep', 'sept', 'september') THEN 9
            WHEN word IN ('oct', 'october') THEN 10 WHEN word IN ('nov', 'november') THEN 11
            WHEN word IN ('dec', 'december') THEN 12 END;
    ELSIF field_name = 'day of week' THEN
        RETURN CASE
            WHEN word IN ('sun', 'sunday') THEN 0 WHEN word IN ('mon', 'monday') THEN 1
            WHEN word IN ('tue', 'tues', 'tuesday') THEN 2 WHEN word IN ('wed', 'wednesday') THEN 3
            WHEN word IN ('thu', 'thur', 'thurs', 'thursday') THEN 4 WHEN word IN ('fri', 'friday') THEN 5
            WHEN word IN ('sat', 'saturday') THEN 6 END;
    END IF;
    RETURN NULL;
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
