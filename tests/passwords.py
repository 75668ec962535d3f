"""A server of our own that asks for passwords over TCP, and a migrated database in it."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg

from cluster import Cluster, Database, make_template
from perdure import binaries
from perdure.server import Server

LANGUAGE = "ru"  # where even FATAL has another word


@contextlib.contextmanager
def bare_server(programs: str | None = None, **options: str) -> Iterator[Server]:
    """The server without anything in it; ``programs`` is a folder of PostgreSQL's, ``options`` are settings."""
    home = Path(tempfile.mkdtemp(prefix="perdure-test-"))
    account = binaries.server_account()
    if not account.is_me:
        os.chown(home, account.uid, account.gid)
    found = binaries.find(programs or os.environ.get("PERDURE_TEST_BINARIES"))
    found = binaries.reachable(found, account, home / "programs")
    server = Server(home, found, account, tcp=True, durable=False, options={"max_connections": "60", **options})
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(server.socket_directory, ignore_errors=True)
        shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def password_server(programs: str | None = None, **options: str) -> Iterator[tuple[Server, Database]]:
    """The server, and its database ``shop``, migrated."""
    with bare_server(programs, **options) as server:
        make_template(Cluster(server.dsn()), "shop")
        yield server, Database(Cluster(server.dsn()), "shop")


@contextlib.contextmanager
def foreign_server() -> Iterator[tuple[Server, Database]]:
    """The same, where programs with translations are installed with messages in Russian; else in English."""
    before = os.environ.get("LANGUAGE")
    os.environ["LANGUAGE"] = LANGUAGE  # what the server's C library goes by, with any locale but C
    try:
        with password_server(_translated(), lc_messages="C.UTF-8") as made:
            yield made
    finally:
        os.environ.pop("LANGUAGE")
        if before is not None:
            os.environ["LANGUAGE"] = before


def speaks_english(server: Server) -> bool:
    """Whether the server says in English that a role does not exist."""
    try:
        psycopg.connect(server.dsn("nobody at all")).close()
    except psycopg.OperationalError as error:
        return "does not exist" in str(error)
    return True


def _translated() -> str | None:
    named = os.environ.get("PERDURE_TEST_BINARIES")
    installed = [Path(named)] if named else Path("/usr/lib/postgresql").glob("*/bin")
    for folder in sorted(installed, reverse=True):
        share = Path("/usr/share/locale") / LANGUAGE / "LC_MESSAGES"
        if any(share.glob(f"postgres-{folder.parent.name}.mo")):
            return str(folder)
    return None
