"""Branches of a JOIN that run side by side in one worker: one turn for all of them, when the last one here has ended.

The success of a branch leaves nothing to do while others run. The turn that it leaves in the queue stays leased to
this worker, and is taken when no branch of the JOIN is left here, or after ``PATIENCE`` seconds, so that people see how
far a slow JOIN is. The JOIN itself never waits for that: it cannot end before the branches that are here. Should the
worker die meanwhile, its leases lapse like any other.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from perdure.registry import Registry
from perdure.work import Fact, Lease, Pending

PATIENCE = 0.25

Key = tuple[str, int, str]


@dataclass(slots=True)
class _Join:
    left: int = 0
    facts: dict[int, Fact] = field(default_factory=dict)
    turn: Pending | None = None
    since: float = 0.0

    def give_up(self) -> Pending | None:
        turn, self.turn = self.turn, None
        if turn is not None:
            turn.facts, self.facts = self.facts, {}
        return turn


class Fanouts:
    """The branches that are here, by the JOIN that awaits them. Safe for many threads.

    Each lease enters once, when it comes to this worker, and leaves once, whatever became of it.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._lock = threading.Lock()
        self._joins: dict[Key, _Join] = {}

    def enter(self, lease: Lease) -> None:
        """A branch has come."""
        if lease.join is not None:
            with self._lock:
                self._joins.setdefault(_key(lease), _Join()).left += 1

    def success(self, lease: Lease, fact: Fact) -> None:
        """A branch has ended well, and this is what was written."""
        if lease.join is not None:
            with self._lock:
                self._joins[_key(lease)].facts[fact.event.seq] = fact

    def keep(self, lease: Lease, turn: Pending) -> bool:
        """Keep the turn that this branch left until ``leave`` or ``overdue`` give it back; False: take it now."""
        if lease.join is None:
            return False
        with self._lock:
            join = self._joins[_key(lease)]
            if join.turn is not None:
                return False
            join.turn, join.since = turn, time.monotonic()
            self._registry.hold([turn.token])
            return True

    def leave(self, lease: Lease) -> Pending | None:
        """A branch has left; the turn that was kept, if this was the last one here."""
        if lease.join is None:
            return None
        with self._lock:
            join = self._joins[_key(lease)]
            join.left -= 1
            if join.left:
                return None
            del self._joins[_key(lease)]
            return join.give_up()

    def overdue(self) -> list[Pending]:
        """The turns that were kept for long enough."""
        limit = time.monotonic() - PATIENCE
        with self._lock:
            turns = [join.give_up() for join in self._joins.values() if join.since <= limit]
        return [turn for turn in turns if turn is not None]


def _key(lease: Lease) -> Key:
    assert lease.join is not None
    return lease.instance_id, lease.execution_id, lease.join
