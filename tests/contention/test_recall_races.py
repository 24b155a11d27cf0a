"""Recalls that race with convoys and with each other: whoever is first at the creditor has won.

Nothing carries here but what a test carries itself, step by step.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from deploy.embedded.temporal import TemporalServer
from router.errors import InTransit
from router.patience import caller_deadline
from router.reversals import ReversalRequest
from router.transfer_requests import RequestedLeg, TransferRequest, request_of_legs
from router.transfers import Submitted
from router.wiring import Bank
from sagas.carriage import Carriage
from sagas.control_points import ControlPoint, ControlPointFailure
from sagas.deliveries import delivery_command
from sagas.messages import ConvoyOrder
from sagas.starts import start_convoy
from sagas.worker import build_worker, connect
from shard.accounts import AccountStatus
from shard.commands import MoneyState, Origin
from shard.errors import Refused
from shard.ids import new_id
from shard.outcomes import Outcome
from shard.suspense import Carrier, SuspenseItem
from tests.sagas.small_bank import eventually
from tests.support.bank import Figures, figures, findings, open_account, settings_of
from tests.support.clearing import clearing_pairs
from tests.support.databases import Databases
from tests.support.gates import FailingOnce, Gate
from tests.support.interleaving import Holder, holder

NO_TEMPORAL = "127.0.0.1:1"
LIMIT_S = 30.0
SHORT_S = 0.3
_MANY = 100_000
UNPAID = Figures(Decimal(0), 0)
MONEY_BACK = Figures(Decimal("100.0000"), 3)
"""The debtor was funded, paid, and has its money back: three entries."""
GAVE_BACK = Figures(Decimal("0.0000"), 2)
"""The creditor was paid, and was debited again."""


@pytest.fixture
async def bank(servers: Databases) -> AsyncIterator[Bank]:
    """A bank whose money between shards nobody carries; at the end its books are right."""
    async with Bank(settings_of(servers, temporal_address=NO_TEMPORAL)) as opened:
        before = await clearing_pairs(opened.shards)
        yield opened
        assert await findings(opened.shards) == []
        assert before == await clearing_pairs(opened.shards)


class Way:
    """A transfer of 20 EUR from shard 1 to shard 2, its recall, and the steps of its item."""

    def __init__(self, bank: Bank, debtor: int, creditor: int, reference: str) -> None:
        self.bank = bank
        self.debtor = debtor
        self.creditor = creditor
        self.reference = reference

    async def item(self) -> SuspenseItem:
        """The item in its present attempt."""
        (item,) = await items_of(self.bank, 1, self.debtor, Origin.CLIENT, self.reference)
        return item

    async def carry(self, item: SuspenseItem, points: Gate | FailingOnce | None = None) -> int:
        """Carry an attempt once; the number of items that this closed."""
        return await carry(self.bank, 1, item, points)

    async def bring_back(self) -> None:
        """Carry the return to its end."""
        item = await self.item()
        assert (2, True) == (item.attempt, item.is_return)
        assert 1 == await self.carry(item)

    async def recall(
        self, reference: str = "REC-1", amount: str | None = None, narrative: str | None = None
    ) -> Submitted:
        """Ask for the money, or for a part of it."""
        part = None if amount is None else Decimal(amount)
        return await self.bank.reversals.reverse(
            ReversalRequest(self.debtor, self.reference, reference, part, narrative=narrative)
        )

    async def refused(self, reference: str = "REC-1", amount: str | None = None) -> str:
        """Why it is not to be had."""
        with pytest.raises(Refused) as refusal:
            await self.recall(reference, amount)
        return refusal.value.outcome

    async def items_of_creditor(self) -> list[SuspenseItem]:
        """What stands in suspense for the debtor, out of the creditor's money."""
        parked = await self.bank.shards[2].suspense.of_carrier(Carrier.CONVOY, _MANY)
        return [item for item in parked if item.debtor == self.creditor]

    async def assert_back_once(self) -> None:
        """The debtor has its money back once, the creditor was never paid."""
        record = await self.bank.transfers.get(self.debtor, self.reference)
        assert MoneyState.RETURNED is record.money_state
        assert MONEY_BACK == await figures(self.bank.shards[1], self.debtor)
        assert UNPAID == await figures(self.bank.shards[2], self.creditor)

    async def assert_given_back_once(self) -> None:
        """The creditor was paid and gave it back; what it gave is carried to the debtor here."""
        (item,) = await self.items_of_creditor()
        assert 1 == await carry(self.bank, 2, item)
        assert MONEY_BACK == await figures(self.bank.shards[1], self.debtor)
        assert GAVE_BACK == await figures(self.bank.shards[2], self.creditor)


