"""Delivering an item's present attempt: the command its target's shard gets, and its verdict."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import Any

from shard.account_numbers import clearing_account
from shard.cargo import Cargo
from shard.commands import Answer, Command, Kind, Leg, Origin
from shard.money import format_amount
from shard.outcomes import MEANINGS, Outcome
from shard.references import request_hash
from shard.suspense import Carrier, Settlement, SuspenseItem
from shard.transfers import TransferRecord


class Verdict(Enum):
    """What an answer to a delivery means for its item."""

    BOOKED = auto()
    """The target has the money: settle."""
    SEND_BACK = auto()
    """Refused for good, and stored as such: the next attempt goes to the debtor."""
    NEEDS_REPAIR = auto()
    """Neither target nor debtor can have it, or the reference was abused: a person decides."""
    ELSEWHERE = auto()
    """The shard asked does not own the target: learn, and ask its owner."""
    NOT_YET = auto()
    """Nothing was stored; the same attempt is tried again."""


def delivery_command(item: SuspenseItem, *, source: int, destination: int) -> Command:
    """The posting that delivers ``item`` from shard ``source`` on shard ``destination``.

    Its reference is the attempt, so an attempt is booked or refused once, whoever carries it
    and however often. It is never booked on an earlier business date than the debit.
    """
    clearing = clearing_account(destination, source, item.currency)
    return Command(
        home=item.target,
        origin=Origin.DELIVERY,
        reference=item.delivery_reference,
        transfer_id=item.transfer_id,
        request_hash=_hash(item),
        currency=item.currency,
        amount=item.amount,
        creditor=item.target,
        legs=(
            Leg(clearing, -item.amount, counterparty=item.target),
            Leg(item.target, item.amount, counterparty=item.debtor),
        ),
        kind=Kind.RETURN if item.is_return else item.kind,
        not_before=item.business_date,
        value_date=item.value_date,
        details=_details(item),
        narrative=item.narrative,
    )


def recall_command(item: SuspenseItem, *, details: Mapping[str, Any]) -> Command:
    """The tombstone that keeps the present attempt of an item of that transfer from arriving.

    It has the delivery's own reference and hash: whichever of the two comes second is answered
    what became of the first, a delivery as much as another recall.
    """
    return Command(
        home=item.target,
        origin=Origin.DELIVERY,
        reference=item.delivery_reference,
        transfer_id=item.transfer_id,
        request_hash=_hash(item),
        currency=item.currency,
        amount=item.amount,
        creditor=item.target,
        legs=(),
        kind=Kind.TOMBSTONE,
        details=details,
    )


def judge(item: SuspenseItem, answer: Answer) -> Verdict:
    """Read an answer. Only a refusal that is stored allows a new attempt."""
    meaning = MEANINGS[answer.outcome]
    if answer.outcome is Outcome.POSTED:
        return Verdict.BOOKED
    if answer.outcome is Outcome.NOT_OWNER:
        return Verdict.ELSEWHERE
    if meaning.is_retryable:
        return Verdict.NOT_YET
    if answer.outcome is Outcome.RECALLED and item.carrier is Carrier.REPAIR:
        # Recalled for a decision that was not carried out: a person has yet to say where it goes.
        return Verdict.NEEDS_REPAIR
    if meaning.is_stored_for_deliveries and not item.is_return:
        return Verdict.SEND_BACK
    return Verdict.NEEDS_REPAIR


def _details(item: SuspenseItem) -> dict[str, str]:
    """The reference that the debtor gave, and his trace, so that both sides show them."""
    details = {"end_to_end_id": item.reference}
    if item.trace_id is not None:
        details["trace_id"] = item.trace_id
    return details


def settlement_of(item: SuspenseItem, booked: Answer | TransferRecord) -> Settlement:
    """How to settle ``item``, whose present attempt is known to be booked at its target."""
    if booked.booked_on is None or booked.posted_at is None:
        raise ValueError("A booked delivery says where and when it was booked.")
    return Settlement(item.item_id, item.attempt, booked.booked_on, booked.posted_at)


def cargo_hashes(cargo: Cargo) -> list[bytes]:
    """The request hashes of the deliveries of a cargo, by its places."""
    return [
        _attempt_hash(*attempt)
        for attempt in zip(
            cargo.item_ids, cargo.attempts, cargo.targets, cargo.amounts, cargo.currencies,
            strict=True,
        )
    ]  # fmt: skip


def _hash(item: SuspenseItem) -> bytes:
    amount = format_amount(item.amount, item.currency)
    item_id, attempt, target = str(item.item_id), str(item.attempt), str(item.target)
    return _attempt_hash(item_id, attempt, target, amount, item.currency)


def _attempt_hash(item_id: str, attempt: str, target: str, amount: str, currency: str) -> bytes:
    return request_hash(
        "delivery/1",
        {
            "item_id": item_id,
            "attempt": attempt,
            "target": target,
            "amount": amount,
            "currency": currency,
        },
    )
