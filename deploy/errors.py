"""Every error of this package.

DeployError
├── FolderError
│   ├── FolderVersionMismatch
│   ├── FolderForeign
│   ├── FolderUnsafe
│   ├── FolderUnreachable
│   ├── FolderBusy
│   └── StackDiffers
├── StackNotUp
├── PortInUse
├── AccountMissing
├── PostgresBinariesMissing
├── TemporalNotObtainable
└── ProcessError
    ├── ProcessStartFailed
    └── ProcessSurvived
"""

from typing import ClassVar


class DeployError(Exception):
    """The embedded servers could not do what was asked."""

    code: ClassVar[str] = "DEPLOY_FAILED"
    http_status: ClassVar[int] = 503
    retryable: ClassVar[bool] = False

    def __init__(self, message: str = "") -> None:
        super().__init__(message or type(self).__doc__ or "")


class FolderError(DeployError):
    """The data folder cannot be used."""

    code = "FOLDER_UNUSABLE"


class FolderVersionMismatch(FolderError):
    """The data folder was written by another version."""

    code = "FOLDER_VERSION_MISMATCH"


class FolderForeign(FolderError):
    """The folder holds something else than the data of a stack."""

    code = "FOLDER_FOREIGN"


class FolderUnsafe(FolderError):
    """The folder belongs to somebody else, or others may write to it."""

    code = "FOLDER_UNSAFE"


class FolderUnreachable(FolderError):
    """The account that runs PostgreSQL cannot reach the data folder."""

    code = "FOLDER_UNREACHABLE"


class FolderBusy(FolderError):
    """Another command is starting or stopping the servers of this folder."""

    code = "FOLDER_BUSY"
    retryable = True


class StackDiffers(FolderError):
    """The data folder holds a stack of another shape than was asked for."""

    code = "STACK_DIFFERS"


class StackNotUp(DeployError):
    """The embedded servers were never brought up in this folder."""

    code = "STACK_NOT_UP"


class PortInUse(DeployError):
    """A requested port is already in use."""

    code = "PORT_IN_USE"


class AccountMissing(DeployError):
    """PostgreSQL refuses to run as root and there is no account to run it under."""

    code = "ACCOUNT_MISSING"


class PostgresBinariesMissing(DeployError):
    """The PostgreSQL server binaries are not installed."""

    code = "POSTGRES_BINARIES_MISSING"


class TemporalNotObtainable(DeployError):
    """No Temporal server could be found, downloaded or built."""

    code = "TEMPORAL_NOT_OBTAINABLE"


class ProcessError(DeployError):
    """A server process did not do what was asked."""

    code = "PROCESS_FAILED"


class ProcessStartFailed(ProcessError):
    """A server process ended, or did not answer in time, while it started."""

    code = "PROCESS_START_FAILED"


class ProcessSurvived(ProcessError):
    """A process is still there after it was killed."""

    code = "PROCESS_SURVIVED"
