"""``ledger check``: what must hold within each shard, and between them.

The shards check their own books. Here their answers are put together: what one shard owes
another must be what the other is owed, what left one must have arrived at the other, and every
range must have exactly one owner. A clearing pair cancels only while nothing is parked between
its shards; a pair that was never seen so is told as not checked, which is no finding.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

from router.check_items import compare_items
from router.directory import Directory
from router.errors import DirectoryUnavailable
from router.limits import CHECK_ITEMS, CHECK_READINGS
from router.range_map import RangeMap
from shard.account_numbers import is_system_account
from shard.errors import LedgerError
from shard.invariants import Finding
from shard.ownership import OwnedRange, RangeState
from shard.shard import Shard
from shard.suspense import Carrier, SuspenseItem

BETWEEN_SHARDS = 0
"""The shard number of findings that belong to no single shard."""

_SERVING = {RangeState.OWNED, RangeState.FENCED}
_Pair = tuple[int, int, str]
_Clearing = dict[_Pair, Decimal]
_FIRST_EPOCH = 1


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What was found wrong, what was checked, and what could not be checked."""

    findings: tuple[Finding, ...]
    checked: tuple[str, ...]
    not_checked: tuple[str, ...]

    @property
    def is_clean(self) -> bool:
        """Tell whether everything was looked at and nothing was wrong."""
        return not self.findings and not self.not_checked


class _Report:
    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.checked: list[str] = []
        self.not_checked: list[str] = []

    def add(self, name: str, findings: Iterable[Finding]) -> None:
        self.checked.append(name)
        self.findings += findings

    def result(self) -> CheckResult:
        return CheckResult(tuple(self.findings), tuple(self.checked), tuple(self.not_checked))


class Check:
    """The invariants of the whole bank."""

    def __init__(self, directory: Directory, shards: Mapping[int, Shard]) -> None:
        self._directory = directory
        self._shards = shards

    async def run(self) -> CheckResult:
        """Check all that can be reached; a shard that does not answer is told, not raised."""
        report = _Report()
        reached = await self._check_shards(report)
        ranges = await self._check_ownership(report, reached)
        await self._check_open_items(report, reached, ranges)
        await self._check_deliveries(report, reached)
        await self._check_clearing(report, reached)
        return report.result()

    async def _check_shards(self, report: _Report) -> list[int]:
        numbers = sorted(self._shards)
        answers = await asyncio.gather(
            *(self._shards[no].invariants.check() for no in numbers), return_exceptions=True
        )
        reached = []
        for number, answer in zip(numbers, answers, strict=True):
            if isinstance(answer, LedgerError):
                report.not_checked.append(f"books of shard {number}: {answer.code}")
            elif isinstance(answer, BaseException):
                raise answer
            else:
                report.add(f"books of shard {number}", answer)
                reached.append(number)
        return reached

    async def _check_ownership(self, report: _Report, reached: Sequence[int]) -> RangeMap | None:
        owned = await asyncio.gather(*(self._shards[no].ownership.ranges() for no in reached))
        by_shard = dict(zip(reached, owned, strict=True))
        report.add("one owner per range", _owner_conflicts(by_shard))
        try:
            known = await self._directory.range_map()
        except DirectoryUnavailable as error:
            report.not_checked.append(f"ranges against the directory: {error.code}")
            return None
        report.add("ranges against the directory", _directory_conflicts(known, by_shard))
        return known

    async def _check_open_items(
        self, report: _Report, reached: Sequence[int], ranges: RangeMap | None
    ) -> None:
        for number in reached:
            suspense = self._shards[number].suspense
            lists = [await suspense.of_carrier(carrier, CHECK_ITEMS) for carrier in Carrier]
            items = [item for each in lists for item in each]
            report.add(
                f"open items of shard {number} ({len(items)})",
                (finding for item in items for finding in _item_faults(number, item, ranges)),
            )

    async def _check_deliveries(self, report: _Report, reached: Sequence[int]) -> None:
        name = "items against deliveries"
        missing = sorted(self._shards.keys() - set(reached))
        if missing:
            report.not_checked.append(f"{name}: shard {missing[0]} does not answer")
            return
        try:
            compared = await compare_items([self._shards[no].invariants for no in reached])
        except LedgerError as error:
            report.not_checked.append(f"{name}: {error.code}")
            return
        report.add(
            f"{name} ({compared.items})",
            (Finding(BETWEEN_SHARDS, "items and deliveries agree", each)
             for each in compared.faults),
        )  # fmt: skip
        report.not_checked += [f"{name}: {each}" for each in compared.undecided]

    async def _check_clearing(self, report: _Report, reached: Sequence[int]) -> None:
        unsettled, clearing = await self._read_clearing(reached)
        for _ in range(CHECK_READINGS):
            unsettled_before, before = unsettled, clearing
            unsettled, clearing = await self._read_clearing(reached)
            unsettled_now = unsettled | unsettled_before
            moving = {pair for pair in clearing if clearing[pair] != before.get(pair)}
            if not moving and not unsettled_now:
                break
        for low, high in sorted({(min(pair[:2]), max(pair[:2])) for pair in clearing}):
            name = f"clearing of shards {low} and {high}"
            sides = {pair for pair in clearing if {*pair[:2]} == {low, high}}
            if low not in reached or high not in reached:
                report.not_checked.append(f"{name}: a shard does not answer")
            elif (low, high) in unsettled_now or sides & moving:
                report.not_checked.append(f"{name}: money is in transit between them")
            else:
                report.add(name, _clearing_faults(name, sides, clearing))

    async def _read_clearing(
        self, reached: Sequence[int]
    ) -> tuple[set[tuple[int, int]], _Clearing]:
        """Pairs with parked items, and ``(shard, peer, currency)`` -> balance of clearing."""
        shards = [self._shards[no] for no in reached]
        owned = await asyncio.gather(*(each.ownership.ranges() for each in shards))
        homes = _lifelong_owners(dict(zip(reached, owned, strict=True)))
        parked = await asyncio.gather(*(each.invariants.parked_towards(homes) for each in shards))
        unsettled = {
            (min(no, other), max(no, other))
            for no, peers in zip(reached, parked, strict=True)
            for other in (self._shards if None in peers else peers)
            if other is not None
        }
        lines = await asyncio.gather(*(each.invariants.clearing() for each in shards))
        clearing = {
            (no, line.peer, line.currency): line.amount
            for no, each in zip(reached, lines, strict=True)
            for line in each
        }
        return unsettled, clearing


