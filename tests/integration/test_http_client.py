"""The HTTP client against real servers on the loopback address, well-behaved and not."""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import servers.misbehaving
from perdure.activities.egress import Limits, Policy
from perdure.activities.failures import ActivityError, Failure
from perdure.activities.http import HttpClient, TransientAnswer
from perdure.activities.multipart import Part
from perdure.activities.request import HttpRequest
from servers.misbehaving import LOOPBACK, Server, Talk, silent_port

CERTIFICATE = Path(servers.misbehaving.__file__).with_name("loopback.pem")
POLICY = Policy.from_json(
    '{"role": "alice", "enabled": true, "may_http": true, "may_multipart": true,'
    ' "rules": [{"rule_no": 1, "action": "allow", "network": "127.0.0.0/8"}]}'
)
SMALL = Limits(max_request_bytes=1000, max_response_bytes=1000, max_timeout_seconds=2, max_retry_after_seconds=5)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Starts servers and ends them with the test."""
    started: list[Server] = []

    def start(handler: Callable[[Talk], None], **options: Any) -> Server:
        started.append(Server(handler, **options).__enter__())
        return started[-1]

    yield start
    for server in started:
        server.__exit__()


def perform(url: str, method: str = "GET", *, client: HttpClient | None = None, **options: Any) -> dict[str, Any]:
    limits, cancelled = options.pop("limits", SMALL), options.pop("cancelled", None)
    policy = options.pop("policy", POLICY)
    request = HttpRequest(url, method, timeout_seconds=options.pop("timeout", 5.0), **options)
    text = (client or HttpClient()).perform(request, policy, "step-1", cancelled, limits)
    result: dict[str, Any] = json.loads(text)
    return result


def failure(url: str, method: str = "GET", **options: Any) -> Failure:
    with pytest.raises(ActivityError) as caught:
        perform(url, method, **options)
    return caught.value.failure


# ---- what is sent and what comes back


def test_request_goes_out_as_it_was_configured(serve: Callable[..., Server]) -> None:
    server = serve(lambda talk: talk.answer(201, b'{"a":1}', content_type="application/json", X_Mine="y"))
    result = perform(
        server.url("/p?q=1#part"), "POST", body="ü".encode(), headers=(("X-Ours", "1"), ("Accept", "text/plain"))
    )
    sent = server.requests[0]
    assert sent.line == "POST /p?q=1 HTTP/1.1"
    assert sent.body == "ü".encode()
    assert sent.headers["host"] == f"{LOOPBACK}:{server.port}"
    assert (sent.headers["x-ours"], sent.headers["accept"], sent.headers["content-length"]) == ("1", "text/plain", "2")
    assert sent.headers["user-agent"].startswith("perdure/")
    assert sent.headers["idempotency-key"] == "step-1"
    assert list(result) == ["status", "body", "encoding", "headers", "ok", "duration_ms"]
    assert (result["status"], result["ok"], result["body"], result["encoding"]) == (201, True, '{"a":1}', "text")
    assert result["headers"]["x-mine"] == "y"


def test_headers_of_the_caller_replace_ours(serve: Callable[..., Server]) -> None:
    server = serve(lambda talk: talk.answer())
    headers = (
        ("user-agent", "mine"),
        ("IDEMPOTENCY-KEY", "k"),
        ("Content-Length", "999"),
        ("host", f"{LOOPBACK}:{server.port}"),
    )
    perform(server.url(), "POST", body=b"abc", headers=headers)
    raw = server.requests[0].raw.lower()
    for line in (b"user-agent: mine", b"idempotency-key: k", b"content-length: 3", b"host: "):
        assert raw.count(line) == raw.count(line.partition(b":")[0] + b":") == 1


@pytest.mark.parametrize(
    "header",
    [
        ("Transfer-Encoding", "chunked"),
        ("Connection", "keep-alive"),
        ("upgrade", "websocket"),
        ("Expect", "100-continue"),
        ("TE", "trailers"),
        ("Trailer", "X"),
        ("Host", "other.example"),
        ("Host", ""),
    ],
)
def test_framing_header_of_the_caller_is_refused(serve: Callable[..., Server], header: tuple[str, str]) -> None:
    server = serve(lambda talk: talk.answer())
    assert "Blocked: header" in failure(server.url(), headers=(header,)).message
    assert server.connections == 0


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH"])
def test_body_is_sent_whatever_the_method(serve: Callable[..., Server], method: str) -> None:
    server = serve(lambda talk: talk.answer())
    perform(server.url(), method, body=b"abc")
    assert (server.requests[0].method, server.requests[0].body) == (method, b"abc")


def test_multipart_request_carries_its_own_content_type(serve: Callable[..., Server]) -> None:
    server = serve(lambda talk: talk.answer())
    part = Part("file", b"\0\xff", "a.bin", "application/octet-stream")
    perform(server.url(), "PUT", kind="HTTP_MULTIPART", parts=(part,), headers=(("content-type", "text/plain"),))
    assert server.requests[0].headers["content-type"].startswith("multipart/form-data; boundary=")
    assert b'name="file"; filename="a.bin"\r\nContent-Type: application/octet-stream\r\n\r\n\0\xff\r\n' in (
        server.requests[0].body
    )


def test_user_info_of_the_url_becomes_a_header_and_stays_out_of_messages(serve: Callable[..., Server]) -> None:
    server = serve(lambda talk: talk.answer(500))
    url = server.url().replace("http://", "http://us%65r:s%40cret@")
    message = failure(url).message
    assert "cret" not in message
    assert server.requests[0].headers["authorization"] == "Basic dXNlcjpzQGNyZXQ="


def test_environment_proxies_are_ignored(serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, server = serve(lambda talk: talk.answer(200, b"proxy")), serve(lambda talk: talk.answer(200, b"direct"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url())
    monkeypatch.setenv("no_proxy", "")
    assert perform(server.url())["body"] == "direct"
    assert proxy.connections == 0


def test_redirect_is_returned_and_not_followed(serve: Callable[..., Server]) -> None:
    private = serve(lambda talk: talk.answer(200, b"secret"))
    server = serve(lambda talk: talk.answer(302, location=private.url("/metadata")))
    result = perform(server.url())
    assert (result["status"], result["ok"], result["headers"]["location"]) == (302, False, private.url("/metadata"))
    assert private.connections == 0


@pytest.mark.parametrize("location", ["http://[bad", "//", "\x01", "http://\xff/"])
def test_redirect_to_nonsense_is_returned_all_the_same(serve: Callable[..., Server], location: str) -> None:
    server = serve(lambda talk: talk.send(f"HTTP/1.1 301 M\r\nLocation: {location}\r\n\r\n".encode("latin-1")))
    assert perform(server.url())["status"] == 301


def test_every_request_has_its_own_connection_and_no_cookies(serve: Callable[..., Server]) -> None:
    server = serve(lambda talk: talk.answer(set_cookie="a=b"))
    client = HttpClient()
    perform(server.url(), client=client)
    perform(server.url(), client=client)
    assert server.connections == 2
    assert "cookie" not in server.requests[1].headers


def test_404_is_a_result(serve: Callable[..., Server]) -> None:
    assert perform(serve(lambda talk: talk.answer(404, b"no")).url())["status"] == 404


def test_binary_body_is_base64(serve: Callable[..., Server]) -> None:
    result = perform(serve(lambda talk: talk.answer(200, b"\0\xff", content_type="image/png")).url())
    assert (result["body"], result["encoding"]) == ("AP8=", "base64")


def test_gzip_body_is_read(serve: Callable[..., Server]) -> None:
    body = gzip.compress(b"hello")
    server = serve(lambda talk: talk.answer(200, body, content_encoding="gzip", content_type="text/plain"))
    assert perform(server.url())["body"] == "hello"
    assert server.requests[0].headers["accept-encoding"] == "gzip, deflate"


# ---- what is retried


@pytest.mark.parametrize(
    ("method", "key", "transient"),
    [("GET", False, True), ("PUT", False, True), ("DELETE", False, True), ("POST", False, False),
     ("PATCH", False, False), ("POST", True, True), ("PATCH", True, True)],
)  # fmt: skip
def test_5xx_fails_and_may_be_retried_if_that_is_harmless(
    serve: Callable[..., Server], method: str, key: bool, transient: bool
) -> None:
    server = serve(lambda talk: talk.answer(500, b"x" * 600))
    headers = (("Idempotency-Key", "mine"),) if key else ()
    failed = failure(server.url("/a"), method, headers=headers)
    assert failed.message == f"HTTP {method} {server.url('/a')} returned 500: {'x' * 512}"
    assert failed.transient is transient


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_503_with_retry_after_is_transient_for_every_method(serve: Callable[..., Server], method: str) -> None:
    failed = failure(serve(lambda talk: talk.answer(503, b"busy", retry_after="3")).url(), method)
    assert (failed.transient, failed.retry_after) == (True, 3.0)
    capped = failure(serve(lambda talk: talk.answer(503, b"busy", retry_after="3600")).url(), method)
    assert capped.retry_after == 5.0


def test_429_then_200(serve: Callable[..., Server]) -> None:
    def answer(talk: Talk) -> None:
        talk.answer(*((429, b"slow down") if talk.number == 1 else (200, b"done")), retry_after="0")

    server = serve(answer)
    with pytest.raises(TransientAnswer) as caught:
        perform(server.url(), "POST")
    assert (caught.value.failure.transient, caught.value.failure.retry_after) == (True, 0.0)
    assert json.loads(caught.value.result)["status"] == 429, "the result if nobody tries again"
    assert perform(server.url(), "POST")["body"] == "done"


def test_408_is_a_result_where_it_cannot_be_retried(serve: Callable[..., Server]) -> None:
    server = serve(lambda talk: talk.answer(408))
    assert perform(server.url(), "POST")["status"] == 408
    assert failure(server.url(), "GET").transient


def test_refused_connection_is_transient_for_every_method() -> None:
    with silent_port() as port:
        failed = failure(f"http://{LOOPBACK}:{port}/x", "POST")
    assert failed.message == f"HTTP connection failed: http://{LOOPBACK}:{port}/x: Connection refused"
    assert failed.transient


@pytest.mark.parametrize(("method", "transient"), [("GET", True), ("POST", False)])
@pytest.mark.parametrize(
    "behaviour",
    [
        lambda talk: talk.reset(),
        lambda talk: None,  # closes without a word
        lambda talk: talk.send(b"HTTP/1.1 200 OK\r\nContent-Le"),
        lambda talk: talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ncut off"),
        lambda talk: talk.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"),
        lambda talk: talk.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n"),
        lambda talk: talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"),
        lambda talk: talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        lambda talk: talk.send(b"HTTP/1.1 200 OK\r\nBad Header\r\n\r\n"),
        lambda talk: talk.send(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000),
        lambda talk: talk.send(b"\0\xffnot http at all\r\n\r\n"),
        lambda talk: talk.send(b"SSH-2.0-OpenSSH\r\n"),
        lambda talk: talk.answer(200, b"\x1f\x8b broken", content_encoding="gzip"),
        lambda talk: talk.answer(200, gzip.compress(b"x" * 99)[:-4], content_encoding="gzip"),
    ],
)
def test_broken_answer_fails_and_may_be_retried_if_that_is_harmless(
    serve: Callable[..., Server], behaviour: Callable[[Talk], None], method: str, transient: bool
) -> None:
    server = serve(behaviour)
    failed = failure(server.url(), method, limits=replace(SMALL, max_response_bytes=10_000))
    assert failed.message.startswith(f"HTTP request failed: {server.url()}: ")
    assert failed.transient is transient


def test_bytes_after_the_declared_length_are_not_part_of_the_body(serve: Callable[..., Server]) -> None:
    assert perform(serve(lambda talk: talk.send(OK + b"HTTP/1.1 200 OK\r\n\r\nsmuggled")).url())["body"] == "hi"


def test_informational_responses_are_passed_over(serve: Callable[..., Server]) -> None:
    assert perform(serve(lambda talk: talk.send(b"HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n" + OK)).url())["ok"]


def test_unasked_for_upgrade_is_no_way_around(serve: Callable[..., Server]) -> None:
    server = serve(lambda talk: talk.send(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nraw"))
    assert failure(server.url()).message.startswith("HTTP request failed")


# ---- limits


def test_request_that_is_too_large_is_not_sent(serve: Callable[..., Server]) -> None:
    server = serve(lambda talk: talk.answer())
    failed = failure(server.url(), "POST", body=b"x" * 1001)
    assert "HTTP request too large: a body of 1001 bytes, the limit is 1000 (http_max_request_bytes)" in failed.message
    parts = (Part("a", b"x" * 990),)
    assert "too large" in failure(server.url(), "POST", kind="HTTP_MULTIPART", parts=parts).message
    assert server.connections == 0


def _endless(talk: Talk) -> None:
    talk.send(b"HTTP/1.1 200 OK\r\n\r\n")
    while not talk.stopping.is_set():
        talk.send(b"x" * 65_536)


@pytest.mark.parametrize(
    "behaviour",
    [
        _endless,
        lambda talk: talk.answer(200, b"x" * 1001),
        lambda talk: talk.answer(200, gzip.compress(b"\0" * 20_000_000), content_encoding="gzip"),
        lambda talk: talk.answer(404, b"x" * 1001),
        lambda talk: talk.answer(500, b"x" * 1001),
    ],
)
def test_response_that_is_too_large_is_cut_off(serve: Callable[..., Server], behaviour: Callable[[Talk], None]) -> None:
    failed = failure(serve(behaviour).url())
    assert failed.message.startswith("HTTP response too large: ")
    assert failed.message.endswith(" sent more than 1000 bytes (http_max_response_bytes)")
    assert not failed.transient


def test_large_bodies_pass_in_both_directions(serve: Callable[..., Server]) -> None:
    big = b"0123456789abcdef" * 200_000
    server = serve(lambda talk: talk.answer(200, talk.request.body))
    result = perform(server.url(), "POST", body=big, limits=Limits(), timeout=30.0)
    assert result["body"].encode() == big


@pytest.mark.parametrize(
    "behaviour",
    [
        lambda talk: talk.stopping.wait(10),
        lambda talk: talk.trickle(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789", 0.05),
        lambda talk: talk.trickle(b"HTTP/1.1 102 Processing\r\n\r\n" * 100, 0.01),
    ],
)
def test_deadline_covers_the_whole_request(serve: Callable[..., Server], behaviour: Callable[[Talk], None]) -> None:
    server = serve(behaviour)
    started = time.monotonic()
    failed = failure(server.url("/slow"), timeout=0.3)
    assert failed.message == f"HTTP timeout after 0.3s: {server.url('/slow')}"
    assert failed.transient
    assert 0.3 <= time.monotonic() - started < 1.0
    assert not failure(server.url(), "POST", timeout=0.3).transient


def test_server_that_does_not_read_meets_the_deadline_too(serve: Callable[..., Server]) -> None:
    with socket.create_server((LOOPBACK, 0)) as listener:
        url = f"http://{LOOPBACK}:{listener.getsockname()[1]}/"
        failed = failure(url, "POST", body=b"x" * 20_000_000, limits=Limits(max_request_bytes=10**8), timeout=0.3)
    assert failed.message == f"HTTP timeout after 0.3s: {url}"


def test_timeout_has_a_ceiling(serve: Callable[..., Server]) -> None:
    server = serve(lambda talk: talk.stopping.wait(10))
    failed = failure(server.url(), timeout=1e6, limits=Limits(max_timeout_seconds=0.2))
    assert failed.message == f"HTTP timeout after 0.2s: {server.url()}"


@pytest.mark.parametrize("headers_first", [False, True])
def test_cancelled_request_ends_at_once_and_closes_its_connection(
    serve: Callable[..., Server], headers_first: bool
) -> None:
    closed, waiting, cancelled = threading.Event(), threading.Event(), threading.Event()

    def behaviour(talk: Talk) -> None:
        if headers_first:
            talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01")
        waiting.set()
        if talk.closed_by_peer(5):
            closed.set()

    server = serve(behaviour)
    messages: list[str] = []
    thread = threading.Thread(target=lambda: messages.append(failure(server.url(), cancelled=cancelled).message))
    thread.start()
    assert waiting.wait(5)
    started = time.monotonic()
    cancelled.set()
    thread.join(5)
    assert messages == [f"HTTP request cancelled: {server.url()}"]
    assert time.monotonic() - started < 0.5
    assert closed.wait(5)


def test_cancelled_before_it_began_sends_nothing(serve: Callable[..., Server]) -> None:
    server = serve(lambda talk: talk.answer())
    cancelled = threading.Event()
    cancelled.set()
    assert "cancelled" in failure(server.url(), cancelled=cancelled).message
    assert server.requests == []


# ---- TLS


@pytest.fixture
def secure(serve: Callable[..., Server]) -> Server:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return serve(lambda talk: talk.answer(200, b"secret", content_type="text/plain"), tls=context)


def to_loopback(host: str, port: int) -> list[str]:
    return [LOOPBACK]


def trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(CERTIFICATE))


def test_https_with_a_certificate_for_the_host(secure: Server) -> None:
    client = HttpClient(to_loopback, trusting())
    assert perform(secure.url("/", "good.example"), client=client)["body"] == "secret"
    assert perform(secure.url("/"), client=client)["body"] == "secret"
    assert secure.requests[0].headers["host"] == f"good.example:{secure.port}"


def test_https_with_a_certificate_for_another_host_is_refused(secure: Server) -> None:
    failed = failure(secure.url("/", "evil.example"), client=HttpClient(to_loopback, trusting()))
    assert "certificate not accepted" in failed.message
    assert not failed.transient
    assert secure.requests == []


def test_https_with_an_unknown_authority_is_refused(secure: Server) -> None:
    failed = failure(secure.url("/", "good.example"), client=HttpClient(to_loopback))
    assert failed.message.startswith("HTTP connection failed: ") and "certificate not accepted" in failed.message
    assert secure.requests == []


def test_large_body_over_tls_both_ways(serve: Callable[..., Server]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    server = serve(lambda talk: talk.answer(200, talk.request.body), tls=context)
    big = b"0123456789abcdef" * 100_000
    client = HttpClient(tls=trusting())
    assert perform(server.url(), "POST", body=big, client=client, limits=Limits())["body"].encode() == big


def test_server_that_speaks_no_tls(serve: Callable[..., Server]) -> None:
    server = serve(lambda talk: talk.answer())
    with socket.create_server((LOOPBACK, 0)) as listener:
        url = f"https://{LOOPBACK}:{listener.getsockname()[1]}/"
        assert "HTTP timeout after 0.3s" in failure(url, timeout=0.3, client=HttpClient(tls=trusting())).message
    url = server.url().replace("http:", "https:")
    assert "HTTP timeout" in failure(url, timeout=0.3, client=HttpClient(tls=trusting())).message


# ---- many at once


def test_one_client_serves_many_threads(serve: Callable[..., Server]) -> None:
    server = serve(lambda talk: talk.answer(200, talk.request.target.encode(), content_type="text/plain"))
    client, results = HttpClient(), {}

    def ask(number: int) -> None:
        results[number] = perform(server.url(f"/{number}"), client=client)["body"]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert results == {number: f"/{number}" for number in range(30)}
