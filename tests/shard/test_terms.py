"""What some commands ask for: a position of their debtor, to be forced, to be all or none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

import pytest

from shard.accounts import AccountChange, AccountStatus
from shard.commands import Command, Kind, Leg, MoneyState, Origin
from shard.errors import NotFound
from shard.outcomes import Outcome
from shard.shard import Shard
from tests.support.bank import Figures, account_no, again, figures, open_account, transfer
from tests.support.movements import Teller, capture, forced, guarded, place, reversal, void

Shards = Mapping[int, Shard]
POSTED, SHORT = Outcome.POSTED, Outcome.INSUFFICIENT_FUNDS
MISMATCH, ABORTED = Outcome.SEQUENCE_MISMATCH, Outcome.ATOMIC_ABORTED


@dataclass(frozen=True, slots=True)
class Cast:
    """A payer with 100.00 at position 1, and two payees with nothing."""

    payer: int
    payee: int
    other: int

    def pay(self, amount: str) -> Command:
        """A payment to the payee."""
        return transfer(self.payer, self.payee, amount)

    def at(self, seq: int, amount: str = "1") -> Command:
        """A payment that wants the payer at a position."""
        return guarded(self.payer, self.payee, amount, seq)


@pytest.fixture
async def cast(shards: Shards) -> Cast:
    """The accounts of one test."""
    shard = shards[1]
    return Cast(await open_account(shard, "100"), *[await open_account(shard) for _ in "ab"])


# --- expected_seq


@pytest.mark.parametrize(
    ("seq", "expected"), [(0, MISMATCH), (1, POSTED), (2, MISMATCH), (-1, MISMATCH)]
)
async def test_the_debtor_must_stand_where_it_is_expected(
    seq: int, expected: Outcome, teller: Teller, cast: Cast
) -> None:
    """A guarded debit is booked at exactly the position it names."""
    assert [expected] == await teller.told(cast.at(seq))


async def test_the_balance_tells_the_position_to_expect(
    shards: Shards, teller: Teller, cast: Cast
) -> None:
    """What a reader is told as ``seq`` is what the guard wants."""
    await teller.post(cast.pay("1"), cast.pay("1"))

    balance = await shards[1].balances.get(cast.payer)

    assert [POSTED] == await teller.told(cast.at(int(balance.seq)))


async def test_positions_move_within_a_batch(teller: Teller, cast: Cast) -> None:
    """Each booked command of a batch moves the position, a refused one does not."""
    told = await teller.told(
        cast.at(1),
        cast.at(1),
        cast.pay("200"),
        cast.at(2, "200"),
        cast.at(2),
        place(cast.payer, "1", "AUTH-1"),
        cast.at(3),
        cast.at(4),
    )

    assert [POSTED, MISMATCH, SHORT, SHORT, POSTED, POSTED, MISMATCH, POSTED] == told


async def test_a_command_that_fails_half_way_moves_no_position(
    shards: Shards, teller: Teller, cast: Cast
) -> None:
    """A debit that is undone because another debtor of its command is short leaves no trace."""
    poor = await open_account(shards[1])
    legs = (
        Leg(cast.payer, Decimal(-1)),
        Leg(poor, Decimal(-1)),
        Leg(cast.payee, Decimal(2)),
    )
    failing = replace(cast.pay("1"), legs=legs, creditor=None)

    assert [SHORT, MISMATCH, POSTED] == await teller.told(failing, cast.at(2), cast.at(1))


async def test_a_credit_moves_the_position_as_well(
    shards: Shards, teller: Teller, cast: Cast
) -> None:
    """Whatever happened to the account since it was looked at stops a guarded debit."""
    await teller.post(transfer(await open_account(shards[1], "5"), cast.payer, "5"))

    assert [MISMATCH, POSTED] == await teller.told(cast.at(1), cast.at(2))


async def test_a_mismatch_is_stored(teller: Teller, cast: Cast) -> None:
    """A guarded debit that came too late stays refused under its reference."""
    command = cast.at(2)
    await teller.post(command)
    await teller.post(cast.pay("1"))

    (answer,) = await teller.post(again(command))

    assert (MISMATCH, True) == (answer.outcome, answer.is_replay)


async def test_the_position_is_asked_before_holds_and_funds(teller: Teller, cast: Cast) -> None:
    """SEQUENCE_MISMATCH stands before what holds and funds speak against, after the accounts."""
    unknown = void(cast.payer, "NONE")
    assert unknown.terms is not None
    late = replace(unknown, terms=replace(unknown.terms, expected_seq=9))
    nobody = guarded(cast.payer, account_no(1), "1", 9)

    told = await teller.told(cast.at(9, "200"), late, nobody)

    assert [MISMATCH, MISMATCH, Outcome.ACCOUNT_UNKNOWN] == told


async def test_a_guarded_payment_to_another_shard(
    shards: Shards, teller: Teller, cast: Cast
) -> None:
    """The guard looks at the debtor, wherever the creditor lives."""
    abroad = await open_account(shards[2])

    answers = await teller.post(
        guarded(cast.payer, abroad, "1", 0), guarded(cast.payer, abroad, "1", 1)
    )

    assert [MISMATCH, POSTED] == [answer.outcome for answer in answers]
    assert MoneyState.IN_TRANSIT is answers[1].money_state


# --- forced


async def _freeze(shards: Shards, account: int) -> None:
    change = AccountChange(status=AccountStatus.FROZEN)
    await shards[1].accounts.change(account, change, actor="t", reason="t")


async def test_a_forced_booking_passes_floor_freeze_and_holds(
    shards: Shards, teller: Teller, cast: Cast
) -> None:
    """Neither a floor, nor a freeze on either side, nor what is held stops it."""
    await teller.post(place(cast.payer, "60", "AUTH-1"))
    await _freeze(shards, cast.payer)
    await _freeze(shards, cast.payee)

    assert [POSTED] == await teller.told(forced(cast.payer, cast.payee, "150"))
    balance = await shards[1].balances.get(cast.payer)
    assert (Decimal(-50), Decimal(60)) == (balance.ledger, balance.held)
    record = await shards[1].transfers.get(
        cast.payer, Origin.REVERSAL, (await _last_reference(shards, cast.payer))
    )
    assert Kind.FORCED is record.kind


async def _last_reference(shards: Shards, account: int) -> str:
    page = await shards[1].statements.page(account, limit=100)
    return page.lines[-1].reference


async def test_a_forced_booking_obeys_all_other_rules(
    shards: Shards, teller: Teller, cast: Cast
) -> None:
    """It is refused for a closed or unknown account and for another currency."""
    closed, dollars = await open_account(shards[1]), await open_account(shards[1], currency="USD")
    change = AccountChange(status=AccountStatus.CLOSED)
    await shards[1].accounts.change(closed, change, actor="t", reason="t")

    told = await teller.told(
        *[forced(cast.payer, payee, "1") for payee in (closed, account_no(1), dollars)]
    )

    assert [
        Outcome.ACCOUNT_CLOSED, Outcome.ACCOUNT_UNKNOWN, Outcome.CURRENCY_MISMATCH
    ] == told  # fmt: skip


async def test_ordinary_bookings_beside_a_forced_one_obey_the_floor(
    teller: Teller, cast: Cast
) -> None:
    """In one batch only the forced command goes below the floor."""
    told = await teller.told(
        cast.pay("60"),
        forced(cast.payer, cast.payee, "60"),
        cast.pay("1"),
        transfer(cast.payee, cast.payer, "25"),
        cast.pay("5.01"),
        cast.pay("5"),
    )

    assert [POSTED, POSTED, SHORT, POSTED, SHORT, POSTED] == told


# --- several legs


def _legs(cast: Cast, principal: str, fee: str) -> Command:
    debit = Leg(cast.payer, -(Decimal(principal) + Decimal(fee)))
    legs = (
        debit,
        Leg(cast.payee, Decimal(principal), cast.payer),
        Leg(cast.other, Decimal(fee), cast.payer),
    )
    command = transfer(cast.payer, cast.payee, str(-debit.amount))
    told = [{"account": str(leg.account_no), "amount": str(leg.amount)} for leg in legs]
    return replace(command, legs=legs, creditor=None, details={"legs": told})


async def test_principal_and_fee_in_one_voucher(shards: Shards, teller: Teller, cast: Cast) -> None:
    """All legs are booked under one reference, which tells them as they were given."""
    command = _legs(cast, "19.50", "0.50")

    assert [POSTED] == await teller.told(command)
    assert [Decimal(80), Decimal("19.5"), Decimal("0.5")] == [
        (await shards[1].balances.get(each)).ledger for each in (cast.payer, cast.payee, cast.other)
    ]
    record = await shards[1].transfers.get(cast.payer, Origin.CLIENT, command.reference)
    assert command.details is not None
    assert command.details["legs"] == record.legs


async def test_one_bad_leg_refuses_them_all(shards: Shards, teller: Teller, cast: Cast) -> None:
    """Where one creditor cannot be paid, none is; and the whole amount must be there."""
    await _freeze(shards, cast.other)

    told = await teller.told(_legs(cast, "1", "1"), _legs(cast, "100", "0.01"), cast.pay("100"))

    assert [Outcome.ACCOUNT_FROZEN, Outcome.ACCOUNT_FROZEN, POSTED] == told
    assert Figures(Decimal(100), 1) == await figures(shards[1], cast.payee)


async def test_several_debtors_of_one_shard(shards: Shards, teller: Teller, cast: Cast) -> None:
    """Each debtor must have its part; one that has not refuses the command for all."""
    second = await open_account(shards[1], "5")
    command = transfer(cast.payer, cast.payee, "10")

    def of(part: str) -> Command:
        legs = (
            Leg(cast.payer, Decimal(-10)),
            Leg(second, -Decimal(part)),
            Leg(cast.payee, 10 + Decimal(part)),
        )
        return replace(command, reference=f"P-{part}", legs=legs, creditor=None)

    assert [SHORT, POSTED] == await teller.told(of("5.01"), of("5"))
    assert Decimal(15) == (await shards[1].balances.get(cast.payee)).ledger


# --- atomic


async def test_an_atomic_batch_is_booked_whole(teller: Teller, cast: Cast) -> None:
    """Where nothing speaks against any command, all are booked."""
    told = await teller.told(
        cast.pay("1"),
        place(cast.payer, "10", "AUTH-1"),
        capture(cast.payer, cast.other, "10", "AUTH-1"),
        cast.at(4),
        is_atomic=True,
    )

    assert [POSTED] * 4 == told


async def test_an_atomic_batch_with_one_refusal_leaves_nothing(
    shards: Shards, teller: Teller, cast: Cast
) -> None:
    """One refusal undoes all, and stores nothing: neither money nor references nor holds."""
    original = cast.pay("10")
    await teller.post(original)
    commands = [
        cast.pay("1"),
        place(cast.payer, "5", "AUTH-1"),
        reversal(original, "10"),
        transfer(cast.payer, await open_account(shards[2]), "1"),
        cast.pay("200"),
    ]

    answers = await teller.post(*commands, is_atomic=True)

    assert [ABORTED] * 4 + [SHORT] == [answer.outcome for answer in answers]
    assert [None] * 5 == [answer.transfer_id for answer in answers]
    balance = await shards[1].balances.get(cast.payer)
    assert (Decimal(90), Decimal(0), Decimal(0)) == (
        balance.ledger, balance.held, balance.in_transit
    )  # fmt: skip
    for command in commands:
        with pytest.raises(NotFound):
            await shards[1].transfers.get(command.home, command.origin, command.reference)
    assert [POSTED] * 4 == await teller.told(*[again(each) for each in commands[:4]])


async def test_an_atomic_batch_tells_every_refusal(
    shards: Shards, teller: Teller, cast: Cast
) -> None:
    """Each command that is refused for itself says why, in the order of the batch."""
    nobody = transfer(cast.payer, account_no(1), "1")
    abroad = transfer(account_no(2), cast.payee, "1")

    told = await teller.told(
        cast.pay("200"),
        cast.pay("1"),
        nobody,
        replace(abroad, legs=(Leg(abroad.home, Decimal(-1)), Leg(cast.payee, Decimal(1)))),
        cast.at(9),
        is_atomic=True,
    )

    expected = [SHORT, ABORTED, Outcome.ACCOUNT_UNKNOWN, Outcome.NOT_OWNER, MISMATCH]
    assert expected == told


async def test_a_repeated_atomic_batch_is_a_replay(
    shards: Shards, teller: Teller, cast: Cast
) -> None:
    """Sent again it answers as it did, and moves nothing."""
    commands = [cast.pay("60"), cast.pay("40")]
    first = await teller.post(*commands, is_atomic=True)

    second = await teller.post(*[again(each) for each in commands], is_atomic=True)

    assert [(POSTED, False)] * 2 == [(a.outcome, a.is_replay) for a in first]
    assert [(POSTED, True)] * 2 == [(a.outcome, a.is_replay) for a in second]
    assert [a.transfer_id for a in first] == [a.transfer_id for a in second]
    assert Figures(Decimal(0), 3) == await figures(shards[1], cast.payer)


async def test_a_reused_reference_aborts_an_atomic_batch(
    shards: Shards, teller: Teller, cast: Cast
) -> None:
    """Another content under a known reference, or twice in the batch, refuses the whole."""
    known = cast.pay("1")
    await teller.post(known)
    new, twin = cast.pay("2"), cast.pay("3")

    against_known = await teller.told(
        new, replace(cast.pay("4"), reference=known.reference), is_atomic=True
    )
    against_twin = await teller.told(
        twin, replace(cast.pay("4"), reference=twin.reference), is_atomic=True
    )

    reused = Outcome.REFERENCE_REUSED
    assert [[ABORTED, reused]] * 2 == [against_known, against_twin]
    assert Figures(Decimal(99), 2) == await figures(shards[1], cast.payer)


async def test_a_stored_refusal_aborts_an_atomic_batch(teller: Teller, cast: Cast) -> None:
    """A reference that was refused before is refused in a batch as well."""
    refused = cast.pay("200")
    await teller.post(refused)

    told = await teller.told(cast.pay("1"), again(refused), is_atomic=True)

    assert [ABORTED, SHORT] == told


async def test_what_was_booked_before_is_told_so_by_an_aborted_batch(
    teller: Teller, cast: Cast
) -> None:
    """An abort undoes this batch alone: a replay in it is booked, and must not be denied."""
    booked = cast.pay("1")
    (first,) = await teller.post(booked)

    answers = await teller.post(again(booked), cast.pay("200"), is_atomic=True)

    assert [(POSTED, True), (SHORT, False)] == [(a.outcome, a.is_replay) for a in answers]
    assert (first.transfer_id, first.posted_at, MoneyState.POSTED) == (
        answers[0].transfer_id, answers[0].posted_at, answers[0].money_state
    )  # fmt: skip


async def test_a_twin_in_an_atomic_batch_shares_what_leaves_no_trace(
    teller: Teller, cast: Cast
) -> None:
    """The second of two equal commands is told what the first is, not that it differs."""
    nobody = transfer(cast.payer, account_no(1), "1")

    told = await teller.told(nobody, again(nobody), is_atomic=True)

    assert [Outcome.ACCOUNT_UNKNOWN] * 2 == told


async def test_atomic_commands_build_on_each_other(shards: Shards, teller: Teller) -> None:
    """Money may pass through an account that had none before the batch."""
    accounts = [await open_account(shards[1], "10" if n == 0 else "0") for n in range(3)]
    chain = [transfer(accounts[n], accounts[n + 1], "10") for n in range(2)]

    assert [POSTED] * 2 == await teller.told(*chain, is_atomic=True)
    assert [SHORT, ABORTED] == await teller.told(
        transfer(accounts[0], accounts[1], "1"), transfer(accounts[2], accounts[0], "10"),
        is_atomic=True,
    )  # fmt: skip
