-- Three steps, of which the third divides by zero: the workflow has failed, and the first two effects stay.
--
-- Each step is a transaction of its own. What has committed is not undone by a later failure, and is not repeated.

DROP TABLE IF EXISTS failing_step_log;
CREATE TABLE failing_step_log (entry text);

SELECT df.start(
    'INSERT INTO failing_step_log VALUES (''first'')'
    ~> 'INSERT INTO failing_step_log VALUES (''second'')'
    ~> 'INSERT INTO failing_step_log SELECT (1 / 0)::text'
) AS id \gset

SELECT df.await_instance(:'id');

SELECT df.status(:'id'), string_agg(entry, ', ' ORDER BY entry) AS committed FROM failing_step_log;

-- Expected:
--    status |   committed
--   --------+---------------
--    failed | first, second
--   (1 row)
