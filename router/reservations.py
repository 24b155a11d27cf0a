"""Account numbers given for ever: the same customer and reference always get the same number.

All accounts of one customer lie on the customer's home range, so that they share a shard. The
home is decided once: by the first number asked for by name, else by consistent hashing. Only
the bank's own accounts (``may_leave_home``) may be put on any range by naming their number.

Everything happens in one transaction, in the same order for all: homes by customer, counters
by range, references by name. So two bulk reservations never wait for each other in a ring.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from router.errors import (
    AccountNoTaken,
    AccountOffHome,
    AccountOutsideRanges,
    RangeFull,
    ReferenceReused,
)
from router.placement import Placement
from router.queries import QUERIES
from router.range_map import RangeMap
from shard.account_numbers import is_system_account
from shard.connections import Connection

_Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Wish:
    """An account number is wanted: any on the customer's home range, or a certain one."""

    customer: str
    reference: str
    request_hash: bytes
    account_no: int | None = None
    may_leave_home: bool = False

    @property
    def key(self) -> _Key:
        """The name of the reservation."""
        return self.customer, self.reference

    @property
    def needs_home(self) -> bool:
        """Tell whether the customer's home range has a say in the number."""
        return self.account_no is None or not self.may_leave_home


@dataclass(frozen=True, slots=True)
class Reservation:
    """The number of a customer's account; ``is_new`` if this request was the first to get it."""

    account_no: int
    is_new: bool


async def reserve(
    connection: Connection, wishes: Sequence[Wish], ranges: RangeMap, placement: Placement
) -> list[Reservation]:
    """Give every wish its number, in the caller's transaction.

    Raises ``ReferenceReused``, ``AccountNoTaken``, ``AccountOutsideRanges``,
    ``AccountOffHome`` or ``RangeFull``; the transaction is then to be rolled back.
    """
    homes = await _settle_homes(connection, wishes, ranges, placement)
    named = {_range_of(wish, ranges) for wish in wishes if wish.account_no is not None}
    locked = sorted(named | set(homes.values()))
    await connection.execute(QUERIES["lock_counters"], {"range_ids": locked})
    known = await _known_references(connection, wishes)
    fresh = _fresh(wishes, known)
    await _check_named_numbers(connection, fresh.values(), ranges, homes)
    numbers = await _number(connection, fresh.values(), homes)
    await _remember(connection, fresh, numbers)
    seen: set[_Key] = set()
    reservations = []
    for wish in wishes:
        is_new = wish.key in fresh and wish.key not in seen
        seen.add(wish.key)
        account_no = numbers[wish.key] if wish.key in fresh else known[wish.key][0]
        reservations.append(Reservation(account_no, is_new))
    return reservations


async def _settle_homes(
    connection: Connection, wishes: Sequence[Wish], ranges: RangeMap, placement: Placement
) -> Mapping[str, int]:
    proposed: dict[str, int] = {}
    for wish in wishes:
        if wish.needs_home and wish.customer not in proposed:
            named = wish.account_no is not None
            proposed[wish.customer] = (
                _range_of(wish, ranges) if named else placement.range_for(wish.customer)
            )
    customers = list(proposed)
    await connection.execute(
        QUERIES["remember_homes"],
        {"customers": customers, "range_ids": list(proposed.values())},
    )
    rows = await connection.execute(QUERIES["homes_of"], {"customers": customers})
    return dict(await rows.fetchall())


def _range_of(wish: Wish, ranges: RangeMap) -> int:
    if wish.account_no is None or is_system_account(wish.account_no):
        raise AccountOutsideRanges
    owner = ranges.owner_of(wish.account_no)
    if owner is None:
        raise AccountOutsideRanges
    return owner.range_id


async def _known_references(
    connection: Connection, wishes: Sequence[Wish]
) -> Mapping[_Key, tuple[int, bytes]]:
    rows = await connection.execute(
        QUERIES["known_references"],
        {
            "customers": [wish.customer for wish in wishes],
            "references": [wish.reference for wish in wishes],
        },
    )
    return {
        (customer, reference): (account_no, bytes(request_hash))
        for customer, reference, account_no, request_hash in await rows.fetchall()
    }


def _fresh(wishes: Iterable[Wish], known: Mapping[_Key, tuple[int, bytes]]) -> dict[_Key, Wish]:
    """The wishes that get a number now, each once; refuses a reference with another content."""
    fresh: dict[_Key, Wish] = {}
    for wish in wishes:
        if wish.key in known:
            first_hash = known[wish.key][1]
        else:
            first_hash = fresh.setdefault(wish.key, wish).request_hash
        if first_hash != wish.request_hash:
            raise ReferenceReused
    return fresh


async def _check_named_numbers(
    connection: Connection, wishes: Iterable[Wish], ranges: RangeMap, homes: Mapping[str, int]
) -> None:
    named = Counter[int]()
    for wish in wishes:
        if wish.account_no is not None:
            named[wish.account_no] += 1
            if not wish.may_leave_home and _range_of(wish, ranges) != homes[wish.customer]:
                raise AccountOffHome
    rows = await connection.execute(QUERIES["taken_numbers"], {"account_nos": list(named)})
    if await rows.fetchone() is not None or any(count > 1 for count in named.values()):
        raise AccountNoTaken


async def _number(
    connection: Connection, wishes: Iterable[Wish], homes: Mapping[str, int]
) -> dict[_Key, int]:
    numbers: dict[_Key, int] = {}
    waiting: dict[int, list[_Key]] = defaultdict(list)
    for wish in wishes:
        if wish.account_no is None:
            waiting[homes[wish.customer]].append(wish.key)
        else:
            numbers[wish.key] = wish.account_no
    free = await _free_numbers(connection, waiting, numbers.values())
    for range_id, keys in waiting.items():
        if len(free[range_id]) < len(keys):
            raise RangeFull
        numbers |= zip(keys, free[range_id], strict=False)
    used = {range_id: free[range_id][len(keys) - 1] + 1 for range_id, keys in waiting.items()}
    await connection.execute(
        QUERIES["move_counters"],
        {"range_ids": list(used), "next_account_nos": list(used.values())},
    )
    return numbers


async def _free_numbers(
    connection: Connection, waiting: Mapping[int, Sequence[_Key]], named: Iterable[int]
) -> Mapping[int, list[int]]:
    """Free numbers of each range, without those that this very batch asks for by name."""
    excluded = set(named)
    rows = await connection.execute(
        QUERIES["free_numbers"],
        {
            "range_ids": list(waiting),
            "counts": [len(keys) + len(excluded) for keys in waiting.values()],
        },
    )
    free: dict[int, list[int]] = defaultdict(list)
    for range_id, account_no in await rows.fetchall():
        if account_no not in excluded:
            free[range_id].append(account_no)
    return free


async def _remember(
    connection: Connection, fresh: Mapping[_Key, Wish], numbers: Mapping[_Key, int]
) -> None:
    wishes = list(fresh.values())
    await connection.execute(
        QUERIES["remember_references"],
        {
            "customers": [wish.customer for wish in wishes],
            "references": [wish.reference for wish in wishes],
            "account_nos": [numbers[wish.key] for wish in wishes],
            "hashes": [wish.request_hash for wish in wishes],
        },
    )
