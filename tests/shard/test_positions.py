"""Balances of the past: what the entries said then, found without reading all of them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from uuid import UUID

import pytest

from shard.account_numbers import suspense_account
from shard.errors import Malformed, NotFound, NotOwner
from shard.shard import Shard
from tests.shard.own_server import (
    FIRST_RANGE,
    Database,
    as_owner,
)
from tests.support.bank import account_no, open_account
from tests.support.history import INSTANT, Past, past_of
from tests.support.interleaving import posting_connection

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
_EXPLAIN = (
    "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)"
    " SELECT * FROM ledger.balance_as_of_v1(%s::bigint, %s::timestamptz, %s::date)"
)


async def _live(past: Past, rng: Random, steps: int, buckets: int) -> None:
    """Some months of an account: credits, debits, amounts that travel for moments or for days."""
    travelling: list[tuple[UUID, str]] = []
    await past.receive("1000.00")
    for _ in range(steps):
        await past.later(rng.choice([timedelta(0), INSTANT, SECOND, 9 * SECOND, 40 * SECOND]))
        lane, amount = rng.randrange(buckets), f"{rng.randint(1, 500) / 100:.2f}"
        match rng.randrange(8):
            case 0 | 1:
                await past.receive(amount, amount, lane=lane)
            case 2:
                await past.pay(amount, lane)
            case 3 | 4:
                travelling.append((await past.send(amount, lane), amount))
            case 7:
                item = await past.send(amount, lane)
                await past.later(rng.choice([INSTANT, SECOND, 9 * SECOND, 10 * SECOND]))
                await past.settle(item, amount)
            case 5 if travelling:
                item, sent = travelling.pop(rng.randrange(len(travelling)))
                await past.settle(item, sent)
            case _:
                await past.next_day(past.on + timedelta(days=rng.choice([1, 1, 2, 17])))
    await past.next_day(past.on + timedelta(days=31))
    await past.receive("1.00")


@pytest.mark.parametrize("buckets", [1, 4])
async def test_a_past_balance_is_what_the_model_remembers(
    database: Database, shard: Shard, rng: Random, buckets: int
) -> None:
    """At every instant at and between all changes, and at the end of every business date."""
    async with past_of(shard, database, buckets=buckets) as past:
        await _live(past, rng, 120, buckets)
        instants, dates = past.instants(), past.dates()
        by_time = [await shard.balances.get(past.account, at) for at in instants]
        by_date = [await shard.balances.get(past.account, on) for on in dates]

    assert len({(on.year, on.month) for on in dates}) > 1
    assert [past.at_instant(at) for at in instants] == [(b.ledger, b.in_transit) for b in by_time]
    assert [past.at_end_of(on) for on in dates] == [(b.ledger, b.in_transit) for b in by_date]
    assert [*instants, *dates] == [b.as_of for b in (*by_time, *by_date)]


@pytest.mark.parametrize("buckets", [1, 3])
async def test_the_latest_past_is_the_present(
    database: Database, shard: Shard, rng: Random, buckets: int
) -> None:
    """As of now, and of the open business date, all figures and the position are today's."""
    async with past_of(shard, database, buckets=buckets, limit="50") as past:
        await _live(past, rng, 20, buckets)
        now = await shard.balances.get(past.account)
        by_time = await shard.balances.get(past.account, past.at)
        by_date = await shard.balances.get(past.account, past.on)

    for balance in (by_time, by_date):
        assert now.seq == balance.seq
        assert (now.ledger, now.held, now.available, now.in_transit) == (
            balance.ledger,
            balance.held,
            balance.available,
            balance.in_transit,
        )


async def test_available_uses_the_limits_of_that_time(database: Database, shard: Shard) -> None:
    """Overdraft limit and minimum balance count as they were then, with or without an entry."""
    async with past_of(shard, database, limit="50") as past:
        await past.receive("10.00")
        limits = (("50", "0"), ("70", "0"), ("0", "0"), ("0", "4"), ("20", "0"))
        available = []
        for n, (overdraft_limit, minimum_balance) in enumerate(limits):
            if n:
                await past.later(SECOND)
                await past.next_day(past.on + DAY)
                await past.set_limits(overdraft_limit, minimum_balance)
            available.append(10 + Decimal(overdraft_limit) - Decimal(minimum_balance))
        by_time = [past.beginning + n * SECOND for n in range(len(limits))]
        by_date = [past.on - n * DAY for n in reversed(range(len(limits)))]
        told = [(await shard.balances.get(past.account, at)).available for at in by_time + by_date]

    assert available * 2 == told


async def test_held_amounts_are_those_of_that_time(database: Database, shard: Shard) -> None:
    """What was on hold then counts in held and in available."""
    async with past_of(shard, database) as past:
        await past.receive("10.00")
        await past.later(SECOND)
        reference = await past.hold("4.00")
        during = past.at
        await past.later(SECOND)
        await past.void(reference)
        told = [
            await shard.balances.get(past.account, at)
            for at in (past.beginning, during, during + SECOND)
        ]

    figures = [(balance.held, balance.available, balance.seq) for balance in told]
    held_and_available = [
        (Decimal(h), Decimal(a), seq) for h, a, seq in [(0, 10, "1"), (4, 6, "2"), (0, 10, "3")]
    ]
    assert held_and_available == figures


async def test_an_account_without_floor_has_no_past_available(
    database: Database, shard: Shard
) -> None:
    """Available is None then as it is now."""
    async with past_of(shard, database, limit=None) as past:
        await past.receive("10.00")
        balance = await shard.balances.get(past.account, past.at)

    assert (Decimal(10), None) == (balance.ledger, balance.available)


