"""Accounts with funds for the benchmarks, the same number on each shard."""

from __future__ import annotations

from decimal import Decimal

from router.settings import Settings
from shard.accounts import AccountKind, NewAccount
from shard.commands import Command, Leg, Origin
from shard.ids import new_id
from shard.outcomes import Outcome
from shard.shard import Shard

_FUNDS = Decimal("100000.00")
_FIRST = 500_000_000


async def open_accounts(settings: Settings, count: int) -> dict[int, list[int]]:
    """Open ``count`` EUR accounts on every shard, each with 100,000.00; numbers by shard."""
    numbers = {}
    for number, dsn in settings.shard_dsns.items():
        shard = Shard(number, dsn.get_secret_value())
        await shard.open()
        try:
            numbers[number] = await _open_on(shard, count)
        finally:
            await shard.close()
    return numbers


async def _open_on(shard: Shard, count: int) -> list[int]:
    equity = shard.number * 1_000_000_000 + _FIRST
    accounts = [equity + i for i in range(1, count + 1)]
    opened = await shard.accounts.open_many([
        NewAccount(equity, "EUR", AccountKind.EQUITY, None, None, b"bench"),
        *(NewAccount(n, "EUR", AccountKind.CUSTOMER, "C", Decimal(0), b"bench") for n in accounts),
    ])  # fmt: skip
    answers = await shard.lanes.post_many(
        [transfer(equity, account, _FUNDS) for account in accounts]
    )
    if {*opened, *(answer.outcome for answer in answers)} != {Outcome.POSTED}:
        raise RuntimeError("the benchmark's accounts could not be opened")
    return accounts


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
