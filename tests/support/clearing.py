"""Clearing accounts between shards, as tests look at them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal

from shard.shard import Shard

Pair = tuple[int, int, str]


async def clearing_pairs(shards: Mapping[int, Shard]) -> dict[Pair, Decimal]:
    """What each pair of clearing accounts sums to, where that is not zero.

    By the two shards, the lower first, and the currency. At rest there is none.
    """
    sums: defaultdict[Pair, Decimal] = defaultdict(Decimal)
    for number, shard in shards.items():
        for line in await shard.invariants.clearing():
            low, high = sorted((number, line.peer))
            sums[low, high, line.currency] += line.amount
    return {pair: amount for pair, amount in sums.items() if amount}
