"""The guide tells the truth: each page is typed into psql from top to bottom, and what it shows must come out.

A ```sql block is typed as it stands. The ```text block after it, if there is one, is what psql prints: its output, then
its errors. A block without one must run without an error. Ids of instances are all alike to the comparison.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from asking import one_database
from cluster import Cluster, Database, Workers, clean_environment
from perdure import binaries
from perdure.eventstore import events
from servers.bin import httpbin

GUIDE = Path(__file__).parents[2] / "docs" / "guide"
PAGES = sorted(GUIDE.glob("[0-9]*.md"))
WEB = "http://127.0.0.1:8080"
_BLOCK = re.compile(r"^```sql\n(.*?)^```\n(?:\n*^```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
_ID = re.compile(r"\b[0-9a-f]{8}\b")
_END = "@@ the end of block {} @@"


@dataclass(frozen=True, slots=True)
class Block:
    """What a page says to type, and what it says comes out."""

    typed: str
    shown: str | None


def blocks(page: str) -> list[Block]:
    """The blocks of a page in order."""
    return [Block(found[1], found[2]) for found in _BLOCK.finditer(page)]


def typed_into_psql(dsn: str, statements: list[str]) -> list[str]:
    """What psql prints for each of the texts, one session for all: output first, then errors."""
    script = "".join(
        f"{text}\n\\echo {_END.format(number)}\n\\warn {_END.format(number)}\n"
        for number, text in enumerate(statements)
    )
    done = subprocess.run(
        [binaries.psql(), "-X", "-q", "-P", "footer=off", "-v", "SHOW_CONTEXT=never", "-d", dsn],
        input=script,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=clean_environment(),
    )
    outputs, errors = _parted(done.stdout, len(statements)), _parted(done.stderr, len(statements))
    return [output + error for output, error in zip(outputs, errors, strict=True)]


def _parted(text: str, count: int) -> list[str]:
    parts = []
    for number in range(count):
        part, found, text = text.partition(_END.format(number) + "\n")
        assert found, f"psql ended in block {number}: {part}"
        parts.append(part)
    return parts


def comparable(text: str) -> str:
    """Without what differs from run to run, and without blanks at the ends of lines."""
    lines = [line.rstrip() for line in _ID.sub("0a1b2c3d", text).splitlines()]
    return "\n".join(lines).strip("\n")


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    """The address of a web server that echoes what it is sent."""
    with httpbin() as address:
        yield address


@pytest.fixture(scope="module")
def readers_database(cluster: Cluster, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """One database and one worker for all pages; its reader may send HTTP requests to this machine."""
    with one_database(cluster, template) as database:
        with database.connect("perdure_owner") as owner:
            owner.execute("SELECT df.grant_usage('alice', include_http => true)")
            owner.execute("INSERT INTO df.http_policy (action, network) VALUES ('allow', '127.0.0.0/8')")
        workers = Workers(database, tmp_path_factory.mktemp("guide"))
        workers.start()
        try:
            yield database
        finally:
            workers.stop()
            print(workers.started[0].log)


def test_the_guide_has_pages_with_blocks() -> None:
    assert len(PAGES) >= 15
    assert all(blocks(page.read_text("utf-8")) for page in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_page_shows_what_comes_out(page: Path, readers_database: Database, web: str) -> None:
    found = blocks(page.read_text("utf-8"))
    answers = typed_into_psql(readers_database.dsn("alice"), [block.typed.replace(WEB, web) for block in found])
    for block, answer in zip(found, answers, strict=True):
        output = answer.replace(web, WEB).replace(readers_database.name, "perdure")
        if block.shown is None:
            assert "ERROR" not in output, f"{block.typed}\n{output}"
        else:
            assert comparable(output) == comparable(block.shown), f"after typing:\n{block.typed}"


def test_every_event_is_described() -> None:
    described = (GUIDE.parent / "history-events.md").read_text("utf-8")
    kinds = [value for name, value in vars(events).items() if name.isupper() and isinstance(value, str)]
    assert len(kinds) > 20
    assert [kind for kind in kinds if f"`{kind}`" not in described] == []


def test_every_link_between_pages_leads_somewhere() -> None:
    root = GUIDE.parents[1]
    pages = [*root.glob("*.md"), *root.glob("docs/**/*.md"), *root.glob("examples/*.md")]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#:]+)[^):]*\)", page.read_text("utf-8"))]
    assert len(links) > 50
    assert [f"{page.relative_to(root)}: {link}" for page, link in links if not (page.parent / link).exists()] == []
