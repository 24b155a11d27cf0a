"""How much bulk work may be on its way between shards at once."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from sagas import room as room_module
from sagas.limits import (
    CROSSING_TARGET_S,
    ROOM_ITEMS_FIRST,
    ROOM_ITEMS_HIGHEST,
    ROOM_ITEMS_LOWEST,
    ROOM_ITEMS_START,
)
from sagas.room import Room

QUICK_S, SLOW_S = CROSSING_TARGET_S / 2, CROSSING_TARGET_S * 2
Park = Callable[[int], Awaitable[asyncio.Task[None]]]


@pytest.fixture
def room() -> Room:
    return Room()


@pytest.fixture
async def park(room: Room) -> AsyncIterator[Park]:
    """Starts to park so many items, which are on their way as soon as there is room."""
    tasks = []

    async def work(items: int) -> None:
        async with room.taken(items):
            room.parked(items)

    async def start(items: int) -> asyncio.Task[None]:
        tasks.append(asyncio.create_task(work(items)))
        await turns()
        return tasks[-1]

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)  # sleep: one turn of the loop


async def test_bulk_work_waits_while_too_much_is_on_its_way(room: Room, park: Park) -> None:
    """It goes on as soon as something has arrived, in the order in which it came."""
    first = await park(ROOM_ITEMS_FIRST)
    second, third = await park(ROOM_ITEMS_FIRST), await park(1)
    before = [each.done() for each in (first, second, third)]
    room.arrived(ROOM_ITEMS_FIRST, None)
    await turns()
    assert [True, False, False] == before
    assert [True, True, False] == [each.done() for each in (first, second, third)]
    assert ROOM_ITEMS_FIRST == room.on_the_way


async def test_a_stream_that_begins_finds_little_room(room: Room, park: Park) -> None:
    """What is parked all at once would wait for all of it; each arrival lets in as much more."""
    first, second = await park(ROOM_ITEMS_START), await park(ROOM_ITEMS_START)
    third = await park(ROOM_ITEMS_START)
    before = [each.done() for each in (first, second, third)]
    room.arrived(ROOM_ITEMS_START, None)
    await turns()
    assert [True, False, False] == before
    assert [True, True, True] == [each.done() for each in (first, second, third)]


async def test_a_stream_begins_anew_once_all_has_arrived(room: Room, park: Park) -> None:
    """The room that the last one had is not there for the next one at once."""
    for _ in range(8):
        await park(ROOM_ITEMS_START)
        await park(1)
        room.arrived(ROOM_ITEMS_START, None)
        await turns()
    room.arrived(room.on_the_way, None)
    await park(ROOM_ITEMS_START)
    assert not room.has_room


async def test_what_is_promised_counts(room: Room) -> None:
    """Work that was let in and is not parked yet takes its room up already."""
    async with room.taken(ROOM_ITEMS_FIRST):
        inside = room.has_room
    assert (False, True) == (inside, room.has_room)
    assert 0 == room.on_the_way


async def test_where_nothing_arrives_it_waits_no_longer(
    room: Room, park: Park, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While Temporal is away the bound on suspense decides what is accepted, not this one."""
    monkeypatch.setattr(room_module, "ROOM_WAIT_S", 0.01)
    await park(ROOM_ITEMS_FIRST)
    late = await park(5)
    await late
    assert ROOM_ITEMS_FIRST + 5 == room.on_the_way


async def test_who_stops_waiting_takes_no_room(room: Room, park: Park) -> None:
    """Neither before its turn nor in the moment in which it comes."""
    await park(ROOM_ITEMS_FIRST)
    gone, turned, last = await park(7), await park(7), await park(9)
    gone.cancel()
    await turns()
    room.arrived(ROOM_ITEMS_FIRST, QUICK_S)
    turned.cancel()
    await turns()
    await last
    assert 9 == room.on_the_way
    assert room.has_room


@pytest.mark.parametrize(
    ("seconds", "bound"), [(SLOW_S, ROOM_ITEMS_LOWEST), (QUICK_S, ROOM_ITEMS_HIGHEST)]
)
async def test_the_bound_follows_the_time_of_crossing(
    room: Room, park: Park, seconds: float, bound: int
) -> None:
    """Fewer when they take too long, more when they are quick and others wait; within limits."""
    for _ in range(200):
        await park(math.ceil(room.bound))
        await park(1)
        room.arrived(room.on_the_way - 1, seconds)
        await turns()
        room.arrived(room.on_the_way, seconds)
    assert bound == round(room.bound)


async def test_the_bound_stays_while_nobody_waits(room: Room, park: Park) -> None:
    """Quick crossings of an idle system say nothing of what it could carry."""
    for _ in range(50):
        await park(1)
        room.arrived(1, QUICK_S)
    assert ROOM_ITEMS_FIRST == room.bound


async def test_a_crossing_whose_end_is_not_known_changes_no_bound(room: Room, park: Park) -> None:
    """Its items are others' work from then on."""
    await park(ROOM_ITEMS_FIRST)
    await park(1)
    room.arrived(ROOM_ITEMS_FIRST, None)
    await turns()
    assert (ROOM_ITEMS_FIRST, 1) == (room.bound, room.on_the_way)
