"""``ledger up``, ``down`` and ``status``: a bank on this machine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from router.cli.exit_codes import ExitCode
from router.cli.options import AsJson, Folder, StackFolder
from router.cli.runner import run
from router.cli.terminal import Terminal

if TYPE_CHECKING:
    from router.cli.embedded_bank import Addresses, EmbeddedBank
    from router.cli.service_health import Service


def up(
    ctx: typer.Context,
    folder: StackFolder = None,
    shards: Annotated[
        int | None,
        typer.Option(min=1, max=9, help="Shards; more later are possible, fewer are not. [3]"),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65_535, help="Port of the API. [the last one, at first 8080]"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Start a bank on this machine: PostgreSQL, Temporal, schema, API with its worker.

    What runs already is left alone. Everything listens on this machine only. As root,
    PostgreSQL runs under an unprivileged account, as it refuses to run as root.
    """

    async def work(terminal: Terminal) -> None:
        bank = _bank(folder, shards)
        await bank.up(port, terminal.steps)
        addresses = bank.addresses()
        terminal.answer(asdict(addresses), lambda console: show_addresses(console, addresses))

    run(ctx, work, as_json=as_json)


def down(ctx: typer.Context, folder: StackFolder = None, as_json: AsJson = False) -> None:
    """Stop the bank on this machine, whoever started it; its data stays."""

    async def work(terminal: Terminal) -> None:
        bank = _bank(folder, None)
        is_bank = bool(await bank.services())
        await bank.down(terminal.steps)
        document = {"folder": str(bank.folder), "running": False}
        told = "Stopped" if is_bank else "There is no bank to stop in"
        terminal.answer(document, lambda console: console.print(f"{told}: {bank.folder}"))

    run(ctx, work, as_json=as_json)


def status(ctx: typer.Context, folder: Folder = None, as_json: AsJson = False) -> None:
    """Show each service of the bank; exit code 3 unless all of them answer."""

    async def work(terminal: Terminal) -> ExitCode:
        from router.cli.service_health import services_of

        services = await services_of(folder)
        is_ready = bool(services) and all(service.is_ready for service in services)
        document = {"ready": is_ready, "services": [asdict(service) for service in services]}
        terminal.answer(document, lambda console: _show_services(console, services))
        return ExitCode.DONE if is_ready else ExitCode.UNAVAILABLE

    run(ctx, work, as_json=as_json)


def show_addresses(console: Console, addresses: Addresses) -> None:
    """Print where a bank is reached, and what to do next."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("API", addresses.api)
    table.add_row("API docs", addresses.api_docs)
    table.add_row("Temporal UI", addresses.temporal_ui)
    table.add_row("Temporal", addresses.temporal)
    table.add_row("Data", addresses.folder)
    console.print(table)


def _bank(folder: Path | None, shards: int | None) -> EmbeddedBank:
    from deploy.embedded.folders import default_folder
    from router.cli.embedded_bank import EmbeddedBank

    return EmbeddedBank(folder or default_folder(), shards=shards)


def _show_services(console: Console, services: list[Service]) -> None:
    if not services:
        console.print("There is no bank here; start one with: ledger up")
        return
    table = Table("service", "state", "pid", "address", "log", box=None, pad_edge=False)
    for service in services:
        colour = "green" if service.is_ready else "red"
        table.add_row(
            service.name,
            f"[{colour}]{service.state}[/]",
            "" if service.pid is None else str(service.pid),
            service.address,
            service.log or "",
        )
    console.print(table)
