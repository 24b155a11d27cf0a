"""More work than can be done in time: refused at once, and nobody else waits longer for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import httpx
import pytest

from router.http import admission as admission_module
from router.http.app import create_app
from router.http.problems import Problem
from router.http.server import listen, make_server, url_of
from router.telemetry import Metrics
from router.wiring import Bank
from shard import lanes as lanes_module
from shard.ids import new_id
from tests.support.bank import Figures, figures, open_account
from tests.support.databases import Databases
from tests.support.interleaving import Holder, holder

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
_PATIENCE_S = 20.0
_LANES = 2


@pytest.fixture
async def url(bank: Bank) -> AsyncIterator[str]:
    """The bank's API on a real socket."""
    with listen("127.0.0.1", 0, allow_remote=False) as listener:
        server = make_server(create_app(bank, Metrics()))
        running = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield url_of(listener)
        finally:
            server.should_exit = True
            await running


@pytest.fixture
async def client(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url, timeout=_PATIENCE_S) as opened:
        yield opened


def payment(debtor: int, creditor: int) -> dict[str, Any]:
    return {
        "reference": str(new_id()),
        "debtor_account": str(debtor),
        "creditor_account": str(creditor),
        "amount": "1.00",
        "currency": "EUR",
    }


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(_PATIENCE_S):
        while not is_so():  # noqa: ASYNC110 figures have no event
            await asyncio.sleep(0.002)  # sleep: pause between two looks at a figure


@asynccontextmanager
async def busy_shard(
    bank: Bank, servers: Databases, client: httpx.AsyncClient, pair: tuple[int, int]
) -> AsyncIterator[Holder]:
    """All lanes of shard 1 wait for its business day, which somebody holds."""
    async with holder(servers.shard_owner_dsns[1]) as held:
        await held.lock_day()
        sent = []
        for _ in range(_LANES):
            sent.append(held.start(client.post("/v1/transfers", json=payment(*pair))))
            await held.until_blocks(*sent)
        yield held
        await held.rollback()
        assert {201} == {response.status_code for response in await asyncio.gather(*sent)}


@pytest.fixture
async def pair(bank: Bank) -> tuple[int, int]:
    """Debtor and creditor on shard 1."""
    return await open_account(bank.shards[1], "100"), await open_account(bank.shards[1])


@pytest.fixture
async def far_pair(bank: Bank) -> tuple[int, int]:
    """Debtor and creditor on shard 2."""
    return await open_account(bank.shards[2], "100"), await open_account(bank.shards[2])


