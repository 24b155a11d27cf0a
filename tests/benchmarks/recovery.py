"""How long money between shards stands still when the only worker is killed under load.

The API serves without a worker of its own; one worker process carries everything. It is killed
in the midst of a steady load and another one is started at once, as any supervisor would.
"""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from deploy.embedded.endpoints import Endpoints
from shard.repairs import ItemFilter
from shard.shard import Shard
from tests.benchmarks.apart import run_apart
from tests.benchmarks.balances import settled
from tests.benchmarks.bank import MeasuredBank
from tests.benchmarks.load import Order
from tests.benchmarks.serving import environment_of, serving

_NEAR, _FAR = 1, 2
_RATE_PER_S = 300.0
_CONNECTIONS = 32
_KILLED_AFTER_S = 3.0
_GO_ON_S = 6.0
_PAUSE_S = 0.02
_MANY = 100_000


@dataclass(frozen=True, slots=True)
class Recovery:
    """``open_items`` stood in suspense when the worker was killed; the last arrived that later."""

    open_items: int
    seconds: float


async def worker_recovery(bank: MeasuredBank, endpoints: Endpoints, folder: Path) -> Recovery:
    """Kill the only worker under load, and see when all items of that moment have arrived."""
    shard = Shard(_NEAR, endpoints.shard_dsns[_NEAR])
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(
            serving(endpoints, folder, 1, settings={"LEDGER_RUN_WORKER": "false"})
        )
        await shard.open()
        stack.push_async_callback(shard.close)
        first = await _start_worker(endpoints, folder)
        order = Order(
            ports=[api[0].port],
            connections=_CONNECTIONS,
            seconds=_KILLED_AFTER_S + _GO_ON_S,
            debtors=bank.accounts[_NEAR].customers,
            creditors=bank.accounts[_FAR].customers,
            run=f"recovery-{datetime.now(UTC).timestamp():.0f}",
            rate_per_s=_RATE_PER_S,
        )
        load = asyncio.create_task(run_apart("load", asdict(order)))
        await asyncio.sleep(_KILLED_AFTER_S)  # sleep: let the load be steady
        first.kill()
        await first.wait()
        killed_at = time.monotonic()
        second = await _start_worker(endpoints, folder)
        try:
            open_then = await _open_items(shard)
            await _until_gone(shard, open_then)
            seconds = time.monotonic() - killed_at
            await load
            await settled(endpoints.shard_dsns)
        finally:
            second.terminate()
            await second.wait()
        return Recovery(len(open_then), seconds)


async def _start_worker(endpoints: Endpoints, folder: Path) -> asyncio.subprocess.Process:
    with (folder / "worker.log").open("ab") as log:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "router.cli",
            "worker",
            stdout=log,
            stderr=log,
            env=environment_of(endpoints, {"LEDGER_PROCESS_NO": "6"}),
        )


async def _open_items(shard: Shard) -> set[UUID]:
    found = await shard.repairs.open_items(ItemFilter(), _MANY)
    return {each.item.item_id for each in found}


async def _until_gone(shard: Shard, items: set[UUID]) -> None:
    while True:
        if not items & await _open_items(shard):
            return
        await asyncio.sleep(_PAUSE_S)  # sleep: the end of a saga has no event here
