"""Every kind of node by its own: (history) -> what the turn decides. The language of the tables is in stories.py."""

from __future__ import annotations

import pytest

from graphs import (
    Envelope,
    break_,
    http,
    if_,
    if_rows,
    join,
    loop,
    race,
    schedule,
    signal,
    sleep,
    sql,
    then,
    wait_instance,
)
from stories import check_every_cut, tell

A, B, C = sql("SELECT 'a'"), sql("SELECT 'b'"), sql("SELECT 'c'")

STEPS: dict[str, tuple[Envelope, str]] = {
    "one step": (
        A,
        """start -> step 0
           done 0 -> completed 1:3""",
    ),
    "one request": (
        http(),
        """start -> http 0
           done 0 -> completed 1:3""",
    ),
    "a statement without rows": (
        A,
        """start -> step 0
           empty 0 -> completed {"rows":[] "row_count":0}""",
    ),
    "a failure": (
        A,
        """start -> step 0
           fail 0 division by zero -> failed division by zero""",
    ),
    "failed attempts are skipped": (
        A,
        """start -> step 0
           note 0, note 0, done 0 -> completed 1:3""",
    ),
}

THEN: dict[str, tuple[Envelope, str]] = {
    "left, then right": (
        then(A, B),
        """start -> step 1
           done 1 -> step 2
           done 2 -> completed 1:6""",
    ),
    "a failure skips the right": (
        then(A, B),
        """start -> step 1
           fail 1 x -> failed x""",
    ),
    "three": (
        then(A, B, C),
        """start -> step 2
           done 2 -> step 3
           done 3 -> step 4
           done 4 -> completed 1:9""",
    ),
    "nested to the right": (
        then(A, then(B, C)),
        """start -> step 1
           done 1 -> step 3
           done 3 -> step 4""",
    ),
}

IF: dict[str, tuple[Envelope, str]] = {
    "true": (
        if_(A, B, C),
        """start -> step 3
           true 3 -> step 1
           done 1 -> completed 1:6""",
    ),
    "false": (
        if_(A, B, C),
        """start -> step 3
           false 3 -> step 2
           done 2 -> completed 1:6""",
    ),
    "no rows are false": (
        if_(A, B, C),
        """start -> step 3
           empty 3 -> step 2""",
    ),
    "a condition that fails": (
        if_(A, B, C),
        """start -> step 3
           fail 3 bad -> failed bad""",
    ),
    "a branch that fails": (
        if_(A, B, C),
        """start -> step 3
           true 3 -> step 1
           fail 1 bad -> failed bad""",
    ),
    "a sequence as condition: its last": (
        if_(then(A, B), B, C),
        """start -> step 4
           false 4 -> step 5
           true 5 -> step 1""",
    ),
    "a join as condition is true": (
        if_(join(A, B), B, C),
        """start -> opened 3, step 4, step 5
           false 4, false 5 -> closed 3, step 1""",
    ),
    "a signal as condition is true": (
        if_(signal(), B, C),
        """start -> await 3 go
           signal go -> consumed 3 by 1:4, step 1""",
    ),
    "a sleep as condition is true": (
        if_(sleep(2), B, C),
        """start -> timer 3 in 2
           +2 fired 3 -> step 1""",
    ),
    "a branch inside a condition": (
        if_(if_(A, B, C), B, C),
        """start -> step 6
           true 6 -> step 4
           false 4 -> step 2""",
    ),
}

ROWS: dict[str, tuple[Envelope, str]] = {
    "some": (
        then(sql("q", "n"), if_rows("n", A, B)),
        """start -> step 1
           rows 1 2 -> step 3""",
    ),
    "none": (
        then(sql("q", "n"), if_rows("n", A, B)),
        """start -> step 1
           rows 1 0 -> step 4""",
    ),
    "a statement without rows": (
        then(sql("q", "n"), if_rows("n", A, B)),
        """start -> step 1
           empty 1 -> step 4""",
    ),
    "no such name": (
        then(sql("q", "m"), if_rows("n", A, B)),
        """start -> step 1
           rows 1 2 -> failed df.if_rows: result 'n' not found""",
    ),
    "no rows to count": (
        then(sleep(1, "n"), if_rows("n", A, B)),
        """start -> timer 1 in 1
           +1 fired 1 -> failed df.if_rows: result 'n' is not a SQL result (missing row_count)""",
    ),
}

