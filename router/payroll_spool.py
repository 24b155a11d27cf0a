"""A private copy of a payment file: what was checked is what is executed and reported.

The file itself belongs to others, who may write to it while it is executed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from router.iso20022.errors import FileTooLarge, FileUnreadable
from router.limits import PAYMENT_FILE_BYTES_MAX, PAYROLL_SPOOL_CHUNK_BYTES


@asynccontextmanager
async def spooled(path: Path) -> AsyncIterator[Path]:
    """A copy of ``path`` that only this user can read, removed however its use ends.

    Takes constant memory, and room for the file in the folder for temporary files. Raises
    ``FileUnreadable`` (also for want of room) or ``FileTooLarge``.
    """
    with TemporaryDirectory(prefix="ledger-payroll-") as folder:
        spool = Path(folder) / "payments.xml"
        spool.touch(mode=0o600)
        await _copy(path, spool)
        yield spool


async def _copy(path: Path, spool: Path) -> None:
    copied_bytes = 0
    try:
        # A thread left behind by a cancelled run must not create the copy anew: hence "r+b".
        with (
            await asyncio.to_thread(path.open, "rb") as original,
            await asyncio.to_thread(spool.open, "r+b") as copy,
        ):
            while chunk_bytes := await asyncio.to_thread(_copy_chunk, original, copy):
                copied_bytes += chunk_bytes
                if copied_bytes > PAYMENT_FILE_BYTES_MAX:
                    raise FileTooLarge(
                        f"A payment file has at most {PAYMENT_FILE_BYTES_MAX:,} bytes."
                    )
    except OSError as error:
        raise FileUnreadable(f"The payment file cannot be copied: {error.strerror}.") from error


def _copy_chunk(original: IO[bytes], copy: IO[bytes]) -> int:
    """Copy the next bytes; how many they were, 0 at the end of the file."""
    return copy.write(original.read(PAYROLL_SPOOL_CHUNK_BYTES))
