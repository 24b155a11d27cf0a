"""Control points that force an interleaving: hold one up, fail once, or strike in a way of choice.

A gate and a failure are met in the sagas only; a strike also where the point lies in a shard.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import LiteralString

from temporalio.service import RPCError, RPCStatusCode

from sagas.control_points import (
    POINT_OF_QUERY,
    ControlPoint,
    ControlPointFailure,
    points_of_batch,
)
from shard.commands import Command
from shard.connections import Connection
from shard.errors import OutcomeUnknown
from shard.onlooker import Moment

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


class Action(StrEnum):
    """What may happen at a control point."""

    CRASH = "crash"
    """The process is killed there."""
    ERROR = "error"
    """The code fails there."""
    LOSE = "lose"
    """Request or reply is lost: a connection breaks there."""
    TWICE = "twice"
    """Somebody else takes the same step with the same input there."""


class Strike:
    """Lets something happen once at one point. A crash needs a process of its own.

    It is the control points of the sagas and the onlooker of shards in one. ``step_again`` takes
    the step once more, in the way of a second process.
    """

    def __init__(
        self, point: ControlPoint, action: Action, step_again: Callable[[], Awaitable[object]]
    ) -> None:
        self._point = point
        self._action = action
        self._step_again = step_again
        self._is_due = True
        self._struck: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def struck(self) -> None:
        """Wait until it has struck; raises what the step failed with that was taken again."""
        async with asyncio.timeout(_PATIENCE_S):
            await asyncio.shield(self._struck)

    async def reached(self, name: str) -> None:
        """Strike in the sagas."""
        if self._is_now(name):
            await self._strike(None)

    async def saw_batch(
        self, moment: Moment, commands: Sequence[Command], connection: Connection
    ) -> None:
        """Strike in a lane."""
        if any(self._is_now(point) for point in points_of_batch(moment, commands)):
            await self._strike(connection)

    async def saw_write(self, query: LiteralString, connection: Connection) -> None:
        """Strike at a write outside the lanes."""
        point = POINT_OF_QUERY.get(query)
        if point is not None and self._is_now(point):
            await self._strike(connection)

    def _is_now(self, name: str) -> bool:
        is_now = self._is_due and name == self._point
        self._is_due = self._is_due and not is_now
        return is_now

    async def _strike(self, connection: Connection | None) -> None:
        try:
            if self._action is Action.TWICE:
                await self._step_again()
        except BaseException as error:
            self._struck.set_exception(error)
            raise
        self._struck.set_result(None)
        if self._action is Action.ERROR:
            raise ControlPointFailure(self._point)
        if self._action is Action.LOSE:
            self._lose(connection)

    def _lose(self, connection: Connection | None) -> None:
        """What a broken network leaves to be seen here: to a shard's own code the connection
        itself, to the sagas the error they are told."""
        if connection is not None:
            cut(connection)
            if self._point.moment is Moment.AFTER_COMMIT:
                # The reply was read already. The driver says what it says of a lost one.
                connection.pgconn.consume_input()
        elif self._point.step == "departure":
            raise RPCError("the connection is lost", RPCStatusCode.UNAVAILABLE, b"")
        else:
            raise OutcomeUnknown


def cut(connection: Connection) -> None:
    """Break a connection in both directions, as a network does: nobody is told."""
    with socket.socket(fileno=os.dup(connection.fileno())) as wire:
        wire.shutdown(socket.SHUT_RDWR)
