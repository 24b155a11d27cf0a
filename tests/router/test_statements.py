"""Statements and balances of the past over a real bank: every form tells what the shard holds."""

from __future__ import annotations

import asyncio
import csv
import io
import tracemalloc
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import httpx
import pytest
from lxml import etree

from router.http import reads_api
from router.http.app import create_app
from router.http.reads_api import BalanceObject, StatementObject
from router.iso20022.camt053 import NAMESPACE
from router.statements import StatementFormat
from router.telemetry import Metrics
from router.wiring import Bank
from shard.account_numbers import suspense_account
from shard.statements import StatementBroken
from tests.support.bank import hold, open_account, settings_of, transfer
from tests.support.databases import Databases
from tests.support.interleaving import holder

NO_TEMPORAL = "127.0.0.1:1"
MANY = 3_000
_CENT = "UPDATE ledger.entry SET amount = amount + %s WHERE account_no = %s AND seq = 3"


@pytest.fixture
async def bank(servers: Databases) -> AsyncIterator[Bank]:
    """A bank without Temporal: reading needs none."""
    async with Bank(settings_of(servers, temporal_address=NO_TEMPORAL)) as opened:
        yield opened


@pytest.fixture
async def client(bank: Bank) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(bank, Metrics()))
    async with httpx.AsyncClient(transport=transport, base_url="http://bank") as opened:
        yield opened


async def _busy_account(bank: Bank, count: int = 5, *, buckets: int = 1) -> int:
    """An account that received 1.00, 2.00 and so on."""
    shard = bank.shards[1]
    account = await open_account(shard, buckets=buckets)
    equity = await open_account(shard, limit=None)
    commands = [
        transfer(equity, account, f"{n}.00", narrative="Wages") for n in range(1, count + 1)
    ]
    await shard.lanes.post_many(commands)
    return account


async def _get(client: httpx.AsyncClient, account: int, **query: str) -> httpx.Response:
    return await client.get(f"/v1/accounts/{account}/statement", params=query)


def _xml_figures(content: bytes) -> tuple[list[str], list[str]]:
    """Balances and booked amounts of a camt.053, as they are written."""
    root = etree.fromstring(content)

    def amounts(name: str) -> list[str]:
        return [str(e.text) for e in root.iterfind(f".//{{{NAMESPACE}}}{name}/{{{NAMESPACE}}}Amt")]

    return amounts("Bal"), amounts("Ntry")


@pytest.mark.parametrize("buckets", [1, 3])
async def test_every_form_tells_the_same_figures(
    client: httpx.AsyncClient, bank: Bank, buckets: int
) -> None:
    """Balances and bookings agree between JSON, CSV and camt.053, and with the entries."""
    account = await _busy_account(bank, buckets=buckets)
    told = StatementObject.model_validate_json((await _get(client, account)).content)
    table = (await _get(client, account, format="csv")).text
    opening, *rows, closing = csv.DictReader(io.StringIO(table, newline=""))
    balances, booked = _xml_figures((await _get(client, account, format="camt.053")).content)
    entries = (await client.get(f"/v1/accounts/{account}/entries")).json()["data"]

    amounts = [entry.amount for entry in told.entries]
    assert amounts == [row["amount"] for row in rows] == booked
    assert amounts == [entry["amount"] for entry in entries]
    assert ["0.00", "15.00", "15.00"] == balances
    assert ("0.00", "15.00") == (opening["balance_after"], closing["balance_after"])
    assert ("0.00", "15.00", "15.00", 5) == (
        told.opening_balance,
        told.closing_balance,
        told.closing_available,
        told.entry_count,
    )
    balance = (await client.get(f"/v1/accounts/{account}/balance")).json()
    assert (balance["ledger"], balance["seq"]) == (told.closing_balance, told.seq)


async def test_holds_are_in_no_statement(client: httpx.AsyncClient, bank: Bank) -> None:
    """An amount that is held lowers what is available, and is no booking."""
    account = await open_account(bank.shards[1], "10.00")
    await bank.shards[1].lanes.post(hold(account, "4.00"))
    told = StatementObject.model_validate_json((await _get(client, account)).content)

    assert ("10.00", "6.00", 1, 2) == (
        told.closing_balance,
        told.closing_available,
        told.entry_count,
        told.seq,
    )


