"""How each service of a bank is: by its processes where they are ours, else by asking it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path

from temporalio.client import Client
from temporalio.service import RPCError

from router.cli.bank_settings import is_named_by_environment
from router.directory import Directory
from router.limits import PROBE_TIMEOUT_S
from router.settings import Settings
from shard.errors import LedgerError
from shard.shard import Shard


@dataclass(frozen=True, slots=True)
class Service:
    """One service; ``pid`` and ``log`` are known of the servers on this machine only."""

    name: str
    state: str
    address: str
    pid: int | None = None
    log: str | None = None

    @property
    def is_ready(self) -> bool:
        """Tell whether it answers."""
        return self.state == _READY


_READY = "ready"


async def services_of(folder: Path | None) -> list[Service]:
    """The services of the bank that a command would work on; none where there is no bank."""
    if folder is None and is_named_by_environment():
        return await _asked(Settings.load())
    return await _embedded(folder)


async def _embedded(folder: Path | None) -> list[Service]:
    from deploy.embedded.folders import default_folder
    from router.cli.embedded_bank import EmbeddedBank

    bank = EmbeddedBank(folder or default_folder())
    return [
        Service(
            name=service.name,
            state=_READY
            if service.is_ready
            else "not answering"
            if service.is_running
            else "stopped",
            address=service.address,
            pid=service.pid,
            log=str(service.log_file),
        )
        for service in await bank.services()
    ]


async def _asked(settings: Settings) -> list[Service]:
    probes = [
        *(_shard(number, dsn.get_secret_value()) for number, dsn in settings.shard_dsns.items()),
        _directory(settings.directory_dsn.get_secret_value()),
        _temporal(settings.temporal_address, settings.temporal_namespace),
    ]
    return list(await asyncio.gather(*probes))


async def _shard(number: int, dsn: str) -> Service:
    shard = Shard(number, dsn)
    await shard.open()
    try:
        state = await _state(shard.ping())
    finally:
        await shard.close()
    return Service(f"shard-{number}", state, "LEDGER_SHARD_DSNS")


async def _directory(dsn: str) -> Service:
    directory = Directory(dsn)
    await directory.open()
    try:
        state = await _state(directory.ping())
    finally:
        await directory.close()
    return Service("directory", state, "LEDGER_DIRECTORY_DSN")


async def _temporal(address: str, namespace: str) -> Service:
    async def connect() -> None:
        await Client.connect(address, namespace=namespace)

    return Service("temporal", await _state(connect()), address)


async def _state(probe: Awaitable[None]) -> str:
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            await probe
    except (LedgerError, RPCError, RuntimeError, TimeoutError):
        return "not answering"
    return _READY
