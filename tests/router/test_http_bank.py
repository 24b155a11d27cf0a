"""The API over a real bank: what it answers is what the shards hold."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from decimal import Decimal
from typing import Any

import httpx
import pytest

from deploy.embedded.ports import free_port
from deploy.embedded.temporal import TemporalServer
from router.http.accounts_api import AccountObject
from router.http.app import create_app
from router.http.operations_api import ShardList
from router.http.reads_api import BalanceObject, EntryList
from router.http.server import serve
from router.http.transfer_shapes import TransferObject
from router.telemetry import Metrics
from router.wiring import Bank
from shard.account_numbers import suspense_account
from shard.ids import new_id
from tests.support.bank import Figures, account_no, figures, open_account, settings_of
from tests.support.databases import Databases

LONG_WAIT = {"Prefer": "wait=10"}


@pytest.fixture
async def client(bank: Bank) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(bank, Metrics()))
    async with httpx.AsyncClient(transport=transport, base_url="http://bank") as opened:
        yield opened


def _payment(debtor: int, creditor: int, amount: str = "20.00", **changes: Any) -> dict[str, Any]:
    return {
        "reference": str(new_id()),
        "debtor_account": str(debtor),
        "creditor_account": str(creditor),
        "amount": amount,
        "currency": "EUR",
        **changes,
    }


async def _opened(client: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    body = {"customer": f"C-{new_id()}", "currency": "EUR", "reference": "OPEN-1", **changes}
    response = await client.post("/v1/accounts", json=body)
    assert 201 == response.status_code
    told: dict[str, Any] = response.json()
    return told


async def _balance(client: httpx.AsyncClient, account: int) -> BalanceObject:
    response = await client.get(f"/v1/accounts/{account}/balance")
    return BalanceObject.model_validate_json(response.content)


async def test_a_local_transfer_moves_money_at_once(client: httpx.AsyncClient, bank: Bank) -> None:
    """201 means: debited and credited, and both sides show it."""
    debtor = await open_account(bank.shards[1], "100.00")
    creditor = await open_account(bank.shards[1])
    response = await client.post("/v1/transfers", json=_payment(debtor, creditor))
    told = TransferObject.model_validate_json(response.content)
    assert (201, "posted", None) == (response.status_code, told.money_state, told.workflow)
    assert ("80.00", "20.00") == (
        (await _balance(client, debtor)).ledger,
        (await _balance(client, creditor)).ledger,
    )


async def test_a_transfer_answers_the_same_object_always(
    client: httpx.AsyncClient, bank: Bank
) -> None:
    """POST, its replay and GET at ``Location`` tell one and the same transfer."""
    debtor = await open_account(bank.shards[1], "100.00")
    payment = _payment(debtor, await open_account(bank.shards[1]))
    posted = await client.post("/v1/transfers", json=payment)
    replayed = await client.post("/v1/transfers", json=payment)
    read = await client.get(posted.headers["location"])
    assert (201, 200, 200) == (posted.status_code, replayed.status_code, read.status_code)
    assert "true" == replayed.headers["idempotent-replayed"]
    assert posted.json() == replayed.json() == read.json()
    assert Figures(Decimal("80.0000"), 2) == await figures(bank.shards[1], debtor)


async def test_money_between_shards_arrives(client: httpx.AsyncClient, bank: Bank) -> None:
    """202 and a place to look; whoever looks there later finds it delivered by its convoy."""
    debtor = await open_account(bank.shards[1], "100.00")
    creditor = await open_account(bank.shards[2])
    payment = _payment(debtor, creditor)
    posted = await client.post("/v1/transfers", json=payment)
    assert (202, "in_transit") == (posted.status_code, posted.json()["money_state"])
    waited = await client.post("/v1/transfers", json=payment, headers=LONG_WAIT)
    told = TransferObject.model_validate_json(waited.content)
    assert ("delivered", "present", "wait=10") == (
        told.money_state,
        told.evidence_state,
        waited.headers["preference-applied"],
    )
    assert told.delivered_at is not None
    assert told.workflow is not None
    assert told.workflow.startswith("convoy/1/")
    assert told.workflow == posted.json()["workflow"]
    assert "20.00" == (await _balance(client, creditor)).ledger


async def test_a_client_that_waits_gets_the_end_at_once(
    client: httpx.AsyncClient, bank: Bank
) -> None:
    """With ``Prefer: wait`` the first answer is 201 and the money is there."""
    debtor = await open_account(bank.shards[1], "100.00")
    payment = _payment(debtor, await open_account(bank.shards[3]))
    response = await client.post("/v1/transfers", json=payment, headers=LONG_WAIT)
    assert (201, "delivered") == (response.status_code, response.json()["money_state"])


async def test_money_for_nobody_comes_back(client: httpx.AsyncClient, bank: Bank) -> None:
    """A refusal on the far side is no error of the request: the money returns, with its code."""
    debtor = await open_account(bank.shards[1], "100.00")
    payment = _payment(debtor, account_no(2))
    response = await client.post("/v1/transfers", json=payment, headers=LONG_WAIT)
    told = TransferObject.model_validate_json(response.content)
    assert (201, "accepted", "returned", "ACCOUNT_UNKNOWN") == (
        response.status_code,
        told.request_state,
        told.money_state,
        told.code,
    )
    assert "100.00" == (await _balance(client, debtor)).ledger


async def test_a_refusal_is_stored_and_replayed(client: httpx.AsyncClient, bank: Bank) -> None:
    """The same refused request is refused the same way, even when funds have come since."""
    debtor = await open_account(bank.shards[1], "10.00")
    funder = await open_account(bank.shards[1], "100.00")
    payment = _payment(debtor, funder)
    first = await client.post("/v1/transfers", json=payment)
    await client.post("/v1/transfers", json=_payment(funder, debtor, "50.00"))
    second = await client.post("/v1/transfers", json=payment)
    assert [(422, "INSUFFICIENT_FUNDS", None), (422, "INSUFFICIENT_FUNDS", "true")] == [
        (each.status_code, each.json()["code"], each.headers.get("idempotent-replayed"))
        for each in (first, second)
    ]
    read = await client.get(f"/v1/transfers/{debtor}/{payment['reference']}")
    told = TransferObject.model_validate_json(read.content)
    assert ("refused", "none", "INSUFFICIENT_FUNDS") == (
        told.request_state,
        told.money_state,
        told.code,
    )


async def test_a_reference_has_one_effect(client: httpx.AsyncClient, bank: Bank) -> None:
    """The same request 50 times at once: one 201, the others are replays, one debit."""
    debtor = await open_account(bank.shards[1], "100.00")
    payment = _payment(debtor, await open_account(bank.shards[1]))
    answers = await asyncio.gather(*(client.post("/v1/transfers", json=payment) for _ in range(50)))
    assert [200] * 49 + [201] == sorted(answer.status_code for answer in answers)
    assert 49 == sum("idempotent-replayed" in answer.headers for answer in answers)
    assert Figures(Decimal("80.0000"), 2) == await figures(bank.shards[1], debtor)


@pytest.mark.parametrize(
    "change",
    [{"amount": "20.01"}, {"narrative": "Other"}, {"value_date": "2026-11-24"}],
    ids=lambda change: next(iter(change)),
)
async def test_a_reference_is_not_used_for_two_requests(
    client: httpx.AsyncClient, bank: Bank, change: Mapping[str, str]
) -> None:
    """The same reference with another body: 422 REFERENCE_REUSED, and nothing moves."""
    debtor = await open_account(bank.shards[1], "100.00")
    payment = _payment(debtor, await open_account(bank.shards[1]))
    await client.post("/v1/transfers", json=payment)
    response = await client.post("/v1/transfers", json={**payment, **change})
    assert (422, "REFERENCE_REUSED") == (response.status_code, response.json()["code"])
    assert Figures(Decimal("80.0000"), 2) == await figures(bank.shards[1], debtor)


@pytest.mark.parametrize(
    ("case", "status", "code"),
    [
        ("too-much", 422, "INSUFFICIENT_FUNDS"),
        ("same-account", 400, "MALFORMED"),
        ("unknown-creditor", 422, "ACCOUNT_UNKNOWN"),
        ("creditor-outside-ranges", 422, "ACCOUNT_UNKNOWN"),
        ("system-creditor", 422, "SYSTEM_ACCOUNT"),
        ("frozen-creditor", 422, "ACCOUNT_FROZEN"),
        ("closed-creditor", 422, "ACCOUNT_CLOSED"),
        ("other-currency", 422, "CURRENCY_MISMATCH"),
        ("creditor-of-other-currency", 422, "CURRENCY_MISMATCH"),
    ],
)
async def test_a_bad_transfer_changes_nothing(
    client: httpx.AsyncClient, bank: Bank, case: str, status: int, code: str
) -> None:
    """Each refusal has its own code and leaves the debtor as it was."""
    shard = bank.shards[1]
    debtor = await open_account(shard, "100.00")
    payment = _payment(debtor, await _creditor_of(case, debtor, client, bank))
    if case == "too-much":
        payment["amount"] = "100.01"
    if case == "other-currency":
        payment["currency"] = "USD"
    response = await client.post("/v1/transfers", json=payment)
    assert (status, code) == (response.status_code, response.json()["code"])
    assert Figures(Decimal("100.0000"), 1) == await figures(shard, debtor)


async def _creditor_of(case: str, debtor: int, client: httpx.AsyncClient, bank: Bank) -> int:
    match case:
        case "same-account":
            return debtor
        case "unknown-creditor":
            return account_no(1)
        case "creditor-outside-ranges":
            return 10**17
        case "system-creditor":
            return suspense_account(1, "EUR")
        case "creditor-of-other-currency":
            return await open_account(bank.shards[1], currency="USD")
    creditor = await open_account(bank.shards[1])
    status = {"frozen-creditor": "frozen", "closed-creditor": "closed"}.get(case)
    if status:
        await client.patch(f"/v1/accounts/{creditor}", json={"status": status})
    return creditor


@pytest.mark.parametrize("account", ["1000000000000000", "99999", "1999999998"])
async def test_an_unknown_debtor_leaves_no_trace(client: httpx.AsyncClient, account: str) -> None:
    """Accounts in no range, of the machinery or not opened: refused, and not found afterwards."""
    payment = _payment(int(account), account_no(1))
    response = await client.post("/v1/transfers", json=payment)
    assert 422 == response.status_code
    read = await client.get(f"/v1/transfers/{account}/{payment['reference']}")
    assert (404, "application/problem+json") == (read.status_code, read.headers["content-type"])


async def test_opening_is_idempotent(client: httpx.AsyncClient) -> None:
    """The same opening twice: one account, 201 and then 200; another body is refused."""
    body = {"customer": f"C-{new_id()}", "currency": "EUR", "reference": "OPEN-1"}
    first = await client.post("/v1/accounts", json=body)
    second = await client.post("/v1/accounts", json=body)
    other = await client.post("/v1/accounts", json={**body, "currency": "USD"})
    AccountObject.model_validate_json(first.content)
    assert first.json() == second.json()
    assert (201, 200, 422, "REFERENCE_REUSED") == (
        first.status_code,
        second.status_code,
        other.status_code,
        other.json()["code"],
    )


async def test_accounts_of_one_customer_share_a_shard(client: httpx.AsyncClient) -> None:
    """The customer's home range decides where each of the accounts lives."""
    customer = f"C-{new_id()}"
    opened = [await _opened(client, customer=customer, reference=f"OPEN-{n}") for n in range(3)]
    assert 1 == len({each["shard"] for each in opened})
    assert 3 == len({each["account"] for each in opened})


