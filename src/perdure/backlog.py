"""Steps that wait for a slot of this worker, and how many more it can keep."""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter, deque

from perdure.eventstore.engine import token_hash
from perdure.fairness import FairQueue
from perdure.work import Lease

PREFETCH = 8
SHORT_STEP = 0.05
AGED = 1.0


class Backlog:
    """Leased steps on their way to the slots. Safe for many threads."""

    def __init__(self, slots: int, http_slots: int) -> None:
        self._running: Counter[int] = Counter()  # SQL slots by role
        self.sql = FairQueue(self._running)
        self.http: queue.SimpleQueue[Lease | None] = queue.SimpleQueue()
        self._slots = slots
        self._http_slots = http_slots
        self._lock = threading.Lock()
        self._waiting: dict[bytes, tuple[float, int]] = {}  # since when, and whose
        self._busy = 0
        self._http_busy = 0
        self._kept = 0
        self._fanout = 1.0
        self._durations: deque[float] = deque([0.0], maxlen=20)

    def put(self, lease: Lease) -> None:
        """A step for a slot."""
        if lease.kind.startswith("http"):
            self.http.put(lease)
            return
        with self._lock:
            self._waiting[token_hash(lease.token)] = time.monotonic(), lease.owner
        self.sql.put(lease)

    def begin(self, lease: Lease, http: bool) -> bool:
        """A slot takes the step; False when it waited too long and went back to the queue."""
        with self._lock:
            if not http and self._waiting.pop(token_hash(lease.token), None) is None:
                return False
            if http:
                self._http_busy += 1
            else:
                self._busy += 1
                self._running[lease.owner] += 1
            return True

    def end(self, lease: Lease, http: bool, seconds: float) -> None:
        """The slot that took the step is free again after so long."""
        with self._lock:
            if http:
                self._http_busy -= 1
            else:
                self._busy -= 1
                self._running[lease.owner] -= 1
                self._durations.append(seconds)

    def waiting(self) -> set[bytes]:
        """The hashes of the tokens of what waits."""
        with self._lock:
            return set(self._waiting)

    def clear(self) -> None:
        """Every lease is over."""
        with self._lock:
            self._waiting.clear()

    def give_up_aged(self) -> list[bytes]:
        """What has waited so long that others may be free for it."""
        limit = time.monotonic() - AGED
        with self._lock:
            aged = [digest for digest, (since, _) in self._waiting.items() if since < limit]
            for digest in aged:
                del self._waiting[digest]
        return aged

    def held(self) -> Counter[int]:
        """How many SQL slots each role (oid) has here or waits for."""
        with self._lock:
            return +self._running + Counter(owner for _, owner in self._waiting.values())

    def steps_aside(self, lease: Lease) -> bool:
        """Whether the slot that would go on with this step is for another role first."""
        return lease.kind == "sql" and self.sql.has_before(lease.owner)

    def free(self) -> tuple[int, int]:
        """Free slots: for SQL, for HTTP."""
        with self._lock:
            steps = self._slots - self._busy - len(self._waiting)
            http = self._http_slots - self._http_busy - self.http.qsize()
        return max(steps, 0), max(http, 0)

    def room(self) -> int:
        """How many more steps the worker can keep: free slots, and some in advance while steps are short."""
        with self._lock:
            return self._room()

    def _room(self) -> int:
        room = self._slots - self._busy - len(self._waiting)
        if sum(self._durations) / len(self._durations) < SHORT_STEP:
            room += PREFETCH * self._slots
        return room

    def room_for_turns(self) -> int:
        """How many turns would fill that room, going by how many steps the last ones asked for."""
        with self._lock:
            return int(self._room() / max(self._fanout, 1.0))

    def well_supplied(self) -> bool:
        """Whether the slots have enough to do; claiming then would only make batches small."""
        with self._lock:
            return len(self._waiting) > PREFETCH * self._slots // 2

    def claim_begins(self) -> None:
        """What is kept from now on counts for this claim."""
        with self._lock:
            self._kept = 0

    def keep(self, count: int) -> int:
        """How many of so many steps that a claimed turn decided may stay here."""
        with self._lock:
            self._fanout += (count - self._fanout) / 8
            kept = max(0, min(count, self._room() - self._kept))
            self._kept += kept
            return kept
