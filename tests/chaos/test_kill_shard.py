"""One shard that is dead or hangs stops only its ranges."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import httpx
import pytest

from deploy.embedded.postgres import PostgresServer
from router.http.app import create_app
from router.telemetry import Metrics
from router.wiring import Bank
from sagas.starts import route_workflow_id
from tests.sagas.small_bank import eventually
from tests.support.bank import Figures, at_rest, figures, open_account
from tests.support.databases import Databases
from tests.support.transfer_load import Body, ended, final_answer, mixed_load, payment

PATIENCE_S = 60.0
CROWD = 100
SEVERAL = 3
WAITED = {"Prefer": "wait=10"}


@pytest.fixture
async def client(bank: Bank) -> AsyncIterator[httpx.AsyncClient]:
    """The API of a whole bank."""
    transport = httpx.ASGITransport(create_app(bank, Metrics()))
    async with httpx.AsyncClient(transport=transport, base_url="http://bank") as opened:
        yield opened


@pytest.fixture
def third(servers: Databases) -> PostgresServer:
    """The server of shard 3."""
    if not servers.servers:
        pytest.skip("this run's servers are not ours to kill")
    return servers.servers[3]


@asynccontextmanager
async def dead(server: PostgresServer) -> AsyncIterator[None]:
    """The server is killed, and comes back in the end."""
    await server.kill()
    try:
        yield
    finally:
        await server.start()


@asynccontextmanager
async def hung(server: PostgresServer) -> AsyncIterator[None]:
    """All processes of the server stand still, as behind a network that swallows everything."""
    identity = server.process.identity()
    assert identity is not None
    family = (identity, *identity.descendants())
    for process in family:
        process.send(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in family:
            process.send(signal.SIGCONT)


async def problem_of(client: httpx.AsyncClient, body: Body) -> dict[str, Any]:
    """The problem that a transfer is refused with, once nothing about it is unknown."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            problem: dict[str, Any] = (await client.post("/v1/transfers", json=body)).json()
            if problem["code"] != "OUTCOME_UNKNOWN":
                return problem


async def test_a_dead_shard_holds_up_no_transfer_of_the_others(
    bank: Bank, client: httpx.AsyncClient, third: PostgresServer
) -> None:
    """Within a shard and between two that live all goes on, and the API stays ready."""
    debtor = await open_account(bank.shards[1], "100.00")
    neighbour, stranger = await open_account(bank.shards[1]), await open_account(bank.shards[2])
    async with dead(third):
        local = await client.post("/v1/transfers", json=payment(debtor, neighbour))
        cross = await client.post("/v1/transfers", json=payment(debtor, stranger), headers=WAITED)
        ready = await client.get("/readyz")
    assert (201, "posted") == (local.status_code, local.json()["money_state"])
    assert (201, "delivered") == (cross.status_code, cross.json()["money_state"])
    assert 200 == ready.status_code


async def test_a_transfer_of_a_dead_shard_is_refused_and_may_be_repeated(
    bank: Bank, client: httpx.AsyncClient, third: PostgresServer
) -> None:
    """503 says that nothing happened; the same request goes through when the shard is back."""
    debtor = await open_account(bank.shards[3], "100.00")
    creditor = await open_account(bank.shards[3])
    body = payment(debtor, creditor)
    async with dead(third):
        problem = await problem_of(client, body)
    repeated = await final_answer(client, body)
    assert ("SHARD_UNAVAILABLE", 503, True) == (
        problem["code"],
        problem["status"],
        problem["retryable"],
    )
    assert "posted" == repeated.json()["money_state"]
    assert Figures(Decimal("80.0000"), 2) == await figures(bank.shards[3], debtor)
    assert Figures(Decimal("20.0000"), 1) == await figures(bank.shards[3], creditor)


async def test_what_goes_to_a_dead_shard_waits_in_sight_and_arrives(
    bank: Bank, client: httpx.AsyncClient, third: PostgresServer
) -> None:
    """It is accepted, its route's activity shows attempts and why they fail, and in the end it
    is delivered, once."""
    debtor = await open_account(bank.shards[1], "100.00")
    creditor = await open_account(bank.shards[3])
    body = payment(debtor, creditor)
    async with dead(third):
        accepted = await client.post("/v1/transfers", json=body)
        attempts, failure = await attempts_shown(bank, 1, 3)
    assert (202, "in_transit") == (accepted.status_code, accepted.json()["money_state"])
    assert attempts > 1
    assert failure.startswith("Shard 3: ")
    assert "delivered" == (await ended(client, body))["money_state"]
    assert Figures(Decimal("20.0000"), 1) == await figures(bank.shards[3], creditor)


async def attempts_shown(bank: Bank, source: int, destination: int) -> tuple[int, str]:
    """What the Temporal UI shows of a route that cannot be carried: attempt and last failure."""
    assert bank.temporal is not None
    handle = bank.temporal.get_workflow_handle(route_workflow_id(source, destination))
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if destination in await bank.shards[source].suspense.open_routes():
                for pending in (await handle.describe()).raw_description.pending_activities:
                    if pending.attempt > 1:
                        return pending.attempt, pending.last_failure.message
            await asyncio.sleep(0.05)  # sleep: pause between two looks at a workflow


async def test_a_shard_that_hangs_shares_no_queue_with_the_others(
    bank: Bank, client: httpx.AsyncClient, third: PostgresServer
) -> None:
    """However many requests wait for it, those for other shards do not wait behind them; and
    whoever waited has one answer in the end."""
    debtor = await open_account(bank.shards[1], "100.00")
    neighbour = await open_account(bank.shards[1])
    stuck = await open_account(bank.shards[3], str(CROWD))
    other = await open_account(bank.shards[3])
    crowd = [payment(stuck, other, "1.00") for _ in range(CROWD)]
    async with hung(third):
        waiting = asyncio.gather(*(final_answer(client, body) for body in crowd))
        # Once these are answered, all of the crowd have been sent: a queue that they shared
        # would hold them up.
        async with asyncio.timeout(PATIENCE_S):
            served = [
                await client.post("/v1/transfers", json=payment(debtor, neighbour, "1.00"))
                for _ in range(10)
            ]
        assert not waiting.done()
    assert [201] * 10 == [each.status_code for each in served]
    assert {"posted"} == {each.json()["money_state"] for each in await waiting}
    assert Figures(Decimal(CROWD), CROWD) == await figures(bank.shards[3], other)


async def test_a_shard_killed_under_load_loses_and_doubles_nothing(
    bank: Bank, client: httpx.AsyncClient, third: PostgresServer, rng: random.Random
) -> None:
    """Its server is killed at a random moment, with batches under way: each reference has one
    answer and one effect, and each accepted transfer comes to its end."""
    load = await mixed_load(bank, 300, rng)
    running = asyncio.create_task(load.run(client))
    await load.until(rng.randrange(1, 200))
    async with hung(third):
        # Several that wait show that no lane is free: each has sent a batch.
        await eventually(lambda: queued(bank, 3), lambda count: count >= SEVERAL)
        await third.kill()
    await third.start()
    await running
    await at_rest(bank)
    await load.assert_each_had_one_effect(client, bank)


async def queued(bank: Bank, shard: int) -> int:
    """How many commands wait for a lane of a shard."""
    return bank.shards[shard].lanes.queued_commands
