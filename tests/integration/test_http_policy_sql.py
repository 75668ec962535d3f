"""The HTTP policy in the database: who writes it, who sees what of it, what a worker is told for a role."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from cluster import OWNER, WORKER, Database
from perdure.activities.egress import Limits, Policy, judge
from perdure.activities.target import parse_url

Connection = psycopg.Connection[Any]


@pytest.fixture
def owner(database: Database) -> Iterator[Connection]:
    with psycopg.connect(database.dsn(OWNER), autocommit=True) as connection:
        yield connection


@pytest.fixture
def worker_session(database: Database) -> Iterator[Connection]:
    with psycopg.connect(database.dsn(WORKER), autocommit=True) as connection:
        yield connection


@pytest.fixture
def alice(database: Database) -> Iterator[Connection]:
    with psycopg.connect(database.dsn("alice"), autocommit=True) as connection:
        yield connection


def policy_of(connection: Connection, role: str = "alice") -> Policy:
    row = connection.execute("SELECT df_engine.http_policy_v1(%s::regrole)", [role]).fetchone()
    assert row is not None
    return Policy.from_json(row[0])


def verdict(policy: Policy, url: str) -> str | None:
    target = parse_url(url)
    assert target.literal is not None
    return judge(policy, target, [target.literal]).reason


def test_fresh_policy_has_no_rules_and_the_default_limits(worker_session: Connection) -> None:
    policy = policy_of(worker_session)
    assert (policy.role, policy.rules, policy.enabled, policy.limits) == ("alice", (), True, Limits())


def test_administrator_opens_the_loopback_network(owner: Connection, worker_session: Connection) -> None:
    assert verdict(policy_of(worker_session), "http://127.0.0.1/") is not None
    owner.execute("INSERT INTO df.http_policy (action, network) VALUES ('allow', '127.0.0.0/8')")
    assert verdict(policy_of(worker_session), "http://127.0.0.1/") is None
    owner.execute("UPDATE df.http_policy SET action = 'deny'")
    assert verdict(policy_of(worker_session), "http://127.0.0.1/") is not None
    owner.execute("DELETE FROM df.http_policy")
    assert policy_of(worker_session).rules == ()


def test_rules_come_in_order_and_whole(owner: Connection, worker_session: Connection) -> None:
    owner.execute(
        "INSERT INTO df.http_policy (rule_no, action, host, network, port_low, port_high, note) VALUES"
        " (20, 'deny', '*', NULL, NULL, NULL, 'the rest'),"
        " (10, 'allow', 'API.example.org.', '2001:db8::/32', 443, NULL, NULL)"
    )
    rules = [str(rule) for rule in policy_of(worker_session).rules]
    assert rules == ["rule 10 (allow api.example.org 2001:db8::/32 port 443-443)", "rule 20 (deny *)"]


def test_rule_for_a_role_concerns_it_and_who_inherits_from_it(
    owner: Connection, worker_session: Connection, database: Database
) -> None:
    with database.admin() as admin:
        admin.execute("DROP ROLE IF EXISTS http_group")
        admin.execute("CREATE ROLE http_group")
        admin.execute("GRANT http_group TO alice")
        try:
            owner.execute(
                "INSERT INTO df.http_policy (role_name, action, host) VALUES"
                " ('http_group', 'allow', 'a'), ('bob', 'allow', 'b'), (NULL, 'allow', 'c'), ('gone', 'deny', 'd')"
            )
            hosts = {role: [r.host for r in policy_of(worker_session, role).rules] for role in ("alice", "bob")}
            superuser = admin.execute("SELECT current_user").fetchone()
            assert superuser is not None
            assert [r.host for r in policy_of(worker_session, superuser[0]).rules] == ["c"]
        finally:
            admin.execute("DROP ROLE http_group")
    assert hosts == {"alice": ["a", "c"], "bob": ["b", "c"]}


@pytest.mark.parametrize(
    "columns",
    [
        {"action": "maybe"},
        {"host": "10.0.0.1"},
        {"host": "::1"},
        {"host": "a..b"},
        {"host": "http://x"},
        {"host": "bücher.example"},
        {"host": ""},
        {"port_low": 0},
        {"port_low": 20, "port_high": 10},
    ],
)
def test_rule_that_could_not_be_understood_is_refused(owner: Connection, columns: dict[str, Any]) -> None:
    row = {"action": "allow", **columns}
    with pytest.raises(psycopg.errors.CheckViolation):
        owner.execute(
            f"INSERT INTO df.http_policy ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))})",
            list(row.values()),
        )


def test_privilege_is_judged_for_each_function_and_at_once(
    owner: Connection, worker_session: Connection, database: Database
) -> None:
    assert policy_of(worker_session).refuse_kind("HTTP") is not None
    owner.execute("SELECT df.grant_usage('alice', include_http => true)")
    policy = policy_of(worker_session)
    assert (policy.refuse_kind("HTTP"), policy.refuse_kind("HTTP_MULTIPART")) == (None, None)
    owner.execute("REVOKE EXECUTE ON FUNCTION df.http(text, text, text, jsonb, integer) FROM alice")
    policy = policy_of(worker_session)
    assert "role 'alice' does not have EXECUTE privilege on df.http()" in str(policy.refuse_kind("HTTP"))
    assert policy.refuse_kind("HTTP_MULTIPART") is None
    with database.admin() as admin:
        name = admin.execute("SELECT current_user").fetchone()
    assert name is not None
    assert policy_of(worker_session, name[0]).refuse_kind("HTTP") is None, "superusers pass"


def test_role_that_is_gone_may_nothing(worker_session: Connection) -> None:
    row = worker_session.execute("SELECT df_engine.http_policy_v1(4294967000::oid::regrole)").fetchone()
    assert row is not None
    policy = Policy.from_json(row[0])
    assert policy.role is None and policy.refuse_kind("HTTP") is not None


def test_settings_reach_the_worker(owner: Connection, worker_session: Connection) -> None:
    owner.execute("UPDATE df.settings SET value = '2048' WHERE name = 'http_max_response_bytes'")
    assert policy_of(worker_session).limits.max_response_bytes == 2048
    owner.execute("UPDATE df.settings SET value = 'off' WHERE name = 'http_enabled'")
    assert "outbound HTTP requests are disabled" in str(policy_of(worker_session).refuse_kind("HTTP"))


def test_users_see_their_rules_if_they_may_send_and_change_none(owner: Connection, alice: Connection) -> None:
    owner.execute(
        "INSERT INTO df.http_policy (role_name, action, host) VALUES"
        " ('bob', 'allow', 'bobs-secret'), (NULL, 'deny', 'x')"
    )
    assert alice.execute("SELECT host FROM df.http_policy").fetchall() == []
    owner.execute("SELECT df.grant_usage('alice', include_http => true)")
    assert alice.execute("SELECT host FROM df.http_policy").fetchall() == [("x",)]
    # A function in the WHERE clause must not be shown the rows of others first.
    alice.execute(
        "CREATE FUNCTION pg_temp.leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS"
        " $$ BEGIN IF $1 = 'bobs-secret' THEN RAISE 'leaked'; END IF; RETURN true; END $$"
    )
    assert alice.execute("SELECT host FROM df.http_policy WHERE pg_temp.leak(host)").fetchall() == [("x",)]
    for statement in (
        "INSERT INTO df.http_policy (action) VALUES ('allow')",
        "UPDATE df.http_policy SET action = 'allow'",
        "DELETE FROM df.http_policy",
        "SELECT df_engine.http_policy_v1('bob'::regrole)",
        "SELECT * FROM df_engine.http_policy",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            alice.execute(statement)
