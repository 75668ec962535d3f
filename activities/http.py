"""HTTP steps: from a request to the raw result.

    perform: policy -> parse URL -> headers and body -> look up -> judge -> connect -> send -> read
             -> result text, or ActivityError(Failure)

Headers of the caller
- ``Host`` must be the URL's own host, else it is refused: rules are about hosts, and a server that serves many would
  follow the header instead. ``Content-Length`` is dropped, it is computed. What is in ``_REFUSED`` would change where
  the request ends, or what becomes of the connection after it, and is refused.
- In a multipart request ``Content-Type`` is dropped, because it carries the boundary.
- ``User-Agent``, ``Accept``, ``Accept-Encoding``, ``Authorization`` and ``Idempotency-Key`` are the caller's if given.
"""

from __future__ import annotations

import base64
import importlib.metadata
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

import certifi
import httpcore
import httpx

from perdure.activities import multipart
from perdure.activities.addresses import IPAddress, parse_address
from perdure.activities.egress import Kind, Limits, Policy, judge, refuse_name
from perdure.activities.failures import ActivityError, Failure
from perdure.activities.request import HttpRequest, parse_request, refuse
from perdure.activities.response import (
    ACCEPT_ENCODING,
    REPEATABLE,
    Answer,
    BodyBroken,
    BodyTooLarge,
    read_answer,
    result_text,
    retry_after,
    shown_body,
    storable,
    worth_retrying,
)
from perdure.activities.target import BadUrl, Target, parse_url
from perdure.activities.wire import Cancelled, CertificateRefused, DeadlineReached, PinnedTransport, Watch

__all__ = ["HttpClient", "HttpRequest", "Resolver", "TransientAnswer", "explain_url", "parse_request"]

Resolver = Callable[[str, int], Sequence[str]]  # host, port -> addresses; raises OSError

