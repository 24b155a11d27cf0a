"""One round: everything whose ratios are taken, within the same minutes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.benchmarks.bank import MeasuredBank
from tests.benchmarks.crossing import Crossing, measure_crossing
from tests.benchmarks.figures import with_ratios
from tests.benchmarks.measured import Measured
from tests.benchmarks.pgbench import Times, best_per_second, times_at
from tests.benchmarks.pgledger import pgledger_per_second
from tests.benchmarks.posting import hot_rate, random_rates
from tests.benchmarks.singles import Singles
from tests.benchmarks.streams import bulk_in_all_settings


@dataclass(frozen=True, slots=True)
class Round:
    """Raw measurements; where several settings were tried, all of them."""

    tpcb: dict[int, float]
    pgledger: dict[int, float]
    pgledger_hot: dict[int, float]
    tpcb_at_half: Times
    lanes: list[Measured]
    lanes_hot: Measured
    lanes_hot_in_buckets: Measured
    single: list[Measured]
    single_at_half: Measured
    overload_peak: Measured
    overload: Measured
    bulk: list[Measured]
    cross: Measured
    crossing: Crossing

    @property
    def figures(self) -> dict[str, float]:
        """Rates of the best settings, and the ratios between them."""
        single, bulk = fastest(self.single), fastest(self.bulk)
        return with_ratios(
            {
                "tpcb_per_s": max(self.tpcb.values()),
                "pgledger_per_s": max(self.pgledger.values()),
                "pgledger_hot_per_s": max(self.pgledger_hot.values()),
                "tpcb_p99_at_half_ms": self.tpcb_at_half.p99_ms,
                "lanes_per_s": fastest(self.lanes).per_second,
                "lanes_hot_per_s": self.lanes_hot.per_second,
                "lanes_hot_in_buckets_per_s": self.lanes_hot_in_buckets.per_second,
                "single_http_per_s": single.per_second,
                "single_http_p99_at_peak_ms": single.p99_ms,
                "single_http_p50_ms": self.single_at_half.p50_ms,
                "single_http_p99_ms": self.single_at_half.p99_ms,
                "overload_peak_per_s": self.overload_peak.per_second,
                "overload_per_s": self.overload.per_second,
                "bulk_http_per_s": bulk.per_second,
                "cross_http_per_s": self.cross.per_second,
                **self.crossing.figures,
            }
        )


async def measure_round(bank: MeasuredBank, run: str) -> Round:
    """Measure everything once, one after the other."""
    extent = bank.extent
    dsn, clients, seconds = bank.superuser_dsn(1), extent.clients, extent.seconds
    accounts = extent.accounts_per_shard
    tpcb = await best_per_second(dsn, clients, seconds)
    clients_at_best = max(tpcb, key=tpcb.__getitem__)
    tpcb_at_half = await times_at(dsn, clients_at_best, tpcb[clients_at_best] / 2, seconds)
    lanes = await random_rates(bank)
    singles = Singles(bank, f"s{run}")
    single = await singles.all_settings()
    peak = fastest(single)
    at_half = await singles.at_half(peak)
    bulk = await bulk_in_all_settings(bank, f"b{run}")
    crossing = await measure_crossing(bank, _processes_of(fastest(bulk)), f"x{run}")
    overload_peak, overload = await singles.overloaded(peak)
    return Round(
        tpcb=tpcb,
        tpcb_at_half=tpcb_at_half,
        lanes=lanes,
        lanes_hot=await hot_rate(bank, has_buckets=False),
        lanes_hot_in_buckets=await hot_rate(bank, has_buckets=True),
        single=single,
        single_at_half=at_half,
        overload_peak=overload_peak,
        overload=overload,
        bulk=bulk,
        cross=await singles.cross(peak, 1, 2),
        crossing=crossing,
        pgledger=await pgledger_per_second(dsn, accounts, clients, seconds, is_hot=False),
        pgledger_hot=await pgledger_per_second(dsn, accounts, clients, seconds, is_hot=True),
    )


def fastest(measured: list[Measured]) -> Measured:
    """The one with the highest rate."""
    return max(measured, key=lambda each: each.per_second)


def _processes_of(measured: Measured) -> int:
    how: dict[str, Any] = dict(measured.how)
    return int(how["processes"])
