"""Random workflows of a hostile role: graphs that run, with steps that try everything, and what each step wrote down."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import psycopg

from asking import value
from attacks import fuzz_input
from attacks.fuzz_input import quoted
from attacks.fuzz_values import PLACES, hostile_text
from graphs import Envelope, break_, http, if_, join, loop, race, schedule, signal, sleep, sql, then, wait_instance
from waiting import wait_until

SETUP = """
    CREATE TABLE mallory.trace (who text, session name DEFAULT session_user, acting name DEFAULT current_user,
                                at timestamptz DEFAULT clock_timestamp());
    GRANT INSERT ON mallory.trace TO PUBLIC;
    -- Who the step is, whatever it does afterwards.
    CREATE FUNCTION mallory.note(who text) RETURNS text LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO mallory.trace (who) VALUES (who); RETURN who; END $$;
    CREATE TABLE mallory.lure (who text);
    GRANT INSERT ON mallory.lure TO PUBLIC;
    CREATE FUNCTION mallory.at_commit() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM mallory.note(NEW.who), mallory.grab('at commit');
        BEGIN EXECUTE 'SET ROLE alice'; EXCEPTION WHEN OTHERS THEN NULL; END;
        BEGIN EXECUTE 'RESET ROLE'; EXCEPTION WHEN OTHERS THEN NULL; END;
        PERFORM mallory.note(NEW.who), mallory.grab('at commit');
        RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON mallory.lure DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION mallory.at_commit();
    -- Starts what df.start takes of many graphs; the others are refused, each by itself.
    CREATE FUNCTION mallory.launch(graphs text[], labels text[]) RETURNS TABLE (id text, refusal text) LANGUAGE plpgsql AS $$
    BEGIN
        FOR n IN 1 .. cardinality(graphs) LOOP
            id := NULL; refusal := NULL;
            BEGIN
                id := df.start(graphs[n], labels[n]);
            EXCEPTION WHEN OTHERS THEN refusal := SQLSTATE || ' ' || SQLERRM;
            END;
            RETURN NEXT;
        END LOOP;
    END $$;
