"""Reversals from end to end: whole, in parts, of several creditors, near and far, each once.

What races with convoys is forced in ``tests/contention/test_recall_races.py``.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest

from router.errors import RefusalReplayed
from router.holds import Capture, Placement
from router.reversals import ReversalRequest
from router.transfer_requests import RequestedLeg, TransferRequest, request_of_legs
from router.transfers import Submitted
from router.wiring import Bank
from shard.accounts import AccountStatus
from shard.commands import MoneyState, Origin
from shard.errors import Malformed, NotFound, Refused
from shard.ids import new_id
from shard.outcomes import Outcome
from shard.transfers import TransferRecord
from tests.router.test_holds import end
from tests.sagas.small_bank import eventually
from tests.support.bank import account_no, open_account

THIRTY = Decimal("30.00")


async def paid(bank: Bank, debtor_shard: int, creditor_shard: int) -> TransferRequest:
    """A transfer of 30 EUR out of 100, which has arrived."""
    debtor = await open_account(bank.shards[debtor_shard], "100.00")
    creditor = await open_account(bank.shards[creditor_shard])
    return await pay(bank, debtor, creditor)


async def pay(bank: Bank, debtor: int, creditor: int) -> TransferRequest:
    """A transfer of 30 EUR that has come to its end."""
    request = TransferRequest(str(new_id()), debtor, creditor, THIRTY, "EUR", "Rent")
    await bank.transfers.wait((await bank.transfers.submit(request)).record, 30)
    return request


def back(
    original: TransferRequest, amount: str | None = None, creditor: int | None = None
) -> ReversalRequest:
    """What is to be taken back of it, under a fresh reference."""
    part = None if amount is None else Decimal(amount)
    return ReversalRequest(original.debtor, original.reference, str(new_id()), part, creditor)


async def refusal_of(bank: Bank, wanted: ReversalRequest) -> str:
    """Why it is refused."""
    with pytest.raises(Refused) as refused:
        await bank.reversals.reverse(wanted)
    return refused.value.outcome


async def ended(bank: Bank, wanted: ReversalRequest) -> TransferRecord:
    """The reversal once its money is no longer in transit."""
    return await eventually(
        lambda: bank.reversals.get(wanted.debtor, wanted.original, wanted.reference),
        lambda record: record.money_state is not MoneyState.IN_TRANSIT,
    )


async def ledgers(bank: Bank, *accounts: int | None) -> list[Decimal]:
    """What is booked on each account."""
    return [(await bank.accounts.balance(each)).ledger for each in accounts if each is not None]


async def set_status(bank: Bank, account: int | None, status: AccountStatus) -> None:
    """Freeze or close an account."""
    assert account is not None
    await bank.accounts.change_status(account, status, actor="test", reason="test")


async def test_a_whole_transfer_is_taken_back(local_bank: Bank) -> None:
    """Its creditor pays it back to its debtor, at once on one shard; told as it is stored."""
    original = await paid(local_bank, 1, 1)
    wanted = back(original)
    submitted = await local_bank.reversals.reverse(wanted)
    record = submitted.record
    assert (False, MoneyState.POSTED, THIRTY) == (
        submitted.is_replay, record.money_state, record.amount
    )  # fmt: skip
    assert (original.creditor, original.debtor) == (record.home, record.creditor)
    assert (Origin.REVERSAL, wanted.reference) == (record.origin, record.reference)
    assert record == await ended(local_bank, wanted)
    expected = [Decimal(100), Decimal(0)]
    assert expected == await ledgers(local_bank, original.debtor, original.creditor)


async def test_parts_are_never_more_than_the_whole(local_bank: Bank) -> None:
    """To the cent, over all reversals of one transfer together."""
    original = await paid(local_bank, 1, 1)
    for part in ("10.00", "19.99"):
        await local_bank.reversals.reverse(back(original, part))
    assert Outcome.REVERSAL_EXCEEDED == await refusal_of(local_bank, back(original, "0.02"))
    assert Outcome.REVERSAL_EXCEEDED == await refusal_of(local_bank, back(original))
    assert Outcome.REVERSAL_EXCEEDED == await refusal_of(local_bank, back(original, "30.01"))
    await local_bank.reversals.reverse(back(original, "0.01"))
    expected = [Decimal(100), Decimal(0)]
    assert expected == await ledgers(local_bank, original.debtor, original.creditor)


async def test_many_reversals_at_once_share_the_cap(local_bank: Bank) -> None:
    """Ten that ask for a third each: three of them get it."""
    original = await paid(local_bank, 1, 1)
    told = await asyncio.gather(
        *(local_bank.reversals.reverse(back(original, "10.00")) for _ in range(10)),
        return_exceptions=True,
    )
    assert 3 == sum(isinstance(each, Submitted) for each in told)
    outcomes = {each.outcome for each in told if isinstance(each, Refused)}
    assert {Outcome.REVERSAL_EXCEEDED} == outcomes
    assert [Decimal(100)] == await ledgers(local_bank, original.debtor)


async def test_a_repeated_reversal_is_a_replay(local_bank: Bank) -> None:
    """It takes nothing twice; another content under its reference is refused."""
    original = await paid(local_bank, 1, 1)
    wanted = back(original, "10.00")
    first = await local_bank.reversals.reverse(wanted)
    again = await local_bank.reversals.reverse(wanted)
    assert (True, first.record) == (again.is_replay, again.record)
    for other in (replace(wanted, amount=Decimal(11)), replace(wanted, narrative="Another")):
        assert Outcome.REFERENCE_REUSED == await refusal_of(local_bank, other)
    assert [Decimal(80)] == await ledgers(local_bank, original.debtor)


async def test_the_same_reference_names_a_reversal_of_each_transfer(local_bank: Bank) -> None:
    """References of reversals are those of their transfer: another transfer has its own."""
    one = await paid(local_bank, 1, 1)
    assert one.creditor is not None
    other = await pay(local_bank, one.debtor, one.creditor)
    for original in (one, other):
        wanted = replace(back(original), reference="BACK-1")
        assert not (await local_bank.reversals.reverse(wanted)).is_replay
    assert [Decimal(100)] == await ledgers(local_bank, one.debtor)


async def test_money_goes_back_between_shards(bank: Bank) -> None:
    """What was delivered is debited where it is, and carried back; a repetition tells its end."""
    original = await paid(bank, 1, 2)
    wanted = back(original)
    submitted = await bank.reversals.reverse(wanted)
    assert MoneyState.IN_TRANSIT is submitted.record.money_state
    assert MoneyState.DELIVERED is (await ended(bank, wanted)).money_state
    again = await bank.reversals.reverse(wanted)
    assert (True, MoneyState.DELIVERED) == (again.is_replay, again.record.money_state)
    assert Outcome.REVERSAL_EXCEEDED == await refusal_of(bank, back(original, "0.01"))
    expected = [Decimal(100), Decimal(0)]
    assert expected == await ledgers(bank, original.debtor, original.creditor)


@pytest.mark.parametrize("shards", [(1, 1), (1, 2), (3, 1)], ids=str)
async def test_a_frozen_debtor_gets_his_own_money_back(bank: Bank, shards: tuple[int, int]) -> None:
    """Near or far: it was his."""
    original = await paid(bank, *shards)
    await set_status(bank, original.debtor, AccountStatus.FROZEN)
    wanted = back(original)
    await bank.reversals.reverse(wanted)
    state = MoneyState.POSTED if shards[0] == shards[1] else MoneyState.DELIVERED
    assert state is (await ended(bank, wanted)).money_state
    assert [Decimal(100)] == await ledgers(bank, original.debtor)


async def emptied(bank: Bank, original: TransferRequest) -> None:
    """Close the debtor after it has spent what it had left."""
    sink = await open_account(bank.shards[1])
    rest = TransferRequest(str(new_id()), original.debtor, sink, Decimal(70), "EUR")
    await bank.transfers.submit(rest)
    await set_status(bank, original.debtor, AccountStatus.CLOSED)


async def test_a_closed_debtor_gets_nothing_back(local_bank: Bank) -> None:
    """On one shard it is refused, and the creditor keeps the money."""
    original = await paid(local_bank, 1, 1)
    await emptied(local_bank, original)
    assert Outcome.ACCOUNT_CLOSED == await refusal_of(local_bank, back(original))
    assert [THIRTY] == await ledgers(local_bank, original.creditor)


async def test_what_a_closed_debtor_cannot_have_returns_to_the_creditor(bank: Bank) -> None:
    """Between shards it is refused on the far side: the reversal is told as returned."""
    original = await paid(bank, 1, 2)
    await emptied(bank, original)
    wanted = back(original)
    await bank.reversals.reverse(wanted)
    record = await ended(bank, wanted)
    assert (MoneyState.RETURNED, Outcome.ACCOUNT_CLOSED) == (
        record.money_state,
        record.return_code,
    )
    assert [THIRTY] == await ledgers(bank, original.creditor)


@pytest.mark.parametrize("creditor_shard", [1, 2])
async def test_what_the_creditor_has_spent_is_not_taken_back(
    bank: Bank, creditor_shard: int
) -> None:
    """The refusal is stored under its reference; another one may succeed later."""
    original = await paid(bank, 1, creditor_shard)
    assert original.creditor is not None
    other = await open_account(bank.shards[creditor_shard])
    spending = TransferRequest(str(new_id()), original.creditor, other, THIRTY, "EUR")
    await bank.transfers.submit(spending)
    wanted = back(original)
    assert Outcome.INSUFFICIENT_FUNDS == await refusal_of(bank, wanted)
    await pay(bank, other, original.creditor)
    with pytest.raises(RefusalReplayed):
        await bank.reversals.reverse(wanted)
    assert not (await bank.reversals.reverse(back(original))).is_replay


async def test_each_creditor_gives_back_his_own_part(bank: Bank) -> None:
    """Near and far; without a name it is not clear whose part is meant."""
    debtor = await open_account(bank.shards[1], "100.00")
    near, far = [await open_account(bank.shards[shard], "50.00") for shard in (1, 2)]
    amounts = ((debtor, "-30"), (near, "10"), (far, "20"))
    legs = [RequestedLeg(account, Decimal(amount)) for account, amount in amounts]
    original = request_of_legs(str(new_id()), legs, "EUR")
    await bank.transfers.wait((await bank.transfers.submit(original)).record, 30)
    with pytest.raises(Malformed):
        await bank.reversals.reverse(back(original))
    assert Outcome.NOT_REVERSIBLE == await refusal_of(bank, back(original, creditor=debtor))
    assert Outcome.REVERSAL_EXCEEDED == await refusal_of(bank, back(original, "10.01", near))
    assert Outcome.REVERSAL_EXCEEDED == await refusal_of(bank, back(original, "20.01", far))
    for creditor in (near, far):
        wanted = back(original, creditor=creditor)
        await bank.reversals.reverse(wanted)
        await ended(bank, wanted)
    expected = [Decimal(100), Decimal(50), Decimal(50)]
    assert expected == await ledgers(bank, debtor, near, far)


async def test_what_was_refused_is_not_reversible(local_bank: Bank) -> None:
    """It moved nothing."""
    debtor, creditor = [await open_account(local_bank.shards[1]) for _ in "ab"]
    original = TransferRequest(str(new_id()), debtor, creditor, THIRTY, "EUR")
    with pytest.raises(Refused):
        await local_bank.transfers.submit(original)
    assert Outcome.NOT_REVERSIBLE == await refusal_of(local_bank, back(original))


async def test_what_came_back_is_not_reversible(bank: Bank) -> None:
    """Its creditor never had it; neither the whole nor a part."""
    debtor = await open_account(bank.shards[1], "100.00")
    original = await pay(bank, debtor, account_no(2))
    for amount in (None, "1.00"):
        assert Outcome.NOT_REVERSIBLE == await refusal_of(bank, back(original, amount))
    assert [Decimal(100)] == await ledgers(bank, debtor)


async def test_what_never_was_is_not_found(local_bank: Bank) -> None:
    """An unknown transfer, and an unknown reversal of a known one."""
    original = await paid(local_bank, 1, 1)
    with pytest.raises(NotFound):
        await local_bank.reversals.reverse(replace(back(original), original="never"))
    with pytest.raises(NotFound):
        await local_bank.reversals.get(original.debtor, original.reference, "never")


@pytest.mark.parametrize("creditor_shard", [1, 2])
async def test_a_capture_is_taken_back_like_any_transfer(bank: Bank, creditor_shard: int) -> None:
    """The money returns to the debtor as available money; the hold stays captured."""
    debtor = await open_account(bank.shards[1], "100.00")
    creditor = await open_account(bank.shards[creditor_shard])
    hold = Placement(str(new_id()), debtor, THIRTY, "EUR", end())
    await bank.holds.place(hold)
    asked = Capture(str(new_id()), debtor, hold.reference, creditor, None)
    submitted, _ = await bank.holds.capture(asked)
    await bank.transfers.wait(submitted.record, 30)
    wanted = ReversalRequest(debtor, asked.reference, str(new_id()))
    await bank.reversals.reverse(wanted)
    await ended(bank, wanted)
    balance = await bank.accounts.balance(debtor)
    assert (Decimal(100), Decimal(0)) == (balance.ledger, balance.held)


async def test_a_hold_is_not_reversible(local_bank: Bank) -> None:
    """It is let go, not taken back: it has paid nobody."""
    debtor = await open_account(local_bank.shards[1], "100.00")
    hold = Placement(str(new_id()), debtor, THIRTY, "EUR", end())
    await local_bank.holds.place(hold)
    wanted = ReversalRequest(debtor, hold.reference, str(new_id()))
    assert Outcome.NOT_REVERSIBLE == await refusal_of(local_bank, wanted)
