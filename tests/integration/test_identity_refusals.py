"""Why a login is refused is told from the catalogue, in whatever language the server speaks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, cast

import psycopg
import pytest

from asking import value
from cluster import WORKER, Database, Workers
from passwords import foreign_server, speaks_english
from perdure.activities.failures import ActivityError
from perdure.eventstore.connections import Connections
from perdure.eventstore.engine import Engine
from perdure.eventstore.errors import is_gone
from perdure.refusals import Crowded, Login, Refusals, RoleBlocked, last_words
from perdure.server import Server
from waiting import ENDED, eventually_status, wait_until

SECONDS = 60
SAID = "ВАЖНО:  что-то не так"
FORGED = f'connection failed: connection to server at "127.0.0.1", port 5432 failed: {SAID}\n'


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Database]]:
    """A server that speaks another language where it can, and a worker that logs in as roles by a password."""
    if os.environ.get("PERDURE_TEST_DSN"):
        pytest.skip("makes a server of its own")
    folder = tmp_path_factory.mktemp("worker")
    passfile = folder / "passfile"
    passfile.write_text("*:*:*:*:perdure\n")
    passfile.chmod(0o600)
    with foreign_server() as (server, database):
        workers = Workers(database, folder)
        tcp = f"host=127.0.0.1 port={server.port}"
        mine = f"{tcp} user={WORKER} password=perdure dbname=shop"
        try:
            workers.start("--passfile", str(passfile), "--role-dsn", tcp, dsn=mine)
            yield server, database
        finally:
            workers.stop()
            for worker in workers.started:
                print(worker.log)


@pytest.fixture
def shop(foreign: tuple[Server, Database]) -> Iterator[tuple[Database, psycopg.Connection[Any]]]:
    """The database and an administrator's connection; the role clerk is made anew for each test."""
    _, database = foreign
    with database.admin() as admin:
        admin.execute("CREATE ROLE clerk LOGIN PASSWORD 'perdure'; SELECT df.grant_usage('clerk')")
        try:
            yield database, admin
        finally:
            admin.execute("RESET ROLE; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'clerk'")
            if value(admin, "to_regrole('clerk')") is not None:
                admin.execute("DROP OWNED BY clerk CASCADE; DROP ROLE clerk")


def reason(admin: psycopg.Connection[Any], instance: str) -> str:
    return value(admin, "(SELECT min(reason) FROM df.waiting(%s))", instance) or ""


def attempts_lost(admin: psycopg.Connection[Any], instance: str) -> int:
    lost = "(SELECT count(*) FROM df.history(%s) WHERE kind = 'ActivityAttemptFailed')"
    return cast(int, value(admin, lost, instance))


def test_the_messages_are_in_another_language(foreign: tuple[Server, Database]) -> None:
    """Else the tests here show less than they could."""
    if speaks_english(foreign[0]):
        pytest.skip("no PostgreSQL with translations is installed")


@pytest.mark.parametrize(
    ("change", "back", "said"),
    [
        ("PASSWORD 'another'", "PASSWORD 'perdure'", ""),
        ("VALID UNTIL '2001-01-01'", "VALID UNTIL 'infinity'", "was valid until 2001-01-01"),
        ("CONNECTION LIMIT 0", "CONNECTION LIMIT -1", "role clerk may have no connections"),
    ],
    ids=["password", "VALID UNTIL", "CONNECTION LIMIT 0"],
)
def test_a_refused_login_is_waited_for_with_a_reason(
    shop: tuple[Database, psycopg.Connection[Any]], change: str, back: str, said: str
) -> None:
    _, admin = shop
    admin.execute(cast(Any, f"ALTER ROLE clerk {change}"))
    admin.execute("SET ROLE clerk")  # a login is no way in any more
    instance = cast(str, value(admin, "df.start('SELECT 1')"))
    admin.execute("RESET ROLE")
    begins = "Failed to connect to database 'shop' as 'clerk': "
    wait_until(lambda: reason(admin, instance).startswith(begins), SECONDS)
    assert said in reason(admin, instance)
    warnings: list[str] = []
    admin.add_notice_handler(lambda notice: warnings.append(notice.message_primary or ""))
    admin.execute("SET ROLE clerk")
    again = cast(str, value(admin, "df.start('SELECT 1')"))
    admin.execute("RESET ROLE")
    assert any("cannot log in as clerk" in warning for warning in warnings)
    admin.execute(cast(Any, f"ALTER ROLE clerk {back}"))
    for waited in (instance, again):
        assert eventually_status(admin, waited, "completed", SECONDS) == "completed"
        assert attempts_lost(admin, waited) == 0


