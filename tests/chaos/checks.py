"""What must hold for every instance when work is over, asked of the engine's tables by a superuser."""

from __future__ import annotations

from collections import Counter
from typing import Any

import psycopg

from chaos.scenarios import Scenario, effects

_NOTES = ("TurnTaken", "ActivityAttemptFailed", "ActivityModeChanged")

# Each query answers with what is wrong, in words; it must answer nothing. %(ids)s: the instances to look at.
INVARIANTS = {
    "the history has no gap": """
        SELECT instance_id, execution_id, count(*), max(seq) FROM df_engine.history WHERE instance_id = ANY (%(ids)s)
        GROUP BY 1, 2 HAVING count(*) <> max(seq) OR min(seq) <> 1""",
    "executions have no gap": """
        SELECT instance_id, count(DISTINCT execution_id), max(execution_id) FROM df_engine.history
        WHERE instance_id = ANY (%(ids)s) GROUP BY 1 HAVING count(DISTINCT execution_id) <> max(execution_id)""",
    "one terminal event at most, and nothing after it": """
        SELECT instance_id, execution_id FROM df_engine.history h WHERE instance_id = ANY (%(ids)s)
        AND kind IN ('ExecutionContinued', 'ExecutionCompleted', 'ExecutionFailed', 'ExecutionCancelled')
        AND EXISTS (SELECT FROM df_engine.history l WHERE l.bucket = h.bucket AND l.instance_id = h.instance_id
                    AND l.execution_id = h.execution_id AND l.seq > h.seq)""",
    "an execution before the last was continued": """
        SELECT i.instance_id, e FROM df_engine.instances i, generate_series(1, i.execution_id - 1) e
        WHERE i.instance_id = ANY (%(ids)s) AND NOT EXISTS (SELECT FROM df_engine.history h WHERE h.bucket = i.bucket
            AND h.instance_id = i.instance_id AND h.execution_id = e AND h.kind = 'ExecutionContinued')""",
    "a step has one outcome at most": """
        SELECT instance_id, execution_id, payload::json->>'of' FROM df_engine.history
        WHERE instance_id = ANY (%(ids)s) AND kind IN ('ActivityCompleted', 'ActivityFailed')
        GROUP BY 1, 2, 3 HAVING count(*) > 1""",
    "an outcome is of a step that was scheduled": """
        SELECT h.instance_id, h.seq FROM df_engine.history h
        WHERE instance_id = ANY (%(ids)s) AND kind IN ('ActivityCompleted', 'ActivityFailed') AND NOT EXISTS (
            SELECT FROM df_engine.history s WHERE s.bucket = h.bucket AND s.instance_id = h.instance_id
            AND s.execution_id = h.execution_id AND s.seq = (h.payload::json->>'of')::integer
            AND s.kind = 'ActivityScheduled')""",
    "a message is consumed by one moment only": """
        SELECT instance_id, payload::json->>'message' FROM df_engine.history
        WHERE instance_id = ANY (%(ids)s) AND kind = 'SignalConsumed'
        GROUP BY 1, 2 HAVING count(DISTINCT execution_id::text || ' ' || recorded_at::text) > 1""",
    "a timer fires once": """
        SELECT instance_id, execution_id, payload::json->>'of' FROM df_engine.history
        WHERE instance_id = ANY (%(ids)s) AND kind = 'TimerFired' GROUP BY 1, 2, 3 HAVING count(*) > 1""",
    "no timer is early": """
        SELECT f.instance_id, f.seq FROM df_engine.history f JOIN df_engine.history s ON s.bucket = f.bucket
        AND s.instance_id = f.instance_id AND s.execution_id = f.execution_id
        AND s.seq = (f.payload::json->>'of')::integer
        WHERE f.instance_id = ANY (%(ids)s) AND f.kind = 'TimerFired' AND s.kind = 'TimerSet'
        AND f.recorded_at < (s.payload::json->>'due')::timestamptz""",
    "the head is the end of the history": """
        SELECT i.instance_id, i.head_seq FROM df_engine.instances i WHERE instance_id = ANY (%(ids)s)
        AND i.head_seq <> (SELECT max(h.seq) FROM df_engine.history h WHERE h.bucket = i.bucket
            AND h.instance_id = i.instance_id AND h.execution_id = i.execution_id)""",
    "the status is what the last event says": """
        SELECT i.instance_id, i.status, h.kind FROM df_engine.instances i JOIN df_engine.history h USING (bucket,
        instance_id, execution_id) WHERE i.instance_id = ANY (%(ids)s) AND h.seq = i.head_seq AND i.ended_at IS NOT NULL
        AND h.kind <> CASE i.status WHEN 'completed' THEN 'ExecutionCompleted' WHEN 'failed' THEN 'ExecutionFailed'
                      WHEN 'cancelled' THEN 'ExecutionCancelled' ELSE '?' END""",
    "an ended instance has nothing left to do": """
        SELECT i.instance_id, w.what FROM df_engine.instances i JOIN (
            SELECT bucket, instance_id, 'task ' || seq AS what FROM df_engine.tasks
            UNION ALL SELECT bucket, instance_id, 'timer' FROM df_engine.timers
            UNION ALL SELECT bucket, instance_id, 'wait' FROM df_engine.instance_waits) w USING (bucket, instance_id)
        WHERE i.instance_id = ANY (%(ids)s) AND i.ended_at IS NOT NULL""",
    "nothing is parked": """
        SELECT instance_id, parked FROM df_engine.instances WHERE instance_id = ANY (%(ids)s) AND parked IS NOT NULL""",
}


