"""Record histories of this release: ``PYTHONPATH=tests .venv/bin/python -m histories.record [folder]``.

Runs every scenario of the chaos tests (and a few more) on a real server with a real worker and writes what the engine
recorded, one file each. Run it once for each release, into a folder of its name; files that are there are never
changed: what they hold must replay for ever.
"""

from __future__ import annotations

import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg

from chaos.crashing import run_scenario, stage
from chaos.scenarios import SCENARIOS, Scenario, counted, done, effect
from cluster import Cluster, drop_database, make_template, running_cluster

HERE = Path(__file__).parent
ENDS = f"$w$SELECT {done('c')} < 2$w$"
MORE = [
    Scenario("break in a join", f"df.loop({effect('a')} & df.break('[1, 2]')) ~> {effect('b')}", {"a": 1, "b": 1}),
    Scenario(
        "loop in a race",
        f"(df.loop(df.wait_for_signal('never')) | {effect('b')}) ~> {effect('z')}",
        {"b": 1, "z": 1},
    ),
    Scenario(
        "names go round",
        f"df.loop($w$SELECT 1 AS n$w$ |=> 'n' ~> $w$SELECT {done('a')}$w$ |=> 'm',"
        f" {counted('b')} ~> $w$SELECT $m < 3$w$)",
        {"a": 3, "b": 3},
    ),
    Scenario(
        "paced loop",
        f"df.loop({counted('a')} |=> 'n' ~> ($w$SELECT $n = 2$w$ ?> df.break('done') !> {effect('b')}))",
        {"a": 2, "b": 1},
    ),
    Scenario("break outside", f"{effect('a')} ~> df.break('x')", {"a": 1}, status="failed"),
    Scenario(
        "failure in branches",
        f"df.join3({effect('a')}, $w$SELECT 1/0$w$, df.sleep(1) ~> {effect('b')})",
        {"a": 1, "b": 1},
        status="failed",
    ),
    Scenario(
        "nested loops",
        f"{effect('z')} ~> df.loop(df.loop({counted('a')}, $w$SELECT false$w$) ~> {counted('b')}, {ENDS})",
        {"a": 2, "b": 2, "c": 2, "z": 1},
    ),
]


def recorded(admin: psycopg.Connection[Any], scenario: Scenario, instance_id: str) -> dict[str, Any]:
    """One instance as data: how it began, its events by execution, and its end."""
    start = admin.execute("SELECT graph, variables, label FROM df_engine.starts WHERE instance_id = %s", [instance_id])
    graph, variables, label = start.fetchone() or ("", "", None)
    events = admin.execute(
        "SELECT execution_id, seq, kind, payload FROM df_engine.history WHERE instance_id = %s ORDER BY 1, 2",
        [instance_id],
    ).fetchall()
    executions: list[list[Any]] = [[] for _ in range(max(event[0] for event in events))]
    for execution_id, seq, kind, payload in events:
        executions[execution_id - 1].append([seq, kind, json.loads(payload)])
    return {
        "name": scenario.name,
        "release": version("perdure"),
        "instance_id": instance_id,
        "graph": graph,
        "variables": json.loads(variables),
        "label": label,
        "status": scenario.status,
        "executions": executions,
    }


def record(cluster: Cluster, folder: Path) -> int:
    """Write what is not there yet; how many files that were."""
    folder.mkdir(parents=True, exist_ok=True)
    written = 0
    make_template(cluster, "histories_template")
    try:
        with tempfile.TemporaryDirectory() as logs, stage(cluster, "histories_template", "histories", Path(logs)) as at:
            for scenario in SCENARIOS + MORE:
                path = folder / f"{scenario.name.replace(' ', '_')}.json"
                if path.exists():
                    continue
                outcome = run_scenario(at, scenario)
                with at.database.admin() as admin:
                    found = recorded(admin, scenario, outcome.instance_id)
                path.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", "utf-8")
                written += 1
    finally:
        drop_database(cluster, "histories_template")
    return written


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / version("perdure")
    with running_cluster() as running:
        print(f"{record(running, target)} histories written to {target}")
