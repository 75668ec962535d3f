"""A pgbouncer in transaction mode before the tests' server, where one is installed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cluster import OWNER, PASSWORD, USERS, WORKER, Cluster
from perdure import binaries
from waiting import wait_until

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@dataclass(slots=True)
class Pooler:
    """A running pgbouncer; ``kill`` and ``start`` make a restart as a crash would."""

    cluster: Cluster
    folder: Path
    port: int
    options: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def dsn(self, database: str, role: str) -> str:
        """A connection string that leads through the pooler."""
        parts = {"host": "127.0.0.1", "port": self.port, "dbname": database, "user": role}
        return make_conninfo("", **cast(dict[str, Any], parts), password=PASSWORD)

    @property
    def log(self) -> str:
        """What it has written."""
        return (self.folder / "log").read_text("utf-8", "replace")

    def write(self) -> None:
        """Its configuration: few sessions, so that every one is used by everybody of the role in turn."""
        server = cast(dict[str, Any], conninfo_to_dict(self.cluster.admin_dsn))
        place = f"host={server.get('host') or '/var/run/postgresql'} port={server.get('port') or 5432}"
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": str(self.port),
            "unix_socket_dir": "",
            "auth_type": "trust",
            "auth_file": str(self.folder / "users"),
            "pool_mode": "transaction",
            "default_pool_size": "3",
            "max_client_conn": "200",
            "server_login_retry": "1",
            **self.options,
        }
        lines = [
            "[databases]",
            f"* = {place}",
            "[pgbouncer]",
            *(f"{name} = {value}" for name, value in settings.items()),
        ]
        (self.folder / "ini").write_text("\n".join(lines) + "\n")
        users = "".join(f'"{user}" "{PASSWORD}"\n' for user in (OWNER, WORKER, *USERS))
        (self.folder / "users").write_text(users)

    def start(self) -> None:
        """Start it and wait until it listens."""
        assert PROGRAM is not None
        account = binaries.server_account()
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [PROGRAM, str(self.folder / "ini")], stdout=log, stderr=subprocess.STDOUT, **account.switch()
            )
        wait_until(self._listens, 60, "pgbouncer to listen")

    def kill(self) -> None:
        """End it as a crash would."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(10)

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False


@contextlib.contextmanager
def running_pooler(cluster: Cluster, **options: str) -> Iterator[Pooler]:
    """A pgbouncer before the tests' server; ``options`` as in its section of that name."""
    folder = Path(tempfile.mkdtemp(prefix="perdure-pooler-"))
    account = binaries.server_account()
    if not account.is_me:
        os.chown(folder, account.uid, account.gid)
    folder.chmod(0o755)
    pooler = Pooler(cluster, folder, _free_port(), options)
    pooler.write()
    try:
        pooler.start()
        yield pooler
    finally:
        pooler.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def backends(connection: psycopg.Connection[Any], application: str) -> int:
    """How many sessions of the server bear this name in the connection's database."""
    statement = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s AND datname = current_database()"
    row = connection.execute(statement, [application]).fetchone()
    assert row is not None
    return int(row[0])
