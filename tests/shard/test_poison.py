"""Badly formed and poisonous commands: SQL is the last guard, and they harm only themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal

import pytest

from shard.commands import Command, Kind, Leg, ParkedAmount
from shard.errors import LedgerError, Malformed
from shard.ids import new_id
from shard.outcomes import Outcome
from shard.shard import Shard
from tests.support.bank import Figures, account_no, figures, open_account, transfer

Shards = Mapping[int, Shard]
Flaw = Callable[[Command], Command]
_PATIENCE_S = 20.0


def _legs(*changes: str) -> Flaw:
    """Replace the amounts of the legs in turn, and add legs of the home account beyond them."""

    def change(command: Command) -> Command:
        accounts = [leg.account_no for leg in command.legs] + [command.home] * len(changes)
        legs = [Leg(number, Decimal(a)) for number, a in zip(accounts, changes, strict=False)]
        return replace(command, legs=tuple(legs))

    return change


def _parked(*amounts: str) -> Flaw:
    """Take the sum of these from the debtor, and park them."""
    values = [Decimal(amount) for amount in amounts]

    def change(command: Command) -> Command:
        parked = tuple(ParkedAmount(new_id(), account_no(2), value) for value in values)
        return replace(command, legs=(Leg(command.home, -sum(values, Decimal(0))),), parked=parked)

    return change


MALFORMED: dict[str, Flaw] = {
    "legs that do not sum to zero": _legs("-1", "1.01"),
    "one leg alone": _legs("-1"),
    "no leg": _legs(),
    "a zero leg": _legs("-1", "1", "0"),
    "excess decimals": _legs("-1.001", "1.001"),
    "excess decimals that cancel": _legs("-1", "1", "0.001", "-0.001"),
    "not a number": _legs("NaN", "NaN"),
    "infinity": _legs("-Infinity", "Infinity"),
    "a currency not kept here": lambda c: replace(c, currency="XAU"),
    "no home among the legs": lambda c: replace(
        c, home=c.creditor or 0, legs=(c.legs[0], Leg(c.home, c.amount))
    ),
    "an item that does not match": lambda c: replace(
        c, parked=(ParkedAmount(new_id(), account_no(2), Decimal(1)),)
    ),
    "an item of zero": _parked("1", "0"),
    "an item with excess decimals": _parked("0.005"),
    "a tombstone with legs": lambda c: replace(c, kind=Kind.TOMBSTONE),
}


@pytest.mark.parametrize("flaw", MALFORMED.values(), ids=MALFORMED.keys())
async def test_a_malformed_command_is_answered_so_alone(flaw: Flaw, shards: Shards) -> None:
    """A command whose legs make no sense is told so; its neighbours are booked in one batch."""
    debtor, creditor = await open_account(shards[1], "100"), await open_account(shards[1])
    good = [transfer(debtor, creditor, "1") for _ in range(2)]
    bad = flaw(transfer(debtor, creditor, "1"))
    batches = shards[1].lanes.batches

    answers = await shards[1].lanes.post_many([good[0], bad, good[1]])

    assert batches + 1 == shards[1].lanes.batches
    expected = [Outcome.POSTED, Outcome.MALFORMED, Outcome.POSTED]
    assert expected == [answer.outcome for answer in answers]
    assert Figures(Decimal(2), 2) == await figures(shards[1], creditor)


_HUGE = "9" * 19
POISON: dict[str, Flaw] = {
    "a reference outside its alphabet": lambda c: replace(c, reference="PAY 1"),
    "an empty reference": lambda c: replace(c, reference=""),
    "a reference that is too long": lambda c: replace(c, reference="x" * 65),
    "a reference with NUL": lambda c: replace(c, reference="PAY\0"),
    "a reference that is no text": lambda c: replace(c, reference="PAY\ud800"),
    "a narrative with NUL": lambda c: replace(c, narrative="\0"),
    "a narrative that is no text": lambda c: replace(c, narrative="\udfff"),
    "a narrative that is too long": lambda c: replace(c, narrative="x" * 501),
    "details with NUL": lambda c: replace(c, details={"channel": "\0"}),
    "an amount of 19 digits": lambda c: replace(
        _legs(f"-{_HUGE}", _HUGE)(c), amount=Decimal(_HUGE)
    ),
    "an account of 20 digits": lambda c: replace(
        c, legs=(c.legs[0], replace(c.legs[1], account_no=10**20))
    ),
    "an item below zero": _parked("2", "-1"),
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON.keys())
async def test_a_poisonous_command_harms_only_itself(poison: Flaw, shards: Shards) -> None:
    """What the database or its driver cannot take is an error of its own request alone."""
    debtor, creditor = await open_account(shards[1], "100"), await open_account(shards[1])
    good = [transfer(debtor, creditor, "1") for _ in range(2)]
    bad = poison(transfer(debtor, creditor, "1"))

    results = await _post_together(shards[1], [good[0], bad, good[1]])

    assert isinstance(results[1], Malformed), results[1]
    assert [Outcome.POSTED] * 2 == [results[0], results[2]]
    assert Figures(Decimal(2), 2) == await figures(shards[1], creditor)


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON.keys())
async def test_lanes_outlive_poison(poison: Flaw, shards: Shards) -> None:
    """However many poisonous commands come, every lane goes on."""
    debtor, creditor = await open_account(shards[1], "100"), await open_account(shards[1])

    for _ in range(4):
        await _post_together(shards[1], [poison(transfer(debtor, creditor, "1"))])
    answer = await shards[1].lanes.post(transfer(debtor, creditor, "1"))

    assert Outcome.POSTED is answer.outcome


async def _post_together(shard: Shard, commands: list[Command]) -> list[Outcome | LedgerError]:
    """Post commands that travel in one batch; what each of them got."""

    async def post(command: Command) -> Outcome | LedgerError:
        try:
            return (await shard.lanes.post(command)).outcome
        except LedgerError as error:
            return error

    async with asyncio.timeout(_PATIENCE_S):
        return list(await asyncio.gather(*(post(command) for command in commands)))


async def test_a_balance_that_would_grow_too_large_is_refused_alone(shards: Shards) -> None:
    """A posting past 14 integer digits is refused, stored, and books nothing."""
    equity, creditor = await open_account(shards[1], limit=None), await open_account(shards[1])
    other = await open_account(shards[1])
    most = "99999999999999.99"
    await shards[1].lanes.post(transfer(equity, creditor, most))

    answers = await shards[1].lanes.post_many(
        [
            transfer(equity, creditor, "0.01"),
            transfer(equity, other, "1"),
            transfer(equity, other, most),
        ]
    )

    limit_exceeded = Outcome.LIMIT_EXCEEDED
    expected = [limit_exceeded, limit_exceeded, limit_exceeded]
    assert expected == [answer.outcome for answer in answers]
    assert Figures(Decimal(most), 1) == await figures(shards[1], creditor)


async def test_a_balance_at_its_limit_may_shrink_and_grow_again(shards: Shards) -> None:
    """Room that an earlier command of a batch makes is there for the later ones."""
    equity, creditor = await open_account(shards[1], limit=None), await open_account(shards[1])
    other = await open_account(shards[1], "5")
    most = "99999999999999.99"
    await shards[1].lanes.post(transfer(equity, creditor, most))

    answers = await shards[1].lanes.post_many(
        [
            transfer(other, creditor, "1"),
            transfer(creditor, equity, "2"),
            transfer(other, creditor, "2"),
            transfer(other, creditor, "0.01"),
        ]
    )

    expected = [Outcome.LIMIT_EXCEEDED, Outcome.POSTED, Outcome.POSTED, Outcome.LIMIT_EXCEEDED]
    assert expected == [answer.outcome for answer in answers]
