"""While somebody holds an old snapshot, nothing that is dead goes away: what is asked often must not go through it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest

from asking import Connection, value
from cluster import OWNER, Database, Workers
from perdure.eventstore.engine import new_token, token_hash
from waiting import eventually_status, wait_until
from watching import start

DEAD = 3000
FEW = 50
REGISTER = """INSERT INTO df.ingress_workers (key_hash, release, interpreter, host, pid, slots, lease_seconds)
    VALUES (%s, 'x', 99, 'here', 1, 1, 3600) RETURNING instance_id"""
FILL = """INSERT INTO df_engine.tasks (bucket, instance_id, seq, execution_id, lane, kind, owner, queue, interpreter,
                                     queued_at, visible_at, worker_id)
    SELECT 0, lpad(n::text, 12, '0'), 1, 1, 'turn', 'turn', 'alice', 'default', 1, now(), now(), %s
    FROM generate_series(1, %s) n"""

MESSAGES = """INSERT INTO df_engine.inbox (bucket, instance_id, name, body, sent_at)
    SELECT 0, '00000000', 'go', '{}', now() FROM generate_series(1, %s)"""
TIMERS = """INSERT INTO df_engine.timers (bucket, instance_id, seq, execution_id, due_at)
    SELECT 0, '00000000', n, 1, now() - interval '1 hour' FROM generate_series(1, %s) n"""


@contextmanager
def snapshot(database: Database) -> Iterator[None]:
    """A transaction elsewhere that still sees what was there when it began."""
    with database.connect(OWNER, autocommit=False) as holder:
        holder.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        value(holder, "count(*) FROM df_engine.tasks")
        yield
        holder.rollback()


def dead_tasks(admin: Connection, leased_to: int | None) -> int:
    """Leaves thousands of dead tasks; the highest number that one of them had."""
    admin.execute(cast(Any, FILL), [leased_to, DEAD])
    highest = int(value(admin, "max(task_no) FROM df_engine.tasks"))
    admin.execute("DELETE FROM df_engine.tasks")
    return highest


def registered(admin: Connection) -> tuple[int, str]:
    key = new_token()
    row = admin.execute(REGISTER, [token_hash(key).hex()]).fetchone()
    assert row is not None
    return int(row[0]), key


def looked_at(admin: Connection, index: str, call: str, *parameters: Any) -> int:
    """How many entries of an index a call goes through."""
    counter = f"pg_stat_get_xact_tuples_returned('df_engine.{index}'::regclass)"
    with admin.transaction(force_rollback=True):
        before = int(value(admin, counter))  # what earlier transactions of this session have not reported yet
        admin.execute(cast(Any, f"SELECT * FROM {call}"), parameters)
        return int(value(admin, counter)) - before


def test_a_claim_looks_at_nothing_below_its_mark(database: Database) -> None:
    claim = "df_engine.claim_v1(%s, %s, 32, 4, 4, %s, %s, '{}')"
    with database.admin() as admin, snapshot(database):
        worker = registered(admin)
        highest = dead_tasks(admin, None)
        assert looked_at(admin, "tasks_ready", claim, *worker, 0, True) >= DEAD
        assert looked_at(admin, "tasks_ready", claim, *worker, highest, False) < FEW


def hint(admin: Connection, scan: str, floor: object, seconds: float) -> None:
    """What a scan that took long leaves in the session."""
    until = float(value(admin, "extract(epoch FROM clock_timestamp())")) + seconds
    value(admin, "set_config('df_engine.floor_' || %s, %s, false)", scan, f"{until}  {floor}")


def test_a_scan_for_messages_and_timers_that_took_long_leaves_where_the_next_begin(database: Database) -> None:
    claim = "df_engine.claim_v1(%s, %s, 1, 1, 1, 0, false, '{}')"
    with database.admin() as admin, snapshot(database):
        worker = registered(admin)
        admin.execute(cast(Any, MESSAGES), [DEAD])
        admin.execute(cast(Any, TIMERS), [DEAD])
        admin.execute("DELETE FROM df_engine.inbox; DELETE FROM df_engine.timers")
        for index, scan, floor in (
            ("inbox_order", "inbox", DEAD + 1),
            ("timers_due", "timers", value(admin, "extract(epoch FROM now() - interval '30 minutes')")),
        ):
            assert looked_at(admin, index, claim, *worker) >= DEAD
            hint(admin, scan, floor, 3600)
            assert looked_at(admin, index, claim, *worker) < FEW
            hint(admin, scan, floor, -1)
            assert looked_at(admin, index, claim, *worker) >= DEAD


def test_only_a_scan_that_took_long_leaves_a_hint_and_only_for_whom_it_looked(database: Database) -> None:
    with database.admin() as admin:
        kept = "(df_engine.keep_floor('x', %s, %s, '7') IS NULL)::text || coalesce(df_engine.floor_of('x', %s), '')"
        assert value(admin, kept, None, "1 millisecond", None) == "false"
        assert value(admin, kept, None, "1 hour", None) == "false7"
        assert value(admin, kept, None, "1 hour", "alice") == "false"


def test_a_signal_that_commits_late_is_found_when_the_hint_is_over(database: Database, workers: Workers) -> None:
    worker = workers.start()
    with database.connect(autocommit=False) as late, database.connect() as alice, database.admin() as admin:
        instance = start(alice, "df.wait_for_signal('go')")
        wait_until(lambda: value(admin, "count(*) FROM df_engine.tasks") == 0, 60, "the wait to begin")
        assert worker.terminate(30) == 0
        value(late, "df.signal(%s, 'go')", instance)
        registration = registered(admin)
        hint(admin, "inbox", 1_000_000, 2)
        late.commit()

        def claimed() -> list[Any]:
            call = "SELECT instance_id FROM df_engine.claim_v1(%s, %s, 9, 9, 9, 0, false, '{}')"
            return admin.execute(call, registration).fetchall()

        assert wait_until(claimed, 60, "the signal to be found") == [(instance,)]


def test_a_beat_without_a_list_and_a_look_for_the_dead_do_not_go_through_what_living_workers_did(
    database: Database,
) -> None:
    with database.admin() as admin, snapshot(database):
        (first, _), (worker_id, key), (last, _) = (registered(admin) for _ in range(3))
        for living in (first, worker_id, last):
            dead_tasks(admin, living)
        assert looked_at(admin, "tasks_leased", "df_engine.beat_v1(%s, %s, false)", worker_id, key) >= DEAD
        assert looked_at(admin, "tasks_leased", "df_engine.alive_v1(%s, %s, false)", worker_id, key) == 0
        assert looked_at(admin, "tasks_leased", "df_engine.reap_v1(%s, %s)", worker_id, key) < FEW


def test_tasks_are_taken_over_from_workers_whose_row_is_old_or_gone(database: Database) -> None:
    with database.admin() as admin:
        (gone, _), (old, _), (worker_id, key), (last, _) = (registered(admin) for _ in range(4))
        for number, holder in enumerate((gone, old, worker_id, last, last + 7), start=1):
            admin.execute(cast(Any, FILL.replace("lpad(n::text", f"lpad(({number} + n)::text")), [holder, 1])
        admin.execute("DELETE FROM df_engine.workers WHERE worker_id = %s", [gone])
        admin.execute("UPDATE df_engine.workers SET beat_at = now() - interval '2 hours' WHERE worker_id = %s", [old])
        assert value(admin, "df_engine.reap_v1(%s, %s)", worker_id, key) == 3
        left = admin.execute("SELECT worker_id FROM df_engine.tasks WHERE worker_id IS NOT NULL ORDER BY 1").fetchall()
        assert left == [(worker_id,), (last,)]


@pytest.mark.parametrize("others", [300, pytest.param(10_000, marks=[pytest.mark.heavy, pytest.mark.timeout(600)])])
def test_a_start_that_commits_after_many_others_have_run_runs(
    database: Database, workers: Workers, others: int
) -> None:
    workers.start()
    workers.start()
    with database.connect(autocommit=False) as late, database.connect() as alice, database.admin() as admin:
        late.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        instance = start(late, "'SELECT 1' ~> 'SELECT 2'")
        for _ in range(0, others, 100):
            alice.execute("SELECT df.start('SELECT 1') FROM generate_series(1, 100)")
        unfinished = "NOT EXISTS (SELECT FROM df_engine.instances WHERE ended_at IS NULL)"
        wait_until(lambda: value(admin, unfinished), 500, "the others to end")
        late.commit()
        eventually_status(alice, instance, "completed", 60)
