"""One stream of transfers: lines are read, booked and answered at the same time.

Three steps work side by side: reading cuts the body into chunks of lines, each chunk is booked
by a task of its own, and writing sends what became of the chunks in the order of the lines. At
most ``BULK_CHUNKS_IN_FLIGHT`` chunks are between reading and writing; while so many are, nothing
more is read, so a slow reader of answers slows down its own requests and nobody else's.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from http import HTTPStatus
from typing import Final, TypeAlias

import orjson
import structlog
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from router.bulk import Bulk, Result
from router.documents import transfer_document
from router.errors import RefusalReplayed
from router.http.bulk_lines import Line, LineCutter, read_line
from router.http.one_write import ANSWERS_ANYWAY_IN_SCOPE, BODY_CUT_OFF_IN_SCOPE
from router.http.problems import BodyTooLarge, problem_of
from router.http.transfer_shapes import PATH_TAKEN, status_of
from router.limits import (
    BULK_CHUNK_BYTES,
    BULK_CHUNK_LINES,
    BULK_CHUNKS_IN_FLIGHT,
    BULK_STALL_S,
)
from router.telemetry import Metrics
from router.transfer_requests import TransferRequest
from router.transfers import Submitted
from shard.errors import LedgerError, Malformed, Refused

_log = structlog.get_logger(__name__)

PATH: Final = "/v1/transfers/bulk"
MEDIA_TYPE: Final = "application/x-ndjson"
_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE

ReadLine: TypeAlias = tuple[int, TransferRequest | LedgerError]
"""A line's number and what it asks for, or why it is not well formed."""


class BodyStalled(LedgerError):
    """Nothing more of the body came, although it had not ended."""

    code = "BODY_STALLED"
    http_status = HTTPStatus.REQUEST_TIMEOUT
    retryable = True


class BodyCutOff(Malformed):
    """The body ended in its middle; a line that was begun was not executed."""

    code = "BODY_CUT_OFF"
    retryable = True


class Tally:
    """What became of the lines of one stream, in numbers: for metrics and one line of the log."""

    def __init__(self, metrics: Metrics) -> None:
        self.statuses: Counter[int] = Counter()
        self._transfers = metrics.transfers
        self._replays = metrics.replays

    def count(self, results: Iterable[Result]) -> None:
        """Add results to this process's metrics, which count each transfer once."""
        outcomes: Counter[tuple[str, str] | None] = Counter(map(_series_of, results))
        for series, lines in outcomes.items():
            if series is None:
                self._replays.inc(lines)
            else:
                self._transfers.labels(*series).inc(lines)

    def answer(self, number: int, result: Result) -> bytes:
        """The line that answers a line."""
        if isinstance(result, Submitted):
            status = int(status_of(result.record, is_replay=result.is_replay))
            document = {
                "line": number,
                "status": status,
                "transfer": transfer_document(result.record),
            }
            is_replay = result.is_replay
        else:
            problem = problem_of(result, PATH)
            status = problem["status"]
            document = {"line": number, "status": status, "problem": problem}
            is_replay = isinstance(result, RefusalReplayed)
        if is_replay:
            document["replayed"] = True
        self.statuses[status] += 1
        return orjson.dumps(document, option=_OPTIONS)


def _series_of(result: Result) -> tuple[str, str] | None:
    if isinstance(result, Submitted):
        path = PATH_TAKEN.get(result.record.money_state, "none")
        return None if result.is_replay else (result.record.outcome, path)
    if isinstance(result, RefusalReplayed):
        return None
    return (result.outcome if isinstance(result, Refused) else result.code, "none")


