"""Bad movements against a real bank: each is answered with a clear 4xx, and nothing changes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from router.http.app import create_app
from router.limits import TRANSFER_LEGS_MAX
from router.telemetry import Metrics
from router.wiring import Bank
from shard.account_numbers import suspense_account
from shard.ids import new_id
from tests.support.bank import Figures, account_no, figures, open_account

WEEK = (datetime.now(UTC) + timedelta(days=7)).strftime("%Y-%m-%dT%H:%M:%SZ")
FULL = "99999999999999.99"
Case = tuple[Mapping[str, Any], int, str, list[str]]


@dataclass(frozen=True, slots=True)
class Cast:
    """Accounts with 100.00 EUR each, a payment of 20.00 between two of them, a hold of 30.00."""

    client: httpx.AsyncClient
    bank: Bank
    debtor: int
    creditor: int
    third: int

    async def standing(self) -> list[object]:
        """All that a bad request could have changed."""
        hold = await self.client.get(f"/v1/holds/{self.debtor}/AUTH-9")
        shard = self.bank.shards[1]
        accounts = (self.debtor, self.creditor, self.third)
        return [hold.json(), *[await figures(shard, account) for account in accounts]]

    def filled(self, value: Any) -> Any:
        """``value`` with the accounts of this cast for their names."""
        if isinstance(value, Mapping):
            return {name: self.filled(each) for name, each in value.items()}
        if isinstance(value, list):
            return [self.filled(each) for each in value]
        names = {"debtor", "creditor", "third"}
        return str(getattr(self, value)) if isinstance(value, str) and value in names else value


@pytest.fixture
async def cast_(bank: Bank) -> AsyncIterator[Cast]:
    transport = httpx.ASGITransport(create_app(bank, Metrics()))
    async with httpx.AsyncClient(transport=transport, base_url="http://bank") as client:
        accounts = [await open_account(bank.shards[1], "100.00") for _ in range(3)]
        cast = Cast(client, bank, *accounts)
        payment = {
            "reference": "PAY-17",
            "debtor_account": "debtor",
            "creditor_account": "creditor",
            "amount": "20.00",
            "currency": "EUR",
        }
        hold = {
            "reference": "AUTH-9",
            "account": "debtor",
            "amount": "30.00",
            "currency": "EUR",
            "expires_at": WEEK,
        }
        assert 201 == (await client.post("/v1/transfers", json=cast.filled(payment))).status_code
        assert 201 == (await client.post("/v1/holds", json=cast.filled(hold))).status_code
        yield cast


async def _refused(cast: Cast, path: str, body: Mapping[str, Any]) -> tuple[int, str, list[str]]:
    """How a request is refused: status, code and pointers; having changed nothing."""
    before = await cast.standing()
    response = await cast.client.post(path, json={"reference": str(new_id()), **cast.filled(body)})
    told = response.json()
    assert before == await cast.standing()
    pointers = [error.get("pointer", "") for error in told.get("errors", [])]
    return response.status_code, told.get("code", response.text), pointers


def _legs(*legs: tuple[str, Any], **members: Any) -> dict[str, Any]:
    return {"currency": "EUR", "legs": [{"account": a, "amount": m} for a, m in legs], **members}


PAIR = (("debtor", "-20.00"), ("creditor", "20.00"))
LEGS: Mapping[str, Case] = {
    "none": (_legs(), 400, "MALFORMED", ["/legs"]),
    "one": (_legs(("debtor", "-20.00")), 400, "MALFORMED", ["/legs"]),
    "more-debit": (
        _legs(("debtor", "-20.01"), ("creditor", "20.00")),
        *(400, "MALFORMED", ["/legs"]),
    ),
    "more-credit": (
        _legs(*PAIR, ("third", "0.01")),
        *(400, "MALFORMED", ["/legs"]),
    ),
    "same-account-twice": (
        _legs(("debtor", "-20.00"), ("creditor", "10.00"), ("creditor", "10.00")),
        *(400, "MALFORMED", ["/legs"]),
    ),
    "on-both-sides": (
        _legs(("debtor", "-20.00"), ("debtor", "20.00")),
        *(400, "MALFORMED", ["/legs"]),
    ),
    "only-credits": (
        _legs(("debtor", "20.00"), ("creditor", "20.00")),
        *(400, "MALFORMED", ["/legs"]),
    ),
    "only-debits": (
        _legs(("debtor", "-20.00"), ("creditor", "-20.00")),
        *(400, "MALFORMED", ["/legs"]),
    ),
    "one-too-many": (
        _legs(*[("debtor", "-1.00")] * (TRANSFER_LEGS_MAX + 1)),
        *(400, "MALFORMED", ["/legs"]),
    ),
    "a-million": (_legs(*[("debtor", "-1.00")] * 10**6), 413, "BODY_TOO_LARGE", []),
    "too-many-decimals": (
        _legs(("debtor", "-20.001"), ("creditor", "20.001"), ("third", "0.01")),
        *(400, "MALFORMED", ["/legs/0/amount"]),
    ),
    "too-much-together": (
        _legs(("debtor", f"-{FULL}"), ("creditor", f"-{FULL}"), ("third", FULL)),
        *(400, "MALFORMED", ["/legs"]),
    ),
    "system-account": (
        _legs(*PAIR[:1], (str(suspense_account(1, "EUR")), "20.00")),
        *(422, "SYSTEM_ACCOUNT", []),
    ),
    "unknown-account": (
        _legs(*PAIR[:1], (str(account_no(1)), "19.00"), ("third", "1.00")),
        *(422, "ACCOUNT_UNKNOWN", []),
    ),
    "more-than-is-there": (
        _legs(("debtor", "-50.01"), ("creditor", "50.00"), ("third", "0.01")),
        *(422, "INSUFFICIENT_FUNDS", []),
    ),
    "other-position": (_legs(*PAIR, expected_seq=99), 422, "SEQUENCE_MISMATCH", []),
    "other-currency": (_legs(*PAIR, currency="USD"), 422, "CURRENCY_MISMATCH", []),
}


async def test_bad_legs_book_nothing(cast_: Cast) -> None:
    """Legs that are no voucher, or one that business refuses."""
    found = {
        case: (body, *await _refused(cast_, "/v1/transfers", body))
        for case, (body, *_) in LEGS.items()
    }
    assert LEGS == found


HOLD = {"account": "debtor", "amount": "10.00", "currency": "EUR", "expires_at": WEEK}
HOLDS: Mapping[str, Case] = {
    "ended": ({"expires_at": "2020-01-01T00:00:00Z"}, 422, "HOLD_EXPIRED", []),
    "for-its-own-account": (
        {"creditor_account": "debtor"},
        *(400, "MALFORMED", ["/creditor_account"]),
    ),
    "for-the-system": (
        {"creditor_account": str(suspense_account(1, "EUR"))},
        *(422, "SYSTEM_ACCOUNT", []),
    ),
    "on-the-system": (
        {"account": str(suspense_account(1, "EUR"))},
        *(422, "SYSTEM_ACCOUNT", []),
    ),
    "on-nothing": ({"account": str(account_no(1))}, 422, "ACCOUNT_UNKNOWN", []),
    "more-than-is-available": ({"amount": "50.01"}, 422, "INSUFFICIENT_FUNDS", []),
    "other-currency": ({"currency": "USD"}, 422, "CURRENCY_MISMATCH", []),
    "reference-in-use": (
        {"reference": "PAY-17"},
        *(422, "REFERENCE_REUSED", []),
    ),
}


async def test_a_bad_hold_holds_nothing(cast_: Cast) -> None:
    """Holds that make no sense, or that business refuses."""
    found = {
        case: (changes, *await _refused(cast_, "/v1/holds", HOLD | dict(changes)))
        for case, (changes, *_) in HOLDS.items()
    }
    assert HOLDS == found


CHANGES: Mapping[str, tuple[str, Mapping[str, Any], int, str, list[str]]] = {
    "capture-of-nothing": ("AUTH-0/capture", {"creditor_account": "third"}, 404, "NOT_FOUND", []),
    "increase-of-nothing": ("AUTH-0/increase", {"amount": "1.00"}, 404, "NOT_FOUND", []),
    "void-of-nothing": ("AUTH-0/void", {}, 404, "NOT_FOUND", []),
    "void-of-a-payment": ("PAY-17/void", {}, 404, "NOT_FOUND", []),
    "capture-of-too-much": (
        "AUTH-9/capture",
        {"creditor_account": "third", "amount": "30.01"},
        *(422, "HOLD_EXCEEDED", []),
    ),
    "capture-of-a-tenth-of-a-cent": (
        "AUTH-9/capture",
        {"creditor_account": "third", "amount": "0.001"},
        *(400, "MALFORMED", ["/amount"]),
    ),
    "capture-for-the-payer": (
        "AUTH-9/capture",
        {"creditor_account": "debtor"},
        *(400, "MALFORMED", ["/creditor_account"]),
    ),
    "capture-for-the-system": (
        "AUTH-9/capture",
        {"creditor_account": str(suspense_account(1, "EUR"))},
        *(422, "SYSTEM_ACCOUNT", []),
    ),
    "capture-for-nobody": (
        "AUTH-9/capture",
        {"creditor_account": str(account_no(1))},
        *(422, "ACCOUNT_UNKNOWN", []),
    ),
    "increase-by-too-much": ("AUTH-9/increase", {"amount": "50.01"}, 422, "INSUFFICIENT_FUNDS", []),
    "increase-by-a-tenth-of-a-cent": (
        "AUTH-9/increase",
        {"amount": "0.001"},
        *(400, "MALFORMED", ["/amount"]),
    ),
    "increase-into-the-past": (
        "AUTH-9/increase",
        {"amount": "1.00", "expires_at": "2020-01-01T00:00:00Z"},
        *(422, "HOLD_EXPIRED", []),
    ),
}


async def test_a_bad_change_leaves_a_hold_as_it_is(cast_: Cast) -> None:
    """Captures, increases and voids of what is not there, or of more than there is."""
    found = {
        case: (path, body, *await _refused(cast_, f"/v1/holds/{cast_.debtor}/{path}", body))
        for case, (path, body, *_) in CHANGES.items()
    }
    assert CHANGES == found


REVERSALS: Mapping[str, tuple[str, Mapping[str, Any], int, str, list[str]]] = {
    "of-nothing": ("PAY-0", {}, 404, "NOT_FOUND", []),
    "of-a-hold": ("AUTH-9", {}, 422, "NOT_REVERSIBLE", []),
    "of-too-much": ("PAY-17", {"amount": "20.01"}, 422, "REVERSAL_EXCEEDED", []),
    "of-a-tenth-of-a-cent": ("PAY-17", {"amount": "0.001"}, 400, "MALFORMED", ["/amount"]),
    "from-another": ("PAY-17", {"creditor_account": "third"}, 422, "NOT_REVERSIBLE", []),
    "from-the-payer": ("PAY-17", {"creditor_account": "debtor"}, 422, "NOT_REVERSIBLE", []),
}


async def test_a_bad_reversal_takes_nothing_back(cast_: Cast) -> None:
    """Reversals of what is not there, or of more than was paid."""
    path = f"/v1/transfers/{cast_.debtor}/{{}}/reverse"
    found = {
        case: (original, body, *await _refused(cast_, path.format(original), body))
        for case, (original, body, *_) in REVERSALS.items()
    }
    assert REVERSALS == found


async def test_the_cast_is_as_the_tables_say(cast_: Cast) -> None:
    """Otherwise "nothing changed" would mean nothing: 50.00 are available, 30.00 held."""
    hold, debtor, *_ = await cast_.standing()
    balance = (await cast_.client.get(f"/v1/accounts/{cast_.debtor}/balance")).json()
    assert ("50.00", "30.00") == (balance["available"], balance["held"])
    assert isinstance(hold, dict)
    assert "pending" == hold["state"]
    assert isinstance(debtor, Figures)
    assert 3 == debtor.entries
