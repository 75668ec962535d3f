"""``perdure fence``: hold what reaches outside the database, as after a restore to a point in time."""

from __future__ import annotations

from typing import Any

import click
import psycopg

from perdure.cli import target
from perdure.cli.target import Refused, dsn_option

_SET = "UPDATE df.settings SET value = %s WHERE name = 'hold_outbound'"
_HELD = (
    "SELECT df_engine.setting('hold_outbound') = 'on', count(*) FILTER (WHERE worker_id IS NULL), count(worker_id) "
    "FROM df_engine.tasks WHERE lane = 'http' OR (seq > 0 AND database IS NOT NULL)"
)


@click.command()
@click.argument("what", type=click.Choice(["on", "off", "status"]), default="status")
@dsn_option
def fence(what: str, dsn: str | None) -> None:
    """Hold outbound steps, or let them go.

    After a restore to a point in time the workflows of that instant go on, and what they sent outside since then would
    be sent again. `on` before the workers start keeps HTTP steps and steps in other databases waiting; everything else
    goes on. Look, and then say `off`. It is the setting hold_outbound; only the schema's owner may change it.

    No worker is needed for it. Where workers are there already, no outbound step begins once `on` has been answered;
    those that had begun are counted as running.

    \b
    Examples:
      perdure fence on
      perdure fence status
      perdure fence off
    """
    with target.connected(target.resolve(dsn, "owner")) as connection, target.refusals():
        if what != "status":
            _set(connection, what)
        held, waiting, running = connection.execute(_HELD).fetchone() or (False, 0, 0)
    state = "held" if held else "not held"
    wait, run = "waits" if waiting == 1 else "wait", "runs" if running == 1 else "run"
    click.echo(f"outbound steps are {state}; {waiting} {wait}, {running} {run}")


def _set(connection: psycopg.Connection[Any], what: str) -> None:
    try:
        connection.execute(_SET, (what,))
    except psycopg.errors.ReadOnlySqlTransaction:
        raise Refused("the server takes no writes: where it is a standby or in recovery, promote it first") from None