async def test_an_account_is_frozen_reopened_and_closed(client: httpx.AsyncClient) -> None:
    """PATCH changes the status; the same status again changes nothing; closed is for ever."""
    account = (await _opened(client))["account"]
    statuses = ["frozen", "frozen", "open", "closed"]
    answers = [
        await client.patch(f"/v1/accounts/{account}", json={"status": status})
        for status in statuses
    ]
    again = await client.patch(f"/v1/accounts/{account}", json={"status": "open"})
    assert statuses == [answer.json()["status"] for answer in answers]
    assert (422, "ACCOUNT_CLOSED") == (again.status_code, again.json()["code"])


async def test_an_account_with_money_is_not_closed(client: httpx.AsyncClient, bank: Bank) -> None:
    """Closing needs a zero balance."""
    account = await open_account(bank.shards[1], "1.00")
    response = await client.patch(f"/v1/accounts/{account}", json={"status": "closed"})
    assert (422, "BALANCE_NOT_ZERO") == (response.status_code, response.json()["code"])


@pytest.mark.parametrize("path", ["", "/balance", "/entries"])
@pytest.mark.parametrize("account", ["1999999997", "1000000000000000"])
async def test_an_unknown_account_is_not_found(
    client: httpx.AsyncClient, account: str, path: str
) -> None:
    """Reading what does not exist: 404 as a problem."""
    response = await client.get(f"/v1/accounts/{account}{path}")
    assert (404, "application/problem+json") == (
        response.status_code,
        response.headers["content-type"],
    )


