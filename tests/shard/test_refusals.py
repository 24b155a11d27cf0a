"""What is refused, in which order of precedence, and what is remembered of it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

import pytest

from shard.account_numbers import clearing_account, suspense_account
from shard.accounts import AccountStatus
from shard.commands import Command, Kind, Leg, MoneyState, Origin
from shard.errors import NotFound
from shard.ids import new_id
from shard.outcomes import MEANINGS, Outcome
from shard.shard import Shard
from tests.shard.cast import FLAWS, FUNDS, Cast, enter
from tests.shard.own_server import OwnShard
from tests.support.bank import Figures, account_no, again, figures, open_account, transfer

Shards = Mapping[int, Shard]


@pytest.fixture
async def cast(shards: Shards) -> Cast:
    """Accounts of this test that give every kind of refusal."""
    return await enter(shards[1])


async def test_refusals_do_not_disturb_their_neighbours(shards: Shards, cast: Cast) -> None:
    """In one batch with a refusal of every kind, all that is in order is booked."""
    refused = [cast.command(flaw) for flaw in FLAWS]
    mixed = [each for pair in zip(refused, _good(cast, len(refused)), strict=True) for each in pair]
    before = shards[1].lanes.batches

    answers = await shards[1].lanes.post_many(mixed)

    assert before + 1 == shards[1].lanes.batches
    assert list(FLAWS) == [answer.outcome for answer in answers[::2]]
    assert {Outcome.POSTED} == {answer.outcome for answer in answers[1::2]}
    expected = Decimal(1 + len(refused))
    assert Figures(expected, 1 + len(refused)) == await figures(shards[1], cast.payee)
    assert FUNDS - expected == (await figures(shards[1], cast.payer)).ledger


def _good(cast: Cast, count: int) -> list[Command]:
    return [cast.command() for _ in range(count)]


async def test_the_first_reason_in_order_of_precedence_is_told(shards: Shards, cast: Cast) -> None:
    """A command with several flaws is refused for the one that stands first in the list."""
    pairs = list(itertools.combinations(FLAWS, 2))

    answers = await shards[1].lanes.post_many([cast.command(*pair) for pair in pairs])

    told = {pair: answer.outcome for pair, answer in zip(pairs, answers, strict=True)}
    order = list(Outcome)
    assert {pair: min(pair, key=order.index) for pair in pairs} == told


def _is_stored(outcome: Outcome, origin: Origin) -> bool:
    meaning = MEANINGS[outcome]
    is_client = origin is Origin.CLIENT
    return meaning.is_stored_for_clients if is_client else meaning.is_stored_for_deliveries


@pytest.mark.parametrize("origin", [Origin.CLIENT, Origin.PAYROLL])
@pytest.mark.parametrize("flaw", [flaw for flaw in FLAWS if flaw != Outcome.REFERENCE_REUSED])
async def test_refusals_are_remembered_as_their_table_says(
    flaw: Outcome, origin: Origin, shards: Shards, cast: Cast
) -> None:
    """What the table of outcomes calls stored is replayed; the rest leaves no trace."""
    command = replace(cast.command(flaw), origin=origin)
    first = await shards[1].lanes.post(command)

    second = await shards[1].lanes.post(again(command))

    is_stored = _is_stored(flaw, origin)
    assert (flaw, False, MoneyState.NONE) == (first.outcome, first.is_replay, first.money_state)
    assert (flaw, is_stored) == (second.outcome, second.is_replay)
    if is_stored:
        assert replace(first, is_replay=True) == second
        record = await shards[1].transfers.get(command.home, origin, command.reference)
        assert (flaw, MoneyState.NONE, None) == (record.outcome, record.money_state, record.convoy)
    else:
        with pytest.raises(NotFound):
            await shards[1].transfers.get(command.home, origin, command.reference)


async def test_a_refusal_stays_when_its_reason_is_gone(shards: Shards) -> None:
    """A stored refusal is replayed although the same request would be booked now."""
    debtor, creditor = await open_account(shards[1]), await open_account(shards[1], "100")
    command = transfer(debtor, creditor, "10")
    first = await shards[1].lanes.post(command)
    await shards[1].lanes.post(transfer(creditor, debtor, "50"))

    second = await shards[1].lanes.post(again(command))

    assert Outcome.INSUFFICIENT_FUNDS is first.outcome
    assert replace(first, is_replay=True) == second


async def test_what_left_no_trace_is_judged_anew(shards: Shards) -> None:
    """A refusal that is not stored does not stand in the way of the same reference."""
    debtor, creditor = await open_account(shards[1], "100"), await open_account(shards[1])
    await shards[1].lanes.post(transfer(debtor, account_no(1), "10", "PAY-1"))

    answer = await shards[1].lanes.post(transfer(debtor, creditor, "10", "PAY-1"))

    assert (Outcome.POSTED, False) == (answer.outcome, answer.is_replay)


async def test_a_refused_transfer_parks_nothing(shards: Shards) -> None:
    """A cross-shard transfer that is refused leaves neither item nor convoy."""
    debtor = await open_account(shards[1], "5")
    command = transfer(debtor, account_no(2), "10", narrative="Rent")

    answer = await shards[1].lanes.post(command)

    assert (Outcome.INSUFFICIENT_FUNDS, MoneyState.NONE) == (answer.outcome, answer.money_state)
    assert Decimal(0) == (await shards[1].balances.get(debtor)).in_transit
    record = await shards[1].transfers.get(debtor, Origin.CLIENT, command.reference)
    assert (None, MoneyState.NONE) == (record.convoy, record.money_state)


@pytest.mark.parametrize("origin", [Origin.CLIENT, Origin.PAYROLL, Origin.REVERSAL])
async def test_system_accounts_are_not_for_clients(origin: Origin, shards: Shards) -> None:
    """Nobody outside names a suspense or clearing account, as debtor, creditor or otherwise."""
    account = await open_account(shards[1], "100")
    suspense, clearing = suspense_account(1, "EUR"), clearing_account(1, 2, "EUR")
    commands = [
        transfer(account, suspense, "1"),
        transfer(suspense, account, "1"),
        transfer(clearing, account, "1"),
        transfer(clearing, suspense, "1"),
    ]
    legs = [(Leg(c.home, -c.amount), Leg(c.creditor or 0, c.amount)) for c in commands]
    commands = [
        replace(command, origin=origin, legs=each, parked=())
        for command, each in zip(commands, legs, strict=True)
    ]

    answers = await shards[1].lanes.post_many(commands)

    assert {Outcome.SYSTEM_ACCOUNT} == {answer.outcome for answer in answers}


async def test_suspense_is_moved_by_its_items_alone(shards: Shards) -> None:
    """Not even the bank's own commands park an amount without an item."""
    account, suspense = await open_account(shards[1], "100"), suspense_account(1, "EUR")
    command = transfer(account, suspense, "5")
    legs = (Leg(account, -command.amount), Leg(suspense, command.amount))

    answer = await shards[1].lanes.post(
        replace(command, origin=Origin.SYSTEM, legs=legs, parked=())
    )

    assert Outcome.SYSTEM_ACCOUNT is answer.outcome


