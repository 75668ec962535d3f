"""Reading a response: text or base64, decompression within the limit, what is worth another attempt."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.activities.charset import codec_for, decode_body
from perdure.activities.response import (
    Answer,
    BodyBroken,
    BodyTooLarge,
    Inflater,
    headers_of,
    read_answer,
    result_text,
    retry_after,
    worth_retrying,
)

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
BINARY = b"\x89PNG\r\n\xff"


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (b"hi", "text/plain", "hi"),
        (b"hi", "TEXT/Plain; charset=UTF-8", "hi"),
        (b"caf\xe9", "text/plain; charset=iso-8859-1", "café"),
        (b"\x80", "text/html; charset=latin1", "€"),
        (b"caf\xc3\xa9", "text/plain", "café"),
        (b"caf\xe9", "text/plain", "caf\ufffd"),
        (b"\xef\xbb\xbfx", "text/plain; charset=latin1", "x"),
        (b"\xff\xfeh\0i\0", "application/json", "hi"),
        (b"h\0i\0", 'text/plain; charset="utf-16le"', "hi"),
        (b"\x82\xa0", "text/plain; charset=Shift_JIS", "あ"),
        (b"\xe9", "application/vnd.x+json; charset=latin1", "é"),
        (b"\xe9", "image/svg+xml; charset=latin1", "é"),
        (b"\xe9", "application/x-www-form-urlencoded", "\ufffd"),
        (b"\xe9", "application/json, image/png; charset=latin1", "\ufffd"),
        (b"hi", None, "hi"),
        (b"hi", "application/octet-stream", "hi"),
        (b"", "image/png", ""),
        ("ü".encode(), "image/png; charset=latin1", "ü"),
        (b"hi", "text/plain; charset=no-such-thing", "hi"),
        (b"+2AA-", "text/plain; charset=utf-7", "+2AA-"),
        (b"\\ud800", "text/plain; charset=unicode_escape", "\\ud800"),
        (b"uryyb", "text/plain; charset=rot13", "uryyb"),
        (b"x", "text/plain; charset=\0", "x"),
    ],
)
def test_body_is_text(body: bytes, content_type: str | None, expected: str) -> None:
    assert decode_body(body, content_type) == (expected, "text")


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (BINARY, "image/png"),
        (BINARY, None),
        (BINARY, "application/octet-stream"),
        (BINARY, "text"),
        (b"a\0b", None),
        (b"a\0b", "text/plain"),  # PostgreSQL could not store it as text
        (b"a\0b", "application/json"),
    ],
)
def test_body_is_base64(body: bytes, content_type: str | None) -> None:
    assert decode_body(body, content_type) == (base64.b64encode(body).decode(), "base64")


@given(
    st.binary(max_size=40), st.text(max_size=30) | st.sampled_from(["utf-16", "gb18030", "big5", "euc-jp", "utf-32"])
)
def test_every_body_in_every_charset_is_json_that_postgresql_can_store(body: bytes, charset: str) -> None:
    codec_for(f"text/plain; charset={charset}")
    text = result_text(Answer(200, {"content-type": f"text/plain; charset={charset}"}, body), 1)
    text.encode()
    assert "\\u0000" not in text.replace("\\\\", "")
    assert json.loads(text)["status"] == 200


def test_result_is_compact_json_in_the_documented_order() -> None:
    text = result_text(Answer(201, {"x": "ü"}, b'"'), 7)
    assert text == '{"status":201,"body":"\\"","encoding":"text","headers":{"x":"ü"},"ok":true,"duration_ms":7}'


def test_headers_are_lower_case_text_and_one_of_each() -> None:
    raw = [(b"X-A", b"1"), (b"x-a", b"2"), (b"X-Bad", b"\xff"), (b"X-Nul", b"a\0"), (b"X-U", "ü".encode())]
    assert headers_of(raw) == {"x-a": "2", "x-u": "ü"}


def read(chunks: list[bytes], limit: int = 10_000, **headers: str) -> Answer:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return read_answer(200, raw, chunks, limit)


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize("coding", ["gzip", "X-Gzip", "deflate", "raw deflate", "two members"])
def test_compressed_body_is_decompressed_in_chunks_of_any_size(coding: str, size: int) -> None:
    plain = b"hello " * 100
    raw = zlib.compressobj(wbits=-15)
    data = {
        "deflate": zlib.compress(plain),
        "raw deflate": raw.compress(plain) + raw.flush(),
        "two members": gzip.compress(plain[:100]) + gzip.compress(plain[100:]),
    }.get(coding, gzip.compress(plain))
    name = {"raw deflate": "deflate", "two members": "gzip"}.get(coding, coding)
    answer = read([data[i : i + size] for i in range(0, len(data), size)], content_encoding=name, content_length="9")
    assert answer.body == plain
    assert answer.headers == {}, "they described the compressed body"


def test_padding_after_compressed_data_is_ignored() -> None:
    assert read([gzip.compress(b"x") + b"\0\0\0", b"garbage"], content_encoding="gzip").body == b"x"


def test_empty_body_needs_no_compressed_data() -> None:
    assert read([], content_encoding="gzip").body == b""


@pytest.mark.parametrize("data", [gzip.compress(b"hello " * 100)[:-9], b"not gzip at all", b"\x1f"])
def test_damaged_or_cut_off_compressed_body_is_an_error(data: bytes) -> None:
    with pytest.raises(BodyBroken):
        read([data], content_encoding="gzip")


def test_unknown_coding_is_left_on_the_body_and_judged_by_content() -> None:
    answer = read([BINARY], content_encoding="br", content_type="text/plain")
    assert (answer.body, answer.headers["content-encoding"]) == (BINARY, "br")
    assert json.loads(result_text(answer, 0))["encoding"] == "base64"


def test_limit_counts_decompressed_bytes() -> None:
    assert read([gzip.compress(b"\0" * 10_000)], content_encoding="gzip").body == b"\0" * 10_000
    with pytest.raises(BodyTooLarge):
        read([gzip.compress(b"\0" * 10_001)], content_encoding="gzip")
    assert read([b"x" * 10_000]).body == b"x" * 10_000
    with pytest.raises(BodyTooLarge):
        read([b"x" * 9_000, b"x" * 1_001])


def test_bomb_is_never_inflated_beyond_the_limit() -> None:
    inflater = Inflater("gzip", 1000)
    with pytest.raises(BodyTooLarge):
        inflater.feed(gzip.compress(b"\0" * 50_000_000))


def test_endless_padding_is_cut_off_too() -> None:
    with pytest.raises(BodyTooLarge):
        read([gzip.compress(b"")] * 1000, content_encoding="gzip")


@pytest.mark.parametrize(
    ("status", "headers", "any_method", "repeatable"),
    [
        (429, {}, True, True),
        (503, {"retry-after": "1"}, True, True),
        (503, {}, False, True),
        (500, {}, False, True),
        (502, {}, False, True),
        (408, {}, False, True),
        (404, {}, False, False),
        (200, {"retry-after": "1"}, False, False),
        (302, {}, False, False),
    ],
)
def test_status_worth_retrying(status: int, headers: dict[str, str], any_method: bool, repeatable: bool) -> None:
    assert worth_retrying(status, headers, repeatable=False) is any_method
    assert worth_retrying(status, headers, repeatable=True) is repeatable


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "99999999999999999999"}, 60.0),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "1.5"}, None),
        ({"retry-after": "٣"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Thu, 01 Jan 2026 12:00:09 GMT"}, 9.0),
        ({"retry-after": "Thu, 01 Jan 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "Thu, 01 Jan 2099 12:00:00 GMT"}, 60.0),
        ({"retry-after": "Thu, 01 Jan 2026 10:00:04 GMT", "date": "Thu, 01 Jan 2026 10:00:00 GMT"}, 4.0),
        ({"retry-after": "Thu, 99 Jan 2026 10:00:04 GMT"}, None),
    ],
)
def test_retry_after_is_read_and_capped(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, 60.0, NOW) == seconds
