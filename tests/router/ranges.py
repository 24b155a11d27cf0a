"""A range of its own for a test that moves one: no other test has accounts there."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shard.connections import connect
from tests.support.databases import Databases

_WIDTH = 1_000_000
_serials = itertools.count()


class TestRange:
    """Account numbers ``lo`` and up; moves are done by hand, without any data to copy."""

    __test__ = False

    def __init__(self, servers: Databases) -> None:
        serial = next(_serials)
        self.servers = servers
        self.range_id = 1_900 + serial
        self.lo = 8_000_000_000 + serial * _WIDTH
        self.owner = (0, 0)
        """The shard that owns it, and the epoch."""

    async def set(
        self, shard: int, state: str, *, epoch: int = 1, next_owner: int | None = None
    ) -> None:
        """Say what one shard thinks of the range."""
        if state in ("OWNED", "FENCED"):
            self.owner = (shard, epoch)
        async with await connect(self.servers.shard_owner_dsns[shard]) as connection:
            await connection.execute(
                """
                INSERT INTO ledger.owned_range (range_id, lo, hi, epoch, state, next_owner)
                VALUES (%s, %s, %s, %s, %s::text::ledger.range_state, %s)
                ON CONFLICT (range_id) DO UPDATE
                SET epoch = excluded.epoch, state = excluded.state,
                    next_owner = excluded.next_owner
                """,
                (self.range_id, self.lo, self.lo + _WIDTH, epoch, state, next_owner),
            )

    async def publish(self, shard: int, *, epoch: int = 1) -> None:
        """Say in the directory who owns the range."""
        async with await connect(self.servers.directory_owner_dsn) as connection:
            await connection.execute(
                """
                INSERT INTO directory.account_range (
                    range_id, lo, hi, shard, epoch, next_account_no, takes_new_customers
                ) VALUES (%s, %s, %s, %s, %s, %s, false)
                ON CONFLICT (range_id) DO UPDATE
                SET shard = excluded.shard, epoch = excluded.epoch
                """,
                (self.range_id, self.lo, self.lo + _WIDTH, shard, epoch, self.lo),
            )

    async def move(self, from_shard: int, to_shard: int, *, epoch: int) -> None:
        """Give the range away, from one shard to the other; the directory does not know yet."""
        await self.set(from_shard, "RELEASED", epoch=epoch, next_owner=to_shard)
        await self.set(to_shard, "OWNED", epoch=epoch)


@asynccontextmanager
async def new_range(servers: Databases, shard: int) -> AsyncIterator[TestRange]:
    """A fresh range, owned by ``shard`` and known to the directory.

    Afterwards the directory knows where the test left it, so that the bank is consistent.
    """
    made = TestRange(servers)
    await made.set(shard, "OWNED")
    await made.publish(shard)
    yield made
    last_shard, epoch = made.owner
    await made.publish(last_shard, epoch=epoch)
