"""What a scrape of ``/metrics`` reads off the shards' lanes, without a call to any shard."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate

from prometheus_client import Metric
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from shard.lane import LaneState
from shard.lane_figures import LaneFigures
from shard.shard import Shard
from shard.tally import Tally

_SHARD = ["shard"]
_GAUGES: tuple[tuple[str, str, Callable[[Shard], float]], ...] = (
    (
        "ledger_lane_queued_commands",
        "Commands that wait for a lane.",
        lambda shard: shard.lanes.queued_commands,
    ),
    (
        "ledger_lane_requests_in_flight",
        "Single requests that wait for a lane or are under way.",
        lambda shard: shard.lanes.requests,
    ),
    (
        "ledger_shard_reads_waiting",
        "Reads that wait for a connection.",
        lambda shard: shard.reads_waiting,
    ),
    (
        "ledger_shard_breaker_open",
        "1 while the shard is known not to answer, and is not asked by everybody.",
        lambda shard: shard.breaker.is_open,
    ),
)
_COUNTERS: tuple[tuple[str, str, Callable[[Shard], float]], ...] = (
    (
        "ledger_lane_batches",
        "Batches posted by this process.",
        lambda shard: shard.lanes.batches,
    ),
    (
        "ledger_lane_commands",
        "Commands posted by this process; divided by batches, the batch size.",
        lambda shard: shard.lanes.commands,
    ),
    (
        "ledger_lane_batches_retried",
        "Batches whose reply was lost, and which were asked for again.",
        lambda shard: shard.lanes.figures.batches_asked_again,
    ),
    (
        "ledger_lane_batches_cut_off",
        "Batches given up because the server was silent for too long.",
        lambda shard: shard.lanes.figures.batches_cut_off,
    ),
    (
        "ledger_shard_breaker_openings",
        "How often the shard was found not to answer.",
        lambda shard: shard.breaker.openings,
    ),
)
_REFUSALS: Mapping[str, Callable[[LaneFigures], int]] = {
    "full": lambda figures: figures.refused_full,
    "unavailable": lambda figures: figures.refused_unavailable,
    "late": lambda figures: figures.late,
    "abandoned": lambda figures: figures.abandoned,
}
_RESOLUTIONS: Mapping[str, Callable[[LaneFigures], int]] = {
    "found": lambda figures: figures.lost_found,
    "not_found": lambda figures: figures.lost_not_found,
    "given_up": lambda figures: figures.lost_given_up,
}
_TALLIES: tuple[tuple[str, str, Callable[[LaneFigures], Tally]], ...] = (
    (
        "ledger_lane_wait_seconds",
        "How long the first command of each batch had waited for a lane.",
        lambda figures: figures.wait_seconds,
    ),
    (
        "ledger_lane_batch_seconds",
        "Time from when a lane took a batch until all of it was answered.",
        lambda figures: figures.batch_seconds,
    ),
    (
        "ledger_lane_batch_commands",
        "Commands in a batch.",
        lambda figures: figures.batch_commands,
    ),
)


class LaneCollector(Collector):
    """Metrics of lanes and breakers, read from memory."""

    def __init__(self, shards: Mapping[int, Shard]) -> None:
        self._shards = {str(number): shard for number, shard in shards.items()}

    def collect(self) -> Iterator[Metric]:
        """The metric families of this moment."""
        for name, words, read in _GAUGES:
            gauge = GaugeMetricFamily(name, words, labels=_SHARD)
            for number, shard in self._shards.items():
                gauge.add_metric([number], read(shard))
            yield gauge
        for name, words, read in _COUNTERS:
            counter = CounterMetricFamily(name, words, labels=_SHARD)
            for number, shard in self._shards.items():
                counter.add_metric([number], read(shard))
            yield counter
        for name, words, tally_of in _TALLIES:
            histogram = HistogramMetricFamily(name, words, labels=_SHARD)
            for number, shard in self._shards.items():
                _add(histogram, number, tally_of(shard.lanes.figures))
            yield histogram
        yield self._states()
        yield self._by_kind(
            "ledger_lane_commands_refused",
            "Commands that were not sent: no room, shard known not to answer, too late, or "
            "nobody waited any more.",
            "reason",
            _REFUSALS,
        )
        yield self._by_kind(
            "ledger_unknown_outcomes",
            "Commands whose reply was lost, by what came out when they were asked for again: "
            "they had been decided, they had not, or nobody answered in time.",
            "resolution",
            _RESOLUTIONS,
        )

    def _states(self) -> Metric:
        lanes = GaugeMetricFamily(
            "ledger_lanes", "Lanes by what they are doing.", labels=["shard", "state"]
        )
        for number, shard in self._shards.items():
            states = shard.lanes.states()
            for state in LaneState:
                lanes.add_metric([number, state], states[state])
        return lanes

    def _by_kind(
        self, name: str, words: str, label: str, kinds: Mapping[str, Callable[[LaneFigures], int]]
    ) -> Metric:
        """A counter of several kinds of the same."""
        counter = CounterMetricFamily(name, words, labels=["shard", label])
        for number, shard in self._shards.items():
            for kind, read in kinds.items():
                counter.add_metric([number, kind], read(shard.lanes.figures))
        return counter


def _add(histogram: HistogramMetricFamily, shard: str, tally: Tally) -> None:
    bounds = [*map(floatToGoString, tally.bounds), "+Inf"]
    buckets = list(zip(bounds, accumulate(tally.counts), strict=True))
    histogram.add_metric([shard], buckets, tally.total)
