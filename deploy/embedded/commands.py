"""Running a short command to its end."""

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.embedded.account import ServiceAccount


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command ended, and what it wrote to either stream."""

    exit_code: int
    output: str


async def run_command(
    command: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    limit_s: float,
    account: ServiceAccount | None = None,
) -> CommandResult:
    """Runs a command in a folder and collects its output.

    Raises OSError when it cannot be executed and TimeoutError after the limit. Nothing of it is
    left behind when the limit passes or the caller is cancelled.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=dict(environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
        umask=0o077,
        user=None if account is None else account.uid,
        group=None if account is None else account.gid,
        extra_groups=None if account is None else [],
    )
    try:
        async with asyncio.timeout(limit_s):
            output, _ = await process.communicate()
    except BaseException:
        _kill_group(process.pid)
        await process.wait()
        raise
    return CommandResult(process.returncode or 0, output.decode(errors="replace"))


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
