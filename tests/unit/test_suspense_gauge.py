"""The gauge of open amounts: what it knows between two counts, and what it lets through."""

from __future__ import annotations

import asyncio

import pytest

from router.errors import SuspenseFull
from router.suspense_gauge import SuspenseGauge

BOUND = 10
SHARD = 1


@pytest.fixture
def gauge() -> SuspenseGauge:
    """Two shards, ten open amounts each."""
    return SuspenseGauge((SHARD, 2), BOUND)


def park(gauge: SuspenseGauge, items: int) -> None:
    """Park amounts, from the beginning to the end."""
    with gauge.parking(SHARD, items):
        pass


def count(gauge: SuspenseGauge, items: int) -> None:
    """A count that begins now and tells so many."""
    gauge.counted(SHARD, items, gauge.before_count(SHARD))


def test_what_was_parked_counts_until_it_is_counted(gauge: SuspenseGauge) -> None:
    """Nothing is known at first; then what this process parks is known at once."""
    park(gauge, BOUND)
    assert BOUND == gauge.known_items(SHARD)
    with pytest.raises(SuspenseFull):
        park(gauge, 1)


def test_a_refused_command_takes_up_no_room(gauge: SuspenseGauge) -> None:
    """One that is too large leaves the room to those that fit."""
    with pytest.raises(SuspenseFull):
        park(gauge, BOUND + 1)
    park(gauge, BOUND)
    assert (BOUND, 1) == (gauge.known_items(SHARD), gauge.refused(SHARD))


def test_each_shard_has_its_own_bound(gauge: SuspenseGauge) -> None:
    """A shard that is full holds up no transfer of another one."""
    park(gauge, BOUND)
    with gauge.parking(2, BOUND):
        assert BOUND == gauge.known_items(2)


def test_a_count_stands_for_everything_before_it(gauge: SuspenseGauge) -> None:
    """What was delivered meanwhile makes room; what others parked takes it."""
    park(gauge, BOUND)
    count(gauge, 3)
    assert 3 == gauge.known_items(SHARD)
    park(gauge, BOUND - 3)
    with pytest.raises(SuspenseFull):
        park(gauge, 1)


def test_what_was_under_way_during_a_count_is_known_besides(gauge: SuspenseGauge) -> None:
    """A count may have missed what was not committed yet, so it is not taken for counted."""
    with gauge.parking(SHARD, 4):
        count(gauge, 5)
        assert 9 == gauge.known_items(SHARD)
    assert 9 == gauge.known_items(SHARD)
    count(gauge, 9)
    assert 9 == gauge.known_items(SHARD)


def test_what_was_parked_while_the_shard_was_counting_is_known_besides(
    gauge: SuspenseGauge,
) -> None:
    """A count tells of the moment it began."""
    before = gauge.before_count(SHARD)
    park(gauge, 4)
    gauge.counted(SHARD, 5, before)
    assert 9 == gauge.known_items(SHARD)


def test_room_is_given_back_however_parking_ends(gauge: SuspenseGauge) -> None:
    """An error, or a client who left, ends it as well; the next count tells what it left."""
    with pytest.raises(RuntimeError), gauge.parking(SHARD, BOUND):
        raise RuntimeError
    count(gauge, 0)
    assert 0 == gauge.known_items(SHARD)


async def test_a_refusal_that_a_count_may_mend_asks_for_one(gauge: SuspenseGauge) -> None:
    """Only this process's own amounts stood against it, and those may have been delivered."""
    park(gauge, BOUND)
    assert not gauge.begin(SHARD, 1)
    async with asyncio.timeout(5):
        await gauge.in_doubt(SHARD)


async def test_a_shard_that_was_counted_full_is_in_no_doubt(gauge: SuspenseGauge) -> None:
    """The next count is early enough, however many are refused."""
    count(gauge, BOUND)
    assert not gauge.begin(SHARD, 1)
    with pytest.raises(TimeoutError):
        await _in_doubt_at_once(gauge)


async def test_a_count_ends_the_doubt(gauge: SuspenseGauge) -> None:
    """Whatever was refused before it is answered by it."""
    park(gauge, BOUND)
    assert not gauge.begin(SHARD, 1)
    gauge.before_count(SHARD)
    with pytest.raises(TimeoutError):
        await _in_doubt_at_once(gauge)


def test_a_bound_of_zero_keeps_all_money_on_its_shard() -> None:
    """Nothing fits, however little."""
    closed = SuspenseGauge((SHARD,), 0)
    with pytest.raises(SuspenseFull):
        park(closed, 1)


async def _in_doubt_at_once(gauge: SuspenseGauge) -> None:
    async with asyncio.timeout(0):
        await gauge.in_doubt(SHARD)
