"""The worker: claims work, takes turns, runs steps, beats, and stops when it is told to.

::

    dispatcher   claim -> turns (a batch, one commit) -> steps to the slots
    slots        a step, and the chain of steps that follows from it
    keeper       beats, takes over from the dead, compares leases        never waits for a step
    listener     wakes the dispatcher                                    only a hint
"""

from __future__ import annotations

import logging
import os
import random
import signal
import threading
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psycopg

from perdure import logs, secrets
from perdure.activities.http import HttpClient
from perdure.alarms import Alarms
from perdure.backlog import Backlog
from perdure.eventstore import codec
from perdure.eventstore.connections import Connections
from perdure.eventstore.engine import Claimed, Engine, new_token
from perdure.eventstore.errors import NotRegistered
from perdure.fairness import Others
from perdure.fanout import Fanouts
from perdure.httpsteps import HttpSteps
from perdure.instances import Instances
from perdure.keeper import Keeper, Signals
from perdure.listener import Listener
from perdure.marks import Marks
from perdure.orchestrator.execution import INTERPRETER
from perdure.pace import Pace
from perdure.registry import Registry
from perdure.sessions import Sessions
from perdure.settings import Settings
from perdure.steps import Steps
from perdure.turns import Turns
from perdure.work import Lease, lease_of, pending_of, spread

log = logging.getLogger("perdure")

TURNS_PER_CLAIM = 32
LEAST_TURNS = 2
BUSY_CLAIM_SECONDS = 0.1
DRAIN_SECONDS = 30.0
REST = 0.5
SETTINGS_SECONDS = 5.0
IDLE_TIMES, IDLE_SECONDS = 20.0, 10.0


