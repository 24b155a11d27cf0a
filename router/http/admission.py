"""Admission: what this process takes on, decided before a request is read.

A machine that can do a certain rate does not do more of it by having more under way; everybody
only waits longer. So beyond a fixed number of postings, more than enough for the peak rate, a
request is refused at once with ``Retry-After``. The number needs no adapting: it is several times
what fills the lanes, and small enough to be answered within about 100 ms.

Those who wait for a shard that is slow do not count: they cost this process nothing but memory,
each shard bounds them by itself (``LANE_REQUESTS_MAX``), and the others' clients must not be
refused for them. Reads are bounded where they wait (``READ_POOL_WAITERS_MAX``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from enum import StrEnum
from http import HTTPStatus
from urllib.parse import quote

import orjson
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.types import Scope, Send

from router.http.bulk_stream import PATH as BULK_PATH
from router.http.one_write import OneWriteProtocol
from router.http.problems import MEDIA_TYPE, problem_of
from router.limits import POSTINGS_IN_FLIGHT_MAX, REQUESTS_IN_FLIGHT_MAX, RETRY_AFTER_S
from shard.errors import Overloaded
from shard.lanes import Lanes

_POSTING_PATHS = ("/v1/transfers", "/v1/holds")
OPERATIONS = frozenset({"/livez", "/readyz", "/metrics"})
"""What machines ask about this process; answered always."""

_DETAIL = "More is under way here than can be answered in time; try again in a moment."
_STATUS = HTTPStatus.SERVICE_UNAVAILABLE
_NO_TRACE = "0" * 32


class Reason(StrEnum):
    """Why a request was refused at the door."""

    POSTINGS_FULL = "postings_full"
    REQUESTS_FULL = "requests_full"


class Admission(Collector):
    """Counts what is under way in this process, and refuses what would be too much."""

    def __init__(self, lanes: Iterable[Lanes]) -> None:
        self.in_flight = 0
        """Requests that were let in and are not answered yet; the envelope keeps it."""
        self.refused: Counter[Reason] = Counter()
        self._lanes = tuple(lanes)
        self._prepared: dict[str, tuple[bytes, bytes]] = {
            path: _prepared(path) for path in (*_POSTING_PATHS, BULK_PATH)
        }

    def refusal_of(self, scope: Scope) -> Reason | None:
        """Why this request is not let in; None lets it in."""
        if self.in_flight >= REQUESTS_IN_FLIGHT_MAX and scope["path"] not in OPERATIONS:
            return Reason.REQUESTS_FULL
        if scope["method"] == "POST":
            under_way = 0
            for lanes in self._lanes:
                under_way += lanes.requests
            if under_way >= POSTINGS_IN_FLIGHT_MAX and self._is_too_much(scope, under_way):
                return Reason.POSTINGS_FULL
        return None

    def _is_too_much(self, scope: Scope, under_way: int) -> bool:
        path = scope["path"]
        if path == BULK_PATH or not path.startswith(_POSTING_PATHS):
            # Bulk work waits for room by itself.
            return False
        held_up = sum(lanes.requests_held_up for lanes in self._lanes)
        return under_way - held_up >= POSTINGS_IN_FLIGHT_MAX

    async def refuse(self, scope: Scope, send: Send, reason: Reason, trace_id: bytes) -> None:
        """Answer 503 without having read anything."""
        self.refused[reason] += 1
        path = scope["path"]
        before, after = self._prepared.get(path) or _prepared(path)
        body = before + trace_id + after
        headers = [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"retry-after", str(RETRY_AFTER_S).encode()),
            (b"trace-id", trace_id),
        ]
        if path == BULK_PATH:
            # The rest of the body is not read, so the connection cannot carry another request.
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": _STATUS, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def collect(self) -> Iterator[Metric]:
        """The metric families of this moment."""
        yield GaugeMetricFamily(
            "ledger_http_requests_in_flight",
            "Requests that were let in and are not answered yet.",
            value=self.in_flight,
        )
        refused = CounterMetricFamily(
            "ledger_http_requests_refused",
            "Requests answered 503 before they were read, by reason.",
            labels=["reason"],
        )
        for reason in Reason:
            refused.add_metric([reason], self.refused[reason])
        yield refused
        yield CounterMetricFamily(
            "ledger_http_connections_refused",
            "Connections closed at once because too many were open.",
            value=OneWriteProtocol.connections_refused,
        )


def _prepared(path: str) -> tuple[bytes, bytes]:
    """The answer's body before and after its trace id."""
    document = problem_of(Overloaded(), quote(path))
    raw = orjson.dumps(document | {"detail": _DETAIL, "trace_id": _NO_TRACE})
    before, _, after = raw.partition(_NO_TRACE.encode())
    return before, after
