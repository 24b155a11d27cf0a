"""A lock between processes that ends with its holder, however that ends."""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from deploy import limits


@asynccontextmanager
async def file_lock(
    path: Path, *, limit_s: float, on_wait: Callable[[], None], busy: Exception
) -> AsyncIterator[None]:
    """Holds an exclusive lock on a file; calls `on_wait` once when it is held elsewhere.

    Raises `busy` when the lock is not free within the limit, or its folder was deleted.
    """
    deadline_s = asyncio.get_running_loop().time() + limit_s
    waits = False
    while (descriptor := _try_lock(path, busy)) is None:
        if not waits:
            waits = True
            on_wait()
        if asyncio.get_running_loop().time() > deadline_s:
            raise busy
        await asyncio.sleep(limits.PROBE_INTERVAL_S)
    try:
        yield
    finally:
        os.close(descriptor)


def _try_lock(path: Path, busy: Exception) -> int | None:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileNotFoundError as error:
        raise busy from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The holder may have deleted the folder: a lock on a file without a name guards nothing.
        if os.fstat(descriptor).st_nlink > 0:
            return descriptor
    except BlockingIOError:
        pass
    os.close(descriptor)
    return None
