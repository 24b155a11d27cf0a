"""Patience: pauses that grow, within a budget of seconds."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

caller_deadline: ContextVar[float | None] = ContextVar("caller_deadline", default=None)
"""When the caller of the present request stops waiting, in the loop's time; None: he did not say.

Whatever waits on behalf of a request heeds it, at any depth.
"""


class Patience:
    """How much longer one request may wait; each pause is twice the one before.

    ``deadline`` is in the loop's own time (``loop.time()``), and never after the caller's.
    """

    __slots__ = ("_callers", "_longest_s", "_loop", "_pause_s", "deadline")

    def __init__(self, budget_s: float, *, first_s: float, longest_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._callers = caller_deadline.get()
        self.deadline = self._in_time(self._loop.time() + budget_s)
        self._pause_s = first_s
        self._longest_s = longest_s

    def deadline_for(self, try_s: float) -> float:
        """The deadline of the next try, which gets ``try_s`` at least, if the caller waits."""
        return self._in_time(max(self.deadline, self._loop.time() + try_s))

    async def pause(self) -> bool:
        """Wait a while; False at once if the budget is used up."""
        left_s = self.deadline - self._loop.time()
        if left_s <= 0:
            return False
        await asyncio.sleep(min(self._pause_s, left_s))
        self._pause_s = min(2 * self._pause_s, self._longest_s)
        return True

    def _in_time(self, at: float) -> float:
        return at if self._callers is None else min(at, self._callers)
