"""The vocabulary of the history: what an event is, and the name of each kind.

An event is immutable and in the past tense. Its payload is JSON text in the database; here it is a plain dict,
built only by the functions of this module, so that what can stand in a history can be read in one place.
``docs/history-events.md`` describes every payload. References to results ("ref") are JSON values:
``[execution_id, seq]`` names a row of ``df_engine.results``, ``{"v": raw}`` is the raw text itself and
``{"j": [ref, ...]}`` is the JSON array of the results that it lists.
"""

from __future__ import annotations

from typing import Any, NamedTuple

Ref = Any
Payload = dict[str, Any]

EXECUTION_STARTED = "ExecutionStarted"
TURN_TAKEN = "TurnTaken"
ACTIVITY_SCHEDULED = "ActivityScheduled"
ACTIVITY_COMPLETED = "ActivityCompleted"
ACTIVITY_FAILED = "ActivityFailed"
ACTIVITY_ATTEMPT_FAILED = "ActivityAttemptFailed"
ACTIVITY_MODE_CHANGED = "ActivityModeChanged"
ACTIVITY_CANCELLED = "ActivityCancelled"
TIMER_SET = "TimerSet"
TIMER_FIRED = "TimerFired"
TIMER_CANCELLED = "TimerCancelled"
SIGNAL_AWAITED = "SignalAwaited"
SIGNAL_RECEIVED = "SignalReceived"
SIGNAL_CONSUMED = "SignalConsumed"
SIGNAL_TIMED_OUT = "SignalTimedOut"
INSTANCE_AWAITED = "InstanceAwaited"
INSTANCE_ENDED = "InstanceEnded"
BRANCH_OPENED = "BranchOpened"
BRANCH_CLOSED = "BranchClosed"
LOOP_ITERATED = "LoopIterated"
CANCEL_REQUESTED = "CancelRequested"
EXECUTION_CONTINUED = "ExecutionContinued"
EXECUTION_COMPLETED = "ExecutionCompleted"
EXECUTION_FAILED = "ExecutionFailed"
EXECUTION_CANCELLED = "ExecutionCancelled"

# Facts are true whatever anybody decided and are appended unconditionally; every other kind is a decision.
FACTS = frozenset(
    {
        ACTIVITY_COMPLETED,
        ACTIVITY_FAILED,
        ACTIVITY_ATTEMPT_FAILED,
        ACTIVITY_MODE_CHANGED,
        TIMER_FIRED,
        SIGNAL_RECEIVED,
        INSTANCE_ENDED,
        CANCEL_REQUESTED,
    }
)
# Facts that people read and the decision skips.
NOTES = frozenset({ACTIVITY_ATTEMPT_FAILED, ACTIVITY_MODE_CHANGED})
TERMINAL = frozenset({EXECUTION_CONTINUED, EXECUTION_COMPLETED, EXECUTION_FAILED, EXECUTION_CANCELLED})


class Event(NamedTuple):
    """One recorded event: its place in the execution (from 1), its kind and its payload."""

    seq: int
    kind: str
    data: Payload


def activity_completed(of: int, truth: bool, rows: int | None, empty: bool) -> Payload:
    """The outcome of the activity scheduled at ``of``: how a condition judges it, and how many rows it returned.

    ``empty`` says that the result is the one of a statement without rows; no row of results holds it.
    """
    payload: Payload = {"of": of, "true": truth}
    if rows is not None:
        payload["rows"] = rows
    if empty:
        payload["empty"] = True
    return payload
