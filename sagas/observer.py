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

    def window(self, seconds: float, items: int = 1) -> None:
        """Items were credited that long after their debit was committed (both by shard clocks)."""

    def deliveries_unanswered(self, items: int) -> None:
        """Deliveries of that many items were sent, and their answer stayed away."""

    def deliveries_found(self, found: int, not_found: int) -> None:
        """Deliveries that were sent again; the attempt before had been decided there, or not."""

    def swept(self, shard: int, stragglers: int, *, is_complete: bool) -> None:
        """A sweep of a shard ended, having sent off that many stragglers."""

    def repair_opened(self) -> None:
        """An item needs a person from now on."""

    def repair_decided(self, choice: str) -> None:
        """A person's decision was carried out; ``choice`` is a ``RepairChoice``."""


class Unobserved:
    """Nobody measures."""

    def convoy_departed(self, items: int) -> None:
        """Not recorded."""

    def convoy_ended(self, seconds: float) -> None:
        """Not recorded."""

    def convoy_left_to_sweeper(self) -> None:
        """Not recorded."""

    def window(self, seconds: float, items: int = 1) -> None:
        """Not recorded."""

    def deliveries_unanswered(self, items: int) -> None:
        """Not recorded."""

    def deliveries_found(self, found: int, not_found: int) -> None:
        """Not recorded."""

    def swept(self, shard: int, stragglers: int, *, is_complete: bool) -> None:
        """Not recorded."""

    def repair_opened(self) -> None:
        """Not recorded."""

    def repair_decided(self, choice: str) -> None:
        """Not recorded."""
