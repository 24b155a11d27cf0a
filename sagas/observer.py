"""What the sagas tell whoever measures them."""

from __future__ import annotations

from typing import Protocol


class Observer(Protocol):
    """Told in passing; it must neither fail nor wait."""

    def convoy_departed(self, items: int) -> None:
        """A convoy left with that many items."""

    def convoy_ended(self, seconds: float) -> None:
        """A convoy is known to have ended, that long after it left."""

    def convoy_left_to_sweeper(self) -> None:
        """A convoy found no room to wait, or its end is not known."""

    def window(self, seconds: float) -> None:
        """An item was credited that long after its debit was committed (both by shard clocks)."""


class Unobserved:
    """Nobody measures."""

    def convoy_departed(self, items: int) -> None:
        """Not recorded."""

    def convoy_ended(self, seconds: float) -> None:
        """Not recorded."""

    def convoy_left_to_sweeper(self) -> None:
        """Not recorded."""

    def window(self, seconds: float) -> None:
        """Not recorded."""
