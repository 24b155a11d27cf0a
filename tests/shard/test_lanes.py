"""Lanes: batches that form by themselves, a bounded queue, and replies that get lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from psycopg import OperationalError
from psycopg.rows import TupleRow

from shard import lane as lane_module
from shard import lane_queue as queue_module
from shard import lanes as lanes_module
from shard.commands import Answer, Command, MoneyState
from shard.connections import Connection
from shard.errors import Malformed, OutcomeUnknown, Overloaded, ShardUnavailable
from shard.ids import new_id
from shard.lanes import Lanes
from shard.outcomes import Outcome
from shard.posting import post_batch
from shard.shard import Shard
from tests.support.bank import Figures, account_no, again, figures, open_account, transfer
from tests.support.databases import Databases
from tests.support.interleaving import Holder, holder

Shards = Mapping[int, Shard]


@asynccontextmanager
async def one_lane(dsn: str) -> AsyncIterator[Lanes]:
    """Lanes of a process of their own, of which there is one."""
    lanes = Lanes(dsn, process_no=7, lane_count=1)
    await lanes.open()
    try:
        yield lanes
    finally:
        await lanes.close()


@asynccontextmanager
async def busy_lane(
    servers: Databases, debtor: int, creditor: int
) -> AsyncIterator[tuple[Lanes, Holder, asyncio.Task[Answer]]]:
    """The only lane waits for a balance row that the holder holds."""
    async with (
        one_lane(servers.shard_dsns[1]) as lanes,
        holder(servers.shard_owner_dsns[1]) as held,
    ):
        await held.lock_balance(debtor)
        first = held.start(lanes.post(transfer(debtor, creditor, "1")))
        await held.until_blocks(first)
        yield lanes, held, first


def _start(held: Holder, posts: list[Coroutine[Any, Any, Answer]]) -> list[asyncio.Task[Answer]]:
    return [held.start(post) for post in posts]


async def _queued(lanes: Lanes, count: int) -> None:
    """Let what was started reach the queue."""
    while lanes.queued_commands < count:  # noqa: ASYNC110 the lanes have no event for it
        await asyncio.sleep(0)  # sleep: gives the loop a turn, and takes no time


async def test_what_waits_while_a_lane_is_busy_travels_together(
    shards: Shards, servers: Databases
) -> None:
    """A lane that becomes free takes everything that waits as one batch."""
    debtor, creditor = await open_account(shards[1], "100"), await open_account(shards[1])
    async with busy_lane(servers, debtor, creditor) as (lanes, held, first):
        tasks = _start(held, [lanes.post(transfer(debtor, creditor, "1")) for _ in range(30)])
        await _queued(lanes, 30)
        await held.rollback()
        answers = await asyncio.gather(first, *tasks)
        counted = (lanes.batches, lanes.commands)

    assert {Outcome.POSTED} == {answer.outcome for answer in answers}
    assert (2, 31) == counted
    assert 1 == len({answer.posted_at for answer in answers[1:]})


async def test_a_batch_has_its_bound(
    shards: Shards, servers: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lane takes no more than its bound at once; the rest travels in the next batch."""
    monkeypatch.setattr(queue_module, "LANE_BATCH_COMMANDS", 8)
    debtor, creditor = await open_account(shards[1], "100"), await open_account(shards[1])
    async with busy_lane(servers, debtor, creditor) as (lanes, held, first):
        tasks = _start(held, [lanes.post(transfer(debtor, creditor, "1")) for _ in range(20)])
        await _queued(lanes, 20)
        await held.rollback()
        await asyncio.gather(first, *tasks)

        assert 4 == lanes.batches


