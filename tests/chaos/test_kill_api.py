"""Killing the API: every accepted transfer completes, and nothing happens twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
from temporalio.service import RPCError, RPCStatusCode

from deploy.embedded.temporal import TemporalServer
from router.wiring import Bank
from sagas.control_points import ControlPoint
from sagas.starts import convoy_workflow_id
from sagas.worker import connect
from shard.commands import MoneyState
from tests.support.bank import Figures, account_no, at_rest, figures, open_account, settings_of
from tests.support.databases import Databases
from tests.support.processes import KILLED, ApiProcess, api_process
from tests.support.transfer_load import ended, final_answer, mixed_load, payment

PATIENCE_S = 60.0


@pytest.fixture
async def books(servers: Databases, temporal: TemporalServer) -> AsyncIterator[Bank]:
    """The bank as an auditor sees it: it carries nothing. In the end all of it is right."""
    async with Bank(settings_of(servers, temporal, run_worker=False)) as opened:
        yield opened
        result = await opened.check.run()
        assert ((), ()) == (result.findings, result.not_checked)


@pytest.fixture
async def api(
    servers: Databases, temporal: TemporalServer, books: Bank, tmp_path: Path
) -> AsyncIterator[ApiProcess]:
    """The API with its worker, not started yet. It lives until nothing is in transit."""
    async with api_process(settings_of(servers, temporal), tmp_path) as process:
        yield process
        await at_rest(books)


async def send_to_its_death(api: ApiProcess, *bodies: dict[str, str]) -> None:
    """Send requests to an API that a control point is going to kill; answers may be lost."""
    async with httpx.AsyncClient(base_url=api.url) as client:
        sent = (client.post("/v1/transfers", json=body) for body in bodies)
        answers = await asyncio.gather(*sent, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, httpx.TransportError):
            raise answer
    assert KILLED == await api.ended()


async def test_a_debit_whose_convoy_never_started_is_delivered_after_the_restart(
    api: ApiProcess, books: Bank
) -> None:
    """Killed between the source's commit and the start of the workflow: the sweeper delivers,
    once, and the same request again is a replay."""
    debtor = await open_account(books.shards[1], "100.00")
    creditor = await open_account(books.shards[2])
    body = payment(debtor, creditor)
    await api.serve(f"{ControlPoint.DEPARTURE_BEFORE}=exit")
    await send_to_its_death(api, body)
    record = await books.transfers.get(debtor, body["reference"])
    assert MoneyState.IN_TRANSIT is record.money_state
    assert not await was_started(books, str(record.convoy))
    await api.serve()
    async with httpx.AsyncClient(base_url=api.url) as client:
        told = await ended(client, body)
        replay = await client.post("/v1/transfers", json=body)
    assert ("delivered", str(record.transfer_id)) == (told["money_state"], told["id"])
    assert (200, "true", told) == (
        replay.status_code,
        replay.headers["idempotent-replayed"],
        replay.json(),
    )
    assert Figures(Decimal("80.0000"), 2) == await figures(books.shards[1], debtor)
    assert Figures(Decimal("20.0000"), 1) == await figures(books.shards[2], creditor)


async def was_started(books: Bank, convoy: str) -> bool:
    """Whether Temporal has ever heard of a convoy of shard 1."""
    client = await connect(books.settings.temporal_address)
    try:
        await client.get_workflow_handle(convoy_workflow_id(1, convoy)).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False
        raise
    return True


@pytest.mark.parametrize(
    "point",
    [
        ControlPoint.DELIVER_AFTER_REPLY,
        ControlPoint.RETURN_AFTER_REPLY,
        pytest.param(ControlPoint.DELIVER_BEFORE, marks=pytest.mark.full),
        pytest.param(ControlPoint.SETTLE_BEFORE, marks=pytest.mark.full),
        pytest.param(ControlPoint.SETTLE_AFTER_REPLY, marks=pytest.mark.full),
        pytest.param(ControlPoint.RETURN_BEFORE, marks=pytest.mark.full),
    ],
    ids=str,
)
async def test_a_convoy_whose_worker_was_killed_ends_after_the_restart(
    api: ApiProcess, books: Bank, point: ControlPoint
) -> None:
    """Wherever its step was cut off: one credit for who can be paid, the other's money is back."""
    debtor = await open_account(books.shards[1], "100.00")
    creditor, nobody = await open_account(books.shards[2]), account_no(2)
    to_creditor, to_nobody = payment(debtor, creditor), payment(debtor, nobody, "5.00")
    await api.serve(f"{point}=exit")
    await send_to_its_death(api, to_creditor, to_nobody)
    await api.serve()
    async with httpx.AsyncClient(base_url=api.url) as client:
        for body in (to_creditor, to_nobody):
            await final_answer(client, body)
        paid, returned = await ended(client, to_creditor), await ended(client, to_nobody)
    assert ("delivered", None) == (paid["money_state"], paid["code"])
    assert ("returned", "ACCOUNT_UNKNOWN") == (returned["money_state"], returned["code"])
    assert Figures(Decimal("80.0000"), 4) == await figures(books.shards[1], debtor)
    assert Figures(Decimal("20.0000"), 1) == await figures(books.shards[2], creditor)


async def test_the_api_killed_again_and_again_loses_and_doubles_nothing(
    api: ApiProcess, books: Bank, rng: random.Random, is_full: bool
) -> None:
    """kill -9 at random moments under load: each reference has one answer and one effect, and
    each accepted transfer comes to its end."""
    load = await mixed_load(books, 1_500 if is_full else 200, rng)
    last_kill = len(load.bodies) * 9 // 10
    kills = sorted(rng.sample(range(1, last_kill), 8 if is_full else 2))
    await api.serve()
    async with httpx.AsyncClient(base_url=api.url, timeout=PATIENCE_S) as client:
        running = asyncio.create_task(load.run(client))
        for answers in kills:
            await load.until(answers)
            await api.kill()
            await api.serve()
        await running
        await at_rest(books)
        await load.assert_each_had_one_effect(client, books)
