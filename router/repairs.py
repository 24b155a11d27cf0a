"""Decisions of operators on items, sent to the repair workflow of each.

An item that no repair holds yet is taken out of the hands of its convoy or route by the decision
itself. Whatever these still do with it is harmless: the item alone decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import UUID

from temporalio.client import (
    Client,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from router.errors import DecisionRefused, TemporalUnavailable
from router.limits import DECISION_PAUSE_S, DECISION_WAIT_S
from router.saga_reads import Saga, SagaReads
from sagas.repair_messages import DECIDE, NOT_YET, REFUSALS, DecisionReport, RepairResult
from sagas.repair_workflow import RepairWorkflow
from sagas.starts import ensure_repair
from shard.errors import OutcomeUnknown


class Repairs:
    """The use cases around items that need a person."""

    def __init__(
        self,
        reads: SagaReads,
        temporal: Callable[[], Awaitable[Client]],
    ) -> None:
        self._reads = reads
        self._temporal = temporal

    async def decide(self, item_id: UUID, words: Mapping[str, Any]) -> DecisionReport:
        """Have a decision carried out; ``words`` are those of the update ``decide``.

        Without an ``attempt`` the one is meant that the item is in now: should it be in another
        before the decision comes to it, that is refused.

        Raises ``NotFound``, ``DecisionRefused`` with the reason, ``TemporalUnavailable`` where
        nobody was told, and ``OutcomeUnknown`` where no answer came.
        """
        saga = await self._open_saga(item_id)
        words = {"attempt": saga.record.item.attempt, **words}
        client = await self._temporal()
        try:
            handle = await ensure_repair(client, saga.source, str(item_id))
        except RPCError as error:
            raise TemporalUnavailable from error
        try:
            async with asyncio.timeout(DECISION_WAIT_S):
                return await _decided(handle, words)
        except (TimeoutError, RPCError, WorkflowUpdateRPCTimeoutOrCancelledError) as error:
            # It may have arrived, and its workflow ended, before the decision did.
            await self._open_saga(item_id)
            message = "No answer came in time; see what became of it before deciding again."
            raise OutcomeUnknown(message) from error

    async def _open_saga(self, item_id: UUID) -> Saga:
        """An item that can be decided on; raises ``NotFound`` and refuses."""
        (saga,) = await self._reads.find(item_id)
        if not saga.record.is_open:
            state = saga.record.state
            raise DecisionRefused(f"It is {state} already; nothing is left to decide.")
        return saga


async def _decided(
    handle: WorkflowHandle[RepairWorkflow, RepairResult], words: Mapping[str, Any]
) -> DecisionReport:
    """Send the update; a repair that has just begun is told again in a moment."""
    while True:
        try:
            report: DecisionReport = await handle.execute_update(
                DECIDE, dict(words), result_type=DecisionReport
            )
            return report
        except WorkflowUpdateFailedError as error:
            cause = error.cause
            if isinstance(cause, ApplicationError) and cause.type in REFUSALS:
                raise DecisionRefused(cause.message) from error
            if not isinstance(cause, ApplicationError) or cause.type != NOT_YET:
                # Its workflow was terminated, or its worker died: it may have been carried out.
                raise OutcomeUnknown(str(cause)) from error
        await asyncio.sleep(DECISION_PAUSE_S)
