"""The shapes of answers: statuses, headers, states and money, over a scripted bank."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date
from decimal import Decimal
from typing import Any

import httpx
import pytest

from router.accounts import Opening
from router.http.accounts_api import AccountObject
from router.http.operations_api import ShardList
from router.http.reads_api import BalanceObject, EntryList
from router.http.transfer_shapes import TransferObject
from router.limits import PREFER_WAIT_MAX_S
from router.transfer_requests import TransferRequest
from shard.accounts import AccountKind
from shard.commands import MoneyState
from shard.errors import ShardUnavailable
from shard.limits import PAGE_ROWS_DEFAULT
from shard.outcomes import Outcome
from tests.support.scripted_bank import CONVOY_ID, ScriptedBank, http_client

TRANSFER = {
    "reference": "PAY-17",
    "debtor_account": "2000000123",
    "creditor_account": "3000000456",
    "amount": "20.00",
    "currency": "EUR",
}
OPENING = {"customer": "C-000123", "currency": "EUR", "reference": "OPEN-1"}
ONE_TRANSFER = "/v1/transfers/2000000123/PAY-17"


@pytest.fixture
def bank() -> ScriptedBank:
    return ScriptedBank()


@pytest.fixture
async def client(bank: ScriptedBank) -> AsyncIterator[httpx.AsyncClient]:
    async with http_client(bank) as opened:
        yield opened


async def test_a_local_transfer_is_created(client: httpx.AsyncClient) -> None:
    """All local and booked: 201 with exactly the members of the API's shape."""
    response = await client.post("/v1/transfers", json=TRANSFER)
    assert (201, ONE_TRANSFER) == (response.status_code, response.headers["location"])
    assert {
        "id": "0193a4f2-7c1e-7000-8000-000000000001",
        "reference": "PAY-17",
        "kind": "ordinary",
        "debtor_account": "2000000123",
        "creditor_account": "3000000456",
        "legs": None,
        "amount": "20.00",
        "currency": "EUR",
        "request_state": "accepted",
        "money_state": "posted",
        "evidence_state": "present",
        "code": None,
        "business_date": "2026-11-21",
        "value_date": "2026-11-21",
        "posted_at": "2026-11-21T09:30:00.123456Z",
        "delivered_at": None,
        "workflow": None,
    } == response.json()


async def test_money_in_transit_is_accepted(client: httpx.AsyncClient, bank: ScriptedBank) -> None:
    """Money between shards: 202, where to look, and which workflow carries it."""
    bank.transfers.money_state = MoneyState.IN_TRANSIT
    response = await client.post("/v1/transfers", json=TRANSFER)
    told = response.json()
    assert (202, ONE_TRANSFER) == (response.status_code, response.headers["location"])
    assert ("in_transit", "pending", f"convoy/2/{CONVOY_ID}") == (
        told["money_state"],
        told["evidence_state"],
        told["workflow"],
    )


async def test_the_use_case_gets_what_was_sent(
    client: httpx.AsyncClient, bank: ScriptedBank
) -> None:
    """Strings of the wire become numbers, decimals and dates without a float between."""
    body = {**TRANSFER, "amount": "99999999999999.99", "narrative": "Rent é", "value_date": None}
    await client.post("/v1/transfers", json={**body, "value_date": "2026-11-23"})
    assert [
        TransferRequest(
            reference="PAY-17",
            debtor=2_000_000_123,
            creditor=3_000_000_456,
            amount=Decimal("99999999999999.99"),
            currency="EUR",
            narrative="Rent é",
            value_date=date(2026, 11, 23),
        )
    ] == bank.transfers.asked


async def test_amounts_have_the_decimals_of_their_currency(client: httpx.AsyncClient) -> None:
    """Money is written with exactly the decimals of ISO 4217."""
    pairs = [("20", "EUR", "20.00"), ("20", "JPY", "20"), ("1.5", "BHD", "1.500")]
    for sent, currency, written in pairs:
        body = {**TRANSFER, "amount": sent, "currency": currency}
        response = await client.post("/v1/transfers", json=body)
        assert written == response.json()["amount"]


