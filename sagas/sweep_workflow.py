"""A sweep: looks on every shard for items that nobody carries. A Temporal Schedule starts it.

It asks the shards about items, not Temporal about workflows: Temporal may have forgotten them.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from sagas.limits import STEP_LIMIT_S, SWEEP_SHARD_LIMIT_S
from sagas.messages import ShardSweep, Step, SweepResult

_ONCE = RetryPolicy(maximum_attempts=1)


@workflow.defn(name="sweep", sandboxed=False)
class SweepWorkflow:
    """One run looks at each shard once; a shard that does not answer holds up no other."""

    @workflow.run
    async def run(self) -> SweepResult:
        """Sweep all shards side by side and tell what was found."""
        shards: list[int] = await workflow.execute_local_activity(
            Step.LIST_SHARDS,
            result_type=list[int],
            start_to_close_timeout=timedelta(seconds=STEP_LIMIT_S),
        )
        return SweepResult(list(await asyncio.gather(*map(self._sweep, shards))))

    async def _sweep(self, shard: int) -> ShardSweep:
        try:
            sweep: ShardSweep = await workflow.execute_local_activity(
                Step.SWEEP_SHARD,
                shard,
                result_type=ShardSweep,
                start_to_close_timeout=timedelta(seconds=SWEEP_SHARD_LIMIT_S + STEP_LIMIT_S),
                retry_policy=_ONCE,
            )
        except (ApplicationError, ActivityError) as error:
            if is_cancelled_exception(error):
                raise
            return ShardSweep(shard, 0, 0, [], failure=str(error.cause or error))
        return sweep
