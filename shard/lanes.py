"""Lanes: group commit.

Each shard has a bounded queue and a few lanes, each with a connection of its own. A free lane
takes all that waits, up to a bound, and posts it as one batch. Batches grow by themselves under
load, and an idle system answers in the time of one commit. Nobody waits for a timer but the lines
of streams, which gather for a moment while they come slowly.

Whoever waits is told at his own deadline, and a shard that is known not to answer is not asked
by everybody.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence

from shard.breaker import Breaker
from shard.commands import Answer, Command
from shard.errors import LedgerError, Overloaded, ShardUnavailable
from shard.lane import Boarding, Lane, LaneState
from shard.lane_figures import LaneFigures
from shard.lane_queue import LaneQueue, Waiting
from shard.limits import LANE_REQUESTS_MAX, LANE_SLOW_S, LANES_PER_SHARD
from shard.onlooker import Onlooker
from shard.spans import Spans


class Lanes:
    """The way to one shard's ``post_batch``, shared by everything in this process.

    ``spans``, where set, is told what the lanes do for whom.
    """

    def __init__(
        self,
        dsn: str,
        *,
        process_no: int = 0,
        lane_count: int = LANES_PER_SHARD,
        boarding: Boarding | None = None,
        breaker: Breaker | None = None,
    ) -> None:
        self.boarding = boarding
        self.spans: Spans | None = None
        self.onlooker: Onlooker | None = None
        self.figures = LaneFigures()
        self._dsn = dsn
        self._first_lane = process_no * lane_count
        self._lane_count = lane_count
        self._queue = LaneQueue(self.figures)
        self._breaker = breaker or Breaker(time.monotonic)
        self._lanes: list[Lane] = []
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def batches(self) -> int:
        """Batches posted since this process started."""
        return self.figures.batches

    @property
    def commands(self) -> int:
        """Commands posted since this process started."""
        return self.figures.commands

    @property
    def queued_commands(self) -> int:
        """How many commands wait for a lane right now."""
        return len(self._queue)

    @property
    def requests(self) -> int:
        """Single requests that wait for this shard or are under way to it."""
        return self._queue.requests

    @property
    def requests_held_up(self) -> int:
        """The same, where the shard is slow: they wait for it, and not for this process."""
        now = asyncio.get_running_loop().time()
        is_slow = any(lane.busy_s(now) > LANE_SLOW_S for lane in self._lanes)
        return self._queue.requests if is_slow else 0

    def states(self) -> Counter[LaneState]:
        """How many lanes are doing what."""
        return Counter(lane.state for lane in self._lanes)

    async def open(self) -> None:
        """Start the lanes; they connect when there is something to post."""
        for i in range(self._lane_count):
            lane = Lane(self, self._queue, self._breaker, self._first_lane + i, self._dsn)
            self._lanes.append(lane)
            self._tasks.append(asyncio.create_task(lane.run(), name=f"lane-{i}"))

    async def close(self) -> None:
        """Stop the lanes; what still waits is answered as unavailable."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        self._lanes.clear()
        self._queue.close(ShardUnavailable("This process is shutting down."))

    async def post(self, command: Command, deadline: float | None = None) -> Answer:
        """Book one command. ``deadline`` is in the event loop's time, in seconds.

        Raises ``Overloaded`` when too many wait or the deadline passed before a lane was free,
        ``ShardUnavailable`` when nothing was sent, ``OutcomeUnknown`` when it may have been
        booked, ``Malformed`` when the database itself refuses the request's form. Whoever stops
        waiting before it was sent leaves nothing behind.
        """
        queue = self._queue
        if queue.requests >= LANE_REQUESTS_MAX:
            self.figures.refused_full += 1
            raise Overloaded
        self._check_open()
        cause = None if self.spans is None else self.spans.here()
        waiting = queue.put(command, deadline, cause)
        queue.requests += 1
        try:
            return await waiting.answer
        except asyncio.CancelledError:
            queue.abandoned()
            raise
        finally:
            queue.requests -= 1

    async def post_many(self, commands: Sequence[Command]) -> list[Answer]:
        """Book many commands and answer each in its order; waits for room in the queue.

        Raises the first error of any command; the others may be booked all the same.
        """
        answers = []
        for result in await self.post_each(commands):
            if isinstance(result, LedgerError):
                raise result
            answers.append(result)
        return answers

    async def post_each(
        self, commands: Sequence[Command], *, is_patient: bool = False
    ) -> list[Answer | LedgerError]:
        """Book many commands; each has an answer or an error of its own, in their order.

        Waits for room in the queue; ends also when the shard hangs. Patient ones may wait for a
        moment until there are more of them. Raises ``ShardUnavailable`` when the lanes are not
        open.
        """
        queue = self._queue
        cause = None if self.spans is None else self.spans.here()
        waiting: list[Waiting] = []
        self._check_open()
        try:
            for command in commands:
                if not queue.has_room:
                    await queue.room()
                    if not self._tasks:
                        break
                waiting.append(queue.put_bulk(command, cause, is_patient=is_patient))
            results = await asyncio.gather(*(w.answer for w in waiting), return_exceptions=True)
        except asyncio.CancelledError:
            for each in waiting:
                each.answer.cancel()
            queue.abandoned()
            raise
        answered: list[Answer | LedgerError] = []
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, LedgerError):
                raise result
            answered.append(result)
        left_out = len(commands) - len(answered)
        return answered + [ShardUnavailable() for _ in range(left_out)]

    async def post_atomic(self, commands: Sequence[Command]) -> list[Answer]:
        """Book all in one transaction, or none; is one refused, the others are told so.

        Raises like ``post``, for all of them.
        """
        self._check_open()
        cause = None if self.spans is None else self.spans.here()
        unit = self._queue.put_unit(commands, cause)
        return await asyncio.gather(*(waiting.answer for waiting in unit.waiting))

    def _check_open(self) -> None:
        if not self._tasks:
            raise ShardUnavailable("The lanes of this shard are not open.")
        if not self._breaker.admits():
            self.figures.refused_unavailable += 1
            raise ShardUnavailable("The shard did not answer a moment ago.")
