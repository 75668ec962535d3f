"""Workers behind pgbouncer in transaction mode: the same promises, with nothing kept in a session."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from cluster import WORKER, Cluster, Database, WorkerProcess, Workers
from pooler import PROGRAM, Pooler, running_pooler
from waiting import eventually_status, wait_until

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="pgbouncer is not installed")

EFFECTS = "CREATE TABLE public.effects (instance text NOT NULL, step text NOT NULL)"
EFFECT = "INSERT INTO public.effects VALUES ('{{sys_instance_id}}', '{step}')"
# Each leaves something in the server's session that the next step of the role, any workflow's, must not feel.
STAINS = (
    "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "SET default_transaction_read_only = on",
    "SET search_path = pg_temp",
    "SET statement_timeout = '1s'",
    "SET standard_conforming_strings = off",
    "SET client_encoding = 'LATIN1'",
    "SET TimeZone = 'Asia/Tokyo'",
    "SET df.in_workflow = 'false'",
    "CREATE TEMP TABLE effects (instance text, step text)",
)


@pytest.fixture
def pooler(cluster: Cluster) -> Iterator[Pooler]:
    with running_pooler(cluster) as running:
        yield running


def start_worker(workers: Workers, pooler: Pooler, *arguments: str, **environment: str) -> WorkerProcess:
    database = workers.database.name
    roles = ("--role-dsn", pooler.dsn(database, "{role}"))
    return workers.start(*roles, *arguments, dsn=pooler.dsn(database, WORKER), env=environment)


def start(connection: psycopg.Connection[Any], graph: str, label: str | None = None) -> str:
    row = connection.execute("SELECT df.start(%s, %s)", [graph, label]).fetchone()
    assert row is not None
    return str(row[0])


def graph(connection: psycopg.Connection[Any], expression: str) -> str:
    row = connection.execute(f"SELECT {expression}").fetchone()
    assert row is not None
    return str(row[0])


def effects(database: Database) -> dict[tuple[str, str], int]:
    with database.admin() as admin:
        rows = admin.execute("SELECT instance, step, count(*) FROM public.effects GROUP BY 1, 2").fetchall()
    return {(instance, step): times for instance, step, times in rows}


def make_effects(database: Database) -> None:
    with database.admin() as admin:
        admin.execute(EFFECTS)
        admin.execute("GRANT INSERT, SELECT ON public.effects TO alice, bob")


def test_restart_of_the_pooler_loses_and_doubles_nothing(database: Database, pooler: Pooler, workers: Workers) -> None:
    make_effects(database)
    for _ in range(2):
        start_worker(workers, pooler, "--slots", "4", "--poll-seconds", "0.1", "--lease-seconds", "2")
    steps = [EFFECT.format(step=n) for n in range(3)]
    quoted = [text.replace("'", "''") for text in steps]
    chain = (
        f"'{quoted[0]}' ~> 'SELECT count(*) AS n, ''ä'' AS t FROM public.effects' |=> 'seen' ~> '{quoted[1]}'"
        f" ~> df.join('SELECT $seen.n + 1', 'SELECT 2') ~> df.sleep(0) ~> '{quoted[2]}'"
    )
    started: list[str] = []
    with database.connect("alice") as alice, database.connect("bob") as bob:
        for round_number in range(30):
            for user in (alice, bob):
                started.append(start(user, graph(user, chain)))
            if round_number in (10, 20):
                wait_until(lambda: len(effects(database)) > 2 * len(started), 30)
                pooler.kill()
                pooler.start()
        for instance in started:
            user = alice if alice.execute("SELECT df.status(%s)", [instance]).fetchone() != (None,) else bob
            eventually_status(user, instance, "completed", 60)
    assert effects(database) == {(instance, str(step)): 1 for instance in started for step in range(3)}


def test_nothing_of_a_step_is_left_for_the_next(database: Database, pooler: Pooler, workers: Workers) -> None:
    make_effects(database)
    start_worker(workers, pooler, "--poll-seconds", "0.1")
    with database.connect("alice") as alice:
        stained = [start(alice, stain) for stain in STAINS]
        for stain, instance in zip(STAINS, stained, strict=True):
            ended = eventually_status(alice, instance, ("completed", "failed"))
            assert ended == "completed" or "client_encoding" in stain, stain
        text = EFFECT.format(step="ä\\'' || ''").replace("'", "''")
        look = "SELECT current_setting(''transaction_isolation'') || '', '' || current_setting(''df.in_workflow'')"
        slow = "INSERT INTO public.effects SELECT ''slow'', ''slow'' FROM pg_sleep(1.5) AS s WHERE s IS NULL"
        expression = f"'{text}' ~> '{look}' |=> 'a' ~> '{slow}' ~> 'SELECT $a AS a'"
        after = [start(alice, graph(alice, expression)) for _ in range(6)]
        for instance in after:
            eventually_status(alice, instance, "completed")
            row = alice.execute("SELECT df.result(%s)::json -> 'rows' -> 0 ->> 'a'", [instance]).fetchone()
            assert row == ("read committed, true",)
    assert effects(database) == {(instance, "ä\\' || '"): 1 for instance in after}


def test_cancel_stops_a_running_statement(database: Database, pooler: Pooler, workers: Workers) -> None:
    make_effects(database)
    start_worker(workers, pooler, "--poll-seconds", "0.1", "--lease-seconds", "2")
    with database.connect("alice") as alice, database.admin() as admin:
        sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
        read = start(alice, "SELECT pg_sleep(600)")
        written = start(alice, "INSERT INTO public.effects SELECT 'late', 'late' FROM pg_sleep(600)")
        wait_until(lambda: admin.execute(sleeping).fetchone() == (2,), 60, "two statements to run")
        for instance in (read, written):
            alice.execute("SELECT df.cancel(%s, 'enough')", [instance])
        wait_until(lambda: admin.execute(sleeping).fetchone() == (0,), 60, "both to be stopped")
        for instance in (read, written):
            eventually_status(alice, instance, "cancelled")
        following = start(alice, EFFECT.format(step="1").replace("{{", "{").replace("}}", "}"))
        eventually_status(alice, following, "completed")
    assert effects(database) == {(following, "1"): 1}


def test_statement_that_runs_outside_a_transaction(database: Database, pooler: Pooler, workers: Workers) -> None:
    start_worker(workers, pooler, "--poll-seconds", "0.1")
    with database.connect("alice") as alice:
        alice.execute("CREATE TABLE public.swept (n int)")
        eventually_status(alice, start(alice, "VACUUM public.swept"), "completed")


_heavy = pytest.mark.heavy


@pytest.mark.parametrize(
    "way", ["refused", pytest.param("ignored", marks=_heavy), pytest.param("told", marks=_heavy), "listening"]
)
def test_pooler_is_recognised(cluster: Cluster, database: Database, workers: Workers, way: str) -> None:
    make_effects(database)
    options = {"ignore_startup_parameters": "options"} if way == "ignored" else {}
    with running_pooler(cluster, **options) as pooler:
        more = ("--listen-dsn", database.dsn(WORKER)) if way == "listening" else ()
        slow = "60" if way == "listening" else "0.1"
        worker = start_worker(
            workers, pooler, "--poll-seconds", slow, *more, **({"PERDURE_POOLED": "on"} if way == "told" else {})
        )
        with database.connect("alice") as alice, database.admin() as admin:
            idle = "SELECT count(*) FROM df_engine.workers WHERE idle"
            wait_until(lambda: admin.execute(idle).fetchone() == (1,), 60, "the worker to be idle")
            instance = start(alice, EFFECT.format(step="1").replace("{{", "{").replace("}}", "}"))
            eventually_status(alice, instance, "completed")
            assert admin.execute("SELECT count(*) FROM df_engine.sessions").fetchone() == (0,)
        assert ("not listening" in worker.log) == (way != "listening")
        workers.stop()
    assert effects(database) == {(instance, "1"): 1}
