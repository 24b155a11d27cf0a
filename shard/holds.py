"""Holds: amounts of an account that are reserved, and what became of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from shard.commands import Command, Kind, Origin, Terms
from shard.connections import Readers
from shard.ids import new_id
from shard.named_queries import QUERIES
from shard.ownership import Ownership
from shard.references import derived_reference, request_hash


class HoldState(StrEnum):
    """PENDING holds back what remains; the others hold back nothing, for ever."""

    PENDING = "pending"
    CAPTURED = "captured"
    VOIDED = "voided"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold as it stands; amounts in ``currency``, times in UTC.

    ``creditor`` is the only account it may be captured for; None: any.
    """

    account_no: int
    reference: str
    currency: str
    amount: Decimal
    captured: Decimal
    state: HoldState
    placed_at: datetime
    expires_at: datetime
    creditor: int | None
    closed_at: datetime | None

    @property
    def remaining(self) -> Decimal:
        """What is held back now."""
        return self.amount - self.captured if self.state is HoldState.PENDING else Decimal(0)


class Holds:
    """Reads the holds on one shard's accounts. They change by commands, like all else."""

    def __init__(self, readers: Readers, ownership: Ownership) -> None:
        self._readers = readers
        self._ownership = ownership

    async def get(self, account_no: int, reference: str) -> Hold:
        """One hold; raises ``NotFound``, ``NotOwner``."""
        rows = await self._readers.rows(QUERIES["hold"], (account_no, reference))
        if not rows:
            raise await self._ownership.explain_absence(account_no, "hold")
        return _hold(*rows[0])

    async def due(self, limit: int) -> list[Hold]:
        """Pending holds whose time is up by the shard's clock, the oldest first."""
        return [_hold(*row) for row in await self._readers.rows(QUERIES["due_holds"], (limit,))]


def expiry_command(hold: Hold) -> Command:
    """The command that ends a hold whose time is up.

    The shard judges the time again, under the lock. The end is part of the reference: a hold
    that got a later one in between can still expire then.
    """
    name = derived_reference("expire", hold.reference)
    reference = f"{name}:{int(hold.expires_at.timestamp() * 1_000_000)}"
    return Command(
        home=hold.account_no,
        origin=Origin.SYSTEM,
        reference=reference,
        transfer_id=new_id(),
        request_hash=request_hash("expire/1", {"hold": hold.reference}),
        currency=hold.currency,
        amount=hold.remaining,
        creditor=None,
        legs=(),
        kind=Kind.EXPIRE,
        terms=Terms(hold=hold.reference),
    )


def _hold(
    account_no: int,
    reference: str,
    currency: str,
    amount: Decimal,
    captured: Decimal,
    state: str,
    placed_at: datetime,
    expires_at: datetime,
    creditor: int | None,
    closed_at: datetime | None,
) -> Hold:
    return Hold(
        account_no, reference, currency, amount, captured, HoldState(state), placed_at, expires_at,
        creditor, closed_at,
    )  # fmt: skip
