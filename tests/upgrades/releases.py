"""The next release, made from this one: a copy of the package with a schema revision, an interpreter and a call more.

What an upgrade may bring is all in it: every function created anew, columns and a table added, a function that workers
call under a new version (the old one stays, or is dropped where the copy is told so), and a reading of the history
(interpreter 2) that leaves a trace in each turn. Its command is run as a process of its own.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import perdure
from chaos.nursery import Child
from cluster import OWNER, Database, WorkerProcess, clean_environment
from perdure.schema import install
from waiting import wait_until

Started = TypeVar("Started", WorkerProcess, Child)
OLD, NEW = "0001", "0002"
TABLES = """
ALTER TABLE df_engine.instances ADD COLUMN purpose text;
ALTER TABLE df_engine.tasks ADD COLUMN weight integer NOT NULL DEFAULT 1;
CREATE TABLE df_engine.extras (bucket smallint NOT NULL, instance_id text NOT NULL, PRIMARY KEY (bucket, instance_id));
"""
MIGRATION = f'''
from alembic import op

from perdure.schema import install

revision, down_revision, branch_labels, depends_on = "{NEW}", "{OLD}", None, None


def upgrade() -> None:
    for theme in install.order(revision):
        install.replace(revision, theme)
    op.execute("@DROPS@")


def downgrade() -> None:
    for theme in install.order("{OLD}"):
        if theme != install.TABLES:
            install.restore(revision, theme)
    op.execute("DROP FUNCTION df_engine.claim_v2")
    op.execute("ALTER TABLE df_engine.instances DROP COLUMN purpose")
    op.execute("ALTER TABLE df_engine.tasks DROP COLUMN weight")
    op.execute("DROP TABLE df_engine.extras")
'''


@dataclass(frozen=True, slots=True)
class Release:
    """A copy of the package, in a folder that stands before the installed one in the path; None: the installed one."""

    folder: Path | None

    @property
    def environment(self) -> dict[str, str]:
        """What makes a process run this release."""
        return {} if self.folder is None else {"PYTHONPATH": str(self.folder)}

    def perdure(self, *arguments: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """Run its command to the end."""
        return subprocess.run(
            [sys.executable, "-m", "perdure", *arguments],
            env=clean_environment(self.environment),
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )


def this_release(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command of the release under test."""
    return Release(None).perdure(*arguments)


def upgraded(release: Release, database: Database) -> None:
    """Migrate by a later release. Raises AssertionError."""
    done = release.perdure("migrate", "--dsn", database.dsn(OWNER))
    assert done.returncode == 0, done.stderr
    assert f"revision {NEW} installed" in done.stdout


def registered(database: Database, worker: Started) -> Started:
    """Wait until a worker has said that it is there."""
    query = "SELECT 1 FROM df_engine.workers WHERE pid = %s"
    with database.admin() as admin:
        wait_until(lambda: admin.execute(query, [worker.pid]).fetchone(), 120, f"a worker that registers: {worker.log}")
    return worker


def next_release(folder: Path, *, keeps_old_calls: bool = True) -> Release:
    """Make the next release in ``folder``; with ``keeps_old_calls`` off its schema has dropped what this one calls."""
    package = folder / "perdure"
    shutil.copytree(Path(perdure.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    _new_interpreter(package)
    _new_call(package)
    migrations = package / "migrations"
    drops = "SELECT 1" if keeps_old_calls else "DROP FUNCTION df_engine.claim_v1"
    (migrations / "versions" / f"{NEW}_next.py").write_text(MIGRATION.replace("@DROPS@", drops), "utf-8")
    _freeze(migrations / "frozen", keeps_old_calls)
    return Release(folder)


def _new_interpreter(package: Path) -> None:
    execution = package / "orchestrator" / "execution.py"
    _change(execution, "INTERPRETER = 1", "INTERPRETER = 2")
    _change(
        execution,
        '        taken["marks"] = list(self._marks.values())',
        '        taken["marks"] = list(self._marks.values())\n'
        '        if self.started["interpreter"] >= 2:\n'
        '            taken["marks"].append([-2, "r", None])',
    )
    _change(package / "worker.py", 'return version("perdure")', 'return "0.2.0"')


def _new_call(package: Path) -> None:
    _change(package / "eventstore" / "calls.sql", "claim_v1", "claim_v2")


def _freeze(frozen: Path, keeps_old_calls: bool) -> None:
    shutil.copytree(frozen / OLD, frozen / NEW)
    new = frozen / NEW
    (new / f"{install.TABLES}.sql").write_text(TABLES, "utf-8")
    _change(new / "start.sql", "_i.interpreter := 1;", "_i.interpreter := 2;")
    _change(new / "start.sql", '{"interpreter":1,', '{"interpreter":2,')
    claims = new / "engine_claims.sql"
    text = claims.read_text("utf-8")
    claim = re.search(r"CREATE OR REPLACE FUNCTION df_engine\.claim_v1\(.*?\nEND \$\$;\n", text, re.DOTALL)
    assert claim is not None
    claims.write_text(text + claim[0].replace("claim_v1", "claim_v2"), "utf-8")
    _change(new / "security.sql", "'claim_v1',", "'claim_v1', 'claim_v2'," if keeps_old_calls else "'claim_v2',")


def _change(file: Path, old: str, new: str) -> None:
    text = file.read_text("utf-8")
    assert old in text, f"{file.name} has no {old!r}: bring the simulated release up to date"
    file.write_text(text.replace(old, new), "utf-8")
