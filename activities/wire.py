"""One request over one connection to addresses that were judged before.

A connection is made for one request and closed after it: nothing is kept that a request of another role could find
(an address that only one role may reach, a server's idea of who is logged in). The sockets never block for longer than
a slice of a second, so that the deadline of the whole request and a cancellation are seen at any point of it.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import httpcore
import httpx

from perdure.activities.addresses import IPAddress
from perdure.activities.target import Target

SLICE = 0.1  # seconds between two looks at the cancellation

_WRITE_CHUNK = 65_536
_MIN_CONNECT_SECONDS = 1.0
_T = TypeVar("_T")


class DeadlineReached(Exception):
    """The time for the whole request is over."""


class Cancelled(Exception):
    """The request was cancelled from outside."""


class CertificateRefused(Exception):
    """The server's certificate does not prove that it is the host in the URL."""


class Watch:
    """The deadline of a request, its cancellation, and how far it got (``sent``: a byte of it may be at the server)."""

    def __init__(self, seconds: float, cancelled: threading.Event | None = None) -> None:
        self.started = time.monotonic()
        self.deadline = self.started + seconds
        self.sent = False
        self._cancelled = cancelled

    def remaining(self) -> float:
        """Seconds until the deadline, more than 0. Raises ``DeadlineReached`` or ``Cancelled``."""
        if self._cancelled is not None and self._cancelled.is_set():
            raise Cancelled
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise DeadlineReached
        return left

    def elapsed_ms(self) -> int:
        """Whole milliseconds since the request began."""
        return round((time.monotonic() - self.started) * 1000)

    def wait(self, sock: socket.socket, event: int, until: float | None = None) -> None:
        """Return when the socket is ready or a slice of time is over. Raises as ``remaining``; ``TimeoutError`` past
        ``until`` (monotonic seconds).
        """
        left = min(self.remaining(), SLICE)
        if until is not None and time.monotonic() >= until:
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        with selectors.DefaultSelector() as selector:
            selector.register(sock, event)
            selector.select(left)

    def result_of(self, call: Callable[[], _T]) -> _T:
        """The result of a call that can be neither interrupted nor timed (a name look-up): it runs in a thread that
        is left behind when the watch says so.
        """
        done = threading.Event()
        outcome: list[_T] = []
        failure: list[BaseException] = []

        def run() -> None:
            try:
                outcome.append(call())
            except BaseException as error:  # noqa: BLE001  raised again where it was asked for
                failure.append(error)
            finally:
                done.set()

        threading.Thread(target=run, name="perdure-resolve", daemon=True).start()
        while not done.wait(min(self.remaining(), SLICE / 2)):
            pass
        if failure:
            raise failure[0]
        return outcome[0]


class WatchedStream(httpcore.NetworkStream):
    """A connected, non-blocking socket. The timeouts that httpcore passes are not needed: the watch has the one."""

    def __init__(self, sock: socket.socket, watch: Watch) -> None:
        self._sock = sock
        self._watch = watch

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        """At least one byte, or none at the end of the stream. Raises ``httpcore.ReadError``."""
        try:
            return self._complete(lambda: self._sock.recv(max_bytes), selectors.EVENT_READ)
        except OSError as error:
            raise httpcore.ReadError(_words(error)) from error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        """Send everything. Raises ``httpcore.WriteError``."""
        view = memoryview(buffer)
        try:
            while view:
                self._watch.sent = True
                chunk = view[:_WRITE_CHUNK]
                view = view[self._complete(lambda chunk=chunk: self._sock.send(chunk), selectors.EVENT_WRITE) :]  # type: ignore[misc]
        except OSError as error:
            raise httpcore.WriteError(_words(error)) from error

    def close(self) -> None:
        self._sock.close()

    def secured(self, tls: ssl.SSLContext, host: str) -> WatchedStream:
        """The same connection under TLS, with the certificate checked for ``host``.

        Raises ``httpcore.ConnectError`` or ``CertificateRefused``; the connection is closed then.
        """
        try:
            secured = tls.wrap_socket(self._sock, server_hostname=host, do_handshake_on_connect=False)
        except (OSError, ValueError) as error:
            self._sock.close()
            raise httpcore.ConnectError(_words(error)) from error
        stream = WatchedStream(secured, self._watch)
        try:
            stream._complete(secured.do_handshake, selectors.EVENT_READ)
        except ssl.SSLCertVerificationError as error:
            stream.close()
            raise CertificateRefused(error.verify_message) from error
        except OSError as error:
            stream.close()
            raise httpcore.ConnectError(_words(error)) from error
        except BaseException:
            stream.close()
            raise
        return stream

    def get_extra_info(self, info: str) -> Any:  # noqa: ARG002
        """Nothing: httpcore would ask whether HTTP/2 was agreed on, which it never is."""
        return None

    def _complete(self, operation: Callable[[], _T], event: int) -> _T:
        """Try until the operation goes through, waiting in between for what it lacks."""
        while True:
            self._watch.remaining()
            try:
                return operation()
            except ssl.SSLWantReadError:
                self._watch.wait(self._sock, selectors.EVENT_READ)
            except ssl.SSLWantWriteError:
                self._watch.wait(self._sock, selectors.EVENT_WRITE)
            except BlockingIOError:
                self._watch.wait(self._sock, event)


