"""All commands of ``ledger`` in one place."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from router.cli import (
    account_commands,
    hold_commands,
    operation_commands,
    payroll_commands,
    saga_commands,
    service_commands,
    stack_commands,
)
from router.cli.demo_command import demo
from router.cli.exit_codes import MEANINGS
from router.cli.progress import ProgressStyle
from router.cli.runner import Invocation
from router.cli.trace_command import trace
from router.cli.transfer_command import reverse, transfer

_HELP = """A bank's ledger on many PostgreSQL shards.

Results go to stdout, everything else to stderr. `ledger COMMAND --help` tells the rest.
"""


def build() -> typer.Typer:
    """The command line."""
    app = typer.Typer(
        name="ledger",
        help=_HELP,
        epilog=exit_code_help(),
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
    )
    app.callback()(_before_any_command)
    app.command()(stack_commands.up)
    app.command()(stack_commands.down)
    app.command()(stack_commands.status)
    app.command()(service_commands.serve)
    app.command()(service_commands.worker)
    app.command()(service_commands.migrate)
    app.add_typer(account_commands.app, name="accounts", no_args_is_help=True)
    # A negative amount is told by the ledger; it is not an unknown option.
    app.command(context_settings={"ignore_unknown_options": True})(transfer)
    app.command()(reverse)
    app.add_typer(hold_commands.app, name="holds", no_args_is_help=True)
    app.add_typer(payroll_commands.app, name="payroll", no_args_is_help=True)
    app.add_typer(saga_commands.app, name="sagas", no_args_is_help=True)
    app.command()(trace)
    app.add_typer(operation_commands.eod, name="eod", no_args_is_help=True)
    app.command()(operation_commands.check)
    app.command()(demo)
    return app


def exit_code_help() -> str:
    """The table of exit codes, as a list that the help shows line by line."""
    lines = [f"- `{int(code)}` {meaning}" for code, meaning in MEANINGS.items()]
    return "Exit codes:\n\n" + "\n".join(lines)


def _before_any_command(
    ctx: typer.Context,
    is_debug: Annotated[
        bool, typer.Option("--debug", help="Show the log, and where an error comes from.")
    ] = False,
    progress: Annotated[
        ProgressStyle,
        typer.Option(help="How progress is shown on stderr; auto: bars on a terminal."),
    ] = ProgressStyle.AUTO,
    _: Annotated[
        bool | None,
        typer.Option("--version", is_eager=True, callback=lambda v: _tell_version(v)),
    ] = None,
) -> None:
    ctx.obj = Invocation(is_debug=is_debug, progress=progress)


def _tell_version(is_asked: bool | None) -> None:
    if is_asked:
        typer.echo(f"ledger {version('sharded-ledger')}")
        raise typer.Exit
