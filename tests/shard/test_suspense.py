"""Suspense items: each one alone decides where its money goes, by compare-and-set."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from shard.account_numbers import clearing_account, suspense_account
from shard.accounts import AccountStatus
from shard.commands import MoneyState
from shard.errors import Refused
from shard.ids import new_id
from shard.outcomes import Outcome
from shard.ownership import RangeState
from shard.posting import post_batch
from shard.suspense import Carrier, OpenTotal, Redirection, Settlement, SuspenseItem
from tests.shard.own_server import (
    FIRST_RANGE,
    SECOND_RANGE,
    OwnShard,
    as_owner,
    open_in_second_range,
)
from tests.shard.parked import NOON, Parked, booked, park
from tests.support.bank import account_no, open_account, transfer
from tests.support.interleaving import Holder, holder, posting_connection


async def standing(own: OwnShard, account: int) -> Decimal:
    """What a system account holds."""
    return (await own.shard.balances.get(account)).ledger


async def test_a_settlement_moves_money_from_suspense_to_clearing(own: OwnShard) -> None:
    """A settled item leaves suspense for the clearing account of the shard that booked it."""
    suspense, clearing = suspense_account(1, "EUR"), clearing_account(1, 2, "EUR")
    parked = await park(own)
    before = await standing(own, suspense), await standing(own, clearing)

    assert 1 == await own.shard.suspense.settle([booked(parked.item)])

    after = await standing(own, suspense), await standing(own, clearing)
    assert (before[0] - 20, before[1] + 20) == after
    record = await parked.record()
    assert (MoneyState.DELIVERED, NOON) == (record.money_state, record.delivered_at)
    assert [(MoneyState.DELIVERED, "settled")] == await parked.events()
    assert Decimal(0) == (await own.shard.balances.get(parked.debtor)).in_transit


async def test_settling_twice_changes_nothing(own: OwnShard) -> None:
    """The second settlement of an item finds it closed, and books no voucher."""
    parked = await park(own)
    await own.shard.suspense.settle([booked(parked.item)])
    before = await standing(own, suspense_account(1, "EUR"))

    assert 0 == await own.shard.suspense.settle([booked(parked.item)])
    assert before == await standing(own, suspense_account(1, "EUR"))
    assert 1 == len(await parked.events())


async def test_one_item_twice_in_a_settlement_is_moved_once(own: OwnShard) -> None:
    """A settlement that names an item twice moves its amount once."""
    parked = await park(own)
    before = await standing(own, suspense_account(1, "EUR"))

    assert 1 == await own.shard.suspense.settle([booked(parked.item)] * 2)
    assert before - 20 == await standing(own, suspense_account(1, "EUR"))


async def test_a_stale_attempt_settles_nothing(own: OwnShard) -> None:
    """Only the present attempt of an item can be settled, not an earlier or a later one."""
    parked = await park(own)
    stale = booked(parked.item)
    await _return(own, parked.item)

    early = replace(stale, attempt=3)
    assert 0 == await own.shard.suspense.settle([stale, early])
    assert [2] == [item.attempt for item in await parked.items_now()]


async def test_an_unknown_item_is_passed_over(own: OwnShard) -> None:
    """A settlement does what it can: items it does not know disturb nobody."""
    parked = await park(own)
    unknown = Settlement(new_id(), 1, 2, NOON)

    assert 1 == await own.shard.suspense.settle([unknown, booked(parked.item)])


async def test_two_settlements_at_once_have_one_effect(own: OwnShard) -> None:
    """Of two settlements of one item the one that waited finds it closed."""
    parked = await park(own)
    async with holder(own.database.owner_dsn) as held:
        await _lock_item(held, parked.item)
        tasks = [held.start(own.shard.suspense.settle([booked(parked.item)])) for _ in range(2)]
        await held.until_blocks(*tasks)
        await held.rollback()
        closed = [await task for task in tasks]

    assert [0, 1] == sorted(closed)
    assert [(MoneyState.DELIVERED, "settled")] == await parked.events()


async def _lock_item(held: Holder, item: SuspenseItem) -> None:
    await held.execute(
        "SELECT FROM ledger.suspense_item WHERE item_id = %s FOR UPDATE", (item.item_id,)
    )


async def test_a_settlement_and_a_redirection_exclude_each_other(own: OwnShard) -> None:
    """A late delivery's settlement and a return of the same attempt cannot both win."""
    parked = await park(own)
    item = parked.item
    async with holder(own.database.owner_dsn) as held:
        await _lock_item(held, item)
        redirect = held.start(own.shard.suspense.redirect([_back(item)]))
        await held.until_blocks(redirect)
        settle = held.start(own.shard.suspense.settle([booked(item)]))
        await held.until_blocks(redirect, settle)
        await held.rollback()
        changed = [await redirect, await settle]

    assert [1, 0] == changed


