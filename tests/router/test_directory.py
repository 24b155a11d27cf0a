"""The directory: account numbers given for ever, customers' homes, and who may change what."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import date
from typing import Any

import psycopg
import pytest

from router.directory import Directory, bootstrap, first_ranges, migrate_directory
from router.errors import (
    AccountNoTaken,
    AccountOffHome,
    AccountOutsideRanges,
    DirectoryUnavailable,
    RangeFull,
    ReferenceReused,
)
from router.reservations import Reservation, Wish
from shard.connections import connect
from shard.errors import SchemaMissing
from shard.ids import new_id
from tests.support.bank import account_no
from tests.support.databases import SHARDS, Databases
from tests.support.interleaving import holder


@pytest.fixture
async def directory(servers: Databases) -> AsyncIterator[Directory]:
    """The bank's directory, by the role that serves."""
    opened = Directory(servers.directory_dsn)
    await opened.open()
    yield opened
    await opened.close()


def a_customer() -> str:
    """A customer number that no other test uses."""
    return f"C-{new_id().hex}"


def a_wish(customer: str | None = None, reference: str = "R-1", **changes: Any) -> Wish:
    """A wish for any number, of a new customer unless named."""
    return Wish(customer or a_customer(), reference, b"hash", **changes)


async def test_the_same_reference_gets_the_same_number(directory: Directory) -> None:
    """Opening is idempotent by customer and reference, for ever."""
    wish = a_wish()
    first = await directory.reserve_account_no(wish)
    again = await directory.reserve_account_no(wish)
    assert (first.is_new, again) == (True, Reservation(first.account_no, is_new=False))


async def test_a_reference_with_another_content_is_refused(directory: Directory) -> None:
    """A reference names one request."""
    wish = a_wish()
    await directory.reserve_account_no(wish)
    with pytest.raises(ReferenceReused):
        await directory.reserve_account_no(Wish(wish.customer, wish.reference, b"another hash"))


async def test_two_customers_may_use_the_same_reference(directory: Directory) -> None:
    """References are each customer's own."""
    one, other = await directory.reserve_account_nos([a_wish(), a_wish()])
    assert one.account_no != other.account_no


async def test_all_accounts_of_a_customer_lie_on_one_range(directory: Directory) -> None:
    """So that they share a shard and most transfers stay local."""
    ranges, customer = await directory.range_map(), a_customer()
    wishes = [a_wish(customer, f"R-{n}") for n in range(20)]
    numbers = [each.account_no for each in await directory.reserve_account_nos(wishes)]
    owners = {owner.range_id for no in numbers if (owner := ranges.owner_of(no))}
    assert (len(set(numbers)), len(owners)) == (20, 1)


async def test_a_number_may_be_chosen_and_decides_a_new_customers_home(
    directory: Directory,
) -> None:
    """The first number asked for by name brings the customer to its range."""
    customer, wanted = a_customer(), account_no(3)
    ranges = await directory.range_map()
    chosen = await directory.reserve_account_no(a_wish(customer, account_no=wanted))
    second = await directory.reserve_account_no(a_wish(customer, "R-2"))
    assert chosen == Reservation(wanted, is_new=True)
    assert ranges.owner_of(second.account_no) == ranges.owner_of(wanted)


async def test_a_chosen_number_off_the_customers_home_is_refused(directory: Directory) -> None:
    """A customer's second account cannot be put on another range."""
    customer = a_customer()
    await directory.reserve_account_no(a_wish(customer, account_no=account_no(1)))
    with pytest.raises(AccountOffHome):
        await directory.reserve_account_no(a_wish(customer, "R-2", account_no=account_no(2)))


async def test_the_banks_own_accounts_may_be_put_on_any_range(directory: Directory) -> None:
    """Equity or expense accounts are wanted on each shard; they take no home by that."""
    customer = a_customer()
    wishes = [
        a_wish(customer, f"R-{shard}", account_no=account_no(shard), may_leave_home=True)
        for shard in SHARDS
    ]
    reserved = await directory.reserve_account_nos(wishes)
    assert [each.account_no for each in reserved] == [wish.account_no for wish in wishes]


