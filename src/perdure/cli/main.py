"""The command ``perdure`` and its sub-commands."""

from __future__ import annotations

import os
import sys
from importlib import metadata
from typing import Any

import click

from perdure.cli import fence, roles, secret, target
from perdure.cli.target import Refused, dsn_option

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@click.group(context_settings=_CONTEXT)
def perdure() -> None:
    """Durable execution for PostgreSQL: workflows in SQL, carried to their end by workers.

    \b
    Try it on an embedded server:
      perdure demo      kill a worker in the middle of a workflow, and see it finish
      perdure dev       server and worker in the foreground; then `perdure psql` in another terminal
    \b
    Use it on your own server:
      export PERDURE_DSN=postgresql://me@db.example/shop
      perdure migrate && perdure worker
    """


@perdure.command()
@click.option("--tcp", is_flag=True, help="Also listen on 127.0.0.1, on a free port, with a password.")
@click.option("--slots", type=click.IntRange(1, 1000), default=None, help="SQL steps at the same time.  [default: 4]")
def dev(tcp: bool, slots: int | None) -> None:
    """Run an embedded server and a worker.

    Both until Ctrl-C.
    The data stay: starting again goes on with unfinished work. They are in PERDURE_HOME, else in
    ~/.local/state/perdure (for root, /var/lib/perdure).

    \b
    Examples:
      perdure dev
      PERDURE_HOME=/tmp/try perdure dev --tcp
    """
    from perdure.cli import development

    with target.refusals():
        sys.exit(development.run(tcp=tcp, slots=slots))


@perdure.command()
@click.option("--keep", is_flag=True, help="Leave the server's directory where it is and say where.")
def demo(keep: bool) -> None:
    """Kill a worker in mid-workflow; see it finish.

    Makes a PostgreSQL of its own in a temporary directory, which is removed at the end. Ends with exit code 0
    only if every step took effect exactly once.
    """
    from perdure.cli import demonstration

    with target.refusals():
        sys.exit(demonstration.run(keep=keep))


@perdure.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@dsn_option
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def psql(dsn: str | None, arguments: tuple[str, ...]) -> None:
    """Open psql on the server.

    Further arguments are psql's.

    \b
    Examples:
      perdure psql
      perdure psql -c "SELECT df.start('SELECT 1')"
    """
    from perdure import binaries

    where = target.resolve(dsn, "user")
    with target.refusals():
        program = binaries.psql()
    os.execv(program, ["psql", *arguments, "-d", where])


@perdure.command()
@dsn_option
@click.option("--sql", "as_sql", is_flag=True, help="Print the script for a DBA instead; no server is asked.")
@click.option("--since", metavar="REVISION", help="With --sql: only what came after this revision.")
@click.option("--down-to", metavar="REVISION", help="Take the schema back to this older revision.")
@click.option(
    "--operators",
    type=click.Choice(["public", "df"]),
    envvar="PERDURE_OPERATORS",
    default="public",
    show_default=True,
    help="The schema for the operators ~> & | ?> ...; df where CREATE on public is not to be had.",
)
def migrate(dsn: str | None, as_sql: bool, since: str | None, down_to: str | None, operators: str) -> None:
    """Install the schema or bring it up to date.

    Doing it again changes nothing. Two at once wait for each other. Workers and users go on meanwhile; a transaction of
    theirs that stays open for a minute makes it give up, and nothing is changed then.

    The role needs CREATE on the database, and on the schema public for the operators.

    \b
    Examples:
      perdure migrate --dsn postgresql://owner@db.example/shop
      perdure migrate --sql > perdure.sql
    """
    from perdure.cli import migration

    if as_sql:
        click.echo(migration.script(operators, since), nl=False)
    elif down_to is not None:
        click.echo(migration.down(target.resolve(dsn, "owner"), down_to))
    else:
        click.echo(migration.run(target.resolve(dsn, "owner"), operators))


