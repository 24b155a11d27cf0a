"""What a shard is asked to book, and what it answers: plain data, one command per reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
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
    ``HOLD`` and ``INCREASE`` hold an amount of the home account back, ``CAPTURE`` pays out of
    what is held, ``VOID`` and ``EXPIRE`` let go of the rest.
    """

    ORDINARY = "ordinary"
    RETURN = "return"
    FORCED = "forced"
    TOMBSTONE = "tombstone"
    HOLD = "hold"
    INCREASE = "increase"
    CAPTURE = "capture"
    VOID = "void"
    EXPIRE = "expire"


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
class Original:
    """The booking that a reversal takes back: its command, and the business date at its creditor.

    For a creditor who was paid across shards it is the delivery.
    """

    transfer_id: UUID
    home: int
    origin: Origin
    reference: str
    business_date: date


@dataclass(frozen=True, slots=True)
class Terms:
    """What only some commands ask for. They are decided one after the other, so a little slower.

    ``hold`` is the reference of a hold on the home account; of a command of kind ``HOLD`` its
    own. ``expires_at`` (UTC) ends a new hold, or is its new end. ``creditor`` is the only account
    a new hold may be captured for. ``is_final`` releases what a capture leaves.
    ``expected_seq`` is the position at which the home account must stand.
    """

    hold: str | None = None
    expires_at: datetime | None = None
    creditor: int | None = None
    is_final: bool = False
    expected_seq: int | None = None
    reverses: Original | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """One posting under one reference of its home account.

    ``legs`` and ``parked`` together sum to zero; holding back and letting go have none.
    ``creditor`` and ``amount`` describe it to readers. ``not_before`` is the earliest business
    date it may be booked on. ``details`` may hold channel, actor, purpose, correlation_id,
    end_to_end_id and trace_id, and ``legs`` as the client gave them.
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
    details: Mapping[str, Any] | None = None
    narrative: str | None = None
    terms: Terms | None = None


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