async def items_of(
    bank: Bank, source: int, debtor: int, origin: Origin, reference: str
) -> list[SuspenseItem]:
    """The parked items of one transfer."""
    record = await bank.shards[source].transfers.get(debtor, origin, reference)
    assert record.convoy is not None
    items = await bank.shards[source].suspense.of_convoy(record.convoy)
    return [item for item in items if (item.debtor, item.reference) == (debtor, reference)]


async def carry(
    bank: Bank, source: int, item: SuspenseItem, points: Gate | FailingOnce | None = None
) -> int:
    """Carry an attempt once; the number of items that this closed."""
    destination = await bank.routes.owner_of(item.target)
    carriage = Carriage(bank.shards, bank.routes, points)
    return (await carriage.carry(source, destination, [item], limit_s=LIMIT_S)).delivered


@pytest.fixture
async def way(bank: Bank) -> Way:
    """A transfer that nobody carries yet."""
    debtor = await open_account(bank.shards[1], "100.00")
    creditor = await open_account(bank.shards[2])
    request = TransferRequest(str(new_id()), debtor, creditor, Decimal("20.00"), "EUR")
    await bank.transfers.submit(request)
    return Way(bank, debtor, creditor, request.reference)


async def lock_item(held: Holder, way: Way) -> None:
    """Hold the item's row, so that nobody starts its next attempt."""
    await held.execute(
        "SELECT FROM ledger.suspense_item WHERE debtor = %s FOR UPDATE", (way.debtor,)
    )


async def deliver(way: Way) -> SuspenseItem:
    """Deliver, and lose the reply: the credit is there, the item still parked."""
    item = await way.item()
    with pytest.raises(ControlPointFailure):
        await way.carry(item, FailingOnce(ControlPoint.DELIVER_AFTER_REPLY))
    return item


async def test_a_recall_before_the_delivery_brings_the_money_back(way: Way) -> None:
    """The tombstone is first: the item turns round although nobody has delivered anything."""
    recalled = await way.recall()
    assert (False, MoneyState.IN_TRANSIT) == (recalled.is_replay, recalled.record.money_state)
    await way.bring_back()
    await way.assert_back_once()


async def test_a_recalled_transfer_is_told_as_it_stands(way: Way) -> None:
    """In transit to its debtor, then returned: by repeating the recall, and by reading it."""
    first = await way.recall()
    assert first.record == await way.bank.reversals.get(way.debtor, way.reference, "REC-1")
    await way.bring_back()
    again = await way.recall()
    assert (True, MoneyState.RETURNED) == (again.is_replay, again.record.money_state)
    assert again.record == await way.bank.reversals.get(way.debtor, way.reference, "REC-1")
    assert (way.creditor, way.debtor) == (again.record.home, again.record.creditor)
    await way.assert_back_once()


async def test_a_late_convoy_is_refused_after_the_recall(way: Way) -> None:
    """It still holds the first attempt, and finds the tombstone; before and after the return."""
    late = await way.item()
    await way.recall()
    assert 0 == await way.carry(late)
    await way.bring_back()
    assert 0 == await way.carry(late)
    await way.assert_back_once()


async def test_a_convoy_between_tombstone_and_way_back_turns_the_money_round(
    way: Way, servers: Databases
) -> None:
    """It is refused by the tombstone; it and the recall both send back, and one of them does."""
    item = await way.item()
    async with holder(servers.shard_owner_dsns[1]) as held:
        await lock_item(held, way)
        recall = held.start(way.recall())
        await held.until_blocks(recall)
        late = held.start(way.carry(item))
        await held.until_blocks(recall, late)
        await held.rollback()
        assert 0 == await late
        assert MoneyState.IN_TRANSIT is (await recall).record.money_state
    await way.bring_back()
    await way.assert_back_once()


async def test_a_recall_whose_process_dies_is_completed_by_the_carrier(
    way: Way, servers: Databases
) -> None:
    """The tombstone alone decides; repeated, the recall is told as done."""
    item = await way.item()
    async with holder(servers.shard_owner_dsns[1]) as held:
        await lock_item(held, way)
        recall = held.start(way.recall())
        await held.until_blocks(recall)
        recall.cancel()
        await asyncio.gather(recall, return_exceptions=True)
        assert [] == await eventually(held.blocked, lambda pids: not pids)
        await held.rollback()
    assert item == await way.item()
    assert 0 == await way.carry(item)
    assert (await way.recall()).is_replay
    await way.bring_back()
    await way.assert_back_once()


