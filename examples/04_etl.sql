-- Extract, transform, load: three steps and a label, by which the workflow is found again.

DROP TABLE IF EXISTS etl_source, etl_staging, etl_target;
CREATE TABLE etl_source (id int, amount text);
CREATE TABLE etl_staging (id int, amount numeric);
CREATE TABLE etl_target (id int PRIMARY KEY, amount numeric);
INSERT INTO etl_source VALUES (1, '10.50'), (2, ' 20 '), (3, 'unknown');

SELECT df.start(
    'INSERT INTO etl_staging SELECT id, trim(amount)::numeric FROM etl_source WHERE amount ~ ''^[ 0-9.]+$'''
    ~> 'UPDATE etl_staging SET amount = round(amount * 1.2, 2)'
    ~> 'INSERT INTO etl_target SELECT id, amount FROM etl_staging',
    'nightly etl'
) AS id \gset

SELECT df.await_instance(:'id');

SELECT i.label, i.status, t.id, t.amount
FROM df.instances i CROSS JOIN etl_target t
WHERE i.id = :'id' ORDER BY t.id;

-- Expected:
--       label    |  status   | id | amount
--   -------------+-----------+----+--------
--    nightly etl | completed |  1 |  12.60
--    nightly etl | completed |  2 |  24.00
--   (2 rows)
