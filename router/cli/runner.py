"""The one way in which every command runs and ends.

Signals cancel the command, so that what it started is stopped by its own ``finally`` blocks. The
process leaves by ``os._exit`` once everything is written: threads of the Temporal SDK that are
still there while the interpreter is finalised crash it now and then, and exit codes would lie.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NoReturn

import typer

from deploy.errors import DeployError
from router.cli.exit_codes import ExitCode, exit_code_of
from router.cli.progress import ProgressStyle
from router.cli.terminal import Terminal
from router.telemetry import configure_logging, masked
from shard.errors import LedgerError, Refused

Work = Callable[[Terminal], Awaitable[ExitCode | None]]
"""A command's body; None is ``ExitCode.DONE``."""

STOPPING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_QUIET = "CRITICAL"


@dataclass(frozen=True, slots=True)
class Invocation:
    """The options before the command's name."""

    is_debug: bool = False
    progress: ProgressStyle = ProgressStyle.AUTO


def run(
    ctx: typer.Context, work: Work, *, as_json: bool, serves: bool = False, log_level: str = _QUIET
) -> NoReturn:
    """Run a command's body on an event loop, tell its errors, and end the process.

    ``serves`` takes the faster event loop, where it is installed; it cannot start processes
    under another account. ``log_level`` is that of stderr unless ``--debug`` is given.
    """
    invocation = ctx.obj if isinstance(ctx.obj, Invocation) else Invocation()
    configure_logging("DEBUG" if invocation.is_debug else log_level)
    terminal = Terminal(as_json=as_json, progress=invocation.progress)
    with asyncio.Runner(loop_factory=_fast_loop if serves else None) as runner:
        code = runner.run(_guarded(work, terminal, is_debug=invocation.is_debug))
    terminal.close()
    os._exit(code)


async def _guarded(work: Work, terminal: Terminal, *, is_debug: bool) -> ExitCode:
    _cancel_on_signals()
    try:
        return await work(terminal) or ExitCode.DONE
    except asyncio.CancelledError:
        code = ExitCode.INTERRUPTED
        terminal.fail("INTERRUPTED", "Stopped by a signal.", code, is_retryable=True)
        return code
    except BrokenPipeError:
        return ExitCode.INTERRUPTED
    except Exception as error:  # noqa: BLE001 whatever it is, the user gets one sentence
        return _told(_first(error), terminal, is_debug=is_debug)


def _told(error: BaseException, terminal: Terminal, *, is_debug: bool) -> ExitCode:
    code = exit_code_of(error)
    if isinstance(error, (LedgerError, DeployError)):
        word = error.outcome if isinstance(error, Refused) else error.code
        terminal.fail(word, str(error), code, is_retryable=error.retryable)
    else:
        reason = masked(f"This is a defect of the program: {type(error).__name__}: {error}")
        hint = "" if is_debug else " (ledger --debug shows where)"
        terminal.fail("DEFECT", reason + hint, code, is_retryable=False)
    if is_debug:
        traceback.print_exception(error, file=sys.stderr)
    return code


def _first(error: BaseException) -> BaseException:
    """The error to tell of several that happened at once."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _cancel_on_signals() -> None:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None  # noqa: S101 a coroutine always runs in a task
    is_stopping = False

    def stop() -> None:
        nonlocal is_stopping
        # An impatient second Ctrl-C must not cut off the cleaning up.
        if not is_stopping:
            is_stopping = True
            task.cancel()

    for number in STOPPING_SIGNALS:
        loop.add_signal_handler(number, stop)


def leave_signals_to_server() -> None:
    """From now on a server handles its own signals; what it passes on afterwards is ignored.

    uvicorn raises a signal again once it has shut down. The bank is being closed then, and
    must not be cut off.
    """
    loop = asyncio.get_running_loop()
    for number in STOPPING_SIGNALS:
        loop.remove_signal_handler(number)
        signal.signal(number, lambda *_: None)


def _fast_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
