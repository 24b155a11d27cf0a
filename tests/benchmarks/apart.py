"""Load generators run in processes of their own, so that their work is counted and not mixed in.

A generator is a module that reads its order as JSON from stdin and prints one JSON object:

    python -m tests.benchmarks.load < order.json
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Told:
    """What a generator printed, and the CPU seconds that it took for its measurement."""

    result: dict[str, Any]
    cpu_s: float


async def run_apart(module: str, order: Mapping[str, object]) -> Told:
    """Carry out an order in a process of its own; raises ``RuntimeError`` when that fails."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"tests.benchmarks.{module}",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    told, _ = await process.communicate(json.dumps(order).encode())
    if process.returncode:
        raise RuntimeError(f"{module} ended with {process.returncode}")
    answer = json.loads(told)
    return Told(answer["result"], answer["cpu_s"])


def serve_order(work: Callable[[dict[str, Any]], Awaitable[Mapping[str, object]]]) -> None:
    """The main program of a generator: stdin to ``work``, on the event loop that serving uses."""
    import uvloop

    from router import process_memory

    order = json.load(sys.stdin)
    process_memory.settle()

    async def timed() -> str:
        started_s = own_cpu_s()
        result = await work(order)
        return json.dumps({"result": result, "cpu_s": own_cpu_s() - started_s})

    print(uvloop.run(timed()))


def own_cpu_s() -> float:
    """CPU seconds of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
