"""Which IP addresses belong to the public Internet, and which addresses hide inside others.

The tables are written out, because the answers of ``ipaddress.is_global`` differ between versions of Python.
"""

from __future__ import annotations

import ipaddress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

_RESTRICTED_4 = tuple(
    (IPv4Network(network), kind)
    for network, kind in (
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "carrier-grade NAT"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "cloud platform"),  # public by number, but answers only inside a virtual machine's host
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "reserved"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("255.255.255.255/32", "broadcast"),
        ("240.0.0.0/4", "reserved"),
    )
)

# The first match names the kind. What stands outside 2000::/3 is not global unicast and is refused in any case.
_RESTRICTED_6 = tuple(
    (IPv6Network(network), kind)
    for network, kind in (
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::ffff:0:0/96", "IPv4-mapped"),
        ("::ffff:0:0:0/96", "IPv4-translated"),
        ("::/96", "IPv4-compatible"),
        ("64:ff9b::/96", "NAT64"),
        ("64:ff9b:1::/48", "NAT64"),
        ("100::/64", "discard-only"),
        ("2001::/32", "Teredo"),
        ("2001:2::/48", "benchmarking"),
        ("2001::/23", "reserved"),
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4"),
        ("3ffe::/16", "reserved"),
        ("3fff::/20", "documentation"),
        ("fc00::/7", "unique local"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")

_LAST_FOUR = tuple(
    IPv6Network(network) for network in ("::ffff:0:0/96", "::ffff:0:0:0/96", "::/96", "64:ff9b::/96", "64:ff9b:1::/48")
)
_NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")
_SIX_TO_FOUR = IPv6Network("2002::/16")
_TEREDO = IPv6Network("2001::/32")
_ISATAP = (0x00005EFE, 0x02005EFE)
_WORD = 0xFFFFFFFF


def restriction(address: IPAddress) -> str | None:
    """The kind of special address that this is ("loopback", "NAT64", ...); None for one of the public Internet."""
    if isinstance(address, IPv4Address):
        return next((kind for network, kind in _RESTRICTED_4 if address in network), None)
    if address.scope_id is not None:
        return "scoped"
    kind = next((kind for network, kind in _RESTRICTED_6 if address in network), None)
    return kind or (None if address in _GLOBAL_UNICAST else "reserved")


def embedded(address: IPAddress) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses to which a packet for this IPv6 address may be translated or tunnelled."""
    if isinstance(address, IPv4Address) or int(address) <= 1:
        return ()
    return tuple(dict.fromkeys(IPv4Address(word & _WORD) for word in _embedded_words(address)))


def _embedded_words(address: IPv6Address) -> list[int]:
    number = int(address)
    words = []
    if any(address in network for network in _LAST_FOUR):
        words.append(number)
    if address in _NAT64_LOCAL:  # RFC 6052, prefix of 48 bits: bits 64 to 71 stand between the halves
        words.append(number >> 64 << 16 | number >> 40 & 0xFFFF)
    if address in _SIX_TO_FOUR:
        words.append(number >> 80)
    if address in _TEREDO:
        words += [number >> 64, ~number]
    if number >> 32 & _WORD in _ISATAP:
        words.append(number)
    return words


def parse_address(text: str) -> IPAddress:
    """The address that a resolver wrote. Raises ``ValueError``."""
    return ipaddress.ip_address(text)
