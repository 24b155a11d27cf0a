"""The queue before the lanes of one shard: bounded, and rid of what nobody waits for any more.

Whoever waits for one answer goes before bulk work, which fills the rest of each batch: single
requests are fewer than a batch holds, so bulk work is never starved.

One call of the posting function costs as much as a dozen commands in it. So while one lane is busy,
another one starts only with enough commands to be worth a call, or when that one is held up. And
bulk work that trickles in gathers for a moment, unless there is something else to send.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from uuid import UUID

from psycopg.rows import TupleRow

from shard.cargo import rows_parked
from shard.commands import Answer, Command
from shard.errors import LedgerError, OutcomeUnknown, Overloaded
from shard.lane_figures import LaneFigures
from shard.limits import (
    DEADLINE_GRAIN_S,
    LANE_BATCH_COMMANDS,
    LANE_COMPANY_COMMANDS,
    LANE_COMPANY_WAIT_S,
    LANE_GATHER_S,
    LANE_GATHERED_COMMANDS,
    LANE_QUEUE_BULK_COMMANDS,
    LANE_QUEUE_UNITS,
)
from shard.outcomes import Outcome

_TOO_LATE = "The request's time was up before it was started."


class Waiting:
    """A command and the answer that somebody waits for; times are the event loop's, in seconds.

    ``cause`` is the span in which it was asked for, where traces are kept.
    """

    __slots__ = ("answer", "cause", "command", "deadline", "is_patient", "queued_at")

    def __init__(
        self,
        command: Command,
        answer: asyncio.Future[Answer],
        deadline: float | None,
        queued_at: float,
        cause: object,
        is_patient: bool,
    ) -> None:
        self.command = command
        self.answer = answer
        self.deadline = deadline
        self.queued_at = queued_at
        self.cause = cause
        self.is_patient = is_patient
        """Whether it may wait for others, so that they are sent together."""

    def succeed(self, answer: Answer) -> None:
        """Answer, unless whoever waited has gone."""
        if not self.answer.done():
            self.answer.set_result(answer)

    def fail(self, error: LedgerError) -> None:
        """Answer by an error, unless whoever waited has gone."""
        if not self.answer.done():
            self.answer.set_exception(error)

    def is_late(self, now: float) -> bool:
        """Whether somebody waits whose time is up."""
        return self.deadline is not None and self.deadline <= now and not self.answer.done()

    @property
    def known_answer(self) -> Answer | None:
        """The answer, once there is one that whoever waited has not missed."""
        answer = self.answer
        if not answer.done() or answer.cancelled() or answer.exception() is not None:
            return None
        return answer.result()

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


class Batch:
    """What a lane posts in one transaction; an atomic one is booked wholly or not at all."""

    __slots__ = ("is_atomic", "taken_at", "waiting")

    def __init__(self, waiting: list[Waiting], *, is_atomic: bool = False) -> None:
        self.waiting = waiting
        self.is_atomic = is_atomic
        self.taken_at = 0.0
        """When a lane took it, by the event loop's time, in seconds."""

    def parked_in(self, convoy: UUID) -> list[TupleRow] | None:
        """The cargo rows of what stands in that convoy now; None when that is not known."""
        rows: list[TupleRow] = []
        for waiting in self.waiting:
            if not waiting.command.parked:
                continue
            answer = waiting.known_answer
            if answer is None:
                return None
            if answer.outcome is not Outcome.POSTED:
                continue
            if answer.convoy != convoy:
                # It was booked before, perhaps by this very batch, whose reply was lost.
                return None
            rows += rows_parked(waiting.command, answer)
        return rows

    def fail(self, error: LedgerError) -> None:
        """Answer all that are not answered yet."""
        for waiting in self.waiting:
            waiting.fail(error)


