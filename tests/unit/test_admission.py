"""What one process takes on at most, and what its log says of the rest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
import structlog
from structlog.testing import capture_logs

from router.http import admission as admission_module
from router.http import request_log as log_module
from router.http.one_write import OneWriteProtocol
from shard.errors import ShardUnavailable
from tests.router.test_http_server import TRANSFER
from tests.support.scripted_bank import ScriptedBank, http_client
from tests.support.serving import served


@pytest.fixture
def bank() -> ScriptedBank:
    return ScriptedBank()


@pytest.fixture
async def client(bank: ScriptedBank) -> AsyncIterator[httpx.AsyncClient]:
    async with http_client(bank) as opened:
        yield opened


@pytest.fixture
def log() -> Iterator[list[Any]]:
    structlog.reset_defaults()
    with capture_logs() as lines:
        yield lines


async def test_a_process_takes_a_bounded_number_of_requests(
    bank: ScriptedBank, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond it reads are refused as well; what machines ask about the process is answered."""
    monkeypatch.setattr(admission_module, "REQUESTS_IN_FLIGHT_MAX", 1)
    bank.transfers.may_end = asyncio.Event()
    under_way = asyncio.create_task(client.post("/v1/transfers", json=TRANSFER))
    await bank.transfers.begun.wait()
    refused = await client.get("/v1/accounts/2000000123/balance")
    answered = [await client.get(path) for path in ("/livez", "/readyz", "/metrics")]
    bank.transfers.may_end.set()
    first = await under_way
    again = await client.get("/v1/accounts/2000000123/balance")

    assert (503, "1", "/v1/accounts/2000000123/balance") == (
        refused.status_code,
        refused.headers["retry-after"],
        refused.json()["instance"],
    )
    assert [200] * 3 == [answer.status_code for answer in answered]
    assert (201, 200) == (first.status_code, again.status_code)


async def test_a_process_has_a_bounded_number_of_connections(
    bank: ScriptedBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One too many is told to come back, and closed; those that are open go on."""
    monkeypatch.setattr(OneWriteProtocol, "connections_max", 1)
    async with served(bank) as url, httpx.AsyncClient(base_url=url) as client:
        first = await client.get("/livez")
        reader, writer = await asyncio.open_connection(*url.removeprefix("http://").split(":"))
        told = await reader.read()
        writer.close()
        again = await client.get("/livez")

    assert told.startswith(b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n")
    assert (200, 200) == (first.status_code, again.status_code)


async def test_a_failed_request_has_one_line(
    bank: ScriptedBank, client: httpx.AsyncClient, log: list[Any]
) -> None:
    """It names route, status, code, reference and the cause; who succeeds leaves no line."""
    await client.post("/v1/transfers", json=TRANSFER)
    bank.transfers.fail = ShardUnavailable("connection refused")
    await client.post("/v1/transfers", json=TRANSFER)
    (line,) = log

    assert 0 <= line.pop("seconds")
    assert {
        "event": "request_faulted",
        "log_level": "warning",
        "method": "POST",
        "route": "/v1/transfers",
        "status": 503,
        "code": "SHARD_UNAVAILABLE",
        "detail": "connection refused",
        "reference": "PAY-17",
    } == line


async def test_a_slow_request_has_a_line(
    client: httpx.AsyncClient, log: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless it asked to wait."""
    monkeypatch.setattr(log_module, "SLOW_REQUEST_S", 0.0)
    await client.post("/v1/transfers", json=TRANSFER)
    await client.post("/v1/transfers", json=TRANSFER, headers={"Prefer": "wait=1"})

    assert ["request_slow"] == [line["event"] for line in log]


async def test_a_flood_of_failures_is_counted(
    bank: ScriptedBank,
    client: httpx.AsyncClient,
    log: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beyond so many lines a second they are counted, and the count is told afterwards."""
    now_s = 100.0
    monkeypatch.setattr(log_module, "LOG_LINES_PER_SECOND", 2)
    monkeypatch.setattr(log_module, "monotonic", lambda: now_s)
    bank.transfers.fail = ShardUnavailable()
    for _ in range(5):
        await client.post("/v1/transfers", json=TRANSFER)
    first = [line["event"] for line in log]
    now_s += 1
    await client.post("/v1/transfers", json=TRANSFER)

    assert ["request_faulted"] * 2 == first
    assert [("SHARD_UNAVAILABLE", 3)] == [
        (line["kind"], line["lines"]) for line in log if line["event"] == "request_lines_left_out"
    ]


async def test_a_scrape_tells_of_lanes_and_refusals(
    bank: ScriptedBank, client: httpx.AsyncClient
) -> None:
    """Figures of lanes, breakers and admission are read when they are asked for."""
    shard = bank.shards[2]
    shard.figures.batch_commands.observe(7)
    shard.figures.wait_seconds.observe(0.003)
    shard.figures.late = 4
    shard.breaker.failed()
    lines = (await client.get("/metrics")).text.splitlines()

    for line in (
        'ledger_lane_batch_commands_bucket{le="5.0",shard="2"} 0.0',
        'ledger_lane_batch_commands_bucket{le="10.0",shard="2"} 1.0',
        'ledger_lane_batch_commands_count{shard="2"} 1.0',
        'ledger_lane_batch_commands_sum{shard="2"} 7.0',
        'ledger_lane_wait_seconds_bucket{le="0.005",shard="2"} 1.0',
        'ledger_lane_commands_refused_total{reason="late",shard="2"} 4.0',
        'ledger_shard_breaker_open{shard="2"} 1.0',
        'ledger_shard_breaker_openings_total{shard="2"} 1.0',
        'ledger_lanes{shard="2",state="posting"} 1.0',
        "ledger_http_requests_in_flight 1.0",
        'ledger_http_requests_refused_total{reason="postings_full"} 0.0',
    ):
        assert line in lines
