"""How many convoys may be under way at once: a pure decision.

Invariant: ``in_flight`` never exceeds the bound that was in force at the last departure, and
the bound stays between its lowest and its highest value.
"""

from __future__ import annotations

from sagas.limits import (
    CONVOYS_IN_FLIGHT_FIRST,
    CONVOYS_IN_FLIGHT_HIGHEST,
    CONVOYS_IN_FLIGHT_LOWEST,
    DEPARTURE_INTERVAL_S,
)

_NEAR_IDLE = 1.25
"""Up to this multiple of the idle time more convoys may travel."""

_OVERLOADED = 2.0
"""From this multiple of the idle time on convoys wait for each other: fewer must travel."""

_DRIFT = 1.005
"""The idle time is forgotten slowly, so that a machine that became slower is learnt."""


class Headway:
    """Keeps the convoys of one source apart in time, unless they are full.

    Temporal's part of the work is the same for every convoy, so while one travels the next one had
    better fill a little. A lone transfer finds nothing under way and leaves at once.
    """

    def __init__(self) -> None:
        self._in_flight = 0
        self._departed_at = 0.0

    def wait_s(self, now: float) -> float:
        """How long the next one had better wait; ``now`` is in seconds."""
        if not self._in_flight:
            return 0.0
        return max(0.0, self._departed_at + DEPARTURE_INTERVAL_S - now)

    def departed(self, now: float) -> None:
        """One left; ``now`` is in seconds."""
        self._in_flight += 1
        self._departed_at = now

    def ended(self) -> None:
        """One arrived, or is not waited for any more."""
        self._in_flight -= 1


class Departures:
    """Adapts the bound to the time convoys take.

    As in TCP Vegas the yardstick is the shortest time seen, here for convoys of about the same
    size: a large convoy takes longer than a small one on an idle system too. The bound grows
    only while it is what holds convoys back, and changes once per generation of convoys, so
    that its effect is seen before it changes again.
    """

    def __init__(
        self,
        first: int = CONVOYS_IN_FLIGHT_FIRST,
        lowest: int = CONVOYS_IN_FLIGHT_LOWEST,
        highest: int = CONVOYS_IN_FLIGHT_HIGHEST,
    ) -> None:
        self.bound = first
        self.in_flight = 0
        self._lowest = lowest
        self._highest = highest
        self._idle_s: dict[int, float] = {}
        self._until_change = first

    def may_depart(self) -> bool:
        """Tell whether another convoy may leave now."""
        return self.in_flight < self.bound

    def departed(self) -> None:
        """A convoy left."""
        self.in_flight += 1

    def ended(self, items: int, seconds: float | None) -> None:
        """A convoy ended after ``seconds``; None where its time says nothing about load."""
        was_full = self.in_flight >= self.bound
        self.in_flight -= 1
        if seconds is None:
            return
        slowness = seconds / self._idle_time(items, seconds)
        self._until_change -= 1
        if self._until_change > 0:
            return
        if slowness >= _OVERLOADED:
            self._change_to(max(self._lowest, self.bound - 1))
        elif slowness <= _NEAR_IDLE and was_full:
            self._change_to(min(self._highest, self.bound + 1))

    def _idle_time(self, items: int, seconds: float) -> float:
        size_class = items.bit_length()
        known = self._idle_s.get(size_class)
        idle = seconds if known is None else min(known * _DRIFT, seconds)
        self._idle_s[size_class] = idle
        return idle

    def _change_to(self, bound: int) -> None:
        self.bound = bound
        self._until_change = bound
