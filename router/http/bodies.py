"""Reading a JSON body: bounded in size and depth, no key twice, all wrong fields told at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import ClientDisconnect

from router.http.one_write import BODY_ARRIVED_IN_SCOPE
from router.http.problems import (
    BodyTooLarge,
    BodyTooSlow,
    FieldError,
    MediaTypeUnsupported,
    RequestMalformed,
    body_errors,
    pointer_to,
)
from router.limits import BODY_BYTES_MAX, BODY_WAIT_S
from shard.errors import ReferenceMalformed
from shard.references import parse_reference

REFERENCE_HEADER = "Idempotency-Key"
REFERENCE_IN_SCOPE = "ledger.reference"
"""Where the log finds the reference of a request that failed."""

_JSON = "application/json"


class _Twice:
    """Where a key stands for the second time, as a JSON pointer's parts."""

    __slots__ = ("place",)

    def __init__(self, *place: int | str) -> None:
        self.place = place


def _find_twice(pairs: list[tuple[str, object]]) -> _Twice | None:
    """What becomes of an object in ``_DUPLICATE_FINDER``: nothing, unless there is one in it."""
    seen = set()
    for name, value in pairs:
        if name in seen:
            return _Twice(name)
        seen.add(name)
        for i, each in enumerate(value if isinstance(value, list) else ()):
            if isinstance(each, _Twice):
                return _Twice(name, i, *each.place)
        if isinstance(value, _Twice):
            return _Twice(name, *value.place)
    return None


_DUPLICATE_FINDER = json.JSONDecoder(object_pairs_hook=_find_twice, parse_int=str, parse_float=str)


class RequestBody(BaseModel):
    """Base of all request bodies: a misspelt field must not pass silently."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class NoQuery(BaseModel):
    """No query parameter is known; one that is ignored could change what the caller reads."""

    model_config = ConfigDict(extra="forbid")


def each_once(request: Request) -> None:
    """Refuse a parameter that is given twice: one of its values would pass unread."""
    given = request.query_params.multi_items() if request.scope["query_string"] else []
    seen = set()
    for name, _ in given:
        if name in seen:
            raise RequestMalformed([FieldError("It is given twice.", parameter=name)])
        seen.add(name)


Body = TypeVar("Body", bound=RequestBody)


async def read_body(request: Request, model: type[Body]) -> Body:
    """Read the request's body as one ``model``; raises ``Malformed`` with JSON pointers."""
    check_media_type(request, _JSON)
    if request.scope["query_string"]:
        _refuse_parameters(request)
    return parse_body(await _read_bounded(request), model)


def parse_body(raw: bytes, model: type[Body]) -> Body:
    """One ``model`` from the bytes of a JSON document; raises ``Malformed`` with JSON pointers.

    Nesting is bounded by pydantic's parser, which stops at 200 levels.
    """
    try:
        body = model.model_validate_json(raw)
    except ValidationError as error:
        raise body_errors(
            error.errors(include_url=False, include_input=False, include_context=False)
        ) from None
    # Of a key given twice pydantic takes the last; another reader may have taken the first. Behind
    # each key stands a colon: as many colons as different keys leave none for a second time.
    if raw.count(b":") != len(body.model_fields_set):
        twice = _DUPLICATE_FINDER.decode(raw.decode())
        if twice is not None:
            place = pointer_to(twice.place)
            raise RequestMalformed([FieldError("This field is given twice.", pointer=place)])
    return body


def reference_of(request: Request, in_body: str | None) -> str:
    """The reference that names the request: of the body, of ``Idempotency-Key``, or of both.

    The header may be a structured string (draft-ietf-httpapi-idempotency-key-header), that
    is, stand in double quotes.
    """
    in_header = _reference_in_header(request)
    reference = in_body if in_header is None else in_header
    if reference is None:
        detail = f"A reference is needed, in the body or as {REFERENCE_HEADER}."
        raise RequestMalformed([FieldError(detail, pointer="/reference")])
    if in_body is not None and in_body != reference:
        detail = f"The body's reference and {REFERENCE_HEADER} differ."
        raise RequestMalformed([FieldError(detail, pointer="/reference", header=REFERENCE_HEADER)])
    request.scope[REFERENCE_IN_SCOPE] = reference
    return reference


def _reference_in_header(request: Request) -> str | None:
    given = request.headers.getlist(REFERENCE_HEADER)
    if not given:
        return None
    if len(given) > 1:
        raise RequestMalformed([FieldError("It is given twice.", header=REFERENCE_HEADER)])
    text = given[0]
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    try:
        return parse_reference(text)
    except ReferenceMalformed as error:
        raise RequestMalformed([FieldError(error.detail, header=REFERENCE_HEADER)]) from None


def check_media_type(request: Request, expected: str) -> None:
    """Raise ``MediaTypeUnsupported`` unless the body is ``expected``, in UTF-8."""
    media_type, _, parameters = request.headers.get("content-type", "").partition(";")
    if media_type.strip().lower() != expected:
        raise MediaTypeUnsupported(f'Send the body with "Content-Type: {expected}".')
    name, _, charset = parameters.partition("=")
    if name.strip().lower() == "charset" and charset.strip(' "').lower() not in ("utf-8", "utf8"):
        raise MediaTypeUnsupported("The body must be in UTF-8.")


def _refuse_parameters(request: Request) -> None:
    for name in request.query_params:
        raise RequestMalformed([FieldError("This parameter is not known here.", parameter=name)])


async def _read_bounded(request: Request) -> bytes:
    declared = request.headers.get("content-length", "0")
    if len(declared) > len(str(BODY_BYTES_MAX)) or int(declared) > BODY_BYTES_MAX:
        raise BodyTooLarge
    if BODY_ARRIVED_IN_SCOPE in request.scope:
        # There is nothing to wait for, and a timer costs more than all the reading.
        return await _received(request)
    async with arriving_in_time():
        return await _received(request)


@asynccontextmanager
async def arriving_in_time() -> AsyncIterator[None]:
    """Within this a body is read; raises ``BodyTooSlow`` when it takes too long to arrive."""
    limit = asyncio.timeout(BODY_WAIT_S)
    try:
        async with limit:
            yield
    except TimeoutError:
        if limit.expired():
            raise BodyTooSlow from None
        raise


async def _received(request: Request) -> bytes:
    """The whole body; ``Request.stream`` would add a generator to each request."""
    raw = b""
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk: bytes = message.get("body", b"")
        raw += chunk
        if len(raw) > BODY_BYTES_MAX:
            raise BodyTooLarge
        if not message.get("more_body", False):
            return raw
