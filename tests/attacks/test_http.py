"""HTTP steps of a role that may send requests: nothing inside is reached, and a request is what it says it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

import psycopg
import pytest

from asking import value
from attacks.conftest import Report, Scene
from servers.misbehaving import Server as Http
from servers.misbehaving import Talk
from waiting import ENDED, eventually_status

pytestmark = pytest.mark.attacks

# 127.0.0.1, and a few others that are nobody's business, as they may be written. {port} is where the trap listens.
INSIDE = [
    "127.0.0.1:{port}", "127.1:{port}", "2130706433:{port}", "0x7f000001:{port}", "0x7f.0.0.1:{port}", "0177.0.0.1:{port}",
    "017700000001:{port}", "0000000127.0.0.1:{port}", "127.0.0.1.:{port}", "127.0.0.0x1:{port}", "localhost:{port}", "LOCALHOST.:{port}",
    "localhost.localdomain:{port}", "[::1]:{port}", "[::ffff:127.0.0.1]:{port}", "[::ffff:7f00:1]:{port}", "[64:ff9b::7f00:1]:{port}",
    "[64:ff9b:1::7f00:1]:{port}", "[2002:7f00:1::]:{port}", "[::127.0.0.1]:{port}", "[fe80::1%25lo]:{port}", "0:{port}", "0.0.0.0:{port}", "[::]:{port}",
    "%31%32%37.0.0.1:{port}", "１２７.０.０.１:{port}", "①②⑦.⓪.⓪.①:{port}", "127。0。0。1:{port}", "ⓛocalhost:{port}", "localhoſt:{port}",
    "example.com@127.0.0.1:{port}", "127.0.0.1:{port}@127.0.0.1:{port}", "example.com:80@127.0.0.1:{port}", "127.0.0.1:{port}#@example.com",
    "example.com\\@127.0.0.1:{port}", "127.0.0.1:{port}\\@example.com", "127.0.0.1\t:{port}", "127.0.0.1:{port}%00.example.com", "127.0.0.1:0{port}",
    "169.254.169.254", "[fd00:ec2::254]", "metadata.google.internal", "10.0.0.1", "192.168.0.1", "[::ffff:169.254.169.254]", "0xa9fea9fe", "2852039166",
]  # fmt: skip
URLS = [
    "http://{host}/",
    "http:{host}/",
    "//{host}/",
    "file:///etc/passwd",
    "gopher://{host}/",
    "HTTP://{host}/",
    "http:///{host}/",
    "http:\\\\{host}/",
]


def answered(talk: Talk) -> None:
    if talk.request.target.startswith("/redirect"):
        status = int(talk.request.target.rpartition("/")[2])
        talk.answer(status, b"", location="/secret", refresh="0; url=/secret")
    else:
        talk.answer(200, b"reached")


@pytest.fixture
def trap(scene: Scene) -> Iterator[Http]:
    """A server within. Mallory may send requests; whether to it is up to the test."""
    with Http(answered) as server:
        with scene.admin() as admin:
            admin.execute("SELECT df.grant_usage('mallory', include_http => true)")
        yield server
        with scene.database.admin() as admin:
            admin.execute("DELETE FROM df.http_policy WHERE network = '127.0.0.1/32'")
            admin.execute("SELECT df.revoke_usage('mallory'), df.grant_usage('mallory')")


def sent(connection: psycopg.Connection[Any], call: str, *arguments: object) -> tuple[str, str | None]:
    """Start a request, unless building it is refused; its instance, or what was said."""
    try:
        return "started", cast(str, value(connection, f"df.start({call})", *arguments))
    except psycopg.Error as error:
        return f"refused {error.sqlstate}", None


def ended(connection: psycopg.Connection[Any], begun: list[tuple[str, str | None]]) -> dict[str, int]:
    """How often which end."""
    counts: dict[str, int] = {}
    for said, started in begun:
        end = said if started is None else eventually_status(connection, started, ENDED, 60)
        counts[end] = counts.get(end, 0) + 1
    return counts


def test_nothing_within_is_reached(scene: Scene, trap: Http, report: Report) -> None:
    """Addresses within, written in every way, in the URL, by a variable and by a result -> not connected to."""
    with scene.connect() as mallory:
        value(mallory, "df.setvar('scheme', 'http')")
        begun = []
        for host in INSIDE:
            place = host.replace("{port}", str(trap.port))
            begun.append(sent(mallory, "df.http(%s, 'GET', timeout_seconds => 2)", f"http://{place}/"))
            begun.append(sent(mallory, "df.http(%s, 'GET', timeout_seconds => 2)", f"{{scheme}}://{place}/"))
            by_result = "df.sql(%s) |=> 'x' ~> df.http('http://$x.h/', 'GET', timeout_seconds => 2)"
            literal = psycopg.sql.Literal(place).as_string(mallory)
            begun.append(sent(mallory, by_result, f"SELECT {literal} AS h"))
        for form in URLS:
            url = form.replace("{host}", f"127.0.0.1:{trap.port}")
            begun.append(sent(mallory, "df.http(%s, 'GET', timeout_seconds => 2)", url))
        counts = ended(mallory, begun)
        value(mallory, "df.clearvars()")
    assert trap.connections == 0
    assert "completed" not in counts
    report(f"{len(begun)} requests: {', '.join(f'{n} {end}' for end, n in counts.items())}; no connection")


def test_redirects_are_not_followed(scene: Scene, trap: Http, report: Report) -> None:
    """An answer with 301, 302, 303, 307, 308 and Refresh -> the step's result, and no second request."""
    with scene.connect() as mallory, scene.database.admin() as admin:
        admin.execute("INSERT INTO df.http_policy (action, network) VALUES ('allow', '127.0.0.1/32')")
        statuses = (301, 302, 303, 307, 308)
        begun = [sent(mallory, "df.http(%s, 'GET')", trap.url(f"/redirect/{status}")) for status in statuses]
        assert ended(mallory, begun) == {"completed": 5}
    assert sorted(request.target for request in trap.requests) == [f"/redirect/{status}" for status in statuses]
    report("5 results, 5 requests")


