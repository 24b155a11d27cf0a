"""The bound on suspense: what leaves its shard is accepted up to it, and everything else always."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from deploy.embedded.ports import free_port
from router import payroll_posting
from router.errors import SuspenseFull
from router.holds import Capture, Placement
from router.http.app import create_app
from router.http.problems import Problem
from router.iso20022.demo_file import Party, Salary, write_payroll_file
from router.iso20022.iban import Iban
from router.reversals import ReversalRequest
from router.telemetry import Metrics
from router.transfer_requests import RequestedLeg, TransferRequest, request_of_legs
from router.transfers import Submitted
from router.wiring import Bank
from sagas.carriage import Carriage
from shard.commands import MoneyState
from shard.ids import new_id
from shard.suspense import Carrier
from tests.support.bank import at_rest, findings, open_account, settings_of
from tests.support.databases import Databases

ROOM = 3
LIMIT_S = 30.0
MANY = 100_000


@pytest.fixture
async def bank_alone(servers: Databases) -> AsyncIterator[Bank]:
    """A bank whose Temporal is away; in the end its money is delivered by hand."""
    nowhere = f"127.0.0.1:{free_port(frozenset())}"
    settings = settings_of(servers, temporal_address=nowhere, run_worker=False)
    async with Bank(settings) as opened:
        yield opened
        await deliver_all(opened)
        assert await findings(opened.shards) == []


async def deliver_all(bank: Bank) -> None:
    """What waits goes where it should, or back."""
    carriage = Carriage(bank.shards, bank.routes)
    for number, shard in bank.shards.items():
        while items := await shard.suspense.of_carrier(Carrier.CONVOY, MANY):
            for destination, group in (await carriage.by_destination(number, items)).items():
                await carriage.carry(number, destination, group, limit_s=LIMIT_S)


async def leave_room(bank: Bank, items: int = ROOM, shard: int = 1) -> None:
    """So many more amounts may be parked, besides what other tests left."""
    await bank.watch.look()
    bank.suspense.items_max = bank.suspense.known_items(shard) + items


@pytest.fixture
async def payer(bank_alone: Bank) -> int:
    """An account on shard 1 with 1000.00."""
    return await open_account(bank_alone.shards[1], "1000.00")


@pytest.fixture
async def neighbour(bank_alone: Bank) -> int:
    """An account beside it."""
    return await open_account(bank_alone.shards[1])


@pytest.fixture
async def stranger(bank_alone: Bank) -> int:
    """An account on shard 2."""
    return await open_account(bank_alone.shards[2], "100.00")


def payment(debtor: int, creditor: int) -> TransferRequest:
    """One of 1.00."""
    return TransferRequest(str(new_id()), debtor, creditor, Decimal(1), "EUR")


async def test_transfers_are_accepted_up_to_the_bound(
    bank_alone: Bank, payer: int, neighbour: int, stranger: int
) -> None:
    """Then those to other shards are refused, and those within the shard go on."""
    await leave_room(bank_alone)
    for _ in range(ROOM):
        await bank_alone.transfers.submit(payment(payer, stranger))
    with pytest.raises(SuspenseFull):
        await bank_alone.transfers.submit(payment(payer, stranger))
    await bank_alone.transfers.submit(payment(payer, neighbour))
    assert 1 == bank_alone.suspense.refused(1)
    balance = await bank_alone.accounts.balance(payer)
    assert (Decimal(1000 - ROOM - 1), Decimal(ROOM)) == (balance.ledger, balance.in_transit)


async def test_many_at_once_keep_the_bound(bank_alone: Bank, payer: int, stranger: int) -> None:
    """However many come at the same moment, no more are accepted than there is room for."""
    await leave_room(bank_alone)
    results = await asyncio.gather(
        *(bank_alone.transfers.submit(payment(payer, stranger)) for _ in range(10 * ROOM)),
        return_exceptions=True,
    )
    assert ROOM == sum(isinstance(each, Submitted) for each in results)
    assert 9 * ROOM == sum(isinstance(each, SuspenseFull) for each in results)


async def test_each_creditor_elsewhere_takes_up_room(
    bank_alone: Bank, payer: int, neighbour: int, stranger: int
) -> None:
    """A transfer is accepted as a whole or not at all; local legs take up none."""
    other = await open_account(bank_alone.shards[3])
    legs = [RequestedLeg(payer, Decimal(-3))]
    legs += [RequestedLeg(each, Decimal(1)) for each in (neighbour, stranger, other)]
    await leave_room(bank_alone, 3)
    await bank_alone.transfers.submit(request_of_legs(str(new_id()), legs, "EUR"))
    with pytest.raises(SuspenseFull):
        await bank_alone.transfers.submit(request_of_legs(str(new_id()), legs, "EUR"))
    await bank_alone.transfers.submit(payment(payer, stranger))


async def test_lines_of_a_bulk_are_told_one_by_one(
    bank_alone: Bank, payer: int, neighbour: int, stranger: int
) -> None:
    """Those that find no room are refused, and their neighbours booked."""
    await leave_room(bank_alone)
    lines = [payment(payer, stranger) for _ in range(2 * ROOM)]
    lines += [payment(payer, neighbour) for _ in range(ROOM)]
    results = await bank_alone.bulk.submit_many(lines)
    told = [
        each.record.money_state if isinstance(each, Submitted) else each.code for each in results
    ]
    parked, full, local = MoneyState.IN_TRANSIT, "SUSPENSE_FULL", MoneyState.POSTED
    assert [parked] * ROOM + [full] * ROOM + [local] * ROOM == told


async def test_a_capture_for_another_shard_is_refused(
    bank_alone: Bank, payer: int, neighbour: int, stranger: int
) -> None:
    """The hold stays as it is, and may be captured when there is room, or for a neighbour."""
    end = datetime.now(UTC) + timedelta(hours=1)
    await bank_alone.holds.place(Placement("H", payer, Decimal(10), "EUR", end))
    await leave_room(bank_alone, 0)
    with pytest.raises(SuspenseFull):
        await bank_alone.holds.capture(Capture("C-1", payer, "H", stranger, Decimal(4)))
    assert Decimal(10) == (await bank_alone.holds.get(payer, "H")).remaining
    await bank_alone.holds.capture(Capture("C-2", payer, "H", neighbour, Decimal(4)))
    await leave_room(bank_alone, 1)
    await bank_alone.holds.capture(Capture("C-1", payer, "H", stranger, Decimal(4)))
    assert Decimal(2) == (await bank_alone.holds.get(payer, "H")).remaining


async def test_a_reversal_that_sends_money_to_another_shard_is_refused(
    bank_alone: Bank, payer: int, stranger: int
) -> None:
    """It is the creditor's shard that has no room; the same reversal is accepted later."""
    submitted = await bank_alone.transfers.submit(payment(payer, stranger))
    await deliver_all(bank_alone)
    reversal = ReversalRequest(payer, submitted.record.reference, "R")
    await leave_room(bank_alone, 0, shard=2)
    with pytest.raises(SuspenseFull):
        await bank_alone.reversals.reverse(reversal)
    await leave_room(bank_alone, 1, shard=2)
    reversed_now = await bank_alone.reversals.reverse(reversal)
    assert MoneyState.IN_TRANSIT is reversed_now.record.money_state


