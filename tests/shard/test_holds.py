"""Holds: what is held back counts at once, is captured at most once, and ends for good."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from shard.accounts import AccountChange, AccountKind, AccountStatus, NewAccount
from shard.commands import Command, Kind, Leg, MoneyState, Origin, Terms
from shard.errors import NotFound, Refused
from shard.holds import expiry_command
from shard.ids import new_id
from shard.outcomes import Outcome
from shard.shard import Shard
from tests.shard.hold_stories import END, NOW, STORIES, Cast, H, Story
from tests.support.bank import account_no, again, open_account, transfer
from tests.support.movements import Teller, capture, expire, forced, increase, place, void

Shards = Mapping[int, Shard]
POSTED, SHORT = Outcome.POSTED, Outcome.INSUFFICIENT_FUNDS
NOT_OPEN, WRONG = Outcome.HOLD_NOT_OPEN, Outcome.HOLD_CREDITOR_MISMATCH


@pytest.fixture
async def cast(shards: Shards) -> Cast:
    """The accounts of one test."""
    shard = shards[1]
    return Cast(await open_account(shard, "100"), *[await open_account(shard) for _ in "ab"])


@pytest.mark.parametrize("is_one_batch", [False, True], ids=["one by one", "one batch"])
@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES.keys())
async def test_the_life_of_a_hold(
    story: Story, is_one_batch: bool, shards: Shards, teller: Teller, cast: Cast
) -> None:
    """Commands about a hold are told, and change it, alike in one batch and one by one."""
    earlier = [cast.command(step) for step in story.steps if step.is_earlier]
    commands = [cast.command(step) for step in story.steps if not step.is_earlier]

    await teller.set_clock(NOW - timedelta(minutes=1))
    told = await teller.told(*earlier)
    await teller.set_clock(NOW)
    for batch in [commands] if is_one_batch else [[each] for each in commands]:
        told += await teller.told(*batch)

    assert [step.told for step in story.steps] == told
    balance = await shards[1].balances.get(cast.account)
    ledger, held = Decimal(story.ledger), Decimal(story.held)
    assert (ledger, held, ledger - held) == (balance.ledger, balance.held, balance.available)
    if story.state is None:
        with pytest.raises(NotFound):
            await shards[1].holds.get(cast.account, H)
    else:
        hold = await shards[1].holds.get(cast.account, H)
        assert (story.state, Decimal(story.captured or 0)) == (hold.state, hold.captured)


async def test_a_hold_is_read_as_it_was_placed(shards: Shards, teller: Teller, cast: Cast) -> None:
    """A hold tells its amounts, its creditor, its time, and when it was closed."""
    await teller.set_clock(NOW)
    await teller.post(place(cast.account, "30", H, expires_at=END, creditor=cast.shop))
    placed = await shards[1].holds.get(cast.account, H)
    await teller.set_clock(END - timedelta(seconds=1))
    await teller.post(capture(cast.account, cast.shop, "10", H, is_final=True))

    closed = await shards[1].holds.get(cast.account, H)

    assert (Decimal(30), Decimal(0), Decimal(30)) == (
        placed.amount, placed.captured, placed.remaining
    )  # fmt: skip
    assert (NOW, END, cast.shop, None) == (
        placed.placed_at, placed.expires_at, placed.creditor, placed.closed_at
    )  # fmt: skip
    assert (Decimal(10), Decimal(0)) == (closed.captured, closed.remaining)
    assert (NOW, END - timedelta(seconds=1)) == (closed.placed_at, closed.closed_at)


async def test_a_hold_moves_no_money(shards: Shards, teller: Teller, cast: Cast) -> None:
    """Its command is kept like a transfer, with no money anywhere; its entry changes held alone."""
    command = place(cast.account, "30", H)
    (answer,) = await teller.post(command)
    record = await shards[1].transfers.get(cast.account, Origin.CLIENT, H)
    page = await shards[1].statements.page(cast.account, limit=10)

    assert MoneyState.NONE is answer.money_state is record.money_state
    last = page.lines[-1]
    assert (Decimal(0), Decimal(30)) == (last.amount, last.held_delta)
    assert (Decimal(100), Decimal(30)) == (last.ledger_after, last.held_after)


async def test_an_increase_moves_the_end(shards: Shards, teller: Teller, cast: Cast) -> None:
    """An increase may give the hold a later end; then it expires at that one."""
    later = END + timedelta(minutes=10)
    await teller.set_clock(NOW)
    await teller.post(place(cast.account, "30", H, expires_at=END))
    await teller.post(increase(cast.account, "5", H, expires_at=later))
    told = []
    for moment in (END, later):
        await teller.set_clock(moment)
        told += await teller.told(expire(cast.account, H))

    assert [NOT_OPEN, POSTED] == told
    assert later == (await shards[1].holds.get(cast.account, H)).expires_at


async def test_an_increase_without_an_end_keeps_it(
    shards: Shards, teller: Teller, cast: Cast
) -> None:
    """An increase of the amount alone leaves the end of the hold as it was."""
    await teller.set_clock(NOW)
    await teller.post(place(cast.account, "30", H, expires_at=END))

    await teller.post(increase(cast.account, "5", H))

    hold = await shards[1].holds.get(cast.account, H)
    assert (Decimal(35), END) == (hold.amount, hold.expires_at)


async def test_due_holds_expire_in_batches_and_once(shards: Shards, teller: Teller) -> None:
    """Holds whose time is up are listed, end by their commands, and a second run finds none."""
    shard = shards[1]
    account = await open_account(shard, "100")
    past, future = datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC) + timedelta(hours=1)
    await teller.set_clock(past - timedelta(minutes=1))
    await teller.post(
        *[place(account, "1", f"P-{n}", expires_at=past + timedelta(seconds=n)) for n in range(5)],
        place(account, "7", "LATER", expires_at=future),
    )
    due = [hold for hold in await shard.holds.due(1_000) if hold.account_no == account]
    commands = [expiry_command(hold) for hold in due]

    first = await shard.lanes.post_many(commands)
    second = await shard.lanes.post_many([expiry_command(hold) for hold in due])
    left = [hold for hold in await shard.holds.due(1_000) if hold.account_no == account]

    assert [f"P-{n}" for n in range(5)] == [hold.reference for hold in due]
    assert [(POSTED, False)] * 5 == [(a.outcome, a.is_replay) for a in first]
    assert [(POSTED, True)] * 5 == [(a.outcome, a.is_replay) for a in second]
    assert [] == left
    assert Decimal(7) == (await shard.balances.get(account)).held


async def test_due_holds_come_the_oldest_first_up_to_a_bound(
    shards: Shards, teller: Teller
) -> None:
    """A sweep takes so many at a time, those first that are due for longest."""
    account = await open_account(shards[1], "100")
    long_ago = datetime(2001, 1, 1, tzinfo=UTC)
    await teller.set_clock(long_ago - timedelta(minutes=1))
    await teller.post(
        *[
            place(account, "1", f"P-{n}", expires_at=long_ago + timedelta(seconds=n))
            for n in (2, 0, 1)
        ]
    )

    due = await shards[1].holds.due(2)

    assert [(account, "P-0"), (account, "P-1")] == [(h.account_no, h.reference) for h in due]


async def test_what_got_a_later_end_meanwhile_expires_then(
    shards: Shards, teller: Teller, cast: Cast
) -> None:
    """A sweep that comes late finds a hold extended; the sweep of its new end ends it."""
    later = END + timedelta(minutes=10)
    await teller.set_clock(NOW)
    await teller.post(place(cast.account, "30", H, expires_at=END))
    stale = expiry_command(await shards[1].holds.get(cast.account, H))
    await teller.post(increase(cast.account, "1", H, expires_at=later))
    await teller.set_clock(END)
    told = await teller.told(stale)
    await teller.set_clock(later)
    told += await teller.told(stale)
    told += await teller.told(expiry_command(await shards[1].holds.get(cast.account, H)))

    assert [NOT_OPEN, NOT_OPEN, POSTED] == told


async def test_a_capture_may_pay_another_shard(shards: Shards, teller: Teller, cast: Cast) -> None:
    """What is captured for a far creditor is parked, and is no longer held."""
    abroad = await open_account(shards[2])
    await teller.post(place(cast.account, "30", H, creditor=abroad))

    (answer,) = await teller.post(capture(cast.account, abroad, "20", H))

    balance = await shards[1].balances.get(cast.account)
    assert (POSTED, MoneyState.IN_TRANSIT) == (answer.outcome, answer.money_state)
    assert (Decimal(80), Decimal(10), Decimal(20)) == (
        balance.ledger, balance.held, balance.in_transit
    )  # fmt: skip


async def test_a_capture_may_pay_several_creditors(
    shards: Shards, teller: Teller, cast: Cast
) -> None:
    """Principal and fee of one capture leave the hold together."""
    await teller.post(place(cast.account, "30", H))
    command = capture(cast.account, cast.shop, "20", H)
    legs = (
        command.legs[0],
        Leg(cast.shop, Decimal(19), cast.account),
        Leg(cast.other, Decimal(1), cast.account),
    )

    assert [POSTED] == await teller.told(replace(command, legs=legs, creditor=None))
    balance = await shards[1].balances.get(cast.account)
    assert (Decimal(80), Decimal(10)) == (balance.ledger, balance.held)


async def test_a_restricted_hold_is_not_captured_for_nobody_in_particular(
    teller: Teller, cast: Cast
) -> None:
    """A capture without a single creditor is not one for the creditor of the hold."""
    await teller.post(place(cast.account, "30", H, creditor=cast.shop))
    command = capture(cast.account, cast.shop, "20", H)
    legs = (
        command.legs[0],
        Leg(cast.shop, Decimal(19), cast.account),
        Leg(cast.other, Decimal(1), cast.account),
    )

    assert [WRONG] == await teller.told(replace(command, legs=legs, creditor=None))


@pytest.mark.parametrize("kind", ["place", "capture", "increase", "void"])
async def test_each_reference_about_a_hold_has_one_effect(
    kind: str, shards: Shards, teller: Teller, cast: Cast
) -> None:
    """A repeated command is a replay, and another content under its reference is refused."""
    end = datetime.now(UTC) + timedelta(hours=1)
    makes = {
        "place": lambda amount: place(cast.account, amount, "REF", expires_at=end),
        "capture": lambda amount: capture(cast.account, cast.shop, amount, H, reference="REF"),
        "increase": lambda amount: increase(cast.account, amount, H, reference="REF"),
        "void": lambda amount: replace(void(cast.account, H, "REF"), request_hash=amount.encode()),
    }
    await teller.post(place(cast.account, "30", H, expires_at=end))
    (first,) = await teller.post(makes[kind]("10"))
    before = await shards[1].balances.get(cast.account)

    (replayed,) = await teller.post(makes[kind]("10"))
    (reused,) = await teller.post(makes[kind]("11"))

    after = await shards[1].balances.get(cast.account)
    assert (POSTED, True, first.transfer_id, MoneyState.NONE) == (
        replayed.outcome, replayed.is_replay, replayed.transfer_id,
        MoneyState.NONE if kind == "capture" else replayed.money_state,
    )  # fmt: skip
    assert Outcome.REFERENCE_REUSED is reused.outcome
    assert (before.ledger, before.held) == (after.ledger, after.held)


async def test_a_hold_shares_its_references_with_transfers(
    shards: Shards, teller: Teller, cast: Cast
) -> None:
    """A client's reference names one thing, be it a hold or a transfer."""
    paid = transfer(cast.account, cast.shop, "1", "PAY-1")
    told = await teller.told(
        paid,
        place(cast.account, "1", "PAY-1"),
        place(cast.account, "2", H),
        transfer(cast.account, cast.shop, "1", H),
    )

    reused = Outcome.REFERENCE_REUSED
    assert [POSTED, reused, POSTED, reused] == told
    with pytest.raises(NotFound):
        await shards[1].holds.get(cast.account, "PAY-1")


