"""Placement of customers by consistent hashing: even, stable, and moved as little as possible."""

from __future__ import annotations

from collections import Counter

import pytest

from router.placement import Placement

RANGES = tuple(range(1001, 1013))
CUSTOMERS = tuple(f"C-{n:06d}" for n in range(24_000))


def test_customers_are_spread_evenly() -> None:
    """Each of twelve ranges gets its share within 15 %."""
    counts = Counter(map(Placement(RANGES).range_for, CUSTOMERS))
    mean = len(CUSTOMERS) / len(RANGES)
    assert {range_id for range_id in RANGES if not 0.85 < counts[range_id] / mean < 1.15} == set()


def test_placement_is_the_same_in_every_process() -> None:
    """It depends on the customer number and the ranges only; these are its fixed points."""
    placement = Placement(reversed(RANGES))
    placed = {name: placement.range_for(name) for name in ("C-000001", "C-000002", "Müller")}
    assert placed == {"C-000001": 1002, "C-000002": 1008, "Müller": 1002}


def test_an_added_range_takes_only_its_own_share() -> None:
    """Customers either stay where they would be, or go to the new range."""
    before, after = Placement(RANGES), Placement([*RANGES, 1013])
    moved = [name for name in CUSTOMERS if before.range_for(name) != after.range_for(name)]
    assert {after.range_for(name) for name in moved} == {1013}
    assert 0.5 < len(moved) / (len(CUSTOMERS) / 13) < 1.5


def test_without_any_range_nobody_is_placed() -> None:
    """A bank without ranges says so."""
    with pytest.raises(LookupError):
        Placement([]).range_for("C-000001")
