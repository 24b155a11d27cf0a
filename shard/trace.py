"""One transfer's story as a shard can tell it: entries, events, settlement. It only reads."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from shard.account_numbers import clearing_account, suspense_account
from shard.commands import MoneyState, Origin
from shard.connections import Readers
from shard.errors import NotOwner
from shard.limits import SETTLEMENT_CLOCK_SLACK_S
from shard.named_queries import QUERIES
from shard.ownership import Ownership
from shard.repairs import ItemRecord
from shard.transfers import TransferRecord

_UUID7_RANDOM_BITS: Final = 80
_SLACK: Final = timedelta(seconds=SETTLEMENT_CLOCK_SLACK_S)


@dataclass(frozen=True, slots=True)
class Booking:
    """A command that was booked, by what finds its entries: its key, its date, its time (UTC)."""

    home: int
    origin: Origin
    reference: str
    business_date: date
    posted_at: datetime


def booking_of(record: TransferRecord) -> Booking:
    """The booking that a stored command tells of."""
    return Booking(
        record.home, record.origin, record.reference, record.business_date, record.posted_at
    )


@dataclass(frozen=True, slots=True)
class TracedEntry:
    """An entry of a command: ``amount`` signed (credit +), booked on the shard ``booked_on``.

    ``ledger_after`` is the balance of its bucket after it.
    """

    account_no: int
    bucket: int
    seq: int
    amount: Decimal
    held_delta: Decimal
    ledger_after: Decimal
    counterparty: int | None
    business_date: date
    value_date: date
    posted_at: datetime
    booked_on: int


@dataclass(frozen=True, slots=True)
class TransferEvent:
    """The ``n``-th change of a transfer's state since it was booked; time in UTC."""

    n: int
    happened_at: datetime
    business_date: date
    money_state: MoneyState
    cause: str


@dataclass(frozen=True, slots=True)
class Voucher:
    """A settlement: ``amount`` of several items from suspense to the account ``clearing``."""

    booking: Booking
    clearing: int
    amount: Decimal


@dataclass(frozen=True, slots=True)
class CommandDetails:
    """What a command says of itself beyond its terms; whatever was not given is None."""

    channel: str | None
    actor: str | None
    correlation_id: str | None
    trace_id: str | None


class Trace:
    """Reads what one shard knows of a transfer."""

    def __init__(self, readers: Readers, ownership: Ownership) -> None:
        self._readers = readers
        self._ownership = ownership

    async def details(self, home: int, origin: Origin, reference: str) -> CommandDetails:
        """What a command that is stored here says of itself."""
        rows = await self._readers.rows(QUERIES["trace_details"], (home, origin.value, reference))
        return CommandDetails(*rows[0]) if rows else CommandDetails(None, None, None, None)

    async def events(self, home: int, origin: Origin, reference: str) -> list[TransferEvent]:
        """How the state of a transfer has changed since it was booked, in that order."""
        rows = await self._readers.rows(QUERIES["trace_events"], (home, origin.value, reference))
        return [
            TransferEvent(n, happened_at, business_date, MoneyState(state), cause)
            for n, happened_at, business_date, state, cause in rows
        ]

    async def entries(self, booking: Booking, account_no: int) -> list[TracedEntry]:
        """What a command has booked on an account; raises ``NotOwner``.

        They have moved with the account: its present owner tells them, wherever they were booked.
        """
        rows = await self._readers.rows(
            QUERIES["trace_entries"],
            {
                "account_no": account_no,
                "business_date": booking.business_date,
                "posted_at": booking.posted_at,
                "home": booking.home,
                "origin": booking.origin.value,
                "reference": booking.reference,
            },
        )
        if not rows:
            absence = await self._ownership.explain_absence(account_no, "account")
            if isinstance(absence, NotOwner):
                raise absence
        return [TracedEntry(*row) for row in rows]

    async def settlement(self, shard: int, record: ItemRecord) -> Voucher | None:
        """The voucher that closed an item of this ``shard``; None if open, or if none is found."""
        if record.settled_at is None or record.booked_on is None:
            return None
        currency = record.item.currency
        rows = await self._readers.rows(
            QUERIES["trace_settlement"],
            {
                "item_id": record.item.item_id,
                "suspense": suspense_account(shard, currency),
                "clearing": clearing_account(shard, record.booked_on, currency),
                "first_reference": f"settle:{_first_id(record.settled_at - _SLACK)}",
                "last_reference": f"settle:{_first_id(record.settled_at + _SLACK)}",
            },
        )
        if not rows:
            return None
        suspense, reference, clearing, amount, business_date, posted_at = rows[0]
        booking = Booking(suspense, Origin.SYSTEM, reference, business_date, posted_at)
        return Voucher(booking, clearing, amount)


def _first_id(at: datetime) -> UUID:
    """No UUIDv7 that was born later is less; RFC 9562 puts milliseconds in front."""
    return UUID(int=int(at.timestamp() * 1000) << _UUID7_RANDOM_BITS)