async def test_pages_of_entries_join_without_gap(client: httpx.AsyncClient, bank: Bank) -> None:
    """Following the cursor yields every entry once, in order, newest last."""
    debtor = await open_account(bank.shards[1], "100.00")
    creditor = await open_account(bank.shards[1])
    for _ in range(4):
        await client.post("/v1/transfers", json=_payment(debtor, creditor, narrative="Rent"))
    seqs, cursor = [], None
    while True:
        query = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        response = await client.get(f"/v1/accounts/{debtor}/entries", params=query)
        page = EntryList.model_validate_json(response.content)
        seqs += [entry.seq for entry in page.data]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert [1, 2, 3, 4, 5] == seqs
    last = page.data[-1]
    assert ("-20.00", "20.00", str(creditor), "Rent") == (
        last.amount,
        last.ledger_after,
        last.counterparty,
        last.narrative,
    )


async def test_dates_of_entries_are_half_open(client: httpx.AsyncClient, bank: Bank) -> None:
    """``from`` is inside, ``to`` is outside."""
    account = await open_account(bank.shards[1], "100.00")
    day = (await bank.shards[1].business_day.get()).isoformat()
    path = f"/v1/accounts/{account}/entries"
    inside = await client.get(path, params={"from": day})
    outside = await client.get(path, params={"to": day})
    assert (1, 0) == (len(inside.json()["data"]), len(outside.json()["data"]))


