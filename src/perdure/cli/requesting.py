"""``perdure http test``: what would become of a request, and why."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import psycopg

from perdure.activities.egress import Kind, Policy
from perdure.activities.failures import ActivityError
from perdure.activities.http import HttpClient, HttpRequest, explain_url
from perdure.cli.target import Refused, require_schema
from perdure.eventstore.calls import CALLS

_STEP_KEY = "perdure-http-test"
_ROLE = "SELECT pg_catalog.to_regrole(pg_catalog.quote_ident(%s))::pg_catalog.oid::pg_catalog.int8"


@dataclass(frozen=True, slots=True)
class Finding:
    """A line for each thing found; ``good``: the request may leave, and where it was sent it was answered."""

    lines: tuple[str, ...]
    good: bool


def tested(connection: psycopg.Connection[Any], url: str, role: str, *, multipart: bool, send: bool) -> Finding:
    """Judge a request of a role; send it if asked to and it may leave. Raises ``Refused``."""
    require_schema(connection)
    policy = _policy(connection, role)
    client = HttpClient()
    kind: Kind = "HTTP_MULTIPART" if multipart else "HTTP"
    lines = explain_url(client, policy, url, kind)
    if not send or not lines[-1].startswith("Allowed"):
        return Finding(tuple(lines), lines[-1].startswith("Allowed"))
    answer, good = _sent(client, policy, url)
    return Finding((*lines, answer), good)


def _policy(connection: psycopg.Connection[Any], role: str) -> Policy:
    row = connection.execute(_ROLE, (role,)).fetchone()
    if row is None or row[0] is None:
        raise Refused(f"there is no role {role}")
    try:
        text = connection.execute(CALLS["http_policy"], (row[0],)).fetchall()[0][0]
    except psycopg.errors.InsufficientPrivilege as error:
        login = connection.info.user
        raise Refused(f"{login} may not ask about {role}: log in as {role}, or as an administrator") from error
    return Policy.from_json(text)


def _sent(client: HttpClient, policy: Policy, url: str) -> tuple[str, bool]:
    try:
        result = json.loads(client.perform(HttpRequest(url, "GET"), policy, _STEP_KEY))
    except ActivityError as error:
        return f"Failed: {error.failure.message}", False
    return f"Answered: status {result['status']} after {result['duration_ms']} ms", True
