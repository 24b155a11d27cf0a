"""Whatever happens at whichever control point, an amount comes to its one right end.

The cases are every control point times everything that may happen there, on every way that
passes it. None is left out; `tests.support.matrix_report` counts them at the end of the run.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import pytest

from deploy.embedded.temporal import TemporalServer
from sagas.control_points import ControlPoint
from sagas.convoys import Convoys
from sagas.starts import ensure_route
from sagas.worker import build_worker
from shard.errors import LedgerError
from shard.onlooker import Moment
from shard.shard import Shard
from tests.chaos.trips import TRIPS, Trip
from tests.sagas.small_bank import SmallBank, connected_bank, eventually
from tests.support.databases import Databases
from tests.support.gates import Action, Strike
from tests.support.matrix_report import record_case
from tests.support.saga_process import Order, Standby, standby


@dataclass(frozen=True, slots=True)
class Case:
    """What happens where, on which way."""

    point: ControlPoint
    action: Action
    trip: type[Trip]

    def __str__(self) -> str:
        return f"{self.point}-{self.action}-{self.trip.name}"

    @property
    def happening(self) -> str:
        """What happens, in the words of the report."""
        if self.action is Action.ERROR:
            is_before = self.point.moment is Moment.BEFORE
            return "error before" if is_before else "error after"
        return {
            Action.CRASH: "crash",
            Action.LOSE: "reply lost",
            Action.TWICE: "run twice",
        }[self.action]


CASES = [
    Case(point, action, trip)
    for point, action in itertools.product(ControlPoint, Action)
    for trip in TRIPS
    if point.step in trip.steps
]


@pytest.fixture(scope="module")
async def processes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Standby]:
    """Processes to be killed."""
    async with standby(tmp_path_factory.mktemp("matrix") / "processes.log") as kept:
        yield kept


@pytest.fixture
async def bank(
    shards: Mapping[int, Shard], temporal: TemporalServer, servers: Databases
) -> SmallBank:
    """Shards and Temporal, without worker."""
    return await connected_bank(shards, temporal, servers)


@pytest.fixture
async def others(servers: Databases) -> AsyncIterator[Mapping[int, Shard]]:
    """The same shards, as a second process knows them."""
    opened = {no: Shard(no, dsn, process_no=2) for no, dsn in servers.shard_dsns.items()}
    await asyncio.gather(*(shard.open() for shard in opened.values()))
    yield opened
    await asyncio.gather(*(shard.close() for shard in opened.values()))


def test_every_control_point_meets_everything_that_may_happen() -> None:
    """None is left out, and none is there twice."""
    met = {(case.point, case.action) for case in CASES}
    assert set(itertools.product(ControlPoint, Action)) == met
    assert len(CASES) == len({str(case) for case in CASES})


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_the_amount_comes_to_its_one_right_end(
    case: Case,
    bank: SmallBank,
    others: Mapping[int, Shard],
    servers: Databases,
    temporal: TemporalServer,
    processes: Standby,
    request: pytest.FixtureRequest,
) -> None:
    """Delivered once or returned once, nothing open, all books right."""
    record_case(request.node, case.point.step, case.happening, of=len(CASES))
    trip = case.trip(bank, others)
    await trip.prepare()
    if case.action is Action.CRASH:
        dsns = trip.dsns(servers.shard_dsns)
        order = Order(dsns, temporal.address, case.point, trip.debit())
        await crash(trip, bank, processes, order)
    else:
        await strike(trip, bank, case)
    await trip.assert_ended_right()


async def crash(trip: Trip, bank: SmallBank, processes: Standby, order: Order) -> None:
    """A process dies at the control point; another one brings the amount home."""
    process = await processes.send(order)
    setting_out = None if order.debit else asyncio.create_task(trip.set_out())
    await process.died()
    convoy = await trip.convoy()
    async with build_worker(bank.client, bank.shards, bank.owners):
        await trip.come_home()
        if setting_out is not None:
            await setting_out
        await routes_ended(bank)
    await trip.forget_convoy(convoy)


async def strike(trip: Trip, bank: SmallBank, case: Case) -> None:
    """The process lives on, and brings the amount home itself."""
    points = Strike(case.point, case.action, lambda: trip.take_again(case.point.step))
    for shard in bank.shards.values():
        shard.watched_by(points)
    convoys = Convoys(bank.shards, hosts_worker=True, control_points=points)
    async with build_worker(
        bank.client, trip.shards, bank.owners, control_points=points, terminus=convoys.terminus
    ):
        bank.board(convoys)
        convoys.connect(bank.client)
        setting_out = asyncio.create_task(trip.set_out())
        await points.struck()
        (told,) = await asyncio.gather(setting_out, return_exceptions=True)
        assert told is None or (isinstance(told, LedgerError) and told.retryable)
        await trip.come_home()
        assert 0 == await eventually(lambda: travelling(convoys), lambda count: count == 0)
        await trip.carriers_ended()
        await convoys.close()
        await routes_ended(bank)


async def travelling(convoys: Convoys) -> int:
    """How many convoys of the process are under way."""
    return convoys.travelling


async def routes_ended(bank: SmallBank) -> None:
    """Wait for the routes of shard 1, so that no later test meets one that is about to end."""
    for destination in (1, 2):
        await (await ensure_route(bank.client, 1, destination)).result()