def test_a_role_without_a_free_connection_waits_for_one(shop: tuple[Database, psycopg.Connection[Any]]) -> None:
    database, admin = shop
    admin.execute("ALTER ROLE clerk CONNECTION LIMIT 2")
    with database.connect("clerk"), database.connect("clerk") as second:
        instance = cast(str, value(second, "df.start('SELECT 1')"))
        wait_until(lambda: "2 of 2 connections of role clerk are taken" in reason(admin, instance), SECONDS)
    assert eventually_status(admin, instance, "completed", SECONDS) == "completed"
    assert attempts_lost(admin, instance) == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("ALTER ROLE clerk NOLOGIN", "as 'clerk': role \"clerk\" is not permitted to log in"),
        ("REVOKE CONNECT ON DATABASE shop FROM PUBLIC", "as 'clerk': permission denied for database \"shop\""),
        ("DROP OWNED BY clerk CASCADE; DROP ROLE clerk", "submitted_by role no longer exists in pg_roles"),
    ],
    ids=["NOLOGIN", "no CONNECT", "gone"],
)
def test_a_role_that_can_never_log_in_fails_its_step(
    shop: tuple[Database, psycopg.Connection[Any]], change: str, words: str
) -> None:
    database, admin = shop
    with database.connect("clerk") as clerk:
        instance = cast(str, value(clerk, "df.start(df.wait_for_signal('go') ~> 'SELECT 1')"))
    wait_until(lambda: value(admin, "(SELECT count(*) FROM df.waiting(%s) WHERE waits_for = 'signal')", instance) == 1)
    try:
        admin.execute(cast(Any, f"GRANT CONNECT ON DATABASE shop TO {WORKER}; {change}"))
        value(admin, "df.signal(%s, 'go')", instance)
        assert eventually_status(admin, instance, ENDED, SECONDS) == "failed"
    finally:
        admin.execute("GRANT CONNECT ON DATABASE shop TO PUBLIC")
    assert words in value(admin, "(SELECT error FROM df.instances WHERE id = %s)", instance)


# ------------------------------------------------------------------------------- the catalogue's answer, by itself


@pytest.fixture
def refusals(database: Database) -> Iterator[Refusals]:
    """What a worker without any slots thinks of errors that it is shown."""
    connections = Connections(database.dsn(WORKER), 2)
    engine = Engine(connections)
    engine.register("test", 1, 1, 60.0)
    try:
        yield Refusals(engine)
    finally:
        engine.mine("deregister")
        connections.close()


@pytest.fixture
def role(database: Database) -> Iterator[psycopg.Connection[Any]]:
    """An administrator's connection; the role ``dfr_one``."""
    with database.admin() as admin:
        admin.execute("CREATE ROLE dfr_one LOGIN PASSWORD 'perdure'")
        admin.execute("CREATE DATABASE dfr_other")
        try:
            yield admin
        finally:
            admin.execute("DROP DATABASE dfr_other WITH (FORCE)")
            admin.execute("DROP OWNED BY dfr_one; DROP ROLE dfr_one")


def forged(admin: psycopg.Connection[Any], refusals: Refusals, database: str, home: bool = True) -> Exception:
    login = Login(cast(int, value(admin, "'dfr_one'::regrole::oid")), "dfr_one", "dfr_one", database, home)
    return refusals.of_login(login, psycopg.OperationalError(FORGED))


def test_what_nothing_explains_is_a_refusal_the_second_time(database: Database, refusals: Refusals, role: Any) -> None:
    owner = value(role, "'dfr_one'::regrole::oid")
    assert isinstance(forged(role, refusals, database.name), Crowded)
    assert refusals.blocked() == []
    second = forged(role, refusals, database.name)
    assert isinstance(second, RoleBlocked)
    assert str(second).endswith(SAID)
    assert refusals.blocked() == [owner]
    assert value(role, "(SELECT count(*) FROM df_engine.role_blocks WHERE owner = %s)", owner) == 1
    refusals.cleared(owner)
    assert refusals.blocked() == []
    assert value(role, "(SELECT count(*) FROM df_engine.role_blocks)") == 0
    assert isinstance(forged(role, refusals, database.name), Crowded)


