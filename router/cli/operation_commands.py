"""``ledger check`` and ``ledger eod advance``: looking after the bank."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from router.cli.exit_codes import ExitCode
from router.cli.options import AsJson, Folder
from router.cli.runner import run
from router.cli.terminal import Terminal

if TYPE_CHECKING:
    from router.check import CheckResult

eod = typer.Typer(help="End of day.")


def check(ctx: typer.Context, folder: Folder = None, as_json: AsJson = False) -> None:
    """Check what must hold on and between all shards.

    Exit code 1: something is wrong. 3: something could not be looked at.
    """

    async def work(terminal: Terminal) -> ExitCode:
        from router.cli.bank_session import open_bank

        async with open_bank(folder) as bank:
            with terminal.steps.step("Checking the books"):
                result = await bank.check.run()
        document = {
            "clean": result.is_clean,
            "findings": [asdict(finding) for finding in result.findings],
            "checked": result.checked,
            "not_checked": result.not_checked,
        }
        terminal.answer(document, lambda console: _show_check(console, result))
        if result.findings:
            return ExitCode.REFUSED
        return ExitCode.DONE if result.is_clean else ExitCode.UNAVAILABLE

    run(ctx, work, as_json=as_json)


@eod.command()
def advance(
    ctx: typer.Context,
    to: Annotated[
        str | None, typer.Option(metavar="DATE", help="The day to open. [the next business day]")
    ] = None,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Open the next business day on all shards; completes an advance that stopped half way."""

    async def work(terminal: Terminal) -> None:
        from router.cli.arguments import read_date
        from router.cli.bank_session import open_bank

        wanted = read_date(to)
        async with open_bank(folder) as bank:
            result = await bank.business_day.advance(wanted)
        document = {
            "business_date": result.business_date,
            "changed_shards": result.changed_shards,
            "before": {str(shard): day for shard, day in result.before.items()},
        }
        told = f"Business date {result.business_date}"
        if not result.changed_shards:
            told += "; it was open already"
        terminal.answer(document, lambda console: console.print(told))

    run(ctx, work, as_json=as_json)


def _show_check(console: Console, result: CheckResult) -> None:
    if result.findings:
        table = Table("shard", "invariant", "finding", box=None, pad_edge=False)
        for finding in result.findings:
            place = str(finding.shard) if finding.shard else "between"
            table.add_row(place, finding.invariant, finding.detail)
        console.print(table)
    for name in result.not_checked:
        console.print(f"[yellow]not checked[/]  {name}")
    if result.is_clean:
        console.print(f"[green]Clean[/]: {len(result.checked)} checks, no finding.")
    else:
        console.print(f"[red]{len(result.findings)} findings[/] in {len(result.checked)} checks.")
