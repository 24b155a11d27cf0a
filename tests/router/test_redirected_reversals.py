"""Reversals of money that a person sent elsewhere: from where it is, once, leg by leg.

Nothing carries here but what a test carries itself, step by step; the last test has a worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal

import pytest

from router.errors import InTransit
from router.patience import caller_deadline
from router.reversals import ReversalRequest
from router.transfer_requests import RequestedLeg, request_of_legs
from router.transfers import Submitted
from router.wiring import Bank
from sagas.carriage import Carriage
from sagas.deliveries import delivery_command, recall_command
from shard.accounts import AccountStatus
from shard.commands import MoneyState, Origin
from shard.errors import NotFound, Refused
from shard.ids import new_id
from shard.outcomes import Outcome
from shard.repair_choice import RepairChoice
from shard.repairs import Decided, Decision, ItemFilter
from shard.suspense import ItemState, SuspenseItem
from tests.router.sagas import NO_TEMPORAL, refused_by_all, set_status
from tests.sagas.small_bank import eventually
from tests.support.bank import at_rest, open_account, settings_of
from tests.support.clearing import clearing_pairs
from tests.support.databases import Databases
from tests.support.interleaving import holder

LIMIT_S = 30.0
_SHORT_S = 0.3
_MANY = 100_000
_LOCK_ITEM = "SELECT FROM ledger.suspense_item WHERE debtor = %s FOR UPDATE"
_TAKE_IN_HAND = "UPDATE ledger.suspense_item SET carrier = 'repair' WHERE debtor = %s"
REDIRECT, RETURN = RepairChoice.REDIRECT, RepairChoice.RETURN
FROZEN, CLOSED = Outcome.ACCOUNT_FROZEN, Outcome.ACCOUNT_CLOSED


@pytest.fixture
async def bank_of_hands(servers: Databases) -> AsyncIterator[Bank]:
    """A bank whose money between shards nobody carries; at the end its books are right."""
    async with Bank(settings_of(servers, temporal_address=NO_TEMPORAL)) as opened:
        before = await clearing_pairs(opened.shards)
        yield opened
        assert () == (await opened.check.run()).findings
        assert before == await clearing_pairs(opened.shards)


@dataclass(frozen=True, slots=True)
class Paid:
    """A transfer from shard 1; ``legs`` are the amounts by creditor."""

    bank: Bank
    debtor: int
    reference: str
    legs: dict[int, str]

    async def items(self) -> list[SuspenseItem]:
        """Its items, whatever became of them."""
        shard = self.bank.shards[1]
        paid = await shard.transfers.get(self.debtor, Origin.CLIENT, self.reference)
        records = await shard.repairs.of_transfer(paid)
        return [record.item for record in records]

    async def item_to(self, target: int) -> SuspenseItem:
        """The first item that goes there now."""
        return next(item for item in await self.items() if item.target == target)

    async def deliver(self, item: SuspenseItem) -> Outcome:
        """What the present attempt meets at its target; the item does not hear of it."""
        destination = await self.bank.routes.owner_of(item.target)
        command = delivery_command(item, source=1, destination=destination)
        return (await self.bank.shards[destination].lanes.post(command)).outcome

    async def recall_by_hand(self, item: SuspenseItem) -> Outcome:
        """Keep the present attempt from arriving, as a repair does."""
        command = recall_command(item, details={"purpose": "repair"})
        owner = await self.bank.routes.owner_of(item.target)
        return (await self.bank.shards[owner].lanes.post(command)).outcome

    async def decide(
        self, item: SuspenseItem, choice: RepairChoice, target: int | None, evidence: Outcome
    ) -> None:
        """Begin another attempt, with what the present one has met."""
        decision = Decision(
            new_id(), item.item_id, item.attempt, choice, "as agreed", "ada", "bob",
            target=target, evidence=evidence,
        )  # fmt: skip
        assert Decided.DECIDED is await self.bank.shards[1].repairs.decide(decision)

    async def redirect(self, old: int, new: int) -> None:
        """Send what goes to one account to another, after a recall."""
        item = await self.item_to(old)
        assert Outcome.RECALLED is await self.recall_by_hand(item)
        await self.decide(item, REDIRECT, new, Outcome.RECALLED)

    async def carry(self, debtor: int | None = None) -> None:
        """Bring all that an account has sent to its end; None is the debtor."""
        carriage = Carriage(self.bank.shards, self.bank.routes)
        payer = debtor or self.debtor
        source = await self.bank.routes.owner_of(payer)
        parked = ItemFilter(state=ItemState.PARKED)
        while items := [
            record.item
            for record in await self.bank.shards[source].repairs.open_items(parked, _MANY)
            if record.item.debtor == payer
        ]:
            destination = await self.bank.routes.owner_of(items[0].target)
            await carriage.carry(source, destination, items[:1], limit_s=LIMIT_S)

    async def back(
        self, creditor: int | None = None, amount: str | None = None, reference: str = "REV-1"
    ) -> Submitted:
        """Ask for a leg, or for a part of it."""
        return await self.bank.reversals.reverse(self._asked(creditor, amount, reference))

    async def refused(
        self, creditor: int | None = None, amount: str | None = None, reference: str = "REV-1"
    ) -> str:
        """Why it is not to be had."""
        with pytest.raises(Refused) as refusal:
            await self.back(creditor, amount, reference)
        return refusal.value.outcome

    async def told_to_come_again(self) -> None:
        """Ask for all of it, with little patience: it is neither back nor arrived."""
        token = caller_deadline.set(asyncio.get_running_loop().time() + _SHORT_S)
        with pytest.raises(InTransit):
            await self.back()
        caller_deadline.reset(token)

    async def ledgers(self, *accounts: int) -> list[Decimal]:
        """What is booked on each account."""
        return [(await self.bank.accounts.balance(each)).ledger for each in accounts]

    def _asked(self, creditor: int | None, amount: str | None, reference: str) -> ReversalRequest:
        part = None if amount is None else Decimal(amount)
        return ReversalRequest(self.debtor, self.reference, reference, part, creditor)


async def pay(bank: Bank, amounts: dict[int, str]) -> Paid:
    """A transfer to these accounts, out of 100.00 on shard 1; nothing of it is delivered."""
    debtor = await open_account(bank.shards[1], "100.00")
    parts = [RequestedLeg(account, Decimal(amount)) for account, amount in amounts.items()]
    total = sum((leg.amount for leg in parts), Decimal(0))
    request = request_of_legs(str(new_id()), [RequestedLeg(debtor, -total), *parts], "EUR")
    await bank.transfers.submit(request)
    return Paid(bank, debtor, request.reference, amounts)


def told(submitted: Submitted) -> tuple[bool, int, Decimal, MoneyState]:
    """Whether it is a replay, from whom how much is taken, and where that is."""
    record = submitted.record
    return submitted.is_replay, record.home, record.amount, record.money_state


TEN, TWENTY, HUNDRED, NOTHING = Decimal(10), Decimal(20), Decimal(100), Decimal(0)
ON_ITS_WAY, DELIVERED = MoneyState.IN_TRANSIT, MoneyState.DELIVERED


@pytest.mark.parametrize("second", ["10.00", "20.00"], ids=["equal parts", "unequal parts"])
@pytest.mark.parametrize("shard", [1, 2, 3])
@pytest.mark.parametrize("order", ["redirected first", "redirected last"])
async def test_each_leg_is_taken_back_from_where_its_money_went(
    bank_of_hands: Bank, shard: int, second: str, order: str
) -> None:
    """What was one creditor's went to another one of the same transfer: each leg has its cap."""
    one = await open_account(bank_of_hands.shards[2])
    two = await open_account(bank_of_hands.shards[shard], "50.00")
    paid = await pay(bank_of_hands, {one: "10.00", two: second})
    await paid.redirect(one, two)
    await paid.carry()
    legs = {one: TEN, two: Decimal(second)}
    state = MoneyState.POSTED if shard == 1 else ON_ITS_WAY
    assert [NOTHING, 50 + TEN + legs[two]] == await paid.ledgers(one, two)

    for leg in (one, two) if order == "redirected first" else (two, one):
        assert (False, two, legs[leg], state) == told(await paid.back(leg))
        assert (True, two, legs[leg], state) == told(await paid.back(leg))
        assert Outcome.REVERSAL_EXCEEDED == await paid.refused(leg, "0.01", "REV-2")
    await paid.carry(two)
    assert [HUNDRED, NOTHING, Decimal(50)] == await paid.ledgers(paid.debtor, one, two)
    for leg in (one, two):
        assert Outcome.REVERSAL_EXCEEDED == await paid.refused(leg, "0.01", "REV-3")


