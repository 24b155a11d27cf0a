"""The direct route of the hot operation answers, counts and asks as the framework's route does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import unquote

import httpx
import pytest
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from router.errors import refusal
from router.http import bodies as bodies_module
from router.http.admission import Admission
from router.http.app import create_api, create_app
from router.http.direct import DirectRoute
from router.http.envelope import Envelope
from router.limits import BODY_BYTES_MAX
from router.telemetry import Metrics
from router.wiring import Bank
from shard.commands import MoneyState
from shard.errors import LedgerError, OutcomeUnknown, ShardUnavailable
from shard.outcomes import Outcome
from tests.support.scripted_bank import ScriptedBank

PATH = "/v1/transfers"
TRANSFER = {
    "reference": "PAY-17",
    "debtor_account": "2000000123",
    "creditor_account": "3000000456",
    "amount": "20.00",
    "currency": "EUR",
}
GOOD = json.dumps(TRANSFER)
UNNAMED = {name: value for name, value in TRANSFER.items() if name != "reference"}
LEGS = {
    "reference": "INV-4",
    "legs": [
        {"account": "2000000123", "amount": "-20.00"},
        {"account": "2000000456", "amount": "20.00"},
    ],
    "currency": "EUR",
}
SENT_ALWAYS = {
    "content-type": "application/json",
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
}


@dataclass(frozen=True, slots=True)
class Case:
    """One request, how the bank takes it, and the status of the answer."""

    status: int
    content: Any = GOOD
    headers: Mapping[str, str] = field(default_factory=dict)
    query: str = ""
    bank: Mapping[str, Any] = field(default_factory=dict)
    """What is set on the scripted transfers."""


async def _trickle() -> AsyncIterator[bytes]:
    yield b"{"
    await asyncio.Event().wait()


async def _endless() -> AsyncIterator[bytes]:
    while True:
        yield b" " * 1024


CASES = {
    "booked": Case(201),
    "several-legs": Case(201, LEGS),
    "in-transit": Case(202, bank={"money_state": MoneyState.IN_TRANSIT}),
    "waited-for": Case(
        201, headers={"prefer": "wait=2"}, bank={"money_state": MoneyState.IN_TRANSIT}
    ),
    "known-before": Case(200, bank={"is_replay": True}),
    "reference-in-header": Case(201, UNNAMED, {"idempotency-key": '"PAY-18"'}),
    "within-the-callers-time": Case(201, headers={"request-timeout": "2.5"}),
    "callers-time-malformed": Case(400, headers={"request-timeout": "soon"}),
    "callers-time-over": Case(
        504, headers={"request-timeout": "0.001"}, bank={"may_end": asyncio.Event()}
    ),
    "no-body": Case(400, b""),
    "broken-off": Case(400, b"{"),
    "misspelt": Case(400, {**TRANSFER, "amonut": "1.00"}),
    "given-twice": Case(400, f'{{"amount": "1.00", {GOOD[1:]}'),
    "no-reference": Case(400, UNNAMED),
    "two-references": Case(400, headers={"idempotency-key": "PAY-18"}),
    "query-parameter": Case(400, query="?dry_run=true"),
    "too-slow": Case(408, _trickle),
    "declared-too-large": Case(413, b" " * (BODY_BYTES_MAX + 1)),
    "endless": Case(413, _endless),
    "other-media-type": Case(415, headers={"content-type": "text/plain"}),
    "refused": Case(422, bank={"fail": refusal(Outcome.INSUFFICIENT_FUNDS)}),
    "refused-before": Case(422, bank={"fail": refusal(Outcome.ACCOUNT_FROZEN, is_replay=True)}),
    "shard-down": Case(503, bank={"fail": ShardUnavailable("10.0.0.1 is down")}),
    "unknown-end": Case(504, bank={"fail": OutcomeUnknown()}),
    "fault": Case(500, bank={"fail": ZeroDivisionError("a bug")}),
    "framework-refusal": Case(503, bank={"fail": HTTPException(503, headers={"Retry-After": "7"})}),
    "framework-405": Case(405, bank={"fail": HTTPException(405)}),
}
"""One of each kind of answer that the operation gives."""


def _by_framework(bank: Bank, metrics: Metrics) -> Envelope:
    return Envelope(create_api(bank, metrics), metrics, Admission(()))


async def _told(make: Callable[[Bank, Metrics], Envelope], case: Case) -> dict[str, Any]:
    """Everything that can be seen of how an application serves one request."""
    bank, metrics = ScriptedBank(), Metrics()
    for name, value in case.bank.items():
        setattr(bank.transfers, name, value)
    content = case.content() if callable(case.content) else case.content
    transport = httpx.ASGITransport(make(cast(Bank, bank), metrics))
    async with httpx.AsyncClient(transport=transport, base_url="http://bank") as client:
        with capture_logs() as logged:
            answer = await client.post(
                PATH + case.query,
                content=json.dumps(content) if isinstance(content, dict) else content,
                headers={**SENT_ALWAYS, **case.headers},
            )
    counted = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if family.name.startswith(("ledger_http_request_seconds", "ledger_transfer"))
        and sample.name.endswith(("_count", "_total"))
    }
    return {
        "status": answer.status_code,
        "headers": answer.headers.raw,
        "body": answer.content,
        "asked": bank.transfers.asked,
        "waited_s": bank.transfers.waited_s,
        "counted": counted,
        "logged": [{**line, "seconds": None} for line in logged],
    }


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_both_routes_are_the_same(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Status, headers in their order, body, metrics, log and what the bank is asked."""
    monkeypatch.setattr(bodies_module, "BODY_WAIT_S", 0.01)
    framework = await _told(_by_framework, case)
    direct = await _told(create_app, case)
    assert framework == direct
    labels = (("method", "POST"), ("route", PATH), ("status", str(case.status)))
    # What cannot be read of the caller's time is refused before any route is looked for.
    is_routed = case is not CASES["callers-time-malformed"]
    assert case.status == direct["status"]
    assert is_routed == (("ledger_http_request_seconds_count", *labels) in direct["counted"])


@pytest.mark.parametrize(
    ("method", "path", "is_direct"),
    [
        ("POST", PATH, True),
        ("GET", PATH, False),
        ("HEAD", PATH, False),
        ("OPTIONS", PATH, False),
        ("POST", f"{PATH}/", False),
        ("POST", f"{PATH}%0A", False),
        ("POST", "/v1/holds", False),
        ("GET", "/livez", False),
    ],
)
async def test_only_the_hot_operation_is_direct(method: str, path: str, is_direct: bool) -> None:
    """The framework sees all other requests, and never this one."""
    api = create_api(cast(Bank, ScriptedBank()), Metrics())
    seen = []

    async def framework(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((scope["method"], scope["path"]))
        await send({"type": "http.response.start", "status": HTTPStatus.OK, "headers": []})
        await send({"type": "http.response.body"})

    api.middleware_stack = framework
    transport = httpx.ASGITransport(DirectRoute(api, "POST", PATH))
    async with httpx.AsyncClient(transport=transport, base_url="http://bank") as client:
        answer = await client.request(method, path, json=TRANSFER, headers=SENT_ALWAYS)
    assert ([] if is_direct else [(method, unquote(path))]) == seen
    assert (201 if is_direct else 200) == answer.status_code


async def test_an_error_that_was_told_holds_nothing() -> None:
    """The lanes answer many requests with one error; their frames must not stay with it."""
    error: LedgerError = ShardUnavailable()
    await _told(create_app, Case(503, bank={"fail": error}))
    assert error.__traceback__ is None
