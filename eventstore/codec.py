"""Events and JSON text. Compact, keys as they were put in, never through jsonb."""

from __future__ import annotations

import json
from typing import Any

from perdure.eventstore.events import Event

_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False)
_ascii_encoder = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), check_circular=False)


def encode(value: Any) -> str:
    """The JSON text of a payload. NUL and lone surrogates, which PostgreSQL's text cannot hold, stay escaped."""
    text = _encoder.encode(value)
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return _ascii_encoder.encode(value)
    return text


def decode(text: str) -> Any:
    """The value of a JSON text."""
    return json.loads(text)


def decode_events(text: str) -> list[Event]:
    """Events from the ``[[seq, kind, payload], ...]`` that a load answers."""
    return [Event(seq, kind, data) for seq, kind, data in json.loads(text)]
