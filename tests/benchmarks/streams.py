"""Bulk over HTTP: a few streams at once, on one or several serving processes."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from tests.benchmarks.apart import run_apart
from tests.benchmarks.bank import MeasuredBank
from tests.benchmarks.bulk import Order
from tests.benchmarks.cpu import per_transfer_us
from tests.benchmarks.measured import Measured

_STREAMS = 4


async def bulk_in_all_settings(bank: MeasuredBank, run: str) -> list[Measured]:
    """Lines booked a second within shard 1, with each number of serving processes."""
    return [
        await measure_bulk(bank, processes, f"{run}-{processes}", bank.accounts[1].customers)
        for processes in range(1, len(bank.api) + 1)
    ]


async def measure_bulk(
    bank: MeasuredBank,
    processes: int,
    run: str,
    creditors: list[int],
    *,
    lines: int | None = None,
    rate_per_s: float | None = None,
) -> Measured:
    """Lines from shard 1 to these creditors, answered; as fast as can be, or at a pace."""
    order = Order(
        ports=bank.ports(processes),
        streams=_STREAMS,
        lines=lines or bank.extent.bulk_lines,
        debtors=bank.accounts[1].customers,
        creditors=creditors,
        run=run,
        rate_per_s=rate_per_s,
    )
    meter = bank.meter({1, 2}, processes)
    told = await run_apart("bulk", asdict(order))
    measured = Measured(**told.result)
    seconds = {**meter.seconds(), "generator": told.cpu_s}
    how: dict[str, Any] = {"processes": processes, "streams": _STREAMS, "lines": order.lines}
    if rate_per_s is not None:
        how["rate_per_s"] = round(rate_per_s)
    return replace(measured, how=how, cpu_us=per_transfer_us(seconds, measured.accepted))
