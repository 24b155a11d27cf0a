"""A worker apart from the API tells its own metrics, where it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from deploy.embedded.temporal import TemporalServer
from router.http.server import PortInUse, RemoteHostRefused, listen
from router.http.worker_metrics import metrics_served
from router.settings import Settings
from router.telemetry import Metrics
from router.wiring import Bank
from tests.support.bank import settings_of
from tests.support.databases import Databases


@pytest.fixture
def settings(servers: Databases, temporal: TemporalServer) -> Settings:
    """Those of a worker with a port for its metrics."""
    return settings_of(servers, temporal, worker_metrics_port=0)


@pytest.fixture
async def worker(settings: Settings) -> AsyncIterator[tuple[Bank, Metrics]]:
    """A worker's bank, and what observes it."""
    metrics = Metrics()
    async with Bank(settings, observer=metrics) as bank:
        yield bank, metrics


async def test_a_worker_is_scraped(worker: tuple[Bank, Metrics]) -> None:
    """It tells of its sweeps, as nobody else knows of them, and of the shards it sees."""
    bank, metrics = worker
    metrics.swept(1, 7, is_complete=True)
    await bank.watch.look()
    async with metrics_served(bank, metrics) as url, httpx.AsyncClient() as client:
        assert url is not None
        answer = await client.get(url)
    lines = answer.text.splitlines()
    assert 200 == answer.status_code
    assert 'ledger_stragglers_sent_total{shard="1"} 7.0' in lines
    assert 'ledger_shard_up{shard="2"} 1.0' in lines


async def test_a_worker_without_a_port_listens_nowhere(
    servers: Databases, temporal: TemporalServer
) -> None:
    """A port is open because somebody wants it."""
    async with (
        Bank(settings_of(servers, temporal)) as bank,
        metrics_served(bank, Metrics()) as url,
    ):
        assert url is None


async def test_a_taken_port_is_told(worker: tuple[Bank, Metrics]) -> None:
    """The worker does not start without what it was asked for."""
    bank, metrics = worker
    with listen("127.0.0.1", 0, allow_remote=False) as taken:
        port = {"worker_metrics_port": taken.getsockname()[1]}
        bank.settings = bank.settings.model_copy(update=port)
        with pytest.raises(PortInUse):
            async with metrics_served(bank, metrics):
                pass


async def test_metrics_stay_on_loopback(worker: tuple[Bank, Metrics]) -> None:
    """Unless something else guards them, like the API itself."""
    bank, metrics = worker
    everywhere = {"http_host": "0.0.0.0"}  # noqa: S104 it is refused as such
    bank.settings = bank.settings.model_copy(update=everywhere)
    with pytest.raises(RemoteHostRefused):
        async with metrics_served(bank, metrics):
            pass


async def test_a_scrape_does_not_hold_up_the_end(worker: tuple[Bank, Metrics]) -> None:
    """A scraper keeps its connection open; the worker ends all the same."""
    bank, metrics = worker
    async with (
        httpx.AsyncClient() as client,
        asyncio.timeout(30),
        metrics_served(bank, metrics) as url,
    ):
        assert url is not None
        await client.get(url)
