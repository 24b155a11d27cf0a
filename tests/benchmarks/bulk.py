"""A light generator for bulk: NDJSON streams that are written and read at the same time.

Lines are made before the clock starts and answers are counted after it has stopped, so that the
processors are left to the server.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tests.benchmarks.apart import serve_order
from tests.benchmarks.keep_alive import Transfers
from tests.benchmarks.measured import of_times

_LINES_PER_CHUNK = 250
_PACED_CHUNK_S = 0.01
_STATUS = re.compile(rb'"status": ?(\d{3})')
_BUFFER_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Order:
    """``lines`` transfers in all, over ``streams`` streams spread evenly over ``ports``.

    With ``rate_per_s`` lines are sent at that pace, whether or not earlier ones were answered.
    """

    ports: list[int]
    streams: int
    lines: int
    debtors: list[int]
    creditors: list[int]
    run: str
    rate_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Stream:
    """One request: its body in HTTP chunks that are ready to be sent."""

    port: int
    chunks: list[bytes]
    pause_s: float = 0.0
    """Between two chunks, where there is a pace to keep."""

    async def carry_out(self) -> bytes:
        """Send all, read all; the answer's body, still in chunks."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=_BUFFER_BYTES)
        try:
            writer.write(
                b"POST /v1/transfers/bulk HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                b"Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            sending = asyncio.create_task(self._send(writer))
            told = await _all_of(reader)
            await sending
        finally:
            writer.close()
        return told

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        for chunk in self.chunks:
            if self.pause_s:
                await asyncio.sleep(due_s - loop.time())  # sleep: a paced load waits for the clock
                due_s += self.pause_s
            writer.write(chunk)
            await writer.drain()


async def _all_of(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while part := await reader.read(_BUFFER_BYTES):
        parts.append(part)
    return b"".join(parts)


def _chunks(transfers: Transfers, lines: int, lines_per_chunk: int) -> list[bytes]:
    chunks = []
    for start in range(0, lines, lines_per_chunk):
        count = min(lines_per_chunk, lines - start)
        content = "".join(transfers.next_body() + "\n" for _ in range(count)).encode()
        chunks.append(b"%x\r\n%s\r\n" % (len(content), content))
    return [*chunks, b"0\r\n\r\n"]


def _statuses(told: bytes) -> Counter[str]:
    """The statuses of the lines of an answer; raises ``RuntimeError`` where it is none."""
    head, _, body = told.partition(b"\r\n\r\n")
    if head[9:12] != b"200":
        raise RuntimeError(f"bulk answered {told[:500]!r}")
    # A status that stands across the border of two HTTP chunks is put together again.
    whole = re.sub(rb"\r\n[0-9a-fA-F]+\r\n", b"", b"\r\n" + body)
    return Counter(status.decode() for status in _STATUS.findall(whole))


async def _work(fields: dict[str, Any]) -> Mapping[str, object]:
    order = Order(**fields)
    size, pause_s = _LINES_PER_CHUNK, 0.0
    if order.rate_per_s is not None:
        rate_of_one = order.rate_per_s / order.streams
        size = max(1, round(rate_of_one * _PACED_CHUNK_S))
        pause_s = size / rate_of_one
    streams = [
        _Stream(
            order.ports[i % len(order.ports)],
            _chunks(
                Transfers(f"{order.run}-{i}", order.debtors, order.creditors),
                order.lines // order.streams,
                size,
            ),
            pause_s,
        )
        for i in range(order.streams)
    ]
    started_s = time.perf_counter()
    told = await asyncio.gather(*(stream.carry_out() for stream in streams))
    seconds = time.perf_counter() - started_s
    by_status: Counter[str] = sum((_statuses(each) for each in told), Counter())
    return asdict(of_times(by_status, seconds, []))


if __name__ == "__main__":
    serve_order(_work)