def check_invariants(admin: psycopg.Connection[Any], ids: list[str]) -> None:
    """Raises AssertionError with everything that is wrong."""
    wrong = []
    for promise, query in INVARIANTS.items():
        rows = admin.execute(query, {"ids": ids}).fetchall()
        wrong += [f"{promise}: {row}" for row in rows]
    wrong += [
        f"df.check: {row}" for row in admin.execute("SELECT * FROM df.check()") if row[0] is None or row[0] in ids
    ]
    named = sorted({row.split("'")[1] for row in wrong if "'" in row})
    assert not wrong, "\n".join([*wrong, *(history(admin, instance_id) for instance_id in named[:5])])


def wrong_effects(scenario: Scenario, found: dict[str, int], keys: dict[str, int], at_most: bool = False) -> list[str]:
    """What is wrong with the number of effects and of different keys of each step, in words; nothing if all is well.

    ``at_most``: the instance was cancelled on the way.
    """
    wrong = [f"{step} is no step of it" for step in found if step not in scenario.effects]
    for step, count in scenario.effects.items():
        seen = found.get(step, 0)
        if step in scenario.at_least:
            short, again = seen < count and not at_most, keys.get(step, 0) > count
        else:
            short, again = seen > count or (seen < count and not at_most), keys.get(step, 0) != seen
        wrong += [f"{step}: {seen} effects instead of {count}"] if short else []
        wrong += [f"{step}: {seen} effects under {keys.get(step, 0)} keys"] if again else []
    return wrong


def check_scenario(admin: psycopg.Connection[Any], scenario: Scenario, instance_id: str, at_most: bool = False) -> None:
    """The effects of a scenario's run are what they must be; ``at_most``, if it was cancelled on the way."""
    rows = admin.execute("SELECT step, count(DISTINCT key) FROM effects WHERE instance = %s GROUP BY 1", [instance_id])
    wrong = wrong_effects(scenario, effects(admin, instance_id), dict(rows.fetchall()), at_most)
    assert not wrong, f"{scenario.name}: {wrong}\n{history(admin, instance_id)}"


def kinds(admin: psycopg.Connection[Any], instance_id: str, ignored: frozenset[str] = frozenset()) -> Counter[str]:
    """How many events of each kind an instance has, but for those that depend on who was how fast."""
    rows = admin.execute("SELECT kind FROM df_engine.history WHERE instance_id = %s", [instance_id])
    return Counter(kind for (kind,) in rows if kind not in _NOTES and kind not in ignored)


def history(admin: psycopg.Connection[Any], instance_id: str) -> str:
    """The history of an instance and what is left to do, for people."""
    events = admin.execute(
        "SELECT execution_id, seq, kind, payload, recorded_at FROM df_engine.history WHERE instance_id = %s"
        " ORDER BY execution_id, seq",
        [instance_id],
    ).fetchall()
    tasks = admin.execute(
        "SELECT seq, lane, worker_id, attempt, losses, visible_at::text FROM df_engine.tasks WHERE instance_id = %s",
        [instance_id],
    ).fetchall()
    state = admin.execute(
        "SELECT status, execution_id, head_seq, parked FROM df_engine.instances WHERE instance_id = %s", [instance_id]
    )
    lines = [f"{e}.{s:<3} {k:22} {p}  {at:%H:%M:%S.%f}" for e, s, k, p, at in events]
    return "\n".join([f"--- {instance_id} {state.fetchone()}", *lines, *(f"task {task}" for task in tasks)])
