"""What the convoys of a process and its worker know of each other, and when they forget it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sagas import terminus as terminus_module
from sagas.terminus import Terminus
from shard.cargo import Cargo

CONVOY, OTHER = "convoy", "other"
EMPTY = Cargo.of_rows([])


def has_arrived(arrived: asyncio.Future[Any]) -> bool:
    """Whether it is told that all has gone well, not only that there is nothing to wait for."""
    return arrived.done() and arrived.result() is not False


async def test_a_manifest_is_told_once() -> None:
    """Whoever asks again must read, as it may have changed."""
    terminus = Terminus()
    terminus.depart(CONVOY, EMPTY)
    terminus.depart(OTHER, None)
    assert [EMPTY, None] == [terminus.manifest(CONVOY) for _ in "ab"]
    assert (None, None) == (terminus.manifest(OTHER), terminus.manifest("unknown"))


async def test_the_oldest_manifest_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its convoy is read instead, and is still waited for."""
    monkeypatch.setattr(terminus_module, "MANIFESTS_KEPT", 2)
    terminus = Terminus()
    arrivals = {convoy: terminus.depart(convoy, EMPTY) for convoy in "abc"}
    assert [None, EMPTY, EMPTY] == [terminus.manifest(convoy) for convoy in "abc"]
    terminus.surveyed("a", {2})
    terminus.carried("a", 2)
    assert [True, False, False] == [has_arrived(arrived) for arrived in arrivals.values()]


async def test_a_departure_without_manifest_displaces_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is not kept needs no room."""
    monkeypatch.setattr(terminus_module, "MANIFESTS_KEPT", 1)
    terminus = Terminus()
    terminus.depart(CONVOY, EMPTY)
    terminus.depart(OTHER, None)
    assert terminus.manifest(CONVOY) is EMPTY


async def test_a_convoy_has_arrived_when_all_of_it_has() -> None:
    """At every destination, however often it is told of one."""
    terminus, destinations = Terminus(), {2, 3}
    arrived, other = terminus.depart(CONVOY, None), terminus.depart(OTHER, None)
    terminus.surveyed(CONVOY, destinations)
    terminus.surveyed(OTHER, destinations)
    seen = []
    for destination in (2, 2, 4, 3, 3):
        terminus.carried(CONVOY, destination)
        seen.append(has_arrived(arrived))
    assert [False, False, False, True, True] == seen
    assert not has_arrived(other)
    assert {2, 3} == destinations


async def test_what_was_not_surveyed_here_does_not_arrive_here() -> None:
    """Another worker looks after it, as far as is known."""
    terminus = Terminus()
    terminus.surveyed(CONVOY, {2})
    arrived = terminus.depart(CONVOY, None)
    terminus.carried(CONVOY, 2)
    assert not has_arrived(arrived)


async def test_a_convoy_that_goes_nowhere_has_arrived() -> None:
    """Others have carried its items: its workflow has nothing left to do."""
    terminus = Terminus()
    arrived = terminus.depart(CONVOY, EMPTY)
    terminus.surveyed(CONVOY, set())
    assert has_arrived(arrived)


@pytest.mark.parametrize("rest", [2, 3])
async def test_what_is_delayed_does_not_arrive(rest: int) -> None:
    """Whatever arrives beside it."""
    terminus = Terminus()
    arrived = terminus.depart(CONVOY, None)
    terminus.surveyed(CONVOY, {2, 3})
    if rest == 3:
        terminus.carried(CONVOY, 2)
    terminus.delayed(CONVOY)
    terminus.delayed(OTHER)
    assert arrived.result() is False
    terminus.carried(CONVOY, rest)
    assert not has_arrived(arrived)


async def test_what_was_delayed_once_has_not_gone_well() -> None:
    """Not even when all that was left arrives in a later round: only its workflow can tell."""
    terminus = Terminus()
    arrived = terminus.depart(CONVOY, None)
    terminus.surveyed(CONVOY, {2})
    terminus.delayed(CONVOY)
    terminus.surveyed(CONVOY, {1})
    terminus.carried(CONVOY, 1)
    assert not has_arrived(arrived)


async def test_what_is_surveyed_again_arrives_where_it_goes_then() -> None:
    """The second survey counts; the first one was lost."""
    terminus = Terminus()
    arrived = terminus.depart(CONVOY, None)
    terminus.surveyed(CONVOY, {2})
    terminus.surveyed(CONVOY, {3})
    terminus.carried(CONVOY, 2)
    assert not has_arrived(arrived)
    terminus.carried(CONVOY, 3)
    assert has_arrived(arrived)
    terminus.surveyed(CONVOY, {2})
    terminus.carried(CONVOY, 2)
    assert has_arrived(arrived)


async def test_what_is_forgotten_leaves_nothing() -> None:
    """Neither manifest nor expectation; what comes later is for nobody."""
    terminus = Terminus()
    arrived = terminus.depart(CONVOY, EMPTY)
    terminus.surveyed(CONVOY, {2})
    terminus.forget(CONVOY)
    terminus.forget(OTHER)
    terminus.carried(CONVOY, 2)
    terminus.surveyed(CONVOY, {2})
    terminus.carried(CONVOY, 2)
    assert (None, False) == (terminus.manifest(CONVOY), has_arrived(arrived))
    again = terminus.depart(CONVOY, None)
    terminus.carried(CONVOY, 2)
    assert not has_arrived(again)


async def test_whoever_gave_up_waiting_disturbs_nobody() -> None:
    """A convoy may arrive after its process has stopped to wait."""
    terminus = Terminus()
    arrived = terminus.depart(CONVOY, None)
    terminus.surveyed(CONVOY, {2})
    arrived.cancel()
    terminus.carried(CONVOY, 2)
    assert arrived.cancelled()
