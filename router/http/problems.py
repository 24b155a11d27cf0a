"""RFC 9457 problem details: the one shape of every answer that is not a success.

Each error class and each outcome says by itself what its code, status and words are
(``shard/errors.py``, ``shard/outcomes.py``); this file only writes them down.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

import orjson
import structlog
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException
from starlette.routing import Match

from router.errors import NotOneShard, RefusalReplayed
from router.limits import FIELD_ERRORS_MAX, POINTER_CHARS_MAX, RETRY_AFTER_S
from router.telemetry import current_trace_id
from shard.errors import LedgerError, Malformed, Refused
from shard.outcomes import MEANINGS, Meaning

_log = structlog.get_logger(__name__)

FAULT_IN_SCOPE = "ledger.fault"
"""Where the log finds code and detail of a request that was answered with a fault."""

MEDIA_TYPE = "application/problem+json"
REPLAYED_HEADER = "Idempotent-Replayed"


@dataclass(frozen=True, slots=True)
class FieldError:
    """One wrong place: a JSON pointer into the body, a parameter, a header, or a line of NDJSON."""

    detail: str
    pointer: str | None = None
    parameter: str | None = None
    header: str | None = None
    line: int | None = None

    def as_json(self) -> dict[str, str | int]:
        """The members that are known."""
        return {name: value for name, value in asdict(self).items() if value is not None}


class RequestMalformed(Malformed):
    """The request is not well formed."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__(errors[0].detail if len(errors) == 1 else None)
        self.errors = tuple(errors[:FIELD_ERRORS_MAX])


class BodyTooLarge(Malformed):
    """The body is larger than any request of this API."""

    code = "BODY_TOO_LARGE"
    http_status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class BodyTooSlow(Malformed):
    """The body did not arrive in time; nothing of it was looked at."""

    code = "BODY_TOO_SLOW"
    http_status = HTTPStatus.REQUEST_TIMEOUT
    retryable = True


class MediaTypeUnsupported(Malformed):
    """The body's media type is not the one that this operation takes, in UTF-8."""

    code = "MEDIA_TYPE_UNSUPPORTED"
    http_status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class LineElsewhere(NotOneShard):
    """Lines that are to be booked as one unit must all belong to one shard."""

    def __init__(self, line: int) -> None:
        super().__init__()
        self.errors = (FieldError("This line needs another shard than the others.", line=line),)


MALFORMED_TIMEOUT: Final = RequestMalformed(
    [
        FieldError(
            "It is a number of seconds above zero and below a million, such as 2.5.",
            header="Request-Timeout",
        )
    ]
)
BODY_ERRORS: Final[tuple[LedgerError, ...]] = (
    RequestMalformed([FieldError("This name is not known here.", pointer="/value_dte")]),
    BodyTooLarge(),
    BodyTooSlow(),
    MediaTypeUnsupported(),
)
"""What every operation with a body can answer."""


class NotReady(LedgerError):
    """No shard answers, so this process cannot serve anyone."""

    code = "NOT_READY"
    http_status = HTTPStatus.SERVICE_UNAVAILABLE
    retryable = True


_MEANINGS: Mapping[str, Meaning] = {outcome.value: told for outcome, told in MEANINGS.items()}


class FieldProblem(BaseModel):
    """One wrong place of the request."""

    detail: str
    pointer: str | None = Field(None, description="JSON pointer (RFC 6901) into the body.")
    parameter: str | None = Field(None, description="Name of a path or query parameter.")
    header: str | None = Field(None, description="Name of a header.")
    line: int | None = Field(None, description="Line of an NDJSON body, counted from 1.")


class Problem(BaseModel):
    """RFC 9457 problem details; programs branch on `code` and `retryable`."""

    model_config = ConfigDict(extra="forbid")

    type: str = Field(description="URN of the kind of problem.")
    title: str = Field(description="The kind of problem in words; the same for each occurrence.")
    status: int
    detail: str = Field(description="What happened this time, for a person to read.")
    instance: str = Field(description="Path of the request.")
    code: str = Field(description="The kind of problem, for a program to branch on.")
    retryable: bool = Field(
        description="The same request, with the same reference, may be repeated as it is."
    )
    trace_id: str = Field(description="Finds this request in logs and traces.")
    errors: list[FieldProblem] | None = Field(None, description="Places of a malformed request.")


@dataclass(frozen=True, slots=True)
class _Kind:
    code: str
    status: int
    is_retryable: bool


def problem_response(request: Request, error: LedgerError) -> Response:
    """Tell any error of the ledger's tree."""
    kind = _kind_of(error)
    headers = {REPLAYED_HEADER: "true"} if isinstance(error, RefusalReplayed) else {}
    if isinstance(error, BodyTooLarge | BodyTooSlow):
        # The rest of the body is not read, so the connection cannot carry another request.
        headers["Connection"] = "close"
    if kind.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        request.scope[FAULT_IN_SCOPE] = (kind.code, error.detail)
    return _response(request, kind, _detail_of(error, kind), _field_errors(error), headers)


