"""What a step sends with its completion: the decisions that can be made ahead of it, and the step that follows."""

from __future__ import annotations

from typing import Any

from perdure.activities.sql import EMPTY
from perdure.eventstore import codec
from perdure.eventstore import events as ev
from perdure.eventstore.engine import new_token
from perdure.eventstore.events import Event, activity_completed
from perdure.instances import Entry
from perdure.orchestrator.foresight import foreseeable
from perdure.orchestrator.substitution import result_rows
from perdure.orchestrator.truth import is_true
from perdure.orchestrator.turn import Activity, Turn
from perdure.work import Lease, activity_input, encoded, lane_of


class Plan:
    """What a finish sends: the completion, and the decisions made ahead where the outcome cannot change them."""

    def __init__(self, lease: Lease, raw: str, decide: bool = True) -> None:
        self.lease = lease
        self.raw = raw
        self.turn: Turn | None = None
        self.following: Activity | None = None
        self.following_token: str | None = None
        self.turn_token = new_token()
        self.head: int | None = None
        truth = raw != EMPTY and is_true(raw)
        rows = 0 if raw == EMPTY else result_rows(raw)
        self.completed = activity_completed(lease.seq, truth, rows, raw == EMPTY)
        entry = lease.entry
        if decide and entry is not None and entry.execution.execution_id == lease.execution_id:
            self._decide(entry, truth)

    def _decide(self, entry: Entry, truth: bool) -> None:
        execution = entry.execution
        if not foreseeable(execution, self.lease.seq, truth):
            return
        self.head = execution.head
        execution.observe(Event(execution.head + 1, ev.ACTIVITY_COMPLETED, self.completed))
        self.turn = execution.take_turn(None)
        if self.turn.activities:
            self.following = self.turn.activities[0]
            if not self.lease.capped and lane_of(self.following.kind) == "sql":
                self.following_token = new_token()

    def arguments(self, with_result: bool) -> tuple[Any, ...]:
        """The arguments of finish, in order."""
        lease, turn, after = self.lease, self.turn, self.following
        result = (None if self.raw == EMPTY else self.raw,) if with_result else ()
        kinds, payloads = encoded(turn.events) if turn is not None else (None, None)
        return (
            lease.bucket,
            lease.instance_id,
            lease.seq,
            lease.token,
            *result,
            codec.encode(self.completed),
            lease.execution_id,
            self.head,
            kinds,
            payloads,
            after.seq if after else None,
            lane_of(after.kind) if after else None,
            after.kind if after else None,
            activity_input(after) if after else None,
            self.following_token,
            turn.status if turn is not None and turn.status != "running" else None,
            self.turn_token,
        )

    def next_lease(self) -> Lease:
        """The step that follows, leased to this worker by the same commit."""
        assert self.following is not None and self.following_token
        lease = self.lease
        return Lease(
            bucket=lease.bucket,
            instance_id=lease.instance_id,
            execution_id=lease.execution_id,
            seq=self.following.seq,
            token=self.following_token,
            owner=lease.owner,
            owner_name=lease.owner_name,
            database=lease.database,
            kind=self.following.kind,
            text=self.following.text,
            names=self.following.names,
            label=lease.label,
            variables=lease.variables,
            entry=lease.entry,
        )
