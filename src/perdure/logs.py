"""What a worker writes: one line an event, with fields; never payloads or secrets."""

from __future__ import annotations

import logging
from typing import Any


class Fields(logging.Formatter):
    """``time level message key=value ...``; never payloads or secrets."""

    _standard = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        fields = {k: v for k, v in vars(record).items() if k not in self._standard}
        return text + "".join(f" {name}={_on_one_line(value)}" for name, value in fields.items())


def _on_one_line(value: Any) -> str:
    """What others wrote must not look like a line of the log."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in str(value))


def first_words(error: Exception) -> str:
    """The first line of what an error says, or its kind where it says nothing."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def to_stderr(level: str) -> None:
    """Send the worker's log to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(Fields("%(asctime)s %(levelname)s %(message)s"))
    log = logging.getLogger("perdure")
    log.addHandler(handler)
    log.setLevel(level.upper())
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # a lost connection is told of by whoever used it
