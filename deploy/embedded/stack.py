"""All servers of a bank on one machine: a PostgreSQL server per shard, the directory, Temporal."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy import limits
from deploy.embedded.account import service_account
from deploy.embedded.endpoints import Endpoints
from deploy.embedded.file_lock import file_lock
from deploy.embedded.folders import default_folder, private_folder, secret_folder
from deploy.embedded.passwords import PasswordFile
from deploy.embedded.ports import free_port, is_free
from deploy.embedded.postgres import PostgresServer
from deploy.embedded.stack_record import (
    StackRecord,
    load_record,
    mark_format,
    require_own_format,
    require_record,
    save_record,
)
from deploy.embedded.temporal import NAMESPACE, TemporalServer
from deploy.errors import FolderBusy, PortInUse, StackDiffers

__all__ = ["EmbeddedStack", "Endpoints", "ServiceStatus", "default_folder"]

DIRECTORY = "directory"
TEMPORAL = "temporal"
TEMPORAL_UI = "temporal-ui"


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One server as `status` found it."""

    name: str
    is_running: bool
    is_ready: bool
    pid: int | None
    address: str
    log_file: Path


class EmbeddedStack:
    """The servers in one data folder.

    The arguments are wishes for `up`; everything else goes by what the folder remembers. A
    folder keeps its shards: more may be asked for later, fewer may not.
    `ports` may name `shard-1`..., `directory` (both only with `tcp`), `temporal`, `temporal-ui`;
    the others get free ones, which the folder remembers.
    """

    def __init__(
        self,
        folder: Path,
        *,
        shards: int = 3,
        with_temporal: bool = True,
        tcp: bool = False,
        ports: Mapping[str, int] | None = None,
    ) -> None:
        self.folder = folder.absolute()
        self._shards = shards
        self._with_temporal = with_temporal
        self._tcp = tcp
        self._requested_ports = dict(ports or {})

    async def up(self, report: Callable[[str], None] = lambda line: None) -> Endpoints:
        """Starts what is not running, in parallel, and returns when all of it answers.

        `report` gets a line about each step. What this call started is stopped again when it
        fails or is cancelled. Raises the errors of `deploy.errors`.
        """
        require_own_format(self.folder)
        private_folder(self.folder)
        async with self._locked(report):
            mark_format(self.folder)
            secret_folder(self.folder / "secrets")
            record = self._plan(load_record(self.folder), report)
            save_record(self.folder, record)
            await self._start_missing(record, report)
            return self._endpoints(record)

    @asynccontextmanager
    async def _locked(self, report: Callable[[str], None]) -> AsyncIterator[None]:
        async with file_lock(
            self.folder / "lock",
            limit_s=limits.FOLDER_LOCK_LIMIT_S,
            on_wait=lambda: report("Another command works on this folder; waiting for it"),
            busy=FolderBusy(f"another command has been working on {self.folder} for too long"),
        ):
            yield

    def _plan(self, known: StackRecord | None, report: Callable[[str], None]) -> StackRecord:
        if known is not None:
            self._require_compatible(known)
        ports: dict[str, int] = {}
        for name in self._listening():
            ports[name] = self._port(name, known, frozenset(ports.values()), report)
        return StackRecord(self._shards, self._tcp, self._with_temporal, ports)

    def _require_compatible(self, known: StackRecord) -> None:
        if known.shards > self._shards:
            raise StackDiffers(
                f"{self.folder} holds {known.shards} shards, {self._shards} were asked for; "
                "shards cannot be taken away"
            )
        servers = self._postgres(known).values()
        if known.tcp != self._tcp and any(server.is_running() for server in servers):
            raise StackDiffers(
                f"the servers in {self.folder} run {'with' if known.tcp else 'without'} TCP; "
                "stop them first: ledger down"
            )

    def _listening(self) -> Sequence[str]:
        postgres = [*map(_shard_name, _numbers(self._shards)), DIRECTORY] if self._tcp else []
        return [*postgres, TEMPORAL, TEMPORAL_UI]

    def _port(
        self,
        name: str,
        known: StackRecord | None,
        taken: frozenset[int],
        report: Callable[[str], None],
    ) -> int:
        remembered = None if known is None else known.ports.get(name)
        requested = self._requested_ports.get(name)
        if known is not None and remembered is not None and self._holds(known, name):
            if requested not in (None, remembered):
                raise PortInUse(f"{name} is already running on port {remembered}")
            return remembered
        if requested is not None:
            if requested in taken or not is_free(requested):
                raise PortInUse(f"{name} cannot start: port {requested} is already in use")
            return requested
        if remembered is not None and remembered not in taken:
            if is_free(remembered):
                return remembered
            report(f"{name}: port {remembered} is used by another program now; taking another")
        return free_port(taken)

    def _holds(self, known: StackRecord, name: str) -> bool:
        if name in (TEMPORAL, TEMPORAL_UI):
            return self._temporal(known).is_running()
        return any(
            server.name == name and server.is_running() for server in self._postgres(known).values()
        )

    async def _start_missing(self, record: StackRecord, report: Callable[[str], None]) -> None:
        servers: list[PostgresServer | TemporalServer] = [*self._postgres(record).values()]
        if record.with_temporal:
            servers.append(self._temporal(record))
        missing = [server for server in servers if not server.is_running()]
        account = service_account()
        if account is not None and missing:
            report(f"PostgreSQL refuses to run as root; it runs as '{account.name}'")
        try:
            await _all(_start(server, server in missing, report) for server in servers)
        except BaseException:
            await _all(server.stop() for server in missing)
            raise

    async def down(self) -> None:
        """Stops all servers of the folder, whoever started them; nothing when none runs."""
        record = load_record(self.folder)
        if record is not None:
            async with self._locked(lambda line: None):
                await _all(server.stop() for server in self._servers(record))

    async def destroy(self) -> None:
        """Stops all servers and deletes the folder with everything in it.

        Raises FolderForeign, and deletes nothing, when the folder is not a stack's. What serves
        all folders stays: Temporal in the user's cache, and for root the PostgreSQL binaries.
        """
        require_own_format(self.folder)
        if not self.folder.exists():
            return
        async with self._locked(lambda line: None):
            record = load_record(self.folder)
            for server in self._servers(record) if record is not None else ():
                await server.destroy()
            await asyncio.to_thread(shutil.rmtree, self.folder)

    async def status(self) -> list[ServiceStatus]:
        """Each server of the folder; none in a folder where no stack was brought up."""
        record = load_record(self.folder)
        return [await _status(server) for server in self._servers(record)] if record else []

    def endpoints(self) -> Endpoints:
        """Where the servers of this folder are reached. Raises StackNotUp in a new folder."""
        return self._endpoints(require_record(self.folder))

    def _endpoints(self, record: StackRecord) -> Endpoints:
        servers = self._postgres(record)
        directory = servers.pop(0)
        temporal = self._temporal(record) if record.with_temporal else None
        return Endpoints(
            shard_dsns={shard: server.posting_dsn for shard, server in servers.items()},
            shard_owner_dsns={shard: server.owner_dsn for shard, server in servers.items()},
            directory_dsn=directory.posting_dsn,
            directory_owner_dsn=directory.owner_dsn,
            temporal_address=temporal.address if temporal else "",
            temporal_namespace=NAMESPACE if temporal else "",
            temporal_ui_url=temporal.ui_url if temporal else "",
        )

    def shard_server(self, shard: int) -> PostgresServer:
        """The server of one shard of a stack that was brought up, to stop or kill it alone."""
        return self._postgres(require_record(self.folder))[shard]

    def directory_server(self) -> PostgresServer:
        """The server of the directory of a stack that was brought up."""
        return self._postgres(require_record(self.folder))[0]

    def temporal_server(self) -> TemporalServer:
        """The Temporal server of a stack that was brought up."""
        return self._temporal(require_record(self.folder))

    def _servers(self, record: StackRecord) -> list[PostgresServer | TemporalServer]:
        temporal = self._temporal(record)
        part_of_it = record.with_temporal or temporal.is_running()
        return [*self._postgres(record).values(), *([temporal] if part_of_it else [])]

    def _postgres(self, record: StackRecord) -> dict[int, PostgresServer]:
        servers = {}
        for number in (0, *_numbers(record.shards)):
            name = _shard_name(number) if number else DIRECTORY
            servers[number] = PostgresServer(
                name,
                self.folder / name,
                database="ledger" if number else DIRECTORY,
                tcp_port=record.ports.get(name) if record.tcp else None,
                passwords=self._passwords(),
            )
        return servers

    def _temporal(self, record: StackRecord) -> TemporalServer:
        return TemporalServer(
            self.folder / TEMPORAL,
            port=record.ports[TEMPORAL],
            ui_port=record.ports[TEMPORAL_UI],
        )

    def _passwords(self) -> PasswordFile:
        return PasswordFile(self.folder / "secrets" / "pgpass")


def _numbers(shards: int) -> range:
    return range(1, shards + 1)


def _shard_name(number: int) -> str:
    return f"shard-{number}"


async def _start(
    server: PostgresServer | TemporalServer, is_missing: bool, report: Callable[[str], None]
) -> None:
    await server.start(report)
    if is_missing:
        report(f"{server.name} answers")


async def _all(steps: Iterable[Awaitable[None]]) -> None:
    # All of them end before the first failure is raised, so none is left half done.
    results = await asyncio.gather(*steps, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


async def _status(server: PostgresServer | TemporalServer) -> ServiceStatus:
    is_running = server.is_running()
    identity = server.process.identity()
    return ServiceStatus(
        name=server.name,
        is_running=is_running,
        is_ready=is_running and await server.answers(),
        pid=None if identity is None else identity.pid,
        address=server.address,
        log_file=server.process.log_file,
    )
