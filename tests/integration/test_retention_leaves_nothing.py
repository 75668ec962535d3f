"""What has ended and is not to be kept leaves no row in any table of the engine, and pruning it comes to an end."""

from __future__ import annotations

from asking import Connection, value
from cluster import OWNER, WORKER, Database, Workers
from perdure.eventstore.engine import new_token, token_hash
from waiting import eventually_status, wait_until
from watching import rows, start

# What somebody set up, and what says how the schema was made. Every other table is for instances or workers.
CONFIGURATION = {
    "alembic_version",
    "http_policy",
    "observers",
    "proxies",
    "secret_keys",
    "secrets",
    "service_logins",
    "settings",
    "vars",
}
# Everything that leaves rows somewhere: results, timers, waits, messages that nobody read, executions, attempts.
GRAPHS = {
    "'SELECT 1 AS n' |=> 'a' ~> 'SELECT $a'": "completed",
    "df.join('SELECT 1', df.sleep(0))": "completed",
    "df.race('SELECT 1', df.sleep(1000))": "completed",
    "df.race(df.wait_for_signal('never'), 'SELECT 1')": "completed",
    "df.loop('SELECT 1', 'SELECT false')": "completed",
    "'SELECT 1' ~> df.loop('SELECT 1', 'SELECT false')": "completed",
    "'SELECT 1/0'": "failed",
    "'VACUUM pg_catalog.pg_listener_that_is_not'": "failed",
}
REGISTER = """INSERT INTO df.ingress_workers (key_hash, release, interpreter, host, pid, slots, lease_seconds)
    VALUES (%s, 'x', 1, 'here', 1, 1, 3600) RETURNING instance_id"""


def tables(admin: Connection) -> dict[str, int]:
    """The rows of each table that is for instances or workers."""
    names = rows(admin, "SELECT relname FROM pg_class WHERE relnamespace = 'df_engine'::regnamespace AND relkind = 'r'")
    found = {str(name) for (name,) in names}
    assert found > CONFIGURATION
    return {name: int(value(admin, f"count(*) FROM df_engine.{name}")) for name in sorted(found - CONFIGURATION)}


def ended(user: Connection, graph: str, status: str = "completed") -> str:
    """Start it and wait until it has ended with this status; the id."""
    instance = start(user, graph)
    eventually_status(user, instance, status, 60)
    return instance


def test_no_row_is_left_anywhere(database: Database, workers: Workers) -> None:
    with database.connect(OWNER) as owner, database.connect() as alice, database.admin() as admin:
        change = "UPDATE df.settings SET value = %s WHERE name = %s"
        owner.execute(change, ["0", "reconcile_interval"])
        worker = workers.start()
        for graph, status in GRAPHS.items():
            ended(alice, graph, status=status)
        signalled = start(alice, "df.wait_for_signal('go') ~> 'SELECT 1'")
        awaiting = start(alice, f"df.wait_for_instance('{signalled}')")
        for name in ("go", "go", "surplus"):
            value(alice, "df.signal(%s, %s)", signalled, name)
        cancelled = start(alice, "df.sleep(1000) & df.wait_for_signal('x')")
        value(alice, "df.cancel(%s)", cancelled)
        unfinished = "NOT EXISTS (SELECT FROM df_engine.instances WHERE ended_at IS NULL)"
        wait_until(lambda: value(admin, unfinished), 60, "everything to end")
        assert value(alice, "df.status(%s)", awaiting) == "completed"
        assert tables(admin)["history"] > 0
        assert worker.terminate(30) == 0
        owner.execute(change, ["0", "retention_days"])
        value(owner, "df.prune()")
        assert {name: count for name, count in tables(admin).items() if count} == {}
        assert value(owner, "df.prune()") == 0


def test_a_round_of_pruning_ends_though_workflows_go_on_ending(database: Database, workers: Workers) -> None:
    with database.connect(OWNER) as owner, database.connect() as alice, database.connect(WORKER) as other:
        owner.execute("UPDATE df.settings SET value = '0' WHERE name IN ('reconcile_interval', 'retention_days')")
        workers.start()
        instances = [ended(alice, "'SELECT 1'") for _ in range(3)]
        key = new_token()
        row = other.execute(REGISTER, [token_hash(key).hex()]).fetchone()
        assert row is not None
        # All of them are gone, and there is no reason to ask again.
        assert value(other, "df_engine.prune_v1(%s, %s)", row[0], key) == 0
        left = value(owner, "count(*) FROM df_engine.starts WHERE instance_id = ANY (%s)", instances)
        assert left == 0


def test_a_batch_ends_before_it_gets_too_large(database: Database, workers: Workers) -> None:
    with database.connect(OWNER) as owner, database.connect() as alice:
        owner.execute("UPDATE df.settings SET value = '0' WHERE name IN ('reconcile_interval', 'retention_days')")
        workers.start()
        instances = [ended(alice, "'SELECT 1'") for _ in range(3)]
        owner.execute(
            "UPDATE df_engine.instances SET head_seq = 60000 WHERE instance_id = ANY (%s)", [instances]
        )  # as if they had as many events
        left = "count(*) FROM df_engine.starts WHERE instance_id = ANY (%s)"
        for expected in (2, 1, 0):
            assert value(owner, "more FROM df_engine.prune_batch(10, NULL, '-infinity')") is (expected > 0)
            assert value(owner, left, instances) == expected


def test_dead_workers_leave_nothing(database: Database, workers: Workers) -> None:
    with database.connect() as alice, database.admin() as admin:
        killed = workers.start("--lease-seconds", "1")
        ended(alice, "'SELECT 1'")
        killed.kill()
        workers.start("--lease-seconds", "1")
        wait_until(lambda: value(admin, "count(*) FROM df_engine.workers") == 1, 60, "the dead worker's row to go")
        wait_until(
            lambda: (
                value(
                    admin,
                    "count(*) FROM df_engine.sessions s "
                    "WHERE NOT EXISTS (SELECT FROM df_engine.workers w WHERE w.worker_id = s.worker_id)",
                )
                == 0
            ),
            60,
            "its sessions to go",
        )
