"""The range map: bisection, gaps, system accounts, and which knowledge is newer."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from router.range_map import MappedRange, Owner, RangeMap

LOW = MappedRange(1_000_000_000, 1_500_000_000, 1001, shard=1, epoch=1)
HIGH = MappedRange(1_500_000_000, 2_000_000_000, 1002, shard=2, epoch=4)
AFTER_A_GAP = MappedRange(3_000_000_000, 4_000_000_000, 1003, shard=3, epoch=1)
MAP = RangeMap((LOW, HIGH, AFTER_A_GAP))


@pytest.mark.parametrize(
    ("account_no", "expected"),
    [
        (1_000_000_000, Owner(1, 1001, 1)),
        (1_499_999_999, Owner(1, 1001, 1)),
        (1_500_000_000, Owner(2, 1002, 4)),
        (1_999_999_999, Owner(2, 1002, 4)),
        (2_000_000_000, None),
        (2_999_999_999, None),
        (3_000_000_000, Owner(3, 1003, 1)),
        (4_000_000_000, None),
    ],
)
def test_ranges_are_half_open_and_gaps_belong_to_nobody(
    account_no: int, expected: Owner | None
) -> None:
    """A range holds its lowest number and not its highest one."""
    assert MAP.owner_of(account_no) == expected


@pytest.mark.parametrize(
    ("account_no", "expected"),
    [
        (1_101_000, Owner(1, 1, 1)),
        (2_201_003, Owner(2, 2, 1)),
        (999_999_999, Owner(999, 999, 1)),
        (999_999, None),
    ],
)
def test_a_system_account_names_its_shard_itself(account_no: int, expected: Owner | None) -> None:
    """System accounts are on no map."""
    assert RangeMap().owner_of(account_no) == expected


def test_bisection_agrees_with_looking_at_every_range(rng: random.Random) -> None:
    """The fast search answers what the slow one would."""
    bounds = sorted(rng.sample(range(10**9, 10**10), 401))
    pairs = list(pairwise(bounds))
    ranges = [
        MappedRange(lo, hi, 1001 + n, rng.randint(1, 9), 1) for n, (lo, hi) in enumerate(pairs)
    ]
    known = RangeMap.of(rng.sample(ranges, 300))
    for account_no in [*bounds, *(rng.randrange(10**9, 10**10) for _ in range(500))]:
        slow = [each for each in known.ranges if each.lo <= account_no < each.hi]
        owner = known.owner_of(account_no)
        assert (owner.range_id if owner else None) == (slow[0].range_id if slow else None)


def test_a_newer_epoch_is_learnt() -> None:
    """What a shard tells with a higher epoch replaces the owner of the account's range."""
    learnt = MAP.with_owner(1_600_000_000, shard=3, epoch=5)
    assert learnt.owner_of(1_999_999_999) == Owner(3, 1002, 5)


def test_learning_leaves_the_map_before_as_it_was() -> None:
    """A map is a value."""
    MAP.with_owner(1_600_000_000, shard=3, epoch=5)
    assert MAP.owner_of(1_600_000_000) == Owner(2, 1002, 4)


@pytest.mark.parametrize("epoch", [3, 4])
def test_an_epoch_that_is_not_newer_is_not_learnt(epoch: int) -> None:
    """Old news, or the same news, change nothing."""
    assert MAP.with_owner(1_600_000_000, shard=3, epoch=epoch) is MAP


def test_nothing_is_learnt_about_a_number_in_no_range() -> None:
    """A gap has no owner to replace."""
    assert MAP.with_owner(2_500_000_000, shard=3, epoch=9) is MAP


def test_a_map_read_again_does_not_undo_what_was_learnt() -> None:
    """The directory may lag behind what a shard has told; the higher epoch stays."""
    learnt = MAP.with_owner(1_600_000_000, shard=3, epoch=5)
    assert learnt.merged_with(MAP).owner_of(1_600_000_000) == Owner(3, 1002, 5)


def test_a_map_read_again_brings_newer_owners_and_new_ranges() -> None:
    """Where the directory is ahead, it is believed."""
    added = MappedRange(5_000_000_000, 6_000_000_000, 1009, shard=2, epoch=1)
    read = RangeMap((LOW, HIGH, MappedRange(3 * 10**9, 4 * 10**9, 1003, shard=1, epoch=2), added))
    merged = MAP.merged_with(read)
    assert merged.owner_of(3_500_000_000) == Owner(1, 1003, 2)
    assert merged.owner_of(5_500_000_000) == Owner(2, 1009, 1)


def test_of_two_shards_that_claim_a_range_the_newer_epoch_counts() -> None:
    """While one shard lags behind, both may say they own it."""
    claims = [LOW, MappedRange(LOW.lo, LOW.hi, LOW.range_id, shard=3, epoch=2)]
    assert RangeMap.of(claims).owner_of(LOW.lo) == Owner(3, 1001, 2)


def test_overlapping_ranges_make_no_map() -> None:
    """A number with two owners is an error that must not pass silently."""
    with pytest.raises(ValueError, match="overlap"):
        RangeMap.of([LOW, MappedRange(1_499_999_999, 1_600_000_000, 1009, 2, 1)])


def test_a_range_of_system_accounts_cannot_be_mapped() -> None:
    """They never move."""
    with pytest.raises(ValueError, match="not a range of customers"):
        MappedRange(1_000_000, 2_000_000, 1, shard=1, epoch=1)
