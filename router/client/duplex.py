"""HTTP/1.1 for ``httpx`` that reads an answer while the request is still being sent.

The transport of ``httpx`` itself sends a request's body to its end before it looks at the answer,
so that two streams cannot go on side by side; and with a few dozen connections its pool takes
longer per request than the ledger. This one does the little that the ledger's API needs: pooled
connections, TLS, bodies with a length or in chunks. For proxies, HTTP/2 or client certificates
give ``LedgerClient`` a transport of ``httpx``; only ``bulk`` needs this one.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Final

import httpx

from router.limits import CLIENT_HEAD_BYTES_MAX

_EOL: Final = b"\r\n"
_END_OF_HEAD: Final = b"\r\n\r\n"
_BODILESS: Final = frozenset({204, 304})
_PORTS: Final = {"http": 80, "https": 443}
_READ_BYTES: Final = 2**16

_Origin = tuple[str, str, int]


class DuplexTransport(httpx.AsyncBaseTransport):
    """A pool of connections, as many as there are requests at a time."""

    def __init__(self, ssl_context: ssl.SSLContext | None = None) -> None:
        self._ssl_context = ssl_context
        self._idle: dict[_Origin, list[_Connection]] = defaultdict(list)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; the answer's body, and as a rule the request's, are still to come."""
        url = request.url
        origin = (url.scheme, url.host, url.port or _PORTS[url.scheme])
        connection = self._reusable(origin) or await self._connected(origin, request)

        def done() -> None:
            self._idle[origin].append(connection)

        return await connection.exchange(request, done)

    async def aclose(self) -> None:
        """Close the connections that are not in use."""
        for connections in self._idle.values():
            while connections:
                connections.pop().close()

    def _reusable(self, origin: _Origin) -> _Connection | None:
        idle = self._idle[origin]
        while idle:
            connection = idle.pop()
            if connection.is_usable:
                return connection
            connection.close()
        return None

    async def _connected(self, origin: _Origin, request: httpx.Request) -> _Connection:
        scheme, host, port = origin
        context = None
        if scheme == "https":
            self._ssl_context = self._ssl_context or ssl.create_default_context()
            context = self._ssl_context
        try:
            async with asyncio.timeout(_limit_s(request, "connect")):
                streams = await asyncio.open_connection(
                    host, port, ssl=context, limit=CLIENT_HEAD_BYTES_MAX
                )
        except TimeoutError as error:
            raise httpx.ConnectTimeout("No connection in time.", request=request) from error
        except OSError as error:
            raise httpx.ConnectError(str(error), request=request) from error
        return _Connection(*streams)