async def test_a_number_that_is_taken_is_refused(directory: Directory) -> None:
    """One number, one account."""
    wanted = account_no(2)
    await directory.reserve_account_no(a_wish(account_no=wanted))
    with pytest.raises(AccountNoTaken):
        await directory.reserve_account_no(a_wish(account_no=wanted))


async def test_a_number_wanted_twice_in_one_bulk_is_refused(directory: Directory) -> None:
    """The second wish is not granted, whoever makes it."""
    wanted = account_no(2)
    with pytest.raises(AccountNoTaken):
        await directory.reserve_account_nos([a_wish(account_no=wanted), a_wish(account_no=wanted)])


@pytest.mark.parametrize("wanted", [1_101_000, 999_999_999, 9_999_999_998, 10**12])
async def test_a_number_outside_all_ranges_is_refused(directory: Directory, wanted: int) -> None:
    """System numbers and numbers that no shard holds cannot be chosen."""
    with pytest.raises(AccountOutsideRanges):
        await directory.reserve_account_no(a_wish(account_no=wanted, may_leave_home=True))


async def test_a_refusal_takes_nothing(directory: Directory) -> None:
    """A refused wish leaves neither a home nor a reference behind."""
    wanted, customer = account_no(1), a_customer()
    await directory.reserve_account_no(a_wish(account_no=wanted))
    with pytest.raises(AccountNoTaken):
        await directory.reserve_account_no(a_wish(customer, account_no=wanted))
    other = await directory.reserve_account_no(a_wish(customer, account_no=account_no(2)))
    assert other.is_new


async def test_counters_pass_over_numbers_that_were_chosen(directory: Directory) -> None:
    """A number asked for by name just ahead of the counter is not given a second time."""
    customer = a_customer()
    first = await directory.reserve_account_no(a_wish(customer))
    ahead = [a_wish(customer, f"N-{n}", account_no=first.account_no + n) for n in (1, 2, 4)]
    await directory.reserve_account_nos(ahead)
    wishes = [a_wish(customer, f"R-{n}") for n in range(2, 5)]
    given = [each.account_no for each in await directory.reserve_account_nos(wishes)]
    assert given == [first.account_no + n for n in (3, 5, 6)]


async def test_one_bulk_may_choose_numbers_and_leave_numbers_open(directory: Directory) -> None:
    """Counted numbers and chosen numbers of the same bulk do not collide."""
    customer = a_customer()
    first = await directory.reserve_account_no(a_wish(customer))
    wishes = [
        a_wish(customer, "R-2"),
        a_wish(customer, "N-1", account_no=first.account_no + 1),
        a_wish(customer, "R-3"),
    ]
    given = [
        each.account_no - first.account_no for each in await directory.reserve_account_nos(wishes)
    ]
    assert given == [2, 1, 3]


async def test_a_wish_that_stands_twice_in_one_bulk_gets_one_number(directory: Directory) -> None:
    """Duplicates in a bulk are one request; only the first of them is new."""
    wish = a_wish()
    one, other = await directory.reserve_account_nos([wish, wish])
    assert (one.is_new, other) == (True, Reservation(one.account_no, is_new=False))


async def test_the_same_reference_asked_for_at_once_gets_one_number(directory: Directory) -> None:
    """However many processes open the same account, one of them is first."""
    wish = a_wish()
    reserved = await asyncio.gather(*(directory.reserve_account_no(wish) for _ in range(20)))
    assert len({each.account_no for each in reserved}) == 1
    assert Counter(each.is_new for each in reserved) == {True: 1, False: 19}


async def test_bulks_in_opposite_order_do_not_deadlock(directory: Directory) -> None:
    """Homes, counters and references are always locked in the same order."""
    wishes = [a_wish() for _ in range(200)]
    one, other = await asyncio.gather(
        directory.reserve_account_nos(wishes), directory.reserve_account_nos(wishes[::-1])
    )
    assert [each.account_no for each in one] == [each.account_no for each in other[::-1]]


