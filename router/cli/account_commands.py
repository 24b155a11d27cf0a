"""``ledger accounts open``, ``show``, ``change``, ``entries`` and ``statement``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from router.cli.options import OPENABLE_KINDS, AsJson, Folder
from router.cli.runner import run
from router.cli.terminal import Terminal
from shard.limits import PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX

if TYPE_CHECKING:
    from router.documents import Document
    from shard.statements import EntryPage

_ACTOR = "cli"
_ACCOUNTS_OF = "Accounts to open, CSV with a header or NDJSON, - for stdin: customer, reference, "
_ACCOUNTS_OF += "currency; kind, name, overdraft_limit, minimum_balance."
AccountNo = Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account number.")]

FromDate = Annotated[
    str | None, typer.Option("--from", metavar="DATE", help="First business date.")
]
ToDate = Annotated[
    str | None, typer.Option("--to", metavar="DATE", help="Business date after the last.")
]

Metadata = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="A note of the channel's own; repeat it."),
]
OverdraftLimit = Annotated[
    str | None,
    typer.Option(metavar="AMOUNT", help="How far below zero it may go; 'none' for no floor."),
]
MinimumBalance = Annotated[
    str | None,
    typer.Option(metavar="AMOUNT", help="What must remain; it excludes an overdraft."),
]

app = typer.Typer(
    help="Accounts: open one or many, look at them, change them, read entries and statements."
)


@app.command("open")
def open_account(
    ctx: typer.Context,
    customer: Annotated[
        str | None, typer.Option(help="The customer's number; it decides on the shard.")
    ] = None,
    currency: Annotated[str | None, typer.Option(help="ISO 4217 code.")] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="Names this opening: the same one again opens nothing twice."),
    ] = None,
    kind: Annotated[str | None, typer.Option(help=", ".join(OPENABLE_KINDS))] = None,
    name: Annotated[str | None, typer.Option(help="Name of the owner.")] = None,
    overdraft_limit: OverdraftLimit = None,
    minimum_balance: MinimumBalance = None,
    metadata: Metadata = None,
    account: Annotated[
        str | None, typer.Option(help="The number to take. Default: the next free one.")
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help=_ACCOUNTS_OF)
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --from: write the numbers there, not to stdout."),
    ] = None,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Open an account on the customer's home shard, or find the one opened before.

    With --from all accounts of a file: the whole file is checked first; a run that broke off is
    completed by the same command. Numbers come as CSV, or as NDJSON with --json or where the
    file is NDJSON.
    """
    fields = {
        "customer": customer,
        "currency": currency,
        "reference": reference,
        "kind": kind,
        "name": name,
        "overdraft_limit": overdraft_limit,
        "minimum_balance": minimum_balance,
    }
    given = {name: value for name, value in fields.items() if value is not None}

    async def work(terminal: Terminal) -> None:
        from shard.errors import Malformed

        if source is None:
            if output is not None:
                raise Malformed("--output goes with --from only.")
            await _open_one(terminal, folder, given, metadata or (), account)
        elif given or metadata or account is not None:
            raise Malformed("With --from the file says which accounts to open, nothing else does.")
        else:
            await _open_from(terminal, folder, source, output)

    run(ctx, work, as_json=as_json)


async def _open_one(
    terminal: Terminal,
    folder: Path | None,
    fields: Mapping[str, str],
    metadata: Sequence[str],
    account: str | None,
) -> None:
    from router.cli.arguments import read_account, read_pairs
    from router.cli.bank_session import open_bank
    from router.cli.opening_file import read_opening
    from router.documents import account_document

    opening = replace(
        read_opening(fields),
        account_no=None if account is None else read_account(account),
        metadata=read_pairs(metadata) or None,
    )
    async with open_bank(folder) as bank:
        opened = await bank.accounts.open(opening, actor=_ACTOR)
        shard = await bank.routes.owner_of(opened.account.account_no)
    if not opened.is_new:
        terminal.note("This account was opened before, by the same request.")
    document = account_document(opened.account, shard)
    terminal.answer(document, lambda console: _show_members(console, document))


async def _open_from(
    terminal: Terminal, folder: Path | None, source: Path, output: Path | None
) -> None:
    from router.cli.bank_session import open_bank
    from router.cli.opening_file import OpeningFormat, copied, open_all
    from router.cli.whole_file import whole_file

    async with copied(source) as file, open_bank(folder) as bank:
        form = OpeningFormat.NDJSON if terminal.as_json else file.form
        with terminal.steps.step("Opening accounts", file.count) as step:
            if output is None:
                await open_all(file, bank, terminal.write, step, form)
                return
            async with whole_file(output) as written:
                await open_all(file, bank, written.write, step, form)
    document: Document = {"opened": file.count, "format": form, "output": str(output)}
    terminal.answer(document, lambda console: _show_members(console, document))


