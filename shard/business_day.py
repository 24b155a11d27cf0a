"""The bank's open business date on one shard, moved by end of day, apart from the clock."""

from __future__ import annotations

from datetime import date

from psycopg import DatabaseError

from shard.connections import Readers
from shard.errors import Malformed
from shard.limits import PARTITION_MONTHS_AHEAD
from shard.named_queries import QUERIES

_GOES_BACK = "LG102"


class BusinessDay:
    """Reads and moves the business date of one shard."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers

    async def get(self) -> date:
        """The open business date."""
        return await self._readers.value(date, QUERIES["business_date"])

    async def advance(self, to: date) -> date:
        """Open ``to`` behind the barrier: no posting is half way across. Safe to repeat.

        Raises ``Malformed`` when a later date is open already.
        """
        try:
            return await self._readers.write(
                date, QUERIES["advance_business_date"], (to, PARTITION_MONTHS_AHEAD)
            )
        except DatabaseError as error:
            if error.diag.sqlstate == _GOES_BACK:
                raise Malformed(str(error.diag.message_primary)) from None
            raise
