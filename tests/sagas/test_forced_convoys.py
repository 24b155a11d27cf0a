"""Convoys that meet over one item, with the order of their steps forced."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from decimal import Decimal

import pytest
from temporalio.client import WorkflowHandle

from sagas.carriage import Carriage
from sagas.control_points import ControlPoint, ControlPointFailure
from sagas.convoy_workflow import ConvoyWorkflow
from sagas.messages import ConvoyOrder, ConvoyResult
from sagas.starts import ensure_route, start_convoy
from sagas.sweeper import Sweeper
from sagas.worker import build_worker
from shard.account_numbers import suspense_account
from shard.commands import MoneyState
from shard.outcomes import Outcome
from shard.shard import Shard
from shard.suspense import Carrier, Redirection, Settlement, SuspenseItem
from tests.sagas.small_bank import SmallBank, eventually
from tests.support.bank import Figures, figures, open_account, transfer
from tests.support.databases import Databases
from tests.support.gates import FailingOnce, Gate
from tests.support.interleaving import Holder, holder

CURRENCY = "NOK"
"""No other test pays in it, so that its settlements can be counted."""
ONE_CREDIT = Figures(Decimal("20.0000"), 1)
AT_ONCE_S = -60.0
LIMIT_S = 30.0


class Parked:
    """A transfer of 20 NOK from shard 1 to shard 2 that nobody carries yet."""

    def __init__(self, bank: SmallBank, creditor: int, item: SuspenseItem, vouchers: int) -> None:
        self.item = item
        self._bank = bank
        self._creditor = creditor
        self._vouchers_before = vouchers

    async def start_convoy(self) -> WorkflowHandle[ConvoyWorkflow, ConvoyResult]:
        """Start the convoy that it was parked for."""
        order = ConvoyOrder(1, str(self.item.convoy))
        return await start_convoy(self._bank.client, order, is_eager=True)

    def settlement(self) -> Settlement:
        """The settlement of its first attempt, booked on shard 2."""
        return Settlement(self.item.item_id, self.item.attempt, 2, self.item.parked_at)

    async def assert_ended_once(self, money_state: MoneyState = MoneyState.DELIVERED) -> None:
        """One credit, one voucher, and the transfer says so."""
        item = self.item
        record = await self._bank.ended(item.debtor, item.reference)
        assert money_state is record.money_state
        assert ONE_CREDIT == await figures(self._bank.shards[2], self._creditor)
        assert self._vouchers_before + 1 == await vouchers(self._bank.shards)


async def vouchers(shards: Mapping[int, Shard]) -> int:
    """How often money in ``CURRENCY`` has left the suspense account of shard 1."""
    account = suspense_account(1, CURRENCY)
    count, cursor = 0, None
    while True:
        page = await shards[1].statements.page(account, cursor=cursor, limit=1_000)
        count += sum(line.amount < 0 for line in page.lines)
        cursor = page.next_cursor
        if cursor is None:
            return count


@pytest.fixture
async def parked(small_bank: SmallBank) -> Parked:
    """A parked transfer."""
    return await park(small_bank)


async def park(bank: SmallBank) -> Parked:
    """Park a transfer that no convoy of this process carries."""
    bank.board_nothing()
    debtor = await open_account(bank.shards[1], "100.00", currency=CURRENCY)
    creditor = await open_account(bank.shards[2], currency=CURRENCY)
    command = transfer(debtor, creditor, "20.00", currency=CURRENCY)
    before = await vouchers(bank.shards)
    await bank.shards[1].lanes.post(command)
    return Parked(bank, creditor, await bank.item_of(debtor, command.reference), before)


async def deliver(bank: SmallBank, parked: Parked) -> None:
    """Deliver, and lose the reply: the credit is there, the item still parked."""
    failing = Carriage(bank.shards, bank.owners, FailingOnce(ControlPoint.DELIVER_AFTER_REPLY))
    with pytest.raises(ControlPointFailure):
        await failing.carry(1, 2, [parked.item], limit_s=LIMIT_S)


async def test_two_convoys_with_the_same_item_pay_once(
    small_bank: SmallBank, parked: Parked
) -> None:
    """The first is held up before it delivers; the sweeper's second one carries the item to its
    end; then the first goes on, and changes nothing."""
    gate = Gate(ControlPoint.DELIVER_BEFORE)
    bank = small_bank
    async with build_worker(bank.client, bank.shards, bank.owners, control_points=gate):
        late = await parked.start_convoy()
        await gate.arrived()
        await Sweeper(bank.client, bank.shards, AT_ONCE_S).sweep(1)
        await parked.assert_ended_once()
        gate.open()
        assert 0 == (await late.result()).delivered
    await parked.assert_ended_once()


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    "point",
    [
        ControlPoint.DELIVER_BEFORE,
        ControlPoint.DELIVER_AFTER_REPLY,
        ControlPoint.SETTLE_BEFORE,
        ControlPoint.SETTLE_AFTER_REPLY,
    ],
    ids=str,
)
async def test_a_late_step_of_a_convoy_changes_nothing(
    small_bank: SmallBank, parked: Parked, point: ControlPoint
) -> None:
    """An activity that outlived its workflow's patience finds the work of the next convoy done,
    or has done it itself: never both."""
    gate = Gate(point)
    carriage = Carriage(small_bank.shards, small_bank.owners, gate)
    late = asyncio.create_task(carriage.carry(1, 2, [parked.item], limit_s=LIMIT_S))
    await gate.arrived()
    await Sweeper(small_bank.client, small_bank.shards, AT_ONCE_S).sweep(1)
    await parked.assert_ended_once()
    gate.open()
    assert (1 if point is ControlPoint.SETTLE_AFTER_REPLY else 0) == (await late).delivered
    await parked.assert_ended_once()


@pytest.mark.usefixtures("worker")
async def test_a_convoy_that_is_overtaken_by_a_route_changes_nothing(
    small_bank: SmallBank, parked: Parked
) -> None:
    """Held up before it settles, it finds its item handed over, and closed by the route."""
    gate = Gate(ControlPoint.SETTLE_BEFORE)
    carriage = Carriage(small_bank.shards, small_bank.owners, gate)
    late = asyncio.create_task(carriage.carry(1, 2, [parked.item], limit_s=LIMIT_S))
    await gate.arrived()
    suspense = small_bank.shards[1].suspense
    assert 1 == await suspense.hand_over([parked.item.item_id], Carrier.ROUTE, 2)
    route = await ensure_route(small_bank.client, 1, 2)
    assert 1 == (await route.result()).delivered
    gate.open()
    assert (0, 1) == ((carried := await late).delivered, carried.waiting)
    await parked.assert_ended_once()


@pytest.mark.parametrize(
    "point",
    [
        ControlPoint.DELIVER_AFTER_REPLY,
        ControlPoint.SETTLE_BEFORE,
        ControlPoint.SETTLE_AFTER_REPLY,
    ],
    ids=str,
)
async def test_a_step_whose_reply_is_lost_has_its_effect_once(
    small_bank: SmallBank, parked: Parked, point: ControlPoint
) -> None:
    """The same convoy takes the step again and finds it done."""
    points, bank = FailingOnce(point), small_bank
    async with build_worker(bank.client, bank.shards, bank.owners, control_points=points):
        await (await parked.start_convoy()).result()
    assert points.has_failed
    await parked.assert_ended_once()


async def test_two_settlements_of_one_item_at_once_close_it_once(
    small_bank: SmallBank, servers: Databases, parked: Parked
) -> None:
    """Both wait for the item's row; one closes it, the other finds it closed."""
    await deliver(small_bank, parked)
    suspense, settlement = small_bank.shards[1].suspense, parked.settlement()
    async with holder(servers.shard_owner_dsns[1]) as held:
        await lock(held, parked)
        both = [held.start(suspense.settle([settlement])) for _ in range(2)]
        await held.until_blocks(*both)
        await held.commit()
        assert [0, 1] == sorted(await asyncio.gather(*both))
    await parked.assert_ended_once()