class Worker:
    """One worker process. ``run`` returns when it was asked to stop and has finished what it held."""

    def __init__(self, settings: Settings, http: HttpClient | None = None, keys: tuple[str, ...] = ()) -> None:
        self.settings = settings
        self.keys = keys
        self.signals = Signals()
        self.stopping, self.wakeup = self.signals.stopping, self.signals.wakeup
        most = settings.slots + min(settings.http_slots, 8) + 3
        self.connections = Connections(settings.dsn, most, settings.pooled)
        self.engine = Engine(self.connections)
        self.instances = Instances(lambda: self.connections.generation)
        self.registry = Registry()
        self.fanouts = Fanouts(self.registry)
        self.alarms = Alarms()
        self.turns = Turns(self.engine, self.instances, self.registry, self.fanouts, self._may_keep, self.alarms.set)
        self.backlog = Backlog(settings.slots, settings.http_slots)
        self._prune_seconds = 60.0
        self._capped = False
        self.marks = Marks()
        self._others = Others()
        self._shared = False
        self._idling = Pace(IDLE_TIMES, IDLE_SECONDS)
        self.http = http

    # -- life ---------------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Serve until asked to stop."""
        self._hello()
        keeper = Keeper(self.settings, self.engine, self.registry, self.sessions, self.backlog, self.signals)
        listener = Listener(self.settings, self.connections, self.signals)
        threads = [threading.Thread(target=keeper.run, name="keeper", daemon=True)]
        threads += [threading.Thread(target=listener.run, name="listener", daemon=True)]
        threads += [threading.Thread(target=self._clean_up, name="caretaker", daemon=True)]
        slots = [
            threading.Thread(target=self._slot, args=(False,), name=f"slot-{n}", daemon=True)
            for n in range(self.settings.slots)
        ]
        slots += [
            threading.Thread(target=self._slot, args=(True,), name=f"http-{n}", daemon=True)
            for n in range(self.settings.http_slots)
        ]
        for thread in threads + slots:
            thread.start()
        log.info("worker started", extra={"worker_id": self.engine.identity.worker_id, "slots": self.settings.slots})
        self._dispatch()
        self._drain(slots)
        return 0

    def _hello(self) -> None:
        """Registers; a server that is not there yet, or goes away again, is waited for."""
        while True:
            try:
                self._greet()
                return
            except psycopg.OperationalError as error:
                log.warning("the database does not answer; trying again", extra={"reason": str(error).strip()})
                if self.stopping.wait(1.0):
                    raise

    def _greet(self) -> None:
        hello = self.engine.hello()
        info = psycopg.conninfo.conninfo_to_dict(self.settings.dsn)
        with self.connections.borrow() as connection:
            home = connection.info.dbname or str(info.get("dbname"))
            login = connection.info.user
        self._shared = bool(hello["service"]) and self.settings.only_role is None
        if not self.settings.role_dsn and not hello["service"]:
            log.info("serving the workflows of one role", extra={"role": login})
        self.sessions = Sessions(self.settings, self.engine, home)
        self.steps = Steps(
            self.engine,
            self.instances,
            self.sessions,
            self.turns,
            HttpSteps(self.engine, self.http, self.keys),
            self.registry,
            self.fanouts,
            self.backlog.put,
            self.alarms.set,
        )
        self.steps.stopping = self.stopping
        self.steps.steps_aside = self.backlog.steps_aside
        self._obey(hello)
        self._register()

    def _obey(self, hello: dict[str, Any]) -> None:
        """The settings of the database that workers follow; changes act within seconds."""
        self.steps.max_result_bytes = int(hello["max_result_bytes"])
        self.steps.retry_total_seconds = float(hello["retry_total_seconds"])
        self._prune_seconds = float(hello["reconcile_interval"])
        # Where steps are counted over all workers, a claim may leave some without saying so: no mark is right.
        self._capped = int(hello["max_user_connections"]) > 0

    def _register(self) -> None:
        settings = self.settings
        self.engine.register(_release(), INTERPRETER, settings.slots, settings.lease_seconds, settings.only_role)

    def stop(self) -> None:
        """Ask the worker to finish what it holds and end."""
        self.stopping.set()
        self.wakeup.set()

    def _drain(self, slots: list[threading.Thread]) -> None:
        log.info("stopping: finishing what is under way")
        for _ in range(self.settings.slots):
            self.backlog.sql.put(None)
        for _ in range(self.settings.http_slots):
            self.backlog.http.put(None)
        until = time.monotonic() + DRAIN_SECONDS
        for thread in slots:
            thread.join(max(0.0, until - time.monotonic()))
        try:
            self.engine.mine("deregister")
        except (psycopg.Error, NotRegistered):
            log.warning("could not deregister; the leases lapse by themselves")
        self.registry.stop_all()
        self.sessions.close()
        self.connections.close()
        log.info("worker stopped")

    # -- slots --------------------------------------------------------------------------------------------------------

    def _may_keep(self, count: int) -> int:
        """How many of the steps that a turn has just decided stay here: slots are free for them, or soon will be."""
        if self.stopping.is_set():
            return 0
        if threading.current_thread().name.startswith(("slot-", "http-")):
            return 1 + min(count - 1, self.backlog.room())  # the slot itself goes on with one
        return self.backlog.keep(count)

    def _slot(self, http: bool) -> None:
        backlog = self.backlog.http if http else self.backlog.sql
        while (lease := backlog.get()) is not None:
            if not self.backlog.begin(lease, http):
                self._take_over(self.steps.leave(lease))
                continue
            began = time.monotonic()
            try:
                self.steps.run(lease)
            except Exception as error:
                known = isinstance(error, (psycopg.Error, NotRegistered))
                log.error(
                    "a step's outcome could not be written; its lease goes back to the queue",
                    extra={"instance_id": lease.instance_id, "reason": str(error).strip()},
                    exc_info=not known,
                )
                if not known:
                    time.sleep(0.05)
            finally:
                self.backlog.end(lease, http, time.monotonic() - began)
                self.wakeup.set()

    def _take_over(self, lease: Lease | None) -> None:
        if lease is not None:
            self.backlog.put(lease)

    # -- dispatcher ---------------------------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        idle = False
        claimed_at = 0.0
        while not self.stopping.is_set():
            self.wakeup.clear()
            try:
                if self._shared:
                    self._claim_for_others()
                if self.backlog.well_supplied() and time.monotonic() < claimed_at + BUSY_CLAIM_SECONDS:
                    self.wakeup.wait(BUSY_CLAIM_SECONDS)
                    continue
                claimed_at = time.monotonic()
                full = self.marks.until_full(claimed_at) <= 0
                claimed, wanted = self._claim(full)
                self._begin(claimed)
                if len(claimed) >= wanted > 0:
                    if idle and self._idling.until(time.monotonic()) <= 0:
                        self.engine.mine("idle", False)
                        idle = False
                    continue
                if claimed:
                    continue
                if not idle and self.backlog.free()[0] > 0:
                    idle = True
                    self._say_idle()
                    continue
                pause = self.settings.poll_seconds
                if not full:
                    pause = min(pause, self.marks.until_full(time.monotonic()))
                self.wakeup.wait(self.alarms.within(pause))
            except NotRegistered:
                self._start_over()
                idle = False
            except Exception as error:  # whatever a claim brings, the next one is made
                log.warning(
                    "claim failed; trying again",
                    extra={"reason": str(error).strip()},
                    exc_info=not isinstance(error, psycopg.Error),
                )
                self.stopping.wait(REST)

    def _say_idle(self) -> None:
        """Who leaves work from now on will notify; and when there is something to do again without that."""
        began = time.monotonic()
        due = self.engine.mine("idle", True)[0][0]
        self._idling.took(began, time.monotonic())
        if due is not None:
            self.alarms.set(due)

    def _claim(self, full: bool) -> tuple[list[Claimed], int]:
        steps, http = self.backlog.free()
        turns = max(LEAST_TURNS, min(TURNS_PER_CLAIM, self.backlog.room_for_turns()))
        asked = {lane: most for lane, most in (("turn", turns), ("sql", steps), ("http", http)) if most > 0}
        mark = 0 if full or self._capped else self.marks.lowest(asked)
        began = time.monotonic()
        self.signals.claiming.set()
        try:
            self.backlog.claim_begins()
            claimed = self.engine.claim(turns, steps, http, mark, full, self.sessions.blocked())
        finally:
            self.signals.claiming.clear()
        self.marks.claimed(began, time.monotonic(), full, asked, claimed)
        return claimed, turns

    def _claim_for_others(self) -> None:
        """Work of roles that hold less than their share of the slots, from behind those that hold more."""
        began = time.monotonic()
        left_out = self._others.left_out(self.backlog.held(), self.settings.slots, began)
        if not left_out:
            return
        self.signals.claiming.set()
        try:
            claimed = self.engine.claim(LEAST_TURNS, 1, 0, 0, False, [*self.sessions.blocked(), *left_out])
        finally:
            self.signals.claiming.clear()
        self._others.claimed(began, time.monotonic(), bool(claimed))
        self._begin(claimed)

    def _begin(self, claimed: list[Claimed]) -> None:
        turns = [pending_of(task) for task in claimed if task.seq == 0]
        for task in claimed:
            if task.seq != 0:
                self._submit_claimed(task)
        turns += self.fanouts.overdue()
        if turns:
            for lease in spread(self.turns.take(turns)):
                self.backlog.put(lease)

    def _submit_claimed(self, task: Claimed) -> None:
        try:
            lease = lease_of(task)
        except Exception:  # a role's own worker may have written anything
            log.exception("a step could not be read", extra={"instance_id": task.instance_id})
            failure = codec.encode({"message": "the worker could not read this step", "attempt": task.attempt})
            which = (task.bucket, task.instance_id, task.seq, task.token)
            self.engine.mine("fail", *which, failure, None, True, new_token())
            return
        self.fanouts.enter(lease)
        lease.entry = self.instances.at(lease.instance_id, task.head_execution, task.head_seq)
        self.backlog.put(lease)

    def _start_over(self) -> None:
        """Others took the work over: stop what runs, forget what was known, register anew."""
        log.warning("this worker was taken for dead; registering anew")
        self.registry.stop_all()
        self.backlog.clear()
        self.instances.clear()
        self.marks = Marks()  # the numbers begin anew where the database was restored
        try:
            self._register()
        except psycopg.Error as error:
            log.warning("cannot register", extra={"reason": str(error).strip()})
            self.stopping.wait(REST)

    # -- caretaker ----------------------------------------------------------------------------------------------------

    def _clean_up(self) -> None:
        """Retention, in small batches, and settings that have changed."""
        prune_at = time.monotonic() + random.uniform(0, min(self._prune_seconds, 60))
        while not self.stopping.wait(SETTINGS_SECONDS):
            try:
                self._obey(self.engine.hello())
                if self._prune_seconds <= 0 or time.monotonic() < prune_at:
                    continue
                while self.engine.mine("prune")[0][0] and not self.stopping.wait(0.05):
                    pass
                prune_at = time.monotonic() + self._prune_seconds
            except (psycopg.Error, NotRegistered) as error:
                log.warning("pruning failed; trying again later", extra={"reason": str(error).strip()})


def _release() -> str:
    try:
        return version("perdure")
    except PackageNotFoundError:
        return "0"


def run(settings: Settings) -> int:
    """Run a worker until SIGTERM or Ctrl-C; a second one ends it at once."""
    logs.to_stderr(settings.log_level)
    try:
        worker = Worker(settings, keys=secrets.keys_from(os.environ))
    except secrets.SecretError as error:
        log.error("cannot start", extra={"reason": str(error)})
        return 1

    def stop(_number: int, _frame: object) -> None:
        if worker.stopping.is_set():
            raise SystemExit(130)
        worker.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    return worker.run()
