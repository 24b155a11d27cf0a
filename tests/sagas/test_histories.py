"""Workflows replay: what ran under an earlier version goes on under this one.

``histories/`` holds one recorded history of each shape. After a change that old histories need
not survive, record them anew: ``RECORD_HISTORIES=1 pytest tests/sagas/test_histories.py``.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHandle, WorkflowHistory
from temporalio.common import WorkflowIDReusePolicy
from temporalio.worker import Replayer
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from sagas.convoy_workflow import ConvoyWorkflow
from sagas.messages import ConvoyOrder, ConvoyResult
from sagas.repair_workflow import RepairWorkflow
from sagas.route_workflow import RouteWorkflow
from sagas.starts import TASK_QUEUE, convoy_workflow_id, ensure_route, start_convoy
from sagas.sweep_workflow import SweepWorkflow
from sagas.sweeper import Sweeper
from shard.accounts import AccountStatus
from shard.commands import Origin
from shard.ids import new_id
from shard.suspense import Carrier
from tests.sagas.small_bank import SmallBank
from tests.sagas.stuck_items import UNKNOWN_SHARD, left_alone, refused_by_all, words
from tests.support.bank import account_no

HISTORIES = sorted((Path(__file__).parent / "histories").glob("*.json"))
_A_SECOND = timedelta(seconds=1)
_PROCESS = re.compile(r"^[0-9]+@.*")
AT_ONCE_S = -60.0
WORKFLOWS = [ConvoyWorkflow, RouteWorkflow, RepairWorkflow, SweepWorkflow]
AnyHandle = WorkflowHandle[Any, Any]


async def send_off(bank: SmallBank, debtor: int, reference: str) -> AnyHandle:
    """Start the convoy of a parked transfer and wait for its end."""
    item = await bank.item_of(debtor, reference)
    handle = await start_convoy(bank.client, ConvoyOrder(1, str(item.convoy)), is_eager=True)
    await handle.result()
    return handle


async def convoy_delivered(bank: SmallBank) -> AnyHandle:
    """All goes well."""
    return await send_off(bank, *await bank.park(await bank.open_account(2)))


async def convoy_returned(bank: SmallBank) -> AnyHandle:
    """The creditor is closed; the next round takes the money home."""
    creditor = await bank.open_account(2, "0")
    await bank.set_status(creditor, AccountStatus.CLOSED)
    return await send_off(bank, *await bank.park(creditor))


async def convoy_unreachable(bank: SmallBank) -> AnyHandle:
    """The destination does not answer; its route gets the item at once."""
    creditor = await bank.open_account(3)
    bank.owners.assigned[creditor] = UNKNOWN_SHARD
    debtor, reference = await bank.park(creditor)
    handle = await send_off(bank, debtor, reference)
    await arrive_after_all(bank, creditor, debtor, reference)
    await bank.client.get_workflow_handle(f"route/1/{UNKNOWN_SHARD}").result()
    return handle


async def convoy_waited(bank: SmallBank) -> AnyHandle:
    """The destination keeps answering "not yet"; after all rounds the item is handed over."""
    creditor = await bank.open_account(3)
    bank.owners.assigned[creditor] = 2
    debtor, reference = await bank.park(creditor)
    handle = await send_off(bank, debtor, reference)
    await arrive_after_all(bank, creditor, debtor, reference)
    return handle


async def arrive_after_all(bank: SmallBank, creditor: int, debtor: int, reference: str) -> None:
    """Correct the map, and let the route to shard 3 carry the item."""
    del bank.owners.assigned[creditor]
    item = await bank.item_of(debtor, reference)
    await bank.shards[1].suspense.hand_over([item.item_id], Carrier.ROUTE, 3)
    await ensure_route(bank.client, 1, 3)
    await bank.ended(debtor, reference)


async def route_delivered(bank: SmallBank) -> AnyHandle:
    """One run carries what waits."""
    await bank.park(await bank.open_account(2), route=2)
    handle = await ensure_route(bank.client, 1, 2)
    await handle.result()
    return handle


async def repair_returned(bank: SmallBank) -> AnyHandle:
    """An operator gives back what was on its way."""
    stuck = await left_alone(bank, await bank.open_account(2))
    await stuck.decide("return")
    await stuck.handle.result()
    return stuck.handle


async def repair_retried(bank: SmallBank) -> AnyHandle:
    """What nobody could have is delivered again once its debtor can have it."""
    stuck = await refused_by_all(bank)
    await stuck.set_debtor("open")
    await stuck.decide("retry")
    await stuck.handle.result()
    return stuck.handle


async def repair_redirected(bank: SmallBank) -> AnyHandle:
    """An operator sends it to another account, after a decision that was refused."""
    stuck = await refused_by_all(bank)
    await stuck.refusal(words("redirect", account=str(account_no(3))))
    await stuck.decide("redirect", account=str(await bank.open_account(3)))
    await stuck.handle.result()
    await stuck.set_debtor("open")
    return stuck.handle


async def repair_put_off(bank: SmallBank) -> AnyHandle:
    """It is left alone for a moment, and then delivered by itself."""
    stuck = await refused_by_all(bank)
    await stuck.set_debtor("open")
    until = datetime.now(UTC) + timedelta(seconds=3)
    await stuck.decide("wait", until=until.isoformat(timespec="seconds"))
    await stuck.handle.result()
    return stuck.handle


async def convoy_swept(bank: SmallBank) -> AnyHandle:
    """Its convoy was terminated by hand; the sweeper sends it off with another one."""
    debtor, reference = await bank.park(await bank.open_account(2))
    item = await bank.item_of(debtor, reference)
    first = await bank.client.start_workflow(
        ConvoyWorkflow.run,
        ConvoyOrder(1, str(item.convoy)),
        id=convoy_workflow_id(1, str(item.convoy)),
        # Nobody works there, so that it is under way for as long as it takes to terminate it.
        task_queue=f"{TASK_QUEUE}-of-nobody",
    )
    await first.terminate("by hand")
    await Sweeper(bank.client, bank.shards, straggler_age_s=AT_ONCE_S).sweep(1)
    convoy = (await bank.ended(debtor, reference)).convoy
    repairs = bank.shards[1].repairs
    sent = await bank.shards[1].transfers.get(debtor, Origin.CLIENT, reference)
    (record,) = await repairs.of_transfer(sent)
    assert convoy != record.item.convoy
    handle = bank.client.get_workflow_handle(convoy_workflow_id(1, str(record.item.convoy)))
    await handle.result()
    return handle


async def sweep_done(bank: SmallBank) -> AnyHandle:
    """Three shards are swept."""
    handle = await bank.client.start_workflow(
        SweepWorkflow.run,
        id=f"sweep/{new_id()}",
        task_queue=TASK_QUEUE,
        id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
    )
    await handle.result()
    return handle


SHAPES: dict[str, Callable[[SmallBank], Awaitable[AnyHandle]]] = {
    shape.__name__: shape
    for shape in (
        convoy_delivered,
        convoy_returned,
        convoy_unreachable,
        convoy_waited,
        convoy_swept,
        route_delivered,
        repair_returned,
        repair_retried,
        repair_redirected,
        repair_put_off,
        sweep_done,
    )
}


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("shape", SHAPES)
async def test_a_history_of_this_version_replays(small_bank: SmallBank, shape: str) -> None:
    """A worker that takes over a workflow in the middle comes to the same decisions."""
    handle = await SHAPES[shape](small_bank)
    history = await handle.fetch_history()
    await Replayer(workflows=WORKFLOWS).replay_workflow(history)
    if os.environ.get("RECORD_HISTORIES"):
        record(shape, history)


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
async def test_a_recorded_history_replays(path: Path) -> None:
    """Workflows that began under an earlier version go on under this one."""
    await Replayer(workflows=WORKFLOWS).replay_workflow(recorded(path))


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
async def test_workflows_keep_to_the_rules_of_the_sandbox(path: Path) -> None:
    """They run without the sandbox for speed; with it they would do just the same."""
    replayer = Replayer(workflows=WORKFLOWS, unsandboxed_workflow_runner=SandboxedWorkflowRunner())
    await replayer.replay_workflow(recorded(path))


def test_every_shape_is_recorded() -> None:
    """A new shape comes with its history."""
    assert sorted(SHAPES) == [path.stem for path in HISTORIES]


@workflow.defn(name="convoy", sandboxed=False)
class HastyConvoy:
    """A convoy that was changed without a thought for those under way."""

    @workflow.run
    async def run(self, order: ConvoyOrder) -> ConvoyResult:
        """Do something else where the recorded one surveyed."""
        await workflow.execute_local_activity("other", schedule_to_close_timeout=_A_SECOND)
        return ConvoyResult(0, 0, 0, 0, is_clean=True, failure=None)


async def test_a_change_that_breaks_workflows_under_way_is_noticed() -> None:
    """These tests can fail."""
    path = next(path for path in HISTORIES if path.stem == "convoy_delivered")
    with pytest.raises(workflow.NondeterminismError):
        await Replayer(workflows=[HastyConvoy]).replay_workflow(recorded(path))


def recorded(path: Path) -> WorkflowHistory:
    """Read one recorded history."""
    return WorkflowHistory.from_json(f"recorded/{path.stem}", path.read_text())


def record(shape: str, history: WorkflowHistory) -> None:
    """Keep a history, without the names of the machine it was recorded on."""
    path = Path(__file__).parent / "histories" / f"{shape}.json"
    events = _scrubbed(json.loads(history.to_json()))
    path.write_text(json.dumps(events, indent=1, sort_keys=True) + "\n")


def _scrubbed(value: Any) -> Any:
    match value:
        case dict():
            return {
                key: "" if key in {"identity", "stackTrace"} else _scrubbed(inner)
                for key, inner in value.items()
            }
        case list():
            return [_scrubbed(inner) for inner in value]
        case str():
            return _PROCESS.sub("worker", value)
    return value
