"""One request of the client, and its repetitions: the same bytes under the same reference."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count

import httpx

from router.client.errors import ClientError, NoAnswer, error_of_response
from router.client.retries import Retries
from router.limits import CLIENT_CONNECT_LIMIT_S

_OURS = (httpx.LocalProtocolError, httpx.UnsupportedProtocol)
"""What no repetition mends: the caller asked for what cannot be sent."""


class Calls:
    """The way to one ledger."""

    def __init__(self, http: httpx.AsyncClient, retries: Retries) -> None:
        self._http = http
        self.retries = retries

    async def send(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """The answer, which is a success; raises ``ClientError`` when there is none to be had."""
        for repeat in count():
            try:
                response = await self._http.request(
                    method, path, content=body, params=query, headers=headers
                )
            except _OURS:
                raise
            except httpx.TransportError as failure:
                error: ClientError = no_answer(failure)
            else:
                if response.is_success:
                    return response
                error = error_of_response(response)
            if not error.retryable or repeat >= self.retries.repeats:
                raise error
            await self.retries.pause(repeat, error.retry_after_s)
        raise AssertionError("count() does not end")

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        body: AsyncIterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        silence_s: float | None,
    ) -> AsyncIterator[httpx.Response]:
        """The beginning of an answer that is read as it comes, and is not repeated from here.

        When nothing comes for ``silence_s`` it breaks off. Raises ``ClientError`` for an answer
        that is no success, and ``httpx.TransportError``.
        """
        limits = httpx.Timeout(
            connect=CLIENT_CONNECT_LIMIT_S, read=silence_s, write=None, pool=None
        )
        async with self._http.stream(
            method, path, content=body, headers=headers, timeout=limits
        ) as response:
            if not response.is_success:
                await response.aread()
                raise error_of_response(response)
            yield response


def no_answer(failure: httpx.TransportError) -> NoAnswer:
    """The error for a request that found nobody, or lost its answer."""
    error = NoAnswer(f"{type(failure).__name__}: {failure}")
    error.__cause__ = failure
    return error
