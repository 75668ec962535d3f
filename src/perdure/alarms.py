"""When there will be something to do again without anybody saying so."""

from __future__ import annotations

import heapq
import threading
import time

MOST = 10_000


class Alarms:
    """Moments in monotonic time, soonest first. Safe for many threads. A moment that is lost is found by polling."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at: list[float] = []

    def set(self, seconds: float) -> None:
        """Something that this worker set, or found when it became idle, is due in so many seconds."""
        with self._lock:
            heapq.heappush(self._at, time.monotonic() + max(seconds, 0.0))
            if len(self._at) > MOST:
                self._at = self._at[: MOST // 2]

    def within(self, pause: float) -> float:
        """How long to wait, at most ``pause`` seconds: until the next alarm, and not at all when one has gone off."""
        now = time.monotonic()
        with self._lock:
            while self._at and self._at[0] <= now:
                heapq.heappop(self._at)
                pause = 0.0
            if self._at:
                pause = min(pause, self._at[0] - now)
        return pause