async def test_a_refused_hold_is_replayed_as_refused(
    shards: Shards, teller: Teller, cast: Cast
) -> None:
    """A hold that was refused stays refused under its reference, whatever came in since."""
    command = place(cast.account, "100.01", H)
    await teller.post(command)
    await teller.post(transfer(await open_account(shards[1], "50"), cast.account, "50"))

    (answer,) = await teller.post(again(command))

    assert (SHORT, True) == (answer.outcome, answer.is_replay)


async def _set(
    shards: Shards, account: int, status: AccountStatus, *, is_payable: bool = False
) -> None:
    change = AccountChange(status=status, credits_when_frozen=is_payable)
    await shards[1].accounts.change(account, change, actor="t", reason="t")


async def test_a_frozen_account_only_lets_go(shards: Shards, teller: Teller, cast: Cast) -> None:
    """While frozen, nothing is held back, captured or increased; a release is possible."""
    await teller.set_clock(NOW - timedelta(minutes=1))
    await teller.post(
        place(cast.account, "10", "A", expires_at=END),
        place(cast.account, "10", "B", expires_at=NOW),
    )
    await teller.set_clock(NOW)
    await _set(shards, cast.account, AccountStatus.FROZEN, is_payable=True)

    told = await teller.told(
        place(cast.account, "1", "C", expires_at=END),
        capture(cast.account, cast.shop, "1", "A"),
        increase(cast.account, "1", "A"),
        void(cast.account, "A"),
        expire(cast.account, "B"),
    )

    frozen = Outcome.ACCOUNT_FROZEN
    assert [frozen, frozen, frozen, POSTED, POSTED] == told


