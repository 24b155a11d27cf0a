"""Control points: armed by the environment, silent otherwise."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sagas.control_points import (
    ARMED_BY,
    POINT_OF_QUERY,
    Armed,
    ControlPoint,
    ControlPointFailure,
    Unarmed,
    from_environment,
    look_on,
    points_of_batch,
)
from shard.commands import Command, Kind, Origin
from shard.onlooker import Moment
from shard.shard import Shard
from tests.support.bank import transfer

NOWHERE = "host=127.0.0.1 port=1 dbname=nowhere"
LOCAL = transfer(1_000_000_001, 1_000_000_002, "1.00")
PARKED = transfer(1_000_000_001, 2_000_000_002, "1.00")
DELIVERY = replace(LOCAL, origin=Origin.DELIVERY)
TOMBSTONE = replace(DELIVERY, kind=Kind.TOMBSTONE, legs=())


async def test_nothing_happens_unless_armed() -> None:
    """In earnest a control point is passed."""
    for name in ControlPoint:
        await from_environment({}).reached(name)


async def test_an_armed_point_fails_and_the_others_are_passed() -> None:
    """A point acts only when it is named."""
    points = from_environment({ARMED_BY: "settle.before=raise, return.after_reply=raise"})
    await points.reached(ControlPoint.SETTLE_AFTER_REPLY)
    with pytest.raises(ControlPointFailure):
        await points.reached(ControlPoint.SETTLE_BEFORE)


@pytest.mark.parametrize("text", ["settle.befor=raise", "settle.before=explode", "settle.before"])
def test_a_misspelt_arming_is_refused(text: str) -> None:
    """A test that arms a point that does not exist must not pass for that reason."""
    with pytest.raises(ValueError, match="No such control point"):
        from_environment({ARMED_BY: text})


def test_in_earnest_nobody_looks_on() -> None:
    """A shard calls nobody unless something is armed."""
    shard = Shard(1, NOWHERE)
    look_on([shard], Unarmed())
    assert shard.lanes.onlooker is None
    look_on([shard], Armed({ControlPoint.DEBIT_BEFORE: "raise"}))
    assert shard.lanes.onlooker is not None


@pytest.mark.parametrize(
    ("command", "points"),
    [
        (LOCAL, []),
        (PARKED, ["debit.before", "debit.after_commit", "debit.after_reply"]),
        (DELIVERY, ["deliver.after_commit"]),
        (TOMBSTONE, ["recall.after_commit"]),
    ],
)
def test_a_batch_passes_the_points_of_its_steps(command: Command, points: list[str]) -> None:
    """What the sagas pass themselves is not passed in the lanes as well."""
    assert points == [each for moment in Moment for each in points_of_batch(moment, [command])]


def test_every_step_has_its_three_moments() -> None:
    """Before it is sent, after the commit, after the reply."""
    for step in {point.step for point in ControlPoint}:
        assert list(Moment) == [point.moment for point in ControlPoint if point.step == step]


def test_writes_outside_the_lanes_are_passed_after_their_commit() -> None:
    """What they are before and after the reply, the sagas pass themselves."""
    assert {Moment.AFTER_COMMIT} == {point.moment for point in POINT_OF_QUERY.values()}
