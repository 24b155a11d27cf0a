"""What a scrape of ``/metrics`` reads off the bank: from memory, without a call to anybody."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from router.http.lane_metrics import LaneCollector
from router.watch import Seen
from router.wiring import Bank
from shard.suspense import OpenByAge

AGES = ("under_10s", "10s_to_1m", "1m_to_10m", "10m_to_1h", "1h_to_1d", "over_1d")
"""The ages of open items that ``OpenByAge.age`` counts, youngest first."""

_SHARD = ["shard"]
_ITEM_LABELS = ["shard", "state", "carrier", "currency", "age"]


def register_collectors(bank: Bank, registry: CollectorRegistry) -> None:
    """Have a registry read what one bank's shards, lanes and convoys tell."""
    registry.register(BankCollector(bank))
    registry.register(LaneCollector(bank.shards))


class BankCollector(Collector):
    """Gauges of one bank: convoys from memory, shards and suspense as last seen by its watch."""

    def __init__(self, bank: Bank) -> None:
        self._convoys = bank.convoys
        self._suspense = bank.suspense
        self._watch = bank.watch

    def collect(self) -> Iterator[Metric]:
        """The metric families of this moment."""
        yield GaugeMetricFamily(
            "ledger_convoys_waiting", "Convoys ready to leave.", value=self._convoys.waiting
        )
        yield GaugeMetricFamily(
            "ledger_convoys_travelling", "Convoys in flight.", value=self._convoys.travelling
        )
        yield GaugeMetricFamily(
            "ledger_temporal_up",
            "1 if Temporal answered this process a few seconds ago.",
            value=self._watch.is_temporal_up,
        )
        yield self._by_shard(
            "ledger_shard_up",
            "1 if the shard answered this process a second ago.",
            lambda number, seen: seen.is_up,
        )
        yield from self._bound()
        yield from _open_items(self._watch.seen)

    def _bound(self) -> Iterator[Metric]:
        suspense = self._suspense
        yield self._by_shard(
            "ledger_suspense_known_items",
            "Open amounts as this process knows them: counted up to the bound, and parked since.",
            lambda number, seen: suspense.known_items(number) if seen.is_up else None,
        )
        yield self._by_shard(
            "ledger_suspense_bound_items",
            "Open amounts beyond which no more transfers leave the shard.",
            lambda number, seen: suspense.items_max,
        )
        refused = CounterMetricFamily(
            "ledger_suspense_refused",
            "Transfers to other shards refused, or made to wait, because of the bound.",
            labels=_SHARD,
        )
        for number in self._watch.seen:
            refused.add_metric([str(number)], suspense.refused(number))
        yield refused

    def _by_shard(
        self, name: str, words: str, read: Callable[[int, Seen], float | None]
    ) -> GaugeMetricFamily:
        """A gauge for each shard; where there is no figure there is no sample."""
        family = GaugeMetricFamily(name, words, labels=_SHARD)
        for number, seen in self._watch.seen.items():
            value = read(number, seen)
            if value is not None:
                family.add_metric([str(number)], value)
        return family


def _open_items(shards: Mapping[int, Seen]) -> Iterator[Metric]:
    """What stands in suspense; nothing of a shard that does not answer."""
    items = GaugeMetricFamily(
        "ledger_suspense_items",
        "Amounts under way between shards, by age and by the kind of workflow that holds them.",
        labels=_ITEM_LABELS,
    )
    amount = GaugeMetricFamily(
        "ledger_suspense_amount", "Their sum, in units of the currency.", labels=_ITEM_LABELS
    )
    oldest = GaugeMetricFamily(
        "ledger_suspense_oldest_timestamp_seconds",
        "When the oldest of them was parked, in seconds since 1970.",
        labels=["shard", "state"],
    )
    for number, seen in shards.items():
        for each in seen.open_items or ():
            labels = [str(number), each.state, each.carrier, each.currency, AGES[each.age]]
            items.add_metric(labels, each.count)
            amount.add_metric(labels, float(each.amount))
        for state, parked_at in _oldest(seen.open_items or ()).items():
            oldest.add_metric([str(number), state], parked_at)
    yield from (items, amount, oldest)


def _oldest(open_items: Iterable[OpenByAge]) -> Mapping[str, float]:
    oldest: dict[str, float] = {}
    for each in open_items:
        parked_at = each.oldest_parked_at.timestamp()
        oldest[each.state] = min(parked_at, oldest.get(each.state, parked_at))
    return oldest
