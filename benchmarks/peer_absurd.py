"""The work of ``benchmarks.throughput`` by absurd: run by a Python that has it, never by ours.

    python benchmarks/peer_absurd.py queue URL N     queue N tasks; the schema is there (absurdctl init)
    python benchmarks/peer_absurd.py work URL SLOTS  serve the queue until killed

Each step is a transaction around the INSERT and absurd's checkpoint. A connection serves one task at a time: a slot is
a worker of its own.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

import psycopg
from absurd_sdk import Absurd


def worker(url: str) -> Absurd:
    """A client with the task registered, on a connection of its own."""
    connection = psycopg.connect(url, autocommit=True)
    app = Absurd(connection, queue_name="peer")

    @app.register_task("three_inserts")
    def three_inserts(_params: Any, context: Any) -> None:
        for step in (1, 2, 3):
            with connection.transaction():
                context.step(
                    f"insert-{step}",
                    lambda: connection.execute("INSERT INTO public.effects VALUES (%s)", (step,)).rowcount,  # noqa: B023
                )

    return app


def main(what: str, url: str, number: int) -> None:
    """Queue or work."""
    if what == "queue":
        app = worker(url)
        app.create_queue("peer")
        for _ in range(number):
            app.spawn("three_inserts", {})
        return
    for _ in range(number):
        threading.Thread(target=worker(url).start_worker, kwargs={"batch_size": 10}, daemon=True).start()
    threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