class _Connection:
    """One connection, and the exchange that goes on over it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer
        self._sending: asyncio.Task[None] | None = None

    @property
    def is_usable(self) -> bool:
        """Whether the other side still keeps it open, as far as is known."""
        return not (self._writer.is_closing() or self.reader.at_eof())

    @property
    def has_sent_all(self) -> bool:
        """Whether the request left wholly."""
        sending = self._sending
        if sending is None:
            return True
        return sending.done() and not sending.cancelled() and sending.exception() is None

    async def exchange(self, request: httpx.Request, on_done: Callable[[], None]) -> httpx.Response:
        """Send a request, read the head of its answer; ``on_done`` if all of it went well."""
        try:
            await self._send(request)
            with _failures_told(request):
                async with asyncio.timeout(_limit_s(request, "read")):
                    status, headers = await self._read_head()
        except BaseException:
            self.close()
            raise
        body = _Body(self, request, status, headers, on_done)
        return httpx.Response(status, headers=headers, stream=body, request=request)

    def close(self) -> None:
        """Break it off, whatever goes on."""
        if self._sending is not None:
            self._sending.cancel()
        self._writer.close()

    async def _send(self, request: httpx.Request) -> None:
        self._sending = None
        stream = request.stream
        if not isinstance(stream, httpx.AsyncByteStream):
            raise TypeError("A body must be bytes, or an asynchronous iterator of them.")
        head = _head_of(request)
        if "transfer-encoding" in request.headers:
            self._writer.write(head)
            self._sending = asyncio.create_task(self._send_chunks(stream))
            self._sending.add_done_callback(self._sent)
        else:
            self._writer.write(head + b"".join([part async for part in stream]))

    async def _send_chunks(self, stream: httpx.AsyncByteStream) -> None:
        async for part in stream:
            if part:
                self._writer.write(b"%x\r\n%b\r\n" % (len(part), part))
                await self._writer.drain()
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()

    def _sent(self, sending: asyncio.Task[None]) -> None:
        error = None if sending.cancelled() else sending.exception()
        # The other side may answer and hang up before all is sent: then its answer counts.
        if error is not None and not isinstance(error, OSError):
            self._writer.close()

    async def _read_head(self) -> tuple[int, httpx.Headers]:
        while True:
            lines = (await self.reader.readuntil(_END_OF_HEAD)).split(_EOL)
            version, _, rest = lines[0].partition(b" ")
            if not version.startswith(b"HTTP/1.") or not rest[:3].isdigit():
                raise ValueError("This is no HTTP/1.1.")
            status = int(rest[:3])
            # 1xx only says that the answer is still to come (RFC 9110, section 15.2).
            if status >= httpx.codes.OK:
                pairs = (line.partition(b":") for line in lines[1:] if line)
                return status, httpx.Headers([(name, value.strip()) for name, _, value in pairs])


class _Body(httpx.AsyncByteStream):
    """The rest of an answer; when it is closed its connection is free again, or broken off."""

    def __init__(
        self,
        connection: _Connection,
        request: httpx.Request,
        status: int,
        headers: httpx.Headers,
        on_done: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._request = request
        self._on_done = on_done
        self._is_kept = headers.get("connection", "").lower() != "close"
        self._is_chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        length = headers.get("content-length")
        if request.method == "HEAD" or status in _BODILESS:
            length = "0"
        self._left_bytes = int(length) if length is not None else None
        self._is_complete = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """What has come, as it comes; raises ``httpx.ReadTimeout`` when nothing does."""
        parts = self._chunks() if self._is_chunked else self._plain()
        limit_s = _limit_s(self._request, "read")
        while True:
            with _failures_told(self._request):
                async with asyncio.timeout(limit_s):
                    part = await anext(parts, None)
            if part is None:
                break
            yield part
        self._is_complete = True

    async def aclose(self) -> None:
        """Give the connection back, or break it off if one side has not come to its end."""
        if self._is_complete and self._is_kept and self._connection.has_sent_all:
            self._on_done()
        else:
            self._connection.close()

    async def _plain(self) -> AsyncIterator[bytes]:
        reader = self._connection.reader
        if self._left_bytes is None:
            self._is_kept = False
            while part := await reader.read(_READ_BYTES):
                yield part
        while self._left_bytes:
            part = await reader.read(min(self._left_bytes, _READ_BYTES))
            if not part:
                raise EOFError
            self._left_bytes -= len(part)
            yield part

    async def _chunks(self) -> AsyncIterator[bytes]:
        reader = self._connection.reader
        while left := int((await reader.readuntil(_EOL)).partition(b";")[0], 16):
            while left:
                part = await reader.read(min(left, _READ_BYTES))
                if not part:
                    raise EOFError
                left -= len(part)
                yield part
            await reader.readexactly(len(_EOL))
        while await reader.readuntil(_EOL) != _EOL:
            pass


def _head_of(request: httpx.Request) -> bytes:
    lines = [b"%b %b HTTP/1.1" % (request.method.encode("ascii"), request.url.raw_path)]
    lines += [b"%b: %b" % pair for pair in request.headers.raw]
    head = _EOL.join(lines) + _END_OF_HEAD
    if head.count(b"\n") != len(lines) + 1:
        raise httpx.LocalProtocolError("A line feed in a header.", request=request)
    return head


def _limit_s(request: httpx.Request, phase: str) -> float | None:
    limits = request.extensions.get("timeout") or {}
    limit_s: float | None = limits.get(phase)
    return limit_s


@contextmanager
def _failures_told(request: httpx.Request) -> Iterator[None]:
    """Tell failures of reading in the words of ``httpx``."""
    try:
        yield
    except TimeoutError as error:
        raise httpx.ReadTimeout("No answer in time.", request=request) from error
    except OSError as error:
        raise httpx.ReadError(str(error), request=request) from error
    except (EOFError, ValueError, asyncio.LimitOverrunError) as error:
        # ``IncompleteReadError`` is an ``EOFError``.
        message = "The answer broke off, or is no HTTP."
        raise httpx.RemoteProtocolError(message, request=request) from error
