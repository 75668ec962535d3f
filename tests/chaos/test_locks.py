"""What users and administrators hold: locks of a transaction that stays open, connections that are not free."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.checks import check_invariants, history
from chaos.crashing import QUICK
from chaos.load import probe
from chaos.nursery import Nursery, nursery
from chaos.scenarios import SLOW, TABLES, effect, effects
from cluster import OWNER, WORKER, Database
from waiting import eventually_status, wait_until


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Nursery]:
    with nursery(tmp_path / "workers") as running:
        yield running
        for child in running.children:  # shown where the test failed
            print(f"--- {child.log_path.name}\n{child.log[-5000:]}")


@pytest.mark.timeout(240)
def test_instances_locked_by_their_users_hold_nobody_else_up(database: Database, children: Nursery) -> None:
    """Four steps end while their instances are locked; both slots of the only worker go on with others' work."""
    children.start(database.dsn(WORKER), database.role_dsn, **{**QUICK, "slots": 4})
    with database.connect("alice") as alice, database.admin() as admin:
        alice.execute(TABLES)
        ids = [alice.execute(f"SELECT df.start({SLOW} ~> {effect('b')})").fetchone()[0] for _ in range(4)]  # type: ignore[index]
        leased = "SELECT count(*) FROM df_engine.tasks WHERE seq > 0 AND worker_id IS NOT NULL"
        wait_until(lambda: admin.execute(leased).fetchone() == (4,), 60, "four steps that run")
        with database.connect("alice", autocommit=False) as undecided:
            for instance_id in ids:
                undecided.execute("SELECT df.cancel(%s)", [instance_id])
            blocked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            wait_until(lambda: admin.execute(blocked).fetchone() != (0,), 60, "a step that waits for the lock")
            took = max(probe(database, 30) for _ in range(8))
            undecided.rollback()
        print(f"others took {took:.1f} s at most")
        assert took < 6
        for instance_id in ids:
            eventually_status(alice, instance_id, "completed", 60)
            assert effects(admin, instance_id) == {"a": 1, "b": 1}, history(admin, instance_id)
            assert "ActivityAttemptFailed" not in history(admin, instance_id)
        check_invariants(admin, ids)


@pytest.mark.timeout(240)
def test_steps_wait_for_a_connection_and_do_not_fail(database: Database, children: Nursery) -> None:
    """The role may have fewer sessions than the worker has slots, and the time for retries is far too short."""
    with database.connect(OWNER) as owner:
        owner.execute("UPDATE df.settings SET value = '1' WHERE name = 'retry_total_seconds'")
    with database.admin() as admin, database.connect("bob") as bob:
        bob.execute(TABLES)
        admin.execute("ALTER ROLE bob CONNECTION LIMIT 2")
        try:
            children.start(database.dsn(WORKER), database.role_dsn, **{**QUICK, "slots": 6})
            step = "$w$SELECT pg_sleep(0.3), effect('{sys_instance_id}', 'a', '{sys_step_key}')$w$"
            row = bob.execute(f"SELECT df.start({' & '.join([step] * 8)})").fetchone()
            assert row is not None
            eventually_status(bob, row[0], "completed", 60)
        finally:
            admin.execute("ALTER ROLE bob CONNECTION LIMIT -1")
        assert effects(admin, row[0]) == {"a": 8}, history(admin, row[0])
        assert "ActivityAttemptFailed" not in history(admin, row[0])
