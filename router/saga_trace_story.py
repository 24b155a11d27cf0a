"""A transfer's whole story as plain data: what each shard and Temporal told of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from router.saga_reads import Saga
from shard.balances import Balance
from shard.outcomes import Outcome
from shard.trace import CommandDetails, TracedEntry, TransferEvent, Voucher
from shard.transfers import TransferRecord


@dataclass(frozen=True, slots=True)
class Gap:
    """A part of the story that could not be read, and why."""

    what: str
    reason: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to deliver an item to ``target``, and what it met there.

    ``delivery`` is the command stored at the target's shard: a booking, a refusal or a
    tombstone; None where it has met nothing, or, unless ``is_known``, where nobody answered.
    ``target`` is None for a past attempt that left no trace.
    """

    number: int
    target: int | None
    delivery: TransferRecord | None = None
    entries: tuple[TracedEntry, ...] = ()
    is_known: bool = True

    @property
    def is_booked(self) -> bool:
        """Whether it has paid its target."""
        return self.delivery is not None and self.delivery.outcome is Outcome.POSTED


@dataclass(frozen=True, slots=True)
class ItemStory:
    """An item with its attempts in their order, and its settlement; None if none is known."""

    saga: Saga
    attempts: tuple[Attempt, ...]
    voucher: Voucher | None = None
    settlement: tuple[TracedEntry, ...] = ()

    @property
    def present(self) -> Attempt:
        """The attempt that counts."""
        return self.attempts[-1]


@dataclass(frozen=True, slots=True)
class WorkflowState:
    """A workflow's state in Temporal, in a word, and its page; closed then (UTC)."""

    workflow: str
    state: str
    page: str | None
    closed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Workflows:
    """The workflows of a transfer; ``failure`` tells why Temporal could not be asked."""

    states: tuple[WorkflowState, ...]
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Party:
    """What a customer sees now of one account; ``balance`` is None for ``absence``."""

    account: int
    role: str
    balance: Balance | None
    absence: str | None = None


@dataclass(frozen=True, slots=True)
class Figure:
    """A system account that holds the amount now: its balance, and ``part`` of it, both signed.

    A part of zero: the amount has passed through it and left nothing behind. ``balance`` is None
    where its shard does not answer.
    """

    shard: int
    account: int
    role: str
    currency: str
    part: Decimal
    balance: Decimal | None


class Verdict(StrEnum):
    """What reconciliation thinks of an item: at its end, on its way, undecided, or wrong."""

    CLOSED = "closed"
    OPEN = "open"
    UNKNOWN = "unknown"
    DISAGREES = "disagrees"


@dataclass(frozen=True, slots=True)
class Reconciled:
    """One line of reconciliation."""

    verdict: Verdict
    text: str


@dataclass(frozen=True, slots=True)
class Story:
    """All that is known of a transfer as of a time (UTC); ``gaps`` could not be read.

    ``shard`` owns its home account now. ``entries`` are those of the transfer itself, on all its
    accounts and in suspense.
    """

    as_of: datetime
    shard: int
    transfer: TransferRecord
    details: CommandDetails
    events: tuple[TransferEvent, ...]
    entries: tuple[TracedEntry, ...]
    items: tuple[ItemStory, ...]
    workflows: Workflows
    parties: tuple[Party, ...]
    figures: tuple[Figure, ...]
    reconciled: tuple[Reconciled, ...]
    gaps: tuple[Gap, ...]