@pytest.mark.parametrize(("is_payable", "expected"), [(False, "ACCOUNT_FROZEN"), (True, "POSTED")])
async def test_a_capture_for_a_frozen_creditor(
    is_payable: bool, expected: str, shards: Shards, teller: Teller, cast: Cast
) -> None:
    """A creditor that is frozen gets a capture only where it may be paid while frozen."""
    await teller.post(place(cast.account, "10", H))
    await _set(shards, cast.shop, AccountStatus.FROZEN, is_payable=is_payable)

    told = await teller.told(capture(cast.account, cast.shop, "10", H))

    assert [Outcome(expected)] == told
    held = Decimal(0) if told == [POSTED] else Decimal(10)
    assert held == (await shards[1].balances.get(cast.account)).held


async def test_a_closed_account_takes_no_hold(shards: Shards, teller: Teller) -> None:
    """On a closed account nothing can be held."""
    account = await open_account(shards[1], limit="10")
    await _set(shards, account, AccountStatus.CLOSED)

    assert [Outcome.ACCOUNT_CLOSED] * 2 == await teller.told(
        place(account, "1", H), void(account, H)
    )


async def test_an_account_is_not_closed_while_it_holds(shards: Shards, teller: Teller) -> None:
    """An open hold keeps its account open also when its balance is zero."""
    account = await open_account(shards[1], limit="10")
    await teller.post(place(account, "1", H))

    with pytest.raises(Refused) as refused:
        await _set(shards, account, AccountStatus.CLOSED)
    await teller.post(void(account, H))
    await _set(shards, account, AccountStatus.CLOSED)

    assert Outcome.HOLDS_OPEN == refused.value.outcome


