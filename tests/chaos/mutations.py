"""The tests can fail: rules of the real engine are disabled one at a time, and the suite must notice each.

``PYTHONPATH=tests .venv/bin/python -m chaos.mutations``, or ``pytest -m heavy tests/chaos/test_mutations.py``. Only
scratch databases are spoiled.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from chaos import crashing
from chaos.crashing import Stage, clean_run, run_overtaken, run_zombie
from chaos.enumerate import stages, try_points
from chaos.scenarios import BY_NAME
from chaos.wire import Point
from cluster import Cluster, drop_database, make_template, numbered, running_cluster
from perdure.activities.sql import StepSession

TOKEN = "t.token_hash = sha256(convert_to(_token, 'UTF8'))"


@dataclass(frozen=True, slots=True)
class Mutation:
    """A rule disabled: text replaced in the engine's functions, or a function that spoils the worker."""

    name: str
    replaced: tuple[tuple[str, str], ...] = ()
    patch: str | None = None


FUNCTIONS = """SELECT pg_get_functiondef(oid) FROM pg_proc
    WHERE pronamespace = 'df_engine'::regnamespace AND prokind = 'f'"""
FORGETS = (
    "DELETE FROM df_engine.tasks t WHERE t.seq = 0 AND t.instance_id = _i.instance_id AND _i.head_seq > 1;RETURN false;"
)
MUTATIONS = [
    Mutation("the token is not compared", ((f"AND {TOKEN}", ""),)),
    Mutation(
        "the head is not compared by finish",
        (("AND _i.head_seq = _head", ""), ("AND i.head_seq = _head", "")),
    ),
    Mutation("the head is not compared by a turn", (("OR _i.head_seq <> _t.h", ""),)),
    Mutation("the completion is not in the step's commit", patch="chaos.mutations:apart"),
    Mutation("the inbox has no order", (("ORDER BY t.message_id", "ORDER BY t.message_id DESC"),)),
    Mutation("facts leave no turn", (("RETURN FOUND;", FORGETS),)),
    Mutation("the dead are not reaped", (("t.worker_id = _dead", "false"),)),
]


def apart() -> None:
    """Spoil the worker: what a step does is committed by itself, before its completion."""
    together = StepSession.run_and_finish

    def run_and_finish(self: StepSession, statement: str, arguments: Any) -> list[str]:
        self.connection.execute(statement.encode())
        return together(self, "DELETE FROM public.effects WHERE false", arguments)

    StepSession.run_and_finish = run_and_finish  # type: ignore[method-assign]


def spoil(cluster: Cluster, template: str, mutation: Mutation) -> None:
    """Replace text in the functions of a database. Raises AssertionError where there is nothing to replace."""
    with cluster.admin(template) as admin:
        for old, new in mutation.replaced:
            spoiled = [text.replace(old, new) for (text,) in admin.execute(FUNCTIONS).fetchall() if old in text]
            assert spoiled, f"{mutation.name}: nothing to replace: {old}"
            for text in spoiled:
                admin.execute(text)


def suite(free: SimpleQueue[Stage]) -> list[tuple[str, Callable[[], None]]]:
    """The tests of crash points that are tried on a spoiled engine, the quickest first."""

    def with_stage(run: Callable[[Stage], Any]) -> Callable[[], None]:
        def tried() -> None:
            at = free.get()
            try:
                run(at)
            finally:
                free.put(at)

        return tried

    def points() -> None:
        work = [
            Point("run_step", 1),
            Point("run_step", 2),
            Point("commit_turns", 1),
            Point("user", 2),
            Point("user", 3),
        ]
        tally = try_points(free, BY_NAME["sequence"], work, ("kill after", "cut after", "kill late"))
        assert not tally.failures, tally.failures

    def clean(name: str) -> tuple[str, Callable[[], None]]:
        return name, with_stage(lambda at: clean_run(at, BY_NAME[name]))

    whole = [clean(name) for name in ("mailbox", "interrupted", "join", "signals")]
    late = [("overtaken", with_stage(run_overtaken)), ("zombie", with_stage(run_zombie))]
    return [*whole, *late, ("points of a sequence", points)]


def noticed(cluster: Cluster, mutation: Mutation | None) -> str | None:
    """Which test fails on an engine spoiled in this way; None if none does."""
    template = next(numbered("perdure_mutant"))
    make_template(cluster, template)
    crashing.PATIENCE, before = 12.0, crashing.PATIENCE
    try:
        if mutation is not None:
            spoil(cluster, template, mutation)
        with stages(cluster, template, "perdure_mutated", 2) as free:
            found = [free.get() for _ in range(2)]
            for at in found:
                at.patch = mutation.patch if mutation is not None else None
                free.put(at)
            for name, run in suite(free):
                try:
                    run()
                except AssertionError as error:
                    return f"{name}: {str(error).splitlines()[0][:120]}"
        return None
    finally:
        crashing.PATIENCE = before
        drop_database(cluster, template)


def main() -> int:
    """Try each mutation; 1 if one goes unnoticed, or the unspoiled engine fails."""
    unnoticed = 0
    with running_cluster() as cluster:
        for mutation in (None, *MUTATIONS):
            found = noticed(cluster, mutation)
            print(f"{'as it is' if mutation is None else mutation.name:45} {found or 'every test passes'}", flush=True)
            unnoticed += (found is None) != (mutation is None)
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
