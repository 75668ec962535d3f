-- Two steps: the second uses the result of the first.
--
-- |=> names a result, ~> means "and then", $total is replaced by the value.

SELECT df.start(
    'SELECT 100 AS n' |=> 'total'
    ~> 'SELECT $total * 2 AS n'
) AS id \gset

SELECT df.await_instance(:'id');

SELECT df.status(:'id'), df.result(:'id')::json -> 'rows' -> 0 ->> 'n' AS n;

-- Expected:
--     status   |  n
--   -----------+-----
--    completed | 200
--   (1 row)
