"""Servers that are backed up, restored to an instant, followed by a standby and promoted; all in one folder.

Nothing is needed but the programs of one PostgreSQL: the archive is a folder, and ``cp`` fills and reads it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from chaos.wire import Proxy
from cluster import SERVER_OPTIONS, Cluster, Database, make_template
from perdure import binaries
from perdure.binaries import Account, Binaries, NoPostgres
from perdure.server import Server
from waiting import wait_until

TEMPLATE = "template_of_shops"
_BY_HAND = {"postmaster.pid", "postmaster.opts"}  # of the running server, no part of a backup


@dataclass(frozen=True, slots=True)
class Site:
    """A folder of the servers' account, with the servers that were made in it."""

    folder: Path
    programs: Binaries
    account: Account
    servers: list[Server] = field(default_factory=list)

    @property
    def archive(self) -> Path:
        """Where the primary's finished WAL goes."""
        return self.folder / "archive"

    def primary(self) -> Server:
        """A running server that archives its WAL, with a database to copy that has the schema."""
        server = self.server(
            "primary", archive_mode="on", archive_command=f"test ! -f {self.archive}/%f && cp %p {self.archive}/%f"
        )
        server.start()
        make_template(Cluster(server.dsn(), server=server), TEMPLATE)
        return server

    def server(self, name: str, **options: str) -> Server:
        """A server that is not started yet. Commits are synchronous; fsync is off: the machine stays up."""
        settings = {**SERVER_OPTIONS, "synchronous_commit": "on", "full_page_writes": "on", **options}
        server = Server(self.folder / name, self.programs, self.account, durable=False, options=settings)
        self.servers.append(server)
        return server

    def backup(self, server: Server, name: str, *, by_hand: bool = False) -> Path:
        """A base backup of a running server: with pg_basebackup where it is there, else as its manual says."""
        target = self.own(self.folder / name)
        if by_hand or not os.access(self.programs.program("pg_basebackup"), os.X_OK):
            _copied(server, target)
            self.give(target)
        else:
            self._basebackup(server, target)
        return target

    def _basebackup(self, server: Server, target: Path) -> None:
        command = [self.programs.program("pg_basebackup"), "-d", server.dsn(), "-D", str(target), "-c", "fast", "-N"]
        library = {"LD_LIBRARY_PATH": self.programs.library_path, "PATH": os.environ["PATH"]}
        subprocess.run(command, check=True, capture_output=True, cwd="/", env=library, **self.account.switch())

    def restored(self, backup: Path, name: str, target: dict[str, str], **options: str) -> Server:
        """A server on the backup, brought to the target by the archive and then opened: running."""
        fetch = {"restore_command": f"cp {self.archive}/%f %p", "recovery_target_action": "promote"}
        server = self.server(name, **fetch, **target, **options)
        self._place(backup, server, "recovery.signal")
        server.start()
        wait_until(lambda: is_primary(server), 60, "the restored server to be open")
        return server

    def standby(self, primary: Server, name: str, **options: str) -> Server:
        """A running hot standby of a primary."""
        upstream = make_conninfo(primary.dsn(), application_name=name)
        server = self.server(name, primary_conninfo=upstream, **options)
        self._place(self.backup(primary, f"{name}.backup"), server, "standby.signal")
        server.start()
        return server

    def _place(self, backup: Path, server: Server, mark: str) -> None:
        self.own(server.home)
        shutil.copytree(backup, server.data, symlinks=True)
        server.data.chmod(0o700)
        (server.data / mark).touch()
        self.give(server.data)

    def own(self, folder: Path) -> Path:
        """A folder that only the servers' account enters."""
        folder.mkdir(mode=0o700, exist_ok=True)
        self.give(folder)
        return folder

    def give(self, folder: Path) -> None:
        """Everything in a folder belongs to the servers' account."""
        if self.account.is_me:
            return
        for path in (folder, *folder.rglob("*")):
            os.chown(path, self.account.uid, self.account.gid, follow_symlinks=False)

    def end(self) -> None:
        """Stop what runs, and leave nothing."""
        for server in reversed(self.servers):
            server.kill()
            shutil.rmtree(server.socket_directory, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def site() -> Iterator[Site]:
    """A site of our own, gone at the end. Skips the test where there are no programs to make one with."""
    account = binaries.server_account()
    folder = Path(tempfile.mkdtemp(prefix="perdure-site-"))
    try:
        found = binaries.find(os.environ.get("PERDURE_TEST_BINARIES"))
        made = Site(folder, binaries.reachable(found, account, folder / "programs"), account)
    except NoPostgres as reason:
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(str(reason))
    try:
        made.own(folder)
        made.own(made.archive)
        yield made
    finally:
        made.end()


def _copied(server: Server, target: Path) -> None:
    """The low-level way: begin, copy the files while they change, end, and keep the label beside them."""
    with psycopg.connect(server.dsn(), autocommit=True) as session:
        old = session.info.server_version < 150000
        begin = "SELECT pg_start_backup('by hand', true, false)" if old else "SELECT pg_backup_start('by hand', true)"
        end = "SELECT * FROM pg_stop_backup(false)" if old else "SELECT * FROM pg_backup_stop()"
        session.execute(begin)
        _copy_tree(server.data, target)
        row = session.execute(end).fetchone()
        assert row is not None
        (target / "backup_label").write_text(row[1], "utf-8")


def _copy_tree(source: Path, target: Path) -> None:
    """Files come and go meanwhile; the WAL comes from the archive."""
    for entry in sorted(source.iterdir()):
        if entry.name in _BY_HAND:
            continue
        place = target / entry.name
        with contextlib.suppress(FileNotFoundError):
            if entry.is_dir():
                place.mkdir(mode=0o700)
                if source.name != "pg_wal" and entry.name != "pg_wal":
                    _copy_tree(entry, place)
                elif entry.name == "pg_wal":
                    (place / "archive_status").mkdir(mode=0o700)
            else:
                shutil.copyfile(entry, place)


def is_primary(server: Server) -> bool:
    """Whether a server is there and takes writes."""
    try:
        with psycopg.connect(server.dsn(), autocommit=True) as admin:
            return admin.execute("SELECT pg_is_in_recovery()").fetchone() == (False,)
    except psycopg.OperationalError:
        return False


def mark(server: Server, name: str) -> None:
    """A named instant in the WAL, to restore to."""
    with psycopg.connect(server.dsn(), autocommit=True) as admin:
        admin.execute("SELECT pg_create_restore_point(%s)", [name])


def archived(server: Server) -> None:
    """Returns when everything that was written so far is in the archive."""
    with psycopg.connect(server.dsn(), autocommit=True) as admin:
        row = admin.execute("SELECT pg_walfile_name(pg_switch_wal())").fetchone()
        assert row is not None
        done = "SELECT last_archived_wal >= %s FROM pg_stat_archiver"
        wait_until(lambda: admin.execute(done, [row[0]]).fetchone() == (True,), 60, "the archive to have it all")


def synchronous(primary: Server, name: str) -> None:
    """From now on commits wait for the standby of that name."""
    with psycopg.connect(primary.dsn(), autocommit=True) as admin:
        admin.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
        admin.execute("SELECT pg_reload_conf()")
        state = "SELECT sync_state FROM pg_stat_replication WHERE application_name = %s"
        wait_until(lambda: admin.execute(state, [name]).fetchone() == ("sync",), 60, f"{name} to be synchronous")


def alone(primary: Server) -> None:
    """From now on commits wait for no standby."""
    with psycopg.connect(primary.dsn(), autocommit=True) as admin:
        admin.execute("ALTER SYSTEM RESET synchronous_standby_names")
        admin.execute("SELECT pg_reload_conf()")


def promote(server: Server) -> float:
    """Make a standby the primary; the moment (monotonic) at which it was one."""
    with psycopg.connect(server.dsn(), autocommit=True) as admin:
        assert admin.execute("SELECT pg_promote()").fetchone() == (True,)
    return time.monotonic()


def database_of(server: Server, name: str) -> Database:
    """A database of this server."""
    return Database(Cluster(server.dsn(), server=server), name)


def database_of_either(name: str, *servers: Server) -> Database:
    """A database of whichever of these servers takes writes, as one connection string with several hosts."""
    parts: dict[str, Any] = conninfo_to_dict(servers[0].dsn())
    hosts = ",".join(str(server.socket_directory) for server in servers)
    ports = ",".join(str(server.port) for server in servers)
    dsn = make_conninfo("", **{**parts, "host": hosts, "port": ports, "target_session_attrs": "read-write"})
    return Database(Cluster(dsn), name)


def leads_to(proxy: Proxy, server: Server) -> None:
    """The address is that of another server from now on."""
    proxy._host, proxy._port = str(server.socket_directory), server.port
    proxy.cut()
