"""The Temporal dev server with a database file, so that workflows survive its restarts.

Its web UI offers to terminate workflows and has no setting against it: only the stand-alone UI
server reads TEMPORAL_WORKFLOW_TERMINATE_DISABLED. It is for one machine and one person.
"""

import asyncio
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

from deploy import limits
from deploy.embedded.folders import private_folder
from deploy.embedded.ports import LOOPBACK, is_free
from deploy.embedded.process import ManagedProcess, processes_at
from deploy.embedded.temporal_binary import obtain_temporal
from deploy.errors import PortInUse

NAMESPACE = "default"

# Set on the unhappy path only. Visibility data is never encrypted: no account numbers, no names.
SEARCH_ATTRIBUTES: Mapping[str, str] = {
    "SagaState": "Keyword",
    "SagaStep": "Keyword",
    "FailureCode": "Keyword",
    "SourceShard": "Int",
    "DestinationShard": "Int",
    "ParkedAt": "Datetime",
}
# Write-ahead logging nearly doubles the workflows per second; NORMAL still survives a crash of
# the server. Waiting for a lock is better than failing on it.
_PRAGMAS = {"journal_mode": "WAL", "synchronous": "NORMAL", "busy_timeout": "5000"}
DYNAMIC_CONFIGURATION: Mapping[str, str] = {
    "system.enableEagerWorkflowStart": "true",
    "system.enableActivityEagerExecution": "true",
    "history.shardIOConcurrency": "8",
}


class TemporalServer:
    """A Temporal server on two loopback ports, one for clients and one for its UI."""

    def __init__(self, folder: Path, *, port: int, ui_port: int) -> None:
        self.name = "temporal"
        self.folder = folder.absolute()
        self._port = port
        self._ui_port = ui_port
        self.process = ManagedProcess(
            self.name,
            pid_file=self.folder / "temporal.pid",
            log_file=self.folder / "temporal.log",
        )

    @property
    def address(self) -> str:
        """Host and port for clients."""
        return f"{LOOPBACK}:{self._port}"

    @property
    def ui_url(self) -> str:
        """Address of the web UI."""
        return f"http://{LOOPBACK}:{self._ui_port}"

    def is_running(self) -> bool:
        """True while the server process runs, ready or not."""
        if self.process.is_running():
            return True
        # A starter that was killed between the start and the pid file leaves such a server.
        for found in processes_at("temporal", self._home.resolve()):
            self.process.adopt(found)
            return True
        return False

    @property
    def _home(self) -> Path:
        return self.folder / "home"

    async def start(self, report: Callable[[str], None] = lambda line: None) -> None:
        """Starts the server and waits until its frontend answers.

        Safe to repeat, also after a server that was killed. Raises PortInUse,
        ProcessStartFailed and TemporalNotObtainable.
        """
        if not self.is_running():
            private_folder(self.folder)
            private_folder(self._home)
            binary = await obtain_temporal(report)
            self._require_free_ports()
            await self.process.start(
                [str(binary), *self._options()],
                folder=self._home,
                environment={"PATH": "/usr/bin:/bin", "HOME": str(self._home), "TZ": "UTC"},
            )
        await self.process.wait_until_ready(self.answers, limits.TEMPORAL_START_LIMIT_S)

    def _options(self) -> list[str]:
        options = ["server", "start-dev", "--ip", LOOPBACK, "--log-level", "warn"]
        options += ["--port", str(self._port), "--ui-port", str(self._ui_port)]
        options += ["--db-filename", str(self.folder / "temporal.db"), "--namespace", NAMESPACE]
        for option, settings in (
            ("--sqlite-pragma", _PRAGMAS),
            ("--dynamic-config-value", DYNAMIC_CONFIGURATION),
            ("--search-attribute", SEARCH_ATTRIBUTES),
        ):
            for name, value in settings.items():
                options += [option, f"{name}={value}"]
        return options

    def _require_free_ports(self) -> None:
        for port in (self._port, self._ui_port):
            if not is_free(port):
                raise PortInUse(f"temporal cannot start: port {port} is already in use")

    async def answers(self) -> bool:
        """True when the frontend serves the namespace."""
        try:
            async with asyncio.timeout(limits.PROBE_LIMIT_S):
                client = await Client.connect(self.address, namespace=NAMESPACE)
                request = DescribeNamespaceRequest(namespace=NAMESPACE)
                await client.workflow_service.describe_namespace(request)
        except (RPCError, RuntimeError, TimeoutError):
            return False
        return True

    async def stop(self) -> None:
        """Stops the server; its workflows go on after the next start."""
        if self.is_running():
            await self.process.stop(limit_s=limits.TEMPORAL_STOP_LIMIT_S)

    async def kill(self) -> None:
        """Ends the server with SIGKILL."""
        if self.is_running():
            await self.process.kill()

    async def destroy(self) -> None:
        """Kills the server and deletes its folder with all workflows."""
        await self.kill()
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)

    async def restart(self) -> None:
        """Stops the server and starts it again on the same database and ports."""
        await self.stop()
        await self.start()
