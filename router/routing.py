"""Routes: which shard to ask, and how to follow an account that has moved.

The shards decide who owns an account; what is cached here may be old. A shard that does not own
an account says so (and where known, who does), which is learnt by epoch; otherwise the
directory is read again. When the directory is down, the shards themselves tell what they own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import structlog

from router.directory import Directory
from router.errors import AccountUnassigned, RoutesUnknown
from router.limits import (
    MOVING_PAUSE_FIRST_S,
    MOVING_PAUSE_MAX_S,
    REQUEST_BUDGET_S,
    ROUTE_REFRESH_LIMIT_S,
    ROUTE_REFRESH_PAUSE_S,
)
from router.patience import Patience
from router.range_map import MappedRange, RangeMap
from shard.account_numbers import is_system_account
from shard.errors import LedgerError, NotOwner, RangeMoving, ShardUnavailable
from shard.ownership import RangeState
from shard.shard import Shard

T = TypeVar("T")
_log = structlog.get_logger(__name__)

_OWNING = {RangeState.OWNED, RangeState.FENCED}
"""A fenced range still belongs to its shard: the move may yet be called off."""


class Routes:
    """The cached range map of one process, and the shards it leads to."""

    def __init__(self, directory: Directory, shards: Mapping[int, Shard]) -> None:
        self.shards = shards
        self._directory = directory
        self._map = RangeMap()
        self._is_complete = False
        self._refreshing: asyncio.Task[None] | None = None
        self._refreshed_at = float("-inf")

    @property
    def range_map(self) -> RangeMap:
        """The map as it is known now."""
        return self._map

    def owner_now(self, account_no: int) -> int:
        """The shard to ask first, without waiting for anything: this is on the hot path.

        Raises ``AccountUnassigned`` if no range holds the number, ``RoutesUnknown`` if the
        map could not be read wholly yet.
        """
        owner = self._map.owner_of(account_no)
        if owner is None:
            raise AccountUnassigned if self._is_complete else RoutesUnknown
        if owner.shard not in self.shards:
            if is_system_account(account_no):
                raise AccountUnassigned
            raise ShardUnavailable(f"Shard {owner.shard} is not in this process's settings.")
        return owner.shard

    def has_owner(self, account_no: int) -> bool:
        """Tell whether some range holds the number; raises ``RoutesUnknown`` like ``owner_now``."""
        try:
            self.owner_now(account_no)
        except AccountUnassigned:
            return False
        except ShardUnavailable:
            return True
        return True

    async def owner_of(self, account_no: int) -> int:
        """The shard to ask first; reads the map if needed, and raises like ``owner_now``."""
        try:
            return self.owner_now(account_no)
        except RoutesUnknown:
            await self.refresh()
            return self.owner_now(account_no)

    async def learn(self, account_no: int, next_owner: int | None, epoch: int | None) -> None:
        """Take note that a shard does not own an account (any more), and ask around if needed."""
        before = self._map
        if next_owner is not None and epoch is not None:
            self._map = before.with_owner(account_no, next_owner, epoch)
        if self._map is before:
            await self.refresh()

    async def refresh(self) -> None:
        """Read the map again; callers at the same time share one reading. Never raises."""
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._refresh())
        await asyncio.shield(self._refreshing)

    async def follow(self, account_no: int, ask: Callable[[Shard], Awaitable[T]]) -> T:
        """Ask the owner of an account, and whoever it names instead; wait while it moves.

        Raises ``RangeMoving`` or ``RoutesUnknown`` when ``REQUEST_BUDGET_S`` are used up, and
        whatever the question itself raises.
        """
        patience = Patience(
            REQUEST_BUDGET_S, first_s=MOVING_PAUSE_FIRST_S, longest_s=MOVING_PAUSE_MAX_S
        )
        while True:
            before = self._map
            try:
                return await ask(self.shards[await self.owner_of(account_no)])
            except NotOwner as error:
                await self.learn(account_no, error.next_owner, error.epoch)
                if self._map is before and not await patience.pause():
                    raise RoutesUnknown from error
            except RangeMoving:
                if not await patience.pause():
                    raise

    async def _refresh(self) -> None:
        clock = asyncio.get_running_loop()
        await asyncio.sleep(self._refreshed_at + ROUTE_REFRESH_PAUSE_S - clock.time())
        self._refreshed_at = clock.time()
        try:
            async with asyncio.timeout(ROUTE_REFRESH_LIMIT_S):
                read = await self._directory.range_map()
        except (LedgerError, TimeoutError) as error:
            _log.warning("range_map_not_read", error=repr(error))
            await self._ask_the_shards()
        else:
            self._replace(self._map.merged_with(read))
            self._is_complete = True

    async def _ask_the_shards(self) -> None:
        answers = await asyncio.gather(*(_ranges_on(shard) for shard in self.shards.values()))
        told = [each for ranges in answers for each in ranges or ()]
        self._replace(RangeMap.of([*self._map.ranges, *told]))
        self._is_complete |= bool(answers) and None not in answers

    def _replace(self, read: RangeMap) -> None:
        # The same object as long as nothing changed: so whoever asked sees that it was no use.
        if read != self._map:
            self._map = read


async def _ranges_on(shard: Shard) -> list[MappedRange] | None:
    """The customers' ranges that a shard says it owns, or None if it does not answer."""
    try:
        async with asyncio.timeout(ROUTE_REFRESH_LIMIT_S):
            ranges = await shard.ownership.ranges()
    except (LedgerError, TimeoutError):
        return None
    return [
        MappedRange(each.lo, each.hi, each.range_id, shard.number, each.epoch)
        for each in ranges
        if each.state in _OWNING and not is_system_account(each.lo)
    ]
