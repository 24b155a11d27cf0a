"""One carriage: deliver items of one shard on another, then settle or redirect them.

Every step may run twice, late, or in two processes at once: the delivery's reference is the
attempt, and the source changes an item only by compare-and-set on (item, attempt, parked).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from sagas.control_points import ControlPoint, ControlPoints, Unarmed
from sagas.deliveries import Verdict, delivery_command, judge
from sagas.limits import CHUNK_ITEMS
from sagas.messages import CarryReport
from sagas.observer import Observer, Unobserved
from sagas.owners import Owners, destination_of
from sagas.unanswered import Unanswered
from shard.commands import Answer
from shard.errors import LedgerError, OutcomeUnknown, Overloaded, ShardUnavailable
from shard.shard import Shard
from shard.spans import Spans
from shard.suspense import Redirection, Settlement, SuspenseItem


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
        self._unanswered = Unanswered(self._observer)
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
                self._unanswered.stayed_away(chunk)
            failure = f"Shard {destination}: {_told(error)}"
            return Carried(
                waiting=len(chunk), is_unreachable=True, is_stopped=True, failure=failure
            )
        except LedgerError as error:
            failure = f"Shard {destination}: {_told(error)}"
            if isinstance(error, Overloaded):
                return Carried(waiting=len(chunk), is_stopped=True, failure=failure)
            if len(chunk) == 1:
                return Carried(waiting=1, failure=failure)
            # One of them is poisonous. Carried singly, it harms only itself.
            singles = [[item] for item in chunk]
            return await self._carry_in_turn(source, destination, singles, limit_s)
        return await self._conclude(source, chunk, answers, limit_s)

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

    async def _conclude(
        self,
        source: int,
        chunk: Sequence[SuspenseItem],
        answers: Sequence[Answer],
        limit_s: float,
    ) -> Carried:
        """Act on the verdicts."""
        self._unanswered.answered(chunk, answers)
        judged: defaultdict[Verdict, list[tuple[SuspenseItem, Answer]]] = defaultdict(list)
        for item, answer in zip(chunk, answers, strict=True):
            judged[judge(item, answer)].append((item, answer))
        await self._learn(judged[Verdict.ELSEWHERE])
        try:
            async with asyncio.timeout(limit_s):
                settled = await self._settle(source, judged[Verdict.BOOKED])
                redirected = await self._redirect(source, judged[Verdict.SEND_BACK])
                stuck = await self._need_repair(source, judged[Verdict.NEEDS_REPAIR])
        except (LedgerError, TimeoutError) as error:
            failure = f"Shard {source}: {_told(error)}"
            return Carried(waiting=len(chunk), is_stopped=True, failure=failure)
        undecided = judged[Verdict.ELSEWHERE] + judged[Verdict.NOT_YET]
        unsettled = len(judged[Verdict.BOOKED]) - settled
        unmarked = len(judged[Verdict.NEEDS_REPAIR]) - len(stuck)
        reasons = {str(answer.outcome) for _, answer in undecided}
        if unsettled or unmarked:
            reasons.add("settled by another carriage, or the debtor's range is moving")
        return Carried(
            delivered=settled,
            redirected=redirected,
            waiting=len(undecided) + unsettled + unmarked,
            stuck=stuck,
            failure=", ".join(sorted(reasons)) or None,
            elsewhere=tuple(item for item, _ in judged[Verdict.ELSEWHERE]),
        )

    async def _learn(self, answered: Sequence[tuple[SuspenseItem, Answer]]) -> None:
        for item, answer in answered:
            account_no = answer.foreign_account or item.target
            await self._owners.learn(account_no, answer.next_owner, answer.epoch)

    async def _settle(self, source: int, answered: Sequence[tuple[SuspenseItem, Answer]]) -> int:
        if not answered:
            return 0
        settlements = [_settlement(item, answer) for item, answer in answered]
        await self._control_points.reached(ControlPoint.SETTLE_BEFORE)
        with self._span("ledger.settle", source, len(settlements)):
            settled = await self._shards[source].suspense.settle(settlements)
        await self._control_points.reached(ControlPoint.SETTLE_AFTER_REPLY)
        for settlement, (item, _) in zip(settlements, answered, strict=True):
            self._observer.window((settlement.delivered_at - item.parked_at).total_seconds())
        return settled

    async def _redirect(self, source: int, answered: Sequence[tuple[SuspenseItem, Answer]]) -> int:
        if not answered:
            return 0
        redirections = [
            Redirection(item.item_id, item.attempt, target=item.debtor, cause=answer.outcome)
            for item, answer in answered
        ]
        await self._control_points.reached(ControlPoint.RETURN_BEFORE)
        await self._shards[source].suspense.redirect(redirections)
        await self._control_points.reached(ControlPoint.RETURN_AFTER_REPLY)
        return len(redirections)

    async def _need_repair(
        self, source: int, answered: Sequence[tuple[SuspenseItem, Answer]]
    ) -> tuple[SuspenseItem, ...]:
        """Set items aside; those that could not be, as their debtor's range moves, must wait."""
        suspense = self._shards[source].suspense
        stuck = []
        for item, answer in answered:
            if await suspense.mark_needs_repair(item.item_id, item.attempt, answer.outcome):
                self._observer.repair_opened()
                stuck.append(item)
        return tuple(stuck)

    def _span(self, name: str, shard: int, items: int) -> AbstractContextManager[None]:
        if self._spans is None:
            return nullcontext()
        return self._spans.span(name, attributes={"ledger.shard": shard, "ledger.items": items})


def _settlement(item: SuspenseItem, answer: Answer) -> Settlement:
    if answer.booked_on is None or answer.posted_at is None:
        raise ValueError("A booked delivery says where and when it was booked.")
    return Settlement(item.item_id, item.attempt, answer.booked_on, answer.posted_at)


def _told(error: Exception) -> str:
    return error.detail if isinstance(error, LedgerError) else "no answer in time"
