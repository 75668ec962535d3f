"""What must hold for each input: the SQL functions that try it in a transaction that is rolled back, and the checks."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import psycopg

from perdure.orchestrator.execution import Execution
from perdure.orchestrator.graph import Graph, GraphError, parse
from stories import LIMITS

BATCH = 100
NOW = datetime(2026, 1, 1, tzinfo=UTC)
# Classes that no input may bring about: internal errors, lost connections, ended statements, no memory, system errors.
NEVER = ("XX", "08", "57", "53", "58")

CANARY = """
    CREATE TABLE IF NOT EXISTS alice.canary AS SELECT 1 AS n;
    ALTER TABLE alice.canary OWNER TO alice;
"""
TRIED = """
    -- What a statement that stands in a text has to say.
    CREATE FUNCTION mallory.told(statement text) RETURNS text LANGUAGE plpgsql AS $$
    DECLARE
        said text;
    BEGIN
        EXECUTE statement INTO said;
        RETURN said;
    END $$;
    CREATE TYPE mallory.pair AS (a text, b text);
    CREATE DOMAIN mallory.word AS text CHECK (VALUE <> 'never');
    CREATE TYPE mallory.mood AS ENUM ('a', '''; DROP TABLE alice.canary; --');
    -- Each expression by itself; what it did is rolled back.
    CREATE FUNCTION mallory.tried(expressions text[]) RETURNS TABLE (outcome text, got text) LANGUAGE plpgsql AS $$
    DECLARE
        e text;
    BEGIN
        FOREACH e IN ARRAY expressions LOOP
            got := NULL;
            BEGIN
                EXECUTE 'SELECT (' || e || E'\n)::text' INTO got;
                RAISE EXCEPTION USING ERRCODE = 'ZZ001';
            EXCEPTION
                WHEN SQLSTATE 'ZZ001' THEN outcome := 'taken';
                WHEN OTHERS THEN outcome := SQLSTATE || ' ' || SQLERRM; got := NULL;
            END;
            RETURN NEXT;
        END LOOP;
    END $$;
    -- What df.start() says to each text, and what it would keep of it; nothing is started.
    CREATE FUNCTION mallory.started(texts text[]) RETURNS TABLE (outcome text, graph text) LANGUAGE plpgsql AS $$
    DECLARE
        t text;
    BEGIN
        FOREACH t IN ARRAY texts LOOP
            graph := NULL;
            BEGIN
                PERFORM df.start(t);
                graph := df_engine.checked_graph(t);
                RAISE EXCEPTION USING ERRCODE = 'ZZ001';
            EXCEPTION
                WHEN SQLSTATE 'ZZ001' THEN outcome := 'taken';
                WHEN OTHERS THEN outcome := SQLSTATE || ' ' || SQLERRM; graph := NULL;
            END;
            RETURN NEXT;
        END LOOP;
    END $$;
"""


def batches(items: list[Any]) -> list[list[Any]]:
    """The items, so many at a time."""
    return [items[at : at + BATCH] for at in range(0, len(items), BATCH)]


def ask(connection: psycopg.Connection[Any], function: str, texts: list[str]) -> list[tuple[str, Any, Any]]:
    """Each text with its outcome and answer. A statement that is ended, or a session, is a failure of the test."""
    rows: list[tuple[str, Any, Any]] = []
    for some in batches(texts):
        found = connection.execute(psycopg.sql.SQL("SELECT * FROM {}(%s::text[])").format(
            psycopg.sql.Identifier("mallory", function)), [some]).fetchall()  # fmt: skip
        rows += [(given, *row) for given, row in zip(some, found, strict=True)]
    return rows


def sorted_out(outcomes: Counter[str]) -> str:
    """The counts, the most frequent first."""
    return ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())


def state(outcome: str, given: str) -> str:
    """'taken', or the SQLSTATE of a refusal that is one in words."""
    code = outcome.split(" ")[0]
    assert not code.startswith(NEVER), f"{outcome}\nfor {given!r}"
    return code


def check_both_readers(given: str, outcome: str, graph: str | None) -> bool:
    """What ``df.start`` takes, the worker reads, and can take a first turn of. Whether the worker's reader takes ``given``."""
    if outcome == "taken":
        assert graph is not None
        first_turn(parse(graph))
    try:
        parse(given)
    except GraphError:
        return False
    return True


def first_turn(graph: Graph) -> None:
    """The interpreter enters any graph without an exception."""
    started = {**LIMITS, "interpreter": 1}
    Execution(graph, "00000000", 1, started, {}).take_turn(NOW)
