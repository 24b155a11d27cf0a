"""Every wrong field and parameter is pointed at, and reaches no use case."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest

from router.limits import FIELD_ERRORS_MAX, NARRATIVE_CHARS_MAX, TRANSFER_LEGS_MAX
from tests.support.scripted_bank import ScriptedBank, http_client

TRANSFER: Mapping[str, Any] = {
    "reference": "PAY-17",
    "debtor_account": "2000000123",
    "creditor_account": "3000000456",
    "amount": "20.00",
    "currency": "EUR",
}
LEG: Mapping[str, Any] = {"account": "2000000123", "amount": "-20.00"}


def _with_leg(changes: Mapping[str, Any]) -> Mapping[str, Any]:
    """A second leg like the first, but for ``changes``."""
    return {"legs": [LEG, {**LEG, **changes}]}


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
    ("changes", "pointer"),
    [
        pytest.param({"amount": "0"}, "/amount", id="zero"),
        pytest.param({"amount": "0.00"}, "/amount", id="zero-with-decimals"),
        pytest.param({"amount": "-1.00"}, "/amount", id="negative"),
        pytest.param({"amount": "+1.00"}, "/amount", id="plus-sign"),
        pytest.param({"amount": "NaN"}, "/amount", id="nan"),
        pytest.param({"amount": "Infinity"}, "/amount", id="infinity"),
        pytest.param({"amount": "1e3"}, "/amount", id="exponent"),
        pytest.param({"amount": 20.5}, "/amount", id="float"),
        pytest.param({"amount": 20}, "/amount", id="integer"),
        pytest.param({"amount": True}, "/amount", id="boolean"),
        pytest.param({"amount": None}, "/amount", id="null"),
        pytest.param({"amount": ""}, "/amount", id="empty-amount"),
        pytest.param({"amount": " 1.00"}, "/amount", id="blank"),
        pytest.param({"amount": "1.00\n"}, "/amount", id="newline"),
        pytest.param({"amount": "1,00"}, "/amount", id="comma"),
        pytest.param({"amount": "1_000.00"}, "/amount", id="underscore"),
        pytest.param({"amount": "01.00"}, "/amount", id="leading-zero"),
        pytest.param({"amount": "\u0661.00"}, "/amount", id="foreign-digits"),
        pytest.param({"amount": "1.001"}, "/amount", id="too-many-decimals"),
        pytest.param({"amount": "1.5", "currency": "JPY"}, "/amount", id="decimals-of-yen"),
        pytest.param({"amount": "100000000000000"}, "/amount", id="15-integer-digits"),
        pytest.param({"currency": "eur"}, "/currency", id="small-letters"),
        pytest.param({"currency": "XXX"}, "/currency", id="unknown-currency"),
        pytest.param({"currency": 978}, "/currency", id="currency-number"),
        pytest.param({"debtor_account": 2000000123}, "/debtor_account", id="account-as-number"),
        pytest.param({"debtor_account": ""}, "/debtor_account", id="no-account"),
        pytest.param({"debtor_account": "0200000012"}, "/debtor_account", id="zero-in-front"),
        pytest.param({"debtor_account": "2" * 19}, "/debtor_account", id="19-digits"),
        pytest.param({"creditor_account": "2-3"}, "/creditor_account", id="no-digits"),
        pytest.param({"reference": ""}, "/reference", id="empty-reference"),
        pytest.param({"reference": "R" * 65}, "/reference", id="long-reference"),
        pytest.param({"reference": "a b"}, "/reference", id="reference-alphabet"),
        pytest.param({"reference": "caf\u00e9"}, "/reference", id="reference-not-ascii"),
        pytest.param({"reference": 17}, "/reference", id="reference-number"),
        pytest.param({"narrative": ""}, "/narrative", id="empty-narrative"),
        pytest.param({"narrative": "a\u0000b"}, "/narrative", id="nul-in-text"),
        pytest.param(
            {"narrative": "n" * (NARRATIVE_CHARS_MAX + 1)}, "/narrative", id="long-narrative"
        ),
        pytest.param({"value_date": "2026-13-01"}, "/value_date", id="month-13"),
        pytest.param({"value_date": "86400"}, "/value_date", id="date-as-seconds"),
        pytest.param({"value_date": "2026-11-21T00:00:00Z"}, "/value_date", id="date-with-time"),
        pytest.param({"value_dte": "2026-11-21"}, "/value_dte", id="misspelt-field"),
        pytest.param({"legs": []}, "/legs", id="no-legs"),
        pytest.param({"legs": [LEG]}, "/legs", id="one-leg"),
        pytest.param({"legs": [LEG] * (TRANSFER_LEGS_MAX + 1)}, "/legs", id="too-many-legs"),
        pytest.param({"legs": {"account": "2000000123"}}, "/legs", id="legs-as-object"),
        pytest.param({"legs": "[]"}, "/legs", id="legs-as-string"),
        pytest.param({"legs": [LEG, None]}, "/legs/1", id="leg-null"),
        pytest.param(_with_leg({"amount": "0"}), "/legs/1/amount", id="leg-zero"),
        pytest.param(_with_leg({"amount": "-0.00"}), "/legs/1/amount", id="leg-minus-0"),
        pytest.param(_with_leg({"amount": "+1"}), "/legs/1/amount", id="leg-plus-sign"),
        pytest.param(_with_leg({"amount": "NaN"}), "/legs/1/amount", id="leg-nan"),
        pytest.param(_with_leg({"amount": "1e3"}), "/legs/1/amount", id="leg-exponent"),
        pytest.param(_with_leg({"amount": -1.5}), "/legs/1/amount", id="leg-float"),
        pytest.param(_with_leg({"amount": -1}), "/legs/1/amount", id="leg-integer"),
        pytest.param(_with_leg({"amount": "--1"}), "/legs/1/amount", id="leg-signs"),
        pytest.param(_with_leg({"amount": "-0.00001"}), "/legs/1/amount", id="leg-decimals"),
        pytest.param(_with_leg({"amount": "1" * 15}), "/legs/1/amount", id="leg-15-digits"),
        pytest.param(_with_leg({"account": 1}), "/legs/1/account", id="leg-account"),
        pytest.param(_with_leg({"note": "x"}), "/legs/1/note", id="leg-field"),
        pytest.param({"legs": [LEG, {"amount": "1"}]}, "/legs/1/account", id="leg-of-nobody"),
        pytest.param({"kind": "forced"}, "/kind", id="kind-unknown"),
        pytest.param({"kind": "capture"}, "/kind", id="kind-of-another-operation"),
        pytest.param({"kind": "Ordinary"}, "/kind", id="kind-capital"),
        pytest.param({"kind": None}, "/kind", id="kind-null"),
        pytest.param({"kind": 1}, "/kind", id="kind-number"),
        pytest.param({"expected_seq": -1}, "/expected_seq", id="seq-negative"),
        pytest.param({"expected_seq": "41"}, "/expected_seq", id="seq-string"),
        pytest.param({"expected_seq": 41.0}, "/expected_seq", id="seq-float"),
        pytest.param({"expected_seq": True}, "/expected_seq", id="seq-boolean"),
        pytest.param({"expected_seq": 2**63}, "/expected_seq", id="seq-64-bits"),
        pytest.param({"expected_seq": 10**4000}, "/expected_seq", id="seq-4000-digits"),
        pytest.param({"a/b~c": 1}, "/a~1b~0c", id="pointer-escapes"),
    ],
)
async def test_a_wrong_field_is_pointed_at(
    client: httpx.AsyncClient, bank: ScriptedBank, changes: Mapping[str, Any], pointer: str
) -> None:
    """One wrong field: 400 MALFORMED with its JSON pointer, and no use case is asked."""
    response = await client.post("/v1/transfers", json={**TRANSFER, **changes})
    assert (400, "MALFORMED", [pointer]) == (
        response.status_code,
        response.json()["code"],
        _pointers(response),
    )
    assert bank.transfers.asked == []


@pytest.mark.parametrize("field", ["debtor_account", "creditor_account", "amount", "currency"])
async def test_a_missing_field_is_pointed_at(
    client: httpx.AsyncClient, bank: ScriptedBank, field: str
) -> None:
    """A required field that is absent is named."""
    body = {name: value for name, value in TRANSFER.items() if name != field}
    response = await client.post("/v1/transfers", json=body)
    assert (400, [f"/{field}"]) == (response.status_code, _pointers(response))
    assert bank.transfers.asked == []


async def test_legs_stand_in_place_of_the_three_fields(
    client: httpx.AsyncClient, bank: ScriptedBank
) -> None:
    """Both at once could contradict each other, so all three fields are pointed at."""
    legs = [LEG, {"account": "3000000456", "amount": "20.00"}]
    response = await client.post("/v1/transfers", json={**TRANSFER, "legs": legs})
    expected = ["/debtor_account", "/creditor_account", "/amount"]
    assert (400, expected) == (response.status_code, _pointers(response))
    assert bank.transfers.asked == []


@pytest.mark.parametrize(
    ("amounts", "currency", "pointer"),
    [
        pytest.param({"1": "-20.00", "2": "20.01"}, "EUR", "/legs", id="no-zero-sum"),
        pytest.param({"1": "20.00", "2": "20.00"}, "EUR", "/legs", id="no-debit"),
        pytest.param({"1": "-1.5", "2": "1.5"}, "JPY", "/legs/0/amount", id="decimals-of-yen"),
        pytest.param(
            {"1": "-99999999999999", "2": "-1", "3": "99999999999999", "4": "1"},
            *("EUR", "/legs"),
            id="15-digits-together",
        ),
    ],
)
async def test_legs_make_a_voucher(
    client: httpx.AsyncClient,
    bank: ScriptedBank,
    amounts: Mapping[str, str],
    currency: str,
    pointer: str,
) -> None:
    """What is wrong between legs is pointed at in the legs, also where they are only two."""
    legs = [{"account": account, "amount": amount} for account, amount in amounts.items()]
    body = {"reference": "PAY-17", "currency": currency, "legs": legs}
    response = await client.post("/v1/transfers", json=body)
    assert (400, [pointer]) == (response.status_code, _pointers(response))
    assert bank.transfers.asked == []


async def test_an_account_has_one_leg(client: httpx.AsyncClient, bank: ScriptedBank) -> None:
    """An account on both sides is told of its legs, not of fields that were not sent."""
    legs = [LEG, {**LEG, "amount": "20.00"}]
    body = {"reference": "PAY-17", "currency": "EUR", "legs": legs}
    response = await client.post("/v1/transfers", json=body)
    assert (400, ["/legs"]) == (response.status_code, _pointers(response))
    assert bank.transfers.asked == []


async def test_a_position_is_a_whole_64_bit_number(
    client: httpx.AsyncClient, bank: ScriptedBank
) -> None:
    """The greatest position there can be is passed on as it is."""
    await client.post("/v1/transfers", json={**TRANSFER, "expected_seq": 2**63 - 1})
    assert [2**63 - 1] == [each.expected_seq for each in bank.transfers.asked]


async def test_all_wrong_fields_are_told_at_once(client: httpx.AsyncClient) -> None:
    """A request with three wrong fields names all three."""
    wrong = {**TRANSFER, "amount": "x", "debtor_account": "x", "reference": ""}
    response = await client.post("/v1/transfers", json=wrong)
    assert {"/reference", "/debtor_account", "/amount"} == set(_pointers(response))


async def test_a_flood_of_wrong_fields_is_cut(client: httpx.AsyncClient) -> None:
    """A hostile body is not echoed: a bounded number of errors with bounded pointers."""
    flood = {f"{n}{'x' * 1000}": n for n in range(50)}
    response = await client.post("/v1/transfers", json={**TRANSFER, **flood})
    assert FIELD_ERRORS_MAX == len(response.json()["errors"])
    assert len(response.content) < 10_000


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        pytest.param({"customer": ""}, "/customer", id="empty-customer"),
        pytest.param({"customer": "C" * 65}, "/customer", id="long-customer"),
        pytest.param({"customer": "C\n"}, "/customer", id="control-character"),
        pytest.param({"kind": "suspense"}, "/kind", id="machinery"),
        pytest.param({"kind": "CUSTOMER"}, "/kind", id="capital-kind"),
        pytest.param({"overdraft_limit": "-1.00"}, "/overdraft_limit", id="negative-limit"),
        pytest.param({"overdraft_limit": 0}, "/overdraft_limit", id="limit-as-number"),
        pytest.param({"overdraft_limit": "0.001"}, "/overdraft_limit", id="limit-decimals"),
        pytest.param({"account": "12x"}, "/account", id="account"),
        pytest.param({"name": "n" * 141}, "/name", id="long-name"),
        pytest.param({"shard": 2}, "/shard", id="unknown-field"),
    ],
)
async def test_an_opening_is_checked_like_a_transfer(
    client: httpx.AsyncClient, bank: ScriptedBank, changes: Mapping[str, Any], pointer: str
) -> None:
    """One wrong field of an opening: 400 with its pointer, and nothing is opened."""
    body = {"customer": "C-1", "currency": "EUR", "reference": "O-1", **changes}
    response = await client.post("/v1/accounts", json=body)
    assert (400, [pointer]) == (response.status_code, _pointers(response))
    assert bank.accounts.opened == []


@pytest.mark.parametrize("body", [{"status": "gone"}, {"status": None}, {"state": "open"}])
async def test_a_change_needs_a_known_status(
    client: httpx.AsyncClient, bank: ScriptedBank, body: Mapping[str, Any]
) -> None:
    """Anything but open, frozen or closed: 400, and nothing is changed."""
    response = await client.patch("/v1/accounts/2000000123", json=body)
    assert (400, "MALFORMED") == (response.status_code, response.json()["code"])
    assert bank.accounts.asked == []


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("/v1/accounts/12x", "account"),
        ("/v1/accounts/0123456789", "account"),
        ("/v1/accounts/2000000123?as_of=2026-11-21", "as_of"),
        ("/v1/accounts/2000000123/balance?as_of=yesterday", "as_of"),
        ("/v1/accounts/2000000123/balance?as_of=", "as_of"),
        ("/v1/accounts/2000000123/balance?as_of=2026-11-21T09:30:00", "as_of"),
        ("/v1/accounts/2000000123/balance?as_of=2026-11-21T09:30:00+01:00", "as_of"),
        ("/v1/accounts/2000000123/balance?at=2026-11-21", "at"),
        ("/v1/accounts/2000000123/statement?from=2026-11-02&to=2026-11-01", "to"),
        ("/v1/accounts/2000000123/statement?to=tomorrow", "to"),
        ("/v1/accounts/2000000123/statement?format=pdf", "format"),
        ("/v1/accounts/2000000123/statement?format=", "format"),
        ("/v1/accounts/2000000123/statement?cursor=x", "cursor"),
        ("/v1/accounts/12x/statement", "account"),
        ("/v1/accounts/2000000123/entries?fro=2026-11-01", "fro"),
        ("/v1/accounts/2000000123/entries?from=21.11.2026", "from"),
        ("/v1/accounts/2000000123/entries?from=2026-11-02&to=2026-11-01", "to"),
        ("/v1/accounts/2000000123/entries?limit=0", "limit"),
        ("/v1/accounts/2000000123/entries?limit=1001", "limit"),
        ("/v1/accounts/2000000123/entries?limit=ten", "limit"),
        ("/v1/transfers/12x/PAY-17", "account"),
        ("/v1/transfers/2000000123/a%20b", "reference"),
        ("/v1/shards?shard=1", "shard"),
    ],
)
async def test_a_wrong_parameter_is_named(
    client: httpx.AsyncClient, bank: ScriptedBank, path: str, parameter: str
) -> None:
    """A parameter that is wrong or unknown: 400 with its name, never a silently other answer."""
    response = await client.get(path)
    assert (400, "MALFORMED", [parameter]) == (
        response.status_code,
        response.json()["code"],
        [error["parameter"] for error in response.json()["errors"]],
    )
    assert (bank.accounts.asked, bank.statements.asked) == ([], [])


async def test_a_change_of_no_account_is_refused(client: httpx.AsyncClient) -> None:
    """The account in the path is checked before the body is read."""
    response = await client.patch("/v1/accounts/12x", json={"status": "frozen"})
    assert (400, [{"parameter": "account"}]) == (
        response.status_code,
        [{"parameter": error["parameter"]} for error in response.json()["errors"]],
    )
