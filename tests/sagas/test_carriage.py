"""Carriages without workflows: each step may run twice, late, or fail in between."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest

from sagas.carriage import Carriage, Carried
from sagas.control_points import Armed, ControlPoint, ControlPointFailure, Unarmed
from sagas.convoy_activities import ConvoyActivities
from sagas.deliveries import delivery_command
from sagas.freight import Freight
from sagas.messages import CarryOrder, HandOverOrder
from sagas.terminus import Terminus
from shard.commands import Kind, MoneyState
from shard.outcomes import Outcome
from shard.shard import Shard
from shard.suspense import Carrier, SuspenseItem
from tests.sagas.small_bank import FUNDS, SmallBank
from tests.support.bank import account_no

LIMIT_S = 30.0
MOST = "99999999999990.00"
"""An account can hold ten more of it, and no twenty: 14 integer digits."""


async def carry(bank: SmallBank, destination: int, *items: SuspenseItem) -> Carried:
    """Carry items of shard 1 once."""
    return await Carriage(bank.shards, bank.owners).carry(1, destination, items, limit_s=LIMIT_S)


@pytest.mark.parametrize(
    "point", [ControlPoint.DELIVER_AFTER_REPLY, ControlPoint.SETTLE_BEFORE], ids=str
)
async def test_a_delivery_whose_reply_was_lost_is_found_done(
    small_bank: SmallBank, point: ControlPoint
) -> None:
    """The second carriage replays the delivery and settles it: the creditor is paid once."""
    creditor = await small_bank.open_account(2, "0")
    item = await small_bank.item_of(*await small_bank.park(creditor))
    failing = Carriage(small_bank.shards, small_bank.owners, Armed({point: "raise"}))
    with pytest.raises(ControlPointFailure):
        await failing.carry(1, 2, [item], limit_s=LIMIT_S)
    assert (await carry(small_bank, 2, item)).delivered == 1
    assert await small_bank.ledger_of(creditor) == Decimal("20.00")


async def test_carriages_of_the_same_item_at_once_have_one_effect(small_bank: SmallBank) -> None:
    """One of them settles; the others find it done."""
    creditor = await small_bank.open_account(2, "0")
    item = await small_bank.item_of(*await small_bank.park(creditor))
    carried = await asyncio.gather(*(carry(small_bank, 2, item) for _ in range(4)))
    assert [0, 0, 0, 1] == sorted(each.delivered for each in carried)
    assert await small_bank.ledger_of(creditor) == Decimal("20.00")


async def test_a_late_carriage_of_a_refused_attempt_changes_nothing(
    small_bank: SmallBank,
) -> None:
    """The refusal is stored where the creditor would live: opening the account comes too late."""
    item = await small_bank.item_of(*await small_bank.park(account_no(2)))
    assert (await carry(small_bank, 2, item)).redirected == 1
    assert (await carry(small_bank, 2, item)).delivered == 0
    back = await small_bank.item_of(item.debtor, item.reference)
    assert (2, True) == (back.attempt, back.is_return)
    assert (await carry(small_bank, 1, back)).delivered == 1
    assert await small_bank.ledger_of(item.debtor) == Decimal(FUNDS)


async def test_a_recalled_delivery_turns_round(small_bank: SmallBank) -> None:
    """A tombstone under the attempt's reference is a refusal: the creditor is never paid."""
    creditor = await small_bank.open_account(2, "0")
    item = await small_bank.item_of(*await small_bank.park(creditor))
    delivery = delivery_command(item, source=1, destination=2)
    await small_bank.shards[2].lanes.post(replace(delivery, kind=Kind.TOMBSTONE, legs=()))
    assert (await carry(small_bank, 2, item)).redirected == 1
    back = await small_bank.item_of(item.debtor, item.reference)
    assert (await carry(small_bank, 1, back)).delivered == 1
    record = await small_bank.transfer_record(item.debtor, item.reference)
    assert (MoneyState.RETURNED, Outcome.RECALLED) == (record.money_state, record.return_code)


async def test_an_amount_too_large_for_its_creditor_turns_round(small_bank: SmallBank) -> None:
    """A balance has 14 digits: what would exceed them is refused and stored; others arrive."""
    full = await small_bank.open_account(2, MOST)
    creditor = await small_bank.open_account(2, "0")
    excessive = await small_bank.item_of(*await small_bank.park(full))
    sound = await small_bank.item_of(*await small_bank.park(creditor))
    carried = await carry(small_bank, 2, excessive, sound)
    assert (1, 1, 0) == (carried.delivered, carried.redirected, carried.waiting)
    assert await small_bank.ledger_of(creditor) == Decimal("20.00")
    back = await small_bank.item_of(excessive.debtor, excessive.reference)
    assert (await carry(small_bank, 1, back)).delivered == 1
    assert await small_bank.ledger_of(excessive.debtor) == Decimal(FUNDS)


async def test_a_destination_found_down_is_not_asked_again_at_once(small_bank: SmallBank) -> None:
    """The next convoy hands its items over without waiting for a dead shard."""
    debtor, reference = await small_bank.park(await small_bank.open_account(2))
    item = await small_bank.item_of(debtor, reference)
    dead = Shard(2, "host=127.0.0.1 port=1 dbname=nowhere")
    await dead.open()
    shards = {1: small_bank.shards[1], 2: dead}
    carriage = Carriage(shards, small_bank.owners)
    freight = Freight(shards, small_bank.owners, carriage)
    activities = ConvoyActivities(
        small_bank.client, shards, carriage, freight, Terminus(), Unarmed()
    )
    order = CarryOrder(1, str(item.convoy), 2)
    first, second = await activities.carry(order), await activities.carry(order)
    await dead.close()
    await carry(small_bank, 2, item)
    assert (True, True) == (first.is_unreachable, second.is_unreachable)
    assert second.failure == "Shard 2 did not answer a moment ago."


async def test_what_others_own_by_now_is_not_taken_for_delivered(small_bank: SmallBank) -> None:
    """The map has changed since the survey: the carriage finds nothing and says that all waits,
    and what was to be handed over goes to the routes that it has now."""
    bank = small_bank
    item = await bank.item_of(*await bank.park(await bank.open_account(2)))
    carriage = Carriage(bank.shards, bank.owners)
    freight = Freight(bank.shards, bank.owners, carriage)
    activities = ConvoyActivities(
        bank.client, bank.shards, carriage, freight, Terminus(), Unarmed()
    )
    report = await activities.carry(CarryOrder(1, str(item.convoy), 3))
    handed_over = await activities.hand_over(HandOverOrder(1, str(item.convoy), 3))
    now = await bank.shards[1].repairs.get(item.item_id)
    assert (1, False, 1) == (report.waiting, report.is_unreachable, handed_over)
    assert (Carrier.ROUTE, 2) == (now.item.carrier, now.route)
    await carry(bank, 2, item)
