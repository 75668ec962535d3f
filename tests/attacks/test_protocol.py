"""What a role can do with the functions that workers call: it may serve itself, and touch nobody else.

Everybody who may use ``df`` may register a worker for their own workflows. Mallory does, and then keeps to no rule.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, cast

import psycopg
import pytest

from asking import value
from attacks.conftest import Report, Scene, some
from perdure.eventstore.engine import new_token, token_hash
from waiting import eventually_status, wait_until

pytestmark = pytest.mark.attacks

REGISTER = """INSERT INTO df.ingress_workers (key_hash, release, interpreter, host, pid, slots, lease_seconds, only_role)
    VALUES (%s, 'x', 1, 'here', 1, 1, 3600, %s) RETURNING instance_id"""


class Rogue:
    """A worker of mallory's own."""

    def __init__(self, connection: psycopg.Connection[Any], only_role: str | None = None) -> None:
        self.connection = connection
        self.key = new_token()
        row = connection.execute(REGISTER, [token_hash(self.key).hex(), only_role]).fetchone()
        assert row is not None
        self.worker_id = row[0]

    def call(self, function: str, *arguments: Any) -> list[Any]:
        """Call a worker's function as this worker."""
        places = ", ".join(["%s"] * (len(arguments) + 2))
        statement = cast(Any, f"SELECT * FROM df_engine.{function}({places})")
        return self.connection.execute(statement, [self.worker_id, self.key, *arguments]).fetchall()

    def claim(self) -> list[Any]:
        """Everything there is."""
        return self.connection.execute(
            "SELECT * FROM df_engine.claim_v1(%s, %s, 1000, 1000, 1000, 0, true, '{}')", [self.worker_id, self.key]
        ).fetchall()


@pytest.fixture
def rogue(scene: Scene) -> Iterator[Rogue]:
    worker = Rogue(scene.connect())
    yield worker
    with scene.admin() as admin:
        admin.execute("DELETE FROM df_engine.workers WHERE login = 'mallory'::regrole")


@pytest.fixture
def victim(scene: Scene) -> Iterator[str]:
    """An instance of alice's that waits for a signal, with a timer far away."""
    with scene.database.connect("alice") as alice:
        started = cast(str, value(alice, "df.start(df.wait_for_signal('go', 3600) |=> 's' ~> 'SELECT 1')"))
        wait_until(lambda: value(alice, "df.status(%s)", started) == "running")
        wait_until(
            lambda: value(alice, "(SELECT count(*) FROM df.waiting(%s) WHERE waits_for = 'signal')", started) == 1
        )
        yield started
        value(alice, "df.signal(%s, 'go', %s)", started, "1")
        assert eventually_status(alice, started, "completed", 60) == "completed"


def refusal(rogue: Rogue, function: str, *arguments: Any) -> str:
    try:
        return repr(rogue.call(function, *arguments))
    except psycopg.Error as error:
        return f"{error.sqlstate} {error.diag.message_primary}"


def bucket(instance_id: str) -> int:
    return int(instance_id[:2], 16)


# ------------------------------------------------------------------------------------------------------ registering


@pytest.mark.parametrize("role", ["alice", "perdure_worker", "perdure_owner", "postgres", "nobody there"])
def test_a_worker_for_another_role_is_refused(scene: Scene, report: Report, role: str) -> None:
    """Registering a worker for another role -> refused."""
    with scene.connect() as mallory, pytest.raises(psycopg.Error) as caught:
        Rogue(mallory, role)
    report(str(caught.value).splitlines()[0])


def test_a_worker_cannot_name_its_owner(scene: Scene, report: Report) -> None:
    """Registering with a forged owner column -> refused."""
    with scene.connect() as mallory, pytest.raises(psycopg.errors.InsufficientPrivilege) as caught:
        mallory.execute("INSERT INTO df.ingress_workers (owner, key_hash) VALUES ('alice', 'aa')")
    report(str(caught.value).splitlines()[0])


def test_registering_is_bounded(scene: Scene, report: Report) -> None:
    """Registering thousands of workers -> refused after the first thousand."""
    with scene.connect() as mallory, pytest.raises(psycopg.Error) as caught:
        mallory.execute(
            "INSERT INTO df.ingress_workers (key_hash, release, interpreter, host, pid, slots, lease_seconds)"
            " SELECT md5(n::text), 'x', 1, 'h', 1, 1, 1 FROM generate_series(1, 1500) n"
        )
    report(str(caught.value).splitlines()[0])


