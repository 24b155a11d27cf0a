"""When money between shards was committed: the debit here, the credit there.

What lies between the two is the window in which an amount stands in suspense. Each shard's
times are those of its own clock. For measuring, not for booking: nothing is indexed for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import LiteralString
from uuid import UUID

from shard.connections import connect, failures_told
from shard.limits import COMMIT_TIMES_ROWS
from shard.named_queries import QUERIES

Crossing = tuple[UUID, int]
"""A transfer's id and the account on another shard that was to be credited."""


class CommitTimes:
    """Commit times (UTC) of one shard."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    async def debits(self, since: datetime) -> Mapping[Crossing, datetime]:
        """Of amounts that left this shard since then and were delivered; the oldest first.

        At most ``COMMIT_TIMES_ROWS``. Raises ``ShardUnavailable``.
        """
        return await self._read(QUERIES["debit_commits"], since)

    async def credits(self, since: datetime) -> Mapping[Crossing, datetime]:
        """Of deliveries that were booked on this shard since then; like ``debits``."""
        return await self._read(QUERIES["credit_commits"], since)

    async def _read(self, query: LiteralString, since: datetime) -> Mapping[Crossing, datetime]:
        named = {"since": since, "row_limit": COMMIT_TIMES_ROWS}
        async with failures_told(), await connect(self._dsn) as connection:
            await connection.execute(QUERIES["read_whole_tables"])
            rows = await (await connection.execute(query, named)).fetchall()
        return {(transfer_id, account_no): when for transfer_id, account_no, when in rows}
