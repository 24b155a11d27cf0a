"""What the sagas tell of money between shards, as counters and histograms."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from shard.repair_choice import RepairChoice

_WINDOW_BUCKETS_S = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
)  # fmt: skip
_CONVOY_BUCKETS_ITEMS = (1, 2, 5, 10, 25, 50, 100, 200, 300, 400, 500)
_SWEEP_ENDS = {True: "complete", False: "broken_off"}


class SagaMetrics:
    """The sagas' ``Observer``: what happened in this process, whose worker runs here or not."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._convoy_items = Histogram(
            "ledger_convoy_items",
            "Amounts in a convoy when it left.",
            buckets=_CONVOY_BUCKETS_ITEMS,
            registry=registry,
        )
        self._convoy_seconds = Histogram(
            "ledger_convoy_seconds",
            "Time from a convoy's departure to its known end.",
            buckets=_WINDOW_BUCKETS_S,
            registry=registry,
        )
        self._convoys_left = Counter(
            "ledger_convoys_left_to_sweeper",
            "Convoys that could not be started or followed; the sweeper carries their items.",
            registry=registry,
        )
        self._window_seconds = Histogram(
            "ledger_cross_shard_window_seconds",
            "Time from the commit of the debit to the commit of the credit, by the shards' clocks.",
            buckets=_WINDOW_BUCKETS_S,
            registry=registry,
        )
        self._add_troubles(registry)

    def _add_troubles(self, registry: CollectorRegistry) -> None:
        """Those that stay at zero while all goes well; they are there from the beginning."""
        self._unanswered = Counter(
            "ledger_deliveries_unanswered",
            "Amounts whose delivery was sent, and whose answer stayed away.",
            registry=registry,
        )
        found = Counter(
            "ledger_deliveries_sent_again",
            "Amounts whose delivery was sent again, by whether the one before had been decided.",
            ["resolution"],
            registry=registry,
        )
        self._found = found.labels("found")
        self._not_found = found.labels("not_found")
        self._sweeps = Counter(
            "ledger_sweeps",
            "Sweeps of a shard for amounts that nobody carries, by how they ended.",
            ["shard", "result"],
            registry=registry,
        )
        self._stragglers = Counter(
            "ledger_stragglers_sent",
            "Amounts that the sweeper sent off again.",
            ["shard"],
            registry=registry,
        )
        self._repairs_opened = Counter(
            "ledger_repairs_opened",
            "Amounts set aside for a person, because nobody could be credited.",
            registry=registry,
        )
        self._repairs_decided = Counter(
            "ledger_repairs_decided",
            "Decisions of persons that were carried out, by choice.",
            ["choice"],
            registry=registry,
        )
        for choice in RepairChoice:
            self._repairs_decided.labels(choice.value)

    def convoy_departed(self, items: int) -> None:
        """A convoy left with that many amounts."""
        self._convoy_items.observe(items)

    def convoy_ended(self, seconds: float) -> None:
        """A convoy is known to have ended, that long after it left."""
        self._convoy_seconds.observe(seconds)

    def convoy_left_to_sweeper(self) -> None:
        """A convoy's items are the sweeper's now."""
        self._convoys_left.inc()

    def window(self, seconds: float, items: int = 1) -> None:
        """Amounts were credited that long after their debit; two clocks may disagree a little."""
        for _ in range(items):
            self._window_seconds.observe(max(0.0, seconds))

    def deliveries_unanswered(self, items: int) -> None:
        """The answer to that many deliveries stayed away."""
        self._unanswered.inc(items)

    def deliveries_found(self, found: int, not_found: int) -> None:
        """Deliveries were sent again, and what the attempt before had done is known."""
        self._found.inc(found)
        self._not_found.inc(not_found)

    def swept(self, shard: int, stragglers: int, *, is_complete: bool) -> None:
        """A sweep of a shard ended."""
        self._sweeps.labels(str(shard), _SWEEP_ENDS[is_complete]).inc()
        self._stragglers.labels(str(shard)).inc(stragglers)

    def repair_opened(self) -> None:
        """An amount needs a person."""
        self._repairs_opened.inc()

    def repair_decided(self, choice: str) -> None:
        """A person has decided."""
        self._repairs_decided.labels(choice).inc()
