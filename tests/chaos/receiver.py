"""An HTTP server that writes down what it was asked, as a row of ``effects`` with the request's Idempotency-Key."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cluster import Database


@contextlib.contextmanager
def receiver(database: Database) -> Iterator[str]:
    """Its URL; ``<url>/<instance>`` counts as the step ``request`` of that instance."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            key = self.headers.get("Idempotency-Key")
            with database.connect("alice") as alice:
                values = [self.path.strip("/"), key]
                alice.execute("INSERT INTO effects (instance, step, key) VALUES (%s, 'request', %s)", values)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(b"ok")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(5)