@app.command()
def change(
    ctx: typer.Context,
    account: AccountNo,
    status: Annotated[str | None, typer.Option(help="open, frozen or closed.")] = None,
    frozen_for: Annotated[
        str | None,
        typer.Option(help="With --status frozen: everything, or debits, so that it may be paid."),
    ] = None,
    overdraft_limit: OverdraftLimit = None,
    minimum_balance: MinimumBalance = None,
    metadata: Metadata = None,
    no_metadata: Annotated[
        bool, typer.Option("--no-metadata", help="Take all notes away.")
    ] = False,
    reason: Annotated[str | None, typer.Option(help="Why, for the audit trail.")] = None,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Freeze, reopen or close an account; change its limits or its notes, all at once or nothing.

    Notes replace those that were there.
    """

    async def work(terminal: Terminal) -> None:
        from router.cli.account_change import read_change
        from router.cli.arguments import read_account, read_text
        from router.cli.bank_session import open_bank
        from router.documents import account_document
        from router.limits import REASON_CHARS_MAX

        number = read_account(account)
        wanted = read_change(
            status=status,
            frozen_for=frozen_for,
            overdraft_limit=overdraft_limit,
            minimum_balance=minimum_balance,
            metadata=[] if no_metadata else metadata,
        )
        why = read_text(reason, "reason", REASON_CHARS_MAX) or "Asked for by a command."
        async with open_bank(folder) as bank:
            changed = await bank.accounts.change(number, wanted, actor=_ACTOR, reason=why)
            shard = await bank.routes.owner_of(number)
        document = account_document(changed, shard)
        terminal.answer(document, lambda console: _show_members(console, document))

    run(ctx, work, as_json=as_json)


@app.command()
def show(
    ctx: typer.Context,
    account: AccountNo,
    as_of: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Its money then: RFC 3339, or the end of a date."),
    ] = None,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Show what an account is, where it lives, and its money."""

    async def work(terminal: Terminal) -> None:
        from router.cli.arguments import read_account
        from router.cli.bank_session import open_bank
        from router.documents import account_document, balance_document
        from router.past_times import parse_past_time

        number = read_account(account)
        past = None if as_of is None else parse_past_time(as_of)
        async with open_bank(folder) as bank:
            found = await bank.accounts.get(number)
            balance = await bank.accounts.balance(number, as_of=past)
            shard = await bank.routes.owner_of(number)
        document = account_document(found, shard) | {"balance": balance_document(balance)}
        terminal.answer(document, lambda console: _show_account(console, document))

    run(ctx, work, as_json=as_json)


@app.command()
def entries(
    ctx: typer.Context,
    account: AccountNo,
    from_date: FromDate = None,
    to_date: ToDate = None,
    limit: Annotated[
        int, typer.Option(min=1, max=PAGE_ROWS_MAX, help="Entries at most.")
    ] = PAGE_ROWS_DEFAULT,
    cursor: Annotated[
        str | None, typer.Option(help="Go on where the page before ended (its next_cursor).")
    ] = None,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """List an account's entries in their order, page by page, newest last."""

    async def work(terminal: Terminal) -> None:
        from router.cli.arguments import read_account, read_date
        from router.cli.bank_session import open_bank
        from router.documents import entry_document
        from shard.errors import Malformed

        number, first, last = read_account(account), read_date(from_date), read_date(to_date)
        if first and last and first > last:
            raise Malformed("--to lies before --from.")
        async with open_bank(folder) as bank:
            page = await bank.accounts.entries(
                number, from_date=first, to_date=last, cursor=cursor, limit=limit
            )
        data = [entry_document(line, page.currency) for line in page.lines]
        document = {"data": data, "next_cursor": page.next_cursor}
        terminal.answer(document, lambda console: _show_entries(console, page))
        if page.next_cursor and not as_json:
            terminal.note(f"There is more: --cursor {page.next_cursor}")

    run(ctx, work, as_json=as_json)


@app.command()
def statement(
    ctx: typer.Context,
    account: AccountNo,
    from_date: FromDate = None,
    to_date: ToDate = None,
    form: Annotated[
        str | None, typer.Option("--format", help="json, csv or camt.053 (ISO 20022, XML).")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it there, once it is complete.")
    ] = None,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Write a statement: opening balance, bookings, closing balance; by default of this month."""

    async def work(terminal: Terminal) -> None:
        from router.cli.arguments import read_account, read_date
        from router.cli.bank_session import open_bank
        from router.cli.statement_output import format_of, save, show_statement

        number, first, end = read_account(account), read_date(from_date), read_date(to_date)
        wanted = format_of(form, is_plain=as_json or output is not None)
        async with open_bank(folder) as bank:
            opened = await bank.statements.open(number, first, end)
            if wanted is None:
                await show_statement(opened, terminal)
            elif output is None:
                async for piece in opened.written(wanted):
                    terminal.write(piece)
            else:
                document = await save(opened, wanted, output)
                terminal.answer(document, lambda console: _show_members(console, document))

    run(ctx, work, as_json=as_json)


def _show_account(console: Console, document: Document) -> None:
    balance = document["balance"]
    plain = {name: value for name, value in document.items() if name != "balance"}
    _show_members(console, plain)
    if isinstance(balance, dict):
        shown = ("ledger", "held", "available", "in_transit", "as_of")
        _show_members(console, {name: balance[name] for name in shown})


def _show_members(console: Console, document: Document) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in document.items():
        table.add_row(name.replace("_", " "), "-" if value is None else str(value))
    console.print(table)


def _show_entries(console: Console, page: EntryPage) -> None:
    from router.cli.statement_output import entry_table

    console.print(entry_table(page.lines, page.currency))
