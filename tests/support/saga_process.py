"""A process with lanes, convoys and a worker that dies at a control point, and how to get one.

Run as ``python -m tests.support.saga_process`` it waits for its order, one line of JSON. One is
started ahead, so that a test does not wait for Python to import everything.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from sagas import repair_workflow
from sagas.control_points import ARMED_BY, ControlPoint, from_environment, look_on
from sagas.convoys import Convoys
from sagas.worker import build_worker, connect
from shard.shard import Shard
from tests.sagas.small_bank import FirstDigit
from tests.support.bank import transfer

_ROOT = Path(__file__).parents[2]
_KILLED = -signal.SIGKILL
_PATIENCE_S = 60.0
_DECISION_LIMIT_S = 2.0


@dataclass(frozen=True, slots=True)
class Debit:
    """A transfer that the process asks for by itself, with ``tests.support.bank.transfer``."""

    debtor: int
    creditor: int
    amount: str
    reference: str


@dataclass(frozen=True, slots=True)
class Order:
    """Where the process serves, what it begins with, and where it dies."""

    shard_dsns: Mapping[int, str]
    temporal_address: str
    dies_at: ControlPoint
    debit: Debit | None


class SagaProcess:
    """A process that has its order."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    async def died(self) -> None:
        """Wait until its control point has killed it."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                code = await self._process.wait()
        except TimeoutError:
            self._process.kill()
            code = await self._process.wait()
            raise AssertionError(f"it never came there\n{self._log.read_text()}") from None
        assert _KILLED == code, self._log.read_text()


class Standby:
    """Keeps one process ready."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._ready: asyncio.subprocess.Process | None = None

    async def send(self, order: Order) -> SagaProcess:
        """Give the process that is ready its order, and get the next one ready."""
        process = self._ready or await self._start()
        assert process.stdin is not None
        process.stdin.write(json.dumps(asdict(order)).encode() + b"\n")
        await process.stdin.drain()
        self._ready = await self._start()
        return SagaProcess(process, self._log)

    async def dismiss(self) -> None:
        """End the one that nobody needed."""
        if self._ready is not None:
            self._ready.kill()
            await self._ready.wait()

    async def _start(self) -> asyncio.subprocess.Process:
        with self._log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.support.saga_process",
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=_ROOT,
                env={**os.environ, "PYTHONPATH": str(_ROOT)},
            )


@asynccontextmanager
async def standby(log: Path) -> AsyncIterator[Standby]:
    """Processes for one test after the other; what they say goes to ``log``."""
    kept = Standby(log)
    try:
        yield kept
    finally:
        await kept.dismiss()


async def _serve(order: Order) -> None:
    shards = {no: Shard(no, dsn, process_no=1) for no, dsn in order.shard_dsns.items()}
    points = from_environment({ARMED_BY: f"{order.dies_at}=exit"})
    look_on(shards.values(), points)
    convoys = Convoys(shards, hosts_worker=True, control_points=points)
    for number, shard in shards.items():
        shard.lanes.boarding = convoys.platform(number)
        await shard.open()
    client = await connect(order.temporal_address)
    with pytest.MonkeyPatch.context() as patch:
        # Whoever waits for a decision that dies with this process is told when this time is up.
        patch.setattr(repair_workflow, "REPAIR_DECISION_LIMIT_S", _DECISION_LIMIT_S)
        async with build_worker(
            client,
            shards,
            FirstDigit(shards),
            control_points=points,
            terminus=convoys.terminus,
        ):
            convoys.connect(client)
            if order.debit is not None:
                await shards[1].lanes.post(transfer(**asdict(order.debit)))
            await asyncio.Event().wait()


def _main() -> None:
    line = sys.stdin.readline()
    if line:
        told = json.loads(line)
        order = Order(
            {int(number): dsn for number, dsn in told["shard_dsns"].items()},
            told["temporal_address"],
            ControlPoint(told["dies_at"]),
            None if told["debit"] is None else Debit(**told["debit"]),
        )
        asyncio.run(_serve(order))


if __name__ == "__main__":
    _main()
