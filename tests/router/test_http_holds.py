"""Holds, captures, reversals, legs and changes of accounts over HTTP, on a real bank."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from router.http.accounts_api import AccountObject
from router.http.app import create_app
from router.http.holds_api import CapturedObject, HoldObject
from router.http.transfer_shapes import TransferObject
from router.telemetry import Metrics
from router.wiring import Bank
from shard.ids import new_id
from tests.support.bank import account_no, open_account

END = "2090-01-01T00:00:00Z"
LONG_WAIT = {"Prefer": "wait=10"}


@pytest.fixture
async def client(bank: Bank) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(bank, Metrics()))
    async with httpx.AsyncClient(transport=transport, base_url="http://bank") as opened:
        yield opened


def _hold(account: int, amount: str = "30.00", **changes: Any) -> dict[str, Any]:
    asked = {"account": str(account), "amount": amount, "currency": "EUR", "expires_at": END}
    return {"reference": str(new_id()), **asked, **changes}


async def _held(client: httpx.AsyncClient, bank: Bank) -> str:
    """Hold 30 of 100 EUR back; the path of the hold."""
    account = await open_account(bank.shards[1], "100.00")
    response = await client.post("/v1/holds", json=_hold(account))
    assert 201 == response.status_code
    return response.headers["location"]


async def _figures(client: httpx.AsyncClient, account: int | str) -> tuple[str, str, str]:
    """Ledger, held and available."""
    told = (await client.get(f"/v1/accounts/{account}/balance")).json()
    return told["ledger"], told["held"], told["available"]


def _account_in(path: str) -> str:
    return path.split("/")[3]


def _said(response: httpx.Response) -> tuple[int, str | None]:
    """The status, and whether it is told as a replay."""
    return response.status_code, response.headers.get("idempotent-replayed")


async def test_a_hold_is_placed_and_found_at_its_location(
    client: httpx.AsyncClient, bank: Bank
) -> None:
    """201 with the whole hold; the balance counts it at once."""
    account = await open_account(bank.shards[1], "100.00")
    response = await client.post("/v1/holds", json=_hold(account, creditor_account="1000000001"))
    found = await client.get(response.headers["location"])
    told = HoldObject.model_validate_json(response.content)
    assert (201, response.json()) == (response.status_code, found.json())
    assert ("30.00", "0.00", "30.00", "pending", END, "1000000001") == (
        told.amount, told.captured, told.remaining, told.state, told.expires_at,
        told.creditor_account,
    )  # fmt: skip
    assert ("100.00", "30.00", "70.00") == await _figures(client, account)


async def test_a_repeated_hold_says_so(client: httpx.AsyncClient, bank: Bank) -> None:
    """200 and ``Idempotent-Replayed``; with another amount 422."""
    body = _hold(await open_account(bank.shards[1], "100.00"))
    first, again = [await client.post("/v1/holds", json=body) for _ in range(2)]
    other = await client.post("/v1/holds", json={**body, "amount": "31.00"})
    assert [(201, None), (200, "true")] == [_said(first), _said(again)]
    assert first.json() == again.json()
    assert (422, "REFERENCE_REUSED") == (other.status_code, other.json()["code"])


async def test_a_hold_without_funds_is_refused_and_replayed(
    client: httpx.AsyncClient, bank: Bank
) -> None:
    """422 both times; the second says that it is a replay."""
    body = _hold(await open_account(bank.shards[1], "29.99"))
    first, again = [await client.post("/v1/holds", json=body) for _ in range(2)]
    assert [(422, None), (422, "true")] == [_said(first), _said(again)]
    assert "INSUFFICIENT_FUNDS" == first.json()["code"]


async def test_a_hold_is_captured_in_parts_near_and_far(
    client: httpx.AsyncClient, bank: Bank
) -> None:
    """201 on one shard, 202 to another; each answers the payment and the hold after it."""
    path = await _held(client, bank)
    near, far = [await open_account(bank.shards[shard]) for shard in (1, 2)]
    part = {"reference": "PART-1", "creditor_account": str(near), "amount": "12.00"}
    first, again = [await client.post(f"{path}/capture", json=part) for _ in range(2)]
    rest = {"reference": "PART-2", "creditor_account": str(far)}
    last = await client.post(f"{path}/capture", json=rest)
    assert [(201, None), (200, "true"), (202, None)] == [
        _said(each) for each in (first, again, last)
    ]
    told = CapturedObject.model_validate_json(last.content)
    assert ("captured", "0.00") == (told.hold.state, told.hold.remaining)
    assert ("capture", "18.00", "in_transit") == (
        told.transfer.kind, told.transfer.amount, told.transfer.money_state
    )  # fmt: skip
    found = await client.get(last.headers["location"])
    assert told.transfer.id == found.json()["id"]
    assert ("70.00", "0.00", "70.00") == await _figures(client, _account_in(path))


async def test_a_hold_is_increased_and_voided(client: httpx.AsyncClient, bank: Bank) -> None:
    """Each answers the hold as it is afterwards; repeated, each says so."""
    path = await _held(client, bank)
    more = {"reference": "MORE-1", "amount": "5.00", "expires_at": "2091-01-01T00:00:00Z"}
    grown = [await client.post(f"{path}/increase", json=more) for _ in range(2)]
    gone = [await client.post(f"{path}/void", json={"reference": "VOID-1"}) for _ in range(2)]
    assert [(200, None), (200, "true")] * 2 == [_said(each) for each in grown + gone]
    assert ("35.00", "2091-01-01T00:00:00Z") == (
        grown[0].json()["remaining"],
        grown[0].json()["expires_at"],
    )
    assert ("voided", "0.00") == (gone[0].json()["state"], gone[0].json()["remaining"])
    assert ("100.00", "0.00", "100.00") == await _figures(client, _account_in(path))


@pytest.mark.parametrize("verb", ["capture", "increase", "void"])
async def test_a_hold_that_is_voided_can_do_nothing_more(
    client: httpx.AsyncClient, bank: Bank, verb: str
) -> None:
    """422 HOLD_NOT_OPEN, whatever is asked."""
    path = await _held(client, bank)
    await client.post(f"{path}/void", json={"reference": "VOID-1"})
    creditor = str(await open_account(bank.shards[1]))
    body = {
        "capture": {"creditor_account": creditor, "amount": "1.00"},
        "increase": {"amount": "1.00"},
        "void": {},
    }[verb]
    response = await client.post(f"{path}/{verb}", json={**body, "reference": "AGAIN"})
    assert (422, "HOLD_NOT_OPEN") == (response.status_code, response.json()["code"])


@pytest.mark.parametrize("verb", ["", "/capture", "/increase", "/void"])
async def test_an_unknown_hold_is_not_found(
    client: httpx.AsyncClient, bank: Bank, verb: str
) -> None:
    """404 for reading and for changing it."""
    account = await open_account(bank.shards[1], "100.00")
    path = f"/v1/holds/{account}/never{verb}"
    bodies = {
        "/capture": {"creditor_account": "1000000001", "amount": "1.00"},
        "/increase": {"amount": "1.00"},
        "/void": {},
    }
    if verb:
        response = await client.post(path, json={**bodies[verb], "reference": "R"})
    else:
        response = await client.get(path)
    assert (404, "NOT_FOUND") == (response.status_code, response.json()["code"])


async def test_a_transfer_is_taken_back_in_parts(client: httpx.AsyncClient, bank: Bank) -> None:
    """Each reversal has its location; more than was paid is refused."""
    debtor = await open_account(bank.shards[1], "100.00")
    creditor = await open_account(bank.shards[1])
    payment = {
        "reference": "PAY-1", "debtor_account": str(debtor), "creditor_account": str(creditor),
        "amount": "20.00", "currency": "EUR",
    }  # fmt: skip
    path = (await client.post("/v1/transfers", json=payment)).headers["location"]
    part = {"reference": "REV-1", "amount": "15.00"}
    first, again = [await client.post(f"{path}/reverse", json=part) for _ in range(2)]
    too_much = await client.post(f"{path}/reverse", json={"reference": "REV-2", "amount": "5.01"})
    rest = await client.post(f"{path}/reverse", json={"reference": "REV-3", "amount": "5.00"})
    assert [(201, None), (200, "true"), (422, None), (201, None)] == [
        _said(each) for each in (first, again, too_much, rest)
    ]
    assert "REVERSAL_EXCEEDED" == too_much.json()["code"]
    told = TransferObject.model_validate_json(first.content)
    assert ("reversal", str(creditor), str(debtor)) == (
        told.kind, told.debtor_account, told.creditor_account
    )  # fmt: skip
    assert first.json() == (await client.get(first.headers["location"])).json()
    assert ("100.00", "0.00", "100.00") == await _figures(client, debtor)


async def test_a_reversal_is_carried_between_shards(client: httpx.AsyncClient, bank: Bank) -> None:
    """202, and found delivered at its location in the end."""
    debtor = await open_account(bank.shards[1], "100.00")
    creditor = await open_account(bank.shards[2])
    payment = {
        "reference": "PAY-1", "debtor_account": str(debtor), "creditor_account": str(creditor),
        "amount": "20.00", "currency": "EUR",
    }  # fmt: skip
    paid = await client.post("/v1/transfers", json=payment, headers=LONG_WAIT)
    assert "delivered" == paid.json()["money_state"]
    response = await client.post(f"{paid.headers['location']}/reverse", json={"reference": "REV-1"})
    assert (202, "in_transit") == (response.status_code, response.json()["money_state"])
    record = await bank.reversals.get(debtor, "PAY-1", "REV-1")
    assert str(record.transfer_id) == response.json()["id"]


async def test_legs_are_told_as_they_were_asked(client: httpx.AsyncClient, bank: Bank) -> None:
    """One debtor, two creditors: 201, no single creditor, and every leg."""
    debtor, one, other = [await open_account(bank.shards[1], "100.00") for _ in "abc"]
    legs = [
        {"account": str(debtor), "amount": "-20.00"},
        {"account": str(one), "amount": "19.50"},
        {"account": str(other), "amount": "0.50"},
    ]
    body = {"reference": "LEGS-1", "legs": legs, "currency": "EUR"}
    response = await client.post("/v1/transfers", json=body)
    told = TransferObject.model_validate_json(response.content)
    assert (201, None, "20.00") == (response.status_code, told.creditor_account, told.amount)
    assert legs == response.json()["legs"]
    assert response.json() == (await client.get(response.headers["location"])).json()


async def test_legs_of_debtors_on_two_shards_are_refused(
    client: httpx.AsyncClient, bank: Bank
) -> None:
    """422 NOT_ONE_SHARD."""
    accounts = [await open_account(bank.shards[shard], "100.00") for shard in (1, 2, 1)]
    amounts = ("-10.00", "-10.00", "20.00")
    legs = [
        {"account": str(account), "amount": amount}
        for account, amount in zip(accounts, amounts, strict=True)
    ]
    body = {"reference": "LEGS-1", "legs": legs, "currency": "EUR"}
    response = await client.post("/v1/transfers", json=body)
    assert (422, "NOT_ONE_SHARD") == (response.status_code, response.json()["code"])


async def test_an_account_is_opened_with_minimum_and_metadata(client: httpx.AsyncClient) -> None:
    """It answers what was asked for, also when it is asked again."""
    body = {
        "customer": f"C-{new_id()}", "currency": "EUR", "reference": "OPEN-1",
        "minimum_balance": "25.00", "metadata": {"crm_id": "0042", "branch": "Köln"},
    }  # fmt: skip
    first, again = [await client.post("/v1/accounts", json=body) for _ in range(2)]
    told = AccountObject.model_validate_json(first.content)
    assert [(201, None), (200, "true")] == [_said(first), _said(again)]
    assert ("25.00", body["metadata"], None) == (
        told.minimum_balance, told.metadata, told.frozen_for
    )  # fmt: skip
    assert first.json() == again.json()
    other = await client.post("/v1/accounts", json={**body, "metadata": {"crm_id": "0043"}})
    assert (422, "REFERENCE_REUSED") == (other.status_code, other.json()["code"])


@pytest.mark.parametrize("limit", ["1.00", None])
async def test_a_minimum_excludes_an_overdraft(
    client: httpx.AsyncClient, limit: str | None
) -> None:
    """400, and the reference stays free for an opening that makes sense."""
    body = {
        "customer": f"C-{new_id()}", "currency": "EUR", "reference": "OPEN-1", "kind": "internal",
        "minimum_balance": "25.00", "overdraft_limit": limit,
    }  # fmt: skip
    refused = await client.post("/v1/accounts", json=body)
    assert (400, ["/minimum_balance"]) == (
        refused.status_code,
        [error["pointer"] for error in refused.json()["errors"]],
    )
    opened = await client.post("/v1/accounts", json={**body, "overdraft_limit": "0.00"})
    assert 201 == opened.status_code


async def test_what_a_frozen_account_still_does(client: httpx.AsyncClient, bank: Bank) -> None:
    """For debits it may be paid, for everything not; reopened it says nothing of either."""
    account, payer = [await open_account(bank.shards[1], "100.00") for _ in "ab"]
    path = f"/v1/accounts/{account}"

    async def paid(reference: str) -> int:
        body = {
            "reference": reference, "debtor_account": str(payer), "currency": "EUR",
            "creditor_account": str(account), "amount": "1.00",
        }  # fmt: skip
        return (await client.post("/v1/transfers", json=body)).status_code

    steps: list[tuple[dict[str, str], str | None, int]] = [
        ({"status": "frozen", "frozen_for": "debits"}, "debits", 201),
        ({"status": "frozen"}, "everything", 422),
        ({"status": "open"}, None, 201),
    ]
    for n, (body, frozen_for, status) in enumerate(steps):
        told = (await client.patch(path, json=body)).json()
        assert (body["status"], frozen_for) == (told["status"], told["frozen_for"])
        assert status == await paid(f"P-{n}")


async def test_limits_and_metadata_are_changed_together(
    client: httpx.AsyncClient, bank: Bank
) -> None:
    """What is not named stays; what is available follows at once."""
    account = await open_account(bank.shards[1], "100.00")
    path = f"/v1/accounts/{account}"
    await client.patch(path, json={"metadata": {"a": "1", "b": "2"}})
    changed = await client.patch(path, json={"overdraft_limit": "50.00", "metadata": {"c": "3"}})
    assert ("50.00", "0.00", {"c": "3"}, "open") == tuple(
        changed.json()[name]
        for name in ("overdraft_limit", "minimum_balance", "metadata", "status")
    )
    assert changed.json() == (await client.get(path)).json()
    assert ("100.00", "0.00", "150.00") == await _figures(client, account)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"minimum_balance": "100.01"}, 422, "INSUFFICIENT_FUNDS"),
        ({"minimum_balance": "10.00", "overdraft_limit": "10.00"}, 400, "MALFORMED"),
        ({"minimum_balance": "10.001"}, 400, "MALFORMED"),
        ({"status": "closed"}, 422, "BALANCE_NOT_ZERO"),
        ({"status": "closed", "metadata": {"a": "1"}}, 422, "BALANCE_NOT_ZERO"),
    ],
    ids=str,
)
async def test_a_change_that_cannot_be_is_refused_whole(
    client: httpx.AsyncClient, bank: Bank, body: dict[str, Any], status: int, code: str
) -> None:
    """The account stays as it was, in everything."""
    account = await open_account(bank.shards[1], "100.00")
    before = (await client.get(f"/v1/accounts/{account}")).json()
    response = await client.patch(f"/v1/accounts/{account}", json=body)
    assert (status, code) == (response.status_code, response.json()["code"])
    assert before == (await client.get(f"/v1/accounts/{account}")).json()


async def test_an_unknown_account_is_not_changed(client: httpx.AsyncClient) -> None:
    """404."""
    response = await client.patch(f"/v1/accounts/{account_no(1)}", json={"metadata": {}})
    assert (404, "NOT_FOUND") == (response.status_code, response.json()["code"])
