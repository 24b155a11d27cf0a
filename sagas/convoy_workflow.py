"""A convoy: carries the parked items of one source shard to all their targets.

Pure: it sees figures only. Its activities are local, so that a convoy in which all goes well
costs Temporal two state transitions. A round surveys where the items go now and carries to all
destinations side by side; each settles by itself. Refused items turn round and go with the next
round. A destination that does not answer holds nobody up: its items are handed to their route.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from sagas.limits import CONVOY_PAUSES_S, STEP_LIMIT_S, STEP_PAUSE_S, SURVEY_ATTEMPTS
from sagas.messages import (
    CarryOrder,
    CarryReport,
    ConvoyOrder,
    ConvoyResult,
    HandOverOrder,
    Step,
    Survey,
)

_STEP_LIMIT = timedelta(seconds=STEP_LIMIT_S)
_SOURCE_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=STEP_PAUSE_S), maximum_attempts=SURVEY_ATTEMPTS
)
_ONCE = RetryPolicy(maximum_attempts=1)


@workflow.defn(name="convoy", sandboxed=False)
class ConvoyWorkflow:
    """One run carries one convoy; it never fails because of what shards answer."""

    def __init__(self) -> None:
        self._reports: list[CarryReport] = []
        self._handed_over = 0

    @workflow.run
    async def run(self, order: ConvoyOrder) -> ConvoyResult:
        """Carry until nothing is left, or hand over what is left after about five seconds."""
        try:
            return await self._travel(order)
        except (ApplicationError, ActivityError) as error:
            if is_cancelled_exception(error):
                raise
            return self._result(is_clean=False, failure=_told(error))

    async def _travel(self, order: ConvoyOrder) -> ConvoyResult:
        for round_no, pause_s in enumerate(CONVOY_PAUSES_S):
            survey = await self._survey(order)
            reports = await asyncio.gather(
                *(self._carry_to(order, destination) for destination in survey.destinations)
            )
            self._reports += reports
            if not any(report.redirected or report.waiting for report in reports):
                return self._result(is_clean=round_no == 0, failure=None)
            if any(report.waiting for report in reports):
                await workflow.sleep(pause_s)
        failure = self._reports[-1].failure
        await self._hand_over(order, None)
        return self._result(is_clean=False, failure=failure)

    async def _survey(self, order: ConvoyOrder) -> Survey:
        survey: Survey = await workflow.execute_local_activity(
            Step.SURVEY_CONVOY,
            order,
            result_type=Survey,
            start_to_close_timeout=_STEP_LIMIT,
            retry_policy=_SOURCE_RETRY,
        )
        return survey

    async def _carry_to(self, order: ConvoyOrder, destination: int) -> CarryReport:
        try:
            report: CarryReport = await workflow.execute_local_activity(
                Step.CARRY_CONVOY,
                CarryOrder(order.source, order.convoy, destination),
                result_type=CarryReport,
                start_to_close_timeout=_STEP_LIMIT,
                retry_policy=_ONCE,
            )
        except (ApplicationError, ActivityError) as error:
            if is_cancelled_exception(error):
                raise
            return CarryReport(waiting=1, failure=_told(error))
        if not report.is_unreachable:
            return report
        await self._hand_over(order, destination)
        return CarryReport(
            delivered=report.delivered,
            redirected=report.redirected,
            needs_repair=report.needs_repair,
            failure=report.failure,
        )

    async def _hand_over(self, order: ConvoyOrder, destination: int | None) -> None:
        self._handed_over += await workflow.execute_local_activity(
            Step.HAND_OVER_CONVOY,
            HandOverOrder(order.source, order.convoy, destination),
            result_type=int,
            start_to_close_timeout=_STEP_LIMIT,
            retry_policy=_SOURCE_RETRY,
        )

    def _result(self, *, is_clean: bool, failure: str | None) -> ConvoyResult:
        return ConvoyResult(
            delivered=sum(report.delivered for report in self._reports),
            redirected=sum(report.redirected for report in self._reports),
            needs_repair=sum(report.needs_repair for report in self._reports),
            handed_over=self._handed_over,
            is_clean=is_clean and not self._handed_over,
            failure=failure or _first_failure(self._reports),
        )


def _first_failure(reports: Sequence[CarryReport]) -> str | None:
    return next((report.failure for report in reports if report.failure), None)


def _told(error: ApplicationError | ActivityError) -> str:
    cause = error.cause if isinstance(error, ActivityError) else error
    return str(cause or error)
