"""Balances: what an account has, in one snapshot over all its buckets."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from shard.connections import Readers
from shard.named_queries import QUERIES
from shard.ownership import Ownership


@dataclass(frozen=True, slots=True)
class Balance:
    """The four figures of an account, in its currency, as of one instant (UTC).

    ``available`` = ledger - held + overdraft limit; None where the account has no floor.
    ``in_transit`` has left the ledger balance and is not delivered yet. ``seq`` is the position
    the figures belong to: the last entry's number, or a vector over several buckets.
    """

    account_no: int
    currency: str
    ledger: Decimal
    held: Decimal
    available: Decimal | None
    in_transit: Decimal
    seq: str
    as_of: datetime


class Balances:
    """Reads balances of one shard."""

    def __init__(self, readers: Readers, ownership: Ownership) -> None:
        self._readers = readers
        self._ownership = ownership

    async def get(self, account_no: int) -> Balance:
        """The balance of one account; raises ``NotFound``, ``NotOwner``."""
        rows = await self._readers.rows(QUERIES["balance"], (account_no,))
        if not rows:
            raise await self._ownership.explain_absence(account_no, "account")
        return Balance(*rows[0])
