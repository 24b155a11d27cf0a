"""Holds whose time is up are ended by the sweep, once each, and whatever else goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from sagas.sweeper import Sweeper
from shard.holds import HoldState
from shard.limits import HOLDS_PER_BATCH
from shard.outcomes import Outcome
from shard.shard import Shard
from tests.sagas.small_bank import SmallBank
from tests.support.bank import open_account
from tests.support.databases import Databases
from tests.support.movements import Teller, capture, increase, place, teller_at

YEAR = timedelta(days=365)
PAST = datetime(2020, 1, 1, tzinfo=UTC)


async def due_holds(servers: Databases, shard: Shard, count: int) -> list[int]:
    """Accounts of which each holds 30 of its 100 EUR back, until a time that has passed."""
    accounts = [await open_account(shard, "100") for _ in range(count)]
    async with teller_at(servers.shard_dsns[shard.number]) as teller:
        await teller.set_clock(PAST)
        told = await teller.told(
            *(place(each, "30", "AUTH", expires_at=PAST + timedelta(days=1)) for each in accounts)
        )
    assert [Outcome.POSTED] * count == told
    return accounts


async def held(shard: Shard, accounts: list[int]) -> list[Decimal]:
    """What each account holds back."""
    return [(await shard.balances.get(account)).held for account in accounts]


async def test_a_sweep_ends_what_is_due(small_bank: SmallBank, servers: Databases) -> None:
    """The money is available again; the sweep says how many it ended, and then none."""
    shard = small_bank.shards[1]
    (account,) = await due_holds(servers, shard, 1)
    sweeper = Sweeper(small_bank.client, small_bank.shards)

    first = await sweeper.sweep(1)

    assert (None, True) == (first.failure, first.expired >= 1)
    assert HoldState.EXPIRED is (await shard.holds.get(account, "AUTH")).state
    balance = await shard.balances.get(account)
    assert (Decimal(0), Decimal(100)) == (balance.held, balance.available)
    assert 0 == (await sweeper.sweep(1)).expired


async def test_a_sweep_leaves_what_is_not_due(small_bank: SmallBank, servers: Databases) -> None:
    """A hold that ends later is nobody's business yet."""
    shard = small_bank.shards[1]
    account = await open_account(shard, "100")
    async with teller_at(servers.shard_dsns[1]) as teller:
        await teller.post(place(account, "30", "AUTH", expires_at=datetime.now(UTC) + YEAR))

    await Sweeper(small_bank.client, small_bank.shards).sweep(1)

    assert [Decimal(30)] == await held(shard, [account])


async def test_more_than_a_batch_is_ended_by_one_sweep(
    small_bank: SmallBank, servers: Databases
) -> None:
    """In batches, until none is left."""
    shard = small_bank.shards[2]
    account = await open_account(shard, "100000")
    names = [f"AUTH-{n}" for n in range(HOLDS_PER_BATCH + 1)]
    async with teller_at(servers.shard_dsns[2]) as teller:
        await teller.set_clock(PAST)
        end = PAST + timedelta(days=1)
        await teller.post(*(place(account, "1", name, expires_at=end) for name in names))

    sweep = await Sweeper(small_bank.client, small_bank.shards).sweep(2)

    assert sweep.expired >= len(names)
    assert [Decimal(0)] == await held(shard, [account])


async def test_two_sweeps_at_once_end_each_hold_once(
    small_bank: SmallBank, servers: Databases
) -> None:
    """Both ask for the same holds; together they count each of them once."""
    shard = small_bank.shards[3]
    accounts = await due_holds(servers, shard, 20)
    sweeper = Sweeper(small_bank.client, small_bank.shards)

    sweeps = await asyncio.gather(*(sweeper.sweep(3) for _ in range(3)))

    assert 20 == sum(sweep.expired for sweep in sweeps)
    assert [Decimal(0)] * 20 == await held(shard, accounts)


async def test_an_expired_hold_is_not_captured(small_bank: SmallBank, servers: Databases) -> None:
    """Before the sweep its time is up, after it the hold is not open; nothing is paid."""
    shard = small_bank.shards[1]
    (account,) = await due_holds(servers, shard, 1)
    creditor = await open_account(shard)
    async with teller_at(servers.shard_dsns[1]) as teller:
        assert [Outcome.HOLD_EXPIRED] == await told_capture(teller, account, creditor)
        await Sweeper(small_bank.client, small_bank.shards).sweep(1)
        assert [Outcome.HOLD_NOT_OPEN] == await told_capture(teller, account, creditor)
    assert Decimal(0) == (await shard.balances.get(creditor)).ledger


async def told_capture(teller: Teller, account: int, creditor: int) -> list[Outcome]:
    """What a capture of the hold is answered."""
    return await teller.told(capture(account, creditor, "30", "AUTH"))


async def test_a_hold_that_got_a_later_end_is_left_until_then(
    small_bank: SmallBank, servers: Databases
) -> None:
    """The sweep read it as due; the increase was first."""
    shard = small_bank.shards[1]
    (account,) = await due_holds(servers, shard, 1)
    async with teller_at(servers.shard_dsns[1]) as teller:
        await teller.set_clock(PAST)
        later = increase(account, "1", "AUTH", expires_at=datetime.now(UTC) + YEAR)
        assert [Outcome.POSTED] == await teller.told(later)

    await Sweeper(small_bank.client, small_bank.shards).sweep(1)

    assert [Decimal(31)] == await held(shard, [account])


async def test_holds_end_although_temporal_is_away_for_convoys(
    small_bank: SmallBank, servers: Databases, shards: Mapping[int, Shard]
) -> None:
    """A shard that does not answer is reported; the holds of another one end all the same."""
    (account,) = await due_holds(servers, shards[1], 1)
    unreachable = Shard(2, "host=127.0.0.1 port=1 dbname=nowhere")
    await unreachable.open()
    sweeper = Sweeper(small_bank.client, {1: shards[1], 2: unreachable})

    dead = await sweeper.sweep(2)
    await sweeper.sweep(1)

    await unreachable.close()
    assert (0, True) == (dead.expired, dead.failure is not None)
    assert HoldState.EXPIRED is (await shards[1].holds.get(account, "AUTH")).state
