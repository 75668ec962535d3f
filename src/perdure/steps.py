"""Running steps: one lease at a time, and the chain of steps that follows from it in the same session."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg

from perdure.activities.failures import ActivityError, Failure
from perdure.activities.http import TransientAnswer
from perdure.activities.retry import next_delay
from perdure.activities.sql import EMPTY, StepSession
from perdure.activities.statements import StatementError, returns_no_rows
from perdure.eventstore import codec
from perdure.eventstore import events as ev
from perdure.eventstore.engine import Answer, Engine, new_token, token_hash
from perdure.eventstore.errors import NotRegistered
from perdure.eventstore.events import Event
from perdure.fanout import PATIENCE, Fanouts
from perdure.httpsteps import HttpSteps
from perdure.instances import Entry, Instances, resolve
from perdure.logs import first_words
from perdure.orchestrator.nodes.loop import break_value
from perdure.orchestrator.substitution import (
    SubstitutionError,
    bare_reference,
    render_raw,
    render_sql,
    value_query,
)
from perdure.plan import Plan
from perdure.refusals import Crowded, RoleBlocked, too_late
from perdure.registry import Registry, Running
from perdure.sessions import Sessions
from perdure.turns import Turns
from perdure.work import Fact, Lease, Pending

log = logging.getLogger("perdure")

BLOCKED_DELAY = 2.0
CROWDED_DELAY = 0.3
COMPLETE_TRIES = 5


class Steps:
    """Runs leases to their end. One instance serves all slots of a worker.

    ``submit`` takes a step that this worker holds and another of its slots is to run; ``alarm`` is told in how many
    seconds a turn that was kept is overdue.
    """

    def __init__(
        self,
        engine: Engine,
        instances: Instances,
        sessions: Sessions,
        turns: Turns,
        http: HttpSteps,
        registry: Registry,
        fanouts: Fanouts,
        submit: Callable[[Lease], None],
        alarm: Callable[[float], None],
    ) -> None:
        self._engine = engine
        self._instances = instances
        self._fanouts = fanouts
        self._submit = submit
        self._alarm = alarm
        self._sessions = sessions
        self._turns = turns
        self._http = http
        self._registry = registry
        self.stopping = threading.Event()
        self.steps_aside: Callable[[Lease], bool] = lambda _: False
        self.max_result_bytes = 64 << 20
        self.retry_total_seconds = 15.0

    def run(self, lease: Lease) -> None:
        """Run the step, and every step that follows from it here, until the chain leaves this worker."""
        following: Lease | None = lease
        while following is not None:
            current = following
            try:
                following = self._settled(current)
            except NotRegistered:
                log.warning(
                    "the worker's row is gone; the step's lease is over", extra={"instance_id": lease.instance_id}
                )
                following = None
            left = self.leave(current)
            following = following or left
            if following is not None and self.stopping.is_set():
                self._engine.mine("release", [token_hash(following.token)])
                self.leave(following)
                return
            if following is not None and self.steps_aside(following):
                self._submit(following)
                return

    def leave(self, lease: Lease) -> Lease | None:
        """The step is over for this worker, whatever became of it; the step that goes on here from what it leaves.

        Called once for each lease that was claimed or kept.
        """
        turn = self._fanouts.leave(lease)
        try:
            return self._taken(turn) if turn is not None else None
        except (psycopg.Error, NotRegistered) as error:
            log.warning("outcome unknown", extra={"instance_id": lease.instance_id, "reason": first_words(error)})
            return None  # the turn's lease is given back, or taken over

    def _taken(self, turn: Pending) -> Lease | None:
        """Take a turn; of the steps that stay here, one goes on in this slot."""
        leases = self._turns.take([turn])
        for other in leases[1:]:
            self._submit(other)
        return leases[0] if leases else None

    def _settled(self, current: Lease) -> Lease | None:
        """Run one step until it is known what became of it."""
        running = self._registry.begin(current.token)
        try:
            return self._one(current, running)
        except NotRegistered:
            raise
        except psycopg.errors.LockNotAvailable:
            self._postpone(current)
            return None
        except psycopg.Error as error:
            log.warning(
                "outcome unknown",
                extra={"instance_id": current.instance_id, "reason": first_words(error)},
                exc_info=log.isEnabledFor(logging.DEBUG),
            )
            return self._recover(current, error)
        except Exception as error:
            log.exception("a step could not be run", extra={"instance_id": current.instance_id})
            failure = Failure(f"the worker could not run this step: {type(error).__name__}", sqlstate="XX000")
            return self._failed(current, failure, running)
        finally:
            self._registry.end(running)

    def _one(self, lease: Lease, running: Running) -> Lease | None:
        try:
            if lease.overdue:
                raise ActivityError(Failure(too_late(self._engine.hello())))
            if lease.kind == "value":
                return self._value(lease)
            if self._held(lease):
                self._put_back(lease, BLOCKED_DELAY)
                return None
            if lease.kind.startswith("http"):
                return self._request(lease, running)
            return self._sql(lease, running)
        except TransientAnswer as error:
            if self._delay(lease, error.failure) is None and not running.cancelled.is_set():
                return self._complete(lease, error.result)
            return self._failed(lease, error.failure, running)
        except SubstitutionError as error:
            return self._failed(lease, Failure(str(error)), running)
        except ActivityError as error:
            if isinstance(error, StatementError) and error.locked:
                self._postpone(lease)
                return None
            return self._failed(lease, error.failure, running)
        except RoleBlocked:
            self._put_back(lease, BLOCKED_DELAY)
            return None
        except Crowded:
            self._put_back(lease, CROWDED_DELAY * (0.5 + random.random()))
            return None

    def _held(self, lease: Lease) -> bool:
        """Whether this step reaches outside the database and has to wait (`perdure fence`), asked as late as can be.

        A claim gives out no such step while they are held; this one may have been claimed before, or follow another.
        """
        outside = lease.kind.startswith("http") or lease.database not in (None, self._sessions.home)
        return outside and bool(self._engine.hello().get("hold_outbound"))

    # -- kinds ------------------------------------------------------------------------------------------------------

    def _inputs(self, lease: Lease) -> tuple[dict[str, str], dict[str, str]]:
        results = resolve(self._engine, lease.instance_id, lease.names, lease.entry) if lease.names else {}
        key = f"{lease.instance_id}-{lease.execution_id}-{lease.seq}"
        return {**lease.variables, "sys_step_key": key}, results

    def _value(self, lease: Lease) -> Lease | None:
        variables, results = self._inputs(lease)
        raw = break_value(render_raw(lease.text, variables, results))
        return self._complete(lease, raw)

    def _request(self, lease: Lease, running: Running) -> Lease | None:
        variables, results = self._inputs(lease)
        raw = self._http.perform(lease, variables, results, running.cancelled)
        return self._complete(lease, raw)

    def _sql(self, lease: Lease, running: Running) -> Lease | None:
        variables, results = self._inputs(lease)
        if bare_reference(lease.text):
            statement = value_query(lease.text, variables, results)
        else:
            statement = render_sql(lease.text, variables, results)
        if "\x00" in statement:
            raise ActivityError(Failure("SQL execution failed: the statement holds a NUL character"))
        session = self._sessions.borrow(lease.owner, lease.owner_name, lease.database)
        try:
            if not running.use(session):
                return None
            return self._in_session(lease, session, statement)
        except (ActivityError, NotRegistered):
            raise
        except Exception:
            session.spoiled = True
            raise
        finally:
            running.use(None)
            self._sessions.give(session)

    def _in_session(self, lease: Lease, session: StepSession, statement: str) -> Lease | None:
        home = lease.database is None or lease.database == self._sessions.home
        if lease.autocommit or not home:
            return self._outside(lease, session, statement)
        if returns_no_rows(statement):
            plan = Plan(lease, EMPTY)
            return self._finished(plan, self._run_and_finish(session, statement, plan))
        try:
            xid, raw = session.begin_and_run(statement, self.max_result_bytes)
            plan = Plan(lease, raw)
            return self._finished(plan, Answer.read(session.finish(xid, plan.arguments(with_result=True))))
        except StatementError as error:
            if not error.needs_autocommit(statement):
                raise
        finally:
            session.rollback()
        if not self._engine.mine("autocommit", lease.bucket, lease.instance_id, lease.seq, lease.token)[0][0]:
            return None
        self._forget(lease)
        return self._outside(lease, session, statement)

    def _run_and_finish(self, session: StepSession, statement: str, plan: Plan) -> Answer:
        arguments = plan.arguments(with_result=False)
        try:
            return Answer.read(session.run_and_finish(statement, arguments))
        except StatementError as error:
            if not error.unclean:
                raise
            session.clean()
            return Answer.read(session.run_and_finish(statement, arguments))

    def _outside(self, lease: Lease, session: StepSession, statement: str) -> Lease | None:
        """Autocommit, or another database: at least once, the completion in a commit of its own."""
        if session.key[0] == self._sessions.home:
            raw = session.run_outside(statement, self.max_result_bytes)
        else:
            raw = session.run_elsewhere(statement, self.max_result_bytes)
        return self._complete(lease, raw)

    # -- outcomes ---------------------------------------------------------------------------------------------------

    def _complete(self, lease: Lease, raw: str) -> Lease | None:
        plan = Plan(lease, raw, decide=False)
        result, completed = None if raw == EMPTY else raw, codec.encode(plan.completed)
        which = (lease.bucket, lease.instance_id, lease.seq, lease.token)
        return self._finished(plan, self._completed(*which, result, completed, plan.turn_token))

    def _completed(self, *arguments: Any) -> Answer:
        """A completion by itself. What was done outside is not done again because of a lock that goes soon."""
        for _ in range(COMPLETE_TRIES - 1):
            with suppress(psycopg.errors.LockNotAvailable):
                return Answer(*self._engine.mine("complete", *arguments)[0])
        return Answer(*self._engine.mine("complete", *arguments)[0])

    def _finished(self, plan: Plan, answer: Answer) -> Lease | None:
        lease, entry = plan.lease, plan.lease.entry
        if answer.outcome == "done":
            assert entry is not None
            if plan.raw != EMPTY:
                entry.keep(lease.execution_id, lease.seq, plan.raw)
            if plan.following is None or not plan.following_token:
                self._instances.put(entry)
                return None
            return plan.next_lease()
        if plan.turn is not None:
            lease.entry = entry = None  # what was decided ahead did not happen
        elif entry is not None:
            entry = self._observed(lease, entry, plan, answer)
        elif answer.head is not None:
            fact = Fact(Event(answer.head, ev.ACTIVITY_COMPLETED, plan.completed), plan.raw, answer.clock)
            self._fanouts.success(lease, fact)
        if answer.outcome == "noted":
            if entry is not None:
                self._instances.put(entry)
            return None
        if entry is None and self._fanouts.keep(
            lease, Pending(lease.bucket, lease.instance_id, plan.turn_token, lease.owner, lease.capped)
        ):
            self._alarm(PATIENCE)
            return None
        return self._turn(lease, plan.turn_token, entry, answer)

    def _observed(self, lease: Lease, entry: Entry, plan: Plan, answer: Answer) -> Entry | None:
        execution = entry.execution
        if execution.execution_id != lease.execution_id or execution.head + 1 != answer.head:
            return None
        execution.observe(Event(execution.head + 1, ev.ACTIVITY_COMPLETED, plan.completed))
        if plan.raw != EMPTY:
            entry.keep(lease.execution_id, lease.seq, plan.raw)
        return entry

    def _turn(self, lease: Lease, token: str, entry: Entry | None, answer: Answer) -> Lease | None:
        """Take the turn that this step left behind; its only next step goes on here."""
        turn = Pending(lease.bucket, lease.instance_id, token, lease.owner, lease.capped, entry)
        if entry is not None:
            turn.now = answer.clock
        return self._taken(turn)

    def _failed(self, lease: Lease, failure: Failure, running: Running) -> Lease | None:
        """Write a failed attempt: again after a while when that can help and time is left, else the step has failed."""
        if running.cancelled.is_set():
            self._forget(lease)
            return None
        delay = self._delay(lease, failure)
        token = new_token()
        row = self._engine.mine(
            "fail",
            lease.bucket,
            lease.instance_id,
            lease.seq,
            lease.token,
            codec.encode(failure.as_payload(lease.attempt)),
            delay,
            True,
            token,
        )[0]
        answer = Answer(*row)
        self._forget(lease)
        if answer.outcome == "turn":
            return self._turn(lease, token, None, answer)
        return None

    def _delay(self, lease: Lease, failure: Failure) -> float | None:
        if not failure.transient:
            return None
        total = self.retry_total_seconds
        return next_delay(lease.attempt, lease.failing(), total, random.random(), failure.retry_after)

    def _postpone(self, lease: Lease) -> None:
        """Somebody has the instance locked (a cancel in an open transaction): no attempt, and no slot waits for that.

        Nothing was committed, or it was and there is no such lease any more.
        """
        self._forget(lease)
        self._engine.mine("postpone", [token_hash(lease.token)])

    def _put_back(self, lease: Lease, delay: float) -> None:
        arguments = (lease.bucket, lease.instance_id, lease.seq, lease.token, "{}", delay, False, new_token())
        self._engine.mine("fail", *arguments)
        self._forget(lease)

    def _forget(self, lease: Lease) -> None:
        """Whatever was remembered of the instance is not true any more."""
        lease.entry = None

    # -- unknown outcomes -------------------------------------------------------------------------------------------

    def _recover(self, lease: Lease, error: psycopg.Error) -> Lease | None:
        """A connection was lost after something was sent: believe nothing, ask under the lock.

        The same token still there means that it did not commit; a new token makes sure that it never will.
        """
        self._forget(lease)
        token = new_token()
        for pause in (0.05, 0.2, 0.5, 1.0, 2.0):
            try:
                row = self._engine.mine("retake", lease.bucket, lease.instance_id, lease.seq, lease.token, token)
            except psycopg.errors.LockNotAvailable:
                self._postpone(lease)
                return None
            except psycopg.Error:
                time.sleep(pause)
                continue
            if not row[0][0]:
                return None
            lease.token = token
            failure = Failure("the connection to the database was lost", sqlstate="08006", transient=True)
            if error.sqlstate is not None:  # the server said why
                words = f"the outcome of the step could not be written: {first_words(error)}"
                failure = Failure(words, sqlstate=error.sqlstate, transient=True)
            return self._failed(lease, failure, Running(b""))
        return None  # the lease lapses; whoever is there then goes on
