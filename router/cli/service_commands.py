"""``ledger serve``, ``worker`` and ``migrate``: what runs on servers, one process each."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

import typer
from rich.console import Console

from router.cli.options import AsJson, Folder
from router.cli.runner import leave_signals_to_server, run
from router.cli.terminal import Terminal

_LOG_LEVEL = "LEDGER_LOG_LEVEL"


def serve(
    ctx: typer.Context,
    folder: Folder = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on. [LEDGER_HTTP_HOST, else 127.0.0.1]")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65_535, help="Port; 0 takes a free one. [LEDGER_HTTP_PORT, 8080]"),
    ] = None,
    worker: Annotated[
        bool | None,
        typer.Option("--worker/--no-worker", help="Run the worker here, too. [LEDGER_RUN_WORKER]"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Serve the HTTP API in the foreground until a signal comes; then finish what is under way.

    Writes its address to stdout once requests are answered, and its log to stderr.
    """

    async def work(terminal: Terminal) -> None:
        from router.cli.bank_settings import bank_settings
        from router.http.server import serve as serve_bank

        _override("LEDGER_HTTP_HOST", host)
        _override("LEDGER_HTTP_PORT", port)
        _override("LEDGER_RUN_WORKER", worker)
        settings = bank_settings(folder)

        def on_start(url: str) -> None:
            leave_signals_to_server()
            terminal.answer({"url": url}, lambda console: _print_now(console, url))
            terminal.close()

        await serve_bank(settings, on_start=on_start)

    run(ctx, work, as_json=as_json, serves=True, log_level=_log_level())


def worker(
    ctx: typer.Context,
    folder: Folder = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65_535, help="Serve /metrics there. [LEDGER_WORKER_METRICS_PORT, else none]"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run the sagas' worker alone, until a signal comes: for more power than the API's own."""

    async def work(terminal: Terminal) -> None:
        from router import process_memory
        from router.cli.bank_settings import bank_settings
        from router.http.worker_metrics import metrics_served
        from router.telemetry import Metrics, tracing_from_environment
        from router.wiring import Bank

        _override("LEDGER_WORKER_METRICS_PORT", metrics_port)
        settings = bank_settings(folder).model_copy(update={"run_worker": True})
        metrics, tracing = Metrics(), tracing_from_environment()
        async with (
            Bank(settings, observer=metrics, tracing=tracing) as bank,
            metrics_served(bank, metrics) as url,
        ):
            process_memory.settle()
            terminal.note(f"The worker runs, with Temporal at {settings.temporal_address}.")
            if url is not None:
                terminal.note(f"Its metrics are at {url}.")
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                terminal.note("The worker finishes what is under way.")

    run(ctx, work, as_json=as_json, serves=True, log_level=_log_level())


def migrate(
    ctx: typer.Context,
    folder: Folder = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what would be applied.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring all databases to this program's schema; makes a new bank where there is none.

    Needs the roles that own the databases: LEDGER_DIRECTORY_OWNER_DSN, LEDGER_SHARD_OWNER_DSNS.
    """

    async def work(terminal: Terminal) -> None:
        from router.cli.bank_settings import bank_settings
        from router.wiring import migrate_all

        settings = bank_settings(folder)
        applied: dict[str, list[str]] = {}
        with terminal.steps.step("Migrating", len(settings.shard_dsns) + 1) as step:

            def report(database: str, names: list[str]) -> None:
                applied[database] = names
                step.at(len(applied))

            await migrate_all(settings, dry_run=dry_run, report=report)
        document = {
            "dry_run": dry_run,
            "databases": [{"name": name, "applied": applied[name]} for name in sorted(applied)],
        }
        terminal.answer(document, lambda console: _show_applied(console, applied))

    run(ctx, work, as_json=as_json)


def _show_applied(console: Console, applied: dict[str, list[str]]) -> None:
    for name in sorted(applied):
        console.print(f"{name}: {', '.join(applied[name]) or 'up to date'}")


def _print_now(console: Console, line: str) -> None:
    console.print(line)
    console.file.flush()


def _override(name: str, value: object) -> None:
    """An option counts more than the setting of the same meaning."""
    if value is not None:
        os.environ[name] = str(value)


def _log_level() -> str:
    return os.environ.get(_LOG_LEVEL, "INFO")
