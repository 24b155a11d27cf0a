"""Items against deliveries: what left one shard arrived once, where, and as the item says.

The items of all shards and the deliveries that all shards booked are merged in the order of
the item's id, so that memory does not grow with the bank. The shards' snapshots differ by
moments; an item that looks wrong is therefore read again, before and after its deliveries: if
it has not changed in between, its deliveries must agree with it.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from router.limits import CHECK_READINGS, CHECK_SUSPECTS
from shard.invariants import DeliveryLine, Invariants, ItemLine
from shard.limits import FINDINGS_PER_INVARIANT

_Line = ItemLine | DeliveryLine
_CLOSED = {"delivered", "returned"}
_PARKED = "parked"


@dataclass(frozen=True, slots=True)
class Comparison:
    """How many items were compared, what was wrong with them, and what stayed undecided."""

    items: int
    faults: tuple[str, ...]
    undecided: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Group:
    """What all shards know of one item: at most a line or two on either side."""

    items: list[ItemLine] = field(default_factory=list)
    deliveries: list[DeliveryLine] = field(default_factory=list)

    def add(self, line: _Line) -> None:
        if isinstance(line, ItemLine):
            self.items.append(line)
        else:
            self.deliveries.append(line)


async def compare_items(shards: Sequence[Invariants]) -> Comparison:
    """Compare every item with its deliveries; ``shards`` are all shards of the bank.

    Raises ``LedgerError`` when one of them does not answer.
    """
    count = 0
    suspects: set[str] = set()
    is_cut = False
    async with AsyncExitStack() as stack:
        sides = [await stack.enter_async_context(each.both_sides()) for each in shards]
        streams: list[AsyncIterator[_Line]] = [each.items for each in sides]
        streams += [each.deliveries for each in sides]
        async for item_id, group in _groups(streams):
            count += len(group.items)
            if not any(_faults(group)):
                continue
            is_cut = len(suspects) == CHECK_SUSPECTS
            if is_cut:
                break
            suspects.add(item_id)
    faults, moving = await _look_again(shards, suspects)
    undecided = [f"{len(moving)} items kept moving"] if moving else []
    if is_cut:
        undecided.append(f"the items after the first {CHECK_SUSPECTS} that looked wrong")
    return Comparison(count, tuple(_shortened(faults)), tuple(undecided))


async def _groups(streams: Sequence[AsyncIterator[_Line]]) -> AsyncIterator[tuple[str, _Group]]:
    """Merge streams that are in the order of ``item_id``, and gather the lines of each item."""
    first = await asyncio.gather(*(_next(each) for each in streams))
    heads = [(line.item_id, n, line) for n, line in enumerate(first) if line is not None]
    heapq.heapify(heads)
    while heads:
        item_id = heads[0][0]
        group = _Group()
        while heads and heads[0][0] == item_id:
            _, n, line = heads[0]
            group.add(line)
            following = await _next(streams[n])
            if following is None:
                heapq.heappop(heads)
            else:
                heapq.heapreplace(heads, (following.item_id, n, following))
        yield item_id, group


async def _next(stream: AsyncIterator[_Line]) -> _Line | None:
    return await anext(stream, None)


async def _look_again(
    shards: Sequence[Invariants], suspects: Collection[str]
) -> tuple[list[str], set[str]]:
    """The faults of the suspects that stood still, and the suspects that never did."""
    faults: list[str] = []
    left = set(suspects)
    for _ in range(CHECK_READINGS):
        if not left:
            break
        before = await _items_of(shards, left)
        groups: dict[str, _Group] = {item_id: _Group(before[item_id]) for item_id in left}
        for each in await asyncio.gather(*(shard.deliveries(left) for shard in shards)):
            for delivery in each:
                groups[delivery.item_id].add(delivery)
        after = await _items_of(shards, left)
        still = {item_id for item_id in left if before[item_id] == after[item_id]}
        faults += [fault for item_id in sorted(still) for fault in _faults(groups[item_id])]
        left -= still
    return faults, left


async def _items_of(
    shards: Sequence[Invariants], item_ids: Collection[str]
) -> defaultdict[str, list[ItemLine]]:
    found: defaultdict[str, list[ItemLine]] = defaultdict(list)
    for each in await asyncio.gather(*(shard.items(item_ids) for shard in shards)):
        for item in each:
            found[item.item_id].append(item)
    return found


def _faults(group: _Group) -> Iterator[str]:
    """What is wrong with one item, in words; nothing while it is merely on its way."""
    if not group.items:
        for each in group.deliveries:
            yield f"delivery {_told(each)} belongs to no item"
        return
    item = group.items[0]
    name = f"item {item.item_id} ({item.state}, attempt {item.attempt})"
    if len(group.items) > 1:
        yield f"{name} stands on {len(group.items)} shards"
    if len(group.deliveries) > 1:
        booked = "; ".join(_told(each) for each in group.deliveries)
        yield f"{name} was booked {len(group.deliveries)} times: {booked}"
    elif group.deliveries:
        yield from _disagreements(name, item, group.deliveries[0])
    elif item.state in _CLOSED:
        yield f"{name} is closed, and no shard booked its delivery"


def _disagreements(name: str, item: ItemLine, delivery: DeliveryLine) -> Iterator[str]:
    told = _told(delivery)
    if delivery.reference != f"{item.item_id}:{item.attempt}":
        yield f"{name} is in another attempt than its delivery {told}"
    if item.state not in _CLOSED and item.state != _PARKED:
        yield f"{name} has not arrived, yet its delivery was booked: {told}"
    if item.state in _CLOSED and item.booked_on != delivery.booked_on:
        yield f"{name} says it was booked on shard {item.booked_on}, its delivery is {told}"
    if item.target != delivery.target:
        yield f"{name} was to pay {item.target}, its delivery is {told}"
    if (item.amount, item.currency) != (delivery.amount, delivery.currency):
        yield f"{name} carries {item.amount} {item.currency}, its delivery is {told}"


def _told(delivery: DeliveryLine) -> str:
    return (
        f"{delivery.reference} of {delivery.amount} {delivery.currency} "
        f"to {delivery.target} on shard {delivery.booked_on}"
    )


def _shortened(faults: Sequence[str]) -> Iterator[str]:
    yield from faults[:FINDINGS_PER_INVARIANT]
    if len(faults) > FINDINGS_PER_INVARIANT:
        yield f"{len(faults) - FINDINGS_PER_INVARIANT} more, not shown"
