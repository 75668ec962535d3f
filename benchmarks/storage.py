"""Whether what is stored stays flat over a day of load with retention on.

    python -m benchmarks.storage --dsn postgresql://... [--hours 24] [--workflows 600] [--seconds 15]

Makes a database on the server, with two real workers. An hour is a batch of mixed workflows, started and finished in a
quarter of a minute or more; in each hour a worker is killed and another one comes. Two loops without an end run through
all of it. Retention keeps as many ended workflows as three hours have (by number: the clock is the real one). So that a
day of vacuuming fits in as well, the server looks for work for autovacuum every second while this runs, and workers for
what is to be cleared away every five seconds: per hour that is still less often than with the defaults.

Prints after each hour what each table and its indexes take and how many rows are dead, at the end how the last quarter
of the day compares with the one before, and fails when something has grown. Then everything is ended and cleared away,
and no row may be left. The DSN is a superuser's.

An index whose keys are random (the ids) needs some windows of retention until it has the size that it keeps: rows go
from everywhere in it, and a page is taken out of it only when it is empty.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, cast

import psycopg

from benchmarks.snapshot import ROLE, database

KEPT_HOURS = 3
MIX = {
    "sequence": "'INSERT INTO bench.effects VALUES (1)' ~> 'INSERT INTO bench.effects VALUES (2)' ~> 'SELECT 3'",
    "results": "'SELECT repeat(''x'', 200) AS text' |=> 'a' ~> 'SELECT $a AS again'",
    "join": "df.join('SELECT 1', df.join('SELECT 2', 'SELECT pg_sleep(0.01)'))",
    "race": "df.race('SELECT 1', df.sleep(5))",
    "failure": "'SELECT 1/0'",
    "root loop": "df.loop('SELECT 1', 'SELECT random() < 0.8')",
    "loop": "'SELECT 1' ~> df.loop('SELECT 1', 'SELECT random() < 0.8')",
    "sleep": "df.sleep(1) ~> 'SELECT 1'",
    "signal": "df.wait_for_signal('go') ~> 'SELECT 1'",
    "cancelled": "df.sleep(3600)",
}
WEIGHTS = (50, 10, 8, 4, 4, 4, 4, 6, 6, 4)
ENDLESS = {"endless": "df.loop('SELECT 1')", "endless inside": "'SELECT 1' ~> df.loop('SELECT 1')"}
OF_INSTANCES = ("starts", "instances", "history", "results", "tasks", "timers", "inbox", "instance_waits")
MEASURE = """
    SELECT c.relname, t.relname, (pg_relation_size(c.oid) + CASE c.relkind WHEN 'r' THEN
               coalesce(pg_total_relation_size(nullif(c.reltoastrelid, 0)), 0) ELSE 0 END) / 1024,
           CASE c.relkind WHEN 'r' THEN s.n_dead_tup ELSE 0 END, s.n_tup_upd, s.n_tup_hot_upd
    FROM pg_class c
    LEFT JOIN pg_index i ON i.indexrelid = c.oid
    JOIN pg_class t ON t.oid = coalesce(i.indrelid, c.oid)
    JOIN pg_stat_all_tables s ON s.relid = t.oid
    WHERE c.relnamespace = 'df_engine'::regnamespace AND c.relkind IN ('r', 'i')
    ORDER BY 2, i.indexrelid IS NOT NULL, 1"""


@dataclass(frozen=True, slots=True)
class Relation:
    """A table or an index after an hour: kilobytes (toast included), and for tables dead rows and updates."""

    name: str
    table: str
    kilobytes: int
    dead: int
    updates: int
    hot: int


Measure = dict[str, Relation]


class Day:
    """The database under load. ``hour`` is called as often as the day has hours."""

    def __init__(self, options: argparse.Namespace, dsn: str) -> None:
        self._options = options
        self._random = random.Random(options.seed)
        self._command = [sys.executable, "-m", "perdure", "worker", "--dsn", dsn, "--lease-seconds", "2"]
        self._command += ["--log-level", "error"]
        self.workers = [self._worker() for _ in range(2)]
        self.admin = psycopg.connect(dsn, autocommit=True)
        self.user = psycopg.connect(dsn, autocommit=True)
        self.user.execute(f"SET SESSION AUTHORIZATION {ROLE}")

    def _worker(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command)

    def close(self) -> None:
        """No worker and no connection is left."""
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            worker.wait()
        self.user.close()
        self.admin.close()

    def value(self, expression: str) -> Any:
        """What the superuser sees."""
        row = self.admin.execute(cast(Any, f"SELECT {expression}")).fetchone()
        assert row is not None
        return row[0]

    def start(self, graph: str, label: str, times: int = 1) -> list[str]:
        """Start it so often, in one transaction; the ids."""
        statement = f"SELECT df.start({graph}, %s) FROM generate_series(1, %s)"
        return [row[0] for row in self.user.execute(cast(Any, statement), [label, times])]

    def hour(self) -> Measure:
        """A batch from start to end, a worker killed in the middle of it; what is stored then."""
        began = time.monotonic()
        names = self._random.choices(list(MIX), WEIGHTS, k=self._options.workflows)
        started = {name: self.start(MIX[name], name, names.count(name)) for name in MIX}
        self._replace_worker()
        for instance in started["cancelled"]:
            self.user.execute("SELECT df.cancel(%s)", [instance])
        for instance in started["signal"]:  # twice: the second stays in the mailbox, unread
            self.user.execute("SELECT df.signal(%(i)s, 'go'), df.signal(%(i)s, 'go')", {"i": instance})
        self.wait_for(f"count(*) <= {len(ENDLESS)} FROM df_engine.instances WHERE ended_at IS NULL")
        self.wait_for(f"count(*) <= {self.kept} FROM df_engine.instances WHERE ended_at IS NOT NULL")
        time.sleep(max(began + self._options.seconds - time.monotonic(), 1.5))  # the statistics are written late
        return {row[0]: Relation(*row) for row in self.admin.execute(MEASURE)}

    @property
    def kept(self) -> int:
        """How many ended workflows retention keeps."""
        return int(self._options.workflows) * KEPT_HOURS

    def wait_for(self, condition: str, seconds: float = 300) -> None:
        """Raises TimeoutError when it does not come true."""
        deadline = time.monotonic() + seconds
        while not self.value(condition):
            if time.monotonic() > deadline:
                raise TimeoutError(condition)
            time.sleep(0.2)

    def _replace_worker(self) -> None:
        killed = self.workers.pop(0)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        self.workers.append(self._worker())

    def end(self) -> dict[str, int]:
        """Cancel what is left and clear everything away; the rows of each table that are still there."""
        self.user.execute("SELECT df.cancel(id) FROM df.instances WHERE status IN ('pending', 'running')")
        self.wait_for("NOT EXISTS (SELECT FROM df_engine.instances WHERE ended_at IS NULL)")
        self.admin.execute("UPDATE df.settings SET value = '0' WHERE name = 'retention_count'")
        self.wait_for("NOT EXISTS (SELECT FROM df_engine.instances)")
        return {
            table: self.value(f"count(*) FROM df_engine.{table}") for table in (*OF_INSTANCES, "workers", "sessions")
        }


@contextmanager
def busy_autovacuum(dsn: str) -> Iterator[None]:
    """The server looks for tables to vacuum every second; as before afterwards."""
    with psycopg.connect(dsn, autocommit=True) as admin:
        try:
            admin.execute("ALTER SYSTEM SET autovacuum_naptime = '1s'")
            admin.execute("SELECT pg_reload_conf()")
            yield
        finally:
            admin.execute("ALTER SYSTEM RESET autovacuum_naptime")
            admin.execute("SELECT pg_reload_conf()")


def tell(hour: int, measure: Measure, seconds: float) -> None:
    """A line: total, and table by table kilobytes of heap, of indexes, dead rows."""
    tables = [relation for relation in measure.values() if relation.name == relation.table]
    parts = []
    for table in tables:
        indexes = sum(r.kilobytes for r in measure.values() if r.table == table.name and r is not table)
        if table.name in (*OF_INSTANCES, "workers"):
            parts.append(f"{table.name} {table.kilobytes}+{indexes} ({table.dead})")
    total = sum(relation.kilobytes for relation in measure.values())
    print(f"hour {hour} ({seconds:.0f} s): {total} kB: {', '.join(parts)}; load {os.getloadavg()[0]:.0f}", flush=True)


def grown(hours: list[Measure], slack: int = 128) -> list[str]:
    """What is larger in the last quarter of the hours than in the one before: by 10 % and ``slack``.

    In each quarter the largest value counts, kilobytes or rows.
    """
    quarter = max(len(hours) // 4, 1)
    first, last = hours[-2 * quarter : -quarter], hours[-quarter:]
    found = []
    for name in hours[-1]:
        for what in ("kilobytes", "dead"):
            before, after = (max(getattr(hour[name], what) for hour in part) for part in (first, last))
            if after > before * 1.1 + slack:
                found.append(f"{name}: {what} {before} -> {after}")
    total = [max(sum(r.kilobytes for r in hour.values()) for hour in part) for part in (first, last)]
    print(f"largest total in the last {quarter} hours: {total[1]} kB; in the {quarter} before: {total[0]} kB")
    return found


def day(options: argparse.Namespace, dsn: str) -> list[str]:
    """All hours, and the end; what went wrong."""
    one = Day(options, dsn)
    try:
        settings = {"retention_count": one.kept, "reconcile_interval": 1}
        for name, setting in settings.items():
            one.admin.execute("UPDATE df.settings SET value = %s WHERE name = %s", [str(setting), name])
        endless = {label: one.start(graph, label)[0] for label, graph in ENDLESS.items()}
        hours = []
        for number in range(1, options.hours + 1):
            began = time.monotonic()
            hours.append(one.hour())
            tell(number, hours[-1], time.monotonic() - began)
        for table in ("instances", "tasks", "workers"):
            relation = hours[-1][table]
            print(f"updates in place (HOT) of {table}: {relation.hot} of {relation.updates}")
        for label, instance in endless.items():
            rows = one.value(f"count(*) FROM df_engine.history WHERE instance_id = '{instance}'")
            rounds = one.value(f"execution_id FROM df_engine.instances WHERE instance_id = '{instance}'")
            print(f"{label}: {rows} rows of history, execution {rounds}")
        print(f"queue of notifications: {one.value('pg_notification_queue_usage()')}; checks:", end=" ")
        found = [str(row) for row in one.admin.execute("SELECT * FROM df.check()")]
        print(f"{len(found)} findings")
        left = one.end()
        print(f"rows after everything was ended and cleared away: {left}", flush=True)
        return grown(hours) + found + [f"{table} has rows" for table in OF_INSTANCES if left[table]]
    finally:
        one.close()


def main() -> None:
    """Run the day; exit code 1 when something has grown or stayed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dsn", default=os.environ.get("PERDURE_DSN"), required="PERDURE_DSN" not in os.environ)
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--workflows", type=int, default=600, help="an hour")
    parser.add_argument("--seconds", type=float, default=15, help="an hour takes at least so many")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="leave the database there")
    options = parser.parse_args()
    with ExitStack() as stack:
        stack.enter_context(busy_autovacuum(options.dsn))
        wrong = day(options, stack.enter_context(database(options, "storage_day")))
    for line in wrong:
        print(f"NOT FLAT: {line}")
    print("flat" if not wrong else f"{len(wrong)} things are not as they should be")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
