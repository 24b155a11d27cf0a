"""pgbench's TPC-B-like test on a shard's own server: the yardstick of every ratio."""

from __future__ import annotations

import asyncio
import re

from deploy.embedded.binaries import postgres_binaries

_TPS = re.compile(r"tps = ([0-9.]+)")
_SCALE = 10
CLIENT_COUNTS = (4, 8, 16)


async def best_tpcb_per_second(superuser_dsn: str, seconds: int) -> float:
    """The best rate over a few client counts; its tables lie in the database it is given."""
    await _run(superuser_dsn, "-i", "-q", "-s", str(_SCALE))
    rates = []
    for clients in CLIENT_COUNTS:
        told = await _run(
            superuser_dsn, "-n", "-M", "prepared", "-j", "2", "-c", str(clients), "-T", str(seconds)
        )
        match = _TPS.search(told)
        if match is None:
            raise RuntimeError(f"pgbench printed no rate: {told}")
        rates.append(float(match[1]))
    return max(rates)


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
