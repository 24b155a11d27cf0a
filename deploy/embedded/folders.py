"""Folders on the local disk: who owns them, who may enter them, and where they are by default."""

import hashlib
import os
import re
import stat
import tempfile
from pathlib import Path

import platformdirs

from deploy import limits
from deploy.embedded.account import ServiceAccount
from deploy.embedded.commands import run_command
from deploy.errors import FolderError, FolderUnreachable, FolderUnsafe

APPLICATION = "sharded-ledger"
# Kept across reboots, unlike /tmp, and open to every account, unlike root's home.
ROOT_BASE = Path("/var/tmp")  # noqa: S108 every folder below it is checked for its owner
_SOCKET_BASE = Path("/tmp")  # noqa: S108 every folder below it is checked for its owner
# libpq splits host names at commas, and PostgreSQL its socket folders at commas and spaces.
_PLAIN_PATH = re.compile(r"[A-Za-z0-9._/+-]+")


def default_folder() -> Path:
    """Where the servers keep their data: LEDGER_DATA, else the user's own data folder.

    For root it is a folder below /var/tmp, because the unprivileged account that runs PostgreSQL
    must be able to enter it.
    """
    chosen = os.environ.get("LEDGER_DATA")
    if chosen:
        return Path(chosen).expanduser().absolute()
    if os.geteuid() == 0:
        return ROOT_BASE / APPLICATION
    return Path(platformdirs.user_data_dir(APPLICATION, appauthor=False))


def cache_folder() -> Path:
    """Where downloads and builds are kept for all data folders of this user."""
    return Path(platformdirs.user_cache_dir(APPLICATION, appauthor=False))


def temporary_folder() -> Path:
    """A new folder that the servers' account can reach, for a stack that is destroyed soon."""
    base = ROOT_BASE if os.geteuid() == 0 else Path(tempfile.gettempdir())
    return private_folder(Path(tempfile.mkdtemp(prefix=f"{APPLICATION}-", dir=base)))


def private_folder(path: Path) -> Path:
    """Creates the caller's folder: closed to others, or for root open to be passed through.

    Raises FolderUnsafe when it exists and is somebody else's, or everybody may write to it.
    """
    return _owned_folder(path, 0o711 if os.geteuid() == 0 else 0o700)


def shared_folder(path: Path) -> Path:
    """Creates a folder that everybody may read and only the caller may write.

    Raises FolderUnsafe as `private_folder` does.
    """
    return _owned_folder(path, 0o755)


def secret_folder(path: Path, account: ServiceAccount | None = None) -> Path:
    """Creates a folder that nobody but the account, or the caller, may enter.

    Raises FolderUnsafe as `private_folder` does.
    """
    return _owned_folder(path, 0o700, account)


def _owned_folder(path: Path, mode: int, account: ServiceAccount | None = None) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700)
    except FileExistsError:
        _require_own(path, account)
    except OSError as error:
        raise FolderError(f"{path} cannot be created: {error.strerror}") from error
    path.chmod(mode)
    if account is not None:
        account.own(path)
    return path


def _require_own(path: Path, account: ServiceAccount | None) -> None:
    # Anybody may create names below /tmp and /var/tmp: what was not made here is not trusted.
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise FolderUnsafe(f"{path} is not a folder")
    if status.st_uid not in (os.geteuid(), os.geteuid() if account is None else account.uid):
        raise FolderUnsafe(f"{path} belongs to user id {status.st_uid}, not to the caller")
    if status.st_mode & stat.S_IWOTH:
        raise FolderUnsafe(f"everybody may write to {path}; take that away first: chmod o-w")


async def require_reachable(path: Path, account: ServiceAccount | None) -> None:
    """Raises FolderUnreachable, naming the obstacle, unless the account can enter the folder."""
    if account is None or await _can_enter(path, account):
        return
    for step in (*reversed(path.parents), path):
        if not await _can_enter(step, account):
            raise FolderUnreachable(
                f"PostgreSQL runs as '{account.name}', who cannot enter {step}. Choose another "
                f"data folder with LEDGER_DATA, or allow it: chmod o+x {step}"
            )


async def _can_enter(path: Path, account: ServiceAccount) -> bool:
    result = await run_command(
        ["/usr/bin/env", "test", "-x", str(path)],
        folder=Path("/"),
        environment={"PATH": "/usr/bin:/bin"},
        limit_s=limits.SHORT_COMMAND_LIMIT_S,
        account=account,
    )
    return result.exit_code == 0


def socket_folder(preferred: Path, socket_name: str) -> Path:
    """The preferred folder if a socket's path fits there, else a short one named after it."""
    socket_path = str(preferred / socket_name)
    fits = len(os.fsencode(socket_path)) <= limits.SOCKET_PATH_MAX_BYTES
    if fits and _PLAIN_PATH.fullmatch(socket_path):
        return preferred
    name = hashlib.sha256(os.fsencode(preferred)).hexdigest()[:16]
    return _SOCKET_BASE / f"ledger-{os.geteuid()}-{name}"
