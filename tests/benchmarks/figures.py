"""What is computed from measurements: percentiles, ratios within a round, medians, verdicts.

No I/O here; ``tests/unit/test_benchmark_figures.py`` holds these rules.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Target:
    """A figure of the table: ``key`` in the report, what it means, what it must and should be.

    With ``is_ceiling`` less is better, and ``at_least`` and ``aim`` are upper bounds.
    """

    key: str
    meaning: str
    at_least: float
    aim: float
    is_ceiling: bool = False

    def is_met(self, figure: float) -> bool:
        """Tell whether a figure keeps the bound that must be kept."""
        return figure <= self.at_least if self.is_ceiling else figure >= self.at_least

    def best(self, figures: Sequence[float]) -> float:
        """The best of several figures; raises ``ValueError`` when there is none."""
        return min(figures) if self.is_ceiling else max(figures)


TARGETS = (
    Target("single_http_ratio", "single transfers over HTTP / TPC-B", 0.7, 1.0),
    Target("single_http_p99_ms", "p99 of those at half that load, ms", 15, 8, is_ceiling=True),
    Target("bulk_http_ratio", "bulk over HTTP / TPC-B", 2, 3),
    Target("lane_ratio", "lanes without HTTP / TPC-B", 4, 6),
    Target("hot_random_ratio", "all credits to one account / random accounts", 0.8, 0.95),
    Target("cpu_shards_8_vs_1", "CPU per transfer, 8 shards / 1", 1.15, 1.05, is_ceiling=True),
    Target("aged_ratio", "rate with millions of entries / empty ledger", 0.85, 0.95),
    Target("overload_ratio", "rate at 10 times the connections / peak", 0.85, 0.95),
    Target("cross_idle_p50_ms", "idle, debit to credit, ms", 20, 8, is_ceiling=True),
    Target("cross_idle_p99_ms", "the same, p99, ms", 50, 20, is_ceiling=True),
    Target("cross_bulk_ratio", "bulk to another shard / within one", 0.4, 0.6),
    Target("cross_load_p99_ms", "p99 of it at half that rate, ms", 150, 100, is_ceiling=True),
    Target("cross_peak_p99_ms", "p99 of it at that rate, ms", 300, 150, is_ceiling=True),
    Target("worker_recovery_s", "after the only worker was killed, s", 8, 4, is_ceiling=True),
)

_RATIOS = {
    "single_http_ratio": ("single_http_per_s", "tpcb_per_s"),
    "bulk_http_ratio": ("bulk_http_per_s", "tpcb_per_s"),
    "lane_ratio": ("lanes_per_s", "tpcb_per_s"),
    "hot_random_ratio": ("lanes_hot_per_s", "lanes_per_s"),
    "overload_ratio": ("overload_per_s", "overload_peak_per_s"),
    "cross_http_ratio": ("cross_http_per_s", "tpcb_per_s"),
    "pgledger_ratio": ("pgledger_per_s", "tpcb_per_s"),
    "pgledger_hot_ratio": ("pgledger_hot_per_s", "pgledger_per_s"),
}


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure over the rounds: the median is the one that counts, the best is told beside it."""

    median: float
    best: float


def percentile(ascending: Sequence[float], share: float) -> float:
    """The nearest-rank percentile of values in ascending order; ``share`` is in (0, 1].

    Raises ``ValueError`` when there are no values.
    """
    if not ascending:
        message = "no values, no percentile"
        raise ValueError(message)
    return ascending[max(0, math.ceil(share * len(ascending)) - 1)]


def with_ratios(measured: Mapping[str, float]) -> dict[str, float]:
    """One round's figures and the ratios between them; what was not measured has no ratio."""
    ratios = {
        key: measured[above] / measured[below]
        for key, (above, below) in _RATIOS.items()
        if above in measured and below in measured
    }
    return {**measured, **ratios}


def over_rounds(rounds: Sequence[Mapping[str, float]]) -> dict[str, Figure]:
    """Median and best of each figure over the rounds that have it."""
    keys = dict.fromkeys(key for each in rounds for key in each)
    ceilings = {target.key for target in TARGETS if target.is_ceiling}
    figures = {}
    for key in keys:
        values = [each[key] for each in rounds if key in each]
        is_ceiling = key in ceilings or key.endswith(("_ms", "_bytes", "_us", "_recovery_s"))
        figures[key] = Figure(median(values), min(values) if is_ceiling else max(values))
    return figures
