"""What a transaction that stays open for minutes does to the throughput of others.

    python -m benchmarks.snapshot --dsn postgresql://... [--hold snapshot] [--minutes 10] [--window 15]

Makes two databases on the server, alike but for the transaction that is held open in one of them: what it holds back is
the other's nothing. Each has its own workers. The load (three INSERT steps, a queue that never runs dry) goes to one
and the other in turn, window by window, so that a machine which gets slower meanwhile slows both. Prints, per minute of
load under the open transaction, the rate and the CPU of both, and their ratios. The DSN is a superuser's.

    snapshot   REPEATABLE READ, its snapshot taken
    xid        READ COMMITTED, idle, with a transaction id and no snapshot
    start      as xid, and it has started a workflow that nobody sees until it commits; it must run when it does
    none       nothing is held: what the ratios say then is the error of measurement

``--dead N`` leaves behind, before the first minute, the dead rows of tasks that N more such workflows leave: what a
faster machine would have had, or a longer time.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Any, cast

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from benchmarks.throughput import cpu_seconds, server_cpu
from perdure.schema import migrate

HOLDS = {
    "snapshot": ("BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT count(*) FROM df_engine.instances"),
    "xid": ("BEGIN", "SELECT pg_current_xact_id()"),
    "start": ("BEGIN", "SELECT df.start('SELECT 1', 'late')"),
}
ROLE = "bench_user"
STEPS = (
    "INSERT INTO bench.effects VALUES (1)",
    "INSERT INTO bench.effects VALUES (2)",
    "INSERT INTO bench.effects VALUES (3 + 0 * nextval(''bench.done''))",  # counted without a look at any row
)
GRAPH = " ~> ".join(f"'{step}'" for step in STEPS)
SETUP = f"""
    CREATE SCHEMA bench;
    CREATE TABLE bench.effects (step int);
    CREATE SEQUENCE bench.done;
    GRANT USAGE ON SCHEMA bench TO {ROLE};
    GRANT ALL ON bench.effects, bench.done TO {ROLE};
    SELECT df.grant_usage('{ROLE}');
"""

# What the tasks of a workflow of three steps go through: queued, leased, three steps in the place of the turn, gone.
DEAD = """
    INSERT INTO df_engine.tasks (bucket, instance_id, seq, execution_id, lane, kind, owner, queue, interpreter, input,
                                 queued_at, visible_at)
        SELECT n % 256, 'dead' || n, 0, 1, 'turn', 'turn', 'bench_user', 'default', 1, NULL, now(), now()
        FROM generate_series(1, {rows}) n;
    UPDATE df_engine.tasks SET leased_at = now(), token_hash = sha256('x'),
        worker_id = (ARRAY(SELECT w.worker_id FROM df_engine.workers w))[1 + task_no % {workers}]
        WHERE instance_id LIKE 'dead%';
    UPDATE df_engine.tasks SET seq = 4, input = repeat('x', 60) WHERE instance_id LIKE 'dead%';
    UPDATE df_engine.tasks SET seq = 7 WHERE instance_id LIKE 'dead%';
    UPDATE df_engine.tasks SET seq = 10 WHERE instance_id LIKE 'dead%';
    DELETE FROM df_engine.tasks WHERE instance_id LIKE 'dead%';
