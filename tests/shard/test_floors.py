"""No account falls below its floor by an ordinary command, to the cent, also inside a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

import pytest

from shard.commands import Command, Kind, Leg, Origin
from shard.outcomes import Outcome
from shard.shard import Shard
from tests.support.bank import Figures, figures, open_account, transfer
from tests.support.model import ModelAccount, ModelLedger

Shards = Mapping[int, Shard]
POSTED, SHORT = Outcome.POSTED, Outcome.INSUFFICIENT_FUNDS


@pytest.mark.parametrize(
    ("funds", "limit", "amount", "expected"),
    [
        ("10.00", "0", "10.00", POSTED),
        ("10.00", "0", "10.01", SHORT),
        ("0", "25.50", "25.50", POSTED),
        ("0", "25.50", "25.51", SHORT),
        ("10.00", "25.50", "35.50", POSTED),
        ("10.00", "25.50", "35.51", SHORT),
        ("0", None, "99999999999.99", POSTED),
    ],
)
async def test_the_overdraft_limit_is_exact(
    funds: str, limit: str | None, amount: str, expected: Outcome, shards: Shards
) -> None:
    """The last cent of balance and overdraft may be spent, the one after it may not."""
    debtor = await open_account(shards[1], funds, limit=limit)
    creditor = await open_account(shards[1])

    answer = await shards[1].lanes.post(transfer(debtor, creditor, amount))

    assert expected is answer.outcome


async def test_one_cent_too_many_in_a_batch(shards: Shards) -> None:
    """Of many debits in one batch exactly those are refused that no cent is left for."""
    debtor, creditor = await open_account(shards[1], "10.05"), await open_account(shards[1])
    amounts = ["4", "4", "4", "2", "0.06", "0.05", "0.01"]

    answers = await shards[1].lanes.post_many([transfer(debtor, creditor, a) for a in amounts])

    expected = [POSTED, POSTED, SHORT, POSTED, SHORT, POSTED, SHORT]
    assert expected == [answer.outcome for answer in answers]
    assert Figures(Decimal(0), 5) == await figures(shards[1], debtor)


# Amounts along the chain A -> B -> C -> D, and the position of one that is refused for itself.
CHAINS = {
    "all": (["10", "10", "10"], None),
    "first is short": (["10.01", "10", "10"], None),
    "middle asks more": (["10", "10.01", "10"], None),
    "middle is refused": (["10", "10", "10"], 1),
    "first is refused": (["10", "10", "10"], 0),
    "partly": (["10", "4", "5", "4"], None),
}


@pytest.mark.parametrize(("amounts", "refused"), CHAINS.values(), ids=CHAINS.keys())
async def test_each_command_builds_on_those_before_it(
    amounts: list[str], refused: int | None, shards: Shards
) -> None:
    """Commands of a batch are decided in their order, as one after the other would be."""
    accounts = [await open_account(shards[1], "10" if i == 0 else "0") for i in range(4)]
    dollars = await open_account(shards[1], currency="USD")
    commands = [
        transfer(accounts[i % 4], accounts[(i + 1) % 4], amount) for i, amount in enumerate(amounts)
    ]
    if refused is not None:
        commands[refused] = _also_pays(commands[refused], dollars)
    model = ModelLedger({number: ModelAccount() for number in accounts})
    model.accounts[accounts[0]].balance = Decimal(10)
    model.accounts[dollars] = ModelAccount(currency="USD")

    answers = await shards[1].lanes.post_many(commands)

    assert model.post_batch(commands) == [answer.outcome for answer in answers]
    expected = [model.accounts[number].balance for number in accounts]
    assert expected == [(await figures(shards[1], number)).ledger for number in accounts]


def _also_pays(command: Command, account: int) -> Command:
    return replace(
        command, legs=(*command.legs, Leg(account, Decimal(1)), Leg(command.home, Decimal(-1)))
    )


async def test_the_legs_of_one_command_are_taken_in_order(shards: Shards) -> None:
    """A debit is covered by what came before it, not by a credit that follows it."""
    one, other = await open_account(shards[1]), await open_account(shards[1], "5")
    credit, debit = Leg(one, Decimal(5)), Leg(one, Decimal(-5))
    back = Leg(other, Decimal(5))
    first = transfer(other, one, "5")
    commands = [
        replace(first, legs=(Leg(other, Decimal(-5)), debit, credit, back)),
        replace(transfer(other, one, "5"), legs=(Leg(other, Decimal(-5)), credit, debit, back)),
    ]

    answers = await shards[1].lanes.post_many(commands)

    assert [SHORT, POSTED] == [answer.outcome for answer in answers]


async def test_a_forced_booking_may_pass_the_floor(shards: Shards) -> None:
    """Only a forced command takes an account below its floor, and later ones feel it."""
    debtor, creditor = await open_account(shards[1], "10"), await open_account(shards[1])
    forced = replace(transfer(debtor, creditor, "15"), kind=Kind.FORCED, origin=Origin.REVERSAL)

    answers = await shards[1].lanes.post_many([forced, transfer(debtor, creditor, "1")])

    assert [POSTED, SHORT] == [answer.outcome for answer in answers]
    assert Figures(Decimal(-5), 2) == await figures(shards[1], debtor)


async def test_a_credit_is_booked_although_the_account_stays_below_its_floor(
    shards: Shards,
) -> None:
    """What improves an account that is below its floor is not refused."""
    debtor, creditor = await open_account(shards[1], "10"), await open_account(shards[1], "10")
    forced = replace(transfer(debtor, creditor, "15"), kind=Kind.FORCED, origin=Origin.REVERSAL)
    await shards[1].lanes.post(forced)

    answer = await shards[1].lanes.post(transfer(creditor, debtor, "1"))

    assert POSTED is answer.outcome
