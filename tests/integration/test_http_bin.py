"""The HTTP client against the package httpbin, the server that people try such things on."""

from __future__ import annotations

import base64
import importlib.util
import json
from collections.abc import Iterator
from typing import Any

import pytest

from perdure.activities.egress import Policy
from perdure.activities.failures import ActivityError
from perdure.activities.http import HttpClient
from perdure.activities.request import parse_request
from servers.bin import httpbin

pytestmark = pytest.mark.skipif(importlib.util.find_spec("httpbin") is None, reason="httpbin is not installed")

POLICY = Policy.from_json(
    '{"role": "alice", "enabled": true, "may_http": true, "may_multipart": true,'
    ' "rules": [{"rule_no": 1, "action": "allow", "network": "127.0.0.0/8"}]}'
)


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    with httpbin() as url:
        yield url


def perform(base: str, path: str, kind: str = "HTTP", **config: Any) -> dict[str, Any]:
    text = json.dumps({"url": base + path, "method": "GET", **config})
    request = parse_request(kind, text, lambda part: part, lambda part: part)
    result: dict[str, Any] = json.loads(HttpClient().perform(request, POLICY, "step-1"))
    return result


def body(result: dict[str, Any]) -> Any:
    return json.loads(result["body"])


def test_get_with_query_and_headers(base: str) -> None:
    seen = body(perform(base, "/get?a=1&b=%C3%BC", headers={"X-Mine": "yes"}))
    assert seen["args"] == {"a": "1", "b": "ü"}
    assert seen["headers"]["X-Mine"] == "yes"
    assert seen["headers"]["Idempotency-Key"] == "step-1"


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_body_arrives(base: str, method: str) -> None:
    result = perform(base, f"/{method}", method=method, body='{"a":"ü"}', headers={"Content-Type": "application/json"})
    assert body(result)["json"] == {"a": "ü"}


def test_form_arrives(base: str) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert body(perform(base, "/post", method="POST", body="a=1&b=2", headers=headers))["form"] == {"a": "1", "b": "2"}


def test_multipart_arrives(base: str) -> None:
    data = base64.encodebytes(bytes(range(256))).decode()
    parts = [
        {"name": "field", "data_b64": base64.b64encode("wörd".encode()).decode()},
        {"name": "file", "filename": "x.bin", "content_type": "application/octet-stream", "data_b64": data},
    ]
    seen = body(perform(base, "/post", "HTTP_MULTIPART", method="POST", parts=parts))
    assert seen["form"] == {"field": "wörd"}
    assert base64.b64decode(seen["files"]["file"].rpartition(",")[2]) == bytes(range(256))


@pytest.mark.parametrize("status", [200, 204, 301, 400, 404, 418])
def test_status_below_500_is_a_result(base: str, status: int) -> None:
    result = perform(base, f"/status/{status}")
    assert (result["status"], result["ok"]) == (status, 200 <= status < 300)


@pytest.mark.parametrize("status", [500, 503])
def test_status_from_500_fails(base: str, status: int) -> None:
    with pytest.raises(ActivityError, match=rf"^HTTP GET {base}/status/{status} returned {status}: "):
        perform(base, f"/status/{status}")


@pytest.mark.parametrize("path", ["/gzip", "/deflate"])
def test_compressed_answer_is_read(base: str, path: str) -> None:
    assert body(perform(base, path))["method"] == "GET"


def test_answer_in_pieces_is_read(base: str) -> None:
    assert len(perform(base, "/stream/5")["body"].splitlines()) == 5
    assert perform(base, "/stream-bytes/500?seed=1")["encoding"] == "base64"


@pytest.mark.parametrize(
    ("path", "encoding"),
    [("/image/png", "base64"), ("/bytes/64?seed=1", "base64"), ("/html", "text"), ("/xml", "text"),
     ("/encoding/utf8", "text"), ("/robots.txt", "text"), ("/json", "text"), ("/image/svg", "text")],
)  # fmt: skip
def test_encoding_of_real_content(base: str, path: str, encoding: str) -> None:
    assert perform(base, path)["encoding"] == encoding


def test_redirect_is_returned(base: str) -> None:
    result = perform(base, "/redirect-to?url=http%3A%2F%2F169.254.169.254%2F")
    assert (result["status"], result["headers"]["location"]) == (302, "http://169.254.169.254/")


def test_delay_within_and_beyond_the_timeout(base: str) -> None:
    assert perform(base, "/delay/0.1", timeout_seconds=5)["ok"]
    with pytest.raises(ActivityError, match=r"HTTP timeout after 0\.2s"):
        perform(base, "/delay/1", timeout_seconds=0.2)


def test_basic_authentication_by_url(base: str) -> None:
    assert perform(base.replace("http://", "http://user:pass@"), "/basic-auth/user/pass")["ok"]
    assert perform(base, "/basic-auth/user/pass")["status"] == 401