def test_the_service_workers_row_cannot_be_used(scene: Scene, report: Report, rogue: Rogue) -> None:
    """The service worker's id with another key -> not registered."""
    with scene.admin() as admin:
        service = value(admin, "(SELECT min(worker_id) FROM df_engine.workers WHERE serves_all)")
    seen = []
    for key in (rogue.key, "", "x" * 10000, None):
        rogue_as = Rogue.__new__(Rogue)
        rogue_as.connection, rogue_as.worker_id, rogue_as.key = rogue.connection, service, cast(Any, key)
        for function, arguments in (("beat_v1", [True]), ("claim_v1", [9, 9, 9, 0, True, []]), ("deregister_v1", []),
                                    ("reap_v1", []), ("release_v1", [[b"x"]]), ("prune_v1", [])):  # fmt: skip
            seen.append(refusal(rogue_as, function, *arguments))
    assert all(answer.startswith(("DF010", "42883")) for answer in seen), seen
    report(seen[0])


# ------------------------------------------------------------------------------------------------------ others' work


def test_only_own_work_is_claimed_and_loaded(scene: Scene, report: Report, rogue: Rogue, victim: str) -> None:
    """Claiming, loading and reading results of others -> nothing."""
    with scene.database.connect("alice") as alice, scene.connect() as mallory:
        theirs = [scene.start(alice, "SELECT pg_sleep(0.01)") for _ in range(20)]
        own = scene.start(mallory, "SELECT 1")
        claimed = [row for _ in range(5) for row in rogue.claim()]
        assert {row[9] for row in claimed} <= {"mallory"}
        assert rogue.call("load_v1", json.dumps([[i, 0, 0] for i in [*theirs, victim]])) == []
        assert rogue.call("bodies_v1", victim, json.dumps([[1, n] for n in range(20)])) == []
        assert rogue.call("dead_sessions_v1") == []
        rogue.call("deregister_v1")
        assert eventually_status(mallory, own, "completed", 30) == "completed"
    report("none of 21 instances of others")


def test_nothing_of_others_can_be_committed(scene: Scene, report: Report, rogue: Rogue, victim: str) -> None:
    """Committing turns, completing, failing, parking, retaking others' work -> lost, and nothing is changed."""
    with scene.admin() as admin:
        before = admin.execute("SELECT * FROM df_engine.instances WHERE instance_id = %s", [victim]).fetchall()
        execution, head = value(
            admin, "(SELECT (execution_id, head_seq) FROM df_engine.instances WHERE instance_id = %s)", victim
        )
        where = (bucket(victim), victim)
        turn = {"b": where[0], "i": victim, "t": "x", "x": int(execution), "h": int(head), "status": "completed",
                "kinds": ["ExecutionCompleted"], "payloads": ["{}"]}  # fmt: skip
        seen = {
            "commit": refusal(rogue, "commit_turns_v1", json.dumps([turn])),
            "complete": refusal(rogue, "complete_v1", *where, 2, "x", None, "{}", "y"),
            "fail": refusal(rogue, "fail_v1", *where, 2, "x", "{}", None, True, "y"),
            "autocommit": refusal(rogue, "autocommit_v1", *where, 2, "x"),
            "retake": refusal(rogue, "retake_v1", *where, 0, "x", "y"),
            "park": refusal(rogue, "park_v1", *where, "mine now"),
            "block": refusal(rogue, "block_v1", 10, "pay mallory"),
            "finish": _finish(rogue, where, int(execution), int(head)),
        }
        assert admin.execute("SELECT * FROM df_engine.instances WHERE instance_id = %s", [victim]).fetchall() == before
        assert value(admin, "(SELECT count(*) FROM df_engine.role_blocks)") == 0
    assert "busy" in seen["commit"] or "lost" in seen["commit"]
    assert "lost" in seen["fail"]
    report("; ".join(f"{name}: {answer[:40]}" for name, answer in seen.items()))


