"""How often a request is repeated, and how long the pauses are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import uniform

from router.limits import (
    CLIENT_PAUSE_FIRST_S,
    CLIENT_PAUSE_MAX_S,
    CLIENT_REPEATS,
    CLIENT_RETRY_AFTER_MAX_S,
)


@dataclass(frozen=True, slots=True)
class Retries:
    """A request is repeated ``repeats`` times, always with the reference it was made with.

    Pauses double from ``first_pause_s`` to ``longest_pause_s``; each is cut by up to a half at
    random, so that clients which failed together do not come back together. ``sleep`` is how to
    pause, in seconds.
    """

    repeats: int = CLIENT_REPEATS
    first_pause_s: float = CLIENT_PAUSE_FIRST_S
    longest_pause_s: float = CLIENT_PAUSE_MAX_S
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep

    async def pause(self, repeat: int, retry_after_s: float | None = None) -> None:
        """Pause before a repeat, counted from 0; never shorter than the ledger asked for."""
        # Beyond some doublings the longest pause is reached anyway, and floats would overflow.
        grown_s = min(self.first_pause_s * 2.0 ** min(repeat, 32), self.longest_pause_s)
        asked_for_s = min(retry_after_s or 0.0, CLIENT_RETRY_AFTER_MAX_S)
        spread_s = uniform(grown_s / 2, grown_s)  # noqa: S311  there is nothing to guess
        await self.sleep(asked_for_s + spread_s)