def _lifelong_owners(by_shard: Mapping[int, Sequence[OwnedRange]]) -> list[tuple[int, int, int]]:
    """``(lo, hi, shard)`` of the ranges that never moved: nothing for them arrived elsewhere."""
    return [
        (each.lo, each.hi, number)
        for number, ranges in by_shard.items()
        for each in ranges
        if each.state is RangeState.OWNED and each.epoch == _FIRST_EPOCH
    ]


def _clearing_faults(name: str, sides: set[_Pair], clearing: _Clearing) -> list[Finding]:
    totals: dict[str, Decimal] = defaultdict(Decimal)
    for side in sides:
        totals[side[2]] += clearing[side]
    return [
        Finding(BETWEEN_SHARDS, "clearing pairs cancel", f"{name} is off by {total} {currency}")
        for currency, total in sorted(totals.items())
        if total
    ]


def _owner_conflicts(by_shard: Mapping[int, Sequence[OwnedRange]]) -> list[Finding]:
    """Ranges that two shards serve; of two overlapping ranges one of them is wrong."""
    serving = sorted(
        (each.lo, each.hi, each.range_id, number)
        for number, ranges in by_shard.items()
        for each in ranges
        if each.state in _SERVING
    )
    findings = []
    for before, after in pairwise(serving):
        if before[1] > after[0]:
            detail = (
                f"account {after[0]} belongs to range {before[2]} of shard {before[3]} "
                f"and to range {after[2]} of shard {after[3]}"
            )
            findings.append(Finding(BETWEEN_SHARDS, "one owner per range", detail))
    return findings


def _directory_conflicts(
    known: RangeMap, by_shard: Mapping[int, Sequence[OwnedRange]]
) -> list[Finding]:
    owners: dict[int, list[tuple[int, int]]] = defaultdict(list)
    in_between = set()
    for number, ranges in by_shard.items():
        for each in ranges:
            if each.state in _SERVING:
                owners[each.range_id].append((number, each.epoch))
            elif each.state is RangeState.INCOMING:
                in_between.add(each.range_id)
    findings = []
    for mapped in known.ranges:
        told = owners.get(mapped.range_id, [])
        if (mapped.shard, mapped.epoch) in told or mapped.range_id in in_between:
            continue
        if told or mapped.shard in by_shard:
            whom = ", ".join(f"shard {no} (epoch {epoch})" for no, epoch in told) or "nobody"
            detail = (
                f"range {mapped.range_id}: the directory says shard {mapped.shard} "
                f"(epoch {mapped.epoch}), it is served by {whom}"
            )
            findings.append(Finding(BETWEEN_SHARDS, "directory agrees with shards", detail))
    return findings


def _item_faults(shard: int, item: SuspenseItem, ranges: RangeMap | None) -> Iterable[Finding]:
    faults = []
    if item.amount <= 0:
        faults.append(f"carries {item.amount}")
    if is_system_account(item.debtor):
        faults.append(f"has the system account {item.debtor} as its debtor")
    if is_system_account(item.target):
        faults.append(f"is to pay the system account {item.target}")
    elif ranges is not None and ranges.owner_of(item.target) is None:
        faults.append(f"is to pay {item.target}, which lies in no range")
    for fault in faults:
        yield Finding(shard, "items are plausible", f"item {item.item_id} {fault}")
