"""Which addresses a request may reach: the table of special addresses, the rules, and both together."""

from __future__ import annotations

import ipaddress
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.activities.addresses import IPAddress, embedded, restriction
from perdure.activities.egress import Limits, Policy, Verdict, judge, refuse_name
from perdure.activities.target import parse_url

RESTRICTED = """
    0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.100.100.200 127.0.0.1 127.255.255.254 168.63.129.16 169.254.169.254
    172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.192 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 198.19.255.255
    198.51.100.7 203.0.113.7 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 :: ::1 ::2 ::127.0.0.1
    ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::ffff:0:127.0.0.1 64:ff9b::7f00:1 64:ff9b::808:808 64:ff9b:1::a00:1 100::1
    2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:2::1 2001:10::1 2001:20::1 2001:db8::1 2002:7f00:1::1
    2002:808:808::1 3ffe::1 3fff::1 4000::1 5f00::1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%1 fec0::1 ff02::1
    ff0e::1
""".split()
PUBLIC = (
    "1.1.1.1 8.8.8.8 100.63.255.255 100.128.0.1 172.15.0.1 172.32.0.1 193.0.0.1 2606:4700::1111 2001:4860:4860::8888"
)


def policy(*rules: dict[str, object], role: str = "alice") -> Policy:
    rows = [{"rule_no": number, **rule} for number, rule in enumerate(rules, 1)]
    return Policy.from_json(
        json.dumps({"role": role, "enabled": True, "may_http": True, "may_multipart": True, "rules": rows})
    )


def judged(given_policy: Policy, url: str, *addresses: str) -> Verdict:
    target = parse_url(url)
    literal = [target.literal] if target.literal is not None else []
    return judge(given_policy, target, [ipaddress.ip_address(a) for a in addresses] or literal)


def allow(**rule: object) -> dict[str, object]:
    return {"action": "allow", **rule}


def deny(**rule: object) -> dict[str, object]:
    return {"action": "deny", **rule}


@pytest.mark.parametrize("address", RESTRICTED)
def test_special_address_is_refused_by_default(address: str) -> None:
    verdict = judged(policy(), "http://name.example/", address)
    assert verdict.allowed_addresses == ()
    assert str(verdict.reason).startswith(
        "Blocked: the resolved IP address for 'name.example' is in a restricted range. "
    )


@pytest.mark.parametrize("address", PUBLIC.split())
def test_public_address_is_allowed_by_default(address: str) -> None:
    assert judged(policy(), "http://name.example/", address).reason is None


_ADDRESSES = st.one_of(
    st.ip_addresses(),
    st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address),
    st.integers(0, 2**32 - 1).map(lambda n: ipaddress.IPv6Address(0xFFFF << 32 | n)),
    st.integers(0x2000 << 112, (0x4000 << 112) - 1).map(ipaddress.IPv6Address),
)


@given(_ADDRESSES)
def test_nothing_is_public_that_the_standard_library_calls_special(address: IPAddress) -> None:
    if restriction(address) is None:
        assert address.is_global and not address.is_multicast


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("::ffff:0:10.0.0.1", "10.0.0.1"),
        ("::10.0.0.1", "10.0.0.1"),
        ("64:ff9b::a00:1", "10.0.0.1"),
        ("64:ff9b:1::a00:1", "10.0.0.1"),
        ("64:ff9b:1:a00:0:100::", "10.0.0.1"),
        ("2002:a00:1::", "10.0.0.1"),
        ("2001:0:a00:1::", "10.0.0.1"),
        ("2001::f5ff:fffe", "10.0.0.1"),
        ("2606:4700::5efe:a00:1", "10.0.0.1"),
        ("2606:4700::200:5efe:a00:1", "10.0.0.1"),
    ],
)
def test_ipv4_address_inside_ipv6_is_found(outer: str, inner: str) -> None:
    assert ipaddress.ip_address(inner) in embedded(ipaddress.ip_address(outer))


def test_both_outer_and_inner_address_must_be_allowed() -> None:
    nat64 = policy(allow(network="64:ff9b::/96"))
    assert judged(nat64, "http://x.example/", "64:ff9b::808:808").reason is None
    assert judged(nat64, "http://x.example/", "64:ff9b::a00:1").reason is not None
    both = policy(allow(network="64:ff9b::/96"), allow(network="10.0.0.0/8"))
    assert judged(both, "http://x.example/", "64:ff9b::a00:1").reason is None
    assert judged(policy(allow(network="127.0.0.0/8")), "http://x.example/", "::ffff:127.0.0.1").reason is not None


def test_isatap_address_is_refused_for_the_private_address_inside() -> None:
    assert judged(policy(), "http://x.example/", "2606:4700::5efe:a00:1").reason is not None
    assert judged(policy(), "http://x.example/", "2606:4700::5efe:808:808").reason is None


def test_rule_with_a_network_opens_exactly_that_network() -> None:
    opened = policy(allow(network="127.0.0.0/8"))
    assert judged(opened, "http://127.0.0.1/").reason is None
    assert judged(opened, "http://localhost/", "127.0.0.1", "::1").allowed_addresses == (
        ipaddress.ip_address("127.0.0.1"),
    )
    assert judged(opened, "http://10.0.0.1/").reason is not None


def test_allowing_a_host_does_not_open_the_private_network_behind_it() -> None:
    named = policy(allow(host="api.example.org"), deny(host="*"))
    assert judged(named, "http://api.example.org/", "8.8.8.8").reason is None
    assert "restricted range" in str(judged(named, "http://api.example.org/", "10.0.0.1").reason)
    both = policy(allow(host="api.example.org", network="10.0.0.0/8"), deny(host="*"))
    assert judged(both, "http://api.example.org/", "10.0.0.1").reason is None
    assert "not in the allowed endpoint list" in str(judged(both, "http://other.example.org/", "10.0.0.1").reason)


