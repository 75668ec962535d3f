"""A secret that comes back is hidden however it was written; what holds no secret stays as it is."""

from __future__ import annotations

import base64
import html
import json
import time
from collections.abc import Callable
from urllib.parse import quote, quote_plus, unquote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from perdure.activities.response import SHOWN_BODY_BYTES, Answer, result_text, shown_body
from perdure.masking import SHORTEST, Mask
from perdure.secrets import Vault

Encode = Callable[[str], str]


def as_php(text: str) -> str:
    return json.dumps(text)[1:-1].replace("/", "\\/")


def every_character_as_json(text: str) -> str:
    units = text.encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


ENCODINGS: dict[str, Encode] = {
    "itself": lambda t: t,
    "lower case": str.lower,
    "upper case": str.upper,
    "quote": lambda t: quote(t, safe=""),
    "quote with a slash": quote,
    "quote_plus": quote_plus,
    "quoted in lower case": lambda t: quote(t, safe="").lower(),
    "every byte quoted": lambda t: "".join(f"%{byte:02X}" for byte in t.encode()),
    "quoted twice": lambda t: quote(quote(t, safe=""), safe=""),
    "quoted as UTF-8 and plus, twice": lambda t: quote_plus(quote_plus(t)),
    "JSON": lambda t: json.dumps(t)[1:-1],
    "JSON without ASCII": lambda t: json.dumps(t, ensure_ascii=False)[1:-1],
    "JSON of PHP": as_php,
    "JSON in JSON": lambda t: json.dumps(json.dumps(t))[1:-1],
    "JSON in JSON in JSON": lambda t: json.dumps(json.dumps(json.dumps(t)))[1:-1],
    "every character in JSON": every_character_as_json,
    "JSON in upper case": lambda t: every_character_as_json(t).upper().replace("\\U", "\\u"),
    "HTML": html.escape,
    "HTML twice": lambda t: html.escape(html.escape(t)),
    "HTML by numbers": lambda t: "".join(f"&#{ord(c)};" for c in t),
    "HTML by hex numbers": lambda t: "".join(f"&#x{ord(c):x};" for c in t),
    "hex": lambda t: t.encode().hex(),
    "hex in upper case": lambda t: t.encode().hex().upper(),
    "base64": lambda t: base64.b64encode(t.encode()).decode(),
    "base64 for URLs": lambda t: base64.urlsafe_b64encode(t.encode()).decode().rstrip("="),
    "base64 of PHP": lambda t: base64.b64encode(t.encode()).decode().replace("/", "\\/"),
    "base64 in lines": lambda t: base64.encodebytes(t.encode()).decode(),
    "base64 quoted": lambda t: quote(base64.b64encode(t.encode()).decode(), safe=""),
    "base64 of JSON": lambda t: base64.b64encode(json.dumps({"token": t}).encode()).decode(),
    "base64 of quoted": lambda t: base64.b64encode(quote(t, safe="").encode()).decode(),
    "Basic": lambda t: base64.b64encode(f"user:{t}".encode()).decode(),
    "Basic of one more": lambda t: base64.b64encode(f"users:{t}".encode()).decode(),
    "Basic of two more": lambda t: base64.b64encode(f"userso:{t}:x".encode()).decode(),
    "read as Latin-1": lambda t: t.encode().decode("latin-1"),
    "user-info": unquote,
}  # fmt: skip
# Ends that encodings do not join to anything, so that what is hidden is exactly the secret.
secrets_of_any_kind = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=6, max_size=40
)
tokens = st.from_regex(r"[A-Za-z0-9_/+=.\\-]{6,60}", fullmatch=True)
SPITE = ["\\", '"', "'", "/", "%", "%25", "&", "&amp;", "+", " ", "\n", "a", "é", "u0041", "<", "😀"]
spiteful = st.lists(st.sampled_from(SPITE), min_size=6, max_size=12).map("".join)


