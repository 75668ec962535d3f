"""Record a database with work of every kind in flight, for this release.

    PYTHONPATH=tests PERDURE_TEST_BINARIES=/usr/lib/postgresql/15/bin .venv/bin/python -m upgrades.record

Starts a server and the workflows of ``workflows.json``, lets a worker bring each to where it waits or works, kills it,
and dumps the database to ``<release>/in_flight.sql.gz`` with what the test must know beside it. Kept for ever: the test
restores it under the code of the day and lets that finish everything. Use an old server: dumps restore on newer ones.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg

from cluster import OWNER, Cluster, Database, WorkerProcess, Workers, make_roles, own_server
from perdure.schema import migrate
from upgrades.holding import Holding, holding
from waiting import wait_until

HERE = Path(__file__).parent
RELEASE = version("perdure")
SCHEMA = """
CREATE TABLE public.effects (workflow text, step int);
CREATE TABLE public.gate (is_open boolean);
INSERT INTO public.gate VALUES (false);
-- Until somebody opens the gate; meanwhile it can be seen who waits.
CREATE FUNCTION public.hold(_what text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('application_name', 'holds ' || _what, true);
    WHILE NOT (SELECT is_open FROM public.gate) LOOP
        PERFORM pg_sleep(0.05);
    END LOOP;
    RETURN _what;
END $$;
CREATE PROCEDURE public.commits(_what text) LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.effects VALUES (_what, 1);
    COMMIT;
    PERFORM public.hold(_what);
END $$;
CREATE FUNCTION public.flaky() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF NOT (SELECT is_open FROM public.gate) THEN
        RAISE EXCEPTION 'not yet' USING ERRCODE = '40001';
    END IF;
END $$;
GRANT ALL ON public.effects, public.gate TO alice;
INSERT INTO df.http_policy (action, network) VALUES ('allow', '127.0.0.1/32');
UPDATE df.settings SET value = '3600' WHERE name = 'retry_total_seconds';
SELECT df.grant_usage('alice', include_http => true);
"""
# A history that no release could have written, and back. Only what stands in the database is read by a fresh worker.
SPOIL = "UPDATE df_engine.history SET kind = replace(kind, %s, %s) WHERE instance_id = %s AND kind = %s"
WAITS = """SELECT 1 FROM df.nodes WHERE instance_id = %(id)s AND status = 'running'
    AND node_type IN ('SIGNAL', 'SLEEP', 'WAIT_SCHEDULE', 'WAIT_INSTANCE')"""
# By name: the graph and what is done to it; what the test must do and find. See ``Recording``.
WORKFLOWS: dict[str, dict[str, Any]] = json.loads((HERE / "workflows.json").read_text("utf-8"))


class Recording:
    """Brings the workflows of one database to where they are to be found.

    ``early`` signals are sent while a worker runs, ``late`` ones when it is dead; ``state`` is a query that answers a
    row when the workflow is where it belongs.
    """

    def __init__(self, database: Database, folder: Path, server: Holding) -> None:
        self.database = database
        self.workers = Workers(database, folder)
        self.server = server
        self.ids: dict[str, str] = {}

    def make(self) -> None:
        """All of it; afterwards nobody is connected."""
        try:
            with self.database.connect("alice") as alice, self.database.admin() as admin:
                alice.execute("SELECT df.setvar('greeting', 'hello')")
                self._park(alice, admin)
                worker = self._worker()
                for name in WORKFLOWS:
                    if name != "parked" and not WORKFLOWS[name].get("unclaimed"):
                        self._start(alice, name)
                        self._reached(admin, name)
                worker.kill()
                self._afterwards(alice)
        finally:
            self.workers.stop()

    def _worker(self) -> WorkerProcess:
        # Slots for every step that is held, and one for everything else; of three steps more, two stay in the queue.
        held = sum("hold(" in w["graph"] or "commits(" in w["graph"] for w in WORKFLOWS.values())
        return self.workers.start("--slots", str(held), dsn=self.database.dsn("alice"))

    def _start(self, alice: psycopg.Connection[Any], name: str) -> None:
        graph = WORKFLOWS[name]["graph"].replace("{url}", self.server.url)
        for other, instance_id in self.ids.items():
            graph = graph.replace(f"{{{other}}}", instance_id)
        row = alice.execute(f"SELECT df.start({graph}, '{name}')").fetchone()
        assert row is not None
        self.ids[name] = str(row[0])
        send(alice, row[0], WORKFLOWS[name].get("early", ()))

    def _is_there(self, admin: psycopg.Connection[Any], name: str) -> bool:
        query = WORKFLOWS[name].get("state", WAITS)
        return admin.execute(query, {"id": self.ids[name]}).fetchone() is not None

    def _reached(self, admin: psycopg.Connection[Any], name: str) -> None:
        wait_until(lambda: self._is_there(admin, name), 90, f"{name} to be where it belongs")

    def _park(self, alice: psycopg.Connection[Any], admin: psycopg.Connection[Any]) -> None:
        """A workflow that a worker could not read: its history is spoilt meanwhile."""
        worker = self._worker()
        self._start(alice, "parked")
        self._reached(admin, "parked")
        worker.kill()
        admin.execute("SET session_replication_role = replica")
        admin.execute(SPOIL, ["Signal", "Spoilt", self.ids["parked"], "SignalAwaited"])
        alice.execute("SELECT df.signal(%s, 'go')", [self.ids["parked"]])
        worker = self._worker()
        query = "SELECT 1 FROM df_engine.instances WHERE instance_id = %s AND parked IS NOT NULL"
        wait_until(lambda: admin.execute(query, [self.ids["parked"]]).fetchone(), 60, "a parked workflow")
        worker.kill()
        admin.execute(SPOIL, ["Spoilt", "Signal", self.ids["parked"], "SpoiltAwaited"])
        admin.execute("SET session_replication_role = origin")

    def _afterwards(self, alice: psycopg.Connection[Any]) -> None:
        """What happens while no worker is there."""
        for name, workflow in WORKFLOWS.items():
            if workflow.get("unclaimed"):
                self._start(alice, name)
            send(alice, self.ids[name], workflow.get("late", ()))
            if workflow.get("cancel"):
                alice.execute("SELECT df.cancel(%s, 'recorded')", [self.ids[name]])


def send(alice: psycopg.Connection[Any], instance_id: str, signals: Any) -> None:
    """Send signals: each a name, or a name and its data as JSON text."""
    for signal in signals:
        name, data = (signal, '{"n": 7}') if isinstance(signal, str) else signal
        alice.execute("SELECT df.signal(%s, %s, %s)", [instance_id, name, data])


def record(folder: Path) -> None:
    """Make a server, fill it, kill the worker, dump."""
    folder.mkdir(exist_ok=True)
    with own_server() as server, holding(answers=False) as asked, tempfile.TemporaryDirectory() as logs:
        cluster = Cluster(server.dsn(), server=server)
        make_roles(cluster)
        with cluster.admin() as admin:
            admin.execute(f"CREATE DATABASE recording OWNER {OWNER}".encode())
        database = Database(cluster, "recording")
        migrate.upgrade(database.dsn(OWNER))
        with database.admin() as admin:
            admin.execute(SCHEMA.encode())
        recording = Recording(database, Path(logs), asked)
        recording.make()
        keys = {path.strip("/"): requests[0][0] for path, requests in asked.asked.items()}
        dump = subprocess.run(
            [server.binaries.program("pg_dump"), "--dbname", database.admin_dsn], check=True, capture_output=True
        )
    # Without a time in it: the same text gives the same file.
    (folder / "in_flight.sql.gz").write_bytes(gzip.compress(dump.stdout, mtime=0))
    known = {"url": asked.url, "keys": keys, "ids": recording.ids}
    (folder / "in_flight.json").write_text(json.dumps(known, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    record(HERE / RELEASE)
