"""A watch over shards and Temporal: it looks in the background, so that no scrape has to wait.

Each shard is asked by one task, one question at a time: a shard that hangs costs one connection.
What was seen is told for as long as it is fresh; a shard that does not answer has no figures.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog
from temporalio.client import Client
from temporalio.service import RPCError

from router.limits import (
    PROBE_TIMEOUT_S,
    SHARD_DOWN_PROBE_S,
    SUSPENSE_AGE_BOUNDS_S,
    SUSPENSE_COUNT_S,
    SUSPENSE_FIGURES_ITEMS,
    SUSPENSE_FIGURES_S,
    SUSPENSE_RECOUNT_PAUSE_S,
    TEMPORAL_PROBE_S,
)
from router.suspense_gauge import SuspenseGauge
from shard.errors import LedgerError
from shard.shard import Shard
from shard.suspense import OpenByAge

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Seen:
    """What was last seen of a shard; ``open_items`` is None unless it answered.

    ``until`` is when that is old, or a shard that is down is asked again, by the event loop's
    time in seconds.
    """

    is_up: bool = False
    open_items: Sequence[OpenByAge] | None = None
    until: float = 0.0


class Watch:
    """Looks after the shards of one process and its Temporal, while ``run`` runs.

    ``temporal`` gives the client, once there is one.
    """

    def __init__(
        self,
        shards: Mapping[int, Shard],
        suspense: SuspenseGauge,
        temporal: Callable[[], Client | None],
    ) -> None:
        self.is_temporal_up = False
        self._seen = {number: Seen() for number in shards}
        self._shards = shards
        self._suspense = suspense
        self._temporal = temporal

    @property
    def seen(self) -> Mapping[int, Seen]:
        """What was last seen of each shard."""
        return self._seen

    async def run(self) -> None:
        """Look until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_temporal())
            for number in self._shards:
                group.create_task(self._watch_shard(number))

    async def look(self) -> None:
        """Look at everything once."""
        await asyncio.gather(self._look_at_temporal(), *map(self._look_at, self._shards))

    async def _look_at(self, number: int) -> None:
        """Count a shard's open items, and read their figures where those are old.

        One that is known not to answer is left to those who need it, but for a question now and
        then: by its own time limits the watch would find out later than they do that it is back.
        """
        shard, now = self._shards[number], asyncio.get_running_loop().time()
        seen = self._seen[number]
        if shard.breaker.is_open and not seen.is_up and now < seen.until:
            return
        try:
            await self._count(number)
            if seen.open_items is None or now >= seen.until:
                items = await shard.suspense.open_by_age(
                    SUSPENSE_AGE_BOUNDS_S, SUSPENSE_FIGURES_ITEMS
                )
                seen = Seen(is_up=True, open_items=items, until=now + SUSPENSE_FIGURES_S)
        except LedgerError:
            seen = Seen(until=now + SHARD_DOWN_PROBE_S)
        self._seen[number] = seen

    async def _count(self, number: int) -> None:
        """Tell the gauge how many items are open.

        A shard is seen to be down once it has been silent for ``PROBE_TIMEOUT_S``. Its answer is
        waited for all the same, so that no second question queues behind the first.
        """
        suspense = self._suspense
        before = suspense.before_count(number)
        counting = asyncio.ensure_future(
            self._shards[number].suspense.count_open(suspense.items_max + 1)
        )
        try:
            await asyncio.wait({counting}, timeout=PROBE_TIMEOUT_S)
            if not counting.done():
                self._seen[number] = Seen()
            suspense.counted(number, await counting, before)
        finally:
            counting.cancel()

    async def _look_at_temporal(self) -> None:
        client = self._temporal()
        if client is None:
            self.is_temporal_up = False
            return
        try:
            self.is_temporal_up = await client.service_client.check_health(
                timeout=timedelta(seconds=PROBE_TIMEOUT_S)
            )
        except RPCError:
            self.is_temporal_up = False

    async def _watch_shard(self, number: int) -> None:
        while True:
            try:
                await self._look_at(number)
            except Exception:  # noqa: BLE001  nobody else would count, and transfers be refused
                _log.exception("watch_failed", shard=number)
            await asyncio.sleep(SUSPENSE_RECOUNT_PAUSE_S)
            try:
                async with asyncio.timeout(SUSPENSE_COUNT_S - SUSPENSE_RECOUNT_PAUSE_S):
                    await self._suspense.in_doubt(number)
            except TimeoutError:
                pass  # Nobody is in doubt; it is time for the next look.

    async def _watch_temporal(self) -> None:
        while True:
            try:
                await self._look_at_temporal()
            except Exception:  # noqa: BLE001  the watch over the shards must not end with it
                _log.exception("watch_failed")
            await asyncio.sleep(TEMPORAL_PROBE_S)
