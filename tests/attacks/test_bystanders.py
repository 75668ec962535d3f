"""What lies around where others work: traps in public, locks, channels, extensions, bytes that are no text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import psycopg
import pytest

from asking import value
from attacks.conftest import Report, Scene
from attacks.test_tools import lay_traps
from cluster import Database, Workers
from waiting import ENDED, eventually_status, wait_until

pytestmark = pytest.mark.attacks


@pytest.fixture
def trapped(database: Database) -> Iterator[Database]:
    """Alice has laid operators, functions and aggregates in public, where they fit better than those of pg_catalog."""
    with database.connect("alice") as alice:
        lay_traps(alice)
    yield database


def test_the_worker_and_bobs_steps_run_nothing_of_alices(trapped: Database, workers: Workers, report: Report) -> None:
    """Operators and functions in public, while a worker serves bob: steps, failures, loops, signals, cancels -> not run."""
    worker = workers.start()
    with trapped.connect("bob") as bob, trapped.connect("alice") as alice:
        graphs = {
            "'SELECT 1' ~> 'SELECT 2'": "completed",
            "df.join('SELECT 1', 'SELECT 1/0')": "failed",
            "df.loop(df.sql('SELECT 1') ~> df.break())": "completed",
            "df.race('SELECT 1', df.sleep(100))": "completed",
            "'SELECT 5 AS n' |=> 'x' ~> df.if('SELECT $x.n', 'VACUUM', 'SELECT 0')": "completed",
            "df.wait_for_signal('s', 1)": "completed",
            "df.wait_for_schedule('0 0 1 1 *', 'Europe/Vienna')": "cancelled",
        }
        for session in (bob, alice):
            begun = {cast(str, value(session, f"df.start({graph})")): end for graph, end in graphs.items()}
            for started, end in begun.items():
                if end == "cancelled":
                    session.execute("SELECT df.cancel(%s)", [started])
                assert eventually_status(session, started, end, 60) == end
    with trapped.admin() as admin:
        caught = admin.execute("SELECT DISTINCT who::text, what FROM public.caught WHERE who <> 'alice'").fetchall()
    assert caught == []
    assert worker.process.poll() is None
    report(f"{2 * len(graphs)} workflows, nothing was run as anybody but alice")


LOCKS = """
    SELECT count(*) FROM (
        SELECT pg_try_advisory_lock(n) FROM generate_series(0, 2000) n
        UNION ALL SELECT pg_try_advisory_lock(1346982470, n) FROM generate_series(0, 200) n
        UNION ALL SELECT pg_try_advisory_lock(c.oid::bigint) FROM pg_class c
        UNION ALL SELECT pg_try_advisory_lock(hashtext(w)) FROM unnest(ARRAY['df', 'df_engine', 'perdure', 'df_wake']) w) AS l
"""


def test_locks_of_an_outsider_stop_nobody(scene: Scene, report: Report) -> None:
    """Every advisory lock that one could guess, held by mallory, also those seen in pg_locks -> alice's workflows go on."""
    with scene.connect() as mallory, scene.admin() as admin:
        held = value(mallory, f"({LOCKS})")
        seen = "SELECT pg_try_advisory_lock(l.classid::bigint << 32 | l.objid::bigint) FROM pg_locks l WHERE l.locktype = 'advisory' AND l.pid <> pg_backend_pid()"
        mallory.execute(seen)
        for _ in range(3):
            scene.healthy()
        started = scene.start(mallory, "SELECT pg_try_advisory_lock(1) AS got")
        assert scene.end(mallory, started) == "completed"
        assert value(admin, "(SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)") == 0
        value(mallory, "pg_advisory_unlock_all()::text")
    report(f"{held} locks held; three workflows of alice's done")


FORGED = ["", "leases", "idle", "{}", '{"instance_id":"00000000"}', "[" * 4000, "'; DROP TABLE alice.secret; --", "\x01\x7f", "é\U0001f600" * 900, "00000000", "-1", "9" * 7000]  # fmt: skip


def test_forged_notifications_wake_at_most(scene: Scene, report: Report) -> None:
    """NOTIFY on every channel that workers listen on, with payloads of every kind -> nothing but a look at the queue."""
    with scene.connect() as mallory, scene.admin() as admin:
        known = [
            c
            for (c,) in admin.execute(
                "SELECT DISTINCT regexp_replace(query, '^LISTEN \"?([^\";]+).*$', '\\1') FROM pg_stat_activity WHERE query LIKE 'LISTEN %'"
            )
        ]
        channels = {"df_wake", "df_engine", "perdure", *(channel for channel in known if len(channel) < 64)}
        for channel in channels:
            for payload in FORGED:
                mallory.execute("SELECT pg_notify(%s, %s)", [channel, payload])
        scene.healthy()
    assert "Traceback" not in scene.workers.started[0].log
    report(f"{len(channels) * len(FORGED)} notifications on {len(channels)} channels; alice's workflow was done")


