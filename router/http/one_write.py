"""What this API's connections do differently from uvicorn's.

One system call per answer: uvicorn writes the head and the body of an answer one after the other,
and uvloop sends each at once: two system calls and two packets for a few hundred bytes, a sixth of
what a transfer costs.

A request whose client has left is cancelled, so that what was not sent to a shard never is. And
one whose body is there as a whole says so, so that nobody starts a timer to wait for it. Who never
sends a whole head does not keep his connection. Who ends his side of it has left, unless he waits
for the answers to a stream.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from router.limits import CONNECTIONS_MAX, HEAD_WAIT_S, KEEP_ALIVE_S, RETRY_AFTER_S

_REFUSED = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: %d\r\nconnection: close\r\n"
    b"content-length: 0\r\n\r\n" % RETRY_AFTER_S
)

TASK_IN_SCOPE: Final = "ledger.task"
"""Where a request leaves the task that serves it, to be cancelled when its client leaves."""

CLIENT_LEFT: Final = object()
"""What stands there afterwards."""

BODY_ARRIVED_IN_SCOPE: Final = "ledger.body_arrived"
"""Stands in the scope of a request whose body has arrived to its end."""

ANSWERS_ANYWAY_IN_SCOPE: Final = "ledger.answers_anyway"
"""Where a request says that it answers also whoever sends nothing more."""

BODY_CUT_OFF_IN_SCOPE: Final = "ledger.body_cut_off"
"""Stands in the scope of such a request once nothing more can come of its body."""


class OneWriteProtocol(HttpToolsProtocol):
    """uvicorn's own HTTP/1.1 protocol on a transport that gathers what is written."""

    connections_max = CONNECTIONS_MAX
    connections_refused = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Put the gathering transport between the protocol and the socket."""
        gathering = Gathering(cast(asyncio.Transport, transport))
        self._is_in_head = self._is_head_timed = False
        self._patience: asyncio.TimerHandle | None = None
        super().connection_made(cast(asyncio.Transport, gathering))
        self._wait(KEEP_ALIVE_S)
        if len(self.connections) > self.connections_max:
            OneWriteProtocol.connections_refused += 1
            gathering.write(_REFUSED)
            gathering.close()

    def data_received(self, data: bytes) -> None:
        """Time a head that has not arrived as a whole, and whoever sends none at all."""
        super().data_received(data)
        if self._is_in_head:
            if not self._is_head_timed:
                self._is_head_timed = True
                self._wait(HEAD_WAIT_S)
        elif self._patience is None and self._under_way is None:
            # Bytes that begin no request have ended uvicorn's own time for the next one.
            self._wait(KEEP_ALIVE_S)

    @property
    def _under_way(self) -> RequestResponseCycle | None:
        """The request that is not answered yet."""
        # None until the first request has come.
        cycle = cast(RequestResponseCycle | None, self.cycle)
        return None if cycle is None or cycle.response_complete else cycle

    def _wait(self, seconds: float) -> None:
        self._end_waiting()
        self._patience = self.loop.call_later(seconds, self._lose_patience)

    def _end_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _lose_patience(self) -> None:
        self._patience = None
        self.transport.close()

    def on_message_begin(self) -> None:
        """Note that a head is arriving."""
        super().on_message_begin()
        self._is_in_head = True

    def on_headers_complete(self) -> None:
        """Note that the head is there."""
        super().on_headers_complete()
        self._is_in_head = self._is_head_timed = False
        self._end_waiting()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP; but not while a request of this connection is under way.

        It may be booked, so no status could be right: only a broken connection leaves it open.
        """
        if self._under_way is None:
            super().send_400_response(msg)
        else:
            self.transport.close()

    def on_message_complete(self) -> None:
        """Note that the last byte of a request is here; mostly before its task has begun."""
        super().on_message_complete()
        cast(Scope, self.cycle.scope)[BODY_ARRIVED_IN_SCOPE] = True

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio heeds what it answers
        """Keep the way back open for who reads what became of what he sent; else he has left."""
        cycle = self._under_way
        if cycle is None or ANSWERS_ANYWAY_IN_SCOPE not in cycle.scope:
            return False
        if BODY_ARRIVED_IN_SCOPE not in cycle.scope:
            cast(Scope, cycle.scope)[BODY_CUT_OFF_IN_SCOPE] = True
            cycle.message_event.set()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop what nobody waits for any more; what was sent to a shard goes on there."""
        super().connection_lost(exc)
        self._end_waiting()
        cycle = self._under_way
        if cycle is not None:
            scope = cast(Scope, cycle.scope)
            task = scope.get(TASK_IN_SCOPE)
            if isinstance(task, asyncio.Task):
                scope[TASK_IN_SCOPE] = CLIENT_LEFT
                task.cancel()


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
