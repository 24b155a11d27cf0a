"""Figures of the demonstration: percentiles, the cross-shard window, what stands where."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from statistics import quantiles

from temporalio.client import Client
from temporalio.service import RPCError

from router.limits import DEMO_POLL_PAUSE_S, DEMO_REST_LIMIT_S, DEMO_VISIBILITY_LIMIT_S
from router.patience import Patience
from router.wiring import Bank
from shard.commit_times import Crossing
from shard.invariants import TrialLine
from shard.suspense import OpenTotal

_RUNNING_SAGAS = "ExecutionStatus = 'Running' AND WorkflowType != 'SweepWorkflow'"


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of ``count`` durations, in milliseconds; None where there was none."""

    count: int
    p50_ms: float | None
    p99_ms: float | None

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Percentiles:
        """The percentiles of some durations."""
        if not seconds:
            return cls(0, None, None)
        cuts = quantiles([*seconds, seconds[0]] if len(seconds) == 1 else seconds, n=100)
        return cls(len(seconds), round(1_000 * cuts[49], 1), round(1_000 * cuts[98], 1))


async def wait_until_at_rest(bank: Bank) -> bool:
    """Wait until nothing is in transit anywhere; False if that takes too long."""
    patience = Patience(DEMO_REST_LIMIT_S, first_s=DEMO_POLL_PAUSE_S, longest_s=DEMO_POLL_PAUSE_S)
    while any((await suspense(bank)).values()):
        if not await patience.pause():
            return False
    return True


async def suspense(bank: Bank) -> Mapping[int, Sequence[OpenTotal]]:
    """What stands in suspense on each shard."""
    totals = await asyncio.gather(*(each.suspense.open_totals() for each in bank.shards.values()))
    return dict(zip(bank.shards, totals, strict=True))


async def trial_balance(bank: Bank) -> Mapping[int, Sequence[TrialLine]]:
    """Debits and credits of each shard, by currency and kind of account."""
    lines = await asyncio.gather(
        *(each.invariants.trial_balance() for each in bank.shards.values())
    )
    return dict(zip(bank.shards, lines, strict=True))


async def windows(bank: Bank, since: datetime) -> list[float]:
    """Seconds from the commit of each debit to the commit of its credit on another shard."""
    shards = bank.shards.values()
    debits = _merged(await asyncio.gather(*(each.commit_times.debits(since) for each in shards)))
    booked = _merged(await asyncio.gather(*(each.commit_times.credits(since) for each in shards)))
    return [
        (booked[crossing] - debited).total_seconds()
        for crossing, debited in debits.items()
        if crossing in booked
    ]


async def open_sagas(client: Client | None) -> int | None:
    """Workflows that run, the sweeper aside; None if Temporal does not tell."""
    if client is None:
        return None
    patience = Patience(
        DEMO_VISIBILITY_LIMIT_S, first_s=DEMO_POLL_PAUSE_S, longest_s=DEMO_POLL_PAUSE_S
    )
    while True:
        try:
            count = (await client.count_workflows(_RUNNING_SAGAS)).count
        except RPCError:
            return None
        if not count or not await patience.pause():
            return count


async def balances(bank: Bank, accounts: Sequence[int]) -> Mapping[int, Decimal]:
    """The booked balances of some accounts."""
    found = await asyncio.gather(*(bank.accounts.balance(no) for no in accounts))
    return {balance.account_no: balance.ledger for balance in found}


def _merged(parts: Sequence[Mapping[Crossing, datetime]]) -> dict[Crossing, datetime]:
    return {crossing: when for part in parts for crossing, when in part.items()}
