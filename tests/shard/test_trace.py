"""The entries and the settlement of one transfer, found among all others without reading them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shard.account_numbers import clearing_account, suspense_account
from shard.commands import Origin
from shard.errors import NotOwner
from shard.named_queries import QUERIES
from shard.positions import Place, write_cursor
from shard.shard import Shard
from shard.statements import EntryLine
from shard.suspense import Settlement
from shard.trace import Booking
from tests.shard.own_server import SECOND_RANGE, Database, OwnShard, as_owner, open_in_second_range
from tests.support.bank import BUSINESS_DATE, account_no, open_account, transfer
from tests.support.history import Past, past_of
from tests.support.interleaving import posting_connection

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)


def booking_of(past: Past, line: EntryLine) -> Booking:
    """The command that an entry of the account belongs to: what its equity account paid in."""
    return Booking(
        past.equity, Origin.CLIENT, line.reference, line.business_date, line.posted_at
    )  # fmt: skip


async def lines_of(past: Past) -> list[EntryLine]:
    """All entries of the account, as far as a page holds them."""
    return (await past.shard.statements.page(past.account, limit=1_000)).lines


@pytest.mark.parametrize("buckets", [1, 4])
async def test_each_command_has_its_own_entries(
    database: Database, shard: Shard, buckets: int
) -> None:
    """Those posted at the same time, just before, just after, in whichever bucket and date."""
    async with past_of(shard, database, buckets=buckets) as past:
        for lane in (0, 3, 1, 0):
            await past.receive("1.00", "1.00", "2.00", lane=lane)
            await past.receive("3.00", lane=lane + 1)
            await past.later(SECOND)
        await past.next_day(past.on + DAY)
        await past.receive("1.00", "1.00")
        lines = await lines_of(past)
        found = [await shard.trace.entries(booking_of(past, each), past.account) for each in lines]
        paid_by = [await shard.trace.entries(booking_of(past, each), past.equity) for each in lines]

    assert [[(each.bucket, each.seq, each.amount)] for each in lines] == [
        [(entry.bucket, entry.seq, entry.amount) for entry in each] for each in found
    ]
    assert [[-each.amount] for each in lines] == [[e.amount for e in each] for each in paid_by]


async def _pages(past: Past, booking: Booking) -> int:
    """Pages of the database that the search touches, once everything is planned and warm."""
    parameters = {
        "account_no": past.account,
        "business_date": booking.business_date,
        "posted_at": booking.posted_at,
        "home": booking.home,
        "origin": booking.origin.value,
        "reference": booking.reference,
    }
    async with posting_connection(past.database.dsn) as connection:
        for _ in range(2):
            cursor = await connection.execute(
                "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + QUERIES["trace_entries"], parameters
            )
            ((document,),) = await cursor.fetchall()
    plan = document[0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


async def test_the_search_does_not_grow_with_the_day(database: Database, shard: Shard) -> None:
    """Three hundred times the entries of a date cost some probes more, and no scan."""
    touched = []
    for batches in (1, 300):
        async with past_of(shard, database) as past:
            for _ in range(batches):
                await past.later(SECOND)
                await past.receive(*["1.00"] * 100)
            before_last = Place(0, past.on, batches * 100 - 1)
            page = await shard.statements.page(past.account, cursor=write_cursor([before_last]))
            (line,) = page.lines
            (entry,) = await shard.trace.entries(booking_of(past, line), past.account)
            assert line.seq == entry.seq
            touched.append(await _pages(past, booking_of(past, line)))

    few, many = touched
    assert many < few + 120
    assert many < 200


async def test_a_settlement_is_found_by_the_item_it_closed(own: OwnShard) -> None:
    """Among others of the same moment, accounts and amount; nothing while the item is open."""
    shard = own.shard
    debtor = await open_account(shard, "100.00")
    commands = [transfer(debtor, account_no(2), "1.00") for _ in range(5)]
    await shard.lanes.post_many(commands)
    items = [command.parked[0].item_id for command in commands]
    before = [await shard.repairs.get(item) for item in items]
    for item in items[:4]:
        at = before[0].item.parked_at
        await shard.suspense.settle([Settlement(item, 1, 2, at)])
    after = [await shard.repairs.get(item) for item in items]
    vouchers = [await shard.trace.settlement(1, record) for record in after]

    assert vouchers[4] is None
    told = [voucher for voucher in vouchers if voucher is not None]
    assert 4 == len({voucher.booking.reference for voucher in told})
    suspense, clearing = suspense_account(1, "EUR"), clearing_account(1, 2, "EUR")
    for voucher in told:
        assert (suspense, clearing) == (voucher.booking.home, voucher.clearing)
        assert voucher.amount == 1
        sides = [await shard.trace.entries(voucher.booking, each) for each in (suspense, clearing)]
        assert [[-1], [1]] == [[entry.amount for entry in side] for side in sides]
    await shard.suspense.settle([Settlement(items[4], 1, 2, before[0].item.parked_at)])


async def test_an_account_that_moved_away_tells_where_it_went(own: OwnShard) -> None:
    """Entries left behind are an archive; its present owner is asked."""
    account = await open_in_second_range(own)
    booking = Booking(account, Origin.CLIENT, "never", BUSINESS_DATE, datetime.now(UTC))
    assert [] == await own.shard.trace.entries(booking, account)
    await as_owner(
        own.database,
        "UPDATE ledger.owned_range SET state = 'RELEASED', next_owner = 3"
        f" WHERE range_id = {SECOND_RANGE}",
    )
    with pytest.raises(NotOwner) as moved:
        await own.shard.trace.entries(booking, account)

    assert 3 == moved.value.next_owner
