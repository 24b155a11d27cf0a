"""The worker: runs workflows and activities, and keeps the sweeper's schedule in place."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import structlog
from temporalio.client import Client, Interceptor
from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)
from temporalio.service import GrpcCompression, RPCError
from temporalio.worker import Worker

from sagas.carriage import Carriage
from sagas.control_points import ControlPoints, Unarmed
from sagas.convoy_activities import ConvoyActivities
from sagas.convoy_workflow import ConvoyWorkflow
from sagas.freight import Freight
from sagas.limits import (
    CACHED_WORKFLOWS,
    CONCURRENT_ACTIVITIES,
    CONCURRENT_LOCAL_ACTIVITIES,
    CONCURRENT_WORKFLOW_TASKS,
    SCHEDULE_CHECK_S,
    SEARCH_ATTRIBUTES_LIMIT_S,
    SHUTDOWN_LIMIT_S,
    STICKY_WAIT_S,
    WORKER_PAUSE_MAX_S,
    WORKER_PAUSE_S,
)
from sagas.observer import Observer
from sagas.owners import Owners
from sagas.repair_activities import RepairActivities
from sagas.repair_workflow import RepairWorkflow
from sagas.route_activities import RouteActivities
from sagas.route_workflow import RouteWorkflow
from sagas.search_attributes import ensure_search_attributes
from sagas.starts import TASK_QUEUE
from sagas.sweep_workflow import SweepWorkflow
from sagas.sweeper import Sweeper, ensure_schedule
from sagas.terminus import Terminus
from shard.shard import Shard
from shard.spans import Spans

log = structlog.get_logger()


async def connect(
    address: str,
    namespace: str = "default",
    *,
    runtime: Runtime | None = None,
    interceptors: Sequence[Interceptor] = (),
) -> Client:
    """Connect to Temporal at ``host:port``, and keep trying until it answers.

    ``interceptors`` serve its workers too.
    """
    pause_s = WORKER_PAUSE_S
    while True:
        try:
            return await Client.connect(
                address,
                namespace=namespace,
                runtime=runtime or _runtime(),
                grpc_compression=GrpcCompression.NONE,
                interceptors=interceptors,
            )
        except (RPCError, RuntimeError) as error:
            log.warning("temporal_does_not_answer", address=address, error=str(error))
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, WORKER_PAUSE_MAX_S)


@functools.cache
def _runtime() -> Runtime:
    """The SDK's core, whose messages go where ours go.

    Left alone it writes them to stdout, into the midst of what a command answers there.
    """
    forwarding = LogForwardingConfig(logger=logging.getLogger("temporalio.core"))
    levels = TelemetryFilter(core_level="WARN", other_level="ERROR")
    return Runtime(
        telemetry=TelemetryConfig(logging=LoggingConfig(filter=levels, forwarding=forwarding))
    )


def build_worker(
    client: Client,
    shards: Mapping[int, Shard],
    owners: Owners,
    *,
    control_points: ControlPoints | None = None,
    observer: Observer | None = None,
    spans: Spans | None = None,
    terminus: Terminus | None = None,
    sweeper: Sweeper | None = None,
    workflows: Sequence[type] = (),
    activities: Sequence[Callable[..., Any]] = (),
) -> Worker:
    """The worker of one process; ``workflows`` and ``activities`` are run besides the convoys'."""
    points = control_points or Unarmed()
    carriage = Carriage(shards, owners, points, observer, spans)
    freight = Freight(shards, owners, carriage, points, observer, spans)
    convoy = ConvoyActivities(client, shards, carriage, freight, terminus or Terminus(), points)
    route = RouteActivities(client, shards, carriage)
    repair = RepairActivities(shards, owners, carriage, observer, points)
    sweep = sweeper or Sweeper(client, shards, observer=observer)
    return Worker(
        client,
        task_queue=TASK_QUEUE,
        workflows=[ConvoyWorkflow, RouteWorkflow, RepairWorkflow, SweepWorkflow, *workflows],
        activities=[
            convoy.survey,
            convoy.carry,
            convoy.hand_over,
            route.carry,
            repair.look,
            repair.decide,
            repair.carry,
            sweep.list_shards,
            sweep.sweep,
            *activities,
        ],
        max_cached_workflows=CACHED_WORKFLOWS,
        max_concurrent_workflow_tasks=CONCURRENT_WORKFLOW_TASKS,
        max_concurrent_activities=CONCURRENT_ACTIVITIES,
        max_concurrent_local_activities=CONCURRENT_LOCAL_ACTIVITIES,
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=STICKY_WAIT_S),
        graceful_shutdown_timeout=timedelta(seconds=SHUTDOWN_LIMIT_S),
    )


async def run_worker(
    client: Client,
    shards: Mapping[int, Shard],
    owners: Owners,
    *,
    control_points: ControlPoints | None = None,
    observer: Observer | None = None,
    spans: Spans | None = None,
    terminus: Terminus | None = None,
    workflows: Sequence[type] = (),
    activities: Sequence[Callable[..., Any]] = (),
) -> None:
    """Run workers until cancelled: one that dies, or finds no Temporal, is followed by another."""
    pause_s = WORKER_PAUSE_S
    while True:
        worker = build_worker(
            client,
            shards,
            owners,
            control_points=control_points,
            observer=observer,
            spans=spans,
            terminus=terminus,
            workflows=workflows,
            activities=activities,
        )
        try:
            await ensure_search_attributes(client, SEARCH_ATTRIBUTES_LIMIT_S)
            await ensure_schedule(client)
            pause_s = WORKER_PAUSE_S
            await _run_with_schedule(worker, client)
        except (RPCError, RuntimeError) as error:
            log.warning("worker_ended", error=str(error))
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, WORKER_PAUSE_MAX_S)


async def _run_with_schedule(worker: Worker, client: Client) -> None:
    keeping = asyncio.create_task(_keep_schedule(client), name="sweeper-schedule")
    try:
        await worker.run()
    finally:
        keeping.cancel()


async def _keep_schedule(client: Client) -> None:
    """Put the schedule back where it is gone: Temporal may lose its database under a worker."""
    while True:
        await asyncio.sleep(SCHEDULE_CHECK_S)
        try:
            await ensure_schedule(client)
        except (RPCError, RuntimeError) as error:
            log.warning("schedule_not_ensured", error=str(error))
