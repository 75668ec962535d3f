"""``perdure secret``: secrets for HTTP steps, sealed before they leave this process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import psycopg
from psycopg import sql

from perdure import secrets
from perdure.cli import target
from perdure.cli.target import Refused, dsn_option

_role_option = click.option("--as", "role", metavar="ROLE", help="Whose secret it is.  [default: the DSN's role]")


@click.group()
def secret() -> None:
    """Keep secrets for HTTP steps: {secret:name} in a url, a header or a body.

    \b
    Examples:
      perdure secret key --file /etc/perdure/key          (once, by the owner of schema df; workers get the file)
      perdure secret set api_token --as alice < token
    """


@secret.command("key")
@click.option("--file", "file", type=click.Path(dir_okay=False), required=True, help="Of the workers, made if need be.")
@dsn_option
def secret_key(file: str, dsn: str | None) -> None:
    """Make a key, and have secrets sealed with it from now on.

    The private key goes to the top of the file, which workers get as PERDURE_SECRET_KEY_FILE; older keys stay below it,
    to open what was sealed before. The public key goes to the database.
    """
    with target.connected(target.resolve(dsn, "owner")) as connection, target.refusals(), _secret_errors():
        target.require_schema(connection)
        public = secrets.add_key(Path(file))
        connection.execute("SELECT df.set_secret_key(%s)", [public])
    click.echo(f"secrets are sealed with a new key; workers need PERDURE_SECRET_KEY_FILE={file}, and a restart")


@secret.command("set")
@click.argument("name")
@_role_option
@dsn_option
def secret_set(name: str, role: str | None, dsn: str | None) -> None:
    """Set a secret to what stands on standard input, without the last line end."""
    value = _value()
    with target.connected(target.resolve(dsn, "user")) as connection, target.refusals(), _secret_errors():
        who = _become(connection, role)
        connection.execute("SELECT df.set_secret(%s, %s)", [name, _sealed(connection, who, name, value)])
    click.echo(f"secret {name} of {who} is set")


@secret.command("seal")
@click.argument("name")
@_role_option
@dsn_option
def secret_seal(name: str, role: str | None, dsn: str | None) -> None:
    """Print the sealed text of what stands on standard input, for df.set_secret(name, text)."""
    value = _value()
    with target.connected(target.resolve(dsn, "user")) as connection, target.refusals(), _secret_errors():
        click.echo(_sealed(connection, role or connection.info.user, name, value))


@secret.command("list")
@_role_option
@dsn_option
def secret_list(role: str | None, dsn: str | None) -> None:
    """Show names, and when they were set."""
    from perdure.cli.overview import table

    with target.connected(target.resolve(dsn, "user")) as connection, target.refusals():
        _become(connection, role)
        rows = connection.execute("SELECT name, set_at::timestamptz(0)::text FROM df.list_secrets()").fetchall()
    click.echo(table(("secret", "set at"), rows) or "no secrets")


@secret.command("drop")
@click.argument("name")
@_role_option
@dsn_option
def secret_drop(name: str, role: str | None, dsn: str | None) -> None:
    """Forget a secret."""
    with target.connected(target.resolve(dsn, "user")) as connection, target.refusals():
        who = _become(connection, role)
        connection.execute("SELECT df.drop_secret(%s)", [name])
    click.echo(f"secret {name} of {who} is gone")


def _value() -> str:
    text = str(click.prompt("value", hide_input=True)) if sys.stdin.isatty() else sys.stdin.read()
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise Refused("the secret is empty")
    return text


def _become(connection: psycopg.Connection[Any], role: str | None) -> str:
    target.require_schema(connection)
    if role is not None and role != connection.info.user:
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
    return role or connection.info.user


def _sealed(connection: psycopg.Connection[Any], role: str, name: str, value: str) -> str:
    row = connection.execute("SELECT df_engine.secret_key_v1()").fetchone()
    if row is None or row[0] is None:
        raise Refused("this database has no key for secrets: its owner makes one with `perdure secret key`")
    return secrets.seal(row[0], role, name, value)


class _secret_errors:  # noqa: N801 - reads as a function
    """Turn what the keys say into ``Refused``."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, secrets.SecretError):
            raise Refused(str(error)) from error
