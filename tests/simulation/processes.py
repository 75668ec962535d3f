"""The real worker on the model: its own dispatcher, slots and keeper, with the connections replaced."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import psycopg

from perdure import alarms, backlog, fanout, instances, keeper, plan, registry, steps, turns, work, worker
from perdure.activities.failures import Failure
from perdure.activities.statements import StatementError
from perdure.eventstore import engine
from perdure.eventstore.engine import Engine
from perdure.eventstore.errors import NotRegistered
from perdure.keeper import Keeper, Signals
from perdure.settings import Settings
from perdure.steps import Steps
from perdure.turns import Turns
from perdure.work import Lease
from perdure.worker import Worker
from simulation.promises import parsed
from simulation.store import Store
from simulation.tables import LEASE, Refused
from simulation.world import Actor, Event, World, current

SLOTS = 2
SETTINGS = Settings(dsn="", slots=SLOTS, http_slots=0, lease_seconds=LEASE, poll_seconds=1.0)


class VirtualTime:
    """What the worker knows as the module ``time``."""

    @staticmethod
    def monotonic() -> float:
        """The world's time. It is not any server's clock."""
        return current().world.now + 1000.0

    @staticmethod
    def sleep(seconds: float) -> None:
        """Let others go on."""
        current().world.sleep(seconds)


class VirtualThreading:
    """What the worker knows as the module ``threading``: actors for threads."""

    Event = Event
    Lock = threading.Lock  # nobody keeps one while others run
    current_thread = staticmethod(current)


class VirtualRandom:
    """What the worker knows as the module ``random``."""

    @staticmethod
    def random() -> float:
        """Follows from the schedule's seed."""
        return current().world.random.random()


def _token() -> str:
    world = current().world
    world.tokens += 1
    return f"token-{world.tokens}"


def _signals() -> Signals:
    return Signals(Event(), Event(), Event(), Event())  # type: ignore[arg-type]


_REAL: list[tuple[Any, str, Any]] = []


def install() -> None:
    """Replace time, chance and tokens in the worker's modules by the actor's own; ``uninstall`` undoes it."""
    if _REAL:
        return
    replaced: list[tuple[Any, str, Any]]
    replaced = [(module, "time", VirtualTime) for module in (steps, work, fanout, alarms, backlog, worker, keeper)]
    replaced += [(module, "threading", VirtualThreading) for module in (worker, registry)]
    replaced += [(worker, "Signals", _signals), (worker, "_release", lambda: "simulated"), (instances, "parse", parsed)]
    replaced += [(module, "random", VirtualRandom) for module in (steps, worker)]
    replaced += [(module, "new_token", _token) for module in (steps, turns, plan, engine)]
    for module, name, virtual in replaced:
        _REAL.append((module, name, getattr(module, name, None)))
        setattr(module, name, virtual)
    logger = logging.getLogger("perdure")
    _REAL.append((logger, "propagate", logger.propagate))
    _REAL.append((logger, "level", logger.level))
    logger.setLevel(logging.CRITICAL)
    logger.propagate = False


def uninstall() -> None:
    """The worker's modules are as they were: other tests of the same process use them."""
    while _REAL:
        module, name, real = _REAL.pop()
        setattr(module, name, real)
    logging.getLogger("perdure").setLevel(logging.getLogger("perdure").level)  # forgets what it had cached


class Queue:
    """A ``SimpleQueue`` in virtual time."""

    def __init__(self) -> None:
        self._items: list[Lease | None] = []
        self._filled = Event()

    def put(self, item: Lease | None) -> None:
        self._items.append(item)
        self._filled.set()

    def get(self) -> Lease | None:
        while not self._items:
            self._filled.clear()
            self._filled.wait()
        return self._items.pop(0)

    def qsize(self) -> int:
        return len(self._items)


class Link:
    """A control connection of which only the keeper keeps one."""

    closed = False

    def close(self) -> None:
        self.closed = True


class Watch:
    """Time-outs are the world's business."""

    _unlimited = contextlib.nullcontext()

    def limit(self, _connection: Any, _seconds: float) -> contextlib.AbstractContextManager[None]:
        return self._unlimited

    def cut_all(self) -> int:
        return 0


