"""The application on a real socket, and a wire to it that can be cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast
from urllib.parse import urlsplit

from router.http.app import create_app
from router.http.server import listen, make_server, url_of
from router.telemetry import Metrics
from router.wiring import Bank
from tests.support.scripted_bank import ScriptedBank

_READ_BYTES = 2**16


@asynccontextmanager
async def served(bank: Bank | ScriptedBank) -> AsyncIterator[str]:
    """The application on a real socket; ends by the server's own orderly shutdown."""
    with listen("127.0.0.1", 0, allow_remote=False) as listener:
        server = make_server(create_app(cast(Bank, bank), Metrics()))
        running = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield url_of(listener)
        finally:
            server.should_exit = True
            await running


class CutWire:
    """A proxy before a server that cuts connections after so many bytes of their answers.

    ``cuts`` are those of the first connections, in their order; later ones are left alone.
    """

    def __init__(self, url: str, cuts: list[int]) -> None:
        address = urlsplit(url)
        self._server = (address.hostname or "", address.port or 0)
        self._cuts = cuts
        self._wires: set[asyncio.Task[None]] = set()
        self.connections = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        """Where the proxy listens."""
        listener = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        try:
            host, port = listener.sockets[0].getsockname()
            yield f"http://{host}:{port}"
        finally:
            listener.close()
            for wire in self._wires:
                wire.cancel()
            await asyncio.gather(*self._wires, return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        left_bytes = self._cuts.pop(0) if self._cuts else None
        from_server, to_server = await asyncio.open_connection(*self._server)
        there = asyncio.create_task(_copy(reader, to_server))
        back = asyncio.create_task(_copy(from_server, writer, left_bytes))
        self._wires |= {there, back}
        await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
        there.cancel()
        back.cancel()
        for each in (writer, to_server):
            if left_bytes is None:
                each.close()
            else:
                # Broken off on both sides at once, as by a machine that is gone.
                each.transport.abort()


async def _copy(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left_bytes: int | None = None
) -> None:
    while part := await reader.read(_READ_BYTES):
        if left_bytes is not None:
            part = part[:left_bytes]
            left_bytes -= len(part)
        writer.write(part)
        await writer.drain()
        if left_bytes == 0:
            return
