"""Virtual time, threads that run one at a time, and a scheduler that chooses by a seed what happens next.

The code under test is the worker itself (dispatcher, slots, keeper). Each of its threads is an actor: it runs until it
asks the server something, sleeps or waits, and goes on when the scheduler says so. Between a message and its answer
anything may happen: others' messages, time, the loss of the message or of the answer, the end of the process; a message
whose sender was told that it is lost may still arrive, much later.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from random import Random
from typing import Any

from simulation.store import Refused, Store


class Killed(BaseException):
    """The process of this actor is gone."""


class Ask:
    """A message on its way to the server: what to do there, and what came of it."""

    __slots__ = ("answer", "done", "error", "what")

    def __init__(self, what: Callable[[], Any]) -> None:
        self.what = what
        self.done = False
        self.answer: Any = None
        self.error: BaseException | None = None

    def execute(self) -> None:
        """Let the server do it."""
        self.done = True
        try:
            self.answer = self.what()
        except Refused as refused:
            self.error = refused


class Actor:
    """A thread of a worker. It and the scheduler never run at the same time."""

    def __init__(self, world: World, process: Any, name: str, body: Callable[[], None]) -> None:
        self.world, self.process, self.name, self.body = world, process, name, body
        self.ask: Ask | None = None
        self.until: float | None = None
        self.event: Any = None
        self.killed = False
        self.over = False
        self.crash: BaseException | None = None
        self._go = threading.Lock()
        self._go.acquire()

    def ready(self) -> bool:
        """Whether the scheduler may let it go on."""
        if self.killed:
            return True
        if self.ask is not None:
            return self.ask.done
        if self.event is not None and self.event.flag:
            return True
        return self.until is None or self.until <= self.world.now

    def resume(self) -> None:
        """Let it run until it asks, sleeps or ends."""
        self._go.release()
        self.world.turn.acquire()

    def run(self) -> None:
        """The thread's work."""
        threading.current_thread().actor = self  # type: ignore[attr-defined]
        threading.current_thread().name = self.name
        self._go.acquire()
        try:
            if not self.killed:
                self.body()
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001 - the schedule tells it
            self.crash = error
        self.over = True
        self.world.turn.release()

    def pause(self) -> None:
        """Give the turn back to the scheduler. Raises Killed."""
        self.world.turn.release()
        self._go.acquire()
        if self.killed:
            raise Killed


def current() -> Actor:
    """The actor that runs."""
    return threading.current_thread().actor  # type: ignore[attr-defined,no-any-return]


class Pool:
    """Threads that are used again for the next schedule."""

    def __init__(self) -> None:
        self._free: list[_Runner] = []

    def run(self, actor: Actor) -> None:
        """Give an actor a thread."""
        runner = self._free.pop() if self._free else _Runner(self._free)
        runner.take(actor)


class _Runner:
    def __init__(self, free: list[_Runner]) -> None:
        self._work = threading.Semaphore(0)
        self._free = free
        self._actor: Actor | None = None
        threading.Thread(target=self._loop, daemon=True).start()

    def take(self, actor: Actor) -> None:
        self._actor = actor
        self._work.release()

    def _loop(self) -> None:
        while True:
            self._work.acquire()
            actor, self._actor = self._actor, None
            assert actor is not None
            actor.run()
            self._free.append(self)


POOL = Pool()


class World:
    """One schedule: a seed, a store, processes, and the faults that are left to happen."""

    def __init__(self, seed: int, store: Store) -> None:
        self.random = Random(seed)
        self.store = store
        self.now = 0.0
        self.turn = threading.Semaphore(0)
        self.actors: list[Actor] = []
        self.late: list[Ask] = []
        self.tokens = 0
        self.trace: list[str] | None = None

    def note(self, *words: Any) -> None:
        """Remember what happened, if anybody wants to know."""
        if self.trace is not None:
            self.trace.append(f"{self.now:8.3f} " + " ".join(map(str, words)))

    def add(self, process: Any, name: str, body: Callable[[], None]) -> Actor:
        """A new actor, which begins when the scheduler lets it."""
        actor = Actor(self, process, name, body)
        self.actors.append(actor)
        POOL.run(actor)
        return actor

    # -- called by actors ------------------------------------------------------------------------------------------

    def call(self, what: Callable[[], Any]) -> Any:
        """Ask the server. Raises what it refused with, or what the scheduler made of the connection."""
        actor = current()
        if actor.killed:
            raise Killed
        actor.ask = ask = Ask(what)
        actor.pause()
        actor.ask = None
        if ask.error is not None:
            raise ask.error
        return ask.answer

    def sleep(self, seconds: float, event: Any = None) -> None:
        """Wait for the time or the event."""
        actor = current()
        if actor.killed:
            raise Killed
        actor.until, actor.event = self.now + seconds, event
        actor.pause()
        actor.until = actor.event = None

    def end_all(self) -> None:
        """End every actor that is left, so that its thread is free again."""
        for actor in self.actors:
            if not actor.over:
                actor.killed = True
                actor.resume()
