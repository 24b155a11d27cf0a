"""The demonstration's own data folder: never the user's, wiped at each start.

It survives a killed run: whatever that left running is found by its pid file and stopped.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from deploy.embedded.file_lock import file_lock
from deploy.embedded.folders import default_folder, private_folder
from deploy.embedded.process import ManagedProcess
from deploy.errors import FolderBusy, FolderForeign
from router.cli.embedded_bank import EmbeddedBank

_MARK = "DEMO"
_MARK_TEXT = "Made by `ledger demo`, which deletes everything in this folder when it starts.\n"
_OWN_FILES = frozenset({"lock", _MARK})


class DemoFolder:
    """Where everything of a demonstration is kept."""

    def __init__(self, path: Path | None = None) -> None:
        """``path`` None is a folder beside the default one of ``ledger up``."""
        place = default_folder()
        self.path = (path or place.with_name(place.name + "-demo")).absolute()
        self.bank_folder = self.path / "bank"
        self.payroll_file = self.path / "payroll.xml"
        self.payroll = ManagedProcess(
            "payroll", pid_file=self.path / "payroll.pid", log_file=self.path / "payroll.log"
        )

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Have the folder for this process alone; raises ``FolderForeign``, ``FolderBusy``."""
        self._require_own()
        private_folder(self.path)
        lock = file_lock(
            self.path / "lock",
            limit_s=0,
            on_wait=lambda: None,
            busy=FolderBusy(f"Another demonstration is running in {self.path}."),
        )
        async with lock:
            (self.path / _MARK).write_text(_MARK_TEXT)
            yield

    async def wipe(self) -> None:
        """Stop what an earlier run left, and delete its data; to be called while held."""
        await self.payroll.kill()
        await EmbeddedBank(self.bank_folder).destroy()
        for left in self.path.iterdir():
            if left.name in _OWN_FILES:
                continue
            if left.is_dir():
                await asyncio.to_thread(shutil.rmtree, left)
            else:
                left.unlink()

    def _require_own(self) -> None:
        names = {each.name for each in self.path.iterdir()} if self.path.is_dir() else set()
        if names - _OWN_FILES and _MARK not in names:
            raise FolderForeign(
                f"{self.path} was not made by a demonstration, which would delete everything in "
                "it; choose an empty folder with --folder."
            )
