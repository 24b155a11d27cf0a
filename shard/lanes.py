"""Lanes: group commit without timers.

Each shard has a bounded queue and a few lanes, each with a connection of its own. A free lane
takes all that waits, up to a bound, and posts it as one batch. Batches grow by themselves under
load, and an idle system answers in the time of one commit.

A batch that fails as a whole is posted again command by command, so that a poisonous command
harms only itself; one that waited too long for a lock is answered as overloaded. A connection
lost after the send leaves the outcome unknown: the lane asks again with the same references until
its budget is spent.
"""

from __future__ import annotations

import asyncio
import select
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol
from uuid import UUID

import psycopg
import structlog
from psycopg.errors import LockNotAvailable, QueryCanceled

from shard.commands import Answer, Command, Origin
from shard.connections import Connection, connect, told
from shard.errors import (
    LedgerError,
    OutcomeUnknown,
    Overloaded,
    ShardUnavailable,
)
from shard.ids import new_id
from shard.limits import (
    LANE_BATCH_COMMANDS,
    LANE_QUEUE_BULK_COMMANDS,
    LANE_QUEUE_COMMANDS,
    LANES_PER_SHARD,
    POST_RETRY_BUDGET_S,
    POST_RETRY_PAUSE_MAX_S,
    POST_RETRY_PAUSE_S,
)
from shard.outcomes import Outcome
from shard.posting import post_batch

_log = structlog.get_logger(__name__)
_TOO_LATE = "The request's time was up before it was started."


