"""Bulk over HTTP: a few streams at once, on one or several serving processes."""

from __future__ import annotations

from dataclasses import asdict, replace

from tests.benchmarks.apart import run_apart
from tests.benchmarks.bank import MeasuredBank
from tests.benchmarks.bulk import Order
from tests.benchmarks.cpu import per_transfer_us
from tests.benchmarks.measured import Measured

_STREAMS = 4


async def bulk_in_all_settings(bank: MeasuredBank, run: str) -> list[Measured]:
    """Lines booked a second within shard 1, with each number of serving processes."""
    return [
        await _measure(bank, processes, f"{run}-{processes}")
        for processes in range(1, len(bank.api) + 1)
    ]


async def _measure(bank: MeasuredBank, processes: int, run: str) -> Measured:
    customers = bank.accounts[1].customers
    order = Order(
        ports=bank.ports(processes),
        streams=_STREAMS,
        lines=bank.extent.bulk_lines,
        debtors=customers,
        creditors=customers,
        run=run,
    )
    meter = bank.meter({1}, processes)
    told = await run_apart("bulk", asdict(order))
    measured = Measured(**told.result)
    seconds = {**meter.seconds(), "generator": told.cpu_s}
    return replace(
        measured,
        how={"processes": processes, "streams": _STREAMS, "lines": bank.extent.bulk_lines},
        cpu_us=per_transfer_us(seconds, measured.accepted),
    )
