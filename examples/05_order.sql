-- An order is looked up, marked "processing", left alone for two seconds, and marked "completed".
--
-- df.sleep is a row with a time in it, not a sleeping connection. Two seconds or two months make no difference.

DROP TABLE IF EXISTS orders;
CREATE TABLE orders (id int PRIMARY KEY, status text NOT NULL, changed_at timestamptz NOT NULL DEFAULT clock_timestamp());
INSERT INTO orders VALUES (41, 'completed'), (42, 'pending');

SELECT df.start(
    'SELECT id FROM orders WHERE status = ''pending'' ORDER BY id LIMIT 1' |=> 'order_id'
    ~> 'UPDATE orders SET status = ''processing'', changed_at = clock_timestamp() WHERE id = $order_id'
    ~> df.sleep(2)
    ~> 'UPDATE orders SET status = ''completed'' WHERE id = $order_id RETURNING clock_timestamp() - changed_at >= ''2 s'' AS rested'
) AS id \gset

SELECT df.await_instance(:'id');

SELECT id, orders.status, df.result(:'id')::json -> 'rows' -> 0 -> 'rested' AS rested FROM orders WHERE id = 42;

-- Expected:
--    id |  status   | rested
--   ----+-----------+--------
--    42 | completed | true
--   (1 row)
