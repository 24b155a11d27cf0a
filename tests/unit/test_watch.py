"""The watch over the shards, which are scripted: what it tells of those that do not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import cast

import pytest

from router import watch as watch_module
from router.limits import SUSPENSE_AGE_BOUNDS_S
from router.suspense_gauge import SuspenseGauge
from router.watch import Watch
from shard.shard import Shard
from shard.suspense import OpenByAge
from tests.support.scripted_bank import ScriptedShard

BOUND = 10


class SlowShard(ScriptedShard):
    """A shard that counts when it may."""

    def __init__(self) -> None:
        super().__init__(1)
        self.asked = 0
        self.begun = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.limits: list[int] = []

    @property
    def suspense(self) -> SlowShard:
        """Itself."""
        return self

    async def count_open(self, limit: int) -> int:
        """Wait, then answer like any."""
        self.asked += 1
        self.limits.append(limit)
        self.begun.set()
        await self.may_answer.wait()
        return await super().count_open(limit)

    async def open_by_age(self, bounds_s: Sequence[float], limit: int) -> list[OpenByAge]:
        """The bounds are those of the limits."""
        assert SUSPENSE_AGE_BOUNDS_S == bounds_s
        return await super().open_by_age(bounds_s, limit)


async def until(is_so: Callable[[], bool]) -> None:
    """Let others go on until something is so."""
    while not is_so():  # noqa: ASYNC110 figures have no event
        await asyncio.sleep(0)  # sleep: figures have no event; others go on


def watch_over(shard: ScriptedShard) -> tuple[Watch, SuspenseGauge]:
    """A watch over one shard, without Temporal."""
    gauge = SuspenseGauge((1,), BOUND)
    return Watch({1: cast(Shard, shard)}, gauge, lambda: None), gauge


async def test_a_look_tells_gauge_and_figures() -> None:
    """The count goes to the gauge, at most one above its bound; figures are kept for scrapes."""
    shard = SlowShard()
    shard.may_answer.set()
    watch, gauge = watch_over(shard)
    await watch.look()
    assert (2, [BOUND + 1]) == (gauge.known_items(1), shard.limits)
    seen = watch.seen[1]
    assert seen.is_up
    assert [Decimal("40.0000")] == [each.amount for each in seen.open_items or ()]


async def test_a_silent_shard_is_down_before_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its figures are gone as soon as it is late; it is not asked a second time meanwhile."""
    monkeypatch.setattr(watch_module, "PROBE_TIMEOUT_S", 0.0)
    shard = SlowShard()
    shard.may_answer.set()
    watch, _ = watch_over(shard)
    await watch.look()
    shard.may_answer.clear()
    looking = asyncio.create_task(watch.look())
    async with asyncio.timeout(5):
        await until(lambda: not watch.seen[1].is_up)
    assert (None, 2) == (watch.seen[1].open_items, shard.asked)
    shard.may_answer.set()
    await looking
    assert watch.seen[1].is_up


async def test_a_shard_known_to_be_down_is_left_to_those_who_need_it() -> None:
    """While its breaker is open the watch asks it only now and then."""
    shard = SlowShard()
    shard.may_answer.set()
    shard.is_down = True
    watch, _ = watch_over(shard)
    await watch.look()
    shard.breaker.failed()
    await watch.look()
    assert 1 == shard.asked
    shard.breaker.answered()
    await watch.look()
    assert 2 == shard.asked


async def test_doubt_brings_the_next_count_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transfer that might fit by now does not wait for the usual time."""
    monkeypatch.setattr(watch_module, "SUSPENSE_COUNT_S", 3600.0)
    monkeypatch.setattr(watch_module, "SUSPENSE_RECOUNT_PAUSE_S", 0.0)
    shard = SlowShard()
    shard.may_answer.set()
    watch, gauge = watch_over(shard)
    watching = asyncio.create_task(watch.run())
    try:
        await shard.begun.wait()
        with gauge.parking(1, BOUND - 2):
            pass
        async with asyncio.timeout(5):
            await until(lambda: gauge.known_items(1) == BOUND)
            assert not gauge.begin(1, 1)
            await until(lambda: gauge.known_items(1) < BOUND)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_a_fault_of_ours_does_not_end_the_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without counts everything that is parked would add up until nothing is let through."""
    monkeypatch.setattr(watch_module, "SUSPENSE_COUNT_S", 0.0)
    monkeypatch.setattr(watch_module, "SUSPENSE_RECOUNT_PAUSE_S", 0.0)
    shard = SlowShard()
    shard.may_answer.set()
    watch, _ = watch_over(shard)
    monkeypatch.setattr(SuspenseGauge, "counted", _broken)
    watching = asyncio.create_task(watch.run())
    async with asyncio.timeout(5):
        await until(lambda: shard.asked > 2)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


def _broken(*_: object) -> None:
    raise RuntimeError("a bug")
