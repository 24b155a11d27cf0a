"""From a suspense item to the command that delivers it, and from the answer to the verdict."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from sagas.deliveries import Verdict, delivery_command, judge
from shard.commands import Answer, Kind, Leg, MoneyState, Origin
from shard.outcomes import MEANINGS, Outcome
from shard.suspense import Carrier, SuspenseItem

DEBTOR = 1_000_000_001
CREDITOR = 2_000_000_002
MONDAY = date(2026, 11, 23)
ITEM_ID = UUID("0199f3a0-0000-7000-8000-000000000001")

FORWARD = SuspenseItem(
    item_id=ITEM_ID,
    attempt=1,
    debtor=DEBTOR,
    origin=Origin.CLIENT,
    reference="PAY-17",
    transfer_id=UUID("0199f3a0-0000-7000-8000-000000000002"),
    target=CREDITOR,
    amount=Decimal("20.00"),
    currency="EUR",
    business_date=MONDAY,
    value_date=MONDAY,
    convoy=UUID("0199f3a0-0000-7000-8000-000000000003"),
    carrier=Carrier.CONVOY,
    parked_at=datetime(2026, 11, 23, 9, 30, tzinfo=UTC),
    narrative="Rent",
    last_refusal=None,
)
RETURN = replace(FORWARD, attempt=2, target=DEBTOR, last_refusal=Outcome.ACCOUNT_CLOSED)


def answer(outcome: Outcome) -> Answer:
    """An answer of the target's shard."""
    return Answer(outcome, False, None, MoneyState.NONE, None, None, None)


def test_a_delivery_moves_the_amount_from_clearing_to_the_target() -> None:
    """The clearing account of (destination, source) pays, the target is paid by the debtor."""
    command = delivery_command(FORWARD, source=1, destination=2)
    expected = (
        Leg(2_201_001, Decimal("-20.00"), counterparty=CREDITOR),
        Leg(CREDITOR, Decimal("20.00"), counterparty=DEBTOR),
    )
    assert expected == command.legs
    assert sum(leg.amount for leg in command.legs) == 0


def test_a_delivery_is_named_by_item_and_attempt_at_its_target() -> None:
    """The reference is the attempt: that is what makes a second delivery a replay."""
    command = delivery_command(FORWARD, source=1, destination=2)
    named = (command.home, command.origin, command.reference)
    assert (CREDITOR, Origin.DELIVERY, f"{ITEM_ID}:1") == named


def test_a_delivery_is_never_booked_before_the_debit() -> None:
    """The debit's business date is the earliest for the credit."""
    assert delivery_command(FORWARD, source=1, destination=2).not_before == MONDAY


def test_a_delivery_takes_the_clients_reference_and_narrative_along() -> None:
    """The creditor reads what the debtor wrote."""
    command = delivery_command(FORWARD, source=1, destination=2)
    assert command.details == {"end_to_end_id": "PAY-17"}
    assert command.narrative == "Rent"


def test_a_return_may_credit_a_frozen_debtor() -> None:
    """Bringing a debtor's own money back is a kind of its own."""
    assert delivery_command(RETURN, source=1, destination=1).kind is Kind.RETURN
    assert delivery_command(FORWARD, source=1, destination=2).kind is Kind.ORDINARY


def test_the_hash_does_not_depend_on_the_route() -> None:
    """After a range move the same attempt is delivered elsewhere, and is still the same."""
    here = delivery_command(FORWARD, source=1, destination=2)
    there = delivery_command(FORWARD, source=1, destination=3)
    assert here.request_hash == there.request_hash


@pytest.mark.parametrize(
    "changed",
    [
        replace(FORWARD, attempt=2),
        replace(FORWARD, target=CREDITOR + 1),
        replace(FORWARD, amount=Decimal("20.01")),
    ],
    ids=["attempt", "target", "amount"],
)
def test_the_hash_tells_two_deliveries_apart(changed: SuspenseItem) -> None:
    """Another attempt, target or amount is another request."""
    first = delivery_command(FORWARD, source=1, destination=2)
    second = delivery_command(changed, source=1, destination=2)
    assert first.request_hash != second.request_hash


@pytest.mark.parametrize(
    ("outcome", "of_forward", "of_return"),
    [
        (Outcome.POSTED, Verdict.BOOKED, Verdict.BOOKED),
        (Outcome.NOT_OWNER, Verdict.ELSEWHERE, Verdict.ELSEWHERE),
        (Outcome.RANGE_MOVING, Verdict.NOT_YET, Verdict.NOT_YET),
        (Outcome.DATE_NOT_OPEN, Verdict.NOT_YET, Verdict.NOT_YET),
        (Outcome.ACCOUNT_UNKNOWN, Verdict.SEND_BACK, Verdict.NEEDS_REPAIR),
        (Outcome.ACCOUNT_CLOSED, Verdict.SEND_BACK, Verdict.NEEDS_REPAIR),
        (Outcome.ACCOUNT_FROZEN, Verdict.SEND_BACK, Verdict.NEEDS_REPAIR),
        (Outcome.CURRENCY_MISMATCH, Verdict.SEND_BACK, Verdict.NEEDS_REPAIR),
        (Outcome.RECALLED, Verdict.SEND_BACK, Verdict.NEEDS_REPAIR),
        (Outcome.REFERENCE_REUSED, Verdict.NEEDS_REPAIR, Verdict.NEEDS_REPAIR),
        (Outcome.MALFORMED, Verdict.NEEDS_REPAIR, Verdict.NEEDS_REPAIR),
    ],
)
def test_what_an_answer_means_for_its_item(
    outcome: Outcome, of_forward: Verdict, of_return: Verdict
) -> None:
    """Refusals turn an item round once; what is not decided waits; the rest is for a person."""
    assert (of_forward, of_return) == (
        judge(FORWARD, answer(outcome)),
        judge(RETURN, answer(outcome)),
    )


def test_what_was_recalled_for_a_repair_waits_for_its_decision() -> None:
    """Whoever set the tombstone may have died before it was decided where the amount goes."""
    in_repair = replace(FORWARD, carrier=Carrier.REPAIR)
    assert Verdict.NEEDS_REPAIR is judge(in_repair, answer(Outcome.RECALLED))
    assert Verdict.SEND_BACK is judge(in_repair, answer(Outcome.ACCOUNT_CLOSED))


@pytest.mark.parametrize("outcome", Outcome)
def test_an_item_turns_round_only_on_a_refusal_that_is_stored(outcome: Outcome) -> None:
    """Otherwise a late delivery of the refused attempt could still be booked."""
    turns = judge(FORWARD, answer(outcome)) is Verdict.SEND_BACK
    assert not turns or MEANINGS[outcome].is_stored_for_deliveries
