"""Virtual time, actors that run one at a time, and a scheduler that chooses by a seed what happens next.

The code under test is the worker itself (dispatcher, slots, keeper). Each of its threads is an actor, a greenlet here:
it runs until it asks the server something, sleeps or waits, and goes on when the scheduler says so. Between a message
and its answer anything may happen: others' messages, time, the loss of the message or of the answer, the end of the
process; a message whose sender was told that it is lost may still arrive, much later.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from greenlet import getcurrent, greenlet

from simulation.store import Store
from simulation.tables import Refused


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


class Event:
    """A ``threading.Event`` in virtual time."""

    __slots__ = ("flag",)

    def __init__(self) -> None:
        self.flag = False

    def set(self) -> None:
        self.flag = True

    def clear(self) -> None:
        self.flag = False

    def is_set(self) -> bool:
        return self.flag

    def wait(self, timeout: float | None = None) -> bool:
        if not self.flag:
            current().world.sleep(1e9 if timeout is None else timeout, self)
        return self.flag


NEVER = Event()


class Actor:
    """A thread of a worker. It and the scheduler never run at the same time.

    Something may happen to it (its message arrives, or it goes on) from the time ``until`` or from ``event`` on.
    """

    __slots__ = ("_greenlet", "ask", "body", "crash", "event", "killed", "name", "over", "process", "until", "world")

    def __init__(self, world: World, process: Any, name: str, body: Callable[[], None]) -> None:
        self.world, self.process, self.name, self.body = world, process, name, body
        self.ask: Ask | None = None
        self.until = 0.0
        self.event = NEVER
        self.killed = False
        self.over = False
        self.crash: BaseException | None = None
        self._greenlet = greenlet(self._run, world.scheduler)

    def resume(self) -> None:
        """Let it run until it asks, sleeps or ends."""
        global _running
        _running = self
        self._greenlet.switch()

    def _run(self) -> None:
        try:
            if not self.killed:
                self.body()
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001 - the schedule tells it
            self.crash = error
        self.over = True


_running: Actor | None = None


def current() -> Actor:
    """The actor that runs."""
    assert _running is not None
    return _running


class World:
    """What the actors of one schedule share: chance, a store, the time."""

    def __init__(self, random: Random, store: Store) -> None:
        self.random = random
        self.store = store
        self.now = 0.0
        self.scheduler = getcurrent()
        self.actors: list[Actor] = []
        self.late: list[Ask] = []
        self.tokens = 0
        self.started = 0
        self.answered = 0
        self.trace: list[str] | None = None

    def note(self, *words: Any) -> None:
        """Remember what happened, if anybody wants to know."""
        if self.trace is not None:
            self.trace.append(f"{self.now:8.3f} " + " ".join(map(str, words)))

    def add(self, process: Any, name: str, body: Callable[[], None]) -> Actor:
        """A new actor, which begins when the scheduler lets it."""
        actor = Actor(self, process, name, body)
        self.actors.append(actor)
        return actor

    # -- called by actors ------------------------------------------------------------------------------------------

    def call(self, what: Callable[[], Any]) -> Any:
        """Ask the server. Raises what it refused with, or what the scheduler made of the connection; Killed."""
        actor = current()
        if actor.killed:
            raise Killed
        actor.ask = ask = Ask(what)
        self.scheduler.switch()
        if actor.killed:
            raise Killed
        actor.ask = None
        if ask.error is not None:
            raise ask.error
        return ask.answer

    def sleep(self, seconds: float, event: Event = NEVER) -> None:
        """Wait for the time or the event. Raises Killed."""
        actor = current()
        if actor.killed:
            raise Killed
        actor.until, actor.event = self.now + seconds, event
        self.scheduler.switch()
        if actor.killed:
            raise Killed
        actor.until, actor.event = 0.0, NEVER

    def end(self, actors: list[Actor]) -> None:
        """These actors are gone: not one more message of theirs is sent."""
        for actor in actors:
            actor.killed = True
        for actor in actors:
            if not actor.over:
                actor.resume()
        self.actors = [actor for actor in self.actors if not actor.killed]
