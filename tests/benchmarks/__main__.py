"""``make bench``: the figures of the README, measured in one run on one machine.

Starts a bank of its own, measures PostgreSQL by pgbench and the ledger by its own doors on the
same servers, checks every invariant afterwards, prints a table, and writes ``build/bench.json``.
It fails on wrong balances only, never on a figure: those depend on the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import structlog
from rich.console import Console

from deploy.embedded.stack import EmbeddedStack
from tests.benchmarks.accounts import open_accounts
from tests.benchmarks.ageing import Aged, age, aged_against_empty
from tests.benchmarks.balances import settled, wrong_balances
from tests.benchmarks.bank import MeasuredBank, migrate
from tests.benchmarks.crossing import curve_of
from tests.benchmarks.extent import FULL, QUICK, Extent
from tests.benchmarks.figures import over_rounds
from tests.benchmarks.pgbench import fill_tpcb
from tests.benchmarks.pgledger import fill_pgledger
from tests.benchmarks.posting import fixed_number
from tests.benchmarks.recovery import Recovery, worker_recovery
from tests.benchmarks.report import show, show_curve, write
from tests.benchmarks.rounds import Round, fastest, measure_round
from tests.benchmarks.serving import serving
from tests.benchmarks.shards import ShardsCost, shards_cost
from tests.benchmarks.singles import Singles, generator_name
from tests.benchmarks.storage import Room, Stored, use_wal_files
from tests.support.databases import temporary_folder

_PROCESSES = 2
_SHARDS = 4
_AGED_SHARD, _EMPTY_SHARD = 3, 4
"""Shards that nothing else is measured on; their rates are taken one right after the other."""

Tell = Callable[[str], None]


@dataclass(slots=True)
class Results:
    """All raw measurements of a run."""

    rounds: list[Round] = field(default_factory=list)
    storage: dict[str, Stored] = field(default_factory=dict)
    ageing: list[Aged] = field(default_factory=list)
    aged_entries: int = 0
    shards: list[ShardsCost] = field(default_factory=list)
    recovery: list[Recovery] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def figures(self) -> list[dict[str, float]]:
        """The figures of each round; what is measured once stands in a round of its own."""
        return [
            *(each.figures for each in self.rounds),
            *({"cpu_shards_8_vs_1": each.ratio} for each in self.shards),
            *({"aged_ratio": each.ratio} for each in self.ageing),
            *({"worker_recovery_s": each.seconds} for each in self.recovery),
            {
                **{f"{name}_disk_bytes": each.disk_bytes for name, each in self.storage.items()},
                **{f"{name}_wal_bytes": each.wal_bytes for name, each in self.storage.items()},
            },
        ]


async def run(folder: Path, extent: Extent, results: Results, tell: Tell) -> None:
    """Measure everything on one bank, and the cost of shards on another one of eight."""
    stack = EmbeddedStack(folder / "bank", shards=_SHARDS)
    try:
        endpoints = await stack.up(tell)
        await migrate(endpoints)
        counts = dict.fromkeys(endpoints.shard_dsns, extent.accounts_per_shard)
        counts |= {_AGED_SHARD: extent.aged_accounts, _EMPTY_SHARD: extent.aged_accounts}
        accounts = await open_accounts(counts, endpoints.shard_dsns)
        bank = MeasuredBank(extent, stack, endpoints, accounts)
        await fill_tpcb(bank.superuser_dsn(1))
        await fill_pgledger(bank.superuser_dsn(1), extent.accounts_per_shard)
        for shard in endpoints.shard_dsns:
            await use_wal_files(bank.superuser_dsn(shard), extent.wal_files)
        async with serving(endpoints, folder, _PROCESSES) as api:
            await measure_serving(replace(bank, api=api), results, tell)
        tell("Killing the only worker")
        for _ in range(extent.rounds):
            results.recovery.append(await worker_recovery(bank, endpoints, folder))
        await measure_ageing(bank, results, tell)
        tell("Checking every invariant")
        results.wrong += await wrong_balances(endpoints.shard_dsns)
    finally:
        await stack.destroy()
    tell("Measuring CPU time on one shard and on eight")
    results.shards, wrong = await shards_cost(folder, extent)
    results.wrong += wrong


async def measure_serving(bank: MeasuredBank, results: Results, tell: Tell) -> None:
    """The rounds, and the room that transfers take."""
    for number in range(1, bank.extent.rounds + 1):
        tell(f"Round {number} of {bank.extent.rounds}")
        results.rounds.append(await measure_round(bank, str(number)))
        await settled(bank.endpoints.shard_dsns)
    tell("Measuring storage")
    room = Room(bank, [1])
    await room.note()
    stored = await fixed_number(bank, 1, bank.extent.stored_transfers)
    results.storage["same_shard"] = await room.added(stored.accepted)
    shards = sorted(bank.endpoints.shard_dsns)
    room = Room(bank, shards)
    await room.note()
    peak = fastest(results.rounds[-1].single)
    cross = await Singles(bank, "storage").cross(peak, 1, 2)
    await settled(bank.endpoints.shard_dsns)
    results.storage["cross"] = await room.added(cross.accepted)


async def measure_ageing(bank: MeasuredBank, results: Results, tell: Tell) -> None:
    """The rate of a ledger without a past, and of one that has seen millions of entries."""
    tell(f"Making {bank.extent.aged_entries:,} entries")
    results.aged_entries = await age(bank, _AGED_SHARD)
    tell("Measuring an empty and an aged ledger")
    results.ageing = await aged_against_empty(bank, _AGED_SHARD, _EMPTY_SHARD)


async def main() -> int:
    """Run the benchmark; 1 when a balance is wrong."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a moment instead of minutes")
    is_quick = parser.parse_args().quick
    console = Console(stderr=True)
    results = Results()
    async with temporary_folder("bench") as folder:
        await run(folder, QUICK if is_quick else FULL, results, console.print)
    figures = over_rounds(results.figures())
    curve = curve_of([each.crossing for each in results.rounds])
    show_curve(curve)
    show(figures, f"Durable commits; singles by {generator_name()}, counted in")
    raw = {**asdict(results), "round_figures": results.figures()}
    write(figures, raw, results.wrong, generator=generator_name(), curve=curve, is_quick=is_quick)
    for each in results.wrong:
        console.print(f"wrong balance: {each}")
    return 1 if results.wrong else 0


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    sys.exit(asyncio.run(main()))