@pytest.mark.parametrize("shard", [1, 2, 3])
async def test_what_went_to_a_stranger_is_taken_from_him(bank_of_hands: Bank, shard: int) -> None:
    """In parts, up to what he was sent; of his own money nothing."""
    creditor = await open_account(bank_of_hands.shards[2], "50.00")
    stranger = await open_account(bank_of_hands.shards[shard], "50.00")
    paid = await pay(bank_of_hands, {creditor: "20.00"})
    await paid.redirect(creditor, stranger)
    await paid.carry()

    first = await paid.back(amount="15.00")
    assert (stranger, Decimal(15)) == (first.record.home, first.record.amount)
    assert Outcome.REVERSAL_EXCEEDED == await paid.refused(amount="5.01", reference="REV-2")
    assert stranger == (await paid.back(amount="5.00", reference="REV-3")).record.home
    await paid.carry(stranger)
    again = await paid.bank.reversals.get(paid.debtor, paid.reference, "REV-3")
    assert (stranger, "REV-3", Decimal(5)) == (again.home, again.reference, again.amount)
    assert Outcome.NOT_REVERSIBLE == await paid.refused(stranger, reference="REV-4")
    expected = [HUNDRED, Decimal(50), Decimal(50)]
    assert expected == await paid.ledgers(paid.debtor, creditor, stranger)


