"""A keep-alive HTTP/1.1 connection that posts JSON, and nothing else.

With this many connections ``httpx`` needs twenty times its processor time per request, more than
the API that it is to load; the client must not be what is measured. All answers of the API have
a ``Content-Length``.
"""

from __future__ import annotations

import asyncio
import re
from types import TracebackType
from typing import Self

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
_END_OF_HEAD = b"\r\n\r\n"


class HttpConnection:
    """One connection to the API; it connects when it is first used, and again after a failure."""

    def __init__(self, host: str, port: int, path: str) -> None:
        self._address = (host, port)
        self._head = (
            f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
            "Content-Length: "
        ).encode()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._drop()

    async def post(self, body: bytes) -> tuple[int, bytes]:
        """The status and the body of the answer; raises ``OSError`` if there is none."""
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection(*self._address)
            reader, writer = self._streams
            writer.write(b"%b%d\r\n\r\n%b" % (self._head, len(body), body))
            head = await reader.readuntil(_END_OF_HEAD)
            length = _LENGTH.search(head)
            if length is None:
                raise ConnectionError("The answer has no length.")
            return int(head[9:12]), await reader.readexactly(int(length[1]))
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            self._drop()
            raise ConnectionError(str(error)) from error
        except BaseException:
            self._drop()
            raise

    def _drop(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
