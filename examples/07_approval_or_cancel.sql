-- Whichever comes first: an approval within an hour, or the request to drop it.
--
-- | runs its branches together; the first one to end decides, and the other is abandoned.

DROP TABLE IF EXISTS purchase_log;
CREATE TABLE purchase_log (decision text, timed_out boolean);

SELECT df.start(
    (df.wait_for_signal('approval', 3600) | df.wait_for_signal('cancel')) |=> 'decision'
    ~> 'INSERT INTO purchase_log VALUES ($decision.signal_name, $decision.timed_out)',
    'purchase'
) AS id \gset

SELECT df.signal(:'id', 'cancel');
SELECT df.await_instance(:'id');

SELECT df.status(:'id'), * FROM purchase_log;

-- Expected:
--     status   | decision | timed_out
--   -----------+----------+-----------
--    completed | cancel   | f
--   (1 row)