async def test_what_a_person_has_in_hand_is_not_recalled(bank_of_hands: Bank) -> None:
    """Where it goes he says. Until it has arrived the reversal is told to come again."""
    creditor = await open_account(bank_of_hands.shards[2])
    stranger = await open_account(bank_of_hands.shards[3])
    paid = await pay(bank_of_hands, {creditor: "20.00"})
    await paid.redirect(creditor, stranger)
    await paid.told_to_come_again()
    await paid.carry()

    assert (False, stranger, TWENTY, ON_ITS_WAY) == told(await paid.back())
    await paid.carry(stranger)
    expected = [HUNDRED, NOTHING, NOTHING]
    assert expected == await paid.ledgers(paid.debtor, creditor, stranger)


@pytest.mark.parametrize("is_returned", [True, False], ids=["given back", "sent on"])
async def test_a_recall_is_done_only_if_the_money_turns_round(
    bank_of_hands: Bank, servers: Databases, is_returned: bool
) -> None:
    """A person took it in hand just before the tombstone was set, and says where it goes."""
    creditor = await open_account(bank_of_hands.shards[2])
    stranger = await open_account(bank_of_hands.shards[3])
    paid = await pay(bank_of_hands, {creditor: "20.00"})
    item = await paid.item_to(creditor)
    async with holder(servers.shard_owner_dsns[1]) as held:
        await held.execute(_LOCK_ITEM, (paid.debtor,))
        recall = held.start(paid.told_to_come_again())
        await held.until_blocks(recall)
        await held.execute(_TAKE_IN_HAND, (paid.debtor,))
        await held.commit()
        await recall
    await paid.told_to_come_again()
    target = paid.debtor if is_returned else stranger
    await paid.decide(item, RETURN if is_returned else REDIRECT, target, Outcome.RECALLED)
    await paid.carry()

    if is_returned:
        assert (True, creditor, TWENTY, MoneyState.RETURNED) == told(await paid.back())
    else:
        assert (False, stranger, TWENTY, ON_ITS_WAY) == told(await paid.back())
        await paid.carry(stranger)
    expected = [HUNDRED, NOTHING, NOTHING]
    assert expected == await paid.ledgers(paid.debtor, creditor, stranger)


