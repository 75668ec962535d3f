"""Retention: what goes, what stays, and that nobody has to wait for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from asking import Connection, refusal, value, words
from cluster import OWNER, Database, Workers
from waiting import eventually_status, wait_until
from watching import ended, rows, start, until_ended

TABLES = ("starts", "instances", "history", "results", "tasks", "timers", "inbox", "instance_waits")


@pytest.fixture
def owner(database: Database, workers: Workers) -> Iterator[Connection]:
    """The schema's owner, on a database whose worker clears nothing away by itself."""
    with database.connect(OWNER) as connection:
        change(connection, reconcile_interval=0)
        workers.start()
        yield connection


@pytest.fixture
def alice(database: Database) -> Iterator[Connection]:
    """An ordinary user."""
    with database.connect() as connection:
        yield connection


def change(owner: Connection, **settings: int) -> None:
    for name, setting in settings.items():
        owner.execute("UPDATE df.settings SET value = %s WHERE name = %s", [str(setting), name])


def rows_of(owner: Connection, instance: str) -> int:
    """How many rows of the engine's tables belong to an instance."""
    return sum(
        int(value(owner, f"count(*) FROM df_engine.{table} WHERE instance_id = %s", instance)) for table in TABLES
    )


def age(owner: Connection, instance: str, days: int) -> None:
    owner.execute(
        "UPDATE df_engine.instances SET ended_at = ended_at - make_interval(days => %s) WHERE instance_id = %s",
        [days, instance],
    )


def test_what_is_older_than_its_days_goes_with_everything(owner: Connection, alice: Connection) -> None:
    old, failed, young = (
        ended(alice, "'SELECT 1' ~> 'SELECT 2'"),
        ended(alice, "'SELECT 1/0'", status="failed"),
        ended(alice, "'SELECT 1'"),
    )
    running = start(alice, "df.wait_for_signal('x')")
    eventually_status(alice, running, "running")
    age(owner, old, 31)
    age(owner, failed, 31)
    age(owner, young, 29)
    belonged = rows_of(owner, old) + rows_of(owner, failed)
    assert value(owner, "df.prune()") == belonged > 10
    assert (rows_of(owner, old), rows_of(owner, failed)) == (0, 0)
    assert rows_of(owner, young) > 0 and value(alice, "df.status(%s)", running) == "running"
    assert value(alice, "df.status(%s)", old) is None
    assert value(owner, "df.prune()") == 0
    assert rows(owner, "SELECT * FROM df.check()") == []


def test_only_the_newest_are_kept(owner: Connection, alice: Connection) -> None:
    instances = [ended(alice, "'SELECT 1'") for _ in range(5)]
    running = start(alice, "df.wait_for_signal('x')")
    change(owner, retention_count=2)
    value(owner, "df.prune()")
    assert [rows_of(owner, instance) > 0 for instance in [*instances, running]] == [False] * 3 + [True] * 3


def test_with_no_days_every_ended_one_goes(owner: Connection, alice: Connection) -> None:
    done = ended(alice, "'SELECT 1'")
    cancelled = start(alice, "df.sleep(1000)")
    value(alice, "df.cancel(%s)", cancelled)
    until_ended(alice, cancelled)
    running = start(alice, "df.sleep(1000)")
    change(owner, retention_days=0)
    value(owner, "df.prune()")
    assert (rows_of(owner, done), rows_of(owner, cancelled)) == (0, 0)
    assert rows_of(owner, running) > 0


def test_a_batch_of_that_size(owner: Connection, alice: Connection) -> None:
    instances = [ended(alice, "'SELECT 1'") for _ in range(3)]
    change(owner, retention_days=0)
    value(owner, "df.prune(1)")
    assert [rows_of(owner, instance) > 0 for instance in instances] == [False, True, True]


def test_one_that_somebody_waits_for_stays(owner: Connection, alice: Connection, workers: Workers) -> None:
    target = ended(alice, "'SELECT 7 AS n'")
    workers.stop()
    waiter = start(alice, f"df.wait_for_instance('{target}')")
    owner.execute(
        "INSERT INTO df_engine.instance_waits SELECT df_engine.bucket_of(%s), %s, 1, 9, df_engine.bucket_of(%s), %s",
        [waiter, waiter, target, target],
    )
    change(owner, retention_days=0)
    value(owner, "df.prune()")
    assert rows_of(owner, target) > 0


def test_it_waits_for_nobody(owner: Connection, alice: Connection, database: Database) -> None:
    locked, free = ended(alice, "'SELECT 1'"), ended(alice, "'SELECT 1'")
    change(owner, retention_days=0)
    owner.execute("SET lock_timeout = '500ms'")
    with database.connect(autocommit=False) as other:
        value(other, "df.cancel(%s)", locked)  # holds the lock of an instance until it commits
        value(owner, "df.prune()")
        assert rows_of(owner, free) == 0 and rows_of(owner, locked) > 0
        other.rollback()
    value(owner, "df.prune()")
    assert rows_of(owner, locked) == 0


def test_old_iterations_go_and_named_results_stay(owner: Connection, alice: Connection) -> None:
    alice.execute("CREATE TABLE rounds (n int)")
    first = "df.if('SELECT count(*) = 1 FROM rounds', 'SELECT 42 AS v' |=> 'kept', 'SELECT 0')"
    last = "df.if('SELECT count(*) = 150 FROM rounds', df.wait_for_signal('go') ~> 'SELECT $kept AS v', 'SELECT 1')"
    body = f"'INSERT INTO rounds VALUES (1)' ~> {first} ~> {last}"
    instance = start(alice, f"df.loop({body}, 'SELECT count(*) < 150 FROM rounds')")
    wait_until(lambda: "signal" in {w[0] for w in rows(alice, "SELECT waits_for FROM df.waiting(%s)", instance)}, 60)
    before = rows_of(owner, instance)
    assert value(owner, "df.prune()") == before - rows_of(owner, instance) > 200
    assert value(alice, "min(execution_id) FROM df.history(%s)", instance) == 51
    assert rows(
        owner, "SELECT count(*) FROM df_engine.results WHERE instance_id = %s AND execution_id < 51", instance
    ) == [(1,)]
    assert rows(owner, "SELECT * FROM df.check()") == []
    value(alice, "df.signal(%s, 'go')", instance)
    eventually_status(alice, instance, "completed")
    assert value(alice, "df.result(%s)::jsonb #>> '{rows,0,v}'", instance) == "42"


def test_workers_do_it_by_themselves(database: Database, workers: Workers) -> None:
    with database.connect(OWNER) as owner, database.connect() as alice:
        change(owner, reconcile_interval=1, retention_days=0)
        workers.start()
        instance = start(alice, "'SELECT 1'")
        wait_until(lambda: rows_of(owner, instance) == 0, 60)


def test_it_is_for_the_owner(alice: Connection, owner: Connection) -> None:
    error = refusal(alice, "df.prune()")
    assert error.sqlstate == "42501" and "df.prune()" in words(error)
    assert refusal(alice, "df_engine.prune_ended(1, NULL)").sqlstate == "42501"


def test_history_stays_append_only(owner: Connection, alice: Connection) -> None:
    instance = ended(alice, "'SELECT 1'")
    with owner.transaction(force_rollback=True):
        value(owner, "df.prune()")
        assert value(owner, "current_setting('df_engine.pruning', true)") in (None, "", "off")
    for statement in ("DELETE FROM df_engine.history", "UPDATE df_engine.history SET payload = ''"):
        with pytest.raises(Exception, match="append-only"):
            owner.execute(statement)
    assert rows_of(owner, instance) > 0
