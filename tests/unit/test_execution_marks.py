"""What a turn says about its nodes (``TurnTaken.marks``), from which ``df.nodes`` is made: statuses and stamps."""

from __future__ import annotations

from typing import Any

from graphs import break_, if_, join, loop, race, signal, sleep, sql, then
from perdure.orchestrator.graph import node_id
from stories import Run

A, B = sql("SELECT 'a'"), sql("SELECT 'b'")


def marks(run: Run) -> list[Any]:
    """Take a turn; its marks."""
    found: list[Any] = run.turn().events[0][1]["marks"]
    return found


def nodes(run: Run) -> dict[int, tuple[str, str | None]]:
    """The newest status and stamp of each node that has one."""
    found: dict[int, tuple[str, str | None]] = {}
    for turn in run.turns:
        for mark in turn.events[0][1]["marks"]:
            found[mark[0]] = (mark[1], mark[2] if len(mark) > 2 else None)
    return found


def test_a_step_runs_and_completes() -> None:
    run = Run(A)
    assert marks(run) == [[0, "r"]]
    run.complete(0)
    assert marks(run) == [[0, "c", None, [1, 3]]]


def test_a_failure_marks_every_node_above_it() -> None:
    run = Run(then(A, B))
    assert marks(run) == [[0, "r"], [1, "r"]]
    run.fail(1, "boom")
    failure = {"message": "boom", "attempt": 1}
    assert marks(run) == [[1, "f", None, failure], [0, "f", None, failure]]
    assert 2 not in nodes(run)  # never begun: pending, shown as skipped


def test_the_arm_that_is_not_taken_is_never_marked() -> None:
    run = Run(if_(A, B, B))
    run.turn()
    run.complete(3, truth=False)
    run.turn()
    run.complete(2)
    run.turn()
    assert set(nodes(run)) == {0, 2, 3}


def test_branches_have_scopes_of_their_own() -> None:
    run = Run(join(A, then(A, B)))
    run.turn()
    run.complete(1)
    run.complete(3)
    run.turn()
    run.complete(4)
    run.turn()
    assert nodes(run) == {
        0: ("c", None),
        1: ("c", f"::1::{node_id(1)}::1"),
        2: ("c", f"::1::{node_id(2)}::1"),
        3: ("c", f"::1::{node_id(2)}::1"),
        4: ("c", f"::1::{node_id(2)}::1"),
    }


def test_a_loop_below_counts_its_generations() -> None:
    run = Run(then(A, loop(B, sql("c"))))
    run.turn()
    run.complete(1)
    run.turn()
    for _ in range(2):
        run.complete(3)
        run.turn()
        run.complete(4)
        run.turn()
    assert nodes(run)[3] == ("r", f"::1::{node_id(2)}::3")
    assert nodes(run)[2] == ("r", f"::1::{node_id(2)}::3")
    assert nodes(run)[4] == ("c", f"::1::{node_id(2)}::2")


def test_a_loop_that_is_a_branch_is_that_branch_and_not_nested_twice() -> None:
    run = Run(race(loop(A, B), signal()))
    run.turn()
    run.complete(3 if run.graph.nodes[3].query == A["query"] else 2)
    run.turn()
    stamps = {stamp for _, stamp in nodes(run).values()}
    assert stamps == {None, f"::1::{node_id(1)}::1", f"::1::{node_id(4)}::1"}


def test_a_loop_that_loses_a_race_has_failed() -> None:
    run = Run(race(loop(A), sleep(3)))
    run.turn()
    run.fire(3)
    run.turn()
    assert nodes(run)[1] == ("f", f"::1::{node_id(1)}::1")
    assert run.turns[-1].events[0][1]["marks"][1][3] == {"message": "Loop branch cancelled after losing RACE"}
    assert nodes(run)[2] == ("r", f"::1::{node_id(1)}::1")  # its body keeps what it had


def test_a_root_loop_has_the_execution_as_its_generation_and_marks_anew() -> None:
    run = Run(loop(A, B))
    run.turn()
    run.complete(1)
    run.turn()
    run.complete(2)
    run.turn()
    following = run.next_run()
    assert following.execution.root.stamp == "::2"
    assert marks(following) == [[0, "r"], [1, "r"]]


def test_only_the_last_status_of_a_turn_is_told_in_the_order_of_the_first() -> None:
    run = Run(then(A, loop(break_("x"))))
    run.turn()
    run.complete(1)
    told = marks(run)
    assert [mark[:2] for mark in told] == [[1, "c"], [2, "c"], [3, "c"], [0, "c"]]


def test_a_cancelled_instance_leaves_its_nodes_as_they_were() -> None:
    run = Run(then(A, B))
    run.turn()
    run.fact("CancelRequested", {"reason": "why"})
    assert marks(run) == []
    assert nodes(run) == {0: ("r", None), 1: ("r", None)}
