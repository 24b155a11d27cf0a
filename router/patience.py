"""Patience: pauses that grow, within a budget of seconds."""

from __future__ import annotations

import asyncio


class Patience:
    """How much longer one request may wait; each pause is twice the one before.

    ``deadline`` is in the loop's own time (``loop.time()``).
    """

    __slots__ = ("_longest_s", "_loop", "_pause_s", "deadline")

    def __init__(self, budget_s: float, *, first_s: float, longest_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self.deadline = self._loop.time() + budget_s
        self._pause_s = first_s
        self._longest_s = longest_s

    def deadline_for(self, try_s: float) -> float:
        """The deadline of the next try, which gets ``try_s`` at least."""
        return max(self.deadline, self._loop.time() + try_s)

    async def pause(self) -> bool:
        """Wait a while; False at once if the budget is used up."""
        left_s = self.deadline - self._loop.time()
        if left_s <= 0:
            return False
        await asyncio.sleep(min(self._pause_s, left_s))
        self._pause_s = min(2 * self._pause_s, self._longest_s)
        return True
