"""Leaf constructors: each makes one node, byte for byte, or says why not."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from asking import Connection, one_database, refusal, value, words
from cluster import Cluster, Database


@pytest.fixture(scope="module")
def shared(cluster: Cluster, template: str) -> Iterator[Database]:
    """One database for the tests of this module."""
    with one_database(cluster, template) as database:
        yield database


@pytest.fixture
def alice(shared: Database) -> Iterator[Connection]:
    """An ordinary user."""
    with shared.connect() as connection:
        yield connection


@pytest.fixture
def http_user(shared: Database) -> Iterator[Connection]:
    """A user with HTTP."""
    with shared.connect("perdure_owner") as owner:
        owner.execute("SELECT df.grant_usage('bob', include_http => true)")
    with shared.connect("bob") as connection:
        yield connection


@pytest.mark.parametrize(
    ("expression", "envelope"),
    [
        ("df.sql('SELECT 1')", '{"node_type":"SQL","query":"SELECT 1"}'),
        ("df.sql('')", '{"node_type":"SQL","query":""}'),
        (
            """df.sql('{"node_type":"SLEEP","query":"1"}')""",
            r'{"node_type":"SQL","query":"{\"node_type\":\"SLEEP\",\"query\":\"1\"}"}',
        ),
        (
            "df.sql(E'tab\\t quote\" back\\\\ line\\n é \\u0001')",
            r'{"node_type":"SQL","query":"tab\t quote\" back\\ line\n é \u0001"}',
        ),
        ("df.sleep(0)", '{"node_type":"SLEEP","query":"0"}'),
        ("df.sleep(86400)", '{"node_type":"SLEEP","query":"86400"}'),
        (
            "df.wait_for_schedule('0 9 * * 1-5')",
            r'{"node_type":"WAIT_SCHEDULE","query":"{\"cron_expr\":\"0 9 * * 1-5\"}"}',
        ),
        (
            "df.wait_for_schedule('@daily', 'Europe/Vienna')",
            r'{"node_type":"WAIT_SCHEDULE","query":"{\"cron_expr\":\"@daily\",\"timezone\":\"Europe/Vienna\"}"}',
        ),
        (
            "df.wait_for_signal('go')",
            r'{"node_type":"SIGNAL","query":"{\"signal_name\":\"go\",\"timeout_seconds\":null}"}',
        ),
        (
            "df.wait_for_signal('go', 60)",
            r'{"node_type":"SIGNAL","query":"{\"signal_name\":\"go\",\"timeout_seconds\":60}"}',
        ),
        (
            "df.wait_for_signal(timeout_seconds => 5, name => 'a \"b\"')",
            r'{"node_type":"SIGNAL","query":"{\"signal_name\":\"a \\\"b\\\"\",\"timeout_seconds\":5}"}',
        ),
        (
            "df.wait_for_instance('$child', 9)",
            r'{"node_type":"WAIT_INSTANCE","query":"{\"instance_id\":\"$child\",\"timeout_seconds\":9}"}',
        ),
        ("df.break()", r'{"node_type":"BREAK","query":"{\"break_value\":null}"}'),
        ("df.break(NULL)", r'{"node_type":"BREAK","query":"{\"break_value\":null}"}'),
        ("df.break('$r.summary')", r'{"node_type":"BREAK","query":"{\"break_value\":\"$r.summary\"}"}'),
        (
            """df.break('{"node_type":"SQL","query":"x"}')""",
            r'{"node_type":"BREAK","query":"{\"break_value\":\"{\\\"node_type\\\":\\\"SQL\\\",\\\"query\\\":\\\"x\\\"}\"}"}',
        ),
    ],
)
def test_a_leaf_is_made_byte_for_byte(alice: Connection, expression: str, envelope: str) -> None:
    assert value(alice, expression) == envelope


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("df.sleep(-1)", "Sleep duration must be non-negative"),
        ("df.wait_for_signal('')", "Signal name cannot be empty"),
        ("df.wait_for_signal('x', 0)", "Timeout must be positive"),
        ("df.wait_for_signal('x', -5)", "Timeout must be positive"),
        ("df.wait_for_signal(NULL)", "name must not be NULL"),
        ("df.wait_for_instance('')", "Instance ID cannot be empty"),
        ("df.wait_for_instance('abc', 0)", "Timeout must be positive"),
        ("df.wait_for_schedule('nonsense')", "Invalid cron expression 'nonsense': "),
        ("df.wait_for_schedule('* * * * *', 'Mars/Olympus')", "Unknown time zone 'Mars/Olympus'"),
    ],
)
def test_a_bad_argument_is_refused_when_the_leaf_is_built(alice: Connection, expression: str, message: str) -> None:
    assert message in words(refusal(alice, expression))


@pytest.mark.parametrize("expression", ["df.sleep(1.5)", "df.wait_for_signal('x', 'y')", "df.if('a', 'b')"])
def test_what_has_no_such_form_does_not_resolve(alice: Connection, expression: str) -> None:
    assert refusal(alice, expression).sqlstate in ("42883", "22P02")


@pytest.mark.parametrize(
    "expression",
    [
        "df.sql(NULL)",
        "df.sleep(NULL)",
        "df.wait_for_schedule(NULL)",
        "df.wait_for_schedule(NULL, 'UTC')",
        "df.wait_for_schedule('@daily', NULL)",
    ],
)
def test_strict_leaves_of_null_are_null(alice: Connection, expression: str) -> None:
    assert value(alice, expression) is None


def test_the_same_call_gives_the_same_bytes(alice: Connection) -> None:
    call = "df.seq(df.wait_for_schedule('*/5 * * * *'), df.wait_for_signal('x', 3))"
    first = value(alice, call)
    alice.execute("SELECT pg_sleep(0)")
    assert value(alice, call) == first


# ------------------------------------------------------------------------------------------------------------- HTTP


def config(envelope: str) -> str:
    return str(json.loads(envelope)["query"])


def test_http_writes_its_configuration_in_order(http_user: Connection) -> None:
    built = value(http_user, "df.http('https://example.com/x')")
    assert json.loads(built)["node_type"] == "HTTP"
    assert (
        config(built)
        == '{"url":"https://example.com/x","method":"POST","body":null,"headers":null,"timeout_seconds":30}'
    )
    built = value(
        http_user, """df.http('HTTP://h', 'get', '{"a": 1}', '{"Zeta": "1", "a": "x: y"}', timeout_seconds => 5)"""
    )
    assert config(built) == (
        r'{"url":"HTTP://h","method":"GET","body":"{\"a\": 1}","headers":{"a":"x: y","Zeta":"1"},"timeout_seconds":5}'
    )


def test_http_multipart_writes_its_configuration_in_order(http_user: Connection) -> None:
    built = value(http_user, """df.http_multipart('https://h/up', 'put', '[{"name": "f", "data_b64": "eA=="}, {}]')""")
    assert json.loads(built)["node_type"] == "HTTP_MULTIPART"
    assert config(built) == (
        '{"url":"https://h/up","method":"PUT","parts":[{"name":"f","data_b64":"eA=="},{}],"headers":null,'
        '"timeout_seconds":30}'
    )


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("df.http('ftp://x/y')", "Blocked: unsupported URL scheme 'ftp'. Only http and https are allowed."),
        ("df.http('$base/y')", "Blocked: unsupported URL scheme"),
        ("df.http('x')", "Blocked: unsupported URL scheme"),
        ("df.http('https://x', 'HEAD')", "Invalid HTTP method: "),
        ("df.http('https://x', timeout_seconds => 0)", "Timeout must be positive"),
        ("df.http('ftp://x', 'HEAD', timeout_seconds => 0)", "Blocked: unsupported URL scheme"),
        ("df.http('https://x', 'HEAD', timeout_seconds => 0)", "Invalid HTTP method: "),
        ("df.http(NULL)", "url must not be NULL"),
        ("""df.http('https://x', headers => '["a"]')""", "headers must be a JSON object"),
        ("""df.http('https://x', headers => '{"a": 1}')""", "header 'a' must be a string, not number"),
        (
            """df.http_multipart('https://x', parts => '[{}]', headers => '{"a": null}')""",
            "header 'a' must be a string",
        ),
        ("df.http_multipart('https://x', 'GET')", "Invalid HTTP method for multipart: "),
        ("df.http_multipart('https://x', 'DELETE', '[{}]')", "Invalid HTTP method for multipart: "),
        ("df.http_multipart('https://x')", "parts is required and cannot be NULL"),
        ("df.http_multipart('https://x', parts => '{}')", "parts must be a JSON array of part objects"),
        ("df.http_multipart('https://x', parts => '[]')", "parts must contain at least one part"),
        ("df.http_multipart('https://x', parts => '[]', timeout_seconds => -1)", "Timeout must be positive"),
    ],
)
def test_http_is_checked_when_built(http_user: Connection, expression: str, message: str) -> None:
    assert message in words(refusal(http_user, expression))


@pytest.mark.parametrize("url", ["{base}/x", "ftp://{host}/x", "http://127.0.0.1/x", "HTTPS://X"])
def test_http_leaves_variables_and_hosts_to_the_worker(http_user: Connection, url: str) -> None:
    assert json.loads(config(value(http_user, "df.http(%s)", url)))["url"] == url


@pytest.mark.parametrize("call", ["http", "http_multipart"])
def test_http_switched_off_is_refused_before_anything_else(database: Database, call: str) -> None:
    with database.connect("perdure_owner") as owner:
        owner.execute("UPDATE df.settings SET value = 'off' WHERE name = 'http_enabled'")
        assert words(refusal(owner, f"df.{call}('ftp://x')")) == f"df.{call}() is disabled"


@pytest.mark.parametrize("call", ["df.http('https://x')", "df.http_multipart('https://x', parts => '[{}]')"])
def test_http_needs_to_be_granted(alice: Connection, call: str) -> None:
    assert refusal(alice, call).sqlstate == "42501"
