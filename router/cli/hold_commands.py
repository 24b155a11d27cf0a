"""``ledger holds``: reserving money, paying out of it, letting it go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from router.cli.exit_codes import ExitCode
from router.cli.options import AsJson, Folder
from router.cli.runner import run
from router.cli.terminal import Terminal
from router.cli.transfer_command import Narrative, Wait, answer_transfer
from router.limits import TRANSFER_WAIT_S

if TYPE_CHECKING:
    from router.holds import Held
    from shard.holds import Hold

Account = Annotated[
    str, typer.Argument(metavar="ACCOUNT", help="The account that the amount is held on.")
]
HoldName = Annotated[str, typer.Argument(metavar="HOLD", help="The hold's reference.")]
Reference = Annotated[
    str | None,
    typer.Option(help="Names this command: repeated, it has no second effect. [a new one]"),
]
_SEVERAL = "Told by a command that was accepted before; nothing was done again."

app = typer.Typer(help="Holds: reserve money on an account, pay out of it, let it go.")


@app.command()
def place(
    ctx: typer.Context,
    account: Account,
    amount: Annotated[str, typer.Argument(metavar="AMOUNT", help='Like "30.00".')],
    currency: Annotated[str, typer.Argument(metavar="CURRENCY", help="ISO 4217 code.")],
    expires_at: Annotated[
        str, typer.Option(metavar="TIME", help="When it ends, like 2026-11-28T09:30:00Z.")
    ],
    creditor: Annotated[
        str | None,
        typer.Option(metavar="ACCOUNT", help="The only account it may be captured for."),
    ] = None,
    reference: Reference = None,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Hold an amount back, if it is available."""

    async def work(terminal: Terminal) -> None:
        from router.cli.arguments import read_account, read_currency, read_time
        from router.cli.bank_session import open_bank
        from router.holds import Placement
        from shard.money import parse_amount

        code = read_currency(currency)
        placement = Placement(
            reference=_named(terminal, reference),
            account=read_account(account),
            amount=parse_amount(amount, code),
            currency=code,
            expires_at=read_time(expires_at),
            creditor=None if creditor is None else read_account(creditor),
        )
        async with open_bank(folder) as bank:
            held = await bank.holds.place(placement)
        _answer(terminal, held)

    run(ctx, work, as_json=as_json)


@app.command()
def show(
    ctx: typer.Context,
    account: Account,
    hold: HoldName,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Show what a hold is, and what remains of it."""

    async def work(terminal: Terminal) -> None:
        from router.cli.arguments import read_account
        from router.cli.bank_session import open_bank
        from shard.references import parse_reference

        number, name = read_account(account), parse_reference(hold)
        async with open_bank(folder) as bank:
            found = await bank.holds.get(number, name)
        _show(terminal, found)

    run(ctx, work, as_json=as_json)


@app.command()
def capture(
    ctx: typer.Context,
    account: Account,
    hold: HoldName,
    creditor: Annotated[str, typer.Argument(metavar="CREDITOR", help="The account that is paid.")],
    amount: Annotated[
        str | None, typer.Argument(metavar="AMOUNT", help="Default: all that remains.")
    ] = None,
    final: Annotated[
        bool, typer.Option("--final", help="Let go of what this payment leaves.")
    ] = False,
    reference: Reference = None,
    narrative: Narrative = None,
    wait: Wait = TRANSFER_WAIT_S,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Pay a creditor out of a hold, also on another shard. Exit codes as of ledger transfer."""

    async def work(terminal: Terminal) -> ExitCode:
        from router.cli.arguments import read_account, read_plain_amount, read_text
        from router.cli.bank_session import open_bank
        from router.documents import hold_document
        from router.holds import Capture
        from router.limits import NARRATIVE_CHARS_MAX
        from shard.references import parse_reference

        wanted = Capture(
            reference=_named(terminal, reference),
            account=read_account(account),
            hold=parse_reference(hold),
            creditor=read_account(creditor),
            amount=None if amount is None else read_plain_amount(amount),
            is_final=final,
            narrative=read_text(narrative, "narrative", NARRATIVE_CHARS_MAX),
        )
        async with open_bank(folder) as bank:
            submitted, after = await bank.holds.capture(wanted)
            record = await bank.transfers.wait(submitted.record, wait)
        if submitted.is_replay:
            terminal.note(_SEVERAL)
        return answer_transfer(terminal, record, beside={"hold": hold_document(after)})

    run(ctx, work, as_json=as_json)


@app.command()
def increase(
    ctx: typer.Context,
    account: Account,
    hold: HoldName,
    amount: Annotated[str, typer.Argument(metavar="AMOUNT", help="How much more.")],
    expires_at: Annotated[
        str | None, typer.Option(metavar="TIME", help="A new end, like 2026-11-28T09:30:00Z.")
    ] = None,
    reference: Reference = None,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Hold more back, if it is available."""

    async def work(terminal: Terminal) -> None:
        from router.cli.arguments import read_account, read_plain_amount, read_time
        from router.cli.bank_session import open_bank
        from router.holds import Increase
        from shard.references import parse_reference

        wanted = Increase(
            reference=_named(terminal, reference),
            account=read_account(account),
            hold=parse_reference(hold),
            amount=read_plain_amount(amount),
            expires_at=None if expires_at is None else read_time(expires_at),
        )
        async with open_bank(folder) as bank:
            held = await bank.holds.increase(wanted)
        _answer(terminal, held)

    run(ctx, work, as_json=as_json)


@app.command()
def void(
    ctx: typer.Context,
    account: Account,
    hold: HoldName,
    reference: Reference = None,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Let go of all that is still held back."""

    async def work(terminal: Terminal) -> None:
        from router.cli.arguments import read_account
        from router.cli.bank_session import open_bank
        from shard.references import parse_reference

        number, name = read_account(account), parse_reference(hold)
        own_name = _named(terminal, reference)
        async with open_bank(folder) as bank:
            held = await bank.holds.void(number, name, own_name)
        _answer(terminal, held)

    run(ctx, work, as_json=as_json)


@app.command()
def expire(ctx: typer.Context, folder: Folder = None, as_json: AsJson = False) -> None:
    """End all holds whose time is up, on every shard; the worker does so by itself."""

    async def work(terminal: Terminal) -> None:
        from router.cli.bank_session import open_bank

        async with open_bank(folder) as bank:
            expired = {
                str(number): await shard.expire_holds() for number, shard in bank.shards.items()
            }
        total = sum(expired.values())
        document = {"expired": total, "shards": expired}
        terminal.answer(document, lambda console: console.print(f"Holds ended: {total}"))

    run(ctx, work, as_json=as_json)


def _named(terminal: Terminal, reference: str | None) -> str:
    """The reference of a command: the one given, or a new one that is told."""
    from shard.ids import new_id
    from shard.references import parse_reference

    if reference is not None:
        return parse_reference(reference)
    name = str(new_id())
    terminal.note(f"Reference: {name}")
    return name


def _answer(terminal: Terminal, held: Held) -> None:
    if held.is_replay:
        terminal.note(_SEVERAL)
    _show(terminal, held.hold)


def _show(terminal: Terminal, hold: Hold) -> None:
    from router.documents import hold_document

    document = hold_document(hold)

    def shown(console: Console) -> None:
        table = Table(box=None, show_header=False, pad_edge=False)
        for name, value in document.items():
            table.add_row(name.replace("_", " "), "-" if value is None else str(value))
        console.print(table)

    terminal.answer(document, shown)
