"""One PostgreSQL server, from its first start to its crashes and recoveries."""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterable
from importlib.resources import files
from pathlib import Path
from typing import Literal

import psycopg
from psycopg.conninfo import make_conninfo

from deploy import limits
from deploy.embedded.account import ServiceAccount, service_account
from deploy.embedded.binaries import POSTGRES_MAJOR, PostgresBinaries, postgres_binaries
from deploy.embedded.commands import run_command
from deploy.embedded.folders import (
    private_folder,
    require_reachable,
    secret_folder,
    socket_folder,
)
from deploy.embedded.passwords import OWNER, POSTING, SUPERUSER, PasswordFile
from deploy.embedded.ports import LOOPBACK, is_free
from deploy.embedded.process import ManagedProcess, ProcessIdentity, kill_tree, processes_at
from deploy.embedded.server_settings import postgres_settings
from deploy.errors import FolderError, FolderVersionMismatch, PortInUse, ProcessStartFailed

StopMode = Literal["smart", "fast", "immediate"]

_STOP_SIGNALS = {
    "smart": (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT),
    "fast": (signal.SIGINT, signal.SIGQUIT),
    "immediate": (signal.SIGQUIT,),
}
# Without TCP each server has a socket folder of its own, so all of them can use the usual number.
_SOCKET_PORT = 5432
_PASSWORD_REFUSED = ("password authentication failed", "no password supplied")
# All that a server inherits: nothing of the caller's environment, which may hold secrets.
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


