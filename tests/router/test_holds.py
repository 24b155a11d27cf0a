"""Holds from end to end: placed, captured near and far, increased, let go, each once."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from router.errors import RefusalReplayed
from router.holds import Capture, Increase, Placement
from router.transfer_requests import TransferRequest
from router.wiring import Bank
from shard.accounts import AccountStatus
from shard.commands import Kind, MoneyState
from shard.errors import Malformed, NotFound, Refused
from shard.holds import HoldState
from shard.ids import new_id
from shard.outcomes import Outcome
from tests.support.bank import account_no, open_account

SOON = timedelta(hours=1)


def end() -> datetime:
    """A time that no test lives to see."""
    return datetime.now(UTC) + SOON


def placement(account: int, amount: str = "30", creditor: int | None = None) -> Placement:
    """A hold under a fresh reference."""
    return Placement(str(new_id()), account, Decimal(amount), "EUR", end(), creditor)


def capture(
    hold: Placement, creditor: int, amount: str | None = None, *, is_final: bool = False
) -> Capture:
    """A payment out of a hold under a fresh reference."""
    value = None if amount is None else Decimal(amount)
    return Capture(str(new_id()), hold.account, hold.reference, creditor, value, is_final)


async def placed(bank: Bank, amount: str = "30", *, shard: int = 1) -> Placement:
    """A hold on an account with 100.00 EUR."""
    wanted = placement(await open_account(bank.shards[shard], "100"), amount)
    await bank.holds.place(wanted)
    return wanted


async def money(bank: Bank, account: int) -> tuple[Decimal, Decimal, Decimal | None]:
    """Ledger, held and available."""
    balance = await bank.accounts.balance(account)
    return balance.ledger, balance.held, balance.available


def euros(*amounts: str) -> tuple[Decimal, ...]:
    """Amounts, to be compared with."""
    return tuple(Decimal(amount) for amount in amounts)


async def refusal_of(bank: Bank, wanted: Placement | Capture | Increase) -> str:
    """Why it is refused."""
    match wanted:
        case Placement():
            asked: Awaitable[object] = bank.holds.place(wanted)
        case Capture():
            asked = bank.holds.capture(wanted)
        case Increase():
            asked = bank.holds.increase(wanted)
    with pytest.raises(Refused) as refused:
        await asked
    return refused.value.outcome


async def test_a_hold_lowers_what_is_available_at_once(local_bank: Bank) -> None:
    """No money moves; the hold is read as it was placed."""
    wanted = placement(await open_account(local_bank.shards[1], "100"))
    held = await local_bank.holds.place(wanted)
    assert held.hold == await local_bank.holds.get(wanted.account, wanted.reference)
    assert (False, HoldState.PENDING, Decimal(30), wanted.expires_at) == (
        held.is_replay, held.hold.state, held.hold.remaining, held.hold.expires_at
    )  # fmt: skip
    assert euros("100", "30", "70") == await money(local_bank, wanted.account)


async def test_what_is_held_cannot_be_spent(local_bank: Bank) -> None:
    """Neither by a transfer nor by a second hold."""
    wanted = await placed(local_bank, "80")
    creditor = await open_account(local_bank.shards[1])
    spending = TransferRequest(str(new_id()), wanted.account, creditor, Decimal(21), "EUR")
    with pytest.raises(Refused) as refused:
        await local_bank.transfers.submit(spending)
    assert Outcome.INSUFFICIENT_FUNDS == refused.value.outcome
    assert Outcome.INSUFFICIENT_FUNDS == await refusal_of(
        local_bank, placement(wanted.account, "21")
    )


async def test_a_repeated_hold_is_a_replay(local_bank: Bank) -> None:
    """It holds once, and is told as it stands now."""
    wanted = await placed(local_bank)
    await local_bank.holds.increase(
        Increase(str(new_id()), wanted.account, wanted.reference, Decimal(5))
    )
    again = await local_bank.holds.place(wanted)
    assert (True, Decimal(35)) == (again.is_replay, again.hold.amount)
    assert euros("100", "35", "65") == await money(local_bank, wanted.account)


@pytest.mark.parametrize("field", ["amount", "expires_at", "creditor"])
async def test_another_hold_under_the_same_reference_is_refused(
    local_bank: Bank, field: str
) -> None:
    """One reference names one request."""
    wanted = await placed(local_bank)
    other = {
        "amount": replace(wanted, amount=Decimal(31)),
        "expires_at": replace(wanted, expires_at=wanted.expires_at + SOON),
        "creditor": replace(wanted, creditor=account_no(1)),
    }[field]
    assert Outcome.REFERENCE_REUSED == await refusal_of(local_bank, other)


async def test_the_same_instant_in_another_zone_is_the_same_hold(local_bank: Bank) -> None:
    """A time is an instant, however it is written."""
    wanted = await placed(local_bank)
    there = wanted.expires_at.astimezone(timezone(timedelta(hours=5)))
    assert (await local_bank.holds.place(replace(wanted, expires_at=there))).is_replay


async def test_a_refused_hold_is_replayed_as_refused(local_bank: Bank) -> None:
    """Also once there are funds."""
    account = await open_account(local_bank.shards[1])
    wanted = placement(account)
    assert Outcome.INSUFFICIENT_FUNDS == await refusal_of(local_bank, wanted)
    funded = await open_account(local_bank.shards[1], "50")
    await local_bank.transfers.submit(
        TransferRequest(str(new_id()), funded, account, Decimal(50), "EUR")
    )
    with pytest.raises(RefusalReplayed):
        await local_bank.holds.place(wanted)


async def test_a_hold_is_captured_in_parts(local_bank: Bank) -> None:
    """Each part is a transfer of its own; the last one closes the hold."""
    wanted = await placed(local_bank)
    creditor = await open_account(local_bank.shards[1])
    first, after = await local_bank.holds.capture(capture(wanted, creditor, "12"))
    assert (Kind.CAPTURE, MoneyState.POSTED) == (first.record.kind, first.record.money_state)
    assert first.record == await local_bank.transfers.get(wanted.account, first.record.reference)
    assert (HoldState.PENDING, Decimal(18)) == (after.state, after.remaining)
    assert euros("88", "18", "70") == await money(local_bank, wanted.account)
    _, closed = await local_bank.holds.capture(capture(wanted, creditor, "18"))
    assert (HoldState.CAPTURED, Decimal(0)) == (closed.state, closed.remaining)
    assert euros("70", "0", "70") == await money(local_bank, wanted.account)
    assert Decimal(30) == (await money(local_bank, creditor))[0]


async def test_a_final_capture_lets_go_of_the_rest(local_bank: Bank) -> None:
    """What it leaves is available again, and cannot be captured any more."""
    wanted = await placed(local_bank)
    creditor = await open_account(local_bank.shards[1])
    _, after = await local_bank.holds.capture(capture(wanted, creditor, "12", is_final=True))
    assert (HoldState.CAPTURED, Decimal(12)) == (after.state, after.captured)
    assert euros("88", "0", "88") == await money(local_bank, wanted.account)
    assert Outcome.HOLD_NOT_OPEN == await refusal_of(local_bank, capture(wanted, creditor, "1"))


async def test_a_capture_without_an_amount_takes_all_that_remains(local_bank: Bank) -> None:
    """Repeated, it is the same payment, although nothing remains."""
    wanted = await placed(local_bank)
    creditor = await open_account(local_bank.shards[1])
    await local_bank.holds.capture(capture(wanted, creditor, "12"))
    rest = capture(wanted, creditor)
    first, _ = await local_bank.holds.capture(rest)
    again, hold = await local_bank.holds.capture(rest)
    assert (Decimal(18), False) == (first.record.amount, first.is_replay)
    assert (True, first.record, HoldState.CAPTURED) == (again.is_replay, again.record, hold.state)
    assert Decimal(30) == (await money(local_bank, creditor))[0]


async def test_a_repeated_capture_pays_once(local_bank: Bank) -> None:
    """Of another content it is refused."""
    wanted = await placed(local_bank)
    creditor = await open_account(local_bank.shards[1])
    part = capture(wanted, creditor, "12")
    first, _ = await local_bank.holds.capture(part)
    again, _ = await local_bank.holds.capture(part)
    assert (True, first.record) == (again.is_replay, again.record)
    other = replace(part, amount=Decimal(13))
    assert Outcome.REFERENCE_REUSED == await refusal_of(local_bank, other)
    assert Outcome.REFERENCE_REUSED == await refusal_of(local_bank, replace(part, amount=None))
    assert Decimal(12) == (await money(local_bank, creditor))[0]


@pytest.mark.parametrize("amount", ["30", None], ids=["whole", "all that remains"])
async def test_a_repeated_last_capture_of_another_content_is_refused(
    local_bank: Bank, amount: str | None
) -> None:
    """Also where nothing is left that it could pay out of."""
    wanted = await placed(local_bank)
    creditor = await open_account(local_bank.shards[1])
    last = capture(wanted, creditor, amount)
    await local_bank.holds.capture(last)
    other = replace(last, narrative="Another one")
    assert Outcome.REFERENCE_REUSED == await refusal_of(local_bank, other)


async def test_more_than_remains_is_not_captured(local_bank: Bank) -> None:
    """By a cent; and the refusal uses nothing up."""
    wanted = await placed(local_bank)
    creditor = await open_account(local_bank.shards[1])
    too_much = capture(wanted, creditor, "30.01")
    assert Outcome.HOLD_EXCEEDED == await refusal_of(local_bank, too_much)
    await local_bank.holds.capture(capture(wanted, creditor, "30"))


async def test_a_hold_for_one_creditor_pays_nobody_else(local_bank: Bank) -> None:
    """Whoever it was placed for may have it."""
    account = await open_account(local_bank.shards[1], "100")
    merchant, other = [await open_account(local_bank.shards[1]) for _ in "ab"]
    wanted = placement(account, creditor=merchant)
    await local_bank.holds.place(wanted)
    assert Outcome.HOLD_CREDITOR_MISMATCH == await refusal_of(
        local_bank, capture(wanted, other, "30")
    )
    await local_bank.holds.capture(capture(wanted, merchant, "30"))


async def test_a_capture_pays_an_account_on_another_shard(bank: Bank) -> None:
    """It is in transit when it is answered, and arrives as any transfer."""
    wanted = await placed(bank)
    creditor = await open_account(bank.shards[2])
    paid, after = await bank.holds.capture(capture(wanted, creditor, "12"))
    assert (MoneyState.IN_TRANSIT, Decimal(18)) == (paid.record.money_state, after.remaining)
    arrived = await bank.transfers.wait(paid.record, 30)
    assert MoneyState.DELIVERED is arrived.money_state
    assert Decimal(12) == (await money(bank, creditor))[0]


async def test_a_capture_that_comes_back_leaves_the_hold_used(bank: Bank) -> None:
    """The debtor has the money, and it is free: the promise was kept, its creditor refused."""
    wanted = await placed(bank)
    creditor = await open_account(bank.shards[2])
    await bank.accounts.change_status(creditor, AccountStatus.FROZEN, actor="t", reason="t")
    paid, _ = await bank.holds.capture(capture(wanted, creditor))
    returned = await bank.transfers.wait(paid.record, 30)
    assert (MoneyState.RETURNED, Outcome.ACCOUNT_FROZEN) == (
        returned.money_state,
        returned.return_code,
    )
    hold = await bank.holds.get(wanted.account, wanted.reference)
    assert (HoldState.CAPTURED, Decimal(0)) == (hold.state, hold.remaining)
    assert euros("100", "0", "100") == await money(bank, wanted.account)


async def test_a_void_lets_go_once(local_bank: Bank) -> None:
    """Repeated it is a replay; under another reference there is nothing left to let go."""
    wanted = await placed(local_bank)
    name = str(new_id())
    first = await local_bank.holds.void(wanted.account, wanted.reference, name)
    again = await local_bank.holds.void(wanted.account, wanted.reference, name)
    assert [(False, HoldState.VOIDED), (True, HoldState.VOIDED)] == [
        (each.is_replay, each.hold.state) for each in (first, again)
    ]
    assert euros("100", "0", "100") == await money(local_bank, wanted.account)
    with pytest.raises(Refused) as refused:
        await local_bank.holds.void(wanted.account, wanted.reference, str(new_id()))
    assert Outcome.HOLD_NOT_OPEN == refused.value.outcome


async def test_an_increase_holds_more_if_it_is_there(local_bank: Bank) -> None:
    """To the cent; with a new end where one is given; a repetition adds nothing."""
    wanted = await placed(local_bank)
    later = wanted.expires_at + SOON
    more = Increase(str(new_id()), wanted.account, wanted.reference, Decimal(70), later)
    first = await local_bank.holds.increase(more)
    again = await local_bank.holds.increase(more)
    assert (False, Decimal(100), later) == (
        first.is_replay, first.hold.amount, first.hold.expires_at
    )  # fmt: skip
    assert (True, first.hold) == (again.is_replay, again.hold)
    one_cent = Increase(str(new_id()), wanted.account, wanted.reference, Decimal("0.01"))
    assert Outcome.INSUFFICIENT_FUNDS == await refusal_of(local_bank, one_cent)


async def test_what_is_no_hold_is_not_found(local_bank: Bank) -> None:
    """To read, to capture, to void, to increase: there is nothing under the name."""
    account = await open_account(local_bank.shards[1], "100")
    creditor = await open_account(local_bank.shards[1])
    nothing = Capture(str(new_id()), account, "never", creditor, Decimal(1))
    for asked in (
        local_bank.holds.get(account, "never"),
        local_bank.holds.capture(nothing),
        local_bank.holds.void(account, "never", str(new_id())),
        local_bank.holds.increase(Increase(str(new_id()), account, "never", Decimal(1))),
    ):
        with pytest.raises(NotFound):
            await asked


async def test_holds_that_make_no_sense_are_malformed(local_bank: Bank) -> None:
    """For itself, finer than the currency, zero, until a time without a zone."""
    wanted = placement(account_no(1))
    for wrong in (
        replace(wanted, creditor=wanted.account),
        replace(wanted, amount=Decimal("1.001")),
        replace(wanted, amount=Decimal(0)),
        replace(wanted, expires_at=wanted.expires_at.replace(tzinfo=None)),
    ):
        with pytest.raises(Malformed):
            await local_bank.holds.place(wrong)


@pytest.mark.parametrize("role", ["account", "creditor"])
async def test_no_system_account_takes_part(local_bank: Bank, role: str) -> None:
    """Neither holding back nor being promised."""
    account = await open_account(local_bank.shards[1], "100")
    suspense = 1_101_000
    wanted = placement(suspense) if role == "account" else placement(account, creditor=suspense)
    assert Outcome.SYSTEM_ACCOUNT == await refusal_of(local_bank, wanted)


async def test_a_hold_that_ends_in_the_past_is_refused(local_bank: Bank) -> None:
    """The shard judges by its own clock, and remembers."""
    account = await open_account(local_bank.shards[1], "100")
    wanted = replace(placement(account), expires_at=datetime(2020, 1, 1, tzinfo=UTC))
    assert Outcome.HOLD_EXPIRED == await refusal_of(local_bank, wanted)
    with pytest.raises(RefusalReplayed):
        await local_bank.holds.place(wanted)