_REFUSED = frozenset(
    {
        "connection",
        "expect",
        "http2-settings",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_MAX_SHOWN_URL = 2000
_EXPLAIN_SECONDS = 15.0


class TransientAnswer(ActivityError):
    """The server answered 408 or 429. When no further attempt is made, ``result`` is the step's result after all, as
    it is for every status below 500.
    """

    def __init__(self, failure: Failure, result: str) -> None:
        super().__init__(failure)
        self.result = result


def system_resolver(host: str, port: int) -> list[str]:
    """The addresses of a host by the system's means. Raises ``OSError``."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def system_trust() -> ssl.SSLContext:
    """TLS that trusts what the system trusts (``SSL_CERT_FILE`` included), or certifi's list if it trusts nothing."""
    context = ssl.create_default_context()
    paths: tuple[str | None, ...] = ssl.get_default_verify_paths()  # file and directory first, None if not there
    if not paths[0] and not (paths[1] and any(Path(paths[1]).iterdir())):
        context.load_verify_locations(certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    return context


@dataclass(frozen=True, slots=True)
class _Call:
    """One attempt: what is needed to send it and to name it in messages."""

    request: HttpRequest
    target: Target
    shown: str
    seconds: float
    limits: Limits

    @property
    def repeatable(self) -> bool:
        """Whether the request may be sent twice; a key of ours means nothing to a server that was not told of it."""
        return self.request.method in REPEATABLE or self.request.header("idempotency-key") is not None


class HttpClient:
    """Sends requests, each on a connection of its own. One object serves all threads of a worker.

    ``resolver`` and ``tls`` are given by tests; their defaults are the system's.
    """

    def __init__(self, resolver: Resolver = system_resolver, tls: ssl.SSLContext | None = None) -> None:
        self._resolver = resolver
        self._given_tls = tls
        self._tls_lock = threading.Lock()

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return self._given_tls or system_trust()

    def perform(
        self,
        request: HttpRequest,
        policy: Policy,
        step_key: str,
        cancelled: threading.Event | None = None,
        limits: Limits | None = None,
    ) -> str:
        """Send a request and return the raw result, compact JSON. ``limits`` are the policy's if not given.

        Raises ``ActivityError``: the policy refused it, it could not be sent or answered, or the status is 5xx; for
        408 and 429 where another attempt may help it is a ``TransientAnswer``.
        """
        call = _prepare(request, policy, limits or policy.limits)
        body, content_type = _content(call)
        headers = _headers(call, content_type, step_key)
        watch = Watch(call.seconds, cancelled)
        try:
            answer = self._exchange(call, policy, watch, headers, body)
        except _TRANSPORT_ERRORS as error:
            raise ActivityError(_failure(call, watch, error)) from error
        return _conclude(call, answer, watch.elapsed_ms())

    def resolve(self, target: Target, watch: Watch) -> tuple[IPAddress, ...]:
        """The addresses of a target; those of a literal are itself. Raises ``OSError`` and what the watch raises."""
        if target.literal is not None:
            return (target.literal,)
        found = watch.result_of(lambda: self._resolver(target.host, target.port))
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "no address")
        return tuple(parse_address(text) for text in found)

    def _exchange(
        self, call: _Call, policy: Policy, watch: Watch, headers: list[tuple[bytes, bytes]], body: bytes | None
    ) -> Answer:
        verdict = judge(policy, call.target, self.resolve(call.target, watch))
        if verdict.reason is not None:
            refuse(verdict.reason)
        outgoing = httpx.Request(call.request.method, call.target.url, headers=headers, content=body)
        with closing(PinnedTransport(call.target, verdict.allowed_addresses, watch, self._trust(call))) as transport:
            response = transport.handle_request(outgoing)
            chunks = response.iter_raw()
            return read_answer(response.status_code, response.headers.raw, chunks, call.limits.max_response_bytes)

    def _trust(self, call: _Call) -> ssl.SSLContext | None:
        if call.target.scheme != "https":
            return None
        with self._tls_lock:  # reading the store is slow: once, and only if there is need
            return self._tls


_TRANSPORT_ERRORS = (
    Cancelled,
    CertificateRefused,
    DeadlineReached,
    BodyBroken,
    BodyTooLarge,
    OSError,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpx.InvalidURL,
)


def _prepare(request: HttpRequest, policy: Policy, limits: Limits) -> _Call:
    """Everything that can be said against a request without asking the network."""
    target = _judged_target(policy, request.url, request.kind)
    shown = storable(request.shown_url or target.url)[:_MAX_SHOWN_URL]
    return _Call(request, target, shown, min(request.timeout_seconds, limits.max_timeout_seconds), limits)


def _judged_target(policy: Policy, url: str, kind: Kind) -> Target:
    reason = policy.refuse_kind(kind)
    if reason is not None:
        refuse(reason)
    try:
        target = parse_url(url)
    except BadUrl as error:
        refuse(str(error))
    reason = refuse_name(policy, target)
    if reason is not None:
        refuse(reason)
    return target


def _content(call: _Call) -> tuple[bytes | None, str | None]:
    """The body, and the Content-Type if it is not the caller's to choose."""
    body, content_type = call.request.body, None
    if call.request.kind == "HTTP_MULTIPART":
        body, content_type = multipart.encode(call.request.parts)
    limit = call.limits.max_request_bytes
    if body is not None and len(body) > limit:
        refuse(f"HTTP request too large: a body of {len(body)} bytes, the limit is {limit} (http_max_request_bytes)")
    return body, content_type


def _headers(call: _Call, content_type: str | None, step_key: str) -> list[tuple[bytes, bytes]]:
    """The caller's headers after checking, and ours where there is none of the caller's."""
    given = [(name, value) for name, value in call.request.headers if _admitted(call, name, value, content_type)]
    ours = {
        "Host": call.target.authority,
        "User-Agent": f"perdure/{_version()}",
        "Accept": "*/*",
        "Accept-Encoding": ACCEPT_ENCODING,
        "Idempotency-Key": step_key,
        "Connection": "close",
        **({"Content-Type": content_type} if content_type else {}),
        **({"Authorization": _basic(call.target.user_info)} if call.target.user_info else {}),
    }
    names = {name.lower() for name, _ in given}
    merged = [(name, value) for name, value in ours.items() if name.lower() not in names] + given
    return [(name.encode("ascii"), value.encode("utf-8")) for name, value in merged]


def _admitted(call: _Call, name: str, value: str, content_type: str | None) -> bool:
    """Whether a header of the caller is sent; False drops it. Raises ``ActivityError`` for one that is refused."""
    key = name.lower()
    if key in _REFUSED:
        refuse(f"Blocked: header '{name}' must not be set, it belongs to the connection")
    if key == "host" and value.lower() != call.target.authority:
        refuse("Blocked: header 'Host' must not differ from the host of the URL")
    return key not in ("host", "content-length") and not (key == "content-type" and content_type)


def _basic(user_info: str) -> str:
    user, _, password = user_info.partition(":")
    token = base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode("utf-8", "replace"))
    return f"Basic {token.decode('ascii')}"


def _version() -> str:
    try:
        return importlib.metadata.version("perdure")
    except importlib.metadata.PackageNotFoundError:
        return "0"


def _conclude(call: _Call, answer: Answer, duration_ms: int) -> str:
    """The result, or the failure that the status means."""
    transient = worth_retrying(answer.status, answer.headers, call.repeatable)
    if answer.status < 500 and not transient:
        return result_text(answer, duration_ms)
    said = shown_body(answer.body, call.request.hide)
    failure = Failure(
        storable(f"HTTP {call.request.method} {call.shown} returned {answer.status}: {said}"),
        transient=transient,
        retry_after=retry_after(answer.headers, call.limits.max_retry_after_seconds, datetime.now(UTC)),
    )
    if answer.status < 500:
        raise TransientAnswer(failure, result_text(answer, duration_ms))
    raise ActivityError(failure)


def _failure(call: _Call, watch: Watch, error: Exception) -> Failure:
    """What went wrong on the way, in the words that users match on. Nothing sent: another attempt harms nobody."""
    safe = call.repeatable or not watch.sent
    match error:
        case DeadlineReached():
            return Failure(f"HTTP timeout after {call.seconds:g}s: {call.shown}", transient=safe)
        case Cancelled():
            return Failure(f"HTTP request cancelled: {call.shown}")
        case CertificateRefused():
            return Failure(f"HTTP connection failed: {call.shown}: certificate not accepted: {error}")
        case BodyTooLarge():
            limit = call.limits.max_response_bytes
            return Failure(
                f"HTTP response too large: {call.shown} sent more than {limit} bytes (http_max_response_bytes)"
            )
        case socket.gaierror():
            unknown = error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", None))
            words = f"the name '{call.target.host}' cannot be resolved ({error.strerror})"
            return Failure(f"HTTP connection failed: {call.shown}: {words}", transient=not unknown)
        case httpcore.ConnectError() | OSError():
            return Failure(f"HTTP connection failed: {call.shown}: {error}", transient=True)
        case httpx.InvalidURL() | httpcore.LocalProtocolError():
            return Failure(storable(f"HTTP request failed: {call.shown}: {error}"))
        case _:
            return Failure(storable(f"HTTP request failed: {call.shown}: {error}"), transient=safe)


def explain_url(client: HttpClient, policy: Policy, url: str, kind: Kind = "HTTP") -> list[str]:
    """What would become of a request and why, a line each; looks the name up but sends nothing. The last line begins
    with ``Allowed`` or ``Blocked``.
    """
    lines = [f"role: {policy.role or '(none)'}"]
    try:
        target = _judged_target(policy, url, kind)
        lines.append(f"host: {target.host}, port {target.port}, {target.scheme}")
        verdict = judge(policy, target, client.resolve(target, Watch(_EXPLAIN_SECONDS)))
    except ActivityError as error:
        return [*lines, error.failure.message]
    except (OSError, DeadlineReached) as error:
        return [*lines, f"Blocked: the name cannot be resolved now: {str(error) or 'no answer in time'}"]
    lines += verdict.trail
    return [*lines, verdict.reason or f"Allowed: connects to {', '.join(map(str, verdict.allowed_addresses))}"]
