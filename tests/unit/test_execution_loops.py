"""Loops, breaks, cancelling, and what goes over to the next execution. The language of the tables is in stories.py."""

from __future__ import annotations

import pytest

from graphs import Envelope, break_, if_, join, loop, race, signal, sleep, sql, then, wait_instance
from stories import LIMITS, Run, check_every_cut, check_replay, tell

A, B, C = sql("SELECT 'a'"), sql("SELECT 'b'"), sql("SELECT 'c'")

ROOT: dict[str, tuple[Envelope, str]] = {
    "a false condition ends it with the body's result": (
        loop(A, B),
        """start -> step 1
           done 1 -> step 2
           false 2 -> completed 1:3""",
    ),
    "a true condition: the next execution": (
        loop(A, B),
        """start -> step 1
           done 1 -> step 2
           true 2 -> continued
           start -> step 1
           done 1 -> step 2
           false 2 -> completed 2:3""",
    ),
    "without a condition a round takes a second": (
        loop(A),
        """start -> step 1
           +0.25 done 1 -> timer 0 in 0.75
           +0.75 fired 0 -> continued
           start -> step 1""",
    ),
    "a slow round is not made slower": (
        loop(A),
        """start -> step 1
           +1 done 1 -> continued
           start -> step 1""",
    ),
    "a break is not made slower": (
        loop(if_(A, break_("x"), B)),
        """start -> step 4
           true 4 -> completed "x" """,
    ),
    "a failing body": (
        loop(A),
        """start -> step 1
           fail 1 x -> failed x""",
    ),
    "a failing condition": (
        loop(A, B),
        """start -> step 1
           done 1 -> step 2
           fail 2 x -> failed x""",
    ),
    "a join in it": (
        loop(join(A, B), C),
        """start -> opened 1, step 2, step 3
           done 2, done 3 -> closed 1, step 4
           true 4 -> continued
           start -> opened 1, step 2, step 3
           done 2, done 3 -> closed 1, step 4
           false 4 -> completed [2:4 2:5]""",
    ),
    "a race in it": (
        loop(race(A, sleep(9)), C),
        """start -> opened 1, step 2, timer 3 in 9
           done 2 -> closed 1 winner 0, drop timer 3, step 4
           true 4 -> continued
           start -> opened 1, step 2, timer 3 in 9
           +9 fired 3 -> closed 1 winner 1, drop step 2, step 4
           false 4 -> completed {"slept": true "seconds": 9}""",
    ),
    "a loop in it": (
        loop(loop(A, B), C),
        """start -> step 2
           done 2 -> step 3
           true 3 -> round 2 of 1, step 2
           done 2 -> step 3
           false 3 -> step 4
           true 4 -> continued
           start -> step 2""",
    ),
    "signals that nobody took go over, in their order": (
        loop(A, B),
        """start -> step 1
           signal go, signal stop, signal go ->
           done 1 -> step 2
           true 2 -> continued go!1:4 go!1:6 stop!1:5
           start -> step 1""",
    ),
    "and are taken there": (
        loop(signal("go"), B),
        """start -> await 1 go
           signal go, signal go -> consumed 1 by 1:4, step 2
           true 2 -> continued go!1:5
           start -> await 1 go, consumed 1 by 1:5, step 2
           signal go, true 2 -> continued go!2:6
           start -> await 1 go, consumed 1 by 2:6, step 2""",
    ),
    "a signal that comes in the turn of the end goes over": (
        loop(A),
        """start -> step 1
           done 1 -> timer 0 in 1
           +1 fired 0, signal go -> continued go!1:8
           start -> step 1""",
    ),
}

