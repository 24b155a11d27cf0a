"""Heartbeats of activities that may take long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from temporalio import activity

from sagas.limits import ROUTE_BEAT_S


@asynccontextmanager
async def beating() -> AsyncIterator[None]:
    """Show Temporal that this worker lives, and hear from it when nobody waits any more."""
    beats = asyncio.create_task(_beat())
    try:
        yield
    finally:
        beats.cancel()


async def _beat() -> None:
    while True:
        activity.heartbeat()
        await asyncio.sleep(ROUTE_BEAT_S)
