"""What HTTP makes of openings and changes of accounts, before any shard is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from decimal import Decimal
from typing import Any

import httpx
import pytest

from router.accounts import Opening
from shard.accounts import AccountChange, AccountStatus
from tests.support.scripted_bank import ScriptedBank, http_client

ACCOUNT = "/v1/accounts/2000000123"
OPENING = {"customer": "C-1", "currency": "EUR", "reference": "O-1"}
TOO_MANY = {f"key-{n}": "v" for n in range(21)}


@pytest.fixture
def bank() -> ScriptedBank:
    return ScriptedBank()


@pytest.fixture
async def client(bank: ScriptedBank) -> AsyncIterator[httpx.AsyncClient]:
    async with http_client(bank) as opened:
        yield opened


def _pointers(response: httpx.Response) -> list[str]:
    return [error["pointer"] for error in response.json()["errors"]]


@pytest.mark.parametrize(
    ("body", "change"),
    [
        ({"status": "open"}, AccountChange(status=AccountStatus.OPEN)),
        (
            {"status": "frozen"},
            AccountChange(status=AccountStatus.FROZEN, credits_when_frozen=False),
        ),
        (
            {"status": "frozen", "frozen_for": "everything"},
            AccountChange(status=AccountStatus.FROZEN, credits_when_frozen=False),
        ),
        (
            {"status": "frozen", "frozen_for": "debits"},
            AccountChange(status=AccountStatus.FROZEN, credits_when_frozen=True),
        ),
        ({"overdraft_limit": "500.00"}, AccountChange(overdraft_limit=Decimal(500))),
        ({"overdraft_limit": "0"}, AccountChange(overdraft_limit=Decimal(0))),
        ({"minimum_balance": "25.00"}, AccountChange(minimum_balance=Decimal(25))),
        ({"metadata": {}}, AccountChange(metadata={})),
        ({"metadata": {"a": ""}}, AccountChange(metadata={"a": ""})),
    ],
    ids=str,
)
async def test_a_change_asks_for_what_it_says_and_nothing_else(
    client: httpx.AsyncClient, bank: ScriptedBank, body: Mapping[str, Any], change: AccountChange
) -> None:
    """What is left out stays as it is; frozen means for everything unless it says otherwise."""
    response = await client.patch(ACCOUNT, json=body)
    assert 200 == response.status_code
    assert [change] == [asked["change"] for asked in bank.accounts.asked]


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, [""]),
        ({"reason": "because"}, [""]),
        ({"status": None}, ["/status"]),
        ({"metadata": None, "overdraft_limit": None}, ["/metadata", "/overdraft_limit"]),
        ({"frozen_for": "debits"}, ["/frozen_for"]),
        ({"status": "open", "frozen_for": "debits"}, ["/frozen_for"]),
        ({"status": "frozen", "frozen_for": "credits"}, ["/frozen_for"]),
        ({"status": "frozen", "frozen_for": None}, ["/frozen_for"]),
        ({"overdraft_limit": "-1.00"}, ["/overdraft_limit"]),
        ({"overdraft_limit": 5}, ["/overdraft_limit"]),
        ({"minimum_balance": "1.00001"}, ["/minimum_balance"]),
        ({"minimum_balance": "1e3"}, ["/minimum_balance"]),
        ({"metadata": []}, ["/metadata"]),
        ({"metadata": {"a": 1}}, ["/metadata/a"]),
        ({"metadata": {"a": "v" * 257}}, ["/metadata/a"]),
        ({"metadata": {"a": "\u0000"}}, ["/metadata/a"]),
        ({"metadata": TOO_MANY}, ["/metadata"]),
        ({"kind": "equity"}, ["/kind"]),
    ],
    ids=str,
)
async def test_a_change_that_makes_no_sense_changes_nothing(
    client: httpx.AsyncClient, bank: ScriptedBank, body: Mapping[str, Any], pointers: list[str]
) -> None:
    """400, and every wrong place is named."""
    response = await client.patch(ACCOUNT, json=body)
    assert (400, pointers) == (response.status_code, _pointers(response))
    assert [] == bank.accounts.asked


@pytest.mark.parametrize("key", ["", "k" * 65, "a\n"], ids=["empty", "long", "control character"])
async def test_a_key_of_metadata_is_short_and_printable(
    client: httpx.AsyncClient, bank: ScriptedBank, key: str
) -> None:
    """In an opening as in a change: 400, and nothing is done."""
    opened = await client.post("/v1/accounts", json={**OPENING, "metadata": {key: "v"}})
    changed = await client.patch(ACCOUNT, json={"metadata": {key: "v"}})
    assert [400, 400] == [opened.status_code, changed.status_code]
    assert ([], []) == (bank.accounts.opened, bank.accounts.asked)


async def test_an_opening_carries_limits_and_metadata(
    client: httpx.AsyncClient, bank: ScriptedBank
) -> None:
    """They reach the use case as they were sent."""
    body = {**OPENING, "minimum_balance": "25.00", "metadata": {"crm_id": "0042"}}
    assert 201 == (await client.post("/v1/accounts", json=body)).status_code
    (opening,) = bank.accounts.opened
    assert (Decimal(25), {"crm_id": "0042"}) == (opening.minimum_balance, opening.metadata)


@pytest.mark.parametrize("limit", ["-1", "0.001", 5, None], ids=str)
async def test_a_minimum_balance_is_an_amount_of_the_currency(
    client: httpx.AsyncClient, bank: ScriptedBank, limit: object
) -> None:
    """As a string, zero or more, with the currency's decimals at most."""
    response = await client.post("/v1/accounts", json={**OPENING, "minimum_balance": limit})
    assert (400, ["/minimum_balance"]) == (response.status_code, _pointers(response))
    assert [] == bank.accounts.opened


def test_an_opening_without_the_new_fields_is_the_request_it_always_was() -> None:
    """Its hash is stored for ever: what was opened before these fields came must stay the same."""
    plain = Opening("C-000123", "OPEN-1", "EUR", name="Ada", overdraft_limit=Decimal(50))
    bank = Opening("BANK", "EQ", "USD", overdraft_limit=None, minimum_balance=Decimal("0.00"))
    assert "dffdfdef0d6e94738de2f9b115190c85" == plain.fingerprint().hex()
    assert "65aee3c421177c7b38ad9b63373cebcc" == bank.fingerprint().hex()


@pytest.mark.parametrize(
    "changes",
    [{"minimum_balance": Decimal(25)}, {"metadata": {"a": "1"}}, {"metadata": {"a": "2"}}],
    ids=str,
)
def test_the_new_fields_are_part_of_the_request(changes: dict[str, Any]) -> None:
    """Another minimum or another note is another request, in whatever order notes are given."""
    known = {Opening("C", "R", "EUR").fingerprint()}
    known.add(Opening("C", "R", "EUR", metadata={"a": "1", "b": "2"}).fingerprint())
    wanted = Opening("C", "R", "EUR", **changes)
    assert wanted.fingerprint() not in known
    turned = Opening("C", "R", "EUR", metadata={"b": "2", "a": "1"})
    assert turned.fingerprint() in known