async def test_what_is_delivered_and_not_settled_is_taken_from_the_creditor(way: Way) -> None:
    """The delivery is first: the money is debited where it was booked, without waiting."""
    item = await deliver(way)
    reversed_ = await way.recall()
    assert (False, MoneyState.IN_TRANSIT) == (reversed_.is_replay, reversed_.record.money_state)
    assert 1 == await way.carry(item)
    assert (await way.recall()).is_replay
    await way.assert_given_back_once()


async def test_a_part_of_what_is_delivered_and_not_settled_is_taken_back(way: Way) -> None:
    """Also a part need not wait for the settlement."""
    item = await deliver(way)
    parts = [await way.recall("REC-1", "15.00"), await way.recall("REC-2", "5.00")]
    assert [Decimal(15), Decimal(5)] == [part.record.amount for part in parts]
    assert Outcome.REVERSAL_EXCEEDED == await way.refused("REC-3", "0.01")
    assert 1 == await way.carry(item)
    for each in await way.items_of_creditor():
        assert 1 == await carry(way.bank, 2, each)
    assert Figures(Decimal("100.0000"), 4) == await figures(way.bank.shards[1], way.debtor)


async def test_a_recall_waits_for_a_delivery_that_is_not_committed(
    way: Way, servers: Databases
) -> None:
    """It does not overtake the delivery: it debits the creditor."""
    item = await way.item()
    async with holder(servers.shard_dsns[2]) as held:
        await held.post(delivery_command(item, source=1, destination=2))
        recall = held.start(way.recall())
        await held.until_blocks(recall)
        await held.commit()
        assert way.creditor == (await recall).record.home
    assert 1 == await way.carry(item)
    await way.assert_given_back_once()


@pytest.mark.parametrize(
    ("point", "is_recalled"),
    [
        (ControlPoint.DELIVER_BEFORE, True),
        (ControlPoint.DELIVER_AFTER_REPLY, False),
        (ControlPoint.SETTLE_BEFORE, False),
        (ControlPoint.SETTLE_AFTER_REPLY, False),
    ],
    ids=str,
)
async def test_a_carrier_that_is_overtaken_by_a_recall_pays_nobody_twice(
    way: Way, point: ControlPoint, is_recalled: bool
) -> None:
    """Held up at any step, it goes on once the recall is through."""
    gate, item = Gate(point), await way.item()
    late = asyncio.create_task(way.carry(item, gate))
    await gate.arrived()
    await way.recall()
    gate.open()
    assert (0 if is_recalled else 1) == await late
    if is_recalled:
        await way.bring_back()
        await way.assert_back_once()
    else:
        await way.assert_given_back_once()


async def test_two_recalls_at_once_with_different_references_are_one(
    way: Way, servers: Databases
) -> None:
    """The second is not told that it has brought anything back, now or when it is repeated."""
    async with holder(servers.shard_owner_dsns[1]) as held:
        await lock_item(held, way)
        names = ("REC-1", "REC-2")
        both = [held.start(way.recall(name)) for name in names]
        await held.until_blocks(*both)
        await held.rollback()
        results = await asyncio.gather(*both, return_exceptions=True)
    told = [isinstance(each, Submitted) and not each.is_replay for each in results]
    assert [False, True] == sorted(told)
    winner, loser = names if told[0] else names[::-1]
    assert isinstance(results[names.index(loser)], Refused)
    assert (await way.recall(winner)).is_replay
    assert Outcome.NOT_REVERSIBLE == await way.refused(loser)
    await way.bring_back()
    assert Outcome.NOT_REVERSIBLE == await way.refused(loser)
    await way.assert_back_once()


async def test_one_recall_sent_twice_at_once_is_a_recall_and_its_replay(
    way: Way, servers: Databases
) -> None:
    """The same reference: both succeed, one of them was first."""
    async with holder(servers.shard_owner_dsns[1]) as held:
        await lock_item(held, way)
        both = [held.start(way.recall()) for _ in range(2)]
        await held.until_blocks(*both)
        await held.rollback()
        results = await asyncio.gather(*both)
    assert [False, True] == sorted(each.is_replay for each in results)
    await way.bring_back()
    await way.assert_back_once()