async def test_numbers_run_out_with_a_clear_refusal(
    directory: Directory, servers: Databases
) -> None:
    """A full range says so, and gives no number of its neighbour."""
    customer = a_customer()
    first = await directory.reserve_account_no(a_wish(customer))
    owner = (await directory.range_map()).owner_of(first.account_no)
    assert owner is not None
    async with await connect(servers.directory_owner_dsn) as connection:
        await connection.execute(
            "UPDATE directory.account_range SET next_account_no = hi - 1 WHERE range_id = %s",
            (owner.range_id,),
        )
    try:
        await directory.reserve_account_no(a_wish(customer, "last"))
        with pytest.raises(RangeFull):
            await directory.reserve_account_no(a_wish(customer, "one too many"))
    finally:
        async with await connect(servers.directory_owner_dsn) as connection:
            await connection.execute(
                "UPDATE directory.account_range SET next_account_no = %s WHERE range_id = %s",
                (first.account_no + 1, owner.range_id),
            )


async def test_bootstrapping_again_changes_nothing(
    directory: Directory, servers: Databases
) -> None:
    """Ranges keep their owners and counters, and there are four to a shard."""
    before = await directory.range_map()
    await migrate_directory(servers.directory_owner_dsn)
    await bootstrap(servers.directory_owner_dsn, SHARDS, first_year=2026)
    assert await directory.range_map() == before
    # Other tests have ranges of their own, above the numbers of the shards.
    numbered = [each for each in before.ranges if each.lo // 1_000_000_000 in SHARDS]
    assert Counter(each.shard for each in numbered) == dict.fromkeys(SHARDS, 4)


def test_first_ranges_cover_the_shards_numbers_without_gaps() -> None:
    """Four equal parts of the billion that begins with the shard's digit."""
    ranges = first_ranges(2)
    assert [each.range_id for each in ranges] == [1005, 1006, 1007, 1008]
    assert [ranges[0].lo, *(each.hi for each in ranges)] == [
        2_000_000_000, 2_250_000_000, 2_500_000_000, 2_750_000_000, 3_000_000_000
    ]  # fmt: skip


async def test_the_calendar_knows_the_first_years_closing_days(directory: Directory) -> None:
    """A new bank begins with the TARGET calendar."""
    closed = await directory.closing_days(after=date(2026, 12, 1))
    assert {date(2026, 12, 25), date(2027, 3, 26), date(2027, 3, 29)} <= closed


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE directory.account_range SET shard = 2",
        "UPDATE directory.account_reference SET account_no = account_no + 1",
        "UPDATE directory.customer_home SET range_id = range_id",
        "DELETE FROM directory.account_reference",
        "DELETE FROM directory.customer_home",
        "INSERT INTO directory.closing_day VALUES ('2030-01-02', 'holiday')",
        "TRUNCATE directory.account_reference",
        "CREATE TABLE directory.mine (n integer)",
    ],
)
async def test_the_serving_role_changes_no_history(servers: Databases, statement: str) -> None:
    """It adds homes and references and counts up; what was decided stays."""
    async with await connect(servers.directory_dsn) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute(statement.encode())


async def test_a_directory_that_is_down_is_told_as_such() -> None:
    """Nothing happened; the request may be repeated."""
    directory = Directory("host=/nowhere dbname=directory")
    await directory.open()
    try:
        with pytest.raises(DirectoryUnavailable):
            await directory.reserve_account_no(a_wish())
    finally:
        await directory.close()


async def test_a_database_without_the_schema_is_told_as_such(servers: Databases) -> None:
    """A shard's database is not the directory."""
    directory = Directory(servers.shard_dsns[1])
    await directory.open()
    try:
        with pytest.raises(SchemaMissing):
            await directory.range_map()
    finally:
        await directory.close()


async def test_a_reservation_that_waited_for_the_counter_sees_what_was_given_meanwhile(
    directory: Directory, servers: Databases
) -> None:
    """Free numbers are read after the counter's lock is held, never before."""
    customer = a_customer()
    first = await directory.reserve_account_no(a_wish(customer))
    following = first.account_no + 1
    async with holder(servers.directory_owner_dsn) as rival:
        await rival.execute(
            "SELECT FROM directory.account_range WHERE lo <= %s AND %s < hi FOR UPDATE",
            (following, following),
        )
        reserving = rival.start(directory.reserve_account_no(a_wish(customer, "R-2")))
        await rival.until_blocks(reserving)
        await rival.execute(
            "INSERT INTO directory.account_reference VALUES (%s, 'R', %s, 'hash')",
            (a_customer(), following),
        )
        await rival.commit()
        assert await reserving == Reservation(following + 1, is_new=True)
