"""Room between shards: how much bulk work may be on its way at once, so that it gets through soon.

A bulk stream can park amounts much faster than they are delivered. Each would be accepted at once
and arrive late; so whoever has many of them waits before he parks more. Single transfers are never
held up here.

The bound follows the time that convoys take, waiting included: on the way at once is what can be
delivered within about ``CROSSING_TARGET_S``. A stream that begins finds only a part of that room,
and more with all that arrives: what is parked all at once would wait for all of it to be parked.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sagas.limits import (
    CROSSING_TARGET_S,
    ROOM_ITEMS_FIRST,
    ROOM_ITEMS_HIGHEST,
    ROOM_ITEMS_LOWEST,
    ROOM_ITEMS_START,
    ROOM_WAIT_S,
)

_LESS = 0.85
_MORE = 1.1


class Room:
    """Counts the items of one process that are on their way, and adapts the bound on them.

    It belongs to one event loop and takes no lock.
    """

    def __init__(self) -> None:
        self.bound = float(ROOM_ITEMS_FIRST)
        self._opened = float(ROOM_ITEMS_START)
        """How much of the bound may be used: at the start of a stream little, then more."""
        self.on_the_way = 0
        """Parked, and not known to have arrived."""
        self._promised = 0
        self._arrivals = 0
        self._waiting: deque[_Turn] = deque()
        self._was_full = False
        self._until_change = 0

    @property
    def has_room(self) -> bool:
        """Whether more may be parked; the last ones in may pass the bound by what they bring."""
        return self.on_the_way + self._promised < min(self.bound, self._opened)

    @asynccontextmanager
    async def taken(self, items: int) -> AsyncIterator[None]:
        """Wait until there is room for bulk work, and hold it while that is being parked.

        Not for ever: where nothing gets through, the bound on suspense decides what is accepted.
        """
        await self._promise(items)
        try:
            yield
        finally:
            self._promised -= items
            self._let_in()

    def parked(self, items: int) -> None:
        """So many items are on their way from now on."""
        self.on_the_way += items

    def arrived(self, items: int, seconds: float | None) -> None:
        """They are there, or others see to them; ``seconds`` after the first of them was parked.

        None where that time says nothing about load.
        """
        was_full = self._was_full
        self.on_the_way -= items
        if self.on_the_way or self._promised or self._waiting:
            self._opened = min(self._opened + items, float(ROOM_ITEMS_HIGHEST))
        else:
            self._opened = float(ROOM_ITEMS_START)
        self._arrivals += 1
        self._until_change -= items
        if seconds is not None and self._until_change <= 0:
            # What is on its way now was let in under the present bound: first see its effect.
            self._until_change = self.on_the_way
            self._was_full = False
            if seconds > CROSSING_TARGET_S:
                self.bound = max(float(ROOM_ITEMS_LOWEST), self.bound * _LESS)
            elif was_full:
                self.bound = min(float(ROOM_ITEMS_HIGHEST), self.bound * _MORE)
        self._let_in()

    async def _promise(self, items: int) -> None:
        if self.has_room and not self._waiting:
            self._promised += items
            return
        self._was_full = True
        turn = _Turn(asyncio.get_running_loop().create_future(), items)
        self._waiting.append(turn)
        arrivals = None
        try:
            # Let in when its turn comes, or when nothing has arrived for a while.
            while not turn.came.done() and arrivals != self._arrivals:
                arrivals = self._arrivals
                await asyncio.wait({turn.came}, timeout=ROOM_WAIT_S)
            if not turn.came.done():
                self._waiting.remove(turn)
                self._promised += items
        except asyncio.CancelledError:
            if turn in self._waiting:
                self._waiting.remove(turn)
            else:
                self._promised -= items
            raise

    def _let_in(self) -> None:
        while self._waiting and self.has_room:
            turn = self._waiting.popleft()
            self._promised += turn.items
            turn.came.set_result(None)


@dataclass(eq=False, frozen=True, slots=True)
class _Turn:
    """Somebody who waits to park so many items."""

    came: asyncio.Future[None]
    items: int
