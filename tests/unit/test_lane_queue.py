"""When a lane starts: at once if none is busy, else only with enough to be worth a call."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from shard import lane_queue as queue_module
from shard.errors import Overloaded
from shard.lane_figures import LaneFigures
from shard.lane_queue import Batch, LaneQueue, Waiting
from shard.limits import DEADLINE_GRAIN_S, LANE_COMPANY_COMMANDS, LANE_GATHERED_COMMANDS
from tests.support.bank import transfer

FOREVER_S = 3600.0
"""Longer than any test: a lane that starts did not start because of the time."""


class Queue:
    """A queue, and what lanes do with it."""

    def __init__(self) -> None:
        self.queue = LaneQueue(LaneFigures())

    def put_bulk(self, count: int = 1, *, is_patient: bool = True) -> list[Waiting]:
        command = transfer(1000000001, 1000000002, "1")
        return [self.queue.put_bulk(command, None, is_patient=is_patient) for _ in range(count)]

    async def carry_one(self) -> None:
        """A batch comes and goes."""
        self.put()
        self.queue.ended(await self.take())

    def put(self, count: int = 1) -> None:
        for _ in range(count):
            self.queue.put(transfer(1000000001, 1000000002, "1"), None, None)

    async def take(self) -> Batch:
        return await asyncio.wait_for(self.queue.take(), 5)

    async def start_free_lane(self) -> asyncio.Task[Batch]:
        free = asyncio.create_task(self.queue.take())
        await a_turn()
        return free


async def a_turn() -> None:
    """Let everything run that can run now."""
    for _ in range(5):
        await asyncio.sleep(0)  # sleep: gives the loop a turn, and takes no time


@contextmanager
def open_queue(monkeypatch: pytest.MonkeyPatch, wait_s: float) -> Iterator[Queue]:
    monkeypatch.setattr(queue_module, "LANE_COMPANY_WAIT_S", wait_s)
    queue = Queue()
    try:
        yield queue
    finally:
        queue.queue.close(Overloaded("The test is over."))


async def test_the_first_lane_starts_with_one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for company while no lane is busy."""
    with open_queue(monkeypatch, FOREVER_S) as queue:
        free = await queue.start_free_lane()
        queue.put()
        await a_turn()
        assert 1 == len((await free).waiting)


async def test_a_second_lane_leaves_few_commands_to_the_busy_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One command fewer than is worth a call waits; with that one more a lane takes them all."""
    with open_queue(monkeypatch, FOREVER_S) as queue:
        queue.put()
        await queue.take()
        free = await queue.start_free_lane()

        queue.put(LANE_COMPANY_COMMANDS - 1)
        await a_turn()
        assert not free.done()
        queue.put()
        await a_turn()
        assert LANE_COMPANY_COMMANDS == len((await free).waiting)


async def test_a_lane_that_gets_free_takes_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was left to the busy lane is its next batch."""
    with open_queue(monkeypatch, FOREVER_S) as queue:
        queue.put()
        busy = await queue.take()
        queue.put(3)
        queue.queue.ended(busy)
        assert 3 == len((await queue.take()).waiting)


async def test_a_lane_that_hangs_keeps_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the busy lane takes long, another one starts with whatever there is."""
    with open_queue(monkeypatch, 0.001) as queue:
        queue.put()
        await queue.take()
        free = await queue.start_free_lane()
        queue.put(2)
        assert 2 == len((await asyncio.wait_for(free, 5)).waiting)


async def test_an_atomic_batch_does_not_wait_for_company(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a batch of its own, so nothing would be gained."""
    with open_queue(monkeypatch, FOREVER_S) as queue:
        queue.put()
        await queue.take()
        free = await queue.start_free_lane()
        queue.queue.put_unit([transfer(1000000001, 1000000002, "1")], None)
        await a_turn()
        assert (await free).is_atomic


async def test_the_lane_that_was_busy_last_is_asked_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests one by one stay with one lane, whose server process is warm."""
    with open_queue(monkeypatch, FOREVER_S) as queue:
        first, second = await queue.start_free_lane(), await queue.start_free_lane()
        queue.put()
        await a_turn()
        assert (False, True) == (first.done(), second.done())
        first.cancel()


async def test_a_lane_that_takes_batch_after_batch_is_not_held_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The time counts from its present batch."""
    with open_queue(monkeypatch, 1.0) as queue:
        queue.put()
        busy = await queue.take()
        free = await queue.start_free_lane()
        queue.put()
        await asyncio.sleep(0.6)  # sleep: most of the time that a batch may take
        queue.queue.ended(busy)
        await queue.take()
        queue.put()
        await asyncio.sleep(0.5)  # sleep: the first batch's time is up, the second one's is not
        assert not free.done()
        assert 1 == len((await asyncio.wait_for(free, 5)).waiting)


