"""Holds and reversals on the wire: what is passed on, what is answered, what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest

from router.errors import InTransit, RefusalReplayed, refusal
from router.holds import Capture, Increase, Placement
from router.reversals import ReversalRequest
from shard.commands import MoneyState
from shard.errors import NotFound
from shard.holds import HoldState
from shard.outcomes import Outcome
from tests.support.scripted_bank import ScriptedBank, http_client

HOLD: Mapping[str, Any] = {
    "reference": "AUTH-9",
    "account": "2000000123",
    "amount": "30.00",
    "currency": "EUR",
    "expires_at": "2026-11-28T10:30:00+01:00",
}
CAPTURE: Mapping[str, Any] = {"reference": "CAP-9", "creditor_account": "3000000456"}
INCREASE: Mapping[str, Any] = {"reference": "MORE-9", "amount": "5.00"}
REVERSAL: Mapping[str, Any] = {"reference": "REV-17", "amount": "5.00"}
ONE_HOLD = "/v1/holds/2000000123/AUTH-9"
ONE_TRANSFER = "/v1/transfers/2000000123/PAY-17"
TOLD_HOLD = {
    "account": "2000000123",
    "reference": "AUTH-9",
    "currency": "EUR",
    "amount": "30.00",
    "captured": "0.00",
    "remaining": "30.00",
    "state": "pending",
    "creditor_account": None,
    "placed_at": "2026-11-21T09:30:00Z",
    "expires_at": "2026-11-28T09:30:00Z",
    "closed_at": None,
}


@pytest.fixture
def bank() -> ScriptedBank:
    return ScriptedBank()


@pytest.fixture
async def client(bank: ScriptedBank) -> AsyncIterator[httpx.AsyncClient]:
    async with http_client(bank) as opened:
        yield opened


async def test_a_hold_is_placed(client: httpx.AsyncClient, bank: ScriptedBank) -> None:
    """A new hold: 201, where it is, its shape; the use case gets its end in UTC."""
    response = await client.post("/v1/holds", json=HOLD)
    assert (201, ONE_HOLD, TOLD_HOLD) == (
        response.status_code,
        response.headers["location"],
        response.json(),
    )
    assert [
        Placement(
            reference="AUTH-9",
            account=2_000_000_123,
            amount=Decimal("30.00"),
            currency="EUR",
            expires_at=datetime(2026, 11, 28, 9, 30, tzinfo=UTC),
        )
    ] == bank.holds.asked


async def test_a_hold_may_name_its_creditor(client: httpx.AsyncClient, bank: ScriptedBank) -> None:
    """The only account it may be captured for reaches the use case, and is told."""
    bank.holds.hold = replace(bank.holds.hold, creditor=3_000_000_456)
    response = await client.post("/v1/holds", json={**HOLD, "creditor_account": "3000000456"})
    assert "3000000456" == response.json()["creditor_account"]
    (asked,) = bank.holds.asked
    assert isinstance(asked, Placement)
    assert 3_000_000_456 == asked.creditor


@pytest.mark.parametrize(
    ("path", "body"),
    [
        pytest.param("/v1/holds", HOLD, id="place"),
        pytest.param(f"{ONE_HOLD}/increase", INCREASE, id="increase"),
        pytest.param(f"{ONE_HOLD}/void", {"reference": "VOID-9"}, id="void"),
    ],
)
async def test_a_known_request_is_a_replay(
    client: httpx.AsyncClient, bank: ScriptedBank, path: str, body: Mapping[str, Any]
) -> None:
    """A reference that is known: 200, the hold as it stands now, and the header that says so."""
    bank.holds.is_replay = True
    bank.holds.hold = replace(bank.holds.hold, state=HoldState.VOIDED)
    response = await client.post(path, json=body)
    assert (200, "true", "voided") == (
        response.status_code,
        response.headers["idempotent-replayed"],
        response.json()["state"],
    )


async def test_a_hold_is_read_back(client: httpx.AsyncClient) -> None:
    """GET answers the same object as the placing."""
    response = await client.get(ONE_HOLD)
    assert (200, TOLD_HOLD) == (response.status_code, response.json())


async def test_an_increase_is_passed_on(client: httpx.AsyncClient, bank: ScriptedBank) -> None:
    """The hold of the path, the reference of the body, and the new end where one is given."""
    end = "2026-12-01T00:00:00Z"
    response = await client.post(f"{ONE_HOLD}/increase", json={**INCREASE, "expires_at": end})
    assert (200, False) == (response.status_code, "idempotent-replayed" in response.headers)
    assert [
        Increase(
            reference="MORE-9",
            account=2_000_000_123,
            hold="AUTH-9",
            amount=Decimal("5.00"),
            expires_at=datetime(2026, 12, 1, tzinfo=UTC),
        )
    ] == bank.holds.asked


async def test_a_void_is_passed_on(client: httpx.AsyncClient, bank: ScriptedBank) -> None:
    """The hold of the path under the reference of the body."""
    response = await client.post(f"{ONE_HOLD}/void", json={"reference": "VOID-9"})
    assert 200 == response.status_code
    assert [(2_000_000_123, "AUTH-9", "VOID-9")] == bank.holds.asked


@pytest.mark.parametrize(
    ("money_state", "is_replay", "status"),
    [
        (MoneyState.POSTED, False, 201),
        (MoneyState.IN_TRANSIT, False, 202),
        (MoneyState.IN_TRANSIT, True, 200),
    ],
)
async def test_a_capture_answers_the_payment_and_the_hold(
    client: httpx.AsyncClient,
    bank: ScriptedBank,
    money_state: MoneyState,
    is_replay: bool,
    status: int,
) -> None:
    """201 booked, 202 on its way, 200 known before; with both objects, and where the payment is."""
    bank.transfers.money_state = money_state
    bank.transfers.is_replay = is_replay
    response = await client.post(f"{ONE_HOLD}/capture", json={**CAPTURE, "amount": "25.00"})
    told = response.json()
    assert (status, "/v1/transfers/2000000123/CAP-9", is_replay) == (
        response.status_code,
        response.headers["location"],
        "idempotent-replayed" in response.headers,
    )
    assert ("CAP-9", "25.00", money_state, TOLD_HOLD) == (
        told["transfer"]["reference"],
        told["transfer"]["amount"],
        told["transfer"]["money_state"],
        told["hold"],
    )


async def test_a_capture_takes_all_and_keeps_the_hold_by_default(
    client: httpx.AsyncClient, bank: ScriptedBank
) -> None:
    """Without an amount all that remains is asked for; a hold is let go of only when asked for."""
    await client.post(f"{ONE_HOLD}/capture", json=CAPTURE)
    await client.post(f"{ONE_HOLD}/capture", json={**CAPTURE, "amount": "1", "final": True})
    plain = Capture("CAP-9", 2_000_000_123, "AUTH-9", 3_000_000_456, None)
    assert [plain, replace(plain, amount=Decimal(1), is_final=True)] == bank.holds.asked


async def test_a_reversal_is_a_transfer_of_its_own(
    client: httpx.AsyncClient, bank: ScriptedBank
) -> None:
    """201: paid by the creditor to the debtor, under its own reference, with a place of its own."""
    response = await client.post(f"{ONE_TRANSFER}/reverse", json=REVERSAL)
    told = response.json()
    assert (201, f"{ONE_TRANSFER}/reversals/REV-17") == (
        response.status_code,
        response.headers["location"],
    )
    assert ("reversal", "3000000456", "2000000123", "5.00") == (
        told["kind"],
        told["debtor_account"],
        told["creditor_account"],
        told["amount"],
    )
    wanted = ReversalRequest(2_000_000_123, "PAY-17", "REV-17", Decimal("5.00"))
    assert [wanted] == bank.reversals.asked


async def test_a_reversal_is_read_back(client: httpx.AsyncClient) -> None:
    """GET at ``Location`` answers the reversal."""
    response = await client.get(f"{ONE_TRANSFER}/reversals/REV-17")
    assert (200, "reversal", "REV-17") == (
        response.status_code,
        response.json()["kind"],
        response.json()["reference"],
    )


async def test_a_known_reversal_is_a_replay(client: httpx.AsyncClient, bank: ScriptedBank) -> None:
    """The same reversal again: 200 and marked."""
    bank.reversals.is_replay = True
    response = await client.post(f"{ONE_TRANSFER}/reverse", json=REVERSAL)
    assert (200, "true") == (response.status_code, response.headers["idempotent-replayed"])


@pytest.mark.parametrize(
    ("fault", "status", "code", "is_replay"),
    [
        (NotFound(), 404, "NOT_FOUND", False),
        (refusal(Outcome.REVERSAL_EXCEEDED), 422, "REVERSAL_EXCEEDED", False),
        (RefusalReplayed("REVERSAL_EXCEEDED"), 422, "REVERSAL_EXCEEDED", True),
        (InTransit(), 503, "IN_TRANSIT", False),
    ],
)
async def test_a_reversal_is_refused_with_a_code(
    client: httpx.AsyncClient,
    bank: ScriptedBank,
    fault: Exception,
    status: int,
    code: str,
    is_replay: bool,
) -> None:
    """What speaks against it is a problem; one told before is marked as such."""
    bank.reversals.fail = fault
    response = await client.post(f"{ONE_TRANSFER}/reverse", json=REVERSAL)
    assert (status, code, is_replay) == (
        response.status_code,
        response.json()["code"],
        "idempotent-replayed" in response.headers,
    )


AMOUNTS = ("0", "0.00", "-1.00", "+1", "NaN", "Infinity", "1e3", "", " 1", "1,00", "01", "1.00001")
BAD_AMOUNTS: tuple[Any, ...] = (*AMOUNTS, "1" * 15, "\u0661", 1, 1.5, True, ["1"])


@pytest.mark.parametrize(
    ("path", "body"),
    [
        pytest.param("/v1/holds", HOLD, id="hold"),
        pytest.param(f"{ONE_HOLD}/capture", CAPTURE, id="capture"),
        pytest.param(f"{ONE_HOLD}/increase", INCREASE, id="increase"),
        pytest.param(f"{ONE_TRANSFER}/reverse", REVERSAL, id="reversal"),
    ],
)
async def test_a_bad_amount_is_pointed_at(
    client: httpx.AsyncClient, bank: ScriptedBank, path: str, body: Mapping[str, Any]
) -> None:
    """Every operation with an amount refuses the same ones: 400, and no use case is asked."""
    found = {}
    for amount in BAD_AMOUNTS:
        response = await client.post(path, json={**body, "amount": amount})
        pointers = [error["pointer"] for error in response.json().get("errors", [])]
        found[str(amount)] = (response.status_code, pointers)
    assert dict.fromkeys(map(str, BAD_AMOUNTS), (400, ["/amount"])) == found
    assert ([], []) == (bank.holds.asked, bank.reversals.asked)


BAD_ENDS: tuple[Any, ...] = (
    *("2026-11-28T09:30:00", "2026-11-28 09:30:00Z", "2026-11-28", "20261128T093000Z"),
    *("2026-11-28T09:30Z", "2026-11-28T09:30:00z", "2026-11-28t09:30:00Z", "2026-02-30T00:00:00Z"),
    *("2026-11-28T24:00:01Z", "2026-11-28T23:59:60Z", "2026-11-28T09:30:00+25:00"),
    *("2026-11-28T09:30:00.1234567Z", "2026-11-28T09:30:00Z\n", "2026-W48-6T00:00:00Z"),
    *("99999-01-01T00:00:00Z", "+99999-01-01T00:00:00Z", "0000-01-01T00:00:00Z"),
    *("9999-12-31T23:59:59-01:00", "0001-01-01T00:00:00+01:00"),
    *("\u0662026-11-28T09:30:00Z", "tomorrow", "now", "", 1_795_858_200, 1.5, True, {}),
)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        pytest.param("/v1/holds", HOLD, id="hold"),
        pytest.param(f"{ONE_HOLD}/increase", INCREASE, id="increase"),
    ],
)
async def test_a_bad_end_is_pointed_at(
    client: httpx.AsyncClient, bank: ScriptedBank, path: str, body: Mapping[str, Any]
) -> None:
    """A time without its zone, beyond the calendar, or in another form: 400."""
    found = {}
    for end in BAD_ENDS:
        response = await client.post(path, json={**body, "expires_at": end})
        pointers = [error["pointer"] for error in response.json().get("errors", [])]
        found[str(end)] = (response.status_code, pointers)
    assert dict.fromkeys(map(str, BAD_ENDS), (400, ["/expires_at"])) == found
    assert bank.holds.asked == []


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        pytest.param("/v1/holds", {**HOLD, "expires_at": None}, "/expires_at", id="no-end"),
        pytest.param("/v1/holds", {**HOLD, "currency": "eur"}, "/currency", id="currency"),
        pytest.param("/v1/holds", {**HOLD, "account": 2000000123}, "/account", id="account"),
        pytest.param(
            "/v1/holds", {**HOLD, "creditor_account": "x"}, "/creditor_account", id="creditor"
        ),
        pytest.param(f"{ONE_HOLD}/capture", {"reference": "C"}, "/creditor_account", id="for-whom"),
        pytest.param(f"{ONE_HOLD}/capture", {**CAPTURE, "final": "yes"}, "/final", id="final-word"),
        pytest.param(f"{ONE_HOLD}/capture", {**CAPTURE, "final": 1}, "/final", id="final-number"),
        pytest.param(f"{ONE_HOLD}/capture", {**CAPTURE, "final": None}, "/final", id="final-null"),
        pytest.param(
            f"{ONE_HOLD}/capture", {**CAPTURE, "narrative": "a\x00"}, "/narrative", id="narrative"
        ),
        pytest.param(f"{ONE_HOLD}/increase", {"reference": "M"}, "/amount", id="by-how-much"),
        pytest.param(f"{ONE_HOLD}/void", {"reference": "V", "amount": "1"}, "/amount", id="void"),
        pytest.param(
            f"{ONE_TRANSFER}/reverse",
            {**REVERSAL, "creditor_account": "0"},
            "/creditor_account",
            id="reversal-creditor",
        ),
        pytest.param(
            f"{ONE_TRANSFER}/reverse", {**REVERSAL, "reference": "a/b"}, "/reference", id="slash"
        ),
    ],
)
async def test_a_wrong_field_is_pointed_at(
    client: httpx.AsyncClient,
    bank: ScriptedBank,
    path: str,
    body: Mapping[str, Any],
    pointer: str,
) -> None:
    """One wrong or missing field: 400 with its pointer, and no use case is asked."""
    response = await client.post(path, json=body)
    pointers = [error["pointer"] for error in response.json()["errors"]]
    assert (400, "MALFORMED", [pointer]) == (
        response.status_code,
        response.json()["code"],
        pointers,
    )
    assert ([], []) == (bank.holds.asked, bank.reversals.asked)


@pytest.mark.parametrize(
    ("path", "body", "parameter"),
    [
        ("/v1/holds/12x/AUTH-9/capture", CAPTURE, "account"),
        ("/v1/holds/2000000123/a%20b/capture", CAPTURE, "reference"),
        ("/v1/holds/0/AUTH-9/increase", INCREASE, "account"),
        (f"/v1/holds/2000000123/{'R' * 65}/void", {"reference": "V"}, "reference"),
        ("/v1/transfers/12x/PAY-17/reverse", REVERSAL, "account"),
        ("/v1/transfers/2000000123/caf%C3%A9/reverse", REVERSAL, "reference"),
    ],
)
async def test_a_wrong_name_in_the_path_is_told(
    client: httpx.AsyncClient,
    bank: ScriptedBank,
    path: str,
    body: Mapping[str, Any],
    parameter: str,
) -> None:
    """400 with the name of the parameter, before the body is looked at."""
    response = await client.post(path, json=body)
    parameters = [error["parameter"] for error in response.json()["errors"]]
    assert (400, [parameter]) == (response.status_code, parameters)
    assert ([], []) == (bank.holds.asked, bank.reversals.asked)
