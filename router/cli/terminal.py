"""What a command writes: data on stdout, everything else on stderr.

Colours follow the terminal and ``NO_COLOR`` (https://no-color.org), which rich reads itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping

import orjson
from rich.console import Console, RenderableType

from router.cli.exit_codes import ExitCode
from router.cli.progress import ProgressStyle, Steps, steps_of
from router.limits import CLI_PIPE_COLUMNS

Document = Mapping[str, object]


class Terminal:
    """The two streams of one command."""

    def __init__(self, *, as_json: bool, progress: ProgressStyle) -> None:
        self.as_json = as_json
        self._data = _console(is_stderr=False)
        self._notes = _console(is_stderr=True)
        self.steps: Steps = steps_of(progress, self._notes)

    def answer(self, document: Document, show: Callable[[Console], None]) -> None:
        """Write the command's result: ``document`` as JSON, or what ``show`` makes of it."""
        self.steps.close()
        if self.as_json:
            _write_json(document)
        else:
            show(self._data)

    def write(self, piece: bytes) -> None:
        """Write a part of a result that is no JSON document of ours."""
        self.steps.close()
        sys.stdout.flush()
        sys.stdout.buffer.write(piece)

    def show(self, part: RenderableType) -> None:
        """Write a part of a result for people."""
        self.steps.close()
        self._data.print(part, markup=False)

    def note(self, line: str) -> None:
        """Tell the user something that is not the result."""
        self.steps.say(line)

    def fail(self, code: str, message: str, exit_code: ExitCode, *, is_retryable: bool) -> None:
        """Tell in one sentence why the command ends without a result."""
        self.steps.close()
        self._notes.print("ledger:", message, style="red", markup=False)
        if self.as_json:
            error = {
                "code": code,
                "message": message,
                "retryable": is_retryable,
                "exit_code": int(exit_code),
            }
            _write_json({"error": error})

    def close(self) -> None:
        """Leave the terminal as a shell expects it, with everything written."""
        self.steps.close()
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except BrokenPipeError:
                # The reader has seen enough (``| head``); the exit must not complain again.
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _write_json(document: Document) -> None:
    options = orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE
    options |= orjson.OPT_NON_STR_KEYS
    sys.stdout.write(orjson.dumps(document, default=str, option=options).decode())


def _console(*, is_stderr: bool) -> Console:
    stream = sys.stderr if is_stderr else sys.stdout
    # A pipe has no width of its own; wrapped lines would break what reads them.
    width = None if stream.isatty() else CLI_PIPE_COLUMNS
    return Console(stderr=is_stderr, highlight=False, width=width, soft_wrap=is_stderr)