async def test_a_full_queue_refuses_at_once(
    shards: Shards, servers: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What finds no room in the queue is told so; what found room is booked."""
    monkeypatch.setattr(lanes_module, "LANE_REQUESTS_MAX", 4)
    debtor, creditor = await open_account(shards[1], "100"), await open_account(shards[1])
    async with busy_lane(servers, debtor, creditor) as (lanes, held, first):
        tasks = _start(held, [lanes.post(transfer(debtor, creditor, "1")) for _ in range(3)])
        await _queued(lanes, 3)
        with pytest.raises(Overloaded):
            await lanes.post(transfer(debtor, creditor, "1"))
        await held.rollback()
        await asyncio.gather(first, *tasks)

    assert Figures(Decimal(4), 4) == await figures(shards[1], creditor)


async def test_bulk_work_waits_for_room(
    shards: Shards, servers: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bulk work larger than the queue waits instead of being refused, and keeps its order."""
    monkeypatch.setattr(queue_module, "LANE_QUEUE_BULK_COMMANDS", 4)
    debtor, creditor = await open_account(shards[1], "100"), await open_account(shards[1])
    commands = [transfer(debtor, creditor, "10") for _ in range(15)]
    async with busy_lane(servers, debtor, creditor) as (lanes, held, first):
        bulk = held.start(lanes.post_many(commands))
        await _queued(lanes, 4)
        await held.rollback()
        await first
        answers = await bulk

    expected = [Outcome.POSTED] * 9 + [Outcome.INSUFFICIENT_FUNDS] * 6
    assert expected == [answer.outcome for answer in answers]


async def test_what_is_too_late_is_not_started(shards: Shards, servers: Databases) -> None:
    """A command whose deadline passed while it waited is refused, and leaves no trace."""
    debtor, creditor = await open_account(shards[1], "100"), await open_account(shards[1])
    past = asyncio.get_running_loop().time() - 1
    async with busy_lane(servers, debtor, creditor) as (lanes, held, first):
        late = held.start(lanes.post(transfer(debtor, creditor, "1"), past))
        timely = held.start(lanes.post(transfer(debtor, creditor, "1"), past + 3600))
        await _queued(lanes, 2)
        await held.rollback()
        await asyncio.gather(first, timely)
        with pytest.raises(Overloaded):
            await late

    assert Figures(Decimal(2), 2) == await figures(shards[1], creditor)


async def test_a_deadline_that_passes_in_the_queue_is_told_at_once(
    shards: Shards, servers: Databases
) -> None:
    """Whoever waits is told at his own deadline, though no lane is free; it is never booked."""
    debtor, creditor = await open_account(shards[1], "100"), await open_account(shards[1])
    loop = asyncio.get_running_loop()
    async with busy_lane(servers, debtor, creditor) as (lanes, held, first):
        with pytest.raises(Overloaded):
            await lanes.post(transfer(debtor, creditor, "1"), loop.time() + 0.02)
        told = (lanes.queued_commands, lanes.figures.late, first.done())
        await held.rollback()
        await first

    assert (0, 1, False) == told
    assert Figures(Decimal(1), 1) == await figures(shards[1], creditor)


async def test_a_deadline_that_passes_after_the_send_leaves_it_unknown(
    shards: Shards, servers: Databases
) -> None:
    """What was sent goes on; whoever asked is told at his deadline that it is unknown."""
    debtor, creditor = await open_account(shards[1], "100"), await open_account(shards[1])
    loop = asyncio.get_running_loop()
    command = transfer(debtor, creditor, "1")
    async with (
        one_lane(servers.shard_dsns[1]) as lanes,
        holder(servers.shard_owner_dsns[1]) as held,
    ):
        await held.lock_balance(debtor)
        with pytest.raises(OutcomeUnknown):
            await lanes.post(command, loop.time() + 0.05)
        await held.rollback()
        answer = await lanes.post(again(command))

    assert (Outcome.POSTED, True) == (answer.outcome, answer.is_replay)
    assert Figures(Decimal(1), 1) == await figures(shards[1], creditor)


async def test_whoever_gave_up_makes_room(shards: Shards, servers: Databases) -> None:
    """What nobody waits for any more leaves the queue, also while no lane is free."""
    debtor, creditor = await open_account(shards[1], "100"), await open_account(shards[1])
    async with busy_lane(servers, debtor, creditor) as (lanes, held, first):
        gone = _start(held, [lanes.post(transfer(debtor, creditor, "1")) for _ in range(5)])
        await _queued(lanes, 5)
        for task in gone:
            task.cancel()
        while lanes.queued_commands:  # noqa: ASYNC110 the queue has no event for it
            await asyncio.sleep(0.001)  # sleep: pause between two looks
        assert 1 == lanes.requests
        await held.rollback()
        await first

    assert 5 == lanes.figures.abandoned
    assert Figures(Decimal(1), 1) == await figures(shards[1], creditor)


async def test_single_requests_go_before_bulk_work(
    shards: Shards, servers: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for one answer does not wait behind a long queue of bulk work."""
    monkeypatch.setattr(queue_module, "LANE_BATCH_COMMANDS", 4)
    debtor, creditor = await open_account(shards[1], "100"), await open_account(shards[1])
    async with busy_lane(servers, debtor, creditor) as (lanes, held, first):
        bulk = held.start(lanes.post_many([transfer(debtor, creditor, "1") for _ in range(8)]))
        await _queued(lanes, 8)
        single = held.start(lanes.post(transfer(debtor, creditor, "1")))
        await _queued(lanes, 9)
        await held.rollback()
        await first
        answer, bulk_answers = await single, await bulk

    assert answer.posted_at is not None
    posted = [each.posted_at for each in bulk_answers if each.posted_at is not None]
    assert 3 == sum(each == answer.posted_at for each in posted)
    assert 5 == sum(each > answer.posted_at for each in posted)


async def test_an_atomic_batch_travels_alone(shards: Shards, servers: Databases) -> None:
    """It shares its transaction with nobody, and one refusal in it undoes nothing of others."""
    debtor, creditor = await open_account(shards[1], "100"), await open_account(shards[1])
    commands = [transfer(debtor, creditor, amount) for amount in ("1", "1000")]
    async with busy_lane(servers, debtor, creditor) as (lanes, held, first):
        unit = held.start(lanes.post_atomic(commands))
        other = held.start(lanes.post(transfer(debtor, creditor, "2")))
        await _queued(lanes, 3)
        await held.rollback()
        await asyncio.gather(first, other)
        answers = await unit

    assert [Outcome.ATOMIC_ABORTED, Outcome.INSUFFICIENT_FUNDS] == [a.outcome for a in answers]
    assert Figures(Decimal(3), 2) == await figures(shards[1], creditor)


async def test_whoever_gave_up_is_passed_over(shards: Shards, servers: Databases) -> None:
    """A command whose caller left before it was started is not booked."""
    debtor, creditor = await open_account(shards[1], "100"), await open_account(shards[1])
    async with busy_lane(servers, debtor, creditor) as (lanes, held, first):
        gone = held.start(lanes.post(transfer(debtor, creditor, "1")))
        stays = held.start(lanes.post(transfer(debtor, creditor, "1")))
        await _queued(lanes, 2)
        gone.cancel()
        await held.rollback()
        await asyncio.gather(first, stays)

    assert Figures(Decimal(2), 2) == await figures(shards[1], creditor)


async def test_whoever_gives_up_later_does_not_stop_the_others(
    shards: Shards, servers: Databases
) -> None:
    """A caller that leaves while its batch is under way changes nothing for the batch."""
    debtor, creditor = await open_account(shards[1], "100"), await open_account(shards[1])
    async with busy_lane(servers, debtor, creditor) as (lanes, held, first):
        first.cancel()
        await held.rollback()
        answer = await lanes.post(transfer(debtor, creditor, "1"))

    assert Outcome.POSTED is answer.outcome
    assert Figures(Decimal(2), 2) == await figures(shards[1], creditor)


class LosesReplies:
    """Stands for ``post_batch``: the batch is committed, but its connection is lost."""

    def __init__(self, times: int) -> None:
        self.left = times

    async def __call__(
        self,
        connection: Connection,
        lane: int,
        convoy: Any,
        commands: list[Command],
        *,
        is_atomic: bool,
    ) -> list[Answer]:
        answers = await post_batch(connection, lane, convoy, commands, is_atomic=is_atomic)
        if self.left:
            self.left -= 1
            await connection.close()
            raise OperationalError("the connection is lost")
        return answers


def lost(shard: Shard) -> tuple[int, int, int]:
    """Commands without a reply: found decided, found undecided, given up."""
    told = shard.lanes.figures
    return told.lost_found, told.lost_not_found, told.lost_given_up


@pytest.mark.parametrize("times", [1, 3])
async def test_a_lost_reply_is_asked_for_again(
    times: int, shards: Shards, servers: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a lost connection the same references are asked again, and have one effect."""
    debtor, creditor = await open_account(shards[1], "100"), await open_account(shards[1])
    monkeypatch.setattr(lane_module, "post_batch", LosesReplies(times))
    monkeypatch.setattr(lane_module, "POST_RETRY_PAUSE_S", 0.001)
    commands = [transfer(debtor, creditor, "60"), transfer(debtor, creditor, "60")]

    answers = await shards[1].lanes.post_many(commands)

    expected = [Outcome.POSTED, Outcome.INSUFFICIENT_FUNDS]
    assert expected == [answer.outcome for answer in answers]
    # They find what they booked themselves, so nobody is told of a repetition.
    assert [False, False] == [answer.is_replay for answer in answers]
    assert MoneyState.POSTED is answers[0].money_state
    assert Figures(Decimal(60), 1) == await figures(shards[1], creditor)
    assert (2, 0, 0) == lost(shards[1])


async def test_an_answer_that_stays_away_is_unknown(
    shards: Shards, servers: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the budget for asking again is spent, the outcome is unknown; repeating tells it."""
    debtor, creditor = await open_account(shards[1], "100"), await open_account(shards[1])
    monkeypatch.setattr(lane_module, "post_batch", LosesReplies(1))
    monkeypatch.setattr(lane_module, "POST_RETRY_BUDGET_S", 0.0)
    command = transfer(debtor, creditor, "60")

    with pytest.raises(OutcomeUnknown):
        await shards[1].lanes.post(command)
    assert (0, 0, 1) == lost(shards[1])
    answer = await shards[1].lanes.post(again(command))

    assert (Outcome.POSTED, True) == (answer.outcome, answer.is_replay)
    assert Figures(Decimal(60), 1) == await figures(shards[1], creditor)


async def test_a_backend_that_is_ended_in_the_middle(shards: Shards, servers: Databases) -> None:
    """A posting whose backend is ended before the commit is sent again, and booked once."""
    debtor, creditor = await open_account(shards[1], "100"), await open_account(shards[1])
    async with busy_lane(servers, debtor, creditor) as (_, held, first):
        async with holder(servers.shard_dsns[1]) as killer:
            await killer.execute(
                "SELECT pg_terminate_backend(p.pid) FROM unnest(%s::integer[]) AS p (pid)",
                (await held.blocked(),),
            )
        await held.rollback()
        answer = await first

    assert (Outcome.POSTED, False) == (answer.outcome, answer.is_replay)
    assert Figures(Decimal(1), 1) == await figures(shards[1], creditor)


class Platform:
    """A boarding that notes what it is told."""

    keeps_cargo = True

    def __init__(self) -> None:
        self.convoy = new_id()
        self.told: list[tuple[object, int]] = []

    def board(self) -> UUID:
        return self.convoy

    def boarded(self, convoy: UUID, items: int, parked: Sequence[TupleRow] | None) -> None:
        self.told.append((convoy, items))


async def test_parked_amounts_board_the_open_convoy(shards: Shards) -> None:
    """A batch carries the id of the open convoy, which hears of it once it is answered."""
    debtor = await open_account(shards[1], "100")
    platform = Platform()
    shards[1].lanes.boarding = platform
    commands = [transfer(debtor, account_no(2), "1") for _ in range(3)]

    answers = await shards[1].lanes.post_many([*commands, transfer(debtor, debtor, "1")])

    items = await shards[1].suspense.of_convoy(platform.convoy)
    assert {command.parked[0].item_id for command in commands} == {i.item_id for i in items}
    assert [(platform.convoy, 3)] == platform.told
    assert [platform.convoy] * 3 + [None] == [answer.convoy for answer in answers]


async def test_a_convoy_hears_of_a_batch_that_failed(shards: Shards) -> None:
    """A convoy never waits for a batch that could not be posted."""
    debtor = await open_account(shards[1], "100")
    platform = Platform()
    shards[1].lanes.boarding = platform

    with pytest.raises(Malformed):
        await shards[1].lanes.post(transfer(debtor, account_no(2), "1", "not a reference"))

    assert [(platform.convoy, 0)] == platform.told


async def test_closing_answers_everything(shards: Shards, servers: Databases) -> None:
    """Whoever waits when a process stops is told whether anything can have happened."""
    debtor, creditor = await open_account(shards[1], "100"), await open_account(shards[1])
    async with busy_lane(servers, debtor, creditor) as (lanes, held, first):
        waiting = held.start(lanes.post(transfer(debtor, creditor, "1")))
        await _queued(lanes, 1)
        await lanes.close()

        with pytest.raises(OutcomeUnknown):
            await first
        with pytest.raises(ShardUnavailable):
            await waiting
        with pytest.raises(ShardUnavailable):
            await lanes.post(transfer(debtor, creditor, "1"))
