"""The fold and the decision: one execution of one instance, as its history tells it.

::

    observe(fact) ...      facts wait until a turn looks at them
    take_turn(now)         every waiting fact is applied, every ready node advances, signals are delivered
        -> Turn            the events to append, with the work they ask for

The same code decides and replays: replay takes each recorded turn again with the ``now`` it recorded and compares what
comes out with what was written, so a fold that was built from a history has been checked against it.
Nothing here reads a clock, a random number or the order of a set.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from perdure.eventstore import events as ev
from perdure.eventstore.events import Event, Payload
from perdure.orchestrator.graph import Graph, Node
from perdure.orchestrator.nodes.base import Handler, Wait
from perdure.orchestrator.nodes.condition import If
from perdure.orchestrator.nodes.http import Http
from perdure.orchestrator.nodes.loop import Break, Loop
from perdure.orchestrator.nodes.parallel import Join, Race
from perdure.orchestrator.nodes.sequence import Then
from perdure.orchestrator.nodes.signal import Signal, WaitInstance, timed_out
from perdure.orchestrator.nodes.sql import Sql
from perdure.orchestrator.nodes.timer import Schedule, Sleep, after
from perdure.orchestrator.scopes import Scope, awaited_by
from perdure.orchestrator.substitution import referenced_names
from perdure.orchestrator.turn import Activity, Turn
from perdure.orchestrator.values import Broken, Failed, Outcome, Value, failed, restored, saved

INTERPRETER = 1
ITERATIONS_PER_TURN = 100
STEPS = ("SQL", "HTTP", "HTTP_MULTIPART")

HANDLERS: dict[str, Handler] = {
    "SQL": Sql(),
    "THEN": Then(),
    "IF": If(),
    "JOIN": Join(),
    "RACE": Race(),
    "LOOP": Loop(),
    "BREAK": Break(),
    "SLEEP": Sleep(),
    "WAIT_SCHEDULE": Schedule(),
    "HTTP": Http(),
    "HTTP_MULTIPART": Http(),
    "SIGNAL": Signal(),
    "WAIT_INSTANCE": WaitInstance(),
}


class Execution:
    """The folded state of one execution. Not safe for two threads at once."""

    def __init__(
        self, graph: Graph, instance_id: str, execution_id: int, started: Payload, variables: Mapping[str, str]
    ) -> None:
        self.graph = graph
        self.instance_id = instance_id
        self.execution_id = execution_id
        self.variables = variables
        self.started = started
        self.limits: dict[str, Any] = started
        self.head = 1
        self.status = "running"
        self.waits: dict[int, Wait] = {}
        self.facts: deque[Event] = deque()
        self.mailbox: dict[str, deque[Value]] = {}
        self.awaiting: dict[str, dict[int, Wait]] = {}
        self.root = Scope(graph.root, None, None, 0, "")
        self.root.generation = execution_id
        self.root.names = {name: restored(found) for name, found in started.get("names", {}).items()}
        for name, ref in started.get("signals", ()):
            self.mailbox.setdefault(name, deque()).append(Value(ref))
        self.fresh = True
        self._now: datetime | None = None
        self._turn = Turn()
        self._marks: dict[int, list[Any]] = {}
        self._agenda: deque[tuple[Callable[..., None], tuple[Any, ...], Scope]] = deque()
        self._races: deque[tuple[Node, Scope]] = deque()
        self._expired: deque[int] = deque()
        self._iterations = 0
        self._continuing = False
        self._cancelled: str | None = None

    # -- facts and turns ------------------------------------------------------------------------------------------

    def observe(self, event: Event) -> None:
        """A fact at the head of the history; it waits for the next turn."""
        assert event.seq == self.head + 1, (event.seq, self.head)
        self.head = event.seq
        if event.kind not in ev.NOTES:
            self.facts.append(event)

    def take_turn(self, now: datetime | None) -> Turn:
        """Apply every waiting fact and decide. ``now`` may be None only where ``foresight`` said so."""
        assert self.status == "running", self.status
        self._now = now
        self._turn = turn = Turn()
        self._marks = {}
        self._iterations = 0
        taken: Payload = {"now": now.isoformat() if now else None}
        turn.events.append((ev.TURN_TAKEN, taken))
        while self.facts:
            self._apply(self.facts.popleft())
        if self._cancelled is None:  # no completion of the same turn overtakes a cancel: its caller was told
            if self.fresh:
                self.enter(self.root.root, self.root)
            self._settle()
        self.fresh = False
        self._conclude()
        taken["marks"] = list(self._marks.values())
        turn.status = self.status
        turn.activities = [a for a in turn.activities if a.seq in self.waits]
        turn.timers = {seq: due for seq, due in turn.timers.items() if seq in self.waits}
        turn.awaited = {seq: target for seq, target in turn.awaited.items() if seq in self.waits}
        self.head += len(turn.events)
        return turn

    def _apply(self, fact: Event) -> None:
        if fact.kind == ev.SIGNAL_RECEIVED:
            ref = [self.execution_id, fact.seq]
            self.mailbox.setdefault(fact.data["name"], deque()).append(Value(ref))
        elif fact.kind == ev.CANCEL_REQUESTED:
            self._cancelled = self._cancelled or str(fact.data.get("reason", ""))
        else:
            self._outcome(fact)

    def _outcome(self, fact: Event) -> None:
        of = int(fact.data["of"])
        wait = self.waits.get(of)
        if wait is None:
            return
        if wait.kind in ("signal_timeout", "instance_timeout"):
            self._forget(of)
            self._expired.append(wait.other)
            return
        self._forget(of)
        if fact.kind == ev.TIMER_FIRED:
            self._later(HANDLERS[wait.node.type].fired, self, wait, scope=wait.scope)
        elif fact.kind == ev.ACTIVITY_FAILED:
            self.leave(wait.node, wait.scope, Failed(fact.data["failure"]))
        elif fact.kind == ev.INSTANCE_ENDED:
            self._instance_ended(wait, fact)
        else:
            value = Value([self.execution_id, of], bool(fact.data["true"]), fact.data.get("rows"))
            if fact.data.get("empty"):
                value = Value({"v": '{"rows":[],"row_count":0}'}, False, 0)
            self._later(HANDLERS[wait.node.type].completed, self, wait, value, scope=wait.scope)

    def _instance_ended(self, wait: Wait, fact: Event) -> None:
        if wait.other:
            self.cancel_timer(wait.other)
        if "error" in fact.data:
            self.leave(wait.node, wait.scope, failed(str(fact.data["error"])))
        else:
            self.leave(wait.node, wait.scope, Value([self.execution_id, fact.seq]))

    def _settle(self) -> None:
        """Advance until nothing moves: ready nodes, then races, then signals, then time-outs."""
        while True:
            while self._agenda:
                function, arguments, scope = self._agenda.popleft()
                if scope.live:
                    function(*arguments)
            if self.status != "running" or self._continuing:
                return
            if self._races:
                node, scope = self._races.popleft()
                if scope.live:
                    HANDLERS[node.type].decided(self, node, scope)
            elif not self._deliver() and not self._expire():
                return

    def _deliver(self) -> bool:
        """Per name, the oldest unconsumed message wakes every wait of that name that is active now."""
        moved = False
        for name in [name for name in self.awaiting if self.mailbox.get(name)]:
            value = self.mailbox[name].popleft()
            for seq, wait in list(self.awaiting.pop(name).items()):
                moved = True
                self._forget(seq)
                self.emit(ev.SIGNAL_CONSUMED, {"of": seq, "message": value.ref})
                if wait.other:
                    self.cancel_timer(wait.other)
                self.leave(wait.node, wait.scope, value)
        return moved

    def _expire(self) -> bool:
        moved = False
        while self._expired:
            seq = self._expired.popleft()
            wait = self.waits.get(seq)
            if wait is None:
                continue
            moved = True
            self._forget(seq)
            self.emit(ev.SIGNAL_TIMED_OUT, {"of": seq})
            if wait.kind == "signal":
                name = str(wait.node.config["signal_name"])
                self.awaiting[name].pop(seq, None)
                if not self.awaiting[name]:
                    del self.awaiting[name]
                self.leave(wait.node, wait.scope, timed_out(name))
            else:
                self._turn.dropped.append(seq)
                self.leave(wait.node, wait.scope, Value({"v": '{"status":null,"timed_out":true,"result":null}'}))
        return moved

    # -- the end of a turn ----------------------------------------------------------------------------------------

    def _conclude(self) -> None:
        if self._cancelled is not None:
            self.abandon(self.root)
            self._end("cancelled", ev.EXECUTION_CANCELLED, {"reason": self._cancelled})
        elif self._continuing:
            self._continue()

    def _end(self, status: str, kind: str, data: Payload) -> None:
        self.status = status
        self.emit(kind, data)

    def _continue(self) -> None:
        names = {name: saved(value) for name, value in self.root.names.items()}
        waiting = [[name, value.ref] for name, values in self.mailbox.items() for value in values]
        started = {k: v for k, v in self.started.items() if k not in ("names", "signals")}
        self._turn.next_started = {**started, "names": names, "signals": waiting}
        self._end("continued", ev.EXECUTION_CONTINUED, {"names": names, "signals": waiting})

    # -- what nodes may ask (nodes.base.Machine) ------------------------------------------------------------------

    @property
    def now(self) -> datetime:
        """The time of this turn, as it was recorded."""
        assert self._now is not None, "this turn was foreseen without a clock"
        return self._now

    def emit(self, kind: str, data: Payload) -> int:
        """Append a decision; returns its sequence number."""
        self._turn.events.append((kind, data))
        return self.head + len(self._turn.events)

    def _later(self, function: Callable[..., None], *arguments: Any, scope: Scope) -> None:
        self._agenda.append((function, arguments, scope))

    def enter(self, node: Node, scope: Scope) -> None:
        """Begin a node in a scope."""
        if node.type not in STEPS:
            self.mark(node, scope, "r")
        self._later(HANDLERS[node.type].enter, self, node, scope, scope=scope)

    def leave(self, node: Node, scope: Scope, outcome: Outcome) -> None:
        """A node is done: keep its name, mark it, tell whoever waits."""
        match outcome:
            case Value():
                if node.name:
                    scope.names[node.name] = outcome
                self.mark(node, scope, "c", outcome.ref)
            case Broken():
                self.mark(node, scope, "c", outcome.value.ref)
            case Failed():
                self.mark(node, scope, "f", outcome.failure)
        self.pass_up(node, scope, outcome)

    def pass_up(self, node: Node, scope: Scope, outcome: Outcome) -> None:
        """Hand an outcome to the parent, or to whoever opened the scope when the node is its root."""
        parent = node.parent
        if node is not scope.root:
            assert parent is not None
            self._later(HANDLERS[parent.type].child_done, self, parent, scope, node, outcome, scope=scope)
        elif scope.parent is None:
            self._later(self._finish, outcome, scope=scope)
        else:
            assert scope.host is not None
            host, outer = scope.host, scope.parent
            scope.close()
            self._later(HANDLERS[host.type].branch_done, self, host, outer, scope, outcome, scope=outer)

    def _finish(self, outcome: Outcome) -> None:
        if isinstance(outcome, Broken):
            outcome = failed("df.break() was called outside of a loop")
            self.mark(self.root.root, self.root, "f", outcome.failure)
        if isinstance(outcome, Failed):
            self._end("failed", ev.EXECUTION_FAILED, {"failure": outcome.failure})
        else:
            self._end("completed", ev.EXECUTION_COMPLETED, {"result": outcome.ref})

    def mark(self, node: Node, scope: Scope, status: str, detail: Any = None) -> None:
        """Note a node's status for ``df.nodes``: r(unning), c(ompleted) with a ref, f(ailed) with the failure."""
        mark: list[Any] = [node.index, status]
        stamp = None if scope.parent is None else scope.stamp
        if detail is not None:
            mark += [stamp, detail]
        elif stamp is not None:
            mark.append(stamp)
        self._marks[node.index] = mark

    def wait(self, seq: int, wait: Wait) -> None:
        """Wait for the outcome of the event ``seq``."""
        self.waits[seq] = wait
        wait.scope.waits[seq] = None

    def _forget(self, seq: int) -> None:
        wait = self.waits.pop(seq)
        wait.scope.waits.pop(seq, None)

    def schedule(self, node: Node, scope: Scope, kind: str, text: str) -> None:
        """Ask for an activity whose template is ``text``."""
        names = {n: scope.names[n].ref for n in referenced_names(text, self.variables, scope.names)}
        data: Payload = {"node": node.index, "kind": kind}
        if names:
            data["names"] = names
        seq = self.emit(ev.ACTIVITY_SCHEDULED, data)
        self.mark(node, scope, "r")
        self.wait(seq, Wait("activity", node, scope))
        join = awaited_by(node, scope) if node.type in STEPS else None
        self._turn.activities.append(Activity(seq, node, kind, text, names, join))

    def set_timer(self, node: Node, scope: Scope, due: datetime, kind: str, other: int = 0) -> int:
        """Wait until ``due``."""
        seq = self.emit(ev.TIMER_SET, {"node": node.index, "due": due.isoformat()})
        self.wait(seq, Wait(kind, node, scope, other))
        self._turn.timers[seq] = due
        return seq

    def cancel_timer(self, seq: int) -> None:
        """Stop waiting for a timer, if it has not fired."""
        if seq in self.waits:
            self._forget(seq)
            self.emit(ev.TIMER_CANCELLED, {"of": seq})
            self._turn.dropped.append(seq)

    def await_instance(self, node: Node, scope: Scope, target: Payload, timeout: float | None) -> None:
        """Wait for the end of another instance: ``{"instance": id}``, or ``{"ref": ref}`` where a step gave the id."""
        seq = self.emit(ev.INSTANCE_AWAITED, {"node": node.index, **target})
        self.mark(node, scope, "r")
        timer = 0
        if timeout is not None:
            timer = self.set_timer(node, scope, after(self.now, timeout), "instance_timeout", seq)
        self.wait(seq, Wait("instance", node, scope, timer))
        self._turn.awaited[seq] = target

    def await_signal(self, node: Node, scope: Scope, name: str, timeout: float | None) -> None:
        """Wait for the next message of that name that nobody has consumed."""
        seq = self.emit(ev.SIGNAL_AWAITED, {"node": node.index, "name": name})
        self.mark(node, scope, "r")
        timer = 0
        if timeout is not None:
            timer = self.set_timer(node, scope, after(self.now, timeout), "signal_timeout", seq)
        wait = Wait("signal", node, scope, timer)
        self.wait(seq, wait)
        self.awaiting.setdefault(name, {})[seq] = wait

    def abandon(self, scope: Scope) -> None:
        """Nothing of this scope goes on: running steps are cancelled, timers and waits dropped, children too."""
        pending = [scope]
        while pending:
            closing = pending.pop()
            pending.extend(reversed(list(closing.children.values())))
            for seq in list(closing.waits):
                self._drop(seq)
            if closing is scope and scope.root.type == "LOOP" and scope.parent is not None:
                self.mark(scope.root, scope, "f", {"message": "Loop branch cancelled after losing RACE"})
            closing.live = False
        scope.close()

    def _drop(self, seq: int) -> None:
        wait = self.waits[seq]
        self._forget(seq)
        if wait.kind == "signal":
            waiting = self.awaiting.get(str(wait.node.config["signal_name"]), {})
            waiting.pop(seq, None)
            if not waiting:
                self.awaiting.pop(str(wait.node.config["signal_name"]), None)
            return
        kind = ev.ACTIVITY_CANCELLED if wait.kind == "activity" else ev.TIMER_CANCELLED
        if wait.kind != "instance":
            self.emit(kind, {"of": seq})
        self._turn.dropped.append(seq)

    def defer_race(self, node: Node, scope: Scope) -> None:
        """Decide this race when every node that is ready has advanced."""
        self._races.append((node, scope))

    def continue_as_new(self) -> None:
        """End this execution; the next one begins with its names and unconsumed signals."""
        self._continuing = True

    def yield_turn(self) -> bool:
        """False when a loop has gone round often enough for one turn."""
        self._iterations += 1
        return self._iterations < ITERATIONS_PER_TURN
