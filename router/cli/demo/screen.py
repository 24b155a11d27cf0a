"""The closing screen of the demonstration."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

from rich.console import Console
from rich.table import Table

from router.cli.demo.figures import Percentiles
from router.cli.demo.result import DemoResult
from shard.money import currency_of

_PAYROLL_MEANINGS = {"ACSC": "settled", "RJCT": "rejected, money back with the employer"}


def show(console: Console, result: DemoResult) -> None:
    """Print everything that a visitor wants to see."""
    _show_transfers(console, result)
    _show_times(console, result)
    _show_trial_balance(console, result)
    _show_open(console, result)
    _show_claims(console, result)
    _show_where_next(console, result)


def _show_transfers(console: Console, result: DemoResult) -> None:
    table = _table("Transfers by outcome", "through", "outcome", ">count", ">per second")
    rate = f"{result.transfers_per_second:,.0f}"
    for outcome, count in sorted(result.transfers.items()):
        table.add_row("HTTP API", outcome, f"{count:,}", rate)
        rate = ""
    statuses = result.payroll["statuses"]
    lines = sum(statuses.values()) if isinstance(statuses, Mapping) else 0
    rate = f"{lines / result.payroll_seconds:,.0f}"
    for status, count in sorted(statuses.items()) if isinstance(statuses, Mapping) else ():
        meaning = _PAYROLL_MEANINGS.get(status, "")
        table.add_row("payroll file", f"{status} {meaning}".strip(), f"{count:,}", rate)
        rate = ""
    console.print(table)


def _show_times(console: Console, result: DemoResult) -> None:
    table = _table("Times, while all of it ran at once", "", ">count", ">p50 ms", ">p99 ms")
    for name, figures in (
        ("answer to a same-shard transfer over HTTP", result.same_shard),
        ("cross-shard window, commit of debit to commit of credit", result.window),
    ):
        table.add_row(name, f"{figures.count:,}", *_milliseconds(figures))
    console.print(table)


def _milliseconds(figures: Percentiles) -> tuple[str, str]:
    p50, p99 = figures.p50_ms, figures.p99_ms
    return ("-" if p50 is None else f"{p50:,.1f}", "-" if p99 is None else f"{p99:,.1f}")


def _show_trial_balance(console: Console, result: DemoResult) -> None:
    table = _table("Trial balance", "shard", "currency", "accounts", ">number", ">debit", ">credit")
    for shard, lines in result.trial_balance.items():
        for line in lines:
            table.add_row(
                str(shard),
                line.currency,
                line.kind,
                f"{line.accounts:,}",
                _money(-line.debit, line.currency),
                _money(line.credit, line.currency),
            )
        for currency in sorted({line.currency for line in lines}):
            ours = [line for line in lines if line.currency == currency]
            debit = -sum((line.debit for line in ours), Decimal(0))
            credit = sum((line.credit for line in ours), Decimal(0))
            table.add_row(
                str(shard),
                currency,
                "[bold]sum[/]",
                "",
                f"[bold]{_money(debit, currency)}[/]",
                f"[bold]{_money(credit, currency)}[/]",
                end_section=True,
            )
    console.print(table)


def _show_open(console: Console, result: DemoResult) -> None:
    parked = [
        f"shard {shard}: {total.count} amounts, "
        f"{_money(total.amount, total.currency)} {total.currency} ({total.state})"
        for shard, totals in result.suspense.items()
        for total in totals
    ]
    sagas = "Temporal does not tell" if result.open_sagas is None else str(result.open_sagas)
    console.print(f"[bold]Suspense[/]    {'; '.join(parked) or 'empty on every shard'}")
    console.print(f"[bold]Open sagas[/]  {sagas}\n")


def _show_claims(console: Console, result: DemoResult) -> None:
    table = _table("Verified", "", "claim", "found")
    for claim in result.claims:
        mark = "[green]✓[/]" if claim.holds else "[red]✗[/]"
        table.add_row(mark, claim.claim, claim.found)
    console.print(table)
    if result.holds:
        console.print("[bold green]Every cent is accounted for.[/]\n")
    else:
        console.print("[bold red]Something does not hold; see above.[/]\n")


def _show_where_next(console: Console, result: DemoResult) -> None:
    """Lines that a reader can copy into the shell he started the demonstration from."""
    addresses, employer = result.addresses, result.payroll["employer"]
    bank = f"--folder {addresses.folder}"
    lines = [("Report file", str(result.payroll["report"]))]
    if result.is_kept:
        lines += [("API docs", addresses.api_docs), ("Temporal UI", addresses.temporal_ui)]
    else:
        lines += [("Start it again", f"{program()} up {bank}")]
    lines += [
        ("Look", f"{program()} accounts show {employer} {bank}"),
        ("", f"{program()} accounts statement {employer} {bank}"),
        ("", f"{program()} check {bank}"),
        ("Stop it" if result.is_kept else "", f"{program()} down {bank}"),
    ]
    console.print("[bold]Where to look next[/]")
    for name, line in lines:
        console.print(f"{name:15}", line, soft_wrap=True, markup=False, highlight=False)
    console.print("The next demonstration deletes this folder.", style="dim")


def program() -> str:
    """What to type to run this program again from here."""
    started = Path(sys.argv[0])
    if shutil.which("ledger") or started.name != "ledger":
        return "ledger"
    try:
        return str(started.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(started.absolute())


def _money(amount: Decimal, currency: str) -> str:
    """An amount with its thousands grouped, for people."""
    return f"{amount:,.{currency_of(currency).scale}f}"


def _table(title: str, *columns: str) -> Table:
    """A table; a column whose name begins with ``>`` is aligned to the right."""
    table = Table(title=title, title_justify="left", title_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column.removeprefix(">"), justify="right" if column[:1] == ">" else "left")
    return table
