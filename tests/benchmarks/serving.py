"""Serving processes, each started as ``ledger serve`` is."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from deploy.embedded.endpoints import Endpoints
from deploy.embedded.ports import free_port

_READY_WITHIN_S = 60.0
_PAUSE_S = 0.1


@dataclass(frozen=True, slots=True)
class Serving:
    """One process with its worker inside: its port and its process id."""

    port: int
    process_id: int


@asynccontextmanager
async def serving(
    endpoints: Endpoints, folder: Path, count: int, settings: Mapping[str, str] | None = None
) -> AsyncIterator[list[Serving]]:
    """``count`` processes of one bank, ready, each with a number and a port of its own."""
    ports: list[int] = []
    processes = []
    try:
        for number in range(count):
            ports.append(free_port(frozenset(ports)))
            log_file = folder / f"serve-{number}.log"
            own = {"LEDGER_HTTP_PORT": str(ports[-1]), "LEDGER_PROCESS_NO": str(number)}
            environment = environment_of(endpoints, {**(settings or {}), **own})
            processes.append(await _start(environment, log_file))
        for number, process in enumerate(processes):
            await _until_ready(ports[number], process, folder / f"serve-{number}.log")
        yield [Serving(port, each.pid) for port, each in zip(ports, processes, strict=True)]
    finally:
        for process in processes:
            if process.returncode is None:
                process.terminate()
        await asyncio.gather(*(process.wait() for process in processes))


def environment_of(endpoints: Endpoints, settings: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process of this bank."""
    return {**os.environ, **endpoints.environment(), **settings}


async def _start(environment: Mapping[str, str], log_file: Path) -> asyncio.subprocess.Process:
    with log_file.open("ab") as log:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "router.cli", "serve", stdout=log, stderr=log, env=environment
        )


async def _until_ready(port: int, process: asyncio.subprocess.Process, log_file: Path) -> None:
    url = f"http://127.0.0.1:{port}/readyz?verbose"
    async with httpx.AsyncClient() as client, asyncio.timeout(_READY_WITHIN_S):
        while not await _is_ready(client, url):
            if process.returncode is not None:
                told = log_file.read_text(errors="replace")
                raise RuntimeError(f"the API ended before it answered:\n{told}")
            await asyncio.sleep(_PAUSE_S)  # sleep: pause between two looks at a process


async def _is_ready(client: httpx.AsyncClient, url: str) -> bool:
    try:
        checks = (await client.get(url)).json().get("checks", {})
    except (httpx.HTTPError, ValueError):
        return False
    return bool(checks) and set(checks.values()) == {"ok"}
