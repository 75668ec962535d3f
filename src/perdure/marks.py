"""Where claims begin to look.

Tasks have rising numbers, and those that are done leave dead entries in the index. While somebody holds an old
snapshot, nothing clears these away, and a claim from the first number on would go through all that was done since. So
claims begin at a mark. It is a hint: a late commit, a retry or a lease taken back leave work below it. That is found by
the claims that ignore the mark: nearly all of them as long as that is cheap, one in five seconds if it is very dear.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from perdure.eventstore.engine import Claimed
from perdure.pace import Pace

LAG = 1.0
TIMES = 40.0
LONGEST = 5.0


class Marks:
    """The marks of one worker, a lane each. Times are those of a monotonic clock. For one thread."""

    def __init__(self) -> None:
        self._pace = Pace(TIMES, LONGEST)
        self._marks: dict[str, int] = {}
        self._seen = 0
        self._noted = 0
        self._settled = 0
        self._noted_at = 0.0

    def until_full(self, now: float) -> float:
        """In how many seconds a claim may ignore the marks."""
        return self._pace.until(now)

    def lowest(self, lanes: Iterable[str]) -> int:
        """Where a claim of these lanes begins that does not ignore the marks."""
        return min((self._marks.get(lane, 0) for lane in lanes), default=0)

    def claimed(self, began: float, ended: float, full: bool, asked: Mapping[str, int], found: list[Claimed]) -> None:
        """A claim asked for so many of each lane and found these.

        A lane of which it found fewer than it asked for has nothing left but what was not yet committed. That may have
        a number below those that were found; what is older than ``LAG`` seconds is hardly on its way any more.
        """
        if full:
            self._pace.took(began, ended)
        for lane, most in asked.items():
            numbers = [task.task_no for task in found if task.lane == lane]
            rest = max(numbers) if len(numbers) >= most else self._settled
            self._marks[lane] = min(rest, self._settled)
        self._seen = max([self._seen, *(task.task_no for task in found)])
        if ended >= self._noted_at + LAG:
            self._settled, self._noted, self._noted_at = self._noted, self._seen, ended
