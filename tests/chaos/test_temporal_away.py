"""Temporal away under load: money between shards waits, but only up to a bound."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import httpx
import pytest

from deploy.embedded.temporal import TemporalServer
from router.http.app import create_app
from router.telemetry import Metrics
from router.wiring import Bank
from tests.support.bank import at_rest, open_account, settings_of
from tests.support.databases import SHARDS, Databases
from tests.support.transfer_load import Load, final_answer, payment

BOUND = 25
CROSS_PER_SHARD = 4 * BOUND
LOCAL_PER_SHARD = 200
PATIENCE_S = 60.0
OUTAGE_S = 30.0


@pytest.fixture
async def bank(servers: Databases, own_temporal: TemporalServer) -> AsyncIterator[Bank]:
    """A bank with a small bound; in the end its money has arrived and its check is clean."""
    metrics = Metrics()
    settings = settings_of(servers, own_temporal, suspense_items_max=BOUND)
    async with Bank(settings, observer=metrics) as opened:
        yield opened
        await at_rest(opened)
        assert (await opened.check.run()).is_clean


@pytest.fixture
async def client(bank: Bank) -> AsyncIterator[httpx.AsyncClient]:
    """Its API."""
    transport = httpx.ASGITransport(create_app(bank, Metrics()))
    async with httpx.AsyncClient(transport=transport, base_url="http://bank") as opened:
        yield opened


async def loads(bank: Bank) -> tuple[Load, Load]:
    """Payments within each shard, and from each shard to the next, the shards in turn."""
    accounts = [
        (
            await open_account(bank.shards[number], "1000.00"),
            await open_account(bank.shards[number]),
        )
        for number in SHARDS
    ]
    following = [*accounts[1:], accounts[0]]
    pairs = [(mine[0], next_ones[0]) for mine, next_ones in zip(accounts, following, strict=True)]
    local = [payment(*mine, "1.00") for _ in range(LOCAL_PER_SHARD) for mine in accounts]
    cross = [payment(*pair, "1.00") for _ in range(CROSS_PER_SHARD) for pair in pairs]
    return Load(local), Load(cross)


async def full(bank: Bank) -> None:
    """Wait until every shard has refused to let more money leave."""
    async with asyncio.timeout(PATIENCE_S):
        while not all(map(bank.suspense.refused, SHARDS)):  # noqa: ASYNC110 figures have no event
            await asyncio.sleep(0.02)  # sleep: pause between two looks at a figure


async def open_items(bank: Bank) -> Sequence[int]:
    """How many amounts stand in suspense, by shard."""
    return [await bank.shards[number].suspense.count_open(10 * BOUND) for number in SHARDS]


async def test_temporal_away_under_load(
    bank: Bank, client: httpx.AsyncClient, own_temporal: TemporalServer, is_full: bool
) -> None:
    """Within a shard everything goes on. Between shards so much is accepted as the bound says,
    the rest refused; it is accepted when Temporal is back, and all of it arrives once."""
    local, cross = await loads(bank)
    await final_answer(client, cross.bodies[0])
    await at_rest(bank)
    await own_temporal.stop()
    crossing = asyncio.create_task(cross.run(client))
    await full(bank)
    if is_full:
        await asyncio.sleep(OUTAGE_S)  # sleep: the outage itself
    await local.run(client)
    refused = await client.post("/v1/transfers", json=cross.bodies[-1])
    parked = await open_items(bank)
    assert not crossing.done()
    await own_temporal.start()
    await crossing
    await at_rest(bank)

    assert {201} == {answer.status_code for answer in local.answers.values()}
    assert (503, "SUSPENSE_FULL") == (refused.status_code, refused.json()["code"])
    assert [BOUND] * len(SHARDS) == parked
    # Asking for each of them again is no load that the bound is for.
    bank.suspense.items_max = len(cross.bodies)
    await cross.assert_each_had_one_effect(client, bank)
