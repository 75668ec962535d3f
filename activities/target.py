"""Where a request goes: the one parser of URLs.

What it returns is used for the judgement, for the name look-up, for the connection and for the Host header alike, so
no second reading of the same text can disagree. It is strict: what clients read differently is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

import idna

from perdure.activities.addresses import IPAddress

DEFAULT_PORTS = {"http": 80, "https": 443}
MAX_URL = 65_536

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# RFC 3986: what may stand in a path or a query unescaped, and the escape sign itself.
_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9\-._~!$&'()*+,;=:@/?%]")
_BARE_IP = "Blocked: requests to bare IP addresses are not permitted. "


class BadUrl(ValueError):
    """The URL cannot be used; the message is for the user and holds no credentials."""


@dataclass(frozen=True, slots=True)
class Target:
    """A parsed URL. ``host`` is lower-case ASCII: a name without a closing dot, or the canonical form of an address
    (without brackets), which is then in ``literal`` too. ``path`` is ASCII, begins with ``/`` and holds the query.
    """

    scheme: str
    host: str
    port: int
    path: str
    literal: IPAddress | None = None
    user_info: str | None = None

    @property
    def bracketed(self) -> str:
        """The host as it stands in a URL."""
        return f"[{self.host}]" if isinstance(self.literal, IPv6Address) else self.host

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        return self.bracketed if self.port == DEFAULT_PORTS[self.scheme] else f"{self.bracketed}:{self.port}"

    @property
    def url(self) -> str:
        """The URL without user name and password: the form for messages."""
        return f"{self.scheme}://{self.authority}{self.path}"


def parse_url(text: str) -> Target:
    """Parse a URL. Raises ``BadUrl``, its message in the words that users match on."""
    text = text.strip(" ")
    if len(text) > MAX_URL:
        raise BadUrl(f"Invalid URL: longer than {MAX_URL} characters")
    if _CONTROL.search(text):
        raise BadUrl("Invalid URL: control characters are not allowed")
    scheme, rest = _split_scheme(text)
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    user_info, at, host_and_port = authority.rpartition("@")
    if "\\" in authority:
        raise BadUrl("Invalid URL: a backslash is not allowed in the host")
    host_text, port = _split_port(host_and_port, DEFAULT_PORTS[scheme])
    host, literal = parse_host(host_text)
    return Target(scheme, host, port, _path(rest[len(authority) :]), literal, user_info if at else None)


def _split_scheme(text: str) -> tuple[str, str]:
    scheme, found, rest = text.partition("://")
    if not found or scheme.lower() not in DEFAULT_PORTS:
        shown = scheme[:40] if found else text.partition(":")[0][:40] if ":" in text else ""
        raise BadUrl(f"Blocked: unsupported URL scheme '{shown}'. Only http and https are allowed.")
    return scheme.lower(), rest


def _split_port(text: str, default: int) -> tuple[str, int]:
    """Split host and port; the host keeps its brackets."""
    end = (text.find("]") + 1 or len(text)) if text.startswith("[") else 0
    host, colon, port = text[end:].partition(":")
    host = text[:end] + host
    if not colon or not port:
        return host, default
    if not re.fullmatch(r"[0-9]{1,5}", port, re.ASCII) or not 1 <= int(port) <= 65_535:
        raise BadUrl("Invalid URL: the port must be a number from 1 to 65535")
    return host, int(port)


def _path(rest: str) -> str:
    path = rest.partition("#")[0]
    path = path if path.startswith("/") else "/" + path
    escaped = _NOT_ALLOWED.sub(lambda match: _escape(match.group()), path)
    return re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", escaped)


def _escape(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "replace"))


def parse_host(text: str) -> tuple[str, IPAddress | None]:
    """The canonical form of a host, and its address if it is one. Raises ``BadUrl``."""
    if text.startswith("["):
        return _literal(_ipv6(text))
    if not text:
        raise BadUrl("Invalid URL: the host is missing")
    if "%" in text:
        raise BadUrl(f"Blocked: '{text}' is not in the allowed endpoint list. A host must not be percent-encoded.")
    name = _ascii(text)
    if not _NUMBER.fullmatch(name.rpartition(".")[2]):
        return name, None
    # A last label that is a number makes an address of the whole, in one of many spellings. Only one is taken.
    return _literal(_ipv4(name, text))


def _literal(address: IPAddress) -> tuple[str, IPAddress]:
    return str(address), address


def _ipv6(text: str) -> IPv6Address:
    try:
        if not text.endswith("]") or "%" in text:
            raise ValueError
        return IPv6Address(text[1:-1])
    except ValueError:
        raise BadUrl(f"{_BARE_IP}'{text}' is not a plain IPv6 address.") from None


def _ipv4(name: str, shown: str) -> IPv4Address:
    try:
        return IPv4Address(name)
    except ValueError:
        raise BadUrl(f"{_BARE_IP}'{shown}' is not a plain IPv4 address in four decimal numbers.") from None


def _ascii(text: str) -> str:
    """A host name in lower-case ASCII (international names by UTS 46), without its closing dot."""
    try:
        name = text.lower() if text.isascii() else idna.encode(text, uts46=True, std3_rules=True).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        name = ""
    name = name.removesuffix(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise BadUrl(f"Invalid URL: '{text[:100]}' is not a host name")
    return name
