"""``/metrics`` of a process that serves nothing else: a worker on a machine of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from prometheus_client import make_asgi_app

from router.http.metrics import register_collectors
from router.http.server import listen, plain_config, url_of
from router.telemetry import Metrics
from router.wiring import Bank


class _ScrapedServer(uvicorn.Server):
    """A server that leaves signals to the worker around it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle none."""
        yield


@asynccontextmanager
async def metrics_served(bank: Bank, metrics: Metrics) -> AsyncIterator[str | None]:
    """Let the worker's metrics be scraped meanwhile; tells where, or None where no port is set.

    Raises ``PortInUse``, ``RemoteHostRefused``.
    """
    settings = bank.settings
    if settings.worker_metrics_port is None:
        yield None
        return
    register_collectors(bank, metrics.registry)
    server = _ScrapedServer(plain_config(make_asgi_app(metrics.registry)))
    with listen(
        settings.http_host,
        settings.worker_metrics_port,
        allow_remote=settings.http_allow_remote,
    ) as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]), name="metrics")
        try:
            yield f"{url_of(listener)}/metrics"
        finally:
            server.should_exit = True
            await serving
