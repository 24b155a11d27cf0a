"""What holds for every body, whichever operation takes it: its form, its size, its reference."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import pytest

from router.http import bodies as bodies_module
from router.limits import BODY_BYTES_MAX
from tests.support.scripted_bank import ScriptedBank, http_client
from tests.support.serving import served

HOLD = "/v1/holds/2000000123/AUTH-9"
JSON = {"content-type": "application/json"}
GIGABYTE = 10**9
CHUNK = b"10000\r\n" + b"[" * 2**16 + b"\r\n"


class Operation(NamedTuple):
    """An operation with a body, and one that it takes."""

    method: str
    path: str
    body: Mapping[str, Any]


OPERATIONS = {
    "transfer": Operation(
        "POST",
        "/v1/transfers",
        {
            "reference": "PAY-17",
            "debtor_account": "2000000123",
            "creditor_account": "3000000456",
            "amount": "20.00",
            "currency": "EUR",
        },
    ),
    "reversal": Operation(
        "POST", "/v1/transfers/2000000123/PAY-17/reverse", {"reference": "REV-1", "amount": "5.00"}
    ),
    "hold": Operation(
        "POST",
        "/v1/holds",
        {
            "reference": "AUTH-9",
            "account": "2000000123",
            "amount": "30.00",
            "currency": "EUR",
            "expires_at": "2026-11-28T09:30:00Z",
        },
    ),
    "capture": Operation(
        "POST", f"{HOLD}/capture", {"reference": "CAP-9", "creditor_account": "3000000456"}
    ),
    "increase": Operation("POST", f"{HOLD}/increase", {"reference": "MORE-9", "amount": "5.00"}),
    "void": Operation("POST", f"{HOLD}/void", {"reference": "VOID-9"}),
    "opening": Operation(
        "POST", "/v1/accounts", {"reference": "OPEN-1", "customer": "C-1", "currency": "EUR"}
    ),
    "change": Operation("PATCH", "/v1/accounts/2000000123", {"status": "frozen"}),
}
WITH_REFERENCE = [name for name, each in OPERATIONS.items() if "reference" in each.body]


@pytest.fixture
def bank() -> ScriptedBank:
    return ScriptedBank()


@pytest.fixture
async def client(bank: ScriptedBank) -> AsyncIterator[httpx.AsyncClient]:
    async with http_client(bank) as opened:
        yield opened


def _asked(bank: ScriptedBank) -> list[object]:
    """Whatever reached a use case."""
    return [
        *bank.transfers.asked,
        *bank.reversals.asked,
        *bank.holds.asked,
        *bank.accounts.opened,
        *bank.accounts.asked,
    ]


async def _answers(
    client: httpx.AsyncClient, content: Callable[[Operation], Any], **headers: str
) -> dict[str, httpx.Response]:
    """What each operation answers to the body that ``content`` makes for it."""
    sent = JSON | {name.replace("_", "-"): value for name, value in headers.items()}
    return {
        name: await client.request(each.method, each.path, content=content(each), headers=sent)
        for name, each in OPERATIONS.items()
    }


def _refusals(answers: Mapping[str, httpx.Response]) -> dict[str, tuple[int, str]]:
    return {name: (each.status_code, each.json().get("code")) for name, each in answers.items()}


def _places(answers: Mapping[str, httpx.Response], kind: str) -> dict[str, list[str]]:
    """What the errors of each answer point at."""
    return {
        name: [error[kind] for error in each.json()["errors"]] for name, each in answers.items()
    }


def _all(expected: Any) -> dict[str, Any]:
    return dict.fromkeys(OPERATIONS, expected)


def _good(operation: Operation) -> str:
    return json.dumps(operation.body)


async def test_the_bodies_of_these_tests_are_good(
    client: httpx.AsyncClient, bank: ScriptedBank
) -> None:
    """Otherwise their refusals would mean nothing."""
    answers = await _answers(client, _good)
    assert _all(True) == {name: each.is_success for name, each in answers.items()}
    assert len(_asked(bank)) >= len(OPERATIONS)


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
        pytest.param(b'{"legs": ' + b'[{"legs": ' * 3000 + b"0" + b"}]" * 3000 + b"}", id="deeper"),
        pytest.param(b"[" * 60_000, id="deep-and-open"),
        pytest.param(b'{"a":' * 10_000, id="deep-objects-and-open"),
    ],
)
async def test_what_is_no_json_object_is_refused(
    client: httpx.AsyncClient, bank: ScriptedBank, body: bytes
) -> None:
    """Broken, hostile or foreign JSON: 400 MALFORMED."""
    answers = await _answers(client, lambda _: body)
    assert _all((400, "MALFORMED")) == _refusals(answers)
    assert _asked(bank) == []


@pytest.mark.parametrize("is_escaped", [False, True])
async def test_a_field_given_twice_is_refused(
    client: httpx.AsyncClient, bank: ScriptedBank, is_escaped: bool
) -> None:
    """Two readers could take different ones of two equal keys, so neither is taken."""

    def twice(operation: Operation) -> str:
        name, value = next(iter(operation.body.items()))
        again = f"\\u{ord(name[0]):04x}{name[1:]}" if is_escaped else name
        return f'{_good(operation)[:-1]}, "{again}": {json.dumps(value)}}}'

    answers = await _answers(client, twice)
    names = {name: [f"/{next(iter(each.body))}"] for name, each in OPERATIONS.items()}
    assert _all((400, "MALFORMED")) == _refusals(answers)
    assert names == _places(answers, "pointer")
    assert _asked(bank) == []


async def test_a_field_given_twice_in_a_leg_is_refused(
    client: httpx.AsyncClient, bank: ScriptedBank
) -> None:
    """Also within other members."""
    legs = '[{"account": "2", "amount": "-1", "amount": "-9"}, {"account": "3", "amount": "1"}]'
    body = f'{{"reference": "PAY-17", "currency": "EUR", "legs": {legs}}}'
    response = await client.post("/v1/transfers", content=body, headers=JSON)
    assert (400, "MALFORMED") == (response.status_code, response.json()["code"])
    assert ["/legs/0/amount"] == [each["pointer"] for each in response.json()["errors"]]
    assert _asked(bank) == []


async def test_a_misspelt_field_is_refused(client: httpx.AsyncClient, bank: ScriptedBank) -> None:
    """A name that is not known could mean what is not done: 400, pointed at."""
    answers = await _answers(client, lambda each: json.dumps({**each.body, "amonut": "1.00"}))
    assert _all((400, "MALFORMED")) == _refusals(answers)
    assert _all(["/amonut"]) == _places(answers, "pointer")
    assert _asked(bank) == []


@pytest.mark.parametrize(
    "media_type",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/x-ndjson",
        "application/json, text/plain",
        "application/json; charset=latin-1",
    ],
)
async def test_another_media_type_is_refused(
    client: httpx.AsyncClient, bank: ScriptedBank, media_type: str
) -> None:
    """A body that does not say it is JSON in UTF-8: 415 as a problem."""
    answers = await _answers(client, _good, content_type=media_type)
    assert _all((415, "MEDIA_TYPE_UNSUPPORTED")) == _refusals(answers)
    assert _asked(bank) == []


async def test_a_charset_that_fits_is_taken(client: httpx.AsyncClient) -> None:
    """``charset=utf-8`` may be said."""
    answers = await _answers(client, _good, content_type='Application/JSON; charset="UTF-8"')
    assert _all(True) == {name: each.is_success for name, each in answers.items()}


async def test_a_command_takes_no_parameters(client: httpx.AsyncClient, bank: ScriptedBank) -> None:
    """A parameter that a command does not know could mean what it does not do: 400."""
    answers = {
        name: await client.request(each.method, f"{each.path}?dry_run=1", json=each.body)
        for name, each in OPERATIONS.items()
    }
    assert _all((400, "MALFORMED")) == _refusals(answers)
    assert _all(["dry_run"]) == _places(answers, "parameter")
    assert _asked(bank) == []


@pytest.mark.parametrize("declared", [BODY_BYTES_MAX + 1, GIGABYTE, 10**30])
async def test_a_body_declared_too_large_is_not_read(
    client: httpx.AsyncClient, declared: int
) -> None:
    """The declared length is enough to refuse, and the connection ends with the answer."""
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        read += 1
        yield b" " * (BODY_BYTES_MAX + 1)

    answers = await _answers(client, lambda _: body(), content_length=str(declared))
    assert _all((413, "BODY_TOO_LARGE")) == _refusals(answers)
    assert _all("close") == {name: each.headers["connection"] for name, each in answers.items()}
    assert 0 == read


async def test_a_body_that_never_ends_is_cut(client: httpx.AsyncClient) -> None:
    """Without a declared length reading stops at the limit."""
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b" " * 1024

    answers = await _answers(client, lambda _: body())
    assert _all((413, "BODY_TOO_LARGE")) == _refusals(answers)
    assert len(OPERATIONS) * (BODY_BYTES_MAX // 1024 + 1) == read


async def test_a_body_that_stops_arriving_is_not_waited_for(
    client: httpx.AsyncClient, bank: ScriptedBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever trickles is told so, may come again, and loses his connection and his place."""
    monkeypatch.setattr(bodies_module, "BODY_WAIT_S", 0.01)

    async def body() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    answers = await _answers(client, lambda _: body())
    unit = await client.post(
        "/v1/transfers/bulk?atomic=true",
        content=body(),
        headers={"content-type": "application/x-ndjson"},
    )
    assert (408, "BODY_TOO_SLOW") == (unit.status_code, unit.json()["code"])
    assert _all((408, "BODY_TOO_SLOW")) == _refusals(answers)
    assert _all("close") == {name: each.headers["connection"] for name, each in answers.items()}
    assert _all(True) == {name: each.json()["retryable"] for name, each in answers.items()}
    assert _asked(bank) == []


