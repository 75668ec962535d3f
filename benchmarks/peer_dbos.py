"""The work of ``benchmarks.throughput`` by DBOS: run by a Python that has it, never by ours.

    python benchmarks/peer_dbos.py queue URL N     install, and queue N workflows
    python benchmarks/peer_dbos.py work URL SLOTS  serve the queue until killed

Each step is a transaction of DBOS's own kind: the INSERT and its checkpoint commit together. Its queue polls every
50 ms here (its default is a second), so a process may hold five workflows for each slot, else it would wait for polls.
"""

from __future__ import annotations

import os
import sys
import threading

import sqlalchemy as sa
from dbos import DBOS, DBOSConfig, SQLAlchemyDatasource

POLL_SECONDS = 0.05
INSERT = sa.text("INSERT INTO public.effects VALUES (:step)")


def main(what: str, url: str, number: int) -> None:
    """Queue or work."""
    url = url.replace("postgresql://", "postgresql+psycopg://")
    config: DBOSConfig = {
        "name": "peer",
        "system_database_url": url,
        "application_version": "1",
        "executor_id": f"{what}-{os.getpid()}",
        "log_level": "WARNING",
    }
    DBOS(config=config)
    source = SQLAlchemyDatasource.create(url)

    @source.transaction(isolation_level="READ COMMITTED")
    def insert(step: int) -> None:
        source.sql_session().execute(INSERT, {"step": step})

    @DBOS.workflow()
    def three_inserts() -> None:
        for step in (1, 2, 3):
            insert(step)

    if what == "queue":
        DBOS.listen_queues([])
    DBOS.launch()
    DBOS.register_queue(
        "peer", worker_concurrency=5 * number if what == "work" else 1, polling_interval_sec=POLL_SECONDS
    )
    if what == "queue":
        for _ in range(number):
            DBOS.enqueue_workflow("peer", three_inserts)
        DBOS.destroy()
    else:
        threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
