"""Replay: recorded events back into a fold, each recorded turn taken again and compared with what was written."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from datetime import datetime

from perdure.eventstore import events as ev
from perdure.eventstore.events import Event, Payload
from perdure.orchestrator.errors import NondeterminismError
from perdure.orchestrator.execution import Execution


def replay(execution: Execution, history: Iterable[Event]) -> None:
    """Fold recorded events (those after the execution's head) into it.

    Raises NondeterminismError where a recorded turn is not what this release would decide.
    """
    expected: deque[tuple[str, Payload]] = deque()
    for event in history:
        if expected:
            kind, data = expected.popleft()
            if kind != event.kind or data != event.data:
                raise NondeterminismError(event.seq, (kind, data), (event.kind, event.data))
        elif event.kind in ev.FACTS:
            execution.observe(event)
        elif event.kind == ev.TURN_TAKEN and execution.status == "running":
            now = event.data["now"]
            turn = execution.take_turn(datetime.fromisoformat(now) if now else None)
            expected.extend(turn.events)
            _, taken = expected.popleft()
            if taken["marks"] != event.data["marks"]:
                raise NondeterminismError(event.seq, (ev.TURN_TAKEN, taken), (event.kind, event.data))
        else:
            raise NondeterminismError(event.seq, ("a fact or a turn", {}), (event.kind, event.data))
    if expected:
        raise NondeterminismError(execution.head, expected[0], ("the end of the history", {}))
