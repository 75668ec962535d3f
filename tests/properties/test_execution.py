"""What holds for every graph and every order of facts. Each case follows from its number; nothing else is random."""

from __future__ import annotations

import os
from collections.abc import Iterator
from random import Random

import pytest

from perdure.eventstore import codec
from perdure.eventstore import events as ev
from perdure.eventstore.events import Event
from perdure.orchestrator.errors import NondeterminismError
from perdure.orchestrator.execution import STEPS, Execution
from perdure.orchestrator.foresight import foreseeable
from perdure.orchestrator.replay import replay
from perdure.orchestrator.scopes import awaited_by
from perdure.orchestrator.turn import Turn
from stories import Run, check_every_cut, check_replay, check_rules, fingerprint, through_json
from wild import Wild

CASES = int(os.environ.get("PERDURE_CASES", "1000"))
MOST_TURNS = 40


def wild_runs(case: int) -> list[Run]:
    """The executions of one random instance, driven to their end or for some time, checked after every turn."""
    random = Random(case)
    wild = Wild(random, size=random.randint(1, 9))
    runs = [wild.run]
    wild.turn()
    for _ in range(MOST_TURNS):
        check_tables(wild)
        if wild.run.execution.status == "continued":
            wild.go_on()
            runs.append(wild.run)
            wild.turn()
            continue
        if wild.run.execution.status != "running" or not sum(wild.happen() for _ in range(random.randint(1, 3))):
            break
        wild.turn()
    return runs


def check_tables(wild: Wild) -> None:
    """After a turn the engine's rows are exactly what the execution waits for: nothing is stuck, nothing left over."""
    execution = wild.run.execution
    if execution.status != "running":
        return
    kinds: dict[str, set[int]] = {"activity": set(), "timer": set(), "instance": set(), "signal": set()}
    for seq, wait in execution.waits.items():
        kinds["timer" if wait.kind in ("floor", "signal_timeout", "instance_timeout") else wait.kind].add(seq)
    assert kinds["activity"] == wild.tables.steps
    assert kinds["timer"] == set(wild.tables.timers)
    assert kinds["instance"] == wild.tables.awaited
    assert execution.waits, "an execution that runs waits for something"


@pytest.mark.parametrize("part", range(10))
def test_a_random_history_keeps_the_rules_and_replays(part: int) -> None:
    for case in range(part, CASES, 10):
        for run in wild_runs(case):
            check_rules(run.execution, run.history)
            check_replay(run)


def test_replay_of_a_prefix_then_the_rest_equals_replay_of_the_whole() -> None:
    for case in range(CASES // 5):
        for run in wild_runs(case):
            check_every_cut(run)


def test_the_same_input_gives_the_same_bytes() -> None:
    for case in range(0, CASES, 5):
        first, second = ([codec.encode(run.history) for run in wild_runs(case)] for _ in range(2))
        assert first == second


def test_every_kind_of_event_comes_up_and_survives_json() -> None:
    """So that the cases above cannot become empty unnoticed."""
    seen: set[str] = set()
    for case in range(CASES):
        for run in wild_runs(case):
            seen |= {event.kind for event in through_json(run.history)}
    everything = {value for name, value in vars(ev).items() if name.isupper() and isinstance(value, str)}
    assert seen == everything - {ev.ACTIVITY_MODE_CHANGED}


def moments(smallest: int, largest: int) -> Iterator[Run]:
    """Random instances of so many nodes that nobody cancels, after each of their first turns."""
    for case in range(CASES):
        random = Random(case)
        wild = Wild(random, size=random.randint(smallest, largest), cancels=False)
        wild.turn()
        for _ in range(12):
            if wild.run.execution.status != "running":
                break
            yield wild.run
            if not wild.happen():
                break
            wild.turn()


def copied(run: Run) -> Execution:
    """Another fold of the same history."""
    fold = run.unfolded()
    replay(fold, run.history[1:])
    return fold


def test_a_foreseen_turn_equals_the_turn_taken_after_the_fact() -> None:
    foreseen = sum(_foresee(run, truth) for run in moments(1, 6) for truth in (True, False))
    assert foreseen > CASES / 4


def _foresee(run: Run, truth: bool) -> bool:
    steps = [seq for seq, wait in run.execution.waits.items() if wait.kind == "activity"]
    if len(steps) != 1 or not foreseeable(run.execution, steps[0], truth):
        return False
    ahead, after = copied(run), copied(run)
    fact = Event(run.execution.head + 1, ev.ACTIVITY_COMPLETED, ev.activity_completed(steps[0], truth, 2, False))
    turns: list[Turn] = []
    for fold, now in ((ahead, None), (after, run.now)):
        fold.observe(fact)
        turns.append(fold.take_turn(now))
    early, late = turns
    assert early.events[0][1]["marks"] == late.events[0][1]["marks"]
    assert early.events[1:] == late.events[1:]
    assert (early.status, early.dropped, early.timers, early.awaited) == (late.status, [], {}, {})
    assert len(early.activities) == (1 if early.status == "running" else 0)
    assert fingerprint(ahead) == fingerprint(after)
    return True


def test_while_branches_of_a_join_run_the_success_of_another_leaves_nothing_to_do() -> None:
    """A worker may take one turn for all branches that are there: of their turns only the last would do anything."""
    assert sum(_one_branch_less(run) for run in moments(3, 9)) > CASES / 10


def _one_branch_less(run: Run) -> int:
    joins: dict[str, list[int]] = {}
    for seq, wait in run.execution.waits.items():
        join = awaited_by(wait.node, wait.scope) if wait.node.type in STEPS else None
        if join is not None:
            joins.setdefault(join, []).append(seq)
    for branches in joins.values():
        fold = copied(run)
        for seq in branches[:-1]:
            fold.observe(Event(fold.head + 1, ev.ACTIVITY_COMPLETED, ev.activity_completed(seq, True, 2, False)))
            turn = fold.take_turn(run.now)
            assert {kind for kind, _ in turn.events} <= {ev.TURN_TAKEN, ev.BRANCH_CLOSED}
            assert (turn.status, turn.activities, turn.dropped) == ("running", [], [])
            assert not turn.timers and not turn.awaited
    return sum(len(branches) > 1 for branches in joins.values())


def test_a_history_that_was_changed_is_noticed() -> None:
    """An event that the graph would not have produced is an error at its place, never a guess."""
    noticed = 0
    for case in range(0, CASES, 5):
        run = wild_runs(case)[0]
        decided = [event for event in run.history if event.kind == ev.ACTIVITY_SCHEDULED]
        if not decided:
            continue
        wrong = decided[-1]._replace(data={**decided[-1].data, "node": 99})
        history = [wrong if event.seq == wrong.seq else event for event in run.history]
        with pytest.raises(NondeterminismError) as caught:
            replay(run.unfolded(), history[1:])
        assert caught.value.seq == wrong.seq
        noticed += 1
    assert noticed


def test_a_history_that_ends_inside_a_turn_is_noticed() -> None:
    for case in range(0, CASES, 5):
        history = wild_runs(case)[0].history
        cut = next((e.seq for e in history if e.kind not in ev.FACTS and e.seq > 2 and e.kind != ev.TURN_TAKEN), None)
        if cut is None:
            continue
        with pytest.raises(NondeterminismError):
            replay(wild_runs(case)[0].unfolded(), history[1 : cut - 1])
