"""The address filter under attack: names that change between look-ups, many spellings, redirects, the words said."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from perdure.activities.egress import Policy
from perdure.activities.failures import ActivityError, Failure
from perdure.activities.http import HttpClient, Resolver, explain_url
from perdure.activities.request import HttpRequest
from servers.misbehaving import LOOPBACK, Server


def policy(*rules: dict[str, object]) -> Policy:
    rows = [{"rule_no": number, **rule} for number, rule in enumerate(rules, 1)]
    return Policy.from_json(
        json.dumps({"role": "alice", "enabled": True, "may_http": True, "may_multipart": True, "rules": rows})
    )


OPEN = policy({"action": "allow", "network": "127.0.0.0/8"})


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(lambda talk: talk.answer(200, b"reached", content_type="text/plain")) as running:
        yield running


def get(url: str, given: Policy, resolver: Resolver | None = None) -> str:
    client = HttpClient(resolver) if resolver else HttpClient()
    text = client.perform(HttpRequest(url, "GET", timeout_seconds=3), given, "step-1")
    return str(json.loads(text)["body"])


def refused(url: str, given: Policy, resolver: Resolver | None = None) -> Failure:
    with pytest.raises(ActivityError) as caught:
        get(url, given, resolver)
    assert caught.value.failure.message.startswith("Blocked: "), caught.value.failure.message
    assert not caught.value.failure.transient
    return caught.value.failure


class Answers:
    """A resolver whose answers change: the attacker's name server."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append((host, port))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def test_name_is_looked_up_once_and_the_judged_address_is_connected_to(server: Server) -> None:
    resolver = Answers([LOOPBACK], ["127.0.0.2"])
    assert get(server.url("/", "name.example"), OPEN, resolver) == "reached"
    assert resolver.asked == [("name.example", server.port)]
    assert server.requests[0].headers["host"] == f"name.example:{server.port}"


def test_name_that_changes_to_a_private_address_is_refused(server: Server) -> None:
    only_first = policy({"action": "allow", "network": "127.0.0.1/32"})
    resolver = Answers([LOOPBACK], ["127.0.0.2"])
    assert get(server.url("/", "name.example"), only_first, resolver) == "reached"
    assert "restricted range" in refused(server.url("/", "name.example"), only_first, resolver).message


def test_only_allowed_addresses_of_a_name_are_used(server: Server) -> None:
    resolver = Answers(["10.0.0.1", "::1", LOOPBACK, "169.254.169.254"])
    assert get(server.url("/", "name.example"), OPEN, resolver) == "reached"


def test_next_address_is_tried_when_one_does_not_answer(server: Server) -> None:
    assert get(server.url("/", "name.example"), OPEN, Answers(["127.0.0.9", LOOPBACK])) == "reached"


def test_system_resolver_and_hosts_file_are_judged_like_any_name(server: Server) -> None:
    assert "'localhost' is in a restricted range" in refused(server.url("/", "localhost"), policy()).message
    assert get(server.url("/", "localhost"), OPEN) == "reached"


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001", "127.0.0.1.",
     "user@127.0.0.1", "example.org@127.0.0.1", "１２７.０.０.１", "127。0。0。1", "[::1]", "[::ffff:127.0.0.1]",
     "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[::127.0.0.1]", "0.0.0.0", "[::]", "%31%32%37.0.0.1",
     "[::1%25lo]", "①②⑦.⓪.⓪.①"],
)  # fmt: skip
def test_no_spelling_of_the_loopback_address_gets_through(server: Server, host: str) -> None:
    failed = refused(f"http://{host}:{server.port}/", policy())
    assert any(words in failed.message for words in ("bare IP", "not in the allowed"))
    assert server.connections == 0


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "169.254.169.254", "100.64.0.1", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1",
     "64:ff9b:1::7f00:1", "2002:7f00:1::1", "fe80::1", "fd00::1", "0.0.0.0", "224.0.0.1", "255.255.255.255",
     "198.18.0.1"],
)  # fmt: skip
def test_no_name_leads_to_a_special_address(server: Server, address: str) -> None:
    failed = refused(server.url("/", "name.example"), policy(), Answers([address]))
    assert "the resolved IP address for 'name.example' is in a restricted range" in failed.message
    assert server.connections == 0


def test_denied_name_is_never_looked_up(server: Server) -> None:
    resolver = Answers([LOOPBACK])
    refused(server.url("/", "name.example"), policy({"action": "deny", "host": "*"}), resolver)
    assert resolver.asked == []


def test_scheme_is_checked_again_after_substitution() -> None:
    assert "unsupported URL scheme 'file'" in refused("file:///etc/passwd", OPEN).message


def test_header_injection_through_the_url_is_impossible(server: Server) -> None:
    with pytest.raises(ActivityError, match="control characters"):
        get(server.url("/\r\nX-Evil: 1"), OPEN)
    assert get(server.url("/ HTTP/1.1 é\\"), OPEN) == "reached"
    assert server.requests[0].line == "GET /%20HTTP/1.1%20%C3%A9%5C HTTP/1.1"


def test_privilege_and_switch_are_checked_first(server: Server) -> None:
    off = Policy.from_json('{"enabled": false, "may_http": true}')
    assert "outbound HTTP requests are disabled" in refused(server.url(), off).message
    nobody = Policy.from_json('{"enabled": true, "role": "bob"}')
    assert "role 'bob' does not have EXECUTE privilege on df.http()" in refused(server.url(), nobody).message


def test_name_that_does_not_exist_fails_at_once_and_a_failing_resolver_is_transient() -> None:
    def unknown(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    def failing(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    for resolver, transient in ((unknown, False), (failing, True)):
        with pytest.raises(ActivityError) as caught:
            get("http://name.example/", policy(), resolver)
        assert caught.value.failure.message.startswith("HTTP connection failed: http://name.example/: the name ")
        assert caught.value.failure.transient is transient


def test_resolver_that_hangs_meets_the_deadline_and_the_cancellation() -> None:
    release, cancelled = threading.Event(), threading.Event()

    def hangs(host: str, port: int) -> list[str]:
        release.wait(10)
        return [LOOPBACK]

    client = HttpClient(hangs)
    started = time.monotonic()
    with pytest.raises(ActivityError, match=r"HTTP timeout after 0\.2s"):
        client.perform(HttpRequest("http://name.example/", "GET", timeout_seconds=0.2), OPEN, "s")
    threading.Timer(0.1, cancelled.set).start()
    with pytest.raises(ActivityError, match="cancelled"):
        client.perform(HttpRequest("http://name.example/", "GET", timeout_seconds=9), OPEN, "s", cancelled)
    assert time.monotonic() - started < 2
    release.set()


def test_explanation_says_which_rule_decides_and_sends_nothing(server: Server) -> None:
    client = HttpClient(Answers(["10.0.0.1", LOOPBACK]))
    lines = explain_url(client, OPEN, server.url("/", "name.example"))
    assert lines == [
        "role: alice",
        f"host: name.example, port {server.port}, http",
        "10.0.0.1: refused, private address",
        "127.0.0.1: allowed, rule 1 (allow 127.0.0.0/8)",
        "Allowed: connects to 127.0.0.1",
    ]
    assert explain_url(client, policy(), "ftp://x/")[-1].startswith("Blocked: unsupported URL scheme")
    denied = policy({"action": "deny", "host": ".example"})
    assert "rule 1 (deny .example)" in explain_url(client, denied, "http://name.example/")[-1]
    assert server.connections == 0
