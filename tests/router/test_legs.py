"""Transfers with several legs, forced ones, and those that want their debtor at a position."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from router.errors import NotOneShard, RefusalReplayed
from router.reversals import ReversalRequest
from router.transfer_requests import (
    RequestedLeg,
    TransferKind,
    TransferRequest,
    request_of_legs,
)
from router.wiring import Bank
from shard.accounts import AccountStatus
from shard.commands import MoneyState
from shard.errors import Malformed, Refused
from shard.ids import new_id
from shard.outcomes import Outcome
from tests.support.bank import open_account

FUNDS = "100.00"


def legs_of(*amounts: tuple[int, str]) -> TransferRequest:
    """A transfer with these legs, under a fresh reference."""
    legs = [RequestedLeg(account, Decimal(amount)) for account, amount in amounts]
    return request_of_legs(str(new_id()), legs, "EUR")


def plain(debtor: int, creditor: int, amount: str) -> TransferRequest:
    """One debtor pays one creditor."""
    return TransferRequest(str(new_id()), debtor, creditor, Decimal(amount), "EUR")


async def accounts_on(bank: Bank, *shards: int, funds: str = "0") -> list[int]:
    """An account on each of these shards."""
    return [await open_account(bank.shards[shard], funds) for shard in shards]


async def ledgers(bank: Bank, *accounts: int) -> list[Decimal]:
    """What is booked on each account."""
    return [(await bank.accounts.balance(account)).ledger for account in accounts]


async def refusal_of(bank: Bank, request: TransferRequest) -> str:
    """Why a transfer is refused."""
    with pytest.raises(Refused) as refused:
        await bank.transfers.submit(request)
    return refused.value.outcome


async def test_principal_and_fee_are_booked_as_one(local_bank: Bank) -> None:
    """All legs on one shard: one voucher, booked at once, told as it is stored."""
    debtor, creditor, fees = await accounts_on(local_bank, 1, 1, 1, funds=FUNDS)
    wanted = legs_of((debtor, "-20"), (creditor, "19.50"), (fees, "0.50"))
    submitted = await local_bank.transfers.submit(wanted)
    assert MoneyState.POSTED is submitted.record.money_state
    assert submitted.record == await local_bank.transfers.get(debtor, wanted.reference)
    expected = [Decimal(80), Decimal("119.50"), Decimal("100.50")]
    assert expected == await ledgers(local_bank, debtor, creditor, fees)
    assert submitted.record.legs == [
        {"account": str(debtor), "amount": "-20.00"},
        {"account": str(creditor), "amount": "19.50"},
        {"account": str(fees), "amount": "0.50"},
    ]


async def test_one_bad_leg_leaves_nothing_of_the_others(local_bank: Bank) -> None:
    """Atomic where all legs are on one shard."""
    debtor, good, frozen = await accounts_on(local_bank, 1, 1, 1, funds=FUNDS)
    await local_bank.accounts.change_status(frozen, AccountStatus.FROZEN, actor="t", reason="t")
    wanted = legs_of((debtor, "-20"), (good, "10"), (frozen, "10"))
    assert Outcome.ACCOUNT_FROZEN == await refusal_of(local_bank, wanted)
    assert [Decimal(FUNDS)] * 3 == await ledgers(local_bank, debtor, good, frozen)


async def test_several_debtors_of_one_shard_pay_together(local_bank: Bank) -> None:
    """The lowest of those who pay is the home of the transfer; its amount is what all pay."""
    first, second, creditor = await accounts_on(local_bank, 1, 1, 1, funds=FUNDS)
    wanted = legs_of((creditor, "30"), (first, "-10"), (second, "-20"))
    submitted = await local_bank.transfers.submit(wanted)
    assert (first, None, Decimal(30)) == (
        submitted.record.home,
        submitted.record.creditor,
        submitted.record.amount,
    )
    expected = [Decimal(90), Decimal(80), Decimal(130)]
    assert expected == await ledgers(local_bank, first, second, creditor)


async def test_the_order_of_legs_makes_no_other_request(local_bank: Bank) -> None:
    """A client may build its legs from a map: under one reference they are booked once."""
    first, second, creditor = await accounts_on(local_bank, 1, 1, 1, funds=FUNDS)
    legs = ((first, "-10"), (second, "-20"), (creditor, "30"))
    wanted = legs_of(*legs)
    again = replace(legs_of(*legs[::-1]), reference=wanted.reference)

    told = [await local_bank.transfers.submit(each) for each in (wanted, again)]

    assert [(first, False), (first, True)] == [(each.record.home, each.is_replay) for each in told]
    expected = [Decimal(90), Decimal(80), Decimal(130)]
    assert expected == await ledgers(local_bank, first, second, creditor)


async def test_what_several_debtors_paid_is_not_reversed(local_bank: Bank) -> None:
    """It would come back to one of them; whose it is, a transfer of its own can tell."""
    first, second, creditor = await accounts_on(local_bank, 1, 1, 1, funds=FUNDS)
    wanted = legs_of((first, "-1"), (second, "-99"), (creditor, "100"))
    await local_bank.transfers.submit(wanted)
    request = ReversalRequest(first, wanted.reference, "BACK-1", amount=None, creditor=creditor)

    with pytest.raises(Refused) as refused:
        await local_bank.reversals.reverse(request)

    assert Outcome.NOT_REVERSIBLE == refused.value.outcome
    expected = [Decimal(99), Decimal(1), Decimal(200)]
    assert expected == await ledgers(local_bank, first, second, creditor)


@pytest.mark.parametrize(
    ("shards", "amounts"),
    [((1, 2, 1), ("-10", "-20", "30")), ((1, 1, 2), ("-10", "-20", "30"))],
    ids=["debtors apart", "their creditor elsewhere"],
)
async def test_several_debtors_must_share_a_shard_with_all(
    local_bank: Bank, shards: tuple[int, ...], amounts: tuple[str, ...]
) -> None:
    """Debiting on two shards at once is not what this ledger promises; nothing is booked."""
    accounts = await accounts_on(local_bank, *shards, funds=FUNDS)
    with pytest.raises(NotOneShard):
        await local_bank.transfers.submit(legs_of(*zip(accounts, amounts, strict=True)))
    assert [Decimal(FUNDS)] * 3 == await ledgers(local_bank, *accounts)


async def test_creditors_near_and_far_are_paid_by_one_transfer(bank: Bank) -> None:
    """The near leg is booked at once; each far one is carried, and all are delivered."""
    debtor, near, far, further = await accounts_on(bank, 1, 1, 2, 3, funds=FUNDS)
    wanted = legs_of((debtor, "-60"), (near, "10"), (far, "20"), (further, "30"))
    submitted = await bank.transfers.submit(wanted)
    assert MoneyState.IN_TRANSIT is submitted.record.money_state
    assert [Decimal(40), Decimal(110)] == await ledgers(bank, debtor, near)
    arrived = await bank.transfers.wait(submitted.record, 30)
    assert MoneyState.DELIVERED is arrived.money_state
    assert [Decimal(120), Decimal(130)] == await ledgers(bank, far, further)


async def test_what_one_creditor_is_refused_comes_back_alone(bank: Bank) -> None:
    """The others keep theirs: the transfer is partially returned, with the reason."""
    debtor, far, frozen = await accounts_on(bank, 1, 2, 3, funds=FUNDS)
    await bank.accounts.change_status(frozen, AccountStatus.FROZEN, actor="t", reason="t")
    wanted = legs_of((debtor, "-50"), (far, "20"), (frozen, "30"))
    ended = await bank.transfers.wait((await bank.transfers.submit(wanted)).record, 30)
    assert (MoneyState.PARTIALLY_RETURNED, Outcome.ACCOUNT_FROZEN) == (
        ended.money_state,
        ended.return_code,
    )
    expected = [Decimal(80), Decimal(120), Decimal(100)]
    assert expected == await ledgers(bank, debtor, far, frozen)


async def test_a_repeated_transfer_of_legs_is_a_replay(local_bank: Bank) -> None:
    """The same legs again move nothing, and tell the transfer as it stands."""
    wanted = legs_of(*zip(await accounts_on(local_bank, 1, 1, 1, funds=FUNDS),
                          ("-20", "15", "5"), strict=True))  # fmt: skip
    first = await local_bank.transfers.submit(wanted)
    again = await local_bank.transfers.submit(wanted)
    assert (True, first.record) == (again.is_replay, again.record)


@pytest.mark.parametrize("change", ["amounts", "plain"])
async def test_other_legs_under_the_same_reference_are_refused(
    local_bank: Bank, change: str
) -> None:
    """Whatever is asked for is one thing under one reference."""
    debtor, one, other = await accounts_on(local_bank, 1, 1, 1, funds=FUNDS)
    legs = ((debtor, "-20"), (one, "15"), (other, "5"))
    wanted = legs_of(*legs)
    await local_bank.transfers.submit(wanted)
    changed = {
        "amounts": legs_of((debtor, "-20"), (one, "5"), (other, "15")),
        "plain": plain(debtor, one, "20"),
    }[change]
    again = replace(changed, reference=wanted.reference)
    assert Outcome.REFERENCE_REUSED == await refusal_of(local_bank, again)
    assert Decimal(80) == (await ledgers(local_bank, debtor))[0]


async def test_two_legs_are_the_plain_transfer(local_bank: Bank) -> None:
    """Debtor and creditor as legs, in either order, are the same request as in two fields."""
    debtor, creditor = await accounts_on(local_bank, 1, 1, funds=FUNDS)
    wanted = plain(debtor, creditor, "20")
    first = await local_bank.transfers.submit(wanted)
    for legs in (((debtor, "-20"), (creditor, "20")), ((creditor, "20"), (debtor, "-20"))):
        asked = replace(legs_of(*legs), reference=wanted.reference)
        again = await local_bank.transfers.submit(asked)
        assert (True, first.record) == (again.is_replay, again.record)


@pytest.mark.parametrize(
    ("amounts", "shares_account"),
    [
        (("-20", "19"), False),
        (("-20", "19", "0.5"), False),
        (("20", "-20.001", "0.001"), False),
        (("-20", "20", "0"), False),
        (("-20", "10", "10"), True),
        (("20", "20", "20"), False),
    ],
)
async def test_legs_that_make_no_voucher_are_malformed(
    local_bank: Bank, amounts: tuple[str, ...], shares_account: bool
) -> None:
    """They sum to zero, none is zero, none is finer than the currency, no account has two."""
    accounts = [1_000_000_001, 1_000_000_002, 1_000_000_003]
    if shares_account:
        accounts[2] = accounts[1]
    with pytest.raises(Malformed):
        await local_bank.transfers.submit(legs_of(*zip(accounts, amounts, strict=False)))


async def test_a_refusal_of_legs_is_stored_and_replayed(local_bank: Bank) -> None:
    """As with any transfer: the reference stays refused."""
    accounts = await accounts_on(local_bank, 1, 1, 1)
    wanted = legs_of(*zip(accounts, ("-20", "15", "5"), strict=True))
    assert Outcome.INSUFFICIENT_FUNDS == await refusal_of(local_bank, wanted)
    with pytest.raises(RefusalReplayed):
        await local_bank.transfers.submit(wanted)


async def test_a_chargeback_passes_the_floor(local_bank: Bank) -> None:
    """It is booked although the debtor has nothing, and says what it is."""
    debtor, creditor = await accounts_on(local_bank, 1, 1)
    wanted = replace(plain(debtor, creditor, "20"), kind=TransferKind.CHARGEBACK)
    submitted = await local_bank.transfers.submit(wanted)
    assert submitted.record == await local_bank.transfers.get(debtor, wanted.reference)
    assert ("chargeback", MoneyState.POSTED) == (
        submitted.record.purpose,
        submitted.record.money_state,
    )
    assert [Decimal(-20), Decimal(20)] == await ledgers(local_bank, debtor, creditor)


async def test_a_chargeback_reaches_a_frozen_creditor_on_another_shard(bank: Bank) -> None:
    """From a debtor that has nothing and is frozen: forced on both sides."""
    debtor, creditor = await accounts_on(bank, 1, 2)
    for each in (debtor, creditor):
        await bank.accounts.change_status(each, AccountStatus.FROZEN, actor="t", reason="t")
    wanted = replace(plain(debtor, creditor, "20"), kind=TransferKind.CHARGEBACK)
    arrived = await bank.transfers.wait((await bank.transfers.submit(wanted)).record, 30)
    assert MoneyState.DELIVERED is arrived.money_state
    assert [Decimal(-20), Decimal(20)] == await ledgers(bank, debtor, creditor)


async def test_the_kind_is_part_of_the_request(local_bank: Bank) -> None:
    """A chargeback under the reference of a transfer is another request."""
    debtor, creditor = await accounts_on(local_bank, 1, 1, funds=FUNDS)
    wanted = plain(debtor, creditor, "20")
    await local_bank.transfers.submit(wanted)
    forced = replace(wanted, kind=TransferKind.CHARGEBACK)
    assert Outcome.REFERENCE_REUSED == await refusal_of(local_bank, forced)


async def test_a_transfer_may_want_its_debtor_at_a_position(local_bank: Bank) -> None:
    """At the position that the balance tells it is booked; at any other it is refused for good."""
    debtor, creditor = await accounts_on(local_bank, 1, 1, funds=FUNDS)
    seq = int((await local_bank.accounts.balance(debtor)).seq)
    late = replace(plain(debtor, creditor, "20"), expected_seq=seq)
    await local_bank.transfers.submit(plain(debtor, creditor, "1"))
    assert Outcome.SEQUENCE_MISMATCH == await refusal_of(local_bank, late)
    in_time = replace(plain(debtor, creditor, "20"), expected_seq=seq + 1)
    assert not (await local_bank.transfers.submit(in_time)).is_replay
    assert (await local_bank.transfers.submit(in_time)).is_replay
    assert Outcome.SEQUENCE_MISMATCH == await refusal_of(local_bank, late)
    assert [Decimal(79)] == await ledgers(local_bank, debtor)


async def test_a_position_guards_a_transfer_to_another_shard(bank: Bank) -> None:
    """It is judged where the debtor lives, before anything leaves."""
    debtor, creditor = await accounts_on(bank, 1, 2, funds=FUNDS)
    seq = int((await bank.accounts.balance(debtor)).seq)
    wrong = replace(plain(debtor, creditor, "20"), expected_seq=seq + 1)
    assert Outcome.SEQUENCE_MISMATCH == await refusal_of(bank, wrong)
    right = replace(plain(debtor, creditor, "20"), expected_seq=seq)
    arrived = await bank.transfers.wait((await bank.transfers.submit(right)).record, 30)
    assert MoneyState.DELIVERED is arrived.money_state
