"""Single transfers over HTTP: the peak, the times at half of it, and far beyond it."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from tests.benchmarks.apart import run_apart
from tests.benchmarks.bank import MeasuredBank
from tests.benchmarks.cpu import per_transfer_us
from tests.benchmarks.load import Order
from tests.benchmarks.measured import Measured
from tests.benchmarks.wrk import run_wrk, wrk_program

OVERLOAD_FACTOR = 10
_HALF = 0.5


def generator_name() -> str:
    """What makes the load of ``single_http_ratio``."""
    return "wrk" if wrk_program() is not None else "tests.benchmarks.load"


class Singles:
    """Measurements of single transfers within shard 1, on one or several serving processes."""

    def __init__(self, bank: MeasuredBank, run: str) -> None:
        self._bank = bank
        self._run = run
        self._measured = 0

    async def all_settings(self) -> list[Measured]:
        """The rate with each number of processes and of connections."""
        return [
            await self._measure(processes, connections, is_peak=True)
            for processes in range(1, len(self._bank.api) + 1)
            for connections in self._bank.extent.connections
        ]

    async def at_half(self, peak: Measured) -> Measured:
        """Times at half the load of the peak, in the peak's setting; with a pace of its own."""
        processes, connections = _setting_of(peak)
        return await self._measure(processes, connections, rate_per_s=_HALF * peak.per_second)

    async def overloaded(self, peak: Measured) -> tuple[Measured, Measured]:
        """The peak again, and ten times its connections, both by clients that come back later."""
        processes, connections = _setting_of(peak)
        again = await self._measure(processes, connections)
        beyond = await self._measure(processes, OVERLOAD_FACTOR * connections)
        return again, beyond

    async def cross(self, peak: Measured, debtor_shard: int, creditor_shard: int) -> Measured:
        """Transfers from one shard to another one, in the peak's setting."""
        processes, connections = _setting_of(peak)
        return await self._measure(
            processes, connections, debtor_shard=debtor_shard, creditor_shard=creditor_shard
        )

    async def _measure(
        self,
        processes: int,
        connections: int,
        *,
        debtor_shard: int = 1,
        creditor_shard: int = 1,
        rate_per_s: float | None = None,
        is_peak: bool = False,
    ) -> Measured:
        self._measured += 1
        order = Order(
            ports=self._bank.ports(processes),
            connections=connections,
            seconds=self._bank.extent.seconds,
            debtors=self._bank.accounts[debtor_shard].customers,
            creditors=self._bank.accounts[creditor_shard].customers,
            run=f"{self._run}-{self._measured}",
            rate_per_s=rate_per_s,
        )
        meter = self._bank.meter({debtor_shard, creditor_shard}, processes)
        program = wrk_program() if is_peak else None
        if program is not None:
            measured, generator_s = await run_wrk(program, order)
        else:
            told = await run_apart("load", asdict(order))
            measured, generator_s = Measured(**told.result), told.cpu_s
        seconds = {**meter.seconds(), "generator": generator_s}
        how: dict[str, Any] = {"processes": processes, "connections": connections}
        if rate_per_s is not None:
            how["rate_per_s"] = round(rate_per_s)
        how["generator"] = "tests.benchmarks.load" if program is None else "wrk"
        return replace(measured, how=how, cpu_us=per_transfer_us(seconds, measured.accepted))


def _setting_of(measured: Measured) -> tuple[int, int]:
    how: dict[str, Any] = dict(measured.how)
    return int(how["processes"]), int(how["connections"])
