"""An answer's head and body leave together."""

from __future__ import annotations

import asyncio

from router.http.one_write import Gathering


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
