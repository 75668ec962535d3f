"""The same work by Perdure and by others, one after the other on one server: three INSERTs, each exactly once.

    python -m benchmarks.peers --dsn postgresql://... --peer-python PATH [--workflows 500] [--rounds 3] [--only dbos]

``PATH`` is the Python of a virtual environment with ``dbos``, ``absurd-sdk`` and ``absurdctl`` (pip); who is not in it
is left out. The DSN is that of ``benchmarks.throughput``: a superuser's, of a migrated database; each peer gets a
database of its own on the server, which is dropped afterwards. Everybody has two processes with the same number of
slots, and everything is queued before the clock starts; it starts when the first workflow has finished.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from benchmarks import throughput

HERE = Path(__file__).parent
FIGURES = ("workflows/s", "python ms", "server ms")


@dataclass(frozen=True, slots=True)
class Peer:
    """Somebody else's engine: the module that it is, and how to count what has finished."""

    name: str
    module: str
    finished: str

    @property
    def script(self) -> str:
        """What runs it."""
        return str(HERE / f"peer_{self.name}.py")


PEERS = (
    Peer("dbos", "dbos", "SELECT count(*) FROM dbos.workflow_status WHERE status = 'SUCCESS'"),
    Peer("absurd", "absurd_sdk", "SELECT count(*) FROM absurd.t_peer WHERE state = 'completed'"),
)


def url_of(dsn: str, database: str) -> str:
    """A URL, which both peers take."""
    parts = {key: value for key, value in conninfo_to_dict(dsn).items() if key not in ("dbname", "user", "password")}
    account = conninfo_to_dict(dsn).get("user") or "postgres"
    return f"postgresql://{account}@/{database}?" + "&".join(f"{key}={value}" for key, value in parts.items())


def has(python: str, module: str) -> bool:
    """Whether a peer is there."""
    return subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False).returncode == 0


def peer_round(peer: Peer, options: argparse.Namespace) -> dict[str, float]:
    """Queue, start the workers, wait for the end, and account for it."""
    database = f"peer_{peer.name}"
    url = url_of(options.dsn, database)
    with psycopg.connect(options.dsn, autocommit=True) as admin:
        row = admin.execute("SELECT split_part(pg_read_file('postmaster.pid'), E'\\n', 1)::int").fetchone()
        assert row is not None
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database)))
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
        try:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("CREATE TABLE public.effects (step int)")
                _queue(peer, url, options)
                connection.execute("VACUUM ANALYZE")
                connection.execute("CHECKPOINT")
                return _work(peer, url, connection, int(row[0]), options)
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database)))


def _queue(peer: Peer, url: str, options: argparse.Namespace) -> None:
    if peer.name == "absurd":
        program = str(Path(options.peer_python).with_name("absurdctl"))
        subprocess.run([program, "init", "-d", url], check=True, capture_output=True)
    command = [options.peer_python, peer.script, "queue", url, str(options.workflows)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _work(
    peer: Peer, url: str, connection: psycopg.Connection[Any], postmaster: int, options: argparse.Namespace
) -> dict[str, float]:
    command = [options.peer_python, peer.script, "work", url, str(options.slots)]
    workers = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(options.workers)]
    try:
        return _measured(connection, peer.finished, workers, postmaster, options.workflows)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def _measured(
    connection: psycopg.Connection[Any],
    statement: str,
    workers: list[subprocess.Popen[bytes]],
    postmaster: int,
    workflows: int,
) -> dict[str, float]:
    def finished() -> int:
        row = connection.execute(statement).fetchone()
        assert row is not None
        return int(row[0])

    def spent() -> tuple[float, float]:
        return sum(throughput.cpu_seconds(worker.pid) for worker in workers), throughput.server_cpu(postmaster)

    until = time.monotonic() + 600
    while (before := finished()) == 0 and time.monotonic() < until:
        time.sleep(0.02)
    began, used = time.monotonic(), spent()
    while finished() < workflows and time.monotonic() < until:
        time.sleep(0.05)
    ended, used_at_end = time.monotonic(), spent()
    row = connection.execute("SELECT count(*) FROM public.effects").fetchone()
    assert row == (3 * workflows,), row
    done = workflows - before
    return {
        "workflows/s": done / (ended - began),
        "python ms": 1000 * (used_at_end[0] - used[0]) / done,
        "server ms": 1000 * (used_at_end[1] - used[1]) / done,
    }


def shown(name: str, figures: dict[str, float]) -> str:
    """A line."""
    return f"{name:8}" + ", ".join(f"{figure} {figures[figure]:.2f}" for figure in FIGURES)


def ratios(ours: dict[str, float], others: dict[str, float]) -> str:
    """How many times as fast and as cheap ours is. On a busy machine believe the second."""
    speed = ours["workflows/s"] / others["workflows/s"]
    cost = (others["python ms"] + others["server ms"]) / (ours["python ms"] + ours["server ms"])
    return f"perdure is {speed:.1f} times as fast, at 1/{cost:.1f} of the CPU"


def main() -> None:
    """Run everybody in turn, as often as asked, and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dsn", default=os.environ.get("PERDURE_DSN"), required="PERDURE_DSN" not in os.environ)
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--workflows", type=int, default=500)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=[peer.name for peer in PEERS])
    options = parser.parse_args()
    runs: dict[str, Callable[[], dict[str, float]]] = {"perdure": lambda: throughput.one_round(options)}
    for peer in PEERS:
        if options.only not in (None, peer.name):
            continue
        if has(options.peer_python, peer.module):
            runs[peer.name] = lambda peer=peer: peer_round(peer, options)  # type: ignore[misc]
        else:
            print(f"{peer.name} is not installed there", file=sys.stderr)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in runs}
    for number in range(options.rounds):
        for name, run in runs.items():
            found[name].append(run())
            load = os.getloadavg()[0]
            print(f"round {number + 1}, load {load:.1f}: {shown(name, found[name][-1])}", flush=True)
    medians = {
        name: {figure: statistics.median(one[figure] for one in rounds) for figure in FIGURES}
        for name, rounds in found.items()
    }
    for name, figures in medians.items():
        compared = "" if name == "perdure" else f": {ratios(medians['perdure'], figures)}"
        print(f"median {shown(name, figures)}{compared}")


if __name__ == "__main__":
    main()
