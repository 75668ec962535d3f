"""Who can do what: every documented role, made by the printed script, tries every action.

The roles are groups; whoever acts is a member that may log in, as people are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import psycopg
import pytest

from asking import value
from cluster import OWNER, WORKER, Cluster, Database, copy_template, drop_database, numbered
from perdure.cli import proxies

_names = numbered("perdure_duties")
GROUPS = ("viewer", "operator", "administrator", "user")
ALL = ("owner", "worker", "administrator", "operator", "user", "viewer", "nobody")
USERS = ("owner", "administrator", "operator", "user")
DENIED = ("42501",)  # insufficient_privilege
HIDDEN = ("42501", "P0002")  # or not to be seen
DF = "SELECT df."
INSERT_WORKER = (
    "INSERT INTO df.ingress_workers (key_hash, release, interpreter, host, pid, slots, lease_seconds, only_role)"
    " VALUES ('00', 't', 1, 'h', 1, 1, 1, {})"
)


@dataclass(frozen=True, slots=True)
class Action:
    """A statement, who may run it, and how others are refused. ``{theirs}`` is a workflow of somebody else."""

    name: str
    statement: str
    allowed: tuple[str, ...]
    refused: tuple[str, ...] = DENIED


SEEN = "SELECT 1 / count(*) FROM {}"  # division by zero: what is not seen is not there
NOT_SEEN = ("42501", "22012")
ACTIONS = (
    Action("write an expression", DF + "sql('SELECT 1')", (*USERS, "worker", "viewer")),
    Action("start a workflow", DF + "start('SELECT 1')", USERS),
    Action("set a variable of one's own", DF + "setvar('mine', '1')", USERS),
    Action("see others' workflows", SEEN.format("df.instances WHERE id = '{theirs}'"),
           ("owner", "operator", "viewer"), NOT_SEEN),
    Action("see others' steps", SEEN.format("df.nodes WHERE instance_id = '{theirs}'"),
           ("owner", "operator", "viewer"), NOT_SEEN),
    Action("see others' history", SEEN.format("df.history('{theirs}')"), ("owner", "operator", "viewer"), NOT_SEEN),
    Action("see others' variables", SEEN.format("df.vars WHERE name = 'theirs'"), (), NOT_SEEN),
    Action("signal others' workflows", DF + "signal('{theirs}', 'x')", ("operator",), HIDDEN),
    Action("cancel others' workflows", DF + "cancel('{theirs}')", ("operator",), HIDDEN),
    Action("resume others' workflows", DF + "resume('{theirs}')", ("operator",), HIDDEN),
    Action("read the counts", DF + "metrics()", ("owner", "administrator", "operator", "viewer")),
    Action("read the settings", "SELECT * FROM df.settings", (*USERS, "viewer")),
    Action("change a setting", "UPDATE df.settings SET value = '31' WHERE name = 'retention_days'", ("owner",)),
    Action("change the rules of HTTP", "INSERT INTO df.http_policy (action, host) VALUES ('deny', 'x')", ("owner",)),
    Action("write an HTTP step", DF + "http('https://example.org')", ("owner", "administrator")),
    Action("give the use of df", DF + "grant_usage('{other}')", ("owner", "administrator")),
    Action("give the use of HTTP", DF + "grant_usage('{other}', include_http => true)", ("owner", "administrator")),
    Action("take the use of df away", DF + "revoke_usage('{other}')", ("owner", "administrator")),
    Action("make a worker", DF + "grant_worker('{other}')", ("owner",)),
    Action("make a viewer", DF + "grant_view('{other}')", ("owner",)),
    Action("make an operator", DF + "grant_view('{other}', operate => true)", ("owner",)),
    Action("make a proxy", DF + "enable_proxy('{proxy}', '{other}')", ("owner",)),
    Action("set the key of secrets", DF + "set_secret_key(encode(sha256('x'), 'base64'))", ("owner",)),
    Action("clear ended workflows away", DF + "prune()", ("owner",)),
    Action("read the engine's tables", "SELECT * FROM df_engine.tasks", ("owner",)),
    Action("read others' sealed secrets", "SELECT * FROM df_engine.secrets", ("owner",)),
    Action("change the history", "UPDATE df_engine.history SET payload = '' WHERE false", ("owner",)),
    Action("make a table in df", "CREATE TABLE df.mine (n integer)", ("owner",)),
    Action("make a function in df_engine",
           "CREATE FUNCTION df_engine.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'", ("owner",)),
    Action("serve one's own workflows", INSERT_WORKER.format("NULL"), ("worker", *USERS)),
    Action("serve the workflows of others", INSERT_WORKER.format("'{other}'"), ("worker",)),
    Action("become the owner", "SET ROLE {owner}", ("owner",)),
    Action("become a user", "SET ROLE {other}", ()),
    Action("read a table of a user", "SELECT * FROM public.theirs", ()),
    Action("make a role", "CREATE ROLE dfd_new", ()),
    Action("end others' sessions", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{other}'",
           ()),
    Action("read the server's files", "SELECT pg_read_file('PG_VERSION')", ()),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scene:
    """The database, what the placeholders stand for, and the login of each duty."""

    database: Database
    words: dict[str, str]
    logins: dict[str, str]


@pytest.fixture(scope="module")
def scene(cluster: Cluster, template: str) -> Iterator[Scene]:
    """The roles by the printed script, a member of each that may log in, and a user with something to protect."""
    name = next(_names)
    database = copy_template(cluster, template, name)
    groups = {duty: f"perdure_{duty}" for duty in GROUPS}
    logins = {"owner": OWNER, "worker": WORKER, "nobody": "dfd_nobody", **{duty: f"dfd_{duty}" for duty in GROUPS}}
    made = [
        *groups.values(),
        *(login for login in logins.values() if login.startswith("dfd_")),
        "dfd_other",
        "dfd_proxy",
    ]
    try:
        _run_script(database)
        with database.admin() as admin:
            for duty, group in groups.items():
                admin.execute(cast(Any, f"CREATE ROLE {logins[duty]} LOGIN PASSWORD 'perdure' IN ROLE {group}"))
            for login, more in (("dfd_nobody", ""), ("dfd_other", ""), ("dfd_proxy", "IN ROLE dfd_other")):
                admin.execute(cast(Any, f"CREATE ROLE {login} LOGIN PASSWORD 'perdure' {more}"))
            theirs = _something_to_protect(database, admin)
        words = {"owner": OWNER, "other": "dfd_other", "proxy": "dfd_proxy", "theirs": theirs}
        with database.connect("dfd_other"):  # a session that others could try to end
            yield Scene(database, words, logins)
    finally:
        drop_database(cluster, name)
        with cluster.admin() as admin:
            for role in reversed(made):
                if value(admin, "to_regrole(%s)", role) is not None:
                    admin.execute(cast(Any, f"DROP OWNED BY {role}; DROP ROLE {role}"))


def _run_script(database: Database) -> None:
    """All of it: what is SQL by an administrator, and what is said in its last comment by the owner."""
    text = proxies.script(database.name, ())
    with database.admin() as admin:
        for line in text.splitlines():
            if not line.startswith(("--", "CREATE ROLE perdure_owner", "CREATE ROLE perdure_worker")):  # are there
                admin.execute(cast(Any, line or ";"))
    with database.connect(OWNER) as owner:
        for line in text.splitlines():
            if line.startswith("--   SELECT"):
                owner.execute(cast(Any, line.removeprefix("--")))


def _something_to_protect(database: Database, admin: psycopg.Connection[Any]) -> str:
    admin.execute("SELECT df.grant_usage('dfd_other'); GRANT CREATE ON SCHEMA public TO dfd_other")
    with database.connect("dfd_other") as other:
        other.execute("CREATE TABLE public.theirs (n integer); SELECT df.setvar('theirs', 'secret')")
        return cast(str, value(other, "df.start(df.wait_for_signal('go') ~> 'SELECT 1', 'theirs')"))


def tried(scene: Scene, duty: str, action: Action) -> str | None:
    """The SQLSTATE that the action ends with, None where it is allowed; it is rolled back."""
    with scene.database.connect(scene.logins[duty], autocommit=False) as connection:
        try:
            connection.execute(cast(Any, action.statement.format(**scene.words)))
        except psycopg.Error as error:
            return error.sqlstate
        finally:
            connection.rollback()
    return None


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.name)
def test_who_can_do_what(scene: Scene, action: Action) -> None:
    seen = {duty: tried(scene, duty, action) for duty in ALL}
    allowed = tuple(duty for duty in ALL if seen[duty] is None)
    assert sorted(allowed) == sorted(action.allowed), seen
    assert all(seen[duty] in action.refused for duty in ALL if duty not in action.allowed), seen


def test_no_role_has_an_attribute_or_belongs_to_another(scene: Scene) -> None:
    groups = [OWNER, WORKER, *(f"perdure_{duty}" for duty in GROUPS)]
    with scene.database.admin() as admin:
        attributes = "rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication"
        assert value(admin, f"count(*) FROM pg_roles WHERE rolname = ANY (%s) AND ({attributes})", groups) == 0
        assert value(admin, "count(*) FROM pg_roles WHERE rolname = ANY (%s)", groups) == len(groups)
        assert value(admin, "count(*) FROM pg_auth_members WHERE member::regrole::text = ANY (%s)", groups) == 0
