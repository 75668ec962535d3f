"""The engine as a worker sees it: one method a call, each one autocommitted round trip on a control connection."""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import psycopg

from perdure.eventstore import codec
from perdure.eventstore.calls import CALLS
from perdure.eventstore.connections import Connections, Link, fetch
from perdure.eventstore.errors import NotRegistered, is_gone

CALL_SECONDS = 30.0


def new_token() -> str:
    """An unguessable single-use token; the engine stores its hash only."""
    return secrets.token_hex(16)


def token_hash(token: str) -> bytes:
    """As the engine stores it."""
    return hashlib.sha256(token.encode()).digest()


class Claimed(NamedTuple):
    """One leased task, with the head of its instance and, for a first turn, all there is to know."""

    lane: str
    kind: str
    bucket: int
    instance_id: str
    seq: int
    execution_id: int
    token: str
    task_no: int
    owner: int
    owner_name: str
    database: str | None
    attempt: int
    autocommit: bool
    input: str | None
    first_failed_at: datetime | None
    overdue: bool
    head_execution: int
    head_seq: int
    status: str
    capped: bool
    clock: datetime
    graph: str | None
    variables: str | None
    label: str | None
    started: str | None


class Loaded(NamedTuple):
    """An instance as of one snapshot; ``events`` are those after what the caller knew."""

    instance_id: str
    execution_id: int
    head_seq: int
    status: str
    graph: str | None
    variables: str
    label: str | None
    database: str | None
    owner_name: str
    events: str
    clock: datetime


class Answer(NamedTuple):
    """What became of a commit: done | turn | noted | again | conflict | busy | lost; the head; the server's clock."""

    outcome: str
    head: int | None
    clock: datetime

    @classmethod
    def read(cls, words: Sequence[str]) -> Answer:
        """From the text of a finish: outcome, head, clock."""
        outcome, head, clock = words
        return cls(outcome, int(head), datetime.fromisoformat(clock))


@dataclass(frozen=True, slots=True)
class Identity:
    """The registered worker: its row, and the key that proves it."""

    worker_id: int
    key: str


class Engine:
    """Calls of a registered worker. Raises NotRegistered when its row is gone, psycopg.Error for the rest."""

    def __init__(self, connections: Connections) -> None:
        self.connections = connections
        self.identity = Identity(0, "")

    def call(self, name: str, *arguments: Any, connection: Link | None = None) -> list[Any]:
        """Send a named statement and fetch every row. On a connection of its own the caller sets the limit of time."""
        try:
            if connection is not None:
                return fetch(connection, CALLS[name], arguments)
            with self.connections.borrow() as borrowed, self.connections.watch.limit(borrowed, CALL_SECONDS):
                return fetch(borrowed, CALLS[name], arguments)
        except psycopg.Error as error:
            if is_gone(error):
                raise NotRegistered(str(error)) from None
            raise

    def mine(self, name: str, *arguments: Any, connection: Link | None = None) -> list[Any]:
        """A call that proves who asks."""
        return self.call(name, self.identity.worker_id, self.identity.key, *arguments, connection=connection)

    def hello(self) -> dict[str, Any]:
        """The settings that workers obey."""
        found: dict[str, Any] = self.call("hello")[0][0]
        return found

    def register(
        self, release: str, interpreter: int, slots: int, lease_seconds: float, only_role: str | None = None
    ) -> Identity:
        """A new worker row. Only the key's hash leaves the process. ``only_role`` is the one role to serve."""
        key = new_token()
        host = socket.gethostname()
        row = self.call(
            "register", token_hash(key).hex(), release, interpreter, host, os.getpid(), slots, lease_seconds, only_role
        )
        self.identity = Identity(row[0][0], key)
        return self.identity

    def claim(self, turns: int, steps: int, http: int, mark: int, full: bool, excluded: Sequence[int]) -> list[Claimed]:
        """Lease what may be done now."""
        return [Claimed(*row) for row in self.mine("claim", turns, steps, http, mark, full, list(excluded))]

    def load(self, wanted: Sequence[tuple[str, int, int]]) -> dict[str, Loaded]:
        """Instances by id: (id, execution known or 0, seq known or 0)."""
        rows = self.mine("load", codec.encode(wanted))
        return {row[0]: Loaded(*row) for row in rows}

    def bodies(self, instance_id: str, refs: Sequence[Any]) -> list[str]:
        """Raw results, in the order of the references."""
        return [row[0] for row in self.mine("bodies", instance_id, codec.encode(refs))]

    def commit_turns(self, turns: Sequence[dict[str, Any]]) -> list[Answer]:
        """Commit decided turns of different instances in one transaction."""
        return [Answer(*row) for row in self.mine("commit_turns", codec.encode(turns))]
