"""Form data in several parts (RFC 7578) as bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """One part. Names hold no control characters: whoever makes a ``Part`` has checked."""

    name: str
    data: bytes
    filename: str | None = None
    content_type: str | None = None


def encode(parts: Sequence[Part]) -> tuple[bytes, str]:
    """The body and its Content-Type. The same parts give the same bytes, so that a repeated request is the same."""
    pieces = [(_head(part), part.data) for part in parts]
    boundary = _boundary(pieces)
    line = f"--{boundary}\r\n".encode()
    body = b"".join(piece for head, data in pieces for piece in (line, head, data, b"\r\n"))
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def _head(part: Part) -> bytes:
    lines = [f'Content-Disposition: form-data; name="{_quoted(part.name)}"']
    if part.filename is not None:
        lines[0] += f'; filename="{_quoted(part.filename)}"'
    if part.content_type is not None:
        lines.append(f"Content-Type: {part.content_type}")
    return "\r\n".join([*lines, "", ""]).encode()


def _quoted(text: str) -> str:
    """As browsers write names."""
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _boundary(pieces: Sequence[tuple[bytes, bytes]]) -> str:
    """A hash of everything: no part can hold the boundary that its own content helped to make."""
    digest = hashlib.sha256()
    for piece in (piece for pair in pieces for piece in pair):
        digest.update(len(piece).to_bytes(8, "big") + piece)
    return f"perdure-{digest.hexdigest()[:40]}"
