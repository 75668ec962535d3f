"""How many workflows of three SQL INSERT steps finish per second, and what each costs.

    python -m benchmarks.throughput --dsn postgresql://... [--workflows 5000] [--workers 2] [--slots 4] [--rounds 3]

All workflows are queued before the workers' clock starts. The DSN's role installs nothing; it must be a superuser (the
server's processes are looked up) of a database that is migrated. Prints one line a round and the median.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psycopg

TICKS = os.sysconf("SC_CLK_TCK")
STEPS = [f"'INSERT INTO bench.effects VALUES ({step})'" for step in (1, 2, 3)]
SHAPES = {
    "sequence": " ~> ".join(STEPS),
    "join": " & ".join(STEPS),
    "named": f"({STEPS[0]} || ' RETURNING step' |=> 'a') ~> 'INSERT INTO bench.effects VALUES ($a)' ~> {STEPS[2]}",
    "if": f"{STEPS[0]} ~> ('SELECT true' ?> {STEPS[1]} !> {STEPS[2]}) ~> {STEPS[2]}",
    "signal": f"{STEPS[0]} ~> df.wait_for_signal('go') ~> {STEPS[1]} ~> {STEPS[2]}",
}


def cpu_seconds(pid: int, children: bool = False) -> float:
    """User and system time of a process; with ``children`` only that of children it has waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    first = 13 if children else 11
    return (int(fields[first]) + int(fields[first + 1])) / TICKS


def server_cpu(postmaster: int) -> float:
    """User and system time of the postmaster and all its children, living and dead."""
    total = cpu_seconds(postmaster) + cpu_seconds(postmaster, children=True)
    listing = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    for child in listing:
        try:
            total += cpu_seconds(int(child))
        except FileNotFoundError:
            continue
    return total


def prepare(connection: psycopg.Connection[Any], role: str, workflows: int, graph: str) -> None:
    """A role, a table, and the queue."""
    exists = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone()
    if exists is None:
        connection.execute(f"CREATE ROLE {role} LOGIN")
    connection.execute(f"SELECT df.grant_usage('{role}')")
    connection.execute(
        f"CREATE SCHEMA IF NOT EXISTS bench; DROP TABLE IF EXISTS bench.effects; CREATE TABLE bench.effects (step int);"
        f"GRANT USAGE ON SCHEMA bench TO {role}; GRANT ALL ON bench.effects TO {role}"
    )
    connection.execute(f"SET SESSION AUTHORIZATION {role}")
    began = time.monotonic()
    for first in range(0, workflows, 500):
        connection.execute(
            f"SELECT df.signal(id, 'go') FROM (SELECT df.start({graph}) AS id FROM "
            f"generate_series(1, {min(500, workflows - first)})) s"
            if "wait_for_signal" in graph
            else f"SELECT df.start({graph}) FROM generate_series(1, {min(500, workflows - first)})"
        )
    print(f"  queued {workflows} in {time.monotonic() - began:.1f} s", file=sys.stderr)
    connection.execute("RESET SESSION AUTHORIZATION")
    connection.execute("VACUUM ANALYZE df_engine.tasks, df_engine.instances, df_engine.history, df_engine.starts")
    connection.execute("CHECKPOINT")


def unfinished(connection: psycopg.Connection[Any]) -> int:
    """Instances that have not ended."""
    row = connection.execute("SELECT count(*) FROM df_engine.instances WHERE ended_at IS NULL").fetchone()
    assert row is not None
    return int(row[0])


def one_round(options: argparse.Namespace) -> dict[str, float]:
    """Queue, start the workers, wait for the end, and account for it."""
    connection = psycopg.connect(options.dsn, autocommit=True)
    prepare(connection, "bench_user", options.workflows, SHAPES[options.shape])
    row = connection.execute(
        "SELECT split_part(pg_read_file('postmaster.pid'), E'\\n', 1)::int, pg_current_wal_lsn(), "
        "(SELECT xact_commit FROM pg_stat_database WHERE datname = current_database())"
    ).fetchone()
    assert row is not None
    postmaster, wal, commits = row
    command = [sys.executable, "-m", "perdure", "worker", "--dsn", options.dsn, "--slots", str(options.slots)]
    command += ["--log-level", "warning"]
    began = time.monotonic()
    workers = [subprocess.Popen(command) for _ in range(options.workers)]
    started = None
    python = server = 0.0
    while (left := unfinished(connection)) > 0:
        if started is None and left < options.workflows:
            started = (time.monotonic(), left)
            python = -sum(cpu_seconds(worker.pid) for worker in workers)
            server = -server_cpu(postmaster)
        time.sleep(0.05)
    ended = time.monotonic()
    python += sum(cpu_seconds(worker.pid) for worker in workers)
    server += server_cpu(postmaster)
    time.sleep(1.2)  # the server's statistics are written late
    row = connection.execute(
        "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), %s), (SELECT xact_commit FROM pg_stat_database "
        "WHERE datname = current_database()) - %s, (SELECT count(*) FROM bench.effects)",
        (wal, commits),
    ).fetchone()
    assert row is not None and row[2] == 3 * options.workflows, row
    for worker in workers:
        worker.terminate()
        worker.wait()
    assert started is not None
    n = options.workflows
    return {
        "workflows/s": started[1] / (ended - started[0]),
        "with start-up": n / (ended - began),
        "python ms": 1000 * python / started[1],
        "server ms": 1000 * server / started[1],
        "WAL bytes": float(row[0]) / n,
        "commits": float(row[1]) / n,
    }


def main() -> None:
    """Run the rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dsn", default=os.environ.get("PERDURE_DSN"), required="PERDURE_DSN" not in os.environ)
    parser.add_argument("--workflows", type=int, default=5000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shape", choices=SHAPES, default="sequence", help="each workflow has three INSERT steps")
    options = parser.parse_args()
    rounds = []
    for number in range(options.rounds):
        rounds.append(one_round(options))
        print(f"round {number + 1}: " + ", ".join(f"{k} {v:.2f}" for k, v in rounds[-1].items()), flush=True)
    print("median: " + ", ".join(f"{k} {statistics.median(r[k] for r in rounds):.2f}" for k in rounds[0]))


if __name__ == "__main__":
    main()
