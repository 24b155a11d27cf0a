"""Every malformed request is told with pointers and reaches no use case."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest

from router.limits import BODY_BYTES_MAX, FIELD_ERRORS_MAX, NARRATIVE_CHARS_MAX
from tests.support.scripted_bank import ScriptedBank, http_client

TRANSFER: Mapping[str, Any] = {
    "reference": "PAY-17",
    "debtor_account": "2000000123",
    "creditor_account": "3000000456",
    "amount": "20.00",
    "currency": "EUR",
}
JSON = {"content-type": "application/json"}


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
        pytest.param({"legs": []}, "/legs", id="legs-not-offered-yet"),
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
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="broken-off"),
        pytest.param(b"[]", id="list"),
        pytest.param(b"null", id="null"),
        pytest.param(b"{} {}", id="two-documents"),
        pytest.param(b'{"amount": NaN}', id="nan-literal"),
        pytest.param(b'{"narrative": "\xff"}', id="not-utf-8"),
        pytest.param(b'{"narrative": "\\ud800"}', id="lone-surrogate"),
        pytest.param(b"\xef\xbb\xbf{}", id="byte-order-mark"),
        pytest.param(b'{"x": ' + b"[" * 5000 + b"]" * 5000 + b"}", id="deep"),
        pytest.param(b"[" * 60_000, id="deep-and-open"),
    ],
)
async def test_what_is_no_json_object_is_refused(
    client: httpx.AsyncClient, bank: ScriptedBank, body: bytes
) -> None:
    """Broken, hostile or foreign JSON: 400 MALFORMED."""
    response = await client.post("/v1/transfers", content=body, headers=JSON)
    assert (400, "MALFORMED") == (response.status_code, response.json()["code"])
    assert bank.transfers.asked == []


@pytest.mark.parametrize("second", ['"amount": "1.00"', '"amo\\u0075nt": "1.00"'])
async def test_a_field_given_twice_is_refused(
    client: httpx.AsyncClient, bank: ScriptedBank, second: str
) -> None:
    """Two readers could take different ones of two equal keys, so neither is taken."""
    body = json.dumps(TRANSFER)[:-1] + f", {second}}}"
    response = await client.post("/v1/transfers", content=body, headers=JSON)
    assert (400, ["/amount"]) == (response.status_code, _pointers(response))
    assert bank.transfers.asked == []


@pytest.mark.parametrize(
    "media_type",
    ["", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1"],
)
async def test_another_media_type_is_refused(
    client: httpx.AsyncClient, bank: ScriptedBank, media_type: str
) -> None:
    """A body that does not say it is JSON in UTF-8: 415 as a problem."""
    response = await client.post(
        "/v1/transfers", content=json.dumps(TRANSFER), headers={"content-type": media_type}
    )
    assert (415, "MEDIA_TYPE_UNSUPPORTED") == (response.status_code, response.json()["code"])
    assert bank.transfers.asked == []


async def test_a_charset_that_fits_is_taken(client: httpx.AsyncClient) -> None:
    """``charset=utf-8`` may be said."""
    headers = {"content-type": 'Application/JSON; charset="UTF-8"'}
    response = await client.post("/v1/transfers", content=json.dumps(TRANSFER), headers=headers)
    assert 201 == response.status_code


async def test_a_body_declared_too_large_is_not_read(client: httpx.AsyncClient) -> None:
    """The declared length is enough to refuse, and the connection ends with the answer."""
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        read += 1
        yield b" " * (BODY_BYTES_MAX + 1)

    headers = {**JSON, "content-length": str(BODY_BYTES_MAX + 1)}
    response = await client.post("/v1/transfers", content=body(), headers=headers)
    assert (413, "BODY_TOO_LARGE", "close") == (
        response.status_code,
        response.json()["code"],
        response.headers["connection"],
    )
    assert 0 == read


async def test_a_body_that_grows_too_large_is_cut(client: httpx.AsyncClient) -> None:
    """Without a declared length reading stops at the limit."""
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(1000):
            read += 1
            yield b" " * 1024

    response = await client.post("/v1/transfers", content=body(), headers=JSON)
    assert 413 == response.status_code
    assert BODY_BYTES_MAX // 1024 + 1 == read


@pytest.mark.parametrize(
    ("headers", "in_body"),
    [
        pytest.param([], None, id="neither"),
        pytest.param([("idempotency-key", "OTHER")], "PAY-17", id="both-and-different"),
        pytest.param([("idempotency-key", "a b")], None, id="header-outside-alphabet"),
        pytest.param([("idempotency-key", "")], None, id="header-empty"),
        pytest.param([("idempotency-key", "R" * 65)], None, id="header-too-long"),
        pytest.param([("idempotency-key", "A"), ("idempotency-key", "A")], None, id="twice"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/transfers", "/v1/accounts"])
async def test_a_request_needs_one_reference(
    client: httpx.AsyncClient,
    bank: ScriptedBank,
    path: str,
    headers: list[tuple[str, str]],
    in_body: str | None,
) -> None:
    """No reference, two different ones or a malformed one: 400."""
    account = {"customer": "C-1", "currency": "EUR"}
    body = {**(TRANSFER if path.endswith("transfers") else account), "reference": in_body}
    response = await client.post(path, json=body, headers=headers)
    assert (400, "MALFORMED") == (response.status_code, response.json()["code"])
    assert ([], []) == (bank.transfers.asked, bank.accounts.opened)


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


@pytest.mark.parametrize("body", [{}, {"status": "gone"}, {"status": None}, {"state": "open"}])
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
        ("/v1/accounts/2000000123/balance?as_of=2026-11-21", "as_of"),
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
    assert bank.accounts.asked == []


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/transfers?dry_run=1"), ("PATCH", "/v1/accounts/2000000123?force=1")],
)
async def test_a_command_takes_no_parameters(
    client: httpx.AsyncClient, bank: ScriptedBank, method: str, path: str
) -> None:
    """A parameter that a command does not know could mean what it does not do: 400."""
    body = TRANSFER if method == "POST" else {"status": "frozen"}
    response = await client.request(method, path, json=body)
    assert 400 == response.status_code
    assert ([], []) == (bank.transfers.asked, bank.accounts.asked)


async def test_a_change_of_no_account_is_refused(client: httpx.AsyncClient) -> None:
    """The account in the path is checked before the body is read."""
    response = await client.patch("/v1/accounts/12x", json={"status": "frozen"})
    assert (400, [{"parameter": "account"}]) == (
        response.status_code,
        [{"parameter": error["parameter"]} for error in response.json()["errors"]],
    )