"""


@dataclass(frozen=True, slots=True)
class Spent:
    """What was done, in how many seconds, and the seconds of CPU that workers and server took for it."""

    workflows: float = 0
    seconds: float = 0
    python: float = 0
    server: float = 0

    def plus(self, other: Spent) -> Spent:
        """Both together."""
        return Spent(
            self.workflows + other.workflows,
            self.seconds + other.seconds,
            self.python + other.python,
            self.server + other.server,
        )

    @property
    def rate(self) -> float:
        """Workflows a second."""
        return self.workflows / self.seconds

    @property
    def cost(self) -> float:
        """Milliseconds of CPU a workflow, workers and server."""
        return 1000 * (self.python + self.server) / self.workflows

    def __str__(self) -> str:
        python, server = (1000 * part / self.workflows for part in (self.python, self.server))
        return f"{self.rate:.0f}/s, {python:.2f} + {server:.2f} ms"


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two databases: a connection that feeds it, its workers, and the server's first process."""

    feeder: psycopg.Connection[Any]
    workers: list[subprocess.Popen[bytes]]
    postmaster: int

    def done(self) -> int:
        """Workflows whose last step has begun, ever."""
        row = self.feeder.execute("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM bench.done").fetchone()
        assert row is not None
        return int(row[0])

    def now(self) -> Spent:
        """The counters as they stand."""
        python = sum(cpu_seconds(worker.pid) for worker in self.workers)
        return Spent(self.done(), time.monotonic(), python, server_cpu(self.postmaster))

    def window(self, seconds: float, backlog: int, rate: float) -> Spent:
        """Load for that long, and until everything has ended. With a rate, so many a second and no queue."""
        before = self.now()
        started = 0
        while (passed := time.monotonic() - before.seconds) < seconds:
            wanted = backlog + self.done() - int(before.workflows) if not rate else int(rate * passed) + 1
            if wanted > started:
                self.feeder.execute(f"SELECT df.start({GRAPH}) FROM generate_series(1, {wanted - started})")
                started = wanted
            time.sleep(0.01)
        self.drain(int(before.workflows) + started)
        after = self.now()
        return after.plus(Spent(-before.workflows, -before.seconds, -before.python, -before.server))

    def drain(self, until: int) -> None:
        """Wait for so many to be done; raises TimeoutError after two minutes."""
        deadline = time.monotonic() + 120
        while self.done() < until:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{until - self.done()} workflows are still not done")
            time.sleep(0.005)


@contextmanager
def database(options: argparse.Namespace, name: str) -> Iterator[str]:
    """A migrated database of that name; gone at the end."""
    identifier = sql.Identifier(name)
    with psycopg.connect(options.dsn, autocommit=True) as admin:
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(identifier))
        admin.execute(sql.SQL("CREATE DATABASE {}").format(identifier))
        if admin.execute("SELECT FROM pg_roles WHERE rolname = %s", [ROLE]).fetchone() is None:
            admin.execute(f"CREATE ROLE {ROLE} LOGIN")
        dsn = make_conninfo(options.dsn, dbname=name)
        try:
            migrate.upgrade(dsn, operators="public")
            with psycopg.connect(dsn, autocommit=True) as owner:
                owner.execute(SETUP)
            yield dsn
        finally:
            if not options.keep:
                admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(identifier))


@contextmanager
def side(options: argparse.Namespace, dsn: str) -> Iterator[Side]:
    """Workers and a feeder for one database."""
    command = [sys.executable, "-m", "perdure", "worker", "--dsn", dsn, "--slots", str(options.slots)]
    workers = [subprocess.Popen([*command, "--log-level", "warning"]) for _ in range(options.workers)]
    try:
        with closing(psycopg.connect(dsn, autocommit=True)) as feeder:
            row = feeder.execute("SELECT split_part(pg_read_file('postmaster.pid'), E'\\n', 1)::int").fetchone()
            assert row is not None
            feeder.execute(f"SET SESSION AUTHORIZATION {ROLE}")
            yield Side(feeder, workers, int(row[0]))
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.wait()


def held_open(dsn: str, kind: str) -> psycopg.Connection[Any] | None:
    """The transaction, begun and left."""
    if kind == "none":
        return None
    connection = psycopg.connect(dsn, autocommit=True)
    if kind == "start":
        connection.execute(f"SET SESSION AUTHORIZATION {ROLE}")
    for statement in HOLDS[kind]:
        connection.execute(statement)
    return connection


def leave_dead(dsn: str, rows: int, workers: int) -> None:
    """Dead rows of tasks, in one transaction: nobody ever sees them alive."""
    with psycopg.connect(dsn) as connection:
        connection.execute(cast(Any, DEAD.format(rows=rows, workers=workers)))


