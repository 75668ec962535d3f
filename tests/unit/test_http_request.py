"""Reading a node's HTTP configuration: whatever somebody wrote by hand, it is used or refused with a reason."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.activities import multipart
from perdure.activities.failures import ActivityError
from perdure.activities.multipart import Part
from perdure.activities.request import HttpRequest, parse_request


def same(text: str) -> str:
    return text


def parsed(config: Any, kind: str = "HTTP") -> HttpRequest:
    return parse_request(kind, config if isinstance(config, str) else json.dumps(config), same, same)


def part(**fields: Any) -> dict[str, Any]:
    return {"url": "http://x/", "parts": [{"name": "file", "data_b64": "aGk=", **fields}]}


def test_full_configuration_is_read() -> None:
    request = parsed(
        {"url": "http://x/", "method": "put", "body": "é", "headers": {"X-A": " b "}, "timeout_seconds": 2}
    )
    assert request == HttpRequest("http://x/", "PUT", (("X-A", "b"),), "é".encode(), 2.0, "HTTP", ())


def test_absent_and_null_fields_have_the_defaults_of_df_http() -> None:
    expected = HttpRequest("http://x/", "POST", (), None, 30.0)
    assert parsed({"url": "http://x/"}) == expected
    nulls = dict.fromkeys(("method", "body", "headers", "timeout_seconds"))
    assert parsed({"url": "http://x/", **nulls}) == expected


def test_substitution_reaches_the_documented_places_only() -> None:
    config = {
        "url": "u",
        "method": "POST",
        "headers": {"n": "v"},
        "parts": [{"name": "a", "filename": "f", "content_type": "text/plain", "data_b64": "aGk="}],
    }
    seen: list[str] = []
    data: list[str] = []

    def note(text: str) -> str:
        seen.append(text)
        return text.upper()

    def note_data(text: str) -> str:
        data.append(text)
        return "eW8="

    request = parse_request("HTTP_MULTIPART", json.dumps(config), note, note_data)
    assert (seen, data) == (["u", "v", "a", "f"], ["aGk="])
    assert request.parts == (Part("A", b"yo", "F", "text/plain"),)
    assert (request.url, request.headers) == ("U", (("n", "V"),))


def test_errors_of_the_substitution_pass_through() -> None:
    def fail(text: str) -> str:
        raise KeyError(text)

    with pytest.raises(KeyError):
        parse_request("HTTP", '{"url": "$x"}', fail, same)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("", "it is not JSON"),
        ("{", "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ("[]", "must be a JSON object"),
        ("null", "must be a JSON object"),
        ('"http://x/"', "must be a JSON object"),
        ("7", "must be a JSON object"),
        ({}, "url is required"),
        ({"url": None}, "url is required"),
        ({"url": ""}, "url is required"),
        ({"url": 5}, "url must be a string"),
        ({"url": "u", "method": "HEAD"}, "Invalid HTTP method: HEAD"),
        ({"url": "u", "method": "GET\r\nX: y"}, "Invalid HTTP method"),
        ({"url": "u", "method": 5}, "Invalid HTTP method: 5"),
        ({"url": "u", "method": ""}, "Invalid HTTP method"),
        ({"url": "u", "timeout_seconds": 0}, "Timeout must be positive"),
        ({"url": "u", "timeout_seconds": -1.5}, "Timeout must be positive"),
        ('{"url": "u", "timeout_seconds": 1e999}', "timeout_seconds is too large"),
        ('{"url": "u", "timeout_seconds": NaN}', "timeout_seconds"),
        ({"url": "u", "timeout_seconds": 10**400}, "timeout_seconds is too large"),
        ({"url": "u", "timeout_seconds": True}, "timeout_seconds must be a number"),
        ({"url": "u", "timeout_seconds": "30"}, "timeout_seconds must be a number"),
        ({"url": "u", "body": {"a": 1}}, "body must be a string"),
        ('{"url": "u", "body": "\\ud800"}', "surrogate"),
        ({"url": "u", "headers": []}, "headers must be a JSON object"),
        ({"url": "u", "headers": "X: y"}, "headers must be a JSON object"),
        ({"url": "u", "headers": {"Authorization": 5}}, "Invalid header 'Authorization': its value must be a string"),
        ({"url": "u", "headers": {"A": None}}, "its value must be a string"),
        ({"url": "u", "headers": {"A": "b\r\nEvil: 1"}}, "control characters are not allowed"),
        ({"url": "u", "headers": {"A": "b\nc"}}, "control characters are not allowed"),
        ({"url": "u", "headers": {"A": "b\0c"}}, "control characters are not allowed"),
        ('{"url": "u", "headers": {"A": "\\ud800"}}', "control characters are not allowed"),
        ({"url": "u", "headers": {"A\r\nEvil": "b"}}, "Invalid header name"),
        ({"url": "u", "headers": {"A B": "b"}}, "Invalid header name"),
        ({"url": "u", "headers": {"A:": "b"}}, "Invalid header name"),
        ({"url": "u", "headers": {"": "b"}}, "Invalid header name"),
        ({"url": "u", "headers": {"é": "b"}}, "Invalid header name"),
        ({"url": "u", "headers": {f"h{n}": "" for n in range(201)}}, "more than 200 headers"),
    ],
)
def test_bad_configuration_is_refused_with_a_reason(config: Any, words: str) -> None:
    with pytest.raises(ActivityError) as caught:
        parsed(config)
    assert words in caught.value.failure.message
    assert not caught.value.failure.transient


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"url": "u", "method": "GET", "parts": []}, "Invalid HTTP method for multipart: GET"),
        ({"url": "u", "method": "DELETE", "parts": []}, "Invalid HTTP method for multipart: DELETE"),
        ({"url": "u"}, "parts is required and cannot be NULL"),
        ({"url": "u", "parts": {}}, "parts must be a JSON array of part objects"),
        ({"url": "u", "parts": []}, "parts must contain at least one part"),
        ({"url": "u", "parts": ["a"]}, "parts must be a JSON array of part objects"),
        ({"url": "u", "parts": [{"data_b64": ""}]}, "Invalid part 1: name is required"),
        (part(name=5), "name must be a string"),
        (part(name="a\r\nb"), "control characters"),
        (part(filename="a\nb"), "control characters"),
        (part(filename="a\0b"), "control characters"),
        (part(filename=5), "filename must be a string"),
        (part(data_b64=None), "data_b64 is required"),
        (part(data_b64="a$b"), "Invalid base64 in part 'file'"),
        (part(data_b64="aGk"), "Invalid base64 in part 'file'"),
        (part(data_b64="é"), "Invalid base64 in part 'file'"),
        (part(data_b64="_-=="), "Invalid base64 in part 'file'"),
        (part(content_type="text"), "Invalid content_type for part 'file'"),
        (part(content_type="text/plain\r\nX: y"), "Invalid content_type for part 'file'"),
        (part(content_type=5), "Invalid content_type for part 'file'"),
    ],
)
def test_bad_parts_are_refused_with_a_reason(config: Any, words: str) -> None:
    with pytest.raises(ActivityError) as caught:
        parsed(config, "HTTP_MULTIPART")
    assert words in caught.value.failure.message


def test_base64_as_postgresql_wraps_it_is_read() -> None:
    assert parsed(part(data_b64=" aGVs\nbG8g\r\n\td29y bGQ= "), "HTTP_MULTIPART").parts[0].data == b"hello world"
    assert parsed(part(data_b64=""), "HTTP_MULTIPART").parts[0].data == b""


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_KEYS = st.sampled_from(("url", "method", "headers", "body", "timeout_seconds", "parts"))


@given(st.dictionaries(_KEYS, _JSON) | _JSON, st.sampled_from(("HTTP", "HTTP_MULTIPART")))
def test_any_configuration_is_a_request_or_a_clear_failure(config: Any, kind: str) -> None:
    try:
        request = parse_request(kind, json.dumps(config), same, same)
    except ActivityError as error:
        error.failure.message.encode()
        assert "\0" not in error.failure.message
    else:
        assert request.method in ("GET", "POST", "PUT", "DELETE", "PATCH") and request.timeout_seconds > 0


def test_multipart_body_is_what_browsers_send_and_always_the_same() -> None:
    parts = (Part('a"b', b"1"), Part("f", b"\r\n--x", "ü.txt", "text/plain; charset=utf-8"))
    body, content_type = multipart.encode(parts)
    boundary = content_type.removeprefix("multipart/form-data; boundary=")
    assert (
        body
        == (
            f'--{boundary}\r\nContent-Disposition: form-data; name="a%22b"\r\n\r\n1\r\n'
            f'--{boundary}\r\nContent-Disposition: form-data; name="f"; filename="ü.txt"\r\n'
            f"Content-Type: text/plain; charset=utf-8\r\n\r\n\r\n--x\r\n--{boundary}--\r\n"
        ).encode()
    )
    assert multipart.encode(parts) == (body, content_type)
    assert multipart.encode(parts[:1])[1] != content_type
