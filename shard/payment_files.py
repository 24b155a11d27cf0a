"""Payment files, registered at the account they debit, so that none is executed twice."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

from shard.connections import Readers
from shard.errors import RangeMoving
from shard.named_queries import QUERIES
from shard.ownership import Ownership


class Registration(StrEnum):
    """NEW: registered now. KNOWN: the same file again. OTHER: its name is taken by another."""

    NEW = "new"
    KNOWN = "known"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class PaymentFile:
    """A registered file: its hash, number of lines, and control sum in its currency."""

    account_no: int
    reference: str
    file_hash: bytes
    line_count: int
    control_sum: Decimal
    currency: str
    registered_on: date
    registered_at: datetime


class PaymentFiles:
    """The payment files registered on one shard."""

    def __init__(self, readers: Readers, ownership: Ownership) -> None:
        self._readers = readers
        self._ownership = ownership

    async def register(
        self,
        account_no: int,
        reference: str,
        *,
        file_hash: bytes,
        line_count: int,
        control_sum: Decimal,
        currency: str,
    ) -> Registration:
        """Register a file under its message's reference; raises ``NotOwner``, ``RangeMoving``."""
        told = await self._readers.write(
            str,
            QUERIES["register_payment_file"],
            (account_no, reference, file_hash, line_count, control_sum, currency),
        )
        if told == "RANGE_MOVING":
            raise RangeMoving
        if told == "NOT_OWNER":
            raise await self._ownership.explain_absence(account_no, "account")
        return Registration(told)

    async def get(self, account_no: int, reference: str) -> PaymentFile:
        """One registered file; raises ``NotFound``, ``NotOwner``."""
        rows = await self._readers.rows(QUERIES["payment_file"], (account_no, reference))
        if not rows:
            raise await self._ownership.explain_absence(account_no, "payment file")
        return PaymentFile(*rows[0])
