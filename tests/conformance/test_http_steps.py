"""HTTP steps as users see them (4.1, 9.4; files 06, 47), against httpbin on the loopback address."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from typing import Any

import pytest

from servers.bin import httpbin
from stage import Stage

pytestmark = [
    pytest.mark.parametrize("stage", ["superuser"], indirect=True, scope="session"),
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


def result(stage: Stage, workflow: str, before: str = "") -> Any:
    """The result of a workflow that completes."""
    shown = stage.run(f"{before}\nSELECT df.start({workflow}) AS i \\gset\n"
                      "SELECT 1/(df.await_instance(:'i', 60) = 'completed')::int AS ok \\gset\n"
                      "SELECT df.result(:'i')")  # fmt: skip
    return json.loads(shown.splitlines()[-1])


def error(stage: Stage, workflow: str) -> str:
    """What the HTTP node of a workflow that fails says."""
    shown = stage.run(f"SELECT df.start({workflow}) AS i \\gset\n"
                      "SELECT 1/(df.await_instance(:'i', 60) = 'failed')::int AS ok \\gset\n"
                      "SELECT result::text FROM df.nodes WHERE instance_id = :'i' AND node_type LIKE 'HTTP%'")  # fmt: skip
    return str(json.loads(shown))


def test_get(stage: Stage, base: str) -> None:
    found = result(stage, f"df.http('{base}/get?a=1', 'GET')")
    assert sorted(found) == ["body", "duration_ms", "encoding", "headers", "ok", "status"]
    assert (found["status"], found["ok"], found["encoding"]) == (200, True, "text")
    assert found["headers"]["content-type"] == "application/json"
    assert json.loads(found["body"])["args"] == {"a": "1"}
    assert isinstance(found["duration_ms"], int)


def test_post_with_a_body_of_names_and_variables(stage: Stage, base: str) -> None:
    found = result(stage, f"""'SELECT 7 AS id' |=> 'r' ~> df.http('{base}/post', 'POST', '{{{{"id": $r.id, "key": "{{api_key}}"}}}}',
                              '{{{{"Content-Type": "application/json", "X-Key": "{{api_key}}"}}}}'::jsonb)""".replace("{{", "{").replace("}}", "}"),
                   "SELECT df.clearvars(); SELECT df.setvar('api_key', 'k-1');")  # fmt: skip
    seen = json.loads(found["body"])
    assert seen["json"] == {"id": 7, "key": "k-1"}
    assert seen["headers"]["X-Key"] == "k-1"


def test_the_url_may_be_a_variable(stage: Stage, base: str) -> None:
    assert result(stage, "df.http('{url}/status/204', 'GET')", f"SELECT df.setvar('url', '{base}');")["status"] == 204


def test_fields_are_reached_by_a_dot(stage: Stage, base: str) -> None:
    found = result(stage, f"df.http('{base}/get', 'GET') |=> 'resp' ~> 'SELECT $resp.status AS s, $resp.ok AS ok, $resp.body::jsonb->>''url'' AS u'")
    assert found["rows"] == [{"s": 200, "ok": True, "u": f"{base}/get"}]


def test_the_client_errors_are_results_and_the_servers_fail(stage: Stage, base: str) -> None:
    found = result(stage, f"df.http('{base}/status/404', 'GET') |=> 'r' ~> ('SELECT $r.ok' ?> 'SELECT 1 AS v' !> 'SELECT $r.status AS v')")
    assert found["rows"] == [{"v": 404}]
    assert f"HTTP POST {base}/status/500 returned 500: " in error(stage, f"df.http('{base}/status/500', 'POST')")


def test_a_redirect_is_not_followed(stage: Stage, base: str) -> None:
    found = result(stage, f"df.http('{base}/redirect-to?url=http%3A%2F%2F169.254.169.254%2F', 'GET')")
    assert (found["status"], found["ok"], found["headers"]["location"]) == (302, False, "http://169.254.169.254/")


def test_binary_and_text(stage: Stage, base: str) -> None:
    assert result(stage, f"df.http('{base}/bytes/64?seed=1', 'GET')")["encoding"] == "base64"
    assert result(stage, f"df.http('{base}/html', 'GET')")["encoding"] == "text"


def test_multipart_round_trip(stage: Stage, base: str) -> None:
    found = result(stage, f"""'SELECT encode(''\\x00ff10''::bytea, ''base64'') AS b' |=> 'f' ~> df.http_multipart('{base}/post', 'POST',
        '[{{"name": "file", "filename": "a.bin", "content_type": "application/octet-stream", "data_b64": "$f"}},
          {{"name": "note", "data_b64": "aGVsbG8="}}]'::jsonb)""")  # fmt: skip
    seen = json.loads(found["body"])
    assert seen["form"] == {"note": "hello"}
    assert seen["files"]["file"].endswith("AP8Q")


