"""The client's own HTTP: two directions at once, connections used again, failures told apart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import pytest

from deploy.embedded.ports import free_port
from router.client import DuplexTransport, LedgerClient, NoAnswer, Retries

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

PATIENCE_S = 30.0
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Server:
    """Speaks bytes: one handler per connection, and how many connections there were."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self.connections = 0

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        """A client of it."""
        listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        try:
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", transport=DuplexTransport(), timeout=PATIENCE_S
            ) as client:
                yield client
        finally:
            listener.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._handler(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # The client has what it wanted.
        finally:
            writer.close()


async def head_of(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


def answering(*answers: bytes) -> Server:
    """A server that answers the requests of each connection in turn, then closes it."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await head_of(reader)
            writer.write(answer)

    return Server(handle)


async def test_an_answer_is_read_while_the_request_is_sent() -> None:
    """Each part is sent only once the part before was answered: both streams are open at once."""
    answered: asyncio.Queue[bytes] = asyncio.Queue()

    async def parts() -> AsyncIterator[bytes]:
        for n in range(3):
            yield b"part %d" % n
            assert b"part %d" % n == await answered.get()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while size := int(await reader.readuntil(b"\r\n"), 16):
            part = await reader.readexactly(size)
            await reader.readexactly(2)
            writer.write(b"%x\r\n%b\r\n" % (size, part))
        writer.write(b"0\r\n\r\n")

    async with (
        asyncio.timeout(PATIENCE_S),
        Server(echo).client() as client,
        client.stream("POST", "/", content=parts()) as response,
    ):
        async for part in response.aiter_raw():
            answered.put_nowait(part)


async def test_an_early_answer_counts() -> None:
    """A server that answers and hangs up before all is sent has answered."""

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65_536

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\n\r\nmuch")
        await writer.drain()

    async with asyncio.timeout(PATIENCE_S), Server(refuse).client() as client:
        response = await client.post("/", content=endless())
    assert (413, b"much") == (response.status_code, response.content)


@pytest.mark.parametrize(
    "answer",
    [
        OK,
        CHUNKED + b"1\r\no\r\n1;x=y\r\nk\r\n0\r\nA: b\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
    ],
    ids=["length", "chunks", "continue"],
)
async def test_a_connection_is_used_again(answer: bytes) -> None:
    """Once an answer is read to its end, the next request goes the same way."""
    server = answering(answer, answer)
    async with server.client() as client:
        first, second = await client.get("/"), await client.get("/")
    assert (b"ok", b"ok", 1) == (first.content, second.content, server.connections)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n\r\nok",
    ],
    ids=["said", "by-its-end"],
)
async def test_a_connection_that_ends_is_not_used_again(answer: bytes) -> None:
    """What the server closes, or ends its answer with, is left alone."""
    server = answering(answer)
    async with server.client() as client:
        first, second = await client.get("/"), await client.get("/")
    assert (b"ok", b"ok", 2) == (first.content, second.content, server.connections)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok",
        CHUNKED + b"5\r\nok",
        CHUNKED + b"xyz\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * 300_000,
    ],
    ids=["nothing", "short", "short-chunk", "no-chunk", "no-http", "no-status", "endless-head"],
)
async def test_an_answer_that_is_none_is_told(answer: bytes) -> None:
    """Cut off or no HTTP at all: an error of the transport, so that it is repeated."""
    async with answering(answer).client() as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/")


async def test_an_answer_that_does_not_come_is_given_up() -> None:
    """The time limit of a request is that of each piece of its answer."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        await reader.read()

    async with Server(silent).client() as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.get("/", timeout=0.01)


async def test_nobody_there_is_told() -> None:
    """A port without a listener is an error of connecting."""
    transport = DuplexTransport()
    async with httpx.AsyncClient(transport=transport) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(f"http://127.0.0.1:{free_port()}")


async def test_a_stream_to_nobody_ends() -> None:
    """A stream that never got a connection is given up like a single request."""
    pauses_s: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses_s.append(seconds)

    retries = Retries(repeats=3, sleep=sleep)
    async with LedgerClient(f"http://127.0.0.1:{free_port()}", retries=retries) as client:
        with pytest.raises(NoAnswer):
            await anext(client.bulk([]))
    assert 3 == len(pauses_s)


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nb"])
async def test_a_header_cannot_carry_another(value: str) -> None:
    """What a caller puts into a header stays within it, or is not sent at all."""
    async with answering(OK).client() as client:
        with pytest.raises(httpx.LocalProtocolError):
            await client.get("/", headers={"traceparent": value})


async def test_requests_at_once_have_connections_of_their_own() -> None:
    """As many as are under way, and no more."""
    barrier = asyncio.Barrier(5)

    async def together(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            await head_of(reader)
            await barrier.wait()
            writer.write(OK)

    server = Server(together)
    async with asyncio.timeout(PATIENCE_S), server.client() as client:
        for _ in range(2):
            await asyncio.gather(*(client.get("/") for _ in range(5)))
    assert 5 == server.connections
