"""Killing the API: every accepted transfer completes, and nothing happens twice."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio.service import RPCError, RPCStatusCode

from deploy.embedded.temporal import TemporalServer
from router.wiring import Bank
from sagas.control_points import ControlPoint
from sagas.starts import convoy_workflow_id
from sagas.worker import connect
from shard.accounts import AccountStatus
from shard.commands import MoneyState
from shard.errors import NotFound
from shard.ids import new_id
from shard.statements import EntryLine
from tests.support.bank import Figures, account_no, at_rest, figures, open_account, settings_of
from tests.support.databases import Databases
from tests.support.processes import KILLED, ApiProcess, api_process

FUNDS = "1000.00"
RANGE = 1_000_000_000
CLIENTS = 16
PATIENCE_S = 60.0
SAFE_TO_REPEAT = {502, 503, 504}


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


def payment(debtor: int, creditor: int, amount: str = "20.00") -> dict[str, str]:
    """A request for a transfer under a fresh reference."""
    return {
        "reference": str(new_id()),
        "debtor_account": str(debtor),
        "creditor_account": str(creditor),
        "amount": amount,
        "currency": "EUR",
    }


async def send_to_its_death(api: ApiProcess, *bodies: dict[str, str]) -> None:
    """Send requests to an API that a control point is going to kill; answers may be lost."""
    async with httpx.AsyncClient(base_url=api.url) as client:
        sent = (client.post("/v1/transfers", json=body) for body in bodies)
        answers = await asyncio.gather(*sent, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, httpx.TransportError):
            raise answer
    assert KILLED == await api.ended()


async def final_answer(client: httpx.AsyncClient, body: dict[str, str]) -> httpx.Response:
    """Repeat a request as it is until its answer is no "unknown" and no "try again"."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                response = await client.post("/v1/transfers", json=body)
            except httpx.TransportError:
                pass
            else:
                if response.status_code not in SAFE_TO_REPEAT:
                    return response
            await asyncio.sleep(0.05)  # sleep: a client's pause before it repeats a request


async def ended(client: httpx.AsyncClient, body: dict[str, str]) -> dict[str, Any]:
    """The transfer once its money is no longer in transit."""
    path = f"/v1/transfers/{body['debtor_account']}/{body['reference']}"
    async with asyncio.timeout(PATIENCE_S):
        while True:
            told: dict[str, Any] = (await client.get(path)).json()
            if told["money_state"] != MoneyState.IN_TRANSIT:
                return told
            await asyncio.sleep(0.05)  # sleep: pause between two looks at a transfer


async def test_a_debit_whose_convoy_never_started_is_delivered_after_the_restart(
    api: ApiProcess, books: Bank
) -> None:
    """Killed between the source's commit and the start of the workflow: the sweeper delivers,
    once, and the same request again is a replay."""
    debtor = await open_account(books.shards[1], "100.00")
    creditor = await open_account(books.shards[2])
    body = payment(debtor, creditor)
    await api.serve(f"{ControlPoint.CONVOY_BEFORE_START}=exit")
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
        ControlPoint.DELIVER_AFTER_COMMIT,
        ControlPoint.REDIRECT_AFTER,
        pytest.param(ControlPoint.DELIVER_BEFORE, marks=pytest.mark.full),
        pytest.param(ControlPoint.SETTLE_BEFORE, marks=pytest.mark.full),
        pytest.param(ControlPoint.SETTLE_AFTER, marks=pytest.mark.full),
        pytest.param(ControlPoint.REDIRECT_BEFORE, marks=pytest.mark.full),
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


@dataclass(slots=True)
class Load:
    """Transfers of all kinds, and what was answered to each."""

    bodies: list[dict[str, str]]
    answers: dict[str, httpx.Response] = field(default_factory=dict)
    progress: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def run(self, client: httpx.AsyncClient) -> None:
        """Send them all, by several clients at once, each until it has a final answer."""
        waiting = iter(self.bodies)

        async def send() -> None:
            for body in waiting:
                answer = await final_answer(client, body)
                async with self.progress:
                    self.answers[body["reference"]] = answer
                    self.progress.notify_all()

        await asyncio.gather(*(send() for _ in range(CLIENTS)))

    async def until(self, answers: int) -> None:
        """Wait until so many transfers have their answer."""
        async with self.progress:
            await self.progress.wait_for(lambda: len(self.answers) >= answers)


