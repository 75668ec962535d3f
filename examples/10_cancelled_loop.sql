-- A loop without an end, and how it ends nevertheless.
--
-- @> repeats what follows it, here in parentheses. A cancelled workflow begins no further step, and a statement that is
-- running is stopped and rolled back.

DROP TABLE IF EXISTS heartbeats;
CREATE TABLE heartbeats (at timestamptz NOT NULL);

SELECT df.start(
    @> ('INSERT INTO heartbeats VALUES (clock_timestamp())' ~> df.sleep(1)),
    'heartbeat'
) AS id \gset

-- Wait for two beats. A procedure, since each look needs a snapshot of its own.
DO $$
BEGIN
    FOR _try IN 1..600 LOOP
        EXIT WHEN (SELECT count(*) FROM heartbeats) >= 2;
        COMMIT;
        PERFORM pg_sleep(0.05);
    END LOOP;
END $$;

SELECT df.cancel(:'id', 'enough');
SELECT df.await_instance(:'id');

SELECT df.status(:'id'), count(*) >= 2 AS has_beaten, df.result(:'id') IS NULL AS without_result FROM heartbeats;

-- Expected:
--     status   | has_beaten | without_result
--   -----------+------------+----------------
--    cancelled | t          | t
--   (1 row)
