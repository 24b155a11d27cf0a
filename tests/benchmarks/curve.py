"""The rate and the window of bulk transfers by the share that goes to another shard: a picture.

python -m tests.benchmarks.curve build/bench.json tests/benchmarks/cross_curve.svg
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pygal
from pygal.style import CleanStyle

_WIDTH, _HEIGHT = 720, 360


def draw(curve: Sequence[Mapping[str, Any]], target: Path) -> None:
    """Write the picture of what ``cross_curve`` in a report says."""
    chart = pygal.Line(
        width=_WIDTH,
        height=_HEIGHT,
        style=CleanStyle,
        js=[],
        x_title="percent of transfers to another shard",
        y_title="transfers/s",
        secondary_range=(0, 1.2 * max((each["p99_ms"] or 0) for each in curve)),
        range=(0, 1.1 * max(each["per_second"] for each in curve)),
        disable_xml_declaration=True,
        legend_at_bottom=True,
    )
    chart.x_labels = [str(each["share"]) for each in curve]
    chart.add("delivered transfers/s", [round(each["per_second"]) for each in curve])
    chart.add("p99 from debit to credit, ms", [each["p99_ms"] for each in curve], secondary=True)
    target.write_text(chart.render(is_unicode=True) + "\n")


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text())["cross_curve"], Path(sys.argv[2]))
