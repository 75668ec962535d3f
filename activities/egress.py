"""May this request leave? Rules and judgement, without a socket.

    refuse_kind            refuse_name                            judge
    switched on, granted -> no deny rule for the host -> look-up -> every address -> connect to one of those allowed

Rules are tried in order and the first that matches decides. A rule matches when everything that it names (host,
network, ports) matches. An **allow rule without a network covers public addresses only**: naming a host does not open
the private network behind it; to open it, name the network. A deny rule without a network covers every address. Where
no rule matches, public addresses are allowed and all others refused. An IPv4 address inside an IPv6 address (mapped,
NAT64, 6to4, Teredo, ...) is judged too, and both must be allowed.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from perdure.activities.addresses import IPAddress, IPNetwork, embedded, restriction
from perdure.activities.target import BadUrl, Target, parse_host

Action = Literal["allow", "deny"]
Kind = Literal["HTTP", "HTTP_MULTIPART"]

ANY_HOST = "*"
ANY_LITERAL = "[ip]"  # as a rule's host: every IP address that stands in the URL itself

_DISABLED = (
    "Blocked: outbound HTTP requests are disabled. An administrator can enable them with the setting http_enabled."
)
_FUNCTIONS: dict[str, str] = {"HTTP": "df.http()", "HTTP_MULTIPART": "df.http_multipart()"}


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds. Response bytes are counted after decompression.

    The sizes are settings. The times are not: nobody waits longer than an hour for an answer on an open connection,
    and a server that wants to be left alone for longer than a minute has outlasted the retries.
    """

    max_request_bytes: int = 16 * 1024 * 1024
    max_response_bytes: int = 16 * 1024 * 1024
    max_timeout_seconds: float = 3600.0
    max_retry_after_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of ``df.http_policy``; what is None matches everything."""

    number: int
    action: Action
    host: str | None = None
    network: IPNetwork | None = None
    port_low: int | None = None
    port_high: int | None = None

    def matches_name(self, target: Target) -> bool:
        """Whether host and port match; says nothing about the network."""
        return self._matches_host(target) and self._matches_port(target.port)

    def _matches_host(self, target: Target) -> bool:
        if self.host is None or self.host == ANY_HOST:
            return True
        if self.host == ANY_LITERAL:
            return target.literal is not None
        if self.host.startswith("."):
            return target.literal is None and target.host.endswith(self.host)
        return target.host == self.host

    def _matches_port(self, port: int) -> bool:
        low, high = self.port_low, self.port_high
        if low is None and high is None:
            return True
        if low is None or high is None:
            return port == (low if low is not None else high)
        return low <= port <= high

    def covers(self, address: IPAddress) -> bool:
        """Whether the network matches; see the head of this module for the rule without one."""
        if self.network is None:
            return self.action == "deny" or restriction(address) is None
        return address.version == self.network.version and address in self.network

    def __str__(self) -> str:
        ports = (self.port_low, self.port_high)
        port = None if ports == (None, None) else f"port {'-'.join(str(p) for p in ports if p is not None)}"
        parts = (self.host, str(self.network) if self.network else None, port)
        return f"rule {self.number} ({' '.join((self.action, *filter(None, parts)))})"


@dataclass(frozen=True, slots=True)
class Policy:
    """What one role may send: switches, limits and the rules that concern it, in order."""

    rules: tuple[Rule, ...] = ()
    role: str | None = None
    enabled: bool = True
    may_http: bool = True
    may_multipart: bool = True
    limits: Limits = field(default_factory=Limits)

    @staticmethod
    def from_json(text: str) -> Policy:
        """Read what ``df_engine.http_policy_v1`` returned. Raises ``ValueError`` for a rule that cannot be understood:
        a rule left out could be the one that denies.
        """
        data = json.loads(text)
        return Policy(
            rules=tuple(_rule(row) for row in data.get("rules", ())),
            role=data.get("role"),
            enabled=data.get("enabled", True) is True,
            may_http=data.get("may_http", False) is True,
            may_multipart=data.get("may_multipart", False) is True,
            limits=_limits(data.get("limits") or {}),
        )

    def refuse_kind(self, kind: Kind) -> str | None:
        """Why a request of this kind may not be sent at all; None if it may."""
        if not self.enabled:
            return _DISABLED
        if self.may_http if kind == "HTTP" else self.may_multipart:
            return None
        return (
            f"Blocked: role '{self.role}' does not have EXECUTE privilege on {_FUNCTIONS[kind]}. "
            "An administrator can grant it with df.grant_usage(role, include_http => true)."
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """The addresses that may be connected to; if there is none, the ``reason``. ``trail``: a line for each address."""

    allowed_addresses: tuple[IPAddress, ...]
    reason: str | None
    trail: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Ruling:
    allowed: bool
    why: str


def _rule(row: dict[str, Any]) -> Rule:
    number, action = int(row["rule_no"]), row["action"]
    if action not in ("allow", "deny"):
        raise ValueError(f"http policy, rule {number}: unknown action {action!r}")
    try:
        network = ipaddress.ip_network(row["network"]) if row.get("network") else None
        host = rule_host(row["host"]) if row.get("host") else None
    except ValueError as error:
        raise ValueError(f"http policy, rule {number}: {error}") from None
    return Rule(number, action, host, network, row.get("port_low"), row.get("port_high"))


def rule_host(text: str) -> str:
    """The canonical form of a rule's host: ``*``, ``[ip]``, ``.suffix`` or a name. Raises ``ValueError``."""
    if text in (ANY_HOST, ANY_LITERAL):
        return text
    dot = "." if text.startswith(".") else ""
    name, literal = parse_host(text.removeprefix("*").removeprefix("."))
    if literal is not None:
        raise BadUrl(f"'{text}' is an address; write it in the column network")
    return ("." if text.startswith("*.") else dot) + name


