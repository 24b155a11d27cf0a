"""The range map: which shard owns an account number, by bisection in a sorted array.

A map is a value: it never changes, ``with_owner`` makes the next one. It is a cache of what
the shards say; an epoch counts a range's owners, so the higher epoch is the newer truth.
System accounts are on no map: their number names their shard.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import NamedTuple

from shard.account_numbers import FIRST_CUSTOMER_ACCOUNT

_NUMBERS_PER_SYSTEM_RANGE = 1_000_000
_SYSTEM_EPOCH = 1


class Owner(NamedTuple):
    """Who owns an account: the shard, the range it lies in, and how new this knowledge is."""

    shard: int
    range_id: int
    epoch: int


@dataclass(frozen=True, slots=True, order=True)
class MappedRange:
    """Account numbers ``lo <= account_no < hi`` and their owner."""

    lo: int
    hi: int
    range_id: int
    shard: int
    epoch: int

    def __post_init__(self) -> None:
        if not FIRST_CUSTOMER_ACCOUNT <= self.lo < self.hi:
            message = f"range {self.range_id} is not a range of customers' numbers"
            raise ValueError(message)


@dataclass(frozen=True, slots=True)
class RangeMap:
    """Sorted ranges that do not overlap; there may be gaps, which nobody owns."""

    ranges: tuple[MappedRange, ...] = ()
    _starts: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for before, after in pairwise(self.ranges):
            if before.hi > after.lo:
                message = f"ranges {before.range_id} and {after.range_id} overlap or are unsorted"
                raise ValueError(message)
        object.__setattr__(self, "_starts", tuple(each.lo for each in self.ranges))

    @classmethod
    def of(cls, ranges: Iterable[MappedRange]) -> RangeMap:
        """A map of ranges in any order; of two with the same id the newer epoch counts."""
        newest: dict[int, MappedRange] = {}
        for each in ranges:
            known = newest.get(each.range_id)
            if known is None or each.epoch > known.epoch:
                newest[each.range_id] = each
        return cls(tuple(sorted(newest.values())))

    def owner_of(self, account_no: int) -> Owner | None:
        """The owner of an account number, or None where no range holds it."""
        if account_no < FIRST_CUSTOMER_ACCOUNT:
            shard = account_no // _NUMBERS_PER_SYSTEM_RANGE
            return Owner(shard, shard, _SYSTEM_EPOCH) if shard else None
        found = self._range_of(account_no)
        return Owner(found.shard, found.range_id, found.epoch) if found else None

    def with_owner(self, account_no: int, shard: int, epoch: int) -> RangeMap:
        """The map after a shard told who owns an account's range now.

        The same map is returned when the epoch is not newer, or no range holds the account.
        """
        found = self._range_of(account_no)
        if found is None or epoch <= found.epoch:
            return self
        learnt = replace(found, shard=shard, epoch=epoch)
        return RangeMap(tuple(learnt if each is found else each for each in self.ranges))

    def merged_with(self, newer: RangeMap) -> RangeMap:
        """The other map, except for ranges of which this one knows a newer epoch."""
        known = {each.range_id: each for each in self.ranges}
        return RangeMap(
            tuple(_newer_owner(each, known.get(each.range_id)) for each in newer.ranges)
        )

    def _range_of(self, account_no: int) -> MappedRange | None:
        index = bisect_right(self._starts, account_no) - 1
        if index < 0:
            return None
        found = self.ranges[index]
        return found if account_no < found.hi else None


def _newer_owner(read: MappedRange, known: MappedRange | None) -> MappedRange:
    if known is None or known.epoch <= read.epoch:
        return read
    return replace(read, shard=known.shard, epoch=known.epoch)