def test_host_allowed_but_denied_by_address_falls_to_the_rules_that_follow() -> None:
    rules = policy(allow(host=".example.org"), allow(network="10.0.0.0/8"), deny(host="*"))
    assert judged(rules, "http://api.example.org/", "10.0.0.1").reason is None


def test_first_matching_rule_decides() -> None:
    rules = policy(deny(host="bad.example.org"), allow(host=".example.org"), deny(host="*"))
    assert judged(rules, "http://bad.example.org/", "8.8.8.8").reason is not None
    assert judged(rules, "http://good.example.org/", "8.8.8.8").reason is None
    assert judged(rules, "http://other.example/", "8.8.8.8").reason is not None


@pytest.mark.parametrize(
    ("host", "url", "matches"),
    [
        ("example.org", "http://example.org/", True),
        ("example.org", "http://EXAMPLE.org./", True),
        ("example.org", "http://user:x@example.org:81/", True),
        ("example.org", "http://sub.example.org/", False),
        ("example.org", "http://example.org@evil.test/", False),
        ("example.org", "http://example.org.evil.test/", False),
        (".example.org", "http://sub.example.org/", True),
        (".example.org", "http://a.b.example.org/", True),
        (".example.org", "http://example.org/", False),
        (".example.org", "http://evilexample.org/", False),
        ("xn--bcher-kva.example", "http://BÜCHER.example/", True),
        ("bücher.example", "http://xn--bcher-kva.example/", True),
        ("*", "http://anything.example/", True),
        ("*", "http://8.8.8.8/", True),
        ("[ip]", "http://8.8.8.8/", True),
        ("[ip]", "http://[2606:4700::1111]/", True),
        ("[ip]", "http://dns.example/", False),
    ],
)
def test_host_of_a_rule(host: str, url: str, matches: bool) -> None:
    assert (refuse_name(policy(deny(host=host)), parse_url(url)) is not None) is matches


def test_ports_of_a_rule() -> None:
    rules = policy(allow(port_low=443), allow(port_low=8000, port_high=8099), deny(host="*"))
    assert judged(rules, "https://x.example/", "8.8.8.8").reason is None
    assert judged(rules, "http://x.example:8099/", "8.8.8.8").reason is None
    assert judged(rules, "http://x.example/", "8.8.8.8").reason is not None


def test_denied_network_is_refused_though_public() -> None:
    rules = policy(deny(network="8.8.0.0/16"))
    assert "restricted range" in str(judged(rules, "http://x.example/", "8.8.8.8").reason)
    assert judged(rules, "http://x.example/", "8.8.8.8", "1.1.1.1").allowed_addresses == (
        ipaddress.ip_address("1.1.1.1"),
    )


def test_name_is_not_looked_up_when_no_address_could_help() -> None:
    assert refuse_name(policy(deny(host="*")), parse_url("http://x.example/")) is not None
    assert refuse_name(policy(allow(network="10.0.0.0/8"), deny(host="*")), parse_url("http://x.example/")) is None
    assert refuse_name(policy(deny(network="10.0.0.0/8"), deny(host="*")), parse_url("http://x.example/")) is not None
    assert refuse_name(policy(), parse_url("http://x.example/")) is None


@pytest.mark.parametrize(
    ("rules", "url", "words"),
    [
        ((), "http://127.0.0.1/", "requests to bare IP addresses are not permitted"),
        ((deny(host="[ip]"),), "http://8.8.8.8/", "requests to bare IP addresses are not permitted"),
        ((deny(host="*"),), "http://8.8.8.8/", "requests to bare IP addresses are not permitted"),
        ((deny(host="*"),), "http://x.example/", "'x.example' is not in the allowed endpoint list"),
    ],
)
def test_refusal_has_the_words_that_users_match_on(rules: tuple[dict[str, object], ...], url: str, words: str) -> None:
    reason = judged(policy(*rules), url, *(() if "8" in url or "7" in url else ("8.8.8.8",))).reason
    assert str(reason).startswith("Blocked: ") and words in str(reason)


def test_refusal_does_not_tell_the_private_address() -> None:
    reason = judged(policy(), "http://db.internal.example/", "10.11.12.13", "64:ff9b::a0b:c0d").reason
    assert reason is not None and "10.11.12.13" not in reason and "private" in reason


def test_switched_off_and_without_privilege() -> None:
    off = Policy.from_json('{"enabled": false, "may_http": true, "may_multipart": true}')
    assert "Blocked: outbound HTTP requests are disabled" in str(off.refuse_kind("HTTP"))
    none = Policy.from_json('{"role": "bob", "enabled": true, "may_http": false, "may_multipart": true}')
    assert str(none.refuse_kind("HTTP")).startswith(
        "Blocked: role 'bob' does not have EXECUTE privilege on df.http(). "
    )
    assert none.refuse_kind("HTTP_MULTIPART") is None
    assert Policy.from_json("{}").refuse_kind("HTTP") is not None, "what is not granted is refused"


@pytest.mark.parametrize(
    "rule",
    [
        {"action": "maybe"},
        {"action": "allow", "host": "10.0.0.1"},
        {"action": "allow", "host": "a..b"},
        {"action": "allow", "network": "10.0.0.1/8"},
    ],
)
def test_rule_that_is_not_understood_is_not_left_out(rule: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="rule"):
        policy(rule)


def test_limits_are_read_and_have_defaults() -> None:
    limits = Policy.from_json('{"limits": {"max_response_bytes": 5, "max_request_bytes": null}}').limits
    assert limits == Limits(max_response_bytes=5)
