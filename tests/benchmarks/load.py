"""A light load generator for single transfers.

Closed: each connection sends the next transfer when the one before is answered. Paced, with
``rate_per_s``: transfers are due at even distances, whether or not earlier ones were answered,
and their times count from when they were due, so that a stall is not hidden by waiting for it.
Those of the first second, in which connections are made, do not count.

A client that is told to come back later does that, with the same reference, after the time told.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from tests.benchmarks.apart import serve_order
from tests.benchmarks.keep_alive import LOST, KeepAlive, Reply, Transfers
from tests.benchmarks.measured import Measured, of_times

_ACCEPTED = frozenset({"200", "201", "202"})
_TICK_S = 0.001
_WARM_UP_S = 1.0
_LAST_ANSWERS_S = 10.0


@dataclass(frozen=True, slots=True)
class Order:
    """Post transfers from any of ``debtors`` to any of ``creditors`` for ``seconds``.

    ``connections`` in all, spread evenly over ``ports`` of this machine.
    """

    ports: list[int]
    connections: int
    seconds: float
    debtors: list[int]
    creditors: list[int]
    run: str
    rate_per_s: float | None = None


class _Client:
    """One keep-alive connection and the request that it is busy with."""

    def __init__(self, load: _Load, transfers: Transfers) -> None:
        self._load = load
        self._transfers = transfers
        self._request = b""
        self._due_s = 0.0
        self.connection = KeepAlive(self._on_reply)
        self.has_ended = False

    def send_next(self, due_s: float) -> None:
        """Send a transfer that is due at that time."""
        self._request = self._transfers.next_request()
        self._due_s = due_s
        self.connection.send(self._request)

    def _on_reply(self, reply: Reply) -> None:
        load = self._load
        now = time.perf_counter()
        load.by_status[reply.status] += 1
        if reply.status == LOST:
            self._end()
        elif reply.retry_after_s is None:
            if reply.status in _ACCEPTED and self._due_s >= load.timed_from_s:
                load.times_s.append(now - self._due_s)
            load.on_free(self, now)
        elif now + reply.retry_after_s < load.stop_at_s:
            asyncio.get_running_loop().call_later(reply.retry_after_s, self._send_again)
        else:
            self.end()

    def _send_again(self) -> None:
        self.connection.send(self._request)

    def _end(self) -> None:
        self.has_ended = True
        self._load.on_end(self)

    def end(self) -> None:
        """Nothing more is to be sent."""
        self.connection.close()
        self._end()


class _Load:
    """What all clients of one order share."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self.by_status: Counter[str] = Counter()
        self.times_s: list[float] = []
        self.timed_from_s = 0.0
        self.stop_at_s = 0.0
        self._clients = [
            _Client(self, Transfers(f"{order.run}-{i}", order.debtors, order.creditors))
            for i in range(order.connections)
        ]
        self._open = len(self._clients)
        self._all_ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._free: deque[_Client] = deque()
        self._due: deque[float] = deque()

    async def carry_out(self) -> Measured:
        loop = asyncio.get_running_loop()
        for i, client in enumerate(self._clients):
            port = self._order.ports[i % len(self._order.ports)]
            await loop.create_connection(partial(_itself, client.connection), "127.0.0.1", port)
        started_s = time.perf_counter()
        self.stop_at_s = started_s + self._order.seconds
        if self._order.rate_per_s is not None:
            self.timed_from_s = started_s + min(_WARM_UP_S, self._order.seconds / 2)
        if self._order.rate_per_s is None:
            for client in self._clients:
                client.send_next(time.perf_counter())
            await self._all_ended
        else:
            await self._pace(started_s, self._order.rate_per_s)
        return of_times(self.by_status, time.perf_counter() - started_s, self.times_s)

    def on_free(self, client: _Client, now: float) -> None:
        """A client's request is answered for good."""
        if self._due:
            client.send_next(self._due.popleft())
        elif now >= self.stop_at_s:
            client.end()
        elif self._order.rate_per_s is None:
            client.send_next(now)
        else:
            self._free.append(client)

    def on_end(self, client: _Client) -> None:
        self._open -= 1
        if self._open == 0 and not self._all_ended.done():
            self._all_ended.set_result(None)

    async def _pace(self, started_s: float, rate_per_s: float) -> None:
        self._free.extend(self._clients)
        sent = 0
        while (now := time.perf_counter()) < self.stop_at_s:
            while (due_s := started_s + sent / rate_per_s) <= now:
                sent += 1
                self._due.append(due_s)
            while self._due and self._free:
                client = self._free.popleft()
                if not client.has_ended:
                    client.send_next(self._due.popleft())
            await asyncio.sleep(_TICK_S)  # sleep: the clock is what a paced load waits for
        for client in self._free:
            client.end()
        async with asyncio.timeout(_LAST_ANSWERS_S):
            await self._all_ended


def _itself(connection: KeepAlive) -> KeepAlive:
    return connection


async def _work(order: dict[str, Any]) -> Mapping[str, object]:
    return asdict(await _Load(Order(**order)).carry_out())


if __name__ == "__main__":
    serve_order(_work)
