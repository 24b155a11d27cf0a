"""How many amounts stand between shards, and the bound on them.

While Temporal or a destination is away, cross-shard transfers are accepted all the same, and each
leaves items open on its source shard. Beyond a bound no more is parked there: an outage must not
pile up what takes hours to deliver afterwards. Whatever parks nothing is never asked: transfers
within a shard, deliveries and returns, settlements, recalls.

What is known of a shard is its last count and, on top of it, what this process was parking then or
has begun to park since. So one process keeps the bound; of several, each may pass it by what the
others park between two counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from router.errors import SuspenseFull


class _Level:
    __slots__ = ("begun", "counted", "doubt", "ended", "ended_before", "refused")

    def __init__(self) -> None:
        self.counted = 0
        self.begun = 0
        """Items that this process has begun to park since it started."""
        self.ended = 0
        """Those of them that were answered, whatever the answer."""
        self.ended_before = 0
        """Those that were answered before the last count began, so that it has seen them."""
        self.refused = 0
        self.doubt = asyncio.Event()

    @property
    def uncounted(self) -> int:
        return self.begun - self.ended_before


class SuspenseGauge:
    """The open items of each source shard, as this process knows them; it takes no lock.

    ``items_max`` bounds them for each shard; 0 keeps all money on its shard.
    """

    def __init__(self, shards: Iterable[int], items_max: int) -> None:
        self.items_max = items_max
        self._levels = {shard: _Level() for shard in shards}

    def known_items(self, shard: int) -> int:
        """Open items, as far as they were counted, and what may have come since."""
        level = self._levels[shard]
        return level.counted + level.uncounted

    def refused(self, shard: int) -> int:
        """Commands that were refused since this process started."""
        return self._levels[shard].refused

    def begin(self, shard: int, items: int) -> bool:
        """Take up room for items that are about to be parked; False if there is not enough.

        Whatever becomes of them, ``end`` is told afterwards.
        """
        level = self._levels[shard]
        if level.counted + level.uncounted + items <= self.items_max:
            level.begun += items
            return True
        level.refused += 1
        if level.counted + items <= self.items_max:
            # What was parked since may have left again: a new count will tell.
            level.doubt.set()
        return False

    def end(self, shard: int, items: int) -> None:
        """The items that took up room are parked now, or never will be."""
        self._levels[shard].ended += items

    @contextmanager
    def parking(self, shard: int, items: int) -> Iterator[None]:
        """Take up room while items are being parked; raises ``SuspenseFull``."""
        if not self.begin(shard, items):
            raise SuspenseFull
        try:
            yield
        finally:
            self.end(shard, items)

    def before_count(self, shard: int) -> int:
        """What ``counted`` wants to be given back: taken before the shard is asked."""
        level = self._levels[shard]
        level.doubt.clear()
        return level.ended

    def counted(self, shard: int, items: int, before: int) -> None:
        """The shard told how many items are open; ``before`` is from ``before_count``."""
        level = self._levels[shard]
        level.counted = items
        level.ended_before = before

    async def in_doubt(self, shard: int) -> None:
        """Wait until something was refused that a new count might let through."""
        await self._levels[shard].doubt.wait()