JOIN: dict[str, tuple[Envelope, str]] = {
    "both, in any order": (
        join(A, B),
        """start -> opened 0, step 1, step 2
           done 2 ->
           done 1 -> closed 0, completed [1:4 1:5]""",
    ),
    "both at once": (
        join(A, B),
        """start -> opened 0, step 1, step 2
           done 2, done 1 -> closed 0, completed [1:4 1:5]""",
    ),
    "three": (
        join(A, B, C),
        """start -> opened 0, step 1, step 2, step 3
           done 3, done 1 ->
           done 2 -> closed 0, completed [1:4 1:5 1:6]""",
    ),
    "a failure waits for the others": (
        join(A, B),
        """start -> opened 0, step 1, step 2
           fail 1 bad ->
           done 2 -> closed 0, failed JOIN branch 1 failed: bad""",
    ),
    "the first failure in branch order": (
        join(A, B),
        """start -> opened 0, step 1, step 2
           fail 2 two ->
           fail 1 one -> closed 0, failed JOIN branch 1 failed: one""",
    ),
    "the third branch": (
        join(A, B, C),
        """start -> opened 0, step 1, step 2, step 3
           done 1, done 2 ->
           fail 3 x -> closed 0, failed JOIN branch 3 failed: x""",
    ),
    "in a join": (
        join(join(A, B), C),
        """start -> opened 0, opened 1, step 4, step 2, step 3
           done 2 ->
           done 4 ->
           fail 3 x -> closed 1, closed 0, failed JOIN branch 1 failed: JOIN branch 2 failed: x""",
    ),
    "branches of several nodes": (
        join(then(A, B), C),
        """start -> opened 0, step 4, step 2
           done 2 -> step 3
           done 4 ->
           done 3 -> closed 0, completed [1:8 1:4]""",
    ),
    "a break in branch 1 hides the failure of branch 2": (
        loop(join(break_("x"), B)),
        """start -> opened 1, step 3
           fail 3 bad -> closed 1, completed "x" """,
    ),
    "a failure of branch 1 hides the break in branch 2": (
        loop(join(A, break_("x"))),
        """start -> opened 1, step 2
           fail 2 bad -> closed 1, failed JOIN branch 1 failed: bad""",
    ),
}

RACE: dict[str, tuple[Envelope, str]] = {
    "left wins": (
        race(A, B),
        """start -> opened 0, step 1, step 2
           done 1 -> closed 0 winner 0, drop step 2, completed 1:4""",
    ),
    "right wins": (
        race(A, B),
        """start -> opened 0, step 1, step 2
           done 2 -> closed 0 winner 1, drop step 1, completed 1:5""",
    ),
    "both ready: left": (
        race(A, B),
        """start -> opened 0, step 1, step 2
           done 2, done 1 -> closed 0 winner 0, completed 1:4""",
    ),
    "by failing, left": (
        race(A, B),
        """start -> opened 0, step 1, step 2
           fail 1 x -> closed 0 winner 0, drop step 2, failed RACE left branch failed: x""",
    ),
    "by failing, right": (
        race(A, B),
        """start -> opened 0, step 1, step 2
           fail 2 x -> closed 0 winner 1, drop step 1, failed RACE right branch failed: x""",
    ),
    "a timer loses": (
        race(A, sleep(60)),
        """start -> opened 0, step 1, timer 2 in 60
           done 1 -> closed 0 winner 0, drop timer 2, completed 1:4""",
    ),
    "a wait loses without a word": (
        race(signal(), B),
        """start -> opened 0, await 1 go, step 2
           done 2 -> closed 0 winner 1, completed 1:5""",
    ),
    "a wait with a time-out loses": (
        race(signal("go", 60), B),
        """start -> opened 0, await 1 go, timer 1 in 60, step 2
           done 2 -> closed 0 winner 1, drop timer 1, completed 1:6""",
    ),
    "a lost wait does not take the signal": (
        then(race(signal(), B), signal()),
        """start -> opened 1, await 2 go, step 3
           done 3 -> closed 1 winner 1, await 4 go
           signal go -> consumed 4 by 1:10, completed 1:10""",
    ),
    "a whole tree loses": (
        race(join(A, race(B, C)), sleep(1)),
        """start -> opened 0, opened 1, timer 6 in 1, step 2, opened 3, step 4, step 5
           +1 fired 6 -> closed 0 winner 1, drop step 2, drop step 4, drop step 5,
               completed {"slept": true "seconds": 1}""",
    ),
    "in a race": (
        race(race(A, B), C),
        """start -> opened 0, opened 1, step 4, step 2, step 3
           done 3 -> closed 1 winner 1, drop step 2, closed 0 winner 0, drop step 4, completed 1:7""",
    ),
    "the loser is at its second node": (
        race(then(A, B), C),
        """start -> opened 0, step 4, step 2
           done 2 -> step 3
           done 4 -> closed 0 winner 1, drop step 3, completed 1:4""",
    ),
    "left becomes ready in the turn in which right is": (
        race(if_(A, break_(), signal()), B),
        """start -> opened 0, step 5, step 4
           signal go, false 4, done 5 -> await 3 go, closed 0 winner 1, completed 1:4""",
    ),
}

