"""``ledger transfer`` and ``ledger reverse``: money moved, and taken back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from router.cli.exit_codes import ExitCode
from router.cli.options import AsJson, Folder
from router.cli.runner import run
from router.cli.terminal import Terminal
from router.limits import TRANSFER_WAIT_S

if TYPE_CHECKING:
    from router.transfer_requests import TransferRequest
    from shard.transfers import TransferRecord

Wait = Annotated[float, typer.Option(min=0, help="Seconds to wait until the money has arrived.")]
Narrative = Annotated[str | None, typer.Option(help="A text for the statement.")]
Legs = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ACCOUNT=AMOUNT",
        help="One account's change, -AMOUNT to pay; repeat it. Together they sum to zero.",
    ),
]
Kind = Annotated[
    str, typer.Option(help="ordinary; chargeback or correction pass floors and freezes.")
]
ExpectedSeq = Annotated[
    int | None,
    typer.Option(min=0, help="Book it only if the debtor's account stands at this seq."),
]
_PLAIN_WORDS = 4
_WORDS = "DEBTOR CREDITOR AMOUNT CURRENCY"


def transfer(
    ctx: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar=_WORDS,
            help='Who pays whom, like "1250.00" EUR. With --leg: CURRENCY alone.',
        ),
    ] = None,
    leg: Legs = None,
    kind: Kind = "ordinary",
    expected_seq: ExpectedSeq = None,
    reference: Annotated[
        str | None,
        typer.Option(help="Names the transfer: repeated, it moves no money twice. [a new one]"),
    ] = None,
    narrative: Narrative = None,
    value_date: Annotated[
        str | None, typer.Option(metavar="DATE", help="When it counts for interest.")
    ] = None,
    wait: Wait = TRANSFER_WAIT_S,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Move money; exit code 0 once it has arrived.

    1: refused, or it came back. 3: it is on its way, or nothing is known; repeat the command
    with the same --reference. Money for another shard is carried by the worker of the API.
    """

    async def work(terminal: Terminal) -> ExitCode:
        from router.cli.arguments import read_date, read_text
        from router.cli.bank_session import open_bank
        from router.limits import NARRATIVE_CHARS_MAX
        from shard.ids import new_id
        from shard.references import parse_reference

        request = _request(
            words or (),
            leg or (),
            reference=str(new_id()) if reference is None else parse_reference(reference),
            kind=kind,
            expected_seq=expected_seq,
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
        return answer_transfer(terminal, record)

    run(ctx, work, as_json=as_json)


def reverse(
    ctx: typer.Context,
    account: Annotated[
        str, typer.Argument(metavar="ACCOUNT", help="The debtor's account of the transfer.")
    ],
    original: Annotated[str, typer.Argument(metavar="REFERENCE", help="Of the transfer.")],
    amount: Annotated[
        str | None, typer.Option(help="A part of it. Default: all that the creditor was paid.")
    ] = None,
    creditor: Annotated[
        str | None,
        typer.Option(metavar="ACCOUNT", help="Whose part, where the transfer has several."),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="Names the reversal: repeated, it takes back nothing twice. [a new one]"),
    ] = None,
    narrative: Narrative = None,
    wait: Wait = TRANSFER_WAIT_S,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Take a transfer back, wholly or in part, never more in all than it paid.

    What is still on its way is recalled as a whole; what has arrived is debited where it is.
    Exit codes as of ledger transfer.
    """

    async def work(terminal: Terminal) -> ExitCode:
        from router.cli.arguments import read_account, read_plain_amount, read_text
        from router.cli.bank_session import open_bank
        from router.limits import NARRATIVE_CHARS_MAX
        from router.reversals import ReversalRequest
        from shard.ids import new_id
        from shard.references import parse_reference

        request = ReversalRequest(
            debtor=read_account(account),
            original=parse_reference(original),
            reference=str(new_id()) if reference is None else parse_reference(reference),
            amount=None if amount is None else read_plain_amount(amount),
            creditor=None if creditor is None else read_account(creditor),
            narrative=read_text(narrative, "narrative", NARRATIVE_CHARS_MAX),
        )
        if reference is None:
            terminal.note(f"Reference: {request.reference}")
        async with open_bank(folder) as bank:
            submitted = await bank.reversals.reverse(request)
            record = await bank.reversals.wait(request, submitted.record, wait)
        if submitted.is_replay:
            terminal.note("This reversal was accepted before; nothing was booked again.")
        return answer_transfer(terminal, record)

    run(ctx, work, as_json=as_json)


def _request(
    words: Sequence[str],
    legs: Sequence[str],
    *,
    reference: str,
    kind: str,
    expected_seq: int | None,
    narrative: str | None,
    value_date: date | None,
) -> TransferRequest:
    """The transfer in these words; raises ``Malformed``."""
    from router.cli.arguments import read_account, read_currency, read_leg
    from router.transfer_requests import (
        RequestedLeg,
        TransferKind,
        TransferRequest,
        request_of_legs,
    )
    from shard.errors import Malformed
    from shard.money import parse_amount

    if kind not in list(TransferKind):
        raise Malformed(f"{kind!r} is no kind of transfer; there are: {', '.join(TransferKind)}.")
    if len(words) != (1 if legs else _PLAIN_WORDS):
        raise Malformed(f"A transfer is told as {_WORDS}, or by --leg and CURRENCY; see --help.")
    currency = read_currency(words[-1])
    if legs:
        return request_of_legs(
            reference,
            [RequestedLeg(*read_leg(each, currency)) for each in legs],
            currency,
            narrative=narrative,
            value_date=value_date,
            kind=TransferKind(kind),
            expected_seq=expected_seq,
        )
    debtor, creditor, amount, _ = words
    return TransferRequest(
        reference=reference,
        debtor=read_account(debtor),
        creditor=read_account(creditor),
        amount=parse_amount(amount, currency),
        currency=currency,
        narrative=narrative,
        value_date=value_date,
        kind=TransferKind(kind),
        expected_seq=expected_seq,
    )


def answer_transfer(
    terminal: Terminal, record: TransferRecord, *, beside: dict[str, object] | None = None
) -> ExitCode:
    """Tell where the money of a transfer is, and what a script should do next.

    With ``beside`` the transfer is one member of the document among these.
    """
    from router.documents import transfer_document
    from shard.commands import MoneyState, Origin
    from shard.outcomes import Outcome

    document = transfer_document(record)
    paid = "several accounts" if record.creditor is None else str(record.creditor)

    def show(console: Console) -> None:
        console.print(
            f"{document['amount']} {record.currency} from {record.home} to {paid}: "
            f"{record.money_state.replace('_', ' ')} (reference {record.reference})"
        )

    told = document if beside is None else {"transfer": document, **beside}
    terminal.answer(told, show)
    match record.money_state:
        case MoneyState.POSTED | MoneyState.DELIVERED:
            return ExitCode.DONE
        case MoneyState.RETURNED if (
            record.origin is Origin.REVERSAL and record.return_code is Outcome.RECALLED
        ):
            terminal.note("It was recalled before it arrived.")
            return ExitCode.DONE
        case MoneyState.RETURNED | MoneyState.PARTIALLY_RETURNED:
            terminal.note(f"The money came back: {record.return_code}.")
            return ExitCode.REFUSED
        case _:
            terminal.note("The money is on its way; a worker delivers it.")
            return ExitCode.UNAVAILABLE
