"""What a scrape of ``/metrics`` reads off the bank at that moment."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from router.limits import PROBE_TIMEOUT_S
from router.wiring import Bank
from shard.errors import LedgerError
from shard.shard import Shard
from shard.suspense import OpenTotal

_ITEM_LABELS = ["shard", "state", "currency"]


class BankCollector(Collector):
    """Gauges of one bank: convoys from memory, suspense from the last ``refresh``."""

    def __init__(self, bank: Bank) -> None:
        self._shards = bank.shards
        self._convoys = bank.convoys
        self._open: dict[int, Sequence[OpenTotal] | None] = {}

    async def refresh(self) -> None:
        """Ask every shard at once for its open items; one that is silent counts as down."""
        totals = await asyncio.gather(*map(_open_totals, self._shards.values()))
        self._open = dict(zip(self._shards, totals, strict=True))

    def collect(self) -> Iterator[Metric]:
        """The metric families of this moment."""
        yield from self._sagas()
        yield from self._suspense()

    def _sagas(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "ledger_convoys_waiting", "Convoys ready to leave.", value=self._convoys.waiting
        )
        yield GaugeMetricFamily(
            "ledger_convoys_travelling", "Convoys in flight.", value=self._convoys.travelling
        )

    def _suspense(self) -> Iterator[Metric]:
        up = GaugeMetricFamily(
            "ledger_shard_up", "1 if the shard answered at this scrape.", labels=["shard"]
        )
        items = GaugeMetricFamily(
            "ledger_suspense_items", "Amounts under way between shards.", labels=_ITEM_LABELS
        )
        amount = GaugeMetricFamily(
            "ledger_suspense_amount", "Their sum, in units of the currency.", labels=_ITEM_LABELS
        )
        oldest = GaugeMetricFamily(
            "ledger_suspense_oldest_timestamp_seconds",
            "When the oldest of them was parked, in seconds since 1970.",
            labels=_ITEM_LABELS,
        )
        for number, totals in self._open.items():
            up.add_metric([str(number)], totals is not None)
            for total in totals or ():
                labels = [str(number), total.state, total.currency]
                items.add_metric(labels, total.count)
                amount.add_metric(labels, float(total.amount))
                oldest.add_metric(labels, total.oldest_parked_at.timestamp())
        yield from (up, items, amount, oldest)


async def _open_totals(shard: Shard) -> Sequence[OpenTotal] | None:
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            return await shard.suspense.open_totals()
    except (LedgerError, TimeoutError):
        return None
