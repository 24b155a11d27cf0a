"""A ledger that has seen millions of entries, against the same one when it was empty."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import psycopg

from shard.named_queries import load_queries
from tests.benchmarks.bank import MeasuredBank
from tests.benchmarks.measured import Measured
from tests.benchmarks.posting import random_rate_for
from tests.benchmarks.storage import checkpoint

_QUERIES = load_queries(Path(__file__).with_name("ageing.sql").read_text())
_SLICES = 8
_AT_ONCE = 2
_DAYS = 365
_STEPS = ("past_transfers", "past_entries", "balances_after_the_past")


@dataclass(frozen=True, slots=True)
class Aged:
    """The same load on an empty ledger and on an aged one, one right after the other."""

    empty: Measured
    aged: Measured

    @property
    def ratio(self) -> float:
        """The aged ledger's rate over the empty one's."""
        return self.aged.per_second / self.empty.per_second


async def aged_against_empty(bank: MeasuredBank, aged_shard: int, empty_shard: int) -> list[Aged]:
    """Measured in pairs, as rates depend on who else uses the machine at that moment."""
    return [
        Aged(
            empty=await rate_with_checkpoint(bank, empty_shard),
            aged=await rate_with_checkpoint(bank, aged_shard),
        )
        for _ in range(bank.extent.pairs)
    ]


async def rate_with_checkpoint(bank: MeasuredBank, shard: int) -> Measured:
    """Random transfers through the lanes; half way, the server writes a checkpoint."""
    seconds = bank.extent.aged_seconds
    measuring = asyncio.create_task(random_rate_for(bank, shard, seconds))
    await asyncio.sleep(seconds / 2)  # sleep: the middle of a measurement is a time
    await checkpoint(bank.superuser_dsn(shard))
    return await measuring


async def age(bank: MeasuredBank, shard: int) -> int:
    """Give the customers' accounts of a shard a year's past; how many entries it has."""
    customers = bank.accounts[shard].customers
    rounds = bank.extent.aged_entries // 2 // len(customers)
    dsn = bank.endpoints.shard_owner_dsns[shard]
    step = -(-len(customers) // _SLICES)
    borders = [*customers[::step], customers[-1] + 1]
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        await connection.execute(_QUERIES["let_days_pass"], {"days": _DAYS})
    free = asyncio.Semaphore(_AT_ONCE)
    await asyncio.gather(*(_fill(dsn, free, customers, part, rounds) for part in pairwise(borders)))
    connecting = psycopg.AsyncConnection.connect(dsn, autocommit=True)
    async with await connecting as connection:
        await connection.execute(_QUERIES["vacuum"])
    await checkpoint(bank.superuser_dsn(shard))
    return 2 * rounds * len(customers)


async def _fill(
    dsn: str,
    free: asyncio.Semaphore,
    customers: Sequence[int],
    part: tuple[int, int],
    rounds: int,
) -> None:
    values = {
        "first": customers[0],
        "last": customers[-1],
        "from": part[0],
        "to": part[1],
        "rounds": rounds,
        "days": _DAYS,
    }
    async with free, await psycopg.AsyncConnection.connect(dsn) as connection:
        for step in _STEPS:
            await connection.execute(_QUERIES[step], values)
