"""A server that does what it is told, byte for byte: what a well-behaved library would not let a server do.

with Server(lambda talk: talk.send(b"HTTP/1.1 200 OK\\r\\nContent-Length: 9\\r\\n\\r\\ncut o")) as server:
    ... server.url("/x"), server.requests ...
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Self

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came over the wire. Header names are in lower case."""

    line: str
    headers: dict[str, str]
    body: bytes
    raw: bytes

    @property
    def method(self) -> str:
        return self.line.split(" ")[0]

    @property
    def target(self) -> str:
        return self.line.split(" ")[1]


class Talk:
    """One connection: the request that was read from it, and the means to answer."""

    def __init__(self, sock: socket.socket, request: Received, number: int, stopping: threading.Event) -> None:
        self.request = request
        self.number = number  # counts the server's requests from 1
        self.stopping = stopping  # wait on this to do nothing until the end of the test
        self._sock = sock

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._sock.sendall(data)

    def answer(self, status: int = 200, body: bytes = b"", **headers: str) -> None:
        """Send a correct response. Header names are written with underscores."""
        fields = {"content_length": str(len(body)), **headers}
        lines = [f"HTTP/1.1 {status} Word", *(f"{k.replace('_', '-')}: {v}" for k, v in fields.items()), "", ""]
        self.send("\r\n".join(lines).encode() + body)

    def trickle(self, data: bytes, every: float) -> None:
        """Send byte by byte, until the end of the data or of the test."""
        for byte in data:
            if self.stopping.wait(every):
                return
            self.send(bytes([byte]))

    def reset(self) -> None:
        """Drop the connection as a crashed peer would."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self._sock.close()

    def closed_by_peer(self, seconds: float) -> bool:
        """Whether the client ends the connection within this time."""
        self._sock.settimeout(seconds)
        try:
            return self._sock.recv(1) == b""
        except TimeoutError:
            return False
        except OSError:
            return True


Handler = Callable[[Talk], None]


@dataclass
class Server:
    """Listens on a free port of the loopback address; one thread for each connection, one request on each."""

    handler: Handler
    address: str = LOOPBACK
    tls: ssl.SSLContext | None = None
    requests: list[Received] = field(default_factory=list)
    connections: int = 0

    def __enter__(self) -> Self:
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server((self.address, 0), backlog=64)
        self._listener.settimeout(0.02)
        self.port = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopping.set()
        self._acceptor.join(5)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)

    def url(self, path: str = "/", host: str | None = None) -> str:
        """A URL of this server, by address or by a name that a test's resolver knows."""
        return f"{'https' if self.tls else 'http'}://{host or self.address}:{self.port}{path}"

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                sock, _ = self._listener.accept()
            except TimeoutError:
                continue
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), self._secured(sock) as connection:
            connection.settimeout(10)
            request = _read_request(connection)
            if request is not None:
                self.requests.append(request)
                self.handler(Talk(connection, request, len(self.requests), self._stopping))

    @contextlib.contextmanager
    def _secured(self, sock: socket.socket) -> Iterator[socket.socket]:
        with sock:
            if self.tls is None:
                yield sock
            else:
                with self.tls.wrap_socket(sock, server_side=True) as secured:
                    yield secured


def _read_request(sock: socket.socket) -> Received | None:
    raw = b""
    while b"\r\n\r\n" not in raw:
        chunk = sock.recv(65_536)
        if not chunk:
            return None
        raw += chunk
    head, _, body = raw.partition(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (f.partition(":") for f in fields)}
    while len(body) < int(headers.get("content-length", "0")):
        body += sock.recv(65_536)
    return Received(line, headers, body, raw)


@contextlib.contextmanager
def silent_port() -> Iterator[int]:
    """A port of the loopback address on which nobody listens."""
    with socket.socket() as sock:
        sock.bind((LOOPBACK, 0))
        yield sock.getsockname()[1]
