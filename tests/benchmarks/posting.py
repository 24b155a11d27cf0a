"""What is posted through lanes without HTTP: random accounts, hot accounts, one shard or many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

from tests.benchmarks.apart import run_apart
from tests.benchmarks.bank import MeasuredBank
from tests.benchmarks.cpu import server_pid
from tests.benchmarks.lanes import Order
from tests.benchmarks.measured import Measured

_BATCH = 1_000
"""More than a lane takes at once: something always waits."""


async def random_rates(bank: MeasuredBank) -> list[Measured]:
    """Transfers between random accounts of shard 1, with each number of clients."""
    order = _order(bank, [1], transfers=bank.extent.lane_transfers)
    return [
        await _carry_out(replace(order, clients=clients)) for clients in bank.extent.lane_clients
    ]


async def random_rate_for(bank: MeasuredBank, shard: int, seconds: float) -> Measured:
    """Transfers between random accounts of a shard, for so long."""
    return await _carry_out(_order(bank, [shard], seconds=seconds))


async def hot_rate(bank: MeasuredBank, *, has_buckets: bool) -> Measured:
    """Random debtors of shard 1, all credits to one account."""
    accounts = bank.accounts[1]
    creditor = accounts.hot_in_buckets if has_buckets else accounts.hot
    order = _order(bank, [1], transfers=bank.extent.lane_transfers)
    return await _carry_out(replace(order, creditors={"1": creditor}))


async def fixed_number(bank: MeasuredBank, shard: int, transfers: int) -> Measured:
    """So many transfers between random accounts of a shard."""
    return await _carry_out(_order(bank, [shard], transfers=transfers))


async def in_turn(
    bank: MeasuredBank, shards: Sequence[int], transfers: int, batch: int
) -> Measured:
    """So many transfers in batches of a given size, one after the other, to each shard in turn.

    By one client: lanes would make one batch of what two bring at the same time.
    """
    order = _order(bank, shards, transfers=transfers)
    return await _carry_out(replace(order, batch=batch, clients=1))


def _order(
    bank: MeasuredBank,
    shards: Sequence[int],
    *,
    seconds: float = 0.0,
    transfers: int = 0,
) -> Order:
    return Order(
        dsns={str(shard): bank.endpoints.shard_dsns[shard] for shard in shards},
        accounts={str(shard): bank.accounts[shard].customers for shard in shards},
        clients=bank.extent.lane_clients[0],
        batch=_BATCH,
        seconds=seconds,
        transfers=transfers,
        server_pids=[server_pid(bank.stack.shard_server(shard)) for shard in shards],
    )


async def _carry_out(order: Order) -> Measured:
    return Measured(**(await run_apart("lanes", asdict(order))).result)
