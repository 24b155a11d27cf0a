"""When a lane starts: at once if none is busy, else only with enough to be worth a call."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from shard import lane_queue as queue_module
from shard.errors import Overloaded
from shard.lane_figures import LaneFigures
from shard.lane_queue import Batch, LaneQueue
from shard.limits import LANE_COMPANY_COMMANDS
from tests.support.bank import transfer

FOREVER_S = 3600.0
"""Longer than any test: a lane that starts did not start because of the time."""


class Queue:
    """A queue, and what lanes do with it."""

    def __init__(self) -> None:
        self.queue = LaneQueue(LaneFigures())

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