class Connections:
    """As much of it as the keeper looks at."""

    watch = Watch()
    pooled = False


class SimEngine(Engine):
    """The real calls, answered by the model."""

    def __init__(self, world: World) -> None:
        super().__init__(Connections())  # type: ignore[arg-type]
        self._world = world

    def call(self, name: str, *arguments: Any, connection: Any = None) -> list[Any]:
        function: Callable[..., list[Any]] = getattr(self._world.store, name)
        if self._world.trace is not None:
            self._world.note(current().name, name, *_told(name, arguments))
        try:
            found: list[Any] = self._world.call(partial(function, *arguments))
            return found
        except Refused as refused:
            raise _translated(refused) from None


def _told(name: str, arguments: tuple[Any, ...]) -> list[str]:
    """What the trace says of a call: nothing that another run of the same seed would say otherwise."""
    if name in ("register", "release", "postpone"):
        return []
    return [str(argument)[:60] for argument in arguments[2:6]]


def _translated(refused: Refused) -> Exception:
    if refused.code == "DF010":
        return NotRegistered("gone")
    if refused.code == "55P03":
        return psycopg.errors.LockNotAvailable("locked")
    error = psycopg.errors.lookup(refused.code) if not refused.code.startswith("DF") else psycopg.errors.RaiseException
    return error(refused.code)


class Statement(StatementError):
    """What the model's server says to a step's statement."""

    def __init__(self, code: str, transient: bool = False, needs: bool = False) -> None:
        self.fill(Failure(code, sqlstate=code, transient=transient), None, None)
        self.locked = code == "55P03"
        self._needs = needs

    def needs_autocommit(self, _statement: str) -> bool:
        return self._needs


_KEY = re.compile(r"key:(\S+?)'")


class Session:
    """A step session. ``effects`` is what its open transaction has done."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._store: Store = world.store
        self.key = ("home", 10)
        self.spoiled = False
        self.lost = False
        self.cancelled = False
        self.effects: list[str] | None = None

    @property
    def usable(self) -> bool:
        return not self.spoiled and not self.lost

    def _call(self, what: Callable[[], Any]) -> Any:
        if self.lost:
            raise psycopg.OperationalError("lost")

        def done() -> Any:
            if self.cancelled:
                self.cancelled = False
                raise Refused("57014")
            return what()

        try:
            return self._world.call(done)
        except Refused as refused:
            raise Statement(refused.code, transient=refused.code in ("40001", "55P03", "57014")) from None
        except psycopg.OperationalError:
            self.lost = True
            raise

    def _run(self, statement: str) -> tuple[list[str], str]:
        """What a statement does, and its result. ``flaky`` and ``coin`` are chance; a VACUUM refuses transactions."""
        random = self._world.random
        if "flaky" in statement and random.random() < 0.3:
            raise Refused("40001")
        if "broken" in statement:
            raise Refused("22012")
        truth = "true" if "coin" in statement and random.random() < 0.4 else "false"
        return _KEY.findall(statement), f'{{"rows":[{{"v":{truth}}}],"row_count":1}}'

    def run_and_finish(self, statement: str, arguments: tuple[Any, ...]) -> list[str]:
        """Form (b): one message."""
        self._world.note(current().name, "run_step", statement[:60])
        completion = arguments
        if not self._store.on("finish: the completion is in the step's commit"):
            self._call(lambda: self._apart(statement, arguments[1]))
            statement = "nothing"
        outcome, head, clock = self._call(lambda: self._finish(self._run(statement)[0], None, completion))
        return [outcome, str(head), clock.isoformat()]

    def _apart(self, statement: str, instance_id: str) -> tuple[list[str], str]:
        effects, raw = self._run(statement)
        self._store.take_effect(effects, instance_id)
        return effects, raw

    def _finish(self, effects: list[str], result: str | None, arguments: tuple[Any, ...]) -> Any:
        bucket, instance_id, seq, token, completed, *decided = arguments
        return self._store.finish(effects, bucket, instance_id, seq, token, result, completed, *decided)

    def begin_and_run(self, statement: str, _limit: int) -> tuple[str, str]:
        """Form (a): the transaction stays open."""
        self._world.note(current().name, "begin", statement[:60])
        if "VACUUM" in statement:
            self._call(lambda: None)
            raise Statement("25001", needs=True)
        effects, raw = self._call(lambda: self._run(statement))
        self.effects = effects
        return "1", raw

    def finish(self, _xid: str, arguments: tuple[Any, ...]) -> list[str]:
        """Form (a): the completion and COMMIT."""
        effects, self.effects = self.effects or [], None
        bucket, instance_id, seq, token, result, *rest = arguments
        self._world.note(current().name, "finish", instance_id, seq)
        apart = not self._store.on("finish: the completion is in the step's commit")
        if apart:
            self._call(lambda: self._store.take_effect(effects, instance_id))
        given = (bucket, instance_id, seq, token, *rest)
        outcome, head, clock = self._call(lambda: self._finish([] if apart else effects, result, given))
        return [outcome, str(head), clock.isoformat()]

    def run_outside(self, statement: str, _limit: int) -> str:
        """In autocommit: the effect is there at once."""
        self._world.note(current().name, "outside", statement[:60])
        _, raw = self._call(lambda: (self._run(statement)[0], '{"rows":[],"row_count":0}'))
        return str(raw)

    def rollback(self) -> None:
        self.effects = None

    def clean(self) -> None:
        """The model's sessions are always clean."""

    def cancel(self) -> None:
        self.spoiled = True
        self.cancelled = True


