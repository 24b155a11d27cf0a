"""Decisions whose evidence races with convoys, or finds something booked: each has its right end.

Some decisions are carried out here by a test itself, step by step, as a worker that dies does.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from sagas.carriage import Carriage
from sagas.control_points import ControlPoint, ControlPointFailure
from sagas.deliveries import delivery_command, recall_command
from sagas.repair_activities import RepairActivities
from sagas.repair_messages import DecideOrder
from sagas.starts import ensure_repair
from sagas.wishes import read_wish
from shard.commands import Command
from shard.ids import new_id
from shard.outcomes import Outcome
from shard.repair_choice import RepairChoice
from shard.repairs import Decided, Decision
from shard.suspense import Carrier, ItemState, Settlement
from tests.sagas.small_bank import FUNDS, SmallBank
from tests.sagas.stuck_items import StuckItem, shown, words
from tests.support.bank import Figures, figures
from tests.support.gates import FailingOnce, Gate

pytestmark = pytest.mark.usefixtures("worker")

LIMIT_S = 30.0
UNPAID = Figures(Decimal(0), 0)
PAID = Figures(Decimal("20.0000"), 1)
HAS_PAID = Figures(Decimal(FUNDS) - 20, 2)
MONEY_BACK = Figures(Decimal(FUNDS), 3)


@pytest.fixture
async def sent(small_bank: SmallBank) -> StuckItem:
    """20 EUR that a convoy has to carry; it could, and a test does so."""
    creditor = await small_bank.open_account(2, "0")
    debtor, reference = await small_bank.park(creditor)
    item = await small_bank.item_of(debtor, reference)
    return StuckItem(small_bank, debtor, creditor, reference, item)


@pytest.fixture
async def aside(sent: StuckItem) -> StuckItem:
    """The same, set aside although nothing is stored at its target: no rule says why."""
    suspense = sent.bank.shards[1].suspense
    assert await suspense.mark_needs_repair(sent.item.item_id, 1, Outcome.MALFORMED)
    await begin(sent)
    await shown(sent, "Needs a decision: MALFORMED")
    return sent


async def begin(sent: StuckItem) -> None:
    """Start its repair."""
    await ensure_repair(sent.bank.client, 1, str(sent.item.item_id))


def activities(sent: StuckItem, points: Gate | None = None) -> RepairActivities:
    """Those of one more worker."""
    bank = sent.bank
    carriage = Carriage(bank.shards, bank.owners)
    return RepairActivities(bank.shards, bank.owners, carriage, control_points=points)


def order(sent: StuckItem, choice: str, **told: Any) -> DecideOrder:
    """A decision on the first attempt, as a workflow has it carried out."""
    wish = read_wish(words(choice, **told), now=datetime.now(UTC))
    return DecideOrder(1, str(sent.item.item_id), 1, str(new_id()), wish)


async def late_convoy(sent: StuckItem, points: FailingOnce | None = None) -> int:
    """Carry the item as it was read before anybody decided; the number of items that closes."""
    carriage = Carriage(sent.bank.shards, sent.bank.owners, points)
    return (await carriage.carry(1, 2, [sent.item], limit_s=LIMIT_S)).delivered


async def died_behind_its_tombstone(sent: StuckItem, decided: DecideOrder) -> None:
    """Carry a decision out until the tombstone is stored, and no further; then a convoy comes."""
    gate = Gate(ControlPoint.RECALL_AFTER_REPLY)
    deciding = asyncio.create_task(activities(sent, gate).decide(decided))
    await gate.arrived()
    deciding.cancel()
    await asyncio.gather(deciding, return_exceptions=True)
    assert 0 == await late_convoy(sent)


async def post(sent: StuckItem, command: Command) -> Outcome:
    """What the creditor's shard says to something that comes late."""
    return (await sent.bank.shards[2].lanes.post(command)).outcome


def delivery_of(sent: StuckItem) -> Command:
    """The delivery of the first attempt."""
    return delivery_command(sent.item, source=1, destination=2)


