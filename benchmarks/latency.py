"""Start to result of a workflow on an idle system, in milliseconds.

    python -m benchmarks.latency --dsn postgresql://... [--samples 50] [--pause 0.1]

A worker is started, and each workflow so many seconds after the one before has ended; by then the worker is idle again.
With ``--pause 0`` it often is not yet.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

import psycopg


def main() -> None:
    """Measure one-step and three-step workflows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dsn", default=os.environ.get("PERDURE_DSN"), required="PERDURE_DSN" not in os.environ)
    parser.add_argument("--role", default="bench_user")
    parser.add_argument("--samples", type=int, default=50)
    parser.add_argument("--pause", type=float, default=0.1, help="seconds between two workflows")
    options = parser.parse_args()
    command = [sys.executable, "-m", "perdure", "worker", "--dsn", options.dsn, "--log-level", "warning"]
    worker = subprocess.Popen(command)
    try:
        with psycopg.connect(options.dsn, autocommit=True) as connection:
            connection.execute(f"SET SESSION AUTHORIZATION {options.role}")
            for steps in (1, 3):
                graph = " ~> ".join(["'SELECT 1'"] * steps)
                times = [_sample(connection, graph, options.pause) for _ in range(options.samples + 5)][5:]
                ordered = sorted(times)
                print(
                    f"{steps} step(s): median {statistics.median(times):.1f} ms, "
                    f"95th percentile {ordered[int(len(ordered) * 0.95)]:.1f} ms, fastest {ordered[0]:.1f} ms"
                )
    finally:
        worker.terminate()
        worker.wait()


def _sample(connection: psycopg.Connection[tuple[object, ...]], graph: str, pause: float) -> float:
    time.sleep(pause)
    began = time.monotonic()
    row = connection.execute(f"SELECT df.start({graph})").fetchone()
    assert row is not None
    while True:
        status = connection.execute("SELECT df.status(%s)", (row[0],)).fetchone()
        if status == ("completed",):
            return 1000 * (time.monotonic() - began)
        time.sleep(0.0005)


if __name__ == "__main__":
    main()