async def test_too_much_is_refused_at_the_door(
    bank: Bank,
    servers: Databases,
    client: httpx.AsyncClient,
    pair: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """503 with Retry-After, as a problem with the caller's trace id; nothing was done."""
    monkeypatch.setattr(admission_module, "POSTINGS_IN_FLIGHT_MAX", _LANES)
    monkeypatch.setattr(lanes_module, "LANE_SLOW_S", 3600.0)
    headers = {"traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01"}
    async with busy_shard(bank, servers, client, pair):
        refused = await client.post("/v1/transfers", json=payment(*pair), headers=headers)
        body_unread = await client.post("/v1/transfers", content=b"\0" * 70_000)
        queued = bank.shards[1].lanes.queued_commands
    problem = Problem.model_validate_json(refused.content)

    assert (503, "1", "application/problem+json", TRACE_ID) == (
        refused.status_code,
        refused.headers["retry-after"],
        refused.headers["content-type"],
        refused.headers["trace-id"],
    )
    assert ("OVERLOADED", 503, True, TRACE_ID, "/v1/transfers") == (
        problem.code,
        problem.status,
        problem.retryable,
        problem.trace_id,
        problem.instance,
    )
    assert (503, 0) == (body_unread.status_code, queued)
    assert Figures(Decimal(_LANES), _LANES) == await figures(bank.shards[1], pair[1])


async def test_reads_and_health_are_answered_while_postings_are_refused(
    bank: Bank,
    servers: Databases,
    client: httpx.AsyncClient,
    pair: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only what would add to the postings under way is refused; a scrape tells how many were."""
    monkeypatch.setattr(admission_module, "POSTINGS_IN_FLIGHT_MAX", _LANES)
    monkeypatch.setattr(lanes_module, "LANE_SLOW_S", 3600.0)
    paths = [f"/v1/accounts/{pair[0]}/balance", "/livez", "/readyz", "/metrics"]
    async with busy_shard(bank, servers, client, pair):
        refused = await client.post("/v1/transfers", json=payment(*pair))
        answers = [await client.get(path) for path in paths]

    assert 503 == refused.status_code
    assert [200] * 4 == [answer.status_code for answer in answers]
    assert (
        'ledger_http_requests_refused_total{reason="postings_full"} 1.0'
        in answers[-1].text.splitlines()
    )


async def test_a_slow_shard_has_nobody_else_refused(
    bank: Bank,
    servers: Databases,
    client: httpx.AsyncClient,
    pair: tuple[int, int],
    far_pair: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever waits for a slow shard does not use up the others' room; it has its own bound."""
    monkeypatch.setattr(admission_module, "POSTINGS_IN_FLIGHT_MAX", _LANES)
    monkeypatch.setattr(lanes_module, "LANE_REQUESTS_MAX", _LANES)
    monkeypatch.setattr(lanes_module, "LANE_SLOW_S", 0.0)
    async with busy_shard(bank, servers, client, pair):
        others = [await client.post("/v1/transfers", json=payment(*far_pair)) for _ in range(3)]
        same = await client.post("/v1/transfers", json=payment(*pair))

    assert [201] * 3 == [answer.status_code for answer in others]
    assert (503, "OVERLOADED", "1") == (
        same.status_code,
        same.json()["code"],
        same.headers["retry-after"],
    )


async def test_work_whose_client_has_gone_is_not_started(
    bank: Bank,
    servers: Databases,
    client: httpx.AsyncClient,
    url: str,
    pair: tuple[int, int],
) -> None:
    """A transfer that waits in the queue leaves it with its client's connection."""
    lanes = bank.shards[1].lanes
    body = json.dumps(payment(*pair)).encode()
    head = (
        b"POST /v1/transfers HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    )
    async with busy_shard(bank, servers, client, pair):
        before = lanes.figures.abandoned
        _, writer = await asyncio.open_connection(*url.removeprefix("http://").split(":"))
        writer.write(head + body)
        await until(lambda: lanes.queued_commands == 1)
        writer.close()
        await until(lambda: lanes.queued_commands == 0)
        abandoned = lanes.figures.abandoned - before

    assert 1 == abandoned
    assert Figures(Decimal(_LANES), _LANES) == await figures(bank.shards[1], pair[1])


async def test_the_callers_time_passes_in_the_queue(
    bank: Bank, servers: Databases, client: httpx.AsyncClient, pair: tuple[int, int]
) -> None:
    """What has not begun when the caller's time is up is refused, and never begun."""
    headers = {"Request-Timeout": "0.05"}
    async with busy_shard(bank, servers, client, pair):
        late = await client.post("/v1/transfers", json=payment(*pair), headers=headers)

    assert (503, "OVERLOADED") == (late.status_code, late.json()["code"])
    assert Figures(Decimal(_LANES), _LANES) == await figures(bank.shards[1], pair[1])


async def test_the_callers_time_passes_after_the_send(
    bank: Bank, servers: Databases, client: httpx.AsyncClient, pair: tuple[int, int]
) -> None:
    """What was sent goes on: the caller is told that it is unknown, and repeats it."""
    body = payment(*pair)
    async with holder(servers.shard_owner_dsns[1]) as held:
        await held.lock_day()
        sent = held.start(
            client.post("/v1/transfers", json=body, headers={"Request-Timeout": "0.3"})
        )
        await held.until_blocks(sent)
        late = await sent
        await held.rollback()
    repeated = await client.post("/v1/transfers", json=body)

    assert (504, "OUTCOME_UNKNOWN") == (late.status_code, late.json()["code"])
    assert repeated.status_code in {200, 201}
    assert Figures(Decimal(1), 1) == await figures(bank.shards[1], pair[1])


async def test_a_read_ends_with_its_callers_time(
    bank: Bank, servers: Databases, client: httpx.AsyncClient
) -> None:
    """Whatever heeds no deadline by itself is cut off, as soon as nobody waits for it."""
    account = await open_account(bank.shards[1])
    async with holder(servers.shard_owner_dsns[1]) as held:
        await held.execute("LOCK TABLE ledger.balance IN ACCESS EXCLUSIVE MODE")
        late = await client.get(
            f"/v1/accounts/{account}/balance", headers={"Request-Timeout": "0.05"}
        )

    assert (503, "OVERLOADED") == (late.status_code, late.json()["code"])


@pytest.mark.parametrize("given", ["", "0", "-1", "soon", "1e3", "1,5", "nan", "9" * 40])
async def test_a_callers_time_that_cannot_be_read(client: httpx.AsyncClient, given: str) -> None:
    """A time limit that would not hold is refused, and not ignored."""
    response = await client.get("/v1/shards", headers={"Request-Timeout": given})

    assert (400, ["Request-Timeout"]) == (
        response.status_code,
        [each["header"] for each in response.json()["errors"]],
    )
