"""How roles share the slots of a worker."""

from __future__ import annotations

from collections import Counter
from typing import Any

from perdure.backlog import Backlog
from perdure.fairness import LONGEST, REST, TIMES, Others
from perdure.work import Lease

ALICE, BOB, CAROL = 1, 2, 3


def lease(owner: int, number: int, kind: str = "sql") -> Lease:
    step: dict[str, Any] = {
        "kind": kind,
        "text": "SELECT 1",
        "names": {},
        "label": None,
        "variables": {},
        "database": None,
    }
    whose: dict[str, Any] = {"owner": owner, "owner_name": str(owner), "token": f"{owner}-{number}"}
    return Lease(bucket=0, instance_id=f"{number:08x}", execution_id=1, seq=3, **whose, **step)


def taken(backlog: Backlog, http: bool = False) -> Lease:
    found = (backlog.http if http else backlog.sql).get()
    assert found is not None
    assert backlog.begin(found, http)
    return found


def test_a_slot_takes_a_step_of_the_role_with_the_fewest_slots() -> None:
    backlog = Backlog(4, 4)
    for number in range(6):
        backlog.put(lease(ALICE, number))
    first = [taken(backlog) for _ in range(3)]
    backlog.put(lease(BOB, 10))
    backlog.put(lease(BOB, 11))
    assert backlog.held() == {ALICE: 6, BOB: 2}
    assert taken(backlog).token == "2-10"
    backlog.end(first[0], False, 1.0)
    assert taken(backlog).token == "2-11", "bob has one slot and alice two"
    backlog.end(first[1], False, 1.0)
    assert [taken(backlog).token for _ in range(3)] == ["1-3", "1-4", "1-5"]
    backlog.sql.put(None)
    assert backlog.sql.get() is None


def test_roles_with_as_many_slots_take_turns() -> None:
    backlog = Backlog(4, 4)
    for number in range(2):
        for owner in (ALICE, BOB, CAROL):
            backlog.put(lease(owner, number))
    order = []
    for _ in range(6):
        found = taken(backlog)
        order.append(found.token)
        backlog.end(found, False, 0.1)
    assert order == ["1-0", "2-0", "3-0", "1-1", "2-1", "3-1"]


def test_a_chain_steps_aside_for_a_role_with_fewer_slots_and_for_no_other() -> None:
    backlog = Backlog(2, 2)
    backlog.put(lease(ALICE, 1))
    running = taken(backlog)
    assert not backlog.steps_aside(running), "nobody waits"
    backlog.put(lease(ALICE, 2))
    assert not backlog.steps_aside(running), "only its own role waits"
    backlog.put(lease(BOB, 1))
    assert backlog.steps_aside(running)
    assert not backlog.steps_aside(lease(ALICE, 1, kind="http"))
    assert taken(backlog).token == "2-1"
    backlog.put(lease(BOB, 2))
    assert not backlog.steps_aside(running), "each has one"


def test_what_went_back_to_the_queue_counts_no_more() -> None:
    backlog = Backlog(1, 1)
    backlog.put(lease(ALICE, 1))
    backlog.clear()
    assert backlog.held() == Counter()
    found = backlog.sql.get()
    assert found is not None
    assert not backlog.begin(found, False)


def test_a_claim_for_others_leaves_out_those_that_hold_the_slots() -> None:
    others = Others()
    assert others.left_out({}, 4, 0.0) == []
    assert others.left_out({ALICE: 3}, 4, 0.0) == [], "a slot is free"
    assert others.left_out({ALICE: 4}, 4, 0.0) == [ALICE]
    others.claimed(0.0, 0.0, True)
    assert others.left_out({ALICE: 4, BOB: 1}, 4, 0.0) == [ALICE], "more than its share of two"
    others.claimed(0.0, 0.0, True)
    assert others.left_out({ALICE: 2, BOB: 2}, 4, 0.0) == [ALICE, BOB], "for those that have none"
    others.claimed(0.0, 0.0, False)
    assert others.left_out({ALICE: 2, BOB: 2}, 4, REST / 2) == []
    assert others.left_out({ALICE: 3, BOB: 1}, 4, REST) == [ALICE]


def test_a_dear_claim_for_others_is_made_seldom() -> None:
    others = Others()
    others.claimed(0.0, 0.1, True)
    assert others.left_out({ALICE: 4}, 4, 0.1 + TIMES * 0.1 - 0.01) == []
    assert others.left_out({ALICE: 4}, 4, 0.1 + TIMES * 0.1) == [ALICE]
    others.claimed(0.0, 100.0, True)
    assert others.left_out({ALICE: 4}, 4, 100.0 + LONGEST) == [ALICE]
