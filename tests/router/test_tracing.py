"""Traces: one transfer can be followed from its request to its settlement on another shard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import format_trace_id

from deploy.embedded.temporal import TemporalServer
from router.http.app import create_app
from router.telemetry import Metrics, tracing_from_environment
from router.tracing import Tracing
from router.wiring import Bank
from shard.ids import new_id
from tests.support.bank import at_rest, findings, open_account, settings_of
from tests.support.databases import Databases
from tests.support.interleaving import holder

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
HEADERS = {"traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01", "Prefer": "wait=10"}
_PATIENCE_S = 20.0
_URL = "http://127.0.0.1:9"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracing(exporter: InMemorySpanExporter) -> Tracing:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Tracing(provider)


@pytest.fixture
async def traced_bank(
    servers: Databases, temporal: TemporalServer, tracing: Tracing
) -> AsyncIterator[Bank]:
    """A bank whose traces stay in memory."""
    async with Bank(settings_of(servers, temporal), tracing=tracing) as opened:
        yield opened
        await at_rest(opened)
        assert await findings(opened.shards) == []


@pytest.fixture
async def client(traced_bank: Bank, tracing: Tracing) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(traced_bank, Metrics(), tracing))
    async with httpx.AsyncClient(transport=transport, base_url="http://bank") as opened:
        yield opened


async def spans_of(exporter: InMemorySpanExporter, *last: str) -> list[ReadableSpan]:
    """The spans of the caller's trace, once those named ``last`` have ended."""
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            found = [
                span
                for span in exporter.get_finished_spans()
                if format_trace_id(span.context.trace_id) == TRACE_ID
            ]
            if set(last) <= {span.name for span in found}:
                return found
            await asyncio.sleep(0.01)  # sleep: the end of a span has no event here


def ancestors(span: ReadableSpan, spans: list[ReadableSpan]) -> list[str]:
    """The names of the spans around one, from the inside out."""
    by_id = {each.context.span_id: each for each in spans}
    names = []
    while span.parent is not None and span.parent.span_id in by_id:
        span = by_id[span.parent.span_id]
        names.append(span.name)
    return names


async def _transfer(
    client: httpx.AsyncClient,
    bank: Bank,
    creditor_shard: int,
    headers: Mapping[str, str] = HEADERS,
) -> httpx.Response:
    debtor = await open_account(bank.shards[1], "100.00")
    body = {
        "reference": str(new_id()),
        "debtor_account": str(debtor),
        "creditor_account": str(await open_account(bank.shards[creditor_shard])),
        "amount": "20.00",
        "currency": "EUR",
    }
    return await client.post("/v1/transfers", json=body, headers=headers)


async def test_a_transfer_is_traced_from_request_to_settlement(
    client: httpx.AsyncClient, traced_bank: Bank, exporter: InMemorySpanExporter
) -> None:
    """The settlement belongs, through workflow, convoy and batch, to the caller's own trace."""
    response = await _transfer(client, traced_bank, 2)
    spans = await spans_of(exporter, "POST /v1/transfers", "ledger.convoy")
    settle = next(span for span in spans if span.name == "ledger.settle")
    batches = [ancestors(span, spans) for span in spans if span.name == "ledger.post_batch"]

    assert (201, "delivered") == (response.status_code, response.json()["money_state"])
    around = ancestors(settle, spans)
    ours = [name for name in around if not name.endswith((":convoy", ":carry_convoy"))]
    assert ["ledger.convoy", "ledger.post_batch", "POST /v1/transfers"] == ours
    assert {"StartWorkflow:convoy", "RunActivity:carry_convoy"} < set(around)
    deliver = next(span for span in spans if span.name == "ledger.deliver")
    assert [["POST /v1/transfers"], around] == [*batches, ancestors(deliver, spans)]


async def test_both_sides_keep_the_callers_trace(
    client: httpx.AsyncClient, traced_bank: Bank, servers: Databases
) -> None:
    """The trace of a transfer is found in the books of debtor and creditor; nobody else's is."""
    response = await _transfer(client, traced_bank, 2)
    kept = []
    for shard in (1, 2):
        async with holder(servers.shard_owner_dsns[shard]) as look:
            rows = await look.execute(
                "SELECT trace_id FROM ledger.transfer WHERE id = %s", (response.json()["id"],)
            )
            kept += [trace_id for (trace_id,) in rows]
    untraced = await _transfer(client, traced_bank, 1, {"Prefer": "wait=10"})
    async with holder(servers.shard_owner_dsns[1]) as look:
        rows = await look.execute(
            "SELECT trace_id FROM ledger.transfer WHERE id = %s", (untraced.json()["id"],)
        )

    assert [TRACE_ID, TRACE_ID] == kept
    assert [(None,)] == rows


async def test_a_request_is_told_by_the_names_of_the_field(
    client: httpx.AsyncClient, traced_bank: Bank, exporter: InMemorySpanExporter
) -> None:
    """Route and status, the wait for a lane, and no account number anywhere."""
    response = await _transfer(client, traced_bank, 1)
    spans = await spans_of(exporter, "POST /v1/transfers")
    request = next(span for span in spans if span.name == "POST /v1/transfers")

    assert TRACE_ID == response.headers["trace-id"]
    assert {
        "http.request.method": "POST",
        "url.scheme": "http",
        "http.route": "/v1/transfers",
        "http.response.status_code": 201,
    } == dict(request.attributes or {})
    assert {"POST /v1/transfers", "ledger.lane.wait", "ledger.post_batch"} == {
        span.name for span in spans
    }
    assert response.json()["debtor_account"] not in "".join(span.to_json() for span in spans)


async def test_those_of_one_batch_are_linked(
    client: httpx.AsyncClient, traced_bank: Bank, tracing: Tracing, exporter: InMemorySpanExporter
) -> None:
    """A span with several causes belongs to none of them, and links to each."""
    contexts = []
    for name in ("first", "second"):
        with tracing.span(name):
            contexts.append(tracing.here())
    with tracing.span("both", causes=contexts):
        pass
    both = next(span for span in exporter.get_finished_spans() if span.name == "both")

    assert (None, contexts) == (both.parent, [link.context for link in both.links])


@pytest.mark.parametrize(
    ("environment", "is_on"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": _URL}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": _URL, "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": _URL, "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)  # fmt: skip
def test_traces_are_made_where_the_environment_says_so(
    environment: dict[str, str], is_on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a standard variable that names a collector there are none, and they cost nothing."""
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                 "OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    tracing = tracing_from_environment()
    try:
        assert is_on == (tracing is not None)
    finally:
        if tracing is not None:
            tracing.close()
