"""When to try again: exponential backoff with jitter inside a budget of time."""

from __future__ import annotations

import math

FIRST_DELAY = 0.1
LONGEST_DELAY = 5.0
_LEAST_SHARE = 0.25  # never at once: whoever fails at the same time spreads over the other three quarters


def next_delay(
    attempt: int, elapsed: float, total_seconds: float, unit: float, retry_after: float | None
) -> float | None:
    """Seconds to wait before the next attempt, None when there is no time left for one.

    ``attempt`` counts the attempts made (1 after the first), ``elapsed`` the seconds since the first began,
    ``unit`` is a random number in [0, 1). ``retry_after`` is the server's wish in seconds: it is waited for at
    least, but not past the ``total_seconds``, so that the last attempt is made when they end.
    """
    assert attempt >= 1 and 0.0 <= unit < 1.0
    left = total_seconds - elapsed
    if not left > 0:
        return None
    ceiling = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(attempt - 1, 30))
    delay = ceiling * (_LEAST_SHARE + (1.0 - _LEAST_SHARE) * unit)
    if retry_after is not None and not math.isnan(retry_after):
        delay = max(delay, retry_after)
    return min(delay, left)
