"""The exit codes of every command: one table, shown by ``ledger --help``.

A code says what a script should do next; which error it was stands in the sentence on stderr,
and with ``--json`` in ``error.code`` on stdout.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType

from deploy.errors import DeployError, FolderBusy, ProcessError
from shard.errors import LedgerError, Malformed, Misconfigured, NotFound, Refused


class ExitCode(IntEnum):
    """How a command ended. These numbers never change their meaning."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    UNAVAILABLE = 3
    MISCONFIGURED = 4
    DEFECT = 5
    INTERRUPTED = 130


MEANINGS: Mapping[ExitCode, str] = MappingProxyType(
    {
        ExitCode.DONE: "Done; for check and demo: everything held.",
        ExitCode.REFUSED: "Refused by the ledger, not found, or a violation was found.",
        ExitCode.USAGE: "The command line or an input file is malformed; nothing was done.",
        ExitCode.UNAVAILABLE: "Something does not answer, or is not at its end yet; repeat it.",
        ExitCode.MISCONFIGURED: "Settings, ports, data folder or needed programs do not fit.",
        ExitCode.DEFECT: "An error of this program.",
        ExitCode.INTERRUPTED: "Stopped by a signal, after cleaning up.",
    }
)


def exit_code_of(error: BaseException) -> ExitCode:
    """The exit code for an error that ended a command."""
    match error:
        case Misconfigured():
            return ExitCode.MISCONFIGURED
        case Malformed():
            return ExitCode.USAGE
        case Refused() | NotFound():
            return ExitCode.REFUSED
        case FolderBusy() | ProcessError():
            return ExitCode.UNAVAILABLE
        case DeployError():
            return ExitCode.MISCONFIGURED
        case LedgerError() if error.http_status >= _UNAVAILABLE_STATUS:
            return ExitCode.UNAVAILABLE
        case _:
            return ExitCode.DEFECT


_UNAVAILABLE_STATUS = 503
