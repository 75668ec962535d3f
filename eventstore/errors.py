"""What can go wrong between a worker and the engine. psycopg's errors are told apart here, once."""

from __future__ import annotations

import psycopg


class StoreError(Exception):
    """The root of the store's errors."""


class NotRegistered(StoreError):
    """The worker's row is gone (others took its work over); it registers anew."""


class LeaseLost(StoreError):
    """Somebody else has the work now; drop it."""


def is_gone(error: psycopg.Error) -> bool:
    """Whether the engine says that this worker is not registered (any more)."""
    return error.sqlstate == "DF010"