class PinnedBackend(httpcore.NetworkBackend):
    """Connects to the given addresses and to nothing else, whatever name it is asked for."""

    def __init__(
        self, target: Target, addresses: Sequence[IPAddress], watch: Watch, tls: ssl.SSLContext | None
    ) -> None:
        self._target = target
        self._addresses = tuple(addresses)
        self._watch = watch
        self._tls = tls

    def connect_tcp(self, *args: Any, **options: Any) -> httpcore.NetworkStream:  # noqa: ARG002
        """A connection to the first address that answers, under TLS if there is any.

        The arguments are not looked at: the name was looked up and judged already, and must not be looked up again.
        Raises ``httpcore.ConnectError`` with the last error.
        """
        last: OSError | None = None
        for left, address in zip(range(len(self._addresses), 0, -1), self._addresses, strict=True):
            until = time.monotonic() + max(self._watch.remaining() / left, _MIN_CONNECT_SECONDS)
            try:
                stream = WatchedStream(_connect(address, self._target.port, self._watch, until), self._watch)
            except OSError as error:
                last = error
            else:
                return stream.secured(self._tls, self._target.host) if self._tls else stream
        raise httpcore.ConnectError(_words(last) if last else "no address to connect to")

    def connect_unix_socket(self, *args: Any, **options: Any) -> httpcore.NetworkStream:  # noqa: ARG002
        raise httpcore.ConnectError("no Unix sockets here")

    def sleep(self, seconds: float) -> None:
        time.sleep(min(seconds, self._watch.remaining()))


def _connect(address: IPAddress, port: int, watch: Watch, until: float) -> socket.socket:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        code = sock.connect_ex((str(address), port))
        while code in (errno.EINPROGRESS, errno.EWOULDBLOCK):
            watch.wait(sock, selectors.EVENT_WRITE, until)
            code = _connect_state(sock)
        if code:
            raise OSError(code, os.strerror(code))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def _connect_state(sock: socket.socket) -> int:
    """0 when connected, EINPROGRESS while not, else the error."""
    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        return code
    try:
        sock.getpeername()
    except OSError:
        return errno.EINPROGRESS
    return 0


def _words(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


class _Body(httpx.SyncByteStream):
    def __init__(self, stream: Iterable[bytes]) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        yield from self._stream


class PinnedTransport(httpx.BaseTransport):
    """Carries one request to addresses judged before, under TLS if ``tls`` is given.

    It is used without an ``httpx.Client``, which would keep cookies for everybody and look into redirects that are only
    to be returned. For httpcore every request is plain HTTP: it would change the shared TLS context on every
    connection, under the feet of other threads. Raises httpcore's errors and those of this module.
    """

    def __init__(
        self, target: Target, addresses: Sequence[IPAddress], watch: Watch, tls: ssl.SSLContext | None
    ) -> None:
        host, path = target.host.encode("ascii"), target.path.encode("ascii")
        self._url = httpcore.URL(scheme=b"http", host=host, port=target.port, target=path)
        backend = PinnedBackend(target, addresses, watch, tls)
        self._connection = httpcore.HTTPConnection(self._url.origin, network_backend=backend)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send it and return as soon as the head of the response is there."""
        answer = self._connection.handle_request(
            httpcore.Request(request.method, self._url, headers=request.headers.raw, content=request.read())
        )
        assert isinstance(answer.stream, Iterable)
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer.stream), request=request)

    def close(self) -> None:
        self._connection.close()
