"""Balances: what an account has or had, in one snapshot over all its buckets."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from shard.connections import Readers
from shard.errors import Malformed, NotFound
from shard.named_queries import QUERIES
from shard.ownership import Ownership


@dataclass(frozen=True, slots=True)
class Balance:
    """The four figures of an account, in its currency, as of one instant (UTC) or business date.

    ``available`` = ledger - held + overdraft limit - minimum balance; None where the account has
    no floor. ``in_transit`` has left the ledger balance and is not delivered yet. ``seq`` is the
    position the figures belong to: the last entry's number, or a vector over several buckets.
    """

    account_no: int
    currency: str
    ledger: Decimal
    held: Decimal
    available: Decimal | None
    in_transit: Decimal
    seq: str
    as_of: datetime | date


class Balances:
    """Reads balances of one shard."""

    def __init__(self, readers: Readers, ownership: Ownership) -> None:
        self._readers = readers
        self._ownership = ownership

    async def get(self, account_no: int, as_of: datetime | date | None = None) -> Balance:
        """The balance of one account: now, at a past instant, or at the end of a business date.

        What is posted at an instant counts at that instant. The business date that is open ends
        with what is booked so far. A time that has only just passed is not final: a posting
        that is not committed yet may bear it. Raises ``Malformed`` for the future, ``NotFound``
        (also for an account that was not open yet), ``NotOwner``.
        """
        if as_of is not None:
            return await self._get_as_of(account_no, as_of)
        rows = await self._readers.rows(QUERIES["balance"], (account_no,))
        if not rows:
            raise await self._ownership.explain_absence(account_no, "account")
        return Balance(*rows[0])

    async def _get_as_of(self, account_no: int, as_of: datetime | date) -> Balance:
        instant = as_of if isinstance(as_of, datetime) else None
        rows = await self._readers.rows(
            QUERIES["balance_as_of"], (account_no, instant, None if instant else as_of)
        )
        if not rows:
            raise await self._ownership.explain_absence(account_no, "account")
        is_future, existed, *figures = rows[0]
        if is_future:
            raise Malformed(f"{as_of.isoformat()} lies in the future.")
        if not existed:
            raise NotFound(f"The account was not open yet at {as_of.isoformat()}.")
        return Balance(*(*figures, as_of))
