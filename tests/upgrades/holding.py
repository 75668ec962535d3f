"""An HTTP server that answers when it is told to, and writes down what it was asked."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(slots=True)
class Holding:
    """``asked`` maps a path to the Idempotency-Key and the body of each request for it."""

    url: str
    asked: dict[str, list[tuple[str, bytes]]] = field(default_factory=dict)
    may_answer: threading.Event = field(default_factory=threading.Event)


@contextlib.contextmanager
def holding(*, answers: bool) -> Iterator[Holding]:
    """A server on the loopback address; without ``answers`` it keeps everybody waiting until its end."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            told.asked.setdefault(self.path, []).append((str(self.headers.get("Idempotency-Key")), body))
            told.may_answer.wait()
            with contextlib.suppress(OSError):
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        told = Holding(f"http://127.0.0.1:{server.server_port}")
        if answers:
            told.may_answer.set()
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield told
        finally:
            told.may_answer.set()
            server.shutdown()
            thread.join(5)