async def test_parts_of_one_transfer_settled_at_once_deliver_it(own: OwnShard) -> None:
    """When two settlements close one item each of a transfer at once, it ends delivered."""
    parked = await park(own, "3", "4")
    first, second = parked.items
    async with holder(own.database.owner_dsn) as held:
        await held.lock_balance(suspense_account(1, "EUR"), 0)
        one = held.start(own.shard.suspense.settle([booked(first)]))
        await held.until_blocks(one)
        other = held.start(own.shard.suspense.settle([booked(second)]))
        await held.until_blocks(one, other)
        await held.rollback()
        closed = [await one, await other]

    assert [1, 1] == closed
    assert MoneyState.DELIVERED is (await parked.record()).money_state
    assert [(MoneyState.DELIVERED, "settled")] == await parked.events()


async def test_vouchers_sum_per_shard_and_currency(own: OwnShard) -> None:
    """One settlement writes one voucher for each shard that booked and each currency."""
    euros = [await park(own, amount) for amount in ("1", "2", "4")]
    dollars = await park(own, "8", currency="USD")
    settlements = [
        booked(euros[0].item),
        booked(euros[1].item),
        booked(euros[2].item, on=3),
        booked(dollars.item),
    ]
    accounts = [(1, 2, "EUR"), (1, 3, "EUR"), (1, 2, "USD")]
    before = [await standing(own, clearing_account(*a)) for a in accounts]

    assert 4 == await own.shard.suspense.settle(settlements)

    after = [await standing(own, clearing_account(*a)) for a in accounts]
    assert [3, 4, 8] == [b - a for a, b in zip(before, after, strict=True)]
    page = await own.shard.statements.page(suspense_account(1, "EUR"), limit=1000)
    assert [-4, -3] == sorted(line.amount for line in page.lines[-2:])


async def test_each_transfer_keeps_its_own_time_of_delivery(own: OwnShard) -> None:
    """Transfers settled together were delivered when each of them was."""
    one, other = await park(own), await park(own)
    later = NOON + timedelta(minutes=5)

    await own.shard.suspense.settle([booked(one.item), booked(other.item, at=later)])

    delivered = [(await parked.record()).delivered_at for parked in (one, other)]
    assert [NOON, later] == delivered


def _back(item: SuspenseItem, cause: Outcome = Outcome.ACCOUNT_CLOSED) -> Redirection:
    return Redirection(item.item_id, item.attempt, item.debtor, cause)


async def _return(own: OwnShard, item: SuspenseItem) -> None:
    assert 1 == await own.shard.suspense.redirect([_back(item)])


async def test_a_redirection_starts_the_next_attempt_once(own: OwnShard) -> None:
    """Of two redirections of the same attempt only the first one counts."""
    parked = await park(own)
    elsewhere = Redirection(parked.item.item_id, 1, account_no(3), Outcome.ACCOUNT_FROZEN)

    assert 1 == await own.shard.suspense.redirect([_back(parked.item)])
    assert 0 == await own.shard.suspense.redirect([elsewhere])

    (item,) = await parked.items_now()
    assert (2, parked.debtor, True) == (item.attempt, item.target, item.is_return)
    assert Outcome.ACCOUNT_CLOSED is item.last_refusal


async def test_a_closed_item_is_not_redirected(own: OwnShard) -> None:
    """An item that was delivered goes nowhere any more."""
    parked = await park(own)
    await own.shard.suspense.settle([booked(parked.item)])

    assert 0 == await own.shard.suspense.redirect([_back(parked.item)])


async def test_a_settled_return_is_returned(own: OwnShard) -> None:
    """Money that is back with its debtor makes the transfer returned, with the reason."""
    parked = await park(own)
    await _return(own, parked.item)
    (item,) = await parked.items_now()

    await own.shard.suspense.settle([booked(item, on=1)])

    record = await parked.record()
    assert MoneyState.RETURNED is record.money_state
    assert (Outcome.ACCOUNT_CLOSED, None) == (record.return_code, record.delivered_at)


