"""The embedded server: made, found again, killed, and closed to everybody else."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cluster import clean_environment
from perdure import binaries, embedded
from perdure.binaries import NoPostgres
from perdure.server import Server, ServerError

BINARIES = os.environ.get("PERDURE_TEST_BINARIES") or str(binaries.find().folder)


@pytest.fixture(autouse=True)
def chosen_binaries(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server under test runs the programs that all tests run on."""
    monkeypatch.setenv("PERDURE_BINARIES", BINARIES)


@pytest.fixture
def home() -> Iterator[Path]:
    """A place for a server: below /tmp, since pytest's own directories cannot be entered by another account."""
    place = Path(tempfile.mkdtemp(prefix="perdure-test-"))
    _give_away(place)
    yield place
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERDURE_BINARIES", BINARIES)
        server = embedded.find(place).server
        server.stop()
        shutil.rmtree(server.socket_directory, ignore_errors=True)
    shutil.rmtree(place, ignore_errors=True)


def _give_away(place: Path) -> None:
    account = binaries.server_account()
    if not account.is_me:
        os.chown(place, account.uid, account.gid)


def _one(dsn: str, statement: str) -> object:
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute(statement).fetchone()
    assert row is not None
    return row[0]


def test_first_start_makes_roles_database_and_schema_and_the_second_changes_nothing(home):
    found = embedded.find(home)
    found.up()
    roles = "SELECT string_agg(rolname, ' ' ORDER BY rolname) FROM pg_roles WHERE rolcanlogin AND NOT rolsuper"
    assert _one(found.dsn(), roles) == " ".join(sorted({embedded.OWNER, embedded.WORKER, found.role}))
    owner = "SELECT datdba::regrole::text FROM pg_database WHERE datname = 'perdure'"
    assert _one(found.dsn(), owner) == embedded.OWNER
    assert _one(found.dsn(), "SELECT current_user::text") == found.role
    assert _one(found.dsn(embedded.OWNER), "SELECT version_num FROM df_engine.alembic_version") == "0001"
    started = _one(found.dsn(), "SELECT pg_postmaster_start_time()")
    embedded.find(home).up()
    assert _one(found.dsn(), "SELECT pg_postmaster_start_time()") == started


