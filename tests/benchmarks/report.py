"""The table that people read and the file that programs read."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from tests.benchmarks.figures import TARGETS, Figure, Target

REPORT = Path("build") / "bench.json"


def show(figures: Mapping[str, Figure], title: str) -> None:
    """Print every figure, those with a target first."""
    table = Table("figure", "what", "median", "best", "at least", "aim", title=title)
    for target in TARGETS:
        if target.key in figures:
            table.add_row(*_row(target, figures[target.key]))
    table.add_section()
    targeted = {target.key for target in TARGETS}
    for key, figure in figures.items():
        if key not in targeted:
            table.add_row(key, "", _number(figure.median), _number(figure.best), "", "")
    Console(width=110).print(table)


def show_curve(curve: Sequence[Mapping[str, float | None]]) -> None:
    """Print how rate and window follow the share of transfers between shards."""
    table = Table("% to another shard", "delivered /s", "p99 debit to credit, ms")
    for point in curve:
        p99_ms = point["p99_ms"]
        table.add_row(
            f"{point['share']:.0f}",
            _number(point["per_second"] or 0),
            "" if p99_ms is None else _number(p99_ms),
        )
    Console(width=110).print(table)


def _row(target: Target, figure: Figure) -> list[str]:
    bound = "<= " if target.is_ceiling else ">= "
    colour = "green" if target.is_met(figure.median) else "red"
    return [
        target.key,
        target.meaning,
        f"[{colour}]{_number(figure.median)}[/]",
        _number(figure.best),
        bound + _number(target.at_least),
        bound + _number(target.aim),
    ]


def _number(value: float) -> str:
    return f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"


def write(
    figures: Mapping[str, Figure],
    raw: Mapping[str, object],
    wrong: Sequence[str],
    *,
    generator: str,
    curve: Sequence[Mapping[str, float | None]],
    is_quick: bool,
) -> None:
    """Write ``build/bench.json``: the median of every figure by its key, and all that led to it."""
    REPORT.parent.mkdir(exist_ok=True)
    report = {
        "figures": {key: figure.median for key, figure in figures.items()},
        "best": {key: figure.best for key, figure in figures.items()},
        "printed": "figures: the median over the rounds; ratios are taken within a round",
        "targets": {
            target.key: {
                "at_least": target.at_least,
                "aim": target.aim,
                "less_is_better": target.is_ceiling,
                "is_met": target.is_met(figures[target.key].median),
            }
            for target in TARGETS
            if target.key in figures
        },
        "cross_curve": curve,
        "is_quick": is_quick,
        "generator": generator,
        "machine": machine(),
        "wrong": list(wrong),
        "raw": raw,
    }
    REPORT.write_text(json.dumps(report, indent=2) + "\n")


def machine() -> dict[str, object]:
    """What the figures were measured on, and what of."""
    return {
        "cores": psutil.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "python": platform.python_version(),
        "system": platform.platform(),
        "commit": _git("rev-parse", "HEAD"),
        "has_uncommitted_changes": bool(_git("status", "--porcelain")),
    }


def _git(*arguments: str) -> str:
    told = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return told.stdout.strip()