async def test_a_late_convoy_does_not_turn_round_what_a_person_has_in_hand(
    sent: StuckItem,
) -> None:
    """It meets the tombstone of a decision that was not written: a person decides once more."""
    other = await sent.bank.open_account(3, "0")
    await died_behind_its_tombstone(sent, order(sent, "redirect", account=str(other)))
    record = await sent.record()
    assert (ItemState.PARKED, 1, Carrier.REPAIR) == (
        record.state, record.item.attempt, record.item.carrier
    )  # fmt: skip
    await begin(sent)
    await shown(sent, "Needs a decision: RECALLED")
    assert [] == await sent.decisions()
    await sent.decide("redirect", account=str(other))
    assert ("delivered", 2) == ((done := await sent.handle.result()).state, done.attempt)
    assert PAID == await figures(sent.bank.shards[3], other)
    assert UNPAID == await figures(sent.bank.shards[2], sent.creditor)
    assert HAS_PAID == await figures(sent.bank.shards[1], sent.debtor)


async def test_a_decision_that_is_tried_again_finds_its_tombstone(sent: StuckItem) -> None:
    """As after a worker that died: it is carried out once, whatever a convoy did meanwhile."""
    other = await sent.bank.open_account(3, "0")
    decided = order(sent, "redirect", account=str(other))
    await died_behind_its_tombstone(sent, decided)
    assert None is (await activities(sent).decide(decided)).refusal
    await begin(sent)
    assert ("delivered", 2) == ((done := await sent.handle.result()).state, done.attempt)
    (written,) = await sent.decisions()
    assert (RepairChoice.REDIRECT, 1, Outcome.RECALLED) == (
        written.choice, written.attempt, written.evidence
    )  # fmt: skip
    assert PAID == await figures(sent.bank.shards[3], other)
    assert HAS_PAID == await figures(sent.bank.shards[1], sent.debtor)


async def test_a_convoy_that_is_before_the_tombstone_has_paid(sent: StuckItem) -> None:
    """It settles what a person has in hand, and he is told."""
    gate = Gate(ControlPoint.RECALL_BEFORE)
    deciding = asyncio.create_task(activities(sent, gate).decide(order(sent, "return")))
    await gate.arrived()
    assert Carrier.REPAIR is (await sent.record()).item.carrier
    assert 1 == await late_convoy(sent)
    gate.open()
    assert "booked at its target meanwhile" in str((await deciding).refusal)
    assert ItemState.DELIVERED is (await sent.record()).state
    assert PAID == await figures(sent.bank.shards[2], sent.creditor)
    assert [] == await sent.decisions()


async def test_what_is_found_booked_is_settled_by_the_repair(sent: StuckItem) -> None:
    """The convoy died before it could, and its item is in the repair's hands from then on."""
    with pytest.raises(ControlPointFailure):
        await late_convoy(sent, FailingOnce(ControlPoint.SETTLE_BEFORE))
    await begin(sent)
    await shown(sent, "Being delivered")
    assert "booked at its target meanwhile" in await sent.refusal(words("return"))
    assert Carrier.REPAIR is (await sent.record()).item.carrier
    done = await sent.handle.result()
    assert ("delivered", 1, 0) == (done.state, done.attempt, done.decisions)
    assert PAID == await figures(sent.bank.shards[2], sent.creditor)


async def test_what_was_set_aside_and_is_booked_is_settled_by_a_retry(aside: StuckItem) -> None:
    """Nothing else can be chosen, nobody is paid again, and the record says what was found."""
    assert Outcome.POSTED is await post(aside, delivery_of(aside))
    refusal = await aside.refusal(words("return"))
    report = await aside.decide("retry")
    done = await aside.handle.result()
    assert "choose retry, which settles it" in refusal
    assert ("delivered", 1) == (report.state, report.attempt)
    assert ("delivered", 1, 1) == (done.state, done.attempt, done.decisions)
    assert PAID == await figures(aside.bank.shards[2], aside.creditor)
    (written,) = await aside.decisions()
    assert (RepairChoice.RETRY, Outcome.POSTED, aside.creditor, aside.creditor) == (
        written.choice, written.evidence, written.target_before, written.target_after
    )  # fmt: skip


