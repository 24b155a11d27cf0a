"""Money between shards: how fast, and how long it stands in suspense.

A window lasts from the commit of the debit to the commit of the credit, each by its own server's
clock; all servers are on one machine. A rate counts until the last credit is committed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from statistics import median

from shard.shard import Shard
from tests.benchmarks.apart import run_apart
from tests.benchmarks.balances import settled
from tests.benchmarks.bank import MeasuredBank
from tests.benchmarks.cpu import per_transfer_us
from tests.benchmarks.figures import percentile
from tests.benchmarks.load import Order
from tests.benchmarks.measured import Measured
from tests.benchmarks.streams import measure_bulk

SHARES = (0, 5, 20, 50, 100)
"""Percent of the lines that go to another shard."""

_NEAR, _FAR = 1, 2
_IDLE_PER_S = 20.0
_IDLE_CONNECTIONS = 4
_HALF = 0.5


@dataclass(frozen=True, slots=True)
class Windows:
    """How long amounts stood in suspense, and at which rate they arrived, until the last one."""

    count: int
    p50_ms: float
    p99_ms: float
    first_debit_at: str
    last_credit_at: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Crossed:
    """A load of which ``share`` percent went to another shard; ``windows`` of that part."""

    share: int
    answered: Measured
    windows: Windows | None

    @property
    def per_second(self) -> float:
        """Transfers booked, and where they went to another shard delivered, a second."""
        arrived_s = 0.0 if self.windows is None else self.windows.seconds
        return self.answered.accepted / max(self.answered.seconds, arrived_s)


@dataclass(frozen=True, slots=True)
class Crossing:
    """All that is measured of one setting of serving processes."""

    idle: Windows
    curve: list[Crossed]
    at_half: Crossed

    @property
    def figures(self) -> dict[str, float]:
        """By the keys of the report."""
        near, far = self.curve[0], self.curve[-1]
        peak = far.windows
        half = self.at_half.windows
        return {
            "cross_idle_p50_ms": self.idle.p50_ms,
            "cross_idle_p99_ms": self.idle.p99_ms,
            "cross_bulk_per_s": far.per_second,
            "cross_bulk_ratio": far.per_second / near.per_second,
            **({} if peak is None else {"cross_peak_p99_ms": peak.p99_ms}),
            **({} if half is None else {"cross_load_p99_ms": half.p99_ms}),
        }


async def measure_crossing(bank: MeasuredBank, processes: int, run: str) -> Crossing:
    """Idle, with each share between shards, and at half the rate of the whole share.

    What is compared is measured one right after the other, as a machine changes its pace.
    """
    idle = await _idle(bank, f"{run}i")
    least, *between, most = SHARES
    near = await _crossed(bank, processes, least, f"{run}c{least}")
    far = await _crossed(bank, processes, most, f"{run}c{most}")
    pace = _HALF * far.per_second
    lines = round(pace * bank.extent.seconds)
    at_half = await _crossed(bank, processes, most, f"{run}h", rate_per_s=pace, lines=lines)
    mixed = [await _crossed(bank, processes, share, f"{run}c{share}") for share in between]
    return Crossing(idle, [near, *mixed, far], at_half)


async def _idle(bank: MeasuredBank, run: str) -> Windows:
    """One transfer now and then, each finding a system at rest."""
    since = datetime.now(UTC)
    order = Order(
        ports=bank.ports(1),
        connections=_IDLE_CONNECTIONS,
        seconds=bank.extent.seconds,
        debtors=bank.accounts[_NEAR].customers,
        creditors=bank.accounts[_FAR].customers,
        run=run,
        rate_per_s=_IDLE_PER_S,
    )
    await run_apart("load", asdict(order))
    windows = await _windows(bank, since)
    if windows is None:
        raise RuntimeError("nothing was delivered")
    return windows


async def _crossed(
    bank: MeasuredBank,
    processes: int,
    share: int,
    run: str,
    *,
    rate_per_s: float | None = None,
    lines: int | None = None,
) -> Crossed:
    """Bulk lines of which that many percent go to another shard."""
    near, far = bank.accounts[_NEAR].customers, bank.accounts[_FAR].customers
    count = min(len(near), len(far))
    creditors = near[: count * (100 - share) // 100] + far[: count * share // 100]
    since = datetime.now(UTC)
    meter = bank.meter({_NEAR, _FAR}, processes)
    answered = await measure_bulk(
        bank, processes, run, creditors, lines=lines, rate_per_s=rate_per_s
    )
    windows = await _windows(bank, since) if share else None
    # All the work there was, also after the last answer.
    cpu_us = per_transfer_us(meter.seconds(), answered.accepted)
    return Crossed(share, replace(answered, cpu_us={**answered.cpu_us, **cpu_us}), windows)


async def _windows(bank: MeasuredBank, since: datetime) -> Windows | None:
    """The windows of everything delivered since then, once nothing is in transit any more."""
    dsns = bank.endpoints.shard_dsns
    await settled(dsns)
    near, far = Shard(_NEAR, dsns[_NEAR]), Shard(_FAR, dsns[_FAR])
    await asyncio.gather(near.open(), far.open())
    try:
        debits, credits_ = await asyncio.gather(
            near.commit_times.debits(since), far.commit_times.credits(since)
        )
    finally:
        await asyncio.gather(near.close(), far.close())
    known = debits.keys() & credits_.keys()
    if not known:
        return None
    times_ms = sorted(1e3 * (credits_[each] - debits[each]).total_seconds() for each in known)
    first, last = min(debits[each] for each in known), max(credits_[each] for each in known)
    return Windows(
        count=len(times_ms),
        p50_ms=percentile(times_ms, 0.50),
        p99_ms=percentile(times_ms, 0.99),
        first_debit_at=first.isoformat(),
        last_credit_at=last.isoformat(),
        seconds=(last - first).total_seconds(),
    )


def curve_of(measured: Sequence[Crossing]) -> list[dict[str, float | None]]:
    """For each share the medians over all rounds: rate, and the window's p99 where there is one."""
    points = []
    for i, share in enumerate(SHARES):
        crossed = [each.curve[i] for each in measured]
        p99s_ms = [each.windows.p99_ms for each in crossed if each.windows is not None]
        points.append(
            {
                "share": float(share),
                "per_second": median(each.per_second for each in crossed),
                "p99_ms": median(p99s_ms) if p99s_ms else None,
            }
        )
    return points
