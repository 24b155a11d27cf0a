"""An answer's head and body leave together."""

from __future__ import annotations

import asyncio

from starlette.types import Receive, Scope, Send

from router.http.one_write import BODY_ARRIVED_IN_SCOPE, Gathering
from router.http.server import listen, make_server

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"
LENGTH = (b"content-length", b"2")


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
