"""Random hostile input, much of it: nothing crashes, nothing hangs, nothing runs as somebody else."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from typing import Any, cast

import psycopg
import pytest

from asking import value
from attacks.conftest import Report, Scene
from perdure.orchestrator.substitution import SubstitutionError, render_part_data, render_raw, render_sql
from waiting import wait_until

pytestmark = [pytest.mark.attacks, pytest.mark.heavy, pytest.mark.timeout(3600)]

SEED = int(os.environ.get("PERDURE_FUZZ_SEED", "20260101"))
PIECES = [
    "'", '"', "\\", "$", "$$", "$x", "$x.v", "$x.*", "$x?", "$x.v?", "{", "}", "{a}", "{sys_label}", "{secret:s}", "--", "/*",
    "*/", ";", "\n", "\x01", "\u202e", "\ud7ff", "\U0001f600", "E'", "U&'", "x", "1", "-1", "NULL", "SELECT ", " FROM ",
    "mallory.grab()", "alice.secret", "DROP TABLE alice.secret", "COMMIT", "RESET ROLE", "::json", "::text", "(", ")", ",", "[", "]",
    "df.start(", "df.sql(", "~>", "|=>", "&", "|", "?>", "!>", "@>", "$q$", "\\u0027", "%s", "%", "0x", "1e999", "true", "\t",
]  # fmt: skip
TYPES = "SQL THEN IF JOIN LOOP BREAK RACE SLEEP WAIT_SCHEDULE HTTP HTTP_MULTIPART SIGNAL WAIT_INSTANCE x".split()
KEYS = "node_type query left_node right_node condition_node extra_nodes result_name database owner".split()


def text(chance: random.Random, longest: int = 12) -> str:
    return "".join(chance.choice(PIECES) for _ in range(chance.randrange(longest)))


def scrap(chance: random.Random) -> Any:
    return chance.choice([None, True, 0, -1, 1e300, "", text(chance), [], {}, [text(chance)], {"a": text(chance)}])


def node(chance: random.Random, depth: int = 0) -> Any:
    """An envelope that is nearly right."""
    if depth > 3 or chance.random() < 0.05:
        return scrap(chance)
    kind = chance.choice(TYPES)
    found: dict[str, Any] = {"node_type": kind if chance.random() < 0.95 else scrap(chance)}
    for key in KEYS[1:]:
        if chance.random() < 0.35:
            found[key] = node(chance, depth + 1) if key.endswith("_node") else scrap(chance)
    if kind in ("THEN", "JOIN", "RACE", "IF", "LOOP") and chance.random() < 0.8:
        found["left_node"], found["right_node"] = node(chance, depth + 1), node(chance, depth + 1)
    if kind == "SQL" and chance.random() < 0.8:
        found["query"] = "SELECT " + text(chance)
    if chance.random() < 0.2:
        found["query"] = json.dumps({"url": "http://127.0.0.1:1/", "method": text(chance), "signal_name": text(chance),
                                     "cron_expr": text(chance), "headers": scrap(chance)})  # fmt: skip
    return found


def mangled(chance: random.Random, good: str) -> str:
    """A text with a hole, a doubled part, or something in it."""
    if not good or chance.random() < 0.5:
        return good
    at = chance.randrange(len(good))
    return chance.choice([good[:at], good[:at] + text(chance, 4) + good[at:], good[:at] + good[at + 1 :], good + good])


def test_envelopes_and_expressions(scene: Scene, report: Report) -> None:
    """60,000 envelopes and expressions to df.start (rolled back) and df.explain -> started, or refused in words."""
    chance = random.Random(SEED)
    counts: dict[str, int] = {}
    with scene.connect() as mallory:
        mallory.execute("SET statement_timeout = '20s'")
        for number in range(60_000):
            if chance.random() < 0.6:
                given = mangled(chance, json.dumps(node(chance), ensure_ascii=chance.random() < 0.5))
            else:
                given = text(chance, 30)
            call = "df.explain(%s)" if number % 3 == 0 else "df.start(%s)"
            mallory.execute("BEGIN")
            try:
                value(mallory, call, given)
                outcome = "taken"
            except psycopg.Error as error:
                assert not mallory.closed, given
                assert error.sqlstate and error.sqlstate[:2] not in ("XX", "57", "08"), (error, given)
                outcome = "refused"
            mallory.execute("ROLLBACK")
            counts[outcome] = counts.get(outcome, 0) + 1
    report(", ".join(f"{count} {outcome}" for outcome, count in counts.items()))


def test_substitution(report: Report) -> None:
    """40,000 templates with hostile results and variables, without a server -> a text, or an error in words."""
    chance = random.Random(SEED)
    counts: dict[str, int] = {}
    for _ in range(40_000):
        template = text(chance, 20)
        rows = [
            {"v": chance.choice([text(chance), None, 1, True, [text(chance)], {"k": text(chance)}])}
            for _ in range(chance.randrange(3))
        ]
        raw = mangled(chance, json.dumps({"rows": rows, "row_count": len(rows)})) if chance.random() < 0.2 else json.dumps(
            {"rows": rows, "row_count": len(rows)})  # fmt: skip
        for render in (render_sql, render_raw, render_part_data):
            try:
                render(template, {"a": text(chance), "sys_label": text(chance)}, {"x": raw})
                outcome = "rendered"
            except (SubstitutionError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
                # Results that are none come only from a role's own worker; the step fails.
                assert isinstance(error, SubstitutionError) or raw != json.dumps(
                    {"rows": rows, "row_count": len(rows)}
                ), (error, template, raw)
                outcome = "refused"
            counts[outcome] = counts.get(outcome, 0) + 1
    report(", ".join(f"{count} {outcome}" for outcome, count in counts.items()))


@pytest.fixture
def quick(scene: Scene) -> Iterator[None]:
    with scene.database.admin() as admin:
        admin.execute("UPDATE df.settings SET value = '0' WHERE name = 'retry_total_seconds'")
        admin.execute("UPDATE df.settings SET value = '0' WHERE name = 'loop_floor_ms'")
        admin.execute("UPDATE df.settings SET value = '20' WHERE name = 'loop_max_iterations'")
    yield


def test_random_workflows_run_to_an_end(scene: Scene, quick: None, report: Report) -> None:
    """2,000 random workflows through the worker -> each ends or can be cancelled; none is parked."""
    chance = random.Random(SEED)
    with scene.connect() as mallory:
        mallory.execute("SET statement_timeout = '20s'")
        started: list[str] = []
        while len(started) < 2000:
            graph = json.dumps(node(chance))
            if not graph.startswith("{"):
                continue
            try:
                started.append(cast(str, value(mallory, "df.start(%s, %s)", graph, text(chance))))
            except psycopg.Error:
                continue
        open_ones = "SELECT count(*) FROM df.instances WHERE status IN ('pending', 'running')"
        moving = "(SELECT count(*) FROM df_engine.visible_tasks)"
        wait_until(lambda: value(mallory, moving) == 0, 300)
        still = value(mallory, f"({open_ones})")
        mallory.execute("SELECT df.cancel(id) FROM df.instances WHERE status IN ('pending', 'running')")
        wait_until(lambda: value(mallory, moving) == 0, 120)
        found = mallory.execute("SELECT status, count(*) FROM df.instances GROUP BY 1 ORDER BY 1").fetchall()
        parked = mallory.execute("SELECT id, parked FROM df.instances WHERE parked IS NOT NULL").fetchall()
        assert parked == []
        assert mallory.execute("SELECT * FROM df.check()").fetchall() == []
    report(f"{', '.join(f'{count} {status}' for status, count in found)}; {still} had waited for something")
