"""A server's data, its write-ahead log alone, or one database, on a small disk of their own that can be filled.

The disk is a tmpfs, so whoever runs the tests must be able to mount one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from psycopg import sql

from cluster import SERVER_OPTIONS, Database
from perdure import binaries
from perdure.binaries import Account
from perdure.server import Server

MEGABYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Disk:
    """A small disk. What fills it is one file of its own."""

    path: Path

    @property
    def _junk(self) -> Path:
        return self.path / "junk"

    def fill(self) -> None:
        """Take whatever space is left."""
        found = os.statvfs(self.path)
        piece = found.f_bavail * found.f_frsize
        with self._junk.open("ab") as junk:
            while piece >= 4096:
                try:
                    os.posix_fallocate(junk.fileno(), junk.seek(0, os.SEEK_END), piece)
                except OSError as error:
                    assert error.errno == errno.ENOSPC, error
                    piece //= 2

    def free(self) -> None:
        """Give it back."""
        self._junk.unlink(missing_ok=True)


@contextlib.contextmanager
def small_disk(account: Account, megabytes: int) -> Iterator[Disk]:
    """A disk where the server's account may write. Skips the test where none can be mounted."""
    if shutil.which("mount") is None:
        pytest.skip("there is no program to mount a disk")
    path = Path(tempfile.mkdtemp(prefix="perdure-disk-"))
    options = f"size={megabytes}m,mode=0700,uid={account.uid},gid={account.gid}"
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
        try:
            yield Disk(path)
        finally:
            subprocess.run(["umount", "--lazy", str(path)], check=True)
    finally:
        path.rmdir()


@contextlib.contextmanager
def database_on_small_disk(database: Database, megabytes: int) -> Iterator[Disk]:
    """A database of the tests' own server moved onto a small disk, and back at the end, whoever is connected then.

    Skips the test where the server was given to us: it need not see our disks.
    """
    if database.cluster.server is None:
        pytest.skip("the server is not the tests' own")
    name = sql.Identifier(database.name)
    with small_disk(binaries.server_account(), megabytes) as disk, database.cluster.admin() as admin:
        admin.execute(sql.SQL("CREATE TABLESPACE small LOCATION {}").format(str(disk.path)))
        try:
            admin.execute(sql.SQL("ALTER DATABASE {} SET TABLESPACE small").format(name))
            yield disk
        finally:
            disk.free()
            admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database.name])
            admin.execute(sql.SQL("ALTER DATABASE {} SET TABLESPACE pg_default").format(name))
            admin.execute("DROP TABLESPACE small")


@contextlib.contextmanager
def server_on_small_disk(megabytes: int, wal_only: bool) -> Iterator[tuple[Server, Disk]]:
    """A running server with its data directory, or only its log of writes, on a small disk."""
    account = binaries.server_account()
    home = Path(tempfile.mkdtemp(prefix="perdure-test-"))
    if not account.is_me:
        os.chown(home, account.uid, account.gid)
    found = binaries.find(os.environ.get("PERDURE_TEST_BINARIES"))
    programs = binaries.reachable(found, account, home / "programs")
    # No room is kept in old segments: the log needs space of its own when it goes on.
    options = {**SERVER_OPTIONS, "max_wal_size": "64MB", "wal_recycle": "off"}
    server = Server(home, programs, account, options=options)
    try:
        with small_disk(account, megabytes) as disk:
            try:
                _move(server, server.data / "pg_wal" if wal_only else server.data, disk, account)
                server.start()
                yield server, disk
            finally:
                disk.free()
                server.stop()
    finally:
        shutil.rmtree(server.socket_directory, ignore_errors=True)
        shutil.rmtree(home, ignore_errors=True)


def _move(server: Server, folder: Path, disk: Disk, account: Account) -> None:
    """Make the data directory, and put this part of it onto the disk."""
    server.start()
    server.stop()
    place = disk.path / folder.name
    subprocess.run(["cp", "-a", str(folder), str(place)], check=True)
    shutil.rmtree(folder)
    folder.symlink_to(place)
    if not account.is_me:
        os.lchown(folder, account.uid, account.gid)
