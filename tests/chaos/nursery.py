"""A process that has loaded the worker's code and forks a worker whenever it is asked: cheap victims for the tests.

Each worker is a process of its own, with its own log, ended with SIGKILL like any other. The nursery reads lines of
JSON (``{"settings": {...}, "log": path, "patch": "module:function"}``) and answers with the process id.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(slots=True)
class Child:
    """A forked worker. Once it has been seen to be gone its id is not used again: it may be somebody else's by then."""

    pid: int
    log_path: Path
    over: bool = False

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self.log_path.read_text("utf-8", "replace") if self.log_path.exists() else ""

    @property
    def alive(self) -> bool:
        """Whether it still runs (its nursery collects it at once when it ends)."""
        if not self.over:
            try:
                os.kill(self.pid, 0)
            except ProcessLookupError:
                self.over = True
        return not self.over

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it is still there."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it as a power cut would; returns when it is gone."""
        self.send(signal.SIGKILL)
        self.gone(60)

    def gone(self, seconds: float) -> None:
        """Wait for its end. Raises AssertionError when it takes longer."""
        deadline = time.monotonic() + seconds
        while self.alive:
            assert time.monotonic() < deadline, f"worker {self.pid} does not end:\n{self.log}"
            time.sleep(0.002)


KEPT = 20


class Nursery:
    """Starts workers; ends those that are left. Of those that are gone it keeps the last ``KEPT`` and their logs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.born = 0
        self.children: list[Child] = []
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "PERDURE_"))}
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def start(self, dsn: str, role_dsn: str | None, patch: str | None = None, **settings: Any) -> Child:
        """Fork a worker. ``patch`` names a function that spoils its code first, to see that tests notice."""
        self._forget()
        log_path = self.folder / f"worker-{self.born}.log"
        self.born += 1
        asked = {"dsn": dsn, "role_dsn": role_dsn, **settings}
        assert self._process.stdin is not None and self._process.stdout is not None
        line = {"settings": asked, "log": str(log_path), "patch": patch}
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()
        child = Child(int(self._process.stdout.readline()), log_path)
        self.children.append(child)
        return child

    def _forget(self) -> None:
        gone = [child for child in self.children if child.over]
        for child in gone[:-KEPT]:
            child.log_path.unlink(missing_ok=True)
            self.children.remove(child)

    def stop(self) -> None:
        """Kill every worker and the nursery."""
        for child in self.children:
            child.send(signal.SIGCONT)
            child.kill()
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


@contextlib.contextmanager
def nursery(folder: Path) -> Iterator[Nursery]:
    """A nursery that ends with its workers."""
    folder.mkdir(parents=True, exist_ok=True)
    running = Nursery(folder)
    try:
        yield running
    finally:
        running.stop()


def _serve() -> None:
    from perdure import worker
    from perdure.settings import Settings

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are collected by the kernel
    for line in sys.stdin:
        asked = json.loads(line)
        pid = os.fork()
        if pid:
            print(pid, flush=True)
            continue
        _become_worker(asked["log"])
        if asked["patch"]:
            module, _, function = asked["patch"].partition(":")
            sys.path.insert(0, str(Path(__file__).parents[1]))
            getattr(importlib.import_module(module), function)()
        os._exit(worker.run(Settings(**asked["settings"])))


def _become_worker(log_path: str) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDWR)
    for target, source in ((0, nothing), (1, log), (2, log)):
        os.dup2(source, target)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115


if __name__ == "__main__":
    _serve()