def test_a_partial_reference_in_part_data(stage: Stage, base: str) -> None:
    words = error(stage, f"""'SELECT ''aGk='' AS b' |=> 'f' ~> df.http_multipart('{base}/post', 'POST', '[{{"name": "x", "data_b64": "x$f"}}]'::jsonb)""")
    assert "whole-value reference" in words


def test_in_parallel_and_in_a_loop(stage: Stage, base: str) -> None:
    found = result(stage, f"df.http('{base}/delay/0.3', 'GET') & df.http('{base}/delay/0.3', 'GET') & df.http('{base}/uuid', 'GET')")
    assert found[0][1]["status"] == 200
    assert result(stage, f"@> (df.http('{base}/get', 'GET') |=> 'r' ~> df.break('$r.status'))") == 200


def test_timeout(stage: Stage, base: str) -> None:
    words = error(stage, f"df.http('{base}/delay/9', 'POST', NULL, NULL, 1)")
    assert "HTTP timeout after 1s" in words


@pytest.mark.parametrize("url", ["http://10.0.0.1/", "http://169.254.169.254/latest/meta-data/", "http://[::1]/", "http://127.0.0.2/"])
def test_private_addresses_are_blocked(stage: Stage, base: str, url: str) -> None:
    assert "Blocked: " in error(stage, f"df.http('{url}', 'GET')")


def test_schemes(stage: Stage, base: str) -> None:
    assert "Blocked: unsupported URL scheme 'ftp'. Only http and https are allowed." in stage.refused("SELECT df.http('ftp://example.org/')")
    envelope = """'{"node_type":"HTTP","query":"{\\"url\\":\\"file:///etc/passwd\\",\\"method\\":\\"GET\\",\\"timeout_seconds\\":5}"}'"""
    assert "unsupported URL scheme" in error(stage, envelope)


def test_the_privilege_is_asked_for_again_when_the_step_runs(stage: Stage, base: str) -> None:
    """A grant without HTTP: the function is out of reach, and so is an envelope written by hand."""
    stage.make_role("df_http_none", grant=False)
    envelope = f"""'{{"node_type":"HTTP","query":"{{\\"url\\":\\"{base}/get\\",\\"method\\":\\"GET\\",\\"timeout_seconds\\":5}}"}}'"""
    try:
        stage.run("SELECT df.grant_usage('df_http_none')", "")
        assert "42501" in stage.refused(f"SELECT df.http('{base}/get')", "df_http_none")
        shown = stage.run(f"SELECT df.start({envelope}) AS i \\gset\nSELECT df.await_instance(:'i'); SELECT output FROM df.instance_info(:'i')", "df_http_none")
        assert shown.startswith("failed\nBlocked: role 'df_http_none' does not have EXECUTE privilege on df.http()")
        stage.run("SELECT df.grant_usage('df_http_none', include_http => true)", "")
        assert stage.run(f"SELECT df.start({envelope}) AS i \\gset\nSELECT df.await_instance(:'i')", "df_http_none") == "completed"
    finally:
        stage.drop_role("df_http_none")


def test_switched_off(stage: Stage, base: str) -> None:
    """File 47."""
    envelope = """'{"node_type":"HTTP","query":"{\\"url\\":\\"https://example.org/\\",\\"method\\":\\"GET\\",\\"timeout_seconds\\":5}"}'"""
    with stage.admin() as admin:
        admin.execute("UPDATE df.settings SET value = 'off' WHERE name = 'http_enabled'")
        try:
            assert "df.http() is disabled" in stage.refused("SELECT df.http('https://example.org/')")
            assert "df.http_multipart() is disabled" in stage.refused("SELECT df.http_multipart('https://example.org/')")
            assert "outbound HTTP requests are disabled" in error(stage, envelope)
        finally:
            admin.execute("UPDATE df.settings SET value = 'on' WHERE name = 'http_enabled'")


def test_a_superuser_passes(stage: Stage, base: str) -> None:
    assert stage.run(f"SELECT df.start(df.http('{base}/get', 'GET')) AS i \\gset\nSELECT df.await_instance(:'i')", "") == "completed"
