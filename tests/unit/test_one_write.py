"""An answer's head and body leave together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from router.http import one_write
from router.http.one_write import BODY_ARRIVED_IN_SCOPE, Gathering
from router.http.server import listen, make_server

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"
LENGTH = (b"content-length", b"2")
Connected = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Socket(asyncio.Transport):
    """A transport that remembers what reached it, and in which order."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[bytes | str] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.told.append(bytes(data))

    def close(self) -> None:
        self.told.append("closed")

    def is_closing(self) -> bool:
        return "closed" in self.told


async def test_writes_of_one_turn_are_one_write() -> None:
    """What is written before the loop turns is sent as one piece, what comes later by itself."""
    socket = _Socket()
    gathering = Gathering(socket)
    gathering.write(b"head")
    gathering.write(b"body")
    await asyncio.sleep(0)  # sleep: one turn of the loop
    gathering.write(b"next")
    await asyncio.sleep(0)  # sleep: one turn of the loop
    assert socket.told == [b"headbody", b"next"]


async def test_closing_sends_what_waits() -> None:
    """Nothing written before a close is lost, and nothing is sent after it."""
    socket = _Socket()
    gathering = Gathering(socket)
    gathering.write(b"bye")
    gathering.close()
    await asyncio.sleep(0)  # sleep: one turn of the loop
    assert socket.told == [b"bye", "closed"]


async def test_the_rest_is_the_socket_s_own() -> None:
    """Questions about the connection are answered by the socket."""
    socket = _Socket()
    gathering = Gathering(socket)
    assert not gathering.is_closing()
    gathering.close()
    assert gathering.is_closing()


async def test_a_request_tells_that_its_body_has_arrived() -> None:
    """Not before its last byte, or nobody would be timed who trickles; for each by itself."""
    told: list[bool] = []
    begun = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        told.append(BODY_ARRIVED_IN_SCOPE in scope)
        begun.set()
        while (await receive())["more_body"]:
            pass
        told.append(BODY_ARRIVED_IN_SCOPE in scope)
        await send({"type": "http.response.start", "status": 200, "headers": [LENGTH]})
        await send({"type": "http.response.body", "body": b"ok"})

    with listen("127.0.0.1", 0, allow_remote=False) as listener:
        server = make_server(app)
        running = asyncio.create_task(server.serve(sockets=[listener]))
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(HEAD + b"body")
        await reader.readuntil(b"ok")
        begun.clear()
        writer.write(HEAD + b"bo")
        await begun.wait()
        writer.write(b"dy")
        await reader.readuntil(b"ok")
        writer.close()
        server.should_exit = True
        await running
    assert [True, True, False, True] == told


@asynccontextmanager
async def _connections(app: ASGIApp, count: int) -> AsyncIterator[list[Connected]]:
    """Connections to a server of ``app``."""
    with listen("127.0.0.1", 0, allow_remote=False) as listener:
        server = make_server(app)
        running = asyncio.create_task(server.serve(sockets=[listener]))
        port = listener.getsockname()[1]
        connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(count)]
        try:
            yield connections
        finally:
            for _, writer in connections:
                writer.close()
            server.should_exit = True
            await running


async def _answering(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [LENGTH]})
    await send({"type": "http.response.body", "body": b"ok"})


async def test_whoever_sends_no_whole_head_loses_his_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In silence, byte by byte, and after a request of his was answered."""
    monkeypatch.setattr(one_write, "HEAD_WAIT_S", 0.2)
    monkeypatch.setattr(one_write, "KEEP_ALIVE_S", 0.4)
    async with _connections(_answering, 4) as connections:
        (_, trickling), (again, later), (blank, crlf) = connections[1:]
        later.write(HEAD + b"body")
        crlf.write(HEAD + b"body")
        for reader in (again, blank):
            await reader.readuntil(b"\r\n\r\nok")
        for i in range(4):
            trickling.write(HEAD[i : i + 1])
            later.write(HEAD[i : i + 1])
            crlf.write(b"\r\n")
            await asyncio.sleep(0.05)  # sleep: bytes come one by one
        async with asyncio.timeout(5):
            assert [b""] * 4 == [await reader.read() for reader, _ in connections]


async def test_a_whole_head_is_all_that_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection whose requests are answered lives on, and so does one that waits for one."""
    monkeypatch.setattr(one_write, "HEAD_WAIT_S", 0.1)
    may_answer = asyncio.Event()

    async def slowly(scope: Scope, receive: Receive, send: Send) -> None:
        await may_answer.wait()
        await _answering(scope, receive, send)

    async with _connections(slowly, 1) as ((reader, writer),):
        writer.write(HEAD + b"body")
        await asyncio.sleep(0.2)  # sleep: longer than a head may take
        may_answer.set()
        for _ in range(2):
            assert b" 200 " in await reader.readuntil(b"\r\n\r\nok")
            await asyncio.sleep(0.2)  # sleep: longer than a head may take
            writer.write(HEAD + b"body")


CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"


@pytest.mark.parametrize("request_", [HEAD + b"body", CHUNKED], ids=["whole", "in the middle"])
async def test_rubbish_behind_a_request_under_way_is_not_answered(request_: bytes) -> None:
    """The request may be carried out: a 400 would say that it was not."""
    begun = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        while (await receive())["type"] != "http.disconnect":
            pass

    async with _connections(app, 1) as ((reader, writer),):
        writer.write(request_)
        await begun.wait()
        writer.write(b"zzz\r\n\r\n")
        async with asyncio.timeout(5):
            assert b"" == await reader.read()


async def test_what_is_no_http_is_told_so() -> None:
    """Also behind a request that was answered."""
    async with _connections(_answering, 2) as ((reader, writer), (again, later)):
        writer.write(b"zzz\r\n\r\n")
        later.write(HEAD + b"body")
        await again.readuntil(b"\r\n\r\nok")
        later.write(b"zzz\r\n\r\n")
        for each in (reader, again):
            assert b"HTTP/1.1 400 " == (await each.read())[:13]
