-- A document waits for somebody to approve it: for seconds or for months, holding no connection and no lock.
--
-- While it waits it is a few rows in the database. PostgreSQL and every worker can be stopped and started again. A signal
-- is kept from the moment it is committed, so that it may also come before the workflow has begun to wait.

DROP TABLE IF EXISTS review_documents;
CREATE TABLE review_documents (id int PRIMARY KEY, state text NOT NULL, approved_by text);
INSERT INTO review_documents VALUES (1, 'draft');

SELECT df.start(
    'UPDATE review_documents SET state = ''in review'' WHERE id = 1'
    ~> df.wait_for_signal('approved') |=> 'approval'
    ~> 'UPDATE review_documents SET state = ''published'', approved_by = $approval::jsonb -> ''data'' ->> ''by'' WHERE id = 1',
    'document review'
) AS id \gset

-- Restart whatever you like here.

SELECT df.signal(:'id', 'approved', '{"by":"alice"}');
SELECT df.await_instance(:'id');

SELECT df.status(:'id'), state, approved_by FROM review_documents;

-- Expected:
--     status   |   state   | approved_by
--   -----------+-----------+-------------
--    completed | published | alice
--   (1 row)
