"""Streams of orders: sent and answered at the same time, and taken up again where they broke off.

An order is kept until it is answered. When a stream breaks off, the next one begins with the
orders that were not answered: those that were executed are told as replays, as each of them is
known by its reference.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import aclosing
from http import HTTPStatus
from itertools import islice
from typing import Any, Final

import httpx
import orjson

from router.client.answers import BulkResult, bulk_result_of
from router.client.calls import Calls, no_answer
from router.client.errors import ClientError, UnexpectedAnswer, error_of_problem
from router.client.orders import Order
from router.limits import (
    CLIENT_BULK_CHUNK_LINES,
    CLIENT_BULK_SILENCE_S,
    CLIENT_BULK_UNANSWERED_LINES,
)

_PATH: Final = "/v1/transfers/bulk"
_MEDIA_TYPE: Final = "application/x-ndjson"
_NO_SENSE: Final[Mapping[str, Any]] = {"code": "NO_ANSWER", "status": None, "retryable": True}


async def stream_orders(
    calls: Calls, orders: Iterable[Order] | AsyncIterable[Order], headers: Mapping[str, str]
) -> AsyncGenerator[BulkResult, None]:
    """One result per order, in their order; raises ``ClientError`` when no stream gets through."""
    feed = _Feed(orders)
    repeat = 0
    while True:
        answered = feed.answered
        error: ClientError | None = None
        try:
            async with aclosing(_one_stream(calls, feed, headers)) as results:
                async for result in results:
                    yield result
        except httpx.TransportError as failure:
            error = no_answer(failure)
        except ClientError as refused:
            error = refused
        if error is not None and not error.retryable:
            raise error
        if feed.is_done:
            break
        error = error or UnexpectedAnswer("The stream ended early.", **_NO_SENSE)
        if feed.answered > answered or _was_idle(error, feed):
            repeat = 0
        elif repeat >= calls.retries.repeats:
            raise error
        await calls.retries.pause(repeat, error.retry_after_s)
        repeat += 1
    if feed.failure is not None:
        raise feed.failure


async def submit_unit(
    calls: Calls, orders: Iterable[Order] | AsyncIterable[Order], headers: Mapping[str, str]
) -> list[BulkResult]:
    """One result per order of a unit that is booked as a whole or not at all."""
    source = _Source(orders)
    body = b""
    while lines := [_line(order) for order in await source.some()]:
        body += b"".join(lines)
    told = await calls.send(
        "POST",
        _PATH,
        body=body,
        query={"atomic": "true"},
        headers={**headers, "Content-Type": _MEDIA_TYPE},
    )
    documents = [orjson.loads(line) for line in told.content.splitlines()]
    return [bulk_result_of(each, each["line"]) for each in documents]


async def _one_stream(
    calls: Calls, feed: _Feed, headers: Mapping[str, str]
) -> AsyncGenerator[BulkResult, None]:
    feed.begin()
    async with calls.stream(
        "POST",
        _PATH,
        body=feed.lines(),
        headers={**headers, "Content-Type": _MEDIA_TYPE},
        silence_s=CLIENT_BULK_SILENCE_S,
    ) as response:
        begun = b""
        async for part in response.aiter_bytes():
            *lines, begun = (begun + part).split(b"\n")
            for line in lines:
                yield feed.answer(orjson.loads(line))


class _Feed:
    """The orders as lines, from the first that is not answered."""

    def __init__(self, orders: Iterable[Order] | AsyncIterable[Order]) -> None:
        self.unanswered: deque[bytes] = deque()
        self.answered = 0
        self.failure: Exception | None = None
        """What the caller's own iterator raised; told once all before it is answered."""
        self._source = _Source(orders)
        self._is_exhausted = False
        self._room = asyncio.Event()
        self._position = 0

    @property
    def is_done(self) -> bool:
        """Whether every order is answered."""
        return self._is_exhausted and not self.unanswered

    def begin(self) -> None:
        """A new stream begins: its lines are counted from 1 again."""
        self._position = 0

    async def lines(self) -> AsyncIterator[bytes]:
        """The body of one stream; waits while too many lines are unanswered."""
        repeated = list(self.unanswered)
        for start in range(0, len(repeated), CLIENT_BULK_CHUNK_LINES):
            yield b"".join(repeated[start : start + CLIENT_BULK_CHUNK_LINES])
        while not self._is_exhausted:
            while len(self.unanswered) >= CLIENT_BULK_UNANSWERED_LINES:
                self._room.clear()
                await self._room.wait()
            try:
                lines = [_line(order) for order in await self._source.some()]
            except Exception as error:  # noqa: BLE001  raised again where the caller can catch it
                self.failure = error
                lines = []
            self._is_exhausted = not lines
            self.unanswered.extend(lines)
            yield b"".join(lines)

    def answer(self, told: Mapping[str, Any]) -> BulkResult:
        """The result of the oldest order; raises ``ClientError`` for what answers no order."""
        self._position += 1
        is_stalled = told["status"] == HTTPStatus.REQUEST_TIMEOUT
        if is_stalled or not self.unanswered or told["line"] != self._position:
            if "problem" in told:
                raise error_of_problem(told["problem"])
            raise UnexpectedAnswer("The answers do not fit the lines.", **_NO_SENSE)
        self.unanswered.popleft()
        self._room.set()
        self.answered += 1
        return bulk_result_of(told, self.answered)


class _Source:
    """The caller's orders, a few at a time; asking again after a cancelled question loses none."""

    def __init__(self, orders: Iterable[Order] | AsyncIterable[Order]) -> None:
        self._later = aiter(orders) if isinstance(orders, AsyncIterable) else None
        self._now = iter(()) if isinstance(orders, AsyncIterable) else iter(orders)
        self._asked: asyncio.Task[list[Order]] | None = None
        self._failure: Exception | None = None

    async def some(self) -> list[Order]:
        """The next orders; none at the end."""
        if self._later is None:
            return self._some_now(self._now)
        if self._asked is None:
            self._asked = asyncio.create_task(_next_of(self._later))
        # Cancelling a question would end the caller's generator, so it outlives who asks.
        await asyncio.wait({self._asked})
        asked, self._asked = self._asked, None
        return asked.result()

    def _some_now(self, orders: Iterator[Order]) -> list[Order]:
        if self._failure is not None:
            raise self._failure
        some = []
        try:
            for order in islice(orders, CLIENT_BULK_CHUNK_LINES):
                some.append(order)  # noqa: PERF402  what came before an error is sent
        except Exception as error:
            if not some:
                raise
            self._failure = error
        return some


async def _next_of(orders: AsyncIterator[Order]) -> list[Order]:
    async for order in orders:
        return [order]
    return []


def _was_idle(error: ClientError, feed: _Feed) -> bool:
    """Whether a stream was only ended because the caller had no order for a long time."""
    is_silence = isinstance(error.__cause__, httpx.ReadTimeout)
    return not feed.unanswered and (is_silence or error.status == HTTPStatus.REQUEST_TIMEOUT)


def _line(order: Order) -> bytes:
    return orjson.dumps(order.members(), option=orjson.OPT_APPEND_NEWLINE)