def test_a_refusal_elsewhere_blocks_no_steps_at_home(refusals: Refusals, role: Any) -> None:
    forged(role, refusals, "dfr_other", home=False)
    assert isinstance(forged(role, refusals, "dfr_other", home=False), RoleBlocked)
    assert refusals.blocked() == []


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ("ALTER ROLE dfr_one CONNECTION LIMIT 1", Crowded, ""),  # none is taken: nothing that explains it
        ("ALTER ROLE dfr_one CONNECTION LIMIT 0", RoleBlocked, "role dfr_one may have no connections"),
        ("ALTER ROLE dfr_one VALID UNTIL '2001-01-01'", RoleBlocked, "password of role dfr_one was valid until"),
        ("ALTER DATABASE dfr_other CONNECTION LIMIT 0", RoleBlocked, "database dfr_other may have no connections"),
        ("ALTER DATABASE dfr_other ALLOW_CONNECTIONS false", ActivityError, "dfr_other accepts no connections"),
    ],
)
def test_what_the_catalogue_explains(
    refusals: Refusals, role: Any, change: str, kind: type[Exception], words: str
) -> None:
    role.execute(cast(Any, change))
    refusal = forged(role, refusals, "dfr_other", home=False)
    assert type(refusal) is kind
    text = refusal.failure.message if isinstance(refusal, ActivityError) else str(refusal)
    assert "Failed to connect to database 'dfr_other' as 'dfr_one': " in text
    assert words in text


def test_limits_that_are_reached(database: Database, refusals: Refusals, role: Any) -> None:
    role.execute("ALTER ROLE dfr_one CONNECTION LIMIT 2; ALTER DATABASE dfr_other CONNECTION LIMIT 2")
    other = database.cluster.dsn("dfr_other", "dfr_one")
    with psycopg.connect(other), psycopg.connect(other):
        refusal = forged(role, refusals, database.name)
        assert isinstance(refusal, Crowded)
        assert "2 of 2 connections of role dfr_one are taken" in str(refusal)
        role.execute("ALTER ROLE dfr_one CONNECTION LIMIT -1")
        refusal = forged(role, refusals, "dfr_other")
        assert "2 of 2 connections of database dfr_other are taken" in str(refusal)


def test_a_crowd_is_shown_only_where_nothing_of_the_role_runs(
    database: Database, refusals: Refusals, role: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perdure.refusals.SHOWN_SECONDS", 0.0)
    role.execute("ALTER ROLE dfr_one CONNECTION LIMIT 1")
    owner = value(role, "'dfr_one'::regrole::oid")
    shown = "(SELECT count(*) FROM df_engine.role_blocks)"
    with psycopg.connect(database.cluster.dsn("dfr_other", "dfr_one")):
        forged(role, refusals, database.name)
        refusals.served(owner)
        forged(role, refusals, database.name)
        assert value(role, shown) == 0
        forged(role, refusals, database.name)
        assert value(role, shown) == 1
        refusals.served(owner)
        assert value(role, shown) == 0


def test_an_engine_that_does_not_answer_either_blocks_nobody(database: Database) -> None:
    gone = Refusals(Engine(Connections("host=/nowhere port=1 dbname=none user=none", 1)))
    login = Login(1, "dfr_one", "dfr_one", database.name, True)
    for _ in range(3):
        assert isinstance(gone.of_login(login, psycopg.OperationalError(FORGED)), Crowded)
    assert gone.blocked() == []


@pytest.mark.parametrize("login", [WORKER, "alice"])
def test_every_worker_may_ask_a_role_s_own_included(database: Database, login: str) -> None:
    connections = Connections(database.dsn(login), 1)
    engine = Engine(connections)
    engine.register("test", 1, 1, 60.0)
    assert engine.mine("login_trouble", "alice", database.name) == [(None, None)]
    engine.mine("deregister")
    connections.close()


def test_only_a_worker_may_ask(database: Database) -> None:
    with database.connect("alice") as alice, pytest.raises(psycopg.Error) as caught:
        alice.execute("SELECT * FROM df_engine.login_trouble_v1(1, 'x', 'alice', 'postgres')")
    assert is_gone(caught.value)


@pytest.mark.parametrize(
    ("message", "last"),
    [
        (FORGED, f'connection to server at "127.0.0.1", port 5432 failed: {SAID}'),
        ('connection to server at "h" failed: FATAL:  no\npassword retrieved from file "/x"\n', None),
        ("FATAL:  nein\nDETAIL:  nie\n", "FATAL:  nein"),
        ("", "OperationalError"),
        ("eins\nzwei", "zwei"),
    ],
)
def test_the_last_words_of_a_server(message: str, last: str | None) -> None:
    assert last_words(psycopg.OperationalError(message)) == (last or message.splitlines()[0])