async def test_a_lane_that_hangs_is_not_counted_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once one hangs, the other starts with one command, as if it were alone."""
    with open_queue(monkeypatch, 1.0) as queue:
        queue.put()
        await queue.take()
        await asyncio.sleep(1.1)  # sleep: longer than a batch may take
        for _ in range(3):
            queue.put()
            batch = await asyncio.wait_for(queue.queue.take(), 0.5)
            queue.queue.ended(batch)


@pytest.fixture
def gathering(monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
    """A queue whose patient work gathers for ever, unless something else sends it."""
    monkeypatch.setattr(queue_module, "LANE_GATHER_S", FOREVER_S)
    with open_queue(monkeypatch, FOREVER_S) as queue:
        yield queue


async def test_a_stream_that_begins_does_not_gather(gathering: Queue) -> None:
    """Nothing was sent a moment ago."""
    gathering.put_bulk()
    assert 1 == len((await gathering.take()).waiting)


async def test_lines_gather_until_they_are_worth_a_call(gathering: Queue) -> None:
    """One fewer waits, also for a lane that is free; with that one more a lane takes them all."""
    await gathering.carry_one()
    free = await gathering.start_free_lane()
    gathering.put_bulk(LANE_GATHERED_COMMANDS - 1)
    await a_turn()
    assert not free.done()
    gathering.put_bulk()
    await a_turn()
    assert LANE_GATHERED_COMMANDS == len((await free).waiting)


async def test_lines_gather_for_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where nothing else ever comes."""
    monkeypatch.setattr(queue_module, "LANE_GATHER_S", 0.3)
    with open_queue(monkeypatch, FOREVER_S) as queue:
        await queue.carry_one()
        free = await queue.start_free_lane()
        queue.put_bulk(2)
        await asyncio.sleep(0.1)  # sleep: a part of that moment
        assert not free.done()
        assert 2 == len((await asyncio.wait_for(free, 5)).waiting)


async def test_whoever_is_in_a_hurry_takes_the_lines_along(gathering: Queue) -> None:
    """A single request, or bulk work that is not a stream's, is sent at once with all there is."""
    for put_one in (lambda: gathering.put_bulk(is_patient=False), gathering.put):
        await gathering.carry_one()
        free = await gathering.start_free_lane()
        gathering.put_bulk(2)
        await a_turn()
        assert not free.done()
        put_one()
        await a_turn()
        batch = await free
        assert 3 == len(batch.waiting)
        gathering.queue.ended(batch)


async def test_hurry_that_has_gone_hurries_nobody(gathering: Queue) -> None:
    """Work that was given up before a lane took it leaves the others to gather."""
    await gathering.carry_one()
    (gone,) = gathering.put_bulk(is_patient=False)
    gone.answer.cancel()
    gathering.queue.abandoned()
    await asyncio.sleep(3 * DEADLINE_GRAIN_S)  # sleep: until the queue has looked at everybody
    free = await gathering.start_free_lane()
    gathering.put_bulk()
    await a_turn()
    assert not free.done()
    free.cancel()


async def test_gathering_does_not_put_off_what_a_hung_lane_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The timer of lines that gathered is not that of who waits for a busy lane."""
    monkeypatch.setattr(queue_module, "LANE_GATHER_S", FOREVER_S)
    with open_queue(monkeypatch, 0.05) as queue:
        await queue.carry_one()
        free = await queue.start_free_lane()
        queue.put_bulk()
        await a_turn()
        queue.put()
        await a_turn()
        assert 2 == len((await free).waiting)
        other = await queue.start_free_lane()
        queue.put()
        assert 1 == len((await asyncio.wait_for(other, 5)).waiting)


async def test_lines_that_gathered_are_not_forgotten_behind_a_unit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One lane takes the unit and is held up; the other one starts with the lines."""
    monkeypatch.setattr(queue_module, "LANE_GATHER_S", FOREVER_S)
    with open_queue(monkeypatch, 0.05) as queue:
        await queue.carry_one()
        one, other = await queue.start_free_lane(), await queue.start_free_lane()
        queue.put_bulk(2)
        await a_turn()
        queue.queue.put_unit([transfer(1000000001, 1000000002, "1")], None)
        done, left = await asyncio.wait({one, other}, timeout=5, return_when="FIRST_COMPLETED")
        (first,) = done
        assert first.result().is_atomic
        (second,) = left
        assert 2 == len((await asyncio.wait_for(second, 5)).waiting)


async def test_a_unit_that_was_given_up_holds_up_nobody(gathering: Queue) -> None:
    """Also when it would be its turn."""
    await gathering.carry_one()
    gathering.put()
    gone = gathering.queue.put_unit([transfer(1000000001, 1000000002, "1")], None)
    for waiting in gone.waiting:
        waiting.answer.cancel()
    batch = await gathering.take()
    assert [False, 1] == [batch.is_atomic, len(batch.waiting)]
