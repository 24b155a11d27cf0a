"""The lanes of shards without HTTP: what group commit itself can do."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from itertools import cycle, islice, takewhile
from typing import Any

from router import process_memory
from shard.commands import Command
from shard.outcomes import Outcome
from shard.shard import Shard
from tests.benchmarks.accounts import transfer
from tests.benchmarks.apart import own_cpu_s, serve_order
from tests.benchmarks.cpu import CpuMeter, per_transfer_us
from tests.benchmarks.measured import Measured

_CENT = Decimal("0.01")
_WARM_UPS = 6
"""Batches for each client and shard: connections are made and plans are kept by then."""


@dataclass(frozen=True, slots=True)
class Order:
    """Post batches of ``batch`` transfers by ``clients`` clients, to one shard after the other.

    Debtors are random; so are the creditors, unless one by shard is given. With ``transfers``
    all commands are made before the clock starts, so that it times the lanes alone; else they
    are made on the way, for ``seconds``.
    """

    dsns: dict[str, str]
    accounts: dict[str, list[int]]
    clients: int
    batch: int
    seconds: float = 0.0
    transfers: int = 0
    creditors: dict[str, int] | None = None
    server_pids: list[int] = field(default_factory=list)
    """The processes of the shards' servers, whose CPU time is read."""


Batches = Iterable[tuple[str, list[Command]]]
"""Commands for one lane's turn, and the shard that they are for."""


class _Posting:
    """One order on its way."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._shards = {name: Shard(int(name), dsn) for name, dsn in order.dsns.items()}
        self._endless = [self._made(client) for client in range(order.clients)]

    async def carry_out(self) -> Measured:
        await asyncio.gather(*(shard.open() for shard in self._shards.values()))
        try:
            await self._post(self._first(_WARM_UPS * len(self._shards)))
            if self._order.transfers:
                each = self._order.transfers // (self._order.batch * self._order.clients)
                ready = self._first(each)
                process_memory.settle()
                return await self._measure(ready)
            stop_at_s = time.perf_counter() + self._order.seconds
            return await self._measure([_until(stop_at_s, made) for made in self._endless])
        finally:
            await asyncio.gather(*(shard.close() for shard in self._shards.values()))

    async def _measure(self, batches: Sequence[Batches]) -> Measured:
        meter = CpuMeter({"postgresql": self._order.server_pids})
        cpu_s, turns = own_cpu_s(), self._turns()
        started_s = time.perf_counter()
        count = await self._post(batches)
        seconds = time.perf_counter() - started_s
        return Measured(
            accepted=count,
            seconds=seconds,
            how={
                "clients": self._order.clients,
                "commands_a_batch": round(count / (self._turns() - turns), 1),
            },
            cpu_us=per_transfer_us({**meter.seconds(), "client": own_cpu_s() - cpu_s}, count),
        )

    def _turns(self) -> int:
        return sum(shard.lanes.batches for shard in self._shards.values())

    async def _post(self, batches: Sequence[Batches]) -> int:
        return sum(await asyncio.gather(*(self._client(each) for each in batches)))

    async def _client(self, batches: Batches) -> int:
        posted = 0
        for name, commands in batches:
            answers = await self._shards[name].lanes.post_many(commands)
            if {answer.outcome for answer in answers} != {Outcome.POSTED}:
                raise RuntimeError("a transfer of the benchmark was refused")
            posted += len(answers)
        return posted

    def _first(self, count: int) -> list[Batches]:
        """So many batches for each client, made now."""
        return [list(islice(made, count)) for made in self._endless]

    def _made(self, client: int) -> Iterator[tuple[str, list[Command]]]:
        """One client's batches, made when they are asked for; clients begin at different shards."""
        names = [*self._shards]
        for name in islice(cycle(names), client, None):
            accounts = self._order.accounts[name]
            creditor = (self._order.creditors or {}).get(name)
            pairs = (random.sample(accounts, 2) for _ in range(self._order.batch))
            yield name, [transfer(debtor, creditor or other, _CENT) for debtor, other in pairs]


def _until(stop_at_s: float, batches: Batches) -> Batches:
    return takewhile(lambda _: time.perf_counter() < stop_at_s, batches)


async def _work(order: dict[str, Any]) -> Mapping[str, object]:
    return asdict(await _Posting(Order(**order)).carry_out())


if __name__ == "__main__":
    serve_order(_work)
