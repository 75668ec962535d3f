"""One role's work does not keep another's out: through the real worker, with a single slot."""

from __future__ import annotations

from typing import cast

from asking import value
from cluster import Database, Workers
from waiting import eventually_status, wait_until

SECONDS = 60


def test_a_backlog_of_one_role_does_not_keep_out_another_s_step(database: Database, workers: Workers) -> None:
    """In the queue's order it would take 150 seconds."""
    workers.start("--slots", "1")
    with database.connect("alice") as alice, database.connect("bob") as bob:
        alice.execute("SELECT count(df.start('SELECT pg_sleep(0.25)')) FROM generate_series(1, 600)")
        done = "(SELECT count(*) FROM df.instances WHERE status = 'completed')"
        wait_until(lambda: value(alice, done) > 0, SECONDS)
        for _ in range(2):
            instance = cast(str, value(bob, "df.start('SELECT 1' ~> 'SELECT 2' ~> df.sleep(0) ~> 'SELECT 3')"))
            assert eventually_status(bob, instance, "completed", SECONDS) == "completed"
        assert value(alice, done) < 600


def test_a_loop_that_never_rests_does_not_keep_the_slot(database: Database, workers: Workers) -> None:
    """It goes on from step to step in one slot, 100,000 rounds long."""
    workers.start("--slots", "1")
    with database.connect("alice") as alice, database.connect("bob") as bob:
        loop = cast(str, value(alice, "df.start(df.loop('SELECT pg_sleep(0.01)', 'SELECT true'))"))
        wait_until(lambda: value(alice, "df.status(%s)", loop) == "running", SECONDS)
        instance = cast(str, value(bob, "df.start('SELECT 1' ~> 'SELECT 2')"))
        assert eventually_status(bob, instance, "completed", SECONDS) == "completed"
        assert value(alice, "df.status(%s)", loop) == "running"
        value(alice, "df.cancel(%s)", loop)
