"""The client's own rules: what it repeats, when it stops, what its errors say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import httpx
import orjson
import pytest

import router.client
from router.client import (
    BulkResult,
    ClientError,
    LedgerClient,
    Leg,
    LegsOrder,
    Malformed,
    NoAnswer,
    NotFound,
    OutcomeUnknown,
    Refused,
    Retries,
    TransferOrder,
    Unavailable,
    UnexpectedAnswer,
)
from router.limits import CLIENT_PAUSE_MAX_S, CLIENT_REPEATS, CLIENT_RETRY_AFTER_MAX_S

ORDER = TransferOrder("PAY-17", "2000000123", "3000000456", Decimal("20.00"), "EUR")
TRANSFER = {
    "id": "0193a4f2-7c1e-7000-8000-000000000001",
    "reference": "PAY-17",
    "kind": "ordinary",
    "debtor_account": "2000000123",
    "creditor_account": "3000000456",
    "legs": None,
    "amount": "20.00",
    "currency": "EUR",
    "request_state": "accepted",
    "money_state": "posted",
    "evidence_state": "present",
    "code": None,
    "business_date": "2026-11-21",
    "value_date": "2026-11-21",
    "posted_at": "2026-11-21T09:30:00.123456Z",
    "delivered_at": None,
    "workflow": None,
    "something_new": 1,
}

Answer = httpx.Response | httpx.TransportError


class Ledger:
    """Answers in turn what the test scripted; the last answer again and again."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.pauses_s: list[float] = []

    def client(self, repeats: int = CLIENT_REPEATS) -> LedgerClient:
        """A client that talks to it, and pauses without waiting."""
        transport = httpx.MockTransport(self._answer)
        retries = Retries(repeats=repeats, sleep=self._pause)
        return LedgerClient("http://ledger", transport=transport, retries=retries)

    async def _pause(self, seconds: float) -> None:
        self.pauses_s.append(seconds)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, httpx.TransportError):
            raise answer
        return answer


def told(document: Any, status: int = 201, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, content=orjson.dumps(document), headers=named)


def problem(status: int, code: str, *, retryable: bool = False, **headers: str) -> httpx.Response:
    document = {
        "type": "urn:ledger:problem:x",
        "title": "X",
        "status": status,
        "detail": "A sentence.",
        "instance": "/v1/transfers",
        "code": code,
        "retryable": retryable,
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "errors": [{"detail": "Wrong.", "pointer": "/amount"}],
    }
    return told(document, status, **headers)


def test_exported_names_are_stable() -> None:
    """Programs are written against these names."""
    assert sorted(router.client.__all__) == [
        "Account", "Balance", "BulkResult", "Captured", "ClientError", "DuplexTransport", "Entry",
        "Hold", "LedgerClient", "Leg", "LegsOrder", "Malformed", "NoAnswer", "NotFound", "Order",
        "OutcomeUnknown", "Refused", "Retries", "Transfer", "TransferOrder", "Unavailable",
        "UnexpectedAnswer", "WrongField",
    ]  # fmt: skip


