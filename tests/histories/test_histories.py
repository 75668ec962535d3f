"""Histories that releases have recorded replay for ever: event for event, mark for mark, from wherever one begins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from perdure.eventstore.events import Event
from perdure.instances import system_variables
from perdure.orchestrator.execution import Execution
from perdure.orchestrator.graph import parse
from perdure.orchestrator.replay import replay
from stories import check_rules, fingerprint, groups

FILES = sorted(Path(__file__).parent.glob("*/*.json"))
IDS = [f"{path.parent.name}/{path.stem}" for path in FILES]


def events_of(execution: list[Any]) -> list[Event]:
    return [Event(seq, kind, data) for seq, kind, data in execution]


def unfolded(recorded: dict[str, Any], number: int) -> Execution:
    """A fold of an execution that has seen its first event only."""
    variables = system_variables(json.dumps(recorded["variables"]), recorded["instance_id"], recorded["label"])
    started = recorded["executions"][number - 1][0][2]
    return Execution(parse(recorded["graph"]), recorded["instance_id"], number, started, variables)


def test_this_release_has_recorded_its_own() -> None:
    assert len(FILES) >= 20


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_history_replays(path: Path) -> None:
    recorded = json.loads(path.read_text("utf-8"))
    last = len(recorded["executions"])
    for number, execution in enumerate(recorded["executions"], start=1):
        history = events_of(execution)
        fold = unfolded(recorded, number)
        replay(fold, history[1:])
        check_rules(fold, history)
        assert fold.status == (recorded["status"] if number == last else "continued")


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_history_goes_on_from_wherever_it_was_left(path: Path) -> None:
    """What was under way when a release was replaced: a fold of the part that there was, then the rest."""
    recorded = json.loads(path.read_text("utf-8"))
    for number, execution in enumerate(recorded["executions"], start=1):
        history = events_of(execution)
        whole = unfolded(recorded, number)
        replay(whole, history[1:])
        cut = groups(history)
        for place in range(1, len(cut)):
            fold = unfolded(recorded, number)
            replay(fold, [event for group in cut[1:place] for event in group])
            replay(fold, [event for group in cut[place:] for event in group])
            assert fingerprint(fold) == fingerprint(whole)
