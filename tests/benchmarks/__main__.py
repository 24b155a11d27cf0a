"""``make bench``: the figures of the README, measured in one run on one machine.

Starts a bank of its own, measures PostgreSQL by pgbench and the ledger by its own doors on the
same servers, checks every invariant afterwards, prints a table, and writes ``build/bench.json``.
It fails on wrong balances only, never on a figure: those depend on the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import structlog
from rich.console import Console
from rich.table import Table

from deploy.embedded.endpoints import Endpoints
from deploy.embedded.ports import free_port
from deploy.embedded.stack import EmbeddedStack
from router.settings import Settings
from router.wiring import migrate_all
from tests.benchmarks.accounts import open_accounts
from tests.benchmarks.balances import wrong_balances
from tests.benchmarks.lanes import lane_rate
from tests.benchmarks.load import Measured, Order, generate_apart
from tests.benchmarks.pgbench import best_tpcb_per_second
from tests.support.databases import temporary_folder

CONNECTIONS = 32
REPORT = Path("build") / "bench.json"


@dataclass(frozen=True, slots=True)
class Extent:
    """How long and how large: a moment for CI, or enough for a figure."""

    seconds: int
    accounts: int
    rounds: int


QUICK = Extent(seconds=3, accounts=500, rounds=1)
FULL = Extent(seconds=10, accounts=5_000, rounds=3)


@dataclass(frozen=True, slots=True)
class Round:
    """One pass over everything, so that a ratio compares the same minute."""

    tpcb_per_s: float
    lanes_per_s: float
    single: Measured
    cross: Measured


async def measure(extent: Extent, endpoints: Endpoints, stack: EmbeddedStack) -> list[Round]:
    """Measure round after round on a bank that was just brought up."""
    settings = Settings.model_validate(
        {
            "shard_dsns": dict(endpoints.shard_dsns),
            "shard_owner_dsns": dict(endpoints.shard_owner_dsns),
            "directory_dsn": endpoints.directory_dsn,
            "directory_owner_dsn": endpoints.directory_owner_dsn,
        }
    )
    await migrate_all(settings, report=lambda *_: None)
    numbers = await open_accounts(settings, extent.accounts)
    rounds = []
    async with _api(endpoints) as url:
        for i in range(extent.rounds):
            tpcb = await best_tpcb_per_second(stack.shard_server(1).superuser_dsn, extent.seconds)
            lanes = await lane_rate(settings, numbers[1], seconds=extent.seconds)
            single = await _http(url, extent, numbers[1], numbers[1], f"s{i}")
            cross = await _http(url, extent, numbers[1], numbers[2], f"c{i}")
            rounds.append(Round(tpcb, lanes, single, cross))
    return rounds


async def _http(
    url: str, extent: Extent, debtors: list[int], creditors: list[int], run: str
) -> Measured:
    host, _, port = urlsplit(url).netloc.partition(":")
    return await generate_apart(
        Order(host, int(port), CONNECTIONS, extent.seconds, debtors, creditors, run)
    )


@asynccontextmanager
async def _api(endpoints: Endpoints) -> AsyncIterator[str]:
    """One serving process, with its worker inside, as ``ledger serve`` starts it."""
    port = free_port(frozenset())
    environment = {**os.environ, **endpoints.environment(), "LEDGER_HTTP_PORT": str(port)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "router.cli", "serve", env=environment
    )
    try:
        url = f"http://127.0.0.1:{port}"
        await _until_ready(url, process)
        yield url
    finally:
        process.terminate()
        await process.wait()


async def _until_ready(url: str, process: asyncio.subprocess.Process) -> None:
    host, _, port = urlsplit(url).netloc.partition(":")
    async with asyncio.timeout(60):
        while process.returncode is None:
            try:
                _, writer = await asyncio.open_connection(host, int(port))
            except ConnectionRefusedError:
                await asyncio.sleep(0.1)  # sleep: a port has no event
                continue
            writer.close()
            return
    raise RuntimeError(f"the API ended with {process.returncode} before it answered")


def figures_of(rounds: list[Round]) -> dict[str, float]:
    """The figures by key; rates and times are the best round's, ratios are within a round."""
    best = max(rounds, key=lambda each: each.single.per_second / each.tpcb_per_s)
    return {
        "tpcb_per_s": best.tpcb_per_s,
        "single_http_per_s": best.single.per_second,
        "single_http_p50_ms": best.single.p50_ms,
        "single_http_p99_ms": best.single.p99_ms,
        "single_http_ratio": best.single.per_second / best.tpcb_per_s,
        "lanes_per_s": best.lanes_per_s,
        "lane_ratio": best.lanes_per_s / best.tpcb_per_s,
        "cross_http_per_s": best.cross.per_second,
    }


def show(figures: Mapping[str, float]) -> None:
    """Print the figures as a table."""
    table = Table("figure", "value", title="One serving process, 32 connections, durable commits")
    for name, value in figures.items():
        table.add_row(name, f"{value:,.2f}" if value < 100 else f"{value:,.0f}")
    Console().print(table)


def _machine() -> dict[str, object]:
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return {
        "cores": psutil.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "python": platform.python_version(),
        "system": platform.platform(),
        "commit": commit.stdout.strip(),
    }


async def main() -> int:
    """Run the benchmark; 1 when a balance is wrong."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a moment instead of minutes")
    extent = QUICK if parser.parse_args().quick else FULL
    console = Console(stderr=True)
    async with temporary_folder("bench") as folder:
        stack = EmbeddedStack(folder / "bank")
        try:
            endpoints = await stack.up(console.print)
            rounds = await measure(extent, endpoints, stack)
            wrong = await wrong_balances(endpoints.shard_dsns)
        finally:
            await stack.destroy()
    figures = figures_of(rounds)
    show(figures)
    REPORT.parent.mkdir(exist_ok=True)
    raw = [asdict(each) for each in rounds]
    report = {"figures": figures, "rounds": raw, "machine": _machine(), "wrong": wrong}
    REPORT.write_text(json.dumps(report, indent=2) + "\n")
    for each in wrong:
        console.print(f"wrong balance: {each}")
    return 1 if wrong else 0


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    sys.exit(asyncio.run(main()))
