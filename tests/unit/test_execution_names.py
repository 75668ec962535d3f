"""Who sees which named result (a flat map per scope), and what a step's references stand for."""

from __future__ import annotations

import pytest

from graphs import Envelope, break_, if_, if_rows, join, loop, race, signal, sleep, sql, then, wait_instance
from stories import check_every_cut, tell

A = sql("SELECT 'a'")
USE_N, USE_M = sql("SELECT $n"), sql("SELECT $m")

TABLE: dict[str, tuple[Envelope, str]] = {
    "the next step": (
        then(sql("q", "n"), USE_N),
        """start -> step 1
           done 1 -> step 2 $n=1:3""",
    ),
    "only names that the text mentions": (
        then(sql("q", "n"), sql("q", "m"), USE_M),
        """start -> step 2
           done 2 -> step 3
           done 3 -> step 4 $m=1:6""",
    ),
    "not before it has one": (
        then(USE_N, sql("q", "n")),
        """start -> step 1
           done 1 -> step 2""",
    ),
    "a later one overwrites": (
        then(sql("q", "n"), sql("q", "n"), USE_N),
        """start -> step 2
           done 2 -> step 3
           done 3 -> step 4 $n=1:6""",
    ),
    "of a sequence: its last": (
        then(then(A, A, name="n"), USE_N),
        """start -> step 2
           done 2 -> step 3
           done 3 -> step 4 $n=1:6""",
    ),
    "of a join: the array": (
        then(join(A, A, name="n"), USE_N),
        """start -> opened 1, step 2, step 3
           done 2, done 3 -> closed 1, step 4 $n=[1:4 1:5]""",
    ),
    "of a race: the winner's": (
        then(race(A, A, name="n"), USE_N),
        """start -> opened 1, step 2, step 3
           done 3 -> closed 1 winner 1, drop step 2, step 4 $n=1:5""",
    ),
    "of a sleep": (
        then(sleep(1, "n"), USE_N),
        """start -> timer 1 in 1
           +1 fired 1 -> step 2 $n={"slept": true "seconds": 1}""",
    ),
    "of a signal": (
        then(signal(keep="n"), USE_N),
        """start -> await 1 go
           signal go -> consumed 1 by 1:4, step 2 $n=1:4""",
    ),
    "of a signal that did not come": (
        then(signal("go", 9, keep="n"), USE_N),
        """start -> await 1 go, timer 1 in 9
           +9 fired 1 -> late 1, step 2 $n={"signal_name":"go" "timed_out":true "data":null}""",
    ),
    "of another instance": (
        then(wait_instance(name="n"), USE_N),
        """start -> await 1 00c0ffee
           ended 1 -> step 2 $n=1:4""",
    ),
    "of a statement without rows": (
        then(sql("q", "n"), USE_N),
        """start -> step 1
           empty 1 -> step 2 $n={"rows":[] "row_count":0}""",
    ),
    "not of a failure": (
        then(A, join(sql("q", "n"), A)),
        """start -> step 1
           done 1 -> opened 2, step 3, step 4
           fail 3 x, done 4 -> closed 2, failed JOIN branch 1 failed: x""",
    ),
    "a condition and a branch write where the IF stands": (
        then(if_(sql("q", "n"), sql("q", "m"), A), sql("SELECT $n, $m")),
        """start -> step 4
           true 4 -> step 2
           done 2 -> step 5 $n=1:3 $m=1:6""",
    ),
    "a branch sees what was there before": (
        then(sql("q", "n"), join(USE_N, USE_N)),
        """start -> step 1
           done 1 -> opened 2, step 3 $n=1:3, step 4 $n=1:3""",
    ),
    "branches do not see each other": (
        join(sql("q", "n"), then(A, USE_N)),
        """start -> opened 0, step 1, step 3
           done 1 ->
           done 3 -> step 4""",
    ),
    "after a join the later branch's counts": (
        then(join(sql("q", "n"), sql("q", "n")), USE_N),
        """start -> opened 1, step 2, step 3
           done 3 ->
           done 2 -> closed 1, step 4 $n=1:5""",
    ),
    "after a race only the winner's": (
        then(race(sql("q", "n"), sql("q", "m")), sql("SELECT $n, $m")),
        """start -> opened 1, step 2, step 3
           done 3 -> closed 1 winner 1, drop step 2, step 4 $m=1:5""",
    ),
    "after a race the loser's half is gone": (
        then(race(then(sql("q", "n"), A), sql("q", "m")), sql("SELECT $n, $m")),
        """start -> opened 1, step 5, step 3
           done 3 -> step 4
           done 5 -> closed 1 winner 1, drop step 4, step 6 $m=1:4""",
    ),
    "a loop below sees what was there before, and its own of earlier rounds": (
        then(sql("q", "n"), loop(sql("SELECT $n, $m", "m"), A)),
        """start -> step 1
           done 1 -> step 3 $n=1:3
           done 3 -> step 4
           true 4 -> round 2 of 2, step 3 $n=1:3 $m=1:6""",
    ),
    "and hands it back": (
        then(A, loop(sql("q", "n"), A, name="m"), sql("SELECT $n, $m")),
        """start -> step 2
           done 2 -> step 4
           done 4 -> step 5
           false 5 -> step 6 $n=1:6 $m=1:6""",
    ),
    "also when it was left by a break": (
        then(A, loop(then(sql("q", "n"), break_("x")), name="m"), sql("SELECT $n, $m")),
        """start -> step 2
           done 2 -> step 5
           done 5 -> step 7 $n=1:6 $m="x" """,
    ),
    "a break in a branch brings the branch's names": (
        then(A, loop(join(then(sql("q", "n"), break_()), A)), USE_N),
        """start -> step 2
           done 2 -> opened 4, step 8, step 6
           done 6 ->
           done 8 -> closed 4, step 9 $n=1:8""",
    ),
    "a loop at the root keeps them for the next round": (
        loop(then(sql("SELECT $n", "n"), sql("SELECT $m", "m")), A),
        """start -> step 2
           done 2 -> step 3
           done 3 -> step 4
           true 4 -> continued $n=1:3 $m=1:6
           start -> step 2 $n=1:3
           done 2 -> step 3 $m=1:6
           done 3 -> step 4
           true 4 -> continued $n=2:3 $m=2:6
           start -> step 2 $n=2:3""",
    ),
    "and those that are not stored": (
        loop(then(sleep(1, "n"), USE_N), A),
        """start -> timer 2 in 1
           +1 fired 2 -> step 3 $n={"slept": true "seconds": 1}
           done 3 -> step 4
           true 4 -> continued $n={"slept": true "seconds": 1}
           start -> timer 2 in 1""",
    ),
    "rows counted in an earlier round": (
        loop(if_rows("n", A, sql("q", "n")), A),
        "start -> failed df.if_rows: result 'n' not found",
    ),
    "rows of the round before": (
        loop(then(sql("q", "n"), if_rows("n", A, A)), A),
        """start -> step 2
           rows 2 0 -> step 5
           done 5 -> step 6
           true 6 -> continued $n=1:3
           start -> step 2""",
    ),
}


@pytest.mark.parametrize(("envelope", "story"), TABLE.values(), ids=TABLE)
def test_names(envelope: Envelope, story: str) -> None:
    check_every_cut(tell(envelope, story))


def test_truth_and_rows_go_over_to_the_next_execution() -> None:
    run = tell(
        loop(then(sql("q", "n"), A), A),
        """start -> step 2
           rows 2 0 -> step 3
           done 3 -> step 4
           true 4 -> continued $n=1:3""",
    )
    following = run.next_run()
    kept = following.execution.root.names["n"]
    assert (kept.ref, kept.truth, kept.rows) == ([1, 3], False, 0)


def test_variables_hide_no_result_and_need_no_entry() -> None:
    tell(
        then(sql("q", "n"), sql("SELECT $n, {v}")),
        """start -> step 1
           done 1 -> step 2 $n=1:3""",
        None,
        v="1",
    )
