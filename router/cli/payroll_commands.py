"""``ledger payroll submit`` and ``status``: a payment file in, a status report out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from router.cli.exit_codes import ExitCode
from router.cli.options import AsJson, Folder
from router.cli.runner import run
from router.cli.terminal import Terminal
from router.limits import PAYROLL_WAIT_S

if TYPE_CHECKING:
    from router.payroll import PayrollResult

PAYMENTS_STEP = "Executing the payments"
"""The step whose progress counts the lines of a file."""

_MEANINGS = {
    "ACSC": "settled",
    "ACSP": "on its way",
    "PDNG": "pending",
    "RJCT": "rejected; the report tells why",
}
File = Annotated[Path, typer.Argument(metavar="FILE", help="A pain.001 file (.03, .08 or .09).")]

app = typer.Typer(help="Payment files: a pain.001 in, a pain.002 report beside it.")


@app.command()
def submit(
    ctx: typer.Context,
    file: File,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to wait until all money has arrived.")
    ] = PAYROLL_WAIT_S,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Execute a payment file, every line once, and write a pain.002 report beside it.

    An interrupted run is completed by the same command. This process carries the money between
    shards itself, together with other workers; what it leaves when it is stopped, they deliver.
    Exit code 0: every line is settled or rejected. 3: some money is still on its way.
    """

    async def work(terminal: Terminal) -> ExitCode:
        from router.cli.bank_session import open_bank

        async with open_bank(folder, hosts_worker=True) as bank:
            with terminal.steps.step(PAYMENTS_STEP) as step:
                result = await bank.payroll.submit(file, progress=step.at, wait_s=wait)
        return _answer(terminal, result)

    run(ctx, work, as_json=as_json, serves=True)


@app.command()
def status(ctx: typer.Context, file: File, folder: Folder = None, as_json: AsJson = False) -> None:
    """Tell how a submitted file stands now, and write its report anew."""

    async def work(terminal: Terminal) -> ExitCode:
        from router.cli.bank_session import open_bank

        async with open_bank(folder) as bank:
            with terminal.steps.step("Reading the payments"):
                result = await bank.payroll.status(file)
        return _answer(terminal, result)

    run(ctx, work, as_json=as_json)


def _answer(terminal: Terminal, result: PayrollResult) -> ExitCode:
    from router.cli.documents import payroll_document

    terminal.answer(payroll_document(result), lambda console: _show(console, result))
    return ExitCode.DONE if result.is_final else ExitCode.UNAVAILABLE


def _show(console: Console, result: PayrollResult) -> None:
    table = Table("status", "payments", "", box=None, pad_edge=False)
    table.columns[1].justify = "right"
    for status, count in sorted(result.statuses.items()):
        table.add_row(status, f"{count:,}", _MEANINGS[status])
    console.print(f"File {result.message_id} of account {result.employer}: {result.lines:,} lines")
    console.print(table)
    if result.was_known and not result.booked_now:
        console.print("This file was submitted before; nothing was paid again.")
    console.print(f"Report: {result.report}")
