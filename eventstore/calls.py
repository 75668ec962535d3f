"""The statements of ``calls.sql`` by name."""

from __future__ import annotations

import re
from pathlib import Path


def _load() -> dict[str, str]:
    text = Path(__file__).with_name("calls.sql").read_text("utf-8")
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)[1:]
    return {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}


CALLS = _load()
