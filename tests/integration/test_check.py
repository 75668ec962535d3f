"""df.check(): silent while all is well, also under load, and able to see each thing that could be wrong."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from asking import Connection, one_database, value
from cluster import OWNER, Cluster, Database, Workers, clean_environment
from waiting import eventually_status, wait_until
from watching import ended, rows, served, start

Admin = Connection

# What is there to be damaged: name to expression. All are left as they are when the worker has stopped.
STORIES = {
    "done": "'SELECT 1' |=> 'a' ~> 'SELECT 2'",
    "failed": "'SELECT 1/0'",
    "timer": "df.sleep(5000)",
    "signal": "df.wait_for_signal('s', 5000)",
    "plain": "df.wait_for_signal('p')",
    "step": "'SELECT pg_sleep(500)'",
    "rounds": "df.loop('INSERT INTO rounds VALUES (1)', 'SELECT count(*) < 4 FROM rounds')",
    "keeps": "df.loop('SELECT 1 AS n' |=> 'one' ~> df.if('SELECT count(*) >= 2 FROM kept', df.wait_for_signal('q'),"
             " 'INSERT INTO kept VALUES (1)'))",
    "heard": "df.wait_for_signal('h') ~> df.wait_for_signal('i')",
    "raced": "df.race(df.wait_for_signal('r'), df.sleep(0)) ~> df.wait_for_signal('t')",
}  # fmt: skip


@pytest.fixture(scope="module")
def stories(
    cluster: Cluster, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Database, dict[str, str]]]:
    """A database with one workflow of each kind, and no worker any more."""
    with one_database(cluster, template) as database:
        workers = Workers(database, tmp_path_factory.mktemp("workers"))
        workers.start()
        with database.connect() as alice:
            alice.execute("CREATE TABLE rounds (n int); CREATE TABLE kept (n int)")
            made = {name: start(alice, graph) for name, graph in STORIES.items()}
            made["waiter"] = start(alice, f"df.wait_for_instance('{made['timer']}')")
            value(alice, "df.signal(%s, 'surplus')", made["keeps"])
            value(alice, "df.signal(%s, 'h')", made["heard"])
            for name in ("done", "rounds", "failed"):
                eventually_status(alice, made[name], "failed" if name == "failed" else "completed")
            waits = {"timer": "timer", "signal": "signal", "plain": "signal", "step": "running", "keeps": "signal",
                     "raced": "signal", "waiter": "instance", "heard": "signal"}  # fmt: skip
            for name, kind in waits.items():
                wait_until(lambda name=name, kind=kind: is_waiting(alice, made[name], name, kind), 60, name)  # type: ignore[misc]
        workers.started[0].kill()
        try:
            yield database, made
        finally:
            workers.stop()


def is_waiting(alice: Connection, instance: str, name: str, kind: str) -> bool:
    found = rows(alice, "SELECT waits_for, signal_name FROM df.waiting(%s)", instance)
    wanted = {"raced": "t", "heard": "i", "keeps": "q", "plain": "p", "signal": "s"}.get(name)
    return found == [(kind, wanted)]


@contextmanager
def damaged(stories: tuple[Database, dict[str, str]], story: str, damage: str) -> Iterator[tuple[Admin, str]]:
    """One workflow damaged, for as long as the block lasts."""
    database, made = stories
    with database.admin() as admin, admin.transaction(force_rollback=True):
        admin.execute("SET LOCAL session_replication_role = replica")
        done = admin.execute(damage.replace("THE_ID", f"'{made[story]}'"))
        assert done.rowcount > 0, "nothing was damaged"
        yield admin, made[story]


def test_no_problems_where_there_are_none(stories: tuple[Database, dict[str, str]]) -> None:
    database, made = stories
    with database.connect() as alice, database.connect(OWNER) as owner, database.admin() as admin:
        for eyes in (alice, owner, admin):
            assert rows(eyes, "SELECT * FROM df.check()") == []
            for instance in made.values():
                assert rows(eyes, "SELECT * FROM df.check(%s)", instance) == []


def events(changes: str, condition: str) -> str:
    """Change events of the workflow."""
    return f"UPDATE df_engine.history SET {changes} WHERE instance_id = THE_ID AND {condition}"


def added(seq: str, kind: str, payload: str, condition: str) -> str:
    """Put an event where one would stand that the condition picks."""
    return f"""INSERT INTO df_engine.history
        SELECT bucket, instance_id, execution_id, {seq}, '{kind}', '{payload}', recorded_at FROM df_engine.history
        WHERE instance_id = THE_ID AND {condition}"""


def gone(table: str, condition: str = "true") -> str:
    """Delete rows of the workflow."""
    return f"DELETE FROM df_engine.{table} WHERE instance_id = THE_ID AND {condition}"


def changed(table: str, changes: str) -> str:
    """Change rows of the workflow."""
    return f"UPDATE df_engine.{table} SET {changes} WHERE instance_id = THE_ID"


SURPLUS = "payload = replace(payload, 'surplus', 'other')"
EARLY = added("seq + 1", "TimerFired", '{"of":3}', "kind = 'TimerSet'")
TWICE = """INSERT INTO df_engine.history
    SELECT h.bucket, h.instance_id, 1, i.head_seq + n, CASE n WHEN 1 THEN 'TurnTaken' ELSE 'SignalConsumed' END,
           CASE n WHEN 1 THEN '{"marks":[]}' ELSE h.payload END, now()
    FROM df_engine.history h JOIN df_engine.instances i USING (bucket, instance_id), generate_series(1, 2) n
    WHERE h.instance_id = THE_ID AND h.kind = 'SignalConsumed'"""
UNHEARD = """INSERT INTO df_engine.history
    SELECT bucket, instance_id, 1, head_seq + n, CASE n WHEN 1 THEN 'SignalReceived' ELSE 'TurnTaken' END,
           CASE n WHEN 1 THEN '{"name":"p"}' ELSE '{"marks":[]}' END, now()
    FROM df_engine.instances, generate_series(1, 2) n WHERE instance_id = THE_ID"""
ANOTHER_TASK = """INSERT INTO df_engine.tasks
        (bucket, instance_id, seq, execution_id, lane, kind, owner, queue, interpreter, queued_at, visible_at)
    SELECT bucket, instance_id, 0, 1, 'turn', 'turn', owner, 'default', 1, now(), now()
    FROM df_engine.instances WHERE instance_id = THE_ID"""
ANOTHER_TIMER = """INSERT INTO df_engine.timers
    SELECT bucket, instance_id, 77, 1, due_at FROM df_engine.timers WHERE instance_id = THE_ID"""

# What is done to which story, and the problem that must be named.
DAMAGES = {
    "a hole": ("done", gone("history", "seq = 3"), "gap in the history"),
    "no beginning": ("done", events("kind = 'TurnTaken'", "seq = 1"), "no beginning"),
    "two ends": ("done", events("kind = 'ExecutionFailed'", "kind = 'TurnTaken' AND seq > 4"), "more than one end"),
    "an event after the end": (
        "done",
        added("seq + 1", "SignalReceived", "{}", "kind = 'ExecutionCompleted'"),
        "events after the end",
    ),
    "the head": ("timer", changed("instances", "head_seq = head_seq - 1"), "head is not the last event"),
    "the status": ("done", changed("instances", "status = 'failed'"), "status differs from the history"),
    "ended too early": ("timer", changed("instances", "ended_at = now()"), "end differs from the history"),
    "pending": ("timer", changed("instances", "status = 'pending'"), "status differs from the history"),
    "an execution in between": ("rounds", gone("history", "execution_id = 2"), "executions are missing"),
    "the first execution": ("rounds", gone("history", "execution_id = 1"), "executions are missing"),
    "the current execution": ("rounds", gone("history", "execution_id = 4"), "no history"),
    "an old execution that ended": (
        "rounds",
        events("kind = 'ExecutionCompleted'", "kind = 'ExecutionContinued'"),
        "old execution without its continuation",
    ),
    "an end of nothing": (
        "step",
        added("4", "ActivityFailed", '{"of":2,"failure":{}}', "seq = 1"),
        "end of a step that never began",
    ),
    "a step that ended twice": (
        "done",
        added("seq + 40", "ActivityCompleted", '{"of":3}', "kind = 'ActivityScheduled' AND seq = 3"),
        "step ended more than once",
    ),
    "a lost step": ("step", gone("tasks"), "step lost"),
    "a lost timer": ("timer", gone("timers"), "timer lost"),
    "nothing left to wait for": ("timer", gone("timers"), "stuck"),
    "a wait gone": ("waiter", gone("instance_waits"), "stuck"),
    "a lost time-out": ("signal", gone("timers"), "timer lost"),
    "a moved timer": ("timer", changed("timers", "due_at = due_at + '1 s'"), "timer moved"),
    "an early timer": ("timer", EARLY, "timer fired early"),
    "a fact without a turn": ("timer", EARLY, "stuck: facts without a turn"),
    "a wait that lost its race does not count": (
        "raced",
        events("kind = 'LoopIterated'", "kind = 'SignalAwaited' AND seq > 5"),
        "stuck",
    ),
    "work for nothing": ("timer", ANOTHER_TIMER, "work that nothing waits for"),
    "a signal consumed twice": ("heard", TWICE, "signal consumed more than once"),
    "a signal out of nowhere": (
        "heard",
        events("""payload = '{"of":3,"message":[1,99]}'""", "kind = 'SignalConsumed'"),
        "signal consumed that was not there",
    ),
    "a signal that was not carried over": (
        "keeps",
        events(SURPLUS, "kind = 'ExecutionContinued' AND execution_id = 2"),
        "signal lost",
    ),
    "another beginning than was left": (
        "keeps",
        events(SURPLUS, "kind = 'ExecutionStarted' AND execution_id = 2"),
        "continuation differs",
    ),
    "a result that is still named": ("keeps", gone("results"), "result lost"),
    "an undelivered signal": (
        "plain",
        UNHEARD,
        "signal not delivered",
    ),
    "a task of another execution": ("step", changed("tasks", "execution_id = 2"), "task of another execution"),
    "a task of another role": ("step", changed("tasks", "owner = 'bob'::regrole"), "task of another role"),
    "a malformed task": ("step", changed("tasks", "lane = 'turn'"), "malformed task"),
    "a task after the end": ("done", ANOTHER_TASK, "task of an instance that has ended"),
    "a lease of nobody": (
        "step",
        changed("tasks", "worker_id = 99999, leased_at = now() - interval '2 minutes'"),
        "lease of a worker that does not exist",
    ),
    "a payload that is no JSON": ("timer", events("payload = 'oops'", "seq = 2"), "history cannot be read"),
    "a payload of another kind": ("keeps", events("payload = '[1]'", "seq = 1"), "history cannot be read"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_wrong_is_found_and_named(stories: tuple[Database, dict[str, str]], name: str) -> None:
    story, damage, problem = DAMAGES[name]
    with damaged(stories, story, damage) as (admin, instance):
        one = rows(admin, "SELECT instance_id, problem, detail FROM df.check(%s)", instance)
        assert problem in [row[1] for row in one]
        assert {row[0] for row in one} == {instance} and all(row[2] for row in one)
        everything = rows(admin, "SELECT instance_id, problem, detail FROM df.check()")
        assert sorted(map(str, everything)) == sorted(map(str, one))


def test_rows_without_an_instance(stories: tuple[Database, dict[str, str]]) -> None:
    with damaged(stories, "done", "DELETE FROM df_engine.instances WHERE instance_id = THE_ID") as (admin, instance):
        found = rows(admin, "SELECT instance_id, problem, detail FROM df.check() ORDER BY detail")
        assert found == [(instance, "rows without instance", kind) for kind in ("history", "result", "start")]
    with damaged(stories, "step", "DELETE FROM df_engine.instances WHERE instance_id = THE_ID") as (admin, instance):
        assert (instance, "task without instance") in rows(admin, "SELECT instance_id, problem FROM df.check()")


def test_a_large_database_is_looked_at_bucket_by_bucket(stories: tuple[Database, dict[str, str]]) -> None:
    """The same answers, whichever way the whole is divided."""
    with damaged(stories, "timer", "DELETE FROM df_engine.timers WHERE instance_id = THE_ID") as (admin, instance):
        whole = rows(admin, "SELECT * FROM df_engine.check_all(NULL, NULL)")
        parts = rows(admin, "SELECT c.* FROM generate_series(0, 255) b, df_engine.check_all(b::smallint, NULL) c")
        assert sorted(map(str, whole)) == sorted(map(str, parts)) and {row[0] for row in whole} == {instance}


def test_interpreters_that_nobody_has(stories: tuple[Database, dict[str, str]]) -> None:
    database, made = stories
    with database.admin() as admin, admin.transaction(force_rollback=True):
        admin.execute("UPDATE df_engine.instances SET interpreter = 99 WHERE instance_id = %s", [made["plain"]])
        query = "SELECT problem FROM df.check(%s) WHERE problem = 'nobody can serve it'"
        admin.execute("UPDATE df_engine.workers SET beat_at = clock_timestamp() - interval '1 hour'")
        assert rows(admin, query, made["plain"]) == []  # nobody is there at all
        admin.execute("UPDATE df_engine.workers SET beat_at = clock_timestamp()")
        assert len(rows(admin, query, made["plain"])) == 1


def test_the_command(stories: tuple[Database, dict[str, str]]) -> None:
    database, made = stories

    def check(*arguments: str, role: str = OWNER) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "perdure", "check", "--dsn", database.dsn(role), *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=clean_environment(), timeout=60, check=False)

    well = check()
    assert (well.returncode, well.stdout) == (0, f"no problems in {len(made)} workflows\n"), well.stderr
    assert check(made["done"], role="alice").stdout == "no problems in 1 workflow\n"
    assert check(role="bob").stdout == "no problems in 0 workflows\n"
    assert check("00000000").returncode == 1
    with database.admin() as admin:
        admin.execute("UPDATE df_engine.instances SET status = 'failed' WHERE instance_id = %s", [made["done"]])
        try:
            found = check()
            assert found.returncode == 1
            assert made["done"] in found.stdout and "status differs from the history" in found.stdout
        finally:
            admin.execute("UPDATE df_engine.instances SET status = 'completed' WHERE instance_id = %s", [made["done"]])


def test_no_false_alarm_while_everything_moves(
    cluster: Cluster, template: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with (
        served(cluster, template, tmp_path_factory.mktemp("workers")) as database,
        database.connect() as alice,
        database.connect(OWNER) as owner,
    ):
        alice.execute("CREATE TABLE moved (n int)")
        graph = """df.join3('SELECT 1' ~> df.sleep(0) ~> 'SELECT 2',
                            df.race(df.wait_for_signal('x', 1), df.loop('INSERT INTO moved VALUES (1)')),
                            df.loop('SELECT pg_sleep(0.01)', 'SELECT random() < 0.8')) ~> 'SELECT 3'"""
        open_ones = [start(alice, graph) for _ in range(12)]
        looks = 0

        def all_ended() -> bool:
            nonlocal looks
            looks += 1
            for eyes in (alice, owner):
                assert rows(eyes, "SELECT * FROM df.check()") == []
            for instance in open_ones[::3]:
                value(alice, "df.signal(%s, 'x')", instance)
            if looks == 2:
                value(alice, "df.cancel(%s)", open_ones[1])
            return not value(alice, "(SELECT count(*) FROM df.instances WHERE ended_at IS NULL)")

        wait_until(all_ended, 60)
        assert looks > 2
        ended(alice, "'SELECT 1'")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            alice.execute("SELECT * FROM df_engine.history")
