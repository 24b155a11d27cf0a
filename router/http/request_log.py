"""The log of requests: one line for each that failed or was slow, none for the others.

Under a flood of them the lines are counted instead, or the log would cost more than the requests.
"""

from __future__ import annotations

from collections import Counter
from http import HTTPStatus
from time import monotonic

import structlog
from starlette.types import Scope

from router.http.bodies import REFERENCE_IN_SCOPE
from router.http.problems import FAULT_IN_SCOPE
from router.limits import LOG_LINES_PER_SECOND, SLOW_REQUEST_S

_log = structlog.get_logger("router.http.requests")
_NO_FAULT = (None, None)
_PREFER = b"prefer"


class RequestLog:
    """What one process writes about its requests."""

    def __init__(self) -> None:
        self._second = 0
        self._written: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()

    def ended(self, scope: Scope, route: str, status: int, seconds: float) -> None:
        """Tell of a request that failed by a fault of ours, or took long without wishing to."""
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            event = "request_faulted"
        elif seconds > SLOW_REQUEST_S and not _asked_to_wait(scope):
            event = "request_slow"
        else:
            return
        code, detail = scope.get(FAULT_IN_SCOPE, _NO_FAULT)
        if not self._may_write(code or event, LOG_LINES_PER_SECOND):
            return
        _log.warning(
            event,
            method=scope["method"],
            route=route,
            status=int(status),
            seconds=round(seconds, 4),
            code=code,
            detail=detail,
            reference=scope.get(REFERENCE_IN_SCOPE),
        )

    def refused(self, reason: str) -> None:
        """Tell of requests that were refused at the door, once a second."""
        if self._may_write(reason, limit=1):
            _log.warning("requests_refused", reason=reason)

    def _may_write(self, kind: str, limit: int) -> bool:
        second = int(monotonic())
        if second != self._second:
            self._second = second
            self._written.clear()
            left_out, self._left_out = self._left_out, Counter()
            for each, lines in left_out.items():
                _log.warning("request_lines_left_out", kind=each, lines=lines)
        if self._written[kind] >= limit:
            self._left_out[kind] += 1
            return False
        self._written[kind] += 1
        return True


def _asked_to_wait(scope: Scope) -> bool:
    return any(name == _PREFER for name, _ in scope["headers"])