def _limits(values: dict[str, Any]) -> Limits:
    default = Limits()
    return Limits(
        max_request_bytes=int(values.get("max_request_bytes") or default.max_request_bytes),
        max_response_bytes=int(values.get("max_response_bytes") or default.max_response_bytes),
    )


def refuse_name(policy: Policy, target: Target) -> str | None:
    """Why no address could make this request allowed, so that the name need not be looked up; None if one could."""
    for rule in _matching(policy, target):
        if rule.action == "allow":
            return None
        if rule.network is None:
            return _refusal_by_name(target, rule)
    return None


def judge(policy: Policy, target: Target, addresses: Sequence[IPAddress]) -> Verdict:
    """Which of the addresses that the target's name has may be connected to."""
    rulings = [(address, _judge_one(policy, target, address)) for address in dict.fromkeys(addresses)]
    allowed = tuple(address for address, ruling in rulings if ruling.allowed)
    trail = tuple(f"{address}: {'allowed' if r.allowed else 'refused'}, {r.why}" for address, r in rulings)
    if allowed:
        return Verdict(allowed, None, trail)
    early = refuse_name(policy, target)
    return Verdict((), early or _refusal_by_address(target, rulings), trail)


def _matching(policy: Policy, target: Target) -> Iterator[Rule]:
    return (rule for rule in policy.rules if rule.matches_name(target))


def _judge_one(policy: Policy, target: Target, address: IPAddress) -> _Ruling:
    """The address and every address inside it must be allowed; the first that is not decides."""
    ruling = _by_rules(policy, target, address)
    for inner in embedded(address):
        if not ruling.allowed:
            return ruling
        inside = _by_rules(policy, target, inner)
        ruling = ruling if inside.allowed else _Ruling(False, f"holds {inner}, {inside.why}")
    return ruling


def _by_rules(policy: Policy, target: Target, address: IPAddress) -> _Ruling:
    for rule in _matching(policy, target):
        if rule.covers(address):
            return _Ruling(rule.action == "allow", str(rule))
    kind = restriction(address)
    return _Ruling(kind is None, f"{kind} address" if kind else "public address")


def _refusal_by_name(target: Target, rule: Rule) -> str:
    if target.literal is not None:
        return f"Blocked: requests to bare IP addresses are not permitted. '{target.host}' is refused by {rule}."
    return f"Blocked: '{target.host}' is not in the allowed endpoint list. It is refused by {rule} of df.http_policy."


def _refusal_by_address(target: Target, rulings: Sequence[tuple[IPAddress, _Ruling]]) -> str:
    if target.literal is not None:
        why = "; ".join(ruling.why for _, ruling in rulings)
        return (
            "Blocked: requests to bare IP addresses are not permitted unless they are public or allowed by a rule. "
            f"'{target.host}' is in a restricted range ({why})."
        )
    # The addresses themselves are not told: users could explore the names of the worker's private network.
    kinds = ", ".join(dict.fromkeys(ruling.why.rpartition(", ")[2] for _, ruling in rulings))
    return (
        f"Blocked: the resolved IP address for '{target.host}' is in a restricted range. "
        f"It ({kinds}) is not in the allowed endpoint list, df.http_policy."
    )
