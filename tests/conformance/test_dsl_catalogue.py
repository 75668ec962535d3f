"""Names, argument names, defaults, volatility, strictness and security of the language's functions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from asking import Connection, one_database, value
from cluster import Cluster

HTTP = "method text DEFAULT 'POST'::text"
REST = "headers jsonb DEFAULT NULL::jsonb, timeout_seconds integer DEFAULT 30"

# signature -> arguments with defaults, strict
FUNCTIONS = {
    "df.sql(text)": ("query text", True),
    "df.seq(text,text)": ("a text, b text", True),
    "df.as(text,text)": ("fut text, name text", True),
    "df.sleep(bigint)": ("seconds bigint", True),
    "df.wait_for_schedule(text)": ("cron_expr text", True),
    "df.wait_for_signal(text,integer)": ("name text, timeout_seconds integer DEFAULT NULL::integer", False),
    "df.loop(text,text)": ("body text, condition text DEFAULT NULL::text", False),
    "df.break(text)": ("value text DEFAULT NULL::text", False),
    "df.if(text,text,text)": ("condition text, then_branch text, else_branch text", True),
    "df.if_rows(text,text,text)": ("result_name text, then_branch text, else_branch text", True),
    "df.join(text,text)": ("a text, b text", True),
    "df.join3(text,text,text)": ("a text, b text, c text", True),
    "df.race(text,text)": ("a text, b text", True),
    "df.http(text,text,text,jsonb,integer)": (f"url text, {HTTP}, body text DEFAULT NULL::text, {REST}", False),
    "df.http_multipart(text,text,jsonb,jsonb,integer)":
        (f"url text, {HTTP}, parts jsonb DEFAULT NULL::jsonb, {REST}", False),
    "df.setvar(text,text)": ("name text, value text", True),
    "df.getvar(text)": ("name text", True),
    "df.unsetvar(text)": ("name text", True),
    "df.clearvars()": ("", True),
    "df.grant_usage(text,boolean,boolean)":
        ("p_role text, include_http boolean DEFAULT false, with_grant boolean DEFAULT false", False),
    "df.revoke_usage(text)": ("p_role text", False),
    # Ours.
    "df.seq(text[])": ("VARIADIC steps text[]", True),
    "df.join(text[])": ("VARIADIC branches text[]", True),
    "df.wait_for_schedule(text,text)": ("cron_expr text, timezone text", True),
    "df.wait_for_instance(text,integer)": ("instance_id text, timeout_seconds integer DEFAULT NULL::integer", False),
}  # fmt: skip
HELPERS = {
    "df.as_op(text,text)": "fut text, name text",
    "df.loop_prefix_op(text)": "body text",
    "df.if_then_op(text,text)": "condition text, then_branch text",
    "df.if_else_op(text,text)": "partial_if text, else_branch text",
}
VOID = ("df.grant_usage", "df.revoke_usage")


@pytest.fixture(scope="module")
def alice(cluster: Cluster, template: str) -> Iterator[Connection]:
    """An ordinary user, for tests that leave nothing behind."""
    with one_database(cluster, template) as database, database.connect() as connection:
        yield connection


@pytest.mark.parametrize("signature", FUNCTIONS)
def test_a_function_is_as_documented(alice: Connection, signature: str) -> None:
    arguments, strict = FUNCTIONS[signature]
    found = alice.execute(
        """SELECT pg_get_function_arguments(oid), proisstrict, provolatile, proparallel, prosecdef,
                  prorettype::regtype::text FROM pg_proc WHERE oid = %s::regprocedure""",
        [signature],
    ).fetchone()
    assert found == (arguments, strict, "v", "u", False, "void" if signature.startswith(VOID) else "text")


@pytest.mark.parametrize("signature", HELPERS)
def test_operator_helpers_are_immutable(alice: Connection, signature: str) -> None:
    found = alice.execute(
        """SELECT pg_get_function_arguments(oid), proisstrict, provolatile, prosecdef, proconfig IS NOT NULL
           FROM pg_proc WHERE oid = %s::regprocedure""",
        [signature],
    ).fetchone()
    assert found == (HELPERS[signature], False, "i", False, True)


@pytest.mark.parametrize(
    ("operator", "left", "function"),
    [
        ("~>", "text", "df.seq(text,text)"),
        ("|=>", "text", "df.as_op(text,text)"),
        ("&", "text", 'df."join"(text,text)'),
        ("|", "text", "df.race(text,text)"),
        ("?>", "text", "df.if_then_op(text,text)"),
        ("!>", "text", "df.if_else_op(text,text)"),
        ("@>", None, "df.loop_prefix_op(text)"),
    ],
)
def test_the_operators(alice: Connection, operator: str, left: str | None, function: str) -> None:
    found = alice.execute(
        """SELECT oprcode = %s::regprocedure, oprresult::regtype::text, oprnamespace::regnamespace::text
           FROM pg_operator
           WHERE oprname = %s AND oprleft = coalesce(%s::regtype::oid, 0) AND oprright = 'text'::regtype
             AND oprnamespace = 'public'::regnamespace""",
        [function, operator, left],
    ).fetchone()
    assert found == (True, "text", "public")


@pytest.mark.parametrize("name", ["debug_connection", "ensure_durofut", "then", "secrets", "setsecret"])
def test_names_that_must_not_exist(alice: Connection, name: str) -> None:
    assert not value(
        alice, "EXISTS (SELECT FROM pg_proc WHERE proname = %s AND pronamespace = 'df'::regnamespace)", name
    )


def test_no_function_of_df_runs_as_its_owner(alice: Connection) -> None:
    definers = "array(SELECT proname::text FROM pg_proc WHERE pronamespace = 'df'::regnamespace AND prosecdef)"
    assert value(alice, definers) == []