TIMERS: dict[str, tuple[Envelope, str]] = {
    "a sleep": (
        sleep(5),
        """start -> timer 0 in 5
           +5 fired 0 -> completed {"slept": true "seconds": 5}""",
    ),
    "measured from the turn that enters it": (
        then(A, sleep(5)),
        """start -> step 1
           +100 done 1 -> timer 2 in 5""",
    ),
    "no time at all": (sleep(0), "start -> timer 0 in 0"),
    "for ever": (sleep(10**12), "start -> timer 0 in 251603539200"),
    "no number": ({"node_type": "SLEEP", "query": "soon"}, "start -> failed Invalid sleep duration: 'soon'"),
    "a schedule: the next tick": (
        schedule("*/5 * * * *"),
        """start -> timer 0 in 300
           +300 fired 0 -> completed {"scheduled": true}""",
    ),
    "a schedule between ticks": (
        then(A, schedule("*/5 * * * *")),
        """start -> step 1
           +30 done 1 -> timer 2 in 270""",
    ),
    "a schedule that is none": (
        schedule("nonsense"),
        """start -> failed Invalid cron expression 'nonsense': 5 fields (minute hour day-of-month month day-of-week)
           \\ or 6 (with a year) are needed; not 1""",
    ),
}

SIGNALS: dict[str, tuple[Envelope, str]] = {
    "awaited": (
        signal(),
        """start -> await 0 go
           signal go -> consumed 0 by 1:4, completed 1:4""",
    ),
    "sent before": (
        then(A, signal()),
        """start -> step 1
           signal go ->
           done 1 -> await 2 go, consumed 2 by 1:4, completed 1:4""",
    ),
    "another name": (
        signal(),
        """start -> await 0 go
           signal stop ->
           signal go -> consumed 0 by 1:6, completed 1:6""",
    ),
    "first in, first out": (
        then(A, signal(), signal()),
        """start -> step 2
           signal go, signal go, done 2 -> await 3 go, consumed 3 by 1:4, await 4 go, consumed 4 by 1:5,
               completed 1:5""",
    ),
    "one wakes all that wait": (
        join(signal(), signal()),
        """start -> opened 0, await 1 go, await 2 go
           signal go -> consumed 1 by 1:6, consumed 2 by 1:6, closed 0, completed [1:6 1:6]""",
    ),
    "two for two waits: one is left": (
        then(join(signal(), signal()), signal()),
        """start -> opened 1, await 2 go, await 3 go
           signal go, signal go -> consumed 2 by 1:6, consumed 3 by 1:6, closed 1, await 4 go,
               consumed 4 by 1:7, completed 1:7""",
    ),
    "its time is over": (
        signal("go", 60),
        """start -> await 0 go, timer 0 in 60
           +60 fired 0 -> late 0, completed {"signal_name":"go" "timed_out":true "data":null}""",
    ),
    "in time": (
        signal("go", 60),
        """start -> await 0 go, timer 0 in 60
           signal go -> consumed 0 by 1:5, drop timer 0, completed 1:5""",
    ),
    "signal and time-out in one turn: the signal": (
        signal("go", 60),
        """start -> await 0 go, timer 0 in 60
           +60 fired 0, signal go -> consumed 0 by 1:6, completed 1:6""",
    ),
    "a step that ends in the same turn waits first": (
        then(A, signal("go", 60)),
        """start -> step 1
           signal go, done 1 -> await 2 go, timer 2 in 60, consumed 2 by 1:4, drop timer 2, completed 1:4""",
    ),
    "no name": (signal(""), "start -> failed Signal name cannot be empty"),
}

INSTANCES: dict[str, tuple[Envelope, str]] = {
    "its end": (
        wait_instance(),
        """start -> await 0 00c0ffee
           ended 0 -> completed 1:4""",
    ),
    "nobody": (
        wait_instance(),
        """start -> await 0 00c0ffee
           unknown 0 -> failed no such instance""",
    ),
    "too late": (
        wait_instance(timeout=9),
        """start -> await 0 00c0ffee, timer 0 in 9
           +9 fired 0 -> late 0, completed {"status":null "timed_out":true "result":null}""",
    ),
    "in time": (
        wait_instance(timeout=9),
        """start -> await 0 00c0ffee, timer 0 in 9
           ended 0 -> drop timer 0, completed 1:5""",
    ),
    "in the same turn: its end": (
        wait_instance(timeout=9),
        """start -> await 0 00c0ffee, timer 0 in 9
           +9 fired 0, ended 0 -> completed 1:6""",
    ),
    "an id that a step computed": (
        then(sql("q", "child"), wait_instance("$child")),
        """start -> step 1
           done 1 -> value 2 $child=1:3
           done 2 -> await 2 1:6
           ended 2 -> completed 1:10""",
    ),
    "a wait that loses": (
        race(wait_instance(), B),
        """start -> opened 0, await 1 00c0ffee, step 2
           done 2 -> closed 0 winner 1, completed 1:5""",
    ),
}

TABLE = {
    f"{kind}: {name}": story
    for kind, table in {
        "step": STEPS,
        "then": THEN,
        "if": IF,
        "if_rows": ROWS,
        "join": JOIN,
        "race": RACE,
        "timer": TIMERS,
        "signal": SIGNALS,
        "instance": INSTANCES,
    }.items()
    for name, story in table.items()
}


@pytest.mark.parametrize(("envelope", "story"), TABLE.values(), ids=TABLE)
def test_node(envelope: Envelope, story: str) -> None:
    check_every_cut(tell(envelope, story))