async def test_a_made_up_cursor_is_refused(client: httpx.AsyncClient, bank: Bank) -> None:
    """A cursor is opaque: one that was not given out is malformed."""
    account = await open_account(bank.shards[1])
    response = await client.get(f"/v1/accounts/{account}/entries?cursor=nonsense")
    assert (400, "MALFORMED") == (response.status_code, response.json()["code"])


async def test_shards_health_and_metrics_of_a_real_bank(
    client: httpx.AsyncClient, bank: Bank
) -> None:
    """All shards serve, everything answers, and the gauges are there."""
    shards = ShardList.model_validate_json((await client.get("/v1/shards")).content)
    assert {"serving"} == {each.state for each in shards.data}
    assert all(each.ranges for each in shards.data)
    ready = await client.get("/readyz?verbose")
    assert {"shard-1", "shard-2", "shard-3", "directory", "temporal"} == set(ready.json()["checks"])
    await bank.watch.look()
    lines = (await client.get("/metrics")).text.splitlines()
    for line in ("ledger_temporal_up 1.0", 'ledger_shard_up{shard="3"} 1.0'):
        assert line in lines


async def test_a_dead_shard_stops_only_its_ranges(servers: Databases) -> None:
    """Its accounts answer 503 with Retry-After; everybody else is served and the API is ready."""
    nowhere = f"host=127.0.0.1 port={free_port(frozenset())} dbname=ledger"
    dsns = {**servers.shard_dsns, 3: nowhere}
    async with Bank(settings_of(servers, shard_dsns=dsns, run_worker=False)) as bank:
        debtor, creditor = await open_account(bank.shards[1], "100.00"), account_no(3)
        transport = httpx.ASGITransport(create_app(bank, Metrics()))
        async with httpx.AsyncClient(transport=transport, base_url="http://bank") as client:
            other = await open_account(bank.shards[1])
            served = await client.post("/v1/transfers", json=_payment(debtor, other))
            dead = await client.post("/v1/transfers", json=_payment(creditor, debtor))
            ready = await client.get("/readyz?verbose")
            listed = (await client.get("/v1/shards")).json()["data"]
    assert (201, 503, "SHARD_UNAVAILABLE", True, "1") == (
        served.status_code,
        dead.status_code,
        dead.json()["code"],
        dead.json()["retryable"],
        dead.headers["retry-after"],
    )
    assert "127.0.0.1" not in dead.text
    assert (200, "not answering") == (ready.status_code, ready.json()["checks"]["shard-3"])
    assert ["serving", "serving", "unavailable"] == [each["state"] for each in listed]


async def test_a_signal_ends_serving_in_order(servers: Databases, temporal: TemporalServer) -> None:
    """SIGTERM: ``serve`` returns after closing the bank, and the process is still there."""
    started: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    settings = settings_of(servers, temporal, run_worker=False)
    serving = asyncio.create_task(serve(settings, on_start=started.set_result))
    async with httpx.AsyncClient(base_url=await started) as client:
        alive = await client.get("/livez")
        os.kill(os.getpid(), signal.SIGTERM)
        await serving
        with pytest.raises(httpx.ConnectError):
            await client.get("/livez")
    assert 200 == alive.status_code
