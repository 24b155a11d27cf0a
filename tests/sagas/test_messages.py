"""What crosses Temporal's border comes back as it was, and stays small."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from temporalio.converter import DataConverter

from sagas import messages
from sagas.messages import (
    CarryOrder,
    CarryReport,
    ConvoyOrder,
    ConvoyResult,
    HandOverOrder,
    RouteLeg,
    RouteOrder,
    RouteReport,
    RouteResult,
    ShardSweep,
    Survey,
    SweepResult,
)

CONVOY = "0199f3a0-0000-7000-8000-000000000001"
SAMPLES: list[Any] = [
    ConvoyOrder(1, CONVOY),
    Survey([1, 2, 3]),
    CarryOrder(1, CONVOY, 2),
    CarryReport(1, 2, 3, 4, is_unreachable=True, failure="Shard 2: no answer in time"),
    HandOverOrder(1, CONVOY, None),
    ConvoyResult(1, 2, 3, 4, is_clean=False, failure=None),
    RouteOrder(1, 2),
    RouteReport(1, 2, 3, 4, has_more=True),
    RouteResult(1, 2, 3, 4),
    RouteLeg(1, 2, RouteResult(1, 2, 3, 4)),
    ShardSweep(1, 2, 3, [2, 3], failure=None),
    SweepResult([ShardSweep(1, 2, 3, [2, 3], failure="Temporal: gone")]),
]


@pytest.mark.parametrize("message", SAMPLES, ids=lambda message: type(message).__name__)
async def test_a_message_survives_the_way_through_temporal(message: Any) -> None:
    """Encoding and decoding by its type gives the same message back."""
    payloads = await DataConverter.default.encode([message])
    assert [message] == await DataConverter.default.decode(payloads, [type(message)])


def test_every_message_has_a_sample_here() -> None:
    """A new message does not slip past these tests."""
    defined = {kind for kind in vars(messages).values() if dataclasses.is_dataclass(kind)}
    assert {type(sample) for sample in SAMPLES} == defined
