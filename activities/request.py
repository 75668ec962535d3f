"""A node's HTTP configuration, read and rendered: what is wrong with it is said before anything is sent."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, cast

from perdure.activities.egress import Kind
from perdure.activities.failures import ActivityError, Failure
from perdure.activities.multipart import Part
from perdure.activities.response import storable

METHODS: dict[str, tuple[str, ...]] = {
    "HTTP": ("GET", "POST", "PUT", "DELETE", "PATCH"),
    "HTTP_MULTIPART": ("POST", "PUT", "PATCH"),
}
DEFAULT_TIMEOUT = 30.0
MAX_PARTS = 1000
MAX_HEADERS = 200

Render = Callable[[str], str]

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")  # a tab may stand in a header's value
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+\-]+/[A-Za-z0-9!#$&^_.+\-]+(?:\s*;[\x20-\x7e\t]*)?")
_BLANKS = re.compile(r"[ \t\r\n\f]+")


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request as the node wants it, everything substituted. ``method`` is upper-case; ``parts`` are used, and
    ``body`` is not, when ``kind`` is ``HTTP_MULTIPART``. ``shown_url`` stands for the URL in messages, for callers who
    put secrets into the URL; ``hide`` takes them out of what the server says, before any of it is cut off.
    """

    url: str
    method: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    timeout_seconds: float = DEFAULT_TIMEOUT
    kind: Kind = "HTTP"
    parts: tuple[Part, ...] = ()
    shown_url: str | None = None
    hide: Render = str

    def header(self, name: str) -> str | None:
        """The caller's value for a header, None if not given. ``name`` in lower case."""
        return next((value for key, value in self.headers if key.lower() == name), None)


def refuse(message: str) -> NoReturn:
    """Raise the failure that no further attempt can cure."""
    raise ActivityError(Failure(storable(message)))


def parse_request(kind: str, config_text: str, render: Render, render_part: Render) -> HttpRequest:
    """Read a node's JSON configuration. ``render`` substitutes in url, header values, body and the names of parts,
    ``render_part`` in their data. Raises ``ActivityError``, and whatever the two callables raise.
    """
    if kind not in METHODS:
        refuse(f"Invalid HTTP configuration: unknown kind '{kind}'")
    config = _object(config_text)
    many = kind == "HTTP_MULTIPART"
    return HttpRequest(
        method=_method(kind, config.get("method")),
        timeout_seconds=_timeout(config.get("timeout_seconds")),
        url=render(_string(config, "url", required=True)),
        headers=_headers(config.get("headers"), render),
        body=None if many else _body(config, render),
        kind=cast(Kind, kind),
        parts=_parts(config.get("parts"), render, render_part) if many else (),
    )


def _object(text: str) -> dict[str, Any]:
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        refuse("Invalid HTTP configuration: it is not JSON")
    if not isinstance(config, dict):
        refuse("Invalid HTTP configuration: it must be a JSON object")
    return config


def _string(config: dict[str, Any], key: str, where: str = "HTTP configuration", *, required: bool = False) -> str:
    value = config.get(key)
    if isinstance(value, str) and not (required and not value):
        return value
    refuse(f"Invalid {where}: {key} is required" if value in (None, "") else f"Invalid {where}: {key} must be a string")


def _method(kind: str, value: object) -> str:
    method = "POST" if value is None else value
    if isinstance(method, str) and method.upper() in METHODS[kind]:
        return method.upper()
    words = "Invalid HTTP method" if kind == "HTTP" else "Invalid HTTP method for multipart"
    refuse(f"{words}: {str(value)[:40]}. Allowed: {', '.join(METHODS[kind])}")


def _timeout(value: object) -> float:
    if value is None:
        return DEFAULT_TIMEOUT
    if isinstance(value, bool) or not isinstance(value, int | float):
        refuse("Invalid HTTP configuration: timeout_seconds must be a number")
    if value <= 0 or value > 10**9 or not math.isfinite(value):
        refuse("Timeout must be positive" if value <= 0 else "Invalid HTTP configuration: timeout_seconds is too large")
    return float(value)


def _headers(value: object, render: Render) -> tuple[tuple[str, str], ...]:
    if value is None:
        return ()
    if not isinstance(value, dict):
        refuse("Invalid HTTP configuration: headers must be a JSON object")
    if len(value) > MAX_HEADERS:
        refuse(f"Invalid HTTP configuration: more than {MAX_HEADERS} headers")
    return tuple(_header(name, text, render) for name, text in value.items())


def _header(name: str, value: object, render: Render) -> tuple[str, str]:
    if not _TOKEN.fullmatch(name):
        refuse(f"Invalid header name: {name[:100]!r}")
    if not isinstance(value, str):
        refuse(f"Invalid header '{name}': its value must be a string")
    text = render(value).strip(" \t")
    if _CONTROL.search(text):
        refuse(f"Invalid header '{name}': control characters are not allowed in its value")
    return name, text


def _body(config: dict[str, Any], render: Render) -> bytes | None:
    if config.get("body") is None:
        return None
    return _encoded(render(_string(config, "body")), "body")


def _encoded(text: str, what: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        refuse(f"Invalid HTTP configuration: {what} holds half of a surrogate pair")


def _parts(value: object, render: Render, render_part: Render) -> tuple[Part, ...]:
    if value is None:
        refuse("parts is required and cannot be NULL")
    if not isinstance(value, list):
        refuse("parts must be a JSON array of part objects")
    if not 1 <= len(value) <= MAX_PARTS:
        refuse(f"parts must contain at most {MAX_PARTS} parts" if value else "parts must contain at least one part")
    return tuple(_part(number, part, render, render_part) for number, part in enumerate(value, 1))


def _part(number: int, part: object, render: Render, render_part: Render) -> Part:
    if not isinstance(part, dict):
        refuse(f"Invalid part {number}: parts must be a JSON array of part objects")
    name = _clean(render(_string(part, "name", f"part {number}", required=True)), f"name of part {number}")
    filename, content_type = (part.get(key) for key in ("filename", "content_type"))
    if filename is not None:
        filename = _clean(render(_string(part, "filename", f"part '{name}'")), f"filename of part '{name}'")
    if content_type is not None and not (isinstance(content_type, str) and _MEDIA_TYPE.fullmatch(content_type)):
        refuse(f"Invalid content_type for part '{name}': {str(content_type)[:100]!r}")
    data = render_part(_string(part, "data_b64", f"part '{name}'"))
    return Part(name, _decode_base64(data, name), filename, content_type)


def _clean(text: str, what: str) -> str:
    if _CONTROL.search(text) or "\t" in text:
        refuse(f"Invalid {what}: control characters are not allowed")
    return text


def _decode_base64(text: str, name: str) -> bytes:
    try:
        return base64.b64decode(_BLANKS.sub("", text).encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        refuse(f"Invalid base64 in part '{name}': it must be standard base64 with padding")
