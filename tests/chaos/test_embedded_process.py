"""Background processes are found again, ended for certain, and never mistaken for another."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.embedded.process import ManagedProcess, identify
from deploy.errors import ProcessStartFailed

FOREVER = [sys.executable, "-c", "import signal; print('ready', flush=True); signal.pause()"]
DEAF_PROGRAM = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
while True:
    signal.pause()
"""
DEAF = [sys.executable, "-c", DEAF_PROGRAM]
ROOT = Path(__file__).parents[2]


def named(folder: Path, name: str = "sleeper") -> ManagedProcess:
    return ManagedProcess(name, pid_file=folder / "pid", log_file=folder / "log")


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[ManagedProcess]:
    """A process in a folder of its own; whatever it is at the end, it is killed."""
    process = named(tmp_path)
    yield process
    await process.kill()


async def start(process: ManagedProcess, command: list[str]) -> None:
    await process.start(command, folder=process.log_file.parent, environment={"LC_ALL": "C"})

    async def said_ready() -> bool:
        return "ready" in process.log_tail()

    await process.wait_until_ready(said_ready, 30)


async def test_a_process_is_found_again_by_its_files(process: ManagedProcess) -> None:
    """Another object with the same files sees the process and can stop it."""
    await start(process, FOREVER)
    other = named(process.log_file.parent)
    before = other.is_running()

    await other.stop()

    assert (True, False, False) == (before, other.is_running(), process.is_running())


async def test_a_process_outlives_the_interpreter_that_started_it(
    process: ManagedProcess, tmp_path: Path
) -> None:
    """Neither the end of its starter nor a signal to the starter's terminal ends it."""
    starter = (
        "import asyncio, pathlib\n"
        "from deploy.embedded.process import ManagedProcess\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "process = ManagedProcess('x', pid_file=folder / 'pid', log_file=folder / 'log')\n"
        f"asyncio.run(process.start({FOREVER!r}, folder=folder, environment={{}}))\n"
    )

    program = await asyncio.create_subprocess_exec(sys.executable, "-c", starter, cwd=ROOT)
    exit_code = await program.wait()

    identity = process.identity()
    assert identity is not None
    assert (0, identity.pid) == (exit_code, os.getsid(identity.pid))


async def test_starting_twice_starts_once(process: ManagedProcess) -> None:
    """A second start leaves the running process alone."""
    await start(process, FOREVER)
    first = process.identity()

    await start(process, FOREVER)

    assert first == process.identity()


async def test_a_deaf_process_is_killed(process: ManagedProcess) -> None:
    """A process that ignores SIGTERM is killed after the limit."""
    await start(process, DEAF)
    identity = process.identity()
    assert identity is not None

    await process.stop(limit_s=0.1)

    assert not identity.is_alive()


async def test_a_reused_process_id_is_never_signalled(process: ManagedProcess) -> None:
    """A pid file whose number now names another process counts as stale, and stop spares it."""
    bystander = await asyncio.create_subprocess_exec(*FOREVER, stdout=asyncio.subprocess.DEVNULL)
    try:
        identity = identify(bystander.pid)
        assert identity is not None
        record = {"pid": bystander.pid, "started_s": identity.started_s - 3600}
        process.pid_file.write_text(json.dumps(record))
        running = process.is_running()

        await process.stop()

        assert (False, None) == (running, bystander.returncode)
    finally:
        bystander.kill()
        await bystander.wait()


@pytest.mark.parametrize("text", ["", "12", "{}", '{"pid": "x", "started_s": 1}', "nonsense"])
async def test_a_damaged_pid_file_counts_as_none(process: ManagedProcess, text: str) -> None:
    """Whatever a killed writer left in the pid file, the process can be started."""
    process.pid_file.write_text(text)

    await start(process, FOREVER)

    assert process.is_running()


async def test_a_killed_process_does_not_run(process: ManagedProcess) -> None:
    """A child that died and was not collected yet is not taken for a running one."""
    await start(process, FOREVER)
    identity = process.identity()
    assert identity is not None
    os.kill(identity.pid, signal.SIGKILL)

    assert await identity.gone(30)
    assert not process.is_running()


async def test_a_failed_start_shows_the_end_of_the_log(process: ManagedProcess) -> None:
    """The error of a process that ends while it starts quotes what it wrote last."""

    async def never() -> bool:
        return False

    command = [sys.executable, "-c", "import sys; sys.exit('the disk is full')"]
    await process.start(command, folder=process.log_file.parent, environment={})

    with pytest.raises(ProcessStartFailed, match="the disk is full"):
        await process.wait_until_ready(never, 30)


async def test_a_missing_program_is_a_clear_error(process: ManagedProcess) -> None:
    """A program that cannot be executed is named in the error."""
    with pytest.raises(ProcessStartFailed, match="no-such-program"):
        await start(process, ["/no-such-program"])


async def test_a_process_inherits_only_what_it_is_given(
    process: ManagedProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Secrets in the starter's environment do not reach the process."""
    monkeypatch.setenv("LEDGER_SECRET", "hunter2")
    command = [sys.executable, "-c", "import os; print(dict(os.environ)); print('ready')"]
    await process.start(command, folder=process.log_file.parent, environment={"A": "b"})
    identity = process.identity()

    assert identity is None or await identity.gone(30)
    assert "LEDGER_SECRET" not in process.log_tail()
