"""Taking turns: bring folds up to date, decide, commit many together, and keep what goes on in this worker."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import psycopg

from perdure.activities.sql import EMPTY
from perdure.eventstore import codec
from perdure.eventstore.engine import Answer, Engine, Loaded, new_token, token_hash
from perdure.fanout import Fanouts
from perdure.instances import Entry, Instances
from perdure.orchestrator.execution import Execution
from perdure.orchestrator.turn import Turn
from perdure.registry import Registry
from perdure.work import Following, Lease, Pending, activity_input, encoded, lane_of

log = logging.getLogger("perdure")

ROUNDS = 20
LOCKED_ROUNDS = 2


class Turns:
    """Takes turns for a worker.

    ``eager`` says how many of so many steps may be kept by the worker that decided them; ``alarm`` is told in how many
    seconds a timer that was set will be due. Steps that are kept have entered ``fanouts``.
    """

    def __init__(
        self,
        engine: Engine,
        instances: Instances,
        registry: Registry,
        fanouts: Fanouts,
        eager: Callable[[int], int],
        alarm: Callable[[float], None],
    ) -> None:
        self._engine = engine
        self._registry = registry
        self._alarm = alarm
        self._instances = instances
        self._fanouts = fanouts
        self._eager = eager

    def take(self, pending: list[Pending]) -> list[Lease]:
        """Take these turns to their end (done, lost or parked); the steps that came of them and stay here."""
        with self._registry.holding([turn.token for turn in pending]):
            return self._take(pending)

    def _take(self, pending: list[Pending]) -> list[Lease]:
        leases: list[Lease] = []
        locked: list[Pending] = []
        for _ in range(ROUNDS):
            if not pending:
                break
            ready = self._load(pending)
            decided = [turn for turn in ready if self._decide(turn)]
            pending = self._commit(decided, leases)
            locked += [turn for turn in pending if turn.locked >= LOCKED_ROUNDS]
            pending = [turn for turn in pending if turn.locked < LOCKED_ROUNDS]
        self._put_back("release", pending)
        self._put_back("postpone", locked)
        return leases

    def _put_back(self, how: str, turns: list[Pending]) -> None:
        if turns:
            log.debug("turns put back", extra={"how": how, "instances": [turn.instance_id for turn in turns]})
            self._engine.mine(how, [token_hash(turn.token) for turn in turns])

    # -- reading ------------------------------------------------------------------------------------------------------

    def _load(self, pending: list[Pending]) -> list[Pending]:
        """Bring every fold to the head; entries that cannot be folded are parked."""
        for turn in pending:
            if turn.entry is None and turn.claimed is not None and turn.claimed.graph is not None:
                self._begin(turn)
            if turn.now is None and turn.facts:
                self._complete(turn)
        asked = [turn for turn in pending if turn.now is None]
        if not asked:
            return [turn for turn in pending if turn.entry is not None]
        loaded, born = self._asked(asked)
        ready = []
        for turn in pending:
            if turn.now is not None:
                if turn.entry is not None:
                    ready.append(turn)
                continue
            found = loaded.get(turn.instance_id)
            if found is None:
                continue
            try:
                turn.entry = self._instances.updated(turn.entry, found, born)
                turn.now = found.clock
                ready.append(turn)
            except Exception as error:  # noqa: BLE001 - a role's own worker may have written anything
                self._park(turn, error)
        return ready

    def _complete(self, turn: Pending) -> None:
        """Bring the fold up to date with what this worker wrote itself, if nothing is missing."""
        facts = [turn.facts[seq] for seq in sorted(turn.facts)]
        turn.entry, turn.facts = self._instances.take(turn.instance_id), {}
        if turn.entry is None:
            return
        execution = turn.entry.execution
        if (facts[0].event.seq, facts[-1].event.seq) != (execution.head + 1, execution.head + len(facts)):
            return
        for fact in facts:
            execution.observe(fact.event)
            if fact.raw != EMPTY:
                turn.entry.keep(execution.execution_id, int(fact.event.data["of"]), fact.raw)
        turn.now = facts[-1].clock

    def _asked(self, turns: list[Pending]) -> tuple[dict[str, Loaded], int]:
        """What the history says beyond what is known here, by instance; and the generation in which that was asked.

        Where the database has gone back meanwhile, what was known may never have happened: nothing is known then.
        """
        for turn in turns:
            turn.entry = turn.entry or self._instances.take(turn.instance_id)
        born = self._instances.generation()
        loaded = self._engine.load([_known(turn) for turn in turns])
        if born != self._instances.generation():
            for turn in turns:
                turn.entry = None
            born = self._instances.generation()
            loaded = self._engine.load([_known(turn) for turn in turns])
        return loaded, born

    def _begin(self, turn: Pending) -> None:
        assert turn.claimed is not None
        try:
            turn.entry = self._instances.fresh(turn.claimed)
            turn.now = turn.claimed.clock
        except Exception as error:  # noqa: BLE001
            turn.now = turn.claimed.clock
            self._park(turn, error)
        turn.claimed = None

    def _park(self, turn: Pending, error: Exception) -> None:
        """Nobody of this release can go on with the instance: say why, keep everything, do not guess."""
        log.error("instance parked", extra={"instance_id": turn.instance_id, "reason": type(error).__name__})
        self._engine.mine("park", turn.bucket, turn.instance_id, _storable(f"{type(error).__name__}: {error}"))
        turn.entry = None

    # -- deciding -----------------------------------------------------------------------------------------------------

    def _decide(self, turn: Pending) -> bool:
        """Decide this turn; False when nothing is to be committed."""
        try:
            return self._decided(turn)
        except Exception as error:  # noqa: BLE001 - see above; the others of this batch go on
            self._park(turn, error)
            return False

    def _decided(self, turn: Pending) -> bool:
        entry = turn.entry
        assert entry is not None
        execution = entry.execution
        if execution.status != "running":
            return False
        head = execution.head
        decision = execution.take_turn(turn.now)
        message = turn_message(decision, head)
        if decision.next_started is not None:
            self._continue(turn, decision, message)
        elif decision.status == "running":
            self._add_work(turn, decision, message)
        turn.message = {
            "b": turn.bucket,
            "i": turn.instance_id,
            "t": turn.token,
            "x": execution.execution_id,
            **message,
        }
        return True

    def _continue(self, turn: Pending, decision: Turn, message: dict[str, Any]) -> None:
        """The next execution begins in the same commit, with its first turn where that leaves work."""
        assert turn.entry is not None and decision.next_started is not None
        old = turn.entry.execution
        started = decision.next_started
        following = Execution(old.graph, old.instance_id, old.execution_id + 1, started, old.variables)
        first = following.take_turn(turn.now)
        message["next"] = codec.encode(started)
        if first.status == "running":
            message["next_kinds"], message["next_payloads"] = encoded(first.events)
            self._add_work(turn, first, message)
            turn.entry.execution = following
        else:
            turn.entry.execution = Execution(old.graph, old.instance_id, old.execution_id + 1, started, old.variables)

    def _add_work(self, turn: Pending, decision: Turn, message: dict[str, Any]) -> None:
        turn.following = following = self._kept(turn, decision)
        if len(decision.activities) == 1 and following:
            ((activity, token),) = following
            message["one_seq"] = activity.seq
            message["one_lane"] = lane_of(activity.kind)
            message["one_kind"] = activity.kind
            message["one_input"] = activity_input(activity)
            message["one_token"] = token
        elif decision.activities:
            tokens = {f.activity.seq: f.token for f in following}
            message["activities"] = [
                {
                    "seq": a.seq,
                    "lane": lane_of(a.kind),
                    "kind": a.kind,
                    "input": activity_input(a),
                    "token": tokens.get(a.seq),
                }
                for a in decision.activities
            ]
        turn.timers = list(decision.timers.values())
        message["timers"] = [{"seq": seq, "due": due.isoformat()} for seq, due in decision.timers.items()]
        message["waits"] = [
            {"seq": seq, "target": target.get("instance"), "ref": target.get("ref")}
            for seq, target in decision.awaited.items()
        ]

    def _kept(self, turn: Pending, decision: Turn) -> list[Following]:
        """The steps that stay here."""
        steps = [a for a in decision.activities if lane_of(a.kind) == "sql"]
        if turn.capped or not steps:
            return []
        return [Following(a, new_token()) for a in steps[: self._eager(len(steps))]]

    # -- committing ---------------------------------------------------------------------------------------------------

    def _commit(self, decided: list[Pending], leases: list[Lease]) -> list[Pending]:
        """Commit; what has to be decided again comes back."""
        if not decided:
            return []
        again = []
        try:
            answers = self._engine.commit_turns([turn.message for turn in decided])
        except psycopg.errors.LockNotAvailable:
            answers = [Answer("busy", None, datetime.now(UTC))] * len(decided)
        for turn, answer in zip(decided, answers, strict=True):
            entry = turn.entry
            assert entry is not None
            if answer.outcome == "done":
                for due in turn.timers:
                    self._alarm((due - answer.clock).total_seconds())
                if len(turn.following) == 1:
                    leases.append(self._lease(turn, turn.following[0], entry))
                else:
                    leases += [self._lease(turn, following) for following in turn.following]
                    self._instances.put(entry)
            elif answer.outcome in ("conflict", "busy"):
                turn.entry, turn.now, turn.following, turn.timers = None, None, [], []
                turn.locked += answer.outcome == "busy"
                again.append(turn)
        return again

    def _lease(self, turn: Pending, following: Following, kept: Entry | None = None) -> Lease:
        activity, entry = following.activity, turn.entry
        assert entry is not None
        lease = Lease(
            bucket=turn.bucket,
            instance_id=turn.instance_id,
            execution_id=entry.execution.execution_id,
            seq=activity.seq,
            token=following.token,
            owner=turn.owner,
            owner_name=entry.owner_name,
            database=entry.database,
            kind=activity.kind,
            text=activity.text,
            names=activity.names,
            label=entry.label,
            variables=entry.variables,
            entry=kept,
            join=activity.join,
        )
        self._fanouts.enter(lease)
        return lease


def _known(turn: Pending) -> tuple[str, int, int]:
    """An instance, and how far its history is known here."""
    known = turn.entry.execution if turn.entry is not None else None
    return (turn.instance_id, known.execution_id, known.head) if known else (turn.instance_id, 0, 0)


def _storable(text: str) -> str:
    """Text that the server can hold, whatever stood in the history."""
    return text[:4000].replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def turn_message(decision: Turn, head: int) -> dict[str, Any]:
    """A decision as the type ``df_engine.turn`` takes it, work not included."""
    kinds, payloads = encoded(decision.events)
    return {
        "h": head,
        "kinds": kinds,
        "payloads": payloads,
        "waits": [],
        "dropped": decision.dropped,
        "status": decision.status,
    }
