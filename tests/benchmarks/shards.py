"""What the number of shards costs: CPU time for each transfer, on one shard and on eight."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deploy.embedded.stack import EmbeddedStack
from tests.benchmarks.accounts import open_accounts
from tests.benchmarks.balances import wrong_balances
from tests.benchmarks.bank import MeasuredBank, migrate
from tests.benchmarks.extent import Extent
from tests.benchmarks.measured import Measured
from tests.benchmarks.posting import in_turn

SHARDS = 8
_BATCH = 100


@dataclass(frozen=True, slots=True)
class ShardsCost:
    """The same number of transfers in batches of the same size, on one shard and on all."""

    one: Measured
    eight: Measured

    @property
    def ratio(self) -> float:
        """CPU time for each transfer, servers and client together, eight shards over one."""
        return sum(self.eight.cpu_us.values()) / sum(self.one.cpu_us.values())


async def shards_cost(folder: Path, extent: Extent) -> tuple[list[ShardsCost], list[str]]:
    """Measured in pairs on a bank of eight servers; and what is wrong with its balances."""
    stack = EmbeddedStack(folder / "eight", shards=SHARDS, with_temporal=False)
    try:
        endpoints = await stack.up()
        await migrate(endpoints)
        accounts = await open_accounts(
            dict.fromkeys(endpoints.shard_dsns, extent.accounts_per_shard), endpoints.shard_dsns
        )
        bank = MeasuredBank(extent, stack, endpoints, accounts)
        costs = [await _cost(bank) for _ in range(extent.pairs)]
        return costs, await wrong_balances(endpoints.shard_dsns)
    finally:
        await stack.destroy()


async def _cost(bank: MeasuredBank) -> ShardsCost:
    count = bank.extent.shards_transfers
    return ShardsCost(
        one=await in_turn(bank, [1], count, _BATCH),
        eight=await in_turn(bank, range(1, SHARDS + 1), count, _BATCH),
    )
