"""The local activities of a convoy. Its items stay here; the workflow sees figures only.

Items may be stale when they are carried: they may have been settled or redirected since they
were read. That is harmless, because their delivery is replayed and the source compares attempts.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from uuid import UUID

import structlog
from temporalio import activity
from temporalio.client import Client
from temporalio.service import RPCError

from sagas.carriage import Carriage
from sagas.control_points import ControlPoint, ControlPoints
from sagas.freight import Freight
from sagas.limits import CARRY_LIMIT_S, DESTINATION_DOWN_S, SURVEYS_KEPT
from sagas.messages import CarryOrder, CarryReport, ConvoyOrder, HandOverOrder, Step, Survey
from sagas.starts import ensure_route, open_repairs
from sagas.terminus import Terminus
from shard.cargo import Cargo
from shard.shard import Shard
from shard.suspense import Carrier, SuspenseItem

log = structlog.get_logger()


class ConvoyActivities:
    """Survey, carry, hand over: each may run twice, late, or in two workers at once."""

    def __init__(
        self,
        client: Client,
        shards: Mapping[int, Shard],
        carriage: Carriage,
        freight: Freight,
        terminus: Terminus,
        control_points: ControlPoints,
    ) -> None:
        self._client = client
        self._shards = shards
        self._carriage = carriage
        self._freight = freight
        self._terminus = terminus
        self._control_points = control_points
        # Until when a destination is taken to be down (monotonic seconds). While it is asked
        # again its entry is renewed, so that one convoy asks and the others do not wait for it.
        self._down_until: dict[int, float] = {}
        # What a survey read a moment ago, for the carriages that follow it in this process.
        # A carriage that does not find its items here reads them again.
        self._surveyed: dict[tuple[str, int], Cargo] = {}

    @activity.defn(name=Step.SURVEY_CONVOY)
    async def survey(self, order: ConvoyOrder) -> Survey:
        """Tell which shards the convoy's parked items go to now."""
        groups = await self._freight.by_destination(
            order.source, UUID(order.convoy), self._terminus.manifest(order.convoy)
        )
        self._terminus.surveyed(order.convoy, set(groups))
        for destination, cargo in groups.items():
            if len(self._surveyed) >= SURVEYS_KEPT:
                del self._surveyed[next(iter(self._surveyed))]
            self._surveyed[order.convoy, destination] = cargo
        return Survey(sorted(groups))

    @activity.defn(name=Step.CARRY_CONVOY)
    async def carry(self, order: CarryOrder) -> CarryReport:
        """Carry the convoy's items to one destination, unless that is known to be down."""
        cargo = self._surveyed.pop((order.convoy, order.destination), None)
        if cargo is None:
            groups = await self._freight.by_destination(order.source, UUID(order.convoy))
            cargo = groups.get(order.destination)
            if cargo is None and groups:
                # Others own their targets by now: the next round finds out.
                self._terminus.delayed(order.convoy)
                return CarryReport(waiting=sum(map(len, groups.values())))
        if not cargo:
            return CarryReport()
        now = time.monotonic()
        is_suspect = order.destination in self._down_until
        if is_suspect and now < self._down_until[order.destination]:
            self._terminus.delayed(order.convoy)
            failure = f"Shard {order.destination} did not answer a moment ago."
            return CarryReport(waiting=len(cargo), is_unreachable=True, failure=failure)
        if is_suspect:
            self._down_until[order.destination] = now + DESTINATION_DOWN_S
        try:
            carried = await self._freight.carry(
                order.source, order.destination, UUID(order.convoy), cargo, limit_s=CARRY_LIMIT_S
            )
        except BaseException:
            self._terminus.delayed(order.convoy)
            raise
        if carried.is_unreachable:
            self._down_until[order.destination] = time.monotonic() + DESTINATION_DOWN_S
        else:
            self._down_until.pop(order.destination, None)
        await open_repairs(self._client, order.source, carried.stuck)
        if carried.waiting or carried.redirected:
            self._terminus.delayed(order.convoy)
        else:
            self._terminus.carried(order.convoy, order.destination)
        return carried.report()

    @activity.defn(name=Step.HAND_OVER_CONVOY)
    async def hand_over(self, order: HandOverOrder) -> int:
        """Hand items over to their routes and see that these run; the number handed over."""
        await self._control_points.reached(ControlPoint.HAND_OVER_BEFORE)
        handed_over = 0
        groups = await self._groups(order.source, order.convoy)
        # Where none goes to the destination any more, others own their targets by now.
        is_meant = {order.destination} & groups.keys() or groups.keys()
        for destination, items in groups.items():
            if destination in is_meant:
                handed_over += await self._shards[order.source].suspense.hand_over(
                    [item.item_id for item in items], Carrier.ROUTE, destination
                )
                await self._control_points.reached(ControlPoint.HAND_OVER_AFTER_REPLY)
                await self._ensure_route(order.source, destination)
        return handed_over

    async def _groups(self, source: int, convoy: str) -> dict[int, list[SuspenseItem]]:
        items = await self._shards[source].suspense.of_convoy(UUID(convoy))
        return await self._carriage.by_destination(source, items)

    async def _ensure_route(self, source: int, destination: int) -> None:
        try:
            await ensure_route(self._client, source, destination)
        except RPCError as error:
            # The sweeper ensures the routes of all items that were handed over.
            log.warning("route_not_ensured", source=source, destination=destination, error=error)