async def test_an_answer_is_read_into_types() -> None:
    """Money is decimal, times are aware, what is not known yet is passed over."""
    async with Ledger(told(TRANSFER, idempotent_replayed="true")).client() as client:
        transfer = await client.transfer(ORDER)
    assert (Decimal("20.00"), date(2026, 11, 21), True) == (
        transfer.amount,
        transfer.business_date,
        transfer.is_replay,
    )
    assert datetime(2026, 11, 21, 9, 30, 0, 123456, tzinfo=UTC) == transfer.posted_at


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("late"),
        httpx.RemoteProtocolError("cut"),
        problem(503, "OVERLOADED", retryable=True),
        problem(504, "OUTCOME_UNKNOWN", retryable=True),
        problem(500, "INTERNAL", retryable=True),
        httpx.Response(502, text="<html>bad gateway</html>"),
    ],
    ids=lambda failure: str(getattr(failure, "status_code", type(failure).__name__)),
)
async def test_what_has_no_answer_is_repeated_as_it_is(failure: Answer) -> None:
    """The same bytes under the same reference, until there is an answer that stays."""
    ledger = Ledger(failure, failure, told(TRANSFER))
    async with ledger.client() as client:
        await client.transfer(ORDER)
    assert [ledger.requests[0].content] * 3 == [each.content for each in ledger.requests]
    assert "PAY-17" == orjson.loads(ledger.requests[0].content)["reference"]


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "MALFORMED", Malformed),
        (404, "NOT_FOUND", NotFound),
        (413, "BODY_TOO_LARGE", Malformed),
        (415, "MEDIA_TYPE_UNSUPPORTED", Malformed),
        (422, "INSUFFICIENT_FUNDS", Refused),
        (503, "RANGE_FULL", Unavailable),
        (418, "TEAPOT", UnexpectedAnswer),
    ],
)
async def test_an_answer_that_stays_is_an_error_at_once(
    status: int, code: str, kind: type[ClientError]
) -> None:
    """Not repeated; the error is of its own class and carries the whole problem."""
    ledger = Ledger(problem(status, code))
    async with ledger.client() as client:
        with pytest.raises(ClientError) as caught:
            await client.transfer(ORDER)
    error = caught.value
    assert (kind, 1) == (type(error), len(ledger.requests))
    assert (code, status, False, "4bf92f3577b34da6a3ce929d0e0e4736", "A sentence.") == (
        error.code,
        error.status,
        error.retryable,
        error.trace_id,
        error.detail,
    )
    assert ["/amount"] == [each.pointer for each in error.errors]


async def test_a_refusal_says_whether_it_is_a_replay() -> None:
    """The same request was refused before."""
    replayed = problem(422, "INSUFFICIENT_FUNDS", idempotent_replayed="true")
    async with Ledger(replayed).client() as client:
        with pytest.raises(Refused) as caught:
            await client.transfer(ORDER)
    assert caught.value.is_replay


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (httpx.ConnectError("refused"), NoAnswer),
        (problem(503, "SHARD_UNAVAILABLE", retryable=True), Unavailable),
        (problem(504, "OUTCOME_UNKNOWN", retryable=True), OutcomeUnknown),
        (httpx.Response(502, text="bad gateway"), OutcomeUnknown),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_repeats_end(failure: Answer, kind: type[ClientError]) -> None:
    """After so many the last failure is told; it may be repeated later, with the same reference."""
    ledger = Ledger(failure)
    async with ledger.client(repeats=3) as client:
        with pytest.raises(kind) as caught:
            await client.transfer(ORDER)
    assert (4, 3, True) == (len(ledger.requests), len(ledger.pauses_s), caught.value.retryable)


async def test_retry_after_is_honoured() -> None:
    """No repeat before the time the ledger asked for, and not exactly then either."""
    busy = problem(503, "OVERLOADED", retryable=True, retry_after="7")
    ledger = Ledger(busy, busy, busy, told(TRANSFER))
    async with ledger.client() as client:
        await client.transfer(ORDER)
    assert all(7 < pause_s <= 7 + CLIENT_PAUSE_MAX_S for pause_s in ledger.pauses_s)
    assert 3 == len(set(ledger.pauses_s))


@pytest.mark.parametrize("header", ["Fri, 31 Dec 1999 23:59:59 GMT", "-1", "x", ""])
async def test_a_retry_after_that_cannot_be_read_is_none(header: str) -> None:
    """Then the client's own pause counts."""
    ledger = Ledger(problem(503, "OVERLOADED", retryable=True, retry_after=header), told(TRANSFER))
    async with ledger.client() as client:
        await client.transfer(ORDER)
    assert ledger.pauses_s[0] <= CLIENT_PAUSE_MAX_S


async def test_a_hostile_retry_after_is_bounded() -> None:
    """Nobody can send a client to sleep for a year."""
    busy = problem(503, "OVERLOADED", retryable=True, retry_after="31536000")
    ledger = Ledger(busy, told(TRANSFER))
    async with ledger.client() as client:
        await client.transfer(ORDER)
    assert ledger.pauses_s[0] <= CLIENT_RETRY_AFTER_MAX_S + CLIENT_PAUSE_MAX_S


