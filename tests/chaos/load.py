"""A load of mixed workflows that goes on while things are broken, and the count at the end."""

from __future__ import annotations

import heapq
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any

import psycopg

from chaos.checks import check_invariants, history, wrong_effects
from chaos.scenarios import BY_NAME, TABLES, Scenario, effect
from cluster import OWNER, Database
from waiting import ENDED, wait_until

# Signals come when they are waited for, or before, or after a crash.
AWAITS = Scenario(
    "awaits",
    f"df.wait_for_signal('one') ~> {effect('a')} ~> df.wait_for_signal('two') ~> {effect('b')}",
    {"a": 1, "b": 1},
)
LONG = Scenario("long", f"{effect('a')} ~> df.sleep(3600) ~> {effect('never')}", {"a": 1}, status="cancelled")
ALL = {**BY_NAME, AWAITS.name: AWAITS, LONG.name: LONG}
# How often each is started, among all.
MIX = {
    "sequence": 2,
    "results": 2,
    "if": 2,
    "if_rows": 2,
    "join": 2,
    "race": 2,
    "root loop": 2,
    "loop": 2,
    "sleep": 2,
    "signals": 2,
    "mailbox": 2,
    "instance": 2,
    "retry": 2,
    "failure": 2,
    "autocommit": 2,
    "awaits": 3,
    "long": 3,
    "zombie": 1,
}
AT_ONCE = 24
CANCELLED = 0.1  # of those that are not there to be cancelled, most while they run, some just as they end
PATIENCE = 60.0
# When (monotonic), to which instance, the signal's name or "" for a cancel.
Deed = tuple[float, str, str]


@dataclass(slots=True)
class Load:
    """Keeps about ``at_once`` workflows going from a thread of its own, until it is told to stop.

    ``url``: where the steps of ``http`` workflows go; without one there are none.
    """

    database: Database
    seed: int
    at_once: int = AT_ONCE
    url: str | None = None
    started: dict[str, Scenario] = field(default_factory=dict)
    cancelled: dict[str, str] = field(default_factory=dict)  # the status that a user read after the cancel
    trouble: list[str] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)
    _live: set[str] = field(default_factory=set)
    _deeds: list[Deed] = field(default_factory=list)
    _thread: threading.Thread | None = None

    def prepare(self) -> None:
        """The tables; no step gives up because the server was away for long; nothing is cleared away."""
        with self.database.connect("alice") as alice:
            alice.execute(TABLES)
        with self.database.connect(OWNER) as owner:
            owner.execute("UPDATE df.settings SET value = '3600' WHERE name = 'retry_total_seconds'")
            owner.execute("UPDATE df.settings SET value = '2000000000' WHERE name = 'retention_count'")
            owner.execute("SELECT df.grant_usage('alice', include_http => true)")
        with self.database.admin() as admin:
            admin.execute("INSERT INTO df.http_policy (action, network) VALUES ('allow', '127.0.0.1/32')")

    def begin(self) -> None:
        """Start workflows from now on."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Start no more; what was to be done to those that are there is done."""
        self.stopping.set()
        assert self._thread is not None
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        assert not self.trouble, self.trouble

    def _run(self) -> None:
        random = Random(self.seed)
        while not self.stopping.is_set() or self._deeds:
            try:
                with self.database.connect("alice", connect_timeout=5) as alice, self.database.admin() as admin:
                    while not self.stopping.is_set() or self._deeds:
                        self._do(alice)
                        self._more(alice, admin, random)
                        time.sleep(0.02)
            except psycopg.OperationalError:
                time.sleep(0.05)  # the server is away: that is what the test is about
            except Exception as error:  # noqa: BLE001 - told at the end, in the test's own thread
                self.trouble.append(repr(error))
                return

    def _more(self, alice: psycopg.Connection[Any], admin: psycopg.Connection[Any], random: Random) -> None:
        ended = """SELECT i.instance_id FROM unnest(%s::text[]) AS live (id) JOIN df_engine.instances i
            ON i.bucket = df_engine.bucket_of(live.id) AND i.instance_id = live.id WHERE i.ended_at IS NOT NULL"""
        self._live -= {row[0] for row in admin.execute(ended, [list(self._live)])}
        while len(self._live) < self.at_once and not self.stopping.is_set():
            (name,) = random.choices([*MIX, "http"], [*MIX.values(), 0 if self.url is None else 2])
            self._start(alice, ALL[name], random)

    def _start(self, alice: psycopg.Connection[Any], scenario: Scenario, random: Random) -> None:
        """Start and signal in one transaction: when its end is not known, the label tells whether it is there."""
        deeds = [(time.monotonic() + after, name) for after, name in deeds_of(scenario, random)]
        expression = scenario.expression.replace("@URL@", self.url or "")
        with alice.transaction():
            row = alice.execute(f"SELECT df.start({expression}, '{scenario.name}')").fetchone()
            assert row is not None
            for at, name in deeds:
                heapq.heappush(self._deeds, (at, row[0], name))
            if scenario.act is not None:
                scenario.act(alice, row[0])
        self.started[row[0]] = scenario
        self._live.add(row[0])

    def _do(self, alice: psycopg.Connection[Any]) -> None:
        """Signals and cancels whose time has come; what got no answer is done again."""
        while self._deeds and self._deeds[0][0] <= time.monotonic():
            _, instance_id, name = self._deeds[0]
            there = alice.execute("SELECT FROM df.instances WHERE id = %s", [instance_id]).fetchone() is not None
            assert there or instance_id not in self.started, f"lost: {instance_id}"
            if there and name:
                alice.execute("SELECT df.signal(%s, %s)", [instance_id, name])
            elif there:
                self._cancel(alice, instance_id)
            heapq.heappop(self._deeds)

    def _cancel(self, alice: psycopg.Connection[Any], instance_id: str) -> None:
        self.cancelled.setdefault(instance_id, "")
        alice.execute("SELECT df.cancel(%s, 'by the load')", [instance_id])
        row = alice.execute("SELECT df.status(%s)", [instance_id]).fetchone()
        assert row is not None and row[0] in ENDED, f"{instance_id} is {row} after it was cancelled"
        self.cancelled[instance_id] = row[0]