async def test_what_a_stranger_has_not_settled_yet_is_taken_from_him(bank_of_hands: Bank) -> None:
    """His booking is first: it is debited without waiting, also in part."""
    creditor = await open_account(bank_of_hands.shards[2])
    stranger = await open_account(bank_of_hands.shards[3])
    paid = await pay(bank_of_hands, {creditor: "20.00"})
    await paid.redirect(creditor, stranger)
    assert Outcome.POSTED is await paid.deliver(await paid.item_to(stranger))

    assert (False, stranger, TEN, ON_ITS_WAY) == told(await paid.back(amount="10.00"))
    await paid.carry()
    assert (True, stranger, TEN, ON_ITS_WAY) == told(await paid.back(amount="10.00"))
    await paid.carry(stranger)
    assert [Decimal(90), TEN] == await paid.ledgers(paid.debtor, stranger)


async def test_a_creditor_who_got_nothing_does_not_pay_for_another(bank_of_hands: Bank) -> None:
    """One leg came back, and the other's money is with its creditor: they are not mixed up."""
    one, two = [await open_account(bank_of_hands.shards[2]) for _ in "ab"]
    paid = await pay(bank_of_hands, {one: "10.00", two: "10.00"})
    theirs = await paid.item_to(two)
    assert Outcome.RECALLED is await paid.recall_by_hand(theirs)
    await paid.decide(theirs, RETURN, paid.debtor, Outcome.RECALLED)
    await paid.redirect(one, two)
    await paid.carry()

    assert Outcome.NOT_REVERSIBLE == await paid.refused(two)
    assert (False, two, TEN, ON_ITS_WAY) == told(await paid.back(one))
    await paid.carry(two)
    assert [HUNDRED, NOTHING] == await paid.ledgers(paid.debtor, two)


async def test_creditors_who_changed_places_each_answer_for_the_others_money(
    bank_of_hands: Bank,
) -> None:
    """Each leg is taken from who was given it."""
    one, two = [await open_account(bank_of_hands.shards[shard]) for shard in (2, 3)]
    paid = await pay(bank_of_hands, {one: "10.00", two: "20.00"})
    first, second = await paid.item_to(one), await paid.item_to(two)
    for item, target in ((first, two), (second, one)):
        assert Outcome.RECALLED is await paid.recall_by_hand(item)
        await paid.decide(item, REDIRECT, target, Outcome.RECALLED)
    await paid.carry()

    assert (False, two, TEN, ON_ITS_WAY) == told(await paid.back(one))
    assert (False, one, TWENTY, ON_ITS_WAY) == told(await paid.back(two))
    for account in (one, two):
        await paid.carry(account)
    assert [HUNDRED, NOTHING, NOTHING] == await paid.ledgers(paid.debtor, one, two)


async def test_a_recall_that_ended_with_a_stranger_is_not_taken_from_him_again(
    bank_of_hands: Bank, servers: Databases
) -> None:
    """Its debtor could not have it, and a person sent it on. Repeated, it is the same recall;
    another reversal takes the money from where it is."""
    creditor = await open_account(bank_of_hands.shards[2])
    stranger = await open_account(bank_of_hands.shards[3])
    paid = await pay(bank_of_hands, {creditor: "20.00"})
    await paid.back()
    await set_status(servers, paid.debtor, "closed")
    await paid.carry()
    assert MoneyState.NEEDS_REPAIR is (await paid.back()).record.money_state
    await paid.decide(await paid.item_to(paid.debtor), REDIRECT, stranger, CLOSED)
    await paid.carry()
    await set_status(servers, paid.debtor, "open")

    assert (True, creditor, TWENTY, DELIVERED) == told(await paid.back())
    record = await paid.bank.reversals.get(paid.debtor, paid.reference, "REV-1")
    assert (creditor, DELIVERED) == (record.home, record.money_state)
    assert [TWENTY] == await paid.ledgers(stranger)
    assert (False, stranger, TWENTY, ON_ITS_WAY) == told(await paid.back(reference="REV-2"))
    await paid.carry(stranger)
    assert [HUNDRED, NOTHING] == await paid.ledgers(paid.debtor, stranger)


