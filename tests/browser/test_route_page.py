"""A route that fails is seen, paused, let go on and begun anew in the Temporal UI."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import WorkflowHandle

from sagas.convoys import Convoys
from sagas.limits import ROUTE_PAUSE_MAX_S, ROUTE_PAUSE_S
from sagas.messages import ConvoyResult, RouteResult
from sagas.route_workflow import RouteWorkflow
from sagas.starts import convoy_workflow_id, ensure_route
from shard.commands import MoneyState
from tests.sagas.small_bank import SmallBank, eventually
from tests.support.databases import Databases

if TYPE_CHECKING:
    from tests.support.temporal_ui import TemporalUi

ATTEMPTS = 3
"""So many attempts that it shows when they begin anew."""


@dataclass(frozen=True, slots=True)
class FailingRoute:
    """A transfer of 20 EUR from shard 1 to shard 3, which is down, and the route that has it."""

    bank: SmallBank
    debtor: int
    creditor: int
    reference: str
    handle: WorkflowHandle[RouteWorkflow, RouteResult]

    async def pending(self) -> PendingActivityInfo:
        """Its activity as the server knows it."""
        pending = (await self.handle.describe()).raw_description.pending_activities
        return next(iter(pending), PendingActivityInfo())

    async def attempted(self, attempts: int) -> PendingActivityInfo:
        """Wait until so many attempts were begun."""
        return await eventually(self.pending, lambda activity: activity.attempt >= attempts)

    async def rests_paused(self) -> PendingActivityInfo:
        """Wait until the pause holds: an attempt that was under way has ended."""
        paused = PendingActivityState.PENDING_ACTIVITY_STATE_PAUSED
        return await eventually(self.pending, lambda activity: activity.state == paused)

    async def is_overdue(self, paused: PendingActivityInfo) -> None:
        """Wait until it would have been tried again, had it not been paused."""
        pause_s = min(ROUTE_PAUSE_S * 2**paused.attempt, ROUTE_PAUSE_MAX_S)
        failed_at = paused.last_attempt_complete_time.ToDatetime(tzinfo=UTC)
        due_at = failed_at + timedelta(seconds=pause_s)
        await eventually(_now, lambda now: now > due_at)

    async def money_state(self) -> MoneyState:
        """Where the money is now."""
        return (await self.bank.transfer_record(self.debtor, self.reference)).money_state

    async def assert_delivered(self) -> None:
        """The creditor has it once, the route has ended, the convoy knows whom it handed it to."""
        record = await self.bank.ended(self.debtor, self.reference)
        assert MoneyState.DELIVERED == record.money_state
        assert 20 == await self.bank.ledger_of(self.creditor)
        assert RouteResult(delivered=1) == await self.handle.result()
        convoy = self.bank.client.get_workflow_handle(
            convoy_workflow_id(1, str(record.convoy)), result_type=ConvoyResult
        )
        assert 1 == (await convoy.result()).handed_over


@pytest.fixture
async def route(
    small_bank: SmallBank, servers: Databases, convoys: Convoys
) -> AsyncIterator[FailingRoute]:
    """A route whose destination is down, after a few attempts; in the end it is up again."""
    if not servers.servers:
        pytest.skip("this run's servers are not ours to stop")
    debtor, creditor = await small_bank.open_account(1), await small_bank.open_account(3, "0")
    await servers.servers[3].stop()
    try:
        reference = await small_bank.transfer(debtor, creditor)
        await eventually(small_bank.shards[1].suspense.open_routes, lambda routes: 3 in routes)
        handle = await ensure_route(small_bank.client, 1, 3)
        failing = FailingRoute(small_bank, debtor, creditor, reference, handle)
        await failing.attempted(ATTEMPTS)
        yield failing
    finally:
        if not servers.servers[3].is_running():
            await servers.servers[3].start()


async def _now() -> datetime:
    return datetime.now(UTC)


async def test_a_failing_activity_is_paused_and_unpaused(
    ui: TemporalUi, route: FailingRoute, servers: Databases
) -> None:
    """Its page tells what fails, and how often it was tried. Paused it is not tried even when its
    shard is back; unpaused it delivers."""
    await ui.open(route.handle.id)
    await ui.pause_activity("shard 3 is being repaired")
    paused = await route.rests_paused()
    shown = await ui.pending_activity()
    assert ("Paused", paused.attempt) == (shown.status, shown.attempt)
    assert shown.failure.startswith("Shard 3: ")
    assert shown.attempt >= ATTEMPTS
    await servers.servers[3].start()
    await route.is_overdue(paused)
    assert shown == await ui.pending_activity()
    assert MoneyState.IN_TRANSIT == await route.money_state()
    await ui.unpause_activity()
    await route.assert_delivered()


async def test_a_paused_activity_is_reset(
    ui: TemporalUi, route: FailingRoute, servers: Databases
) -> None:
    """Reset it goes on, and counts its attempts from the first."""
    await ui.open(route.handle.id)
    await ui.pause_activity("shard 3 is being repaired")
    paused = await route.rests_paused()
    await ui.reset_activity()
    again = await eventually(route.pending, lambda activity: 0 < activity.attempt < ATTEMPTS)
    assert again.attempt < paused.attempt
    await servers.servers[3].start()
    await route.assert_delivered()
