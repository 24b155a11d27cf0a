"""Make a migrated database into a shard: its number, system accounts and first ranges."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from shard.connections import connect, failures_told
from shard.limits import PARTITION_MONTHS_AHEAD, SYSTEM_ACCOUNT_BUCKETS
from shard.named_queries import QUERIES


async def prepare_shard(
    owner_dsn: str,
    number: int,
    *,
    peers: Sequence[int],
    business_date: date,
    ranges: Sequence[tuple[int, int, int]],
) -> None:
    """Give the shard its number, its system accounts towards ``peers`` and its ``ranges``.

    ``ranges`` are ``(range_id, lo, hi)`` that no shard has owned before. Safe to repeat, also
    with more peers; ``business_date`` counts only the first time. Raises ``ShardUnavailable``.
    """
    async with failures_told(), await connect(owner_dsn) as connection:
        await connection.execute(
            QUERIES["prepare_shard"],
            (number, list(peers), business_date, PARTITION_MONTHS_AHEAD, SYSTEM_ACCOUNT_BUCKETS),
        )
        for range_id, lo, hi in ranges:
            await connection.execute(QUERIES["adopt_range"], (range_id, lo, hi))
