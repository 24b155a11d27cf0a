"""The activity of a route. What it raises is what an operator reads in the Temporal UI."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from uuid import UUID

from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError

from sagas.beating import beating
from sagas.carriage import Carriage, Carried
from sagas.limits import CHUNK_ITEMS, ROUTE_CALL_LIMIT_S, ROUTE_RUN_S
from sagas.messages import RouteOrder, RouteReport, Step
from sagas.starts import ensure_route, open_repairs
from shard.shard import Shard
from shard.suspense import Carrier, SuspenseItem


class RouteActivities:
    """Carries everything that waits on one shard for one other."""

    def __init__(self, client: Client, shards: Mapping[int, Shard], carriage: Carriage) -> None:
        self._client = client
        self._shards = shards
        self._carriage = carriage

    @activity.defn(name=Step.CARRY_ROUTE)
    async def carry(self, order: RouteOrder) -> RouteReport:
        """Offer each waiting item to the destination once, oldest first.

        Items that must wait are passed over, so that they hold up no other; if any had to, the
        activity fails in the end, saying why, and Temporal tries it again.
        """
        async with beating():
            return await self._carry(order)

    async def _carry(self, order: RouteOrder) -> RouteReport:
        carried = Carried()
        rerouted = 0
        after: UUID | None = None
        stop_at = time.monotonic() + ROUTE_RUN_S
        suspense = self._shards[order.source].suspense
        while items := await suspense.of_route(order.destination, CHUNK_ITEMS, after):
            page = await self._carriage.carry(
                order.source, order.destination, items, limit_s=ROUTE_CALL_LIMIT_S
            )
            carried += page
            await open_repairs(self._client, order.source, page.stuck)
            if page.is_stopped:
                raise ApplicationError(str(page.failure), type="ShardDoesNotAnswer")
            rerouted += await self._reroute(order, page.elsewhere)
            after = items[-1].item_id
            if time.monotonic() > stop_at:
                return _report(carried, rerouted, has_more=True)
        if carried.waiting > rerouted:
            reason = f"{carried.waiting - rerouted} items wait: {carried.failure}"
            raise ApplicationError(reason, type="ItemsWait")
        return _report(carried, rerouted, has_more=bool(carried.redirected))

    async def _reroute(self, order: RouteOrder, items: Sequence[SuspenseItem]) -> int:
        """Hand items that the destination does not own to the route of their owner.

        Only what the destination itself refused as not its own changes its route: two workers
        with different maps must not send an item to and fro.
        """
        rerouted = 0
        groups = await self._carriage.by_destination(order.source, items)
        for destination, group in groups.items():
            if destination != order.destination:
                ids = [item.item_id for item in group]
                suspense = self._shards[order.source].suspense
                rerouted += await suspense.hand_over(ids, Carrier.ROUTE, destination)
                await ensure_route(self._client, order.source, destination)
        return rerouted


def _report(carried: Carried, rerouted: int, *, has_more: bool) -> RouteReport:
    return RouteReport(
        carried.delivered, carried.redirected, rerouted, len(carried.stuck), has_more
    )
