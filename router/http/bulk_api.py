"""``/v1/transfers/bulk``: many transfers in one request, NDJSON in and NDJSON out."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from router.errors import NotOneShard, SuspenseFull, refusal
from router.http import examples
from router.http.bodies import arriving_in_time, check_media_type
from router.http.bulk_lines import Line, LineCutter, read_line
from router.http.bulk_stream import (
    MEDIA_TYPE,
    PATH,
    BodyCutOff,
    BodyStalled,
    BulkStream,
    ReadLine,
    Tally,
    answers_of,
)
from router.http.openapi import ROUTED, LeanRoute, problems
from router.http.problems import (
    BODY_ERRORS,
    BodyTooLarge,
    FieldError,
    LineElsewhere,
    Problem,
    RequestMalformed,
    example_of,
)
from router.http.transfer_shapes import TransferObject
from router.limits import (
    BULK_ATOMIC_LINES_MAX,
    BULK_CHUNK_LINES,
    BULK_CHUNKS_IN_FLIGHT,
    BULK_STREAMS_MAX,
)
from router.telemetry import Metrics
from router.transfer_requests import TransferRequest
from router.wiring import Bank
from shard.errors import OutcomeUnknown, Overloaded
from shard.outcomes import Outcome

_ATOMIC = "atomic"
_FLAGS = {"true": True, "false": False}


class BulkAnswer(BaseModel):
    """One line of the answer: either the transfer, or the problem the line would have alone."""

    model_config = ConfigDict(extra="forbid")

    line: int = Field(description="The line it answers, counted from 1, blank ones too.")
    status: int = Field(description="The status that the line would have been answered with alone.")
    transfer: TransferObject | None = None
    problem: Problem | None = None
    replayed: bool | None = Field(None, description="`true`: the reference was known before.")


class BulkApi:
    """The endpoint for many transfers."""

    def __init__(self, bank: Bank, metrics: Metrics) -> None:
        self._bank = bank
        self._metrics = metrics
        self._streams = 0

    async def submit_transfers(self, request: Request) -> Response:
        """Book a transfer per line, and answer a line per line, in their order.

        Lines are independent, unless `atomic=true` makes them one unit. Read the answer while
        sending: a client that sends everything first stalls once the buffers between are full.
        """
        check_media_type(request, MEDIA_TYPE)
        is_atomic = _is_atomic(request)
        if self._streams >= BULK_STREAMS_MAX:
            raise Overloaded("This process serves as many streams as it can.")
        if is_atomic:
            return await self._submit_unit(request)
        self._streams += 1
        return BulkStream(self._bank.bulk, self._metrics, on_end=self._ended)

    def _ended(self) -> None:
        self._streams -= 1

    async def _submit_unit(self, request: Request) -> Response:
        read = await _read_unit(request)
        wanted = [each for _, each in read if isinstance(each, TransferRequest)]
        numbers = [number for number, each in read if isinstance(each, TransferRequest)]
        try:
            if len(wanted) == len(read):
                results = await self._bank.bulk.submit_atomic(wanted)
            else:
                results = [refusal(Outcome.ATOMIC_ABORTED) for _ in wanted]
        except NotOneShard as error:
            raise LineElsewhere(numbers[error.place]) from None
        told = answers_of(read, results, Tally(self._metrics))
        return Response(told, HTTPStatus.OK, media_type=MEDIA_TYPE)


async def _read_unit(request: Request) -> list[ReadLine]:
    """All lines of a unit; raises ``BodyTooLarge`` as soon as they are too many.

    Raises ``BodyTooSlow`` as well.
    """
    cutter = LineCutter()
    read: list[ReadLine] = []
    async with arriving_in_time():
        async for part in request.stream():
            _read_on(cutter.feed(part), read)
            if cutter.is_endless:
                raise BodyTooLarge("A line does not end.")
    _read_on(cutter.end(), read)
    return read


def _read_on(lines: Iterator[Line], read: list[ReadLine]) -> None:
    for line in lines:
        if len(read) == BULK_ATOMIC_LINES_MAX:
            raise BodyTooLarge(f"One unit has {BULK_ATOMIC_LINES_MAX} lines at most.")
        read.append((line.number, read_line(line.raw)))


def _is_atomic(request: Request) -> bool:
    """Whether all lines are one unit; raises ``RequestMalformed`` for other parameters."""
    given = request.query_params.multi_items()
    for name, _ in given:
        if name != _ATOMIC:
            raise RequestMalformed(
                [FieldError("This parameter is not known here.", parameter=name)]
            )
    if len(given) > 1:
        raise RequestMalformed([FieldError("It is given twice.", parameter=_ATOMIC)])
    for _, value in given:
        if value not in _FLAGS:
            raise RequestMalformed([FieldError("It is `true` or `false`.", parameter=_ATOMIC)])
        return _FLAGS[value]
    return False


_ATOMIC_PARAMETER = {
    "name": _ATOMIC,
    "in": "query",
    "required": False,
    "description": f"All lines are one unit, all booked or none: {BULK_ATOMIC_LINES_MAX} at most,"
    " and all accounts on one shard.",
    "schema": {"type": "boolean", "default": False},
    "example": True,
}
_REQUEST_EXAMPLE = "".join(
    orjson.dumps(
        {
            "reference": f"PAY-{number}",
            "debtor_account": "2000000123",
            "creditor_account": creditor,
            "amount": "20.00",
            "currency": "EUR",
        },
        option=orjson.OPT_APPEND_NEWLINE,
    ).decode()
    for number, creditor in ((18, "2000000456"), (19, "2000000789"))
)
_DESCRIPTION = f"""A line per line, in their order; each with the status it would have alone.

At most {BULK_CHUNK_LINES * BULK_CHUNKS_IN_FLIGHT} lines are under way at a time. Where the whole
stream cannot go on, a last line tells it of the line where it broke; the lines after it were not
executed. A stream that is cut off may have been executed up to any line: send it again."""


def _answer_example() -> str:
    problem = example_of(refusal(Outcome.INSUFFICIENT_FUNDS), PATH)
    answers: list[dict[str, Any]] = [
        {"line": 1, "status": 201, "transfer": {**examples.TRANSFER, "reference": "PAY-18"}},
        {"line": 2, "status": 422, "problem": problem},
    ]
    return "".join(
        orjson.dumps(each, option=orjson.OPT_APPEND_NEWLINE).decode() for each in answers
    )


def add_bulk(app: FastAPI, bank: Bank, metrics: Metrics) -> None:
    """Put the operation on the app."""
    api = BulkApi(bank, metrics)
    body = {
        "schema": {"$ref": "#/components/schemas/TransferBody"},
        "examples": {"payments": {"value": _REQUEST_EXAMPLE}},
    }
    answer = {
        "schema": {"$ref": "#/components/schemas/BulkAnswer"},
        "examples": {"answers": {"value": _answer_example()}},
    }
    app.router.add_api_route(
        PATH,
        api.submit_transfers,
        methods=["POST"],
        tags=["transfers"],
        status_code=HTTPStatus.OK,
        response_class=Response,
        response_description=_DESCRIPTION,
        responses={
            200: {"content": {MEDIA_TYPE: answer}},
            **problems(
                PATH,
                *BODY_ERRORS,
                BodyCutOff(),
                BodyStalled(),
                LineElsewhere(7),
                *ROUTED,
                SuspenseFull(),
                OutcomeUnknown(),
            ),
        },
        openapi_extra={
            "parameters": [_ATOMIC_PARAMETER],
            "requestBody": {"required": True, "content": {MEDIA_TYPE: body}},
        },
        route_class_override=LeanRoute,
    )