@pytest.mark.parametrize("key", ["PAY-17", '"PAY-17"'])
@pytest.mark.parametrize("in_body", [None, "PAY-17"])
async def test_the_idempotency_key_is_the_reference(
    client: httpx.AsyncClient, bank: ScriptedBank, key: str, in_body: str | None
) -> None:
    """The header, bare or as a structured string, names the transfer; the body may agree."""
    headers = {"Idempotency-Key": key}
    await client.post("/v1/transfers", json={**TRANSFER, "reference": in_body}, headers=headers)
    assert ["PAY-17"] == [request.reference for request in bank.transfers.asked]


async def test_a_replay_is_marked(client: httpx.AsyncClient, bank: ScriptedBank) -> None:
    """A known reference: 200, the transfer as it stands now, and the header that says so."""
    bank.transfers.is_replay = True
    bank.transfers.money_state = MoneyState.IN_TRANSIT
    response = await client.post("/v1/transfers", json=TRANSFER)
    assert (200, "true") == (response.status_code, response.headers["idempotent-replayed"])


async def test_a_new_transfer_is_not_marked_as_replayed(client: httpx.AsyncClient) -> None:
    """The header stands on replays only."""
    response = await client.post("/v1/transfers", json=TRANSFER)
    assert "idempotent-replayed" not in response.headers


@pytest.mark.parametrize(
    ("prefer", "waited"),
    [
        ("wait=2", [2]),
        ("respond-async, WAIT=3", [3]),
        ('wait="4"; foo=bar', [4]),
        ("wait=0", [0]),
        ("wait=99999", [PREFER_WAIT_MAX_S]),
        ("wait=" + "9" * 5000, [PREFER_WAIT_MAX_S]),
        ("wait=-1", []),
        ("wait=soon", []),
        ("wait=1.5", []),
        ("return=minimal", []),
    ],
)
async def test_a_client_may_wait(
    client: httpx.AsyncClient, bank: ScriptedBank, prefer: str, waited: list[int]
) -> None:
    """``Prefer: wait=N`` waits N seconds within a bound and says so; the unreadable is ignored."""
    bank.transfers.money_state = MoneyState.IN_TRANSIT
    response = await client.post("/v1/transfers", json=TRANSFER, headers={"Prefer": prefer})
    applied = response.headers.get("preference-applied")
    assert waited == bank.transfers.waited_s
    assert (f"wait={waited[0]}" if waited else None) == applied


@pytest.mark.parametrize(
    ("after", "status", "evidence"),
    [
        (MoneyState.DELIVERED, 201, "present"),
        (MoneyState.RETURNED, 201, "present"),
        (MoneyState.IN_TRANSIT, 202, "pending"),
        (MoneyState.NEEDS_REPAIR, 201, "pending"),
    ],
)
async def test_the_answer_is_the_end_that_was_waited_for(
    client: httpx.AsyncClient,
    bank: ScriptedBank,
    after: MoneyState,
    status: int,
    evidence: str,
) -> None:
    """After waiting the status and states are those of the end, or 202 if there is none yet."""
    bank.transfers.money_state = MoneyState.IN_TRANSIT
    bank.transfers.after_wait = after
    response = await client.post("/v1/transfers", json=TRANSFER, headers={"Prefer": "wait=2"})
    told = response.json()
    assert (status, after, evidence) == (
        response.status_code,
        told["money_state"],
        told["evidence_state"],
    )


async def test_accepted_money_is_never_answered_with_an_error(
    client: httpx.AsyncClient, bank: ScriptedBank
) -> None:
    """When waiting breaks off, the answer is still that the transfer was accepted."""
    bank.transfers.money_state = MoneyState.IN_TRANSIT
    bank.transfers.wait_fails = ShardUnavailable()
    response = await client.post("/v1/transfers", json=TRANSFER, headers={"Prefer": "wait=2"})
    assert (202, "in_transit") == (response.status_code, response.json()["money_state"])


