"""wrk, where it is installed: the lightest load generator there is for single transfers."""

from __future__ import annotations

import asyncio
import json
import resource
import shutil
from pathlib import Path
from typing import Any

from tests.benchmarks.load import Order
from tests.benchmarks.measured import Measured

_SCRIPT = Path(__file__).with_name("transfers.lua")


def wrk_program() -> str | None:
    """The path of wrk, or None."""
    return shutil.which("wrk")


async def run_wrk(program: str, order: Order) -> tuple[Measured, float]:
    """Carry out an order that has no pace; the result, and the generator's CPU seconds.

    Debtors and creditors are rows of numbers without gaps. One wrk for each port, at once.
    """
    before_s = _children_cpu_s()
    told = await asyncio.gather(*(_one(program, order, port) for port in order.ports))
    accepted = sum(each["requests"] - each["refused"] for each in told)
    measured = Measured(
        accepted=accepted,
        seconds=max(each["microseconds"] for each in told) / 1e6,
        by_status={
            "2xx": accepted,
            "other": sum(each["refused"] for each in told),
            "lost": sum(each["lost"] for each in told),
        },
        p50_ms=max(each["p50_us"] for each in told) / 1e3,
        p99_ms=max(each["p99_us"] for each in told) / 1e3,
    )
    return measured, _children_cpu_s() - before_s


async def _one(program: str, order: Order, port: int) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        program,
        "--threads=1",
        f"--connections={order.connections // len(order.ports)}",
        f"--duration={max(1, round(order.seconds))}s",
        f"--script={_SCRIPT}",
        f"http://127.0.0.1:{port}/v1/transfers",
        "--",
        f"{order.run}-{port}",
        str(order.debtors[0]),
        str(order.creditors[0]),
        str(len(order.debtors)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"wrk failed: {told.decode()}")
    answer: dict[str, Any] = json.loads(told.splitlines()[-1])
    return answer


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
