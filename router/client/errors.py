"""What can go wrong between a client and the ledger.

    ClientError
    |- Malformed          the request itself is wrong (400, 413, 415); nothing was stored
    |- NotFound           nothing is known under this name (404)
    |- Refused            a business refusal (422); ``code`` is its outcome
    |- Unavailable        nothing happened, and it was repeated in vain (503)
    |- OutcomeUnknown     it may have happened, and it was repeated in vain (500, 502, 504)
    |  |- NoAnswer        no answer came at all, or none that could be read
    |- UnexpectedAnswer   a status that the ledger's API does not know

Each carries the problem that the ledger answered with (RFC 9457). Whatever is ``retryable`` may
be repeated as it is, with the same reference, at any later time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx
import orjson


@dataclass(frozen=True, slots=True)
class WrongField:
    """One wrong place of a request: a JSON pointer into its body, a parameter, a header, a line."""

    detail: str
    pointer: str | None = None
    parameter: str | None = None
    header: str | None = None
    line: int | None = None


class ClientError(Exception):
    """The ledger did not do what was asked.

    ``code`` is for programs to branch on, ``status`` that of HTTP or None without an answer;
    ``trace_id`` finds the request in the ledger's logs; ``errors`` are the wrong places of a
    malformed request; ``is_replay`` tells that the same request was refused before;
    ``retry_after_s`` is how long the ledger asked to be left alone, in seconds.
    """

    def __init__(
        self,
        detail: str,
        *,
        code: str,
        status: int | None,
        retryable: bool,
        trace_id: str | None = None,
        errors: Sequence[WrongField] = (),
        is_replay: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code
        self.status = status
        self.retryable = retryable
        self.trace_id = trace_id
        self.errors = tuple(errors)
        self.is_replay = is_replay
        self.retry_after_s = retry_after_s


class Malformed(ClientError):
    """The request is not well formed; nothing was stored."""


class NotFound(ClientError):
    """Nothing is known under this name."""


class Refused(ClientError):
    """The ledger refused the request; nothing moved."""


class Unavailable(ClientError):
    """Nothing happened, however often it was asked for."""


class OutcomeUnknown(ClientError):
    """It may have happened; the same request with the same reference will tell."""


class NoAnswer(OutcomeUnknown):
    """No answer came, although the request was repeated."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, code="NO_ANSWER", status=None, retryable=True)


class UnexpectedAnswer(ClientError):
    """The answer is none of this API: something else may listen there."""


_BY_STATUS: Mapping[int, type[ClientError]] = {
    HTTPStatus.BAD_REQUEST: Malformed,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: Malformed,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: Malformed,
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.UNPROCESSABLE_ENTITY: Refused,
    HTTPStatus.REQUEST_TIMEOUT: Unavailable,
    HTTPStatus.SERVICE_UNAVAILABLE: Unavailable,
    HTTPStatus.INTERNAL_SERVER_ERROR: OutcomeUnknown,
    HTTPStatus.BAD_GATEWAY: OutcomeUnknown,
    HTTPStatus.GATEWAY_TIMEOUT: OutcomeUnknown,
}
_REPEATED_UNREAD = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
"""Statuses of proxies, which know nothing of problem details, that are worth another try."""


def error_of_problem(
    problem: Mapping[str, Any], *, is_replay: bool = False, retry_after_s: float | None = None
) -> ClientError:
    """The error that a problem document tells."""
    status = int(problem["status"])
    kind = _BY_STATUS.get(status, UnexpectedAnswer)
    return kind(
        problem["detail"],
        code=problem["code"],
        status=status,
        retryable=problem["retryable"],
        trace_id=problem.get("trace_id"),
        errors=[
            WrongField(
                each["detail"],
                each.get("pointer"),
                each.get("parameter"),
                each.get("header"),
                each.get("line"),
            )
            for each in problem.get("errors") or ()
        ],
        is_replay=is_replay,
        retry_after_s=retry_after_s,
    )


def error_of_response(response: httpx.Response) -> ClientError:
    """The error that an answer with a status of 400 or more tells; its body is read already."""
    retry_after_s = _seconds(response.headers.get("retry-after"))
    try:
        is_replay = "idempotent-replayed" in response.headers
        problem = orjson.loads(response.content)
        return error_of_problem(problem, is_replay=is_replay, retry_after_s=retry_after_s)
    except (ValueError, KeyError, TypeError):
        # A proxy may answer in the ledger's place.
        status = response.status_code
        kind = _BY_STATUS.get(status, UnexpectedAnswer)
        return kind(
            f"HTTP status {status} without problem details.",
            code=f"HTTP_{status}",
            status=status,
            retryable=status in _REPEATED_UNREAD,
            trace_id=response.headers.get("trace-id"),
            retry_after_s=retry_after_s,
        )


def _seconds(header: str | None) -> float | None:
    """Seconds of ``Retry-After``; a date, or nothing that can be read, is None."""
    return float(header) if header and header.isascii() and header.isdecimal() else None
