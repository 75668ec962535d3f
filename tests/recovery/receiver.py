"""A real HTTP server that remembers what it was asked, and can keep a client waiting."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(slots=True)
class Receiver:
    """``asked``: path and Idempotency-Key of each request, in order. /slow waits for ``answer``."""

    url: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)
    answer: threading.Event = field(default_factory=threading.Event)

    def keys(self, path: str) -> list[str]:
        """The keys that this path was asked with."""
        return [key for asked, key in self.asked if asked == path]


@contextlib.contextmanager
def receiver() -> Iterator[Receiver]:
    """A receiver that listens on the loopback."""
    made = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            made.asked.append((self.path, self.headers.get("Idempotency-Key") or ""))
            if self.path.startswith("/slow"):
                made.answer.wait(120)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(b"ok")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        made.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield made
        finally:
            made.answer.set()
            server.shutdown()
            thread.join(5)
