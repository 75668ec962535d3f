"""Every claim, turn, step and read stays on an index, however many rows there are."""

from __future__ import annotations

from cluster import Database, Workers
from waiting import eventually_status, wait_until

ROWS = 20_000
BIG = ("instances", "starts", "history", "results", "tasks", "timers")

FILL = """
INSERT INTO df_engine.starts (bucket, instance_id, owner, label, graph, variables, created_at)
    SELECT df_engine.bucket_of(id), id, 'bob', 'old', '{}', '{}', now() - interval '1 hour'
    FROM (SELECT substr(md5(n::text), 1, 12) AS id FROM generate_series(1, %(rows)s) n) i;
INSERT INTO df_engine.instances (bucket, instance_id, owner, interpreter, status, head_seq, updated_at)
    SELECT s.bucket, s.instance_id, s.owner, 1, 'running', 2, now() FROM df_engine.starts s;
INSERT INTO df_engine.history (bucket, instance_id, execution_id, seq, kind, payload, recorded_at)
    SELECT s.bucket, s.instance_id, 1, n, 'ExecutionStarted', '{}', now()
    FROM df_engine.starts s, generate_series(1, 2) n;
INSERT INTO df_engine.results (bucket, instance_id, execution_id, seq, body)
    SELECT s.bucket, s.instance_id, 1, 1, '{}' FROM df_engine.starts s;
INSERT INTO df_engine.timers (bucket, instance_id, seq, execution_id, due_at)
    SELECT s.bucket, s.instance_id, 2, 1, now() + interval '1 day' FROM df_engine.starts s;
INSERT INTO df_engine.tasks (bucket, instance_id, seq, execution_id, lane, kind, owner, queue, interpreter,
                             queued_at, visible_at)
    SELECT s.bucket, s.instance_id, 1, 1, 'http', 'http', s.owner, 'default', 99, now(), now()
    FROM df_engine.starts s
"""


def _scans(database: Database) -> dict[str, int]:
    with database.admin() as connection:
        rows = connection.execute(
            "SELECT relname, seq_scan FROM pg_stat_user_tables WHERE schemaname = 'df_engine' AND relname = ANY (%s)",
            (list(BIG),),
        ).fetchall()
    return {str(name): int(scans) for name, scans in rows}


def test_a_workflow_reads_no_big_table_from_end_to_end(database: Database, workers: Workers) -> None:
    with database.admin() as admin:
        admin.execute("UPDATE df_engine.settings SET value = '0' WHERE name = 'reconcile_interval'")
        for statement in FILL.split(";"):
            admin.execute(statement.replace("%(rows)s", str(ROWS)))
        admin.execute("ANALYZE")
    before = _settled(database)
    worker = workers.start()
    with database.connect("alice") as alice:
        row = alice.execute(
            "SELECT df.start('SELECT 1 AS x' |=> 'a' ~> 'SELECT $a' ~> ('SELECT 2' & 'SELECT 3') ~> df.sleep(0))"
        ).fetchone()
        assert row is not None
        eventually_status(alice, row[0], "completed", 60)
    assert worker.terminate(30) == 0
    after = _settled(database)
    grown = {name: after[name] - before[name] for name in BIG if after[name] > before[name]}
    assert grown == {}, f"read from end to end: {grown}"


def _settled(database: Database) -> dict[str, int]:
    """The counters when they do not move any more: the server writes them up to a second late."""
    seen: list[dict[str, int]] = []

    def quiet() -> bool:
        seen.append(_scans(database))
        return len(seen) > 20 and all(found == seen[-1] for found in seen[-20:])

    wait_until(quiet, 30)
    return seen[-1]