@settings(max_examples=25)
@given(secret=tokens | spiteful | secrets_of_any_kind)
@example(secret='tok-"é\\/&=% 1')
@example(secret='\\"\\"\\\'//\\\\')
@example(secret="\\%0:00")
def test_a_secret_is_hidden_however_it_is_written(secret: str) -> None:
    for way, encode in ENCODINGS.items():
        written = encode(secret)
        if len(written) < SHORTEST or (way in ("lower case", "upper case") and len(written) != len(secret)):
            continue
        hidden = Mask({"k": secret}).text(f"<<{written}>>")
        assert "{secret:k}" in hidden, (way, written)
        assert written not in hidden, (way, written)


@settings(max_examples=40)
@given(secret=tokens, data=st.binary(max_size=8), after=st.binary(max_size=8))
def test_base64_tells_no_bit_in_any_place(secret: str, data: bytes, after: bytes) -> None:
    written = base64.b64encode(data + secret.encode() + after).decode()
    hidden = Mask({"k": secret}).text(written)
    before, found, behind = hidden.partition("{secret:k}")
    assert found
    # What is left in front ends before the secret or within its first byte, what is left behind begins after it.
    assert len(before) * 6 < (len(data) + 1) * 8
    assert len(behind.rstrip("=")) * 6 <= len(after) * 8 + 5


@given(text=st.text(max_size=200))
def test_a_text_without_the_secret_stays(text: str) -> None:
    assert Mask({"k": "\u1234\u4321\u3214\u2341\u1243"}).text(text) == text


@given(text=st.text(max_size=60))
def test_short_values_are_not_looked_for(text: str) -> None:
    assert Mask({"k": "abc"}).text(text) == text
    assert Mask({}).result(text) == text


ANSWERS = {
    "text": b"you sent n3wline and \n3wline",
    "json": b'{"a":"\\n3wline","b":"n3wline"}',
    "binary": b"\xff\xfe\x00n3wline\x80",
}


@pytest.mark.parametrize("body", list(ANSWERS.values()), ids=list(ANSWERS))
def test_results_stay_results(body: bytes) -> None:
    """An escape is not taken for a part of the value: what is stored must be JSON."""
    answer = Answer(200, {"x-echo": "N3WLINE", "n3wline": "1"}, body)
    result = json.loads(Mask({"k": "n3wline"}).result(result_text(answer, 5)))
    assert list(result) == ["status", "body", "encoding", "headers", "ok", "duration_ms"]
    assert result["headers"] == {"x-echo": "{secret:k}", "{secret:k}": "1"}
    shown = result["body"] if result["encoding"] != "base64" else base64.b64decode(result["body"]).decode("latin-1")
    assert "n3wline" not in shown
    assert "{secret:k}" in shown


def test_a_longer_secret_goes_first() -> None:
    assert Mask({"a": "pass", "b": "password"}).text("password pass") == "{secret:b} {secret:a}"
    assert Vault({"a": "pass", "b": "password"}).hidden("passwords") == "{secret:b}s"


@given(at=st.integers(SHOWN_BODY_BYTES - 60, SHOWN_BODY_BYTES + 2))
def test_nothing_of_a_secret_is_left_where_a_message_ends(at: int) -> None:
    secret = "sk_live_0123456789abcdef"
    body = b"x" * at + json.dumps(secret).encode() + b"y" * 1000
    shown = shown_body(body, Vault({"k": secret}).hidden)
    assert len(shown.encode()) <= SHOWN_BODY_BYTES
    assert "sk_l" not in shown


LONG = {
    "backslashes": ("\\a" * 12 + "x", "\\\\\\u0061" * 4000),
    "quotes": ('"' * 20 + "x", '\\\\\\"' * 10_000),
    "percent": ("%25" * 12 + "x", "%2525252525" * 5_000),
    "ampersands": ("&amp;" * 8 + "x", "&amp;amp;amp;" * 5_000),
    "letters": ("a" * 40 + "b", "a" * 50_000),
    "only backslashes": ("\\" * 15 + "x", "\\" * 50_000),
}


@pytest.mark.parametrize(("secret", "text"), list(LONG.values()), ids=list(LONG))
def test_no_answer_takes_for_ever(secret: str, text: str) -> None:
    """Exponential would be for ever; the limit is far above what it takes on a busy machine."""
    began = time.process_time()
    Mask({"k": secret}).text(text)
    assert time.process_time() - began < 30