def _delivery(target: int, amount: str, kind: Kind = Kind.ORDINARY) -> Command:
    """A delivery on shard 1 of money that left shard 2."""
    value = Decimal(amount)
    clearing = clearing_account(1, 2, "EUR")
    return replace(
        transfer(target, clearing, amount, f"{new_id()}:1"),
        origin=Origin.DELIVERY,
        kind=kind,
        legs=(Leg(clearing, -value, target), Leg(target, value)),
        parked=(),
    )


async def test_a_delivery_may_use_the_clearing_account_only(own: OwnShard) -> None:
    """A delivery debits clearing; suspense is as forbidden to it as to a client."""
    target = await open_account(own.shard)
    wrong = _delivery(target, "5")
    suspense = Leg(suspense_account(1, "EUR"), Decimal(-5), target)
    wrong = replace(wrong, legs=(suspense, *wrong.legs[1:]))

    answers = await own.shard.lanes.post_many([_delivery(target, "5"), wrong])

    assert [Outcome.POSTED, Outcome.SYSTEM_ACCOUNT] == [answer.outcome for answer in answers]
    await _undo(own.shard, target, "5")


async def _undo(shard: Shard, target: int, amount: str) -> None:
    """Give delivered money back, so that the bank's clearing accounts cancel again."""
    value = Decimal(amount)
    clearing = clearing_account(1, 2, "EUR")
    legs = (Leg(target, -value), Leg(clearing, value))
    command = replace(transfer(target, clearing, amount), legs=legs, parked=())
    answer = await shard.lanes.post(replace(command, origin=Origin.SYSTEM, kind=Kind.FORCED))
    assert Outcome.POSTED is answer.outcome


