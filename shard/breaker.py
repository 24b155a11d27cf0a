"""A breaker: what is known not to answer is not asked by everybody."""

from __future__ import annotations

from collections.abc import Callable

from shard.limits import BREAKER_PAUSE_MAX_S, BREAKER_PAUSE_S, BREAKER_TRIAL_LIMIT_S


class Breaker:
    """Whether one shard is known not to answer; shared by its lanes and its readers.

    While it is open, one request at a time is let through and finds out whether the shard is
    back; all others are refused at once. There is no task and no timer: an idle process asks
    nobody. ``clock`` counts seconds.
    """

    __slots__ = ("_clock", "_next_trial_at", "_pause_s", "openings")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._pause_s = BREAKER_PAUSE_S
        self._next_trial_at: float | None = None
        self.openings = 0

    @property
    def is_open(self) -> bool:
        """Whether the shard is known not to answer."""
        return self._next_trial_at is not None

    def admits(self) -> bool:
        """Whether a request may try; of an open breaker this is the one that finds out."""
        if self._next_trial_at is None:
            return True
        now = self._clock()
        if now < self._next_trial_at:
            return False
        # Should this one get lost, somebody else will try after a while.
        self._next_trial_at = now + BREAKER_TRIAL_LIMIT_S
        return True

    def answered(self) -> None:
        """The shard answered, whatever it said."""
        if self._next_trial_at is not None:
            self._next_trial_at = None
            self._pause_s = BREAKER_PAUSE_S

    def failed(self) -> None:
        """The shard could not be reached, or did not answer in time."""
        if self._next_trial_at is None:
            self.openings += 1
        self._next_trial_at = self._clock() + self._pause_s
        self._pause_s = min(2 * self._pause_s, BREAKER_PAUSE_MAX_S)
