"""Histories as text: a table of ``facts -> what the turn decided``, told to the core and checked line by line.

::

    start            -> step 1
    done 1, done 2   -> closed 0, completed
    +5 fired 3       -> timer 4 in 2

Before the arrow: facts, in their order, by the number of their node. ``+5`` moves the clock (seconds) first.
``done``, ``true``, ``false`` (how a condition judges it), ``rows 1 0`` (a set of so many rows), ``empty 1`` (no
rows at all), ``fail 1 words``, ``note 1`` (a failed attempt), ``fired 3`` (any timer of node 3), ``signal go``,
``ended 4``, ``unknown 4`` (nobody to wait for), ``cancel words``. After it: the decisions, all of them and in order.

Every story is replayed after every line, from the beginning and from every earlier point, through JSON.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from graphs import Envelope, graph
from perdure.eventstore import codec
from perdure.eventstore import events as ev
from perdure.eventstore.events import Event, Payload
from perdure.orchestrator.execution import Execution
from perdure.orchestrator.replay import replay
from perdure.orchestrator.turn import Turn

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
LIMITS: Payload = {"interpreter": 1, "floor_ms": 1000, "max_iterations": 100000}


@dataclass
class Run:
    """One execution with its history. ``fact`` and ``turn`` are what the engine would append."""

    envelope: Envelope
    started: Payload = field(default_factory=lambda: dict(LIMITS))
    execution_id: int = 1
    variables: dict[str, str] = field(default_factory=dict)
    now: datetime = BEGIN

    def __post_init__(self) -> None:
        self.graph = graph(self.envelope)
        self.execution = self.unfolded()
        self.history = [Event(1, ev.EXECUTION_STARTED, self.started)]
        self.turns: list[Turn] = []

    def unfolded(self) -> Execution:
        """A new fold of this execution that has seen its first event only."""
        return Execution(self.graph, "a1b2c3d4", self.execution_id, self.started, self.variables)

    def fact(self, kind: str, data: Payload) -> None:
        """Append a fact."""
        event = Event(len(self.history) + 1, kind, data)
        self.history.append(event)
        self.execution.observe(event)

    def turn(self, now: datetime | None = None) -> Turn:
        """Take a turn and append what it decided."""
        turn = self.execution.take_turn(now or self.now)
        self.turns.append(turn)
        for kind, data in turn.events:
            self.history.append(Event(len(self.history) + 1, kind, data))
        return turn

    def next_run(self) -> Run:
        """The execution that continues this one."""
        started = self.turns[-1].next_started
        assert started is not None
        return Run(self.envelope, started, self.execution_id + 1, self.variables, self.now)

    # -- what waits ------------------------------------------------------------------------------------------------

    def waiting(self, node: int, *kinds: str) -> int:
        """The event that began the newest wait of a node."""
        found = [s for s, w in self.execution.waits.items() if w.node.index == node and (not kinds or w.kind in kinds)]
        assert found, f"node {node} waits for nothing of {kinds}: {waits(self.execution)}"
        return found[-1]

    def complete(self, node: int, truth: bool = True, rows: int | None = None, empty: bool = False) -> None:
        """The step of a node completed."""
        self.fact(ev.ACTIVITY_COMPLETED, ev.activity_completed(self.waiting(node, "activity"), truth, rows, empty))

    def fail(self, node: int, message: str, kind: str = ev.ACTIVITY_FAILED) -> None:
        """The step of a node, or an attempt at it, failed."""
        self.fact(kind, {"of": self.waiting(node, "activity"), "failure": {"message": message, "attempt": 1}})

    def fire(self, node: int) -> None:
        """The timer of a node fired."""
        kinds = ("timer", "floor", "signal_timeout", "instance_timeout")
        self.fact(ev.TIMER_FIRED, {"of": self.waiting(node, *kinds)})


def waits(execution: Execution) -> list[tuple[int, str, int]]:
    """What an execution waits for: (seq, kind, node)."""
    return [(seq, wait.kind, wait.node.index) for seq, wait in execution.waits.items()]


def tell(envelope: Envelope, story: str, started: Payload | None = None, **variables: str) -> Run:
    """Tell a story to the core; raises AssertionError at the first line that comes out differently."""
    run = Run(envelope, {**LIMITS, **(started or {})}, variables=variables)
    lines = _lines(story)
    for number, line in enumerate(lines):
        before, arrow, after = line.partition("->")
        assert arrow, f"no arrow in {line!r}"
        if number and run.execution.status == "continued":
            check_replay(run)
            run = run.next_run()
        for words in before.split(","):
            _happen(run, words.split())
        turn = run.turn()
        told = [words.strip() for words in after.split(",") if words.strip()]
        decided = shown(run, turn)
        assert decided == told, f"{line!r}\n   decided: {', '.join(decided)}"
        check_replay(run)
    return run


def _lines(story: str) -> list[str]:
    """One line a turn; a line that ends with a comma, or whose next begins with a backslash, goes on."""
    joined = re.sub(r",\n\s*", ", ", story.strip())
    joined = re.sub(r"\n\s*\\\s*", " ", joined)
    return [line.strip() for line in joined.splitlines() if line.strip()]


def _happen(run: Run, words: list[str]) -> None:
    if words[0].startswith("+"):
        run.now += timedelta(seconds=float(words.pop(0)[1:]))
    if words:
        FACTS[words[0]](run, words[1:])


Happening = Callable[[Run, list[str]], None]


def _ended(run: Run, words: list[str], **more: str) -> None:
    run.fact(ev.INSTANCE_ENDED, {"of": run.waiting(int(words[0]), "instance"), **more})


FACTS: dict[str, Happening] = {
    "start": lambda run, _: None,
    "done": lambda run, words: run.complete(int(words[0])),
    "true": lambda run, words: run.complete(int(words[0])),
    "false": lambda run, words: run.complete(int(words[0]), truth=False),
    "rows": lambda run, words: run.complete(int(words[0]), truth=int(words[1]) > 0, rows=int(words[1])),
    "empty": lambda run, words: run.complete(int(words[0]), truth=False, empty=True),
    "fail": lambda run, words: run.fail(int(words[0]), " ".join(words[1:]) or "boom"),
    "note": lambda run, words: run.fail(int(words[0]), "boom", ev.ACTIVITY_ATTEMPT_FAILED),
    "fired": lambda run, words: run.fire(int(words[0])),
    "signal": lambda run, words: run.fact(ev.SIGNAL_RECEIVED, {"name": words[0]}),
    "ended": _ended,
    "unknown": lambda run, words: _ended(run, words, error="no such instance"),
    "cancel": lambda run, words: run.fact(ev.CANCEL_REQUESTED, {"reason": " ".join(words)}),
}


# -- how decisions are shown ----------------------------------------------------------------------------------------


def shown(run: Run, turn: Turn) -> list[str]:
    """The decisions of a turn in short words."""
    return [_shown(run, kind, data) for kind, data in turn.events[1:]]


def _shown(run: Run, kind: str, data: Payload) -> str:
    match kind:
        case ev.ACTIVITY_SCHEDULED:
            how = "step" if data["kind"] == "sql" else data["kind"]
            names = "".join(f" ${name}={ref_text(ref)}" for name, ref in data.get("names", {}).items())
            return f"{how} {data['node']}{names}"
        case ev.TIMER_SET:
            seconds = (datetime.fromisoformat(data["due"]) - run.now).total_seconds()
            return (
                f"timer {data['node']} in {seconds:.3f}".rstrip("0").rstrip(".")
                if seconds
                else f"timer {data['node']} in 0"
            )
        case ev.ACTIVITY_CANCELLED:
            return f"drop step {_node_of(run, data)}"
        case ev.TIMER_CANCELLED:
            return f"drop timer {_node_of(run, data)}"
        case ev.SIGNAL_AWAITED:
            return f"await {data['node']} {data['name']}"
        case ev.SIGNAL_CONSUMED:
            return f"consumed {_node_of(run, data)} by {ref_text(data['message'])}"
        case ev.SIGNAL_TIMED_OUT:
            return f"late {_node_of(run, data)}"
        case ev.INSTANCE_AWAITED:
            return f"await {data['node']} {data.get('instance') or ref_text(data['ref'])}"
        case ev.BRANCH_OPENED:
            return f"opened {data['node']}"
        case ev.BRANCH_CLOSED:
            return f"closed {data['node']}" + (f" winner {data['winner']}" if "winner" in data else "")
        case ev.LOOP_ITERATED:
            return f"round {data['generation']} of {data['node']}"
        case _:
            return _shown_end(kind, data)


def _shown_end(kind: str, data: Payload) -> str:
    match kind:
        case ev.EXECUTION_CONTINUED:
            names = "".join(f" ${name}={ref_text(saved[0])}" for name, saved in data["names"].items())
            return "continued" + names + "".join(f" {name}!{ref_text(ref)}" for name, ref in data["signals"])
        case ev.EXECUTION_COMPLETED:
            return f"completed {ref_text(data['result'])}"
        case ev.EXECUTION_FAILED:
            return f"failed {data['failure']['message']}".replace(",", ";")
        case ev.EXECUTION_CANCELLED:
            return f"cancelled {data['reason']}".strip()
    raise AssertionError(kind)


def ref_text(ref: Any) -> str:
    """A reference without commas: ``1:3``, the raw text, or ``[1:3 1:5]``."""
    if isinstance(ref, list):
        return f"{ref[0]}:{ref[1]}"
    if "j" in ref:
        return "[" + " ".join(ref_text(part) for part in ref["j"]) + "]"
    return str(ref["v"]).replace(", ", " ").replace(",", " ")


def _node_of(run: Run, data: Payload) -> int:
    events = run.history + [Event(0, kind, payload) for kind, payload in run.turns[-1].events]
    return int(next(event.data["node"] for event in events if event.seq == data["of"]))


# -- what holds for every history -----------------------------------------------------------------------------------


def through_json(history: list[Event]) -> list[Event]:
    """A history as it comes back from the database."""
    text = codec.encode([[event.seq, event.kind, event.data] for event in history])
    back = codec.decode_events(text)
    assert codec.encode([[event.seq, event.kind, event.data] for event in back]) == text
    return back


def groups(history: list[Event]) -> list[list[Event]]:
    """The history cut where a reader may find it: before each fact and before each turn."""
    cut: list[list[Event]] = []
    for event in history:
        if event.kind in ev.FACTS or event.kind in (ev.TURN_TAKEN, ev.EXECUTION_STARTED):
            cut.append([])
        cut[-1].append(event)
    return cut


def fingerprint(execution: Execution) -> Any:
    """All of the state of a fold that decisions depend on, as data."""
    return (
        execution.head,
        execution.status,
        [(seq, w.kind, w.node.index, w.scope.stamp, w.other) for seq, w in execution.waits.items()],
        {name: [v.ref for v in values] for name, values in execution.mailbox.items() if values},
        {name: list(found) for name, found in execution.awaiting.items()},
        [(fact.seq, fact.kind) for fact in execution.facts],
        _scope_state(execution.root),
    )


def _scope_state(scope: Any) -> Any:
    return (
        scope.stamp,
        scope.live,
        list(scope.waits),
        {name: (value.ref, value.truth, value.rows) for name, value in scope.names.items()},
        [_scope_state(child) for child in scope.children.values()],
    )


def check_replay(run: Run) -> None:
    """The history replays to the same state, whole and in two parts; and it keeps the rules of every history."""
    history = through_json(run.history)
    whole = run.unfolded()
    replay(whole, history[1:])
    assert fingerprint(whole) == fingerprint(run.execution)
    check_rules(run.execution, history)


def check_every_cut(run: Run) -> None:
    """Replay of a prefix and then the rest equals replay of the whole, for every prefix that a reader may see."""
    cut = groups(through_json(run.history))
    for place in range(1, len(cut)):
        fold = run.unfolded()
        replay(fold, [event for group in cut[1:place] for event in group])
        replay(fold, [event for group in cut[place:] for event in group])
        assert fingerprint(fold) == fingerprint(run.execution), place


def check_rules(execution: Execution, history: list[Event]) -> None:
    """Gapless, one end at most and last, one outcome at most for each step, nothing waits in a scope that is over."""
    assert [event.seq for event in history] == list(range(1, len(history) + 1))
    ends = [event.seq for event in history if event.kind in ev.TERMINAL]
    assert ends in ([], [len(history)])
    assert bool(ends) == (execution.status != "running")
    if ends and execution.status != "continued":
        assert not execution.waits
    closed = [e.data["of"] for e in history if e.kind in (ev.ACTIVITY_COMPLETED, ev.ACTIVITY_FAILED)]
    assert len(closed) == len(set(closed))
    for seq, wait in execution.waits.items():
        assert wait.scope.live, (seq, wait)
        assert seq in wait.scope.waits
    waiting = {seq for found in execution.awaiting.values() for seq in found}
    assert waiting == {seq for seq, wait in execution.waits.items() if wait.kind == "signal"}