def _finish(rogue: Rogue, where: tuple[int, str], execution: int, head: int) -> str:
    try:
        row = rogue.connection.execute(
            "SELECT df_engine.finish_step_v1(%s::smallint, %s, 2, 'x', '{}', %s, %s, ARRAY['ExecutionCompleted'], ARRAY['{}'],"
            " NULL, NULL, NULL, NULL, NULL, 'completed', 'y')", [*where, execution, head]).fetchone()  # fmt: skip
    except psycopg.Error as error:
        return f"{error.sqlstate} {error.diag.message_primary}"
    return repr(row)


def test_a_backend_of_others_cannot_be_reported_for_ending(scene: Scene, report: Report) -> None:
    """Reporting alice's backend as a session of a dead worker, for the service worker to end as alice -> not noted."""
    with scene.database.connect("alice") as alice, scene.admin() as admin, scene.connect() as mallory:
        rogue = Rogue(mallory)
        pid = alice.info.backend_pid
        began = value(admin, "(SELECT backend_start FROM pg_stat_activity WHERE pid = %s)", pid)
        oid = value(admin, "'alice'::regrole::oid::bigint")
        mallory.execute(
            "SELECT df_engine.session_v1(%s, %s, %s::bigint::oid, %s, %s)",
            [rogue.worker_id, rogue.key, oid, pid, began],
        )
        assert value(admin, "(SELECT count(*) FROM df_engine.sessions WHERE worker_id = %s)", rogue.worker_id) == 0
        rogue.call("deregister_v1")
        assert value(alice, "1") == 1
    report("not noted, alice's session lives")


OPEN = {
    "claim": lambda r, v: r.call("claim_v1", 1000, 1000, 1000, 0, True, []),
    "claim with a cap": lambda r, v: r.call("claim_v1", 1000, 1000, 1000, 0, True, []),
    "reap": lambda r, v: r.call("reap_v1"),
    "prune": lambda r, v: r.call("prune_v1"),
    "retake": lambda r, v: r.call("retake_v1", bucket(v), v, 0, "x", "y"),
    "fail": lambda r, v: r.call("fail_v1", bucket(v), v, 2, "x", "{}", None, True, "y"),
    "autocommit": lambda r, v: r.call("autocommit_v1", bucket(v), v, 2, "x"),
    "commit": lambda r, v: r.call(
        "commit_turns_v1",
        json.dumps(
            [{"b": bucket(v), "i": v, "t": "x", "x": 1, "h": 1, "status": "running", "kinds": [], "payloads": []}]
        ),
    ),
    "park": lambda r, v: r.call("park_v1", bucket(v), v, "x"),
    "beat": lambda r, v: r.call("beat_v1", False),
    "idle": lambda r, v: r.call("idle_v1", True),
}


def unlocked(admin: psycopg.Connection[Any]) -> bool:
    """Whether nobody holds a row of alice's."""
    try:
        admin.execute("SELECT FROM df_engine.instances WHERE owner = 'alice'::regrole FOR UPDATE NOWAIT")
    except psycopg.errors.LockNotAvailable:
        return False
    return True


@pytest.mark.parametrize("name", some({name: name for name in OPEN}, "claim", "reap", "retake"))
def test_no_lock_on_others_rows_outlives_a_call(scene: Scene, report: Report, victim: str, name: str) -> None:
    """A worker's function called in a transaction that stays open -> no row of others is locked."""
    with scene.admin() as admin, scene.database.connect("alice") as alice:
        if "cap" in name:
            admin.execute("UPDATE df.settings SET value = '50' WHERE name = 'max_user_connections'")
        # Work that a claim could take: messages, a due timer, a turn, a step of a dead worker.
        asleep = value(alice, "df.start(df.sleep(1) ~> 'SELECT 1')")
        value(alice, "df.signal(%s, 'other')", victim)
        mallory = scene.connect(autocommit=False)
        rogue = Rogue(mallory)
        mallory.commit()
        try:
            OPEN[name](rogue, victim)
            wait_until(lambda: unlocked(admin))  # the service worker locks rows too, for a moment
            value(alice, "df.signal(%s, 'third')", victim)
            assert eventually_status(alice, asleep, "completed", 60) == "completed"
            scene.healthy()
        finally:
            mallory.rollback()
            admin.execute("UPDATE df.settings SET value = '0' WHERE name = 'max_user_connections'")
            admin.execute("DELETE FROM df_engine.workers WHERE login = 'mallory'::regrole")
    report("alice's workflows went on meanwhile")


