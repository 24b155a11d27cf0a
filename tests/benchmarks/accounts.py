"""Accounts with funds for the benchmarks, the same on each shard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from shard.accounts import AccountKind, NewAccount
from shard.commands import Command, Leg, Origin
from shard.ids import new_id
from shard.outcomes import Outcome
from shard.shard import Shard

_FUNDS = Decimal("100000.00")
_FIRST = 500_000_000
_CHUNK = 1_000
HOT_BUCKETS = 16


@dataclass(frozen=True, slots=True)
class Accounts:
    """One shard's accounts: customers with consecutive numbers and 100,000.00 EUR each.

    ``hot`` is an ordinary account that takes everybody's credits, ``hot_in_buckets`` one that
    is split into ``HOT_BUCKETS`` buckets for that.
    """

    customers: list[int]
    hot: int
    hot_in_buckets: int


async def open_accounts(
    counts: Mapping[int, int], shard_dsns: Mapping[int, str]
) -> dict[int, Accounts]:
    """Open so many customers' accounts on each shard; the accounts by shard."""
    accounts = {}
    for number, count in counts.items():
        shard = Shard(number, shard_dsns[number])
        await shard.open()
        try:
            accounts[number] = await _open_on(shard, count)
        finally:
            await shard.close()
    return accounts


async def _open_on(shard: Shard, count: int) -> Accounts:
    first = shard.number * 1_000_000_000 + _FIRST
    equity, hot, hot_in_buckets = first - 3, first - 2, first - 1
    customers = [first + i for i in range(count)]
    await _open(shard, [
        NewAccount(equity, "EUR", AccountKind.EQUITY, None, None, b"bench"),
        NewAccount(hot, "EUR", AccountKind.CUSTOMER, "C", Decimal(0), b"bench"),
        NewAccount(
            hot_in_buckets, "EUR", AccountKind.CUSTOMER, "C", Decimal(0), b"bench",
            bucket_count=HOT_BUCKETS,
        ),
    ])  # fmt: skip
    for start in range(0, count, _CHUNK):
        chunk = customers[start : start + _CHUNK]
        await _open(
            shard,
            [NewAccount(n, "EUR", AccountKind.CUSTOMER, "C", Decimal(0), b"bench") for n in chunk],
        )
        answers = await shard.lanes.post_many([transfer(equity, n, _FUNDS) for n in chunk])
        _require_posted({answer.outcome for answer in answers})
    return Accounts(customers, hot, hot_in_buckets)


async def _open(shard: Shard, accounts: list[NewAccount]) -> None:
    _require_posted({*await shard.accounts.open_many(accounts)})


def _require_posted(outcomes: set[Outcome]) -> None:
    if outcomes != {Outcome.POSTED}:
        raise RuntimeError(f"the benchmark's accounts could not be opened: {outcomes}")


def transfer(debtor: int, creditor: int, amount: Decimal) -> Command:
    """A local transfer under a fresh reference."""
    transfer_id = new_id()
    return Command(
        home=debtor,
        origin=Origin.CLIENT,
        reference=str(transfer_id),
        transfer_id=transfer_id,
        request_hash=transfer_id.bytes,
        currency="EUR",
        amount=amount,
        creditor=creditor,
        legs=(Leg(debtor, -amount, creditor), Leg(creditor, amount, debtor)),
    )
