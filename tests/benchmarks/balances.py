"""What a benchmark must not have broken."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from decimal import Decimal

from shard.shard import Shard
from tests.support.bank import findings

_SETTLED_WITHIN_S = 120
_PAUSE_S = 0.2


async def settled(shard_dsns: Mapping[int, str]) -> None:
    """Wait until nothing is in transit on any shard."""
    for number, dsn in shard_dsns.items():
        shard = Shard(number, dsn)
        await shard.open()
        try:
            async with asyncio.timeout(_SETTLED_WITHIN_S):
                await _until_settled(shard)
        finally:
            await shard.close()


async def wrong_balances(shard_dsns: Mapping[int, str]) -> list[str]:
    """Every violation on any shard, in words; nothing may be in transit any more."""
    shards = {number: Shard(number, dsn) for number, dsn in shard_dsns.items()}
    await asyncio.gather(*(shard.open() for shard in shards.values()))
    try:
        found = [str(finding) for finding in await findings(shards)]
        return found + [
            f"{currency} sums to {total} over all shards"
            for currency, total in (await _totals(shards)).items()
            if total
        ]
    finally:
        await asyncio.gather(*(shard.close() for shard in shards.values()))


async def _until_settled(shard: Shard) -> None:
    while True:
        if not await shard.suspense.open_totals():
            return
        await asyncio.sleep(_PAUSE_S)  # sleep: the end of a saga has no event here


async def _totals(shards: Mapping[int, Shard]) -> dict[str, Decimal]:
    """Customers' and the bank's money by currency; clearing cancels between the shards."""
    totals: dict[str, Decimal] = {}
    for shard in shards.values():
        for line in await shard.invariants.trial_balance():
            total = totals.get(line.currency, Decimal(0))
            if line.kind not in ("suspense", "clearing"):
                totals[line.currency] = total + line.debit + line.credit
    return totals
