"""The bound on convoys in flight, decided from the time convoys take."""

from __future__ import annotations

import pytest

from sagas.departures import Departures, Headway
from sagas.limits import DEPARTURE_INTERVAL_S

ITEMS = 400
IDLE_S = 0.05


def fill(departures: Departures) -> None:
    """Let depart what may depart."""
    while departures.may_depart():
        departures.departed()


def travel(departures: Departures, seconds: float | None, convoys: int, items: int = ITEMS) -> None:
    """Keep the bound filled while that many convoys end, each after ``seconds``."""
    for _ in range(convoys):
        fill(departures)
        departures.ended(items, seconds)


def test_no_more_convoys_depart_than_the_bound_allows() -> None:
    """In flight are at most as many convoys as the bound says."""
    departures = Departures(first=3, lowest=1, highest=8)
    fill(departures)
    assert departures.in_flight == 3


def test_an_ended_convoy_makes_room_for_the_next() -> None:
    """Each end lets one more convoy go, whether or not its time is known."""
    departures = Departures(first=1, lowest=1, highest=8)
    departures.departed()
    departures.ended(ITEMS, None)
    assert departures.may_depart()


def test_the_bound_grows_while_convoys_take_their_idle_time() -> None:
    """Time near the idle value means that the system carries more."""
    departures = Departures(first=2, lowest=1, highest=8)
    travel(departures, IDLE_S, convoys=100)
    assert departures.bound == 8


def test_the_bound_falls_when_convoys_take_twice_their_idle_time() -> None:
    """Doubled time means that convoys wait for each other."""
    departures = Departures(first=4, lowest=2, highest=4)
    travel(departures, IDLE_S, convoys=4)
    travel(departures, 3 * IDLE_S, convoys=40)
    assert departures.bound == 2


def test_the_bound_rests_between_idle_and_double() -> None:
    """Convoys that are slower, but not twice as slow, change nothing."""
    departures = Departures(first=4, lowest=1, highest=8)
    departures.departed()
    departures.ended(ITEMS, IDLE_S)
    travel(departures, 1.6 * IDLE_S, convoys=20)
    assert departures.bound == 4


def test_the_bound_does_not_grow_unless_it_holds_convoys_back() -> None:
    """A process with little to carry says nothing about what would be too much."""
    departures = Departures(first=3, lowest=1, highest=8)
    for _ in range(50):
        departures.departed()
        departures.ended(1, IDLE_S)
    assert departures.bound == 3


def test_a_large_convoy_is_compared_with_large_ones() -> None:
    """The idle time of a convoy of one is no measure for a convoy of hundreds."""
    departures = Departures(first=4, lowest=1, highest=4)
    travel(departures, 0.008, convoys=10, items=1)
    travel(departures, IDLE_S, convoys=10, items=ITEMS)
    assert departures.bound == 4


def test_a_convoy_held_up_by_a_shard_teaches_nothing_about_load() -> None:
    """Ends without a time leave the bound alone, however many."""
    departures = Departures(first=4, lowest=1, highest=4)
    travel(departures, IDLE_S, convoys=4)
    travel(departures, None, convoys=40)
    assert departures.bound == 4


def test_a_machine_that_became_slower_for_good_is_learnt() -> None:
    """The idle value is forgotten slowly, so a lasting change does not choke convoys for ever."""
    departures = Departures(first=4, lowest=2, highest=4)
    travel(departures, IDLE_S, convoys=4)
    travel(departures, 3 * IDLE_S, convoys=400)
    assert departures.bound == 4


def test_a_convoy_that_finds_none_under_way_leaves_at_once() -> None:
    """A lone transfer waits for nothing, however soon after another it comes."""
    headway = Headway()
    headway.departed(1.0)
    headway.ended()
    assert headway.wait_s(1.0) == 0.0


def test_a_convoy_keeps_its_distance_from_the_one_under_way() -> None:
    """It waits for the rest of the interval, and no longer."""
    headway = Headway()
    headway.departed(1.0)
    waits = [headway.wait_s(1.0), headway.wait_s(1.0 + 2 * DEPARTURE_INTERVAL_S)]
    assert waits == [pytest.approx(DEPARTURE_INTERVAL_S), 0.0]


def test_the_distance_is_kept_from_the_last_of_several() -> None:
    """As long as any of them travels."""
    headway = Headway()
    headway.departed(1.0)
    headway.departed(1.0 + DEPARTURE_INTERVAL_S)
    headway.ended()
    assert headway.wait_s(1.0 + DEPARTURE_INTERVAL_S) == pytest.approx(DEPARTURE_INTERVAL_S)
