"""Taking turns: bring folds up to date, decide, commit many together, and keep what goes on in this worker."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psycopg

from perdure.eventstore import codec
from perdure.eventstore.engine import Answer, Claimed, Engine, Loaded, new_token, token_hash
from perdure.instances import Entry, Instances
from perdure.orchestrator.execution import Activity, Execution, Turn
from perdure.registry import Registry

log = logging.getLogger("perdure")

ROUNDS = 20
LOCKED_ROUNDS = 2


@dataclass(slots=True)
class Lease:
    """A step that this worker may run: the right to it, what to run, and the fold when it is at hand."""

    bucket: int
    instance_id: str
    execution_id: int
    seq: int
    token: str
    owner: int
    owner_name: str
    database: str | None
    kind: str
    text: str
    names: dict[str, Any]
    label: str | None
    variables: Any
    attempt: int = 1
    autocommit: bool = False
    failing_for: float | None = None
    overdue: bool = False
    capped: bool = False
    entry: Entry | None = None
    taken_at: float = 0.0

    def failing(self) -> float:
        """Seconds since the first failed attempt: the server's clock up to the claim, then how long it has taken."""
        return 0.0 if self.failing_for is None else self.failing_for + time.monotonic() - self.taken_at


@dataclass(slots=True)
class Pending:
    """A turn that this worker holds the token of."""

    bucket: int
    instance_id: str
    token: str
    owner: int
    capped: bool = False
    entry: Entry | None = None
    now: datetime | None = None
    claimed: Claimed | None = None
    message: dict[str, Any] = field(default_factory=dict)
    following: Activity | None = None
    following_token: str = ""
    timers: list[datetime] = field(default_factory=list)
    locked: int = 0


class Turns:
    """Takes turns for a worker.

    ``eager`` says whether a step may be kept by the worker that decided it; ``alarm`` is told in how many seconds a
    timer that was set will be due.
    """

    def __init__(
        self,
        engine: Engine,
        instances: Instances,
        registry: Registry,
        eager: Callable[[], bool],
        alarm: Callable[[float], None],
    ) -> None:
        self._engine = engine
        self._registry = registry
        self._alarm = alarm
        self._instances = instances
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
        activities = decision.activities
        turn.following = None
        if len(activities) == 1 and not turn.capped and lane_of(activities[0].kind) == "sql" and self._eager():
            turn.following = activities[0]
            turn.following_token = new_token()
            message["one_seq"] = activities[0].seq
            message["one_lane"] = lane_of(activities[0].kind)
            message["one_kind"] = activities[0].kind
            message["one_input"] = activity_input(activities[0])
            message["one_token"] = turn.following_token
        elif activities:
            message["activities"] = [
                {"seq": a.seq, "lane": lane_of(a.kind), "kind": a.kind, "input": activity_input(a)} for a in activities
            ]
        turn.timers = list(decision.timers.values())
        message["timers"] = [{"seq": seq, "due": due.isoformat()} for seq, due in decision.timers.items()]
        message["waits"] = [
            {"seq": seq, "target": target.get("instance"), "ref": target.get("ref")}
            for seq, target in decision.awaited.items()
        ]

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
                if turn.following is not None:
                    leases.append(self._lease(turn, turn.following))
                else:
                    self._instances.put(entry)
            elif answer.outcome in ("conflict", "busy"):
                turn.entry, turn.now, turn.following, turn.timers = None, None, None, []
                turn.locked += answer.outcome == "busy"
                again.append(turn)
        return again

    def _lease(self, turn: Pending, activity: Activity) -> Lease:
        entry = turn.entry
        assert entry is not None
        return Lease(
            bucket=turn.bucket,
            instance_id=turn.instance_id,
            execution_id=entry.execution.execution_id,
            seq=activity.seq,
            token=turn.following_token,
            owner=turn.owner,
            owner_name=entry.owner_name,
            database=entry.database,
            kind=activity.kind,
            text=activity.text,
            names=activity.names,
            label=entry.label,
            variables=entry.variables,
            entry=entry,
        )


def _known(turn: Pending) -> tuple[str, int, int]:
    """An instance, and how far its history is known here."""
    known = turn.entry.execution if turn.entry is not None else None
    return (turn.instance_id, known.execution_id, known.head) if known else (turn.instance_id, 0, 0)


def _storable(text: str) -> str:
    """Text that the server can hold, whatever stood in the history."""
    return text[:4000].replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def lane_of(kind: str) -> str:
    """Which slots run this kind of activity."""
    return "http" if kind.startswith("http") else "sql"


def activity_input(activity: Activity) -> str:
    """What any worker needs to run the step without folding the instance."""
    return codec.encode({"query": activity.text, "names": activity.names})


def encoded(events: list[tuple[str, dict[str, Any]]]) -> tuple[list[str], list[str]]:
    """The kinds of events, and their payloads as JSON text."""
    return [kind for kind, _ in events], [codec.encode(data) for _, data in events]


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
