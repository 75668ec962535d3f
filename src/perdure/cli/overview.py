"""``perdure status`` and ``perdure check``: what is going on, and what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import psycopg

from perdure.cli.target import require_schema

_INSTANCES = "SELECT status, count(*) FROM df_engine.instances GROUP BY status ORDER BY status"
_OWN_INSTANCES = "SELECT status, count(*) FROM df.instances GROUP BY status ORDER BY status"
_WORKERS = """
    SELECT worker_id, login::text, host, pid, slots,
           extract(epoch FROM clock_timestamp() - beat_at)::numeric(12, 1),
           CASE WHEN clock_timestamp() - beat_at > make_interval(secs => lease_seconds) THEN 'lost'
                WHEN draining THEN 'draining' WHEN idle THEN 'idle' ELSE 'busy' END
    FROM df_engine.workers ORDER BY worker_id
"""
_PARKED = """
    SELECT id, coalesce(label, ''), submitted_by::text, left(parked, 100) FROM df.instances
    WHERE parked IS NOT NULL AND ended_at IS NULL ORDER BY updated_at DESC LIMIT 20
"""
_BLOCKED = """
    SELECT owner::text, worker_id, since::timestamptz(0), left(reason, 100) FROM df_engine.role_blocks
    ORDER BY owner::text, worker_id
"""
_QUEUE = """
    SELECT count(*) FILTER (WHERE worker_id IS NULL), count(*) FILTER (WHERE worker_id IS NOT NULL),
           (SELECT count(*) FROM df_engine.timers), df_engine.setting('hold_outbound') = 'on'
    FROM df_engine.tasks
"""


def text(connection: psycopg.Connection[Any]) -> str:
    """The tables as text. A role that may not see the engine's tables sees its own workflows only."""
    require_schema(connection)
    try:
        parts = [_instances(connection, _INSTANCES), _queue(connection), _workers(connection), *_troubles(connection)]
        return "\n\n".join(parts)
    except psycopg.errors.InsufficientPrivilege:
        own = _instances(connection, _OWN_INSTANCES)
        return f"{own}\n\n(the workflows of {connection.info.user} only: it may not see the engine's tables)"


def _instances(connection: psycopg.Connection[Any], statement: Any) -> str:
    return table(("workflows", "count"), connection.execute(statement).fetchall()) or "no workflows"


def _troubles(connection: psycopg.Connection[Any]) -> list[str]:
    """What somebody has to see to, where there is any: parked workflows, roles that workers cannot log in as."""
    parked = table(("parked", "label", "role", "reason"), connection.execute(_PARKED).fetchall())
    blocked = table(("role that waits", "worker", "since", "reason"), connection.execute(_BLOCKED).fetchall())
    return [part for part in (parked, blocked) if part]


def problems(connection: psycopg.Connection[Any], instance_id: str | None) -> tuple[str, bool]:
    """What ``df.check()`` finds in one workflow or in all that may be seen, as text, and whether all is well."""
    require_schema(connection)
    rows = connection.execute("SELECT * FROM df.check(%s)", [instance_id]).fetchall()
    if rows:
        return table(("workflow", "problem", "detail"), rows), False
    condition = "WHERE id = %s" if instance_id else "WHERE %s::text IS NULL"
    found = connection.execute(f"SELECT count(*) FROM df.instances {condition}", [instance_id]).fetchall()[0][0]
    if instance_id and not found:
        return f"no workflow {instance_id}", False
    return f"no problems in {found} workflow{'' if found == 1 else 's'}", True


def _queue(connection: psycopg.Connection[Any]) -> str:
    waiting, leased, timers, held = connection.execute(_QUEUE).fetchall()[0]
    fence = "\noutbound steps are held: `perdure fence off` lets them go" if held else ""
    return f"steps and turns waiting: {waiting}, under way: {leased}, timers: {timers}{fence}"


def _workers(connection: psycopg.Connection[Any]) -> str:
    heads = ("worker", "login", "host", "pid", "slots", "beat (s ago)", "state")
    return table(heads, connection.execute(_WORKERS).fetchall()) or "no workers: start one with `perdure worker`"


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Columns aligned to their widest cell; empty without rows."""
    cells = [[str(value) for value in row] for row in rows]
    if not cells:
        return ""
    widths = [max(len(row[column]) for row in [list(heads), *cells]) for column in range(len(heads))]
    lines = [list(heads), ["-" * width for width in widths], *cells]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
