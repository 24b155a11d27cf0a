"""Named places where a test may stop, fail or kill a process to force an interleaving.

Each step of a saga has three: before it is sent, after the commit before the reply is taken,
and after the reply before anybody acts on it. What lies inside a shard is reached through the
shard's onlooker; in earnest there is none.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Final, LiteralString, Protocol

from shard.commands import Command, Kind, Origin
from shard.connections import Connection
from shard.named_queries import QUERIES
from shard.onlooker import Moment
from shard.shard import Shard

ARMED_BY = "LEDGER_CONTROL_POINTS"


class ControlPoint(StrEnum):
    """The places, in the order an item passes them, by ``step.moment``.

    ``return`` is the new attempt at the source; the delivery and settlement of money on its way
    back are ``deliver`` and ``settle`` like any other. ``recall`` is the evidence of a repair's
    decision, ``decide`` the decision itself.
    """

    DEBIT_BEFORE = "debit.before"
    DEBIT_AFTER_COMMIT = "debit.after_commit"
    DEBIT_AFTER_REPLY = "debit.after_reply"
    DEPARTURE_BEFORE = "departure.before"
    DEPARTURE_AFTER_COMMIT = "departure.after_commit"
    DEPARTURE_AFTER_REPLY = "departure.after_reply"
    DELIVER_BEFORE = "deliver.before"
    DELIVER_AFTER_COMMIT = "deliver.after_commit"
    DELIVER_AFTER_REPLY = "deliver.after_reply"
    SETTLE_BEFORE = "settle.before"
    SETTLE_AFTER_COMMIT = "settle.after_commit"
    SETTLE_AFTER_REPLY = "settle.after_reply"
    RETURN_BEFORE = "return.before"
    RETURN_AFTER_COMMIT = "return.after_commit"
    RETURN_AFTER_REPLY = "return.after_reply"
    HAND_OVER_BEFORE = "hand_over.before"
    HAND_OVER_AFTER_COMMIT = "hand_over.after_commit"
    HAND_OVER_AFTER_REPLY = "hand_over.after_reply"
    RECALL_BEFORE = "recall.before"
    RECALL_AFTER_COMMIT = "recall.after_commit"
    RECALL_AFTER_REPLY = "recall.after_reply"
    DECIDE_BEFORE = "decide.before"
    DECIDE_AFTER_COMMIT = "decide.after_commit"
    DECIDE_AFTER_REPLY = "decide.after_reply"

    @property
    def step(self) -> str:
        """What is being done there."""
        return self.partition(".")[0]

    @property
    def moment(self) -> Moment:
        """How far it has come."""
        return Moment(self.partition(".")[2])


class ControlPoints(Protocol):
    """What the sagas call when they pass a control point."""

    async def reached(self, name: str) -> None:
        """Return to go on; raise to fail here; wait to be overtaken here."""


class ControlPointFailure(Exception):
    """An armed control point failed on purpose."""


class Unarmed:
    """Control points in earnest: nothing happens."""

    async def reached(self, name: str) -> None:
        """Go on."""


class Armed:
    """Control points that act each time: ``exit`` kills the process, ``raise`` fails there."""

    def __init__(self, actions: Mapping[str, str]) -> None:
        for name, action in actions.items():
            if name not in set(ControlPoint) or action not in {"exit", "raise"}:
                raise ValueError(f"No such control point or action: {name}={action}")
        self._actions = dict(actions)

    async def reached(self, name: str) -> None:
        """Do what this control point is armed for."""
        match self._actions.get(name):
            case "exit":
                os.kill(os.getpid(), signal.SIGKILL)
            case "raise":
                raise ControlPointFailure(name)


class InShards:
    """The onlooker of a shard for whom what it sees there are control points."""

    def __init__(self, points: ControlPoints) -> None:
        self._points = points

    async def saw_batch(
        self, moment: Moment, commands: Sequence[Command], connection: Connection
    ) -> None:
        """Reach the points of the steps that the batch is about."""
        for point in points_of_batch(moment, commands):
            await self._points.reached(point)

    async def saw_write(self, query: LiteralString, connection: Connection) -> None:
        """Reach the point of the step that the query is."""
        point = POINT_OF_QUERY.get(query)
        if point is not None:
            await self._points.reached(point)


POINT_OF_QUERY: Final[Mapping[str, ControlPoint]] = {
    QUERIES["deliver"]: ControlPoint.DELIVER_AFTER_COMMIT,
    QUERIES["settle"]: ControlPoint.SETTLE_AFTER_COMMIT,
    QUERIES["redirect"]: ControlPoint.RETURN_AFTER_COMMIT,
    QUERIES["hand_over"]: ControlPoint.HAND_OVER_AFTER_COMMIT,
    QUERIES["decide_repair"]: ControlPoint.DECIDE_AFTER_COMMIT,
}
"""The steps that are one query outside the lanes, once the server has committed."""


def points_of_batch(moment: Moment, commands: Sequence[Command]) -> Sequence[ControlPoint]:
    """The points that a batch passes in the lanes; the sagas pass the others themselves."""
    steps = dict.fromkeys(_step(command) for command in commands)
    points = (ControlPoint(f"{step}.{moment}") for step in steps if step is not None)
    return [point for point in points if moment is Moment.AFTER_COMMIT or point.step == "debit"]


def _step(command: Command) -> str | None:
    if command.origin is Origin.DELIVERY:
        return "recall" if command.kind is Kind.TOMBSTONE else "deliver"
    return "debit" if command.parked else None


def look_on(shards: Iterable[Shard], points: ControlPoints) -> None:
    """Have these shards pass the control points that lie in them; in earnest nobody looks on."""
    if not isinstance(points, Unarmed):
        for shard in shards:
            shard.watched_by(InShards(points))


def from_environment(environment: Mapping[str, str] = os.environ) -> ControlPoints:
    """Read ``LEDGER_CONTROL_POINTS="departure.before=exit,settle.before=raise"``."""
    text = environment.get(ARMED_BY, "")
    if not text:
        return Unarmed()
    pairs = (part.partition("=") for part in text.split(","))
    return Armed({name.strip(): action.strip() for name, _, action in pairs})
