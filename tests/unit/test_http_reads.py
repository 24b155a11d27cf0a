"""Balances of the past, and statements in the form that was asked for, over a scripted bank."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, cast

import httpx
import pytest

from router.http import reads_api
from router.http.app import create_api, create_app
from router.http.reads_api import BalanceObject, EntryList, EntryObject, StatementObject
from router.telemetry import Metrics
from router.wiring import Bank
from shard.errors import ShardUnavailable
from tests.support.scripted_bank import ScriptedBank, http_client
from tests.support.scripted_statement import ENTRY

ACCOUNT = "/v1/accounts/2000000123"
STATEMENT = f"{ACCOUNT}/statement"
MEDIA_TYPES = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8; header=present",
    "camt.053": "application/xml",
}


@pytest.fixture
def bank() -> ScriptedBank:
    return ScriptedBank()


@pytest.fixture
async def client(bank: ScriptedBank) -> AsyncIterator[httpx.AsyncClient]:
    async with http_client(bank) as opened:
        yield opened


@pytest.mark.parametrize(
    ("text", "asked", "told"),
    [
        ("2026-11-20", date(2026, 11, 20), "2026-11-20"),
        (
            "2026-11-20T10:00:00%2B01:00",
            datetime(2026, 11, 20, 9, tzinfo=UTC),
            "2026-11-20T09:00:00Z",
        ),
    ],
)
async def test_a_balance_of_the_past_is_asked_for(
    client: httpx.AsyncClient, bank: ScriptedBank, text: str, asked: date, told: str
) -> None:
    """The point in the past reaches the use case, and the answer says what it is as of."""
    response = await client.get(f"{ACCOUNT}/balance?as_of={text}")
    assert told == BalanceObject.model_validate_json(response.content).as_of
    assert [{"account_no": 2_000_000_123, "as_of": asked}] == bank.accounts.asked


@pytest.mark.parametrize("limit", ["0", "1001", "1_0", "%2B5", "5.0", "05", " 5", "", "9" * 30])
async def test_a_page_has_a_plain_number_of_rows(
    client: httpx.AsyncClient, bank: ScriptedBank, limit: str
) -> None:
    """What some reader might take for a number is none."""
    response = await client.get(f"{ACCOUNT}/entries?limit={limit}")
    told = [each["parameter"] for each in response.json()["errors"]]
    assert (400, ["limit"]) == (response.status_code, told)
    assert bank.accounts.asked == []


@pytest.mark.parametrize(
    "query", ["entries?limit=5&limit=6", "balance?as_of=2026-11-20&as_of=2026-11-20"]
)
async def test_a_parameter_given_twice_is_refused(
    client: httpx.AsyncClient, bank: ScriptedBank, query: str
) -> None:
    """One of the two would pass unread."""
    response = await client.get(f"{ACCOUNT}/{query}")
    assert 400 == response.status_code
    assert "It is given twice." == response.json()["errors"][0]["detail"]
    assert bank.accounts.asked == []


@pytest.mark.parametrize("form", MEDIA_TYPES)
async def test_a_statement_is_answered_in_each_form(
    client: httpx.AsyncClient, bank: ScriptedBank, form: str
) -> None:
    """By ``format`` or by ``Accept``: the same answer, and a name for whoever saves it."""
    media_type = MEDIA_TYPES[form]
    query = {"from": "2026-11-01", "to": "2026-12-01"}
    named = await client.get(STATEMENT, params=query | {"format": form})
    accepted = await client.get(STATEMENT, params=query, headers={"accept": media_type})
    assert [(200, media_type)] * 2 == [
        (each.status_code, each.headers["content-type"]) for each in (named, accepted)
    ]
    assert "Accept" == named.headers["vary"]
    suffix = {"csv": ".csv", "camt.053": ".xml"}.get(form)
    name = suffix and f'attachment; filename="2000000123-2026-11-01-2026-12-01{suffix}"'
    assert name == named.headers.get("content-disposition")
    assert [(2_000_000_123, date(2026, 11, 1), date(2026, 12, 1))] * 2 == bank.statements.asked


async def test_json_is_the_form_unless_another_is_asked_for(client: httpx.AsyncClient) -> None:
    """``Accept: */*`` gets the documented object."""
    response = await client.get(STATEMENT)
    told = StatementObject.model_validate_json(response.content)
    assert ("1000.00", "980.00") == (told.opening_balance, told.closing_balance)


async def test_format_comes_before_accept(client: httpx.AsyncClient) -> None:
    """What stands in the address is what a person chose."""
    response = await client.get(f"{STATEMENT}?format=csv", headers={"accept": "application/xml"})
    assert response.headers["content-type"].startswith("text/csv")


async def test_a_form_that_is_not_offered_is_refused(
    client: httpx.AsyncClient, bank: ScriptedBank
) -> None:
    """406 as a problem, and no statement is begun."""
    response = await client.get(STATEMENT, headers={"accept": "application/pdf"})
    assert (406, "NOT_ACCEPTABLE") == (response.status_code, response.json()["code"])
    assert [] == bank.statements.asked


async def test_a_large_statement_is_streamed(
    client: httpx.AsyncClient, bank: ScriptedBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the buffer an answer has no length, and is whole all the same."""
    whole = await client.get(STATEMENT)
    monkeypatch.setattr(reads_api, "STATEMENT_BUFFER_BYTES", 10)
    streamed = await client.get(STATEMENT)
    assert (whole.content, True) == (streamed.content, "content-length" in whole.headers)
    assert "content-length" not in streamed.headers


async def test_a_small_statement_that_fails_is_a_problem(
    client: httpx.AsyncClient, bank: ScriptedBank
) -> None:
    """As long as nothing is sent, an error is told as one: wrong sums, or a shard that is gone."""
    bank.statements.chunks = [[ENTRY, ENTRY]]
    wrong = await client.get(STATEMENT)
    bank.statements.fail_midway = ShardUnavailable()
    gone = await client.get(STATEMENT)
    assert [(500, "INTERNAL"), (503, "SHARD_UNAVAILABLE")] == [
        (each.status_code, each.json()["code"]) for each in (wrong, gone)
    ]


async def test_a_streamed_statement_that_fails_is_cut_off(
    bank: ScriptedBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that has begun ends in a broken connection, never as if it were whole."""
    monkeypatch.setattr(reads_api, "STATEMENT_BUFFER_BYTES", 10)
    bank.statements.chunks = [[ENTRY, ENTRY]]
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    with pytest.raises(RuntimeError, match="response already started"):
        await create_app(cast(Bank, bank), Metrics())(_scope(), _receive, send)

    bodies = [message for message in sent if message["type"] == "http.response.body"]
    assert 200 == sent[0]["status"]
    assert bodies
    assert all(message["more_body"] for message in bodies)


async def _receive() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}


def _scope() -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": STATEMENT,
        "raw_path": STATEMENT.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"bank")],
        "client": ("127.0.0.1", 1),
        "server": ("bank", 80),
    }


async def test_documented_shapes_are_the_answered_ones(client: httpx.AsyncClient) -> None:
    """Entries and statements fit the models of the OpenAPI document, which allow nothing else."""
    entries = await client.get(f"{ACCOUNT}/entries")
    statement = await client.get(STATEMENT)
    (entry,) = EntryList.model_validate_json(entries.content).data
    assert [entry] == StatementObject.model_validate_json(statement.content).entries
    assert Decimal(entry.balance_after) == ENTRY.balance_after


def test_documented_examples_fit_their_shapes() -> None:
    """Every example of the document is an answer that could be given."""
    document = create_api(cast(Bank, ScriptedBank()), Metrics()).openapi()
    schemas = document["components"]["schemas"]
    for model in (BalanceObject, EntryObject, EntryList, StatementObject):
        (example,) = schemas[model.__name__]["examples"]
        model.model_validate(example)
    answers = document["paths"]["/v1/accounts/{account}/statement"]["get"]["responses"]
    assert set(MEDIA_TYPES.values()) - set(answers["200"]["content"]) == {MEDIA_TYPES["csv"]}
    assert "text/csv" in answers["200"]["content"]
    assert "NOT_ACCEPTABLE" in answers["406"]["content"]["application/problem+json"]["examples"]
