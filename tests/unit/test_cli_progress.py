"""How progress is shown where nobody watches a terminal."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from router.cli.progress import ProgressStyle, steps_of


def shown(style: ProgressStyle) -> list[str]:
    """What a step of two moves writes to a stderr that is no terminal."""
    stream = io.StringIO()
    steps = steps_of(style, Console(file=stream, width=100))
    with steps.step("Opening", 2) as step:
        step.at(1)
        step.at(2)
    steps.close()
    return stream.getvalue().splitlines()


@pytest.mark.parametrize("style", [ProgressStyle.AUTO, ProgressStyle.LINES])
def test_a_log_gets_one_line_a_step(style: ProgressStyle) -> None:
    """Without a terminal there are no bars, and no line for each move."""
    lines = shown(style)

    assert ["Opening: 2 done in"] == [line[:18] for line in lines]


def test_a_program_gets_every_move() -> None:
    """Whoever starts the command can show a bar of its own."""
    moves = [json.loads(line) for line in shown(ProgressStyle.JSON)]

    assert [
        {"step": "Opening", "done": 1, "total": 2},
        {"step": "Opening", "done": 2, "total": 2},
    ] == moves


def test_progress_can_be_turned_off() -> None:
    """Nothing is written when nothing is asked for."""
    assert [] == shown(ProgressStyle.NONE)
