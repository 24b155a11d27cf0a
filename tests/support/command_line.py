"""The command ``ledger`` as a user runs it: a process with arguments, streams and an exit code."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

LEDGER = (sys.executable, "-m", "router.cli")
_LIMIT_S = 240


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and what it wrote."""

    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        """What it wrote with ``--json``."""
        return json.loads(self.stdout)

    @property
    def error(self) -> tuple[int, str]:
        """The exit code and the error's word, as ``--json`` tells it."""
        return self.code, self.document["error"]["code"]


def environment(**changes: str) -> Mapping[str, str]:
    """The test's own environment without the settings of any bank."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("LEDGER_") or name == "LEDGER_TEMPORAL_BIN"
    }
    return kept | changes


async def start(*arguments: str | Path, **changes: str) -> asyncio.subprocess.Process:
    """Start a command and return while it runs."""
    return await asyncio.create_subprocess_exec(
        *LEDGER,
        *map(str, arguments),
        env=environment(**changes),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )


async def ledger(*arguments: str | Path, **changes: str) -> Ended:
    """Run a command to its end."""
    process = await start(*arguments, **changes)
    return await ended(process)


async def ended(process: asyncio.subprocess.Process) -> Ended:
    """Wait for the end of a command that was started."""
    try:
        async with asyncio.timeout(_LIMIT_S):
            stdout, stderr = await process.communicate()
    except TimeoutError:
        process.kill()
        raise
    return Ended(process.returncode or 0, stdout.decode(), stderr.decode())


async def until_told(process: asyncio.subprocess.Process, text: str) -> None:
    """Read a command's stderr up to the line that holds ``text``."""
    assert process.stderr is not None
    async with asyncio.timeout(_LIMIT_S):
        async for line in process.stderr:
            if text in line.decode():
                return
    raise AssertionError(f"the command ended without telling {text!r}")


def processes_of(folder: Path) -> list[str]:
    """The command lines of all processes that work in a folder, or name it."""
    place = str(folder.resolve())

    def line_of(process: psutil.Process) -> str:
        line = process.cmdline()
        is_inside = process.cwd().startswith(place) or any(place in each for each in line)
        return " ".join(line) if is_inside else ""

    return [line for line in _told_by_living(line_of) if line]


def _told_by_living(tell: Callable[[psutil.Process], str]) -> list[str]:
    """What is told of each process but this one; those that end meanwhile are passed over."""
    told = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid():
                told.append(tell(process))
        except psutil.Error:
            continue
    return told
