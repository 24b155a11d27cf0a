"""Returns that race with late deliveries: the stored refusal decides, and decides once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest

from sagas.carriage import Carriage
from sagas.control_points import ControlPoint, ControlPointFailure
from sagas.deliveries import delivery_command
from shard.accounts import AccountKind, AccountStatus, NewAccount
from shard.commands import Answer, Command, Kind, MoneyState
from shard.outcomes import Outcome
from shard.posting import post_batch
from shard.suspense import SuspenseItem
from tests.sagas.small_bank import FUNDS, SmallBank
from tests.support.bank import Figures, account_no, figures
from tests.support.databases import Databases
from tests.support.gates import FailingOnce, Gate
from tests.support.interleaving import holder, posting_connection

LIMIT_S = 30.0
UNPAID = Figures(Decimal(0), 0)
PAID = Figures(Decimal("20.0000"), 1)
MONEY_BACK = Figures(Decimal(FUNDS), 3)
"""The debtor was funded, paid, and has its money back: three entries."""


class Way:
    """One transfer of 20 EUR from shard 1, and the steps of its item."""

    def __init__(self, bank: SmallBank, debtor: int, creditor: int, reference: str) -> None:
        self.bank = bank
        self.creditor = creditor
        self._debtor = debtor
        self._reference = reference

    async def item(self) -> SuspenseItem:
        """The item in its present attempt."""
        return await self.bank.item_of(self._debtor, self._reference)

    async def carry(self, item: SuspenseItem, points: Gate | FailingOnce | None = None) -> int:
        """Carry an attempt once; the number of items that this closed."""
        carriage = Carriage(self.bank.shards, self.bank.owners, points)
        destination = 1 if item.is_return else 2
        return (await carriage.carry(1, destination, [item], limit_s=LIMIT_S)).delivered

    async def refused(self) -> SuspenseItem:
        """Have the present attempt refused by its target, and turned round."""
        item = await self.item()
        assert 0 == await self.carry(item)
        assert (item.attempt + 1, True) == ((back := await self.item()).attempt, back.is_return)
        return item

    async def deliver(self, item: SuspenseItem) -> Answer:
        """What the creditor's shard answers to the delivery of an attempt, however late."""
        return await self.bank.shards[2].lanes.post(delivery_command(item, source=1, destination=2))

    async def bring_back(self) -> None:
        """Carry the return to its end."""
        assert 1 == await self.carry(await self.item())

    async def assert_returned(self, cause: Outcome) -> None:
        """The debtor has its money back once, the creditor was never paid."""
        record = await self.bank.transfer_record(self._debtor, self._reference)
        assert (MoneyState.RETURNED, cause) == (record.money_state, record.return_code)
        assert MONEY_BACK == await figures(self.bank.shards[1], self._debtor)
        assert UNPAID == await figures(self.bank.shards[2], self.creditor)


def tombstone(item: SuspenseItem) -> Command:
    """The recall of an attempt at its target."""
    delivery = delivery_command(item, source=1, destination=2)
    return replace(delivery, kind=Kind.TOMBSTONE, legs=())


async def way_to(bank: SmallBank, creditor: int) -> Way:
    """A transfer that nobody carries yet."""
    debtor, reference = await bank.park(creditor)
    return Way(bank, debtor, creditor, reference)


@pytest.fixture
async def way(small_bank: SmallBank) -> Way:
    """A transfer to an account that may be credited."""
    return await way_to(small_bank, await small_bank.open_account(2, "0"))


@pytest.fixture
async def way_to_frozen(way: Way) -> Way:
    """A transfer to an account that is frozen."""
    await way.bank.set_status(way.creditor, AccountStatus.FROZEN)
    return way


async def open_for_credits(way: Way) -> None:
    """Let the creditor be paid from now on."""
    await way.bank.set_status(way.creditor, AccountStatus.OPEN)


async def test_a_delivery_after_its_refusal_is_refused_although_it_could_be_booked_now(
    way_to_frozen: Way,
) -> None:
    """The creditor may be credited again, and the money is still on its way back."""
    refused = await way_to_frozen.refused()
    await open_for_credits(way_to_frozen)
    answer = await way_to_frozen.deliver(refused)
    assert (Outcome.ACCOUNT_FROZEN, True) == (answer.outcome, answer.is_replay)
    await way_to_frozen.bring_back()
    await way_to_frozen.assert_returned(Outcome.ACCOUNT_FROZEN)


async def test_a_delivery_after_its_return_is_refused_as_well(way_to_frozen: Way) -> None:
    """The debtor has its money back; a delivery that comes then pays nobody."""
    refused = await way_to_frozen.refused()
    await way_to_frozen.bring_back()
    await open_for_credits(way_to_frozen)
    assert Outcome.ACCOUNT_FROZEN is (await way_to_frozen.deliver(refused)).outcome
    await way_to_frozen.assert_returned(Outcome.ACCOUNT_FROZEN)


async def test_an_account_opened_after_a_refusal_is_not_paid_by_it(small_bank: SmallBank) -> None:
    """That an account was unknown is stored where it would live, and outlives its opening."""
    way = await way_to(small_bank, account_no(2))
    refused = await way.refused()
    opening = NewAccount(way.creditor, "EUR", AccountKind.CUSTOMER, "C-1", Decimal(0), b"late")
    assert [Outcome.POSTED] == await small_bank.shards[2].accounts.open_many([opening])
    answer = await way.deliver(refused)
    assert (Outcome.ACCOUNT_UNKNOWN, True) == (answer.outcome, answer.is_replay)
    await way.bring_back()
    await way.assert_returned(Outcome.ACCOUNT_UNKNOWN)


