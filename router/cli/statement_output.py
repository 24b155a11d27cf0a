"""Where ``ledger accounts statement`` writes: a terminal, or a file that is whole or not there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from router.cli.terminal import Terminal
from router.cli.whole_file import whole_file
from router.documents import Document, statement_foot, statement_head
from router.statements import Statement, StatementFormat
from shard.errors import Malformed
from shard.money import format_amount
from shard.statements import EntryLine


class FormatUnknown(Malformed):
    """A statement is written as json, csv or camt.053."""


def format_of(text: str | None, *, is_plain: bool) -> StatementFormat | None:
    """The format that was asked for; None is a table for people. Raises ``FormatUnknown``."""
    if text is None:
        return StatementFormat.JSON if is_plain else None
    try:
        return StatementFormat(text)
    except ValueError:
        raise FormatUnknown from None


async def save(statement: Statement, form: StatementFormat, path: Path) -> Document:
    """Write a statement to a file, which appears (for its owner only) when it is complete.

    Returns what to tell of it; raises ``OutputRefused``, and what reading raises.
    """
    async with whole_file(path) as file:
        async for piece in statement.written(form):
            await asyncio.to_thread(file.write, piece)
    bounds = statement.bounds
    summary = statement_head(bounds) | statement_foot(bounds, statement.entry_count)
    return summary | {"format": form, "output": str(path)}


async def show_statement(statement: Statement, terminal: Terminal) -> None:
    """Write a statement as tables, one after the other as it is read."""
    bounds = statement.bounds
    head = statement_head(bounds)
    dates = f"{bounds.from_date} to {bounds.last_date}"
    terminal.show(f"Statement of {head['account']}, {dates}")
    terminal.show(f"Opening balance: {head['opening_balance']} {bounds.currency}")
    async for lines in statement.chunks():
        terminal.show(entry_table(lines, bounds.currency))
    foot = statement_foot(bounds, statement.entry_count)
    terminal.show(f"Closing balance: {foot['closing_balance']} {bounds.currency}")


def entry_table(lines: Sequence[EntryLine], currency: str) -> Table:
    """Entries for people, with the balance of the account after each."""
    table = Table(box=None, pad_edge=False)
    for name in ("date", "reference", "counterparty", "amount", "balance", "narrative"):
        table.add_column(name, justify="right" if name in ("amount", "balance") else "left")
    for line in lines:
        table.add_row(
            str(line.business_date),
            line.reference,
            str(line.counterparty or ""),
            format_amount(line.amount, currency),
            format_amount(line.balance_after, currency),
            line.narrative or "",
        )
    return table