async def test_what_takes_money_out_of_suspense_is_never_refused(
    bank_alone: Bank, payer: int, stranger: int
) -> None:
    """A recall, and the delivery of the return that follows from it."""
    submitted = await bank_alone.transfers.submit(payment(payer, stranger))
    bank_alone.suspense.items_max = 0
    reference = submitted.record.reference
    recalled = await bank_alone.reversals.reverse(ReversalRequest(payer, reference, "R"))
    await deliver_all(bank_alone)
    record = await bank_alone.transfers.get(payer, reference)
    assert not recalled.is_replay
    assert MoneyState.RETURNED is record.money_state
    assert Decimal(1000) == (await bank_alone.accounts.balance(payer)).ledger


async def test_what_was_delivered_makes_room_at_once(
    bank_alone: Bank, payer: int, stranger: int
) -> None:
    """A refusal brings the next count forward, so that nobody is refused for long."""
    await leave_room(bank_alone)
    for _ in range(ROOM):
        await bank_alone.transfers.submit(payment(payer, stranger))
    await deliver_all(bank_alone)
    request = payment(payer, stranger)
    async with asyncio.timeout(LIMIT_S):
        while not await accepted(bank_alone, request):  # noqa: ASYNC110 it is asked anew each time
            await asyncio.sleep(0.02)  # sleep: a client's pause before it repeats a request