async def test_a_recall_whose_process_died_is_completed_by_its_repetition(
    bank_of_hands: Bank, servers: Databases
) -> None:
    """The tombstone stands, and the item did not hear of it: it turns round now."""
    creditor = await open_account(bank_of_hands.shards[2])
    paid = await pay(bank_of_hands, {creditor: "20.00"})
    async with holder(servers.shard_owner_dsns[1]) as held:
        await held.execute(_LOCK_ITEM, (paid.debtor,))
        recall = held.start(paid.back())
        await held.until_blocks(recall)
        recall.cancel()
        await asyncio.gather(recall, return_exceptions=True)
        assert [] == await eventually(held.blocked, lambda pids: not pids)
        await held.rollback()
    with pytest.raises(NotFound):
        await paid.bank.reversals.get(paid.debtor, paid.reference, "REV-1")

    assert (True, creditor, TWENTY, ON_ITS_WAY) == told(await paid.back())
    assert 2 == (await paid.item_to(paid.debtor)).attempt
    await paid.carry()
    assert (True, creditor, TWENTY, MoneyState.RETURNED) == told(await paid.back())
    assert [HUNDRED, NOTHING] == await paid.ledgers(paid.debtor, creditor)


async def test_a_creditor_who_gets_it_after_all_is_debited(bank_of_hands: Bank) -> None:
    """Refused, sent to another, refused again, and back to the first: by his last delivery."""
    one, two = [await open_account(bank_of_hands.shards[2]) for _ in "ab"]
    paid = await pay(bank_of_hands, {one: "20.00"})
    bank = paid.bank
    for account, nxt in ((one, two), (two, one)):
        await bank.accounts.change_status(account, AccountStatus.FROZEN, actor="t", reason="t")
        item = await paid.item_to(account)
        assert FROZEN is await paid.deliver(item)
        await paid.decide(item, REDIRECT, nxt, FROZEN)
    await bank.accounts.change_status(one, AccountStatus.OPEN, actor="t", reason="t")
    await paid.carry()

    assert (False, one, TWENTY, ON_ITS_WAY) == told(await paid.back())
    await paid.carry(one)
    assert [HUNDRED, NOTHING, NOTHING] == await paid.ledgers(paid.debtor, one, two)


async def test_reversals_of_two_legs_at_one_account_at_once(bank_of_hands: Bank) -> None:
    """Ten ask for halves of both: each leg gives two of them."""
    one, two = [await open_account(bank_of_hands.shards[2]) for _ in "ab"]
    paid = await pay(bank_of_hands, {one: "10.00", two: "20.00"})
    await paid.redirect(one, two)
    await paid.carry()
    wanted = [(leg, part, f"REV-{n}") for n in range(5) for leg, part in ((one, "5"), (two, "10"))]
    answers = await asyncio.gather(*(paid.back(*each) for each in wanted), return_exceptions=True)
    taken = [leg for (leg, *_), each in zip(wanted, answers, strict=True)
             if isinstance(each, Submitted)]  # fmt: skip
    assert (2, 2) == (taken.count(one), taken.count(two))
    assert {Outcome.REVERSAL_EXCEEDED} == {
        each.outcome for each in answers if isinstance(each, Refused)
    }
    await paid.carry(two)
    assert [HUNDRED, NOTHING] == await paid.ledgers(paid.debtor, two)


async def test_a_decision_sends_it_elsewhere_and_a_reversal_brings_it_back(
    bank: Bank, servers: Databases
) -> None:
    """By the repair itself and its worker: decided by two persons, delivered, taken back."""
    async with refused_by_all(bank, servers) as sent:
        other = await open_account(bank.shards[3])
        words = {"choice": "redirect", "account": str(other), "reason": "as agreed",
                 "maker": "ada", "checker": "bob"}  # fmt: skip
        await bank.repairs.decide((await sent.saga()).record.item.item_id, words)
        await sent.until(MoneyState.DELIVERED)
    request = ReversalRequest(sent.debtor, sent.reference, "REV-1")
    submitted = await bank.reversals.reverse(request)
    assert (False, other) == (submitted.is_replay, submitted.record.home)
    assert DELIVERED is (await bank.reversals.wait(request, submitted.record, LIMIT_S)).money_state
    await at_rest(bank)
    assert [HUNDRED, NOTHING] == [
        (await bank.accounts.balance(each)).ledger for each in (sent.debtor, other)
    ]
    assert () == (await bank.check.run()).findings
