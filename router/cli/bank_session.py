"""A bank as one command uses it: opened for its work, closed before the command answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from router.cli.bank_settings import bank_settings
from router.limits import CLI_PROCESS_NO
from router.wiring import Bank


@asynccontextmanager
async def open_bank(folder: Path | None, *, hosts_worker: bool = False) -> AsyncIterator[Bank]:
    """The bank that a command works on; raises like ``bank_settings``.

    Without a worker of its own, a command only starts the convoys of its money; the worker of
    the API, or any other, carries them, and also what the command leaves when it ends.
    """
    settings = bank_settings(folder)
    changes = {"run_worker": hosts_worker, "process_no": CLI_PROCESS_NO}
    async with Bank(settings.model_copy(update=changes)) as bank:
        yield bank