async def test_a_retry_that_died_before_it_settled_is_settled_by_its_delivery(
    aside: StuckItem,
) -> None:
    """The item is parked again in the same attempt, which is delivered and found booked."""
    assert Outcome.POSTED is await post(aside, delivery_of(aside))
    gate = Gate(ControlPoint.DECIDE_AFTER_REPLY)
    await aside.handle.terminate("its worker decides by hand")
    deciding = asyncio.create_task(activities(aside, gate).decide(order(aside, "retry")))
    await gate.arrived()
    deciding.cancel()
    await asyncio.gather(deciding, return_exceptions=True)
    assert (ItemState.PARKED, 1) == ((now := await aside.record()).state, now.item.attempt)
    await begin(aside)
    assert ("delivered", 1) == ((done := await aside.handle.result()).state, done.attempt)
    assert PAID == await figures(aside.bank.shards[2], aside.creditor)


async def test_a_booking_under_another_fingerprint_is_settled_by_a_retry(
    aside: StuckItem,
) -> None:
    """Written by a program that hashed otherwise: transfer, creditor and amount are the item's."""
    booked = replace(delivery_of(aside), request_hash=b"written otherwise")
    assert Outcome.POSTED is await post(aside, booked)
    assert "choose retry, which settles it" in await aside.refusal(words("return"))
    report = await aside.decide("retry")
    assert ("delivered", 1) == (report.state, report.attempt)
    assert "delivered" == (await aside.handle.result()).state
    assert PAID == await figures(aside.bank.shards[2], aside.creditor)


async def test_a_refusal_under_another_fingerprint_is_a_refusal(aside: StuckItem) -> None:
    """The reference is taken for good and nothing was booked under it: another attempt is safe."""
    item = aside.item
    recall = recall_command(replace(item, transfer_id=new_id()), details={})
    assert Outcome.RECALLED is await post(aside, replace(recall, request_hash=b"otherwise"))
    await aside.decide("return")
    assert ("returned", 2) == ((done := await aside.handle.result()).state, done.attempt)
    assert MONEY_BACK == await figures(aside.bank.shards[1], aside.debtor)
    assert Outcome.REFERENCE_REUSED is await post(aside, delivery_of(aside))
    assert UNPAID == await figures(aside.bank.shards[2], aside.creditor)


@pytest.mark.parametrize("choice", ["retry", "return"])
async def test_another_booking_under_the_reference_must_be_looked_at_by_hand(
    aside: StuckItem, choice: str
) -> None:
    """Whether it was this item's money no program can tell; what was found is told, and where."""
    stranger = new_id()
    booked = replace(delivery_of(aside), transfer_id=stranger, request_hash=b"of another transfer")
    assert Outcome.POSTED is await post(aside, booked)
    refusal = await aside.refusal(words(choice))
    record, decisions = await aside.record(), await aside.decisions()
    await settle_by_hand(aside)
    assert f"Shard 2 has booked transfer {stranger}" in refusal
    assert "with another transfer than this item's" in refusal
    assert (ItemState.NEEDS_REPAIR, 1, []) == (record.state, record.item.attempt, decisions)


async def settle_by_hand(aside: StuckItem) -> None:
    """Find out that it was the item's money after all, so that no later test finds it open."""
    await aside.handle.terminate("the test is over")
    item_id = aside.item.item_id
    source = aside.bank.shards[1]
    by_hand = Decision(new_id(), item_id, 1, RepairChoice.RETRY, "found out", "ada", "bob")
    posted = replace(by_hand, evidence=Outcome.POSTED)
    assert Decided.DECIDED is await source.repairs.decide(posted)
    assert 1 == await source.suspense.settle([Settlement(item_id, 1, 2, aside.item.parked_at)])
