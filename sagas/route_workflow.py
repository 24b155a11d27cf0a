"""A route: carries what waits on one shard for another, for as long as it takes.

Its activity is a regular one that is retried for ever, so that the Temporal UI shows attempts
and the last failure, and an operator can pause it there. The workflow ends when nothing waits.
"""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

from sagas.limits import (
    ROUTE_HEARTBEAT_S,
    ROUTE_PAUSE_MAX_S,
    ROUTE_PAUSE_S,
    ROUTE_RUN_LIMIT_S,
)
from sagas.messages import RouteLeg, RouteOrder, RouteReport, RouteResult, Step

_FOR_EVER = RetryPolicy(
    initial_interval=timedelta(seconds=ROUTE_PAUSE_S),
    maximum_interval=timedelta(seconds=ROUTE_PAUSE_MAX_S),
)


@workflow.defn(name="route", sandboxed=False)
class RouteWorkflow:
    """One run carries one route until it is empty; its history is begun anew when long."""

    @workflow.run
    async def run(self, leg: RouteLeg) -> RouteResult:
        """Carry until nothing is left; the result counts items since the workflow began."""
        total = leg.so_far
        while True:
            report = await self._carry(RouteOrder(leg.source, leg.destination))
            total = _sum(total, report)
            if not report.has_more:
                return total
            if workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(RouteLeg(leg.source, leg.destination, total))

    async def _carry(self, order: RouteOrder) -> RouteReport:
        report: RouteReport = await workflow.execute_activity(
            Step.CARRY_ROUTE,
            order,
            result_type=RouteReport,
            start_to_close_timeout=timedelta(seconds=ROUTE_RUN_LIMIT_S),
            heartbeat_timeout=timedelta(seconds=ROUTE_HEARTBEAT_S),
            retry_policy=_FOR_EVER,
        )
        return report


def _sum(total: RouteResult, report: RouteReport) -> RouteResult:
    return RouteResult(
        delivered=total.delivered + report.delivered,
        redirected=total.redirected + report.redirected,
        rerouted=total.rerouted + report.rerouted,
        needs_repair=total.needs_repair + report.needs_repair,
    )
