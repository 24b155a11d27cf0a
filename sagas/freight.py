"""Freight: cargo on its way from one shard to another, by the hundred.

Nearly always every item of a convoy is booked and settled. That is done in columns here; whatever
else becomes of an item, or of the attempt to deliver, is a matter for the carriage.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from uuid import UUID

from sagas.carriage import Carriage, Carried, failure_of
from sagas.control_points import ControlPoint, ControlPoints, Unarmed
from sagas.deliveries import cargo_hashes
from sagas.limits import CHUNK_ITEMS
from sagas.observer import Observer, Unobserved
from sagas.owners import Owners, destination_of
from shard.cargo import Arrival, Cargo
from shard.commands import Answer
from shard.errors import LedgerError, OutcomeUnknown, Overloaded, ShardUnavailable
from shard.outcomes import Outcome
from shard.shard import Shard
from shard.spans import Spans
from shard.suspense import SuspenseItem


class Freight:
    """Carries the cargo of convoys between the shards it was given."""

    def __init__(
        self,
        shards: Mapping[int, Shard],
        owners: Owners,
        carriage: Carriage,
        control_points: ControlPoints | None = None,
        observer: Observer | None = None,
        spans: Spans | None = None,
    ) -> None:
        self._shards = shards
        self._owners = owners
        self._carriage = carriage
        self._control_points = control_points or Unarmed()
        self._observer = observer or Unobserved()
        self._spans = spans

    async def by_destination(
        self, source: int, convoy: UUID, manifest: Cargo | None = None
    ) -> dict[int, Cargo]:
        """A convoy's items by the shards that should own their targets.

        Those of the ``manifest``, where there is one; otherwise those that are still its own.
        """
        cargo = manifest
        if cargo is None:
            cargo = await self._shards[source].suspense.cargo_of_convoy(convoy)
        places: defaultdict[int, list[int]] = defaultdict(list)
        for place, target in enumerate(cargo.targets):
            destination = await destination_of(self._owners, source, int(target))
            places[destination].append(place)
        return {destination: cargo.part(each) for destination, each in places.items()}

    async def carry(
        self, source: int, destination: int, convoy: UUID, cargo: Cargo, *, limit_s: float
    ) -> Carried:
        """Deliver and settle the cargo of a convoy, as the carriage does with items.

        While one chunk is settled here, the next one is delivered there.
        """
        carried = Carried()
        concluding: list[asyncio.Task[Carried]] = []
        async with asyncio.TaskGroup() as tasks:
            for start in range(0, len(cargo), CHUNK_ITEMS):
                chunk = cargo.chunk(start, start + CHUNK_ITEMS)
                if carried.is_stopped:
                    carried += Carried(waiting=len(chunk))
                    continue
                met = await self._met(source, destination, convoy, chunk, limit_s)
                if isinstance(met, Carried):
                    carried += met
                else:
                    conclusion = self._conclude(source, convoy, chunk, met, limit_s)
                    concluding.append(tasks.create_task(conclusion))
        return sum((task.result() for task in concluding), start=carried)

    async def _met(
        self, source: int, destination: int, convoy: UUID, chunk: Cargo, limit_s: float
    ) -> list[Arrival] | Carried:
        """What a chunk has met at its destination, or what became of it where that is not told."""
        try:
            arrivals = await self._deliver(source, destination, chunk, limit_s)
        except (ShardUnavailable, TimeoutError) as error:
            if isinstance(error, TimeoutError):
                self._carriage.unanswered.stayed_away(chunk.delivery_references)
            failure = failure_of(destination, error)
            return Carried(
                waiting=len(chunk), is_unreachable=True, is_stopped=True, failure=failure
            )
        except Overloaded as error:
            failure = failure_of(destination, error)
            return Carried(waiting=len(chunk), is_stopped=True, failure=failure)
        except LedgerError as error:
            if isinstance(error, OutcomeUnknown):
                self._carriage.unanswered.stayed_away(chunk.delivery_references)
            # Its reply is lost, or one of them is poisonous: the carriage finds out.
            carry = partial(self._carriage.carry, source, destination, limit_s=limit_s)
            references = frozenset(chunk.delivery_references)
            return await self._one_by_one(source, convoy, references, carry, limit_s)
        sent = chunk.delivery_references
        for arrival in arrivals:
            is_replay = arrival.answer.is_replay
            self._carriage.unanswered.answered({sent[at]: is_replay for at in arrival.places})
        return arrivals

    async def _deliver(
        self, source: int, destination: int, chunk: Cargo, limit_s: float
    ) -> list[Arrival]:
        if destination not in self._shards:
            raise ShardUnavailable("It is not among the shards this process knows.")
        hashes = cargo_hashes(chunk)
        await self._control_points.reached(ControlPoint.DELIVER_BEFORE)
        with self._span("ledger.deliver", destination, len(chunk)):
            async with asyncio.timeout(limit_s):
                arrivals = await self._shards[destination].arrivals.deliver(source, chunk, hashes)
        await self._control_points.reached(ControlPoint.DELIVER_AFTER_REPLY)
        return arrivals

    async def _conclude(
        self,
        source: int,
        convoy: UUID,
        chunk: Cargo,
        arrivals: Sequence[Arrival],
        limit_s: float,
    ) -> Carried:
        carried = Carried()
        others: dict[str, Answer] = {}
        for arrival in arrivals:
            part = chunk.part(arrival.places)
            if arrival.answer.outcome is Outcome.POSTED:
                carried += await self._settle(source, convoy, part, arrival.answer, limit_s)
            else:
                others |= dict.fromkeys(part.delivery_references, arrival.answer)
        if others:
            carried += await self._conclude_others(source, convoy, others, limit_s)
        return carried

    async def _settle(
        self, source: int, convoy: UUID, part: Cargo, booked: Answer, limit_s: float
    ) -> Carried:
        if booked.booked_on is None or booked.posted_at is None:
            raise ValueError("A booked delivery says where and when it was booked.")
        try:
            await self._control_points.reached(ControlPoint.SETTLE_BEFORE)
            with self._span("ledger.settle", source, len(part)):
                async with asyncio.timeout(limit_s):
                    settled = await self._shards[source].suspense.settle_cargo(
                        part, booked.booked_on, booked.posted_at
                    )
            await self._control_points.reached(ControlPoint.SETTLE_AFTER_REPLY)
        except (LedgerError, TimeoutError) as error:
            if isinstance(error, LedgerError) and not error.retryable:
                # One of them is poisonous: the carriage settles the others.
                answers = dict.fromkeys(part.delivery_references, booked)
                return await self._conclude_others(source, convoy, answers, limit_s)
            failure = failure_of(source, error)
            return Carried(waiting=len(part), is_stopped=True, failure=failure)
        delivered_at = booked.posted_at.timestamp()
        for parked_at, items in Counter(part.parked_at).items():
            self._observer.window(delivered_at - parked_at, items)
        return Carried.settled(settled, len(part))

    async def _conclude_others(
        self, source: int, convoy: UUID, others: Mapping[str, Answer], limit_s: float
    ) -> Carried:
        """Act on answers to attempts, by the attempts' references."""

        async def conclude(items: Sequence[SuspenseItem]) -> Carried:
            answers = [others[item.delivery_reference] for item in items]
            return await self._carriage.conclude(source, items, answers, limit_s=limit_s)

        return await self._one_by_one(source, convoy, others, conclude, limit_s)

    async def _one_by_one(
        self,
        source: int,
        convoy: UUID,
        references: Collection[str],
        act: Callable[[Sequence[SuspenseItem]], Awaitable[Carried]],
        limit_s: float,
    ) -> Carried:
        """Act on items; one that is not in the attempt of that reference any more is left alone."""
        try:
            async with asyncio.timeout(limit_s):
                items = await self._shards[source].suspense.of_convoy(convoy)
        except (LedgerError, TimeoutError) as error:
            failure = failure_of(source, error)
            return Carried(waiting=len(references), is_stopped=True, failure=failure)
        same = [item for item in items if item.delivery_reference in references]
        return Carried.settled(0, len(references) - len(same)) + await act(same)

    def _span(self, name: str, shard: int, items: int) -> AbstractContextManager[None]:
        if self._spans is None:
            return nullcontext()
        return self._spans.span(name, attributes={"ledger.shard": shard, "ledger.items": items})
