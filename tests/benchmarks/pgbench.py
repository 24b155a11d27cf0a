"""pgbench on a shard's own server: TPC-B is the yardstick of every ratio."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from deploy.embedded.binaries import postgres_binaries
from tests.benchmarks.figures import percentile

_TPS = re.compile(r"tps = ([0-9.]+)")
_SCALE = 10


async def fill_tpcb(superuser_dsn: str) -> None:
    """Make the tables of TPC-B in the database that is named."""
    await _run(superuser_dsn, "-i", "-q", "-s", str(_SCALE))


async def best_per_second(
    superuser_dsn: str, clients: Sequence[int], seconds: float, *arguments: str
) -> dict[int, float]:
    """Transactions a second by number of clients; of TPC-B unless ``arguments`` name a script."""
    rates = {}
    for count in clients:
        told = await _run(
            superuser_dsn, "--no-vacuum", "--protocol=prepared", "--jobs=2",
            f"--client={count}", f"--time={max(1, round(seconds))}", *arguments,
        )  # fmt: skip
        match = _TPS.search(told)
        if match is None:
            raise RuntimeError(f"pgbench printed no rate: {told}")
        rates[count] = float(match[1])
    return rates


@dataclass(frozen=True, slots=True)
class Times:
    """How long transactions took from when they were due, in milliseconds."""

    p50_ms: float
    p99_ms: float


async def times_at(superuser_dsn: str, clients: int, rate_per_s: float, seconds: float) -> Times:
    """Times of TPC-B at a given rate: what the machine and PostgreSQL alone make of it."""
    with TemporaryDirectory(prefix="ledger-pgbench-") as folder:
        await _run(
            superuser_dsn, "--no-vacuum", "--protocol=prepared", "--jobs=2",
            f"--client={clients}", f"--time={max(1, round(seconds))}",
            f"--rate={max(1, round(rate_per_s))}", "--log", f"--log-prefix={folder}/times",
        )  # fmt: skip
        # The third column of a log line is the time that the transaction took, in microseconds.
        took_ms = sorted(
            int(line.split()[2]) / 1e3
            for log in Path(folder).iterdir()
            for line in log.read_text().splitlines()
        )
    return Times(percentile(took_ms, 0.5), percentile(took_ms, 0.99))


async def _run(dsn: str, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        (await postgres_binaries(None, lambda line: None)).program("pgbench"),
        *arguments,
        dsn,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    told, complained = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"pgbench failed: {complained.decode()}")
    return told.decode()
