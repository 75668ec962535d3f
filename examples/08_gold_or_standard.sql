-- A condition chooses one of two branches; the other is never run.
--
-- condition ?> then !> else. Operators bind equally, from left to right: put parentheses around the whole.

DROP TABLE IF EXISTS customers;
CREATE TABLE customers (name text PRIMARY KEY, balance numeric NOT NULL, tier text);
INSERT INTO customers VALUES ('ada', 12000), ('bob', 80);

SELECT df.start(
    'SELECT balance > 10000 FROM customers WHERE name = ''ada'''
    ?> 'UPDATE customers SET tier = ''gold'' WHERE name = ''ada'''
    !> 'UPDATE customers SET tier = ''standard'' WHERE name = ''ada'''
) AS ada \gset
SELECT df.start(
    'SELECT balance > 10000 FROM customers WHERE name = ''bob'''
    ?> 'UPDATE customers SET tier = ''gold'' WHERE name = ''bob'''
    !> 'UPDATE customers SET tier = ''standard'' WHERE name = ''bob'''
) AS bob \gset

SELECT df.await_instance(:'ada');
SELECT df.await_instance(:'bob');

SELECT name, balance, tier FROM customers ORDER BY name;

-- Expected:
--    name | balance |   tier
--   ------+---------+----------
--    ada  |   12000 | gold
--    bob  |      80 | standard
--   (2 rows)
