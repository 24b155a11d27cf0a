"""A light load generator: keep-alive connections that post transfers as fast as they are answered.

Runs as a process of its own, so that its work is counted, and prints one JSON object. It speaks
just the HTTP/1.1 that the API answers with: a status line, a Content-Length, a body.

    python -m tests.benchmarks.load < order.json
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from functools import partial
from typing import cast

_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = b"content-length: "


@dataclass(frozen=True, slots=True)
class Order:
    """What to do: transfers of 0.01 from any of ``debtors`` to any of ``creditors``.

    With ``seconds`` as long as that, each on ``connections`` keep-alive connections.
    """

    host: str
    port: int
    connections: int
    seconds: float
    debtors: list[int]
    creditors: list[int]
    run: str


@dataclass(frozen=True, slots=True)
class Measured:
    """Answers by status, elapsed seconds, and answer times at percentiles in milliseconds."""

    by_status: dict[str, int]
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def accepted(self) -> int:
        """How many transfers were booked or are in transit."""
        return sum(self.by_status.get(status, 0) for status in ("200", "201", "202"))

    @property
    def per_second(self) -> float:
        """Accepted transfers a second."""
        return self.accepted / self.seconds


class _Connection(asyncio.Protocol):
    """One client that sends the next transfer when the one before is answered."""

    def __init__(self, order: Order, name: int, stop_at: float) -> None:
        self.by_status: Counter[str] = Counter()
        self.times_s: list[float] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._order = order
        self._name = name
        self._sent = 0
        self._sent_at = 0.0
        self._stop_at = stop_at
        self._buffer = b""
        self._random = random.Random(f"{order.run}:{name}")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are write transports without saying so.
        self._transport = cast(asyncio.WriteTransport, transport)
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the server hung up"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(_END_OF_HEAD)
        if head_end < 0:
            return
        start = self._buffer.lower().index(_LENGTH, 0, head_end + 2) + len(_LENGTH)
        length = int(self._buffer[start : self._buffer.index(b"\r", start)])
        if len(self._buffer) < head_end + len(_END_OF_HEAD) + length:
            return
        now = time.perf_counter()
        self.times_s.append(now - self._sent_at)
        self.by_status[self._buffer[9:12].decode()] += 1
        self._buffer = b""
        if now >= self._stop_at:
            self.done.set_result(None)
        else:
            self._send()

    def _send(self) -> None:
        debtor = self._random.choice(self._order.debtors)
        creditor = debtor
        while creditor == debtor:
            creditor = self._random.choice(self._order.creditors)
        self._sent += 1
        body = (
            f'{{"reference":"{self._order.run}-{self._name}-{self._sent}",'
            f'"debtor_account":"{debtor}","creditor_account":"{creditor}",'
            f'"amount":"0.01","currency":"EUR"}}'
        )
        self._sent_at = time.perf_counter()
        self._transport.write(
            f"POST /v1/transfers HTTP/1.1\r\nHost: {self._order.host}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )


def _itself(client: _Connection) -> _Connection:
    return client


async def generate(order: Order) -> Measured:
    """Carry out an order."""
    loop = asyncio.get_running_loop()
    started_at = time.perf_counter()
    clients = [
        _Connection(order, name, started_at + order.seconds) for name in range(order.connections)
    ]
    for client in clients:
        await loop.create_connection(partial(_itself, client), order.host, order.port)
    await asyncio.gather(*(client.done for client in clients))
    elapsed_s = time.perf_counter() - started_at
    by_status: Counter[str] = Counter()
    for client in clients:
        by_status += client.by_status
    times_ms = sorted(1_000 * each for client in clients for each in client.times_s)
    return Measured(
        dict(by_status),
        elapsed_s,
        times_ms[len(times_ms) // 2],
        times_ms[len(times_ms) * 99 // 100],
    )


async def generate_apart(order: Order) -> Measured:
    """Carry out an order in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.benchmarks.load",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    told, _ = await process.communicate(json.dumps(asdict(order)).encode())
    if process.returncode:
        raise RuntimeError(f"the load generator ended with {process.returncode}")
    return Measured(**json.loads(told))


if __name__ == "__main__":
    import uvloop

    print(json.dumps(asdict(uvloop.run(generate(Order(**json.load(sys.stdin)))))))