async def test_an_unknown_account_holds_nothing_and_leaves_no_trace(
    shards: Shards, teller: Teller
) -> None:
    """A client's mistake in naming the account can be mended under the same reference."""
    nobody = account_no(1)

    assert [Outcome.ACCOUNT_UNKNOWN] == await teller.told(place(nobody, "1", H))
    with pytest.raises(NotFound):
        await shards[1].transfers.get(nobody, Origin.CLIENT, H)


async def test_a_hold_in_another_currency_is_refused(teller: Teller, cast: Cast) -> None:
    """A hold is in its account's currency."""
    told = await teller.told(place(cast.account, "1", H, currency="USD"))

    assert [Outcome.CURRENCY_MISMATCH] == told


@pytest.mark.parametrize(
    ("limit", "fits", "exceeds"), [("0", "100", "0.01"), ("25.50", "125.50", "0.01")]
)
async def test_a_hold_may_use_the_overdraft_to_the_cent(
    limit: str, fits: str, exceeds: str, shards: Shards, teller: Teller
) -> None:
    """Available is what a hold may take: the balance and the overdraft, to the cent."""
    account = await open_account(shards[1], "100", limit=limit)

    assert [POSTED, SHORT] == await teller.told(
        place(account, fits, H), place(account, exceeds, "B")
    )