async def test_a_transfer_may_be_returned_in_part(own: OwnShard) -> None:
    """One item delivered and one returned: partially returned, and in transit until then."""
    parked = await park(own, "3", "4")
    await _return(own, parked.items[1])

    await own.shard.suspense.settle([booked(parked.items[0])])
    between = (await parked.record()).money_state
    (item,) = await parked.items_now()
    await own.shard.suspense.settle([booked(item, on=1)])

    assert MoneyState.IN_TRANSIT is between
    record = await parked.record()
    assert (MoneyState.PARTIALLY_RETURNED, Outcome.ACCOUNT_CLOSED) == (
        record.money_state, record.return_code
    )  # fmt: skip


async def test_an_item_for_a_person_is_set_aside_once(own: OwnShard) -> None:
    """An item that needs repair leaves all carriers, tells its transfer, and is not settled."""
    parked = await park(own)
    suspense = own.shard.suspense

    assert not await suspense.mark_needs_repair(parked.item.item_id, 2, Outcome.ACCOUNT_CLOSED)
    assert await suspense.mark_needs_repair(parked.item.item_id, 1, Outcome.ACCOUNT_CLOSED)
    assert not await suspense.mark_needs_repair(parked.item.item_id, 1, Outcome.ACCOUNT_CLOSED)

    assert 0 == await suspense.settle([booked(parked.item)])
    assert [] == await parked.items_now()
    record = await parked.record()
    assert MoneyState.NEEDS_REPAIR is record.money_state
    assert [(MoneyState.NEEDS_REPAIR, "ACCOUNT_CLOSED")] == await parked.events()
    assert Decimal(20) == (await own.shard.balances.get(parked.debtor)).in_transit


async def test_items_change_hands(own: OwnShard) -> None:
    """A route or a convoy holds an item; only items of convoys are stamped anew."""
    parked = await park(own)
    suspense, ids = own.shard.suspense, [parked.item.item_id]
    convoy = new_id()

    assert [1, 0] == [await suspense.hand_over(ids, Carrier.ROUTE, 2) for _ in range(2)]
    assert 0 == await suspense.restamp(ids, convoy)
    assert ids == [i.item_id for i in await suspense.of_route(2, 10, None) if i.item_id in ids]
    assert 2 in await suspense.open_routes()
    assert 1 == await suspense.hand_over(ids, Carrier.CONVOY)
    assert 1 == await suspense.restamp(ids, convoy)
    assert ids == [item.item_id for item in await suspense.of_convoy(convoy)]
    await suspense.settle([booked(parked.item)])
    assert [0, 0] == [
        await suspense.restamp(ids, new_id()),
        await suspense.hand_over(ids, Carrier.REPAIR),
    ]


async def test_stragglers_are_old_items_of_convoys(own: OwnShard) -> None:
    """Items parked longer than asked for that no other workflow holds, oldest first."""
    old, held, young = [await park(own) for _ in range(3)]
    mine = [each.item.item_id for each in (old, held, young)]
    async with holder(own.database.owner_dsn) as age:
        await age.execute(
            "UPDATE ledger.suspense_item SET parked_at = parked_at - interval '1 hour'"
            " WHERE item_id = ANY (%s)",
            (mine[:2],),
        )
        await age.commit()
    await own.shard.suspense.hand_over([held.item.item_id], Carrier.ROUTE, 2)

    found = [item.item_id for item in await own.shard.suspense.stragglers(1800, 100)]

    assert mine[:1] == [item_id for item_id in found if item_id in mine]


async def test_a_fenced_debtor_keeps_its_items_parked(own: OwnShard) -> None:
    """While a debtor's range moves, its items stay as they are; others are settled."""
    fenced = await park(own, debtor=await open_in_second_range(own, "100"))
    other = await park(own)
    await _change(own, SECOND_RANGE, RangeState.FENCED)

    assert 1 == await own.shard.suspense.settle([booked(fenced.item), booked(other.item)])

    assert MoneyState.IN_TRANSIT is (await fenced.record()).money_state
    assert 1 == len(await fenced.items_now())
    await _change(own, SECOND_RANGE, RangeState.OWNED)
    assert 1 == await own.shard.suspense.settle([booked(fenced.item)])
    assert MoneyState.DELIVERED is (await fenced.record()).money_state


async def test_a_fenced_debtor_is_not_set_aside(own: OwnShard) -> None:
    """While a debtor's range moves, neither its transfer nor its item changes its state."""
    fenced = await park(own, debtor=await open_in_second_range(own, "100"))
    await _change(own, SECOND_RANGE, RangeState.FENCED)
    item = fenced.item

    await own.shard.suspense.mark_needs_repair(item.item_id, 1, Outcome.ACCOUNT_CLOSED)

    assert [] == await own.shard.invariants.check()


