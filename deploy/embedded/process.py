"""A detached process that later commands find again, and never mistake for another one."""

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# psutil ships no types; this module is its only user and hands out nothing of its.
import psutil

from deploy import limits
from deploy.embedded.account import ServiceAccount
from deploy.errors import ProcessStartFailed, ProcessSurvived

# Handles of the processes that this interpreter started: whoever starts a process must also
# collect its exit status, or it stays behind as a zombie.
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process id with the time its process started, seconds since 1970.

    The id alone would not do: after a reboot or a wrap-around it names somebody else.
    """

    pid: int
    started_s: float

    def is_alive(self) -> bool:
        """True while this very process runs; a zombie does not run.

        A child of ours runs until its exit status is there: its first thread may be a zombie
        while others still hold its ports.
        """
        _collect(self.pid)
        try:
            process = psutil.Process(self.pid)
            age_matches = (
                abs(process.create_time() - self.started_s) < limits.START_TIME_TOLERANCE_S
            )
            is_whole = self.pid in _children or process.status() != psutil.STATUS_ZOMBIE
            return age_matches and is_whole
        except psutil.NoSuchProcess:
            return False

    def send(self, number: signal.Signals) -> None:
        """Sends a signal, unless the process has ended."""
        if self.is_alive():
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return

    def descendants(self) -> tuple["ProcessIdentity", ...]:
        """Children of the process, and theirs."""
        try:
            children = psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return ()
        return tuple(found for child in children if (found := identify(child.pid)) is not None)

    async def gone(self, limit_s: float) -> bool:
        """Waits until the process has ended; False when it still runs after the limit."""
        deadline_s = asyncio.get_running_loop().time() + limit_s
        while self.is_alive():
            if asyncio.get_running_loop().time() > deadline_s:
                return False
            await asyncio.sleep(limits.PROBE_INTERVAL_S)
        return True


def identify(pid: int) -> ProcessIdentity | None:
    """The process that has this id now, or None."""
    try:
        return ProcessIdentity(pid, float(psutil.Process(pid).create_time()))
    except psutil.NoSuchProcess:
        return None


def processes_at(executable: str, folder: Path) -> tuple[ProcessIdentity, ...]:
    """Processes of this name whose working directory is the folder, with or without a pid file.

    Servers that own their working directory are found by it when their starter was killed before
    it could write down their id, or when a killed parent left its children behind.
    """
    found = []
    for process in psutil.process_iter():
        try:
            if process.name().startswith(executable) and Path(process.cwd()) == folder:
                found.append(ProcessIdentity(process.pid, float(process.create_time())))
        except (psutil.Error, OSError):
            continue
    return tuple(identity for identity in found if identity.is_alive())


class ManagedProcess:
    """One background process with a pid file and a log file.

    It survives the interpreter that started it, and any later interpreter can find and stop it.
    """

    def __init__(self, name: str, *, pid_file: Path, log_file: Path) -> None:
        self.name = name
        self.pid_file = pid_file
        self.log_file = log_file

    def identity(self) -> ProcessIdentity | None:
        """The running process, or None when there is none; a stale pid file counts as none."""
        try:
            record = json.loads(self.pid_file.read_text())
            identity = ProcessIdentity(int(record["pid"]), float(record["started_s"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        return identity if identity.is_alive() else None

    def is_running(self) -> bool:
        """True while the process runs, ready or not."""
        return self.identity() is not None

    def adopt(self, identity: ProcessIdentity) -> None:
        """Takes a running process as this one."""
        record = {"pid": identity.pid, "started_s": identity.started_s}
        draft = self.pid_file.with_name(self.pid_file.name + ".new")
        draft.write_text(json.dumps(record))
        draft.replace(self.pid_file)

    async def start(
        self,
        command: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        account: ServiceAccount | None = None,
    ) -> None:
        """Starts the command detached, with `folder` as its working directory.

        Does nothing when it already runs. `environment` is all that the process inherits.
        Raises ProcessStartFailed when the program cannot be executed.
        """
        if self.is_running():
            return
        self._set_aside_large_log()
        try:
            child = await asyncio.to_thread(self._spawn, command, folder, environment, account)
        except OSError as error:
            raise ProcessStartFailed(f"{self.name} cannot be started: {error}") from error
        identity = identify(child.pid)
        _children[child.pid] = child
        if identity is None:
            raise self.start_failure("it ended at once")
        self.adopt(identity)

    def _spawn(
        self,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        account: ServiceAccount | None,
    ) -> subprocess.Popen[bytes]:
        # asyncio's own subprocesses are killed with their event loop; these must outlive it.
        with self.log_file.open("ab") as log:
            return subprocess.Popen(
                list(command),
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                umask=0o077,
                user=None if account is None else account.uid,
                group=None if account is None else account.gid,
                extra_groups=None if account is None else [],
            )

    def _set_aside_large_log(self) -> None:
        if self.log_file.exists() and self.log_file.stat().st_size > limits.LOG_MAX_BYTES:
            self.log_file.replace(self.log_file.with_name(self.log_file.name + ".1"))

    async def wait_until_ready(self, probe: Callable[[], Awaitable[bool]], limit_s: float) -> None:
        """Waits until the probe answers True.

        Raises ProcessStartFailed, with the end of the log, when the process ends or the limit
        passes first.
        """
        deadline_s = asyncio.get_running_loop().time() + limit_s
        while not await probe():
            if not self.is_running():
                raise self.start_failure("it ended while it started")
            if asyncio.get_running_loop().time() > deadline_s:
                raise self.start_failure(f"it did not answer within {limit_s:.0f} s")
            await asyncio.sleep(limits.PROBE_INTERVAL_S)

    def start_failure(self, reason: str) -> ProcessStartFailed:
        """The error for a failed start, with the end of the log."""
        return ProcessStartFailed(
            f"{self.name} did not start: {reason}. Log {self.log_file}:\n{self.log_tail()}"
        )

    def log_tail(self) -> str:
        """The last lines of the log."""
        if not self.log_file.exists():
            return ""
        lines = self.log_file.read_text(errors="replace").splitlines()
        return "\n".join(lines[-limits.LOG_TAIL_LINES :])

    async def stop(
        self,
        signals: Sequence[signal.Signals] = (signal.SIGTERM,),
        *,
        limit_s: float = limits.PROCESS_STOP_LIMIT_S,
    ) -> None:
        """Asks the process to end, by one signal after the other, each with the limit.

        Kills it with its children when it is still there after the last one. Does nothing when
        it does not run. Raises ProcessSurvived when even SIGKILL did not help.
        """
        identity = self.identity()
        if identity is not None:
            await _end(identity, signals, limit_s)
        self.pid_file.unlink(missing_ok=True)

    async def kill(self) -> None:
        """Ends the process and its children with SIGKILL, as a crash of the machine would."""
        identity = self.identity()
        if identity is not None:
            await kill_tree(identity)
        self.pid_file.unlink(missing_ok=True)


async def _end(
    identity: ProcessIdentity, signals: Sequence[signal.Signals], limit_s: float
) -> None:
    for number in signals:
        identity.send(number)
        if await identity.gone(limit_s):
            return
    await kill_tree(identity)


async def kill_tree(identity: ProcessIdentity) -> None:
    """Kills a process and its descendants and waits until they are gone.

    Raises ProcessSurvived when one is still there after the limit.
    """
    family = (identity, *identity.descendants())
    for member in family:
        member.send(signal.SIGKILL)
    for member in family:
        if not await member.gone(limits.PROCESS_KILL_LIMIT_S):
            raise ProcessSurvived(f"process {member.pid} is still there after SIGKILL")


def _collect(pid: int) -> None:
    child = _children.get(pid)
    if child is not None and child.poll() is not None:
        del _children[pid]
