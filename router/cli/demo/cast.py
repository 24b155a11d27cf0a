"""Who takes part in the demonstration: accounts, salaries, and what each account begins with.

Everything is chosen by the seed. Money comes from one equity account on each shard, with the
first number of that shard's first range, so that every opening balance is booked locally.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import cycle, islice
from random import Random

from router.cli.demo.size import DemoSize
from router.range_map import MappedRange, RangeMap
from shard.outcomes import Outcome

CURRENCY = "EUR"
EMPLOYER_NAME = "Hydra Ceramics Ltd"
_EMPLOYER_REMAINDER = Decimal("10000.00")


@dataclass(frozen=True, slots=True)
class PlannedSalary:
    """One line of the payroll file; ``refusal`` is why it cannot be paid, if it cannot."""

    payee: int
    name: str
    amount: Decimal
    refusal: Outcome | None


@dataclass(frozen=True, slots=True)
class Cast:
    """The accounts of the demonstration, in ``CURRENCY``.

    ``funded`` are the customers' open accounts; ``opening_balances`` are theirs and the
    employer's.
    """

    equity: Mapping[int, int]
    employer: int
    funded: Sequence[int]
    closed: Sequence[int]
    salaries: Sequence[PlannedSalary]
    opening_balances: Mapping[int, Decimal]
    ranges: RangeMap

    def shard_of(self, account_no: int) -> int:
        """Where an account lives; nothing moves during the demonstration."""
        owner = self.ranges.owner_of(account_no)
        if owner is None:
            raise LookupError(f"{account_no} lies in no range.")
        return owner.shard

    @property
    def total(self) -> Decimal:
        """All money there is."""
        return sum(self.opening_balances.values(), Decimal(0))


def equity_accounts(ranges: RangeMap) -> dict[int, int]:
    """The number of the bank's own account on each shard: the lowest one there."""
    lowest: dict[int, int] = {}
    for each in ranges.ranges:
        lowest[each.shard] = min(each.lo, lowest.get(each.shard, each.lo))
    return lowest


def choose_cast(size: DemoSize, ranges: RangeMap, employer: int, accounts: Sequence[int]) -> Cast:
    """Give everybody a part. ``accounts`` are the customers', the first of each coming first."""
    rng = Random(size.seed)  # noqa: S311 a repeatable choice, nothing to guess
    by_shard = _by_shard(accounts[: size.customers], ranges)
    closed = _in_turn(by_shard, size.closed_employees)
    open_accounts = [no for no in accounts if no not in set(closed)]
    paid = [no for no in accounts[: size.customers] if no not in set(closed)][: size.paid_employees]
    unknown = _unopened(ranges, size.unknown_employees)
    salaries = [
        *(_salary(no, rng, None) for no in paid),
        *(_salary(no, rng, Outcome.ACCOUNT_CLOSED) for no in closed),
        *(_salary(no, rng, Outcome.ACCOUNT_UNKNOWN) for no in unknown),
    ]
    rng.shuffle(salaries)
    balances = {no: _cents(rng.randint(50_000, 250_000)) for no in open_accounts}
    balances[employer] = sum((each.amount for each in salaries), _EMPLOYER_REMAINDER)
    return Cast(
        equity=equity_accounts(ranges),
        employer=employer,
        funded=open_accounts,
        closed=closed,
        salaries=salaries,
        opening_balances=balances,
        ranges=ranges,
    )


def _by_shard(accounts: Sequence[int], ranges: RangeMap) -> list[list[int]]:
    groups: dict[int, list[int]] = {}
    for account_no in accounts:
        owner = ranges.owner_of(account_no)
        if owner is not None:
            groups.setdefault(owner.shard, []).append(account_no)
    return [groups[shard] for shard in sorted(groups)]


def _in_turn(groups: Sequence[Sequence[int]], count: int) -> list[int]:
    """Accounts of all shards alike, the last ones of each."""
    iterators = [reversed(group) for group in groups]
    turns = (next(iterator, None) for iterator in cycle(iterators))
    # A shard with few customers may run out; the others give the rest.
    found = [no for no in islice(turns, len(groups) * count) if no is not None]
    return found[:count]


def _unopened(ranges: RangeMap, count: int) -> list[int]:
    """Numbers that no account has: the last ones of ranges on all shards in turn."""
    by_shard: dict[int, MappedRange] = {each.shard: each for each in ranges.ranges}
    ends = cycle([by_shard[shard].hi for shard in sorted(by_shard)])
    return [next(ends) - 1 - n for n in range(count)]


def _salary(payee: int, rng: Random, refusal: Outcome | None) -> PlannedSalary:
    return PlannedSalary(payee, f"Employee {payee}", _cents(rng.randint(150_000, 600_000)), refusal)


def _cents(count: int) -> Decimal:
    return Decimal(count).scaleb(-2)
