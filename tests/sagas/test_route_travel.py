"""Routes on real servers: what convoys hand over, and how it arrives in the end."""

from __future__ import annotations

import pytest
from temporalio.client import WorkflowExecutionStatus

from sagas.convoys import Convoys
from sagas.messages import ConvoyResult, RouteResult
from sagas.starts import convoy_workflow_id, ensure_route, route_workflow_id
from sagas.worker import build_worker
from shard.accounts import AccountStatus
from shard.commands import MoneyState
from shard.outcomes import Outcome
from shard.suspense import Redirection
from tests.sagas.small_bank import SmallBank, eventually
from tests.support.databases import Databases

NOWHERE = 9_000_000_001
"""An account number in no range of any shard."""


async def failures_shown(bank: SmallBank, source: int, destination: int) -> list[str]:
    """What the Temporal UI shows as last failures of a route that has open items."""
    if destination not in await bank.shards[source].suspense.open_routes():
        return []
    handle = bank.client.get_workflow_handle(route_workflow_id(source, destination))
    pending = (await handle.describe()).raw_description.pending_activities
    return [activity.last_failure.message for activity in pending if activity.attempt > 1]


async def test_a_destination_that_is_down_holds_up_no_other(
    small_bank: SmallBank, servers: Databases, convoys: Convoys
) -> None:
    """The rest of the convoy arrives. What goes to the dead shard is handed to its route, which
    shows why it fails, and carries it when the shard is back."""
    if not servers.servers:
        pytest.skip("this run's servers are not ours to stop")
    living, dead = await small_bank.open_account(2), await small_bank.open_account(3)
    debtor = await small_bank.open_account(1)
    small_bank.board(waiting := Convoys(small_bank.shards, hosts_worker=True))
    to_living = await small_bank.transfer(debtor, living)
    to_dead = await small_bank.transfer(debtor, dead)
    await servers.servers[3].stop()
    try:
        waiting.connect(small_bank.client)
        assert (await small_bank.ended(debtor, to_living)).money_state is MoneyState.DELIVERED
        failures = await eventually(lambda: failures_shown(small_bank, 1, 3), bool)
    finally:
        await servers.servers[3].start()
    assert failures[0].startswith("Shard 3: ")
    record = await small_bank.ended(debtor, to_dead)
    assert record.money_state is MoneyState.DELIVERED
    await waiting.close()
    handle = small_bank.client.get_workflow_handle(
        convoy_workflow_id(1, str(record.convoy)), result_type=ConvoyResult
    )
    result = await handle.result()
    assert (1, 1) == (result.delivered, result.handed_over)


@pytest.mark.usefixtures("worker")
async def test_a_route_carries_what_waits_and_ends(small_bank: SmallBank) -> None:
    """Its result tells what it carried."""
    debtor, reference = await small_bank.park(await small_bank.open_account(2), route=2)
    handle = await ensure_route(small_bank.client, 1, 2)
    assert RouteResult(delivered=1) == await handle.result()
    record = await small_bank.transfer_record(debtor, reference)
    assert record.money_state is MoneyState.DELIVERED


@pytest.mark.usefixtures("worker")
async def test_a_refused_item_returns_by_the_route_to_its_debtor(small_bank: SmallBank) -> None:
    """The refusal turns it round; as its debtor lives elsewhere it changes to that route."""
    creditor = await small_bank.open_account(2, "0")
    await small_bank.set_status(creditor, AccountStatus.CLOSED)
    debtor, reference = await small_bank.park(creditor, route=2)
    handle = await ensure_route(small_bank.client, 1, 2)
    assert RouteResult(redirected=1, rerouted=1) == await handle.result()
    record = await small_bank.ended(debtor, reference)
    assert (MoneyState.RETURNED, Outcome.ACCOUNT_CLOSED) == (
        record.money_state,
        record.return_code,
    )


@pytest.mark.usefixtures("worker")
async def test_an_item_on_the_wrong_route_finds_the_right_one(small_bank: SmallBank) -> None:
    """The shard says that it does not own the target; the item changes to its owner's route."""
    debtor, reference = await small_bank.park(await small_bank.open_account(3), route=2)
    handle = await ensure_route(small_bank.client, 1, 2)
    assert RouteResult(rerouted=1) == await handle.result()
    assert (await small_bank.ended(debtor, reference)).money_state is MoneyState.DELIVERED


@pytest.mark.usefixtures("worker")
async def test_an_item_that_must_wait_holds_up_no_other(small_bank: SmallBank) -> None:
    """A target that no shard owns waits in sight; what was parked after it arrives. It waits
    until a person redirects it."""
    small_bank.owners.assigned[NOWHERE] = 2
    lost_debtor, lost = await small_bank.park(NOWHERE, route=2)
    debtor, reference = await small_bank.park(await small_bank.open_account(2), route=2)
    handle = await ensure_route(small_bank.client, 1, 2)
    assert (await small_bank.ended(debtor, reference)).money_state is MoneyState.DELIVERED
    failures = await eventually(lambda: failures_shown(small_bank, 1, 2), bool)
    assert failures == ["1 items wait: NOT_OWNER"]
    assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
    item = await small_bank.item_of(lost_debtor, lost)
    back = Redirection(item.item_id, item.attempt, lost_debtor, Outcome.ACCOUNT_UNKNOWN)
    await small_bank.shards[1].suspense.redirect([back])
    assert (await small_bank.ended(lost_debtor, lost)).money_state is MoneyState.RETURNED


async def test_a_route_is_started_once(small_bank: SmallBank) -> None:
    """Ensuring a route that runs is success; both callers see the same run."""
    first = await ensure_route(small_bank.client, 1, 2)
    second = await ensure_route(small_bank.client, 1, 2)
    async with build_worker(small_bank.client, small_bank.shards, small_bank.owners):
        assert await first.result() == await second.result() == RouteResult()