class Boarding(Protocol):
    """Names the convoy that parked amounts board, and hears when their batch is answered."""

    def board(self) -> UUID:
        """The id of the open convoy; a batch that is about to be sent will carry it."""
        ...

    def boarded(self, convoy: UUID, items: int) -> None:
        """That batch is answered, or lost; ``items`` amounts may stand in the convoy."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    command: Command
    answer: asyncio.Future[Answer]
    deadline: float | None

    def fail(self, error: LedgerError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)

    @property
    def items_aboard(self) -> int:
        """How many parked amounts may stand in the convoy, now that the batch is answered."""
        answer = self.answer
        if not answer.done() or answer.cancelled():
            return len(self.command.parked)
        error = answer.exception()
        if error is None:
            is_parked = answer.result().outcome is Outcome.POSTED
        else:
            is_parked = isinstance(error, OutcomeUnknown)
        return len(self.command.parked) if is_parked else 0

    def succeed(self, answer: Answer) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)


class Lanes:
    """The way to one shard's ``post_batch``, shared by everything in this process."""

    def __init__(
        self,
        dsn: str,
        *,
        process_no: int = 0,
        lane_count: int = LANES_PER_SHARD,
        boarding: Boarding | None = None,
    ) -> None:
        self.boarding = boarding
        self.batches = 0
        self.commands = 0
        self._dsn = dsn
        self._first_lane = process_no * lane_count
        self._lane_count = lane_count
        self._queue: deque[_Waiting] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._room = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def queued_commands(self) -> int:
        """How many commands wait for a lane right now."""
        return len(self._queue)

    async def open(self) -> None:
        """Start the lanes; they connect when there is something to post."""
        self._room.set()
        for i in range(self._lane_count):
            lane = _Lane(self, self._first_lane + i, self._dsn)
            self._tasks.append(asyncio.create_task(lane.run(), name=f"lane-{i}"))

    async def close(self) -> None:
        """Stop the lanes; what still waits is answered as unavailable."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        self.refuse_waiting(ShardUnavailable("This process is shutting down."))

    async def post(self, command: Command, deadline: float | None = None) -> Answer:
        """Book one command. ``deadline`` is in the event loop's time, in seconds.

        Raises ``Overloaded`` when the queue is full or the deadline passed before a lane was
        free, ``ShardUnavailable`` when nothing was sent, ``OutcomeUnknown`` when it may have
        been booked, ``Malformed`` when the database itself refuses the request's form.
        """
        if len(self._queue) >= LANE_QUEUE_COMMANDS:
            raise Overloaded
        waiting = self._enqueue(command, deadline)
        try:
            async with asyncio.timeout_at(deadline):
                return await waiting.answer
        except TimeoutError:
            # A shard that hangs, not even refusing: whoever asks must not hang with it.
            if waiting in self._queue:
                raise Overloaded(_TOO_LATE) from None
            raise OutcomeUnknown from None

    async def post_many(self, commands: Sequence[Command]) -> list[Answer]:
        """Book many commands and answer each in its order; waits for room in the queue.

        Raises the first error of any command; the others may be booked all the same.
        """
        waiting = []
        for command in commands:
            while len(self._queue) >= LANE_QUEUE_BULK_COMMANDS:
                self._room.clear()
                await self._room.wait()
            waiting.append(self._enqueue(command, None))
        results = await asyncio.gather(*(w.answer for w in waiting), return_exceptions=True)
        answers = []
        for result in results:
            if isinstance(result, BaseException):
                raise result
            answers.append(result)
        return answers

    def _enqueue(self, command: Command, deadline: float | None) -> _Waiting:
        if not self._tasks:
            raise ShardUnavailable("The lanes of this shard are not open.")
        waiting = _Waiting(command, asyncio.get_running_loop().create_future(), deadline)
        self._queue.append(waiting)
        while self._idle:
            idle = self._idle.popleft()
            if not idle.done():
                idle.set_result(None)
                break
        return waiting

    async def take(self) -> list[_Waiting]:
        """For a lane that is free: wait until there is work, then take all of it."""
        while True:
            batch: list[_Waiting] = []
            now = asyncio.get_running_loop().time()
            while self._queue and len(batch) < LANE_BATCH_COMMANDS:
                waiting = self._queue.popleft()
                if waiting.deadline is not None and waiting.deadline < now:
                    waiting.fail(Overloaded(_TOO_LATE))
                elif not waiting.answer.done():
                    batch.append(waiting)
            self._room.set()
            if batch:
                return batch
            idle = asyncio.get_running_loop().create_future()
            self._idle.append(idle)
            await idle

    def refuse_waiting(self, error: LedgerError) -> None:
        """Answer everything that was not sent yet."""
        while self._queue:
            self._queue.popleft().fail(error)
        self._room.set()


class _Lane:
    """One connection that posts batch after batch."""

    def __init__(self, lanes: Lanes, number: int, dsn: str) -> None:
        self._lanes = lanes
        self._number = number
        self._dsn = dsn
        self._connection: Connection | None = None

    async def run(self) -> None:
        """Post until cancelled."""
        try:
            while True:
                batch = await self._lanes.take()
                try:
                    await self._carry(batch)
                except Exception:  # noqa: BLE001  a lane outlives whatever a batch does to it
                    # Its commands are answered as unknown by now.
                    _log.exception("lane_failed", lane=self._number)
        finally:
            if self._connection is not None:
                await self._connection.close()

    async def _carry(self, batch: list[_Waiting]) -> None:
        convoy = None
        boarding = self._lanes.boarding
        if any(waiting.command.parked for waiting in batch):
            convoy = boarding.board() if boarding is not None else new_id()
        try:
            await self._post(batch, convoy)
        except BaseException:
            error = OutcomeUnknown("This process stopped before the shard answered.")
            for waiting in batch:
                waiting.fail(error)
            raise
        finally:
            if boarding is not None and convoy is not None:
                boarding.boarded(convoy, sum(waiting.items_aboard for waiting in batch))

    async def _post(self, batch: list[_Waiting], convoy: UUID | None) -> None:
        """Post a batch to its end: every one of its commands is answered when this returns."""
        try:
            connection = await self._connected()
        except LedgerError as error:
            self._refuse(batch, error)
            return
        try:
            await self._send(connection, batch, convoy)
        except psycopg.Error as error:
            if connection.broken or connection.closed:
                await self._ask_again(batch, convoy)
            elif len(batch) == 1 or isinstance(error, LockNotAvailable | QueryCanceled):
                # A time limit: it was rolled back, and one by one would take that long each.
                for waiting in batch:
                    waiting.fail(told(error))
            else:
                for waiting in batch:
                    await self._post([waiting], convoy)

    async def _send(
        self, connection: Connection, batch: list[_Waiting], convoy: UUID | None
    ) -> None:
        answers = await post_batch(
            connection, self._number, convoy, [waiting.command for waiting in batch]
        )
        self._lanes.batches += 1
        self._lanes.commands += len(batch)
        for waiting, answer in zip(batch, answers, strict=True):
            waiting.succeed(_as_first_told(waiting.command, answer))

    async def _ask_again(self, batch: list[_Waiting], convoy: UUID | None) -> None:
        """The reply is lost: only the same references can tell what became of the batch."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + POST_RETRY_BUDGET_S
        pause_s = POST_RETRY_PAUSE_S
        while loop.time() < give_up_at:
            try:
                connection = await self._connected()
                await self._send(connection, batch, convoy)
            except ShardUnavailable as error:
                # What was never sent need not wait with those whose outcome is unknown.
                self._lanes.refuse_waiting(error)
            except psycopg.OperationalError:
                pass  # Lost again, or rolled back by a lock time-out: still unknown.
            except psycopg.Error as error:
                if len(batch) == 1:
                    batch[0].fail(told(error))
                else:
                    for waiting in batch:
                        await self._ask_again([waiting], convoy)
                return
            else:
                return
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, POST_RETRY_PAUSE_MAX_S)
        for waiting in batch:
            waiting.fail(OutcomeUnknown())

    async def _connected(self) -> Connection:
        if self._connection is not None and _was_left(self._connection):
            await self._connection.close()
        if self._connection is None or self._connection.closed:
            self._connection = await connect(self._dsn, is_serving=True)
        return self._connection

    def _refuse(self, batch: list[_Waiting], error: LedgerError) -> None:
        for waiting in batch:
            waiting.fail(error)
        self._lanes.refuse_waiting(error)


def _was_left(connection: Connection) -> bool:
    """Whether the server has something to say while nothing was asked: as a rule, goodbye.

    Found out before the send, a lost connection is only made anew; after it, the outcome of
    the whole batch would be unknown.
    """
    if connection.closed:
        return False
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    return bool(waiting.poll(0))


def _as_first_told(command: Command, answer: Answer) -> Answer:
    """A command that finds its own booking, whose reply was lost, is no repetition of another.

    A client's request gets a fresh transfer id each time; a delivery keeps its item's.
    """
    is_own = answer.is_replay and answer.transfer_id == command.transfer_id
    if is_own and command.origin is not Origin.DELIVERY:
        return replace(answer, is_replay=False)
    return answer