async def test_pauses_grow_up_to_a_bound() -> None:
    """Each lies at random between a half and the whole of its bound, which doubles."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    retries = Retries(first_pause_s=1.0, longest_pause_s=8.0, sleep=sleep)
    for repeat in (0, 1, 2, 3, 4, 2_000):
        await retries.pause(repeat)
    bounds = [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    assert all(top / 2 <= s <= top for top, s in zip(bounds, slept, strict=True))
    assert 6 == len(set(slept))


async def test_the_callers_trace_goes_with_the_request() -> None:
    """``traceparent`` is sent where it is given, and only there."""
    ledger = Ledger(told(TRANSFER))
    async with ledger.client() as client:
        await client.transfer(ORDER, traceparent="00-a-b-01")
        await client.get_transfer("2000000123", "PAY-17")
    assert ["00-a-b-01", None] == [each.headers.get("traceparent") for each in ledger.requests]


async def test_a_segment_stays_within_its_path() -> None:
    """Whatever a caller puts into an account or reference cannot name another resource."""
    ledger = Ledger(told(TRANSFER))
    async with ledger.client() as client:
        await client.get_transfer("1/../2", "A?b#c:d")
    assert b"/v1/transfers/1%2F..%2F2/A%3Fb%23c:d" == ledger.requests[0].url.raw_path


async def test_absent_fields_are_not_sent() -> None:
    """The ledger hashes what it is told, so nothing is told that was not said."""
    ledger = Ledger(told(TRANSFER))
    async with ledger.client() as client:
        await client.transfer(ORDER)
        legs = (Leg("2000000123", Decimal(-20)), Leg("3000000456", Decimal("2E1")))
        await client.transfer(LegsOrder("PAY-18", "EUR", legs, value_date=date(2026, 11, 24)))
    plain, split = (orjson.loads(each.content) for each in ledger.requests)
    assert {"reference", "debtor_account", "creditor_account", "amount", "currency"} == set(plain)
    assert {
        "reference": "PAY-18",
        "currency": "EUR",
        "legs": [
            {"account": "2000000123", "amount": "-20"},
            {"account": "3000000456", "amount": "20"},
        ],
        "value_date": "2026-11-24",
    } == split


async def test_waiting_is_asked_for() -> None:
    """``wait_s`` becomes ``Prefer: wait``."""
    ledger = Ledger(told(TRANSFER))
    async with ledger.client() as client:
        await client.transfer(ORDER, wait_s=5)
    assert "wait=5" == ledger.requests[0].headers["prefer"]


@pytest.mark.parametrize(
    ("as_of", "asked"),
    [
        (date(2026, 11, 21), "2026-11-21"),
        (datetime(2026, 11, 21, 9, 30, tzinfo=UTC), "2026-11-21T09:30:00+00:00"),
        (None, None),
    ],
)
async def test_a_balance_is_asked_for_a_point_in_time(
    as_of: date | datetime | None, asked: str | None
) -> None:
    """A date is a business date, a time is told in UTC."""
    balance = {
        "account": "1",
        "currency": "EUR",
        "ledger": "1.00",
        "held": "0.00",
        "available": None,
        "in_transit": "0.00",
        "seq": 41,
        "as_of": asked or "2026-11-21T09:30:00Z",
    }
    ledger = Ledger(told(balance, 200))
    async with ledger.client() as client:
        read = await client.balance("1", as_of=as_of)
    assert asked == ledger.requests[0].url.params.get("as_of")
    assert (as_of or datetime(2026, 11, 21, 9, 30, tzinfo=UTC), None) == (
        read.as_of,
        read.available,
    )


def stream_of(*answers: Any) -> httpx.Response:
    body = b"".join(orjson.dumps(each, option=orjson.OPT_APPEND_NEWLINE) for each in answers)
    return httpx.Response(200, content=body)


def booked(line: int) -> dict[str, Any]:
    return {"line": line, "status": 201, "transfer": TRANSFER}


def orders(count: int) -> list[TransferOrder]:
    return [
        TransferOrder(f"PAY-{n}", "2000000123", "3000000456", Decimal(1), "EUR")
        for n in range(1, count + 1)
    ]


def references(request: httpx.Request) -> list[str]:
    return [orjson.loads(line)["reference"] for line in request.content.splitlines()]


async def results_of(
    client: LedgerClient, given: Any, seen: list[BulkResult] | None = None
) -> list[BulkResult]:
    """All results; those that come before an error are ``seen``."""
    results = [] if seen is None else seen
    async for result in client.bulk(given):
        results.append(result)
    return results


async def test_a_stream_goes_on_where_it_broke_off() -> None:
    """Orders without an answer begin the next stream; results are counted on."""
    ledger = Ledger(stream_of(booked(1)), stream_of(booked(1), booked(2)))
    async with ledger.client() as client:
        results = await results_of(client, orders(3))
    assert [["PAY-1", "PAY-2", "PAY-3"], ["PAY-2", "PAY-3"]] == [
        references(each) for each in ledger.requests
    ]
    assert [1, 2, 3] == [each.line for each in results]


async def test_a_stream_that_gets_nowhere_is_given_up() -> None:
    """So many streams without a single answer, and the caller is told."""
    ledger = Ledger(httpx.ConnectError("refused"))
    async with ledger.client(repeats=2) as client:
        with pytest.raises(NoAnswer):
            await results_of(client, orders(3))
    assert (3, 2) == (len(ledger.requests), len(ledger.pauses_s))


async def test_progress_begins_the_count_of_repeats_anew() -> None:
    """A long stream over a bad line ends, however often it breaks off."""
    ledger = Ledger(*[stream_of(booked(1)) for _ in range(9)])
    async with ledger.client(repeats=1) as client:
        assert 9 == len(await results_of(client, orders(9)))


async def test_a_stream_that_is_refused_is_an_error() -> None:
    """What is wrong with the stream itself is not repeated."""
    ledger = Ledger(problem(415, "MEDIA_TYPE_UNSUPPORTED"))
    async with ledger.client() as client:
        with pytest.raises(Malformed):
            await results_of(client, orders(1))
    assert 1 == len(ledger.requests)


async def test_an_answer_to_no_order_is_not_taken_for_one() -> None:
    """A last line that tells why the stream broke is no result, and the stream is taken up."""
    stalled = orjson.loads(problem(408, "BODY_STALLED", retryable=True).content)
    broken = stream_of(booked(1), {"line": 2, "status": 408, "problem": stalled})
    ledger = Ledger(broken, stream_of(booked(1)))
    async with ledger.client() as client:
        results = await results_of(client, orders(2))
    assert [(1, 201), (2, 201)] == [(each.line, each.status) for each in results]


async def test_a_lines_problem_is_its_result() -> None:
    """One order's error ends nothing."""
    refused = orjson.loads(problem(422, "INSUFFICIENT_FUNDS").content)
    ledger = Ledger(stream_of({"line": 1, "status": 422, "problem": refused}, booked(2)))
    async with ledger.client() as client:
        first, second = await results_of(client, orders(2))
    assert isinstance(first.error, Refused)
    assert (None, "INSUFFICIENT_FUNDS") == (first.transfer, first.error.code)
    assert second.transfer is not None


