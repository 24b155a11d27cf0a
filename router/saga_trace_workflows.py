"""What Temporal knows of a transfer's workflows, asked with little patience."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from router.errors import TemporalUnavailable
from router.limits import TRACE_TEMPORAL_LIMIT_S
from router.saga_reads import Saga, TemporalPlace
from router.saga_trace_story import Workflows, WorkflowState
from sagas.starts import convoy_workflow_id, repair_workflow_id, route_workflow_id
from shard.suspense import Carrier
from shard.transfers import TransferRecord

NOT_KNOWN: Final = "not known"
"""Never started, or so long ago that Temporal has forgotten it."""

NOT_ASKED: Final = "not asked"

Connect = Callable[[], Awaitable[Client]]
"""The connection to Temporal; raises ``TemporalUnavailable``."""


def workflows_of(transfer: TransferRecord, sagas: Sequence[Saga]) -> list[str]:
    """The ids of all workflows that may have carried the money of a transfer, in that order."""
    ids: dict[str, None] = {}
    if transfer.convoy is not None:
        ids[convoy_workflow_id(transfer.booked_on, str(transfer.convoy))] = None
    for saga in sagas:
        item = saga.record.item
        ids[convoy_workflow_id(saga.source, str(item.convoy))] = None
        if saga.record.route is not None:
            ids[route_workflow_id(saga.source, saga.record.route)] = None
        if item.carrier is Carrier.REPAIR or saga.decisions:
            ids[repair_workflow_id(saga.source, str(item.item_id))] = None
    return list(ids)


async def ask_temporal(connect: Connect, place: TemporalPlace, ids: Sequence[str]) -> Workflows:
    """The state of each workflow. A Temporal that does not answer is told, not raised."""
    if not ids:
        return Workflows(())
    try:
        async with asyncio.timeout(TRACE_TEMPORAL_LIMIT_S):
            client = await connect()
            states = await asyncio.gather(*(_state(client, place, each) for each in ids))
    except (TemporalUnavailable, RPCError, TimeoutError):
        unasked = tuple(WorkflowState(each, NOT_ASKED, place.page(each)) for each in ids)
        return Workflows(unasked, f"Temporal at {place.address} does not answer.")
    return Workflows(tuple(states))


async def _state(client: Client, place: TemporalPlace, workflow_id: str) -> WorkflowState:
    page = place.page(workflow_id)
    try:
        found = await client.get_workflow_handle(workflow_id).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return WorkflowState(workflow_id, NOT_KNOWN, page)
        raise
    return WorkflowState(workflow_id, _word(found.status), page, found.close_time)


def _word(status: WorkflowExecutionStatus | None) -> str:
    return NOT_KNOWN if status is None else status.name.lower().replace("_", " ")