@pytest.mark.parametrize("is_back", [False, True], ids=["on its way", "back"])
async def test_another_request_under_the_reference_of_a_recall_is_refused(
    way: Way, is_back: bool
) -> None:
    """One reference names one request; what was recalled stays so."""
    await way.recall()
    if is_back:
        await way.bring_back()
    with pytest.raises(Refused) as refused:
        await way.recall(narrative="Another one")
    assert Outcome.REFERENCE_REUSED == refused.value.outcome
    assert Outcome.REFERENCE_REUSED == await way.refused(amount="5.00")
    if not is_back:
        await way.bring_back()
    await way.assert_back_once()


async def test_what_was_refused_meanwhile_is_not_recalled(way: Way, servers: Databases) -> None:
    """The refusal stands under the delivery's reference: the money comes back by that alone."""
    change = AccountStatus.FROZEN
    await way.bank.accounts.change_status(way.creditor, change, actor="test", reason="test")
    item = await way.item()
    with pytest.raises(ControlPointFailure):
        await way.carry(item, FailingOnce(ControlPoint.DELIVER_AFTER_REPLY))
    assert Outcome.NOT_REVERSIBLE == await way.refused()
    await way.carry(item)
    assert Outcome.NOT_REVERSIBLE == await way.refused()
    await way.bring_back()
    assert Outcome.NOT_REVERSIBLE == await way.refused("REC-2")
    record = await way.bank.transfers.get(way.debtor, way.reference)
    assert Outcome.ACCOUNT_FROZEN is record.return_code
    await way.assert_back_once()


async def test_a_part_waits_until_the_whole_has_arrived(way: Way) -> None:
    """Within its time it is told to come again; then it is taken from the creditor."""
    token = caller_deadline.set(asyncio.get_running_loop().time() + SHORT_S)
    with pytest.raises(InTransit):
        await way.recall(amount="5.00")
    caller_deadline.reset(token)
    assert 1 == await way.carry(await way.item())
    assert Decimal(5) == (await way.recall(amount="5.00")).record.amount
    assert Outcome.REVERSAL_EXCEEDED == await way.refused("REC-2")
    (item,) = await way.items_of_creditor()
    assert 1 == await carry(way.bank, 2, item)
    assert Figures(Decimal("85.0000"), 3) == await figures(way.bank.shards[1], way.debtor)


async def test_creditors_with_equal_parts_are_told_apart(bank: Bank) -> None:
    """One is paid here, two elsewhere, the same amount each; each answers for its own part."""
    debtor = await open_account(bank.shards[1], "100.00")
    near = await open_account(bank.shards[1])
    far, further = await open_account(bank.shards[2]), await open_account(bank.shards[3])
    ten = Decimal("10.00")
    legs = [RequestedLeg(debtor, -3 * ten)]
    legs += [RequestedLeg(each, ten) for each in (near, far, further)]
    request = request_of_legs(str(new_id()), legs, "EUR")
    await bank.transfers.submit(request)

    async def taken_from(creditor: int) -> tuple[bool, MoneyState]:
        wanted = ReversalRequest(debtor, request.reference, "REC-1", creditor=creditor)
        submitted = await bank.reversals.reverse(wanted)
        return submitted.is_replay, submitted.record.money_state

    assert (False, MoneyState.IN_TRANSIT) == await taken_from(far)
    assert (False, MoneyState.IN_TRANSIT) == await taken_from(further)
    for item in await items_of(bank, 1, debtor, Origin.CLIENT, request.reference):
        assert 1 == await carry(bank, 1, item)
    assert (False, MoneyState.POSTED) == await taken_from(near)
    assert [(True, MoneyState.RETURNED)] * 2 == [await taken_from(far), await taken_from(further)]
    assert (True, MoneyState.POSTED) == await taken_from(near)
    assert Figures(Decimal("100.0000"), 5) == await figures(bank.shards[1], debtor)


async def test_the_convoy_that_is_under_way_brings_the_money_back(
    way: Way, temporal: TemporalServer
) -> None:
    """Held up before it delivers, it finds the tombstone, and the return in its next round: no
    sweeper is needed."""
    gate, item = Gate(ControlPoint.DELIVER_BEFORE), await way.item()
    client = await connect(temporal.address)
    bank = way.bank
    async with build_worker(client, bank.shards, bank.routes, control_points=gate):
        convoy = await start_convoy(client, ConvoyOrder(1, str(item.convoy)), is_eager=True)
        await gate.arrived()
        await way.recall()
        gate.open()
        await convoy.result()
    await way.assert_back_once()
