"""One lane: a connection that posts batch after batch, whatever becomes of the server.

A batch that fails as a whole is posted again command by command, so that a poisonous command
harms only itself; one that waited too long for a lock is answered as overloaded. A connection
lost after the send leaves the outcome unknown, and so does a server that is silent for too long:
the lane asks again with the same references until its budget is spent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from enum import StrEnum
from typing import Protocol
from uuid import UUID

import psycopg
import structlog
from psycopg.errors import LockNotAvailable, QueryCanceled
from psycopg.rows import TupleRow

from shard.breaker import Breaker
from shard.commands import Answer, Command, Origin
from shard.connections import Connection, connect, told, was_left
from shard.errors import LedgerError, OutcomeUnknown, ShardUnavailable
from shard.ids import new_id
from shard.lane_figures import LaneFigures
from shard.lane_queue import Batch, LaneQueue
from shard.limits import (
    LANE_ANSWER_LIMIT_S,
    POST_RETRY_BUDGET_S,
    POST_RETRY_PAUSE_MAX_S,
    POST_RETRY_PAUSE_S,
)
from shard.onlooker import Moment, Onlooker
from shard.posting import post_batch
from shard.spans import Spans

_log = structlog.get_logger(__name__)


class Boarding(Protocol):
    """Names the convoy that parked amounts board, and hears when their batch is answered."""

    @property
    def keeps_cargo(self) -> bool:
        """Whether it wants to be told what was parked, and not only how much."""
        ...

    def board(self) -> UUID:
        """The id of the open convoy; a batch that is about to be sent will carry it."""
        ...

    def boarded(self, convoy: UUID, items: int, parked: Sequence[TupleRow] | None) -> None:
        """That batch is answered, or lost; ``items`` amounts may stand in the convoy.

        ``parked`` are the rows of their cargo; None when it is not known what was parked.
        """
        ...


class LaneState(StrEnum):
    """What a lane is doing."""

    IDLE = "idle"
    CONNECTING = "connecting"
    POSTING = "posting"
    ASKING_AGAIN = "asking_again"


class Crew(Protocol):
    """What the lanes of one shard have in common; it may change while they run."""

    boarding: Boarding | None
    spans: Spans | None
    onlooker: Onlooker | None
    figures: LaneFigures


class Lane:
    """One connection that posts batch after batch."""

    def __init__(
        self, crew: Crew, queue: LaneQueue, breaker: Breaker, number: int, dsn: str
    ) -> None:
        self.state = LaneState.IDLE
        self._crew = crew
        self._queue = queue
        self._breaker = breaker
        self._number = number
        self._dsn = dsn
        self._connection: Connection | None = None
        self._busy_since: float | None = None

    def busy_s(self, now: float) -> float:
        """For how many seconds this lane has been at one batch; ``now`` is the loop's time."""
        return 0.0 if self._busy_since is None else now - self._busy_since

    async def run(self) -> None:
        """Post until cancelled."""
        try:
            while True:
                batch = await self._queue.take()
                started_at = self._busy_since = _loop_time()
                try:
                    await self._carry(batch)
                except Exception:  # noqa: BLE001  a lane outlives whatever a batch does to it
                    _log.exception("lane_failed", lane=self._number)
                    batch.fail(OutcomeUnknown())
                finally:
                    self._queue.ended(batch)
                    self.state, self._busy_since = LaneState.IDLE, None
                    self._crew.figures.batch_seconds.observe(_loop_time() - started_at)
        finally:
            if self._connection is not None:
                await self._connection.close()

    async def _carry(self, batch: Batch) -> None:
        convoy = None
        boarding = self._crew.boarding
        if any(waiting.command.parked for waiting in batch.waiting):
            convoy = boarding.board() if boarding is not None else new_id()
        with self._span(batch):
            try:
                await self._post(batch, convoy)
            except BaseException:
                error = OutcomeUnknown("This process stopped before the shard answered.")
                batch.fail(error)
                raise
            finally:
                if boarding is not None and convoy is not None:
                    aboard = sum(waiting.items_aboard for waiting in batch.waiting)
                    parked = batch.parked_in(convoy) if boarding.keeps_cargo else None
                    boarding.boarded(convoy, aboard, parked)

    def _span(self, batch: Batch) -> AbstractContextManager[None]:
        spans = self._crew.spans
        if spans is None:
            return nullcontext()
        now = _loop_time()
        causes = {id(waiting.cause): waiting.cause for waiting in batch.waiting}
        for waiting in batch.waiting:
            spans.past("ledger.lane.wait", waiting.cause, now - waiting.queued_at)
        figures = {"ledger.lane": self._number, "ledger.batch.commands": len(batch.waiting)}
        return spans.span("ledger.post_batch", causes=list(causes.values()), attributes=figures)

    async def _post(self, batch: Batch, convoy: UUID | None) -> None:
        """Post a batch to its end: every one of its commands is answered when this returns."""
        try:
            connection = await self._connected()
        except LedgerError as error:
            batch.fail(error)
            self._queue.refuse_waiting(error)
            return
        try:
            await self._send(connection, batch, convoy)
        except psycopg.Error as error:
            if connection.broken or connection.closed:
                await self._ask_again(batch, convoy)
            elif _is_whole(batch) or isinstance(error, LockNotAvailable | QueryCanceled):
                # A time limit: it was rolled back, and one by one would take that long each.
                batch.fail(told(error))
            else:
                for waiting in batch.waiting:
                    await self._post(Batch([waiting]), convoy)

    async def _send(
        self, connection: Connection, batch: Batch, convoy: UUID | None
    ) -> list[Answer]:
        figures = self._crew.figures
        self.state = LaneState.POSTING
        commands = [waiting.command for waiting in batch.waiting]
        await self._seen(Moment.BEFORE, commands, connection)
        try:
            async with asyncio.timeout(LANE_ANSWER_LIMIT_S):
                answers = await post_batch(
                    connection, self._number, convoy, commands, is_atomic=batch.is_atomic
                )
            await self._seen(Moment.AFTER_COMMIT, commands, connection)
        except TimeoutError:
            figures.batches_cut_off += 1
            self._breaker.failed()
            # It is closed by now, as any connection whose answer was given up.
            raise psycopg.OperationalError("the server is silent") from None
        except psycopg.Error:
            if not (connection.broken or connection.closed):
                self._breaker.answered()
            raise
        self._breaker.answered()
        figures.batches += 1
        figures.commands += len(batch.waiting)
        figures.batch_commands.observe(len(batch.waiting))
        for waiting, answer in zip(batch.waiting, answers, strict=True):
            waiting.succeed(_as_first_told(waiting.command, answer))
        await self._seen(Moment.AFTER_REPLY, commands, connection)
        return answers

    async def _seen(
        self, moment: Moment, commands: Sequence[Command], connection: Connection
    ) -> None:
        onlooker = self._crew.onlooker
        if onlooker is not None:
            await onlooker.saw_batch(moment, commands, connection)

    async def _ask_again(self, batch: Batch, convoy: UUID | None) -> None:
        """The reply is lost: only the same references can tell what became of the batch."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + POST_RETRY_BUDGET_S
        pause_s = POST_RETRY_PAUSE_S
        figures = self._crew.figures
        figures.batches_asked_again += 1
        while loop.time() < give_up_at:
            try:
                connection = await self._connected()
                figures.answered_again(await self._send(connection, batch, convoy))
            except ShardUnavailable as error:
                # What was never sent need not wait with those whose outcome is unknown.
                self._queue.refuse_waiting(error)
            except psycopg.OperationalError:
                pass  # Lost again, or rolled back by a lock time-out: still unknown.
            except psycopg.Error as error:
                if _is_whole(batch):
                    figures.lost_not_found += len(batch.waiting)
                    batch.fail(told(error))
                else:
                    for waiting in batch.waiting:
                        await self._ask_again(Batch([waiting]), convoy)
                return
            else:
                return
            self.state = LaneState.ASKING_AGAIN
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, POST_RETRY_PAUSE_MAX_S)
        figures.lost_given_up += len(batch.waiting)
        batch.fail(OutcomeUnknown())

    async def _connected(self) -> Connection:
        if self._connection is not None and was_left(self._connection):
            await self._connection.close()
        if self._connection is None or self._connection.closed:
            self.state = LaneState.CONNECTING
            try:
                self._connection = await connect(self._dsn, is_serving=True)
            except ShardUnavailable:
                self._breaker.failed()
                raise
        return self._connection


def _is_whole(batch: Batch) -> bool:
    """Whether there is nothing smaller to try when it fails."""
    return batch.is_atomic or len(batch.waiting) == 1


def _loop_time() -> float:
    return asyncio.get_running_loop().time()


def _as_first_told(command: Command, answer: Answer) -> Answer:
    """A command that finds its own booking, whose reply was lost, is no repetition of another.

    A client's request gets a fresh transfer id each time; a delivery keeps its item's.
    """
    is_own = answer.is_replay and answer.transfer_id == command.transfer_id
    if is_own and command.origin is not Origin.DELIVERY:
        return replace(answer, is_replay=False)
    return answer
