"""``ledger check``: what must hold within each shard, and between them.

The shards check their own books. Here their answers are put together: what one shard owes
another must be what the other is owed, and every range must have exactly one owner. Clearing
pairs cancel only at rest, that is, while no item is open; under load the pairs are reported
as not at rest, which is no finding.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

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
        await self._check_items(report, reached, ranges)
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

    async def _check_items(
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

    async def _check_clearing(self, report: _Report, reached: Sequence[int]) -> None:
        open_items, clearing = await self._read_clearing(reached)
        for _ in range(CHECK_READINGS):
            open_before, before = open_items, clearing
            open_items, clearing = await self._read_clearing(reached)
            at_rest = {no for no in reached if not open_before[no] and not open_items[no]}
            moving = {pair for pair in clearing if clearing[pair] != before.get(pair)}
            if not moving and len(at_rest) == len(reached):
                break
        for low, high in sorted({(min(pair[:2]), max(pair[:2])) for pair in clearing}):
            name = f"clearing of shards {low} and {high}"
            sides = {pair for pair in clearing if {*pair[:2]} == {low, high}}
            if low not in reached or high not in reached:
                report.not_checked.append(f"{name}: a shard does not answer")
            elif not {low, high} <= at_rest or sides & moving:
                report.checked.append(f"{name}: not at rest")
            else:
                report.add(name, _clearing_faults(name, sides, clearing))

    async def _read_clearing(self, reached: Sequence[int]) -> tuple[dict[int, int], _Clearing]:
        """Open items of each shard, and ``(shard, peer, currency)`` -> balance of clearing."""
        shards = [self._shards[no] for no in reached]
        totals = await asyncio.gather(*(each.suspense.open_totals() for each in shards))
        counts = {
            no: sum(total.count for total in each) for no, each in zip(reached, totals, strict=True)
        }
        lines = await asyncio.gather(*(each.invariants.clearing() for each in shards))
        clearing = {
            (no, line.peer, line.currency): line.amount
            for no, each in zip(reached, lines, strict=True)
            for line in each
        }
        return counts, clearing


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