@pytest.mark.parametrize(("buckets", "seq"), [(1, "0"), (3, "0:0,1:0,2:0")])
async def test_before_the_first_entry_everything_is_zero(
    database: Database, shard: Shard, buckets: int, seq: str
) -> None:
    """An account that was open and had no entry yet: zeros, at position zero."""
    async with past_of(shard, database, buckets=buckets) as past:
        await past.later(SECOND)
        await past.receive("10.00", lane=1)
        before = await shard.balances.get(past.account, past.at - INSTANT)
    never = await open_account(shard)
    unused = await shard.balances.get(never, await shard.business_day.get())

    zero = Decimal(0)
    for balance in (before, unused):
        figures = (balance.ledger, balance.held, balance.available, balance.in_transit)
        assert (zero,) * 4 == figures
    assert (seq, "0") == (before.seq, unused.seq)


async def test_an_account_that_was_not_open_yet_is_not_found(
    database: Database, shard: Shard
) -> None:
    """Before its opening an account has no balance, not one of zero."""
    async with past_of(shard, database) as past:
        for early in (past.beginning - INSTANT, past.on - DAY, date.min):
            with pytest.raises(NotFound) as refused:
                await shard.balances.get(past.account, early)
            assert f"The account was not open yet at {early.isoformat()}." == str(refused.value)


async def test_the_future_has_no_balance(database: Database, shard: Shard) -> None:
    """A time that has not come and a business date that is not open are malformed requests."""
    async with past_of(shard, database) as past:
        tomorrow = datetime.now(UTC) + DAY
        for late in (tomorrow, past.on + DAY, date.max):
            with pytest.raises(Malformed):
                await shard.balances.get(past.account, late)


async def test_the_past_is_told_by_the_owner_alone(database: Database, shard: Shard) -> None:
    """An account that is unknown here, or has moved away, has no past here."""
    account = await open_account(shard)
    today = await shard.business_day.get()
    with pytest.raises(NotFound):
        await shard.balances.get(account_no(1), today)
    state = "UPDATE ledger.owned_range SET state = '{}' WHERE range_id = {}"
    await as_owner(database, state.format("RELEASED", FIRST_RANGE))
    with pytest.raises(NotOwner):
        await shard.balances.get(account, today)
    await as_owner(database, state.format("OWNED", FIRST_RANGE))


async def test_a_system_account_has_a_past_over_all_lanes(database: Database, shard: Shard) -> None:
    """What stood in suspense is the sum over its buckets at that time."""
    suspense = suspense_account(1, "EUR")
    today = await shard.business_day.get()
    before = await shard.balances.get(suspense, today)
    async with past_of(shard, database) as past:
        await past.receive("10.00")
        for lane in (0, 3):
            await past.send("1.00", lane)
    after = await shard.balances.get(suspense, today)

    assert before.ledger + 2 == after.ledger
    assert (await shard.balances.get(suspense)).ledger == after.ledger


async def test_an_amount_is_in_transit_once_its_debit_counts(
    database: Database, shard: Shard
) -> None:
    """A posting that is stamped later than it began is at no instant counted twice."""
    async with past_of(shard, database) as past:
        await past.later(10 * SECOND)
        await past.receive("10.00")
        await past.set_clock(past.beginning)
        await past.send("4.00")
        instants = (past.at - INSTANT, past.at)
        told = [await shard.balances.get(past.account, at) for at in instants]

    assert [(0, 0), (6, 4)] == [(int(b.ledger), int(b.in_transit)) for b in told]


async def _buffers(past: Past, at: datetime | None, on: date | None) -> int:
    """Pages that one look into the past touches, once everything is planned and warm."""
    async with posting_connection(past.database.dsn) as connection:
        for _ in range(2):
            cursor = await connection.execute(_EXPLAIN, (past.account, at, on))
            ((document,),) = await cursor.fetchall()
    plan = document[0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


@pytest.mark.parametrize("way", ["by time", "by date"])
async def test_a_look_into_the_past_does_not_grow_with_history(
    database: Database, shard: Shard, way: str
) -> None:
    """A hundred times the entries cost a few pages more: probes, and no scan."""
    touched = []
    for entries in (100, 10_000):
        async with past_of(shard, database) as past:
            await past.receive(*["1.00"] * (entries // 2))
            middle, on = past.at, past.on
            await past.later(SECOND)
            await past.next_day(past.on + DAY)
            for _ in range(entries // 200):
                await past.later(SECOND)
                await past.receive(*["1.00"] * 100)
            # In the middle of the later date, so that both bisections have work to do.
            at = past.at - (entries // 400) * SECOND
            balance = await shard.balances.get(past.account, at)
            assert past.at_instant(at) == (balance.ledger, balance.in_transit)
            assert middle < at
            touched.append(await _buffers(past, at if way == "by time" else None, on))

    few, many = touched
    assert many < few + 60
    assert many < 200


async def test_amounts_that_arrived_long_ago_cost_nothing(database: Database, shard: Shard) -> None:
    """What was in transit is found without reading every amount that ever was."""
    async with past_of(shard, database) as past:
        await past.receive("1000.00")
        touched = []
        for count in (10, 300):
            for _ in range(count):
                await past.later(20 * SECOND)
                item = await past.send("1.00")
                await past.later(SECOND)
                await past.settle(item, "1.00")
            touched.append(await _buffers(past, past.at - SECOND, None))
            balance = await shard.balances.get(past.account, past.at - SECOND)
            assert Decimal(1) == balance.in_transit

    few, many = touched
    assert many < few + 8
