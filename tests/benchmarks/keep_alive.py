"""Light keep-alive HTTP/1.1 connections for the load generators.

They speak just what the API answers with: a status line, headers with a Content-Length, a body.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length: "
_RETRY_AFTER = b"\r\nretry-after: "
_STATUS = slice(9, 12)
LOST = "lost"
"""The status of a request whose connection ended before its answer."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer's status, and what it says about coming back, in seconds."""

    status: str
    retry_after_s: float | None


class KeepAlive(asyncio.Protocol):
    """One connection with one request under way; tells its owner of each reply."""

    def __init__(self, on_reply: Callable[[Reply], None]) -> None:
        self._on_reply = on_reply
        self._buffer = b""
        self._is_busy = False
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; uvloop's are write transports without saying so."""
        self._transport = cast(asyncio.WriteTransport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell of a request that will have no answer."""
        if self._is_busy:
            self._is_busy = False
            self._on_reply(Reply(LOST, None))

    def send(self, request: bytes) -> None:
        """Send one request; the one before must have been answered."""
        assert self._transport is not None, "not connected"
        self._is_busy = True
        if self._transport.is_closing():
            self.connection_lost(None)
        else:
            self._transport.write(request)

    def close(self) -> None:
        """Hang up."""
        self._is_busy = False
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Collect an answer; when it is whole, hand it over."""
        self._buffer += data
        head_end = self._buffer.find(_END_OF_HEAD)
        if head_end < 0:
            return
        head = self._buffer[: head_end + 2].lower()
        length = int(_header(head, _LENGTH) or b"0")
        if len(self._buffer) < head_end + len(_END_OF_HEAD) + length:
            return
        self._buffer = b""
        self._is_busy = False
        status = head[_STATUS].decode()
        pause = _header(head, _RETRY_AFTER) if status == "503" else None
        self._on_reply(Reply(status, None if pause is None else float(pause)))


def _header(head: bytes, name: bytes) -> bytes | None:
    start = head.find(name)
    if start < 0:
        return None
    start += len(name)
    return head[start : head.index(b"\r", start)]


class Transfers:
    """Makes requests for transfers of 0.01 between random accounts, each under a new reference."""

    def __init__(self, run: str, debtors: Sequence[int], creditors: Sequence[int]) -> None:
        self._run = run
        self._debtors = debtors
        self._creditors = creditors
        self._random = random.Random(run)
        self._made = 0

    def next_body(self) -> str:
        """The JSON of a request, on one line."""
        debtor = self._random.choice(self._debtors)
        creditor = debtor
        while creditor == debtor:
            creditor = self._random.choice(self._creditors)
        self._made += 1
        return (
            f'{{"reference":"{self._run}-{self._made}",'
            f'"debtor_account":"{debtor}","creditor_account":"{creditor}",'
            f'"amount":"0.01","currency":"EUR"}}'
        )

    def next_request(self) -> bytes:
        """A whole HTTP request."""
        body = self.next_body()
        return (
            "POST /v1/transfers HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        ).encode()