@pytest.mark.parametrize(
    ("outcome", "money_state", "return_code", "told"),
    [
        (Outcome.POSTED, MoneyState.DELIVERED, None, ("accepted", "delivered", None)),
        (
            Outcome.POSTED,
            MoneyState.RETURNED,
            Outcome.ACCOUNT_CLOSED,
            ("accepted", "returned", "ACCOUNT_CLOSED"),
        ),
        (
            Outcome.INSUFFICIENT_FUNDS,
            MoneyState.NONE,
            None,
            ("refused", "none", "INSUFFICIENT_FUNDS"),
        ),
    ],
)
async def test_a_transfer_is_read_back(
    client: httpx.AsyncClient,
    bank: ScriptedBank,
    outcome: Outcome,
    money_state: MoneyState,
    return_code: Outcome | None,
    told: tuple[str, str, str | None],
) -> None:
    """GET answers the same object always, a stored refusal included."""
    bank.transfers.outcome = outcome
    bank.transfers.money_state = money_state
    bank.transfers.return_code = return_code
    response = await client.get(ONE_TRANSFER)
    found = TransferObject.model_validate_json(response.content)
    assert told == (found.request_state, found.money_state, found.code)
    assert (found.posted_at is None) == (found.request_state == "refused")


async def test_an_account_is_opened(client: httpx.AsyncClient, bank: ScriptedBank) -> None:
    """A new account: 201, its location, its shape; the use case got the defaults."""
    response = await client.post("/v1/accounts", json=OPENING)
    assert (201, "/v1/accounts/2000000123") == (response.status_code, response.headers["location"])
    assert {
        "account": "2000000123",
        "customer": "C-000123",
        "currency": "EUR",
        "kind": "customer",
        "status": "open",
        "frozen_for": None,
        "overdraft_limit": "0.00",
        "minimum_balance": "0.00",
        "metadata": {},
        "shard": 2,
        "opened_on": "2026-11-21",
    } == response.json()
    assert [
        Opening("C-000123", "OPEN-1", "EUR", overdraft_limit=Decimal(0))
    ] == bank.accounts.opened


async def test_an_opening_passes_everything_on(
    client: httpx.AsyncClient, bank: ScriptedBank
) -> None:
    """Kind, name, limit (null: no floor) and the number asked for reach the use case."""
    wanted: dict[str, Any] = {"kind": "equity", "name": "Capital", "overdraft_limit": None}
    await client.post("/v1/accounts", json={**OPENING, **wanted, "account": "2000000123"})
    assert [
        Opening(
            customer="C-000123",
            reference="OPEN-1",
            currency="EUR",
            kind=AccountKind.EQUITY,
            name="Capital",
            overdraft_limit=None,
            account_no=2_000_000_123,
        )
    ] == bank.accounts.opened


async def test_an_account_opened_before_is_a_replay(
    client: httpx.AsyncClient, bank: ScriptedBank
) -> None:
    """The same opening again: 200 and marked."""
    bank.accounts.is_new = False
    response = await client.post("/v1/accounts", json=OPENING)
    assert (200, "true") == (response.status_code, response.headers["idempotent-replayed"])


async def test_a_balance_has_four_figures(client: httpx.AsyncClient) -> None:
    """Ledger, held, available and in transit, with the position they belong to."""
    response = await client.get("/v1/accounts/2000000123/balance")
    assert {
        "account": "2000000123",
        "currency": "EUR",
        "ledger": "980.00",
        "held": "30.00",
        "available": "950.00",
        "in_transit": "20.00",
        "seq": 41,
        "as_of": "2026-11-21T09:30:00.123456Z",
    } == response.json()


async def test_entries_come_in_pages(client: httpx.AsyncClient, bank: ScriptedBank) -> None:
    """The query reaches the use case with its defaults, and the page names the next one."""
    response = await client.get("/v1/accounts/2000000123/entries?from=2026-11-01&to=2026-12-01")
    page = EntryList.model_validate_json(response.content)
    assert ("next", ["-20.00"]) == (page.next_cursor, [entry.amount for entry in page.data])
    assert [
        {
            "account_no": 2_000_000_123,
            "from_date": date(2026, 11, 1),
            "to_date": date(2026, 12, 1),
            "cursor": None,
            "limit": PAGE_ROWS_DEFAULT,
        }
    ] == bank.accounts.asked


async def test_documented_shapes_are_the_answered_ones(client: httpx.AsyncClient) -> None:
    """What is answered fits the models of the OpenAPI document, which allow nothing else."""
    account = await client.get("/v1/accounts/2000000123")
    balance = await client.get("/v1/accounts/2000000123/balance")
    shards = await client.get("/v1/shards")
    AccountObject.model_validate_json(account.content)
    BalanceObject.model_validate_json(balance.content)
    ShardList.model_validate_json(shards.content)
