"""Starting workflows: their ids, their settings, and what an answer to a start means."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import structlog
from temporalio.client import Client, WorkflowHandle
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from sagas.convoy_workflow import ConvoyWorkflow
from sagas.limits import CONVOY_EXECUTION_LIMIT_S, START_LIMIT_S, TASK_LIMIT_S
from sagas.messages import ConvoyOrder, ConvoyResult, RouteLeg, RouteResult
from sagas.repair_messages import RepairOrder, RepairResult
from sagas.repair_workflow import RepairWorkflow
from sagas.route_workflow import RouteWorkflow
from shard.suspense import SuspenseItem

log = structlog.get_logger()

TASK_QUEUE = "ledger"


def convoy_workflow_id(source: int, convoy: str) -> str:
    """The id of the workflow that carries a convoy."""
    return f"convoy/{source}/{convoy}"


def route_workflow_id(source: int, destination: int) -> str:
    """The id of the workflow that carries what convoys could not."""
    return f"route/{source}/{destination}"


def repair_workflow_id(source: int, item: str) -> str:
    """The id of the workflow that sees to one item."""
    return f"repair/{source}/{item}"


async def start_convoy(
    client: Client, order: ConvoyOrder, *, is_eager: bool
) -> WorkflowHandle[ConvoyWorkflow, ConvoyResult]:
    """Start a convoy, or find it started already; raises ``RPCError`` where that is unknown.

    A convoy is never run twice while Temporal remembers it. It may be forgotten: then a second
    run finds no parked items.
    """
    workflow_id = convoy_workflow_id(order.source, order.convoy)
    try:
        return await client.start_workflow(
            ConvoyWorkflow.run,
            order,
            id=workflow_id,
            task_queue=TASK_QUEUE,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            execution_timeout=timedelta(seconds=CONVOY_EXECUTION_LIMIT_S),
            task_timeout=timedelta(seconds=TASK_LIMIT_S),
            rpc_timeout=timedelta(seconds=START_LIMIT_S),
            request_eager_start=is_eager,
        )
    except WorkflowAlreadyStartedError:
        return client.get_workflow_handle_for(ConvoyWorkflow.run, workflow_id)


async def ensure_route(
    client: Client, source: int, destination: int
) -> WorkflowHandle[RouteWorkflow, RouteResult]:
    """Start the workflow of a route unless it runs; raises ``RPCError`` where that is unknown.

    One that runs may be about to end, and not see what was handed over last: the sweeper comes
    again for that. A signal would close this gap, but thousands of them would fill the history
    of a route whose destination stays down.
    """
    workflow_id = route_workflow_id(source, destination)
    try:
        return await client.start_workflow(
            RouteWorkflow.run,
            RouteLeg(source, destination, RouteResult()),
            id=workflow_id,
            task_queue=TASK_QUEUE,
            task_timeout=timedelta(seconds=TASK_LIMIT_S),
            rpc_timeout=timedelta(seconds=START_LIMIT_S),
            static_summary=f"What waits on shard {source} for shard {destination}",
        )
    except WorkflowAlreadyStartedError:
        return client.get_workflow_handle_for(RouteWorkflow.run, workflow_id)


async def ensure_repair(
    client: Client, source: int, item: str
) -> WorkflowHandle[RepairWorkflow, RepairResult]:
    """Start the repair of an item unless it runs; raises ``RPCError`` where that is unknown."""
    workflow_id = repair_workflow_id(source, item)
    try:
        return await client.start_workflow(
            RepairWorkflow.run,
            RepairOrder(source, item),
            id=workflow_id,
            task_queue=TASK_QUEUE,
            task_timeout=timedelta(seconds=TASK_LIMIT_S),
            rpc_timeout=timedelta(seconds=START_LIMIT_S),
            static_summary=f"An item of shard {source} that needs a person",
        )
    except WorkflowAlreadyStartedError:
        return client.get_workflow_handle_for(RepairWorkflow.run, workflow_id)


async def open_repairs(client: Client, source: int, items: Sequence[SuspenseItem]) -> None:
    """Start the repairs of items that need a person; what cannot be started is the sweeper's."""
    for item in items:
        try:
            await ensure_repair(client, source, str(item.item_id))
        except RPCError as error:
            log.warning("repair_not_started", item=str(item.item_id), error=str(error))