BELOW: dict[str, tuple[Envelope, str]] = {
    "rounds count up": (
        then(A, loop(B, C)),
        """start -> step 1
           done 1 -> step 3
           done 3 -> step 4
           true 4 -> round 2 of 2, step 3
           done 3 -> step 4
           true 4 -> round 3 of 2, step 3
           done 3 -> step 4
           false 4 -> completed 1:20""",
    ),
    "before once, after once": (
        then(then(A, loop(B, C)), A),
        """start -> step 2
           done 2 -> step 4
           done 4 -> step 5
           true 5 -> round 2 of 3, step 4
           done 4 -> step 5
           false 5 -> step 6
           done 6 -> completed 1:19""",
    ),
    "without a condition": (
        then(A, loop(B)),
        """start -> step 1
           done 1 -> step 3
           +0.5 done 3 -> timer 2 in 0.5
           +0.5 fired 2 -> round 2 of 2, step 3""",
    ),
    "a failure tells that a loop had it": (
        then(A, loop(B)),
        """start -> step 1
           done 1 -> step 3
           fail 3 x -> failed Loop sub-orchestration failed: x""",
    ),
    "of a loop in a loop": (
        then(A, loop(loop(B))),
        """start -> step 1
           done 1 -> step 4
           fail 4 x -> failed Loop sub-orchestration failed: Loop sub-orchestration failed: x""",
    ),
    "as a branch": (
        join(loop(A, B), C),
        """start -> opened 0, step 4, step 2
           done 2 -> step 3
           true 3 -> round 2 of 1, step 2
           done 4 ->
           done 2 -> step 3
           false 3 -> closed 0, completed [1:12 1:4]""",
    ),
    "the failure of a branch that is a loop": (
        join(loop(A, B), C),
        """start -> opened 0, step 4, step 2
           fail 2 x ->
           done 4 -> closed 0, failed JOIN branch 1 failed: x""",
    ),
    "a loop that loses": (
        race(loop(A), sleep(3)),
        """start -> opened 0, timer 3 in 3, step 2
           +3 fired 3 -> closed 0 winner 1, drop step 2, completed {"slept": true "seconds": 3}""",
    ),
    "a loop that loses while it rests": (
        race(loop(A), sleep(3)),
        """start -> opened 0, timer 3 in 3, step 2
           +0.5 done 2 -> timer 1 in 0.5
           +2.5 fired 3 -> closed 0 winner 1, drop timer 1, completed {"slept": true "seconds": 3}""",
    ),
    "every round asks for its signal": (
        then(A, loop(signal(), B)),
        """start -> step 1
           signal go, signal go, done 1 -> await 3 go, consumed 3 by 1:4, step 4
           true 4 -> round 2 of 2, await 3 go, consumed 3 by 1:5, step 4
           false 4 -> completed 1:5""",
    ),
}

BREAKS: dict[str, tuple[Envelope, str]] = {
    "nothing": (loop(break_()), "start -> completed null"),
    "words": (loop(break_("done")), 'start -> completed "done"'),
    "JSON": (loop(break_('{"a": 1}')), 'start -> completed {"a": 1}'),
    "a number": (loop(break_("1.50")), "start -> completed 1.50"),
    "from a sequence": (loop(then(break_("x"), A)), 'start -> completed "x"'),
    "from a branch of an IF": (
        loop(if_(A, B, break_("x"))),
        """start -> step 4
           false 4 -> completed "x" """,
    ),
    "from a condition of an IF": (loop(if_(break_("x"), A, B)), 'start -> completed "x"'),
    "from the loop's condition": (
        loop(A, break_("x")),
        """start -> step 1
           done 1 -> completed "x" """,
    ),
    "from the condition of a loop below": (
        then(A, loop(B, break_("x"))),
        """start -> step 1
           done 1 -> step 3
           done 3 -> completed "x" """,
    ),
    "from a join: when all branches have ended": (
        loop(join(A, break_("x"))),
        """start -> opened 1, step 2
           done 2 -> closed 1, completed "x" """,
    ),
    "from a race, if its branch wins": (
        loop(race(break_("x"), A)),
        'start -> opened 1, step 3, closed 1 winner 0, drop step 3, completed "x"',
    ),
    "from a race, not if its branch loses": (
        loop(race(then(sleep(9), break_("x")), A), B),
        """start -> opened 1, step 5, timer 3 in 9
           done 5 -> closed 1 winner 1, drop timer 3, step 6""",
    ),
    "only the innermost loop": (
        loop(then(loop(break_("x")), A), B),
        """start -> step 4
           done 4 -> step 5
           false 5 -> completed 1:3""",
    ),
    "of a loop in a branch: the join goes on": (
        join(loop(break_("x")), A),
        """start -> opened 0, step 3
           done 3 -> closed 0, completed ["x" 1:4]""",
    ),
    "outside of any loop": (break_("x"), "start -> failed df.break() was called outside of a loop"),
    "outside, in a sequence": (
        then(A, break_("x")),
        """start -> step 1
           done 1 -> failed df.break() was called outside of a loop""",
    ),
    "outside, in a join": (
        join(break_(), A),
        """start -> opened 0, step 2
           done 2 -> closed 0, failed df.break() was called outside of a loop""",
    ),
    "a value that refers to a result": (
        loop(then(sql("q", "n"), break_("$n"))),
        """start -> step 2
           done 2 -> value 3 $n=1:3
           done 3 -> completed 1:6""",
    ),
    "a value that refers and cannot": (
        loop(then(sql("q", "n"), break_("$n.nothing"))),
        """start -> step 2
           done 2 -> value 3 $n=1:3
           fail 3 no such column -> failed no such column""",
    ),
}