def test_data_stay_over_a_stop_and_over_kill_9(home):
    found = embedded.find(home)
    found.server.start()
    with psycopg.connect(found.server.dsn(), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
    found.server.stop()
    assert not found.server.answers()
    found.server.stop()  # nothing to stop is no error
    found.server.start()
    found.server.kill()
    found.server.start()
    assert _one(found.server.dsn(), "SELECT n FROM kept") == 1


def test_nobody_else_can_enter_the_directories_and_nothing_listens(home):
    found = embedded.find(home)
    found.server.start()
    for place in (found.server.socket_directory, home, found.server.data):
        info = place.stat()
        assert stat.S_IMODE(info.st_mode) == 0o700, place
        assert info.st_uid == binaries.server_account().uid, place
    assert _one(found.server.dsn(), "SHOW listen_addresses") == ""
    assert len(str(found.server.socket_directory)) < 90


def test_over_tcp_a_password_is_needed_and_the_port_stays(home):
    found = embedded.find(home, tcp=True)
    found.up()
    dsn = found.server.tcp_dsn(found.role, embedded.DATABASE)
    assert _one(dsn, "SELECT current_user::text") == found.role
    parts: dict[str, Any] = {name: value for name, value in conninfo_to_dict(dsn).items() if name != "password"}
    no_password: dict[str, Any] = {}
    for wrong in (no_password, {"password": "wrong"}):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(make_conninfo("", **parts, **wrong)).close()
    port = found.server.port
    found.server.stop()
    found.server.start()
    assert found.server.port == port
    assert stat.S_IMODE((home / "password").stat().st_mode) == 0o600


def test_taken_port_is_left_to_its_owner(home):
    found = embedded.find(home, tcp=True)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        (home / "port").write_text(str(taken), "utf-8")
        found.server.start()
        assert found.server.port != taken
        assert found.server.answers()


def test_three_starts_at_once_give_one_server(home):
    program = (
        "import sys; from pathlib import Path; from perdure import embedded\n"
        "found = embedded.find(Path(sys.argv[1])); found.server.start(); print(found.dsn())\n"
        "print((found.server.data / 'postmaster.pid').read_text().splitlines()[0])"
    )
    environment = clean_environment({"PERDURE_BINARIES": BINARIES})
    starts = [
        subprocess.Popen([sys.executable, "-c", program, str(home)], stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(3)
    ]
    answers = [start.communicate(timeout=90)[0] for start in starts]
    assert [start.returncode for start in starts] == [0, 0, 0]
    assert len(set(answers)) == 1
    assert embedded.find(home).server.answers()


def test_interrupted_making_leaves_nothing_that_looks_whole(home):
    (home / "data.new.999").mkdir()
    (home / "data.new.999" / "PG_VERSION").write_text("1", "utf-8")
    assert not embedded.exists(home)
    found = embedded.find(home)
    found.server.start()
    assert embedded.exists(home)
    assert not list(home.glob("data.new.*"))


def test_socket_directory_prepared_by_somebody_else_is_refused(home):
    found = embedded.find(home)
    found.server.socket_directory.mkdir(mode=0o755)
    found.server.socket_directory.chmod(0o755)
    with pytest.raises(ServerError, match="nobody else can enter"):
        found.server.start()
    found.server.socket_directory.rmdir()
    target = home / "elsewhere"
    target.mkdir()
    found.server.socket_directory.symlink_to(target)
    with pytest.raises(ServerError, match="nobody else can enter"):
        found.server.start()
    found.server.socket_directory.unlink()


def test_home_made_by_hand_will_do_but_not_one_that_others_can_write_to(home):
    place = home / "by-hand"
    place.mkdir()
    place.chmod(0o755)
    server = embedded.find(place).server
    try:
        server.start()
        assert server.answers()
        assert stat.S_IMODE(place.stat().st_mode) == 0o755
    finally:
        server.stop()
        shutil.rmtree(server.socket_directory, ignore_errors=True)
    place.chmod(0o777)
    with pytest.raises(ServerError, match="nobody else can write to"):
        embedded.find(place)


def test_data_of_another_version_are_refused_in_one_sentence(home):
    found = embedded.find(home)
    found.server.start()
    found.server.stop()
    (found.server.data / "PG_VERSION").write_text("9\n", "utf-8")
    with pytest.raises(ServerError, match="are of PostgreSQL 9, and the programs are of"):
        found.server.start()


def test_server_that_cannot_start_says_what_it_wrote(home):
    found = embedded.find(home)
    broken = Server(home, found.server.binaries, found.server.account, options={"shared_buffers": "much"})
    with pytest.raises(ServerError, match="shared_buffers"):
        broken.start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as somebody else")
@pytest.mark.skipif("pginstall" not in BINARIES, reason="programs of the system are tied to their place")
def test_programs_that_the_account_cannot_reach_are_copied_and_no_mode_is_changed(home):
    private = Path(tempfile.mkdtemp(prefix="perdure-private-"))
    try:
        original = Path(BINARIES).parent.parent
        (private / original.name).symlink_to(original)
        (private / f"{original.name}.libs").symlink_to(original.with_name(f"{original.name}.libs"))
        hidden = binaries.find(str(private / original.name / "pginstall" / "bin"))
        account = binaries.server_account()
        copied = binaries.reachable(hidden, account, home / "programs")
        assert copied.folder.is_relative_to(home / "programs")
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
        server = Server(home, copied, account, durable=False)
        server.start()
        assert _one(server.dsn(), "SELECT 1") == 1
    finally:
        shutil.rmtree(private)


@pytest.mark.parametrize(
    ("name", "role"),
    [("maria", "maria"), ("root", "app"), ("postgres", "app"), ("pg_me", "app"), ("perdure_owner", "app")],
)
def test_ordinary_role_is_never_one_with_more_rights(monkeypatch, name, role):
    monkeypatch.setattr("getpass.getuser", lambda: name)
    assert embedded.ordinary_role() == role


def test_named_programs_that_are_none_are_refused(tmp_path, monkeypatch):
    with pytest.raises(NoPostgres, match="no PostgreSQL of version 14 or newer"):
        binaries.find(str(tmp_path))
    monkeypatch.setenv("PERDURE_SERVER_ACCOUNT", "no-such-account")
    if os.geteuid() == 0:
        with pytest.raises(NoPostgres, match="PERDURE_SERVER_ACCOUNT"):
            binaries.server_account()
