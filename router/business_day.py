"""The bank's business date, moved on all shards to the same day.

Each shard moves behind its own barrier, so there is a moment in which some are a day ahead.
Nothing breaks by it: money parked on the new date waits at shards that are still on the old
one. An advance that stopped half way is completed by running it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from router.business_calendar import is_business_day, next_business_day
from router.directory import Directory
from router.errors import BusinessDateRefused
from router.limits import EOD_DAYS_AHEAD_MAX
from shard.errors import LedgerError, Malformed, ShardUnavailable
from shard.shard import Shard


@dataclass(frozen=True, slots=True)
class Advance:
    """The business date after an advance, and the dates of the shards before it."""

    business_date: date
    before: Mapping[int, date]

    @property
    def changed_shards(self) -> tuple[int, ...]:
        """The shards that were on an earlier date."""
        return tuple(no for no, day in sorted(self.before.items()) if day < self.business_date)


class BusinessDay:
    """The business date of the whole bank."""

    def __init__(self, directory: Directory, shards: Mapping[int, Shard]) -> None:
        self._directory = directory
        self._shards = shards

    async def dates(self) -> dict[int, date]:
        """The open date of each shard; raises ``ShardUnavailable`` if one does not answer."""
        days = await asyncio.gather(*(each.business_day.get() for each in self._shards.values()))
        return dict(zip(self._shards, days, strict=True))

    async def advance(self, to: date | None = None) -> Advance:
        """Open ``to``, or the next business day; completes an advance that stopped half way.

        Raises ``BusinessDateRefused`` for a date before the open one or a day on which the
        bank is closed, ``Malformed`` for one more than ``EOD_DAYS_AHEAD_MAX`` days ahead or
        beyond the calendar, ``ShardUnavailable`` or ``DirectoryUnavailable``. The date
        already open is no error and changes nothing.
        """
        before = await self.dates()
        target = await self._target(min(before.values()), max(before.values()), to)
        results = await asyncio.gather(
            *(self._shards[no].business_day.advance(target) for no in before),
            return_exceptions=True,
        )
        behind = []
        for number, result in zip(before, results, strict=True):
            if isinstance(result, LedgerError):
                behind.append(number)
            elif isinstance(result, BaseException):
                raise result
        if behind:
            raise ShardUnavailable(
                f"Shards {behind} have not opened {target} yet; the others have. Run it again."
            )
        return Advance(target, before)

    async def _target(self, earliest: date, latest: date, wanted: date | None) -> date:
        if wanted == latest or (wanted is None and earliest < latest):
            return latest
        if wanted is not None:
            _check_distance(latest, wanted)
        # From New Year on: each year the calendar knows has closing days.
        closed = await self._directory.closing_days(after=date(latest.year - 1, 12, 31))
        target = wanted or next_business_day(latest, closed)
        _check_calendar(target, closed)
        if not is_business_day(target, closed):
            raise BusinessDateRefused(f"The bank is closed on {target}.")
        return target


def _check_distance(opened: date, wanted: date) -> None:
    if wanted < opened:
        raise BusinessDateRefused(f"{opened} is open already; it never goes back to {wanted}.")
    furthest = opened + timedelta(days=EOD_DAYS_AHEAD_MAX)
    if wanted > furthest:
        raise Malformed(
            f"{wanted} is too far ahead of {opened}, which is open: one advance opens "
            f"{furthest} at the latest ({EOD_DAYS_AHEAD_MAX} days)."
        )


def _check_calendar(target: date, closed: Collection[date]) -> None:
    """Beyond the years it knows, every weekday would count as open."""
    known_years = {day.year for day in closed}
    if target.year not in known_years:
        known_to = f"ends with {max(known_years)}" if known_years else "is empty"
        raise Malformed(
            f"{target} is beyond the calendar, which {known_to}; `ledger migrate` adds years."
        )
