"""The one parser of URLs: what it takes, what it refuses, and that nothing gets past its canonical form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.activities.target import BadUrl, parse_url


@pytest.mark.parametrize(
    ("url", "host", "port", "path"),
    [
        ("http://Example.ORG", "example.org", 80, "/"),
        ("HTTPS://example.org/a?b=c#d", "example.org", 443, "/a?b=c"),
        ("http://example.org.:8080?x", "example.org", 8080, "/?x"),
        ("http://user:p%40ss@example.org/", "example.org", 80, "/"),
        ("http://a@b@example.org/", "example.org", 80, "/"),
        ("http://bücher.example/ü x", "xn--bcher-kva.example", 80, "/%C3%BC%20x"),
        ("http://EXAMPLE。org/", "example.org", 80, "/"),
        ("http://xn--bcher-kva.example/", "xn--bcher-kva.example", 80, "/"),
        ("http://my_service:5000/100%", "my_service", 5000, "/100%25"),
        ("http://192.168.0.1/", "192.168.0.1", 80, "/"),
        ("http://１２７.０.０.１/", "127.0.0.1", 80, "/"),
        ("http://[::1]:81/", "::1", 81, "/"),
        ("http://[0:0:0:0:0:FFFF:7f00:1]/", "::ffff:127.0.0.1", 80, "/"),
        (" http://example.org/ ", "example.org", 80, "/"),
        ("http://example.org:/", "example.org", 80, "/"),
    ],
)
def test_url_is_taken_in_its_canonical_form(url: str, host: str, port: int, path: str) -> None:
    target = parse_url(url)
    assert (target.host.replace("::ffff:7f00:1", "::ffff:127.0.0.1"), target.port, target.path) == (host, port, path)
    assert (target.literal is not None) == (host[0].isdigit() or ":" in host)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://example.org/", "Blocked: unsupported URL scheme 'ftp'. Only http and https are allowed."),
        ("file:///etc/passwd", "unsupported URL scheme 'file'"),
        ("gopher://x", "unsupported URL scheme 'gopher'"),
        ("javascript:alert(1)", "unsupported URL scheme 'javascript'"),
        ("example.org", "unsupported URL scheme ''"),
        ("//example.org/", "unsupported URL scheme ''"),
        ("http:/example.org/", "unsupported URL scheme 'http'"),
        ("", "unsupported URL scheme ''"),
        ("http://", "the host is missing"),
        ("http:///path", "the host is missing"),
        ("http://user@/", "the host is missing"),
        ("http://example.org:99999/", "port"),
        ("http://example.org:0/", "port"),
        ("http://example.org:8o/", "port"),
        ("http://example.org:-1/", "port"),
        ("http://a:b:c/", "port"),
        ("http://::1/", "port"),
        ("http://exa mple.org/", "not a host name"),
        ("http://example..org/", "not a host name"),
        ("http://./", "not a host name"),
        ("http://-x.org/", "not a host name"),
        ("http://" + "a" * 64 + ".org/", "not a host name"),
        ("http://" + "a." * 130 + "org/", "not a host name"),
        ("http://exam\u0000ple.org/", "control characters"),
        ("http://example.org/\r\nHost: evil", "control characters"),
        ("http://example.org/\n", "control characters"),
        ("http://example.org\\@127.0.0.1/", "backslash"),
        ("http://127.0.0.1\\.example.org/", "backslash"),
        ("http://ex%61mple.org/", "not in the allowed endpoint list"),
        ("http://%31%32%37.0.0.1/", "not in the allowed endpoint list"),
        ("http://example.org%00.evil/", "not in the allowed endpoint list"),
        ("http://2130706433/", "bare IP addresses are not permitted"),
        ("http://0x7f000001/", "bare IP addresses are not permitted"),
        ("http://0x7F.0.0.1/", "bare IP addresses are not permitted"),
        ("http://0177.0.0.1/", "bare IP addresses are not permitted"),
        ("http://127.1/", "bare IP addresses are not permitted"),
        ("http://127.0.0.01/", "bare IP addresses are not permitted"),
        ("http://1.2.3.4.5/", "bare IP addresses are not permitted"),
        ("http://foo.0x10/", "bare IP addresses are not permitted"),
        ("http://0/", "bare IP addresses are not permitted"),
        ("http://[::1%25eth0]/", "bare IP addresses are not permitted"),
        ("http://[fe80::1%eth0]/", "bare IP addresses are not permitted"),
        ("http://[::1/", "bare IP addresses are not permitted"),
        ("http://[::1]evil.org/", "bare IP addresses are not permitted"),
        ("http://[127.0.0.1]/", "bare IP addresses are not permitted"),
        ("http://[v1.x]/", "bare IP addresses are not permitted"),
        ("http://\ud800.org/", "not a host name"),
        ("http://e" + "x" * 70000, "longer than"),
    ],
)
def test_url_that_clients_could_read_differently_is_refused(url: str, words: str) -> None:
    with pytest.raises(BadUrl) as caught:
        parse_url(url)
    assert words in str(caught.value)


def test_trailing_dot_of_an_address_changes_nothing() -> None:
    assert parse_url("http://127.0.0.1./").literal is not None


def test_messages_show_no_credentials() -> None:
    target = parse_url("https://user:secret@example.org:444/p?q")
    assert target.url == "https://example.org:444/p?q"
    assert (target.user_info, target.authority) == ("user:secret", "example.org:444")


@given(st.text(max_size=60))
def test_any_text_gives_a_canonical_target_or_a_refusal(text: str) -> None:
    try:
        target = parse_url("http://" + text)
    except BadUrl:
        return
    again = parse_url(target.url)
    assert (again.host, again.port, again.path, again.literal) == (
        target.host, target.port, target.path, target.literal,
    )  # fmt: skip
    assert target.path.isascii() and target.path.isprintable() and " " not in target.path
