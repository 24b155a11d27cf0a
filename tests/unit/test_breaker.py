"""The breaker: one at a time finds out whether a shard is back; all others are told at once."""

from __future__ import annotations

import pytest

from shard.breaker import Breaker
from shard.limits import BREAKER_PAUSE_MAX_S, BREAKER_PAUSE_S, BREAKER_TRIAL_LIMIT_S


class Clock:
    """A clock that stands still unless it is moved."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(clock)


def test_everybody_may_ask_what_answers(breaker: Breaker) -> None:
    """A breaker is closed until something failed."""
    assert [True] * 3 == [breaker.admits() for _ in range(3)]
    assert not breaker.is_open


def test_after_a_failure_nobody_may_ask_for_a_while(breaker: Breaker, clock: Clock) -> None:
    """During the pause all are refused."""
    breaker.failed()
    clock.now_s += BREAKER_PAUSE_S * 0.9
    assert breaker.is_open
    assert not breaker.admits()


def test_one_at_a_time_finds_out(breaker: Breaker, clock: Clock) -> None:
    """After the pause one is let through, and the others go on being refused."""
    breaker.failed()
    clock.now_s += BREAKER_PAUSE_S * 1.1
    assert [True, False, False] == [breaker.admits() for _ in range(3)]


def test_an_answer_lets_everybody_ask_again(breaker: Breaker, clock: Clock) -> None:
    """What the one found out holds for all, and the next failure begins with a short pause."""
    for _ in range(5):
        breaker.failed()
    breaker.answered()
    assert [True] * 3 == [breaker.admits() for _ in range(3)]
    breaker.failed()
    clock.now_s += BREAKER_PAUSE_S * 1.1
    assert breaker.admits()


def test_pauses_grow_up_to_a_bound(breaker: Breaker, clock: Clock) -> None:
    """A shard that stays silent is asked more and more rarely, but never given up."""
    for _ in range(20):
        breaker.failed()
    clock.now_s += BREAKER_PAUSE_MAX_S * 0.9
    assert not breaker.admits()
    clock.now_s += BREAKER_PAUSE_MAX_S * 0.2
    assert breaker.admits()


def test_a_lost_trial_is_followed_by_another(breaker: Breaker, clock: Clock) -> None:
    """Whoever was to find out may be gone: the next one may try after a while."""
    breaker.failed()
    clock.now_s += BREAKER_PAUSE_S * 1.1
    assert breaker.admits()
    clock.now_s += BREAKER_TRIAL_LIMIT_S * 1.1
    assert breaker.admits()


def test_openings_are_counted_once(breaker: Breaker) -> None:
    """Several failures in a row are one opening."""
    for _ in range(3):
        breaker.failed()
    breaker.answered()
    breaker.failed()
    assert 2 == breaker.openings
