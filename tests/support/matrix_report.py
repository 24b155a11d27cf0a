"""The report on the control points: how many cases of which step met what, at the end of a run."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Final

import pytest

_CASE: Final = "control_case"
_HAPPENINGS: Final = ("crash", "error before", "error after", "reply lost", "run twice")
_WIDTH = 14


def record_case(node: pytest.Item, step: str, happening: str, *, of: int) -> None:
    """Have a test counted as a case of a step that meets something, one of ``of`` cases."""
    node.user_properties.append((_CASE, (step, happening, of)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the counts of all cases that ran, in whichever process."""
    cases: list[tuple[str, str, int]] = []
    passed = 0
    for report in itertools.chain.from_iterable(terminalreporter.stats.values()):
        if isinstance(report, pytest.TestReport) and report.when == "call":
            case = dict(report.user_properties).get(_CASE)
            if isinstance(case, tuple | list):
                step, happening, of = case
                cases.append((step, happening, of))
                passed += report.passed
    if not cases:
        return
    steps = list(dict.fromkeys(step for step, _, _ in cases))
    counts = Counter((step, happening) for step, happening, _ in cases)
    in_all = max(of for _, _, of in cases)
    terminalreporter.section("control points")
    terminalreporter.line(_row("", _HAPPENINGS))
    for step in steps:
        terminalreporter.line(_row(step, [counts[step, each] for each in _HAPPENINGS]))
    terminalreporter.line(f"{passed} passed of {len(cases)} that ran, of {in_all} cases")


def _row(title: str, cells: list[int] | tuple[str, ...]) -> str:
    return f"{title:<{_WIDTH}}" + "".join(f"{cell:>{_WIDTH}}" for cell in cells)
