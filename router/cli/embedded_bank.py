"""A whole bank on this machine: its servers, its schema, its API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.embedded.file_lock import file_lock
from deploy.embedded.folders import private_folder
from deploy.embedded.stack import EmbeddedStack, Endpoints, ServiceStatus
from deploy.embedded.stack_record import load_record
from deploy.errors import FolderBusy
from deploy.limits import FOLDER_LOCK_LIMIT_S
from router.cli.api_process import ApiProcess
from router.cli.bank_settings import embedded_settings, process_environment
from router.cli.progress import Steps
from router.settings import Settings
from router.wiring import migrate_all

SHARDS = 3
"""Shards of a new bank: the fewest that show more than one pair."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a running bank is reached."""

    api: str
    api_docs: str
    temporal: str
    temporal_ui: str
    folder: str
    shards: int


class EmbeddedBank:
    """The bank in one data folder."""

    def __init__(self, folder: Path, *, shards: int | None = None) -> None:
        """``shards`` None: as many as the folder has. Raises a ``FolderError``."""
        self.folder = folder.absolute()
        record = load_record(self.folder)
        self._shards = shards or (record.shards if record else SHARDS)
        self.stack = EmbeddedStack(self.folder, shards=self._shards)
        self.api = ApiProcess(self.folder)

    async def up(self, port: int | None, steps: Steps) -> Settings:
        """Start what does not run yet, bring the schema up to date, and wait until it serves.

        What this call started is stopped again when it fails or is cancelled. Raises
        ``DeployError`` or ``LedgerError``.
        """
        ran_before = await self._is_running()
        self.api.choose_port(port)
        try:
            endpoints = await self._start_servers(steps)
            async with self._locked():
                settings = embedded_settings(endpoints.environment())
                await self._migrate(settings, steps)
                with steps.step("Starting the API"):
                    chosen = self.api.choose_port(port)
                    await self.api.start(chosen, process_environment(endpoints.environment()))
        except BaseException:
            if not ran_before:
                await self.stack.down()
            raise
        return settings

    async def down(self, steps: Steps) -> None:
        """Stop everything, whoever started it; the data stays."""
        with steps.step("Stopping the bank"):
            if self.api.folder.exists():
                async with self._locked():
                    await self.api.stop()
            await self.stack.down()

    async def destroy(self) -> None:
        """Stop everything at once and delete the data."""
        await self.api.kill()
        await self.stack.destroy()

    async def services(self) -> list[ServiceStatus]:
        """Each server and the API; none in a folder where no bank was brought up."""
        servers = await self.stack.status()
        return [*servers, await self._api_status()] if servers else []

    def addresses(self) -> Addresses:
        """Where it is reached; raises ``StackNotUp`` in a folder without a bank."""
        endpoints = self.stack.endpoints()
        return Addresses(
            api=self.api.url,
            api_docs=f"{self.api.url}/docs",
            temporal=endpoints.temporal_address,
            temporal_ui=endpoints.temporal_ui_url,
            folder=str(self.folder),
            shards=len(endpoints.shard_dsns),
        )

    async def _is_running(self) -> bool:
        return any(service.is_running for service in await self.stack.status())

    async def _start_servers(self, steps: Steps) -> Endpoints:
        with steps.step("Starting the servers", self._shards + 2) as step:
            answering = 0

            def report(line: str) -> None:
                nonlocal answering
                if line.endswith("answers"):
                    answering += 1
                    step.at(answering)
                else:
                    steps.say(line)

            return await self.stack.up(report)

    async def _migrate(self, settings: Settings, steps: Steps) -> None:
        with steps.step("Migrating the databases", self._shards + 1) as step:
            migrated = 0

            def report(_: str, __: list[str]) -> None:
                nonlocal migrated
                migrated += 1
                step.at(migrated)

            await migrate_all(settings, report=report)

    async def _api_status(self) -> ServiceStatus:
        is_running = self.api.is_running()
        identity = self.api.process.identity()
        return ServiceStatus(
            name="api",
            is_running=is_running,
            is_ready=is_running and await self.api.is_ready(),
            pid=None if identity is None else identity.pid,
            address=self.api.url,
            log_file=self.api.process.log_file,
        )

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        """Only one command at a time migrates, or starts or stops the API."""
        private_folder(self.api.folder)
        lock = file_lock(
            self.api.folder / "lock",
            limit_s=FOLDER_LOCK_LIMIT_S,
            on_wait=lambda: None,
            busy=FolderBusy(f"Another command has been working on {self.folder} for too long."),
        )
        async with lock:
            yield
