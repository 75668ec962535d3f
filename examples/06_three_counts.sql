-- Three counts at the same time, and when all three are there, a row in a cache.
--
-- & starts its branches together and waits for all of them. Names given inside a branch can be used after the join.
-- All operators bind equally, from left to right: what is named inside a branch stands in parentheses.

DROP TABLE IF EXISTS count_users, count_orders, count_products, dashboard_cache;
CREATE TABLE count_users AS SELECT generate_series(1, 3) AS id;
CREATE TABLE count_orders AS SELECT generate_series(1, 14) AS id;
CREATE TABLE count_products AS SELECT generate_series(1, 5) AS id;
CREATE TABLE dashboard_cache (users int, orders int, products int);

SELECT df.start(
    (('SELECT count(*) FROM count_users' |=> 'users')
     & ('SELECT count(*) FROM count_orders' |=> 'orders')
     & ('SELECT count(*) FROM count_products' |=> 'products'))
    ~> 'INSERT INTO dashboard_cache VALUES ($users, $orders, $products)'
) AS id \gset

SELECT df.await_instance(:'id');

SELECT df.status(:'id'), * FROM dashboard_cache;

-- Expected:
--     status   | users | orders | products
--   -----------+-------+--------+----------
--    completed |     3 |     14 |        5
--   (1 row)
