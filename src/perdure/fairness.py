"""Roles share the slots of a worker: one with a hundred thousand slow steps does not keep out another's only one.

The queue in the database is served in order, which is right as long as there are slots enough. Three rules add to that,
and none of them costs anything while one role is at work:

* a slot takes the oldest step of the role that has the fewest slots here, of those that wait in this worker;
* a chain of steps leaves its slot to a role with fewer slots that waits for one;
* while all slots are taken, a claim now and then leaves out the roles that hold them, and so finds what stands behind.
  It goes past everything of those roles, so that it is made as seldom as it is dear.
"""

from __future__ import annotations

import queue
import threading
from collections import Counter, deque
from collections.abc import Mapping

from perdure.pace import Pace
from perdure.work import Lease

TIMES = 50.0  # a fiftieth of the time, at most
LONGEST = 10.0
REST = 1.0


class FairQueue:
    """Leased steps of many roles that wait for a slot. ``running`` is read: how many slots each role (oid) has."""

    def __init__(self, running: Counter[int]) -> None:
        self._running = running
        self._lock = threading.Lock()
        self._waiting: dict[int, deque[Lease]] = {}
        self._ready: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def put(self, lease: Lease | None) -> None:
        """A step, or None for a slot that is to end."""
        if lease is not None:
            with self._lock:
                self._waiting.setdefault(lease.owner, deque()).append(lease)
        self._ready.put(lease is not None)

    def get(self) -> Lease | None:
        """Wait for a step: of the role with the fewest slots, and of equal ones in turn."""
        if not self._ready.get():
            return None
        with self._lock:
            owner = min(self._waiting, key=self._running.__getitem__)
            leases = self._waiting.pop(owner)
            lease = leases.popleft()
            if leases:
                self._waiting[owner] = leases  # behind the others
            return lease

    def has_before(self, owner: int) -> bool:
        """Whether a step of a role with fewer slots than this one waits."""
        waiting = list(self._waiting)  # one step of the interpreter: no lock on the way of every step
        if not waiting or waiting == [owner]:
            return False
        mine = self._running[owner]
        return any(self._running[other] < mine for other in waiting if other != owner)


class Others:
    """When a claim for the others is due, and whom it leaves out. Times are a monotonic clock's. For one thread."""

    def __init__(self) -> None:
        self._pace = Pace(TIMES, LONGEST)
        self._rest_until = 0.0
        self._for_newcomers = True

    def left_out(self, held: Mapping[int, int], slots: int, now: float) -> list[int]:
        """The roles to leave out, given how many slots each holds or waits for here; none when no claim is due.

        In turn: all that hold any, for those that hold none; and those that hold more than an equal share.
        """
        if sum(held.values()) < slots or now < self._rest_until or self._pace.until(now) > 0:
            return []
        over = sorted(role for role, count in held.items() if count * len(held) > slots)
        return sorted(held) if self._for_newcomers or not over else over

    def claimed(self, began: float, ended: float, found: bool) -> None:
        """Such a claim was made."""
        self._pace.took(began, ended)
        self._for_newcomers = not self._for_newcomers
        if not found:
            self._rest_until = ended + REST
