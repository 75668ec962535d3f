"""Small workflows, one for each kind of node and each way of running a step, and what they must have done in the end.

A step's effect is a row of ``effects (instance, step)``. Rows written inside a step's transaction must be there exactly
as often as said; those of steps that run outside one, at least so often.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import psycopg

from waiting import wait_until

TABLES = """
CREATE TABLE effects (instance text NOT NULL, step text NOT NULL, key text, at timestamptz DEFAULT clock_timestamp());
CREATE INDEX ON effects (instance);
CREATE INDEX ON effects (at);
CREATE TABLE counters (instance text PRIMARY KEY, n integer NOT NULL);
CREATE SEQUENCE attempts;
CREATE FUNCTION effect(_instance text, _step text, _key text) RETURNS bigint LANGUAGE sql AS
    $$INSERT INTO effects (instance, step, key) VALUES (_instance, _step, _key);
      SELECT count(*) FROM effects WHERE instance = _instance AND step = _step$$;
-- Fails in a way that a repetition cures, every other time it is called.
CREATE FUNCTION flaky(_instance text, _key text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO effects (instance, step, key) VALUES (_instance, 'flaky', _key);
    IF nextval('attempts') % 2 = 1 THEN
        RAISE EXCEPTION 'not now' USING ERRCODE = '40001';
    END IF;
END $$;
CREATE PROCEDURE commits(_instance text, _key text) LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO effects (instance, step, key) VALUES (_instance, 'outside', _key);
    COMMIT;
END $$;
"""


def effect(step: str) -> str:
    """A step that returns no rows (one message with its completion)."""
    values = f"'{{sys_instance_id}}', '{step}', '{{sys_step_key}}'"
    return f"$w$INSERT INTO effects (instance, step, key) VALUES ({values})$w$"


def done(step: str) -> str:
    """In a statement: do it, and say how often it has been done."""
    return f"effect('{{sys_instance_id}}', '{step}', '{{sys_step_key}}')"


def counted(step: str) -> str:
    """A step that returns how often it has been done (its completion follows in a message with COMMIT)."""
    return f"$w$SELECT {done(step)} AS n$w$"


# Quick in the first round, slow in every other.
ZOMBIE = (
    "$w$INSERT INTO effects (instance, step, key) SELECT '{sys_instance_id}', 'a', '{sys_step_key}'"
    " FROM pg_sleep(CASE WHEN '{sys_step_key}' LIKE '%-1-3' THEN 0.02 ELSE 0.5 END)$w$"
)
# A signal has time to come in.
SLOW = (
    "$w$INSERT INTO effects (instance, step, key) SELECT '{sys_instance_id}', 'a', '{sys_step_key}' FROM pg_sleep(1)$w$"
)
MAIL = "$w$SELECT effect('{{sys_instance_id}}', '{}' || $x.data, '{{sys_step_key}}')$w$"
Action = Callable[[psycopg.Connection[Any], str], None]


def _sends(*names: str) -> Action:
    def act(connection: psycopg.Connection[Any], instance_id: str) -> None:
        for name in names:
            connection.execute("SELECT df.signal(%s, %s, '{}')", [instance_id, name])

    return act


def _interrupts(name: str) -> Action:
    """While the first step runs."""

    def act(connection: psycopg.Connection[Any], instance_id: str) -> None:
        running = "SELECT FROM df.instance_nodes(%s) WHERE node_type = 'SQL' AND status <> 'pending'"
        wait_until(lambda: connection.execute(running, [instance_id]).fetchone() is not None, 60, "a step that runs")
        connection.execute("SELECT df.signal(%s, %s, '{}')", [instance_id, name])

    return act


def _mails(*bodies: str) -> Action:
    """All in one transaction, and so in one look at the inbox."""

    def act(connection: psycopg.Connection[Any], instance_id: str) -> None:
        with connection.transaction():
            for body in bodies:
                connection.execute("SELECT df.signal(%s, 'box', %s)", [instance_id, body])

    return act


def _cancels_after(step: str) -> Action:
    def act(connection: psycopg.Connection[Any], instance_id: str) -> None:
        wait_until(lambda: effects(connection, instance_id).get(step), 60, f"{step} of {instance_id}")
        connection.execute("SELECT df.cancel(%s, 'enough')", [instance_id])

    return act


def _a_minute_passes(connection: psycopg.Connection[Any], instance_id: str) -> None:
    """Once it waits, all that is recorded of it becomes a minute older: what it waits for is due by its own rule.

    By a superuser: no clock is set, nothing is early, and a replay finds the times that it computes.
    """
    timer = "SELECT FROM df_engine.timers WHERE instance_id = %s"
    fired = "SELECT FROM df_engine.history WHERE instance_id = %s AND kind = 'TimerFired'"

    def there(query: str) -> bool:
        return connection.execute(query, [instance_id]).fetchone() is not None

    wait_until(lambda: there(timer) or there(fired), 60, f"a timer of {instance_id}")
    with connection.transaction():
        connection.execute("SELECT FROM df_engine.instances WHERE instance_id = %s FOR NO KEY UPDATE", [instance_id])
        if there(timer):
            connection.execute("SET LOCAL session_replication_role = replica")  # the history is append-only
            _make_older(connection, instance_id)


def _make_older(connection: psycopg.Connection[Any], instance_id: str) -> None:
    minute = "interval '1 minute'"
    connection.execute(f"UPDATE df_engine.timers SET due_at = due_at - {minute} WHERE instance_id = %s", [instance_id])
    connection.execute(
        f"UPDATE df_engine.history SET recorded_at = recorded_at - {minute} WHERE instance_id = %s", [instance_id]
    )
    rows = connection.execute("SELECT seq, payload FROM df_engine.history WHERE instance_id = %s", [instance_id])
    for seq, payload in rows.fetchall():
        words = json.loads(payload)
        for name in {"now", "due"} & words.keys():
            words[name] = (datetime.fromisoformat(words[name]) - timedelta(minutes=1)).isoformat()
            connection.execute(
                "UPDATE df_engine.history SET payload = %s WHERE instance_id = %s AND seq = %s",
                [json.dumps(words, separators=(",", ":")), instance_id, seq],
            )


@dataclass(frozen=True, slots=True)
class Scenario:
    """A workflow (an SQL expression), what is done to it from outside, and what must come of it."""

    name: str
    expression: str
    effects: dict[str, int]
    status: str = "completed"
    at_least: frozenset[str] = frozenset()
    act: Action | None = None
    by_superuser: bool = False  # what is done from outside
    error: str | None = None
    varies: frozenset[str] = field(default_factory=frozenset)  # kinds of events whose number is not always the same


def effects(connection: psycopg.Connection[Any], instance_id: str) -> dict[str, int]:
    """How often each step of an instance has taken effect."""
    rows = connection.execute("SELECT step, count(*) FROM effects WHERE instance = %s GROUP BY step", [instance_id])
    return dict(rows.fetchall())


SCENARIOS = [
    Scenario("sequence", f"{effect('a')} ~> {effect('b')} ~> {effect('c')}", {"a": 1, "b": 1, "c": 1}),
    Scenario(
        "results",
        f"{counted('a')} |=> 'r' ~> $w$SELECT $r, {done('b')}$w$ ~> {effect('c')}",
        {"a": 1, "b": 1, "c": 1},
    ),
    Scenario(
        "if",
        f"($w$SELECT {done('a')} = 1$w$ ?> {effect('yes')} !> {effect('no')}) ~> {effect('z')}",
        {"a": 1, "yes": 1, "z": 1},
    ),
    Scenario(
        "if_rows",
        f"{counted('a')} |=> 'r' ~> df.if_rows('r', {counted('some')}, {effect('none')})",
        {"a": 1, "some": 1},
    ),
    Scenario(
        "join",
        f"df.join3({effect('a')}, {counted('b')} ~> {effect('c')}, {counted('d')}) ~> {effect('z')}",
        {"a": 1, "b": 1, "c": 1, "d": 1, "z": 1},
    ),
    Scenario("race", f"(df.sleep(3600) | {effect('a')}) ~> {effect('z')}", {"a": 1, "z": 1}),
    Scenario(
        "root loop",
        f"df.loop({effect('a')}, $w$SELECT {done('b')} < 3$w$)",
        {"a": 3, "b": 3},
    ),
    Scenario(
        "loop",
        f"{effect('a')} ~> df.loop({counted('b')} |=> 'n' ~> ($w$SELECT $n >= 3$w$ ?> df.break('$n') !> {effect('c')}),"
        f" $w$SELECT true$w$) ~> {effect('z')}",
        {"a": 1, "b": 3, "c": 2, "z": 1},
    ),
    Scenario("sleep", f"{effect('a')} ~> df.sleep(1) ~> {effect('b')}", {"a": 1, "b": 1}),
    Scenario(
        "schedule",
        f"{effect('a')} ~> df.wait_for_schedule('* * * * *') ~> {effect('b')}",
        {"a": 1, "b": 1},
        act=_a_minute_passes,
        by_superuser=True,
    ),
    Scenario(
        "signals",
        f"df.wait_for_signal('one') ~> {effect('a')} ~> (df.wait_for_signal('two') & df.wait_for_signal('two', 60))"
        f" ~> {effect('b')} ~> df.wait_for_signal('never', 1) ~> {effect('c')}",
        {"a": 1, "b": 1, "c": 1},
        act=_sends("two", "one"),
    ),
    Scenario(
        "mailbox",
        " ~> ".join(f"df.wait_for_signal('box') |=> 'x' ~> {MAIL.format(place)}" for place in "ab"),
        {"a1": 1, "b2": 1},
        act=_mails("1", "2"),
    ),
    Scenario(
        "interrupted",
        f"{SLOW} ~> {effect('b')} ~> df.wait_for_signal('s')",
        {"a": 1, "b": 1},
        act=_interrupts("s"),
    ),
    Scenario("zombie", f"df.loop({ZOMBIE}, $w$SELECT {done('b')} < 3$w$)", {"a": 3, "b": 3}),
    Scenario(
        "instance",
        f"$w$SELECT df.start('SELECT effect(''{{sys_instance_id}}'', ''child'', ''child'')')$w$ |=> 'child'"
        f" ~> df.wait_for_instance('$child', 60) ~> {effect('a')}",
        {"a": 1, "child": 1},
    ),
    Scenario(
        "retry",
        f"{effect('a')} ~> $w$SELECT flaky('{{sys_instance_id}}', '{{sys_step_key}}')$w$ ~> {effect('b')}",
        {"a": 1, "flaky": 1, "b": 1},
    ),
    Scenario(
        "failure",
        f"{effect('a')} ~> {counted('b')} ~> $w$SELECT 1 / 0$w$ ~> {effect('never')}",
        {"a": 1, "b": 1},
        status="failed",
        error="division by zero",
    ),
    Scenario(
        "autocommit",
        f"{effect('a')} ~> $w$CALL commits('{{sys_instance_id}}', '{{sys_step_key}}')$w$ ~> {effect('b')}",
        {"a": 1, "outside": 1, "b": 1},
        at_least=frozenset({"outside"}),
    ),
    Scenario(
        "http",
        f"{effect('a')} ~> df.http('@URL@/{{sys_instance_id}}', 'POST', 'x') |=> 'r'"
        f" ~> $w$SELECT $r.status, {done('b')}$w$",
        {"a": 1, "request": 1, "b": 1},
        at_least=frozenset({"request"}),
    ),
    Scenario(
        "cancel",
        f"{effect('a')} ~> (df.sleep(60) & df.wait_for_signal('never')) ~> {effect('never')}",
        {"a": 1},
        status="cancelled",
        act=_cancels_after("a"),
        varies=frozenset({"BranchOpened", "TimerSet", "SignalAwaited", "TimerCancelled"}),
    ),
]
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
