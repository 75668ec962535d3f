"""What crosses on its way is no damage to df.check(): a timer that fires before the turn that cancels it."""

from __future__ import annotations

from asking import Connection, value
from cluster import Database, WorkerProcess
from waiting import eventually_status
from watching import start

SHIFT = "UPDATE df_engine.history SET seq = seq + 1000 WHERE instance_id = %s AND seq >= %s"
BACK = "UPDATE df_engine.history SET seq = seq - 999 WHERE instance_id = %s AND seq > 1000"
FIRED = (
    "INSERT INTO df_engine.history (bucket, instance_id, execution_id, seq, kind, payload, recorded_at)"
    " SELECT bucket, instance_id, execution_id, %s, 'TimerFired', format('{\"of\":%%s}', seq), recorded_at"
    " FROM df_engine.history WHERE instance_id = %s AND kind = 'TimerSet'"
)


def fire_at(admin: Connection, instance: str, seq: int) -> None:
    """Put the timer's firing in at this place of the history, as if it had come then."""
    for statement, arguments in ((SHIFT, [instance, seq]), (BACK, [instance]), (FIRED, [seq, instance])):
        admin.execute(statement, arguments)
    admin.execute("UPDATE df_engine.instances SET head_seq = head_seq + 1 WHERE instance_id = %s", [instance])


def test_a_timer_that_fires_before_the_turn_that_cancels_it(database: Database, worker: WorkerProcess) -> None:
    """The instance that is waited for ends, the time-out comes, and one turn sees both."""
    with database.connect() as alice, database.admin() as admin:
        before, after = (start(alice, "df.wait_for_instance('00000000', 5000)") for _ in range(2))
        for instance in (before, after):
            assert eventually_status(alice, instance, "failed") == "failed"
        admin.execute("SET session_replication_role = replica")
        turn = value(
            admin,
            "(SELECT max(seq) FROM df_engine.history WHERE instance_id = %s AND kind = 'TurnTaken')",
            before,
        )
        fire_at(admin, before, turn)
        assert admin.execute("SELECT problem FROM df.check()").fetchall() == []
        fire_at(admin, after, turn + 2)  # after its cancel, and before the end
        assert admin.execute("SELECT instance_id, problem FROM df.check()").fetchall() == [
            (after, "timer ended more than once")
        ]
