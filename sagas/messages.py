"""What goes into and comes out of workflows and activities: small plain data, never items.

Shards are named by number, convoys by their UUID as a string. Account numbers, names and
amounts stay in the shards: Temporal's history is no place for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Step(StrEnum):
    """The names of the activities; a workflow knows an activity by its name only."""

    SURVEY_CONVOY = "survey_convoy"
    CARRY_CONVOY = "carry_convoy"
    HAND_OVER_CONVOY = "hand_over_convoy"
    CARRY_ROUTE = "carry_route"
    LIST_SHARDS = "list_shards"
    SWEEP_SHARD = "sweep_shard"
    LOOK_AT_ITEM = "look_at_item"
    DECIDE_ITEM = "decide_item"
    CARRY_ITEM = "carry_item"


@dataclass(frozen=True, slots=True)
class ConvoyOrder:
    """Carry what is parked on ``source`` under this convoy."""

    source: int
    convoy: str


@dataclass(frozen=True, slots=True)
class Survey:
    """The shards that a convoy's parked items go to now, ascending."""

    destinations: list[int]


@dataclass(frozen=True, slots=True)
class CarryOrder:
    """Carry one convoy's items to one destination."""

    source: int
    convoy: str
    destination: int


@dataclass(frozen=True, slots=True)
class CarryReport:
    """What one carriage achieved, in items.

    ``redirected`` items were refused and are on their way back to their debtor. ``waiting``
    items could not be decided yet. ``failure`` tells why, without account numbers.
    """

    delivered: int = 0
    redirected: int = 0
    waiting: int = 0
    needs_repair: int = 0
    is_unreachable: bool = False
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class HandOverOrder:
    """Hand a convoy's items to their routes: those for ``destination``, or all that are left."""

    source: int
    convoy: str
    destination: int | None


@dataclass(frozen=True, slots=True)
class ConvoyResult:
    """What became of a convoy, in items.

    ``is_clean`` tells that every item was delivered in the first round. A convoy whose source
    does not answer leaves its items to the sweeper and says so in ``failure``.
    """

    delivered: int
    redirected: int
    needs_repair: int
    handed_over: int
    is_clean: bool
    failure: str | None


@dataclass(frozen=True, slots=True)
class RouteOrder:
    """Carry what waits on ``source`` for ``destination``."""

    source: int
    destination: int


@dataclass(frozen=True, slots=True)
class RouteReport:
    """What one run of a route achieved, in items; ``has_more`` asks for another run."""

    delivered: int
    redirected: int
    rerouted: int
    needs_repair: int
    has_more: bool


@dataclass(frozen=True, slots=True)
class RouteResult:
    """What a route carried since its workflow began, in items."""

    delivered: int = 0
    redirected: int = 0
    rerouted: int = 0
    needs_repair: int = 0


@dataclass(frozen=True, slots=True)
class RouteLeg:
    """A route's order and what it carried so far, for when its history is begun anew."""

    source: int
    destination: int
    so_far: RouteResult


@dataclass(frozen=True, slots=True)
class ShardSweep:
    """What the sweeper found on one shard, holds it ended, or why it could not look."""

    shard: int
    stragglers: int
    convoys: int
    routes: list[int]
    failure: str | None
    expired: int = 0


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What one sweep found, shard by shard."""

    shards: list[ShardSweep]
