"""How parked items leave: each process gathers its items of one source into convoys.

The posting itself stamps the open convoy's id on the items, so boarding costs no write. A
convoy is *open* while batches may still be stamped with it, *closed* when it takes no more, and
*departs* once all batches stamped with it are answered and the bound on convoys in flight
allows. A lone transfer is a convoy of one and leaves at once; under load a convoy fills while the
ones before it travel.

What is lost here is never money: items of a convoy that never departed are the sweeper's.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from uuid import UUID

import structlog
from psycopg.rows import TupleRow
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.service import RPCError

from sagas.control_points import ControlPoint, ControlPoints, Unarmed
from sagas.convoy_workflow import ConvoyWorkflow
from sagas.departures import Departures, Headway
from sagas.limits import (
    ARRIVAL_WAIT_S,
    CONVOY_ITEMS,
    CONVOY_LEAVING_S,
    CONVOY_WAIT_S,
    CONVOYS_WAITING,
    MANIFESTS_KEPT,
    START_ATTEMPTS,
    START_PAUSE_S,
)
from sagas.messages import ConvoyOrder, ConvoyResult
from sagas.observer import Observer, Unobserved
from sagas.room import Room
from sagas.starts import start_convoy
from sagas.terminus import Terminus
from shard.cargo import Cargo
from shard.ids import new_id
from shard.spans import Spans

log = structlog.get_logger()


class _Convoy:
    __slots__ = (
        "batches_under_way",
        "boarded_at",
        "causes",
        "convoy_id",
        "is_given_up",
        "items",
        "rows",
        "shut_at",
        "source",
    )

    def __init__(self, source: int) -> None:
        self.source = source
        self.convoy_id = new_id()
        self.batches_under_way = 0
        self.items = 0
        self.boarded_at = 0.0
        """When its first batch was sent, by the clock of the convoys."""
        self.causes: list[object] = []
        self.rows: list[TupleRow] | None = []
        """Its items; None when not all are known, or too many convoys wait to keep them all."""
        self.shut_at = 0.0
        """When it was closed, by the same clock."""
        self.is_given_up = False
        """It is the sweeper's."""


class Platform:
    """Where the items of one source board: the ``Boarding`` of that shard's lanes."""

    def __init__(self, source: int, convoys: Convoys) -> None:
        self._source = source
        self._convoys = convoys

    @property
    def keeps_cargo(self) -> bool:
        """Whether the worker is here that will ask for it."""
        return self._convoys.hosts_worker

    def board(self) -> UUID:
        """The convoy of the next batch."""
        return self._convoys.board(self._source)

    def boarded(self, convoy: UUID, items: int, parked: Sequence[TupleRow] | None) -> None:
        """That batch is answered; so many of its items parked."""
        self._convoys.boarded(convoy, items, parked)