class PostgresServer:
    """A PostgreSQL server with one database and the roles of the ledger, in a folder of its own.

    It listens on a Unix socket; with a `tcp_port` on that loopback port as well, and then the
    DSNs name the port. Every start applies settings, roles and privileges again.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        *,
        database: str = "ledger",
        tcp_port: int | None = None,
        passwords: PasswordFile | None = None,
    ) -> None:
        self.name = name
        self.folder = folder.absolute()
        self.database = database
        self.passwords = passwords or PasswordFile(self.folder / "pgpass")
        self._tcp_port = tcp_port
        self._port = tcp_port or _SOCKET_PORT
        self.sockets = socket_folder(self.folder / "run", f".s.PGSQL.{self._port}")
        self.process = ManagedProcess(
            name, pid_file=self.folder / "postgres.pid", log_file=self.folder / "postgres.log"
        )

    @property
    def data(self) -> Path:
        """PostgreSQL's own data directory."""
        return self.folder / "data"

    @property
    def address(self) -> str:
        """Where it listens, for people: a folder for sockets, or host and port."""
        return f"{LOOPBACK}:{self._port}" if self._tcp_port else str(self.sockets)

    @property
    def owner_dsn(self) -> str:
        """Connection string of the role that owns the database; holds no password."""
        return self._dsn(OWNER, self.database)

    @property
    def posting_dsn(self) -> str:
        """Connection string of the role that serves; holds no password."""
        return self._dsn(POSTING, self.database)

    @property
    def superuser_dsn(self) -> str:
        """Connection string of the superuser, for starting up and for tests; holds no password."""
        return self._dsn(SUPERUSER, self.database)

    def _dsn(self, role: str, database: str) -> str:
        return make_conninfo(
            host=LOOPBACK if self._tcp_port else str(self.sockets),
            port=self._port,
            user=role,
            dbname=database,
            passfile=str(self.passwords.path),
        )

    def is_running(self) -> bool:
        """True while the server process runs, ready or not."""
        return self.process.is_running() or self._adopt_server()

    def _adopt_server(self) -> bool:
        # A starter that was killed between the start and the pid file leaves such a server.
        for member in processes_at("postgres", self.data.resolve()):
            if member.pid == self._recorded_pid():
                self.process.adopt(member)
                return True
        return False

    def _recorded_pid(self) -> int | None:
        try:
            return int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return None

    async def start(self, report: Callable[[str], None] = lambda line: None) -> None:
        """Starts the server and waits until it answers; initialises it the first time.

        Safe to repeat, also after a start or a server that was killed. Raises PortInUse,
        ProcessStartFailed, and the folder errors of `deploy.errors`.
        """
        if not self.is_running():
            await self._launch(report)
        await self.process.wait_until_ready(self.answers, limits.POSTGRES_START_LIMIT_S)
        await self._set_up()

    async def _launch(self, report: Callable[[str], None]) -> None:
        account = service_account()
        private_folder(self.folder)
        await require_reachable(self.folder, account)
        binaries = await postgres_binaries(account, report)
        if not self.data.exists():
            report(f"{self.name}: creating the database files")
            await self._initialise(binaries, account)
        self._require_version()
        await self._clear_leftovers()
        self._require_free_port()
        secret_folder(self.sockets, account)
        await self.process.start(
            [binaries.program("postgres"), "-D", str(self.data), *self._settings_option()],
            folder=self.data,
            environment=_ENVIRONMENT,
            account=account,
        )

    async def _initialise(self, binaries: PostgresBinaries, account: ServiceAccount | None) -> None:
        # The rename at the end makes it whole or absent, whenever it is killed. An initdb whose
        # starter was killed goes on, and would clear away what it takes for its own.
        await _kill_all(processes_at("initdb", self.folder.resolve()))
        draft = self._fresh_draft()
        data = secret_folder(draft / "data", account)
        password_file = draft / "superuser.password"
        self._write_password(password_file, account)
        try:
            await self._initdb(binaries, account, data, password_file)
            data.rename(self.data)
        finally:
            await asyncio.to_thread(shutil.rmtree, draft)

    def _fresh_draft(self) -> Path:
        for leftover in self.folder.glob("draft-*"):
            shutil.rmtree(leftover)
        return private_folder(Path(tempfile.mkdtemp(prefix="draft-", dir=self.folder)))

    def _write_password(self, path: Path, account: ServiceAccount | None) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(self.passwords.obtain()[SUPERUSER] + "\n")
        if account is not None:
            account.own(path)

    async def _initdb(
        self,
        binaries: PostgresBinaries,
        account: ServiceAccount | None,
        data: Path,
        password_file: Path,
    ) -> None:
        options = ["--data-checksums", "--encoding=UTF8", "--locale=C", f"--username={SUPERUSER}"]
        secrecy = ["--auth=scram-sha-256", f"--pwfile={password_file}"]
        try:
            result = await run_command(
                [binaries.program("initdb"), f"--pgdata={data}", *options, *secrecy],
                folder=self.folder,
                environment=_ENVIRONMENT,
                limit_s=limits.INITDB_LIMIT_S,
                account=account,
            )
        except TimeoutError as error:
            raise ProcessStartFailed(f"{self.name}: initdb did not end in time") from error
        if result.exit_code != 0:
            raise ProcessStartFailed(f"{self.name}: initdb failed: {result.output}")

    def _require_version(self) -> None:
        found = (self.data / "PG_VERSION").read_text().strip()
        if found != str(POSTGRES_MAJOR):
            raise FolderVersionMismatch(
                f"{self.data} was written by PostgreSQL {found}, this is {POSTGRES_MAJOR}"
            )

    async def _clear_leftovers(self) -> None:
        # PostgreSQL believes a stale lock file whenever its number names any process of the same
        # account, as after a reboot. By now it is certain that no server uses these files.
        await self._kill_orphans()
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        for socket in self.sockets.glob(".s.PGSQL.*"):
            socket.unlink(missing_ok=True)

    def _require_free_port(self) -> None:
        if self._tcp_port is not None and not is_free(self._tcp_port):
            raise PortInUse(f"{self.name} cannot start: port {self._tcp_port} is already in use")

    def _settings_option(self) -> list[str]:
        path = self.folder / "postgresql.conf"
        path.write_text(
            postgres_settings(sockets=self.sockets, port=self._port, tcp=self._tcp_port is not None)
        )
        path.chmod(0o644)
        return ["-c", f"config_file={path}"]

    async def answers(self) -> bool:
        """True when the server accepts connections.

        Raises FolderError when it does not take the password of this folder.
        """
        try:
            async with asyncio.timeout(limits.PROBE_LIMIT_S):
                connection = await psycopg.AsyncConnection.connect(self._dsn(SUPERUSER, "postgres"))
                await connection.close()
        except psycopg.OperationalError as error:
            # libpq has no SQLSTATE for a failed connection, only English messages.
            if any(message in str(error) for message in _PASSWORD_REFUSED):
                raise FolderError(
                    f"{self.name} does not take the passwords in {self.passwords.path}: {error}"
                ) from error
            return False
        except TimeoutError:
            return False
        return True

    async def _set_up(self) -> None:
        async with await self._setup_session("postgres") as connection:
            await self._set_up_roles(connection)
            cursor = await connection.execute(_sql("database"), {"database": self.database})
            statement = await cursor.fetchone()
            if statement is not None:
                await connection.execute(statement[0].encode())
        async with await self._setup_session(self.database) as connection:
            await connection.execute(_sql("privileges"))

    async def _setup_session(self, database: str) -> psycopg.AsyncConnection:
        dsn = self._dsn(SUPERUSER, database)
        connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
        await connection.execute(_sql("setup_lock"))
        return connection

    async def _set_up_roles(self, connection: psycopg.AsyncConnection) -> None:
        passwords = self.passwords.read()
        verifiers = {
            name: connection.pgconn.encrypt_password(
                passwords[role].encode(), role.encode(), b"scram-sha-256"
            ).decode()
            for name, role in (("owner", OWNER), ("posting", POSTING))
        }
        await connection.execute(_sql("verifiers"), verifiers)
        await connection.execute(_sql("roles"))

    async def stop(self, mode: StopMode = "fast") -> None:
        """Stops the server: `smart` waits for its clients, `fast` rolls them back and writes a
        checkpoint, `immediate` leaves recovery to the next start. A mode that does not end it
        within the limit is followed by the next harder one.
        """
        if self.is_running():
            await self.process.stop(_STOP_SIGNALS[mode], limit_s=limits.POSTGRES_STOP_LIMIT_S)

    async def kill(self) -> None:
        """Ends all processes of the server with SIGKILL, as a crash of its machine would."""
        if self.is_running():
            await self.process.kill()
        await self._kill_orphans()

    async def _kill_orphans(self) -> None:
        await _kill_all(processes_at("postgres", self.data.resolve()))

    async def destroy(self) -> None:
        """Stops the server without a checkpoint and deletes its folder with all data."""
        await self.stop("immediate")
        await self._kill_orphans()
        await asyncio.to_thread(shutil.rmtree, self.sockets, ignore_errors=True)
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)

    async def restart(self, mode: StopMode = "fast") -> None:
        """Stops the server and starts it again under the same address."""
        await self.stop(mode)
        await self.start()


async def _kill_all(processes: Iterable[ProcessIdentity]) -> None:
    for process in processes:
        await kill_tree(process)


def _sql(name: str) -> bytes:
    return files("deploy.embedded").joinpath("sql", f"{name}.sql").read_bytes()
