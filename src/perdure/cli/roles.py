"""``perdure roles``: how workers come to run the steps of roles that they cannot log in as."""

from __future__ import annotations

from pathlib import Path

import click

from perdure.cli import target
from perdure.cli.target import dsn_option


@click.group()
def roles() -> None:
    """Let workers run the steps of roles that they cannot log in as.

    \b
    Ways to serve several roles, simplest first:
      one role for all            perdure worker --dsn postgresql://me@db/shop
      credentials by role         --role-dsn with {role}: a passfile, a service file, peer, certificates
      a worker for each role      perdure worker --only-role ROLE
      proxy logins                perdure roles enable ROLE, and --passfile for the workers
    """


_passfile_option = click.option(
    "--passfile", metavar="FILE", type=click.Path(dir_okay=False), envvar="PERDURE_PASSFILE", help="Of the workers.",
)  # fmt: skip


@roles.command("enable")
@click.argument("role")
@_passfile_option
@dsn_option
def roles_enable(role: str, passfile: str | None, dsn: str | None) -> None:
    """Make the proxy login of a role, or give it a new password.

    The login dfx_ROLE becomes a member of ROLE and of nothing else. Its password is generated and written to the
    passfile, which is made readable by its owner only. Run it where the workers run, as the account they run under.

    The DSN's role needs CREATEROLE (on PostgreSQL 16 and newer also ADMIN on the role) and must own the schema df;
    where no one role is both, see `perdure roles script`.
    """
    from perdure.cli import proxies

    path = Path(passfile) if passfile else proxies.default_passfile()
    with target.connected(target.resolve(dsn, "owner")) as connection, target.refusals():
        click.echo(proxies.enable(connection, role, path))


@roles.command("disable")
@click.argument("role")
@_passfile_option
@dsn_option
def roles_disable(role: str, passfile: str | None, dsn: str | None) -> None:
    """Drop the proxy login of a role."""
    from perdure.cli import proxies

    path = Path(passfile) if passfile else proxies.default_passfile()
    with target.connected(target.resolve(dsn, "owner")) as connection, target.refusals():
        click.echo(proxies.disable(connection, role, path))


@roles.command("list")
@dsn_option
def roles_list(dsn: str | None) -> None:
    """Show the proxy logins."""
    from perdure.cli import proxies

    with target.connected(target.resolve(dsn, "owner")) as connection, target.refusals():
        click.echo(proxies.listed(connection))


@roles.command("script")
@click.option("--database", metavar="NAME", default="app", show_default=True, help="The database that Perdure is in.")
@click.argument("role", nargs=-1)
def roles_script(database: str, role: tuple[str, ...]) -> None:
    """Print SQL for a DBA: the roles of an installation, and proxy logins for ROLE...

    No server is asked.
    """
    from perdure.cli import proxies

    click.echo(proxies.script(database, role), nl=False)
