"""Writing a file that is whole or not there."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

from shard.errors import Malformed


class OutputRefused(Malformed):
    """The result cannot be written to this file."""


@asynccontextmanager
async def whole_file(path: Path) -> AsyncIterator[IO[bytes]]:
    """A file that appears under ``path`` (for its owner only) once the block has ended well.

    Raises ``OutputRefused``, also for what the block cannot write.
    """
    try:
        file = await asyncio.to_thread(_part_of, path)
        try:
            yield file
            await asyncio.to_thread(_finish, file, path)
        finally:
            _discard(file)
    except OSError as error:
        raise OutputRefused(f"{path} cannot be written: {error.strerror}.") from None


def _part_of(path: Path) -> IO[bytes]:
    return tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False)


def _finish(file: IO[bytes], path: Path) -> None:
    file.close()
    Path(file.name).replace(path)


def _discard(file: IO[bytes]) -> None:
    """Leave nothing of a file that was not finished."""
    file.close()
    Path(file.name).unlink(missing_ok=True)
