"""Room that a transfer takes: on disk with all tables and indexes, and in the write-ahead log."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg

from shard.named_queries import load_queries
from tests.benchmarks.bank import MeasuredBank

_QUERIES = load_queries(Path(__file__).with_name("storage.sql").read_text())


@dataclass(frozen=True, slots=True)
class Stored:
    """Bytes that each transfer added; ``by_table`` tells where on disk they are."""

    transfers: int
    disk_bytes: float
    wal_bytes: float
    by_table: Mapping[str, float]


class Room:
    """The room that some shards take from now on.

    Taken where postings have been going on for a while: the first entries of an account cost
    whole pages.
    """

    def __init__(self, bank: MeasuredBank, shards: Collection[int]) -> None:
        self._bank = bank
        self._shards = shards
        self._wal_bytes = 0
        self._table_bytes: dict[str, int] = {}

    async def note(self) -> None:
        """Note the room taken now."""
        self._table_bytes, self._wal_bytes = await self._now()

    async def added(self, transfers: int) -> Stored:
        """What was added since ``note``, for each of so many transfers."""
        table_bytes, wal_bytes = await self._now()
        by_table = {
            table: (count - self._table_bytes.get(table, 0)) / transfers
            for table, count in sorted(table_bytes.items())
        }
        return Stored(
            transfers=transfers,
            disk_bytes=sum(by_table.values()),
            wal_bytes=(wal_bytes - self._wal_bytes) / transfers,
            by_table={table: round(each, 1) for table, each in by_table.items() if each},
        )

    async def _now(self) -> tuple[dict[str, int], int]:
        table_bytes: dict[str, int] = {}
        wal_bytes = 0
        for shard in self._shards:
            dsn = self._bank.endpoints.shard_owner_dsns[shard]
            async with await psycopg.AsyncConnection.connect(dsn) as connection:
                cursor = await connection.execute(_QUERIES["bytes_by_table"])
                for table, count in await cursor.fetchall():
                    table_bytes[table] = table_bytes.get(table, 0) + count
                cursor = await connection.execute(_QUERIES["wal_position"])
                wal_bytes += (await cursor.fetchall())[0][0]
        return table_bytes, wal_bytes


async def use_wal_files(superuser_dsn: str, count: int) -> None:
    """Fill so many files of the write-ahead log, as any server has that runs for a while.

    It uses them again and again. Making a new one stops every commit for some 50 ms, which on a
    new server happens every few seconds.
    """
    connecting = psycopg.AsyncConnection.connect(superuser_dsn, autocommit=True)
    async with await connecting as connection:
        for _ in range(count):
            await connection.execute(_QUERIES["end_wal_file"])
    await checkpoint(superuser_dsn)


async def checkpoint(superuser_dsn: str) -> None:
    """Have a server write all that is dirty, and wait until it has."""
    connecting = psycopg.AsyncConnection.connect(superuser_dsn, autocommit=True)
    async with await connecting as connection:
        await connection.execute(_QUERIES["checkpoint"])