@pytest.mark.parametrize("path", ["/v1/transfers", "/v1/transfers/bulk?atomic=true"])
async def test_a_gigabyte_on_one_line_is_refused_early(path: str) -> None:
    """On a real connection the answer comes while most of the body is still to be sent."""
    media_type = "application/x-ndjson" if "bulk" in path else "application/json"
    head = (
        f"POST {path} HTTP/1.1\r\nHost: bank\r\nContent-Type: {media_type}\r\n"
        "Transfer-Encoding: chunked\r\n\r\n"
    )
    async with served(ScriptedBank()) as url:
        address = urlsplit(url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(head.encode())
        sending = asyncio.create_task(_send_a_gigabyte(writer))
        answer = await reader.readuntil(b"\r\n\r\n")
        sent_bytes = await sending
        writer.close()
    assert b"HTTP/1.1 413 " == answer[:13]
    assert sent_bytes < GIGABYTE // 10


async def _send_a_gigabyte(writer: asyncio.StreamWriter) -> int:
    """Bytes that were sent before the other side hung up."""
    sent_bytes = 0
    try:
        while sent_bytes < GIGABYTE:
            writer.write(CHUNK)
            await writer.drain()
            sent_bytes += len(CHUNK)
    except ConnectionError:
        pass
    return sent_bytes


@pytest.mark.parametrize(
    ("headers", "in_body"),
    [
        pytest.param([], None, id="neither"),
        pytest.param([("idempotency-key", "OTHER")], "PAY-17", id="both-and-different"),
        pytest.param([("idempotency-key", "pay-17")], "PAY-17", id="other-case"),
        pytest.param([("idempotency-key", "a b")], None, id="header-outside-alphabet"),
        pytest.param([("idempotency-key", "")], None, id="header-empty"),
        pytest.param([("idempotency-key", '""')], None, id="header-empty-string"),
        pytest.param([("idempotency-key", '"A')], None, id="header-half-quoted"),
        pytest.param([("idempotency-key", "R" * 65)], None, id="header-too-long"),
        pytest.param([("idempotency-key", "A"), ("idempotency-key", "A")], None, id="twice"),
    ],
)
async def test_a_request_needs_one_reference(
    client: httpx.AsyncClient,
    bank: ScriptedBank,
    headers: list[tuple[str, str]],
    in_body: str | None,
) -> None:
    """No reference, two different ones or a malformed one: 400."""
    answers = {
        name: await client.request(
            each.method, each.path, json={**each.body, "reference": in_body}, headers=headers
        )
        for name, each in OPERATIONS.items()
        if name in WITH_REFERENCE
    }
    assert dict.fromkeys(WITH_REFERENCE, (400, "MALFORMED")) == _refusals(answers)
    assert _asked(bank) == []


@pytest.mark.parametrize("key", ["KEY-1", '"KEY-1"'])
@pytest.mark.parametrize("in_body", [None, "KEY-1"])
async def test_the_header_names_a_request(
    client: httpx.AsyncClient, key: str, in_body: str | None
) -> None:
    """Bare or as a structured string; the body's own reference agrees or is absent."""
    for name in WITH_REFERENCE:
        method, path, body = OPERATIONS[name]
        sent = {**body, "reference": in_body}
        response = await client.request(method, path, json=sent, headers={"idempotency-key": key})
        assert response.is_success, name