CANCEL: dict[str, tuple[Envelope, str]] = {
    "before anything": (A, "start, cancel why -> cancelled why"),
    "a step": (
        A,
        """start -> step 0
           cancel why -> drop step 0, cancelled why""",
    ),
    "without a reason": (
        A,
        """start -> step 0
           cancel -> drop step 0, cancelled""",
    ),
    "a sleep": (
        sleep(9),
        """start -> timer 0 in 9
           cancel why -> drop timer 0, cancelled why""",
    ),
    "a wait": (
        signal("go", 9),
        """start -> await 0 go, timer 0 in 9
           cancel why -> drop timer 0, cancelled why""",
    ),
    "a wait for an instance": (
        wait_instance(timeout=9),
        """start -> await 0 00c0ffee, timer 0 in 9
           cancel why -> drop timer 0, cancelled why""",
    ),
    "everything below": (
        join(race(A, sleep(9)), loop(B)),
        """start -> opened 0, opened 1, step 2, timer 3 in 9, step 5
           cancel why -> drop step 2, drop timer 3, drop step 5, cancelled why""",
    ),
    "nothing begins any more": (
        then(A, B),
        """start -> step 1
           done 1, cancel why -> cancelled why""",
    ),
    "no completion overtakes it": (
        A,
        """start -> step 0
           done 0, cancel why -> cancelled why""",
    ),
    "no failure overtakes it": (
        A,
        """start -> step 0
           fail 0 x, cancel why -> cancelled why""",
    ),
    "no continuing overtakes it": (
        loop(A, B),
        """start -> step 1
           done 1 -> step 2
           true 2, cancel why -> cancelled why""",
    ),
    "no signal is consumed": (
        then(signal(), A),
        """start -> await 1 go
           signal go, cancel why -> cancelled why""",
    ),
    "the first reason counts": (
        A,
        """start -> step 0
           cancel one, cancel two -> drop step 0, cancelled one""",
    ),
    "the second execution": (
        loop(A, B),
        """start -> step 1
           done 1 -> step 2
           true 2 -> continued
           start -> step 1
           cancel why -> drop step 1, cancelled why""",
    ),
}

TABLE = {
    f"{kind}: {name}": story
    for kind, table in {"root": ROOT, "below": BELOW, "break": BREAKS, "cancel": CANCEL}.items()
    for name, story in table.items()
}


@pytest.mark.parametrize(("envelope", "story"), TABLE.values(), ids=TABLE)
def test_loop(envelope: Envelope, story: str) -> None:
    check_every_cut(tell(envelope, story))


def test_a_loop_ends_after_the_greatest_number_of_rounds() -> None:
    words = "Loop exceeded maximum iteration count of 2. Use df.break() or a condition to end it earlier."
    story = f"""start -> step 1
                done 1 -> step 2
                true 2 -> continued
                start -> step 1
                done 1 -> step 2
                true 2 -> failed {words}"""
    tell(loop(A, B), story, {"max_iterations": 2})


def test_a_loop_below_ends_after_the_greatest_number_of_rounds() -> None:
    words = "Loop exceeded maximum iteration count of 2. Use df.break() or a condition to end it earlier."
    story = f"""start -> step 1
                done 1 -> step 3
                done 3 -> step 4
                true 4 -> round 2 of 2, step 3
                done 3 -> step 4
                true 4 -> failed Loop sub-orchestration failed: {words}"""
    tell(then(A, loop(B, C)), story, {"max_iterations": 2})


def test_a_turn_goes_round_a_hundred_times_at_most() -> None:
    """Then a timer that is due at once makes the next turn, so that nobody else has to wait."""
    run = Run(then(A, loop(signal())), {**LIMITS, "floor_ms": 0})
    run.turn()
    for _ in range(250):
        run.fact("SignalReceived", {"name": "go"})
    run.complete(1)
    counted = []
    while not run.execution.awaiting:
        turn = run.turn()
        counted.append(len([kind for kind, _ in turn.events if kind == "LoopIterated"]))
        check_replay(run)
        if not run.execution.awaiting:
            run.fire(2)
    assert counted == [99, 100, 51]
