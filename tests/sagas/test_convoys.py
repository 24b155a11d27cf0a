"""Boarding: which convoy a batch is stamped with, and when a convoy closes."""

from __future__ import annotations

from uuid import UUID

from sagas.convoys import Convoys
from sagas.limits import CONVOY_ITEMS, CONVOYS_WAITING

SOURCE = 1
OTHER_SOURCE = 2


def not_connected() -> Convoys:
    """Convoys of a process that has not found Temporal yet."""
    return Convoys([SOURCE, OTHER_SOURCE], hosts_worker=True)


def board_full(convoys: Convoys) -> UUID:
    """Fill one convoy; its id."""
    convoy = convoys.board(SOURCE)
    convoys.boarded(convoy, CONVOY_ITEMS, [])
    return convoy


def test_batches_board_the_same_convoy_until_it_is_full() -> None:
    """Nothing closes a convoy that waits for Temporal but its size."""
    convoys = not_connected()
    first = convoys.board(SOURCE)
    convoys.boarded(first, CONVOY_ITEMS - 1, [])
    assert convoys.board(SOURCE) == first


def test_a_full_convoy_is_followed_by_a_new_one() -> None:
    """What boards after a convoy is full goes with the next."""
    convoys = not_connected()
    full = board_full(convoys)
    assert (convoys.board(SOURCE) != full, convoys.waiting) == (True, 1)


def test_each_source_has_its_own_convoy() -> None:
    """Items of two shards never travel together."""
    convoys = not_connected()
    assert convoys.board(SOURCE) != convoys.board(OTHER_SOURCE)


def test_a_batch_answered_after_its_convoy_closed_still_counts_for_it() -> None:
    """Two batches under way with one convoy do not close it twice."""
    convoys = not_connected()
    first, second = convoys.board(SOURCE), convoys.board(SOURCE)
    convoys.boarded(first, CONVOY_ITEMS, [])
    convoys.boarded(second, CONVOY_ITEMS, [])
    assert (first, 1) == (second, convoys.waiting)


def test_without_temporal_the_memory_of_convoys_is_bounded() -> None:
    """Beyond the bound the oldest convoys are left to the sweeper, and posting goes on."""
    convoys = not_connected()
    for _ in range(2 * CONVOYS_WAITING):
        board_full(convoys)
    assert convoys.waiting == CONVOYS_WAITING