async def test_a_settlement_that_waits_for_a_fence_leaves_the_item(own: OwnShard) -> None:
    """A fence that comes while a settlement waits for the range is obeyed."""
    parked = await park(own)
    async with holder(own.database.owner_dsn) as fence:
        await fence.change_range(FIRST_RANGE, RangeState.FENCED, 2)
        task = fence.start(own.shard.suspense.settle([booked(parked.item)]))
        await fence.until_blocks(task)
        await fence.commit()

        assert 0 == await task


async def test_items_of_a_released_debtor_are_settled_here(own: OwnShard) -> None:
    """An item stays on its shard when its debtor moves away, and is settled there."""
    parked = await park(own, debtor=await open_in_second_range(own, "100"))
    before = await standing(own, suspense_account(1, "EUR"))
    await _change(own, SECOND_RANGE, RangeState.RELEASED)

    assert 1 == await own.shard.suspense.settle([booked(parked.item)])
    assert before - 20 == await standing(own, suspense_account(1, "EUR"))
    await _forget(own, parked)


async def _forget(own: OwnShard, parked: Parked) -> None:
    """Take the transfer's state along, as its new owner would have been told to."""
    async with holder(own.database.owner_dsn) as told:
        await told.execute(
            "UPDATE ledger.transfer SET money_state = 'delivered'"
            " WHERE account_no = %s AND reference = %s",
            (parked.debtor, parked.reference),
        )
        await told.commit()


async def _change(own: OwnShard, range_id: int, state: RangeState) -> None:
    async with holder(own.database.owner_dsn) as change:
        await change.change_range(range_id, state, 2)
        await change.commit()


@pytest.mark.parametrize("is_set_aside", [False, True])
async def test_an_account_is_not_closed_while_its_money_travels(
    is_set_aside: bool, own: OwnShard
) -> None:
    """An empty account with money in transit, or waiting for a person, stays open."""
    parked = await park(own, "100")
    if is_set_aside:
        await own.shard.suspense.mark_needs_repair(parked.item.item_id, 1, Outcome.ACCOUNT_CLOSED)

    with pytest.raises(Refused) as refused:
        await own.shard.accounts.change_status(
            parked.debtor, AccountStatus.CLOSED, actor="t", reason="t"
        )

    assert Outcome.MONEY_IN_TRANSIT == refused.value.outcome


async def test_open_totals_tell_what_stands_in_suspense(own: OwnShard) -> None:
    """By state and currency: how many items, how much, and since when."""
    parked = await park(own, "3", "4", currency="GBP")
    await own.shard.suspense.mark_needs_repair(parked.items[1].item_id, 1, Outcome.ACCOUNT_CLOSED)

    totals = [each for each in await own.shard.suspense.open_totals() if each.currency == "GBP"]

    parked_at = parked.items[0].parked_at
    assert [
        OpenTotal("parked", "GBP", 1, Decimal(3), parked_at),
        OpenTotal("needs_repair", "GBP", 1, Decimal(4), parked_at),
    ] == totals


async def test_a_clock_that_went_wrong_once_hides_no_item(own: OwnShard) -> None:
    """An item is as old as its own claim says, also behind postings from the future."""
    debtor = await open_account(own.shard, "10")
    await as_owner(own.database, "UPDATE ledger.shard_state SET allows_test_clock = true")
    async with posting_connection(own.database.dsn) as connection:
        await connection.execute("SET ledger.clock = '2030-01-01T00:00:00Z'")
        ahead = transfer(debtor, account_no(2), "1")
        await post_batch(connection, 0, new_id(), [ahead])
    (answer,) = await own.shard.lanes.post_many([transfer(debtor, account_no(2), "1")])

    parked = await own.shard.suspense.stragglers(-1, 100)

    assert answer.posted_at is not None
    assert 2030 == answer.posted_at.year
    years = sorted(item.parked_at.year for item in parked if item.debtor == debtor)
    assert 2 == len(years)
    assert years[0] < years[1] == 2030


async def test_only_the_owner_lets_a_session_set_the_clock(own: OwnShard) -> None:
    """The role that serves cannot forge the time of a posting."""
    await as_owner(own.database, "UPDATE ledger.shard_state SET allows_test_clock = false")
    debtor, creditor = await open_account(own.shard, "10"), await open_account(own.shard)
    async with posting_connection(own.database.dsn) as connection:
        await connection.execute("SET ledger.clock = '2030-01-01T00:00:00Z'")
        command = transfer(debtor, creditor, "1")
        (answer,) = await post_batch(connection, 0, new_id(), [command])

    assert answer.posted_at is not None
    assert 2030 != answer.posted_at.year