async def accepted(bank: Bank, request: TransferRequest) -> bool:
    """Whether there was room."""
    try:
        await bank.transfers.submit(request)
    except SuspenseFull:
        return False
    return True


async def test_processes_share_the_bound(
    bank_alone: Bank, servers: Databases, payer: int, stranger: int
) -> None:
    """What one of them parked the others know from their next count on."""
    settings = bank_alone.settings.model_copy(update={"process_no": 1})
    async with Bank(settings) as other:
        await leave_room(bank_alone)
        other.suspense.items_max = bank_alone.suspense.items_max
        for _ in range(ROOM):
            await bank_alone.transfers.submit(payment(payer, stranger))
        await other.watch.look()
        with pytest.raises(SuspenseFull):
            await other.transfers.submit(payment(payer, stranger))


async def test_a_refusal_is_told_over_http(bank_alone: Bank, payer: int, stranger: int) -> None:
    """503 with Retry-After and a code of its own; the figures for it are scraped."""
    await leave_room(bank_alone, 0)
    transport = httpx.ASGITransport(create_app(bank_alone, Metrics()))
    body = {
        "reference": str(new_id()),
        "debtor_account": str(payer),
        "creditor_account": str(stranger),
        "amount": "1.00",
        "currency": "EUR",
    }
    async with httpx.AsyncClient(transport=transport, base_url="http://bank") as client:
        refused = await client.post("/v1/transfers", json=body)
        lines = (await client.get("/metrics")).text.splitlines()
    problem = Problem.model_validate_json(refused.content)
    assert (503, "1") == (refused.status_code, refused.headers["retry-after"])
    assert ("SUSPENSE_FULL", True) == (problem.code, problem.retryable)
    assert 'ledger_suspense_refused_total{shard="1"} 1.0' in lines


@pytest.fixture
def payroll_file(tmp_path: Path) -> Path:
    """Where the file of a test stands."""
    return tmp_path / "payroll.xml"


async def payday(bank: Bank, path: Path, employees: int) -> list[int]:
    """A file that pays so many employees on shard 2 1.00 each; their accounts."""
    employer = await open_account(bank.shards[1], "1000.00")
    paid = [await open_account(bank.shards[2]) for _ in range(employees)]
    salaries = [Salary(Party(no, "Employee"), Decimal("1.00")) for no in paid]
    on = date(2026, 11, 30)
    write_payroll_file(path, Party(employer, "Acme"), salaries, execution_date=on, ibans=Iban())
    return paid


async def test_a_payroll_waits_for_room(bank: Bank, payroll_file: Path) -> None:
    """Far more lines than the bound: each is paid once, and none is rejected."""
    employees = await payday(bank, payroll_file, 10 * ROOM)
    await leave_room(bank)
    result = await bank.payroll.submit(payroll_file, wait_s=60)
    assert {"ACSC": 10 * ROOM} == dict(result.statuses)
    assert 10 * ROOM == result.booked_now
    await at_rest(bank)
    assert {Decimal(1)} == {(await bank.accounts.balance(each)).ledger for each in employees}


async def test_a_payroll_does_not_wait_for_ever(
    bank_alone: Bank, payroll_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was paid stays paid; the file is submitted again when there is room."""
    employees = await payday(bank_alone, payroll_file, 2 * ROOM)
    await leave_room(bank_alone)
    with monkeypatch.context() as patch:
        patch.setattr(payroll_posting, "PAYROLL_ROOM_WAIT_S", 0.05)
        with pytest.raises(SuspenseFull):
            await bank_alone.payroll.submit(payroll_file, wait_s=0)
    await leave_room(bank_alone, 2 * ROOM)
    result = await bank_alone.payroll.submit(payroll_file, wait_s=0)
    assert ROOM == result.booked_now
    await deliver_all(bank_alone)
    assert {Decimal(1)} == {(await bank_alone.accounts.balance(each)).ledger for each in employees}
