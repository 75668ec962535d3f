"""HTTP steps as users see them (4.1, 9.4; files 06, 47), against httpbin on the loopback address."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator

import pytest

from servers.bin import httpbin
from stage import SUPERUSER, Stage, as_superuser

pytestmark = [
    as_superuser,
    pytest.mark.skipif(importlib.util.find_spec("httpbin") is None, reason="httpbin is not installed"),
]


@pytest.fixture(scope="module")
def base(stage: Stage) -> Iterator[str]:
    """A server that the policy lets through."""
    with httpbin() as url, stage.admin() as admin:
        admin.execute("INSERT INTO df.http_policy (action, network, note) VALUES ('allow', '127.0.0.1/32', 'httpbin')")
        try:
            yield url
        finally:
            admin.execute("DELETE FROM df.http_policy WHERE note = 'httpbin'")


def error(stage: Stage, workflow: str) -> str:
    """What the HTTP node of a workflow that fails says."""
    instance = stage.ended(workflow, "failed")
    found = f"SELECT result::text FROM df.nodes WHERE instance_id = '{instance}' AND node_type LIKE 'HTTP%'"
    return str(json.loads(stage.run(found)))


def envelope(url: str) -> str:
    """A node written by hand, as an SQL literal."""
    query = json.dumps({"url": url, "method": "GET", "timeout_seconds": 5})
    return "'" + json.dumps({"node_type": "HTTP", "query": query}) + "'"


def test_get(stage: Stage, base: str) -> None:
    found = stage.result(f"df.http('{base}/get?a=1', 'GET')")
    assert sorted(found) == ["body", "duration_ms", "encoding", "headers", "ok", "status"]
    assert (found["status"], found["ok"], found["encoding"]) == (200, True, "text")
    assert found["headers"]["content-type"] == "application/json"
    assert json.loads(found["body"])["args"] == {"a": "1"}
    assert isinstance(found["duration_ms"], int)


def test_post_with_a_body_of_names_and_variables(stage: Stage, base: str) -> None:
    headers = '{"Content-Type": "application/json", "X-Key": "{api_key}"}'
    body = '{"id": $r.id, "key": "{api_key}"}'
    found = stage.result(
        f"'SELECT 7 AS id' |=> 'r' ~> df.http('{base}/post', 'POST', '{body}', '{headers}'::jsonb)",
        before="SELECT df.clearvars(); SELECT df.setvar('api_key', 'k-1');",
    )
    seen = json.loads(found["body"])
    assert seen["json"] == {"id": 7, "key": "k-1"}
    assert seen["headers"]["X-Key"] == "k-1"


def test_the_url_may_be_a_variable(stage: Stage, base: str) -> None:
    assert (
        stage.result("df.http('{url}/status/204', 'GET')", before=f"SELECT df.setvar('url', '{base}');")["status"]
        == 204
    )


def test_fields_are_reached_by_a_dot(stage: Stage, base: str) -> None:
    found = stage.result(
        f"df.http('{base}/get', 'GET') |=> 'r' ~> 'SELECT $r.status AS s, $r.ok AS ok, $r.body::jsonb->>''url'' AS u'"
    )
    assert found["rows"] == [{"s": 200, "ok": True, "u": f"{base}/get"}]


def test_the_client_errors_are_results_and_the_servers_fail(stage: Stage, base: str) -> None:
    found = stage.result(
        f"df.http('{base}/status/404', 'GET') |=> 'r' ~> ('SELECT $r.ok' ?> 'SELECT 1 AS v' !> 'SELECT $r.status AS v')"
    )
    assert found["rows"] == [{"v": 404}]
    assert f"HTTP POST {base}/status/500 returned 500: " in error(stage, f"df.http('{base}/status/500', 'POST')")


def test_a_redirect_is_not_followed(stage: Stage, base: str) -> None:
    found = stage.result(f"df.http('{base}/redirect-to?url=http%3A%2F%2F169.254.169.254%2F', 'GET')")
    assert (found["status"], found["ok"], found["headers"]["location"]) == (302, False, "http://169.254.169.254/")


def test_binary_and_text(stage: Stage, base: str) -> None:
    assert stage.result(f"df.http('{base}/bytes/64?seed=1', 'GET')")["encoding"] == "base64"
    assert stage.result(f"df.http('{base}/html', 'GET')")["encoding"] == "text"


def multipart(base: str, *parts: dict[str, str]) -> str:
    """A step that sends these parts."""
    return f"df.http_multipart('{base}/post', 'POST', '{json.dumps(parts)}'::jsonb)"


def test_multipart_round_trip(stage: Stage, base: str) -> None:
    file = {"name": "file", "filename": "a.bin", "content_type": "application/octet-stream", "data_b64": "$f"}
    send = multipart(base, file, {"name": "note", "data_b64": "aGVsbG8="})
    found = stage.result(f"$q$SELECT encode('\\x00ff10'::bytea, 'base64') AS b$q$ |=> 'f' ~> {send}")
    seen = json.loads(found["body"])
    assert seen["form"] == {"note": "hello"}
    assert seen["files"]["file"].endswith("AP8Q")


def test_a_partial_reference_in_part_data(stage: Stage, base: str) -> None:
    send = multipart(base, {"name": "x", "data_b64": "x$f"})
    assert "whole-value reference" in error(stage, f"$q$SELECT 'aGk=' AS b$q$ |=> 'f' ~> {send}")


def test_in_parallel_and_in_a_loop(stage: Stage, base: str) -> None:
    found = stage.result(
        f"df.http('{base}/delay/0.3', 'GET') & df.http('{base}/delay/0.3', 'GET') & df.http('{base}/uuid', 'GET')",
    )
    assert found[0][1]["status"] == 200
    assert stage.result(f"@> (df.http('{base}/get', 'GET') |=> 'r' ~> df.break('$r.status'))") == 200


def test_timeout(stage: Stage, base: str) -> None:
    words = error(stage, f"df.http('{base}/delay/9', 'POST', NULL, NULL, 1)")
    assert "HTTP timeout after 1s" in words


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1/", "http://169.254.169.254/latest/meta-data/", "http://[::1]/", "http://127.0.0.2/"]
)
def test_private_addresses_are_blocked(stage: Stage, base: str, url: str) -> None:
    assert "Blocked: " in error(stage, f"df.http('{url}', 'GET')")


def test_schemes(stage: Stage, base: str) -> None:
    assert "Blocked: unsupported URL scheme 'ftp'. Only http and https are allowed." in stage.refused(
        "SELECT df.http('ftp://example.org/')"
    )
    assert "unsupported URL scheme" in error(stage, envelope("file:///etc/passwd"))


def test_the_privilege_is_asked_for_again_when_the_step_runs(stage: Stage, base: str) -> None:
    """A grant without HTTP: the function is out of reach, and so is an envelope written by hand."""
    stage.make_role("df_http_none", grant=False)
    by_hand = envelope(f"{base}/get")
    try:
        stage.run("SELECT df.grant_usage('df_http_none')", SUPERUSER)
        assert "42501" in stage.refused(f"SELECT df.http('{base}/get')", "df_http_none")
        instance = stage.ended(by_hand, "failed", "df_http_none")
        said = stage.output(instance, "df_http_none")
        assert said.startswith("Blocked: role 'df_http_none' does not have EXECUTE privilege on df.http()")
        stage.run("SELECT df.grant_usage('df_http_none', include_http => true)", SUPERUSER)
        stage.ended(by_hand, "completed", "df_http_none")
    finally:
        stage.drop_role("df_http_none")


def test_switched_off(stage: Stage, base: str) -> None:
    """File 47."""
    with stage.admin() as admin:
        admin.execute("UPDATE df.settings SET value = 'off' WHERE name = 'http_enabled'")
        try:
            assert "df.http() is disabled" in stage.refused("SELECT df.http('https://example.org/')")
            assert "df.http_multipart() is disabled" in stage.refused(
                "SELECT df.http_multipart('https://example.org/')"
            )
            assert "outbound HTTP requests are disabled" in error(stage, envelope("https://example.org/"))
        finally:
            admin.execute("UPDATE df.settings SET value = 'on' WHERE name = 'http_enabled'")


def test_a_superuser_passes(stage: Stage, base: str) -> None:
    stage.ended(f"df.http('{base}/get', 'GET')", "completed", SUPERUSER)
