"""Lists and look-ups read what they answer with and not the rest, however many workflows there are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from asking import Connection, one_database, value
from cluster import Cluster, Database
from watching import rows

MANY = 30_000
FILL = """
    SET session_replication_role = replica;
    CREATE TEMP TABLE made AS
        SELECT DISTINCT ON (id) id, i, CASE WHEN i % 100 = 0 THEN 'bob' ELSE 'alice' END::regrole AS owner,
               CASE WHEN i % 500 = 7 THEN 'failed' WHEN i % 1000 = 8 THEN 'running' ELSE 'completed' END AS status
        FROM (SELECT substr(md5(i::text), 1, 8) AS id, i FROM generate_series(1, %(many)s) i) n ORDER BY id;
    INSERT INTO df_engine.starts (bucket, instance_id, owner, label, graph, variables, created_at)
        SELECT df_engine.bucket_of(id), id, owner, CASE WHEN i % 300 = 0 THEN 'rare' END,
               '{"node_type":"SQL","query":"SELECT 1"}', '{}',
               now() - interval '1 day' + i * interval '1 second' FROM made;
    INSERT INTO df_engine.instances (bucket, instance_id, owner, interpreter, status, head_seq, updated_at, ended_at)
        SELECT df_engine.bucket_of(id), id, owner, 1, status, 2, now(),
               CASE WHEN status <> 'running' THEN now() END FROM made;
    INSERT INTO df_engine.history (bucket, instance_id, execution_id, seq, kind, payload, recorded_at)
        SELECT df_engine.bucket_of(id), id, 1, s, CASE s WHEN 1 THEN 'ExecutionStarted' ELSE 'ExecutionCompleted' END,
               CASE s WHEN 1 THEN '{}' ELSE '{"result":{"v":"1"},"failure":{"message":"m"}}' END, now()
        FROM made, generate_series(1, 2) s;
    ANALYZE df_engine.starts, df_engine.instances, df_engine.history;
"""


@pytest.fixture(scope="module")
def full(cluster: Cluster, template: str) -> Iterator[Database]:
    """A database with many workflows, and no worker to count in."""
    with one_database(cluster, template) as database:
        with database.admin() as admin:
            for statement in FILL.split(";\n"):
                if statement.strip():
                    admin.execute(statement.replace("%(many)s", str(MANY)))
        yield database


def rows_read(user: Connection, statement: str, *parameters: object) -> int:
    """How many rows of the engine's tables a statement reads, by sequential and index scans together."""
    counted = """SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)::bigint FROM pg_stat_xact_all_tables
                 WHERE relid IN ('df_engine.starts'::regclass, 'df_engine.instances'::regclass,
                                 'df_engine.history'::regclass)"""
    with user.transaction():
        before = int(rows(user, counted)[0][0])
        rows(user, statement, *parameters)
        return int(rows(user, counted)[0][0]) - before


LISTS = {
    "the newest": "SELECT * FROM df.list_instances()",
    "running ones": "SELECT * FROM df.list_instances('running', 20)",
    "failed ones": "SELECT * FROM df.list_instances('failed', 20)",
    "completed ones": "SELECT * FROM df.list_instances('completed')",
    "by label": "SELECT * FROM df.list_instances(NULL, 20, 'rare')",
    "a page": "SELECT * FROM df.list_instances(NULL, 100, NULL)",
    "a later page": "SELECT * FROM df.list_instances(NULL, 100, NULL, %s)",
}


@pytest.mark.parametrize("role", ["alice", "bob"])
@pytest.mark.parametrize("what", LISTS)
def test_lists_read_about_a_page(full: Database, role: str, what: str) -> None:
    with full.connect(role) as user:
        parameters: list[object] = []
        if "%s" in LISTS[what]:
            cursor = value(user, "next_cursor FROM df.list_instances(NULL, 100, NULL) LIMIT 1")
            parameters.append(value(user, "next_cursor FROM df.list_instances(NULL, 100, NULL, %s) LIMIT 1", cursor))
        assert rows_read(user, LISTS[what], *parameters) < 2500


ONE = {
    "its status": "SELECT df.status(%s)",
    "its row": "SELECT * FROM df.instances WHERE id = %s",
    "its nodes": "SELECT * FROM df.nodes WHERE instance_id = %s",
    "its nodes with inference": "SELECT * FROM df.instance_nodes(%s)",
    "what is known of it": "SELECT * FROM df.instance_info(%s)",
    "its executions": "SELECT * FROM df.instance_executions(%s)",
    "its history": "SELECT * FROM df.history(%s)",
    "its steps": "SELECT * FROM df.steps(%s)",
    "what it waits for": "SELECT * FROM df.waiting(%s)",
    "its drawing": "SELECT df.explain(%s)",
    "its problems": "SELECT * FROM df.check(%s)",
}


@pytest.mark.parametrize("what", ONE)
def test_one_workflow_costs_that_one_only(full: Database, what: str) -> None:
    with full.connect("bob") as bob, full.admin() as admin:
        instance = value(bob, "instance_id FROM df.list_instances(NULL, 1)")
        assert rows_read(bob, ONE[what], instance) < 150
        assert rows_read(admin, ONE[what], instance) < 150


def test_the_count_of_rows_read_sees_a_scan(full: Database) -> None:
    with full.admin() as admin:
        assert rows_read(admin, "SELECT count(*) FROM df_engine.history WHERE payload = ''") >= MANY
