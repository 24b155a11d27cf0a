"""The outermost layer around every request: trace id, timing, and the last word on faults.

Pure ASGI, because it stands on the hot path: a middleware with its own task or request object
would cost more than parsing the request.
"""

from __future__ import annotations

import re
import time
from http import HTTPStatus
from random import getrandbits

import structlog
from prometheus_client import Histogram
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from router.http.problems import unexpected_response
from router.telemetry import Metrics, current_trace_id

_log = structlog.get_logger(__name__)

_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
_NO_TRACE = b"0" * 32
_TRACE_ID_BITS = 128
_METHODS = frozenset({"GET", "POST", "PATCH", "PUT", "DELETE", "HEAD", "OPTIONS"})
_UNMATCHED = "unmatched"
_CLIENT_LEFT = 499
"""Known from nginx: the client closed the connection before it was answered."""


class Envelope:
    """ASGI middleware; the answer carries the request's trace id in ``Trace-Id``."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._request_seconds = metrics.request_seconds
        self._series: dict[tuple[str, str, int], Histogram] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        trace_id = _trace_id_of(scope)
        current_trace_id.set(trace_id)
        status = 0

        async def send_traced(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"trace-id", trace_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, send_traced)
        except ClientDisconnect:
            status = status or _CLIENT_LEFT
        except Exception:
            _log.exception("request_failed", method=scope["method"], route=_route_of(scope))
            if status:
                # Half an answer is out: only a broken connection can tell the client.
                raise
            await unexpected_response(Request(scope))(scope, receive, send_traced)
        finally:
            self._observe(scope, status or HTTPStatus.INTERNAL_SERVER_ERROR, started)

    def _observe(self, scope: Scope, status: int, started: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        key = (method, _route_of(scope), int(status))
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = self._request_seconds.labels(*key)
        series.observe(time.perf_counter() - started)


def _trace_id_of(scope: Scope) -> str:
    """The caller's W3C trace id, or a new one (W3C Trace Context, section 3.2)."""
    for name, value in scope["headers"]:
        if name == b"traceparent":
            found = _TRACEPARENT.fullmatch(value)
            if found is not None and found[1] != _NO_TRACE and not value.startswith(b"ff"):
                return found[1].decode()
    return f"{getrandbits(_TRACE_ID_BITS):032x}"


def _route_of(scope: Scope) -> str:
    return getattr(scope.get("route"), "path", _UNMATCHED)
