"""The directory: the bank's control database. It may be down; postings never ask it.

It knows the shards, who owns which range (a cache of what the shards say), each customer's home
range, the number given to each (customer, reference), and the calendar.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import date

from router.business_calendar import target_closing_days
from router.errors import DirectoryUnavailable
from router.limits import (
    CALENDAR_YEARS_AHEAD,
    RANGES_PER_NEW_SHARD,
    RESERVATION_CHUNK_ACCOUNTS,
)
from router.placement import Placement
from router.queries import QUERIES, SQL_FOLDER
from router.range_map import MappedRange, RangeMap
from router.reservations import Reservation, Wish, reserve
from shard.connections import Connection, Readers, connect
from shard.errors import ShardUnavailable
from shard.migrations import migrate

FIRST_CUSTOMER_RANGE_ID = 1_001
_NUMBERS_PER_SHARD = 1_000_000_000


def first_ranges(shard: int) -> list[MappedRange]:
    """The ranges a new shard begins with: equal parts of the numbers that begin with its digit."""
    width = _NUMBERS_PER_SHARD // RANGES_PER_NEW_SHARD
    first_id = FIRST_CUSTOMER_RANGE_ID + (shard - 1) * RANGES_PER_NEW_SHARD
    ranges = []
    for n in range(RANGES_PER_NEW_SHARD):
        lo = shard * _NUMBERS_PER_SHARD + n * width
        ranges.append(MappedRange(lo, lo + width, first_id + n, shard, epoch=1))
    return ranges


class Directory:
    """A client of the control database, by the role of a serving process."""

    def __init__(self, dsn: str) -> None:
        self._readers = Readers(dsn)
        self._placement: tuple[tuple[int, ...], Placement] | None = None

    async def open(self) -> None:
        """Get ready; the database need not answer yet."""
        await self._readers.open()

    async def close(self) -> None:
        """Close all connections."""
        await self._readers.close()

    async def ping(self) -> None:
        """Ask for a sign of life; raises ``DirectoryUnavailable``."""
        async with self._connection() as connection:
            await connection.execute("")

    async def range_map(self) -> RangeMap:
        """The present owners of all ranges, as far as the directory knows."""
        async with self._connection() as connection:
            return (await _read_ranges(connection))[0]

    async def reserve_account_no(self, wish: Wish) -> Reservation:
        """Give one account its number; see ``reserve_account_nos``."""
        return (await self.reserve_account_nos([wish]))[0]

    async def reserve_account_nos(self, wishes: Sequence[Wish]) -> list[Reservation]:
        """Give accounts their numbers, for ever; asking again gives the same ones.

        Raises ``ReferenceReused``, ``AccountNoTaken``, ``AccountOutsideRanges``,
        ``AccountOffHome``, ``RangeFull`` or ``DirectoryUnavailable``. One refusal undoes the
        chunk of ``RESERVATION_CHUNK_ACCOUNTS`` wishes it is in.
        """
        reservations: list[Reservation] = []
        for start in range(0, len(wishes), RESERVATION_CHUNK_ACCOUNTS):
            chunk = wishes[start : start + RESERVATION_CHUNK_ACCOUNTS]
            async with self._connection() as connection, connection.transaction():
                ranges, open_ids = await _read_ranges(connection)
                placement = self._placement_on(open_ids)
                reservations += await reserve(connection, chunk, ranges, placement)
        return reservations

    async def closing_days(self, after: date) -> frozenset[date]:
        """Days after ``after`` on which the bank is closed, besides weekends."""
        async with self._connection() as connection:
            rows = await connection.execute(QUERIES["closing_days"], {"after": after})
            return frozenset(row[0] for row in await rows.fetchall())

    def _placement_on(self, range_ids: tuple[int, ...]) -> Placement:
        if self._placement is None or self._placement[0] != range_ids:
            self._placement = (range_ids, Placement(range_ids))
        return self._placement[1]

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        try:
            async with self._readers.connection() as connection:
                yield connection
        except ShardUnavailable as error:
            raise DirectoryUnavailable from error


async def migrate_directory(owner_dsn: str, *, dry_run: bool = False) -> list[str]:
    """Bring the directory's schema up to date; the names of the migrations applied."""
    return await migrate(owner_dsn, SQL_FOLDER, dry_run=dry_run)


async def bootstrap(owner_dsn: str, shards: Sequence[int], *, first_year: int) -> None:
    """Make shards, their first ranges and the calendar known; what is known already stays."""
    ranges = [each for shard in sorted(shards) for each in first_ranges(shard)]
    years = range(first_year, first_year + CALENDAR_YEARS_AHEAD + 1)
    closed = {day: name for year in years for day, name in target_closing_days(year).items()}
    async with await connect(owner_dsn) as connection, connection.transaction():
        await connection.execute(QUERIES["add_shards"], {"shards": sorted(shards)})
        await connection.execute(
            QUERIES["add_ranges"],
            {
                "range_ids": [each.range_id for each in ranges],
                "los": [each.lo for each in ranges],
                "his": [each.hi for each in ranges],
                "shards": [each.shard for each in ranges],
            },
        )
        await connection.execute(
            QUERIES["add_closing_days"],
            {"days": list(closed), "names": list(closed.values())},
        )


async def _read_ranges(connection: Connection) -> tuple[RangeMap, tuple[int, ...]]:
    rows = await (await connection.execute(QUERIES["all_ranges"])).fetchall()
    ranges = RangeMap(tuple(MappedRange(*row[:5]) for row in rows))
    return ranges, tuple(row[2] for row in rows if row[5])
