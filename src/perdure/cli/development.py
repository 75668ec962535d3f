"""``perdure dev``: the embedded server and a worker in the foreground."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from perdure import embedded
from perdure.cli.children import start_worker, stop_worker
from perdure.cli.target import Refused


def run(*, tcp: bool, slots: int | None) -> int:
    """Run until SIGINT or SIGTERM; answers the exit code."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    began = time.monotonic()
    found = embedded.find(tcp=tcp)
    with _alone(found.server.home):
        fresh = not found.server.exists()
        say(f"{'making' if fresh else 'starting'} PostgreSQL {found.server.binaries.major} in {found.server.home}")
        try:
            found.up()
            say(f"ready after {time.monotonic() - began:.1f} s. Ctrl-C stops server and worker; the data stay.\n")
            _introduce(found)
            _serve(found, ["--slots", str(slots)] if slots else [], stop)
        finally:
            say("stopping the server")
            found.server.stop()
    say("stopped")
    return 0


def say(message: str) -> None:
    """One line to the terminal at once."""
    click.echo(message)


def _introduce(found: embedded.Embedded) -> None:
    say("  In another terminal:")
    say(f"    {found.psql()}")
    if found.server.tcp:
        say("  For other programs:")
        say(f"    {found.server.tcp_dsn(found.role, embedded.DATABASE)}")
    say("  Try:")
    say("    SELECT df.start('SELECT 100 AS n' |=> 'total' ~> 'SELECT $total * 2');")
    say("")


def _serve(found: embedded.Embedded, arguments: list[str], stop: threading.Event) -> None:
    """Keep one worker running: should it fall, the next one goes on with its work."""
    while not stop.is_set():
        worker = start_worker(found.dsn(embedded.WORKER), *arguments)
        say(f"worker started (process {worker.pid})")
        try:
            while not stop.wait(0.2) and worker.poll() is None:
                pass
        finally:
            if stop.is_set():
                say("\nstopping the worker")
            _end(worker)
        if not stop.is_set():
            say(f"the worker ended with code {worker.returncode}; another one is started")
            stop.wait(1)


def _end(worker: subprocess.Popen[bytes]) -> None:
    stop_worker(worker)


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """One ``dev`` a home. The lock goes with the process."""
    descriptor = os.open(home / "dev.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise Refused(f"`perdure dev` already runs in {home}") from error
    finally:
        os.close(descriptor)
