"""The sweeper: finds open items that nobody carries and holds whose time is up; its schedule."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from temporalio import activity
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError

from sagas.limits import (
    CONVOY_ITEMS,
    REPAIRS_PER_SWEEP,
    STRAGGLER_AGE_S,
    SWEEP_CATCH_UP_S,
    SWEEP_INTERVAL_S,
    SWEEP_ITEMS,
    SWEEP_SHARD_LIMIT_S,
    TASK_LIMIT_S,
)
from sagas.messages import ConvoyOrder, ShardSweep, Step
from sagas.observer import Observer, Unobserved
from sagas.starts import TASK_QUEUE, ensure_repair, ensure_route, start_convoy
from sagas.sweep_workflow import SweepWorkflow
from shard.errors import LedgerError
from shard.ids import new_id
from shard.shard import Shard
from shard.suspense import SuspenseItem

SCHEDULE_ID = "sweeper"

_UUID7_RANDOM_BITS = 80
_UUID7 = 7


class Sweeper:
    """Sends stragglers off again; sees that each route with open items, and each repair, runs."""

    def __init__(
        self,
        client: Client,
        shards: Mapping[int, Shard],
        straggler_age_s: float = STRAGGLER_AGE_S,
        observer: Observer | None = None,
    ) -> None:
        self._client = client
        self._shards = shards
        self._straggler_age_s = straggler_age_s
        self._observer = observer or Unobserved()
        # Up to which item the repairs of each shard were seen to.
        self._repairs_seen: dict[int, UUID] = {}

    @activity.defn(name=Step.LIST_SHARDS)
    async def list_shards(self) -> list[int]:
        """The shards this worker knows."""
        return sorted(self._shards)

    @activity.defn(name=Step.SWEEP_SHARD)
    async def sweep(self, shard: int) -> ShardSweep:
        """Sweep one shard; a shard or a Temporal that does not answer is reported."""
        expired = 0
        stragglers: Sequence[SuspenseItem] = ()
        convoys = 0
        routes: list[int] = []
        failure: str | None = None
        try:
            async with asyncio.timeout(SWEEP_SHARD_LIMIT_S):
                routes = await self._ensure_routes(shard)
                stragglers = await self._stragglers(shard)
                for start in range(0, len(stragglers), CONVOY_ITEMS):
                    await self._send(shard, stragglers[start : start + CONVOY_ITEMS])
                    convoys += 1
                expired = await self._shards[shard].expire_holds()
                await self._ensure_repairs(shard)
        except LedgerError as error:
            failure = error.detail
        except RPCError as error:
            failure = f"Temporal: {error.message}"
        except TimeoutError:
            failure = f"Not finished within {SWEEP_SHARD_LIMIT_S} s"
        sent = min(len(stragglers), convoys * CONVOY_ITEMS)
        self._observer.swept(shard, sent, is_complete=failure is None)
        return ShardSweep(shard, len(stragglers), convoys, routes, failure, expired)

    async def _ensure_routes(self, shard: int) -> list[int]:
        destinations = await self._shards[shard].suspense.open_routes()
        for destination in destinations:
            await ensure_route(self._client, shard, destination)
        return destinations

    async def _ensure_repairs(self, shard: int) -> None:
        """See that items in repair have their workflows; the next sweep goes on behind them."""
        after = self._repairs_seen.get(shard)
        items = await self._shards[shard].repairs.in_repair(REPAIRS_PER_SWEEP, after)
        for item in items:
            self._repairs_seen[shard] = item
            await ensure_repair(self._client, shard, str(item))
        if len(items) < REPAIRS_PER_SWEEP:
            self._repairs_seen.pop(shard, None)

    async def _stragglers(self, shard: int) -> list[SuspenseItem]:
        """Old items, but for those that an earlier sweep sent off a moment ago.

        A convoy from the future was named by a clock that is ahead: nobody waits for that time.
        """
        age_s = self._straggler_age_s
        items = await self._shards[shard].suspense.stragglers(age_s, SWEEP_ITEMS)
        now_s = time.time()
        return [item for item in items if not -age_s <= now_s - _born_at_s(item.convoy) <= age_s]

    async def _send(self, shard: int, items: Sequence[SuspenseItem]) -> None:
        convoy = new_id()
        await self._shards[shard].suspense.restamp([item.item_id for item in items], convoy)
        await start_convoy(self._client, ConvoyOrder(shard, str(convoy)), is_eager=False)


def _born_at_s(convoy: UUID) -> float:
    """When a convoy's id was made (UNIX seconds); RFC 9562 puts milliseconds in front."""
    return (convoy.int >> _UUID7_RANDOM_BITS) / 1000 if convoy.version == _UUID7 else 0.0


async def ensure_schedule(client: Client, interval_s: float = SWEEP_INTERVAL_S) -> None:
    """Create the sweeper's schedule, or bring it up to date; a pause set by hand stays.

    Raises ``RPCError`` when Temporal does not answer.
    """
    schedule = _schedule(interval_s)
    try:
        await client.create_schedule(SCHEDULE_ID, schedule)
    except ScheduleAlreadyRunningError:

        async def renewed(present: ScheduleUpdateInput) -> ScheduleUpdate | None:
            known = present.description.schedule
            if _essence(known) == _essence(schedule):
                return None
            schedule.state = known.state
            return ScheduleUpdate(schedule)

        await client.get_schedule_handle(SCHEDULE_ID).update(renewed)


def _essence(schedule: Schedule) -> tuple[object, ...]:
    """What tells one version of our schedule from another, also as the server gives it back."""
    action = schedule.action
    if not isinstance(action, ScheduleActionStartWorkflow):
        return ()
    return (
        action.workflow,
        action.task_queue,
        action.execution_timeout,
        action.task_timeout,
        [interval.every for interval in schedule.spec.intervals],
        schedule.policy,
    )


def _schedule(interval_s: float) -> Schedule:
    return Schedule(
        action=ScheduleActionStartWorkflow(
            SweepWorkflow.run,
            id=SCHEDULE_ID,
            task_queue=TASK_QUEUE,
            execution_timeout=timedelta(minutes=1),
            task_timeout=timedelta(seconds=TASK_LIMIT_S),
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(seconds=interval_s))]),
        policy=SchedulePolicy(
            overlap=ScheduleOverlapPolicy.SKIP,
            catchup_window=timedelta(seconds=SWEEP_CATCH_UP_S),
        ),
    )