async def test_orders_may_come_one_by_one() -> None:
    """An asynchronous iterator is asked for each order once, also when a stream breaks off."""
    asked: list[str] = []

    async def coming() -> AsyncIterator[TransferOrder]:
        for order in orders(3):
            asked.append(order.reference)
            yield order

    ledger = Ledger(stream_of(booked(1)), stream_of(booked(1), booked(2)))
    async with ledger.client() as client:
        assert 3 == len(await results_of(client, coming()))
    assert ["PAY-1", "PAY-2", "PAY-3"] == asked


async def test_a_failing_iterator_is_told_after_the_answers() -> None:
    """What was sent before it is answered; then the caller's own error is raised."""

    def failing() -> Any:
        yield from orders(2)
        raise KeyError("no more")

    ledger = Ledger(stream_of(booked(1), booked(2)))
    results: list[BulkResult] = []
    async with ledger.client() as client:
        with pytest.raises(KeyError):
            await results_of(client, failing(), results)
    assert 2 == len(results)


async def test_a_unit_is_repeated_as_a_whole() -> None:
    """Never a part of it: another part may have been booked."""
    ledger = Ledger(httpx.ReadError("cut"), stream_of(booked(1), booked(2)))
    async with ledger.client() as client:
        results = [each async for each in client.bulk(orders(2), atomic=True)]
    assert [["PAY-1", "PAY-2"]] * 2 == [references(each) for each in ledger.requests]
    assert "true" == ledger.requests[0].url.params["atomic"]
    assert 2 == len(results)