def test_dead_workers_of_others_are_not_reaped_into_an_open_transaction(scene: Scene, report: Report) -> None:
    """Reaping in an open transaction while the service worker must take over -> it does."""
    with scene.admin() as admin, scene.database.connect("alice") as alice:
        mallory = scene.connect(autocommit=False)
        rogue = Rogue(mallory)
        mallory.commit()
        try:
            admin.execute(
                "INSERT INTO df_engine.workers (login, serves_all, key_hash, release, interpreter, host, pid, slots,"
                " lease_seconds, started_at, beat_at) SELECT 'perdure_worker', true, 'dead', 'x', 1, 'h', 1, 1, 1,"
                " now() - interval '1 hour', now() - interval '1 hour'"
            )
            rogue.call("reap_v1")
            started = scene.start(alice, "SELECT 1")
            assert eventually_status(alice, started, "completed", 60) == "completed"
            gone = "(SELECT count(*) FROM df_engine.workers WHERE key_hash = 'dead')"
            wait_until(lambda: value(admin, gone) == 0, 60)
        finally:
            mallory.rollback()
    report("the service worker took over")


# ---------------------------------------------------------------------------------------------------- own work, forged


NONSENSE: dict[str, dict[str, Any]] = {
    "payload that is no JSON": {"kinds": ["ActivityScheduled"], "payloads": ["no json"]},
    "payload of another shape": {"kinds": ["ActivityScheduled"], "payloads": ['{"node":"x","kind":[]}']},
    "payload that is an array": {"kinds": ["TurnTaken"], "payloads": ["[]"]},
    "unknown kind": {"kinds": ['x","y'], "payloads": ["{}"]},
    "deeply nested": {"kinds": ["TurnTaken"], "payloads": ["[" * 5000 + "]" * 5000]},
    "lone surrogate": {"kinds": ["SignalReceived"], "payloads": ['{"name":"\\ud800"}']},
    "NUL": {"kinds": ["ActivityFailed"], "payloads": ['{"of":2,"failure":{"message":"\\u0000"}}']},
    "completed without a turn": {"kinds": ["ExecutionCompleted"], "payloads": ['{"result":"x"}'], "status": "completed"},
    "failed with rubbish": {"kinds": ["ExecutionFailed"], "payloads": ["rubbish"], "status": "failed"},
    "failed with a NUL": {
        "kinds": ["ExecutionFailed"], "payloads": ['{"failure":{"message":"\\u0000"}}'], "status": "failed",
    },
    "failed with wrong types": {"kinds": ["ExecutionFailed"], "payloads": ['{"failure":{"attempt":"x"}}'], "status": "failed"},
    "a step of unreadable input": {
        "kinds": ["ActivityScheduled"], "payloads": ["{}"],
        "activities": [{"seq": 2, "lane": "sql", "kind": "sql", "input": "no json"}],
    },
    "a step of another shape": {
        "kinds": ["ActivityScheduled"], "payloads": ["{}"],
        "activities": [{"seq": 2, "lane": "sql", "kind": "sql", "input": '["x"]'}],
    },
    "a step with hostile names": {
        "kinds": ["ActivityScheduled"], "payloads": ["{}"],
        "activities": [{"seq": 2, "lane": "sql", "kind": "sql", "input": '{"query":"SELECT $a","names":{"a":{"j":[5]}}}'}],
    },
    "a step of an unknown kind": {
        "kinds": ["ActivityScheduled"], "payloads": ["{}"],
        "activities": [{"seq": 2, "lane": "sql", "kind": "nonsense", "input": "{}"}],
    },
    "an HTTP step in the wrong lane": {
        "kinds": ["ActivityScheduled"], "payloads": ["{}"],
        "activities": [{"seq": 2, "lane": "sql", "kind": "http", "input": '{"query":"{\\"url\\":\\"http://127.0.0.1\\"}"}'}],
    },
    "a step at an event to come": {
        "kinds": ["ActivityScheduled"], "payloads": ["{}"],
        "activities": [{"seq": 99, "lane": "sql", "kind": "sql", "input": "{}"}],
    },
    "a timer in the past": {"kinds": ["TimerSet"], "payloads": ["{}"], "timers": [{"seq": 2, "due": "-infinity"}]},
    "a timer for ever": {"kinds": ["TimerSet"], "payloads": ["{}"], "timers": [{"seq": 2, "due": "infinity"}]},
    "a wait for alice's instance": {"kinds": ["InstanceAwaited"], "payloads": ["{}"], "waits": [{"seq": 2, "target": "00000000"}]},
    "continued with rubbish": {"kinds": ["x"], "payloads": ["{}"], "status": "continued", "next": "rubbish", "next_kinds": ["y"], "next_payloads": ["z"]},
    "continued with wrong types": {
        "kinds": ["x"], "payloads": ["{}"], "status": "continued",
        "next": '{"interpreter":"x","names":5,"signals":{}}', "next_kinds": [], "next_payloads": [],
    },
}  # fmt: skip


