"""Errors are problems of RFC 9457, each with the code, status and words of its own class."""

from __future__ import annotations

import inspect
import re
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from router.errors import DirectoryUnavailable, RangeFull, RefusalReplayed, refusal
from router.http.problems import Problem
from shard.errors import (
    LedgerError,
    Malformed,
    NotFound,
    OutcomeUnknown,
    Overloaded,
    RangeMoving,
    Refused,
    SchemaMissing,
    ShardUnavailable,
)
from shard.outcomes import MEANINGS, Outcome, is_refusal_by_business
from tests.support.scripted_bank import ScriptedBank, http_client

TRANSFER = {
    "reference": "PAY-17",
    "debtor_account": "2000000123",
    "creditor_account": "3000000456",
    "amount": "20.00",
    "currency": "EUR",
}
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def bank() -> ScriptedBank:
    return ScriptedBank()


@pytest.fixture
async def client(bank: ScriptedBank) -> AsyncIterator[httpx.AsyncClient]:
    async with http_client(bank) as opened:
        yield opened


def _made_alone(kind: type[LedgerError]) -> Iterator[LedgerError]:
    """One error of each class below ``kind`` that can be made from nothing."""
    needed = [
        parameter
        for parameter in inspect.signature(kind).parameters.values()
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
    ]
    if not needed:
        yield kind()
    for below in kind.__subclasses__():
        yield from _made_alone(below)


async def _submit(
    client: httpx.AsyncClient, bank: ScriptedBank, error: Exception
) -> httpx.Response:
    bank.transfers.fail = error
    return await client.post("/v1/transfers", json=TRANSFER)


async def test_a_problem_has_all_members(client: httpx.AsyncClient, bank: ScriptedBank) -> None:
    """Media type and members are those of RFC 9457 and of this API."""
    headers = {"traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01"}
    bank.transfers.fail = refusal(Outcome.INSUFFICIENT_FUNDS)
    response = await client.post("/v1/transfers", json=TRANSFER, headers=headers)
    assert "application/problem+json" == response.headers["content-type"]
    assert {
        "type": "urn:ledger:problem:insufficient-funds",
        "title": "Insufficient funds",
        "status": 422,
        "detail": "The available balance does not cover the amount.",
        "instance": "/v1/transfers",
        "code": "INSUFFICIENT_FUNDS",
        "retryable": False,
        "trace_id": TRACE_ID,
    } == response.json()


@pytest.mark.parametrize("outcome", [o for o in Outcome if is_refusal_by_business(o)])
async def test_a_refusal_is_told_as_its_outcome_means(
    client: httpx.AsyncClient, bank: ScriptedBank, outcome: Outcome
) -> None:
    """Status and retryable of a refusal come from the one table of outcomes."""
    response = await _submit(client, bank, refusal(outcome))
    problem = Problem.model_validate_json(response.content)
    meaning = MEANINGS[outcome]
    assert (meaning.http_status, outcome, meaning.is_retryable, meaning.sentence) == (
        response.status_code,
        problem.code,
        problem.retryable,
        problem.detail,
    )


async def test_every_error_of_the_tree_is_a_problem(
    client: httpx.AsyncClient, bank: ScriptedBank
) -> None:
    """Each class tells its code, status and retryable; a fault of ours leaves all unknown."""
    errors = [error for error in _made_alone(LedgerError) if not isinstance(error, Refused)]
    assert len(errors) > 10
    for error in errors:
        response = await _submit(client, bank, error)
        problem = Problem.model_validate_json(response.content)
        retryable = error.retryable or error.code == "INTERNAL"
        assert (error.http_status, error.code, retryable) == (
            response.status_code,
            problem.code,
            problem.retryable,
        )


@pytest.mark.parametrize(
    ("error", "status", "code", "retry_after"),
    [
        (ShardUnavailable(), 503, "SHARD_UNAVAILABLE", "1"),
        (Overloaded(), 503, "OVERLOADED", "1"),
        (RangeMoving(), 503, "RANGE_MOVING", "1"),
        (DirectoryUnavailable(), 503, "DIRECTORY_UNAVAILABLE", "1"),
        (RangeFull(), 503, "RANGE_FULL", None),
        (OutcomeUnknown(), 504, "OUTCOME_UNKNOWN", None),
        (NotFound(), 404, "NOT_FOUND", None),
    ],
)
async def test_retry_after_stands_where_retrying_helps(
    client: httpx.AsyncClient,
    bank: ScriptedBank,
    error: LedgerError,
    status: int,
    code: str,
    retry_after: str | None,
) -> None:
    """503 says when to come back; what no waiting can mend does not."""
    response = await _submit(client, bank, error)
    assert (status, code, retry_after) == (
        response.status_code,
        response.json()["code"],
        response.headers.get("retry-after"),
    )


