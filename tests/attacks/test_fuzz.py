"""Much hostile input, made at random: nothing crashes, nothing hangs, nothing runs as somebody else.

``make fuzz`` runs all of it; without a choice of marks a short part runs. Everything follows from PERDURE_FUZZ_SEED (the
default is 20260101), which each test prints.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any, cast

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as hypothesis_seed

from asking import value
from attacks import fuzz_input
from attacks.conftest import Report, Scene, some
from attacks.fuzz_input import SEED, quoted
from attacks.fuzz_oracles import CANARY, TRIED, ask, check_both_readers, first_turn, sorted_out, state
from attacks.fuzz_structure import Built, expressions, shape
from attacks.fuzz_values import check_other_readers, check_places, hostile_text, only, sample
from attacks.fuzz_workflows import SETUP as WORKFLOWS
from attacks.fuzz_workflows import Author, at_rest, launched
from perdure.activities.sql import STEP_OPTIONS, StepSession
from perdure.eventstore.connections import connect
from perdure.eventstore.watch import Watch
from perdure.orchestrator import cron
from perdure.orchestrator.graph import parse
from perdure.orchestrator.substitution import SubstitutionError, render_part_data, render_raw, render_sql
from waiting import wait_until
from wild import wild_graph

OPEN = "status IN ('pending', 'running')"
FRESH = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'alice' AND application_name LIKE 'perdure:%'"
BACK = r"""
    SELECT df.start(format('SELECT v FROM mallory.data WHERE n = %%s', n) |=> 'x'
                    ~> format($t$INSERT INTO alice.back VALUES (%%s, $x.v, '$x.v', E'$x.v\n')$t$, n))
    FROM generate_series(0, %s - 1) n
"""
pytestmark = [pytest.mark.attacks, pytest.mark.timeout(7200)]


def amounts(short: int, full: int) -> pytest.MarkDecorator:
    """How many inputs: a few where everything is tested, all of them in ``make fuzz``."""
    return pytest.mark.parametrize("count", [pytest.param(short, id="short"), pytest.param(full, id="full", marks=pytest.mark.heavy)])  # fmt: skip


@pytest.fixture(scope="module")
def fuzzed(scene: Scene) -> Iterator[psycopg.Connection[Any]]:
    """Mallory's session, with the functions that try inputs. A statement of a hundred inputs that takes a minute fails."""
    with scene.database.admin() as admin:
        # Sessions are ended on purpose below: on a busy machine two seconds are too short to get over that.
        admin.execute("UPDATE df.settings SET value = '60' WHERE name = 'retry_total_seconds'")
        admin.execute("SET ROLE mallory")
        admin.execute(TRIED)
    print(f"PERDURE_FUZZ_SEED={SEED}")
    with scene.database.connect("mallory") as mallory:
        mallory.execute("SET statement_timeout = '60s'")
        yield mallory


@amounts(400, 40_000)
def test_envelopes(scene: Scene, fuzzed: psycopg.Connection[Any], report: Report, count: int) -> None:
    """Envelopes to df.start and to the worker's reader -> refused in words, or read and begun by both."""
    chance = random.Random(SEED)
    texts = [fuzz_input.envelope(chance) if n % 5 else json.dumps(wild_graph(chance, 12)) for n in range(count)]
    outcomes: Counter[str] = Counter()
    for given_text, outcome, graph in ask(fuzzed, "started", texts):
        read = check_both_readers(given_text, outcome, graph)
        outcomes[state(outcome, given_text) + (", the reader takes it" if read and outcome != "taken" else "")] += 1
    assert outcomes["taken"] > count // 10
    assert {found.split(",")[0] for found in outcomes} <= {"taken", "DF102", "42501"}
    report(f"{count}: {sorted_out(outcomes)}")


@amounts(400, 20_000)
def test_calls(scene: Scene, fuzzed: psycopg.Connection[Any], report: Report, count: int) -> None:
    """Every builder, operator and df.start, signal, cancel, explain with hostile arguments -> a graph, or refused in words."""
    chance = random.Random(SEED)
    outcomes: Counter[str] = Counter()
    built: list[str] = []
    for expression, outcome, got in ask(fuzzed, "tried", [fuzz_input.call(chance) for _ in range(count)]):
        code = state(outcome, expression)
        outcomes[code if outcome != "taken" else "NULL" if got is None else "taken"] += 1
        if got is not None:
            built.append(got)
    again = Counter(_started(built, fuzzed))
    report(f"{count}: {sorted_out(outcomes)}; what was built, to df.start: {sorted_out(again)}")
    assert outcomes["taken"] > count // 10


