"""What all operations of the client share: JSON in, JSON out, a trace id where one is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import httpx
import orjson

from router.client.calls import Calls
from router.client.orders import body_of

_JSON: Final = "application/json"


class Operations:
    """A part of the API; its methods send requests over the client's ``Calls``."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def _send(
        self,
        method: str,
        path: str,
        members: dict[str, Any],
        traceparent: str | None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        sent = {"Content-Type": _JSON, **(headers or {}), **traced(traceparent)}
        return await self._calls.send(method, path, body=body_of(members), headers=sent)

    async def _get(
        self, path: str, traceparent: str | None, query: Mapping[str, str] | None = None
    ) -> Any:
        response = await self._calls.send("GET", path, query=query, headers=traced(traceparent))
        return orjson.loads(response.content)


def traced(traceparent: str | None) -> dict[str, str]:
    """The header that makes a request part of the caller's trace (W3C Trace Context)."""
    return {} if traceparent is None else {"traceparent": traceparent}


def is_replay(response: httpx.Response) -> bool:
    """Whether the reference was known before."""
    return "idempotent-replayed" in response.headers


def path_of(*segments: str) -> str:
    """A path below ``/v1``; whatever a caller puts into a segment stays within it."""
    return "/v1/" + "/".join(quote(segment, safe=":") for segment in segments)
