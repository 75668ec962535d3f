"""Proxy logins, by which workers run the steps of roles that they could not log in as.

A proxy login ``dfx_<role>`` is a member of that one role and of nothing else, has a password that nobody has seen, and
is used by workers alone: they find the password in a passfile of libpq's, which only they can read.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from perdure.cli.overview import table
from perdure.cli.target import Refused, one_line, require_schema
from perdure.passfile import PassfileError, with_password, without

_OWNER = """
SELECT r.rolname, pg_catalog.pg_has_role(r.oid, 'USAGE') FROM pg_catalog.pg_namespace n
JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) n.nspowner
WHERE n.nspname OPERATOR(pg_catalog.=) 'df_engine'"""
_LONGEST = 63  # bytes of a name in PostgreSQL

SCRIPT = """\
-- Roles for Perdure in database {database}, to be run by somebody who may create roles. None of them is a superuser,
-- none bypasses row security. Leave away what is not needed. Passwords: \\password <role> in psql; certificates; peer.

-- The owner of the schema: migrates it, changes df.settings and df.http_policy, gives the rights below.
CREATE ROLE perdure_owner LOGIN;
GRANT CREATE ON DATABASE {database} TO perdure_owner;
GRANT CREATE, USAGE ON SCHEMA public TO perdure_owner;  -- for the operators; not with `perdure migrate --operators df`

-- The login of workers that serve everybody: claims and records work, never runs a step of its own.
CREATE ROLE perdure_worker LOGIN;

-- Viewers see everybody's workflows; operators may also cancel, resume and signal them; administrators give the use of
-- df to others; users start workflows, and see their own.
CREATE ROLE perdure_viewer NOLOGIN;
CREATE ROLE perdure_operator NOLOGIN;
CREATE ROLE perdure_administrator NOLOGIN;
CREATE ROLE perdure_user NOLOGIN;

-- Now, as perdure_owner:  perdure migrate, and then
--   SELECT df.grant_worker('perdure_worker');
--   SELECT df.grant_view('perdure_viewer');
--   SELECT df.grant_view('perdure_operator', operate => true);
--   SELECT df.grant_usage('perdure_administrator', include_http => true, with_grant => true);
--   SELECT df.grant_usage('perdure_user');
-- and, as whoever made the roles:  GRANT perdure_user TO alice;
"""

PROXY = """
-- A proxy login: workers run the steps of {role} on sessions that log in as {login} and set the role.
CREATE ROLE {login} LOGIN PASSWORD '...' IN ROLE {role};  -- in the workers' passfile:  *:*:*:{bare}:...
SELECT df.enable_proxy({login_text}, {role_text});  -- as the owner of schema df
"""


def login_of(role: str) -> str:
    """The name of a role's proxy login, as long as names may be."""
    name = f"dfx_{role}"
    if len(name.encode()) <= _LONGEST:
        return name
    short = name.encode()[: _LONGEST - 9].decode(errors="ignore")
    return f"{short}_{hashlib.sha256(role.encode()).hexdigest()[:8]}"


def enable(connection: psycopg.Connection[Any], role: str, passfile: Path) -> str:
    """Make the proxy login of a role, or give the one that is there a new password. Raises ``Refused``."""
    _require_owner(connection)
    login, password = login_of(role), secrets.token_urlsafe(32)
    try:
        with connection.transaction():
            known = _make_login(connection, role, login, password)
            connection.execute("SELECT df.enable_proxy(%s, %s)", [login, role])
            # Within the transaction: where the file cannot be written, the old password stays the right one.
            with_password(passfile, login, password)
    except PassfileError as error:
        raise Refused(str(error)) from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise Refused(
            f"{one_line(error)}: this takes CREATEROLE, ADMIN on {role}, and the owner of schema df"
        ) from error
    except psycopg.Error as error:
        raise Refused(one_line(error)) from error
    done = "has a new password" if known else "was made"
    return f"{login} {done} and stands in for {role}; workers need --passfile {passfile}"


def _require_owner(connection: psycopg.Connection[Any]) -> None:
    """Raises ``Refused`` for whoever is not the owner of schema df or a member of it; the server says what else."""
    owner = connection.execute(_OWNER).fetchone()
    if owner is not None and not owner[1]:
        raise Refused(
            f"{connection.info.user} is not a member of {owner[0]}, the owner of schema df: GRANT it, or let "
            "`perdure roles script ROLE` print what each of the two has to run"
        )
    require_schema(connection)


def _make_login(connection: psycopg.Connection[Any], role: str, login: str, password: str) -> bool:
    """Whether the login was there. Only the password's verifier is sent, so that no log of the server holds it."""
    verifier = connection.pgconn.encrypt_password(password.encode(), login.encode(), b"scram-sha-256").decode()
    names = {"login": sql.Identifier(login), "role": sql.Identifier(role), "password": sql.Literal(verifier)}
    known = "SELECT FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) %s"
    if connection.execute(known, [login]).fetchone() is not None:
        connection.execute(sql.SQL("ALTER ROLE {login} PASSWORD {password}").format(**names))
        return True
    connection.execute(sql.SQL("CREATE ROLE {login} LOGIN PASSWORD {password} IN ROLE {role}").format(**names))
    return False


def disable(connection: psycopg.Connection[Any], role: str, passfile: Path) -> str:
    """Drop the proxy login of a role. Its steps wait, or fail where the role cannot log in. Raises ``Refused``."""
    _require_owner(connection)
    login = login_of(role)
    try:
        with connection.transaction():
            connection.execute("SELECT df.disable_proxy(%s)", [login])
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(login)))
            without(passfile, login)
    except PassfileError as error:
        raise Refused(str(error)) from error
    except psycopg.Error as error:
        raise Refused(one_line(error)) from error
    return f"{login} is gone"


def listed(connection: psycopg.Connection[Any]) -> str:
    """The proxy logins as a table. Raises ``Refused`` for those who do not own the schema."""
    require_schema(connection)
    try:
        rows = connection.execute("SELECT owner::text, login::text FROM df_engine.proxies ORDER BY 1").fetchall()
    except psycopg.errors.InsufficientPrivilege as error:
        raise Refused("this is for the owner of schema df") from error
    return table(("role", "proxy login"), rows) or "no proxy logins: make one with `perdure roles enable ROLE`"


def script(database: str, roles: tuple[str, ...]) -> str:
    """SQL for a DBA: the roles of an installation, and the proxies of these roles."""
    text = SCRIPT.format(database=_name(database))
    for role in roles:
        login = login_of(role)
        literals = {"login_text": _text(login), "role_text": _text(role)}
        text += PROXY.format(role=_name(role), login=_name(login), bare=login, **literals)
    return text


def default_passfile() -> Path:
    """Where the passwords go when nobody says: ``PERDURE_PASSFILE``, else below the user's configuration."""
    named = os.environ.get("PERDURE_PASSFILE")
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(named).expanduser().absolute() if named else Path(base) / "perdure" / "passfile"


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
