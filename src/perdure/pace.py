"""How often to do what is mostly cheap and can become dear."""

from __future__ import annotations


class Pace:
    """What took t seconds is not done again for ``times`` t, or ``longest`` seconds: a small share of the time.

    Times are those of a monotonic clock, in seconds. Not for several threads.
    """

    def __init__(self, times: float, longest: float) -> None:
        self._times = times
        self._longest = longest
        self._next = 0.0

    def until(self, now: float) -> float:
        """In how many seconds it may be done again; 0 when it may be done now."""
        return max(self._next - now, 0.0)

    def took(self, began: float, ended: float) -> None:
        """It was done."""
        self._next = ended + min(self._times * (ended - began), self._longest)
