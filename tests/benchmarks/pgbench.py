"""pgbench on a shard's own server: TPC-B is the yardstick of every ratio."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

from deploy.embedded.binaries import postgres_binaries

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
