"""A failed step as a value: what went wrong, in words, and whether trying again can help."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed.

    ``message`` is what users read in ``df.instances.error``. ``transient`` says that another attempt may
    succeed; ``retry_after`` (seconds) is the server's own wish for when.
    """

    message: str
    sqlstate: str | None = None
    detail: str | None = None
    hint: str | None = None
    transient: bool = False
    retry_after: float | None = None

    def as_payload(self, attempt: int) -> dict[str, Any]:
        """The failure as it stands in the history: only what is set, and the attempt it happened in."""
        fields = {k: v for k, v in asdict(self).items() if v is not None and k not in ("transient", "retry_after")}
        return {**fields, "attempt": attempt}


class ActivityError(Exception):
    """An attempt failed; ``failure`` says how. Raised by activities, caught by the worker only."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure
