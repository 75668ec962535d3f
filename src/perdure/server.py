"""One PostgreSQL server of our own: make its data directory, start it, stop it.

Several processes may start the same server at once; one does, the others wait for it. What may be assumed:

* the unix socket is in a directory that only the server's account (and root) can enter, so everybody who reaches it is
  trusted; over TCP, where that is on, every role needs its password;
* ``pg_isready`` is asked whether the server answers. ``pg_ctl status`` is not: after a ``kill -9`` it takes the dead
  postmaster, which nobody has reaped yet, for a living one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from psycopg.conninfo import make_conninfo

from perdure.binaries import Account, Binaries

SUPERUSER = "postgres"
START_SECONDS = 60.0
STOP_SECONDS = 60.0
SOCKET_PORT = 5432  # names the socket only, where TCP is off


class ServerError(Exception):
    """The server could not be made, started or stopped; the message says what it wrote last."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server in ``home``: ``data``, ``server.log``, ``password`` (of the roles, for TCP) and ``port`` (if TCP is on).

    ``options`` are settings of the server for each start. With ``tcp`` it listens on 127.0.0.1 on a port that was free
    at the first start, and keeps it.
    """

    home: Path
    binaries: Binaries
    account: Account
    tcp: bool = False
    durable: bool = True
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        """PostgreSQL's data directory."""
        return self.home / "data"

    @property
    def log(self) -> Path:
        """What the server writes."""
        return self.home / "server.log"

    @property
    def socket_directory(self) -> Path:
        """Short, since the path of a socket ends at 107 bytes; the same for the same home, whatever TMPDIR says."""
        digest = hashlib.sha256(str(self.home.resolve()).encode()).hexdigest()[:10]
        return Path("/tmp") / f"perdure-{self.account.uid}-{digest}"

    @property
    def port(self) -> int:
        """The port, which also names the socket."""
        kept = self.home / "port"
        return int(kept.read_text("utf-8")) if kept.is_file() else SOCKET_PORT

    @property
    def password(self) -> str:
        """The password over TCP of every role that Perdure makes."""
        return (self.home / "password").read_text("utf-8").strip()

    def dsn(self, role: str = SUPERUSER, database: str = "postgres") -> str:
        """A connection string through the socket."""
        return make_conninfo("", host=str(self.socket_directory), port=self.port, user=role, dbname=database)

    def tcp_dsn(self, role: str, database: str) -> str:
        """A connection string for drivers that know no sockets, with the password."""
        return f"postgresql://{role}:{self.password}@127.0.0.1:{self.port}/{database}"

    def exists(self) -> bool:
        """True once the data directory has been made."""
        return (self.data / "PG_VERSION").is_file()

    def answers(self) -> bool:
        """True while the server accepts connections."""
        command = [self.binaries.program("pg_isready"), "-q", "-t", "3"]
        command += ["-h", str(self.socket_directory), "-p", str(self.port), "-d", "postgres", "-U", SUPERUSER]
        return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0

    def start(self) -> None:
        """Make the data directory if it is not there, and start the server if it does not answer.

        Raises ``ServerError``.
        """
        prepare_home(self.home, self.account)
        with _locked(self.home / "lock"):
            if not self.exists():
                self._initialise()
            self._refuse_other_version()
            if self.exists() and self.answers():
                return
            self._choose_port()
            _own_directory(self.socket_directory, self.account)
            self._bury_the_dead()
            self._launch()

    def stop(self) -> None:
        """Stop the server, its sessions included; what was committed stays. Nothing happens where none runs."""
        with _locked(self.home / "lock"):
            pid = self._pid()
            if pid is None or not _alive(pid) or not (self.answers() or self._is_ours(pid)):
                return
            _signal(pid, signal.SIGINT)  # "fast": roll back, write the checkpoint, go
            if not _until(lambda: not _alive(pid), STOP_SECONDS):
                _signal(pid, signal.SIGQUIT)
                if not _until(lambda: not _alive(pid), STOP_SECONDS):
                    raise ServerError(f"the server (process {pid}) does not stop; see {self.log}")

    def kill(self) -> None:
        """End the server at once, as a power cut would: for tests."""
        pid = self._pid()
        if pid is not None:
            _signal(pid, signal.SIGKILL)
            _until(lambda: not _alive(pid), STOP_SECONDS)

    def _initialise(self) -> None:
        """Make the data directory under another name first: what stops half way leaves nothing that looks whole."""
        fresh = self.home / f"data.new.{os.getpid()}"
        for leftover in self.home.glob("data.new.*"):
            shutil.rmtree(leftover, ignore_errors=True)
        _own_directory(fresh, self.account)
        password = self.home / "password"
        if not password.is_file():
            _write_secret(password, secrets.token_urlsafe(24), self.account)
        command = [self.binaries.program("initdb"), "-D", str(fresh), "-U", SUPERUSER, "-E", "UTF8", *self._locale()]
        command += ["--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={password}"]
        command += [] if self.durable else ["--no-sync"]
        done = self._run(command)
        if done.returncode != 0 or not (fresh / "PG_VERSION").is_file():
            shutil.rmtree(fresh, ignore_errors=True)
            raise ServerError(f"initdb failed: {_last_words(done.stdout)}")
        fresh.rename(self.data)

    def _locale(self) -> list[str]:
        if self.binaries.major >= 17:
            return ["--locale-provider=builtin", "--locale=C", "--builtin-locale=C.UTF-8"]
        return ["--locale=C"]

    def _refuse_other_version(self) -> None:
        made_by = (self.data / "PG_VERSION").read_text("utf-8").strip()
        if made_by != str(self.binaries.major):
            raise ServerError(
                f"the data in {self.data} are of PostgreSQL {made_by}, and the programs are of {self.binaries.major}: "
                "name the right programs with PERDURE_BINARIES or another place with PERDURE_HOME"
            )

    def _choose_port(self) -> None:
        kept = self.home / "port"
        if not self.tcp:
            kept.unlink(missing_ok=True)
            return
        if kept.is_file() and _is_free(self.port):
            return
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            kept.write_text(str(probe.getsockname()[1]), "utf-8")

    def _launch(self) -> None:
        settings = {
            "unix_socket_directories": str(self.socket_directory),
            "unix_socket_permissions": "0700",
            "listen_addresses": "127.0.0.1" if self.tcp else "",
            "logging_collector": "off",
            **({} if self.durable else {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}),
            **self.options,
        }
        command = [self.binaries.program("postgres"), "-D", str(self.data), "-p", str(self.port)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with self.log.open("ab") as log:  # a file: a pipe would stay open in every backend
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C at the terminal is ours to handle
                cwd=self.data if self.account.is_me else "/",
                env=self._environment(),
                **self.account.switch(),
            )
        _children[process.pid] = process
        if not _until(lambda: process.poll() is not None or self.answers(), START_SECONDS):
            _signal(process.pid, signal.SIGQUIT)
            raise ServerError(f"the server does not answer after {START_SECONDS:.0f} s: {self._last_log()}")
        if process.poll() is not None:
            raise ServerError(f"the server did not start: {self._last_log()}")

    def _bury_the_dead(self) -> None:
        """Wait for a killed server to leave the process table, or PostgreSQL takes it for alive and refuses to start.

        Where nobody reaps it (a container without an init), its pid file goes, once nothing works on the data any more.
        """
        pid = self._pid()
        if pid is None:
            return
        gone = _until(lambda: not _alive(pid) or self.answers(), 10.0)
        if not gone and _is_zombie(pid) and not self._in_use():
            (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _in_use(self) -> bool:
        return any(self._is_ours(int(entry.name)) for entry in Path("/proc").glob("[0-9]*"))

    def _is_ours(self, pid: int) -> bool:
        """True where the process works in our data directory, as the server and all its children do."""
        with contextlib.suppress(OSError):
            return Path(f"/proc/{pid}/cwd").resolve() == self.data.resolve()
        return False

    def _pid(self) -> int | None:
        with contextlib.suppress(OSError, ValueError, IndexError):
            return abs(int((self.data / "postmaster.pid").read_text("utf-8").splitlines()[0]))
        return None

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            cwd="/",
            env=self._environment(),
            check=False,
            **self.account.switch(),
        )

    def _environment(self) -> dict[str, str]:
        """Ours without the settings of clients (PGDATA, PGPORT, ...), which the server's programs would obey."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        libraries = [self.binaries.library_path, *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
        return {**inherited, "LD_LIBRARY_PATH": os.pathsep.join(libraries), "LC_ALL": "C", "TZ": "UTC"}

    def _last_log(self) -> str:
        with contextlib.suppress(OSError):
            return _last_words(self.log.read_text("utf-8", "replace"))
        return f"see {self.log}"


_children: dict[int, subprocess.Popen[bytes]] = {}  # servers that this process started, and so has to reap


def _alive(pid: int) -> bool:
    child = _children.get(pid)
    if child is not None and child.poll() is not None:
        del _children[pid]
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _is_zombie(pid: int) -> bool:
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] == "Z"
    return False


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    """Ask until it is true or the time is over, often at first."""
    deadline, pause = time.monotonic() + seconds, 0.01
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 1.5, 0.2)
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a home: one process at a time starts or stops its server."""
    if not path.parent.is_dir():
        yield
        return
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def prepare_home(path: Path, account: Account) -> None:
    """Make the home, entered by ``account`` only, or check that nobody but it and us can change what is in it.

    Raises ``ServerError``.
    """
    if not path.exists():
        _own_directory(path, account)
    found = path.stat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (account.uid, os.geteuid()) or found.st_mode & 0o022:
        raise ServerError(f"{path} must be a directory of {account.name} or your own that nobody else can write to")


def _own_directory(path: Path, account: Account) -> None:
    """Make a directory that only ``account`` can enter, or check that it is one. Raises ``ServerError``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
        if not account.is_me:
            os.chown(path, account.uid, account.gid)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != account.uid or stat.S_IMODE(found.st_mode) & 0o077:
        raise ServerError(f"{path} must be a directory that {account.name} owns and nobody else can enter")


def _write_secret(path: Path, secret: str, account: Account) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{secret}\n")
    if not account.is_me:
        os.chown(path, account.uid, account.gid)


def _last_words(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return " / ".join(lines[-3:]) or "it said nothing"