@pytest.mark.parametrize(
    "forged",
    some(NONSENSE, "payload that is no JSON", "failed with a NUL", "a step of another shape", "lone surrogate"),
)
def test_a_forged_history_hurts_its_owner_only(scene: Scene, report: Report, forged: dict[str, Any]) -> None:
    """Mallory's own worker writes into her own history -> hers is parked or fails, the service worker goes on."""
    with scene.connect() as mallory, scene.admin() as admin:
        rogue = Rogue(mallory)
        with mallory.transaction():  # before the service worker can have it
            started = scene.start(mallory, "SELECT 1", "SELECT 2")
            turn = next(row for row in rogue.claim() if row[3] == started)
            message = {"b": bucket(started), "i": started, "t": turn[6], "x": 1, "h": 1, "status": "running", **forged}
            answer = refusal_of_turn(rogue, message)
        rogue.call("deregister_v1")
        value(mallory, "df.signal(%s, 's', '1')", started)
        scene.healthy()
        wait_until(
            lambda: (
                value(
                    admin,
                    "(SELECT count(*) FROM df_engine.tasks WHERE instance_id = %s AND worker_id IS NOT NULL)",
                    started,
                )
                == 0
            ),
            20,
        )
        for reader in (mallory, admin):
            for statement in ("SELECT count(*) FROM df.instances", "SELECT * FROM df.instances", "SELECT * FROM df.list_instances()",
                              "SELECT count(*) FROM df.nodes", "SELECT * FROM df.nodes", "SELECT * FROM df.check()"):  # fmt: skip
                reader.execute(statement)
        status = value(mallory, "df.status(%s)", started)
        parked = value(mallory, "(SELECT parked FROM df.instances WHERE id = %s)", started)
        value(mallory, "df.cancel(%s)", started)
        admin.execute("DELETE FROM df_engine.tasks WHERE instance_id = %s", [started])
    report(f"{answer[:50]}; then {status}{', parked' if parked else ''}; all views can be read")


def refusal_of_turn(rogue: Rogue, message: dict[str, Any]) -> str:
    try:
        with rogue.connection.transaction():
            return str(rogue.call("commit_turns_v1", json.dumps([message]))[0][1])
    except psycopg.Error as error:
        return f"{error.sqlstate} {error.diag.message_primary}"


RESULTS = {
    "no json": "no json",
    "nested": "[" * 5000,
    "another shape": '{"rows":5}',
    "empty": "",
    "null": "null",
    "surrogate": '{"rows":[{"a":"\\ud800"}],"row_count":1}',
}