def problem_of(error: LedgerError, instance: str) -> dict[str, Any]:
    """The problem that an error becomes, for answers that tell of several requests."""
    return _told(error, instance, current_trace_id.get())


def _told(error: LedgerError, instance: str, trace_id: str) -> dict[str, Any]:
    kind = _kind_of(error)
    document = _document(kind, _detail_of(error, kind), instance, trace_id)
    if errors := _field_errors(error):
        document["errors"] = [each.as_json() for each in errors]
    return document


def _detail_of(error: LedgerError, kind: _Kind) -> str:
    """A refusal is the client's business; why a server is down may name hosts and stays inside."""
    if kind.status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return error.detail
    return inspect.getdoc(error) or kind.code


_INTERNAL = _Kind(LedgerError.code, HTTPStatus.INTERNAL_SERVER_ERROR, is_retryable=True)
"""A fault of ours leaves the outcome unknown, so the same request is to be repeated."""


def _kind_of(error: LedgerError) -> _Kind:
    if isinstance(error, Refused) and error.outcome in _MEANINGS:
        meaning = _MEANINGS[error.outcome]
        return _Kind(error.outcome, meaning.http_status, meaning.is_retryable)
    if error.code == _INTERNAL.code:
        return _INTERNAL
    return _Kind(error.code, error.http_status, error.retryable)


def _field_errors(error: LedgerError) -> Sequence[FieldError]:
    if isinstance(error, RequestMalformed | LineElsewhere):
        return error.errors
    if isinstance(error, Malformed) and error.pointer:
        return (FieldError(error.detail, pointer=error.pointer),)
    return ()


def _response(
    request: Request,
    kind: _Kind,
    detail: str,
    errors: Sequence[FieldError] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    document = _document(kind, detail, quote(request.scope["path"]), current_trace_id.get())
    if errors:
        document["errors"] = [error.as_json() for error in errors]
    sent = dict(headers or {})
    if kind.is_retryable and kind.status == HTTPStatus.SERVICE_UNAVAILABLE:
        sent["Retry-After"] = str(RETRY_AFTER_S)
    return Response(orjson.dumps(document), kind.status, sent, MEDIA_TYPE)


def _document(kind: _Kind, detail: str, instance: str, trace_id: str) -> dict[str, Any]:
    words = kind.code.lower()
    return {
        "type": f"urn:ledger:problem:{words.replace('_', '-')}",
        "title": words.replace("_", " ").capitalize(),
        "status": int(kind.status),
        "detail": detail,
        "instance": instance,
        "code": kind.code,
        "retryable": kind.is_retryable,
        "trace_id": trace_id,
    }


def example_of(error: LedgerError, instance: str) -> dict[str, Any]:
    """The problem that an error becomes, as the OpenAPI document shows it."""
    return _told(error, instance, "4bf92f3577b34da6a3ce929d0e0e4736")


async def on_ledger_error(request: Request, error: LedgerError) -> Response:
    """Exception handler for the ledger's error tree."""
    return problem_response(request, error)


async def on_http_exception(request: Request, error: HTTPException) -> Response:
    """Exception handler for what the framework refuses itself: unknown paths and methods."""
    status = HTTPStatus(error.status_code)
    kind = _Kind(status.name, status, is_retryable=status == HTTPStatus.SERVICE_UNAVAILABLE)
    headers = dict(error.headers or {})
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(sorted(_methods_allowed(request)))
    return _response(request, kind, f"{status.description or status.phrase}.", (), headers)


def _methods_allowed(request: Request) -> set[str]:
    """The methods of all routes with this path; Starlette itself tells those of the first one."""
    methods: set[str] = set()
    for route in request.app.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            methods |= route.methods
    return methods


async def on_parameters_malformed(request: Request, error: RequestValidationError) -> Response:
    """Exception handler for path and query parameters that FastAPI could not read."""
    places = []
    for found in error.errors():
        source, *rest = found["loc"]
        name = ".".join(str(part) for part in rest)[:POINTER_CHARS_MAX]
        places.append(FieldError(_in_words(found), parameter=name or str(source)))
    return problem_response(request, RequestMalformed(places))


def unexpected_response(request: Request) -> Response:
    """The answer to a fault of ours: a trace id to ask for, and nothing of its inside."""
    return _response(
        request, _INTERNAL, "Something went wrong here; repeat it with the same reference."
    )


def body_errors(found: Iterable[ErrorDetails]) -> RequestMalformed:
    """Turn pydantic's findings in a body into JSON pointers."""
    return RequestMalformed([FieldError(_in_words(e), pointer=pointer_to(e["loc"])) for e in found])


def _in_words(found: Mapping[str, Any]) -> str:
    if found["type"] == "extra_forbidden":
        return "This name is not known here."
    words: str = found["msg"]
    return words if words.endswith(".") else f"{words}."


def pointer_to(place: Sequence[int | str]) -> str:
    """A place in a body as a JSON pointer (RFC 6901), cut where it is too long to show."""
    escaped = (str(part).replace("~", "~0").replace("/", "~1") for part in place)
    return "".join(f"/{part}" for part in escaped)[:POINTER_CHARS_MAX]
