"""The package ``httpbin`` on the loopback address, under the standard library's WSGI server."""

from __future__ import annotations

import contextlib
import importlib
import threading
import warnings
from collections.abc import Iterator
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server


class _Threaded(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@contextlib.contextmanager
def httpbin() -> Iterator[str]:
    """The base URL of a running httpbin. Raises ``ImportError`` where the package is not installed."""
    with warnings.catch_warnings():  # its own, of no concern here
        warnings.simplefilter("ignore")
        application = importlib.import_module("httpbin").app
    with make_server("127.0.0.1", 0, application, _Threaded, _Silent) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(5)