class Convoys:
    """All convoys of this process. It belongs to one event loop and takes no lock.

    Temporal may be connected later, or never: until then items board, and what finds no room
    is left to the sweeper.
    """

    def __init__(
        self,
        sources: Iterable[int],
        *,
        hosts_worker: bool,
        departures: Departures | None = None,
        control_points: ControlPoints | None = None,
        observer: Observer | None = None,
        spans: Spans | None = None,
        terminus: Terminus | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.room = Room()
        self.terminus = terminus or Terminus()
        self._client: Client | None = None
        self.hosts_worker = hosts_worker
        self._departures = departures or Departures()
        self._headways = {source: Headway() for source in sources}
        self._control_points = control_points or Unarmed()
        self._observer = observer or Unobserved()
        self._spans = spans
        self._clock = clock
        self._open = {source: _Convoy(source) for source in self._headways}
        self._boarding: dict[UUID, _Convoy] = {}
        self._closed: deque[_Convoy] = deque()
        self._travels: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def connect(self, client: Client) -> None:
        """From now on convoys depart through this client.

        For eager starts it must be the very client of the worker in this process.
        """
        self._client = client
        self._dispatch()

    def platform(self, source: int) -> Platform:
        """The boarding for the lanes of shard ``source``."""
        return Platform(source, self)

    @property
    def waiting(self) -> int:
        """Closed convoys that have not departed yet."""
        return len(self._closed)

    @property
    def travelling(self) -> int:
        """Convoys in flight."""
        return self._departures.in_flight

    async def close(self) -> None:
        """Stop waiting for convoys in flight. They travel on; the rest is the sweeper's."""
        self._client = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        travels = list(self._travels)
        for travel in travels:
            travel.cancel()
        await asyncio.gather(*travels, return_exceptions=True)

    def board(self, source: int) -> UUID:
        """Stamp the next batch of ``source`` with the open convoy."""
        convoy = self._open[source]
        if not convoy.boarded_at:
            convoy.boarded_at = self._clock()
        convoy.batches_under_way += 1
        self._boarding[convoy.convoy_id] = convoy
        return convoy.convoy_id

    def boarded(self, convoy_id: UUID, items: int, parked: Sequence[TupleRow] | None) -> None:
        """A batch is answered: count its items, and let go what may go."""
        convoy = self._boarding[convoy_id]
        convoy.batches_under_way -= 1
        convoy.items += items
        if parked is None or convoy.rows is None:
            convoy.rows = None
        else:
            convoy.rows += parked
        if not convoy.is_given_up:
            self.room.parked(items)
        if self._spans is not None and items:
            convoy.causes.append(self._spans.here())
        if not convoy.batches_under_way:
            del self._boarding[convoy_id]
            if not convoy.items:
                convoy.boarded_at, convoy.rows = 0.0, []
        if self._open[convoy.source] is convoy and convoy.items >= CONVOY_ITEMS:
            self._shut(convoy)
        self._dispatch()

    def _shut(self, convoy: _Convoy) -> None:
        self._open[convoy.source] = _Convoy(convoy.source)
        convoy.shut_at = self._clock()
        self._closed.append(convoy)
        if len(self._closed) > MANIFESTS_KEPT:
            convoy.rows = None
        if len(self._closed) > CONVOYS_WAITING:
            given_up = self._closed.popleft()
            given_up.is_given_up = True
            self.room.arrived(given_up.items, None)
            self._observer.convoy_left_to_sweeper()

    def _dispatch(self) -> None:
        while self._client is not None and self._departures.may_depart():
            convoy = self._next_ready()
            if convoy is None:
                return
            self._departures.departed()
            self._headways[convoy.source].departed(self._clock())
            self._observer.convoy_departed(convoy.items)
            travel = asyncio.get_running_loop().create_task(self._travel(self._client, convoy))
            self._travels.add(travel)
            travel.add_done_callback(self._travelled)

    def _dispatch_in(self, seconds: float) -> None:
        """See soon which convoys may leave; a timer that is set already is soon enough."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._dispatch_now)

    def _dispatch_now(self) -> None:
        self._timer = None
        self._dispatch()

    def _travelled(self, travel: asyncio.Task[None]) -> None:
        self._travels.discard(travel)
        if not travel.cancelled() and travel.exception() is not None:
            log.error("convoy_broke_down", error=repr(travel.exception()))

    def _next_ready(self) -> _Convoy | None:
        """The convoy that closed first of those whose batches are answered.

        While there is room to travel nobody waits for a convoy to fill, but for the headway: where
        none is ready, an open one is shut. But only one at a time and source, so that the others
        go on filling for as long as they would have to wait anyway.
        """
        for convoy in self._closed:
            if not convoy.batches_under_way:
                self._closed.remove(convoy)
                return convoy
        # One that waits for its batches holds up the next of its source for a moment only.
        since = self._clock() - CONVOY_LEAVING_S
        leaving = {convoy.source for convoy in self._closed if convoy.shut_at >= since}
        boarded = [each for each in self._open.values() if each.items]
        # Ids are ordered by time: the source that waited longest comes first.
        for convoy in sorted(boarded, key=lambda each: each.convoy_id):
            if convoy.source in leaving:
                self._dispatch_in(CONVOY_LEAVING_S)
                continue
            wait_s = self._headways[convoy.source].wait_s(self._clock())
            if wait_s:
                self._dispatch_in(wait_s)
                continue
            self._shut(convoy)
            if not convoy.batches_under_way:
                self._closed.remove(convoy)
                return convoy
        return None

    async def _travel(self, client: Client, convoy: _Convoy) -> None:
        left_at = self._clock()
        is_clean: bool | None = None
        try:
            with self._span(convoy):
                is_clean = await self._start_and_wait(client, convoy)
        finally:
            seconds = self._clock() - left_at
            self._headways[convoy.source].ended()
            self._departures.ended(convoy.items, seconds if is_clean else None)
            crossing_s = self._clock() - convoy.boarded_at
            self.room.arrived(convoy.items, crossing_s if is_clean else None)
            if is_clean is not None:
                self._observer.convoy_ended(seconds)
            self._dispatch()

    def _span(self, convoy: _Convoy) -> AbstractContextManager[None]:
        if self._spans is None:
            return nullcontext()
        figures = {"ledger.shard": convoy.source, "ledger.convoy.items": convoy.items}
        return self._spans.span("ledger.convoy", causes=convoy.causes, attributes=figures)

    async def _start_and_wait(self, client: Client, convoy: _Convoy) -> bool | None:
        """Start a convoy and wait, within bounds, until it has ended: whether all went well.

        None when its end is unknown.
        """
        order = ConvoyOrder(convoy.source, str(convoy.convoy_id))
        manifest = None if convoy.rows is None else Cargo.of_rows(convoy.rows)
        convoy.rows = None
        news = self.terminus.depart(order.convoy, manifest)
        try:
            async with asyncio.timeout(CONVOY_WAIT_S):
                handle = await self._start(client, order)
                await self._control_points.reached(ControlPoint.DEPARTURE_AFTER_REPLY)
                if self.hosts_worker:
                    await asyncio.wait({news}, timeout=ARRIVAL_WAIT_S)
                    if news.done() and news.result():
                        return True
                return (await handle.result()).is_clean
        except (RPCError, TimeoutError, WorkflowFailureError) as error:
            log.warning("convoy_end_unknown", convoy=order.convoy, error=str(error))
            self._observer.convoy_left_to_sweeper()
            return None
        finally:
            self.terminus.forget(order.convoy)

    async def _start(
        self, client: Client, order: ConvoyOrder
    ) -> WorkflowHandle[ConvoyWorkflow, ConvoyResult]:
        """Start it; an RPC error means unknown, so it is simply started again a few times."""
        pause_s = START_PAUSE_S
        for _ in range(START_ATTEMPTS - 1):
            try:
                return await self._start_once(client, order)
            except RPCError:
                await asyncio.sleep(pause_s)
                pause_s *= 2
        return await self._start_once(client, order)

    async def _start_once(
        self, client: Client, order: ConvoyOrder
    ) -> WorkflowHandle[ConvoyWorkflow, ConvoyResult]:
        await self._control_points.reached(ControlPoint.DEPARTURE_BEFORE)
        handle = await start_convoy(client, order, is_eager=self.hosts_worker)
        await self._control_points.reached(ControlPoint.DEPARTURE_AFTER_COMMIT)
        return handle