async def mixed_load(books: Bank, count: int, rng: random.Random) -> Load:
    """Local and cross-shard, to the poor, to closed accounts, to nobody, and beyond the funds."""
    payers = [await open_account(books.shards[no], FUNDS) for no in (1, 2, 3) for _ in "ab"]
    closed = [await open_account(books.shards[no]) for no in (1, 2, 3)]
    for number, account in zip((1, 2, 3), closed, strict=True):
        await books.shards[number].accounts.change_status(
            account, AccountStatus.CLOSED, actor="test", reason="test"
        )
    payees = [*payers * 3, *closed, account_no(1), account_no(2), account_no(3)]
    bodies = []
    for _ in range(count):
        debtor, creditor = rng.choice(payers), rng.choice(payees)
        amount = rng.choice(["0.01", "1.00", "19.99", "150.00", "2000.00"])
        if debtor != creditor:
            bodies.append(payment(debtor, creditor, amount))
    return Load(bodies)


async def entries_of(books: Bank, account: int) -> list[EntryLine]:
    """Every entry of an account; none where it was never opened."""
    try:
        page = await books.shards[account // RANGE].statements.page(account, limit=1_000)
    except NotFound:
        return []
    assert page.next_cursor is None
    return page.lines


async def test_the_api_killed_again_and_again_loses_and_doubles_nothing(
    api: ApiProcess, books: Bank, rng: random.Random, is_full: bool
) -> None:
    """kill -9 at random moments under load: each reference has one answer and one effect, and
    each accepted transfer comes to its end."""
    load = await mixed_load(books, 1_500 if is_full else 300, rng)
    last_kill = len(load.bodies) * 9 // 10
    kills = sorted(rng.sample(range(1, last_kill), 8 if is_full else 3))
    await api.serve()
    async with httpx.AsyncClient(base_url=api.url, timeout=PATIENCE_S) as client:
        running = asyncio.create_task(load.run(client))
        for answers in kills:
            await load.until(answers)
            await api.kill()
            await api.serve()
        await running
        await at_rest(books)
        await assert_one_answer_each(client, load)
        records = [await ended(client, body) for body in load.bodies if is_accepted(load, body)]
    assert await moved_by_entries(books, load) == moved_by_records(records)


def is_accepted(load: Load, body: dict[str, str]) -> bool:
    """Whether a client was told that its transfer is booked or on its way."""
    return load.answers[body["reference"]].status_code in {200, 201, 202}


async def assert_one_answer_each(client: httpx.AsyncClient, load: Load) -> None:
    """The same request once more: the same transfer, or the same refusal."""
    for body in load.bodies:
        first = load.answers[body["reference"]]
        again = await client.post("/v1/transfers", json=body)
        if is_accepted(load, body):
            assert (200, first.json()["id"]) == (again.status_code, again.json()["id"])
            assert "in_transit" != again.json()["money_state"]
        else:
            assert 422 == again.status_code == first.status_code
            assert first.json()["code"] == again.json()["code"]


def moved_by_records(records: list[dict[str, Any]]) -> Counter[tuple[str, str, Decimal]]:
    """What each transfer must have booked: (account, reference, amount), as often as it must."""
    moved: Counter[tuple[str, str, Decimal]] = Counter()
    for told in records:
        amount, reference = Decimal(told["amount"]), told["reference"]
        moved[told["debtor_account"], reference, -amount] += 1
        payee = told["debtor_account" if told["money_state"] == "returned" else "creditor_account"]
        moved[payee, reference, amount] += 1
    return moved


async def moved_by_entries(books: Bank, load: Load) -> Counter[tuple[str, str, Decimal]]:
    """What stands in the entries of all accounts that were named, but for their opening."""
    sides = ("debtor_account", "creditor_account")
    references = {body["reference"] for body in load.bodies}
    moved: Counter[tuple[str, str, Decimal]] = Counter()
    for account in {body[side] for body in load.bodies for side in sides}:
        for line in await entries_of(books, int(account)):
            if line.reference in references:
                moved[account, line.reference, line.amount] += 1
    return moved
