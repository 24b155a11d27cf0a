"""One system call per answer.

uvicorn writes the head and the body of an answer one after the other, and uvloop sends each at
once: two system calls and two packets for a few hundred bytes, a sixth of what a transfer costs.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class OneWriteProtocol(HttpToolsProtocol):
    """uvicorn's own HTTP/1.1 protocol on a transport that gathers what is written."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Put the gathering transport between the protocol and the socket."""
        gathering = Gathering(cast(asyncio.Transport, transport))
        super().connection_made(cast(asyncio.Transport, gathering))


class Gathering:
    """A transport whose writes of one turn of the event loop leave together.

    Whatever is not about writing is the inner transport's.
    """

    __slots__ = ("_inner", "_loop", "_waiting")

    def __init__(self, inner: asyncio.Transport) -> None:
        self._inner = inner
        self._loop = asyncio.get_running_loop()
        self._waiting: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def write(self, data: bytes) -> None:
        """Send ``data`` at the end of this turn of the loop."""
        if not self._waiting:
            self._loop.call_soon(self._send)
        self._waiting.append(data)

    def close(self) -> None:
        """Send what waits, then close."""
        self._send()
        self._inner.close()

    def _send(self) -> None:
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            self._inner.write(b"".join(waiting))
