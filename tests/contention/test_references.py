"""One reference has one effect, however many ask at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal

import pytest

from shard.commands import Command
from shard.lanes import Lanes
from shard.outcomes import Outcome
from shard.posting import post_batch
from shard.shard import Shard
from tests.support.bank import Figures, account_no, again, figures, open_account, transfer
from tests.support.databases import Databases
from tests.support.interleaving import holder, posting_connection

Shards = Mapping[int, Shard]
_PROCESSES = 10
_REQUESTS = 50


@asynccontextmanager
async def lanes_of_many_processes(dsn: str) -> AsyncIterator[list[Lanes]]:
    """One lane for each of several processes."""
    async with AsyncExitStack() as stack:
        opened = []
        for process_no in range(_PROCESSES):
            lanes = Lanes(dsn, process_no=process_no, lane_count=1)
            await lanes.open()
            stack.push_async_callback(lanes.close)
            opened.append(lanes)
        yield opened


async def test_fifty_at_once_have_one_effect(shards: Shards, servers: Databases) -> None:
    """The same reference, sent 50 times over ten connections at once, is booked once."""
    debtor, creditor = await open_account(shards[1], "100"), await open_account(shards[1])
    command = transfer(debtor, creditor, "7", "PAY-50")
    async with (
        lanes_of_many_processes(servers.shard_dsns[1]) as processes,
        holder(servers.shard_owner_dsns[1]) as held,
    ):
        await held.lock_balance(debtor)
        tasks = [
            held.start(processes[i % _PROCESSES].post(again(command))) for i in range(_REQUESTS)
        ]
        # The first request of each process travels alone, the others wait in its queue.
        await held.until_blocks(*tasks[:_PROCESSES])
        await held.rollback()
        answers = await asyncio.gather(*tasks)

    assert {Outcome.POSTED} == {answer.outcome for answer in answers}
    assert [False] + [True] * (_REQUESTS - 1) == sorted(answer.is_replay for answer in answers)
    assert 1 == len({(answer.transfer_id, answer.posted_at) for answer in answers})
    assert Figures(Decimal(7), 1) == await figures(shards[1], creditor)


async def test_a_twin_that_waited_books_when_the_first_rolls_back(
    shards: Shards, servers: Databases
) -> None:
    """Whoever waits for a key takes it over when its first holder gives up."""
    debtor, creditor = await open_account(shards[1], "100"), await open_account(shards[1])
    command = transfer(debtor, creditor, "7")
    async with (
        posting_connection(servers.shard_dsns[1]) as connection,
        holder(servers.shard_owner_dsns[1]) as held,
    ):
        await held.claim(command)
        task = held.start(post_batch(connection, 0, None, [again(command)]))
        await held.until_blocks(task)
        await held.rollback()
        (answer,) = await task

    assert (Outcome.POSTED, False) == (answer.outcome, answer.is_replay)
    assert Figures(Decimal(7), 1) == await figures(shards[1], creditor)


async def test_a_twin_that_waited_replays_when_the_first_commits(
    shards: Shards, servers: Databases
) -> None:
    """Whoever waits for a key tells what its first holder has stored."""
    debtor, creditor = await open_account(shards[1], "100"), await open_account(shards[1])
    command = transfer(debtor, creditor, "7")
    async with (
        posting_connection(servers.shard_dsns[1]) as one,
        posting_connection(servers.shard_dsns[1]) as other,
        holder(servers.shard_owner_dsns[1]) as held,
    ):
        await held.lock_balance(debtor)
        first = held.start(post_batch(one, 0, None, [command]))
        await held.until_blocks(first)
        second = held.start(post_batch(other, 1, None, [again(command)]))
        await held.until_blocks(first, second)
        await held.rollback()
        answers = [*await first, *await second]

    assert [False, True] == [answer.is_replay for answer in answers]
    assert answers[0].transfer_id == answers[1].transfer_id
    assert Figures(Decimal(7), 1) == await figures(shards[1], creditor)


@dataclass(frozen=True, slots=True)
class Twins:
    """A debtor's funds, whether the creditor exists, and the answers of two equal references."""

    funds: str
    creditor_exists: bool
    second_amount: str
    expected: tuple[Outcome, Outcome]
    is_stored: bool


TWINS = {
    "same request, booked": Twins("100", True, "7", (Outcome.POSTED,) * 2, True),
    "other request, booked": Twins(
        "100", True, "8", (Outcome.POSTED, Outcome.REFERENCE_REUSED), True
    ),
    "same request, refused": Twins("5", True, "7", (Outcome.INSUFFICIENT_FUNDS,) * 2, True),
    "other request, refused": Twins(
        "5", True, "4", (Outcome.INSUFFICIENT_FUNDS, Outcome.REFERENCE_REUSED), True
    ),
    "same request, not stored": Twins("100", False, "7", (Outcome.ACCOUNT_UNKNOWN,) * 2, False),
    "other request, not stored": Twins(
        "100", False, "8", (Outcome.ACCOUNT_UNKNOWN, Outcome.REFERENCE_REUSED), False
    ),
}


@pytest.mark.parametrize("case", TWINS.values(), ids=TWINS.keys())
async def test_twins_within_one_batch(case: Twins, shards: Shards, servers: Databases) -> None:
    """In one batch the first of two equal references decides; the second has no effect."""
    debtor = await open_account(shards[1], case.funds)
    creditor = await open_account(shards[1]) if case.creditor_exists else account_no(1)
    first = transfer(debtor, creditor, "7", "TWIN")
    second = transfer(debtor, creditor, case.second_amount, "TWIN")
    before = await figures(shards[1], debtor)

    async with posting_connection(servers.shard_dsns[1]) as connection:
        answers = await post_batch(connection, 0, None, [first, second])
        repeated = await post_batch(connection, 0, None, [again(first)])

    assert case.expected == tuple(answer.outcome for answer in answers)
    assert [False, True] == [answer.is_replay for answer in answers]
    assert (case.expected[0], case.is_stored) == (repeated[0].outcome, repeated[0].is_replay)
    moved = Decimal(7) if case.expected[0] is Outcome.POSTED else Decimal(0)
    assert before.ledger - moved == (await figures(shards[1], debtor)).ledger


async def test_a_twin_of_a_refusal_that_left_no_trace_is_judged_itself(
    shards: Shards, servers: Databases
) -> None:
    """A request that waited for one that was not stored is decided on its own account."""
    debtor, creditor = await open_account(shards[1], "100"), await open_account(shards[1])
    unknown: Command = transfer(debtor, account_no(1), "7", "TWIN")
    async with (
        posting_connection(servers.shard_dsns[1]) as one,
        posting_connection(servers.shard_dsns[1]) as other,
        holder(servers.shard_owner_dsns[1]) as held,
    ):
        await held.lock_balance(debtor)
        first = held.start(post_batch(one, 0, None, [unknown]))
        await held.until_blocks(first)
        task = post_batch(other, 1, None, [transfer(debtor, creditor, "7", "TWIN")])
        second = held.start(task)
        await held.until_blocks(first, second)
        await held.rollback()
        answers = [*await first, *await second]

    expected = [(Outcome.ACCOUNT_UNKNOWN, False), (Outcome.POSTED, False)]
    assert expected == [(answer.outcome, answer.is_replay) for answer in answers]
