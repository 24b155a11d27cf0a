"""The API of an embedded bank, as a background process with the worker inside."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx

from deploy.embedded.folders import private_folder
from deploy.embedded.ports import is_free
from deploy.embedded.process import ManagedProcess, ProcessIdentity, kill_tree, processes_at
from deploy.errors import PortInUse
from router.limits import API_PROBE_LIMIT_S, API_READY_LIMIT_S, API_STOP_LIMIT_S

DEFAULT_PORT = 8080
_HOST = "127.0.0.1"


class ApiProcess:
    """``ledger serve`` in the background, found again by its pid file or its working directory."""

    def __init__(self, bank_folder: Path) -> None:
        self.folder = bank_folder.absolute() / "api"
        self.process = ManagedProcess(
            "api", pid_file=self.folder / "api.pid", log_file=self.folder / "api.log"
        )

    @property
    def port(self) -> int | None:
        """The port that the API was last started on."""
        try:
            return int(json.loads(self._record.read_text())["port"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @property
    def url(self) -> str:
        """Where the API is, or was last."""
        return f"http://{_HOST}:{self.port or DEFAULT_PORT}"

    @property
    def _record(self) -> Path:
        return self.folder / "api.json"

    def choose_port(self, wanted: int | None) -> int:
        """The port to start on: the one asked for, the last one, or the default.

        Raises ``PortInUse`` if another program has it, or if the API runs on another one.
        """
        port = wanted or self.port or DEFAULT_PORT
        if self.is_running():
            if port != self.port:
                raise PortInUse(f"The API is running on port {self.port} already.")
        elif not is_free(port):
            raise PortInUse(f"Port {port} is in use; choose another with --port.")
        return port

    def is_running(self) -> bool:
        """Tell whether the process runs, ready or not."""
        if self.process.is_running():
            return True
        # Whoever started it may have been killed before the pid file was written.
        for found in self._strays():
            self.process.adopt(found)
            return True
        return False

    async def start(self, port: int, environment: Mapping[str, str]) -> None:
        """Start it and wait until it can serve; nothing is done where it runs already.

        Raises ``ProcessStartFailed``; then nothing of it is left.
        """
        private_folder(self.folder)
        if not self.is_running():
            self._record.write_text(json.dumps({"port": port}))
            await self.process.start(
                [sys.executable, "-m", "router.cli", "serve", "--port", str(port)],
                folder=self.folder,
                environment=environment,
            )
        try:
            await self.process.wait_until_ready(self.is_ready, API_READY_LIMIT_S)
        except BaseException:
            await self.stop()
            raise

    async def is_ready(self) -> bool:
        """Tell whether it answers, and reaches all shards, the directory and Temporal."""
        try:
            async with httpx.AsyncClient(timeout=API_PROBE_LIMIT_S, trust_env=False) as client:
                answer = await client.get(f"{self.url}/readyz?verbose")
                checks = answer.json().get("checks", {})
        except (httpx.HTTPError, ValueError):
            return False
        return bool(checks) and all(told == "ok" for told in checks.values())

    async def stop(self) -> None:
        """Let it finish what is under way, then end it; nothing is done where it does not run."""
        if self.is_running():
            await self.process.stop(limit_s=API_STOP_LIMIT_S)
        for stray in await asyncio.to_thread(self._strays):
            await kill_tree(stray)

    async def kill(self) -> None:
        """End it at once."""
        if self.is_running():
            await self.process.kill()

    def _strays(self) -> tuple[ProcessIdentity, ...]:
        return processes_at("python", self.folder.resolve())