"""
# `@` is the role that submits. Half of the steps begin by writing down who they are.
HOSTILE = [
    "SELECT mallory.grab('@')", "SET ROLE alice", "RESET ROLE", "SET ROLE NONE", "SET SESSION AUTHORIZATION alice",
    "SET SESSION AUTHORIZATION DEFAULT", "RESET ALL", "DISCARD ALL", "DROP TABLE alice.canary", "DELETE FROM alice.canary",
    "SELECT * FROM alice.secret", "INSERT INTO alice.canary VALUES (2)", "GRANT perdure_owner TO mallory", "SELECT * FROM df_engine.tasks",
    "UPDATE df_engine.instances SET owner = 'alice'", "DELETE FROM df.instances", "COMMIT AND CHAIN", "ROLLBACK", "COMMIT", "BEGIN",
    "PREPARE TRANSACTION 'x'", "SELECT 1; SET ROLE alice", "SET TRANSACTION READ ONLY", "SET LOCAL ROLE alice", "LISTEN df_wake",
    "NOTIFY df_wake, 'leases'", "SELECT pg_notify('df_wake', repeat('x', 7000))", "VACUUM mallory.lure", "SELECT pg_advisory_lock(1)",
    "SELECT set_config('role', 'alice', false)", "SELECT set_config('search_path', 'mallory', false), set_config('client_encoding', 'LATIN1', false)",
    "DECLARE c CURSOR WITH HOLD FOR SELECT mallory.grab('@')", "PREPARE perdure_run_step AS SELECT mallory.grab('@')", "DEALLOCATE ALL",
    "CREATE TEMP TABLE instances AS SELECT mallory.grab('@')", "CREATE TEMP TABLE pg_class AS SELECT 1", "SAVEPOINT s", "SELECT 1/0", "x", "",
    "DO $$ BEGIN PERFORM mallory.note('@'); COMMIT; PERFORM mallory.note('@'), mallory.grab('@'); END $$",
    "DO $$ BEGIN EXECUTE 'SET ROLE alice'; EXCEPTION WHEN OTHERS THEN PERFORM mallory.note('@'), mallory.grab('@'); END $$",
    "DO $$ BEGIN EXECUTE 'RESET ROLE'; PERFORM mallory.note('@'), mallory.grab('@'); END $$",
    "SELECT df.start('SELECT mallory.note(''@''), mallory.grab(''@'')')", "SELECT df.cancel('{sys_instance_id}')",
    "SELECT df.signal('{sys_instance_id}', 's', '\"' || mallory.note('@') || '\"')", "SELECT df.start('SELECT 1' ~> '$x.v' & 'x')",
    "SELECT df.setvar('a', $x.v)", "SELECT df.status('{sys_instance_id}')", "SELECT df.explain('mallory.grab(''@'')')",
    "INSERT INTO df.ingress_starts (owner, graph) VALUES ('alice', '{}')", "SELECT df_engine.finish_v1('x')",
    "INSERT INTO mallory.trace (who) VALUES ('@') RETURNING who", "SELECT count(*) AS v FROM df.instances WHERE id = '{sys_instance_id}'",
]  # fmt: skip


class Author:
    """Writes workflows for one role, each from the same chance."""

    def __init__(self, chance: random.Random, role: str) -> None:
        self.chance = chance
        self.role = role

    def workflow(self) -> str:
        """A graph as text; one in ten is only nearly one."""
        if self.chance.random() < 0.1:
            return json.dumps(fuzz_input.node(self.chance))
        first = sql(f"INSERT INTO mallory.trace (who) VALUES ('{self.role}')")
        return json.dumps(then(first, self.part(self.chance.randint(1, 6))))

    def part(self, size: int, looping: bool = False) -> Envelope:
        """A graph of about ``size`` leaves."""
        if size <= 1:
            return self.leaf(looping)
        share = self.chance.randint(1, size - 1)
        name = self.chance.choice(["x", None, None])
        makers: list[Callable[[], Envelope]] = [
            lambda: then(sql(self.source(), "x"), self.part(size - 1, looping)),
            lambda: then(self.part(share, looping), self.part(size - share, looping), name=name),
            lambda: join(*(self.part(max(1, size // 3)) for _ in range(self.chance.randint(2, 4))), name=name),
            lambda: race(self.part(share), self.part(size - share), name=name),
            lambda: if_(self.leaf(False), self.part(share, looping), self.part(size - share, looping), name=name),
            lambda: loop(then(self.part(size - 1, True), break_(self.chance.choice([None, "$x.v"]))), name=name),
            lambda: loop(self.part(size - 1, True), sql("SELECT false"), name=name),
        ]
        return self.chance.choice(makers)()

    def leaf(self, looping: bool) -> Envelope:
        """One node that does something."""
        name = self.chance.choice(["x", None, None])
        chance = self.chance.random()
        if chance < 0.85:
            return sql(self.statement(), name)
        makers: list[Callable[[], Envelope]] = [
            lambda: sleep(0, name),
            lambda: signal("s", 1, name),
            lambda: wait_instance(self.chance.choice(["00000000", "{sys_instance_id}", "$x.v"]), 1, name),
            lambda: http("http://127.0.0.1:1/{a}$x.v", name),
            lambda: schedule("0 0 1 1 *"),
            lambda: break_("$x") if looping else sleep(0, name),
        ]
        return self.chance.choice(makers)()

    def caught(self, statement: str) -> str:
        """A step that tries a statement, goes on whatever comes of it, and writes down who it is before and after."""
        note = f"PERFORM mallory.note('{self.role}'), mallory.grab('{self.role}');"
        tried = f"BEGIN EXECUTE {quoted(statement)}; EXCEPTION WHEN OTHERS THEN {note} END;"
        return f"DO $try$ BEGIN {note} {tried} {note} END $try$"

    def source(self) -> str:
        """A statement that yields a hostile value."""
        return f"SELECT {quoted(hostile_text(self.chance))} AS v, mallory.note('{self.role}') AS w"

    def statement(self) -> str:
        """A step: hostile, or a use of what an earlier step yielded, or pieces."""
        kind = self.chance.random()
        if kind < 0.5:
            statement = self.chance.choice(HOSTILE).replace("@", self.role)
            return statement if self.chance.random() < 0.3 else self.caught(statement)
        if kind < 0.65:
            return self.source()
        if kind < 0.75:
            return f"INSERT INTO mallory.lure VALUES ('{self.role}')"
        if kind < 0.95:
            return self.chance.choice(list(PLACES.values())).statement
        return "SELECT " + fuzz_input.text(self.chance)


def launched(session: psycopg.Connection[Any], author: Author, count: int) -> tuple[list[str], int]:
    """Start so many workflows in batches of a hundred, each batch one transaction; their ids, and how many were refused."""
    ids: list[str] = []
    refused = 0
    while len(ids) < count:
        graphs = [author.workflow() for _ in range(min(100, count - len(ids)))]
        labels = [fuzz_input.text(author.chance) for _ in graphs]
        rows = session.execute("SELECT * FROM mallory.launch(%s::text[], %s::text[])", [graphs, labels]).fetchall()
        for graph, (started, refusal) in zip(graphs, rows, strict=True):
            assert started is not None or refusal.startswith("DF102"), (refusal, graph)
        ids += [started for started, _ in rows if started is not None]
        refused += sum(1 for started, _ in rows if started is None)
    return ids, refused


def at_rest(admin: psycopg.Connection[Any], seconds: float) -> None:
    """Wait until no task is there to be run: what has not ended waits for a timer, a signal or an instance."""
    wait_until(lambda: value(admin, "NOT EXISTS (SELECT FROM df_engine.tasks)"), seconds, "no task")