@pytest.mark.parametrize(
    "point", [ControlPoint.DELIVER_BEFORE, ControlPoint.RETURN_BEFORE], ids=str
)
async def test_a_carrier_held_up_while_the_money_returned_changes_nothing(
    way_to_frozen: Way, point: ControlPoint
) -> None:
    """Before its delivery, or with the refusal in hand: it comes too late for another attempt."""
    gate, way = Gate(point), way_to_frozen
    late = asyncio.create_task(way.carry(await way.item(), gate))
    await gate.arrived()
    await way.refused()
    await way.bring_back()
    await open_for_credits(way)
    gate.open()
    assert 0 == await late
    await way.assert_returned(Outcome.ACCOUNT_FROZEN)


async def test_two_carriers_with_the_same_refusal_start_one_return(way_to_frozen: Way) -> None:
    """Both redirect the first attempt; the item is in its second one, not in a third."""
    gate, way = Gate(ControlPoint.RETURN_BEFORE, holds=2), way_to_frozen
    item = await way.item()
    both = [asyncio.create_task(way.carry(item, gate)) for _ in range(2)]
    await gate.arrived()
    gate.open()
    assert [0, 0] == await asyncio.gather(*both)
    assert 2 == (await way.item()).attempt
    await way.bring_back()
    await way.assert_returned(Outcome.ACCOUNT_FROZEN)


async def test_a_redirection_whose_reply_is_lost_is_not_repeated(way_to_frozen: Way) -> None:
    """The next carrier still holds the first attempt: it replays the refusal and finds it done."""
    way = way_to_frozen
    item = await way.item()
    with pytest.raises(ControlPointFailure):
        await way.carry(item, FailingOnce(ControlPoint.RETURN_AFTER_REPLY))
    assert 0 == await way.carry(item)
    assert 2 == (await way.item()).attempt
    await way.bring_back()
    await way.assert_returned(Outcome.ACCOUNT_FROZEN)


@pytest.mark.parametrize(
    "point",
    [ControlPoint.DELIVER_BEFORE, ControlPoint.DELIVER_AFTER_REPLY, ControlPoint.SETTLE_BEFORE],
    ids=str,
)
async def test_a_return_with_two_carriers_at_once_is_booked_once(
    way_to_frozen: Way, point: ControlPoint
) -> None:
    """Side by side through each step: one credit at the debtor, one of them closes the item."""
    gate, way = Gate(point, holds=2), way_to_frozen
    await way.refused()
    back = await way.item()
    both = [asyncio.create_task(way.carry(back, gate)) for _ in range(2)]
    await gate.arrived()
    gate.open()
    assert [0, 1] == sorted(await asyncio.gather(*both))
    await way.assert_returned(Outcome.ACCOUNT_FROZEN)


async def test_a_delivery_after_its_recall_is_refused(way: Way) -> None:
    """The tombstone is there first: the money turns round although the creditor could have it."""
    item = await way.item()
    recall = await way.bank.shards[2].lanes.post(tombstone(item))
    assert (Outcome.RECALLED, False) == (recall.outcome, recall.is_replay)
    await way.refused()
    assert Outcome.RECALLED is (await way.deliver(item)).outcome
    await way.bring_back()
    await way.assert_returned(Outcome.RECALLED)


async def test_a_recall_after_its_delivery_is_told_that_it_is_booked(way: Way) -> None:
    """A tombstone never undoes: whoever sends it learns that the money has arrived."""
    item = await way.item()
    assert Outcome.POSTED is (await way.deliver(item)).outcome
    recall = await way.bank.shards[2].lanes.post(tombstone(item))
    assert (Outcome.POSTED, True) == (recall.outcome, recall.is_replay)
    assert 1 == await way.carry(item)
    assert PAID == await figures(way.bank.shards[2], way.creditor)


async def test_a_delivery_waits_for_a_recall_that_is_not_committed(
    way: Way, servers: Databases
) -> None:
    """It does not overtake the tombstone, it is refused by it."""
    item = await way.item()
    async with holder(servers.shard_dsns[2]) as held:
        await held.post(tombstone(item))
        delivery = held.start(way.deliver(item))
        await held.until_blocks(delivery)
        await held.commit()
        assert Outcome.RECALLED is (await delivery).outcome
    await way.refused()
    await way.bring_back()
    await way.assert_returned(Outcome.RECALLED)


async def test_a_recall_waits_for_a_delivery_that_is_not_committed(
    way: Way, servers: Databases
) -> None:
    """It learns that the delivery is booked, so nobody brings the money back as well."""
    item = await way.item()
    async with (
        posting_connection(servers.shard_dsns[2]) as recaller,
        holder(servers.shard_owner_dsns[2]) as held,
    ):
        await held.lock_balance(way.creditor)
        delivery = held.start(way.deliver(item))
        await held.until_blocks(delivery)
        recall = held.start(post_batch(recaller, 1, None, [tombstone(item)]))
        await held.until_blocks(delivery, recall)
        await held.rollback()
        assert Outcome.POSTED is (await delivery).outcome
        assert [Outcome.POSTED] == [answer.outcome for answer in await recall]
    assert 1 == await way.carry(item)
    assert PAID == await figures(way.bank.shards[2], way.creditor)
