"""``ledger demo``: see a whole bank at work, and every cent accounted for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from router.cli.demo.size import DemoSize
from router.cli.exit_codes import ExitCode
from router.cli.options import AsJson
from router.cli.runner import run
from router.cli.terminal import Terminal

_DEFAULT = DemoSize()


def demo(
    ctx: typer.Context,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the bank running.")] = False,
    customers: Annotated[int, typer.Option(min=1)] = _DEFAULT.customers,
    accounts: Annotated[int, typer.Option(min=1)] = _DEFAULT.accounts,
    employees: Annotated[
        int, typer.Option(min=1, help="Lines of the payroll file.")
    ] = _DEFAULT.employees,
    transfers: Annotated[
        int, typer.Option(min=1, help="Ordinary transfers over HTTP meanwhile.")
    ] = _DEFAULT.transfers,
    seed: Annotated[int, typer.Option(help="Repeats a run's random choices.")] = _DEFAULT.seed,
    folder: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="The demonstration's own folder; everything in it is deleted."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Open a bank on three shards, run a payroll and ordinary transfers, check every cent.

    Uses a folder of its own and leaves your bank alone. Exit code 0 only if everything held.
    """

    async def work(terminal: Terminal) -> ExitCode:
        from router.cli.demo.folder import DemoFolder
        from router.cli.demo.run import run_demo
        from router.cli.demo.screen import show

        size = DemoSize(customers, accounts, employees, transfers, seed)
        result = await run_demo(DemoFolder(folder), size, terminal.steps, keep=keep)
        terminal.answer(result.document(), lambda console: show(console, result))
        return ExitCode.DONE if result.holds else ExitCode.REFUSED

    run(ctx, work, as_json=as_json)