async def test_without_a_floor_any_amount_may_be_held(shards: Shards, teller: Teller) -> None:
    """An account without a floor holds what it is asked, and is debited as well."""
    account, payee = await open_account(shards[1], limit=None), await open_account(shards[1])

    assert [POSTED] * 3 == await teller.told(
        place(account, "5000000", H),
        transfer(account, payee, "1"),
        capture(account, payee, "5000000", H),
    )


async def test_what_is_held_in_all_has_fourteen_digits_at_most(
    shards: Shards, teller: Teller
) -> None:
    """Holds that no column could hold are refused, and disturb nobody in their batch."""
    account = await open_account(shards[1], limit=None)
    much = "60000000000000"

    told = await teller.told(
        place(account, much, "A"), place(account, much, "B"), increase(account, much, "A"),
        place(account, "1", "C"),
    )  # fmt: skip

    limited = Outcome.LIMIT_EXCEEDED
    assert [POSTED, limited, limited, POSTED] == told


async def test_a_minimum_balance_is_not_held_back_twice(shards: Shards, teller: Teller) -> None:
    """What must remain can neither be held nor captured beyond the hold."""
    account = await _with_minimum(shards[1], "100", "40")

    told = await teller.told(
        place(account, "60.01", "A"),
        place(account, "60", H),
        capture(account, await open_account(shards[1]), "60", H),
        place(account, "0.01", "B"),
    )

    assert [SHORT, POSTED, POSTED, SHORT] == told


async def _with_minimum(shard: Shard, funds: str, minimum: str) -> int:
    account = account_no(shard.number)
    new = NewAccount(account, "EUR", AccountKind.CUSTOMER, "C-1", Decimal(0), b"t")
    assert [POSTED] == await shard.accounts.open_many(
        [replace(new, minimum_balance=Decimal(minimum))]
    )
    await shard.lanes.post(transfer(await open_account(shard, funds), account, funds))
    return account


async def test_a_capture_is_paid_although_a_forced_booking_took_the_rest(
    shards: Shards, teller: Teller, cast: Cast
) -> None:
    """What is held was reserved: a chargeback that came in between does not take it away."""
    told = await teller.told(
        place(cast.account, "30", H),
        forced(cast.account, cast.other, "90"),
        capture(cast.account, cast.shop, "30", H),
        transfer(cast.account, cast.shop, "0.01"),
    )

    balance = await shards[1].balances.get(cast.account)
    assert [POSTED, POSTED, POSTED, SHORT] == told
    assert (Decimal(-20), Decimal(0)) == (balance.ledger, balance.held)


