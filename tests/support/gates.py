"""Control points that force an interleaving: hold one up, or fail once."""

from __future__ import annotations

import asyncio

from sagas.control_points import ControlPoint, ControlPointFailure

_PATIENCE_S = 30.0


class Gate:
    """A control point that holds up the first ones who reach it until it is opened."""

    def __init__(self, point: ControlPoint, holds: int = 1) -> None:
        self._point = point
        self._free = holds
        self._arrived = asyncio.Event()
        self._opened = asyncio.Event()

    async def reached(self, name: str) -> None:
        """Hold up the first ones; let everybody else pass."""
        if name == self._point and self._free:
            self._free -= 1
            if not self._free:
                self._arrived.set()
            await self._opened.wait()

    async def arrived(self) -> None:
        """Wait until as many are held up as it holds."""
        async with asyncio.timeout(_PATIENCE_S):
            await self._arrived.wait()

    def open(self) -> None:
        """Let go all of them."""
        self._opened.set()


class FailingOnce:
    """A control point that fails the first time."""

    def __init__(self, point: ControlPoint) -> None:
        self._point = point
        self.has_failed = False

    async def reached(self, name: str) -> None:
        """Fail once."""
        if name == self._point and not self.has_failed:
            self.has_failed = True
            raise ControlPointFailure(name)
