"""A command of ``ledger`` as a process of its own, so that a test may kill it at any moment."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from deploy.embedded.ports import LOOPBACK, free_port
from router.settings import Settings

ROOT = Path(__file__).parents[2]
KILLED = -signal.SIGKILL
_INHERITED = ("PATH", "HOME", "LANG")
_PATIENCE_S = 60.0


class CommandProcess:
    """``python -m router.cli`` on the bank that ``settings`` name; it may be started again."""

    def __init__(self, settings: Settings, log_file: Path) -> None:
        self._settings = settings
        self._log_file = log_file
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, *arguments: str, control_points: str = "") -> None:
        """Start one command; ``control_points`` as ``sagas.control_points`` reads them."""
        settings = self._settings.model_copy(update={"control_points": control_points})
        # What a killed process leaves behind goes where the test's own files go.
        environment = {**environment_of(settings), "TMPDIR": str(self._log_file.parent)}
        with self._log_file.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "router.cli",
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
            )

    async def ended(self) -> int:
        """Wait until it ends by itself; its exit code, or the negative number of a signal."""
        assert self._process is not None
        async with asyncio.timeout(_PATIENCE_S):
            return await self._process.wait()

    async def kill(self) -> None:
        """Kill it at once, as a crash would; nothing is done where it does not run."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    @property
    def is_running(self) -> bool:
        """Tell whether it was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    def log(self) -> str:
        """What it wrote since it was started first, to stdout and stderr."""
        return self._log_file.read_text(errors="replace")


class ApiProcess(CommandProcess):
    """``ledger serve`` with its worker; every start listens on the same port."""

    def __init__(self, settings: Settings, log_file: Path) -> None:
        super().__init__(settings, log_file)
        self.port = free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"

    async def serve(self, control_points: str = "") -> None:
        """Start it, and wait until it answers and reaches shards, directory and Temporal."""
        await self.start("serve", "--port", str(self.port), control_points=control_points)
        async with httpx.AsyncClient(base_url=self.url) as client, asyncio.timeout(_PATIENCE_S):
            while not await _is_ready(client):
                assert self.is_running, f"the API ended while it started:\n{self.log()}"
                await asyncio.sleep(0.05)  # sleep: pause between two looks at a process


@asynccontextmanager
async def api_process(settings: Settings, folder: Path) -> AsyncIterator[ApiProcess]:
    """An API that is not started yet; whatever runs of it in the end is killed."""
    api = ApiProcess(settings, folder / "api.log")
    try:
        yield api
    finally:
        await api.kill()


@asynccontextmanager
async def command_process(settings: Settings, folder: Path) -> AsyncIterator[CommandProcess]:
    """A command that is not started yet; if it still runs in the end it is killed."""
    command = CommandProcess(settings, folder / "command.log")
    try:
        yield command
    finally:
        await command.kill()


def environment_of(settings: Settings) -> Mapping[str, str]:
    """The environment of a process that serves this bank; it knows no role that owns the books."""
    dsns = {no: dsn.get_secret_value() for no, dsn in settings.shard_dsns.items()}
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {
        **inherited,
        "PYTHONPATH": str(ROOT),
        "LEDGER_SHARD_DSNS": json.dumps(dsns),
        "LEDGER_DIRECTORY_DSN": settings.directory_dsn.get_secret_value(),
        "LEDGER_TEMPORAL_ADDRESS": settings.temporal_address,
        "LEDGER_TEMPORAL_NAMESPACE": settings.temporal_namespace,
        "LEDGER_CONTROL_POINTS": settings.control_points,
    }


async def _is_ready(client: httpx.AsyncClient) -> bool:
    try:
        checks = (await client.get("/readyz?verbose")).json().get("checks", {})
    except (httpx.HTTPError, ValueError):
        return False
    return bool(checks) and set(checks.values()) == {"ok"}
