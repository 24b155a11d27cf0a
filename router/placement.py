"""Placement: which range a new customer begins on, by consistent hashing of the customer number.

A range that is added takes its share of *new* customers evenly from all others; nobody who has
a home moves, because the directory remembers homes. BLAKE2 is used for its spread only.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from uhashring import HashRing

from router.limits import PLACEMENT_POINTS_PER_RANGE


class Placement:
    """A hash ring over range ids."""

    def __init__(self, range_ids: Iterable[int]) -> None:
        names = [str(range_id) for range_id in sorted(range_ids)]
        self._ring = HashRing(names, hash_fn=_point, vnodes=PLACEMENT_POINTS_PER_RANGE)

    def range_for(self, customer: str) -> int:
        """The range id where ``customer`` begins; raises ``LookupError`` without any range."""
        name = self._ring.get_node(customer)
        if name is None:
            message = "no range takes new customers"
            raise LookupError(message)
        return int(name)


def _point(key: str) -> int:
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big")
