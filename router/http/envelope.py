"""The outermost layer around every request: admission, trace id, timing, the last word on faults.

Pure ASGI, because it stands on the hot path: a middleware with its own task or request object
would cost more than parsing the request.
"""

from __future__ import annotations

import asyncio
import re
import time
from http import HTTPStatus
from random import getrandbits
from typing import TYPE_CHECKING, Final

import structlog
from prometheus_client import Histogram
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from router.http.admission import OPERATIONS, Admission
from router.http.bulk_stream import PATH as BULK_PATH
from router.http.callers_time import HEADER_BYTES, serve_in_time
from router.http.one_write import CLIENT_LEFT, TASK_IN_SCOPE
from router.http.problems import unexpected_response
from router.http.request_log import RequestLog
from router.patience import caller_deadline
from router.telemetry import Metrics, caller_trace_id, current_trace_id

if TYPE_CHECKING:
    # Its packages are an optional extra.
    from router.tracing import Tracing

_log = structlog.get_logger(__name__)

_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
_NO_TRACE = b"0" * 32
_TRACE_ID_BITS = 128
_METHODS = frozenset({"GET", "POST", "PATCH", "PUT", "DELETE", "HEAD", "OPTIONS"})
_UNMATCHED = "unmatched"
_CLIENT_CLOSED: Final = 499
"""Known from nginx: the client closed the connection before it was answered."""


class Envelope:
    """ASGI around another; the answer carries the request's trace id in ``Trace-Id``."""

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        admission: Admission,
        tracing: Tracing | None = None,
    ) -> None:
        self._app = app
        self._request_seconds = metrics.request_seconds
        self._admission = admission
        self._tracing = tracing
        self._log = RequestLog()
        self._series: dict[tuple[str, str, int], Histogram] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        traceparent = callers_time = None
        for name, value in scope["headers"]:
            if name == b"traceparent":
                traceparent = value
            elif name == HEADER_BYTES:
                # Given twice it is malformed.
                callers_time = value if callers_time is None else b""
        callers_trace_id = None if traceparent is None else _trace_id_in(traceparent)
        trace_id = callers_trace_id or f"{getrandbits(_TRACE_ID_BITS):032x}"
        admission = self._admission
        reason = admission.refusal_of(scope)
        if reason is not None:
            await admission.refuse(scope, send, reason, trace_id.encode())
            self._log.refused(reason)
            return
        # The task may have been started by the one of an earlier request of its connection.
        current_trace_id.set(trace_id)
        caller_trace_id.set(callers_trace_id or "")
        caller_deadline.set(None)
        if scope["path"] != BULK_PATH:
            # A stream sees by itself that its client has left, and tells what was done.
            scope[TASK_IN_SCOPE] = asyncio.current_task()
        admission.in_flight += 1
        try:
            if scope["path"] in OPERATIONS:
                # Whatever a probe sends along, it is to be told how this process is.
                await self._serve(scope, receive, send, trace_id, None)
            elif self._tracing is None:
                await self._serve(scope, receive, send, trace_id, callers_time)
            else:
                with self._tracing.request(scope, traceparent) as span:
                    current_trace_id.set(span.trace_id)
                    status = await self._serve(scope, receive, send, span.trace_id, callers_time)
                    span.ended(_route_of(scope), status)
        finally:
            admission.in_flight -= 1

    async def _serve(
        self, scope: Scope, receive: Receive, send: Send, trace_id: str, callers_time: bytes | None
    ) -> int:
        """Serve a request to its end; the status of its answer."""
        started = time.perf_counter()
        status = 0

        async def send_traced(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"trace-id", trace_id.encode())]
            await send(message)

        try:
            if callers_time is None:
                await self._app(scope, receive, send_traced)
            else:
                await serve_in_time(self._app, scope, receive, send_traced, callers_time)
        except ClientDisconnect:
            status = status or _CLIENT_CLOSED
        except asyncio.CancelledError:
            if scope.get(TASK_IN_SCOPE) is not CLIENT_LEFT:
                raise
            status = status or _CLIENT_CLOSED
        except Exception:
            _log.exception("request_failed", method=scope["method"], route=_route_of(scope))
            if status:
                # Half an answer is out: only a broken connection can tell the client.
                raise
            await unexpected_response(Request(scope))(scope, receive, send_traced)
        finally:
            status = status or HTTPStatus.INTERNAL_SERVER_ERROR
            self._observe(scope, status, time.perf_counter() - started)
        return status

    def _observe(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        route = _route_of(scope)
        key = (method, route, int(status))
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = self._request_seconds.labels(*key)
        series.observe(seconds)
        if scope["path"] not in OPERATIONS:
            self._log.ended(scope, route, status, seconds)


def _trace_id_in(traceparent: bytes) -> str | None:
    """The caller's W3C trace id, if it is one (W3C Trace Context, section 3.2)."""
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None or found[1] == _NO_TRACE or traceparent.startswith(b"ff"):
        return None
    return found[1].decode()


def _route_of(scope: Scope) -> str:
    return getattr(scope.get("route"), "path", _UNMATCHED)
