"""``ledger accounts open``, ``show`` and ``statement``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from router.cli.options import AsJson, Folder
from router.cli.runner import run
from router.cli.terminal import Terminal
from shard.limits import PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX

if TYPE_CHECKING:
    from router.cli.documents import Document
    from shard.statements import EntryPage

_ACTOR = "cli"
# Suspense and clearing belong to the machinery.
_KINDS = ("customer", "internal", "asset", "liability", "income", "expense", "equity")
AccountNo = Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account number.")]

app = typer.Typer(help="Accounts: open one, look at it, read its statement.")


@app.command("open")
def open_account(
    ctx: typer.Context,
    customer: Annotated[str, typer.Option(help="The customer's number; it decides on the shard.")],
    currency: Annotated[str, typer.Option(help="ISO 4217 code.")],
    reference: Annotated[
        str, typer.Option(help="Names this opening: the same one again opens nothing twice.")
    ],
    kind: Annotated[str, typer.Option(help=", ".join(_KINDS), show_default=True)] = "customer",
    name: Annotated[str | None, typer.Option(help="Name of the owner.")] = None,
    overdraft_limit: Annotated[
        str, typer.Option(help="How far below zero it may go; 'none' for no floor at all.")
    ] = "0",
    account: Annotated[
        str | None, typer.Option(help="The number to take. Default: the next free one.")
    ] = None,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Open an account on the customer's home shard, or find the one opened before."""

    async def work(terminal: Terminal) -> None:
        from router.accounts import Opening
        from router.cli.arguments import read_account, read_currency, read_text
        from router.cli.bank_session import open_bank
        from router.cli.documents import account_document
        from router.limits import NAME_CHARS_MAX
        from shard.accounts import AccountKind
        from shard.errors import Malformed
        from shard.money import parse_signed_limit
        from shard.references import parse_reference

        if kind not in _KINDS:
            raise Malformed(f"{kind!r} is no kind of account; there are: {', '.join(_KINDS)}.")
        code = read_currency(currency)
        opening = Opening(
            customer=customer,
            reference=parse_reference(reference),
            currency=code,
            kind=AccountKind(kind),
            name=read_text(name, "name", NAME_CHARS_MAX),
            overdraft_limit=(
                None if overdraft_limit == "none" else parse_signed_limit(overdraft_limit, code)
            ),
            account_no=None if account is None else read_account(account),
        )
        async with open_bank(folder) as bank:
            opened = await bank.accounts.open(opening, actor=_ACTOR)
            shard = await bank.routes.owner_of(opened.account.account_no)
        if not opened.is_new:
            terminal.note("This account was opened before, by the same request.")
        document = account_document(opened.account, shard)
        terminal.answer(document, lambda console: _show_members(console, document))

    run(ctx, work, as_json=as_json)


@app.command()
def show(
    ctx: typer.Context, account: AccountNo, folder: Folder = None, as_json: AsJson = False
) -> None:
    """Show what an account is, where it lives, and its money."""

    async def work(terminal: Terminal) -> None:
        from router.cli.arguments import read_account
        from router.cli.bank_session import open_bank
        from router.cli.documents import account_document, balance_document

        number = read_account(account)
        async with open_bank(folder) as bank:
            found = await bank.accounts.get(number)
            balance = await bank.accounts.balance(number)
            shard = await bank.routes.owner_of(number)
        document = account_document(found, shard) | {"balance": balance_document(balance)}
        terminal.answer(document, lambda console: _show_account(console, document))

    run(ctx, work, as_json=as_json)


@app.command()
def statement(
    ctx: typer.Context,
    account: AccountNo,
    from_date: Annotated[
        str | None, typer.Option("--from", metavar="DATE", help="First business date.")
    ] = None,
    to_date: Annotated[
        str | None, typer.Option("--to", metavar="DATE", help="Business date after the last.")
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, max=PAGE_ROWS_MAX, help="Entries at most.")
    ] = PAGE_ROWS_DEFAULT,
    cursor: Annotated[
        str | None, typer.Option(help="Go on where the page before ended (its next_cursor).")
    ] = None,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """List an account's entries in their order, newest last."""

    async def work(terminal: Terminal) -> None:
        from router.cli.arguments import read_account, read_date
        from router.cli.bank_session import open_bank
        from router.cli.documents import entry_document
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
    from shard.money import format_amount

    table = Table(box=None, pad_edge=False)
    for name in ("date", "reference", "counterparty", "amount", "balance", "narrative"):
        table.add_column(name, justify="right" if name in ("amount", "balance") else "left")
    for line in page.lines:
        table.add_row(
            str(line.business_date),
            line.reference,
            str(line.counterparty or ""),
            format_amount(line.amount, page.currency),
            format_amount(line.ledger_after, page.currency),
            line.narrative or "",
        )
    console.print(table)