def deeds_of(scenario: Scenario, random: Random) -> list[tuple[float, str]]:
    """What is done to a workflow, and how many seconds after its start: a signal by name, "" for a cancel."""
    if scenario is AWAITS:
        return [(random.uniform(0, 2), "one"), (random.uniform(0, 2), "two")]
    if scenario is LONG:
        return [(random.uniform(0, 4), "")]
    return [(random.choice((0.1, 0.5, 2)) * random.random(), "")] if random.random() < CANCELLED else []


def probe(database: Database, seconds: float = 15.0) -> float:
    """How long a new workflow takes to its end from now; raises AssertionError when it is longer than ``seconds``."""
    began = time.monotonic()

    def started() -> str | None:
        try:
            with database.connect("alice", connect_timeout=5) as alice:
                row = alice.execute("SELECT df.start($$SELECT 1$$ ~> $$SELECT 2$$, 'probe')").fetchone()
                return None if row is None else str(row[0])
        except psycopg.OperationalError:
            return None

    found = wait_until(started, seconds, "a server that takes a workflow")
    with database.connect("alice") as alice:
        row = "SELECT status FROM df.instances WHERE id = %s"
        wait_until(
            lambda: alice.execute(row, [found]).fetchone() == ("completed",),
            max(seconds - (time.monotonic() - began), 1),
        )
    return time.monotonic() - began


def settle(database: Database, load: Load, seconds: float = PATIENCE) -> dict[str, int]:
    """Wait until everything has ended, then check everything; how many ended how. Raises AssertionError."""
    with database.admin() as admin:
        _wait_for_the_end(admin, seconds)
        # A start whose answer was lost is not in the list of the load; what it started is found by its label.
        rows = admin.execute("SELECT id, label, status FROM df.instances WHERE label <> 'probe'").fetchall()
        missing = set(load.started) - {row[0] for row in rows}
        assert not missing, f"lost: {missing}"
        check_invariants(admin, [row[0] for row in admin.execute("SELECT id FROM df.instances")])
        wrong = _wrong_ends(admin, load, rows)
        assert not wrong, f"{len(wrong)} wrong\n" + "\n".join(
            f"{words}\n{history(admin, instance_id)}" for instance_id, words in list(wrong.items())[:5]
        )
        return dict(Counter(row[2] for row in rows))


def _wait_for_the_end(admin: psycopg.Connection[Any], seconds: float) -> None:
    undone = "SELECT instance_id FROM df_engine.instances WHERE ended_at IS NULL"
    try:
        wait_until(lambda: admin.execute(undone).fetchone() is None, seconds, "everything to end")
    except AssertionError:
        stuck = [row[0] for row in admin.execute(undone)]
        raise AssertionError(f"{len(stuck)} stuck\n" + "\n".join(history(admin, i) for i in stuck[:5])) from None


def _wrong_ends(admin: psycopg.Connection[Any], load: Load, rows: list[tuple[str, str, str]]) -> dict[str, str]:
    """For each instance whose end or effects are not what they must be, what is wrong."""
    effects: dict[str, dict[str, tuple[int, int]]] = {instance_id: {} for instance_id, _, _ in rows}
    for instance_id, step, count, keys in admin.execute(
        "SELECT instance, step, count(*), count(DISTINCT key) FROM effects GROUP BY 1, 2"
    ):
        effects.setdefault(instance_id, {})[step] = count, keys
    wrong = dict.fromkeys(effects.keys() - {row[0] for row in rows}, "effects of nobody")
    for instance_id, label, status in rows:
        words = wrong_end(ALL[label], status, load.cancelled.get(instance_id), effects[instance_id])
        if words:
            wrong[instance_id] = f"{label}: {words}"
    return wrong


def wrong_end(scenario: Scenario, status: str, promised: str | None, effects: dict[str, tuple[int, int]]) -> list[str]:
    """What is wrong with an instance that has ended, given how often each step took effect and under how many keys.

    ``promised``: the status that was read after a cancel, None where there was none.
    """
    wrong = []
    if status != scenario.status and not (status == "cancelled" and promised is not None):
        wrong.append(f"{status} instead of {scenario.status}")
    if promised and promised != status:
        wrong.append(f"{status} after it was {promised}")
    found = {step: count for step, (count, _) in effects.items()}
    keys = {step: number for step, (_, number) in effects.items()}
    return wrong + wrong_effects(scenario, found, keys, at_most=status == "cancelled")