async def test_only_a_return_reaches_a_frozen_account(own: OwnShard) -> None:
    """A debtor's own money comes back into a frozen account; other deliveries are refused."""
    target = await open_account(own.shard)
    await own.shard.accounts.change_status(target, AccountStatus.FROZEN, actor="t", reason="t")
    commands = [_delivery(target, "5"), _delivery(target, "7", Kind.RETURN)]

    answers = await own.shard.lanes.post_many(commands)

    assert [Outcome.ACCOUNT_FROZEN, Outcome.POSTED] == [answer.outcome for answer in answers]
    assert Figures(Decimal(7), 1) == await figures(own.shard, target)
    await _undo(own.shard, target, "7")


async def test_a_return_does_not_reach_a_closed_account(own: OwnShard) -> None:
    """Closed is for ever, also for a debtor's own money."""
    target = await open_account(own.shard)
    await own.shard.accounts.change_status(target, AccountStatus.CLOSED, actor="t", reason="t")

    answer = await own.shard.lanes.post(_delivery(target, "7", Kind.RETURN))

    assert Outcome.ACCOUNT_CLOSED is answer.outcome


def _tombstone(command: Command) -> Command:
    """The recall of a command that may have been booked."""
    return replace(command, transfer_id=new_id(), kind=Kind.TOMBSTONE, legs=(), parked=())


async def test_a_tombstone_before_the_delivery_recalls_it(own: OwnShard) -> None:
    """A delivery that comes after its tombstone is never booked."""
    command = _delivery(await open_account(own.shard), "5")

    recalled = await own.shard.lanes.post(_tombstone(command))
    late = await own.shard.lanes.post(command)

    assert (Outcome.RECALLED, False) == (recalled.outcome, recalled.is_replay)
    assert replace(recalled, is_replay=True) == late
    assert Figures(Decimal(0), 0) == await figures(own.shard, command.home)


async def test_a_tombstone_after_the_delivery_tells_that_it_was_booked(own: OwnShard) -> None:
    """What is booked cannot be recalled: the tombstone replays the booking."""
    command = _delivery(await open_account(own.shard), "5")

    booked = await own.shard.lanes.post(command)
    answer = await own.shard.lanes.post(_tombstone(command))

    assert Outcome.POSTED is booked.outcome
    assert replace(booked, is_replay=True) == answer
    await _undo(own.shard, command.home, "5")


async def test_a_tombstone_after_a_refusal_tells_the_refusal(own: OwnShard) -> None:
    """A refusal is stored, unknown accounts included, and a later tombstone replays it."""
    command = _delivery(account_no(1), "5")

    refused = await own.shard.lanes.post(command)
    answer = await own.shard.lanes.post(_tombstone(command))

    assert Outcome.ACCOUNT_UNKNOWN is refused.outcome
    assert replace(refused, is_replay=True) == answer


async def test_tombstone_and_delivery_in_one_batch(own: OwnShard) -> None:
    """Of a tombstone and its delivery in one batch the first one counts."""
    target = await open_account(own.shard)
    first, second = _delivery(target, "5"), _delivery(target, "7")

    answers = await own.shard.lanes.post_many(
        [_tombstone(first), first, second, _tombstone(second)]
    )

    expected = [Outcome.RECALLED, Outcome.RECALLED, Outcome.POSTED, Outcome.POSTED]
    assert expected == [answer.outcome for answer in answers]
    assert Figures(Decimal(7), 1) == await figures(own.shard, target)
    await _undo(own.shard, target, "7")