class LaneQueue:
    """What waits for a free lane, and what the lanes have taken.

    One timer serves all deadlines: it is set to the earliest one, and then looks at everybody.
    """

    def __init__(self, figures: LaneFigures) -> None:
        self.requests = 0
        """Single requests that wait or are under way; ``Lanes.post`` keeps it."""
        self._figures = figures
        self._singles: deque[Waiting] = deque()
        self._bulk: deque[Waiting] = deque()
        self._impatient_bulk = 0
        self._units: deque[Batch] = deque()
        self._is_unit_next = False
        self._taken: set[Batch] = set()
        self._taken_at = -math.inf
        """When a lane took the latest batch, by the event loop's time."""
        self._idle: deque[asyncio.Future[None]] = deque()
        self._room = asyncio.Event()
        self._sweep_at = math.inf
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._start_timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        units = sum(len(unit.waiting) for unit in self._units)
        return len(self._singles) + len(self._bulk) + units

    def put(self, command: Command, deadline: float | None, cause: object) -> Waiting:
        """Queue a command that somebody waits for, and wake a lane."""
        waiting = self._waiting(command, deadline, cause)
        self._singles.append(waiting)
        self._wake()
        return waiting

    @property
    def has_room(self) -> bool:
        """Whether bulk work may be queued."""
        return len(self._bulk) < LANE_QUEUE_BULK_COMMANDS

    async def room(self) -> None:
        """Wait until bulk work may be queued."""
        while not self.has_room:
            self._room.clear()
            await self._room.wait()

    def put_bulk(self, command: Command, cause: object, *, is_patient: bool) -> Waiting:
        """Queue a command of bulk work, for which there is room; a patient one may gather."""
        waiting = self._waiting(command, None, cause, is_patient=is_patient)
        self._bulk.append(waiting)
        self._impatient_bulk += not is_patient
        self._wake()
        return waiting

    def put_unit(self, commands: Sequence[Command], cause: object) -> Batch:
        """Queue commands that are booked together or not at all; raises ``Overloaded``."""
        if len(self._units) >= LANE_QUEUE_UNITS:
            raise Overloaded
        unit = Batch([self._waiting(each, None, cause) for each in commands], is_atomic=True)
        self._units.append(unit)
        self._wake()
        return unit

    async def take(self) -> Batch:
        """For a lane that is free: wait until there is work, then take all of it.

        Atomic batches take turns with everything else.
        """
        loop = asyncio.get_running_loop()
        while True:
            batch = self._next(loop.time()) if self._may_start() else None
            self._room.set()
            if batch is not None:
                batch.taken_at = self._taken_at = loop.time()
                self._taken.add(batch)
                self._figures.wait_seconds.observe(batch.taken_at - batch.waiting[0].queued_at)
                # What is left waits for this lane from now on, or another one starts with it.
                self._stop_start_timer()
                self._wake()
                return batch
            idle = loop.create_future()
            self._idle.append(idle)
            await idle

    def _may_start(self) -> bool:
        """Whether a free lane is to start now, or to leave it to the one that is busy."""
        waiting = len(self._singles) + len(self._bulk)
        if self._taken:
            # One that took its batch a moment ago will soon be back; none else is counted on.
            enough = LANE_COMPANY_COMMANDS
            start_at = max(batch.taken_at for batch in self._taken) + LANE_COMPANY_WAIT_S
        elif self._singles or self._impatient_bulk:
            return True
        else:
            enough = LANE_GATHERED_COMMANDS
            start_at = self._taken_at + LANE_GATHER_S
        if self._units or waiting >= enough:
            return True
        loop = asyncio.get_running_loop()
        left_s = start_at - loop.time()
        if left_s > 0 and waiting and self._start_timer is None:
            self._start_timer = loop.call_later(left_s, self._look_again)
        return left_s <= 0

    def _look_again(self) -> None:
        self._start_timer = None
        self._wake()

    def _stop_start_timer(self) -> None:
        if self._start_timer is not None:
            self._start_timer.cancel()
            self._start_timer = None

    def _next(self, now: float) -> Batch | None:
        if self._is_unit_next and (unit := self._next_unit()) is not None:
            self._is_unit_next = False
            return unit
        self._is_unit_next = True
        waiting: list[Waiting] = []
        for queue in (self._singles, self._bulk):
            while queue and len(waiting) < LANE_BATCH_COMMANDS:
                each = queue.popleft()
                if queue is self._bulk:
                    self._impatient_bulk -= not each.is_patient
                if self._is_wanted(each, now):
                    waiting.append(each)
        if waiting:
            return Batch(waiting)
        self._is_unit_next = False
        return self._next_unit()

    def _next_unit(self) -> Batch | None:
        while self._units:
            unit = self._units.popleft()
            if not any(waiting.answer.done() for waiting in unit.waiting):
                return unit
            self._figures.abandoned += len(unit.waiting)
        return None

    def ended(self, batch: Batch) -> None:
        """A lane is done with what it had taken."""
        self._taken.discard(batch)

    def abandoned(self) -> None:
        """Somebody stopped waiting: what he had queued gives way soon."""
        self._sweep_by(0.0)

    def refuse_waiting(self, error: LedgerError) -> None:
        """Answer everything that no lane has taken."""
        for queue in (self._singles, self._bulk):
            while queue:
                queue.popleft().fail(error)
        self._impatient_bulk = 0
        while self._units:
            self._units.popleft().fail(error)
        self._room.set()

    def close(self, error: LedgerError) -> None:
        """Answer everything that was not taken, and forget the timer."""
        self.refuse_waiting(error)
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
            self._sweep_timer = None
            self._sweep_at = math.inf
        self._stop_start_timer()

    def _waiting(
        self,
        command: Command,
        deadline: float | None,
        cause: object,
        *,
        is_patient: bool = False,
    ) -> Waiting:
        loop = asyncio.get_running_loop()
        if deadline is not None and deadline < self._sweep_at:
            self._sweep_by(deadline)
        answer = loop.create_future()
        return Waiting(command, answer, deadline, loop.time(), cause, is_patient)

    def _wake(self) -> None:
        if not self._idle or not self._may_start():
            return
        while self._idle:
            # The one that became idle last: its server process still has everything at hand.
            idle = self._idle.pop()
            if not idle.done():
                idle.set_result(None)
                break

    def _sweep_by(self, wanted_at: float) -> None:
        """Look at everybody at that time, but not again and again for each of many."""
        loop = asyncio.get_running_loop()
        at = max(wanted_at, loop.time() + DEADLINE_GRAIN_S)
        if at >= self._sweep_at:
            return
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        self._sweep_at = at
        self._sweep_timer = loop.call_at(at, self._sweep)

    def _sweep(self) -> None:
        """Tell those whose time is up, and drop what nobody waits for from the queue."""
        self._sweep_at, self._sweep_timer = math.inf, None
        now = asyncio.get_running_loop().time()
        self._clear(self._singles, now)
        self._clear(self._bulk, now)
        self._impatient_bulk = sum(not each.is_patient for each in self._bulk)
        for batch in self._taken:
            for waiting in batch.waiting:
                if waiting.is_late(now):
                    # It was sent, and the shard hangs: whoever asked must not hang with it.
                    waiting.fail(OutcomeUnknown())
        self._sweep_next()

    def _clear(self, queue: deque[Waiting], now: float) -> None:
        everybody = list(queue)
        queue.clear()
        for waiting in everybody:
            if self._is_wanted(waiting, now):
                queue.append(waiting)
        if len(queue) < len(everybody):
            self._room.set()

    def _is_wanted(self, waiting: Waiting, now: float) -> bool:
        """Whether it is still worth sending; whoever is too late is told so."""
        if waiting.answer.done():
            self._figures.abandoned += 1
            return False
        if waiting.is_late(now):
            self._figures.late += 1
            waiting.fail(Overloaded(_TOO_LATE))
            return False
        return True

    def _sweep_next(self) -> None:
        everybody = (self._singles, *(batch.waiting for batch in self._taken))
        deadlines = [
            waiting.deadline
            for group in everybody
            for waiting in group
            if waiting.deadline is not None and not waiting.answer.done()
        ]
        if deadlines:
            self._sweep_by(min(deadlines))
