"""One carriage: deliver items of one shard on another, then settle or redirect them.

Every step may run twice, late, or in two processes at once: the delivery's reference is the
attempt, and the source changes an item only by compare-and-set on (item, attempt, parked).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeAlias

from sagas.control_points import ControlPoint, ControlPoints, Unarmed
from sagas.deliveries import Verdict, delivery_command, judge, settlement_of
from sagas.limits import CHUNK_ITEMS
from sagas.messages import CarryReport
from sagas.observer import Observer, Unobserved
from sagas.owners import Owners, destination_of
from sagas.unanswered import Unanswered
from shard.commands import Answer
from shard.errors import LedgerError, OutcomeUnknown, Overloaded, ShardUnavailable
from shard.shard import Shard
from shard.spans import Spans
from shard.suspense import Redirection, SuspenseItem

_Answered: TypeAlias = tuple[SuspenseItem, Answer]
_Step: TypeAlias = Callable[[int, Sequence[_Answered]], Awaitable["Carried"]]
_NOT_SETTLED = "settled by another carriage, or the debtor's range is moving"


@dataclass(frozen=True, slots=True)
class Carried:
    """What became of the items of one carriage; ``elsewhere`` are among the waiting ones.

    ``stuck`` are those that need a person from now on. ``is_stopped`` tells that a shard did not
    answer, so that the rest was not even tried.
    """

    delivered: int = 0
    redirected: int = 0
    waiting: int = 0
    stuck: tuple[SuspenseItem, ...] = ()
    is_unreachable: bool = False
    is_stopped: bool = False
    failure: str | None = None
    elsewhere: tuple[SuspenseItem, ...] = ()

    def __add__(self, later: Carried) -> Carried:
        return Carried(
            delivered=self.delivered + later.delivered,
            redirected=self.redirected + later.redirected,
            waiting=self.waiting + later.waiting,
            stuck=self.stuck + later.stuck,
            is_unreachable=self.is_unreachable or later.is_unreachable,
            is_stopped=self.is_stopped or later.is_stopped,
            failure=later.failure or self.failure,
            elsewhere=self.elsewhere + later.elsewhere,
        )

    @classmethod
    def settled(cls, settled: int, of: int) -> Carried:
        """So many of the items that were booked could be settled."""
        failure = _NOT_SETTLED if settled < of else None
        return cls(delivered=settled, waiting=of - settled, failure=failure)

    def report(self) -> CarryReport:
        """The figures alone, without items."""
        return CarryReport(
            delivered=self.delivered,
            redirected=self.redirected,
            waiting=self.waiting,
            needs_repair=len(self.stuck),
            is_unreachable=self.is_unreachable,
            failure=self.failure,
        )


class Carriage:
    """Carries items between the shards it was given."""

    def __init__(
        self,
        shards: Mapping[int, Shard],
        owners: Owners,
        control_points: ControlPoints | None = None,
        observer: Observer | None = None,
        spans: Spans | None = None,
    ) -> None:
        self._shards = shards
        self._owners = owners
        self._control_points = control_points or Unarmed()
        self._observer = observer or Unobserved()
        self.unanswered = Unanswered(self._observer)
        self._spans = spans

    async def by_destination(
        self, source: int, items: Sequence[SuspenseItem]
    ) -> dict[int, list[SuspenseItem]]:
        """Sort items by the shard that should own their target now."""
        sorted_items: defaultdict[int, list[SuspenseItem]] = defaultdict(list)
        for item in items:
            destination = await destination_of(self._owners, source, item.target)
            sorted_items[destination].append(item)
        return dict(sorted_items)

    async def carry(
        self, source: int, destination: int, items: Sequence[SuspenseItem], *, limit_s: float
    ) -> Carried:
        """Deliver ``items`` on ``destination`` and settle them on ``source``.

        Shards that do not answer are reported, not raised. ``limit_s`` bounds each call to a
        shard; a call that was cut off may still take effect, which the next attempt finds.
        """
        chunks = [items[start : start + CHUNK_ITEMS] for start in range(0, len(items), CHUNK_ITEMS)]
        return await self._carry_in_turn(source, destination, chunks, limit_s)

    async def _carry_in_turn(
        self,
        source: int,
        destination: int,
        chunks: Sequence[Sequence[SuspenseItem]],
        limit_s: float,
    ) -> Carried:
        carried = Carried()
        for chunk in chunks:
            if carried.is_stopped:
                carried += Carried(waiting=len(chunk))
            else:
                carried += await self._carry_chunk(source, destination, chunk, limit_s)
        return carried

    async def _carry_chunk(
        self, source: int, destination: int, chunk: Sequence[SuspenseItem], limit_s: float
    ) -> Carried:
        try:
            answers = await self._deliver(source, destination, chunk, limit_s)
        except (ShardUnavailable, OutcomeUnknown, TimeoutError) as error:
            if not isinstance(error, ShardUnavailable):
                self.unanswered.stayed_away([item.delivery_reference for item in chunk])
            failure = failure_of(destination, error)
            return Carried(
                waiting=len(chunk), is_unreachable=True, is_stopped=True, failure=failure
            )
        except LedgerError as error:
            failure = failure_of(destination, error)
            if isinstance(error, Overloaded):
                return Carried(waiting=len(chunk), is_stopped=True, failure=failure)
            if len(chunk) == 1:
                return Carried(waiting=1, failure=failure)
            # One of them is poisonous. Carried singly, it harms only itself.
            singles = [[item] for item in chunk]
            return await self._carry_in_turn(source, destination, singles, limit_s)
        self.unanswered.answered(
            {
                item.delivery_reference: answer.is_replay
                for item, answer in zip(chunk, answers, strict=True)
            }
        )
        return await self.conclude(source, chunk, answers, limit_s=limit_s)

    async def _deliver(
        self, source: int, destination: int, chunk: Sequence[SuspenseItem], limit_s: float
    ) -> list[Answer]:
        if destination not in self._shards:
            raise ShardUnavailable("It is not among the shards this process knows.")
        commands = [
            delivery_command(item, source=source, destination=destination) for item in chunk
        ]
        await self._control_points.reached(ControlPoint.DELIVER_BEFORE)
        with self._span("ledger.deliver", destination, len(chunk)):
            async with asyncio.timeout(limit_s):
                answers = await self._shards[destination].lanes.post_many(commands)
        await self._control_points.reached(ControlPoint.DELIVER_AFTER_REPLY)
        return answers

    async def conclude(
        self,
        source: int,
        items: Sequence[SuspenseItem],
        answers: Sequence[Answer],
        *,
        limit_s: float,
    ) -> Carried:
        """Act on what was answered to the items' deliveries: settle, redirect or set aside."""
        judged: defaultdict[Verdict, list[_Answered]] = defaultdict(list)
        for item, answer in zip(items, answers, strict=True):
            judged[judge(item, answer)].append((item, answer))
        await self._learn(judged[Verdict.ELSEWHERE])
        carried = _undecided(judged[Verdict.ELSEWHERE], judged[Verdict.NOT_YET])
        # What keeps one of them from being done need not keep the others.
        for step, verdict in (
            (self._settle, Verdict.BOOKED),
            (self._redirect, Verdict.SEND_BACK),
            (self._need_repair, Verdict.NEEDS_REPAIR),
        ):
            if judged[verdict]:
                carried += await self._tried(step, source, judged[verdict], limit_s)
        return carried

    async def _tried(
        self, step: _Step, source: int, answered: Sequence[_Answered], limit_s: float
    ) -> Carried:
        try:
            async with asyncio.timeout(limit_s):
                return await step(source, answered)
        except (LedgerError, TimeoutError) as error:
            if isinstance(error, LedgerError) and not error.retryable and len(answered) > 1:
                # One of them is poisonous.
                singles = [await self._tried(step, source, [each], limit_s) for each in answered]
                return sum(singles, start=Carried())
            failure = failure_of(source, error)
            is_stopped = not isinstance(error, LedgerError) or error.retryable
            return Carried(waiting=len(answered), is_stopped=is_stopped, failure=failure)

    async def _learn(self, answered: Sequence[_Answered]) -> None:
        for item, answer in answered:
            account_no = answer.foreign_account or item.target
            await self._owners.learn(account_no, answer.next_owner, answer.epoch)

    async def _settle(self, source: int, answered: Sequence[_Answered]) -> Carried:
        settlements = [settlement_of(item, answer) for item, answer in answered]
        await self._control_points.reached(ControlPoint.SETTLE_BEFORE)
        with self._span("ledger.settle", source, len(settlements)):
            settled = await self._shards[source].suspense.settle(settlements)
        await self._control_points.reached(ControlPoint.SETTLE_AFTER_REPLY)
        for settlement, (item, _) in zip(settlements, answered, strict=True):
            self._observer.window((settlement.delivered_at - item.parked_at).total_seconds())
        return Carried.settled(settled, len(settlements))

    async def _redirect(self, source: int, answered: Sequence[_Answered]) -> Carried:
        redirections = [
            Redirection(item.item_id, item.attempt, target=item.debtor, cause=answer.outcome)
            for item, answer in answered
        ]
        await self._control_points.reached(ControlPoint.RETURN_BEFORE)
        await self._shards[source].suspense.redirect(redirections)
        await self._control_points.reached(ControlPoint.RETURN_AFTER_REPLY)
        return Carried(redirected=len(redirections))

    async def _need_repair(self, source: int, answered: Sequence[_Answered]) -> Carried:
        """Set items aside; those that could not be, as their debtor's range moves, must wait."""
        suspense = self._shards[source].suspense
        stuck = []
        for item, answer in answered:
            if await suspense.mark_needs_repair(item.item_id, item.attempt, answer.outcome):
                self._observer.repair_opened()
                stuck.append(item)
        unmarked = Carried.settled(0, len(answered) - len(stuck))
        return unmarked + Carried(stuck=tuple(stuck))

    def _span(self, name: str, shard: int, items: int) -> AbstractContextManager[None]:
        if self._spans is None:
            return nullcontext()
        return self._spans.span(name, attributes={"ledger.shard": shard, "ledger.items": items})


def _undecided(elsewhere: Sequence[_Answered], not_yet: Sequence[_Answered]) -> Carried:
    reasons = {str(answer.outcome) for _, answer in (*elsewhere, *not_yet)}
    return Carried(
        waiting=len(elsewhere) + len(not_yet),
        failure=", ".join(sorted(reasons)) or None,
        elsewhere=tuple(item for item, _ in elsewhere),
    )


def failure_of(shard: int, error: Exception) -> str:
    """What to tell of a shard that did not do its part."""
    told = error.detail if isinstance(error, LedgerError) else "no answer in time"
    return f"Shard {shard}: {told}"
