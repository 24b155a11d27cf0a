"""``ledger transfer``: one debtor pays one creditor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from router.cli.exit_codes import ExitCode
from router.cli.options import AsJson, Folder
from router.cli.runner import run
from router.cli.terminal import Terminal
from router.limits import TRANSFER_WAIT_S

if TYPE_CHECKING:
    from shard.transfers import TransferRecord


def transfer(
    ctx: typer.Context,
    debtor: Annotated[str, typer.Argument(metavar="DEBTOR", help="The account that pays.")],
    creditor: Annotated[str, typer.Argument(metavar="CREDITOR", help="The account that is paid.")],
    amount: Annotated[str, typer.Argument(metavar="AMOUNT", help='Like "1250.00".')],
    currency: Annotated[str, typer.Argument(metavar="CURRENCY", help="ISO 4217 code.")],
    reference: Annotated[
        str | None,
        typer.Option(help="Names the transfer: repeated, it moves no money twice. [a new one]"),
    ] = None,
    narrative: Annotated[str | None, typer.Option(help="A text for the statement.")] = None,
    value_date: Annotated[
        str | None, typer.Option(metavar="DATE", help="When it counts for interest.")
    ] = None,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to wait until the money has arrived.")
    ] = TRANSFER_WAIT_S,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Move money; exit code 0 once it has arrived.

    1: refused, or it came back. 3: it is on its way, or nothing is known; repeat the command
    with the same --reference. Money for another shard is carried by the worker of the API.
    """

    async def work(terminal: Terminal) -> ExitCode:
        from router.cli.arguments import read_account, read_currency, read_date, read_text
        from router.cli.bank_session import open_bank
        from router.limits import NARRATIVE_CHARS_MAX
        from router.transfers import TransferRequest
        from shard.ids import new_id
        from shard.money import parse_amount
        from shard.references import parse_reference

        code = read_currency(currency)
        request = TransferRequest(
            reference=str(new_id()) if reference is None else parse_reference(reference),
            debtor=read_account(debtor),
            creditor=read_account(creditor),
            amount=parse_amount(amount, code),
            currency=code,
            narrative=read_text(narrative, "narrative", NARRATIVE_CHARS_MAX),
            value_date=read_date(value_date),
        )
        if reference is None:
            terminal.note(f"Reference: {request.reference}")
        async with open_bank(folder) as bank:
            submitted = await bank.transfers.submit(request)
            record = await bank.transfers.wait(submitted.record, wait)
        if submitted.is_replay:
            terminal.note("This transfer was accepted before; nothing was booked again.")
        return _answer(terminal, record)

    run(ctx, work, as_json=as_json)


def _answer(terminal: Terminal, record: TransferRecord) -> ExitCode:
    from router.cli.documents import transfer_document
    from shard.commands import MoneyState

    document = transfer_document(record)

    def show(console: Console) -> None:
        console.print(
            f"{document['amount']} {record.currency} from {record.home} to {record.creditor}: "
            f"{record.money_state.replace('_', ' ')} (reference {record.reference})"
        )

    terminal.answer(document, show)
    match record.money_state:
        case MoneyState.POSTED | MoneyState.DELIVERED:
            return ExitCode.DONE
        case MoneyState.RETURNED | MoneyState.PARTIALLY_RETURNED:
            terminal.note(f"The money came back: {record.return_code}.")
            return ExitCode.REFUSED
        case _:
            terminal.note("The money is on its way; a worker delivers it.")
            return ExitCode.UNAVAILABLE
