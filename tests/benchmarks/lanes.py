"""The lanes of one shard without HTTP: what group commit itself can do."""

from __future__ import annotations

import asyncio
import random
import time
from decimal import Decimal

from router.settings import Settings
from shard.outcomes import Outcome
from shard.shard import Shard
from tests.benchmarks.accounts import transfer

_BATCH = 1_000
_CENT = Decimal("0.01")


async def lane_rate(settings: Settings, accounts: list[int], *, seconds: int) -> float:
    """Random transfers a second between the accounts of shard 1, over two lanes."""
    shard = Shard(1, settings.shard_dsns[1].get_secret_value())
    await shard.open()
    try:
        started_at = time.perf_counter()
        counts = await asyncio.gather(
            *(_post_until(shard, accounts, started_at + seconds) for _ in range(2))
        )
        return sum(counts) / (time.perf_counter() - started_at)
    finally:
        await shard.close()


async def _post_until(shard: Shard, accounts: list[int], stop_at: float) -> int:
    posted = 0
    while time.perf_counter() < stop_at:
        pairs = [random.sample(accounts, 2) for _ in range(_BATCH)]
        answers = await shard.lanes.post_many([transfer(a, b, _CENT) for a, b in pairs])
        if {answer.outcome for answer in answers} != {Outcome.POSTED}:
            raise RuntimeError("a transfer of the benchmark was refused")
        posted += len(answers)
    return posted