@perdure.command()
@dsn_option
@click.option("--role-dsn", metavar="DSN", help="How to log in as the roles whose steps run; with {role}, {database}.")
@click.option("--passfile", metavar="FILE", help="Passwords of roles and proxy logins; see `perdure roles`.")
@click.option("--listen-dsn", metavar="DSN", help="A direct connection for LISTEN where --dsn leads through a pooler.")
@click.option("--pooled", is_flag=True, default=None, help="--dsn leads through a pooler; found out if not given.")
@click.option("--slots", type=int, help="SQL steps at the same time.  [default: 4]")
@click.option("--http-slots", type=int, help="HTTP steps at the same time.  [default: 16]")
@click.option("--lease-seconds", type=float, help="When others take over from a worker that is gone.  [default: 8]")
@click.option("--poll-seconds", type=float, help="How often to ask for work without being woken.  [default: 1]")
@click.option("--only-role", metavar="ROLE", help="Serve the workflows of this role and no others.")
@click.option("--queue", help="Serve this queue.  [default: default]")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="[default: info]")
@click.option("--end-with", type=int, hidden=True)
def worker(dsn: str | None, end_with: int | None, **options: Any) -> None:
    """Carry workflows to their end.

    Until SIGTERM or Ctrl-C; what is under way then is finished first.

    Any number of workers may serve one database. Each option can also be set as PERDURE_<OPTION>.

    \b
    Examples:
      perdure worker --dsn postgresql://me@db.example/shop        (serves the workflows of the role me)
      perdure worker --dsn postgresql://perdure_worker@db/shop \\
                     --role-dsn "postgresql://{role}@db/{database}?passfile=/etc/perdure/pass"
    """
    from perdure import settings
    from perdure.cli import children

    if end_with is not None:
        children.end_with(end_with)
    where = target.resolve(dsn, "worker")
    try:
        chosen = settings.from_environment(dsn=where, **options)
    except settings.SettingsError as error:
        raise Refused(str(error)) from error
    with target.connected(where) as connection:
        target.require_schema(connection, worker=True)
    from perdure.worker import run  # with it comes all of the engine, which no other command needs

    sys.exit(run(chosen))


@perdure.command()
@dsn_option
def status(dsn: str | None) -> None:
    """Show workflows by status, and the workers."""
    from perdure.cli import overview

    with target.connected(target.resolve(dsn, "owner")) as connection, target.refusals():
        click.echo(overview.text(connection))


@perdure.group()
def http() -> None:
    """Look into HTTP steps."""


@http.command("test")
@click.argument("url")
@click.option("--as", "role", metavar="ROLE", required=True, help="Whose step it would be.")
@click.option("--multipart", is_flag=True, help="Judge it as a step of df.http_multipart.")
@click.option("--send", is_flag=True, help="If it may leave, send it too: one GET, without a workflow.")
@dsn_option
def http_test(url: str, role: str, multipart: bool, send: bool, dsn: str | None) -> None:
    """Say whether a request may leave, and why.

    Asks the switch, the role's grants and the rules of df.http_policy, looks the name up from here (a worker on another
    host may be told other addresses), and judges each address. Nothing is sent unless asked for.

    The login must be the role itself, an administrator's or a worker's.

    Ends with exit code 0 if the request may leave (with --send: and was answered below 500), else 1.

    \b
    Examples:
      perdure http test https://api.example.com/orders --as alice
      perdure http test http://10.0.0.5:8080/health --as alice --send
    """
    from perdure.cli import requesting

    with target.connected(target.resolve(dsn, "owner")) as connection, target.refusals():
        found = requesting.tested(connection, url, role, multipart=multipart, send=send)
    click.echo("\n".join(found.lines))
    sys.exit(0 if found.good else 1)


@perdure.command()
@dsn_option
@click.argument("instance", required=False)
def check(dsn: str | None, instance: str | None) -> None:
    """Look for what is wrong in workflows: df.check().

    The exit code is 1 when something is. The schema's owner sees all workflows, others their own.

    \b
    Examples:
      perdure check
      perdure check 5f0c3a91
    """
    from perdure.cli import overview

    with target.connected(target.resolve(dsn, "owner")) as connection, target.refusals():
        text, is_well = overview.problems(connection, instance)
    click.echo(text)
    sys.exit(0 if is_well else 1)


@perdure.command()
def version() -> None:
    """Show the release and its schema revision."""
    from perdure.schema import migrate as migrations

    release = metadata.version("perdure")
    python = ".".join(map(str, sys.version_info[:3]))
    click.echo(f"perdure {release}, schema revision {migrations.newest()}, Python {python}")


@perdure.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for a shell.

    \b
    Examples:
      eval "$(perdure completion bash)"
      perdure completion fish > ~/.config/fish/completions/perdure.fish
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(perdure, {}, "perdure", "_PERDURE_COMPLETE").source())


perdure.add_command(roles.roles)
perdure.add_command(secret.secret)
perdure.add_command(fence.fence)


def main() -> None:
    """The entry point."""
    perdure(prog_name="perdure")