def _started(texts: list[str], mallory: psycopg.Connection[Any]) -> Iterator[str]:
    for text, outcome, graph in ask(mallory, "started", texts):
        check_both_readers(text, outcome, graph)
        yield state(outcome, text)


@amounts(60, 4_000)
def test_structure(scene: Scene, fuzzed: psycopg.Connection[Any], report: Report, count: int) -> None:
    """Expressions of up to 12 leaves with hostile texts -> exactly the tree that was written; every text unchanged."""
    seen = 0

    @hypothesis_seed(SEED)
    @settings(max_examples=count, deadline=None, database=None, phases=[Phase.generate, Phase.shrink],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(expressions)
    def check(built: Built) -> None:
        nonlocal seen
        seen += 1
        graph = parse(value(fuzzed, f"{built.sql}", *built.parameters))
        assert shape(graph) == built.tree
        first_turn(graph)

    check()
    report(f"{seen}: all equal")
    assert seen >= count // 2


@amounts(500, 10_000)
def test_schedules(scene: Scene, fuzzed: psycopg.Connection[Any], report: Report, count: int) -> None:
    """Cron expressions and time zones to SQL and to the worker -> what SQL takes, the worker can reckon with."""
    chance = random.Random(SEED)
    pairs = [(fuzz_input.cron(chance), chance.choice([None, *fuzz_input.ZONES])) for _ in range(count)]
    outcomes: Counter[str] = Counter()
    for at in range(0, count, 500):
        some = pairs[at : at + 500]
        rows = fuzzed.execute(
            "SELECT df_engine.cron_problem(e, z) FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS t (e, z, n) ORDER BY n",
            [[e for e, _ in some], [z for _, z in some]],
        ).fetchall()
        for (expression, zone), (problem,) in zip(some, rows, strict=True):
            outcomes[_agreed(expression, zone, problem)] += 1
    assert outcomes["taken by both"] > count // 50
    report(f"{count}: {sorted_out(outcomes)}")


def _agreed(expression: str, zone: str | None, problem: str | None) -> str:
    try:
        cron.validate(expression, zone)
    except cron.CronError as error:
        assert problem is not None, f"{expression!r} in {zone!r}: SQL takes it, the worker says {error}"
        return "refused by both"
    return "taken by both" if problem is None else "refused by SQL alone"


@amounts(1_000, 30_000)
def test_substitution(report: Report, count: int) -> None:
    """Templates with hostile results and variables, without a server -> a text, or an error in words."""
    chance = random.Random(SEED)
    outcomes: Counter[str] = Counter()
    for _ in range(count):
        template = fuzz_input.text(chance, 20)
        rows = [{"v": _cell(chance)} for _ in range(chance.randrange(3))]
        good = json.dumps({"rows": rows, "row_count": len(rows)})
        raw = fuzz_input.mangled(chance, good) if chance.random() < 0.2 else good
        variables = {"a": fuzz_input.text(chance), "sys_label": fuzz_input.text(chance)}
        for render in (render_sql, render_raw, render_part_data):
            try:
                render(template, variables, {"x": raw})
                outcomes["rendered"] += 1
            except SubstitutionError:
                outcomes["refused"] += 1
    report(f"{count}, each in three ways: {sorted_out(outcomes)}")


def _cell(chance: random.Random) -> Any:
    word = fuzz_input.text(chance)
    return chance.choice([word, word, None, 1, -1, 1.5, True, [word], {"k": word}, {word: word}])


# ------------------------------------------------------------------------------------------ values, run by the server


@pytest.fixture
def alice(scene: Scene, fuzzed: psycopg.Connection[Any]) -> Iterator[StepSession]:
    """A session for alice's steps, and a table of hers that has to outlive everything."""
    with scene.database.admin() as admin:
        admin.execute(CANARY)
        oid = value(admin, "'alice'::regrole::oid::bigint")
    with connect(Watch(), scene.database.dsn("alice"), "perdure:fuzz", STEP_OPTIONS) as connection:
        yield StepSession(connection, oid, "alice", scene.database.name)
    with scene.database.admin() as admin:
        assert value(admin, "(SELECT string_agg(n::text, ',') FROM alice.canary)") == "1"


@amounts(60, 3_000)
def test_texts_come_back(alice: StepSession, report: Report, count: int) -> None:
    """Hostile texts by $x.v in 21 places of a statement, run by the server as alice -> the same text, or refused in words."""
    chance = random.Random(SEED)
    outcomes: Counter[str] = Counter()
    connection = alice.connection
    for number in range(count):
        text = hostile_text(chance)
        raw = alice.run(f"SELECT {quoted(text)} AS v", 10**6)
        standard = number % 4 != 0
        connection.execute(f"SET standard_conforming_strings = {'on' if standard else 'off'}; SET backslash_quote = on")
        outcomes += check_places(connection, text, raw, standard=standard)
        connection.execute("SET standard_conforming_strings = on")
        check_other_readers(connection, text, raw)
    report(f"{count}: statements {sorted_out(outcomes)}")


@amounts(100, 6_000)
def test_values_come_back(alice: StepSession, report: Report, count: int) -> None:
    """Values of 29 types by $x.v, run by the server as alice -> the same value."""
    chance = random.Random(SEED)
    kinds: Counter[str] = Counter()
    connection = alice.connection
    for _ in range(count):
        found = sample(chance)
        raw = alice.run(f"SELECT {found.value} AS v", 10**6)
        statement = found.comparison(raw)
        assert only(connection, statement) is True, (found, statement)
        kinds[found.kind] += 1
    report(f"{count} of {len(kinds)} types: all equal")


# ------------------------------------------------------------------------------------------ run by the real worker


HABITS = {
    "as it comes": (),
    "strings": ("standard_conforming_strings = off", "backslash_quote = on", "escape_string_warning = off"),
    "SJIS": ("client_encoding = 'SJIS'", "standard_conforming_strings = off"),
    "GBK": ("client_encoding = 'GBK'", "bytea_output = 'escape'", "search_path = mallory, public"),
    "BIG5": ("client_encoding = 'BIG5'", "datestyle = 'German'", "intervalstyle = 'sql_standard'", "extra_float_digits = -15"),
}  # fmt: skip


@amounts(40, 1_000)
@pytest.mark.parametrize("habit", some({habit: habit for habit in HABITS}, "SJIS"))
def test_texts_come_back_whatever_the_role_has_set(
    scene: Scene, fuzzed: psycopg.Connection[Any], report: Report, count: int, habit: str
) -> None:
    """Hostile texts by $x.v in three places, by the worker, for a role with settings of its own -> the same text."""
    chance = random.Random(f"{SEED} {habit}")
    texts = [hostile_text(chance) for _ in range(count)]
    with scene.database.admin() as admin:
        admin.execute(CANARY)
        admin.execute(
            "CREATE TABLE IF NOT EXISTS mallory.data (n integer, v text); GRANT ALL ON mallory.data TO alice; TRUNCATE mallory.data"
        )
        admin.execute(
            "CREATE TABLE IF NOT EXISTS alice.back (n integer, a text, b text, c text); ALTER TABLE alice.back OWNER TO alice; TRUNCATE alice.back"
        )
        admin.cursor().executemany("INSERT INTO mallory.data VALUES (%s, %s)", list(enumerate(texts)))
        try:
            for setting in HABITS[habit]:
                admin.execute(cast(Any, f"ALTER ROLE alice SET {setting}"))
            admin.execute(FRESH)
            admin.execute("SET ROLE alice; SET search_path = public, pg_catalog")
            admin.execute(BACK, [count])
            admin.execute("RESET ROLE")
            at_rest(admin, 60 + count)
        finally:
            admin.execute("RESET ROLE; ALTER ROLE alice RESET ALL")
            admin.execute(FRESH)
        wrong = admin.execute("SELECT d.v, b.* FROM mallory.data d LEFT JOIN alice.back b USING (n)"
                              " WHERE (b.a, b.b, b.c) IS DISTINCT FROM (d.v, d.v, d.v || E'\\n')").fetchall()  # fmt: skip
        failures = admin.execute(
            "SELECT DISTINCT error FROM df.instances WHERE status = 'failed' AND submitted_by = 'alice'::regrole"
        ).fetchall()
        assert wrong == [], failures
        assert value(admin, "(SELECT string_agg(n::text, ',') FROM alice.canary)") == "1"
    report(f"{count} of {count}")


@pytest.fixture
def quick(scene: Scene, fuzzed: psycopg.Connection[Any]) -> Iterator[None]:
    """No second attempts, loops of 20 iterations at most, and what the workflows write to.

    Workers keep settings for a while: what needs others comes before.
    """
    wanted = {"retry_total_seconds": "0", "loop_floor_ms": "0", "loop_max_iterations": "20"}
    with scene.database.admin() as admin:
        admin.execute(CANARY)
        before = dict(
            admin.execute("SELECT name, value FROM df.settings WHERE name = ANY (%s)", [list(wanted)]).fetchall()
        )
        admin.cursor().executemany(
            "UPDATE df.settings SET value = %s WHERE name = %s", [(v, n) for n, v in wanted.items()]
        )
        admin.execute("SET ROLE mallory")
        admin.execute(WORKFLOWS)
    yield
    with scene.database.admin() as admin:
        admin.cursor().executemany(
            "UPDATE df.settings SET value = %s WHERE name = %s", [(v, n) for n, v in before.items()]
        )
        admin.execute(
            "DROP TABLE mallory.trace, mallory.lure; DROP FUNCTION mallory.note, mallory.at_commit, mallory.launch"
        )


@amounts(60, 10_000)
def test_workflows_run_to_an_end(scene: Scene, quick: None, report: Report, count: int) -> None:
    """Random workflows of a role and of a role behind a proxy, run by the worker -> each ends or can be cancelled, as its role."""
    chance = random.Random(SEED)
    ids: list[str] = []
    refused = 0
    with scene.database.admin() as admin:
        for role, share in (("mallory", count * 3 // 4), ("mallet", count - count * 3 // 4)):
            with scene.as_role(role) as session:
                started, no = launched(session, Author(chance, role), share)
                ids, refused = ids + started, refused + no
        at_rest(admin, 60 + count)
        waited = value(admin, f"(SELECT count(*) FROM df.instances WHERE {OPEN})")
        admin.execute(f"SELECT df.cancel(id) FROM df.instances WHERE {OPEN}")
        wait_until(lambda: value(admin, f"NOT EXISTS (SELECT FROM df.instances WHERE {OPEN})"), 120)
        at_rest(admin, 60)
        ended = dict(
            admin.execute(
                "SELECT status, count(*) FROM df.instances WHERE id = ANY (%s) GROUP BY 1 ORDER BY 1", [ids]
            ).fetchall()
        )
        steps = check_nothing_was_gained(admin)
    log = scene.workers.started[0].log
    assert "Traceback" not in log
    assert sum(ended.values()) == len(ids)
    report(f"{len(ids)} run, {refused} refused: {', '.join(f'{n} {s}' for s, n in ended.items())}; {waited} had waited for"
           f" something; {steps} times a step wrote down who it was: the role that had submitted it")  # fmt: skip


def check_nothing_was_gained(admin: psycopg.Connection[Any]) -> int:
    """No instance is parked or stuck, hers are untouched, and every step was itself; how many wrote that down."""
    assert admin.execute("SELECT id, parked FROM df.instances WHERE parked IS NOT NULL").fetchall() == []
    assert admin.execute("SELECT * FROM df.check()").fetchall() == []
    assert admin.execute("SELECT n FROM alice.canary").fetchall() == [(1,)]
    known = {
        ("mallory", "mallory", "mallory"),
        ("mallet", "dfx_mallet", "mallet"),
        ("mallet", "dfx_mallet", "dfx_mallet"),
    }
    found = admin.execute(
        "SELECT who, session::text, acting::text, count(*) FROM mallory.trace GROUP BY 1, 2, 3"
    ).fetchall()
    assert {row[:3] for row in found} <= known
    assert {row[0] for row in found} == {"mallory", "mallet"}
    return sum(row[3] for row in found)
