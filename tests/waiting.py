"""Waiting for a condition with a deadline: the tests never sleep for a fixed time.

from waiting import wait_until, eventually_status
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any, TypeVar

import psycopg

Answer = TypeVar("Answer")
ENDED = frozenset({"completed", "failed", "cancelled"})


def wait_until(predicate: Callable[[], Answer], seconds: float = 60, what: str = "") -> Answer:
    """Ask until the answer is true and return it. Raises ``AssertionError`` when the time is over."""
    deadline = time.monotonic() + seconds
    pause = 0.005
    while not (answer := predicate()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or predicate}; the last answer was {answer!r}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
    return answer


def status(connection: psycopg.Connection[Any], instance_id: str) -> str | None:
    """The status of an instance in lower case, None for an unknown one."""
    row = connection.execute("SELECT df.status(%s)", [instance_id]).fetchone()
    return None if row is None or row[0] is None else str(row[0]).lower()


def eventually_status(
    connection: psycopg.Connection[Any], instance_id: str, wanted: str | Collection[str], seconds: float = 60
) -> str:
    """Wait until an instance has the wanted status (or one of them) and return it.

    Fails at once when it has ended otherwise. The connection must be in autocommit, or it would see one snapshot only
    under REPEATABLE READ.
    """
    accepted = {wanted} if isinstance(wanted, str) else set(wanted)
    seen: str | None = None

    def reached() -> bool:
        nonlocal seen
        seen = status(connection, instance_id)
        assert seen in accepted or seen not in ENDED, f"{instance_id} is {seen}, not {sorted(accepted)}"
        return seen in accepted

    wait_until(reached, seconds, f"{instance_id} to be {sorted(accepted)}")
    assert seen is not None
    return seen