@pytest.mark.parametrize("result", some(RESULTS, "no json"))
def test_forged_results_hurt_their_owner_only(scene: Scene, report: Report, result: str) -> None:
    """Mallory's own worker writes a result that is none -> her workflow fails or goes on, the service worker goes on."""
    with scene.connect() as mallory, scene.admin() as admin:
        rogue = Rogue(mallory)
        with mallory.transaction():
            graph = value(
                mallory, "df.sql('SELECT 1 AS a') |=> 'r' ~> 'SELECT $r.a' ~> df.if('$r', 'SELECT 2', 'SELECT 3')"
            )
            started = cast(str, value(mallory, "df.start(%s)", graph))
            turn = next(row for row in rogue.claim() if row[3] == started)
            payload = {"kinds": ["TurnTaken", "ActivityScheduled"],
                       "payloads": ['{"now":null,"marks":[]}', '{"node":1,"kind":"sql"}']}  # fmt: skip
            token = new_token()
            message = {"b": bucket(started), "i": started, "t": turn[6], "x": 1, "h": 1, "status": "running", **payload,
                       "one_seq": 3, "one_lane": "sql", "one_kind": "sql", "one_input": "{}", "one_token": token}  # fmt: skip
            assert refusal_of_turn(rogue, message) == "done"
            completed = '{"of":3,"true":true,"rows":1}'
            answer = refusal(rogue, "complete_v1", bucket(started), started, 3, token, result, completed, new_token())
        rogue.call("deregister_v1")
        scene.healthy()
        wait_until(
            lambda: (
                value(
                    admin,
                    "(SELECT count(*) FROM df_engine.tasks WHERE instance_id = %s AND worker_id IS NOT NULL)",
                    started,
                )
                == 0
            ),
            20,
        )
        for reader in (mallory, admin):
            for statement in ("SELECT * FROM df.instances", "SELECT * FROM df.list_instances()", "SELECT * FROM df.nodes",
                              "SELECT * FROM df.check()"):  # fmt: skip
                reader.execute(statement)
        status = value(mallory, "df.status(%s)", started)
        value(mallory, "df.cancel(%s)", started)
        admin.execute("DELETE FROM df_engine.tasks WHERE instance_id = %s", [started])
    report(f"{answer[:40]}; then {status}")


def test_an_own_token_is_good_for_nothing_but_the_own_step(scene: Scene, report: Report, victim: str) -> None:
    """The token of the own step, read in an error's context and used at once -> for the own step only."""
    with scene.connect() as mallory:
        mallory.execute("ALTER ROLE mallory SET log_parameter_max_length_on_error = -1")
        mallory.execute("CREATE OR REPLACE FUNCTION mallory.steal() RETURNS trigger LANGUAGE plpgsql AS $$"
                        " DECLARE c text; BEGIN"
                        " BEGIN RAISE EXCEPTION 'x'; EXCEPTION WHEN OTHERS THEN GET STACKED DIAGNOSTICS c = PG_EXCEPTION_CONTEXT; END;"
                        " INSERT INTO mallory.log (note) VALUES ('context: ' || c), ('query: ' || current_query()),"
                        " ('activity: ' || (SELECT query FROM pg_stat_activity WHERE pid = pg_backend_pid()));"
                        " RETURN NULL; END $$; CREATE TABLE IF NOT EXISTS mallory.trap (n int);"
                        " CREATE TRIGGER steal AFTER INSERT ON mallory.trap FOR EACH ROW EXECUTE FUNCTION mallory.steal();"
                        " CREATE CONSTRAINT TRIGGER steal2 AFTER INSERT ON mallory.trap DEFERRABLE INITIALLY DEFERRED"
                        " FOR EACH ROW EXECUTE FUNCTION mallory.steal()")  # fmt: skip
        mallory.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'mallory' AND pid <> pg_backend_pid()"
        )
        try:
            scene.run(
                "INSERT INTO mallory.trap VALUES (1)",
                "WITH x AS (INSERT INTO mallory.trap VALUES (1) RETURNING n) SELECT n FROM x",
            )
        finally:
            mallory.execute("ALTER ROLE mallory RESET ALL; DROP TABLE mallory.trap; DROP FUNCTION mallory.steal()")
            mallory.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'mallory' AND pid <> pg_backend_pid()"
            )
        notes = [
            row[0] for row in mallory.execute("SELECT note FROM mallory.log WHERE note ~ '^(context|query|activity): '")
        ]
        tokens = {token for note in notes for token in re.findall(r"\b[0-9a-f]{32}\b", note)}
        alone = {
            token for note in notes if not note.startswith("context") for token in re.findall(r"\b[0-9a-f]{32}\b", note)
        }
        assert alone == set(), "a token stands in a text that other code can read"
        for token in tokens:
            with pytest.raises(psycopg.Error):
                mallory.execute("SELECT df_engine.finish_step_v1(%s::smallint, %s, 2, %s, '{}', 1, 2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'y')",
                                [bucket(victim), victim, token])  # fmt: skip
    report(f"{len(tokens)} of her own read in error contexts, none in query texts; of no use for alice's instance")