async def test_a_large_statement_is_whole_while_entries_arrive(
    client: httpx.AsyncClient, bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Streamed in many pieces beside postings, opening plus bookings is the closing balance."""
    monkeypatch.setattr(reads_api, "STATEMENT_BUFFER_BYTES", 1_000)
    account = await _busy_account(bank, MANY, buckets=2)
    equity = await open_account(bank.shards[1], limit=None)

    async def keep_posting() -> None:
        for _ in range(20):
            commands = [transfer(equity, account, "1.00") for _ in range(50)]
            await bank.shards[1].lanes.post_many(commands)

    posting = asyncio.create_task(keep_posting())
    told = StatementObject.model_validate_json((await _get(client, account)).content)
    await posting

    running = [Decimal(entry.balance_after) for entry in told.entries]
    amounts = [Decimal(entry.amount) for entry in told.entries]
    assert sum(amounts) == running[-1] == Decimal(told.closing_balance)
    assert MANY <= told.entry_count == len(amounts)


@pytest.mark.parametrize("form", StatementFormat)
async def test_memory_does_not_grow_with_a_statement(bank: Bank, form: StatementFormat) -> None:
    """Ten times the bookings need no more memory while they are written."""
    peaks = []
    for count in (MANY // 10 * 5, MANY // 10 * 50):
        account = await _busy_account(bank, count)
        statement = await bank.statements.open(account)
        tracemalloc.start()
        size = 0
        async for piece in statement.written(form):
            size += len(piece)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert size > 150 * count

    assert peaks[1] < 1.5 * peaks[0]


async def test_a_statement_that_does_not_add_up_is_not_sent(
    client: httpx.AsyncClient, bank: Bank, servers: Databases
) -> None:
    """A cent that was planted in an entry is noticed, and the answer is a fault of ours."""
    account = await _busy_account(bank)
    async with holder(servers.shard_owner_dsns[1]) as held:
        await held.execute(_CENT, (Decimal("0.01"), account))
        await held.commit()
        response = await _get(client, account)
        with pytest.raises(StatementBroken):
            async for _ in (await bank.statements.open(account)).chunks():
                pass
        await held.execute(_CENT, (Decimal("-0.01"), account))
        await held.commit()

    assert (500, "INTERNAL") == (response.status_code, response.json()["code"])


@pytest.mark.parametrize("path", ["statement", "balance?as_of=2026-11-23"])
@pytest.mark.parametrize("account", ["1999999997", "1000000000000000"])
async def test_an_unknown_account_has_no_past(
    client: httpx.AsyncClient, account: str, path: str
) -> None:
    """404 as a problem."""
    response = await client.get(f"/v1/accounts/{account}/{path}")
    assert (404, "application/problem+json") == (
        response.status_code,
        response.headers["content-type"],
    )


async def test_a_balance_of_the_past_is_answered(client: httpx.AsyncClient, bank: Bank) -> None:
    """As of a time, of a business date, and of now: each says what it is as of."""
    account = await open_account(bank.shards[1])
    equity = await open_account(bank.shards[1], limit=None)
    first = await bank.shards[1].lanes.post(transfer(equity, account, "1.00"))
    await bank.shards[1].lanes.post(transfer(equity, account, "2.00"))
    today = await bank.shards[1].business_day.get()
    assert first.posted_at is not None
    at = first.posted_at.isoformat().replace("+00:00", "Z")
    told = []
    for as_of in (at, today.isoformat()):
        response = await client.get(f"/v1/accounts/{account}/balance", params={"as_of": as_of})
        told.append(BalanceObject.model_validate_json(response.content))

    assert [("1.00", 1, at), ("3.00", 2, today.isoformat())] == [
        (balance.ledger, balance.seq, balance.as_of) for balance in told
    ]


async def test_what_has_no_balance_is_told_apart(client: httpx.AsyncClient, bank: Bank) -> None:
    """Before its opening an account is not found; the future is malformed."""
    account = await open_account(bank.shards[1])
    today = await bank.shards[1].business_day.get()
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    answers = [
        await client.get(f"/v1/accounts/{account}/balance", params={"as_of": as_of})
        for as_of in (
            "2000-01-01",
            "2000-01-01T00:00:00Z",
            (today + timedelta(days=1)).isoformat(),
            tomorrow.isoformat(),
        )
    ]

    assert [404, 404, 400, 400] == [answer.status_code for answer in answers]
    assert "The account was not open yet at 2000-01-01." == answers[0].json()["detail"]


async def test_a_statement_in_the_future_is_malformed(
    client: httpx.AsyncClient, bank: Bank
) -> None:
    """A period that has not begun: 400."""
    account = await open_account(bank.shards[1])
    today = await bank.shards[1].business_day.get()
    response = await _get(client, account, **{"from": (today + timedelta(days=1)).isoformat()})

    assert (400, "MALFORMED") == (response.status_code, response.json()["code"])


async def test_a_system_account_has_a_statement(client: httpx.AsyncClient) -> None:
    """Sixteen buckets are one statement, with a position that is a vector."""
    told = StatementObject.model_validate_json(
        (await _get(client, suspense_account(1, "EUR"))).content
    )

    assert 16 == len(str(told.seq).split(","))
    assert told.closing_available is None