NO_TEXT = [
    b"\xff",
    b"\xc3",
    b"\xe2\x82",
    b"\xed\xa0\x80",
    b"\xc0\xa7; DROP TABLE alice.secret; --",
    b"\xf4\x90\x80\x80",
    b"\xc0\x80",
    b"\x95\\'",
    b"a\x00b",
    b"\xef\xbb\xbf{",
]
CALLS = {
    "label": "SELECT df.start('SELECT 1', $1)", "graph": "SELECT df.start($1)", "name of a signal": "SELECT df.signal('00000000', $1)",
    "data of a signal": "SELECT df.signal('00000000', 'x', $1)", "variable": "SELECT df.setvar('x', $1)", "name of a variable": "SELECT df.setvar($1, 'x')",
    "reason": "SELECT df.cancel('00000000', $1)", "explain": "SELECT df.explain($1)", "id": "SELECT df.status($1)",
}  # fmt: skip


@pytest.mark.parametrize("encoding", ["UTF8", "SQL_ASCII", "SJIS", "EUC_JP", "LATIN1", "WIN1252"])
def test_bytes_that_are_no_text(scene: Scene, report: Report, encoding: str) -> None:
    """Bytes that are no characters, over the wire, to every function that takes a text, with client_encoding -> refused, or characters."""
    refused = kept = 0
    with scene.connect() as mallory:
        mallory.execute(cast(Any, f"SET client_encoding = '{encoding}'"))
        for call in CALLS.values():
            for data in NO_TEXT:
                mallory.execute("BEGIN")
                result = mallory.pgconn.exec_params(call.encode(), [data], param_formats=[0])
                if result.error_message:
                    state = result.error_field(psycopg.pq.DiagnosticField.SQLSTATE)
                    assert state is not None
                    assert not state.startswith((b"XX", b"57", b"08")), (call, data, result.error_message)
                    refused += 1
                else:
                    kept += 1
                mallory.execute("ROLLBACK")
        mallory.execute("SET client_encoding = 'UTF8'")
    assert encoding in ("LATIN1", "SJIS", "EUC_JP", "WIN1252") or refused >= len(CALLS) * (len(NO_TEXT) - 3)
    report(f"{refused} refused, {kept} were characters")


LOGINS = ["perdure_worker", "perdure_owner", "alice", "postgres", "dfx_mallet"]
DBLINK = """
    DO $$
    DECLARE
        who text := '{who}';
        loot text;
    BEGIN
        BEGIN
            PERFORM dblink_connect('c', format('{dsn} user=%s', who));
            loot := (SELECT * FROM dblink('c', 'SELECT current_user::text') AS t (who text));
            INSERT INTO mallory.log (loot, note) VALUES (loot, 'dblink');
        EXCEPTION WHEN OTHERS THEN INSERT INTO mallory.log (note) VALUES ('dblink: ' || SQLERRM);
        END;
    END $$
"""


def test_dblink_back_to_the_server(scene: Scene, report: Report) -> None:
    """A step that goes back to the server by dblink, installed by an administrator, as the worker, the owner, others -> refused."""
    with scene.admin() as admin:
        if value(admin, "NOT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'dblink')"):
            pytest.skip("this server has no dblink")
        admin.execute("CREATE EXTENSION IF NOT EXISTS dblink SCHEMA public")
        try:
            where = f"dbname={scene.database.name} port={admin.info.port}"
            host = value(admin, "split_part(current_setting('unix_socket_directories'), ',', 1)")
            for who in LOGINS:
                for dsn in (f"host={host} {where}", where, f"host=127.0.0.1 {where}"):
                    assert scene.run(DBLINK.format(who=who, dsn=dsn)) == "completed"
            tried = admin.execute("SELECT DISTINCT note FROM mallory.log WHERE note LIKE 'dblink%%'").fetchall()
        finally:
            admin.execute("DROP EXTENSION dblink")
    report(f"{3 * len(LOGINS)} tries: {'; '.join(sorted(note.splitlines()[0][8:60] for (note,) in tried))}")


@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_huge_payloads(scene: Scene, report: Report) -> None:
    """A signal of 10 MB, a variable of 5 MB, a label beyond the index, results of 10 MB in four workflows -> an end, and alice's go on."""
    ends: dict[str, int] = {}
    with scene.connect() as mallory:
        value(mallory, "df.setvar('big', repeat('x', 5000000))")
        with pytest.raises(psycopg.errors.ProgramLimitExceeded):
            value(mallory, "df.start('SELECT 1', repeat('x', 5000000))")
        waiting = cast(
            str, value(mallory, "df.start(df.wait_for_signal('s') |=> 'x' ~> 'SELECT length($x.data) AS n', 'big')")
        )
        value(mallory, "df.signal(%s, 's', to_json(repeat('x', 10000000))::text)", waiting)
        begun = [waiting, *(scene.start(mallory, "SELECT repeat('x', 10000000) AS v") for _ in range(4))]
        value(mallory, "df.clearvars()")
        scene.healthy()
        for started in begun:
            end = scene.end(mallory, started, 300).split(":")[0]
            ends[end] = ends.get(end, 0) + 1
        wait_until(lambda: value(mallory, "(SELECT count(*) FROM df_engine.visible_tasks)") == 0, 60)
    report(", ".join(f"{n} {end}" for end, n in ends.items()))


def test_ends_are_known(scene: Scene) -> None:
    """Nothing that was begun here is left without an end."""
    with scene.database.admin() as admin:
        rest = "SELECT count(*) FROM df.instances WHERE submitted_by = 'mallory'::regrole AND status <> ALL (%s)"
        wait_until(lambda: admin.execute(rest, [list(ENDED)]).fetchone() == (0,), 60)
        assert admin.execute("SELECT * FROM df.check()").fetchall() == []
