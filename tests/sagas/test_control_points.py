"""Control points: armed by the environment, silent otherwise."""

from __future__ import annotations

import pytest

from sagas.control_points import ARMED_BY, ControlPoint, ControlPointFailure, from_environment


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