_TERMS = Terms(hold=H, expires_at=END)
_ODD_TERMS: Mapping[str, Mapping[str, object]] = {
    "no terms": {"terms": None},
    "no hold": {"terms": Terms(expires_at=END)},
    "no end": {"terms": Terms(hold=H)},
    "another reference": {"terms": Terms(hold="OTHER", expires_at=END)},
    "not a client's": {"origin": Origin.SYSTEM},
    "zero": {"amount": Decimal(0)},
    "negative": {"amount": Decimal(-1)},
    "not a number": {"amount": Decimal("NaN")},
    "too much for its column": {"amount": Decimal(10) ** 14},
    "too many decimals": {"amount": Decimal("0.001")},
    "unknown currency": {"currency": "XAU"},
    "an ordinary transfer": {"kind": Kind.ORDINARY},
}


@pytest.mark.parametrize("odd", _ODD_TERMS.values(), ids=_ODD_TERMS.keys())
async def test_a_malformed_hold_is_refused_and_disturbs_nobody(
    odd: Mapping[str, object], shards: Shards, teller: Teller, cast: Cast
) -> None:
    """SQL is the last guard: it rejects what Python should have rejected, and stores nothing."""
    first = place(cast.account, "10", "OTHER", expires_at=END)
    sound = place(cast.account, "10", H, expires_at=END)
    command = replace(sound, **odd)  # type: ignore[arg-type]  # the table names the fields
    told = await teller.told(first, command, transfer(cast.account, cast.shop, "1"))

    assert [POSTED, Outcome.MALFORMED, POSTED] == told
    assert Decimal(10) == (await shards[1].balances.get(cast.account)).held
    with pytest.raises(NotFound):
        await shards[1].transfers.get(cast.account, command.origin, H)


def _malformed(cast: Cast) -> Mapping[str, Command]:
    paid = capture(cast.account, cast.shop, "10", H)
    debit, credit = paid.legs
    ten, five = Decimal(10), Decimal(5)
    return {
        "capture of no hold": replace(paid, terms=Terms(is_final=True)),
        "capture without terms": replace(paid, terms=None),
        "capture without legs": replace(paid, legs=()),
        "capture of another amount": replace(paid, amount=five),
        "capture of less than is paid": replace(
            paid, amount=five, legs=(Leg(cast.account, -five), Leg(cast.account, -five), credit)
        ),
        "capture backwards": replace(
            paid, amount=-ten, legs=(replace(debit, amount=ten), replace(credit, amount=-ten))
        ),
        "void with legs": replace(void(cast.account, H), legs=paid.legs),
        "increase by nothing": increase(cast.account, "0", H),
        "increase by less": increase(cast.account, "-1", H),
        "increase by no number": replace(increase(cast.account, "1", H), amount=Decimal("NaN")),
        "increase in tenths of a cent": increase(cast.account, "0.001", H),
        "expiry of no hold": replace(expire(cast.account, H), terms=None),
        "transfer that names a hold": replace(
            transfer(cast.account, cast.shop, "1"), terms=Terms(hold=H)
        ),
    }


async def test_malformed_commands_about_a_hold(teller: Teller, cast: Cast) -> None:
    """Each of them is refused for itself, and the hold stays as it is."""
    odd = _malformed(cast)
    await teller.post(place(cast.account, "30", H))

    told = await teller.told(*odd.values(), capture(cast.account, cast.shop, "30", H))

    assert dict.fromkeys(odd, Outcome.MALFORMED) == dict(zip(odd, told, strict=False))
    assert POSTED is told[-1]


async def test_whole_yen_only(shards: Shards, teller: Teller) -> None:
    """A hold has no more decimals than its currency."""
    account = await open_account(shards[1], "100", currency="JPY")

    assert [Outcome.MALFORMED, POSTED] == await teller.told(
        place(account, "0.5", "A", currency="JPY"), place(account, "50", H, currency="JPY")
    )


async def test_a_system_account_holds_nothing(teller: Teller) -> None:
    """The bank's own machinery cannot be held up by its number."""
    told = await teller.told(place(1_101_000, "1", str(new_id())))

    assert [Outcome.MALFORMED] == told