async def test_a_replayed_refusal_is_marked(client: httpx.AsyncClient, bank: ScriptedBank) -> None:
    """A refusal known before is the same 422, with the header of replays."""
    response = await _submit(client, bank, refusal(Outcome.ACCOUNT_FROZEN, is_replay=True))
    assert (422, "true") == (response.status_code, response.headers["idempotent-replayed"])


async def test_a_late_finding_is_pointed_at_too(
    client: httpx.AsyncClient, bank: ScriptedBank
) -> None:
    """A malformed request found by a use case keeps its pointer."""
    response = await _submit(client, bank, Malformed("They are the same.", pointer="/amount"))
    assert [{"detail": "They are the same.", "pointer": "/amount"}] == response.json()["errors"]


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError("secret inside"),
        ShardUnavailable("secret inside"),
        SchemaMissing("secret inside"),
    ],
)
async def test_faults_do_not_show_their_inside(
    client: httpx.AsyncClient, bank: ScriptedBank, error: Exception
) -> None:
    """Hosts, messages of drivers and traces stay in the log."""
    response = await _submit(client, bank, error)
    assert response.status_code >= 500
    assert "secret" not in response.text
    Problem.model_validate_json(response.content)


async def test_an_unexpected_fault_is_a_500(client: httpx.AsyncClient, bank: ScriptedBank) -> None:
    """A fault of ours is unknown to the client, so repeating the same request is right."""
    response = await _submit(client, bank, ZeroDivisionError())
    problem = response.json()
    assert (500, "INTERNAL", True) == (
        response.status_code,
        problem["code"],
        problem["retryable"],
    )
    assert response.headers["trace-id"] == problem["trace_id"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "allow"),
    [
        ("GET", "/nowhere", 404, "NOT_FOUND", None),
        ("GET", "/v1/transfers/", 404, "NOT_FOUND", None),
        ("DELETE", "/v1/transfers", 405, "METHOD_NOT_ALLOWED", "POST"),
        ("BREW", "/v1/transfers", 405, "METHOD_NOT_ALLOWED", "POST"),
        ("PUT", "/v1/accounts/2000000123", 405, "METHOD_NOT_ALLOWED", "GET, PATCH"),
    ],
)
async def test_unknown_paths_and_methods_are_problems(
    client: httpx.AsyncClient, method: str, path: str, status: int, code: str, allow: str | None
) -> None:
    """What the framework refuses by itself has the same shape."""
    response = await client.request(method, path)
    problem = Problem.model_validate_json(response.content)
    assert (status, code, allow) == (
        response.status_code,
        problem.code,
        response.headers.get("allow"),
    )


async def test_a_hostile_path_and_host_are_told_safely(client: httpx.AsyncClient) -> None:
    """The instance is the path as a URI reference, whatever the Host header says."""
    response = await client.get('/v1/"<b>%0A', headers={"host": "[::bad"})
    assert (404, "/v1/%22%3Cb%3E%0A") == (response.status_code, response.json()["instance"])


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "nonsense",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"ff-{TRACE_ID}-00f067aa0ba902b7-01",
        f"00-{TRACE_ID.upper()}-00f067aa0ba902b7-01",
    ],
)
async def test_a_trace_id_is_made_where_none_is_given(
    client: httpx.AsyncClient, traceparent: str
) -> None:
    """Without a valid ``traceparent`` (W3C Trace Context) each request gets an id of its own."""
    headers = {"traceparent": traceparent}
    first = (await client.get("/livez", headers=headers)).headers["trace-id"]
    second = (await client.get("/livez", headers=headers)).headers["trace-id"]
    assert re.fullmatch("[0-9a-f]{32}", first)
    assert TRACE_ID != first != second


async def test_the_callers_trace_id_is_kept(client: httpx.AsyncClient) -> None:
    """A valid ``traceparent`` names the trace on success too."""
    headers = {"traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01"}
    response = await client.get("/livez", headers=headers)
    assert TRACE_ID == response.headers["trace-id"]


async def test_openings_and_changes_tell_refusals_alike(
    client: httpx.AsyncClient, bank: ScriptedBank
) -> None:
    """A refused change of status is a 422 with its outcome."""
    bank.accounts.fail = refusal(Outcome.BALANCE_NOT_ZERO)
    response = await client.patch("/v1/accounts/2000000123", json={"status": "closed"})
    assert (422, "BALANCE_NOT_ZERO") == (response.status_code, response.json()["code"])


def test_a_replayed_refusal_is_a_refusal() -> None:
    """Whoever handles refusals handles replayed ones."""
    assert isinstance(refusal(Outcome.ACCOUNT_FROZEN, is_replay=True), RefusalReplayed)
