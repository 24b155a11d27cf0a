"""What one posting does, seen through the shard's own door."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

from shard.account_numbers import suspense_account
from shard.commands import Leg, MoneyState, Origin, ParkedAmount
from shard.ids import new_id
from shard.outcomes import Outcome
from shard.posting import post_batch
from shard.shard import Shard
from tests.support.bank import Figures, account_no, again, figures, open_account, transfer
from tests.support.databases import Databases
from tests.support.interleaving import posting_connection

Shards = Mapping[int, Shard]


async def test_a_transfer_moves_money_once(shards: Shards) -> None:
    """A booked transfer changes both accounts by its amount, with one entry each."""
    debtor, creditor = await open_account(shards[1], "100"), await open_account(shards[1])

    answer = await shards[1].lanes.post(transfer(debtor, creditor, "30.25"))

    assert (Outcome.POSTED, MoneyState.POSTED) == (answer.outcome, answer.money_state)
    assert Figures(Decimal("69.75"), 2) == await figures(shards[1], debtor)
    assert Figures(Decimal("30.25"), 1) == await figures(shards[1], creditor)


async def test_the_same_reference_has_one_effect(shards: Shards) -> None:
    """A repeated request gets the first answer and books nothing."""
    debtor, creditor = await open_account(shards[1], "100"), await open_account(shards[1])
    command = transfer(debtor, creditor, "10", "PAY-1")
    first = await shards[1].lanes.post(command)

    second = await shards[1].lanes.post(again(command))

    assert replace(first, is_replay=True) == second
    assert Figures(Decimal(10), 1) == await figures(shards[1], creditor)


async def test_entries_carry_the_figures_after_them(shards: Shards) -> None:
    """Each entry tells what stood in the account after it, also within one batch."""
    debtor, creditor = await open_account(shards[1], "100"), await open_account(shards[1])

    commands = [transfer(debtor, creditor, "30"), transfer(debtor, creditor, "0.01")]
    await shards[1].lanes.post_many(commands)

    lines = (await shards[1].statements.page(debtor)).lines
    assert [Decimal(100), Decimal(70), Decimal("69.99")] == [line.ledger_after for line in lines]
    assert [1, 2, 3] == [line.seq for line in lines]
    assert [creditor] * 2 == [line.counterparty for line in lines[1:]]


async def test_another_request_under_a_known_reference_is_refused(shards: Shards) -> None:
    """A reference that names a request with another content is refused and changes nothing."""
    debtor, creditor = await open_account(shards[1], "100"), await open_account(shards[1])
    await shards[1].lanes.post(transfer(debtor, creditor, "10", "PAY-1"))

    answer = await shards[1].lanes.post(transfer(debtor, creditor, "11", "PAY-1"))

    assert Outcome.REFERENCE_REUSED is answer.outcome
    assert Figures(Decimal(10), 1) == await figures(shards[1], creditor)


async def test_references_belong_to_home_and_origin(shards: Shards) -> None:
    """The same reference names different commands at another account or of another origin."""
    one, other = await open_account(shards[1], "100"), await open_account(shards[1], "100")
    there = transfer(one, other, "1", "PAY-1")
    back = transfer(other, one, "2", "PAY-1")
    payroll = replace(transfer(one, other, "3", "PAY-1"), origin=Origin.PAYROLL)

    answers = await shards[1].lanes.post_many([there, back, payroll])

    assert [Outcome.POSTED] * 3 == [answer.outcome for answer in answers]


async def test_what_leaves_for_another_shard_stands_in_suspense(shards: Shards) -> None:
    """SQL itself adds the leg on the suspense account, and the item beside it."""
    debtor, abroad = await open_account(shards[1], "100"), account_no(2)
    before = await shards[1].balances.get(suspense_account(1, "EUR"))
    command = transfer(debtor, abroad, "20", narrative="Rent")

    answer = await shards[1].lanes.post(command)

    after = await shards[1].balances.get(suspense_account(1, "EUR"))
    assert (Outcome.POSTED, MoneyState.IN_TRANSIT) == (answer.outcome, answer.money_state)
    assert Decimal(20) == after.ledger - before.ledger
    balance = await shards[1].balances.get(debtor)
    assert (Decimal(80), Decimal(20)) == (balance.ledger, balance.in_transit)
    record = await shards[1].transfers.get(debtor, Origin.CLIENT, command.reference)
    assert record.convoy is not None
    (item,) = await shards[1].suspense.of_convoy(record.convoy)
    assert (abroad, Decimal(20), 1, "Rent") == (
        item.target, item.amount, item.attempt, item.narrative
    )  # fmt: skip
    assert command.parked[0].item_id == item.item_id


async def test_one_debit_may_be_for_several_creditors(shards: Shards) -> None:
    """Legs here and amounts for other shards may stand in one command, each amount an item."""
    debtor, creditor = await open_account(shards[1], "100"), await open_account(shards[1])
    parked = tuple(ParkedAmount(new_id(), account_no(2), Decimal(n)) for n in (3, 4))
    legs = (Leg(debtor, Decimal(-9)), Leg(creditor, Decimal(2)))
    command = replace(transfer(debtor, creditor, "9"), legs=legs, parked=parked)

    await shards[1].lanes.post(command)

    assert Figures(Decimal(91), 2) == await figures(shards[1], debtor)
    assert Figures(Decimal(2), 1) == await figures(shards[1], creditor)
    assert Decimal(7) == (await shards[1].balances.get(debtor)).in_transit


async def test_a_replay_parks_nothing(shards: Shards) -> None:
    """A repeated cross-shard transfer keeps its first item, whatever ids the repetition brings."""
    debtor, abroad = await open_account(shards[1], "100"), account_no(2)
    command = transfer(debtor, abroad, "20")
    first = await shards[1].lanes.post(command)

    second = await shards[1].lanes.post(again(command))

    assert replace(first, is_replay=True, convoy=None) == second
    assert Decimal(20) == (await shards[1].balances.get(debtor)).in_transit


async def test_the_time_of_posting_never_runs_backwards(shards: Shards, servers: Databases) -> None:
    """Within a bucket a posting is never earlier than the one before it, whatever clocks say."""
    debtor, creditor = await open_account(shards[1], "100"), await open_account(shards[1])
    dsn = servers.shard_dsns[1]
    async with posting_connection(dsn) as ahead, posting_connection(dsn) as late:
        await ahead.execute("SET ledger.clock = '2030-01-01T00:00:00Z'")
        (first,) = await post_batch(ahead, 0, None, [transfer(debtor, creditor, "1")])
        command = transfer(debtor, creditor, "1")
        (second,) = await post_batch(late, 1, None, [command])
        (replayed,) = await post_batch(late, 1, None, [again(command)])

    assert first.posted_at == second.posted_at == replayed.posted_at
    lines = (await shards[1].statements.page(debtor)).lines
    assert [first.posted_at] * 2 == [line.posted_at for line in lines[1:]]