async def test_settlements_that_name_the_same_items_in_opposite_order_do_not_deadlock(
    small_bank: SmallBank, servers: Databases, parked: Parked
) -> None:
    """Each locks them in one order, whatever order they are named in; each item closes once."""
    other = await park(small_bank)
    for each in (parked, other):
        await deliver(small_bank, each)
    suspense = small_bank.shards[1].suspense
    named, dsn = [parked.settlement(), other.settlement()], servers.shard_owner_dsns[1]
    async with holder(dsn) as first, holder(dsn) as second:
        await lock(first, parked)
        await lock(second, other)
        both = [second.start(suspense.settle(each)) for each in (named, named[::-1])]
        assert 2 == await eventually(lambda: waiting_for(first, second), lambda count: count == 2)
        # Whoever took the first item now waits for the second one. The other one, had it taken
        # the second item, would then wait for the first.
        await first.commit()
        await second.until_blocks(*both)
        await second.commit()
        assert [0, 2] == sorted(await asyncio.gather(*both))
    await parked.assert_ended_once()
    await other.assert_ended_once()


async def test_a_settlement_and_a_redirection_at_once_have_one_effect(
    small_bank: SmallBank, servers: Databases, parked: Parked
) -> None:
    """Money that has arrived does not go back, even for a caller that is wrong about it."""
    await deliver(small_bank, parked)
    suspense, item = small_bank.shards[1].suspense, parked.item
    wrong = Redirection(item.item_id, item.attempt, item.debtor, Outcome.ACCOUNT_CLOSED)
    async with holder(servers.shard_owner_dsns[1]) as held:
        await lock(held, parked)
        settling = held.start(suspense.settle([parked.settlement()]))
        await held.until_blocks(settling)
        redirecting = held.start(suspense.redirect([wrong]))
        await held.until_blocks(settling, redirecting)
        await held.commit()
        assert (1, 0) == (await settling, await redirecting)
    await parked.assert_ended_once()


async def lock(held: Holder, *parked: Parked) -> None:
    """Hold what a settlement locks: the transfers' rows and their items'."""
    debtors = [each.item.debtor for each in parked]
    for table, column in (("transfer", "account_no"), ("suspense_item", "debtor")):
        await held.execute(
            f"SELECT FROM ledger.{table} WHERE {column} = ANY (%s) FOR UPDATE", (debtors,)
        )


async def waiting_for(*held: Holder) -> int:
    """How many backends wait for any of these transactions."""
    return len({pid for each in held for pid in await each.blocked()})
