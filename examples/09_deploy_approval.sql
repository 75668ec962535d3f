-- A deployment goes ahead if somebody approves it in time, and is called off if nobody does.
--
-- A time-out is a result, not an error: {"signal_name": ..., "timed_out": true, "data": null}. A condition that is
-- nothing but a reference is judged as the value that it is.

DROP TABLE IF EXISTS deployments;
CREATE TABLE deployments (version text, outcome text);

SELECT df.start(
    df.wait_for_signal('approve', 60) |=> 'sig'
    ~> ('$sig.timed_out'
        ?> 'INSERT INTO deployments VALUES (''1.0'', ''called off'')'
        !> 'INSERT INTO deployments VALUES (''1.0'', ''deployed'')')
) AS approved \gset
SELECT df.start(
    df.wait_for_signal('approve', 1) |=> 'sig'
    ~> ('$sig.timed_out'
        ?> 'INSERT INTO deployments VALUES (''1.1'', ''called off'')'
        !> 'INSERT INTO deployments VALUES (''1.1'', ''deployed'')')
) AS ignored \gset

SELECT df.signal(:'approved', 'approve');
SELECT df.await_instance(:'approved');
SELECT df.await_instance(:'ignored');

SELECT version, outcome FROM deployments ORDER BY version;

-- Expected:
--    version |  outcome
--   ---------+------------
--    1.0     | deployed
--    1.1     | called off
--   (2 rows)
