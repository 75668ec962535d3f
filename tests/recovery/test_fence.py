"""After a restore nothing reaches outside before the operator says so, and then the receiver can tell it apart."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from chaos.crashing import QUICK
from chaos.nursery import Nursery
from chaos.scenarios import TABLES, effect, effects
from cluster import OWNER, WORKER, Database
from perdure.cli import main
from perdure.server import Server
from recovery.receiver import Receiver, receiver
from recovery.servers import Site, archived, database_of, mark
from recovery.workflows import has, signals, start, until, waits_for
from waiting import wait_until

HELD = "outbound steps are held: perdure fence off lets them go"
ELSEWHERE = "$w$SELECT 1$w$"
GATE = 4712  # an advisory lock of the other database


@pytest.fixture
def outside() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


@pytest.fixture
def sender(shop: Database) -> Database:
    """A database where alice may send requests to this machine."""
    with shop.connect("alice") as alice:
        alice.execute(TABLES)
    with shop.connect(OWNER) as owner:
        owner.execute("SELECT df.grant_usage('alice', include_http => true)")
        owner.execute("INSERT INTO df.http_policy (action, network) VALUES ('allow', '127.0.0.0/8')")
    return shop


def perdure(database: Database, *arguments: str) -> str:
    """What a command prints."""
    done = CliRunner().invoke(main.perdure, [*arguments, "--dsn", database.dsn(OWNER)])
    assert done.exit_code == 0, done.output
    return done.output


def request(outside: Receiver, path: str) -> str:
    """A step that sends a request."""
    return f"df.http('{outside.url}{path}', 'POST', 'x')"


def held(database: Database, instance_id: str) -> None:
    """Returns when a workflow waits, and says that it is for the fence."""
    wait_until(lambda: ("queued", HELD) in waits_for(database, instance_id), 60, "the reason of the wait")


@pytest.mark.timeout(300)
def test_nothing_is_sent_after_a_restore_before_the_fence_is_opened(
    place: Site, primary: Server, sender: Database, outside: Receiver, children: Nursery
) -> None:
    """One request is under way at the instant, one is sent after it; both were sent before, and their keys say so."""
    worker = children.start(sender.dsn(WORKER), sender.role_dsn, **{**QUICK, "http_slots": 4})
    backup = place.backup(primary, "backup.fence", by_hand=True)
    go = "df.wait_for_signal('go')"
    under_way = start(sender, request(outside, "/slow"))
    later = start(sender, f"{go} ~> {request(outside, '/later')}")
    elsewhere = start(sender, f"{go} ~> {ELSEWHERE} ~> {ELSEWHERE}", "postgres")
    inside = start(sender, f"{go} ~> {effect('a')}")
    for waiting in (later, elsewhere, inside):
        until(sender, waiting, "signal")
    wait_until(lambda: outside.keys("/slow"), 60, "the request under way")
    mark(primary, "before the fence")
    outside.answer.set()
    for waiting in (later, elsewhere, inside):
        signals(sender, waiting, "go")
    for instance_id in (under_way, later, elsewhere, inside):
        has(sender, instance_id, "completed")
    sent = list(outside.asked)
    assert sorted(path for path, _ in sent) == ["/later", "/slow"]
    worker.kill()
    archived(primary)

    server = place.restored(backup, "fenced", {"recovery_target_name": "before the fence"})
    restored = database_of(server, sender.name)
    assert "are held; 0 wait, 1 runs" in perdure(restored, "fence", "on")
    children.start(restored.dsn(WORKER), restored.role_dsn, **{**QUICK, "http_slots": 4})
    for waiting in (later, elsewhere, inside):
        signals(restored, waiting, "go")
    has(restored, inside, "completed")
    for instance_id in (under_way, later, elsewhere):
        held(restored, instance_id)
    assert "are held; 3 wait, 0 run" in perdure(restored, "fence", "status")
    assert "outbound steps are held" in perdure(restored, "status")
    assert outside.asked == sent
    assert "not held" in perdure(restored, "fence", "off")
    for instance_id in (under_way, later, elsewhere):
        has(restored, instance_id, "completed")
    assert sorted(outside.asked[len(sent) :]) == sorted(sent)
    with restored.admin() as admin:
        assert effects(admin, inside) == {"a": 1}
        assert admin.execute("SELECT * FROM df.check()").fetchall() == []


@pytest.mark.timeout(300)
def test_fence_stops_what_follows_a_step_that_a_worker_runs_already(sender: Database, children: Nursery) -> None:
    """Steps of one workflow in another database follow each other in one worker; the fence comes between them."""
    children.start(sender.dsn(WORKER), sender.role_dsn, **QUICK)
    with sender.cluster.admin("postgres") as elsewhere, sender.admin() as admin:
        elsewhere.execute("SELECT pg_advisory_lock(%s)", [GATE])
        chain = start(sender, f"{ELSEWHERE} ~> $w$SELECT pg_advisory_xact_lock({GATE})$w$ ~> {ELSEWHERE}", "postgres")
        waiting = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND NOT granted"
        wait_until(lambda: admin.execute(waiting, [GATE]).fetchone() is not None, 60, "the step in the middle")
        assert "are held; 0 wait, 1 runs" in perdure(sender, "fence", "on")
        elsewhere.execute("SELECT pg_advisory_unlock(%s)", [GATE])
        held(sender, chain)
        assert "are held; 1 waits, 0 run" in perdure(sender, "fence", "status")
        perdure(sender, "fence", "off")
        has(sender, chain, "completed")
        attempts = "SELECT count(*) FROM df_engine.history WHERE kind = 'ActivityAttemptFailed' AND instance_id = %s"
        assert admin.execute(attempts, [chain]).fetchone() == (0,)
