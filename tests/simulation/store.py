"""The model's functions: one Python method for each function that a worker calls, over the tables of ``tables``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from perdure.eventstore import codec
from perdure.eventstore.engine import token_hash
from simulation.tables import LEASE, Instance, Message, Refused, Tables, Task
from stories import BEGIN


@dataclass(slots=True)
class Store(Tables):
    """The engine as workers see it."""

    # -- claims ----------------------------------------------------------------------------------------------------

    def drain_inbox(self) -> None:
        """Messages become facts."""
        self.moment += 1
        if not self.inbox:
            return
        rows = sorted(self.inbox, key=lambda m: m.message_id)
        if not self.on("inbox: in the order of their ids"):
            self.shuffle(rows)
        kept: list[Message] = []
        for m in rows:
            i = self.instances.get(m.instance_id)
            if i is None or i.ended:
                self.unread.add(m.message_id)
                continue
            if i.locked:
                kept.append(m)
                continue
            if not self.on("inbox: rows are taken one by one"):
                if m.message_id <= self.consumed_to.get(m.instance_id, 0):
                    continue
                self.consumed_to[m.instance_id] = m.message_id
            if not self.on("inbox: a row goes with its fact") and m.message_id % 2:
                kept.append(Message(m.message_id + 1, m.instance_id, m.name))
            self.taken_at.setdefault(m.message_id, self.moment)
            seq = i.head + 1
            self.results[m.instance_id, i.execution_id, seq] = f'{{"signal_name":"{m.name}","data":{m.message_id}}}'
            self.fact(m.instance_id, "SignalReceived", f'{{"name":"{m.name}"}}')
            self.ensure_turn(m.instance_id)
        self.inbox = kept

    def fire_timers(self) -> None:
        """Timers that are due become facts."""
        if not self.timers:
            return
        now = self.now if self.on("timers: never early") else self.now + 0.5
        due = sorted((at, key) for key, (at, _) in self.timers.items() if at <= now)
        for at, (instance_id, seq) in due:
            i = self.instances[instance_id]
            if i.locked:
                continue
            _, execution_id = self.timers.pop((instance_id, seq))
            if execution_id == i.execution_id and not i.ended:
                self.fired.append((at, self.now))
                self.fact(instance_id, "TimerFired", f'{{"of":{seq}}}')
                self.ensure_turn(instance_id)

    def end_instance_waits(self) -> None:
        """Instances that wait for another one's end."""
        for (instance_id, seq), (target, execution_id) in list(self.waits.items()):
            i, other = self.instances[instance_id], self.instances.get(target)
            if i.locked or (other is not None and not other.ended):
                continue
            del self.waits[instance_id, seq]
            if i.execution_id != execution_id or i.ended:
                continue
            if other is None:
                self.fact(instance_id, "InstanceEnded", f'{{"of":{seq},"error":"nobody"}}')
            else:
                self.results[instance_id, i.execution_id, i.head + 1] = '{"status":"x"}'
                self.fact(instance_id, "InstanceEnded", f'{{"of":{seq}}}')
            self.ensure_turn(instance_id)

    def claim(
        self, worker_id: int, _key: str, turns: int, steps: int, _http: int, mark: int, full: bool, _except: list[int]
    ) -> list[Any]:
        """Lease what may be done now."""
        self.known(worker_id)
        self.drain_inbox()
        self.fire_timers()
        if full:
            self.end_instance_waits()
            mark = 0 if self.on("claim: once a second without the mark") else mark
        if not self.on("claim: once a second without the mark"):
            mark = max(mark, self.numbers - 3)
        free = [
            t for t in self.tasks.values() if t.worker_id is None and t.task_no >= mark and t.visible_at <= self.now
        ]
        if not free:
            return []
        free.sort(key=lambda t: t.task_no)
        found = [t for t in free if t.lane == "turn"][:turns] + [t for t in free if t.lane == "sql"][:steps]
        return [self._leased(task, worker_id) for task in found]

    def _leased(self, task: Task, worker_id: int) -> tuple[Any, ...]:
        token = f"claim-{self.number()}"
        task.lease(worker_id, token_hash(token))
        i = self.instances[task.instance_id]
        first = task.seq == 0 and i.head == 1 and i.execution_id == 1
        failed_at = None if task.first_failed_at is None else BEGIN + timedelta(seconds=task.first_failed_at)
        return (
            *(task.lane, task.kind, 0, task.instance_id, task.seq, task.execution_id, token, task.task_no, 10, "alice"),
            *(
                None,
                task.attempt,
                task.autocommit,
                task.input,
                failed_at,
                False,
                i.execution_id,
                i.head,
                i.status,
                False,
            ),
            *(self.clock(), i.graph if first else None, "{}", None),
            self.history[task.instance_id, 1][0][1] if first else None,
        )

    def load(self, worker_id: int, _key: str, wanted: str) -> list[Any]:
        """Instances, with the events after what the caller knows."""
        self.known(worker_id)
        rows = []
        for instance_id, execution_id, known in codec.decode(wanted):
            i = self.instances[instance_id]
            skip = known if execution_id == i.execution_id else 0
            events = self.history[instance_id, i.execution_id]
            text = ",".join(f'[{n},"{k}",{p}]' for n, (k, p) in enumerate(events, start=1) if n > skip)
            graph = i.graph if execution_id == 0 else None
            head = (instance_id, i.execution_id, i.head, i.status, graph, "{}", None, None, "alice")
            rows.append((*head, f"[{text}]", self.clock()))
        return rows

    def bodies(self, worker_id: int, _key: str, instance_id: str, refs: str) -> list[Any]:
        """The raw results behind references."""
        self.known(worker_id)
        return [(self._text(instance_id, ref),) for ref in codec.decode(refs)]

    def _text(self, instance_id: str, ref: Any) -> str:
        if isinstance(ref, list):
            return self.results.get((instance_id, ref[0], ref[1]), '{"rows":[],"row_count":0}')
        if "j" in ref:
            return "[" + ",".join(self._text(instance_id, part) for part in ref["j"]) + "]"
        return str(ref["v"])

    # -- turns -----------------------------------------------------------------------------------------------------

    def commit_turns(self, worker_id: int, _key: str, turns: str) -> list[Any]:
        """Commit decided turns."""
        self.known(worker_id)
        decoded = codec.decode(turns)
        if len(decoded) == 1 and self.instances[decoded[0]["i"]].locked:
            raise Refused("55P03")
        return [(*self._commit_turn(worker_id, t), self.clock()) for t in decoded]

    def _commit_turn(self, worker_id: int, t: dict[str, Any]) -> tuple[str, int | None]:
        i, task = self.instances[t["i"]], self.tasks.get((t["i"], 0))
        if i.locked:
            return "busy", None
        if self.on("turn: under its token") and (task is None or task.token != token_hash(t["t"])):
            return "lost", None
        if i.execution_id != t["x"] or (i.head != t["h"] and self.on("turn: only at its head")):
            return "conflict", None
        return "done", self._apply_turn(worker_id, i, t)

    def _apply_turn(self, worker_id: int, i: Instance, t: dict[str, Any]) -> int:
        instance_id, status = str(t["i"]), t["status"]
        self.append(instance_id, t["kinds"], t["payloads"])
        ends = status in ("completed", "failed", "cancelled")
        if ends or status == "continued":
            self.clear_work(instance_id, ends)
        elif self.on("turn: what is dropped goes with it"):
            for seq in t["dropped"]:
                for table in (self.tasks, self.timers, self.waits):
                    table.pop((instance_id, seq), None)
        self.tasks.pop((instance_id, 0), None)
        if status == "continued":
            self._begin_execution(i, t)
        if ends:
            i.status, i.ended = status, True
        else:
            self._schedule(worker_id, i, t)
            i.status = i.status if i.status == "cancelled" else "running"
        return i.head

    def _begin_execution(self, i: Instance, t: dict[str, Any]) -> None:
        i.execution_id += 1
        started = t["next"]
        if not self.on("continue: signals that nobody took go over"):
            started = codec.encode({**codec.decode(started), "signals": []})
        kinds, payloads = t.get("next_kinds") or [], t.get("next_payloads") or []
        self.history[t["i"], i.execution_id] = [("ExecutionStarted", started), *zip(kinds, payloads, strict=True)]
        i.head = 1 + len(kinds)
        if not kinds:
            self.ensure_turn(t["i"])

    def _schedule(self, worker_id: int, i: Instance, t: dict[str, Any]) -> None:
        for a in t.get("activities") or []:
            task = Task(t["i"], a["seq"], i.execution_id, self.number(), a["lane"], a["kind"], self.now, a["input"])
            if a["token"] is not None:
                task.lease(worker_id, token_hash(a["token"]))
            self.tasks[t["i"], a["seq"]] = task
        if t.get("one_seq") is not None:
            task = Task(t["i"], t["one_seq"], i.execution_id, self.number(), t["one_lane"], t["one_kind"], self.now)
            task.input = t["one_input"]
            task.lease(worker_id, token_hash(t["one_token"]))
            self.tasks[t["i"], task.seq] = task
        for timer in t.get("timers") or []:
            due = (datetime.fromisoformat(timer["due"]) - BEGIN).total_seconds()
            self.timers[t["i"], timer["seq"]] = (due, i.execution_id)
        for wait in t.get("waits") or []:
            target = wait["target"] or str(codec.decode(self._text(t["i"], wait["ref"])))
            self.waits[t["i"], wait["seq"]] = (target, i.execution_id)

    # -- steps -----------------------------------------------------------------------------------------------------

    def take_effect(self, effects: list[str], instance_id: str) -> None:
        """What a step's statement did is committed."""
        for effect in effects:
            self.effects[effect] += 1
            self.effect_at.setdefault(effect, self.instances[instance_id].head)

    def finish(
        self, effects: list[str], _bucket: int, instance_id: str, seq: int, token: str, result: str | None,
        completed: str, execution_id: int | None = None, head: int | None = None, kinds: list[str] | None = None,
        payloads: list[str] | None = None, next_seq: int | None = None, next_lane: str | None = None,
        next_kind: str | None = None, next_input: str | None = None, next_token: str | None = None,
        end_status: str | None = None, turn_token: str = "",
    ) -> tuple[str, int, datetime]:  # fmt: skip
        """The completion of a step, in the transaction of its effects."""
        i, task = self.instances[instance_id], self.tasks.get((instance_id, seq))
        if i.locked:
            raise Refused("55P03")
        if self.on("finish: the task is there, under this token") and (task is None or task.token != token_hash(token)):
            raise Refused("DF002")
        if not self.on("finish: a completion is a fact, whatever the head") and (
            kinds is not None and (i.execution_id != execution_id or i.head != head)
        ):
            raise Refused("DF002")
        at_head = i.execution_id == execution_id and i.head == head
        decides = kinds is not None and (at_head or not self.on("finish: decisions only at their head"))
        worker_id = task.worker_id if task is not None else None
        self.tasks.pop((instance_id, seq), None)
        if result is not None:
            self.results[instance_id, i.execution_id, seq] = result
        self.take_effect(effects, instance_id)
        if not decides or i.status == "cancelled":
            self.fact(instance_id, "ActivityCompleted", completed)
            new = self.ensure_turn(instance_id, worker_id, turn_token)
            return ("turn" if new else "noted"), i.head, self.clock()
        assert kinds is not None and payloads is not None
        payloads = [f'{{"now":"{self.clock().isoformat()}"' + payloads[0][11:], *payloads[1:]]
        self.append(instance_id, ["ActivityCompleted", *kinds], [completed, *payloads])
        if end_status is not None:
            self.clear_work(instance_id, True)
            i.status, i.ended = end_status, True
        else:
            assert next_seq is not None and next_lane is not None and next_kind is not None
            following = Task(
                instance_id, next_seq, i.execution_id, self.number(), next_lane, next_kind, self.now, next_input
            )
            if next_token is not None:
                following.lease(worker_id, token_hash(next_token))
            self.tasks[instance_id, next_seq] = following
        return "done", i.head, self.clock()

    def complete(self, worker_id: int, _key: str, *arguments: Any) -> list[Any]:
        """A step outside its own transaction completed."""
        self.known(worker_id)
        bucket, instance_id, seq, token, result, completed, turn_token = arguments
        return [self.finish([], bucket, instance_id, seq, token, result, completed, turn_token=turn_token)]

    def fail(
        self, worker_id: int, _key: str, _bucket: int, instance_id: str, seq: int, token: str, failure: str,
        delay: float | None, counts: bool, turn_token: str,
    ) -> list[Any]:  # fmt: skip
        """An attempt failed."""
        self.known(worker_id)
        i, task = self.instances[instance_id], self.tasks.get((instance_id, seq))
        if i.locked:
            raise Refused("55P03")
        if task is None or task.token != token_hash(token):
            return [("lost", None, self.clock())]
        payload = f'{{"of":{seq},"failure":{failure}}}'
        if delay is None:
            del self.tasks[instance_id, seq]
            self.fact(instance_id, "ActivityFailed", payload)
            new = self.ensure_turn(instance_id, worker_id, turn_token)
            return [("turn" if new else "noted", i.head, self.clock())]
        if counts:
            self.fact(instance_id, "ActivityAttemptFailed", payload)
            task.attempt += 1
            task.first_failed_at = self.now if task.first_failed_at is None else task.first_failed_at
        task.lease(None, None)
        task.visible_at = self.now + delay
        return [("again", i.head, self.clock())]

    def autocommit(self, worker_id: int, _key: str, _bucket: int, instance_id: str, seq: int, token: str) -> list[Any]:
        """From now on the step runs outside a transaction."""
        self.known(worker_id)
        task = self.tasks.get((instance_id, seq))
        if self.instances[instance_id].locked:
            raise Refused("55P03")
        if task is None or task.token != token_hash(token):
            return [(False,)]
        task.autocommit = True
        self.fact(instance_id, "ActivityModeChanged", f'{{"of":{seq},"autocommit":true}}')
        return [(True,)]

    def retake(
        self, worker_id: int, _key: str, _bucket: int, instance_id: str, seq: int, old: str, new: str
    ) -> list[Any]:
        """Unknown outcome: the same token still there means that nothing was committed; a new one shuts it out."""
        self.known(worker_id)
        task = self.tasks.get((instance_id, seq))
        if self.instances[instance_id].locked:
            raise Refused("55P03")
        if task is None or task.token != token_hash(old) or task.worker_id != worker_id:
            return [(False,)]
        task.token = token_hash(new)
        return [(True,)]

    def park(self, worker_id: int, _key: str, _bucket: int, instance_id: str, reason: str) -> list[Any]:
        """Nobody can go on with this instance."""
        self.known(worker_id)
        self.instances[instance_id].parked = reason
        return [(None,)]

    # -- workers ---------------------------------------------------------------------------------------------------

    def register(self, *_arguments: Any) -> list[Any]:
        """A new worker."""
        worker_id = self.number()
        self.workers[worker_id] = self.now
        return [(worker_id,)]

    def beat(self, worker_id: int, _key: str, _draining: bool) -> list[Any]:
        """The worker is alive; what is leased to it."""
        self.known(worker_id)
        self.workers[worker_id] = self.now
        return [(t.instance_id, t.seq, t.token) for t in self.tasks.values() if t.worker_id == worker_id]

    def alive(self, worker_id: int, _key: str, _draining: bool) -> list[Any]:
        """The worker is alive."""
        self.known(worker_id)
        self.workers[worker_id] = self.now
        return []

    def reap(self, worker_id: int, _key: str) -> list[Any]:
        """Tasks of workers without a fresh beat go back to the queue."""
        self.known(worker_id)
        if not self.on("leases: the dead one's tasks are taken over"):
            return [(0,)]
        lost = [t for t in self.tasks.values() if t.worker_id is not None and not self.has_beaten(t.worker_id)]
        for task in lost:
            task.lease(None, None)
            task.losses += 1
        for dead in [w for w, beat in self.workers.items() if beat < self.now - 10 * LEASE]:
            del self.workers[dead]
        return [(len(lost),)]

    def release(self, worker_id: int, _key: str, hashes: list[bytes]) -> list[Any]:
        """Tasks go back to the queue."""
        self.known(worker_id)
        if not self.on("leases: unknown ones are given back"):
            return [(0,)]
        for task in self.tasks.values():
            if task.worker_id == worker_id and task.token in hashes:
                task.lease(None, None)
        return [(0,)]

    def postpone(self, worker_id: int, key: str, hashes: list[bytes]) -> list[Any]:
        """Turns of instances that somebody has locked: a little later."""
        for task in self.tasks.values():
            if task.worker_id == worker_id and task.token in hashes:
                task.visible_at = self.now + 0.1 * 2 ** min(task.losses, 10)
                task.losses += 1
        return self.release(worker_id, key, hashes)

    def idle(self, worker_id: int, _key: str, _idle: bool) -> list[Any]:
        """Nothing to do now; when the next timer is due."""
        self.known(worker_id)
        due = [at for at, _ in self.timers.values()]
        due += [t.visible_at for t in self.tasks.values() if t.worker_id is None and t.visible_at > self.now]
        return [(max(min(due) - self.now, 0.0) if due else None,)]

    def hello(self) -> list[Any]:
        """The settings that workers obey."""
        return [
            (
                {
                    "max_result_bytes": 1 << 20,
                    "max_user_connections": 0,
                    "retry_total_seconds": 3600.0,
                    "reconcile_interval": 0,
                    "service": True,
                },
            )
        ]

    def dead_sessions(self, _worker_id: int, _key: str) -> list[Any]:
        """The model knows no sessions that outlive their worker but for messages that arrive late."""
        return []
