"""Workers as child processes of ``dev`` and ``demo``."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

_END_WITH_PARENT = 1  # PR_SET_PDEATHSIG


def start_worker(dsn: str, *arguments: str, log: Path | None = None) -> subprocess.Popen[bytes]:
    """Start a worker that ends when this process does, however that ends (on Linux)."""
    command = [sys.executable, "-m", "perdure", "worker", "--end-with", str(os.getpid()), "--dsn", dsn, *arguments]
    output = log.open("ab") if log else None
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
            start_new_session=True,  # Ctrl-C is for us; the worker is told in its turn
            env={name: value for name, value in os.environ.items() if not name.startswith("PERDURE_")},
        )
    finally:
        if output:
            output.close()


def stop_worker(worker: subprocess.Popen[bytes], seconds: float = 15) -> None:
    """Let a worker finish what it holds; after ``seconds`` it is killed, and others can take over."""
    if worker.poll() is None:
        worker.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.wait(seconds)
        worker.kill()
    worker.wait()


def end_with(parent: int) -> None:
    """Be sent SIGTERM when the process ``parent``, which started this one, is gone; end now if it already is."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_END_WITH_PARENT, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(0)
