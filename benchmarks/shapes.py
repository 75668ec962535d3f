"""Long shapes: does the cost per step grow with length?

    python -m benchmarks.shapes --dsn postgresql://... [--only loop] [--iterations 100000]

A worker runs each shape; every tenth of its steps is timed from the history, with the worker's memory at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psycopg


def sql(query: str) -> dict[str, Any]:
    """A SQL node."""
    return {"node_type": "SQL", "query": query}


def balanced(nodes: list[dict[str, Any]]) -> dict[str, Any]:
    """A sequence as a balanced tree."""
    while len(nodes) > 1:
        pairs = [
            {"node_type": "THEN", "left_node": a, "right_node": b}
            for a, b in zip(nodes[::2], nodes[1::2], strict=False)
        ]
        nodes = pairs + nodes[len(pairs) * 2 :]
    return nodes[0]


def shapes(iterations: int) -> dict[str, dict[str, Any]]:
    """Each shape by name."""
    step = "INSERT INTO bench.effects VALUES (1)"
    branches = [sql(step) for _ in range(1002)]
    wide = [sql(step) for _ in range(9998)]
    return {
        "sequence of 3,000": balanced([sql(step) for _ in range(3000)]),
        "join of 1,002": {
            "node_type": "JOIN",
            "left_node": branches[0],
            "right_node": branches[1],
            "extra_nodes": branches[2:],
        },
        "graph of 10,000 nodes": {
            "node_type": "JOIN",
            "left_node": wide[0],
            "right_node": wide[1],
            "extra_nodes": wide[2:],
        },
        "loop at the root": {
            "node_type": "LOOP",
            "left_node": sql(step),
            "condition_node": sql(f"SELECT count < {iterations} FROM bench.counted()"),
        },
        "loop below the root": {
            "node_type": "THEN",
            "left_node": sql("SELECT 1"),
            "right_node": {
                "node_type": "LOOP",
                "left_node": sql(step),
                "condition_node": sql(f"SELECT count < {iterations} FROM bench.counted()"),
            },
        },
    }


def run(connection: psycopg.Connection[Any], worker: int, name: str, graph: dict[str, Any]) -> None:
    """Start one shape, wait for its end, say what it cost."""
    connection.execute("SELECT setval('bench.count', 1, false)")
    began = time.monotonic()
    row = connection.execute("SELECT df.start(%s)", (json.dumps(graph),)).fetchone()
    assert row is not None
    while True:
        status = connection.execute("SELECT df.status(%s)", (row[0],)).fetchone()
        assert status is not None
        if status[0] in ("completed", "failed", "cancelled"):
            break
        time.sleep(0.05)
    seconds = time.monotonic() - began
    times = [
        float(found[0])
        for found in connection.execute(
            "SELECT extract(epoch FROM recorded_at) FROM df_engine.visible_history "
            "WHERE instance_id = %s AND kind = 'ActivityCompleted' ORDER BY recorded_at",
            (row[0],),
        )
    ]
    tenth = max(len(times) // 10, 1)
    costs = [1000 * (times[i + tenth - 1] - times[i]) / tenth for i in range(0, len(times) - tenth + 1, tenth)]
    memory = int(Path(f"/proc/{worker}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20
    print(f"{name}: {status[0]} in {seconds:.1f} s, {len(times)} steps kept, worker {memory} MiB", flush=True)
    print("  ms per step by tenth: " + " ".join(f"{cost:.2f}" for cost in costs), flush=True)


def main() -> None:
    """Run the shapes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dsn", default=os.environ.get("PERDURE_DSN"), required="PERDURE_DSN" not in os.environ)
    parser.add_argument("--role", default="bench_user")
    parser.add_argument("--only", default="")
    parser.add_argument("--iterations", type=int, default=100_000)
    options = parser.parse_args()
    connection = psycopg.connect(options.dsn, autocommit=True)
    connection.execute(
        f"CREATE SCHEMA IF NOT EXISTS bench; DROP TABLE IF EXISTS bench.effects; CREATE TABLE bench.effects (step int);"
        f"CREATE SEQUENCE IF NOT EXISTS bench.count; GRANT ALL ON SEQUENCE bench.count TO {options.role};"
        f"CREATE OR REPLACE FUNCTION bench.counted(OUT count bigint) LANGUAGE sql AS 'SELECT nextval(''bench.count'')';"
        f"GRANT USAGE ON SCHEMA bench TO {options.role}; GRANT ALL ON bench.effects TO {options.role}"
    )
    connection.execute(f"SELECT df.grant_usage('{options.role}')")
    connection.execute(f"SET SESSION AUTHORIZATION {options.role}")
    worker = subprocess.Popen(
        [sys.executable, "-m", "perdure", "worker", "--dsn", options.dsn, "--log-level", "warning"]
    )
    try:
        for name, graph in shapes(options.iterations).items():
            if options.only in name:
                run(connection, worker.pid, name, graph)
    finally:
        worker.terminate()
        worker.wait()


if __name__ == "__main__":
    main()