class Sessions:
    """Lends sessions."""

    home = "home"

    def __init__(self, world: World) -> None:
        self._world = world
        self._free: list[Session] = []

    def blocked(self) -> list[int]:
        return []

    def borrow(self, _owner: int, _role: str, _database: str | None) -> Session:
        while self._free:
            session = self._free.pop()
            if session.usable:
                return session
        return Session(self._world)

    def give(self, session: Session) -> None:
        if session.usable:
            self._free.append(session)

    def prune(self) -> None:
        """Nothing grows old here."""


class Forgetful(Steps):
    """Steps of a worker that keeps what it remembered after an error (a rule switched off)."""

    def _forget(self, lease: Lease) -> None:
        if lease.entry is not None:
            self._instances.put(lease.entry)


class Process:
    """A worker process: its actors, and whether it is frozen."""

    def __init__(self, world: World, number: int) -> None:
        self.world, self.number = world, number
        world.started += 1
        self.frozen_until = 0.0
        self.worker = self._worker()
        self.actors: list[Actor] = [world.add(self, f"w{number}-main", self._main)]

    def _worker(self) -> Worker:
        made = Worker(SETTINGS)
        made.engine = SimEngine(self.world)
        made.turns = Turns(made.engine, made.instances, made.registry, made.fanouts, made._may_keep, made.alarms.set)
        made.backlog.sql = Queue()  # type: ignore[assignment]
        made.sessions = Sessions(self.world)  # type: ignore[assignment]
        kind = Steps if self.world.store.on("cache: forgotten after an error") else Forgetful
        parts = (made.engine, made.instances, made.sessions, made.turns, None, made.registry, made.fanouts)
        made.steps = kind(*parts, made.backlog.put, made.alarms.set)  # type: ignore[arg-type]
        made.steps.retry_total_seconds = 3600.0
        return made

    def _main(self) -> None:
        while True:
            try:
                self.worker._register()
                break
            except psycopg.Error:
                VirtualTime.sleep(0.1)
        for slot in range(SLOTS):
            self._also(f"slot-{slot} w{self.number}", lambda: self.worker._slot(False))
        self._also(f"w{self.number}-keeper", self._keep)
        self.worker._dispatch()

    def _also(self, name: str, body: Callable[[], None]) -> None:
        self.actors.append(self.world.add(self, name, body))

    def _keep(self) -> None:
        made = self.worker
        kept = Keeper(SETTINGS, made.engine, made.registry, made.sessions, made.backlog, made.signals)
        kept._connect = Link  # type: ignore[method-assign,assignment]
        kept.run()

    def kill(self) -> None:
        """The process is gone; its messages on the way are the scheduler's business."""
        self.world.end(self.actors)