def pair(sides: tuple[Side, Side], seconds: float, options: argparse.Namespace) -> tuple[Spent, Spent]:
    """So many seconds of load on the one, and half as many on the other, in turn."""
    held, free = Spent(), Spent()
    while held.seconds < seconds:
        window = min(options.window, seconds - held.seconds + 1)
        free = free.plus(sides[1].window(window / 2, options.backlog, options.rate))
        held = held.plus(sides[0].window(window, options.backlog, options.rate))
    return held, free


def told(name: str, held: Spent, free: Spent) -> None:
    """A line."""
    ratios = f"rate x {held.rate / free.rate:.2f}, CPU x {held.cost / free.cost:.2f}"
    print(f"{name}: held {held}; free {free}; {ratios}; load {os.getloadavg()[0]:.1f}", flush=True)


def left_behind(dsn: str) -> None:
    """The tables with the most dead rows."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        time.sleep(1.5)  # the server's statistics are written late
        for row in connection.execute(
            "SELECT relname, n_live_tup, n_dead_tup, pg_table_size(relid) >> 10, pg_indexes_size(relid) >> 10 "
            "FROM pg_stat_user_tables ORDER BY n_dead_tup DESC LIMIT 8"
        ):
            print("  {}: {} rows, {} dead, {} kB, indexes {} kB".format(*row), flush=True)


def late_start_runs(dsn: str) -> None:
    """The workflow whose start was held back has run within a minute of its commit. Raises AssertionError."""
    began = time.monotonic()
    with psycopg.connect(dsn, autocommit=True) as connection:
        while (row := connection.execute("SELECT status FROM df.instances WHERE label = 'late'").fetchone()) != (
            "completed",
        ):
            assert time.monotonic() < began + 60, row
            time.sleep(0.02)
    print(f"the start that was held back had run {time.monotonic() - began:.1f} s after its commit", flush=True)


def measure(options: argparse.Namespace, dsns: tuple[str, str], sides: tuple[Side, Side]) -> None:
    """Before, under, and after the open transaction."""
    told("before", *pair(sides, options.window * 2, options))
    holder = held_open(dsns[0], options.hold)
    if options.dead:
        leave_dead(dsns[0], options.dead, options.workers)
    total = (Spent(), Spent())
    for minute in range(1, options.minutes + 1):
        held, free = pair(sides, 60, options)
        told(f"minute {minute}", held, free)
        total = (total[0].plus(held), total[1].plus(free))
    told(f"all {options.minutes} minutes", *total)
    left_behind(dsns[0])
    if holder is not None:
        holder.execute("COMMIT")
        holder.close()
    if options.hold == "start":
        late_start_runs(dsns[0])
    told("after", *pair(sides, options.window * 2, options))


def main() -> None:
    """Make everything, measure, take it away."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dsn", default=os.environ.get("PERDURE_DSN"), required="PERDURE_DSN" not in os.environ)
    parser.add_argument("--hold", choices=[*HOLDS, "none"], default="snapshot")
    parser.add_argument("--minutes", type=int, default=10, help="of load under the open transaction")
    parser.add_argument("--window", type=float, default=15)
    parser.add_argument("--backlog", type=int, default=300, help="workflows queued at any time")
    parser.add_argument("--rate", type=float, default=0, help="instead: so many workflows a second, and no queue")
    parser.add_argument("--dead", type=int, default=0, help="workflows whose dead rows are there from the beginning")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--keep", action="store_true", help="leave the databases there")
    options = parser.parse_args()
    with ExitStack() as stack:
        held = stack.enter_context(database(options, "snapshot_held"))
        free = stack.enter_context(database(options, "snapshot_free"))
        sides = (stack.enter_context(side(options, held)), stack.enter_context(side(options, free)))
        measure(options, (held, free), sides)


if __name__ == "__main__":
    main()