EVIL = "x\r\nX-Evil: 1\r\n\r\nGET /evil HTTP/1.1\r\nHost: x\r\n\r\n"
HEADERS = [
    {"X-A": EVIL}, {EVIL: "x"}, {"X-A\r\nX-Evil": "1"}, {"X-A": "x\nX-Evil: 1"}, {"X-A": "x\rX-Evil: 1"}, {"X-A": "x\u2028X-Evil: 1"}, {"X-A": "é\u560a\u560dX-Evil: 1"},
    {"X-A": "{evil}"}, {"X-A": "$x.v"}, {"": "x"}, {" X-Evil": "1"}, {"X-Evil :": "1"}, {"X:Y": "1"}, {"X-A": "\x7f\x08"},
    {"Transfer-Encoding": "chunked"}, {"transfer-encoding": "identity, chunked"}, {"Transfer-Encoding ": "chunked"}, {"TE": "trailers"}, {"Trailer": "X-Evil"},
    {"Content-Length": "3"}, {"content-length": "0"}, {"Content-Length": "+5"}, {"Connection": "keep-alive, X-A"}, {"Upgrade": "h2c", "HTTP2-Settings": "x"},
    {"Expect": "100-continue"}, {"Host": "evil.example"}, {"Proxy-Connection": "keep-alive"}, {"Keep-Alive": "timeout=5"}, {"X-A": "x" * 200_000},
    {"Content-Type": EVIL}, {"Authorization": EVIL}, {"Idempotency-Key": EVIL},
]  # fmt: skip
PARTS: list[dict[str, Any]] = [
    {"name": EVIL}, {"name": 'a"; filename="b', "filename": 'c"; name="d'}, {"name": "a", "filename": EVIL}, {"name": "a", "filename": "{evil}"},
    {"name": "a", "filename": "$x.v"}, {"name": "$x.v"}, {"name": "a", "content_type": EVIL}, {"name": "a", "content_type": "{evil}"},
    {"name": "a", "filename": "../../etc/passwd"}, {"name": "a", "filename": "é\u2028\x85"}, {"name": "a", "headers": {"X-Evil": "1"}},
]  # fmt: skip


def test_requests_are_what_they_say(scene: Scene, trap: Http, report: Report) -> None:
    """CR, LF and framing in names and values of headers, in names, file names and types of parts, in URLs -> no line of hers."""
    with scene.connect() as mallory, scene.database.admin() as admin:
        admin.execute("INSERT INTO df.http_policy (action, network) VALUES ('allow', '127.0.0.1/32')")
        value(mallory, "df.setvar('evil', %s)", EVIL)
        source = "df.sql(%s) |=> 'x' ~> {}"
        first = f"SELECT {psycopg.sql.Literal(EVIL).as_string(mallory)} AS v"
        begun = []
        for headers in HEADERS:
            call = source.format("df.http(%s, 'POST', 'body', %s::jsonb)")
            begun.append(sent(mallory, call, first, trap.url("/"), json.dumps(headers)))
        for part in PARTS:
            call = source.format("df.http_multipart(%s, 'POST', %s::jsonb)")
            begun.append(sent(mallory, call, first, trap.url("/"), json.dumps([{"data_b64": "aGk=", **part}])))
        for path in (
            "/{evil}",
            "/$x.v",
            "/?a=$x.v",
            "/\r\nX-Evil: 1",
            "/ HTTP/1.1\r\nX-Evil: 1",
            "/#$x.v",
            "/\u560d\u560aX-Evil: 1",
        ):
            begun.append(sent(mallory, source.format("df.http(%s, 'GET')"), first, trap.url(path)))
        counts = ended(mallory, begun)
        value(mallory, "df.clearvars()")
    assert set(counts) <= {"completed", "failed", "refused DF101", "refused 22P05"}
    for request in trap.requests:
        head, body = request.raw, request.body
        assert request.target != "/evil"
        assert not {"x-evil", "transfer-encoding", "te", "trailer", "upgrade", "expect"} & request.headers.keys()
        assert head.lower().count(b"\r\nhost:") == head.lower().count(b"\r\nconnection:") == 1
        assert request.headers.get("host") == f"127.0.0.1:{trap.port}"
        assert int(request.headers.get("content-length", 0)) == len(body)
        assert b"\r\nX-Evil" not in body.replace(b"%0D%0A", b"")
    assert len(trap.requests) == counts["completed"]
    report(
        f"{len(begun)}: {', '.join(f'{n} {end}' for end, n in counts.items())}; {len(trap.requests)} requests, none with a line of hers"
    )