class BulkStream(Response):
    """The answer to a stream of lines, made while the stream comes in."""

    media_type = MEDIA_TYPE

    def __init__(self, bulk: Bulk, metrics: Metrics, *, on_end: Callable[[], None]) -> None:
        self.status_code = HTTPStatus.OK
        self.background = None
        # One connection carries one stream: the rest of a stream that is refused is not read.
        self.init_headers({"Connection": "close"})
        self._bulk = bulk
        self._on_end = on_end
        self._tally = Tally(metrics)
        self._cutter = LineCutter()
        self._room = asyncio.Semaphore(BULK_CHUNKS_IN_FLIGHT)
        self._chunks: asyncio.Queue[asyncio.Task[bytes] | None] = asyncio.Queue()
        self._latest: asyncio.Task[bytes] | None = None
        self._is_ahead = False
        """Whether the client has ever sent more before it was answered. One that waits for each
        answer is answered at once; with others it may take a moment, so that chunks gather."""
        self._fault: LedgerError | None = None
        self._is_started = False
        self._is_client_gone = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the stream to its end; raises what refuses all of it before any answer."""
        scope[ANSWERS_ANYWAY_IN_SCOPE] = True
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write(send))
                await self._read(scope, receive, group)
        finally:
            self._on_end()
        if self._fault is not None and not self._is_started and not self._is_client_gone:
            raise self._fault
        last = b"" if self._fault is None else self._tally.answer(self._cutter.number, self._fault)
        await self._send(send, last, is_last=True)
        self._log_end()
        if self._is_client_gone:
            raise ClientDisconnect

    async def _read(self, scope: Scope, receive: Receive, group: asyncio.TaskGroup) -> None:
        """Read chunks and have them booked, until the body ends or cannot go on."""
        while not self._is_client_gone and self._fault is None:
            message = await self._next(receive)
            if message is None:
                break
            for chunk in _in_chunks(self._cutter.feed(message.get("body", b""))):
                await self._begin(chunk, group)
            if self._cutter.is_endless:
                self._fault = BodyTooLarge("The line does not end.")
            elif BODY_CUT_OFF_IN_SCOPE in scope:
                self._fault = BodyCutOff()
            elif not message.get("more_body", False):
                for chunk in _in_chunks(self._cutter.end()):
                    await self._begin(chunk, group)
                break
        self._chunks.put_nowait(None)

    async def _next(self, receive: Receive) -> Message | None:
        try:
            async with asyncio.timeout(BULK_STALL_S):
                message = await receive()
        except TimeoutError:
            self._fault = BodyStalled()
            return None
        if message["type"] == "http.disconnect":
            # A line that was begun may lack its end, so it is not executed.
            self._is_client_gone = True
            return None
        return message

    async def _begin(self, chunk: Sequence[Line], group: asyncio.TaskGroup) -> None:
        await self._room.acquire()
        if self._is_client_gone:
            return
        read = [(line.number, read_line(line.raw)) for line in chunk]
        if self._latest is not None and not self._latest.done():
            self._is_ahead = True
        self._latest = group.create_task(self._book(read))
        self._chunks.put_nowait(self._latest)
        # Reading a chunk takes a while, in which nobody else had a turn.
        await asyncio.sleep(0)

    async def _book(self, read: Sequence[ReadLine]) -> bytes:
        """Book a chunk; its answers. Whatever goes wrong is told of its lines only."""
        wanted = [each for _, each in read if isinstance(each, TransferRequest)]
        try:
            booked = await self._bulk.submit_many(wanted, is_patient=self._is_ahead)
        except Exception:  # noqa: BLE001  a fault of ours in one chunk must not end the stream
            _log.exception("bulk_chunk_failed", lines=len(wanted))
            booked = [LedgerError()] * len(wanted)
        return answers_of(read, booked, self._tally)

    async def _write(self, send: Send) -> None:
        """Send the answers in the order of the lines, as fast as the client takes them."""
        while (chunk := await self._chunks.get()) is not None:
            await self._send(send, await chunk)
            self._room.release()

    async def _send(self, send: Send, answers: bytes, *, is_last: bool = False) -> None:
        """Send answers unless the client is gone; one that takes none for too long is gone."""
        if self._is_client_gone:
            return
        try:
            async with asyncio.timeout(BULK_STALL_S):
                if not self._is_started:
                    self._is_started = True
                    start = {"type": "http.response.start", "status": HTTPStatus.OK}
                    await send({**start, "headers": self.raw_headers})
                await send(
                    {"type": "http.response.body", "body": answers, "more_body": not is_last}
                )
        except (TimeoutError, OSError):
            self._is_client_gone = True

    def _log_end(self) -> None:
        told_of = {str(status): lines for status, lines in sorted(self._tally.statuses.items())}
        if self._is_client_gone:
            # Nobody else hears of what was executed although its answer found no reader.
            _log.warning("bulk_cut_off", line=self._cutter.number, executed=told_of)
        elif self._fault is not None:
            code = self._fault.code
            _log.warning("bulk_refused", line=self._cutter.number, code=code, executed=told_of)
        else:
            _log.info("bulk_ended", lines=self._cutter.number - 1, executed=told_of)


def answers_of(read: Sequence[ReadLine], booked: Sequence[Result], tally: Tally) -> bytes:
    """The lines that answer ``read``; ``booked`` are the results of those well formed."""
    tally.count(booked)
    _tell_first_fault(booked)
    results = iter(booked)
    return b"".join(
        tally.answer(number, each if isinstance(each, LedgerError) else next(results))
        for number, each in read
    )


def _tell_first_fault(booked: Sequence[Result]) -> None:
    """Log why lines failed, once for them all: as a rule a shard is down, and all its lines."""
    faults = [each for each in booked if isinstance(each, LedgerError) and each.retryable]
    if faults:
        first = faults[0]
        _log.warning("bulk_lines_failed", lines=len(faults), code=first.code, detail=first.detail)


def _in_chunks(lines: Iterator[Line]) -> Iterator[list[Line]]:
    """Chunks of at most so many lines, which end with the line that makes them long enough."""
    chunk: list[Line] = []
    size_bytes = 0
    for line in lines:
        chunk.append(line)
        size_bytes += len(line.raw or b"")
        if len(chunk) == BULK_CHUNK_LINES or size_bytes >= BULK_CHUNK_BYTES:
            yield chunk
            chunk, size_bytes = [], 0
    if chunk:
        yield chunk
