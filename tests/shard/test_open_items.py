"""Open items as metrics and the bound on suspense see them: counted and summed, within limits."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from shard.named_queries import QUERIES
from shard.outcomes import Outcome
from shard.suspense import Carrier, ItemState, OpenByAge, Settlement, SuspenseItem
from tests.shard.own_server import OwnShard, as_owner
from tests.shard.parked import park
from tests.support.interleaving import posting_connection

BOUNDS_S = (10.0, 60.0)
ANY = 1_000


async def items_of(own: OwnShard, *amounts: str, currency: str) -> list[SuspenseItem]:
    """Items of one transfer, in the order of their amounts."""
    parked = await park(own, *amounts, currency=currency)
    return sorted(parked.items, key=lambda item: item.amount)


async def grown_older(own: OwnShard, item: SuspenseItem, seconds: float) -> None:
    """The item was parked that much earlier."""
    await as_owner(
        own.database,
        f"UPDATE ledger.suspense_item SET parked_at = parked_at - interval '{seconds} s'"
        f" WHERE item_id = '{item.item_id}'",
    )


async def told_of(own: OwnShard, currency: str, limit: int = ANY) -> list[OpenByAge]:
    """What stands in suspense in one currency."""
    told = await own.shard.suspense.open_by_age(BOUNDS_S, limit)
    return [each for each in told if each.currency == currency]


async def test_open_items_are_told_by_state_carrier_and_age(own: OwnShard) -> None:
    """Alike ones are summed; an age is the number of bounds it has reached."""
    _, old, older, stuck = await items_of(own, "1", "2", "3", "4", currency="SEK")
    await grown_older(own, old, 30)
    await grown_older(own, older, 40)
    suspense = own.shard.suspense
    await suspense.hand_over([old.item_id, older.item_id], Carrier.ROUTE, 2)
    await suspense.mark_needs_repair(stuck.item_id, 1, Outcome.ACCOUNT_CLOSED)
    told = {(each.state, each.age): each for each in await told_of(own, "SEK")}

    assert {(ItemState.PARKED, 0), (ItemState.PARKED, 1), (ItemState.NEEDS_REPAIR, 0)} == set(told)
    waiting = told[ItemState.PARKED, 1]
    assert (Carrier.ROUTE, 2, Decimal(5)) == (waiting.carrier, waiting.count, waiting.amount)
    assert older.parked_at - timedelta(seconds=40) == waiting.oldest_parked_at
    assert Decimal(1) == told[ItemState.PARKED, 0].amount


async def test_an_item_that_is_closed_is_not_told(own: OwnShard) -> None:
    """What was delivered stands in suspense no more."""
    (item,) = await items_of(own, "1", currency="NOK")
    before = await own.shard.suspense.count_open(ANY)
    await own.shard.suspense.settle([Settlement(item.item_id, 1, 2, item.parked_at)])
    assert [] == await told_of(own, "NOK")
    assert before - 1 == await own.shard.suspense.count_open(ANY)


async def test_figures_are_bounded_and_begin_with_the_oldest(own: OwnShard) -> None:
    """However much stands there, a look at it costs as much as its limit says."""
    _, old = await items_of(own, "1", "2", currency="DKK")
    await grown_older(own, old, 10_000_000)
    assert [Decimal(2)] == [each.amount for each in await told_of(own, "DKK", limit=1)]
    assert 1 == await own.shard.suspense.count_open(1)


async def test_open_items_are_counted_off_the_index(own: OwnShard) -> None:
    """A count is made every second: it reads neither what is closed nor the items themselves."""
    async with (
        posting_connection(own.database.owner_dsn) as connection,
        connection.transaction(force_rollback=True),
    ):
        await connection.execute(
            "INSERT INTO ledger.suspense_item (item_id, debtor, origin, reference, transfer_id,"
            " target, amount, currency, business_date, value_date, convoy, state, parked_at)"
            " SELECT gen_random_uuid(), 1, 'client', n, gen_random_uuid(), 2, 1, 'EUR',"
            " '2026-11-23', '2026-11-23', gen_random_uuid(), 'delivered', now()"
            " FROM generate_series(1, 10000) AS n"
        )
        query = await connection.execute(f"EXPLAIN {QUERIES['count_open']}", (ANY,))
        plan = "\n".join(row[0] for row in await query.fetchall())
    assert "Index Only Scan using suspense_item_open" in plan
