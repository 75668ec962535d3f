"""``perdure demo``: kill a worker in the middle of a workflow and look at what came of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import psycopg

from perdure import binaries, embedded
from perdure.cli.children import start_worker, stop_worker
from perdure.cli.overview import table
from perdure.cli.target import Refused

STEPS = ("order received", "card charged", "parcel packed", "parcel sent", "customer told")
TABLE = """
    CREATE TABLE effects (
        step text NOT NULL,
        at   timestamptz NOT NULL DEFAULT clock_timestamp()
    )
"""
WORKFLOW = """
    SELECT df.start(
        'INSERT INTO effects (step) VALUES (''order received'')'
        ~> 'INSERT INTO effects (step) SELECT ''card charged'' FROM pg_sleep(1.5)'
        ~> 'INSERT INTO effects (step) VALUES (''parcel packed'')'
        ~> df.sleep(1)
        ~> 'INSERT INTO effects (step) VALUES (''parcel sent'')'
        ~> 'INSERT INTO effects (step) VALUES (''customer told'')',
        'demo')
"""
_IN_THE_MIDDLE = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
_WORKER = ("--lease-seconds", "2", "--log-level", "warning")


def run(*, keep: bool) -> int:
    """Run the demonstration; answers 0 if every step took effect exactly once, else 1."""
    began = time.monotonic()
    home = _temporary_home()
    found = embedded.find(home)
    try:
        say(began, f"starting a PostgreSQL {found.server.binaries.major} of its own in {home}")
        found.up()
        say(began, "it answers, and the schema is installed")
        whole = _tell(found, began)
    except AssertionError as error:
        raise Refused(f"{error}; the workers said: {_worker_log(home)}") from error
    finally:
        found.server.stop()
        if keep:
            say(began, f"the directory stays: {home}")
        else:
            shutil.rmtree(found.server.socket_directory, ignore_errors=True)
            shutil.rmtree(home, ignore_errors=True)
    say(began, "finished; " + ("each effect exactly once" if whole else "SOMETHING IS MISSING OR DOUBLE"))
    return 0 if whole else 1


def say(began: float, message: str) -> None:
    """A line with the time since the start."""
    click.echo(f"[{time.monotonic() - began:5.1f} s] {message}")


def _tell(found: embedded.Embedded, began: float) -> bool:
    """Start the workflow, kill its worker, start another, and count. True if every effect is there once."""
    running: list[subprocess.Popen[bytes]] = []
    log = found.server.home / "workers.log"
    with psycopg.connect(found.dsn(), autocommit=True) as user:
        try:
            user.execute(TABLE)
            running.append(start_worker(found.dsn(embedded.WORKER), *_WORKER, log=log))
            say(began, f"worker 1 started (process {running[0].pid})")
            instance = _value(user, WORKFLOW)
            say(began, f"workflow {instance} started as {found.role}: {' ~> '.join(STEPS)}")
            _await_the_middle(found, user)
            running[0].kill()
            running[0].wait()
            say(
                began,
                f"worker 1 killed with SIGKILL inside the step '{STEPS[1]}'; effects committed by then: {_count(user)}",
            )
            running.append(start_worker(found.dsn(embedded.WORKER), *_WORKER, log=log))
            say(began, f"worker 2 started (process {running[1].pid})")
            outcome = _await_end(user, instance)
            say(began, f"workflow {instance}: {outcome}\n")
            return _report(user) and outcome == "completed"
        finally:
            for worker in running:
                stop_worker(worker)


def _await_the_middle(found: embedded.Embedded, user: psycopg.Connection[Any]) -> None:
    """Until the first effect is committed and the second step's statement is running."""
    with psycopg.connect(found.server.dsn(database=embedded.DATABASE), autocommit=True) as admin:
        _until(lambda: _count(user) == 1 and _value(admin, _IN_THE_MIDDLE) > 0, 30, "the second step did not start")


def _await_end(user: psycopg.Connection[Any], instance: str) -> str:
    def status() -> str:
        return str(_value(user, "SELECT df.status(%s)", instance)).lower()

    ended = ("completed", "failed", "cancelled")
    _until(lambda: status() in ended, 60, "the workflow did not end")
    return status()


def _report(user: psycopg.Connection[Any]) -> bool:
    """Print each step and how often it took effect. True if once each and nothing else."""
    statement = "SELECT step, count(*), to_char(min(at), 'HH24:MI:SS.MS') FROM effects GROUP BY step ORDER BY min(at)"
    rows = user.execute(statement).fetchall()
    click.echo(table(("step", "effects", "first at"), rows) + "\n")
    return {step: count for step, count, _ in rows} == dict.fromkeys(STEPS, 1)


def _count(user: psycopg.Connection[Any]) -> int:
    return int(_value(user, "SELECT count(*) FROM effects"))


def _value(connection: psycopg.Connection[Any], statement: Any, *values: Any) -> Any:
    row = connection.execute(statement, values or None).fetchone()
    assert row is not None
    return row[0]


def _until(condition: Callable[[], bool], seconds: float, complaint: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{complaint} within {seconds:.0f} s"
        time.sleep(0.02)


def _temporary_home() -> Path:
    home = Path(tempfile.mkdtemp(prefix="perdure-demo-"))
    account = binaries.server_account()
    if not account.is_me:
        os.chown(home, account.uid, account.gid)
    return home


def _worker_log(home: Path) -> str:
    log = home / "workers.log"
    lines = log.read_text("utf-8", "replace").splitlines() if log.is_file() else []
    return " / ".join(lines[-3:]) or "nothing"
