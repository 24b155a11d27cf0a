"""Every error has its exit code, and every code its place in the one table."""

from __future__ import annotations

import pytest

from deploy.errors import (
    FolderBusy,
    FolderVersionMismatch,
    PortInUse,
    ProcessStartFailed,
    TemporalNotObtainable,
)
from router.cli.app import exit_code_help
from router.cli.exit_codes import MEANINGS, ExitCode, exit_code_of
from router.errors import DirectoryUnavailable, PaymentFileKnown, SettingsInvalid
from router.iso20022.errors import XmlMalformed
from shard.errors import (
    AmountMalformed,
    LedgerError,
    NotFound,
    OutcomeUnknown,
    RangeMoving,
    Refused,
    SchemaMissing,
    ShardUnavailable,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Refused("INSUFFICIENT_FUNDS"), 1),
        (PaymentFileKnown(), 1),
        (NotFound(), 1),
        (AmountMalformed(), 2),
        (XmlMalformed(), 2),
        (ShardUnavailable(), 3),
        (DirectoryUnavailable(), 3),
        (RangeMoving(), 3),
        (OutcomeUnknown(), 3),
        (FolderBusy(), 3),
        (ProcessStartFailed(), 3),
        (SettingsInvalid(), 4),
        (SchemaMissing(), 4),
        (PortInUse(), 4),
        (FolderVersionMismatch(), 4),
        (TemporalNotObtainable(), 4),
        (LedgerError(), 5),
        (ZeroDivisionError(), 5),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_an_error_ends_a_command_with_its_code(error: Exception, code: int) -> None:
    """What a script should do next can be told from the exit code alone."""
    assert code == exit_code_of(error)


def test_the_help_shows_every_code() -> None:
    """The table in the help is the table the commands use."""
    shown = exit_code_help()

    assert [] == [code for code in ExitCode if f"`{int(code)}` {MEANINGS[code]}" not in shown]
