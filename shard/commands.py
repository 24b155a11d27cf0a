"""What a shard is asked to book, and what it answers: plain data, one command per reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from shard.outcomes import Outcome


class Origin(StrEnum):
    """Who speaks: the reference is unique per home account and origin."""

    CLIENT = "client"
    DELIVERY = "delivery"
    PAYROLL = "payroll"
    REVERSAL = "reversal"
    SYSTEM = "system"


class Kind(StrEnum):
    """How a command is to be judged.

    ``ORDINARY`` obeys every rule. ``RETURN`` brings a debtor's own money back and may credit a
    frozen account. ``FORCED`` is booked past floors and freezes, and says so. ``TOMBSTONE``
    books nothing: it takes the reference, so that what it names can never be booked later.
    """

    ORDINARY = "ordinary"
    RETURN = "return"
    FORCED = "forced"
    TOMBSTONE = "tombstone"


class MoneyState(StrEnum):
    """Where the money of a transfer is."""

    NONE = "none"
    POSTED = "posted"
    IN_TRANSIT = "in_transit"
    DELIVERED = "delivered"
    RETURNED = "returned"
    PARTIALLY_RETURNED = "partially_returned"
    NEEDS_REPAIR = "needs_repair"


@dataclass(frozen=True, slots=True)
class Leg:
    """One signed change of one account: credit +, debit -, in the command's currency."""

    account_no: int
    amount: Decimal
    counterparty: int | None = None


@dataclass(frozen=True, slots=True)
class ParkedAmount:
    """An amount (> 0) for an account on another shard; it parks in this shard's suspense."""

    item_id: UUID
    target: int
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Command:
    """One posting under one reference of its home account.

    ``legs`` and ``parked`` together sum to zero. ``creditor`` and ``amount`` describe it to
    readers. ``not_before`` is the earliest business date it may be booked on. ``details`` may
    hold channel, actor, purpose, correlation_id, end_to_end_id and trace_id.
    """

    home: int
    origin: Origin
    reference: str
    transfer_id: UUID
    request_hash: bytes
    currency: str
    amount: Decimal
    creditor: int | None
    legs: tuple[Leg, ...]
    parked: tuple[ParkedAmount, ...] = ()
    kind: Kind = Kind.ORDINARY
    not_before: date | None = None
    value_date: date | None = None
    details: Mapping[str, str] | None = None
    narrative: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one command.

    ``outcome`` is its own; ``is_replay`` tells that the reference was known before.
    ``business_date``, ``posted_at`` (UTC) and ``booked_on`` (shard) belong to the stored
    command. ``foreign_account`` names the account not owned, with its next owner if known.
    ``convoy`` is what amounts parked just now have boarded.
    """

    outcome: Outcome
    is_replay: bool
    transfer_id: UUID | None
    money_state: MoneyState
    business_date: date | None
    posted_at: datetime | None
    booked_on: int | None
    foreign_account: int | None = None
    next_owner: int | None = None
    epoch: int | None = None
    convoy: UUID | None = None
